package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	"nodepool/plan"
)

// Phase is where a step stands in the journal.
type Phase string

// The phases of a record. Opened and Closed are about the run as a whole and
// carry no step.
const (
	Opened  Phase = "opened"
	Started Phase = "started"
	Done    Phase = "done"
	Failed  Phase = "failed"
	Closed  Phase = "closed"
	// Noted is what went wrong on the way and was waited out.
	Noted Phase = "noted"
	// TakenBack says that the step's pool went back to what it was before the
	// run, by a plan of its own, while the run goes on for its other pools.
	TakenBack Phase = "taken back"
	// Seen is how the machines of the step's pool were when an attempt left the
	// step, neither done nor failed.
	Seen Phase = "seen"
)

// Record is one line of the journal.
type Record struct {
	Plan    plan.Digest `json:"plan"`
	Step    string      `json:"step,omitempty"`
	Phase   Phase       `json:"phase"`
	At      time.Time   `json:"at"`
	Attempt int         `json:"attempt"`
	Actor   string      `json:"actor,omitempty"`
	// Note is what was observed, in words, without any secret.
	Note string `json:"note,omitempty"`
	// Ticket is the change-review ticket; on an Opened record.
	Ticket string `json:"ticket,omitempty"`
	// Machines are those of the step's pool: before the rollout on the
	// Started record of its patch; on the record by which an attempt ends its
	// wait, those that were seen since, with the time by which they were gone.
	Machines []Machine `json:"machines,omitempty"`
	// More counts machines that are left out of Machines, to keep the journal
	// small.
	More int `json:"more,omitempty"`
	// Stall is what held a wait up, on the Failed record of a stall.
	Stall *plan.Stall `json:"stall,omitempty"`
	// Canaries are the machines that proved themselves, on the Done record of
	// a canary's wait.
	Canaries []CanaryProof `json:"canaries,omitempty"`
}

// CanaryProof is how one machine proved itself as a canary.
type CanaryProof struct {
	Machine string `json:"machine"`
	// Ready is how long it stayed ready without a break, in seconds.
	Ready float64 `json:"readySeconds"`
	// Command is the program that exited with 0 for it, with its arguments, and
	// Output the last lines that it printed; empty without a command.
	Command []string `json:"command,omitempty"`
	Output  string   `json:"output,omitempty"`
}

// Machine is what the journal keeps of one Machine. Times are RFC 3339 and
// empty where they were not seen.
type Machine struct {
	Name    string `json:"name"`
	Node    string `json:"node,omitempty"`
	Version string `json:"version,omitempty"`
	Image   string `json:"image,omitempty"`
	Created string `json:"created,omitempty"`
	Ready   string `json:"ready,omitempty"`
	// Gone is when it was first seen to be gone: it went before that.
	Gone string `json:"gone,omitempty"`
}

// Run is what the journal holds of one plan: from its opening to its closing,
// in one attempt or several.
type Run struct {
	Upgrade string `json:"upgrade"`
	// Number counts the runs of the upgrade from 1; it is never used again.
	Number  int       `json:"number"`
	Plan    plan.Plan `json:"plan"`
	Records []Record  `json:"records"`
}

// Name is what people call the run: "aws-example-1-35/3".
func (r Run) Name() string { return fmt.Sprintf("%s/%d", r.Upgrade, r.Number) }

// Closed reports whether the run has ended for good: done, abandoned, or
// superseded.
func (r Run) Closed() bool {
	return len(r.Records) > 0 && r.Records[len(r.Records)-1].Phase == Closed
}

// TakenBack gives the pools that went back to what they were before the run.
func (r Run) TakenBack() []string {
	var out []string
	for _, rec := range r.Records {
		i := slices.IndexFunc(r.Plan.Steps, func(s plan.Step) bool { return s.ID == rec.Step })
		if rec.Phase == TakenBack && i >= 0 && !slices.Contains(out, r.Plan.Steps[i].Pool) {
			out = append(out, r.Plan.Steps[i].Pool)
		}
	}
	return out
}

