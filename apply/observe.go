package apply

import (
	"context"
	"errors"
	"slices"

	"nodepool/plan"
	"nodepool/schema"
)

// maxRounds bounds gather; the questions of plan end long before.
const maxRounds = 20

// Observe gathers all that compiling up needs: it asks what is needed,
// fetches it, and asks again, until nothing more is. The error is the
// reader's. Of missing rights it holds all that can be known without them, and
// the snapshot then holds what could be read.
func Observe(ctx context.Context, r Reader, up schema.Upgrade) (plan.Snapshot, error) {
	return gather(ctx, r, func(snap plan.Snapshot) []plan.Selector { return plan.Needs(up, snap) })
}

// ObserveInverse gathers all that inverting p needs.
func ObserveInverse(ctx context.Context, r Reader, p plan.Plan) (plan.Snapshot, error) {
	return gather(ctx, r, func(snap plan.Snapshot) []plan.Selector { return plan.InvertNeeds(p, snap) })
}

// ObserveRecheck gathers all that rechecking the inverse p needs.
func ObserveRecheck(ctx context.Context, r Reader, p plan.Plan) (plan.Snapshot, error) {
	return gather(ctx, r, func(snap plan.Snapshot) []plan.Selector { return plan.RecheckNeeds(p, snap) })
}

// Survey gathers and gives how every MachineDeployment in scope stands. The
// error is as Observe's.
func Survey(ctx context.Context, r Reader, scope plan.Scope) (plan.Snapshot, []plan.PoolStatus, error) {
	snap, err := gather(ctx, r, func(snap plan.Snapshot) []plan.Selector { return plan.SurveyNeeds(scope, snap) })
	if err != nil {
		return snap, nil, err
	}
	return snap, plan.Survey(scope, snap), nil
}

// gather asks and fetches by turns. Where rights are missing it goes on
// without what they would show, to find the others that are.
func gather(ctx context.Context, r Reader, ask func(plan.Snapshot) []plan.Selector) (plan.Snapshot, error) {
	var snap plan.Snapshot
	var missing []error
	for range maxRounds {
		needs := ask(snap)
		if len(needs) == 0 {
			return snap, errors.Join(missing...)
		}
		got, err := r.Fetch(ctx, needs)
		if err != nil {
			rights := forbiddenAlone(err)
			if rights == nil {
				return plan.Snapshot{}, errors.Join(append(missing, err)...)
			}
			missing = append(missing, rights...)
			if got, err = fetchAllowed(ctx, r, needs); err != nil {
				return plan.Snapshot{}, errors.Join(append(missing, err)...)
			}
		}
		snap = snap.Merge(got)
	}
	return plan.Snapshot{}, errors.New("looking at the cluster led to ever new questions; this is a defect of nodepool, please report it")
}

// fetchAllowed answers selectors as far as the caller's rights go, as if all
// of them were Optional.
func fetchAllowed(ctx context.Context, r Reader, selectors []plan.Selector) (plan.Snapshot, error) {
	optional := slices.Clone(selectors)
	for i := range optional {
		optional[i].Optional = true
	}
	got, err := r.Fetch(ctx, optional)
	if err != nil {
		return plan.Snapshot{}, err
	}
	out := got
	for i, s := range selectors {
		if why, unread := got.Unread(optional[i]); unread {
			out = out.Without(s, why)
		} else {
			out = out.With(s, got.List(s)...)
		}
	}
	return out, nil
}
