package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/render"
)

// takeBack takes the stalled pool of made back where the plan says so
// (onStall: rollback): the inverse is compiled against the cluster as it is
// now, shown, and carried out without another question, which the reviewed
// plan has answered. What became of it is added to the stall, which stays what
// the run ends with.
func (p *program) takeBack(c *cli.Context, e *apply.Executor, made plan.Plan, stall *apply.StallError, show func(plan.Plan) error) {
	const left = "The pool was to be taken back, and is not: "
	then := func(format string, args ...any) {
		stall.Then = strings.TrimSpace(stall.Then + " " + fmt.Sprintf(format, args...))
	}
	of, err := made.Select(stall.Step.Pool)
	if err != nil {
		then(left+"%v.", err)
		return
	}
	back := task{of: of}
	if back.snap, err = apply.ObserveInverse(c.Context, e.Cluster, of); err != nil {
		then(left+"%v.", err)
		return
	}
	if back.plan, err = plan.Invert(of, back.snap); err != nil {
		then(left+"%v.", err)
		return
	}
	back.plan, _ = validate(c.Context, e.Cluster, back.plan, back.snap, back.secrets)
	if err := show(back.plan); err != nil {
		then(left+"%v.", err)
		return
	}
	switch {
	case back.plan.Blocked:
		var why []string
		for _, f := range back.plan.Findings {
			if f.Severity == plan.Block && f.Waived == "" {
				why = append(why, f.Message)
			}
		}
		then(left+"%s.", strings.Join(why, "; "))
		return
	case back.plan.IsEmpty():
		then("The pool is as it was before: there was nothing to take back.")
		return
	}
	again := *e
	again.Seen = back.snap
	again.GiveUp = apply.GiveUp{Plan: made.Digest, Why: "rolled back by the plan " + back.plan.Digest.Short() + " after a stall"}
	// What the run held is of no more use: what it said of it is not true now.
	stall.Then = ""
	if err := again.Run(c.Context, back.plan); err != nil {
		then("The pool was to be taken back by the plan %s, which did not come to its end: %v. nodepool rollback -f carries on with it.", back.plan.Digest.Short(), err)
		return
	}
	then("The pool is taken back to what it was before this run, by the plan %s.", back.plan.Digest.Short())
}

// showInverse writes the plan that takes a stalled pool back.
func (p *program) showInverse(c *cli.Context, made plan.Plan) func(plan.Plan) error {
	return func(inverse plan.Plan) error {
		fmt.Fprintf(p.stderr, "\nA pool stalled, and the plan %s says to take it back then:\n\n", render.Escape(made.Digest.Short()))
		return p.text(c)(p.stderr, inverse)
	}
}
