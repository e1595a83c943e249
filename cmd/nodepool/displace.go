package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
	"nodepool/schema"
)

// alive is how long ago, by its own clock, a holder may have shown a sign of
// life and still be taken to be at work. It decides what is said, never what is
// done: that is the lock's affair, which compares no two clocks.
const alive = time.Minute

// atWork gives a run that holds the lock of one of pools and seems to be alive.
// That it cannot be looked at is no error: who takes the lock is told.
func (k keeping) atWork(ctx context.Context, pools []plan.Ref) (journal.Locked, bool) {
	if k.store == nil || len(pools) == 0 {
		return journal.Locked{}, false
	}
	all, err := k.store.Holders(ctx, pools)
	i := slices.IndexFunc(all, func(l journal.Locked) bool { return !l.Dead && time.Since(l.Holder.Renewed) < alive })
	if err != nil || i < 0 {
		return journal.Locked{}, false
	}
	return all[i], true
}

// runAtWork gives a LockedError when the begun run of a plan is at work on any of
// its pools, which need not be those of the plan at hand.
func (k keeping) runAtWork(ctx context.Context, begun plan.Digest) error {
	runs, err := k.Runs(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if run.Closed() || run.Plan.Digest != begun {
			continue
		}
		if l, ok := k.atWork(ctx, poolRefs(run.Plan)); ok && l.Holder.Plan == begun {
			return &apply.LockedError{Pool: l.Pool, Holder: l.Holder, InTheWay: true}
		}
	}
	return nil
}

