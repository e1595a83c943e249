package offline_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply/clustertest"
	"nodepool/apply/offline"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// example holds the schemas of Cluster API v1.13.4 and CAPA v2.13.0.
const example = "../../examples/snapshot"

const awsTemplates = "awsmachinetemplates.infrastructure.cluster.x-k8s.io"

// said plans an upgrade of the pool aws-example-md-0 from manifests and gives
// the findings of Validate, one a line.
func said(t *testing.T, c *offline.Cluster, fields string) []string {
	t.Helper()
	up := read(t, head+"    - {name: aws-example-md-0, kubernetesVersion: v1.35.2, "+fields+"}\n")
	snap, p := compile(t, c, up)
	if p.Blocked {
		t.Fatalf("blocked: %+v", p.Findings)
	}
	var out []string
	for _, f := range c.Validate(p, snap, plan.SecretsOf(up, snap)) {
		if f.Code != plan.CheckServer || f.Severity != plan.Pass && f.Remedy == "" {
			t.Errorf("code %q, remedy %q", f.Code, f.Remedy)
		}
		message := f.Message
		if !f.Object.IsZero() {
			message = strings.Replace(message, f.Object.String(), f.Object.Kind, 1)
		}
		if strings.Contains(message+f.Remedy, canary) {
			t.Errorf("a value is told: %s", message)
		}
		out = append(out, string(f.Severity)+" "+message)
	}
	return out
}

const (
	noServer = "warn no write was validated by a server, since this plan was made from manifests: what the server or a webhook would refuse shows only at the write"
	mdFits   = "pass the write to MachineDeployment fits its schema in the manifests"
)

func fits(kind string) string {
	return "pass the write to " + kind + " fits its schema in the manifests"
}

func refused(kind, words string) string {
	return "block the server would refuse the write to " + kind + ", by its schema in the manifests: " + words
}

func putBack(kind, fields string) string {
	return "block the server would put a default back into " + kind + ", in place of the null that the upgrade asks for: " + fields
}

// TestValidate holds upgrades against the real schemas.
func TestValidate(t *testing.T) {
	const aws, kubeadm = "AWSMachineTemplate", "KubeadmConfigTemplate"
	c := open(t, example)
	for name, tc := range map[string]struct {
		fields string
		want   []string
	}{
		"as it should be": {"machineImage: ami-9, instanceType: m5.xlarge, strategy: {maxSurge: 50%}", []string{fits(aws), mdFits, noServer}},
		"a merge patch":   {"infrastructure: {rootVolume: {size: 100, type: gp3}}, bootstrap: {files: [{path: /etc/a, content: x}]}", []string{fits(aws), fits(kubeadm), mdFits, noServer}},
		"a misspelt field": {"infrastructure: {instanceTyp: " + canary + "}",
			[]string{refused(aws, `unknown field "spec.template.spec.instanceTyp"`), mdFits, noServer}},
		"misspelt in a list": {"bootstrap: {files: [{path: /a, content: x}, {path: /b, contents: x}]}",
			[]string{refused(kubeadm, `unknown field "spec.template.spec.files[1].contents"`), mdFits, noServer}},
		"a wrong type": {"infrastructure: {rootVolume: {size: " + canary + "}}",
			[]string{refused(aws, "spec.template.spec.rootVolume.size: must be of type integer"), mdFits, noServer}},
		"a secret of a wrong type": {"bootstrap: {files: [{path: /etc/a, content: 5}]}",
			[]string{refused(kubeadm, "spec.template.spec.files[0].content: must be of type string"), mdFits, noServer}},
		"a list for an object": {"infrastructure: {rootVolume: [" + canary + "]}",
			[]string{refused(aws, "spec.template.spec.rootVolume: must be of type object"), mdFits, noServer}},
		"outside of an enum": {"infrastructure: {tenancy: " + canary + "}",
			[]string{refused(aws, "spec.template.spec.tenancy: should be one of [default dedicated host]"), mdFits, noServer}},
		"below a minimum": {"infrastructure: {rootVolume: {size: 3}}",
			[]string{refused(aws, "spec.template.spec.rootVolume.size: should be greater than or equal to 8"), mdFits, noServer}},
		"without what is required": {"bootstrap: {files: [{content: " + canary + "}]}",
			[]string{refused(kubeadm, "spec.template.spec.files[0].path: is required"), mdFits, noServer}},
		"too long": {"bootstrap: {files: [{path: /a, owner: " + strings.Repeat(canary, 20) + "}]}",
			[]string{refused(kubeadm, "spec.template.spec.files[0].owner: should be at most 256 chars long"), mdFits, noServer}},
		"several": {"infrastructure: {tenancy: x, imageLookupOgr: x, rootVolume: {size: 3}}",
			[]string{refused(aws, `unknown field "spec.template.spec.imageLookupOgr"; `+
				"spec.template.spec.rootVolume.size: should be greater than or equal to 8; "+
				"spec.template.spec.tenancy: should be one of [default dedicated host]"), mdFits, noServer}},
		"null over a default": {"infrastructure: {instanceMetadataOptions: {httpTokens: null, httpEndpoint: disabled}}",
			[]string{putBack(aws, "spec.template.spec.instanceMetadataOptions.httpTokens"), mdFits, noServer}},
		"null over no default": {"infrastructure: {sshKeyName: null}", []string{fits(aws), mdFits, noServer}},
		"drain":                {"drain: {nodeDrainTimeout: 10m}", []string{mdFits, noServer}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, said(t, c, tc.fields)); d != "" {
				t.Errorf("findings (-want +got):\n%s", d)
			}
		})
	}
}

