package apply

import (
	"context"
	"errors"

	"nodepool/plan"
	"nodepool/schema"
)

// maxRounds bounds gather; the questions of plan end long before.
const maxRounds = 20

// Observe gathers all that compiling up needs: it asks what is needed,
// fetches it, and asks again, until nothing more is. The error is the
// reader's.
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

// Survey gathers and gives how every MachineDeployment in scope stands.
func Survey(ctx context.Context, r Reader, scope plan.Scope) (plan.Snapshot, []plan.PoolStatus, error) {
	snap, err := gather(ctx, r, func(snap plan.Snapshot) []plan.Selector { return plan.SurveyNeeds(scope, snap) })
	if err != nil {
		return plan.Snapshot{}, nil, err
	}
	return snap, plan.Survey(scope, snap), nil
}

func gather(ctx context.Context, r Reader, needs func(plan.Snapshot) []plan.Selector) (plan.Snapshot, error) {
	var snap plan.Snapshot
	for range maxRounds {
		missing := needs(snap)
		if len(missing) == 0 {
			return snap, nil
		}
		got, err := r.Fetch(ctx, missing)
		if err != nil {
			return plan.Snapshot{}, err
		}
		snap = snap.Merge(got)
	}
	return plan.Snapshot{}, errors.New("looking at the cluster led to ever new questions; this is a defect of nodepool, please report it")
}
