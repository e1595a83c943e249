package ui

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
)

// plainLines writes a line for each change.
type plainLines struct {
	tallies map[string]string // by step, as said last
	mu      sync.Mutex
	w       io.Writer
	now     func() time.Time
	start   time.Time
	steps   []plan.Step
	// last is what was said last of each machine, pool and step.
	last map[string]string
	// pools is what was seen last of each waiting step.
	pools map[string]map[string]capi.Machine
	back  bool // it takes a plan back
	// columns is how wide a terminal is; 0 for none.
	columns func() int
}

func (p *plainLines) Close()   {}
func (p *plainLines) restore() {}

func (p *plainLines) interrupting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.start.IsZero() {
		p.start = p.now()
	}
	p.say("", interrupting)
}

// say writes a line, unless it was the last one about the same thing.
func (p *plainLines) say(about, line string) {
	if about != "" {
		if p.last[about] == line {
			return
		}
		p.last[about] = line
	}
	said := fmt.Sprintf("%8s  %s", clock(p.now().Sub(p.start)), line)
	if p.columns != nil {
		said = hanging(said, p.columns(), 10)
	}
	fmt.Fprintln(p.w, said)
}

// step heads a line about a step with its number.
func (p *plainLines) step(s plan.Step) string {
	for i := range p.steps {
		if p.steps[i].ID == s.ID {
			return fmt.Sprintf("step %d/%d %s", i+1, len(p.steps), render.Title(s))
		}
	}
	return "step " + render.Title(s)
}

func (p *plainLines) Event(e apply.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.start.IsZero() {
		p.start = p.now()
	}
	switch e := e.(type) {
	case apply.RunStarted:
		p.steps, p.back = e.Plan.Steps, e.Plan.Upgrade.Purpose == plan.ForRollback
		p.say("", opening(e))
	case apply.StepStarted:
		if e.Step.Wait != nil { // the others are done in a moment
			p.say("", p.step(e.Step))
		}
	case apply.StepSkipped:
		p.say("", p.step(e.Step)+": found done")
	case apply.StepDone:
		line := p.step(e.Step) + ": done in " + clock(e.Took)
		if e.Outcome != "" {
			line += "; " + render.Escape(e.Outcome)
		}
		p.say("", line)
	case apply.Rolling:
		p.rolling(e)
	case apply.Canary:
		p.say("", canaryNews(e))
	case apply.Stalled:
		cause, where, next := evidence(e.Stall)
		pool := render.Escape(e.Step.Pool)
		p.say("", pool+": HELD UP by "+cause)
		p.say("", pool+":   "+where)
		if next != "" {
			p.say("", pool+":   next: "+next)
		}
	case apply.Retrying:
		line := p.step(e.Step) + ": " + oneLine(e.Why) + "; trying again"
		p.say(e.Step.ID, line)
	case apply.RunEnded:
		p.say("", ending(e.Err))
	}
}

func (p *plainLines) rolling(e apply.Rolling) {
	pool := render.Escape(e.Step.Pool)
	// The numbers when they change, and what holds them up when that is all
	// there is to say; not the numbers again when it is over.
	line, why := pool+": "+tally(e.Rollout, p.back), held(e)
	if e.Proof != nil {
		// Its soak is told machine by machine, once.
		line = fmt.Sprintf("%s: canary: %d of %d ready", pool, e.Proof.Ready, e.Proof.Machines)
	}
	if why != "" || p.tallies[e.Step.ID] != line {
		if p.tallies == nil {
			p.tallies = map[string]string{}
		}
		p.tallies[e.Step.ID] = line
		if why != "" {
			line += "; " + why
		}
		p.say(e.Step.ID, line)
	}

	list := machines(e)
	known := p.pools[e.Step.ID]
	if known == nil {
		known = make(map[string]capi.Machine, len(list))
	}
	for _, m := range list {
		was, there := known[m.Name]
		if there && was == m {
			continue // most are as they were
		}
		known[m.Name] = m
		if m.Old && !m.Deleting {
			continue // nothing happens to it yet
		}
		line := fmt.Sprintf("%s: %s machine %s: %s", pool, age(m, p.back), render.Escape(m.Name), state(m))
		switch {
		case busy(m) && m.Waiting != "":
			line += ", waits for " + oneLine(m.Waiting)
		case m.Ready && m.Node != "":
			line += ", node " + render.Escape(m.Node)
		}
		p.say(e.Step.ID+"\x00"+m.Name, line)
	}
	for _, name := range gone(known, list) {
		p.say("", fmt.Sprintf("%s: %s machine %s: gone", pool, age(known[name], p.back), render.Escape(name)))
		delete(p.last, e.Step.ID+"\x00"+name)
		delete(known, name)
	}
	if p.pools == nil {
		p.pools = map[string]map[string]capi.Machine{}
	}
	p.pools[e.Step.ID] = known
}

// gone gives the names that known holds and list, of which known holds all, does
// not, sorted.
func gone(known map[string]capi.Machine, list []capi.Machine) []string {
	if len(known) == len(list) {
		return nil
	}
	var names []string
	for name := range known {
		if !slices.ContainsFunc(list, func(m capi.Machine) bool { return m.Name == name }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ending says in a word or two how a run ended; Explain says the rest.
func ending(err error) string {
	_, code := Explain(err)
	switch code {
	case 0:
		return "done"
	case exitStalled:
		return "stalled"
	case exitInterrupted:
		return "interrupted"
	case exitStale:
		return "stopped: not as it was reviewed"
	}
	return "ended with an error"
}
