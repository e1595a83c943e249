package capi_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

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
	for what, other := range map[string]func(capi.Observed) capi.Observed{"slim": slim, "packed": packed, "belonging": belonging} {
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

// packed gives what a wait holds.
func packed(o capi.Observed) capi.Observed {
	var s capi.Slimmer
	o = clone(o)
	pack := func(list []*object) (out []*capi.Packed) {
		for _, obj := range list {
			out = append(out, s.PackForJudge(obj))
		}
		return out
	}
	o.Kept = &capi.Kept{Machines: pack(o.Machines), InfraMachines: pack(o.InfraMachines), BootstrapConfigs: pack(o.BootstrapConfigs)}
	o.Machines, o.InfraMachines, o.BootstrapConfigs = nil, nil, nil
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
	for _, obj := range capi.Belonging(capi.RefOf(o.MachineDeployment), func(key string) []*object { return index[key] }, func(o *object) *object { return o }) {
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

// TestSlimForPlan says what is kept of a Machine and of what it refers to.
func TestSlimForPlan(t *testing.T) {
	const infrastructure, bootstrap = "infrastructure.cluster.x-k8s.io/v1beta2", "bootstrap.cluster.x-k8s.io/v1beta2"
	at := func(kind string, more map[string]any) map[string]any {
		maps.Copy(more, map[string]any{"type": kind, "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": int64(1), "message": ""})
		return more
	}
	kept := func(kind string, timed bool) map[string]any {
		out := map[string]any{"type": kind, "status": "True", "reason": "R"}
		if timed {
			out["lastTransitionTime"] = "2026-01-01T00:00:00Z"
		}
		return out
	}
	metadata := func(more map[string]any) map[string]any {
		maps.Copy(more, map[string]any{"name": "m", "namespace": "team", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
			"labels": map[string]any{"any": "label"}, "annotations": map[string]any{"any": "annotation"}, "finalizers": []any{"f"}})
		return more
	}
	long := strings.Repeat("x", 100)
	spec := map[string]any{"ami": map[string]any{"id": "ami-1"}, "joinConfiguration": map[string]any{"x": []any{int64(1), nil, true, long}, "y": map[string]any{}, "z": []any{}}}
	for name, c := range map[string]struct {
		apiVersion, kind string
		spec             any
		status           map[string]any
	}{
		"machine": {"cluster.x-k8s.io/v1beta2", "Machine", spec, map[string]any{
			"conditions": []any{kept("Available", true), kept("InfrastructureReady", true), kept("NodeReady", true), kept("Updating", false)},
			"nodeRef":    map[string]any{"name": "node"}, "nodeInfo": map[string]any{"kubeletVersion": "v1", "osImage": "Linux 1"}, "phase": "Running"}},
		"infrastructure machine":              {infrastructure, "AWSMachine", map[string]any{"ami": map[string]any{"id": "ami-1"}}, nil},
		"infrastructure machine of any other": {infrastructure, "OtherMachine", spec, nil},
		"bootstrap config":                    {bootstrap, "KubeadmConfig", spec, nil},
	} {
		if c.status == nil {
			c.status = map[string]any{"conditions": []any{kept("Available", false), kept("InfrastructureReady", false), kept("NodeReady", false), kept("Updating", false)}, "phase": "Running",
				"nodeRef": map[string]any{"name": "node"}, "nodeInfo": map[string]any{"kubeletVersion": "v1", "osImage": "Linux 1"}}
		}
		owner := map[string]any{"kind": "MachineSet", "name": "s", "uid": "us", "controller": true}
		whole := &object{Object: map[string]any{"apiVersion": c.apiVersion, "kind": c.kind, "spec": runtime.DeepCopyJSONValue(spec),
			"metadata": metadata(map[string]any{"generation": int64(1), "resourceVersion": "7", "managedFields": []any{map[string]any{"manager": "m"}},
				"ownerReferences": []any{map[string]any{"kind": "Cluster", "name": "c"}, maps.Clone(owner)}}),
			"status": map[string]any{"addresses": []any{"10.0.0.1"}, "phase": "Running", "nodeRef": map[string]any{"name": "node", "uid": "n"}, "nodeInfo": map[string]any{"kubeletVersion": "v1", "osImage": "Linux 1", "bootID": "b"},
				"conditions": []any{at("Available", map[string]any{}), at("InfrastructureReady", map[string]any{}), at("NodeReady", map[string]any{}), at("Updating", map[string]any{})}}}}
		want := &object{Object: map[string]any{"apiVersion": c.apiVersion, "kind": c.kind, "spec": c.spec, "status": c.status,
			"metadata": metadata(map[string]any{"ownerReferences": []any{owner}})}}
		var s capi.Slimmer
		for range 2 { // the second finds all kept already
			if diff := cmp.Diff(want, s.SlimForPlan(whole.DeepCopy())); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// TestShare: nothing is left out, and what two objects hold in common is kept once.
func TestShare(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		w := midway(version)
		var s capi.Slimmer
		all := slices.Concat(w.old, w.new, []*object{w.md, w.oldSet, w.newSet})
		for _, o := range all {
			o.Object["other"] = map[string]any{"deep": []any{map[string]any{"n": int64(1), "none": nil, "half": 0.5}, []any{}, map[string]any{}}}
			first, second := s.Share(o.DeepCopy()), s.Share(o.DeepCopy())
			if diff := cmp.Diff(o, first); diff != "" {
				t.Errorf("%s (-want +got):\n%s", o.GetName(), diff)
			}
			first.Object["other"].(map[string]any)["mark"] = true
			if second.Object["other"].(map[string]any)["mark"] != true {
				t.Errorf("%s: what is the same is kept twice", o.GetName())
			}
			delete(first.Object["other"].(map[string]any), "mark")
		}
	})
}

// TestShareTellsApart: what is nearly the same stays what it is.
func TestShareTellsApart(t *testing.T) {
	trees := []any{
		map[string]any{"a": "1"}, map[string]any{"a": int64(1)}, map[string]any{"a": 1.0}, map[string]any{"a": nil}, map[string]any{}, []any{}, nil, "", "a", false,
		map[string]any{"a": map[string]any{}}, map[string]any{"a": []any{}}, map[string]any{"b": "1"}, map[string]any{"a": "b", "b": "a"}, map[string]any{"a": "a", "b": "b"},
		[]any{"a", "b"}, []any{"b", "a"}, []any{[]any{"a"}, "b"}, []any{[]any{"a", "b"}}, []any{nil}, []any{map[string]any{}},
	}
	var s capi.Slimmer
	var got []any
	for _, tree := range trees {
		o := &object{Object: map[string]any{"apiVersion": "v1", "kind": "Any", "metadata": map[string]any{"name": "a"}, "tree": runtime.DeepCopyJSONValue(tree)}}
		got = append(got, s.Share(o).Object["tree"])
	}
	if diff := cmp.Diff(trees, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
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
			machines, shared = append(machines, m), append(shared, s.SlimForPlan(m.DeepCopy()))
		}
		want, n := capi.StartupOf(slices.Values(machines))
		if got, m := capi.StartupOf(slices.Values(shared)); n == 0 || got != want || m != n || want != 3*time.Minute {
			t.Errorf("%s of %d machines, and shared %s of %d", want, n, got, m)
		}
	})
}
