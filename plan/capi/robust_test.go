package capi_test

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

func TestFingerprint(t *testing.T) {
	tests := []struct {
		name   string
		change func(w *world)
		moves  bool
	}{
		{"nothing", func(w *world) {}, false},
		{"resource versions, heartbeats, times", func(w *world) {
			for _, o := range append(append([]*object{w.md, w.newSet, w.oldSet}, w.new...), w.old...) {
				o.SetResourceVersion("999")
				set(o, "2026-11-22T09:00:00Z", "status", "lastUpdated")
				set(o, int64(7), "status", "observedGeneration")
			}
			list, _, _ := unstructured.NestedSlice(w.old[0].Object, "status", "conditions")
			for _, item := range list {
				item.(map[string]any)["lastTransitionTime"] = "2026-11-22T09:00:00Z"
				item.(map[string]any)["observedGeneration"] = int64(9)
			}
			if list != nil {
				set(w.old[0], list, "status", "conditions")
			}
		}, false},
		{"order", func(w *world) { w.old[0], w.old[1] = w.old[1], w.old[0]; w.newSet, w.oldSet = w.oldSet, w.newSet }, false},
		{"message of a condition", func(w *world) { w.condition(w.new[0], "Ready", "False", "NotReady", "other words") }, false},
		{"counters", func(w *world) { w.counters(w.newSet, 9, 9) }, false},
		{"Machine of another pool", func(w *world) {
			m := w.machine("other-a", w.oldSet)
			m.SetOwnerReferences(nil)
			label(m, "cluster.x-k8s.io/deployment-name", "other")
			w.old = append(w.old, m)
		}, false},
		{"a Machine more", func(w *world) { w.new = append(w.new, w.machine("pool-new-b", w.newSet)) }, true},
		{"a Machine less", func(w *world) { w.old = w.old[:1] }, true},
		{"another Machine of the name", func(w *world) { set(w.new[0], "uid-other", "metadata", "uid") }, true},
		{"phase", func(w *world) { set(w.new[0], "Provisioned", "status", "phase") }, true},
		{"deletion begun", func(w *world) { set(w.old[0], "2026-11-22T07:00:00Z", "metadata", "deletionTimestamp") }, true},
		{"status of a condition", func(w *world) { w.condition(w.new[0], "NodeHealthy", "False", "NodeHealthy", "") }, true},
		{"reason of a condition", func(w *world) { w.condition(w.new[0], "Ready", "False", "Other", "") }, true},
		{"node", func(w *world) { set(w.new[0], "node-a", "status", "nodeRef", "name") }, true},
		{"message of the deletion", func(w *world) { w.condition(w.old[0], "Deleting", "False", "NotDeleting", "one pod less") }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			forms(t, func(t *testing.T, version string) {
				before, after := midway(version), midway(version)
				test.change(after)
				a, b := judge(before.observed()).Fingerprint, judge(after.observed()).Fingerprint
				if (a != b) != test.moves || a == "" {
					t.Errorf("%q to %q, want a move: %t", a, b, test.moves)
				}
			})
		})
	}
	if judge(midway("v1beta1").observed()).Fingerprint != judge(midway("v1beta2").observed()).Fingerprint {
		t.Error("the two versions of the API have different fingerprints")
	}
}

// TestFingerprintMovesWithTheRollout counts the moves of a real rollout, and
// the events after which it moved: those of its Machines alone.
func TestFingerprintMovesWithTheRollout(t *testing.T) {
	last, moves := "", 0
	replay(t, "rollout-1", "md2", func(e event, r capi.Rollout, _ *store) {
		// Machines cannot be told apart from those of others before the
		// MachineDeployment has been seen.
		if last != "" && r.Fingerprint != last && e.T != nil && *e.T > 0.03 {
			moves++
			if e.Object.GetKind() != "Machine" {
				t.Errorf("%s moved it", e)
			}
		}
		last = r.Fingerprint
	})
	if moves != 47 {
		t.Errorf("%d moves", moves)
	}
}

