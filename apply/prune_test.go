package apply_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

var pruned = schema.ClusterRef{Name: "aws-example", Namespace: "default"}

const imageOnly = `
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: aws-example-image}
spec:
  cluster: {name: aws-example}
  pools: [{name: aws-example-md-0, machineImage: %s}]
`

// unused is a world in which four upgrades left two templates that nothing
// needs, and the journals of the upgrades.
func unused(t *testing.T) (*clustertest.World, []apply.Past) {
	t.Helper()
	w := clustertest.AWSExample(clustertest.ControlPlaneVersion("v1.34.3"),
		clustertest.AdjustPool("aws-example-md-0", one), clustertest.AdjustPool("aws-example-md-1", one))
	w.AutoStep(1)
	var journals []apply.Past
	for _, image := range []string{"ami-1", "ami-2", "ami-3", "ami-4"} {
		up := read(t, fmt.Sprintf(imageOnly, image))
		c, j := w.Open(nil), &memory{}
		p, secrets := compile(t, c, up)
		if err := (&apply.Executor{Cluster: c, Journal: j, Secrets: secrets}).Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		journals = append(journals, j)
	}
	return w, journals
}

func prunePlan(t *testing.T, c apply.Cluster, journals []apply.Past) plan.Plan {
	t.Helper()
	_, p, err := apply.Prune(t.Context(), c, pruned, plan.PruneOptions{}, journals...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// deletes gives the deletes of a world, with what each demanded.
func deletes(w *clustertest.World) []clustertest.Write {
	var out []clustertest.Write
	for _, wr := range w.Writes() {
		if wr.Op == clustertest.Delete {
			out = append(out, wr)
		}
	}
	return out
}

func TestPruneDeletesWithPreconditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, journals := unused(t)
		c := w.Open(nil)
		p := prunePlan(t, c, journals)
		var want []clustertest.Write
		for _, s := range p.Steps {
			o := w.Get(s.Delete.Ref)
			want = append(want, clustertest.Write{Op: clustertest.Delete, Ref: s.Delete.Ref, UID: string(o.GetUID()), ResourceVersion: o.GetResourceVersion()})
		}
		if len(want) != 2 {
			t.Fatalf("the plan deletes %d templates, want 2", len(want))
		}
		findings, err := apply.Validate(t.Context(), c, p, fetchAll(t, c, p), plan.Secrets{})
		if err != nil || len(findings) != 2 || findings[0].Severity != plan.Pass {
			t.Errorf("dry runs: %+v, %v", findings, err)
		}
		if err := (&apply.Executor{Cluster: c, Journal: &memory{}}).Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		got := deletes(w)
		for i := range got {
			got[i].Handle = 0
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("deletes (-want +got):\n%s", diff)
		}
		if again := prunePlan(t, c, journals); !again.IsEmpty() {
			t.Errorf("the next plan deletes %d more", len(again.Steps))
		}
	})
}

