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

// TestReportOfARun interrupts a run as it waits and carries it on; the report
// tells of both attempts and of every machine.
func TestReportOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		w.AutoStep(1)
		c := w.Open(nil)
		up := read(t, upgradeOne)
		snap, err := apply.Observe(t.Context(), c, up)
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Compile(up, snap)
		if err != nil {
			t.Fatal(err)
		}
		j := &memory{}
		ctx, cancel := context.WithCancel(t.Context())
		e := &apply.Executor{Cluster: c, Journal: j, Before: apply.LookBefore(p, snap), Holder: apply.Holder{Actor: "ann@a"}, Notify: func(ev apply.Event) {
			if r, ok := ev.(apply.Rolling); ok && r.Rollout.NewReady > 0 {
				cancel()
			}
		}}
		if err := e.Run(ctx, p); !errors.Is(err, apply.ErrInterrupted) {
			t.Fatalf("got %v, want an interruption", err)
		}
		runs, _ := j.Runs(t.Context())
		if r := apply.ReportOf(runs[0]); r.Outcome != "interrupted" {
			t.Errorf("the outcome is %q", r.Outcome)
		}
		e = &apply.Executor{Cluster: c, Journal: j, Holder: apply.Holder{Actor: "bob@b"}}
		if err := e.Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		runs, _ = j.Runs(t.Context())
		r := apply.ReportOf(runs[0])
		if r.Outcome != "done" || r.Attempts != 2 {
			t.Errorf("outcome %q after %d attempts", r.Outcome, r.Attempts)
		}
		if d := cmp.Diff([]string{"ann@a", "bob@b"}, r.Actors); d != "" {
			t.Errorf("actors (-want +got):\n%s", d)
		}
		var steps []string
		for _, s := range r.Steps {
			steps = append(steps, s.ID+" "+s.Outcome)
		}
		want := []string{"preflight done", "aws-example-md-0/create-infrastructure-template done", "aws-example-md-0/patch done", "aws-example-md-0/wait done"}
		if d := cmp.Diff(want, steps); d != "" {
			t.Errorf("steps (-want +got):\n%s", d)
		}
		if len(r.Pools) != 1 || len(r.Pools[0].Before) != 3 {
			t.Fatalf("pools %+v, want the three machines of one pool", r.Pools)
		}
		for _, m := range r.Pools[0].Before {
			if m.Version == "v1.35.2" || m.Node == "" || m.Created == "" || !strings.HasPrefix(m.Image, "ami-") {
				t.Errorf("before: %+v", m)
			}
		}
		news := 0
		for _, m := range r.Pools[0].After {
			if m.Gone == "" {
				news++
				if m.Version != "v1.35.2" || m.Image != "ami-0fedcba9876543210" || m.Ready == "" {
					t.Errorf("after: %+v", m)
				}
			}
		}
		if news != 3 {
			t.Errorf("%d machines are left, want 3: %+v", news, r.Pools[0].After)
		}
	})
}

// TestReportOfWhatWasFoundDone: a run that was killed, and whose rollout came to
// its end by itself, says so, though no later attempt was begun; one that had told
// its end says nothing of a kill.
func TestReportOfWhatWasFoundDone(t *testing.T) {
	const step = "aws-example-md-0/wait"
	at := func(minute int, phase apply.Phase, step, note string) apply.Record {
		return apply.Record{Attempt: 1, Step: step, Phase: phase, Note: note, At: time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)}
	}
	opened, begun := at(0, apply.Opened, "", ""), at(1, apply.Started, step, "")
	found, closed := at(9, apply.Done, step, "found done"), at(9, apply.Closed, "", "found done")
	for name, c := range map[string]struct {
		records []apply.Record
		want    []apply.ReportTrouble
	}{
		"killed": {[]apply.Record{opened, begun, found, closed},
			[]apply.ReportTrouble{{At: begun.At, Step: step, What: "attempt 1 was cut off at some time after this: killed, or without the cluster. What was left came to its end by itself, and was found done"}}},
		"stalled": {[]apply.Record{opened, begun, at(2, apply.Failed, step, "no capacity"), found, closed},
			[]apply.ReportTrouble{{At: time.Date(2026, 1, 1, 0, 2, 0, 0, time.UTC), Step: step, What: "no capacity"}}},
		"came to its end": {[]apply.Record{opened, begun, at(3, apply.Done, step, ""), at(3, apply.Closed, "", "")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := apply.ReportOf(apply.Run{Upgrade: "one", Number: 1, Plan: plan.Plan{Steps: []plan.Step{{ID: step, Pool: "aws-example-md-0", Wait: &plan.Wait{}}}}, Records: c.records})
			if d := cmp.Diff(c.want, r.Troubles); d != "" || r.Outcome != "done" {
				t.Errorf("outcome %q; troubles (-want +got):\n%s", r.Outcome, d)
			}
		})
	}
}
