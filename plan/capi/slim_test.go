package capi_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// judge is capi.Judge, in every test of this package. It holds it to say the
// same of what Slim leaves of the objects, and of what Belonging finds among them
// and those of another pool.
func judge(o capi.Observed) capi.Rollout { return same(o, capi.Judge) }

func judgeInPlace(o capi.Observed, fields []capi.InPlaceField) capi.Rollout {
	return same(o, func(o capi.Observed) capi.Rollout { return capi.JudgeInPlace(o, fields) })
}

func same(o capi.Observed, judge func(capi.Observed) capi.Rollout) capi.Rollout {
	want := judge(o)
	for what, other := range map[string]func(capi.Observed) capi.Observed{"slim": slim, "belonging": belonging} {
		if !whole(o) {
			break // an API server gives objects by their kinds
		}
		if diff := cmp.Diff(want, judge(other(o))); diff != "" {
			panic(fmt.Sprintf("the judgement of the %s objects is another (-whole +%s):\n%s", what, what, diff))
		}
	}
	return want
}

// whole reports whether each object is there and of the kind that its place
// says, and the only one of its name.
func whole(o capi.Observed) bool {
	if o.MachineDeployment == nil {
		return false
	}
	names := map[capi.Ref]bool{}
	for _, part := range []struct {
		list []*object
		is   func(capi.Ref) bool
	}{
		{[]*object{o.MachineDeployment}, func(r capi.Ref) bool { return r.Group == capi.Group && r.Kind == "MachineDeployment" }},
		{o.MachineSets, func(r capi.Ref) bool { return r.Group == capi.Group && r.Kind == "MachineSet" }},
		{o.Machines, func(r capi.Ref) bool { return r.Group == capi.Group && r.Kind == "Machine" }},
		{slices.Concat(o.InfraMachines, o.BootstrapConfigs), func(r capi.Ref) bool { return r.Group != capi.Group && r.Kind != "" }},
	} {
		for _, obj := range part.list {
			if obj == nil || obj.Object == nil {
				return false
			}
			ref := capi.RefOf(obj)
			if names[ref] || !part.is(ref) {
				return false
			}
			names[ref] = true
		}
	}
	return o.Cluster == nil || o.Cluster.Object != nil
}

func slim(o capi.Observed) capi.Observed {
	var s capi.Slimmer
	o = clone(o)
	for _, list := range [][]*object{{o.MachineDeployment}, o.MachineSets, o.Machines, o.InfraMachines, o.BootstrapConfigs} {
		for i := range list {
			list[i] = s.Slim(list[i])
		}
	}
	return o
}

// belonging gives what Belonging finds in a store that holds a twin of the pool,
// under another name, as well.
func belonging(o capi.Observed) capi.Observed {
	index := map[string][]*object{}
	keep := func(obj *object) {
		for _, key := range capi.Keys(obj) {
			index[key] = append(index[key], obj)
		}
	}
	for _, list := range [][]*object{{o.MachineDeployment}, o.MachineSets, o.Machines, o.InfraMachines, o.BootstrapConfigs} {
		for _, obj := range list {
			keep(obj)
			other := obj.DeepCopy()
			other.SetName("other-" + obj.GetName())
			other.SetUID("other-" + obj.GetUID())
			other.SetLabels(nil)
			other.SetOwnerReferences(nil)
			keep(other)
		}
	}
	out := capi.Observed{Cluster: o.Cluster, MachineDeployment: o.MachineDeployment}
	for _, obj := range capi.Belonging(capi.RefOf(o.MachineDeployment), func(key string) []*object { return index[key] }) {
		switch ref := capi.RefOf(obj); {
		case ref.Group != capi.Group:
			out.InfraMachines = append(out.InfraMachines, obj)
		case ref.Kind == "MachineSet":
			out.MachineSets = append(out.MachineSets, obj)
		case ref.Kind == "Machine":
			out.Machines = append(out.Machines, obj)
		}
	}
	return out
}

// TestBelongingLeavesOthersOut: what has nothing to do with the pool is not
// given, and what a store must know to tell is.
func TestBelongingLeavesOthersOut(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		w := midway(version)
		w.infraMachine(w.new[0], "infra-new")
		all := belonging(w.observed())
		if n := len(all.MachineSets) + len(all.Machines) + len(all.InfraMachines); n != 6 {
			t.Errorf("%d objects, want the 2 MachineSets, 3 Machines and 1 AWSMachine of the pool", n)
		}
	})
}