// FuzzJudge damages recorded and hand-made pools, fields of wrong types and all,
// and checks what must hold of any judgement.
func FuzzJudge(f *testing.F) {
	var pools []capi.Observed
	for _, recording := range recordings(f) {
		for _, watch := range []string{"md1", "md2"} {
			seen := 0
			replay(f, recording, watch, func(_ event, _ capi.Rollout, s *store) {
				if seen++; seen%17 == 0 {
					pools = append(pools, s.observed())
				}
			})
		}
	}
	for _, version := range []string{"v1beta1", "v1beta2"} {
		w := midway(version)
		w.deleting(w.old[0], "DrainingNode", drainPDB)
		w.infraMachine(w.new[0], "infra-new")
		w.oldCondition(w.infraMachine(w.old[0], "infra-old"), "Ready", "False", "Error", "DeletionFailed", "no")
		w.cluster = w.object("Cluster", "demo", "")
		pools = append(pools, w.observed(), done(version).observed())
	}
	for seed := range int64(500) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed int64) {
		random := rand.New(rand.NewSource(seed))
		o := damaged(random, pools[random.Intn(len(pools))])
		before := printed(o)
		r := judge(o)
		if after := printed(o); before != after {
			t.Errorf("Judge changed what it was given:\n%s", cmp.Diff(before, after))
		}
		if r.Complete != (r.Waiting == "") {
			t.Errorf("Complete %t, Waiting %q", r.Complete, r.Waiting)
		}
		if r.New+r.Old != len(r.Machines) || r.NewReady > r.New || r.Complete && (r.Old > 0 || r.New != r.Desired) {
			t.Errorf("desired %d, new %d, ready %d, old %d, Machines %d, complete %t", r.Desired, r.New, r.NewReady, r.Old, len(r.Machines), r.Complete)
		}
		if s := r.Suspect(); (s == nil) != (r.Complete || o.MachineDeployment == nil || o.MachineDeployment.Object == nil) {
			t.Errorf("Complete %t, suspected %+v", r.Complete, s)
		}
		for _, s := range append(r.Stalls, r.Suspicions...) {
			if s.Cause == "" || s.Explanation == "" || s.Next == "" {
				t.Errorf("says nothing: %+v", s)
			}
		}
		for _, list := range [][]*object{o.MachineSets, o.Machines, o.InfraMachines} {
			random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		if again := judge(o); again.Fingerprint != r.Fingerprint {
			t.Error("the order of the slices moves the fingerprint")
		}
	})
}

// printed is an Observed as text: maps are printed in order, and NaN is equal
// to itself.
func printed(o capi.Observed) string {
	text := fmt.Sprintln(o.MachineDeployment, o.Cluster)
	for _, list := range [][]*object{o.MachineSets, o.Machines, o.InfraMachines, o.BootstrapConfigs} {
		for _, u := range list {
			text += fmt.Sprintln(u)
		}
	}
	return text
}

func clone(o capi.Observed) capi.Observed {
	all := func(list []*object) []*object {
		var copies []*object
		for _, u := range list {
			if u != nil {
				u = u.DeepCopy()
			}
			copies = append(copies, u)
		}
		return copies
	}
	one := func(u *object) *object { return all([]*object{u})[0] }
	return capi.Observed{
		MachineDeployment: one(o.MachineDeployment), Cluster: one(o.Cluster),
		MachineSets: all(o.MachineSets), Machines: all(o.Machines), InfraMachines: all(o.InfraMachines), BootstrapConfigs: all(o.BootstrapConfigs),
	}
}

// damaged is a copy with one to six fields lost or replaced.
func damaged(random *rand.Rand, o capi.Observed) capi.Observed {
	o = clone(o)
	for range 1 + random.Intn(6) {
		objects := []*object{o.MachineDeployment, o.Cluster}
		for _, list := range [][]*object{o.MachineSets, o.Machines, o.InfraMachines} {
			objects = append(objects, list...)
			if len(list) > 0 && random.Intn(40) == 0 {
				list[random.Intn(len(list))] = nil
			}
		}
		u := objects[random.Intn(len(objects))]
		if u == nil {
			continue
		}
		if random.Intn(50) == 0 {
			u.Object = nil
			continue
		}
		damage(random, u.Object)
	}
	return o
}

// damage walks down to a random field and spoils it.
func damage(random *rand.Rand, value any) {
	junk := []any{nil, "", "Waiting", "2026-11-22T06:00:00Z", int64(-1), int64(0), int64(3), int64(math.MaxInt64), 2.5, math.NaN(), math.Inf(1), true,
		[]any{}, []any{nil, "x", int64(1)}, map[string]any{}, map[string]any{"conditions": "x"}}
	for {
		switch node := value.(type) {
		case map[string]any:
			if len(node) == 0 {
				return
			}
			keys := make([]string, 0, len(node))
			for key := range node {
				keys = append(keys, key)
			}
			slices.Sort(keys) // the same seed, the same damage
			key := keys[random.Intn(len(keys))]
			if random.Intn(4) == 0 {
				if random.Intn(3) == 0 {
					delete(node, key)
				} else {
					node[key] = junk[random.Intn(len(junk))]
				}
				return
			}
			value = node[key]
		case []any:
			if len(node) == 0 {
				return
			}
			i := random.Intn(len(node))
			if random.Intn(4) == 0 {
				node[i] = junk[random.Intn(len(junk))]
				return
			}
			value = node[i]
		default:
			return
		}
	}
}
