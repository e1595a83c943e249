package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// Executor carries plans out, or carries them on. Its zero value is not
// usable: Cluster and Journal must be set.
type Executor struct {
	Cluster Cluster
	Journal Journal
	// Secrets are the values of the plan's sealed changes.
	Secrets plan.Secrets
	// Lock, when set, is held on every pool of the plan while it runs.
	Lock Lock
	// Holder is who runs it, for the lock and the journal. Run fills in what
	// the plan tells.
	Holder Holder
	// GiveUp names the unfinished run that this one takes the place of, if any.
	// It is closed once the lock is held and before anything is written.
	GiveUp GiveUp
	// Displace, when set, closes runs of other upgrades that this one takes the
	// place of; it is asked where GiveUp is closed.
	Displace func(context.Context) error
	// Before is how the pools were when the plan was made, when somebody looked:
	// the journal takes from it which machines there were.
	Before Before
	// Preflight, when set, makes the checks of the plan again and gives those
	// findings that block. Run asks it under the lock, behind the facts and
	// before anything is written.
	Preflight func(context.Context) ([]plan.Finding, error)
	// Command runs the commands of canaries; nil where none may run.
	Command Command
	// Notify is told what happens, one event at a time; nil for nobody.
	Notify func(Event)
	// Patience is how long a cluster that does not answer is waited for
	// around a write, a webhook that cannot be called among it; 0 means five
	// minutes.
	Patience time.Duration
}

// GiveUp is a plan that was begun and is not to be finished, and why.
type GiveUp struct {
	Plan plan.Digest
	Why  string
}

// defaultPatience is long enough for what a rollout of a self-managed cluster
// takes away for a time: controllers and webhooks that are drained from an old
// machine come up on another, images and all.
const defaultPatience = 5 * time.Minute

// Run carries out the steps of p in order, or carries on with them: a step
// that is found done is passed over, whoever did it. Before the first write
// every step is assessed once, and one that drifted stops the run with a
// *DriftError. Consecutive waits are waited for together.
//
// A pool whose rollout stalls, or drifts while it is waited for, ends by itself:
// the pools that are waited for with it are carried on with until each is done
// or has ended in its own way, and nothing is begun for any other. Then Run
// gives all those ends, joined.
//
// Run alone says how it went: nil when every step is satisfied; *DriftError,
// *BlockedError, *StallError, *RejectedError, *UnreachableError, *plan.SecretError,
// *UnfinishedError, *LockedError, *LockLostError; an error with ErrInterrupted in its chain when ctx is
// done; otherwise the error of the journal or the reader.
//
// A write that has begun is finished and recorded even when ctx is done.
func (e *Executor) Run(ctx context.Context, p plan.Plan) (err error) {
	began := time.Now()
	r := &run{Executor: e, plan: p}
	defer func() { r.notify(RunEnded{Plan: p, Err: err, Took: time.Since(began)}) }()
	defer func() {
		if errors.Is(err, ErrInterrupted) && r.attempt == 0 {
			err = fmt.Errorf("%w: %w", ErrNotBegun, err)
		}
	}()
	if e.Lock == nil {
		return r.carryOut(ctx)
	}
	held, err := r.lock(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	r.held = held
	defer func() { err = errors.Join(err, held.Release(context.WithoutCancel(ctx))) }()
	defer func() {
		var lost *LockLostError
		if errors.As(err, &lost) {
			lost.Written = r.written.Load()
		}
	}()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-held.Lost():
			stop(&LockLostError{Pools: r.pools()})
		case <-ctx.Done():
		}
	}()
	return r.carryOut(ctx)
}

