package plan_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

const (
	inPlaceStep = awsPool + "/patch-in-place"
	spreadStep  = awsPool + "/wait-in-place"
	drainAndUp  = "kubernetesVersion: v1.35.2, machineImage: ami-new, drain: {nodeDrainTimeout: 10m}"
)

// drainedBy counts the machines of the pool by their drain timeout.
func drainedBy(w *clustertest.World) map[int64]int {
	out := map[int64]int{}
	for _, m := range w.List(capi.Group, "Machine", "default") {
		if strings.HasPrefix(m.GetName(), awsPool) {
			n, _ := capi.Int64At(m, "spec", "deletion", "nodeDrainTimeoutSeconds")
			out[n]++
		}
	}
	return out
}

// TestInPlaceFirst carries out a plan for a Cluster API before v1.12 and looks at
// it again after every move of the world: the machines have the new drain settings
// before the rollout begins, and the plan compiled again is what is left of the
// first.
func TestInPlaceFirst(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.Before112())
	up := onePool(t, drainAndUp)
	first := compile(t, w, up)
	steps := func(ids ...string) []plan.Step {
		out := []plan.Step{first.Steps[0]}
		for _, id := range ids {
			out = append(out, step(t, first, id))
		}
		return out
	}
	left := func(want ...plan.Step) {
		t.Helper()
		if d := cmp.Diff(want, compile(t, w, up).Steps); d != "" {
			t.Fatalf("what is left of the plan (-want +got):\n%s", d)
		}
	}
	left(first.Steps...)
	carry(t, w, up, step(t, first, inPlaceStep))
	rest := steps(spreadStep, createStep, patchStep, waitStep)
	waiting := map[string]bool{}
	for {
		left(rest...)
		s := step(t, first, spreadStep)
		a := first.Assess(slices.IndexFunc(first.Steps, func(o plan.Step) bool { return o.ID == s.ID }), fetch(t, w, s))
		if have := drainedBy(w)[600]; (a.Verdict == plan.Satisfied) != (have == 3) || a.Rollout.NewReady != have || a.Rollout.New != 3 {
			t.Fatalf("%d machines have it, and the wait is %s at %d of %d", have, a.Verdict, a.Rollout.NewReady, a.Rollout.New)
		}
		if a.Verdict == plan.Satisfied {
			break
		}
		waiting[a.Rollout.Waiting] = true
		if !w.Step() {
			t.Fatalf("nothing moves any more, waiting: %s", a.Rollout.Waiting)
		}
	}
	for _, words := range []string{"MachineSet aws-example-md-0-", "Machine aws-example-md-0-"} {
		found := false
		for line := range waiting {
			found = found || strings.HasPrefix(line, words) && strings.HasSuffix(line, "has nodeDrainTimeoutSeconds absent, 600 is wanted")
		}
		if !found {
			t.Errorf("never waited for a %s: %v", words, waiting)
		}
	}
	carry(t, w, up, step(t, first, createStep))
	left(rest...)
	carry(t, w, up, step(t, first, patchStep))
	for w.Step() {
		if n := drainedBy(w)[0]; n > 0 {
			t.Fatalf("%d machines have no drain timeout during the rollout", n)
		}
	}
	if p := compile(t, w, up); !p.IsEmpty() {
		t.Errorf("in the end there is left %q", stepsOf(p))
	}
	// Each step stays done, though later ones moved on.
	for i, s := range first.Steps {
		if a := first.Assess(i, fetch(t, w, s)); a.Verdict != plan.Satisfied {
			t.Errorf("%s is %s in the end: %+v", s.ID, a.Verdict, a.Differences)
		}
	}
}

// TestInPlaceTogetherWouldBeLate shows what the first patch is for: in the same
// world the old machines never have the settings when all is written at once.
func TestInPlaceTogetherWouldBeLate(t *testing.T) {
	t.Parallel()
	for name, adjust := range map[string][]clustertest.Adjust{"v1.11": {clustertest.Before112()}, "v1.12": nil} {
		w := clustertest.AWSExample(adjust...)
		up := onePool(t, drainAndUp)
		carry(t, w, up, step(t, compile(t, w, up), createStep))
		once := step(t, compile(t, clustertest.AWSExample(), up), patchStep)
		live := w.Get(awsRef)
		w.Edit(awsRef, func(o *object) {
			for _, c := range once.Patch.Changes {
				var v any
				if err := json.Unmarshal(c.After, &v); err != nil {
					t.Fatal(err)
				}
				if n, ok := v.(map[string]any); ok {
					v = map[string]any{"nodeDrainTimeoutSeconds": int64(n["nodeDrainTimeoutSeconds"].(float64))}
				}
				put(o, v, c.Path.Tokens()...)
			}
		})
		if live.GetGeneration() == w.Get(awsRef).GetGeneration() {
			t.Fatal("nothing was changed")
		}
		late := false
		old := map[string]bool{}
		for _, m := range w.List(capi.Group, "Machine", "default") {
			old[m.GetName()] = true
		}
		for w.Step() {
			for _, m := range w.List(capi.Group, "Machine", "default") {
				n, _ := capi.Int64At(m, "spec", "deletion", "nodeDrainTimeoutSeconds")
				late = late || m.GetDeletionTimestamp() != nil && old[m.GetName()] && n != 600
			}
		}
		if late != (name == "v1.11") {
			t.Errorf("%s: old machines are drained by old settings: %t", name, late)
		}
	}
}

