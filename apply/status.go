package apply

import (
	"context"
	"fmt"
	"slices"

	"nodepool/plan"
)

// PoolState is a pool as it stands, with what is being done to it.
type PoolState struct {
	plan.PoolStatus
	// Changes counts the fields that an upgrade file would change; nil when
	// none was given.
	Changes *int `json:"changes,omitempty"`
	// Run is the unfinished run that has steps for this pool, if any.
	Run *RunState `json:"run,omitempty"`
	// Holder is who holds the pool's lock, if anybody.
	Holder *Holder `json:"holder,omitempty"`
}

// RunState is how far an unfinished run is with one pool.
type RunState struct {
	Run    string      `json:"run"`
	Plan   plan.Digest `json:"plan"`
	Ticket string      `json:"ticket,omitempty"`
	// Step is the first step of the pool that is not satisfied, empty when
	// all are; Number is its place among the Steps of the whole plan.
	Step   string `json:"step,omitempty"`
	Number int    `json:"number,omitempty"`
	Steps  int    `json:"steps"`
	// Drift says why this step, or a later one, can no longer be done as it
	// was reviewed.
	Drift string `json:"drift,omitempty"`
	// Begun tells that the run has changed the pool, or only waits for it.
	Begun bool `json:"-"`
}

// InFlight tells how far an unfinished run is with each of its pools, by
// asking the cluster about every step. The journal says only that there is
// such a run, and which pools it no longer has: they were taken back. The error
// is the reader's.
func InFlight(ctx context.Context, r Reader, run Run) (map[plan.Ref]RunState, error) {
	todo := run.ToDo()
	var needs []plan.Selector
	for _, s := range todo.Steps {
		needs = append(needs, s.Reads()...)
	}
	snap, err := r.Fetch(ctx, distinct(needs))
	if err != nil {
		return nil, err
	}
	report := ReportOf(run)
	out := map[plan.Ref]RunState{}
	pools := map[string]plan.Ref{} // by the pool's name in the plan
	for _, s := range todo.Steps {
		if target, ok := s.Target(); ok {
			pools[s.Pool] = target
			out[target] = RunState{Run: run.Name(), Plan: run.Plan.Digest, Ticket: report.Ticket, Steps: len(run.Plan.Steps),
				Begun: !slices.ContainsFunc(todo.Steps, func(o plan.Step) bool { return o.Patch != nil && o.Pool == s.Pool })}
		}
	}
	for i, s := range todo.Steps {
		target, ok := pools[s.Pool]
		if !ok {
			continue
		}
		state := out[target]
		a := todo.Assess(i, snap)
		state.Begun = state.Begun || s.Patch != nil && a.Verdict == plan.Satisfied
		out[target] = state
		if a.Verdict == plan.Satisfied || (s.Wait != nil && state.Step != "") {
			continue // a wait before its patch waits for nothing yet
		}
		if state.Step == "" {
			state.Step = s.ID
			state.Number = 1 + slices.IndexFunc(run.Plan.Steps, func(o plan.Step) bool { return o.ID == s.ID })
		}
		if _, paused := s.Paused(snap); paused {
			out[target] = state // who carries the run on ends the pause
			continue
		}
		if a.Verdict == plan.Drifted && state.Drift == "" && len(a.Differences) > 0 {
			d := a.Differences[0]
			state.Drift = fmt.Sprintf("%s %s: reviewed %s, found %s", d.Object, d.Path.Dotted(), d.Reviewed, d.Found)
		}
		out[target] = state
	}
	return out, nil
}
