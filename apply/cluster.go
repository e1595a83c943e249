package apply

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan"
)

// Reader is all that planning needs of a cluster.
type Reader interface {
	// Fetch answers every selector and gives the answers as one snapshot.
	// An object that does not exist is an answer, not an error. A missing
	// right or a kind that the cluster does not serve is an error for a
	// selector that is not Optional, and a note in the snapshot otherwise.
	Fetch(ctx context.Context, selectors []plan.Selector) (plan.Snapshot, error)
}

// Mode says whether a write is to last.
type Mode int

// The modes. A DryRun write passes admission and validation and is thrown
// away (dryRun=All).
const (
	Commit Mode = iota
	DryRun
)

// Cluster is all that applying needs of a cluster.
//
// Create and Patch send fieldValidation=Strict, so that a misspelt field is
// refused and not pruned, and the field manager "nodepool". Writes are never
// retried by the implementation: only the executor may try a write again,
// after it has looked. Their error is a *WriteError.
type Cluster interface {
	Reader
	// Watch keeps the answers to selectors up to date until the feed is
	// stopped or ctx is done.
	Watch(ctx context.Context, selectors []plan.Selector) (Feed, error)
	// Create makes obj as it is. When it succeeds, obj is what the server made
	// of it, or would make of it: with its defaults.
	Create(ctx context.Context, obj *unstructured.Unstructured, mode Mode) error
	// Patch sends a JSON Patch (RFC 6902) to target through apiVersion
	// ("group/version"). A failed test operation is a Refused error.
	Patch(ctx context.Context, target plan.Ref, apiVersion string, jsonPatch []byte, mode Mode) error
	// Delete removes target through apiVersion ("group/version"), if it still
	// has this UID and this resource version. Another one, and an object that
	// is not there, are Refused errors. An object with finalizers is only
	// marked as being deleted.
	Delete(ctx context.Context, target plan.Ref, apiVersion, uid, resourceVersion string, mode Mode) error
}

// Feed is a snapshot that follows the cluster.
type Feed interface {
	// Next gives the snapshot once it differs from the one given last; the
	// first call gives the first complete snapshot. It returns ctx's error
	// when ctx is done first. Many changes in a row may come as one.
	Next(ctx context.Context) (plan.Snapshot, error)
	// Gather has Next wait for so long, once something has changed, for what
	// changes with it, and give all as one, or until its ctx is done. The first
	// snapshot does not wait; nor does any while Gather was not called, or with 0.
	Gather(d time.Duration)
	// Stop ends the feed and frees what it holds. It may be called twice.
	Stop()
}