func fetchAll(t *testing.T, c apply.Cluster, p plan.Plan) plan.Snapshot {
	t.Helper()
	var sels []plan.Selector
	for _, s := range p.Steps {
		sels = append(sels, s.Reads()...)
	}
	snap, err := c.Fetch(t.Context(), sels)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// Somebody names the template again, or changes it, at every point between the
// plan and the delete.
func TestPruneDrift(t *testing.T) {
	again := func(template plan.Ref) func(*clustertest.World) {
		return func(w *clustertest.World) {
			w.Edit(clustertest.MachineDeployment("aws-example-md-1"), func(o *unstructured.Unstructured) {
				if err := unstructured.SetNestedMap(o.Object, map[string]any{"apiGroup": template.Group, "kind": template.Kind, "name": template.Name},
					"spec", "template", "spec", "infrastructureRef"); err != nil {
					panic(err)
				}
			})
		}
	}
	edited := func(template plan.Ref) func(*clustertest.World) {
		return func(w *clustertest.World) {
			w.Edit(template, func(o *unstructured.Unstructured) { o.SetAnnotations(map[string]string{"example.com/keep": "yes"}) })
			w.Edit(template, func(o *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(o.Object, "ami-x", "spec", "template", "spec", "ami", "id")
			})
		}
	}
	for name, test := range map[string]struct {
		change func(plan.Ref) func(*clustertest.World)
		op     clustertest.Op
		at     int
		gone   int // templates deleted before it was found
	}{
		"named again before the first look":  {again, clustertest.Fetch, 1, 0},
		"named again before the last look":   {again, clustertest.Fetch, 2, 0},
		"named again before the second one":  {again, clustertest.Fetch, 4, 1},
		"edited before the first look":       {edited, clustertest.Fetch, 1, 0},
		"edited right before the delete":     {edited, clustertest.Delete, 1, 0},
		"edited right before the second one": {edited, clustertest.Delete, 2, 1},
	} {
		run(t, name, func(t *testing.T) {
			w, journals := unused(t)
			c := w.Open(nil)
			p := prunePlan(t, c, journals)
			victim := p.Steps[test.gone].Delete.Ref
			c = w.Open(nil)
			c.Before(test.at, test.change(victim), test.op)
			err := (&apply.Executor{Cluster: c, Journal: &memory{}}).Run(t.Context(), p)
			var drift *apply.DriftError
			if !errors.As(err, &drift) || drift.Step != p.Steps[test.gone].ID {
				t.Fatalf("got %v, want drift at %s", err, p.Steps[test.gone].ID)
			}
			if w.Get(victim) == nil {
				t.Error("it was deleted all the same")
			}
			if got := len(deletes(w)); got != test.gone || drift.Written != (test.gone > 0) {
				t.Errorf("%d deletes, want %d; written: %v", got, test.gone, drift.Written)
			}
		})
	}
}

// TestPruneCrashPoints kills a prune at every call and runs it again: what was
// deleted with its reply lost is found done, and nothing else goes.
func TestPruneCrashPoints(t *testing.T) {
	points := 0
	for _, mode := range crashModes(clustertest.LoseRequest, clustertest.LoseReply, clustertest.CrashBefore, clustertest.CrashAfter) {
		for n := 1; ; n++ {
			blown := false
			run(t, fmt.Sprintf("%s/%d", mode, n), func(t *testing.T) {
				w, journals := unused(t)
				p := prunePlan(t, w.Open(nil), journals)
				first := w.Open(&clustertest.Fuse{At: n, Mode: mode})
				j := &memory{}
				err := (&apply.Executor{Cluster: first, Journal: j}).Run(t.Context(), p)
				if blown = first.Blown(); !blown && err != nil {
					t.Fatal(err)
				}
				// Both ways to carry on: the plan as it was, and a new one.
				if err := (&apply.Executor{Cluster: w.Open(nil), Journal: j}).Run(t.Context(), p); err != nil {
					t.Fatalf("the second run: %v", err)
				}
				if left := prunePlan(t, w.Open(nil), journals); !left.IsEmpty() {
					t.Errorf("the next plan deletes %d more", len(left.Steps))
				}
				var want, got []string
				for _, s := range p.Steps {
					want = append(want, "delete "+s.Delete.Ref.String())
				}
				for _, wr := range deletes(w) {
					got = append(got, wr.String())
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("deletes of both runs (-want +got):\n%s", diff)
				}
			})
			if !blown {
				points += n - 1
				break
			}
		}
	}
	if points < 20 && !raceDetector {
		t.Errorf("only %d crash points were tried", points)
	}
	t.Logf("%d crash points", points)
}

// A saved plan is held against the journals of now.
func TestPruneConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, journals := unused(t)
		c := w.Open(nil)
		saved := prunePlan(t, c, journals)
		if err := apply.Confirm(saved, prunePlan(t, c, journals)); err != nil {
			t.Errorf("nothing changed: %v", err)
		}
		journals[1].(*memory).opened = true // a run that names ami-1 and ami-2 is begun again
		journals[1].(*memory).records = journals[1].(*memory).records[:1]
		var drift *apply.DriftError
		if err := apply.Confirm(saved, prunePlan(t, c, journals)); !errors.As(err, &drift) || drift.Step != saved.Steps[0].ID {
			t.Errorf("got %v, want drift", err)
		}
	})
}
