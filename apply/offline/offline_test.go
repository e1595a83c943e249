package offline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/apply/offline"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

const canary = "canary-5up3r-s3cret"

const head = "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: up}\nspec:\n  cluster: {name: aws-example}\n  pools:\n"

// upgrades are what is planned in every world: a template's shorthands, a
// merge patch that changes one secret and keeps another, settings that come
// before the rollout with an older Cluster API, and pools that are
// not there.
var upgrades = map[string]string{
	"shorthands":     head + "    - {name: aws-example-md-0, kubernetesVersion: v1.35.2, machineImage: ami-1, instanceType: m5.xlarge}\n",
	"secrets":        head + "    - {name: aws-example-md-0, kubernetesVersion: v1.35.2, bootstrap: {files: [{path: /etc/a, content: new}], ntp: {enabled: true}}}\n",
	"same secret":    head + "    - {name: aws-example-md-0, kubernetesVersion: v1.35.2, bootstrap: {files: [{path: /etc/secret-0, owner: 'root:root', permissions: '0600', content: " + canary + "}]}}\n",
	"in place first": head + "    - {name: aws-example-md-1, kubernetesVersion: v1.35.2, drain: {nodeDrainTimeout: 10m}}\n",
	"no such pool":   head + "    - {name: aws-example-md-1, kubernetesVersion: v1.35.2}\n    - {name: gone, kubernetesVersion: v1.35.2}\n",
}

var worlds = map[string]func() *clustertest.World{
	"example":    func() *clustertest.World { return clustertest.AWSExample(secretFile) },
	"v1beta1":    func() *clustertest.World { return clustertest.AWSExample(secretFile, clustertest.V1Beta1Only()) },
	"v1.11":      func() *clustertest.World { return clustertest.AWSExample(secretFile, clustertest.Before112()) },
	"many pools": func() *clustertest.World { return clustertest.AWSExample(secretFile, clustertest.ExtraPools(3, 1)) },
	"topology":   func() *clustertest.World { return clustertest.AWSExample(secretFile, clustertest.TopologyOwned()) },
	"no cluster": func() *clustertest.World { return clustertest.AWSExample(clustertest.InNamespace("other")) },
	// What Argo CD and unknown tools apply is told of, and what others own and the values of
	// its own sets and keys of lists are nobody's affair.
	"field managers": func() *clustertest.World {
		w := clustertest.AWSExample(secretFile)
		w.Edit(clustertest.MachineDeployment("aws-example-md-0"), func(o *unstructured.Unstructured) {
			entry := func(manager, operation string) any {
				return map[string]any{"manager": manager, "operation": operation, "apiVersion": o.GetAPIVersion(), "fieldsType": "FieldsV1",
					"time": "2026-08-01T00:00:00Z", "fieldsV1": map[string]any{
						"f:metadata": map[string]any{"f:annotations": map[string]any{"f:" + canary: map[string]any{}}},
						"f:spec": map[string]any{"f:template": map[string]any{"f:spec": map[string]any{
							"f:version": map[string]any{}, "f:infrastructureRef": map[string]any{},
							"f:bootstrap": map[string]any{".": map[string]any{}}, ".": map[string]any{}, "f:taints": map[string]any{
								`k:{"key":"` + canary + `"}`: map[string]any{}, `v:"` + canary + `"`: map[string]any{}}}}}}}
			}
			_ = unstructured.SetNestedSlice(o.Object, []any{
				entry("argocd-controller", "Update"), entry("mycorp-operator", "Apply"), entry("manager", "Update")}, "metadata", "managedFields")
		})
		return w
	},
	"topology variables": func() *clustertest.World {
		w := clustertest.AWSExample(secretFile)
		w.Edit(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}, func(o *unstructured.Unstructured) {
			variables := []any{map[string]any{"name": "proxy", "value": map[string]any{"auth": canary, "port": int64(1)}}}
			_ = unstructured.SetNestedMap(o.Object, map[string]any{"classRef": map[string]any{"name": "c"}, "variables": variables,
				"workers": map[string]any{"machineDeployments": []any{map[string]any{"name": "md-0", "class": "x",
					"variables": map[string]any{"overrides": runtime.DeepCopyJSONValue(variables)}}}}}, "spec", "topology")
		})
		return w
	},
	"annotations": func() *clustertest.World {
		w := clustertest.AWSExample(secretFile)
		w.Edit(clustertest.MachineDeployment("aws-example-md-0"), func(o *unstructured.Unstructured) {
			o.SetAnnotations(map[string]string{
				"kubectl.kubernetes.io/last-applied-configuration": `{"content": "` + canary + `"}`,
				"example.com/token":       canary,
				"example.com/note":        "the key is " + canary,
				"example.com/manifest":    `[{"x": "` + canary + `"}]`,
				"cluster.x-k8s.io/paused": "",
			})
		})
		return w
	},
}

