package apply

import (
	"slices"
	"strings"
	"time"

	"nodepool/plan"
)

// Report is the closing document of a run, made from what the journal holds:
// what was done when, by whom, to which machines, and what went wrong on the
// way.
type Report struct {
	Run     string      `json:"run"`
	Upgrade string      `json:"upgrade"`
	Cluster string      `json:"cluster"` // namespace/name
	Plan    plan.Digest `json:"plan"`
	// Purpose is rollback or prune; empty for an upgrade itself.
	Purpose plan.Purpose `json:"purpose,omitempty"`
	Ticket  string       `json:"ticket,omitempty"`
	// Outcome is done, stalled, failed, interrupted, unfinished, or why the
	// run was closed undone: abandoned, superseded, rolled back.
	Outcome  string   `json:"outcome"`
	Because  string   `json:"because,omitempty"`
	Actors   []string `json:"actors"`
	Attempts int      `json:"attempts"`
	// Began and Ended are the times of the first and the last record.
	Began    time.Time        `json:"began"`
	Ended    time.Time        `json:"ended"`
	Steps    []ReportStep     `json:"steps"`
	Pools    []ReportMachines `json:"pools,omitempty"`
	Troubles []ReportTrouble  `json:"troubles,omitempty"`
}

// ReportStep is one step of the plan. Began is zero for a step that was found
// done, or that was not come to.
type ReportStep struct {
	ID string `json:"id"`
	// Outcome is done, found done, stalled, failed, taken back, begun or not
	// begun.
	Outcome string    `json:"outcome"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// Seconds is how long it took, over all attempts.
	Seconds float64 `json:"seconds,omitempty"`
	Because string  `json:"because,omitempty"`
}

// ReportMachines are the machines of one pool, before the rollout and after.
type ReportMachines struct {
	Pool   string    `json:"pool"`
	Before []Machine `json:"before"`
	After  []Machine `json:"after"`
}

// ReportTrouble is something that went wrong on the way.
type ReportTrouble struct {
	At   time.Time `json:"at"`
	Step string    `json:"step,omitempty"`
	What string    `json:"what"`
}

// ReportOf gives the report of a run, finished or not.
func ReportOf(run Run) Report {
	out := Report{Run: run.Name(), Upgrade: run.Upgrade, Plan: run.Plan.Digest, Purpose: run.Plan.Upgrade.Purpose, Outcome: "unfinished",
		Cluster:  run.Plan.Upgrade.Cluster.Namespace + "/" + run.Plan.Upgrade.Cluster.Name,
		Attempts: run.Attempts(), Actors: []string{}, Steps: []ReportStep{}}
	steps := map[string]*ReportStep{}
	pools := map[string]*ReportMachines{}
	var poolOrder []string
	pool := func(step string) *ReportMachines {
		i := slices.IndexFunc(run.Plan.Steps, func(s plan.Step) bool { return s.ID == step })
		if i < 0 {
			return &ReportMachines{}
		}
		name := run.Plan.Steps[i].Pool
		if pools[name] == nil {
			pools[name] = &ReportMachines{Pool: name, Before: []Machine{}, After: []Machine{}}
			poolOrder = append(poolOrder, name)
		}
		return pools[name]
	}
	for _, s := range run.Plan.Steps {
		steps[s.ID] = &ReportStep{ID: s.ID, Outcome: "not begun"}
	}
	for i, r := range run.Records {
		if i == 0 {
			out.Began = r.At
		}
		out.Ended = r.At
		if r.Ticket != "" {
			out.Ticket = r.Ticket
		}
		if r.Actor != "" && !slices.Contains(out.Actors, r.Actor) {
			out.Actors = append(out.Actors, r.Actor)
		}
		s := steps[r.Step]
		switch {
		case r.Phase == Closed:
			out.Outcome, out.Because = closedAs(r.Note)
		case r.Phase == Noted:
			out.Troubles = append(out.Troubles, ReportTrouble{At: r.At, Step: r.Step, What: r.Note})
		case r.Phase == Opened:
			out.Outcome, out.Because = "unfinished", ""
		case s == nil && r.Phase == Failed:
			out.Outcome, out.Because = r.Note, ""
		case s == nil:
		case r.Phase == Started:
			if s.Began.IsZero() {
				s.Began = r.At
			}
			s.Outcome, s.Because = "begun", ""
			if len(r.Machines) > 0 && len(pool(r.Step).Before) == 0 {
				pool(r.Step).Before = r.Machines
			}
		case r.Phase == TakenBack:
			s.Outcome, s.Because, s.Ended = string(TakenBack), r.Note, r.At
		case r.Phase == Failed:
			s.Outcome, s.Because, s.Ended = "failed", r.Note, r.At
			if why, stalled := strings.CutPrefix(r.Note, stalledNote); stalled {
				s.Outcome, s.Because = "stalled", why
			}
			s.Because = strings.TrimPrefix(s.Because, "step "+s.ID+": ")
			out.Outcome, out.Because = s.Outcome, s.Because
			out.Troubles = append(out.Troubles, ReportTrouble{At: r.At, Step: r.Step, What: s.Because})
		case r.Phase == Done:
			if s.Outcome == "done" || s.Outcome == "found done" {
				break // a later attempt passed it over
			}
			s.Outcome, s.Ended, s.Because = "done", r.At, ""
			if r.Note == "found done" && s.Began.IsZero() {
				s.Outcome = r.Note
			}
			if len(r.Machines) > 0 {
				pool(r.Step).After = r.Machines
			}
		}
		if s != nil && !s.Began.IsZero() && !s.Ended.IsZero() {
			s.Seconds = s.Ended.Sub(s.Began).Round(time.Millisecond).Seconds()
		}
	}
	for _, s := range run.Plan.Steps {
		out.Steps = append(out.Steps, *steps[s.ID])
	}
	for _, name := range poolOrder {
		out.Pools = append(out.Pools, *pools[name])
	}
	return out
}

// closedAs reads the note of a Closed record: nothing for a run that came to
// its end, otherwise a word and perhaps a reason behind a colon.
func closedAs(note string) (outcome, because string) {
	if note == "" || note == "found done" {
		return "done", ""
	}
	outcome, because, _ = strings.Cut(note, ": ")
	return outcome, because
}
