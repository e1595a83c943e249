package ui_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
)

func TestStates(t *testing.T) {
	pool := func(name string, edit func(*apply.PoolState)) apply.PoolState {
		p := apply.PoolState{PoolStatus: plan.PoolStatus{Namespace: "default", Cluster: "aws-example", Name: name,
			Version: "v1.35.2", Replicas: 3, UpToDate: 3, Complete: true}}
		edit(&p)
		return p
	}
	run := func(step string, n int) *apply.RunState {
		return &apply.RunState{Run: "to-1-35/3", Plan: "sha256:0123", Step: step, Number: n, Steps: 9}
	}
	changes := func(n int) *int { return &n }
	pools := []apply.PoolState{
		pool("at-rest", func(*apply.PoolState) {}),
		pool("as-asked", func(p *apply.PoolState) { p.Changes = changes(0) }),
		pool("to-do", func(p *apply.PoolState) { p.Changes = changes(2) }),
		pool("paused", func(p *apply.PoolState) { p.Paused = true }),
		pool("rolling", func(p *apply.PoolState) {
			p.Complete, p.UpToDate, p.Old, p.Waiting = false, 1, 2, "1 of 3 new Machines are available"
			p.Run = run("rolling/wait", 4)
			p.Holder = &apply.Holder{Actor: "ann@host", Upgrade: "to-1-35", Ticket: "CHG-7", Since: start}
		}),
		pool("stuck", func(p *apply.PoolState) {
			p.Complete, p.UpToDate, p.Old, p.Stall = false, 0, 3, plan.Stall{Cause: "provider-error", Explanation: "The provider cannot make \x1b[31mmachine x."}
			p.Run = run("stuck/wait", 7)
		}),
		pool("changed", func(p *apply.PoolState) {
			p.Run = run("changed/patch", 8)
			p.Run.Drift = "MachineDeployment default/changed spec.paused: reviewed (absent), found true"
		}),
		pool("done", func(p *apply.PoolState) { p.Run = run("", 0) }),
		pool("finished", func(p *apply.PoolState) { p.Run = run("", 0); p.Run.Finished = true }),
		pool("one-left", func(p *apply.PoolState) { p.Run = run("", 0); p.Complete, p.Old, p.Waiting = false, 1, "old Machine x" }),
		pool("gave-up", func(p *apply.PoolState) {
			p.Complete, p.UpToDate, p.Old, p.Stall = false, 0, 3, plan.Stall{Cause: "provider-error", Explanation: "The provider cannot make x.", Next: "Ask it."}
			p.Run = run("gave-up/wait", 7)
			p.Run.Idle, p.Run.Stalled = true, &apply.Stalling{At: start, Because: "no progress for 15m: The provider cannot make x.", Stall: &p.Stall}
		}),
		pool("canary", func(p *apply.PoolState) {
			p.Complete, p.UpToDate, p.Old, p.Hold, p.Proved, p.ProvedSince = false, 0, 3, "canary", 1, "2026-03-01T02:00:00Z"
			p.Run = run("canary/wait-canary", 7)
			p.Holder = &apply.Holder{Actor: "ann@host", Upgrade: "to-1-35", Ticket: "CHG-7", Since: start}
		}),
		pool("held", func(p *apply.PoolState) { p.Complete, p.Paused, p.Hold = false, true, "pause" }),
		pool("waits", func(p *apply.PoolState) { p.Run = run("waits/patch", 5) }),
		pool("overtaken", func(p *apply.PoolState) {
			p.Run = run("overtaken/patch", 5)
			p.Run.Drift, p.Run.Overtaken = "x", "two/1"
		}),
	}
	var b strings.Builder
	if err := ui.States(&b, pools, 0); err != nil {
		t.Fatal(err)
	}
	golden(t, "states.txt", b.String())
	for _, columns := range []int{110, 72} {
		var narrow strings.Builder
		if err := ui.States(&narrow, pools, columns); err != nil {
			t.Fatal(err)
		}
		golden(t, fmt.Sprintf("states-%d.txt", columns), narrow.String())
		for line := range strings.SplitSeq(narrow.String(), "\n") {
			if len(line) > columns {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("an escape sequence of the cluster got through")
	}
}

// TestChanged tells just the pools that are another than before.
func TestChanged(t *testing.T) {
	pool := func(name string, ready int) apply.PoolState {
		return apply.PoolState{PoolStatus: plan.PoolStatus{Namespace: "default", Name: name, Replicas: 3, UpToDate: ready, Waiting: "\x1b[31mit"}}
	}
	var b strings.Builder
	before := []apply.PoolState{pool("a", 1), pool("b", 1), pool("c", 1)}
	if err := ui.Changed(&b, before, []apply.PoolState{pool("a", 1), pool("b", 2), pool("d", 0)}, start); err != nil {
		t.Fatal(err)
	}
	want := "02:00:00 UTC  default/b  rolling, 2/3 up to date, 0 old\n    waits: \\x1b[31mit\n" +
		"02:00:00 UTC  default/d  rolling, 0/3 up to date, 0 old\n    waits: \\x1b[31mit\n" +
		"02:00:00 UTC  default/c  is gone\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestScreen shows a text in the place of the one before, and leaves the last
// one behind.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := ui.NewScreen(&out, 40, 10)
	for _, text := range []string{"first", "second"} {
		s.Show(func(w io.Writer, columns int) error {
			_, err := fmt.Fprintf(w, "%s in %d columns\n", text, columns)
			return err
		})
	}
	s.Close()
	const leave = "\x1b[?1049l"
	_, left, ok := strings.Cut(out.String(), leave)
	if !ok || !strings.HasSuffix(left, "second in 40 columns\n") || strings.Contains(left, "first") {
		t.Errorf("%q", out.String())
	}
}
