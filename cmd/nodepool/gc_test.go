package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"nodepool/apply"
	"nodepool/plan"
)

// TestLateCollector is about the first collection, which brings the usual target
// back: at the latest when a wait begins.
func TestLateCollector(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(usualGC))
	target := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	lateCollector()
	if got := target(); got != startGC {
		t.Errorf("the target at the start is %d, want %d", got, startGC)
	}
	collected(t, target, usualGC)

	c := lateCollector()
	told := 0
	notify := c.leanWaits(func(apply.Event) { told++ })
	notify(apply.StepStarted{Step: plan.Step{Patch: &plan.Patch{}}})
	if got := target(); got != startGC {
		t.Errorf("the target is %d before the first wait, want %d", got, startGC)
	}
	notify(apply.StepStarted{Step: plan.Step{Wait: &plan.Wait{}}})
	for deadline := time.Now().Add(10 * time.Second); target() != usualGC; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("the target of a wait is %d, want %d", target(), usualGC)
		}
	}
	if told != 2 {
		t.Errorf("%d events were told, want 2", told)
	}

	t.Setenv("GOGC", "100")
	if lateCollector() != nil {
		t.Error("GOGC is not left alone")
	}
}

// collected waits until a collection has set the target.
func collected(t *testing.T, target func() uint64, want uint64) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.GC(); target() != want; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("the target is %d behind a collection, want %d", target(), want)
		}
	}
}
