package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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
	of := made
	if made.OnlyReleases() {
		runs, err := e.Journal.Runs(c.Context)
		if err != nil {
			then(left+"%v.", err)
			return
		}
		if before, ok := lastChange(runs); ok {
			of = before
		}
	}
	of, err := of.Select(stall.Step.Pool)
	if err != nil {
		then(left+"%v.", err)
		return
	}
	back := task{of: of}
	if back.snap, back.plan, err = p.invert(c.Context, c, e.Cluster, of); err != nil {
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
	beside, err := leavesOthers(c.Context, e, made.Digest, back.plan)
	if err != nil {
		then(left+"%v.", err)
		return
	}
	again := *e
	again.Before = apply.LookBefore(back.plan, back.snap)
	if !beside {
		again.GiveUp = apply.GiveUp{Plan: made.Digest, Why: "rolled back by the plan " + back.plan.Digest.Short() + " after a stall"}
	}
	// What the run held is of no more use: what it said of it is not true now.
	stall.Then, stall.Final = "", true
	err = again.Run(c.Context, back.plan)
	if err == nil {
		err = markTakenBack(c.Context, e.Journal, made.Digest, back.plan, e.Holder.Actor)
	}
	if err != nil {
		then("The pool was to be taken back by the plan %s, which did not come to its end: %v. Once the cause is gone, nodepool rollback with the same upgrade file and --pool %s carries on with it.",
			back.plan.Digest.Short(), err, stall.Step.Pool)
		return
	}
	then("The pool is taken back to what it was before this run, by the plan %s.", back.plan.Digest.Short())
}

// sayNext adds to what is told of pools that were taken back what is to be done
// next, once it is known of all pools.
func sayNext(ctx context.Context, e *apply.Executor, made plan.Plan, stalls []*apply.StallError) {
	if len(stalls) == 0 {
		return
	}
	runs, err := e.Journal.Runs(ctx)
	goesOn := err == nil && slices.ContainsFunc(runs, func(r apply.Run) bool { return r.Plan.Digest == made.Digest && !r.Closed() })
	for _, stall := range stalls {
		switch {
		case !stall.Final || strings.Contains(stall.Then, "did not come to its end"):
		case goesOn:
			stall.Then += " The run goes on for its other pools: the same command again carries on with those and leaves this one out. " +
				"To try this pool again before they are done, give that run up with --abandon."
		default:
			stall.Then += " Nothing of the change is left in it. To apply the same upgrade file again is to try the same again: " +
				"remove the cause first, or correct the file."
		}
	}
}

// poolsOf gives the pools that a plan is about, whether or not anything is to
// be done for them.
func poolsOf(p plan.Plan) ([]string, error) {
	up, err := plan.UpgradeOf(p)
	var names []string
	for _, pool := range up.Spec.Pools {
		names = append(names, pool.Name)
	}
	return names, err
}

// leavesOthers reports whether the run of a plan, which back takes back, has
// begun other pools than those of back and is not done with them, so that it is
// not to be closed.
func leavesOthers(ctx context.Context, e *apply.Executor, of plan.Digest, back plan.Plan) (bool, error) {
	run, err := unfinishedOf(ctx, e.Journal, of)
	if run == nil || err != nil {
		return false, err
	}
	pools, err := poolsOf(back)
	if err != nil || len(pools) == 0 {
		return false, err
	}
	flight, err := apply.InFlight(ctx, e.Cluster, *run)
	if err != nil {
		return false, err
	}
	for pool, state := range flight {
		if state.Begun && state.Step != "" && !slices.Contains(pools, pool.Name) {
			return true, nil
		}
	}
	return false, nil
}

// unfinishedOf gives the run of a plan that is not closed, nil when there is
// none.
func unfinishedOf(ctx context.Context, j apply.Journal, of plan.Digest) (*apply.Run, error) {
	runs, err := j.Runs(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(runs, func(r apply.Run) bool { return r.Plan.Digest == of && !r.Closed() })
	if i < 0 {
		return nil, nil
	}
	return &runs[i], nil
}

// markTakenBack records in the run of a plan, which back has taken back, where
// that goes on for other pools, that it no longer has those of back.
func markTakenBack(ctx context.Context, j apply.Journal, of plan.Digest, back plan.Plan, actor string) error {
	run, err := unfinishedOf(ctx, j, of)
	if run == nil || err != nil {
		return err
	}
	pools, err := poolsOf(back)
	if err != nil {
		return err
	}
	for _, pool := range pools {
		for _, s := range slices.Backward(run.Plan.Steps) {
			if s.Pool != pool || slices.Contains(run.TakenBack(), pool) {
				continue
			}
			err := j.Append(ctx, apply.Record{Plan: run.Plan.Digest, Step: s.ID, Phase: apply.TakenBack, At: time.Now().UTC(),
				Attempt: run.Attempts(), Actor: actor, Note: "by the plan " + back.Digest.Short()})
			if err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// showInverse writes the plan that takes a stalled pool back.
func (p *program) showInverse(c *cli.Context, made plan.Plan) func(plan.Plan) error {
	return func(inverse plan.Plan) error {
		fmt.Fprintf(p.stderr, "\nA pool stalled, and the plan %s says to take it back then:\n\n", render.Escape(made.Digest.Short()))
		return p.text(c)(p.stderr, inverse)
	}
}