// poolRefs gives the MachineDeployments that a plan is about, whether or not
// anything is to be done for them.
func poolRefs(p plan.Plan) []plan.Ref {
	names, _ := poolsOf(p)
	var out []plan.Ref
	for _, name := range names {
		out = append(out, plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: p.Upgrade.Cluster.Namespace, Name: name})
	}
	for _, s := range p.Steps {
		if ref, ok := s.Target(); ok && !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

// displace looks for unfinished runs of other upgrades of the cluster on the
// pools of made. With --abandon it gives what closes them; without, they are an
// error. A run that is done with all of those pools, though nobody waited for it,
// is in nobody's way; where it is done with all of its own, it is closed as
// found done. Those who may not list the journals go on without.
func (p *program) displace(c *cli.Context, e *apply.Executor, j keeping, made plan.Plan) (func(context.Context) error, error) {
	if j.store == nil || made.IsEmpty() || made.Blocked || made.Upgrade.Purpose == plan.ForPrune {
		return nil, nil
	}
	runs, err := j.store.Runs(c.Context)
	if err != nil {
		words := "it is not known whether another upgrade is unfinished on these pools: " + err.Error()
		if forbidden := (*apply.ForbiddenError)(nil); errors.As(err, &forbidden) {
			words = "you may not " + forbidden.What() + "; the run goes on, and unfinished runs of other upgrades are not found."
		}
		fmt.Fprintln(p.stderr, ui.Fit("note: "+render.Escape(words), width(p.stderr)))
	}
	others, err := othersOn(c.Context, e.Cluster, runs, made)
	if err != nil {
		return nil, err
	}
	type end struct {
		run  apply.Run
		note string
	}
	var ends []end
	var refused []error
	for _, o := range others {
		switch {
		case len(o.left) > 0 && !c.Bool("abandon"):
			refused = append(refused, o.refusal(made))
		case len(o.left) > 0:
			fmt.Fprintf(p.stderr, "The run %s, which was begun and not finished, is given up when this plan is approved.\n\n", render.Escape(o.run.Name()))
			ends = append(ends, end{o.run, fmt.Sprintf("abandoned: for the plan %s of the upgrade %s", made.Digest.Short(), made.Upgrade.Name)})
		case o.done:
			ends = append(ends, end{o.run, "found done"})
		}
	}
	if len(refused) > 0 || len(ends) == 0 {
		return nil, errors.Join(refused...)
	}
	return func(ctx context.Context) error {
		for _, end := range ends {
			err := j.store.Journal(end.run.Upgrade).Append(ctx, apply.Record{Plan: end.run.Plan.Digest, Phase: apply.Closed, At: time.Now().UTC(),
				Attempt: end.run.Attempts(), Actor: e.Holder.Actor, Note: end.note})
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// other is an unfinished run of another upgrade on pools of a plan.
type other struct {
	run apply.Run
	// left are the pools that both have and that it is not done with; done
	// tells that it is done with all of its own.
	left []string
	done bool
}

func (o other) refusal(made plan.Plan) *apply.UnfinishedError {
	e := apply.UnfinishedRun(o.run, made.Digest)
	e.Other, e.Pools = true, o.left
	return e
}

func othersOn(ctx context.Context, r apply.Reader, runs []apply.Run, made plan.Plan) ([]other, error) {
	pools := poolRefs(made)
	var out []other
	for _, run := range runs {
		of := run.Plan.Upgrade
		if run.Closed() || run.Upgrade == made.Upgrade.Name || of.Cluster != made.Upgrade.Cluster || of.Purpose == plan.ForPrune ||
			!slices.ContainsFunc(poolRefs(run.ToDo()), func(ref plan.Ref) bool { return slices.Contains(pools, ref) }) {
			continue
		}
		flight, err := apply.InFlight(ctx, r, run)
		if err != nil {
			return nil, err
		}
		o := other{run: run, done: true}
		for ref, state := range flight {
			if state.Step == "" {
				continue
			}
			if o.done = false; slices.Contains(pools, ref) {
				o.left = append(o.left, ref.Name)
			}
		}
		slices.Sort(o.left)
		out = append(out, o)
	}
	return out, nil
}

// lookForRuns reads the journals beside a cluster while a plan for it is made,
// and gives what waits for them.
func (p *program) lookForRuns(c *cli.Context, reader apply.Reader, of schema.ClusterRef) func() ([]apply.Run, error) {
	var runs []apply.Run
	var err error
	var under sync.WaitGroup
	if _, live := reader.(apply.Cluster); live {
		under.Go(func() {
			var store *journal.InCluster
			if store, err = p.connect(reader, journal.Cluster{Namespace: of.Namespace, Name: of.Name}); err == nil {
				runs, err = store.Runs(c.Context)
			}
		})
	}
	return func() ([]apply.Run, error) { under.Wait(); return runs, err }
}

// unfinished tells of runs that apply would refuse a plan for, or carry on with
// in its place. Where there is nothing to do, or no live cluster, there is nothing
// to tell.
func (p *program) unfinished(c *cli.Context, reader apply.Reader, made plan.Plan, look func() ([]apply.Run, error)) []plan.Finding {
	if _, live := reader.(apply.Cluster); !live || made.IsEmpty() {
		return nil
	}
	out, err := unfinishedOn(c.Context, reader, made, look)
	switch {
	case err != nil:
		why := err.Error()
		if forbidden := (*apply.ForbiddenError)(nil); errors.As(err, &forbidden) {
			why = "you may not " + forbidden.What()
		}
		return []plan.Finding{{Code: plan.CheckUnfinished, NotVerified: true, Message: "not verified: " + why}}
	case len(out) == 0:
		return []plan.Finding{{Code: plan.CheckUnfinished, Severity: plan.Pass, Message: "no run on these pools is unfinished"}}
	}
	return out
}

func unfinishedOn(ctx context.Context, reader apply.Reader, made plan.Plan, look func() ([]apply.Run, error)) ([]plan.Finding, error) {
	runs, err := look()
	if err != nil {
		return nil, err
	}
	var out []plan.Finding
	say := func(severity plan.Severity, message, remedy string) {
		out = append(out, plan.Finding{Code: plan.CheckUnfinished, Severity: severity, Message: message, Remedy: remedy})
	}
	refuse := func(e *apply.UnfinishedError) {
		say(plan.Warn, fmt.Sprintf("nodepool apply refuses this plan while the plan %s is not finished", ui.Begun(e)),
			fmt.Sprintf("carry on with it (nodepool apply %s), take it back (nodepool rollback %[1]s), or give it up (nodepool apply with --abandon); plan again where that has changed the pools", e.Run))
	}
	own := apply.Unfinished(slices.DeleteFunc(slices.Clone(runs), func(r apply.Run) bool {
		return r.Upgrade != made.Upgrade.Name || r.Plan.Upgrade.Cluster != made.Upgrade.Cluster
	}))
	if own != nil {
		switch e := apply.UnfinishedRun(*own, made.Digest); {
		case own.Plan.Digest == made.Digest:
			say(plan.Pass, fmt.Sprintf("the plan %s is not finished, and is this very plan: nodepool apply carries on with it", ui.Begun(e)), "")
		case own.Plan.Upgrade.SameTask(made.Upgrade):
			say(plan.Warn, fmt.Sprintf("nodepool apply carries on with the plan %s, which was begun for the same, and not with this plan, as long as that goes with the cluster", ui.Begun(e)),
				fmt.Sprintf("go on if the plan of that run was reviewed (nodepool history %s); otherwise take it back (nodepool rollback %[1]s), or give it up (nodepool apply with --abandon)", e.Run))
		default:
			refuse(e)
		}
	}
	others, err := othersOn(ctx, reader, runs, made)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if len(o.left) > 0 {
			refuse(o.refusal(made))
		}
	}
	return out, nil
}

// lookPaused begins to look for pools of a plan that was carried out to its end
// that somebody has paused meanwhile; what it gives waits for that and tells.
func (p *program) lookPaused(ctx context.Context, cluster apply.Reader, made plan.Plan) (say func()) {
	var needs []plan.Selector
	for _, ref := range poolRefs(made) {
		needs = append(needs, plan.Selector{Ref: ref})
	}
	var snap plan.Snapshot
	var looked sync.WaitGroup
	looked.Go(func() {
		snap, _ = cluster.Fetch(ctx, needs) // where it cannot, the run went well all the same
	})
	return func() {
		looked.Wait()
		for _, n := range needs {
			if md, ok := snap.Object(n.Ref); ok && capi.IsPaused(md) {
				fmt.Fprintln(p.stderr, ui.Fit(render.Escape(fmt.Sprintf("note: %s is paused, by somebody else: its rollout is complete, and the next change of it waits until the pause is ended.", n.Ref)), width(p.stderr)))
			}
		}
	}
}
