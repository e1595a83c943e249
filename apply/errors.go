package apply

import (
	"strings"
	"time"

	"nodepool/plan"
	"nodepool/plan/capi"

	"errors"
	"fmt"
)

// Outcome says what is known about a write that gave an error.
type Outcome int

const (
	// Unknown: the write may have happened (a lost reply, a time-out, a
	// server error). Look again, and try again if it has not.
	Unknown Outcome = iota
	// Refused: the server said no and nothing was written (validation,
	// a failed test operation, a missing right, a conflict of names).
	Refused
)

// WriteError is the error of every failed write.
type WriteError struct {
	Outcome Outcome
	// Words is what the server said, without the values it may have echoed:
	// webhooks quote whole objects, secrets included.
	Words string
	// Err is the cause, for errors.Is and errors.As. Its text must not be
	// shown: it may hold what Words leaves out.
	Err error
}

func (e *WriteError) Error() string {
	if e.Outcome == Unknown {
		return "the write may not have arrived: " + e.Words
	}
	return "the server refused the write: " + e.Words
}

// Unwrap gives the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// ErrInterrupted is in the chain of Run's error when the caller ended the
// run; what was written so far is recorded and the run can be resumed.
var ErrInterrupted = errors.New("interrupted")

// ErrSilent is in the chain of what keeps a feed from following a cluster when
// the server has taken a watch and sends nothing. Another watch may: it is begun
// before anything is told of a stall.
var ErrSilent = errors.New("the server took a watch and sends nothing")

// ErrNotBegun is in the chain beside ErrInterrupted when nothing was written or
// recorded yet.
var ErrNotBegun = errors.New("it had not begun")

// RecordError says that the journal could not be written.
type RecordError struct{ Err error }

func (e *RecordError) Error() string { return "write the journal: " + e.Err.Error() }

// Unwrap gives the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// ForbiddenError is a missing right, found before anything was written.
type ForbiddenError struct {
	Verb, Group, Resource, Namespace, Name string
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("you may not %s; ask for that right, or use another kubeconfig context", e.What())
}

// What gives the right in words: verb, resource and where.
func (e *ForbiddenError) What() string {
	where := "in namespace " + e.Namespace
	if e.Namespace == "" {
		where = "in the whole cluster"
	}
	return e.Verb + " " + e.Kind() + " " + where
}

// Kind gives the resource with its group, as kubectl writes it.
func (e *ForbiddenError) Kind() string {
	if e.Group == "" {
		return e.Resource
	}
	return e.Resource + "." + e.Group
}

// Passes reports whether err is that of a read which may go well when it is
// sent again later, since the server or the way to it failed. A Reader tells by
// an error in the chain with the method Passes() bool.
func Passes(err error) bool {
	var p interface{ Passes() bool }
	return errors.As(err, &p) && p.Passes()
}

// DriftError says that the cluster is not what was reviewed. Nothing more was
// written once it was found.
type DriftError struct {
	// Step is the ID of the step that can no longer be done as reviewed.
	Step        string
	Differences []plan.Difference
	// Written tells that this run wrote something, or that it may have: a write
	// whose reply was lost counts.
	Written bool
}

func (e *DriftError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "step %s: the cluster is not as it was reviewed", e.Step)
	for _, d := range e.Differences {
		fmt.Fprintf(&b, "; %s %s: reviewed %s, found %s", d.Object, d.Path.Dotted(), d.Reviewed, d.Found)
	}
	return b.String()
}

// StallError says that a rollout made no progress for too long. The run can
// be resumed.
type StallError struct {
	Step    plan.Step
	Rollout capi.Rollout
	// Stall is the best explanation, nil when none is to be seen.
	Stall *capi.Stall
	// After is how long there was no progress; 0 when that is not why.
	After time.Duration
	// Then is what was done about it or holds anyway, in whole sentences for
	// people; it may be empty.
	Then string
	// Final tells that Then says what is to be done next, too: to run the same
	// command again does not go on with this pool.
	Final bool
}

func (e *StallError) Error() string {
	why := e.Rollout.Waiting
	if e.Stall != nil {
		why = e.Stall.Explanation
	}
	text := fmt.Sprintf("step %s: no progress for %s: %s", e.Step.ID, e.After, why)
	if e.After == 0 {
		text = fmt.Sprintf("step %s: %s", e.Step.ID, why)
	}
	if e.Then != "" {
		text += " " + e.Then
	}
	return text
}

// Stalls gives every *StallError in the tree of err: in a run of several pools
// more than one may have stalled.
func Stalls(err error) []*StallError {
	if stall, ok := err.(*StallError); ok { //nolint:errorlint // the tree is walked here
		return []*StallError{stall}
	}
	switch e := err.(type) { //nolint:errorlint // the tree is walked here
	case interface{ Unwrap() error }:
		return Stalls(e.Unwrap())
	case interface{ Unwrap() []error }:
		var out []*StallError
		for _, one := range e.Unwrap() {
			out = append(out, Stalls(one)...)
		}
		return out
	}
	return nil
}

// BlockedError says that preflight checks block the plan. Nothing was written.
type BlockedError struct{ Findings []plan.Finding }

func (e *BlockedError) Error() string {
	var words []string
	for _, f := range e.Findings {
		words = append(words, f.Message)
	}
	return "blocked by preflight: " + strings.Join(words, "; ")
}

// RejectedError says that the cluster is as reviewed and the server refused
// the write all the same, such as by a webhook.
type RejectedError struct {
	Step  plan.Step
	Words string
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("step %s: the server refused the write: %s", e.Step.ID, e.Words)
}

// UnreachableError says that the cluster did not answer for too long.
type UnreachableError struct {
	Step plan.Step
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("step %s: the cluster does not answer: %v", e.Step.ID, e.Err)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// StaleError says that compiling again gave another plan than the one that
// was reviewed. Nothing was written.
type StaleError struct{ Reviewed, Found plan.Digest }

func (e *StaleError) Error() string {
	return fmt.Sprintf("the plan is now %s, and %s was reviewed", e.Found, e.Reviewed)
}