func secretFile(e *clustertest.Example) {
	for i := range e.Pools {
		e.Pools[i].Files = []string{canary}
	}
}

func read(t *testing.T, text string) schema.Upgrade {
	t.Helper()
	up, _, err := schema.Read("upgrade.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func compile(t *testing.T, r apply.Reader, up schema.Upgrade) (plan.Snapshot, plan.Plan) {
	t.Helper()
	snap, err := apply.Observe(t.Context(), r, up)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	return snap, p
}

func open(t *testing.T, path string) *offline.Cluster {
	t.Helper()
	c, err := offline.Open(path, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// all gives every object of a world, as kubectl get would find them.
func all(w *clustertest.World) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, k := range append(clustertest.Kinds(false), clustertest.Kind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}) {
		out = append(out, w.List(k.Group, k.Kind, "")...)
	}
	return out
}

func list(t *testing.T, objects []*unstructured.Unstructured) []byte {
	t.Helper()
	items := make([]any, len(objects))
	for i, o := range objects {
		items[i] = o.Object
	}
	raw, err := json.MarshalIndent(map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}, "items": items}, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func toYAML(t *testing.T, raw []byte) []byte {
	t.Helper()
	out, err := yaml.JSONToYAML(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSamePlan compiles the same upgrade live, from dumps in every form, and
// from snapshots: each time the same plan, byte for byte.
func TestSamePlan(t *testing.T) {
	forms := map[string]func(t *testing.T, dir string, w *clustertest.World, snap plan.Snapshot, cluster plan.Ref) string{
		"a list as YAML": func(t *testing.T, dir string, w *clustertest.World, _ plan.Snapshot, _ plan.Ref) string {
			return write(t, filepath.Join(dir, "all.yaml"), toYAML(t, list(t, all(w))))
		},
		"a list as JSON": func(t *testing.T, dir string, w *clustertest.World, _ plan.Snapshot, _ plan.Ref) string {
			return write(t, filepath.Join(dir, "all.json"), list(t, all(w)))
		},
		"JSON values one after the other": func(t *testing.T, dir string, w *clustertest.World, _ plan.Snapshot, _ plan.Ref) string {
			objects := all(w)
			half := len(objects) / 2
			return write(t, filepath.Join(dir, "all.json"), slices.Concat(list(t, objects[:half]), []byte("\n"), list(t, objects[half:])))
		},
		"a folder with subfolders": func(t *testing.T, dir string, w *clustertest.World, _ plan.Snapshot, _ plan.Ref) string {
			for i, o := range all(w) {
				raw, err := o.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, fmt.Sprint(i%3), fmt.Sprintf("%d.yml", i)), toYAML(t, raw))
			}
			write(t, filepath.Join(dir, "README.md"), []byte("no: manifest: at all"))
			write(t, filepath.Join(dir, ".git", "x.yaml"), []byte("no: manifest: at all"))
			return dir
		},
		"a snapshot as a folder": func(t *testing.T, dir string, _ *clustertest.World, snap plan.Snapshot, cluster plan.Ref) string {
			return snapshot(t, filepath.Join(dir, "snapshot"), snap.Sealed(cluster))
		},
		"a snapshot as YAML": func(t *testing.T, dir string, _ *clustertest.World, snap plan.Snapshot, cluster plan.Ref) string {
			return snapshot(t, filepath.Join(dir, "snapshot.yaml"), snap.Sealed(cluster))
		},
		"a snapshot as JSON": func(t *testing.T, dir string, _ *clustertest.World, snap plan.Snapshot, cluster plan.Ref) string {
			return snapshot(t, filepath.Join(dir, "snapshot.json"), snap.Sealed(cluster))
		},
		"a snapshot of a snapshot": func(t *testing.T, dir string, _ *clustertest.World, snap plan.Snapshot, cluster plan.Ref) string {
			return snapshot(t, filepath.Join(dir, "snapshot"), snap.Sealed(cluster).Sealed(cluster))
		},
	}
	for world, make := range worlds {
		for name, text := range upgrades {
			if world != "example" && name != "secrets" {
				continue
			}
			up := read(t, text)
			w := make()
			snap, live := compile(t, w.Open(nil), up)
			cluster := plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}
			for form, lay := range forms {
				t.Run(world+"/"+name+"/"+form, func(t *testing.T) {
					_, got := compile(t, open(t, lay(t, t.TempDir(), w, snap, cluster)), up)
					live := live
					if !strings.Contains(form, "snapshot") { // a dump does not tell all that a check asks
						unknown := func(f plan.Finding) bool {
							return f.NotVerified && (f.Code == plan.CheckHealth || f.Code == plan.CheckFieldManagers)
						}
						live.Findings = slices.DeleteFunc(slices.Clone(live.Findings), func(f plan.Finding) bool {
							return slices.ContainsFunc(got.Findings, func(g plan.Finding) bool { return unknown(g) && g.Code == f.Code && g.Pool == f.Pool })
						})
						got.Findings = slices.DeleteFunc(got.Findings, unknown)
					}
					if d := cmp.Diff(live, got); d != "" {
						t.Errorf("the plan differs from the live one (-live +offline):\n%s", d)
					}
				})
			}
		}
	}
}

