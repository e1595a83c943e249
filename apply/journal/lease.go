package journal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/workqueue"

	"nodepool/apply"
	"nodepool/plan"
)

const (
	// leaseDuration is how long a Lease holds without being renewed.
	leaseDuration = 30 * time.Second
	// renewEvery is how often a Lease is renewed.
	renewEvery = 15 * time.Second
	// retryEvery is how soon a renewal that failed is tried again, and how
	// often one that waits for a Lease looks at it.
	retryEvery = 2 * time.Second
	// releaseTimeout bounds giving back; what is left behind expires.
	releaseTimeout = 10 * time.Second
	// atOnce bounds the requests that are under way together.
	atOnce = 8
)

// DefaultLockTimeout is long enough for the Lease of a dead runner to expire.
const DefaultLockTimeout = 45 * time.Second

// holderAnnotation holds who has the lock, as JSON.
const holderAnnotation = "nodepool/holder"

// Leases is the lock in the management cluster: a coordination Lease for each
// pool. A Lease that is not renewed expires. How long it was not is measured
// from when its last change was seen here, so clocks need not agree; the Lease
// of a process that is known to be dead, on this host, is taken at once.
type Leases struct {
	store   *InCluster
	timeout time.Duration
	// waiting is told, once for each, of a holder that is waited for.
	waiting func(pool plan.Ref, h apply.Holder)
}

var _ apply.Lock = (*Leases)(nil)

// Lock gives the lock of the Cluster's pools. Acquire waits up to timeout for
// holders to end or to expire, and tells waiting, unless it is nil, of each.
func (s *InCluster) Lock(timeout time.Duration, waiting func(pool plan.Ref, h apply.Holder)) *Leases {
	if waiting == nil {
		waiting = func(plan.Ref, apply.Holder) {}
	}
	return &Leases{store: s, timeout: timeout, waiting: waiting}
}

// LeaseName gives the name of a pool's Lease. The name of a pool is a label's
// value, so this is within what a Lease may be called.
func LeaseName(pool plan.Ref) string { return "nodepool-" + pool.Name }

// signed is what the annotation of a Lease says of its holder.
type signed struct {
	apply.Holder
	process
}

// lease is the Lease of one pool, as one runner sees it.
type lease struct {
	store *InCluster
	pool  plan.Ref
	lock  *resourcelock.LeaseLock
	// me is who takes it, identity the same in a word.
	me       signed
	identity string

	// seen is the Lease as it was read or written last, nil when there is
	// none; since is when this state of it was first seen.
	seen  *coordinationv1.Lease
	since time.Time
	// tried is when it was last renewed, or tried to be; failed tells how
	// that went.
	tried  time.Time
	failed bool
}

func (s *InCluster) lease(pool plan.Ref, me signed, identity string) *lease {
	l := &lease{store: s, pool: pool, me: me, identity: identity}
	l.lock = &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: pool.Namespace, Name: LeaseName(pool)},
		Client:     l,
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	return l
}

// Leases makes l the client of its LeaseLock, which knows neither owners nor
// annotations: they are added to what it writes.
func (l *lease) Leases(namespace string) coordinationv1client.LeaseInterface {
	return stamping{l.store.leases.Leases(namespace), l}
}

type stamping struct {
	coordinationv1client.LeaseInterface
	lease *lease
}

func (s stamping) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	out, err := s.LeaseInterface.Get(ctx, name, o)
	switch {
	case apierrors.IsNotFound(err):
		s.lease.seen = nil
	case err == nil:
		if s.lease.seen == nil || s.lease.seen.ResourceVersion != out.ResourceVersion {
			s.lease.since = time.Now()
		}
		s.lease.seen = out.DeepCopy() // the LeaseLock writes into its own
	}
	return out, err
}

func (s stamping) Create(ctx context.Context, l *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	o.FieldManager = manager
	return s.wrote(s.LeaseInterface.Create(ctx, s.lease.stamp(l), o))
}

func (s stamping) Update(ctx context.Context, l *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	o.FieldManager = manager
	return s.wrote(s.LeaseInterface.Update(ctx, s.lease.stamp(l), o))
}

