package capi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"nodepool/plan/capi"
)

func TestInPlaceReachesOld(t *testing.T) {
	t.Parallel()
	const v1beta1, v1beta2 = "cluster.x-k8s.io/v1beta1", "cluster.x-k8s.io/v1beta2"
	updating := func(w *world, m *object) *object {
		w.condition(m, "Updating", "False", "NotUpdating", "")
		return m
	}
	w := done("v1beta2")
	older := func() *object { return w.machine("m", w.newSet) }
	born := w.object("Machine", "born", "pool-new")
	for name, test := range map[string]struct {
		apiVersion string
		machines   []*object
		want       bool
	}{
		"v1.10 serves v1beta1 alone":         {v1beta1, []*object{older()}, false},
		"v1.10 without machines":             {v1beta1, nil, false},
		"v1.11":                              {v1beta2, []*object{older(), older()}, false},
		"v1.11 and a machine just made":      {v1beta2, []*object{born, older()}, false},
		"v1.12":                              {v1beta2, []*object{updating(w, older())}, true},
		"v1.12 and a machine just made":      {v1beta2, []*object{born, updating(w, older())}, true},
		"v1.12 and a machine that it leaves": {v1beta2, []*object{older(), updating(w, older())}, true},
		"no machine":                         {v1beta2, nil, true},
		"a machine just made":                {v1beta2, []*object{born, nil}, true},
	} {
		if got := capi.InPlaceReachesOld(test.apiVersion, slices.Values(test.machines)); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

// TestInPlaceReachesOldInRecordings asks at every moment of the recorded rollouts
// of Cluster API v1.13.4.
func TestInPlaceReachesOldInRecordings(t *testing.T) {
	t.Parallel()
	asked := 0
	for _, recording := range recordings(t) {
		replay(t, recording, "md2", func(e event, _ capi.Rollout, s *store) {
			asked++
			if !capi.InPlaceReachesOld("cluster.x-k8s.io/v1beta2", slices.Values(s.machines)) {
				t.Errorf("%s %s: taken for an older release", recording, e)
			}
		})
	}
	if asked < 100 {
		t.Errorf("asked %d times", asked)
	}
}

func TestJudgeInPlace(t *testing.T) {
	t.Parallel()
	forms(t, func(t *testing.T, version string) {
		path, value := []string{"deletion", "nodeDrainTimeoutSeconds"}, any(int64(600))
		if version == "v1beta1" {
			path, value = []string{"nodeDrainTimeout"}, "10m0s"
		}
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		inTemplate := append([]string{"spec", "template", "spec"}, path...)
		inMachine := append([]string{"spec"}, path...)
		fields := []capi.InPlaceField{{Path: inTemplate, Value: raw}}
		give := func(w *world) {
			set(w.md, value, inTemplate...)
			set(w.newSet, value, inTemplate...)
			for _, m := range w.new {
				set(m, value, inMachine...)
			}
		}
		for name, test := range map[string]struct {
			from    func(string) *world
			change  func(w *world)
			waiting string // a part of Waiting; empty: complete
			have    int
			of      int
		}{
			"everywhere":       {done, give, "", 2, 2},
			"nowhere":          {done, func(*world) {}, "MachineSet pool-new has " + path[len(path)-1] + " absent, " + string(raw) + " is wanted", 0, 2},
			"the set alone":    {done, func(w *world) { set(w.newSet, value, inTemplate...) }, "Machine pool-new-a has ", 0, 2},
			"the machines":     {done, func(w *world) { give(w); set(w.newSet, "1s", inTemplate...) }, `MachineSet pool-new has ` + path[len(path)-1] + ` "1s"`, 2, 2},
			"one machine left": {done, func(w *world) { give(w); set(w.new[1], "1s", inMachine...) }, `Machine pool-new-b has ` + path[len(path)-1] + ` "1s"`, 1, 2},
			"what is left is being deleted": {done, func(w *world) {
				give(w)
				set(w.new[1], "1s", inMachine...)
				w.deleting(w.new[1], "DrainingNode", "")
			}, "", 1, 1},
			"machines of an earlier rollout": {midway, give, "", 1, 1},
			"no set of the template": {midway, func(w *world) { give(w); w.template(w.md, "v1.36.0", "infra-newer", "config-new") },
				"no MachineSet has the template", 0, 0},
			"no set and no replicas": {midway, func(w *world) {
				w.template(w.md, "v1.36.0", "infra-newer", "config-new")
				set(w.md, int64(0), "spec", "replicas")
			}, "", 0, 0},
			"the pool goes away": {done, func(w *world) { give(w); set(w.md, "2026-11-22T07:00:00Z", "metadata", "deletionTimestamp") },
				"being deleted", 2, 2},
			"nothing there": {done, func(w *world) { w.md = nil }, "not there", 0, 0},
		} {
			t.Run(name, func(t *testing.T) {
				w := test.from(version)
				test.change(w)
				r := judgeInPlace(w.observed(), fields)
				if r.Complete != (test.waiting == "") || !strings.Contains(r.Waiting, test.waiting) || r.Complete != (r.Waiting == "") {
					t.Errorf("complete %t, waiting %q; want %q", r.Complete, r.Waiting, test.waiting)
				}
				if r.NewReady != test.have || r.New != test.of || r.Desired != test.of || r.Old != 0 || !r.InPlace {
					t.Errorf("%d of %d machines, want %d of %d", r.NewReady, r.New, test.have, test.of)
				}
				if !r.Complete && w.md != nil && r.Suspect() == nil {
					t.Error("a standstill would have no explanation")
				}
			})
		}

		t.Run("progress", func(t *testing.T) {
			w := done(version)
			before := judgeInPlace(w.observed(), fields).Fingerprint
			if again := judgeInPlace(w.observed(), fields).Fingerprint; again != before {
				t.Error("the fingerprint moves by itself")
			}
			set(w.newSet, value, inTemplate...)
			if judgeInPlace(w.observed(), fields).Fingerprint == before {
				t.Error("a MachineSet that has it is no progress")
			}
		})
	})
}