func snapshot(t *testing.T, path string, snap plan.Snapshot) string {
	t.Helper()
	if err := offline.Write(path, snap); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v: others may read it", name, info.Mode())
		}
		if info.IsDir() {
			return nil
		}
		data, err := os.ReadFile(name)
		if bytes.Contains(data, []byte(canary)) {
			t.Errorf("%s holds a secret", name)
		}
		for _, left := range []string{"manager: manager", "last-applied"} {
			if bytes.Contains(data, []byte(left)) {
				t.Errorf("%s holds %s", name, left)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStableBytes writes one snapshot twice.
func TestStableBytes(t *testing.T) {
	up := read(t, upgrades["shorthands"])
	var texts []string
	for range 2 {
		snap, _ := compile(t, clustertest.AWSExample().Open(nil), up)
		var b bytes.Buffer
		if err := offline.WriteTo(&b, snap); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, b.String())
	}
	if d := cmp.Diff(texts[0], texts[1]); d != "" {
		t.Errorf("the same snapshot, other bytes:\n%s", d)
	}
}

// TestSnapshotHoldsWhatPlanReads: no more, no less.
func TestSnapshotHoldsWhatPlanReads(t *testing.T) {
	w := clustertest.AWSExample(clustertest.ExtraPools(3, 1))
	up := read(t, head+"    - {name: aws-example-md-1, kubernetesVersion: v1.35.2}\n")
	snap, _ := compile(t, w.Open(nil), up)
	var kinds []string
	for _, o := range snap.Objects() {
		if o.GetKind() == "MachineDeployment" || strings.HasSuffix(o.GetKind(), "Template") {
			kinds = append(kinds, capi.RefOf(o).String())
		}
	}
	want := []string{
		"KubeadmConfigTemplate default/aws-example-md-1",
		"MachineDeployment default/aws-example-md-1",
		"DevMachineTemplate default/aws-example-md-1",
	}
	if d := cmp.Diff(want, kinds); d != "" {
		t.Errorf("templates and MachineDeployments (-want +got):\n%s", d)
	}
}

// TestFolderInUse: a folder that holds something stays as it is.
func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	snap, _ := compile(t, clustertest.AWSExample().Open(nil), read(t, upgrades["shorthands"]))
	write(t, filepath.Join(dir, "mine.txt"), []byte("mine"))
	if err := offline.Write(dir, snap); err == nil || !strings.Contains(err.Error(), "holds something already") {
		t.Errorf("Write: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

// TestFileNamesStayInside: a kind from a manifest is no path.
func TestFileNamesStayInside(t *testing.T) {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "../../x/v1", "kind": "../../Evil", "metadata": map[string]any{"name": "n", "uid": "u"}}}
	o.SetAPIVersion("g.x/v1")
	parent := t.TempDir()
	dir := filepath.Join(parent, "a", "b")
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := offline.Write(dir, plan.Snapshot{}.With(plan.Selector{}, o)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || strings.Contains(entries[0].Name(), "/") {
		t.Errorf("%v, %v", entries, err)
	}
	if up, _ := os.ReadDir(parent); len(up) != 1 {
		t.Errorf("%v was written outside", up)
	}
}

func md(apiVersion, extra string) string {
	return "apiVersion: cluster.x-k8s.io/" + apiVersion + "\nkind: MachineDeployment\nmetadata: {name: a, namespace: default, uid: u-1}\n" + extra
}

// TestOpenErrors holds the words for what cannot be used.
func TestOpenErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		stdin string
		want  string
	}{
		"two versions": {md("v1beta1", "") + "---\n" + md("v1beta2", ""),
			"standard input:4: MachineDeployment default/a is here in cluster.x-k8s.io/v1beta2, and at standard input:1 in cluster.x-k8s.io/v1beta1; keep one of them: a plan speaks one API version"},
		"two states": {md("v1beta2", "spec: {a: 1}\n") + "---\n" + md("v1beta2", "spec: {a: 2}\n"),
			"standard input:5: MachineDeployment default/a is also at standard input:1, and the two differ; keep the newer one"},
		"no YAML": {md("v1beta2", "") + "---\na: b: c\n",
			"standard input:5: this is neither YAML nor JSON: mapping values are not allowed in this context"},
		"a key twice": {"# one\n---\na: 1\na: 2\n",
			"standard input:4: this is neither YAML nor JSON: key \"a\" already set in map"},
		"no object": {"a: 1\n---\n- 1\n",
			"standard input:1: this is no object of Kubernetes: it has no apiVersion and kind; give what kubectl get -o yaml prints\n" +
				"standard input:2: this is no object of Kubernetes; give what kubectl get -o yaml prints"},
		"no name": {"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap}]\n",
			"standard input:1: items[0]: this ConfigMap has no metadata.name; give what kubectl get -o yaml prints"},
		"cut off": {`{"apiVersion": "v1", "kind": "List", "items": [`,
			"standard input:1: this is neither YAML nor JSON: did not find expected node content"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := offline.Open("-", strings.NewReader(tc.stdin))
			if err == nil {
				t.Fatal("it was taken")
			}
			if d := cmp.Diff(tc.want, err.Error()); d != "" {
				t.Errorf("Error (-want +got):\n%s", d)
			}
		})
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := offline.Open(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "no file in it ends in .yaml") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := offline.Open(filepath.Join(t.TempDir(), "gone"), nil); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a path that is not there: %v", err)
	}
}

