package plan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// TestRenewedApart: what the earlier of two snapshots is asked has no bearing on the
// later one.
func TestRenewedApart(t *testing.T) {
	machine := func(cluster string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": capi.Group + "/v1beta2", "kind": "Machine",
			"metadata": map[string]any{"namespace": "default", "name": "m", "labels": map[string]any{capi.ClusterNameLabel: cluster}},
		}}
	}
	all := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "Machine", Namespace: "default"}}
	of := all
	of.Label, of.LabelValue = capi.ClusterNameLabel, "demo"
	before := plan.Snapshot{}.With(all, machine("demo")).Following()
	after := before.Renewed(capi.Whole(machine("other")))
	// The earlier snapshot is asked what nobody asked before there was the later one.
	if n := len(before.List(of)); n != 1 {
		t.Errorf("the earlier snapshot lists %d machines, want 1", n)
	}
	if n := len(after.List(of)); n != 0 {
		t.Errorf("the later snapshot lists %d machines, want none", n)
	}
	if got := (plan.Snapshot{}).Renewed(capi.Whole(machine("demo"))).Objects(); len(got) != 0 {
		t.Errorf("an empty snapshot holds %d objects once it is renewed", len(got))
	}
}

// TestRenewed holds a snapshot that is followed to answer as one that was made anew
// of the same objects, after each of many random changes.
func TestRenewed(t *testing.T) {
	clusters := func(sel plan.Selector, name string) plan.Selector {
		sel.Label, sel.LabelValue = capi.ClusterNameLabel, name
		return sel
	}
	machines := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "Machine", Namespace: "default"}}
	sets := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "MachineSet"}}
	selectors := []plan.Selector{machines, sets, clusters(machines, "demo"), clusters(machines, "other"), clusters(sets, "demo")}
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 1))
		form := func(i, version int) *unstructured.Unstructured {
			return &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": capi.Group + "/v1beta2", "kind": []string{"Machine", "MachineSet"}[i%2],
				"metadata": map[string]any{
					"namespace": []string{"default", "team"}[i/2%2], "name": fmt.Sprintf("object-%02d", i), "resourceVersion": fmt.Sprint(version),
					"labels": map[string]any{capi.ClusterNameLabel: []string{"demo", "other"}[random.IntN(2)]},
				},
			}}
		}
		objects := []*unstructured.Unstructured{form(0, 0)}
		followed := plan.Snapshot{}.With(selectors[0], objects...).Following()
		for step := range 60 {
			before, was := followed, followed.Objects()
			switch i := random.IntN(len(objects)); random.IntN(4) {
			case 0:
				o := form(len(objects), step)
				objects = append(objects, o)
				followed = followed.With(selectors[1], o)
			default:
				var forms []*capi.Packed
				for _, o := range []*unstructured.Unstructured{form(i, step), form(random.IntN(len(objects)), step), form(1000, step)} { // the last it does not hold
					forms = append(forms, capi.Whole(o))
					for at, old := range objects {
						if capi.RefOf(old) == capi.RefOf(o) {
							objects[at] = o
						}
					}
				}
				followed = followed.Renewed(forms...)
			}
			anew := plan.Snapshot{}.With(selectors[0], objects...)
			for _, sel := range selectors {
				if diff := cmp.Diff(anew.List(sel), followed.List(sel)); diff != "" {
					t.Fatalf("seed %d, step %d, %v (-anew +followed):\n%s", seed, step, sel, diff)
				}
			}
			if diff := cmp.Diff(anew.Objects(), followed.Objects()); diff != "" {
				t.Fatalf("seed %d, step %d (-anew +followed):\n%s", seed, step, diff)
			}
			if diff := cmp.Diff(was, before.Objects()); diff != "" {
				t.Fatalf("seed %d, step %d: the snapshot before has changed:\n%s", seed, step, diff)
			}
		}
	}
}