// TestSlimIsSmall holds what is kept of a Machine to a part of it, and that what
// many hold in common is kept once.
func TestSlimIsSmall(t *testing.T) {
	var s capi.Slimmer
	w := midway("v1beta2")
	w.new[0].SetManagedFields(nil)
	unstructured.SetNestedField(w.new[0].Object, "a secret", "status", "userData")
	first, second := s.Slim(w.old[0].DeepCopy()), s.Slim(w.old[1].DeepCopy())
	if _, found, _ := unstructured.NestedString(s.Slim(w.new[0]).Object, "status", "userData"); found {
		t.Error("a field that nothing reads is kept")
	}
	deleting := func(o *object) map[string]any {
		list, _, _ := unstructured.NestedFieldNoCopy(o.Object, "status", "conditions")
		for _, c := range list.([]any) {
			if c.(map[string]any)["type"] == "Deleting" {
				return c.(map[string]any)
			}
		}
		t.Fatal("it has no condition Deleting")
		return nil
	}
	deleting(first)["mark"] = true
	if deleting(second)["mark"] != true {
		t.Error("what two Machines hold in common is kept twice")
	}
}

// TestShareMachine: of a Machine for a plan nothing is missing but, of its
// conditions, what is not read.
func TestShareMachine(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		w := midway(version)
		var s capi.Slimmer
		for _, m := range slices.Concat(w.old, w.new) {
			m.SetLabels(map[string]string{"any": "label"})
			m.SetAnnotations(map[string]string{"any": "annotation"})
			unstructured.SetNestedField(m.Object, "10.0.0.1", "status", "addresses", "internal")
			want := m.DeepCopy()
			got := s.ShareMachine(m.DeepCopy())
			for _, place := range [][]string{{"status", "conditions"}, {"status", "v1beta2", "conditions"}, {"status", "deprecated", "v1beta1", "conditions"}} {
				read, _, _ := unstructured.NestedSlice(got.Object, place...)
				all, _, _ := unstructured.NestedSlice(want.Object, place...)
				for i, c := range all {
					c := c.(map[string]any)
					delete(c, "observedGeneration")
					if c["message"] == "" {
						delete(c, "message")
					}
					if !slices.Contains([]any{"Available", "Ready", "InfrastructureReady", "NodeReady", "NodeHealthy"}, c["type"]) {
						delete(c, "lastTransitionTime")
					} else if i < len(read) && read[i].(map[string]any)["lastTransitionTime"] != c["lastTransitionTime"] {
						t.Errorf("the time of %s is lost", c["type"])
					}
				}
				if len(all) > 0 {
					unstructured.SetNestedSlice(want.Object, all, place...)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", m.GetName(), diff)
			}
		}
	})
}

// TestStartupOfShared: how long machines took to start is told of shared ones too.
func TestStartupOfShared(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		var s capi.Slimmer
		var machines, shared []*object
		for _, m := range midway(version).old {
			m = m.DeepCopy()
			at := func(kind, time string) map[string]any {
				return map[string]any{"type": kind, "status": "True", "lastTransitionTime": time, "reason": "r", "message": "m"}
			}
			m.SetCreationTimestamp(metav1.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			unstructured.SetNestedField(m.Object, "node", "status", "nodeRef", "name")
			conditions := []any{at("InfrastructureReady", "2026-01-01T00:01:00Z"), at("NodeReady", "2026-01-01T00:05:00Z"), at("NodeHealthy", "2026-01-01T00:04:00Z")}
			place := map[string][]string{"v1beta1": {"status", "v1beta2", "conditions"}, "v1beta2": {"status", "conditions"}}[version]
			unstructured.SetNestedSlice(m.Object, conditions, place...)
			machines, shared = append(machines, m), append(shared, s.ShareMachine(m.DeepCopy()))
		}
		want, n := capi.StartupOf(machines)
		if got, m := capi.StartupOf(shared); n == 0 || got != want || m != n || want != 3*time.Minute {
			t.Errorf("%s of %d machines, and shared %s of %d", want, n, got, m)
		}
	})
}
