package apply

import (
	"context"
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
}

// Journal records the runs of one upgrade. It is a record and a hint: the
// executor asks the cluster whether a step is done, never the journal.
type Journal interface {
	// Open stores the plan, so that a later run can resume it. Opening the
	// plan that is already open starts its next attempt. A different plan
	// while one is unfinished is a *UnfinishedError.
	Open(ctx context.Context, p plan.Plan) (attempt int, err error)
	// Append makes the record durable before it returns.
	Append(ctx context.Context, r Record) error
	// Unfinished gives the plan that was opened and not closed, if any.
	Unfinished(ctx context.Context) (plan.Plan, bool, error)
	// Records gives all records, oldest first.
	Records(ctx context.Context) ([]Record, error)
}

// UnfinishedError says that another plan of the same upgrade was begun and
// not finished.
type UnfinishedError struct {
	Unfinished, Wanted plan.Digest
}

func (e *UnfinishedError) Error() string {
	return "another plan of this upgrade (" + e.Unfinished.Short() + ") was begun and is not finished"
}