// TestInPlaceWaitDrifts: nobody else may take the settings back meanwhile.
func TestInPlaceWaitDrifts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edit func(*clustertest.World)
		want string
	}{
		"settings": {edit(awsRef, int64(5), "spec", "template", "spec", "deletion", "nodeDrainTimeoutSeconds"), "spec.template.spec.deletion.nodeDrainTimeoutSeconds"},
		"version":  {edit(awsRef, "v1.35.0", "spec", "template", "spec", "version"), "spec.template.spec.version"},
	} {
		w := clustertest.AWSExample(clustertest.Before112())
		up := onePool(t, drainAndUp)
		p := compile(t, w, up)
		carry(t, w, up, step(t, p, inPlaceStep))
		test.edit(w)
		a := p.Assess(slices.Index(stepsOf(p), spreadStep), fetch(t, w, step(t, p, spreadStep)))
		if a.Verdict != plan.Drifted || a.Differences[0].Path.Dotted() != test.want {
			t.Errorf("%s: %s %+v", name, a.Verdict, a.Differences)
		}
	}
}

func TestInPlaceParallel(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.Before112())
	up := upgrade(t, `
order: parallel
pools:
- {name: aws-example-md-1, kubernetesVersion: v1.35.2}
- {name: aws-example-md-0, kubernetesVersion: v1.35.2, instanceType: m5.xlarge, drain: {nodeDrainTimeout: 10m}}`)
	p := compile(t, w, up)
	want := []string{"preflight", "aws-example-md-0/patch-in-place", "aws-example-md-0/wait-in-place",
		"aws-example-md-1/patch", "aws-example-md-0/create-infrastructure-template", "aws-example-md-0/patch",
		"aws-example-md-1/wait", "aws-example-md-0/wait"}
	if d := cmp.Diff(want, stepsOf(p)); d != "" {
		t.Errorf("steps (-want +got):\n%s", d)
	}
	carryOut(t, w, up, p)
	if again := compile(t, w, up); !again.IsEmpty() {
		t.Errorf("after it was carried out: %q", stepsOf(again))
	}
}

// TestInPlaceExport: what must be committed one after the other stands in files
// of its own.
func TestInPlaceExport(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.Before112())
	up := onePool(t, "kubernetesVersion: v1.35.2, drain: {nodeDrainTimeout: 10m}")
	files, err := plan.Export(compile(t, w, up), observe(t, w, up), plan.Secrets{}, false)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, f := range files {
		content[f.Name] = string(f.Content)
	}
	if len(content) != 3 {
		t.Fatalf("the files are %v", content)
	}
	mustContain(t, content["machinedeployment-aws-example-md-0.patch-in-place.yaml"], "nodeDrainTimeoutSeconds: 600", "commit of its own")
	mustContain(t, content["machinedeployment-aws-example-md-0.patch.yaml"], "v1.35.2")
	if strings.Contains(content["machinedeployment-aws-example-md-0.patch.yaml"], "Drain") {
		t.Error("the second patch has what the first brought")
	}
	mustContain(t, content["kustomization.yaml"], "patch-in-place.yaml", "md-0.patch.yaml")
}

func TestReadRefusesAWaitForWhatMachinesDoNotHave(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.Before112())
	for _, path := range []plan.Pointer{"", "/spec", "/spec/template/spec", "/spec/replicas"} {
		p := compile(t, w, onePool(t, drainAndUp))
		step(t, p, spreadStep).Wait.Propagated[0].Path = path
		p.Digest = p.Sum()
		_, err := plan.Read(encode(t, p))
		if err == nil {
			t.Errorf("%q was taken", path)
			continue
		}
		mustContain(t, err.Error(), "wait-in-place", "which machines do not have")
	}
}