func (r *run) carryOut(ctx context.Context) (err error) {
	p := r.plan
	defer func() { err = r.parting(ctx, err) }()
	done, err := r.verify(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	if r.Preflight != nil {
		blocking, err := r.Preflight(ctx)
		if err == nil && len(blocking) > 0 {
			err = &BlockedError{Findings: blocking}
		}
		if err != nil {
			return interrupted(ctx, err)
		}
	}
	if err := r.giveUp(ctx); err != nil {
		return interrupted(ctx, err)
	}
	first := []Record{r.fill(Record{Phase: Opened})}
	at := 0
	if r.opens(0) {
		first = append(first, r.fill(Record{Step: p.Steps[0].ID, Phase: Done}))
		at = 1
	}
	open := func() (err error) {
		r.attempt, err = r.Journal.Open(ctx, p, first...)
		return err
	}
	snap, ok := r.ahead.of(r.first())
	if ok && p.Assess(at, snap).Verdict == plan.Pending {
		first = append(first, r.fill(r.starts(p.Steps[at], r.before(at))))
		r.begun = p.Steps[at].ID
		err = r.checkBeside(ctx, r.poolOf(at), &r.checked, open)
	} else {
		err = open()
	}
	if err != nil {
		return interrupted(ctx, err)
	}
	r.notify(RunStarted{Plan: p, Resumed: done})
	var ends []error           // of pools that are not done
	var left map[plan.Ref]bool // once there are any: the pools to carry on with
	end := func(err error) error {
		all := append([]error{interrupted(ctx, err)}, ends...)
		if all = slices.DeleteFunc(all, func(err error) bool { return err == nil }); len(all) == 1 {
			return all[0]
		}
		return errors.Join(all...)
	}
	for i := 0; i < len(p.Steps); {
		if ctx.Err() != nil {
			return end(ctx.Err())
		}
		if p.Steps[i].Wait == nil {
			if left == nil || left[r.poolOf(i)] {
				var next *plan.Step
				if i+1 < len(p.Steps) && left == nil && writes(p.Steps[i+1]) {
					next = &p.Steps[i+1]
				}
				if err := r.act(ctx, i, next); err != nil {
					return end(err)
				}
			}
			i++
			continue
		}
		var together []int
		for ; i < len(p.Steps) && p.Steps[i].Wait != nil; i++ {
			if left == nil || left[p.Steps[i].Wait.MachineDeployment] {
				together = append(together, i)
			}
		}
		if i == len(p.Steps) && left == nil {
			r.unproved = len(together)
		}
		undone, err := r.waitAll(ctx, together)
		for _, at := range slices.Sorted(maps.Keys(undone)) {
			ends = append(ends, undone[at])
		}
		if err != nil {
			return end(err)
		}
		if len(undone) > 0 && left == nil {
			left = map[plan.Ref]bool{}
			for _, at := range together {
				left[p.Steps[at].Wait.MachineDeployment] = true
			}
		}
		for at := range undone {
			delete(left, p.Steps[at].Wait.MachineDeployment)
		}
	}
	if len(ends) > 0 {
		return end(nil)
	}
	if r.closed {
		return nil
	}
	return r.record(ctx, "", Closed, "")
}

// opens reports whether step i is done by opening the run: the preflight that a
// plan begins with, which looks and has been looked at by then.
func (r *run) opens(i int) bool {
	return i == 0 && len(r.plan.Steps) > 0 && r.plan.Steps[0].Preflight != nil
}

// first gives the ID of the step with which the run begins behind its preflight,
// if that one writes.
func (r *run) first() string {
	for i, s := range r.plan.Steps {
		if !r.opens(i) {
			if writes(s) {
				return s.ID
			}
			break
		}
	}
	return ""
}

func writes(s plan.Step) bool {
	_, ok := s.Writes()
	return ok
}

// giveUp closes the run that this one takes the place of. Another one that was
// begun meanwhile is left to Open, which refuses.
func (r *run) giveUp(ctx context.Context) error {
	if r.Displace != nil {
		if err := r.Displace(ctx); err != nil {
			return err
		}
	}
	if r.GiveUp.Plan == "" {
		return nil
	}
	begun, unfinished, err := r.Journal.Unfinished(ctx)
	if err != nil || !unfinished || begun.Digest != r.GiveUp.Plan {
		return err
	}
	return r.Journal.Append(ctx, Record{Plan: begun.Digest, Phase: Closed, At: time.Now().UTC(), Actor: r.Holder.Actor, Note: r.GiveUp.Why})
}

// pools gives the MachineDeployments of the plan, each once.
func (r *run) pools() []plan.Ref {
	var out []plan.Ref
	for _, s := range r.plan.Steps {
		if ref, ok := s.Target(); ok && !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

// poolOf gives the MachineDeployment that step i serves: its own, or that of
// the next step that has one.
func (r *run) poolOf(i int) plan.Ref {
	for _, s := range r.plan.Steps[i:] {
		if ref, ok := s.Target(); ok {
			return ref
		}
	}
	return plan.Ref{}
}

func (r *run) lock(ctx context.Context) (Held, error) {
	h := r.Holder
	h.Upgrade, h.Plan = r.plan.Upgrade.Name, r.plan.Digest
	return r.Lock.Acquire(ctx, r.pools(), h)
}

// interrupted puts ErrInterrupted into the chain of an error that ctx's end
// brought about; a lost lock ends ctx too, and is told as what it is.
func interrupted(ctx context.Context, err error) error {
	var lost *LockLostError
	if errors.As(context.Cause(ctx), &lost) {
		return lost
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("%w: %w", ErrInterrupted, err)
	}
	return err
}

// run is one execution of one plan.
type run struct {
	*Executor
	plan    plan.Plan
	attempt int
	written atomic.Bool
	held    Held // nil without a lock
	// resumes are the steps that end a pause of this plan's own, by their waits.
	resumes map[string]plan.Step
	// ahead is what the last look has seen of the step that comes next.
	ahead sighting
	// begun is the step whose start was recorded with the opening of the run, and
	// checked the look at its lock beside that.
	begun   string
	checked check
	// late are steps that are done and that the next record tells of too.
	late  []StepDone
	noted map[string]bool    // troubles that are in the journal
	rolls map[plan.Ref]*call // the machines of each pool
	// unproved counts the waits behind which there is nothing left to do and that
	// are not done: the record of the last closes the run.
	unproved int
	closed   bool
	failure  bool       // a step has recorded why the attempt ends
	further  bool       // other pools went on after that
	mute     bool       // the journal could not be written to
	mu       sync.Mutex // serialises Notify and the journal between waits
}

func (r *run) notify(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Notify != nil {
		r.Notify(e)
	}
}

func (r *run) record(ctx context.Context, step string, phase Phase, note string) error {
	return r.recordRoll(ctx, step, phase, note, nil)
}

// recordRoll records with the machines of a roll call.
func (r *run) recordRoll(ctx context.Context, step string, phase Phase, note string, roll *call) error {
	rec := Record{Step: step, Phase: phase, Note: note}
	rec.Machines, rec.More = roll.machines()
	return r.append(ctx, rec)
}

// fill says in a record whose it is and of when.
func (r *run) fill(rec Record) Record {
	rec.Plan, rec.At, rec.Attempt, rec.Actor = r.plan.Digest, time.Now().UTC(), r.attempt, r.Holder.Actor
	if rec.Phase == Opened {
		rec.Ticket = r.Holder.Ticket
	}
	return rec
}

// append writes records at once, and with them those of steps that were done
// right before.
func (r *run) append(ctx context.Context, all ...Record) error {
	r.mu.Lock()
	late := r.late
	r.late = nil
	var done []Record
	for _, d := range late {
		done = append(done, Record{Step: d.Step.ID, Phase: Done})
	}
	err := r.keep(ctx, append(done, all...)...)
	r.mu.Unlock()
	if err == nil {
		for _, d := range late {
			r.notify(d)
		}
	}
	return err
}

// starts gives the record of a step that begins.
func (r *run) starts(s plan.Step, roll *call) Record {
	rec := Record{Step: s.ID, Phase: Started}
	rec.Machines, rec.More = roll.machines()
	return rec
}

// recent is how old a look at the cluster, or at the lock, may be for a write to
// rest on it: a Lease that was ours is ours for longer, and a request may take as
// long.
const recent = time.Second

// sighting is a look at what a step reads, which was taken for another one.
type sighting struct {
	step  string
	snap  plan.Snapshot
	began time.Time
}

// of gives the look at a step, if there is a recent one.
func (s sighting) of(step string) (plan.Snapshot, bool) {
	return s.snap, step != "" && s.step == step && time.Since(s.began) < recent
}

// check is a look at the lock: when it began that found it held, or that it was
// found lost.
type check struct {
	began time.Time
	lost  *LockLostError
}

// checkBeside looks whether the lock of pool is held while record writes what
// must be written before the write itself. Where it cannot look, the look right
// before the write tells.
func (r *run) checkBeside(ctx context.Context, pool plan.Ref, c *check, record func() error) error {
	if r.held == nil {
		return record()
	}
	began := time.Now()
	found := make(chan error, 1)
	go func() { found <- r.held.Check(context.WithoutCancel(ctx), pool) }()
	err := record()
	if looked := <-found; looked == nil {
		c.began = began
	} else {
		errors.As(looked, &c.lost)
	}
	return err
}

// proved records that a wait is done and, with the last one of the plan, that the
// run is closed: nobody can see one without the other.
func (r *run) proved(ctx context.Context, done Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []Record{done}
	if r.unproved == 1 {
		all = append(all, Record{Phase: Closed})
	}
	if err := r.keep(ctx, all...); err != nil {
		return err
	}
	r.closed = r.unproved == 1
	r.unproved--
	return nil
}

// keep is append under the lock.
func (r *run) keep(ctx context.Context, all ...Record) error {
	loud := false
	for i, rec := range all {
		all[i] = r.fill(rec)
		r.further = r.further || r.failure && (rec.Phase == Started || rec.Phase == Done)
		loud = loud || rec.Phase != Noted && rec.Phase != Seen
	}
	if err := r.Journal.Append(context.WithoutCancel(ctx), all...); err != nil {
		r.mute = r.mute || loud
		return &RecordError{Err: err}
	}
	return nil
}

// Verify assesses every step of p once, as Run does before its first write,
// and writes nothing. It gives a *DriftError when p cannot be carried out as
// it was reviewed.
func (e *Executor) Verify(ctx context.Context, p plan.Plan) error {
	_, err := (&run{Executor: e, plan: p}).verify(ctx)
	return err
}

// verify assesses every step once, before anything is written, so that a
// drift of a later step is found before an earlier one has acted. It gives
// the number of steps found done. A wait is not judged here: its rollout has
// not begun.
func (r *run) verify(ctx context.Context) (done int, err error) {
	var needs []plan.Selector
	for _, s := range r.plan.Steps {
		switch {
		case s.Wait == nil:
			needs = append(needs, s.Reads()...)
		case s.Wait.Pause != nil:
			needs = append(needs, plan.Selector{Ref: s.Wait.MachineDeployment})
		}
	}
	if len(needs) == 0 {
		return 0, nil
	}
	began := time.Now()
	snap, err := r.Cluster.Fetch(ctx, distinct(needs))
	if err != nil {
		return 0, err
	}
	r.ahead = sighting{r.first(), snap, began}
	for i, s := range r.plan.Steps {
		if resume, paused := s.Resume(snap); paused {
			if r.resumes == nil {
				r.resumes = map[string]plan.Step{}
			}
			r.resumes[s.ID] = resume
		}
		if s.Wait != nil || s.Preflight != nil {
			continue
		}
		a := r.plan.Assess(i, snap)
		switch a.Verdict {
		case plan.Drifted:
			return done, &DriftError{Step: s.ID, Differences: a.Differences}
		case plan.Satisfied:
			done++
		case plan.Pending:
			if s.Create != nil {
				if _, err := s.Create.Body(snap, r.Secrets); err != nil {
					return done, err
				}
			}
		}
	}
	return done, nil
}

// distinct orders selectors and drops those that are there twice.
func distinct(needs []plan.Selector) []plan.Selector {
	slices.SortFunc(needs, compareSelectors)
	return slices.Compact(needs)
}

func compareSelectors(a, b plan.Selector) int {
	x, y := fmt.Sprintf("%v", a), fmt.Sprintf("%v", b)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// act carries one writing step out: look, assess, record, write, look again.
// The write's own reply is not believed, neither its success nor its error. The
// look behind the write is the one before that of next, if there is one, and what
// is recorded behind the one comes with what is recorded before the other.
func (r *run) act(ctx context.Context, i int, next *plan.Step) error {
	s := r.plan.Steps[i]
	began := time.Now()
	if s.Preflight != nil {
		r.notify(StepStarted{Step: s})
		if !r.opens(i) {
			if err := r.record(ctx, s.ID, Done, ""); err != nil {
				return err
			}
		}
		r.notify(StepDone{Step: s, Took: time.Since(began)})
		return nil
	}
	return r.perform(ctx, s, next, r.poolOf(i), func(snap plan.Snapshot) plan.Assessment { return r.plan.Assess(i, snap) },
		func() *call { return r.before(i) })
}

// perform carries out a step that writes, which assess judges; before gives
// what the journal keeps of it at its start. Next is the step behind it, if that
// is to be looked at with it.
func (r *run) perform(ctx context.Context, s plan.Step, next *plan.Step, pool plan.Ref, assess func(plan.Snapshot) plan.Assessment, before func() *call) error {
	start := time.Now()
	var away outage
	defer func() { r.noteOutage(ctx, s, away) }()
	// Refusals of a plan that is still as reviewed may be a race with an
	// unrelated writer of the same object (annotations); try a few times.
	const refusals = 3
	for tries, refused := 1, 0; ; tries++ {
		snap, seen := r.ahead.of(s.ID)
		if !seen || tries > 1 {
			var err error
			if snap, err = r.look(ctx, ctx, s, s.Reads(), &away); err != nil {
				return err
			}
		}
		a := assess(snap)
		switch a.Verdict {
		case plan.Satisfied:
			if tries == 1 {
				r.notify(StepSkipped{Step: s})
				return r.record(ctx, s.ID, Done, "found done")
			}
			if err := r.record(ctx, s.ID, Done, ""); err != nil {
				return err
			}
			r.notify(StepDone{Step: s, Took: time.Since(start)})
			return nil
		case plan.Drifted:
			drift := &DriftError{Step: s.ID, Differences: a.Differences, Written: r.written.Load()}
			return r.failed(ctx, s, drift)
		case plan.Pending:
		}
		var checked check
		if tries == 1 {
			if r.begun == s.ID {
				checked = r.checked
			} else if err := r.checkBeside(ctx, pool, &checked, func() error { return r.append(ctx, r.starts(s, before())) }); err != nil {
				return err
			}
			r.notify(StepStarted{Step: s})
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := r.write(context.WithoutCancel(ctx), s, pool, snap, checked)
		if err == nil {
			began, reads := time.Now(), s.Reads()
			if next != nil {
				reads = distinct(append(reads, next.Reads()...))
			}
			snap, err := r.look(ctx, context.WithoutCancel(ctx), s, reads, &away)
			if err != nil {
				return err
			}
			a := assess(snap)
			if a.Verdict != plan.Satisfied {
				return r.failed(ctx, s, &DriftError{Step: s.ID, Differences: undone(s, a), Written: true})
			}
			done := StepDone{Step: s, Took: time.Since(start)}
			if next != nil {
				r.ahead, r.late = sighting{next.ID, snap, began}, append(r.late, done)
				return nil
			}
			if err := r.record(ctx, s.ID, Done, ""); err != nil {
				return err
			}
			r.notify(done)
			return nil
		}
		var we *WriteError
		if !errors.As(err, &we) {
			return r.failed(ctx, s, err)
		}
		if we.Outcome == Refused {
			// Look first: a drift explains the refusal better than the server.
			snap, ferr := r.look(ctx, ctx, s, s.Reads(), &away)
			if ferr != nil {
				return ferr
			}
			refused++
			if assess(snap).Verdict == plan.Pending && refused >= refusals {
				return r.failed(ctx, s, &RejectedError{Step: s, Words: we.Words})
			}
			continue
		}
		if err := r.waitOut(ctx, s, &away, we.Words); err != nil {
			return err
		}
	}
}

// outage is a time in which the cluster, or a webhook of it, does not answer.
type outage struct {
	since time.Time
	delay time.Duration
	why   string
}

// noteOutage records an outage that is over.
func (r *run) noteOutage(ctx context.Context, s plan.Step, away outage) {
	if away.why != "" {
		r.trouble(ctx, s, away.why)
	}
}

// look fetches what s needs, and again while the cluster does not answer and
// ctx is not done. The tries themselves end with reads.
func (r *run) look(ctx, reads context.Context, s plan.Step, needs []plan.Selector, away *outage) (plan.Snapshot, error) {
	for {
		snap, err := r.Cluster.Fetch(reads, needs)
		if err == nil || !Passes(err) {
			return snap, err
		}
		if err := r.waitOut(ctx, s, away, err.Error()); err != nil {
			return plan.Snapshot{}, err
		}
	}
}

// waitOut waits a little for what does not answer, or gives an error when
// patience has ended. It writes no record, which would have to wait as well:
// the journal stands in the same cluster.
func (r *run) waitOut(ctx context.Context, s plan.Step, away *outage, why string) error {
	if away.since.IsZero() {
		away.since, away.delay = time.Now(), time.Second
	}
	away.why = why
	if time.Since(away.since) > cmp.Or(r.Patience, defaultPatience) {
		return r.failed(ctx, s, &UnreachableError{Step: s, Err: errors.New(why)})
	}
	r.notify(Retrying{Step: s, Why: why, In: away.delay})
	if err := pause(ctx, away.delay); err != nil {
		return err
	}
	away.delay = min(2*away.delay, 15*time.Second)
	return nil
}

// undone explains a write that the server took and that is not to be seen.
func undone(s plan.Step, a plan.Assessment) []plan.Difference {
	if len(a.Differences) > 0 {
		return a.Differences
	}
	d := plan.Difference{Reviewed: "(written)", Found: "(as before)", Because: "another writer undid this write at once"}
	switch {
	case s.Create != nil:
		d.Object = s.Create.Ref
	case s.Patch != nil:
		d.Object = s.Patch.Target
	case s.Delete != nil:
		d.Object = s.Delete.Ref
	}
	return []plan.Difference{d}
}

// write sends the one write of a step for a pool, if the lock is still held, as
// checked has just found or is looked at now.
func (r *run) write(ctx context.Context, s plan.Step, pool plan.Ref, snap plan.Snapshot, checked check) error {
	if checked.lost != nil {
		return checked.lost
	}
	if r.held != nil && time.Since(checked.began) >= recent {
		if err := r.held.Check(ctx, pool); err != nil {
			return err
		}
	}
	switch {
	case s.Create != nil:
		body, err := s.Create.Body(snap, r.Secrets)
		if err != nil {
			return err
		}
		return r.wrote(r.Cluster.Create(ctx, body, Commit))
	case s.Patch != nil:
		live, _ := snap.Object(s.Patch.Target)
		patch, err := s.Patch.JSONPatch(live, s.Facts)
		if err != nil {
			return err
		}
		return r.wrote(r.Cluster.Patch(ctx, s.Patch.Target, s.Patch.APIVersion, patch, Commit))
	case s.Delete != nil:
		// The resource version is the one of the look that found no use of it.
		live, _ := snap.Object(s.Delete.Ref)
		return r.wrote(r.Cluster.Delete(ctx, s.Delete.Ref, s.Delete.APIVersion, s.Delete.UID, live.GetResourceVersion(), Commit))
	}
	return fmt.Errorf("step %s writes nothing", s.ID)
}

// wrote takes note of a write that was sent. One of unknown outcome counts: to
// say that nothing was written would be untrue if it arrived.
func (r *run) wrote(err error) error {
	var we *WriteError
	if err == nil || (errors.As(err, &we) && we.Outcome == Unknown) {
		r.written.Store(true)
	}
	return err
}

// failed records why a step ended and gives err on.
func (r *run) failed(ctx context.Context, s plan.Step, err error) error {
	note := err.Error()
	if stall := (*StallError)(nil); errors.As(err, &stall) {
		note = stalledNote + note
	}
	r.mu.Lock()
	r.failure, r.further = true, false
	r.mu.Unlock()
	var roll *call
	if s.Wait != nil {
		roll = r.roll(s.Wait.MachineDeployment)
	}
	rec := Record{Step: s.ID, Phase: Failed, Note: note, Stall: stallOf(err)}
	rec.Machines, rec.More = roll.machines()
	if jerr := r.append(ctx, rec); jerr != nil {
		return errors.Join(err, jerr)
	}
	return err
}

// waitAll waits for the rollouts of some steps at once. Undone are the stalls
// and drifts of single pools, by their steps; the others are waited for all the
// same. Any other error, and the end of ctx, ends the waiting for all; their
// rollouts go on by themselves.
func (r *run) waitAll(ctx context.Context, together []int) (undone map[int]error, err error) {
	if len(together) == 0 {
		return nil, nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(together))
	var wg sync.WaitGroup
	var begun []Record
	for _, at := range together {
		begun = append(begun, Record{Step: r.plan.Steps[at].ID, Phase: Started})
	}
	if err := r.append(ctx, begun...); err != nil {
		return nil, err
	}
	for _, at := range together {
		r.notify(StepStarted{Step: r.plan.Steps[at]})
	}
	for i, at := range together {
		wg.Go(func() {
			wait := r.wait
			if r.plan.Steps[at].Wait.Canary != nil {
				wait = r.waitCanary
			}
			errs[i] = wait(ctx, at)
			if errs[i] != nil && !endsAlone(errs[i]) {
				stop()
			}
		})
	}
	wg.Wait()
	undone = map[int]error{}
	var others []error
	var left []plan.Step
	for i, at := range together {
		if errors.Is(errs[i], context.Canceled) {
			left = append(left, r.plan.Steps[at])
		}
		switch e := errs[i]; {
		case e == nil:
		case endsAlone(e):
			undone[at] = e
		case errors.Is(e, context.Canceled):
			others = append(others, e)
		case err == nil:
			err = e
		}
	}
	r.left(ctx, left)
	if err == nil {
		err = errors.Join(others...)
	}
	return undone, err
}

// endsAlone reports whether err is about one pool and says nothing about
// others. One that is joined to another, as that of the journal, is not.
func endsAlone(err error) bool {
	switch err.(type) { //nolint:errorlint // see above
	case *StallError, *DriftError:
		return true
	}
	return false
}

// wait follows one rollout until its machines are proved complete, until it
// drifts, or until nothing moved for the step's stallAfter.
func (r *run) wait(ctx context.Context, i int) error {
	s := r.plan.Steps[i]
	began := time.Now()
	stallAfter, err := time.ParseDuration(s.Wait.StallAfter)
	if err != nil {
		return fmt.Errorf("step %s: stallAfter: %w", s.ID, err)
	}
	if resume, paused := r.resumes[s.ID]; paused {
		assess := func(snap plan.Snapshot) plan.Assessment { return plan.Assess(resume, snap) }
		if err := r.perform(ctx, resume, nil, s.Wait.MachineDeployment, assess, func() *call { return nil }); err != nil {
			return err
		}
	}
	feed, err := r.follow(ctx, s)
	if err != nil {
		return err
	}
	defer func() { feed.Stop() }()
	var last capi.Rollout
	var moved movement
	roll := r.roll(s.Wait.MachineDeployment)
	seen := map[string]bool{}
	progress := time.Now()
	var looked time.Time // the progress after which it was looked anew
	var eyes sight
	for {
		until := eyes.deadline(progress, stallAfter)
		if soon := time.Now().Add(troubleEvery); soon.Before(until) || looked == progress {
			until = soon
		}
		look, cancel := context.WithDeadline(ctx, until)
		snap, err := feed.Next(look)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return r.failed(ctx, s, err)
		}
		progress = progress.Add(r.mind(ctx, s, feed, err == nil, &eyes))
		if err != nil {
			switch {
			case time.Now().Before(eyes.deadline(progress, stallAfter)):
			case eyes.mayClear() && looked != progress:
				if feed, err = r.lookAnew(ctx, s, feed); err != nil {
					return r.failed(ctx, s, err)
				}
				looked = progress
			default:
				return r.stalled(ctx, s, stalled(s, last, moved.churn, eyes.trouble, stallAfter))
			}
			continue
		}
		a := r.plan.Assess(i, snap)
		roll.take(a.Rollout)
		switch a.Verdict {
		case plan.Drifted:
			return r.failed(ctx, s, &DriftError{Step: s.ID, Differences: r.whoDid(ctx, i, a.Differences), Written: r.written.Load()})
		case plan.Satisfied:
			r.notify(Rolling{Step: s, Rollout: a.Rollout, Elapsed: time.Since(began)})
			if md, ok := snap.Object(s.Wait.MachineDeployment); ok && capi.IsPaused(md) {
				r.trouble(ctx, s, "the rollout is complete, and "+s.Wait.MachineDeployment.String()+" is paused: it scales and does not roll")
			}
			done := Record{Step: s.ID, Phase: Done, Note: fmt.Sprintf("%d machines", a.Rollout.New)}
			done.Machines, done.More = roll.machines()
			if err := r.proved(ctx, done); err != nil {
				return err
			}
			r.notify(StepDone{Step: s, Took: time.Since(began)})
			return nil
		case plan.Pending:
		}
		last = a.Rollout
		switch {
		case moved.since(last):
			progress = time.Now()
		case time.Since(progress) < stallAfter:
		case looked == progress:
			return r.stalled(ctx, s, stalled(s, last, moved.churn, nil, stallAfter))
		default:
			if feed, err = r.lookAnew(ctx, s, feed); err != nil {
				return r.failed(ctx, s, err)
			}
			looked = progress
		}
		r.notify(Rolling{Step: s, Rollout: last, Elapsed: time.Since(began), Idle: time.Since(progress)})
		r.heldUp(ctx, s, last.Stalls, seen)
		feed.Gather(gathering(last))
	}
}

// heldUp records and tells those of stalls that were not seen before.
func (r *run) heldUp(ctx context.Context, s plan.Step, stalls []capi.Stall, seen map[string]bool) {
	var why []string
	var first []Stalled
	for _, stall := range stalls {
		key := fmt.Sprintf("%s %s/%s/%s", stall.Cause, stall.Kind, stall.Namespace, stall.Name)
		if !seen[key] {
			seen[key] = true
			why = append(why, stall.Explanation)
			first = append(first, Stalled{Step: s, Stall: stall})
		}
	}
	r.trouble(ctx, s, why...)
	for _, stall := range first {
		r.notify(stall)
	}
}

// gathering tells how long changes of a pool are waited for that come with one: the
// longer the more old machines it has left. One whose rollout may be complete with
// the next change is judged with each.
func gathering(last capi.Rollout) time.Duration {
	const perOld, most = 20 * time.Millisecond, time.Second
	if last.Old <= 1 {
		return 0
	}
	return min(time.Duration(last.Old)*perOld, most)
}

// lookAnew gives another feed in the place of one that tells nothing new: a
// watch may be silent while the world moves, behind a proxy that has lost it. No
// stall is told before that. When there is an error, the feed stays.
func (r *run) lookAnew(ctx context.Context, s plan.Step, feed Feed) (Feed, error) {
	fresh, err := r.follow(ctx, s)
	if err != nil {
		return feed, err
	}
	feed.Stop()
	return fresh, nil
}

// troubleEvery is how often a feed that gives nothing new is asked whether it
// still reaches the cluster.
const troubleEvery = 5 * time.Second

// unanswered begins what is said of a cluster that cannot be seen.
const unanswered = "the cluster does not answer: "

// troubleOf tells why the feed cannot reach the cluster, nil when it does. A
// feed that cannot tell is taken to reach it.
func troubleOf(feed Feed) error {
	if f, ok := feed.(interface{ Trouble() error }); ok {
		return f.Trouble()
	}
	return nil
}

// sight is whether the cluster can be seen. While it cannot, nobody can tell
// whether anything moves, so that time is not held against a rollout.
type sight struct {
	blind   time.Time // since when it cannot; zero when it can
	trouble error     // why
}

// deadline gives when a rollout has stalled: after a time without progress, or
// as long a time without sight.
func (e sight) deadline(progress time.Time, stallAfter time.Duration) time.Time {
	if e.trouble != nil {
		return e.blind.Add(stallAfter)
	}
	return progress.Add(stallAfter)
}

// mayClear reports whether another watch may show what this one does not.
func (e sight) mayClear() bool { return e.trouble == nil || errors.Is(e.trouble, ErrSilent) }

// mind tells when the feed cannot reach the cluster, and records it when it can
// again; it gives how long it could not. seen tells that the feed just gave
// something.
func (r *run) mind(ctx context.Context, s plan.Step, feed Feed, seen bool, eyes *sight) (unseen time.Duration) {
	was := *eyes
	if eyes.trouble = nil; !seen {
		eyes.trouble = troubleOf(feed)
	}
	switch {
	case eyes.trouble != nil:
		if was.trouble == nil {
			eyes.blind = time.Now()
		}
		r.notify(Retrying{Step: s, Why: unanswered + eyes.trouble.Error(), In: troubleEvery})
	case was.trouble != nil:
		r.trouble(ctx, s, unanswered+was.trouble.Error())
		return time.Since(was.blind)
	}
	return 0
}

// follow begins to watch what s reads, and again while the cluster does not
// answer.
func (r *run) follow(ctx context.Context, s plan.Step) (Feed, error) {
	var away outage
	defer func() { r.noteOutage(ctx, s, away) }()
	for {
		feed, err := r.Cluster.Watch(ctx, s.Follows())
		if err == nil || !Passes(err) {
			return feed, err
		}
		if err := r.waitOut(ctx, s, &away, err.Error()); err != nil {
			return nil, err
		}
	}
}

// movement tells progress from mere change. Progress is any change of the
// rollout's fingerprint; but once a MachineHealthCheck is seen to delete new
// machines, which makes ever new ones, only more machines ready or fewer old
// ones count.
type movement struct {
	fingerprint string
	churn       *capi.Stall // as it was seen last; nil while there is none
	ready, old  int
}

// since reports whether r is progress since the last call.
func (m *movement) since(r capi.Rollout) bool {
	first := m.fingerprint == ""
	further := first || r.NewReady > m.ready || r.Old < m.old
	changed := r.Fingerprint != m.fingerprint
	m.fingerprint = r.Fingerprint
	if i := slices.IndexFunc(r.Stalls, func(s capi.Stall) bool { return s.Cause == capi.StallHealthCheckChurn }); i >= 0 {
		m.churn = &r.Stalls[i]
	}
	if further {
		m.ready, m.old = r.NewReady, r.Old
	}
	if m.churn != nil {
		return further
	}
	return changed
}

// stalled ends a wait that has made no progress for too long, and pauses its
// pool where the plan says so. That a pause cannot be made is told with the
// stall, which stays what the run ends with.
func (r *run) stalled(ctx context.Context, s plan.Step, err *StallError) error {
	if s.Wait.Pause != nil {
		err.Then = r.pausePool(context.WithoutCancel(ctx), s)
	}
	return r.failed(ctx, s, err)
}

// pausePool sends the pause of a wait, unless it would have Cluster API make
// machines, and tells in words what became of it.
func (r *run) pausePool(ctx context.Context, s plan.Step) string {
	const unpaused = "The pool was to be paused, and is not: "
	snap, err := r.Cluster.Fetch(ctx, s.Reads())
	if err != nil {
		return unpaused + err.Error() + "."
	}
	if n := s.Wait.PauseMakes(snap); n > 0 {
		return fmt.Sprintf(unpaused+"a paused MachineDeployment scales up to its replicas and maxSurge, which would make %d more of its machines, old ones perhaps.", n)
	}
	pause := plan.Step{ID: s.ID + "/pause", Pool: s.Pool, Patch: s.Wait.Pause}
	assess := func(snap plan.Snapshot) plan.Assessment { return plan.Assess(pause, snap) }
	if err := r.perform(ctx, pause, nil, s.Wait.MachineDeployment, assess, func() *call { return nil }); err != nil {
		return unpaused + err.Error() + "."
	}
	return "The pool is paused now (spec.paused), so that its rollout does not go on by itself; to run the plan again ends the pause and carries on."
}

// whoDid reads what drifted under wait step i again: a feed leaves out the
// managed fields, which tell who it was.
func (r *run) whoDid(ctx context.Context, i int, seen []plan.Difference) []plan.Difference {
	s := r.plan.Steps[i]
	if snap, err := r.Cluster.Fetch(ctx, []plan.Selector{{Ref: s.Wait.MachineDeployment}}); err == nil {
		if again := r.plan.Assess(i, snap); again.Verdict == plan.Drifted {
			return again.Differences
		}
	}
	return seen // it has changed again, or cannot be read
}

// stalled gives the error of a rollout that made no progress, or that could not
// be looked at. A churn that was seen explains it better than what ails the
// latest machine, which is just another that is about to be deleted; an error
// that is stated explains both.
func stalled(s plan.Step, last capi.Rollout, churn *capi.Stall, trouble error, after time.Duration) *StallError {
	e := &StallError{Step: s, Rollout: last, After: after, Stall: last.Suspect()}
	md := s.Wait.MachineDeployment
	switch {
	case trouble != nil:
		e.Stall = &capi.Stall{
			Cause: capi.StallClusterUnreachable, Kind: md.Kind, Namespace: md.Namespace, Name: md.Name, Message: trouble.Error(),
			Explanation: "The API server of the management cluster does not answer, so nobody can see how far the rollout is.",
			Next:        "See that the management cluster's API server runs and can be reached from here; the rollout goes on without nodepool.",
		}
	case len(last.Stalls) == 0 && churn != nil:
		e.Stall = churn
	}
	return e
}

// pause waits for d or for ctx's end.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
