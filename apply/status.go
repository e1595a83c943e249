package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	// Finished tells that all steps of the whole plan are satisfied, and the run
	// is not closed yet.
	Finished bool `json:"finished,omitempty"`
	// Idle tells that nobody holds the locks of the run.
	Idle bool `json:"idle,omitempty"`
	// Stalled is how the last attempt ended, where the pool stalled in it.
	Stalled *Stalling `json:"stalled,omitempty"`
	// Overtaken names the other run that has changed the pool since, by its name
	// or, where no journal tells that, by its mark.
	Overtaken string `json:"overtaken,omitempty"`
	// Drift says why this step, or a later one, can no longer be done as it
	// was reviewed.
	Drift string `json:"drift,omitempty"`
	// Begun tells that the run has changed the pool, or only waits for it.
	Begun bool `json:"-"`
}

// Stalling is a stall that a run ended with.
type Stalling struct {
	At time.Time `json:"at"`
	// Because is the stall in words; Stall is nil where nobody could tell what
	// it was.
	Because string      `json:"because"`
	Stall   *plan.Stall `json:"stall,omitempty"`
}

// InFlight tells how far an unfinished run is with each of its pools, by
// asking the cluster about every step. The journal says only that there is
// such a run, how it ended last, and which pools it no longer has: they were
// taken back. Others are runs that may have changed the pools since. The error is
// the reader's.
func InFlight(ctx context.Context, r Reader, run Run, others ...Run) (map[plan.Ref]RunState, error) {
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
	finished := true
	for i, s := range todo.Steps {
		target, ok := pools[s.Pool]
		if !ok {
			continue
		}
		state := out[target]
		at := slices.IndexFunc(report.Steps, func(o ReportStep) bool { return o.ID == s.ID })
		if told := report.Steps[at]; told.Outcome == stalledOutcome {
			state.Stalled = &Stalling{At: told.Ended, Because: told.Because, Stall: told.Stall}
		}
		a := todo.Assess(i, snap)
		state.Begun = state.Begun || s.Patch != nil && a.Verdict == plan.Satisfied
		out[target] = state
		if a.Verdict == plan.Satisfied || (s.Wait != nil && state.Step != "") {
			continue // a wait before its patch waits for nothing yet
		}
		finished = false
		if state.Step == "" {
			state.Step, state.Number = s.ID, at+1
		}
		if _, paused := s.Paused(snap); paused {
			out[target] = state // who carries the run on ends the pause
			continue
		}
		if a.Verdict == plan.Drifted && state.Drift == "" && len(a.Differences) > 0 {
			d := a.Differences[0]
			state.Drift = fmt.Sprintf("%s %s: reviewed %s, found %s", d.Object, d.Path.Dotted(), d.Reviewed, d.Found)
			state.Overtaken = overtaken(run, others, target, snap)
		}
		out[target] = state
	}
	for target, state := range out {
		state.Finished = finished
		out[target] = state
	}
	return out, nil
}

// overtaken names the run that has changed a pool of run since, empty when the
// mark on the pool is one of its own or one from before.
func overtaken(run Run, others []Run, pool plan.Ref, snap plan.Snapshot) string {
	live, ok := snap.Object(pool)
	if !ok {
		return ""
	}
	mark := live.GetAnnotations()[plan.RunAnnotation]
	bears := func(r Run, before bool) bool {
		return slices.ContainsFunc(r.Plan.Steps, func(s plan.Step) bool {
			p := s.Patch
			if s.Wait != nil {
				p = s.Wait.Pause
			}
			return p != nil && p.Target == pool && (p.Run.After == mark || before && p.Run.Before == mark)
		})
	}
	if mark == "" || bears(run, true) {
		return ""
	}
	for _, other := range slices.Backward(others) {
		if bears(other, false) {
			return other.Name()
		}
	}
	return mark
}