// with opens a dump of the example in which a template has the schema given; an
// empty one leaves its definition out.
func with(t *testing.T, crd, version, templateSpec string) *offline.Cluster {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, o := range all(clustertest.AWSExample(secretFile)) {
		if o.GetKind() == "CustomResourceDefinition" && o.GetName() == crd {
			if templateSpec == "" {
				continue
			}
			var spec any
			if err := json.Unmarshal([]byte(templateSpec), &spec); err != nil {
				t.Fatal(err)
			}
			object := func(name string, child any) map[string]any {
				return map[string]any{"type": "object", "properties": map[string]any{name: child}}
			}
			o = o.DeepCopy()
			_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"name": version, "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": object("spec", object("template", object("spec", spec)))}}}, "spec", "versions")
		}
		objects = append(objects, o)
	}
	c, err := offline.Open("-", bytes.NewReader(list(t, objects)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestValidateSchemas is about what a schema may say.
func TestValidateSchemas(t *testing.T) {
	const aws = "AWSMachineTemplate"
	const open = `{"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
		"fixed": {"type": "object", "properties": {"a": {"type": "string", "description": "d"}}}}}`
	const closed = `{"type": "object", "properties": {
		"ami": {"type": "object", "properties": {"id": {"type": "string"}}},
		"iamInstanceProfile": {"type": "string"}, "sshKeyName": {"type": "string"},
		"rootVolume": {"type": "object", "properties": {"size": {"type": "integer"}, "type": {"type": "string"}}},
		"instanceType": {"type": "string", "pattern": "^[a-z0-9.]+$"},
		"description": {"type": "string", "default": "d"},
		"free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
		"tags": {"type": "object", "additionalProperties": {"type": "string"}},
		"count": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
		"set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
		"maybe": {"type": "string", "nullable": true},
		"pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}}`
	for name, tc := range map[string]struct {
		version, schema, fields string
		want                    []string
	}{
		"unknown fields are kept":   {"v1beta2", open, "infrastructure: {x: {z: [1]}}", []string{fits(aws), mdFits, noServer}},
		"but not below a known one": {"v1beta2", open, "infrastructure: {fixed: {b: 1}}", []string{refused(aws, `unknown field "spec.template.spec.fixed.b"`), mdFits, noServer}},
		"all that fits": {"v1beta2", closed, "infrastructure: {free: {x: 1}, tags: {a: b}, count: 50%, list: null, maybe: x, pod: {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {}}}",
			[]string{fits(aws), mdFits, noServer}},
		"a pattern":            {"v1beta2", closed, "infrastructure: {instanceType: " + strings.ToUpper(canary) + "}", []string{refused(aws, "spec.template.spec.instanceType: should match '^[a-z0-9.]+$'"), mdFits, noServer}},
		"a map's values":       {"v1beta2", closed, "infrastructure: {tags: {a: 1}}", []string{refused(aws, "spec.template.spec.tags.a: must be of type string"), mdFits, noServer}},
		"an embedded resource": {"v1beta2", closed, "infrastructure: {pod: {apiVersion: v1, kind: Pod, spce: {}}}", []string{refused(aws, `unknown field "spec.template.spec.pod.spce"`), mdFits, noServer}},
		"an item twice": {"v1beta2", closed, "infrastructure: {set: [" + canary + ", x, " + canary + "]}",
			[]string{refused(aws, "spec.template.spec.set[2]: holds the same item twice"), mdFits, noServer}},
		"a default over a new null": {"v1beta2", closed, "infrastructure: {description: null, maybe: x}",
			[]string{putBack(aws, "spec.template.spec.description"), mdFits, noServer}},
		"no schema": {"", "", "machineImage: ami-9", []string{
			"warn writes of the kind AWSMachineTemplate were not validated: the manifests hold no schema of AWSMachineTemplate", mdFits, noServer}},
		"another version": {"v1beta1", closed, "machineImage: ami-9", []string{
			"warn writes of the kind AWSMachineTemplate were not validated: the manifests hold the schema of AWSMachineTemplate in v1beta1, and it is written in v1beta2", mdFits, noServer}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, said(t, with(t, awsTemplates, tc.version, tc.schema), tc.fields)); d != "" {
				t.Errorf("findings (-want +got):\n%s", d)
			}
		})
	}
}

