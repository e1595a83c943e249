package apply

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"nodepool/plan"
)

// Report is the closing document of a run, made from what the journal holds:
// what was done when, by whom, to which machines, and what went wrong on the
// way. Its times are UTC, in whole seconds.
type Report struct {
	Run     string      `json:"run"`
	Upgrade string      `json:"upgrade"`
	Cluster string      `json:"cluster"` // namespace/name
	Plan    plan.Digest `json:"plan"`
	// Purpose is rollback or prune; empty for an upgrade itself.
	Purpose plan.Purpose `json:"purpose,omitempty"`
	Ticket  string       `json:"ticket,omitempty"`
	// Outcome is done, stalled, failed, interrupted, lost its lock, unfinished,
	// running, or why the run was closed undone: abandoned, superseded, rolled
	// back. It is running where somebody is known to hold its lock.
	Outcome string  `json:"outcome"`
	Because string  `json:"because,omitempty"`
	Holder  *Holder `json:"holder,omitempty"`
	// Stall is what the run stalled by, where its outcome is stalled.
	Stall    *plan.Stall `json:"stall,omitempty"`
	Actors   []string    `json:"actors"`
	Attempts int         `json:"attempts"`
	// Began and Ended are the times of the first and the last record, Seconds
	// what lies between.
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Seconds float64   `json:"seconds"`
	// Open tells that the last record is not the end of an attempt: one is at
	// work, or was killed.
	Open     bool `json:"open,omitempty"`
	closed   bool
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
	// Stall is what a step stalled by.
	Stall *plan.Stall `json:"stall,omitempty"`
	// Canary tells that the step waits for canaries, which are those that have
	// proved themselves. Note says the same in words, or what else was seen.
	Canary   bool          `json:"canary,omitempty"`
	Note     string        `json:"note,omitempty"`
	Canaries []CanaryProof `json:"canaries,omitempty"`
}

// ReportMachines are the machines of one pool, before the rollout and after:
// After holds each that was seen, the old ones too, as it was seen last.
type ReportMachines struct {
	Pool   string    `json:"pool"`
	Before []Machine `json:"before"`
	After  []Machine `json:"after"`
	// Seen is when they were looked at last.
	Seen time.Time `json:"seen,omitzero"`
	// More counts machines that the journal has left out.
	More int `json:"more,omitempty"`
}

// NotKnown stands for the time by which a machine was gone where the journal
// cannot tell whether it is.
const NotKnown = "not known"

// ReportTrouble is something that went wrong on the way.
type ReportTrouble struct {
	At   time.Time `json:"at"`
	Step string    `json:"step,omitempty"`
	What string    `json:"what"`
}

// take takes in the machines that a record of the pool lists. One that was
// known and is not among them was gone by the time of the record, unless the
// record leaves some out.
func (m *ReportMachines) take(r Record) {
	if len(r.Machines)+r.More == 0 {
		return
	}
	if r.Phase == Started && len(m.After) == 0 {
		m.Before = r.Machines
	}
	m.Seen, m.More = whole(r.At), r.More
	for i, known := range m.After {
		switch {
		case slices.ContainsFunc(r.Machines, func(now Machine) bool { return now.Name == known.Name }):
		case known.Gone != "" && known.Gone != NotKnown:
		case r.More > 0:
			m.After[i].Gone = NotKnown
		default:
			m.After[i].Gone = r.At.UTC().Format(time.RFC3339)
		}
	}
	for _, now := range r.Machines {
		i := slices.IndexFunc(m.After, func(known Machine) bool { return now.Name == known.Name })
		if i < 0 {
			m.After = append(m.After, now)
			continue
		}
		known := m.After[i]
		m.After[i] = now
		m.After[i].Node, m.After[i].Image = cmp.Or(now.Node, known.Node), cmp.Or(now.Image, known.Image)
		m.After[i].Ready, m.After[i].Created = cmp.Or(now.Ready, known.Ready), cmp.Or(now.Created, known.Created)
	}
}