func (s stamping) wrote(l *coordinationv1.Lease, err error) (*coordinationv1.Lease, error) {
	if err == nil {
		s.lease.seen, s.lease.since = l.DeepCopy(), time.Now()
	}
	return l, err
}

func (l *lease) stamp(to *coordinationv1.Lease) *coordinationv1.Lease {
	to = to.DeepCopy()
	l.store.cluster.label(to, lockLabel)
	l.store.cluster.own(to)
	if to.Annotations == nil {
		to.Annotations = map[string]string{}
	}
	raw, _ := json.Marshal(l.me) // strings and numbers: nothing that could fail
	to.Annotations[holderAnnotation] = string(raw)
	return to
}

// look reads the Lease. That there is none is no error.
func (l *lease) look(ctx context.Context) error {
	err := l.store.insist(ctx, readPatience, func(ctx context.Context) error {
		_, _, err := l.lock.Get(ctx)
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return l.store.said("get", "leases", LeaseName(l.pool), err)
	}
	return nil
}

// holder gives who holds the Lease that was seen; ok is false when nobody does.
func (l *lease) holder() (h signed, ok bool) { return holderOf(l.seen) }

func holderOf(seen *coordinationv1.Lease) (h signed, ok bool) {
	if seen == nil || seen.Spec.HolderIdentity == nil || *seen.Spec.HolderIdentity == "" {
		return signed{}, false
	}
	if err := json.Unmarshal([]byte(seen.Annotations[holderAnnotation]), &h); err != nil || h.Actor == "" {
		h = signed{Holder: apply.Holder{Actor: *seen.Spec.HolderIdentity}}
	}
	if t := seen.Spec.AcquireTime; t != nil {
		h.Since = t.UTC().Truncate(time.Second)
	}
	if t := seen.Spec.RenewTime; t != nil {
		h.Renewed = t.UTC().Truncate(time.Second)
	}
	return h, true
}

func (l *lease) mine() bool {
	return l.seen != nil && l.seen.Spec.HolderIdentity != nil && *l.seen.Spec.HolderIdentity == l.identity
}

// free reports whether the Lease that was seen may be taken.
func (l *lease) free() bool {
	h, held := l.holder()
	if !held {
		return true
	}
	duration := leaseDuration
	if s := l.seen.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		duration = time.Duration(*s) * time.Second
	}
	return time.Since(l.since) >= duration || h.dead()
}

// take writes the Lease in our name if it still is as it was seen. When it is
// not, it looks again and reports false.
func (l *lease) take(ctx context.Context) (bool, error) {
	now := metav1.Now()
	record := resourcelock.LeaderElectionRecord{HolderIdentity: l.identity, LeaseDurationSeconds: int(leaseDuration / time.Second), AcquireTime: now, RenewTime: now}
	verb := "create"
	if l.seen != nil {
		verb = "update"
		record.LeaderTransitions = int(deref(l.seen.Spec.LeaseTransitions)) + 1
	}
	err := l.store.insist(ctx, readPatience, func(ctx context.Context) error {
		l.tried = time.Now()
		if verb == "create" {
			return l.lock.Create(ctx, record)
		}
		return l.lock.Update(ctx, record)
	})
	switch {
	case err == nil:
		return true, nil
	case !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !(verb == "update" && apierrors.IsNotFound(err)):
		return false, l.store.said(verb, "leases", LeaseName(l.pool), err)
	}
	// Somebody was quicker, or it was us and the reply was lost.
	return false, l.look(ctx)
}

// renew shows a sign of life. It reports whether the Lease is lost.
func (l *lease) renew(ctx context.Context) (lost bool) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	l.tried, l.failed = time.Now(), false
	for range 3 {
		record := resourcelock.LeaseSpecToLeaderElectionRecord(&l.seen.Spec)
		record.RenewTime = metav1.Now()
		err := l.lock.Update(ctx, *record)
		if err == nil {
			return false
		}
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			break
		}
		// Somebody wrote it: he who took it over, or who only labelled it.
		if _, _, err := l.lock.Get(ctx); err != nil && !apierrors.IsNotFound(err) {
			break
		}
		if !l.mine() {
			return true
		}
	}
	l.failed = true
	return false
}

