package apply

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// maxMachines bounds the machines of one record: a journal in the cluster
// holds a megabyte.
const maxMachines = 500

// maxMessage bounds the words of a controller in a record, in bytes.
const maxMessage = 1000

// stalledNote begins the note of a step that failed by a stall.
const stalledNote = "stalled: "

// The notes of an attempt that ended in the middle of things.
const (
	interruptedNote = "interrupted"
	lockLostNote    = "lost its lock: another run took it over, or somebody took it away"
	// endedNote ends an attempt that went on after one of its pools failed.
	endedNote = "ended"
)

// Before is the rollout of each step that waits, by its ID, as it stood when a
// plan was made. It is what a run needs of the snapshot that the plan was
// compiled from, which may be a hundred times as large.
type Before map[string]capi.Rollout

// LookBefore gives the rollouts of the pools of p as snap shows them.
func LookBefore(p plan.Plan, snap plan.Snapshot) Before {
	out := Before{}
	for _, s := range p.Steps {
		if s.Wait == nil {
			continue
		}
		if rollout, ok := s.Wait.Rollout(snap); ok {
			out[s.ID] = rollout
		}
	}
	return out
}

// roll gives the roll call of a pool, one for the whole run: a wait goes on
// with what the patch and the wait before it have seen.
func (r *run) roll(pool plan.Ref) *call {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rolls == nil {
		r.rolls = map[plan.Ref]*call{}
	}
	if r.rolls[pool] == nil {
		r.rolls[pool] = &call{}
	}
	return r.rolls[pool]
}

// before gives the machines of the pool that step i patches, as they were
// when the plan was made.
func (r *run) before(i int) *call {
	target, ok := r.plan.Steps[i].Target()
	if !ok {
		return nil
	}
	for _, s := range r.plan.Steps[i:] {
		if s.Wait == nil || s.Wait.MachineDeployment != target {
			continue
		}
		roll := r.roll(target)
		if len(roll.order) == 0 {
			roll.take(r.Before[s.ID])
		}
		return roll
	}
	return nil
}

// left records how the machines of pools were when a run left their waits in the
// middle. It is for people: that it cannot be written changes nothing.
func (r *run) left(ctx context.Context, waits []plan.Step) {
	var all []Record
	for _, s := range waits {
		if roll := r.roll(s.Wait.MachineDeployment); len(roll.order) > 0 {
			rec := Record{Step: s.ID, Phase: Seen}
			rec.Machines, rec.More = roll.machines()
			all = append(all, rec)
		}
	}
	if len(all) > 0 {
		_ = r.append(ctx, all...)
	}
}

// parting records an error that ends an attempt and that no step has recorded,
// so that the journal tells it from a run that was killed. A journal that
// cannot be written to is asked no more.
func (r *run) parting(ctx context.Context, err error) error {
	var lost *LockLostError
	switch {
	case err == nil || r.attempt == 0 || r.mute:
	case errors.Is(err, ErrInterrupted):
		err = errors.Join(err, r.record(ctx, "", Failed, interruptedNote))
	case errors.As(err, &lost):
		_ = r.record(ctx, "", Failed, lockLostNote) // the lock is what is to be told
	case r.further:
		_ = r.record(ctx, "", Failed, endedNote)
	case !r.failure:
		_ = r.record(ctx, "", Failed, err.Error())
	}
	return err
}

// stallOf gives what an error stalled by, nil when it did not or nobody knows.
func stallOf(err error) *plan.Stall {
	var stall *StallError
	if !errors.As(err, &stall) || stall.Stall == nil {
		return nil
	}
	out := plan.StallOf(*stall.Stall)
	if len(out.Message) > maxMessage {
		out.Message = strings.ToValidUTF8(out.Message[:maxMessage], "") + "…"
	}
	return &out
}

// trouble records, once for each step and reason, what was waited out. It is a
// note for people: that it cannot be written stops nothing.
func (r *run) trouble(ctx context.Context, s plan.Step, why ...string) {
	var notes []Record
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.noted == nil {
		r.noted = map[string]bool{}
	}
	for _, why := range why {
		if key := s.ID + " " + why; !r.noted[key] {
			r.noted[key] = true
			notes = append(notes, Record{Step: s.ID, Phase: Noted, Note: why})
		}
	}
	if len(notes) > 0 {
		_ = r.keep(ctx, notes...)
	}
}

// call is the roll call of a pool: every machine that was seen, and when it
// was first missed.
type call struct {
	known map[string]*Machine // by name
	order []string
}

// take takes in the machines of a rollout that was judged as a whole: one whose
// MachineDeployment drifted was not, and that of settings in place lists none.
func (c *call) take(rollout capi.Rollout) {
	if rollout.Fingerprint == "" || rollout.InPlace {
		return
	}
	if c.known == nil {
		c.known = map[string]*Machine{}
	}
	present := map[string]bool{}
	for _, m := range rollout.Machines {
		present[m.Name] = true
		k := c.known[m.Name]
		if k == nil {
			k = &Machine{Name: m.Name, Created: m.Created}
			c.known[m.Name] = k
			c.order = append(c.order, m.Name)
		}
		k.Version = m.Version
		if m.Node != "" {
			k.Node = m.Node
		}
		if m.Image != "" {
			k.Image = m.Image
		}
		if m.ReadySince != "" {
			k.Ready = m.ReadySince
		}
	}
	now := time.Now().UTC().Format(time.RFC3339)
	for name, k := range c.known {
		if !present[name] && k.Gone == "" {
			k.Gone = now
		}
	}
}

// machines gives those that were seen, first come first; of more than
// maxMachines the last, and how many more there are.
func (c *call) machines() (out []Machine, more int) {
	if c == nil {
		return nil, 0
	}
	more = max(0, len(c.order)-maxMachines)
	for _, name := range c.order[more:] {
		out = append(out, *c.known[name])
	}
	return slices.Clip(out), more
}

// MachinesOf gives the machines of the pool of s, a step that waits, as snap
// shows them, for a record of somebody who is no run; more as Record's.
func MachinesOf(s plan.Step, snap plan.Snapshot) (machines []Machine, more int) {
	if s.Wait == nil {
		return nil, 0
	}
	rollout, _ := s.Wait.Rollout(snap)
	var roll call
	roll.take(rollout)
	return roll.machines()
}