// TestSameTwice bears one object in two files, as overlapping dumps have it.
func TestSameTwice(t *testing.T) {
	c, err := offline.Open("-", strings.NewReader(md("v1beta2", "")+"---\n"+md("v1beta2", "")+"--- # the end\n"))
	if err != nil {
		t.Fatal(err)
	}
	sel := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: "default"}}
	snap, err := c.Fetch(t.Context(), []plan.Selector{sel})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(snap.List(sel)); got != 1 {
		t.Errorf("%d objects, want 1", got)
	}
}

// TestTypedList reads what kubectl get --raw prints.
func TestTypedList(t *testing.T) {
	c, err := offline.Open("-", strings.NewReader(`{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineList", "items": [{"metadata": {"name": "m", "namespace": "default", "uid": "u"}, "spec": {"n": 3}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	ref := plan.Ref{Group: capi.Group, Kind: "Machine", Namespace: "default", Name: "m"}
	snap, err := c.Fetch(t.Context(), []plan.Selector{{Ref: ref}})
	if err != nil {
		t.Fatal(err)
	}
	o, ok := snap.Object(ref)
	if !ok {
		t.Fatal("the machine was not found")
	}
	if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "n"); n != 3 {
		t.Errorf("spec.n is %v, want the int64 3", o.Object["spec"])
	}
}

// TestFetchErrors: absent is an answer, what was never live is none.
func TestFetchErrors(t *testing.T) {
	c, err := offline.Open("-", strings.NewReader("apiVersion: cluster.x-k8s.io/v1beta2\nkind: Cluster\nmetadata: {name: git, namespace: default}\n---\n"+md("v1beta2", "")))
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(sel plan.Selector) error {
		_, err := c.Fetch(t.Context(), []plan.Selector{sel})
		return err
	}
	at := func(kind, name string) plan.Selector {
		return plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: kind, Namespace: "default", Name: name}}
	}
	if err := fetch(at("MachineDeployment", "b")); err != nil {
		t.Errorf("an object that is in no manifest: %v", err)
	}
	if err := fetch(at("Cluster", "git")); err == nil || !strings.Contains(err.Error(), "standard input:1: Cluster default/git has no metadata.uid") {
		t.Errorf("an object without a UID: %v", err)
	}
	old := at("MachineDeployment", "a")
	old.APIVersion = "cluster.x-k8s.io/v1beta1"
	if err := fetch(old); err == nil || !strings.Contains(err.Error(), "it is needed in cluster.x-k8s.io/v1beta1") {
		t.Errorf("another API version: %v", err)
	}
}

// TestKindsLeftOut tells a kind that a dump lacks from one without objects.
func TestKindsLeftOut(t *testing.T) {
	at := func(kind, name string) plan.Selector {
		return plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: kind, Namespace: "default", Name: name}}
	}
	optional := at("MachinePool", "a")
	optional.Optional = true
	const words = "standard input holds no Cluster and no Machine; add what this prints, or make the manifests with nodepool snapshot: " +
		"kubectl get -n default -o yaml clusters.cluster.x-k8s.io,machines.cluster.x-k8s.io"
	for name, tc := range map[string]struct {
		stdin string
		asks  []plan.Selector
		want  string
	}{
		"all at once":          {md("v1beta2", "status: {replicas: 3}\n"), []plan.Selector{at("Cluster", "c"), at("Machine", "")}, words},
		"a list without need":  {md("v1beta2", "status: {replicas: 0}\n"), []plan.Selector{at("Machine", "")}, ""},
		"an optional kind":     {md("v1beta2", "status: {replicas: 3}\n"), []plan.Selector{optional}, ""},
		"looked up, not there": {"apiVersion: nodepool/v1alpha1\nkind: Snapshot\nkinds: [Cluster.cluster.x-k8s.io]\n", []plan.Selector{at("Cluster", "c")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := offline.Open("-", strings.NewReader(tc.stdin))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if _, err := c.Fetch(t.Context(), tc.asks); err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("Fetch (-want +got):\n%s", d)
			}
		})
	}
	if _, err := offline.Open("-", strings.NewReader("apiVersion: nodepool/v9\nkind: Snapshot\n")); err == nil || !strings.Contains(err.Error(), "take it again") {
		t.Errorf("a snapshot of another form: %v", err)
	}
}
