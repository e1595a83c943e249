package apply

import (
	"context"
	"slices"
	"time"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// maxMachines bounds the machines of one record: a journal in the cluster
// holds a megabyte.
const maxMachines = 500

// stalledNote begins the note of a step that failed by a stall.
const stalledNote = "stalled: "

// before gives the machines of the pool that step i patches, as they were
// when the plan was made.
func (r *run) before(i int) []Machine {
	target, ok := r.plan.Steps[i].Target()
	if !ok {
		return nil
	}
	for _, s := range r.plan.Steps[i:] {
		if s.Wait == nil || s.Wait.MachineDeployment != target {
			continue
		}
		var roll call
		if rollout, ok := s.Wait.Rollout(r.Seen); ok {
			roll.take(rollout.Machines)
		}
		return roll.machines()
	}
	return nil
}

// trouble records, once for each step and reason, what was waited out. It is a
// note for people: that it cannot be written stops nothing.
func (r *run) trouble(ctx context.Context, s plan.Step, why string) {
	key := s.ID + " " + why
	r.mu.Lock()
	known := r.noted[key]
	if r.noted == nil {
		r.noted = map[string]bool{}
	}
	r.noted[key] = true
	r.mu.Unlock()
	if !known {
		_ = r.record(ctx, s.ID, Noted, why)
	}
}

// call is the roll call of a pool: every machine that was seen, and when it
// was first missed.
type call struct {
	known map[string]*Machine // by name
	order []string
}

func (c *call) take(machines []capi.Machine) {
	if c.known == nil {
		c.known = map[string]*Machine{}
	}
	present := map[string]bool{}
	for _, m := range machines {
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
// maxMachines the last.
func (c *call) machines() []Machine {
	var out []Machine
	for _, name := range c.order[max(0, len(c.order)-maxMachines):] {
		out = append(out, *c.known[name])
	}
	return slices.Clip(out)
}