// release deletes the Lease if it is still ours.
func (l *lease) release(ctx context.Context) error {
	for l.mine() {
		err := l.store.leases.Leases(l.pool.Namespace).Delete(ctx, LeaseName(l.pool), asSeen(l.seen))
		if !apierrors.IsConflict(err) {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		if err := l.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

func asSeen(l *coordinationv1.Lease) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &l.UID, ResourceVersion: &l.ResourceVersion}}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Acquire implements apply.Lock. The Leases are taken in the order of their
// names, each when those before it are held: two runners that want the same
// pools cannot wait for each other. What is held is renewed meanwhile.
func (l *Leases) Acquire(ctx context.Context, pools []plan.Ref, h apply.Holder) (_ apply.Held, err error) {
	me := signed{Holder: h, process: self()}
	me.Since, me.Renewed = time.Time{}, time.Time{} // the Lease's own fields tell
	identity := fmt.Sprintf("%s/%d/%s", h.Actor, h.Process, uuid.NewUUID())
	pools = slices.Clone(pools)
	slices.SortFunc(pools, func(a, b plan.Ref) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var wanted []*lease
	for _, pool := range slices.Compact(pools) {
		wanted = append(wanted, l.store.lease(pool, me, identity))
	}
	deadline := time.Now().Add(l.timeout)
	held := hold(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, held.Release(context.WithoutCancel(ctx)))
		}
	}()
	if len(wanted) > 0 {
		// Mostly there is no Lease. Where there is one, it is looked at.
		if _, err := wanted[0].take(ctx); err != nil {
			return nil, err
		}
		if wanted[0].mine() {
			held.add(wanted[0])
			wanted = wanted[1:]
		}
	}
	// All are looked at once, so that those of one dead runner expire together.
	errs := make([]error, len(wanted))
	workqueue.ParallelizeUntil(ctx, atOnce, len(wanted), func(i int) { errs[i] = wanted[i].look(ctx) })
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return nil, err
	}
	for _, w := range wanted {
		told := ""
		for !w.mine() {
			if w.free() {
				if _, err := w.take(ctx); err != nil {
					return nil, err
				}
				continue
			}
			other, _ := w.holder()
			if !time.Now().Before(deadline) {
				return nil, &apply.LockedError{Pool: w.pool, Holder: other.Holder}
			}
			if who := *w.seen.Spec.HolderIdentity; who != told {
				told = who
				l.waiting(w.pool, other.Holder)
			}
			timer := time.NewTimer(min(retryEvery, time.Until(deadline)))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil, ctx.Err()
			case <-held.lost:
				timer.Stop()
				return nil, &apply.LockLostError{Pools: pools}
			}
			if err := w.look(ctx); err != nil {
				return nil, err
			}
		}
		held.add(w)
	}
	return held, nil
}

// held are the Leases of one run. A goroutine renews them.
type held struct {
	mu     sync.Mutex
	leases []*lease
	// changed tells the goroutine of another Lease.
	changed chan struct{}
	lost    chan struct{}
	lose    func()
	stop    context.CancelFunc
	over    sync.WaitGroup
	release func(context.Context) error
}

var _ apply.Held = (*held)(nil)

func hold(ctx context.Context) *held {
	h := &held{changed: make(chan struct{}, 1), lost: make(chan struct{})}
	h.lose = sync.OnceFunc(func() { close(h.lost) })
	ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	h.over.Go(func() { h.renew(ctx) })
	return h
}

func (h *held) add(l *lease) {
	h.mu.Lock()
	h.leases = append(h.leases, l)
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *held) all() []*lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.leases)
}

