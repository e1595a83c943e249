package apply

import (
	"context"
	"slices"
	"time"

	"nodepool/plan"
	"nodepool/schema"
)

// Past tells of runs: a Journal of one upgrade, or a store of the journals of
// all upgrades of a cluster.
type Past interface {
	Runs(ctx context.Context) ([]Run, error)
}

// Prune looks at all that could refer to a template of the cluster and
// compiles the plan that deletes those that nothing refers to; see plan.Prune.
// The journals are all those of the cluster. The error is the reader's or a
// journal's: what cannot be read could be what needs a template.
func Prune(ctx context.Context, r Reader, cluster schema.ClusterRef, o plan.PruneOptions, journals ...Past) (plan.Snapshot, plan.Plan, error) {
	runs, err := pastRuns(ctx, journals)
	if err != nil {
		return plan.Snapshot{}, plan.Plan{}, err
	}
	snap, err := gather(ctx, r, func(snap plan.Snapshot) []plan.Selector { return plan.PruneNeeds(cluster, o, snap, runs) })
	if err != nil {
		return plan.Snapshot{}, plan.Plan{}, err
	}
	p, err := plan.Prune(cluster, o, snap, runs)
	return snap, p, err
}

// pastRuns gives the runs of all journals by the time of their last record.
func pastRuns(ctx context.Context, journals []Past) ([]plan.PastRun, error) {
	var all []Run
	for _, j := range journals {
		runs, err := j.Runs(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	slices.SortStableFunc(all, func(a, b Run) int { return a.last().Compare(b.last()) })
	out := make([]plan.PastRun, len(all))
	for i, r := range all {
		out[i] = plan.PastRun{Name: r.Name(), Plan: r.Plan, Unfinished: !r.Closed()}
	}
	return out, nil
}

// Confirm holds a saved prune plan against a new one made with the same
// options: what a journal has come to need since is drift, too. References in
// the cluster are the business of each step.
func Confirm(saved, now plan.Plan) error {
	for _, s := range saved.Steps {
		if s.Delete == nil {
			continue
		}
		for _, f := range now.Findings {
			if f.Code == plan.CheckKept && f.Object == s.Delete.Ref {
				return &DriftError{Step: s.ID, Differences: []plan.Difference{{Object: s.Delete.Ref,
					Reviewed: "(unused)", Found: f.Message, Because: "it must stay"}}}
			}
		}
	}
	return nil
}

// last is when the run was heard of last.
func (r Run) last() (at time.Time) {
	if n := len(r.Records); n > 0 {
		at = r.Records[n-1].At
	}
	return at
}
