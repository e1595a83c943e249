package apply_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// told gives the report of the only run of j, and what it says of the machines
// of one pool: how many of the old ones are gone, and how many are there.
func told(t *testing.T, j *memory, pool string) (r apply.Report, gone, there int) {
	t.Helper()
	runs, _ := j.Runs(t.Context())
	r = apply.ReportOf(runs[0])
	for _, p := range r.Pools {
		if p.Pool != pool {
			continue
		}
		for _, m := range p.After {
			switch {
			case m.Gone == "":
				there++
			case m.Version == "v1.35.2":
				t.Errorf("the new %s is told as gone: %+v", m.Name, m)
			default:
				if _, err := time.Parse(time.RFC3339, m.Gone); err != nil {
					t.Errorf("%s is gone by %q", m.Name, m.Gone)
				}
				gone++
			}
		}
	}
	return r, gone, there
}

// TestMachinesAfterALostLock: the run that lost its lock tells which machines
// it left, and the one that carries on knows that the others are gone.
func TestMachinesAfterALostLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go w.Run(ctx, time.Second)
		c := w.Open(nil)
		up := read(t, upgradeOne)
		snap, err := apply.Observe(t.Context(), c, up)
		if err != nil {
			t.Fatal(err)
		}
		p, secrets := compile(t, c, up)
		j, lock := &memory{}, &fakeLock{lost: make(chan struct{})}
		e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets, Before: apply.LookBefore(p, snap), Lock: lock, Notify: func(ev apply.Event) {
			if r, ok := ev.(apply.Rolling); ok && r.Rollout.NewReady == 1 && r.Rollout.Old < 3 {
				select {
				case <-lock.lost:
				default:
					close(lock.lost)
				}
			}
		}}
		var lost *apply.LockLostError
		if err := e.Run(t.Context(), p); !errors.As(err, &lost) {
			t.Fatalf("got %v, want a lost lock", err)
		}
		r, gone, there := told(t, j, "aws-example-md-0")
		if r.Outcome != "lost its lock" || r.Open || gone != 1 || there < 3 {
			t.Errorf("%s (open: %v), %d gone, %d there: %+v", r.Outcome, r.Open, gone, there, r.Pools)
		}
		time.Sleep(time.Hour) // the rollout goes on by itself
		if err := (&apply.Executor{Cluster: c, Journal: j, Secrets: secrets}).Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		r, gone, there = told(t, j, "aws-example-md-0")
		if r.Outcome != "done" || gone != 3 || there != 3 {
			t.Errorf("%s, %d gone, %d there: %+v", r.Outcome, gone, there, r.Pools)
		}
		if len(r.Troubles) != 1 || !strings.Contains(r.Troubles[0].What, "lost its lock") {
			t.Errorf("on the way: %+v", r.Troubles)
		}
	})
}

// TestMachinesOfParallelPools: a machine may be gone before the wait for its
// pool begins.
func TestMachinesOfParallelPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", one), clustertest.AdjustPool("aws-example-md-1", one))
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go w.Run(ctx, time.Second)
		c := w.Open(nil)
		up := read(t, parallelUpgrade("", ""))
		snap, err := apply.Observe(t.Context(), c, up)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := compile(t, c, up)
		j := &memory{}
		e := &apply.Executor{Cluster: c, Journal: j, Before: apply.LookBefore(p, snap), Notify: func(ev apply.Event) {
			if d, ok := ev.(apply.StepDone); ok && d.Step.ID == "aws-example-md-0/patch" {
				time.Sleep(time.Hour)
			}
		}}
		if err := e.Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		for _, pool := range []string{"aws-example-md-0", "aws-example-md-1"} {
			if _, gone, there := told(t, j, pool); gone != 1 || there != 1 {
				t.Errorf("%s: %d gone, %d there", pool, gone, there)
			}
		}
	})
}

// TestMachinesOfAStall: the machine that is stuck is in the table, and the
// journal says by what.
func TestMachinesOfAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, upgradeOne)
		s.Break(canaryPool, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
		wantStall(t, s.e.Run(t.Context(), s.plan), "provider-error")
		r, gone, there := told(t, s.j, "aws-example-md-0")
		if gone != 0 || there != 4 || r.Outcome != "stalled" || r.Open {
			t.Errorf("%s (open: %v), %d gone, %d there: %+v", r.Outcome, r.Open, gone, there, r.Pools)
		}
		if r.Stall == nil || r.Stall.Cause != "provider-error" || r.Stall.Next == "" || r.Stall.Name == "" || !strings.Contains(r.Stall.Message, "InvalidAMIID.NotFound") {
			t.Errorf("stalled by %+v", r.Stall)
		}
	})
}

// TestKilledAttempt: an attempt that has not told its end is told when the next
// one begins; and in a run of several pools, one that stalls while another goes
// on ends nothing.
func TestKilledAttempt(t *testing.T) {
	p := plan.Plan{Steps: []plan.Step{{ID: "a/wait", Pool: "a"}, {ID: "b/wait", Pool: "b"}}}
	at := func(s int) time.Time { return time.Date(2026, 1, 2, 3, 0, s, 123456789, time.UTC) }
	records := []apply.Record{
		{Phase: apply.Opened, At: at(0), Attempt: 1},
		{Step: "a/wait", Phase: apply.Started, At: at(1), Attempt: 1},
		{Phase: apply.Opened, At: at(9), Attempt: 2},
		{Step: "a/wait", Phase: apply.Failed, At: at(10), Attempt: 2, Note: "stalled: step a/wait: why"},
		{Step: "b/wait", Phase: apply.Done, At: at(11), Attempt: 2},
		{Phase: apply.Failed, Note: "ended", At: at(12), Attempt: 2},
		{Phase: apply.Opened, At: at(13), Attempt: 3},
	}
	r := apply.ReportOf(apply.Run{Plan: p, Records: records})
	want := []apply.ReportTrouble{
		{At: at(1).Truncate(time.Second), Step: "a/wait", What: "attempt 1 was cut off at some time after this: killed, or without the cluster"},
		{At: at(10).Truncate(time.Second), Step: "a/wait", What: "why"},
	}
	if d := cmp.Diff(want, r.Troubles); d != "" {
		t.Errorf("on the way (-want +got):\n%s", d)
	}
	if !r.Open || r.Outcome != "unfinished" || r.HeldBy(nil).Because == r.Because || r.HeldBy(&apply.Holder{}).Outcome != apply.Running {
		t.Errorf("%+v", r)
	}
	if r := apply.ReportOf(apply.Run{Plan: p, Records: records[:6]}); r.Open || r.Outcome != "stalled" {
		t.Errorf("open: %v, %s", r.Open, r.Outcome)
	}
}

// TestCanaryIsRecorded: which machine, for how long, and what the command said.
func TestCanaryIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("canary: {machines: 1, soak: 10m, command: [./smoke, x]}"))
		if err := s.e.Run(t.Context(), s.plan); err != nil {
			t.Fatal(err)
		}
		r, _, _ := told(t, s.j, "aws-example-md-0")
		for _, step := range r.Steps {
			if !step.Canary {
				continue
			}
			if len(step.Canaries) != 1 {
				t.Fatalf("canaries %+v", step.Canaries)
			}
			c := step.Canaries[0]
			if c.Machine == "" || c.Ready < 600 || c.Ready > 700 || len(c.Command) != 2 || c.Output != "./smoke says[31m: [x]" {
				t.Errorf("%+v", c)
			}
			return
		}
		t.Error("no step of a canary is told")
	})
}
