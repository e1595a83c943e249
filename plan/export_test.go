package plan_test

import (
	"encoding/json"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

const exportedUpgrade = `
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: x}
spec:
  cluster: {name: aws-example}
  pools:
    - name: aws-example-md-0
      kubernetesVersion: v1.35.2
      machineImage: ami-new
      bootstrap: {files: [{path: /etc/secret, content: canary-of-the-spec}], preKubeadmCommands: [echo hello]}
`

func exportedPlan(t *testing.T) (*clustertest.World, plan.Plan, plan.Snapshot, plan.Secrets) {
	t.Helper()
	w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", func(p *clustertest.ExamplePool) {
		p.Files = []string{"canary-of-the-cluster"}
	}))
	w.Edit(plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSMachineTemplate", Namespace: "default", Name: "aws-example-md-0"},
		func(o *unstructured.Unstructured) {
			o.SetAnnotations(map[string]string{"argocd.argoproj.io/tracking-id": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"})
		})
	up, _, err := schema.Read("upgrade.yaml", []byte(exportedUpgrade))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := apply.Observe(t.Context(), w.Open(nil), up)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	return w, p, snap, plan.SecretsOf(up, snap)
}

func TestExportMakesTheReviewedChange(t *testing.T) {
	w, p, snap, secrets := exportedPlan(t)
	for name, tc := range map[string]struct {
		reveal bool
		secret bool
	}{"sealed": {false, false}, "revealed": {true, true}} {
		t.Run(name, func(t *testing.T) {
			manifests, err := plan.Export(p, snap, secrets, tc.reveal)
			if err != nil {
				t.Fatal(err)
			}
			all, left := "", ""
			files := map[string][]byte{}
			for _, m := range manifests {
				files[m.Name] = m.Content
				all += string(m.Content)
				left += strings.Join(m.Left, ",")
			}
			if strings.Contains(all, "canary-of-the-cluster") {
				t.Error("the replaced secret of the cluster is in the export")
			}
			if got := strings.Contains(all, "canary-of-the-spec"); got != tc.secret {
				t.Errorf("the secret is in the export: %t, want %t", got, tc.secret)
			}
			if left != "spec.template.spec.files[0].content" {
				t.Errorf("fields named as secret: %q", left)
			}
			for _, unwanted := range []string{"ownerReferences", "nodepool/run", plan.SealedKey, "argocd", "last-applied"} {
				if strings.Contains(strings.ReplaceAll(all, "Made by nodepool of", ""), unwanted) {
					t.Errorf("the export holds %q:\n%s", unwanted, all)
				}
			}
			var kustomization struct {
				Resources []string
				Patches   []struct{ Path string }
			}
			if err := yaml.Unmarshal(files["kustomization.yaml"], &kustomization); err != nil {
				t.Fatal(err)
			}
			if len(kustomization.Resources) != 2 || len(kustomization.Patches) != 1 {
				t.Errorf("kustomization %+v, want both templates and the patch", kustomization)
			}
			// The patch, made on the live object, leaves what the plan wants.
			ops, err := yaml.YAMLToJSON(files[kustomization.Patches[0].Path])
			if err != nil {
				t.Fatal(err)
			}
			patch, err := jsonpatch.DecodePatch(ops)
			if err != nil {
				t.Fatal(err)
			}
			md := w.Get(clustertest.MachineDeployment("aws-example-md-0"))
			raw, _ := json.Marshal(md.Object)
			if raw, err = patch.Apply(raw); err != nil {
				t.Fatal(err)
			}
			after := &unstructured.Unstructured{}
			if err := json.Unmarshal(raw, &after.Object); err != nil {
				t.Fatal(err)
			}
			step := p.Steps[3]
			if got := plan.Assess(step, snap.With(plan.Selector{Ref: step.Patch.Target}, after)); got.Verdict != plan.Satisfied {
				t.Errorf("after the exported patch the step is %s: %+v", got.Verdict, got.Differences)
			}
		})
	}
}

func TestPreviewShowsTheTemplateWithoutItsSecrets(t *testing.T) {
	w, p, snap, _ := exportedPlan(t)
	for _, s := range p.Steps {
		if s.Create == nil {
			continue
		}
		got, err := s.Create.Preview(snap)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(got)
		uid := string(w.Get(s.Create.Owner.Ref).GetUID())
		for _, secret := range []string{"canary", uid} {
			if strings.Contains(string(raw), secret) {
				t.Errorf("the preview of %s holds %q:\n%s", s.Create.Ref, secret, raw)
			}
		}
		if s.Create.Ref.Kind == "AWSMachineTemplate" {
			want := []string{`annotations["argocd.argoproj.io/tracking-id"]`, `annotations["kubectl.kubernetes.io/last-applied-configuration"]`}
			for _, name := range want {
				if !strings.Contains(strings.Join(got.Stripped, " "), name) {
					t.Errorf("stripped %v, want %s among them", got.Stripped, name)
				}
			}
		}
	}
}

// TestPreviewsShowTheMachineDeployment: of a MachineDeployment that is patched
// twice, the preview is what both patches leave, without a secret, the key of
// the seals, or what the server keeps.
func TestPreviewsShowTheMachineDeployment(t *testing.T) {
	w := clustertest.AWSExample(clustertest.V1Beta1Only())
	md := clustertest.MachineDeployment("aws-example-md-0")
	w.Edit(md, func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{"example.com/token": "canary"})
		put(o, []any{map[string]any{"manager": "x", "operation": "Update"}}, "metadata", "managedFields")
	})
	up := onePool(t, toBoth+", drain: {nodeDrainTimeout: 5m}")
	p := compile(t, w, up)
	snap := observe(t, w, up)
	got, err := p.Previews(snap)
	if err != nil {
		t.Fatal(err)
	}
	var patches []string
	for _, s := range p.Steps {
		if s.Create != nil && got[s.ID].Object == nil {
			t.Errorf("step %s has no preview", s.ID)
		}
		if s.Patch != nil {
			patches = append(patches, s.ID)
		}
	}
	if len(patches) != 2 {
		t.Fatalf("the patches are %v, and two are to be tested", patches)
	}
	if _, ok := got[patches[0]]; ok {
		t.Error("the first of two patches has a preview of its own")
	}
	preview := got[patches[1]].Object
	if preview == nil {
		t.Fatal("the last patch has no preview")
	}
	raw, _ := json.Marshal(preview)
	mustContain(t, string(raw), `"version":"v1.35.2"`, `"nodeDrainTimeout":"5m`, "nodepool/run", "(sealed)")
	cluster := w.Get(plan.Ref{Group: "cluster.x-k8s.io", Kind: "Cluster", Namespace: "default", Name: "aws-example"})
	for _, never := range []string{"canary", "hmac-sha256", "managedFields", "resourceVersion", `"status"`, string(cluster.GetUID())} {
		if strings.Contains(string(raw), never) {
			t.Errorf("the preview holds %q:\n%s", never, raw)
		}
	}
}
