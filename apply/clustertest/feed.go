package clustertest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"nodepool/apply"
	"nodepool/plan"
)

// ErrStopped is what Next of a stopped feed gives.
var ErrStopped = errors.New("the feed was stopped")

type feed struct {
	cluster   *Cluster
	selectors []plan.Selector

	woken   chan struct{} // holds one token when the world has changed
	stopped chan struct{}
	stop    sync.Once

	// Next is called by one goroutine at a time.
	given    bool
	gather   time.Duration
	versions map[plan.Ref]string
}

// Watch keeps the answers to selectors up to date; see apply.Cluster.
func (c *Cluster) Watch(ctx context.Context, selectors []plan.Selector) (apply.Feed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f := &feed{
		cluster:   c,
		selectors: slices.Clone(selectors),
		woken:     make(chan struct{}, 1),
		stopped:   make(chan struct{}),
	}
	err := c.guard(Call{Op: Watch, Selectors: selectors}, func() error {
		c.world.mu.Lock()
		defer c.world.mu.Unlock()
		if _, _, err := c.world.answer(selectors, "watch"); err != nil {
			return err
		}
		c.world.feeds[f] = true
		return nil
	})
	if err != nil {
		f.Stop()
		return nil, err
	}
	// The feed ends with the context that it was made with.
	context.AfterFunc(ctx, f.Stop)
	return f, nil
}

// wake never blocks; the world's lock is held.
func (f *feed) wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// Next is one call: it counts once, however long it waits. A request or reply
// lost here is one that a watch would make good by itself.
func (f *feed) Next(ctx context.Context) (plan.Snapshot, error) {
	blow, err := f.cluster.begin(Call{Op: Next, Selectors: f.selectors})
	if err != nil {
		return plan.Snapshot{}, err
	}
	if blow {
		if f.cluster.fuse.OnBlow != nil {
			f.cluster.fuse.OnBlow()
		}
		if f.cluster.fuse.Mode.crash() {
			return plan.Snapshot{}, ErrCrashed
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return plan.Snapshot{}, err
		}
		select {
		case <-f.stopped:
			return plan.Snapshot{}, ErrStopped
		default:
		}
		if f.Trouble() != nil {
			select {
			case <-f.woken:
			case <-f.stopped:
			case <-ctx.Done():
			}
			continue
		}
		first := !f.given
		if s, changed := f.look(); changed {
			if f.gather > 0 && !first {
				f.rest(ctx)
				if newer, more := f.look(); more {
					s = newer
				}
			}
			return s, nil
		}
		if f.given && f.cluster.world.look() {
			continue
		}
		select {
		case <-f.woken:
		case <-f.stopped:
		case <-ctx.Done():
		}
	}
}

// Gather has Next wait for what changes with a change; see apply.Feed.
func (f *feed) Gather(d time.Duration) { f.gather = d }

// rest waits until what changes together has changed.
func (f *feed) rest(ctx context.Context) {
	timer := time.NewTimer(f.gather)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.stopped:
	case <-ctx.Done():
	}
}

// Trouble tells why the world cannot be seen; nil when it can.
func (f *feed) Trouble() error { return f.cluster.world.away(Next) }

func (f *feed) look() (plan.Snapshot, bool) {
	w := f.cluster.world
	w.mu.Lock()
	defer w.mu.Unlock()
	s, versions, err := w.answer(f.selectors, "watch")
	if err != nil {
		// A right or a kind lost on the way: a watch goes on trying.
		return plan.Snapshot{}, false
	}
	if f.given && maps.Equal(versions, f.versions) {
		return plan.Snapshot{}, false
	}
	f.given, f.versions = true, versions
	return s, true
}

func (f *feed) Stop() {
	f.stop.Do(func() {
		w := f.cluster.world
		w.mu.Lock()
		delete(w.feeds, f)
		w.mu.Unlock()
		close(f.stopped)
	})
}
