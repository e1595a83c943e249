package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// TestMachinesOfFewPools says when Machines and what they refer to are looked up
// by the label of their pool alone, and that all of what is the pool's is found.
func TestMachinesOfFewPools(t *testing.T) {
	t.Parallel()
	unlabelled := func(kind string) func(*clustertest.World) {
		return func(w *clustertest.World) {
			ref := capi.RefOf(machinesOfPool(w)[0])
			switch kind {
			case "AWSMachine":
				ref, _ = capi.ReferenceAt(w.Get(ref), "spec", "infrastructureRef")
			case "KubeadmConfig":
				ref, _ = capi.ReferenceAt(w.Get(ref), "spec", "bootstrap", "configRef")
			}
			w.Edit(ref, func(o *object) {
				unstructured.RemoveNestedField(o.Object, "metadata", "labels", capi.DeploymentNameLabel)
			})
		}
	}
	const extra = "aws-example-extra-000"
	otherSet := func(w *clustertest.World) plan.Ref {
		for _, s := range w.List(capi.Group, "MachineSet", "default") {
			if strings.HasPrefix(s.GetName(), extra) {
				return capi.RefOf(s)
			}
		}
		t.Error("the other pool has no MachineSet")
		return plan.Ref{}
	}
	for _, test := range []struct {
		name  string
		world func(*clustertest.World)
		all   bool
	}{
		{"all have the label", func(*clustertest.World) {}, false},
		{"a Machine has no label", unlabelled("Machine"), true},
		{"an infrastructure machine has no label", unlabelled("AWSMachine"), true},
		{"a bootstrap config has no label", unlabelled("KubeadmConfig"), true},
		{"an infrastructure machine is gone, and its Machine goes", func(w *clustertest.World) {
			m := machinesOfPool(w)[0]
			ref, _ := capi.ReferenceAt(m, "spec", "infrastructureRef")
			w.Delete(ref)
			edit(capi.RefOf(m), "2026-01-01T00:00:00Z", "metadata", "deletionTimestamp")(w)
		}, false},
		{"another pool has the same infrastructure template", func(w *clustertest.World) {
			edit(otherSet(w), awsPool, "spec", "template", "spec", "infrastructureRef", "name")(w)
		}, true},
		{"another pool has the same bootstrap template", func(w *clustertest.World) {
			edit(otherSet(w), awsPool, "spec", "template", "spec", "bootstrap", "configRef", "name")(w)
		}, true},
		{"a set without machines has the same template", func(w *clustertest.World) {
			set := otherSet(w)
			edit(set, awsPool, "spec", "template", "spec", "infrastructureRef", "name")(w)
			edit(set, int64(0), "status", "replicas")(w)
		}, false},
		{"the control plane has the same template", func(w *clustertest.World) {
			ref := map[string]any{"apiGroup": clustertest.InfrastructureGroup, "kind": "AWSMachineTemplate", "name": awsPool}
			edit(controlPlaneRef, ref, "spec", "machineTemplate", "spec", "infrastructureRef")(w)
		}, true},
		{"a MachineSet has no owner", func(w *clustertest.World) {
			w.Edit(otherSet(w), func(o *object) { o.SetOwnerReferences(nil) })
		}, true},
		{"no Machine tells which release runs", func(w *clustertest.World) {
			for _, m := range machinesOfPool(w) {
				w.Delete(capi.RefOf(m))
			}
			for _, s := range w.List(capi.Group, "MachineSet", "default") {
				edit(capi.RefOf(s), int64(0), "status", "replicas")(w)
			}
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := clustertest.AWSExample(clustertest.ExtraPools(1, 2))
			test.world(w)
			up := onePool(t, "kubernetesVersion: v1.35.2, machineImage: ami-new")
			snap := observe(t, w, up)
			all := true
			for _, m := range w.List(capi.Group, "Machine", "default") {
				_, seen := snap.Object(capi.RefOf(m))
				if own := m.GetLabels()[capi.DeploymentNameLabel] == awsPool; own && !seen {
					t.Errorf("Machine %s of the pool was not looked up", m.GetName())
				}
				all = all && seen
			}
			if all != test.all {
				t.Errorf("the Machines of all pools were looked up: %v", all)
			}
			for _, s := range w.List(capi.Group, "MachineSet", "default") {
				if _, seen := snap.Object(capi.RefOf(s)); !seen {
					t.Errorf("MachineSet %s was not looked up", s.GetName())
				}
			}
			compile(t, w, up)
		})
	}
}

// TestMachinesOfManyPools: many names do not go into one request, and what is no
// value of a label does not either.
func TestMachinesOfManyPools(t *testing.T) {
	t.Parallel()
	names := func(n int, name string) (pools []schema.Pool) {
		for i := range n {
			pools = append(pools, schema.Pool{Name: fmt.Sprintf(name, i)})
		}
		return pools
	}
	for _, test := range []struct {
		name string
		with []schema.Pool
		all  bool
	}{
		{"a hundred", names(100, "aws-example-md-%03d"), false},
		{"a thousand", names(1000, "aws-example-md-%03d"), true},
		{"a long name", names(1, strings.Repeat("a", 63)+"-%d"), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := clustertest.AWSExample()
			up := onePool(t, "kubernetesVersion: v1.35.2")
			up.Spec.Pools = append(up.Spec.Pools, test.with...)
			var snap plan.Snapshot
			asked := map[bool]int{}
			for needs := plan.Needs(up, snap); len(needs) > 0; needs = plan.Needs(up, snap) {
				for _, sel := range needs {
					if sel.Kind == "Machine" {
						asked[sel.Pools == ""]++
					}
				}
				got, err := w.Open(nil).Fetch(t.Context(), needs)
				if err != nil {
					t.Fatal(err)
				}
				snap = snap.Merge(got)
			}
			if asked[test.all] != 1 || asked[!test.all] != 0 {
				t.Errorf("the Machines of all pools were asked for %d times, those of these pools %d times", asked[true], asked[false])
			}
		})
	}
}

func TestSelectorOfPools(t *testing.T) {
	t.Parallel()
	sel := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "Machine"}, Label: capi.ClusterNameLabel, LabelValue: "c", Pools: "a,b-1"}
	for labels, want := range map[[2]string]bool{
		{"c", "a"}: true, {"c", "b-1"}: true, {"c", "b"}: false, {"c", "1"}: false, {"c", ""}: false, {"other", "a"}: false,
	} {
		o := &object{Object: map[string]any{"apiVersion": capi.Group + "/v1beta2", "kind": "Machine"}}
		o.SetLabels(map[string]string{capi.ClusterNameLabel: labels[0], capi.DeploymentNameLabel: labels[1]})
		if got := sel.Matches(o); got != want {
			t.Errorf("%q: %v", labels, got)
		}
	}
}
