package plan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

type object = unstructured.Unstructured

// The pools and objects of clustertest.AWSExample.
const (
	awsPool = "aws-example-md-0"
	devPool = "aws-example-md-1"
)

func reference(group, kind, name string) plan.Ref {
	return plan.Ref{Group: group, Kind: kind, Namespace: "default", Name: name}
}

func infrastructure(kind, name string) plan.Ref {
	return reference(clustertest.InfrastructureGroup, kind, name)
}

func bootstrap(name string) plan.Ref {
	return reference(clustertest.BootstrapGroup, "KubeadmConfigTemplate", name)
}

var (
	clusterRef      = reference(capi.Group, "Cluster", "aws-example")
	controlPlaneRef = reference(clustertest.ControlPlaneGroup, "KubeadmControlPlane", "aws-example-control-plane")
	awsRef          = clustertest.MachineDeployment(awsPool)
	awsTemplateRef  = infrastructure("AWSMachineTemplate", awsPool)
	awsBootstrapRef = bootstrap(awsPool)
)

// upgrade reads an upgrade of aws-example from the text of its spec below
// cluster: the pools and perhaps the order.
func upgrade(t testing.TB, spec string) schema.Upgrade {
	t.Helper()
	return upgradeOf(t, "default", spec)
}

func upgradeOf(t testing.TB, namespace, spec string) schema.Upgrade {
	t.Helper()
	text := "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: to-1-35}\nspec:\n" +
		"  cluster: {name: aws-example, namespace: " + namespace + "}\n"
	for line := range strings.SplitSeq(strings.Trim(spec, "\n"), "\n") {
		text += "  " + line + "\n"
	}
	up, _, err := schema.Read("upgrade.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return up
}

// onePool is an upgrade of the AWS pool alone; fields are in YAML's flow style.
func onePool(t testing.TB, fields string) schema.Upgrade {
	t.Helper()
	return upgrade(t, "pools: [{name: "+awsPool+", "+fields+"}]")
}

func observe(t testing.TB, w *clustertest.World, up schema.Upgrade) plan.Snapshot {
	t.Helper()
	snap, err := apply.Observe(t.Context(), w.Open(nil), up)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// compile holds the plan to be the same, to the byte, from the whole objects of all
// pools.
func compile(t testing.TB, w *clustertest.World, up schema.Upgrade) plan.Plan {
	t.Helper()
	p, err := plan.Compile(up, observe(t, w, up))
	if err != nil {
		t.Fatal(err)
	}
	other, err := plan.Compile(up, observeAll(t, w, up))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(encode(t, other)), string(encode(t, p))); d != "" {
		t.Errorf("the plan from whole objects of all pools is another (-all +some and slim):\n%s", d)
	}
	return p
}

// observeAll is observe, with the objects of all pools where those of some are
// asked for, and whole ones where slim ones would do.
func observeAll(t testing.TB, w *clustertest.World, up schema.Upgrade) plan.Snapshot {
	t.Helper()
	var snap plan.Snapshot
	for needs := plan.Needs(up, snap); len(needs) > 0; needs = plan.Needs(up, snap) {
		for _, sel := range needs {
			all := sel
			all.Pools, all.Slim = "", false
			got, err := w.Open(nil).Fetch(t.Context(), []plan.Selector{all})
			if err != nil {
				t.Fatal(err)
			}
			if why, unread := got.Unread(all); unread {
				snap = snap.Without(sel, why)
				continue
			}
			snap = snap.With(sel, got.List(all)...)
		}
	}
	return snap
}

func encode(t testing.TB, p plan.Plan) []byte {
	t.Helper()
	data, err := plan.Write(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func fetch(t testing.TB, w *clustertest.World, s plan.Step) plan.Snapshot {
	t.Helper()
	snap, err := w.Open(nil).Fetch(t.Context(), s.Reads())
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func assess(t testing.TB, w *clustertest.World, s plan.Step) plan.Assessment {
	t.Helper()
	return plan.Assess(s, fetch(t, w, s))
}

// carry makes the write of one step on the world, and lets the machines
// settle where the step waits for them.
func carry(t testing.TB, w *clustertest.World, up schema.Upgrade, s plan.Step) {
	t.Helper()
	snap := fetch(t, w, s)
	switch {
	case s.Create != nil:
		body, err := s.Create.Body(snap, plan.SecretsOf(up, observe(t, w, up)))
		if err != nil {
			t.Fatalf("%s: %v", s.ID, err)
		}
		if err := w.Open(nil).Create(t.Context(), body, apply.Commit); err != nil {
			t.Fatalf("%s: %v", s.ID, err)
		}
	case s.Patch != nil:
		live, _ := snap.Object(s.Patch.Target)
		body, err := s.Patch.JSONPatch(live, s.Facts)
		if err != nil {
			t.Fatalf("%s: %v", s.ID, err)
		}
		if err := w.Open(nil).Patch(t.Context(), s.Patch.Target, s.Patch.APIVersion, body, apply.Commit); err != nil {
			t.Fatalf("%s: %v\n%s", s.ID, err, body)
		}
	case s.Wait != nil:
		w.Settle()
	}
}

// carryOut does what is left to do of p, step by step, as assess tells, and
// proves each step by assessing it again.
func carryOut(t testing.TB, w *clustertest.World, up schema.Upgrade, p plan.Plan) {
	t.Helper()
	for i, s := range p.Steps {
		switch a := p.Assess(i, fetch(t, w, s)); a.Verdict {
		case plan.Satisfied:
			continue
		case plan.Drifted:
			t.Fatalf("%s: %+v", s.ID, a.Differences)
		case plan.Pending:
		}
		carry(t, w, up, s)
		if a := p.Assess(i, fetch(t, w, s)); a.Verdict != plan.Satisfied {
			t.Fatalf("%s after it was done: %s %+v, waiting: %s", s.ID, a.Verdict, a.Differences, a.Rollout.Waiting)
		}
	}
}

func stepsOf(p plan.Plan) []string {
	ids := []string{}
	for _, s := range p.Steps {
		ids = append(ids, s.ID)
	}
	return ids
}

func step(t testing.TB, p plan.Plan, id string) plan.Step {
	t.Helper()
	for _, s := range p.Steps {
		if s.ID == id {
			return s
		}
	}
	t.Fatalf("the plan has no step %s, but %q", id, stepsOf(p))
	return plan.Step{}
}

// put sets a field of obj, and takes it away when value is nil.
func put(obj *object, value any, path ...string) {
	if value == nil {
		unstructured.RemoveNestedField(obj.Object, path...)
		return
	}
	if err := unstructured.SetNestedField(obj.Object, value, path...); err != nil {
		panic(err)
	}
}

// edit gives a change of one field in a world.
func edit(ref plan.Ref, value any, path ...string) func(*clustertest.World) {
	return func(w *clustertest.World) {
		w.Edit(ref, func(o *object) { put(o, value, path...) })
	}
}

func mustContain(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not said in:\n%s", part, text)
		}
	}
}

func sameBytes(t testing.TB, what string, want, got []byte) {
	t.Helper()
	if !bytes.Equal(want, got) {
		t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(string(want), string(got)))
	}
}

// canonical encodes a JSON tree as the package does.
func canonical(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