// ReportOf gives the report of a run, finished or not.
func ReportOf(run Run) Report {
	out := Report{Run: run.Name(), Upgrade: run.Upgrade, Plan: run.Plan.Digest, Purpose: run.Plan.Upgrade.Purpose, Outcome: unfinished,
		Cluster: run.Plan.Upgrade.Cluster.Namespace + "/" + run.Plan.Upgrade.Cluster.Name,
		closed:  run.Closed(), Attempts: run.Attempts(), Actors: []string{}, Steps: make([]ReportStep, len(run.Plan.Steps))}
	steps := map[string]*ReportStep{}
	pools := map[string]*ReportMachines{} // by the step
	for i, s := range run.Plan.Steps {
		out.Steps[i] = ReportStep{ID: s.ID, Outcome: "not begun", Canary: s.Wait != nil && s.Wait.Canary != nil}
		steps[s.ID] = &out.Steps[i]
		if s.Pool == "" {
			continue
		}
		if i := slices.IndexFunc(out.Pools, func(p ReportMachines) bool { return p.Pool == s.Pool }); i < 0 {
			out.Pools = append(out.Pools, ReportMachines{Pool: s.Pool, Before: []Machine{}, After: []Machine{}})
		}
	}
	for _, s := range run.Plan.Steps {
		if i := slices.IndexFunc(out.Pools, func(p ReportMachines) bool { return p.Pool == s.Pool }); i >= 0 {
			pools[s.ID] = &out.Pools[i]
		}
	}
	began, ended := map[string]time.Time{}, map[string]time.Time{}
	trouble := func(r Record, what string) {
		out.Troubles = append(out.Troubles, ReportTrouble{At: whole(r.At), Step: r.Step, What: what})
	}
	for i, r := range run.Records {
		if r.Ticket != "" {
			out.Ticket = r.Ticket
		}
		if r.Actor != "" && !slices.Contains(out.Actors, r.Actor) {
			out.Actors = append(out.Actors, r.Actor)
		}
		if p := pools[r.Step]; p != nil {
			p.take(r)
		}
		s := steps[r.Step]
		switch {
		case r.Phase == Closed:
			if out.Open && r.Note == foundDone {
				// Nobody was there when it came to its end.
				last := run.Records[lastBefore(run.Records, i)]
				trouble(Record{At: last.At, Step: last.Step}, fmt.Sprintf("attempt %d was cut off at some time after this: killed, or without the cluster. What was left came to its end by itself, and was found done", last.Attempt))
			}
			out.Outcome, out.Because = closedAs(r.Note)
			out.Open, out.Stall = false, nil
		case r.Phase == Noted:
			trouble(r, r.Note)
		case r.Phase == Opened:
			if out.Open {
				last := run.Records[i-1]
				trouble(Record{At: last.At, Step: last.Step}, fmt.Sprintf("attempt %d was cut off at some time after this: killed, or without the cluster", last.Attempt))
			}
			out.Outcome, out.Because, out.Open, out.Stall = unfinished, "", true, nil
		case r.Phase == Failed && r.Note == endedNote && r.Step == "":
			out.Open = false
		case s == nil && r.Phase == Failed && r.Step == "":
			out.Outcome, out.Because, out.Open = "failed", r.Note, false
			if r.Note == interruptedNote || r.Note == lockLostNote {
				out.Outcome, out.Because, _ = strings.Cut(r.Note, ": ")
			}
			trouble(r, r.Note)
		case s == nil:
		case r.Phase == Started:
			if began[s.ID].IsZero() {
				began[s.ID], s.Began = r.At, whole(r.At)
			}
			s.Outcome, s.Because, s.Stall, out.Open = "begun", "", nil, true
		case r.Phase == TakenBack:
			s.Outcome, s.Because, ended[s.ID] = string(TakenBack), r.Note, r.At
		case r.Phase == Failed:
			s.Outcome, s.Because, s.Stall, ended[s.ID] = "failed", r.Note, r.Stall, r.At
			if why, stalled := strings.CutPrefix(r.Note, stalledNote); stalled {
				s.Outcome, s.Because = stalledOutcome, why
			}
			s.Because = strings.TrimPrefix(s.Because, "step "+s.ID+": ")
			out.Outcome, out.Because, out.Open, out.Stall = s.Outcome, s.Because, false, r.Stall
			trouble(r, s.Because)
		case r.Phase == Done:
			if r.Note != foundDone { // which may be seen by who has not opened the run
				out.Open = true
			}
			if s.Outcome == "done" || s.Outcome == foundDone || s.Outcome == string(TakenBack) && r.Note == foundDone {
				break // a later attempt passed it over
			}
			s.Outcome, s.Because, s.Stall, s.Canaries, ended[s.ID] = "done", "", nil, r.Canaries, r.At
			switch {
			case r.Note == foundDone:
				if s.Began.IsZero() {
					s.Outcome = foundDone
				}
			case s.Began.IsZero(): // a step of one record, such as preflight
				began[s.ID], s.Began = r.At, whole(r.At)
				fallthrough
			default:
				s.Note = r.Note
			}
		}
	}
	for i := range out.Steps {
		s := &out.Steps[i]
		if at, ok := ended[s.ID]; ok {
			s.Ended = whole(at)
			if first, ok := began[s.ID]; ok {
				s.Seconds = at.Sub(first).Round(time.Millisecond).Seconds()
			}
		}
	}
	if n := len(run.Records); n > 0 {
		first, last := run.Records[0].At, run.Records[n-1].At
		out.Began, out.Ended, out.Seconds = whole(first), whole(last), last.Sub(first).Round(time.Millisecond).Seconds()
	}
	if out.Open {
		out.Because = "no attempt has told its end: one is at work, or the last was killed"
	}
	out.Pools = slices.DeleteFunc(out.Pools, func(p ReportMachines) bool { return len(p.After)+p.More == 0 })
	return out
}

// lastBefore gives the place of the last record before the one at i that was not
// made with it, to say what was found done.
func lastBefore(records []Record, i int) int {
	for j := i - 1; j > 0; j-- {
		if records[j].Phase != Done || records[j].Note != foundDone {
			return j
		}
	}
	return 0
}

// HeldBy gives the report of a run whose lock was looked at: h holds it, or
// nobody does where h is nil.
func (r Report) HeldBy(h *Holder) Report {
	switch {
	case h != nil && !r.closed:
		r.Outcome, r.Because, r.Holder = Running, "", h
	case r.Open:
		r.Because = "the last attempt was killed or cut off: nobody holds its lock"
	}
	return r
}

// Words of a report.
const (
	// Running is the outcome of a run that somebody is at work on.
	Running = "running"

	unfinished     = "unfinished"
	stalledOutcome = "stalled"
	foundDone      = "found done"
)

// whole gives a time as a report has it.
func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// closedAs reads the note of a Closed record: nothing for a run that came to
// its end, otherwise a word and perhaps a reason behind a colon.
func closedAs(note string) (outcome, because string) {
	if note == "" || note == foundDone {
		return "done", ""
	}
	outcome, because, _ = strings.Cut(note, ": ")
	return outcome, because
}
