package ui_test

import (
	"strings"
	"testing"

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
	}
	var b strings.Builder
	if err := ui.States(&b, pools); err != nil {
		t.Fatal(err)
	}
	golden(t, "states.txt", b.String())
	if strings.Contains(b.String(), "\x1b") {
		t.Error("an escape sequence of the cluster got through")
	}
}
