package clustertest

import (
	"errors"
	"slices"

	"nodepool/apply"
)

// Mode is what happens when a fuse blows.
type Mode int

// The modes of a Fuse.
const (
	// LoseRequest: the call does not arrive, and fails.
	LoseRequest Mode = iota
	// LoseReply: the call happens, and fails all the same.
	LoseReply
	// CrashBefore: the call does not arrive, and it and every later call of
	// the handle give ErrCrashed.
	CrashBefore
	// CrashAfter: the call happens, and it and every later call of the handle
	// give ErrCrashed.
	CrashAfter
)

func (m Mode) String() string {
	return [...]string{"lose the request", "lose the reply", "crash before the call", "crash after the call"}[m]
}

func (m Mode) crash() bool { return m == CrashBefore || m == CrashAfter }

func (m Mode) before() bool { return m == LoseRequest || m == CrashBefore }

// ErrCrashed is in the chain of every error of a handle whose fuse blew in one
// of the crash modes. What such a handle's caller does counts for nothing: a
// test ends it, and opens the world again.
var ErrCrashed = errors.New("the process crashed")

// ErrLost is in the chain of the error of a call that a fuse made fail.
var ErrLost = errors.New("connection reset by peer")

// Fuse makes a handle fail at one call.
type Fuse struct {
	// At is the call that fails, counted from 1; 0 never blows.
	At int
	// Ops narrows what is counted; empty counts every call.
	Ops  []Op
	Mode Mode
	// OnBlow, when set, is called as the fuse blows, after the call happened
	// or did not: for a test to end the caller's context.
	OnBlow func()

	count int
	blown bool
}

// hit counts a call and reports whether the fuse blows at it.
func (f *Fuse) hit(op Op) bool {
	if f == nil || f.blown || f.At == 0 || (len(f.Ops) > 0 && !slices.Contains(f.Ops, op)) {
		return false
	}
	f.count++
	f.blown = f.count == f.At
	return f.blown
}

func (f *Fuse) error() error {
	if f.Mode.crash() {
		return ErrCrashed
	}
	return ErrLost
}

func writeLost(err error) error {
	return &apply.WriteError{Outcome: apply.Unknown, Words: err.Error(), Err: err}
}

type hook struct {
	at    int
	ops   []Op
	count int
	do    func(*World)
}

func (h *hook) hit(op Op) bool {
	if len(h.ops) > 0 && !slices.Contains(h.ops, op) {
		return false
	}
	h.count++
	return h.count == h.at
}
