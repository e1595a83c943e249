package apply

import (
	"context"
	"errors"

	"nodepool/plan"
	"nodepool/schema"
)

// maxRounds bounds Observe; Compile's questions end long before.
const maxRounds = 20

// Observe gathers all that compiling up needs: it asks what is needed,
// fetches it, and asks again, until nothing more is. The error is the
// reader's.
func Observe(ctx context.Context, r Reader, up schema.Upgrade) (plan.Snapshot, error) {
	var snap plan.Snapshot
	for range maxRounds {
		needs := plan.Needs(up, snap)
		if len(needs) == 0 {
			return snap, nil
		}
		got, err := r.Fetch(ctx, needs)
		if err != nil {
			return plan.Snapshot{}, err
		}
		snap = snap.Merge(got)
	}
	return plan.Snapshot{}, errors.New("looking at the cluster led to ever new questions; this is a defect of nodepool, please report it")
}

// Survey gathers and gives how every MachineDeployment in scope stands.
func Survey(ctx context.Context, r Reader, scope plan.Scope) (plan.Snapshot, []plan.PoolStatus, error) {
	var snap plan.Snapshot
	for range maxRounds {
		needs := plan.SurveyNeeds(scope, snap)
		if len(needs) == 0 {
			return snap, plan.Survey(scope, snap), nil
		}
		got, err := r.Fetch(ctx, needs)
		if err != nil {
			return plan.Snapshot{}, nil, err
		}
		snap = snap.Merge(got)
	}
	return plan.Snapshot{}, nil, errors.New("looking at the cluster led to ever new questions; this is a defect of nodepool, please report it")
}