// ToDo gives the plan of the run without the pools that were taken back.
func (r Run) ToDo() plan.Plan { return r.Plan.Without(r.TakenBack()...) }

// Unfinished gives the last of the runs of one upgrade that is not closed, nil
// when all are.
func Unfinished(runs []Run) *Run {
	for i := len(runs) - 1; i >= 0; i-- {
		if !runs[i].Closed() {
			return &runs[i]
		}
	}
	return nil
}

// Attempts counts how often the run was begun.
func (r Run) Attempts() int {
	n := 0
	for _, rec := range r.Records {
		if rec.Phase == Opened {
			n = max(n, rec.Attempt)
		}
	}
	return n
}

// Journal records the runs of one upgrade. It is a record and a hint: the
// executor asks the cluster whether a step is done, never the journal.
type Journal interface {
	// Open stores the plan, so that a later run can resume it. Opening the
	// plan that is already open starts its next attempt. A different plan
	// while one is unfinished is a *UnfinishedError, unless it takes that one
	// back: a run of some of its pools stands beside it.
	//
	// The first records of the attempt, whose Attempt it sets, are as durable as
	// the plan when it returns, and come with it in one write.
	Open(ctx context.Context, p plan.Plan, first ...Record) (attempt int, err error)
	// Append makes the records, of one plan, durable before it returns. They are
	// written together; a crash may leave the first of them alone.
	Append(ctx context.Context, all ...Record) error
	// Unfinished gives the plan that was opened last of those not closed, if any.
	Unfinished(ctx context.Context) (plan.Plan, bool, error)
	// Runs gives the runs that it still holds, oldest first. A journal is
	// bounded: old runs go when new ones come.
	Runs(ctx context.Context) ([]Run, error)
}

// UnfinishedError says that another plan, of the same upgrade or of another one
// on the same pools, was begun and not finished.
type UnfinishedError struct {
	Unfinished, Wanted plan.Digest
	// Run is the begun one where it is known, without its plan and records: its
	// name, and whose upgrade it is.
	Run, Upgrade string
	// TakesBack tells that it is a rollback, where that is known.
	TakesBack bool
	// Actor began it, or carried it on last; Since is when it was begun, and
	// Ticket its change-review ticket. Empty where they are not known.
	Actor  string
	Since  time.Time
	Ticket string
	// Other tells that it is a run of another upgrade, on the pools named.
	Other bool
	Pools []string
}

// UnfinishedRun gives the error that says that r is in the way of another plan.
func UnfinishedRun(r Run, wanted plan.Digest) *UnfinishedError {
	e := &UnfinishedError{Unfinished: r.Plan.Digest, Wanted: wanted, Run: r.Name(), Upgrade: r.Upgrade,
		TakesBack: r.Plan.Upgrade.Purpose == plan.ForRollback}
	for _, rec := range r.Records {
		if rec.Phase != Opened {
			continue
		}
		if e.Since.IsZero() {
			e.Since = rec.At
		}
		e.Actor = rec.Actor
		if rec.Ticket != "" {
			e.Ticket = rec.Ticket
		}
	}
	return e
}

func (e *UnfinishedError) Error() string {
	return "another plan of this upgrade (" + e.Unfinished.Short() + ") was begun and is not finished"
}

// JournalLockedError says that another process on this machine holds the
// journal in a local file.
type JournalLockedError struct {
	Path string
	// Holder is who holds it, zero where that cannot be read.
	Holder Holder
}

func (e *JournalLockedError) Error() string {
	whose := ""
	if e.Holder.Actor != "" {
		whose = ", that of " + e.Holder.Actor + ","
	}
	return fmt.Sprintf("another nodepool%s runs an upgrade on this machine (it holds %s); wait until it has ended", whose, e.Path)
}