// TestSchemas: a snapshot has the schemas of what is written, in the version
// that is used, and says what it lacks.
func TestSchemas(t *testing.T) {
	w := clustertest.AWSExample(secretFile)
	up := read(t, upgrades["secrets"])
	snap, _ := compile(t, w.Open(nil), up)
	w.Forbid("get", "apiextensions.k8s.io", "CustomResourceDefinition")
	if _, missing, err := offline.Schemas(t.Context(), w.Open(nil), snap); err != nil || len(missing) != 3 || !strings.Contains(missing[0], "you may not get") {
		t.Errorf("without the right: %q, %v", missing, err)
	}
	c := with(t, awsTemplates, "v1beta2", `{"type": "object", "description": "long", "properties": {"description": {"type": "string", "description": "longer", "enum": ["description"]}}}`)
	got, missing, err := offline.Schemas(t.Context(), c, snap)
	if err != nil || len(missing) > 0 {
		t.Fatalf("missing %q, %v", missing, err)
	}
	crd, ok := got.Object(plan.Ref{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: awsTemplates})
	if !ok {
		t.Fatal("there is no definition of the AWSMachineTemplate")
	}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	tree, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties", "template", "properties", "spec")
	want := map[string]any{"type": "object", "properties": map[string]any{"description": map[string]any{"type": "string", "enum": []any{"description"}}}}
	if d := cmp.Diff(want, tree); d != "" {
		t.Errorf("schema (-want +got):\n%s", d)
	}
	if _, missing, err := offline.Schemas(t.Context(), with(t, awsTemplates, "v1beta1", `{"type": "object"}`), snap); err != nil || len(missing) != 1 || !strings.Contains(missing[0], "no schema of the version v1beta2") {
		t.Errorf("another version: %q, %v", missing, err)
	}
}

// TestValidateSealed: a secret that a snapshot holds sealed is not judged, and
// what stands beside it is.
func TestValidateSealed(t *testing.T) {
	const kubeadm = "KubeadmConfigTemplate"
	schema := `{"type": "object", "properties": {"ntp": {"type": "object", "properties": {"enabled": {"type": "boolean"}}},
		"joinConfiguration": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
		"files": {"type": "array", "items": {"type": "object", "properties": {
			"path": {"type": "string"}, "owner": {"type": "string"}, "permissions": {"type": "string"},
			"content": {"type": "string", "pattern": "^secret$"}}}}}}`
	live := with(t, "kubeadmconfigtemplates.bootstrap.cluster.x-k8s.io", "v1beta2", schema)
	snap, _ := compile(t, live, read(t, upgrades["secrets"]))
	sealed, missing, err := offline.Schemas(t.Context(), live, snap.Sealed(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}))
	if err != nil || len(missing) > 0 {
		t.Fatalf("missing %q, %v", missing, err)
	}
	path := filepath.Join(t.TempDir(), "snapshot.json")
	if err := offline.Write(path, sealed); err != nil {
		t.Fatal(err)
	}
	c := open(t, path)
	for fields, want := range map[string]string{
		"bootstrap: {ntp: {enabled: true}}":                fits(kubeadm),
		"bootstrap: {ntp: {enabled: 5}}":                   refused(kubeadm, "spec.template.spec.ntp.enabled: must be of type boolean"),
		"bootstrap: {files: [{path: /a, content: other}]}": refused(kubeadm, "spec.template.spec.files[0].content: should match '^secret$'"),
	} {
		if d := cmp.Diff([]string{want, mdFits, noServer}, said(t, c, fields)); d != "" {
			t.Errorf("%s: findings (-want +got):\n%s", fields, d)
		}
	}
}