// renew renews each Lease when it is due, until ctx is done.
func (h *held) renew(ctx context.Context) {
	for {
		now := time.Now()
		next := now.Add(renewEvery)
		var due []*lease
		for _, l := range h.all() {
			at := l.tried.Add(renewEvery)
			if l.failed {
				at = l.tried.Add(retryEvery)
			}
			if at.After(now) {
				next = earlier(next, at)
			} else {
				due = append(due, l)
			}
		}
		if len(due) > 0 {
			workqueue.ParallelizeUntil(ctx, atOnce, len(due), func(i int) {
				if due[i].renew(ctx) {
					h.lose()
				}
			})
			if ctx.Err() != nil {
				return
			}
			select {
			case <-h.lost:
				return // the run ends; what is left is given back
			default:
			}
			continue
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-h.changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Lost implements apply.Held.
func (h *held) Lost() <-chan struct{} { return h.lost }

// Check implements apply.Held by a look at the Lease.
func (h *held) Check(ctx context.Context, pool plan.Ref) error {
	select {
	case <-h.lost:
		return &apply.LockLostError{Pools: []plan.Ref{pool}}
	default:
	}
	for _, l := range h.all() {
		if l.pool != pool {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		found, err := l.store.leases.Leases(pool.Namespace).Get(ctx, LeaseName(pool), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && deref(found.Spec.HolderIdentity) != l.identity:
			h.lose()
			return &apply.LockLostError{Pools: []plan.Ref{pool}}
		case err != nil:
			return &apply.WriteError{Outcome: apply.Unknown, Words: "the lock cannot be looked at: " + err.Error(), Err: err}
		}
		return nil
	}
	return nil
}

// Release implements apply.Held: it deletes the Leases that are still ours. One
// that cannot be deleted since the server does not answer is left to expire.
func (h *held) Release(ctx context.Context) error {
	h.mu.Lock()
	if h.release == nil {
		h.release = func(ctx context.Context) error {
			h.stop()
			h.over.Wait()
			all := h.all()
			ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
			defer cancel()
			errs := make([]error, len(all))
			workqueue.ParallelizeUntil(ctx, atOnce, len(all), func(i int) {
				if err := all[i].release(ctx); answered(err) {
					errs[i] = all[i].store.said("delete", "leases", LeaseName(all[i].pool), err)
				}
			})
			return errors.Join(errs...)
		}
	}
	release := h.release
	h.release = func(context.Context) error { return nil }
	h.mu.Unlock()
	return release(ctx)
}

// Locked is a pool and who has locked it.
type Locked struct {
	Pool   plan.Ref
	Holder apply.Holder
	// Dead tells that the holder is known to be dead, and that the next run
	// takes over at once.
	Dead     bool
	identity string
}

// AtWork reports whether the holder showed a sign of life not long ago, by both
// clocks: people are told that it works, and nothing is decided by it.
func (l Locked) AtWork() bool {
	return !l.Dead && time.Since(l.Holder.Renewed) < 2*leaseDuration
}

// Holders gives those of pools that are locked, or that were and whose lock was
// not given back: Holder.Renewed tells the last sign of life, by the holder's
// clock.
func (s *InCluster) Holders(ctx context.Context, pools []plan.Ref) ([]Locked, error) {
	leases := make([]*lease, len(pools))
	errs := make([]error, len(pools))
	workqueue.ParallelizeUntil(ctx, atOnce, len(pools), func(i int) {
		leases[i] = s.lease(pools[i], signed{}, "")
		errs[i] = leases[i].look(ctx)
	})
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return nil, err
	}
	var out []Locked
	for _, l := range leases {
		if h, ok := l.holder(); ok {
			out = append(out, Locked{Pool: l.pool, Holder: h.Holder, Dead: h.dead(), identity: *l.seen.Spec.HolderIdentity})
		}
	}
	return out, nil
}

// Evict takes a lock away from the holder that was seen, and from nobody else:
// when another holds it by now, it gives a *apply.LockedError. The evicted run
// stops before its next write.
func (s *InCluster) Evict(ctx context.Context, of Locked) error {
	l := s.lease(of.Pool, signed{}, of.identity)
	if err := l.look(ctx); err != nil {
		return err
	}
	if other, ok := l.holder(); ok && !l.mine() {
		return &apply.LockedError{Pool: of.Pool, Holder: other.Holder}
	}
	if err := l.release(ctx); err != nil {
		return s.said("delete", "leases", LeaseName(of.Pool), err)
	}
	return nil
}
