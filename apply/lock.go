package apply

import (
	"context"
	"fmt"
	"time"

	"nodepool/plan"
)

// Holder says who works on a pool.
type Holder struct {
	// Actor is a person or a service, as user@host.
	Actor string `json:"actor"`
	// Host and Process tell a runner that is dead from one that is not,
	// when asked on the same host.
	Host    string `json:"host,omitempty"`
	Process int    `json:"process,omitempty"`
	// Upgrade and Plan are what is carried out.
	Upgrade string      `json:"upgrade"`
	Plan    plan.Digest `json:"plan"`
	// Ticket is the change-review ticket, if one was given.
	Ticket string `json:"ticket,omitempty"`
	// Since is when the lock was taken, Renewed when its holder last showed
	// a sign of life.
	Since   time.Time `json:"since,omitzero"`
	Renewed time.Time `json:"renewed,omitzero"`
}

// Lock keeps two runs from working on the same pool at once. It is a courtesy
// to people: safety does not depend on it, since each write of a plan is bound
// to what was reviewed.
type Lock interface {
	// Acquire takes the lock of every pool, or none and gives a *LockedError.
	// How long it waits for a holder to end or to expire is the lock's affair.
	Acquire(ctx context.Context, pools []plan.Ref, h Holder) (Held, error)
}

// Held is a lock that is held, and kept alive until it is released or lost.
type Held interface {
	// Lost is closed when the lock is found in other hands, or gone. A lock
	// that cannot be renewed is not lost for that: a cluster that does not
	// answer gives it to nobody else either.
	Lost() <-chan struct{}
	// Check asks, right before a write, whether the lock of pool is still
	// held; it finds out what a process that was frozen has missed. It gives a
	// *LockLostError, or a *WriteError of unknown outcome when it could not ask.
	Check(ctx context.Context, pool plan.Ref) error
	// Release gives the lock back. It may be called twice.
	Release(ctx context.Context) error
}

// LockedError says that somebody else works on a pool. Nothing was written.
type LockedError struct {
	Pool   plan.Ref
	Holder Holder
	// InTheWay tells that the lock was not waited for: the run that holds it is of
	// another plan and has to end, or be given up, before this one can begin.
	InTheWay bool
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is locked by %s since %s", e.Pool, e.Holder.Actor, e.Holder.Since.UTC().Format(time.RFC3339))
}

// LockLostError says that the lock went to somebody else, or was taken away,
// while the run was at work. Nothing was written after that was found.
type LockLostError struct {
	Pools []plan.Ref
	// Written is as DriftError's.
	Written bool
}

func (e *LockLostError) Error() string {
	return "the lock was lost: somebody took it over, or took it away"
}
