package clustertest

import (
	"bytes"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/plan"
)

// Op is the kind of a call on a handle.
type Op string

// The kinds of calls. Next is a look at a feed.
const (
	Fetch  Op = "fetch"
	Watch  Op = "watch"
	Next   Op = "next"
	Create Op = "create"
	Patch  Op = "patch"
	Delete Op = "delete"
)

// Call is one call on a handle, as it came.
type Call struct {
	// Handle counts the handles of the world from 1.
	Handle int
	Op     Op
	// Selectors are set for Fetch, Watch and Next.
	Selectors []plan.Selector
	// Ref and Mode are set for Create, Patch and Delete.
	Ref  plan.Ref
	Mode apply.Mode
	// Blown tells that the fuse blew at this call.
	Blown bool
}

// Write is a create, a patch or a delete that changed something.
type Write struct {
	Handle int
	Op     Op
	Ref    plan.Ref
	// Patch is the JSON Patch, nil for all but a patch.
	Patch []byte
	// Sent is what was created, nil for all but a create.
	Sent *unstructured.Unstructured
	// UID and ResourceVersion are what a delete demanded.
	UID, ResourceVersion string
}

// String gives "create Kind namespace/name", and the like for other writes.
func (w Write) String() string { return string(w.Op) + " " + w.Ref.String() }

// Calls gives every call on every handle, in order.
func (w *World) Calls() []Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// Writes gives the creates, patches and deletes of all handles that changed something,
// in order: dry runs, refused writes and those that a fuse kept from arriving
// are not among them, those whose reply was lost are.
func (w *World) Writes() []Write {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := slices.Clone(w.writes)
	for i := range out {
		out[i].Patch = bytes.Clone(out[i].Patch)
		if out[i].Sent != nil {
			out[i].Sent = out[i].Sent.DeepCopy()
		}
	}
	return out
}
