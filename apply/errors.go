package apply

import (
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

// ForbiddenError is a missing right, found before anything was written.
type ForbiddenError struct {
	Verb, Group, Resource, Namespace, Name string
}

func (e *ForbiddenError) Error() string {
	where := "in namespace " + e.Namespace
	if e.Namespace == "" {
		where = "in the whole cluster"
	}
	resource := e.Resource
	if e.Group != "" {
		resource += "." + e.Group
	}
	return fmt.Sprintf("you may not %s %s %s; ask for that right, or use another kubeconfig context", e.Verb, resource, where)
}
