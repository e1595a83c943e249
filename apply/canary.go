package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// Command runs the command of a canary: args are a program and its arguments,
// env is added to the environment, as NAME=value, and what it prints goes to
// output. The error says why it did not exit with 0. It ends when ctx does.
type Command func(ctx context.Context, args, env []string, output io.Writer) error

// flaps is how often a canary may stop being ready before it has failed.
const flaps = 3

// waitCanary follows a held rollout until its first new machines have proved
// themselves: ready, as wanted, for the soak without a break, with a command
// that exits with 0 for each. The soak is counted by this process's own clock
// from when it saw the machine ready, so a run that carries on counts it anew.
func (r *run) waitCanary(ctx context.Context, i int) error {
	s := r.plan.Steps[i]
	began := time.Now()
	stallAfter, err := time.ParseDuration(s.Wait.StallAfter)
	if err != nil {
		return fmt.Errorf("step %s: stallAfter: %w", s.ID, err)
	}
	soak, err := time.ParseDuration(s.Wait.Canary.Soak)
	if err != nil {
		return fmt.Errorf("step %s: canary.soak: %w", s.ID, err)
	}
	feed, err := r.follow(ctx, s)
	if err != nil {
		return err
	}
	defer func() { feed.Stop() }()
	var looked time.Time // the progress after which it was looked anew
	c := &canary{run: r, step: s, began: began, soak: soak, stallAfter: stallAfter, progress: began, roll: r.roll(s.Wait.MachineDeployment),
		soaking: map[string]soaking{}, passed: map[string]string{}, seen: map[string]bool{}}
	var eyes sight
	for {
		until := eyes.deadline(c.progress, stallAfter)
		if at, ok := c.soaked(); ok {
			until = at
		}
		if soon := time.Now().Add(troubleEvery); soon.Before(until) || looked == c.progress {
			until = soon
		}
		look, cancel := context.WithDeadline(ctx, until)
		snap, err := feed.Next(look)
		cancel()
		switch {
		case err == nil:
			if done, err := c.take(ctx, i, snap); done || err != nil {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return r.failed(ctx, s, err)
		}
		c.progress = c.progress.Add(r.mind(ctx, s, feed, err == nil, &eyes))
		at, enough := c.soaked()
		late := !enough && !time.Now().Before(eyes.deadline(c.progress, stallAfter))
		switch {
		case enough && !time.Now().Before(at):
			if done, err := c.prove(ctx, i); done || err != nil {
				return err
			}
		case late && eyes.mayClear() && looked != c.progress:
			if feed, err = r.lookAnew(ctx, s, feed); err != nil {
				return r.failed(ctx, s, err)
			}
			looked = c.progress
		case late:
			return c.fail(ctx, stalled(s, c.last, c.moved.churn, eyes.trouble, stallAfter))
		}
	}
}

// canary is the wait for one canary.
type canary struct {
	*run
	step             plan.Step
	began, progress  time.Time
	soak, stallAfter time.Duration
	last             capi.Rollout
	moved            movement
	roll             *call
	soaking          map[string]soaking // by the name of the machine
	passed           map[string]string  // what the command printed, for machines for which it has exited with 0
	lost             int
	seen             map[string]bool
}

// soaking is a machine that is ready: since when by our clock, and since when
// by its own word, which tells of a break that was too short to be seen.
type soaking struct {
	since time.Time
	word  string
	node  string
}

// need is how many machines must be proved: a pool may have fewer.
func (c *canary) need() int { return min(c.step.Wait.Canary.Machines, c.last.Desired) }

// soaked gives when enough machines will have soaked; false while too few are
// ready.
func (c *canary) soaked() (time.Time, bool) {
	var at []time.Time
	for _, s := range c.soaking {
		at = append(at, s.since.Add(c.soak))
	}
	n := c.need()
	if len(at) < n {
		return time.Time{}, false
	}
	slices.SortFunc(at, time.Time.Compare)
	if n == 0 {
		return c.began, true
	}
	return at[n-1], true
}

// proof gives how far the canary is.
func (c *canary) proof() *Proof {
	p := &Proof{Machines: c.need(), Ready: len(c.soaking), Soak: c.soak}
	if at, enough := c.soaked(); enough {
		p.Soaked = min(max(c.soak-time.Until(at), 0), c.soak)
	}
	return p
}

// take takes a new look at the pool in. Done tells that the wait is over.
func (c *canary) take(ctx context.Context, i int, snap plan.Snapshot) (done bool, err error) {
	a := c.plan.Assess(i, snap)
	c.roll.take(a.Rollout)
	switch a.Verdict {
	case plan.Drifted:
		return true, c.failed(ctx, c.step, &DriftError{Step: c.step.ID, Differences: c.whoDid(ctx, i, a.Differences), Written: c.written.Load()})
	case plan.Satisfied: // somebody is further already
		return true, c.done(ctx, "found proved", nil)
	case plan.Pending:
	}
	now := time.Now()
	c.last = a.Rollout
	ready := map[string]bool{}
	for _, m := range a.Rollout.Machines {
		if !m.Proved {
			continue
		}
		ready[m.Name] = true
		was, soaking := c.soaking[m.Name]
		if soaking && was.word == m.ProvedSince {
			continue
		}
		if soaking {
			c.interrupt(m.Name, "was not ready for a moment")
		}
		c.soaking[m.Name] = newSoaking(now, m)
		c.progress = now
		c.notify(Canary{Step: c.step, Machine: m.Name, News: fmt.Sprintf("is ready, and must stay so for %s", c.soak)})
	}
	for name := range c.soaking {
		if !ready[name] {
			c.interrupt(name, "is no longer ready")
		}
	}
	if c.moved.since(a.Rollout) {
		c.progress = now
	}
	c.notify(Rolling{Step: c.step, Rollout: c.last, Elapsed: time.Since(c.began), Idle: time.Since(c.progress), Proof: c.proof()})
	if c.lost >= flaps {
		return true, c.fail(ctx, c.failure(nil, fmt.Sprintf("The new machines of pool %s stopped being ready %d times.", c.step.Pool, c.lost), "",
			"Find out from the conditions of the Machine and its node what comes and goes."))
	}
	c.heldUp(ctx, c.step, c.last.Stalls, c.seen)
	return false, nil
}

func newSoaking(now time.Time, m capi.Machine) soaking {
	return soaking{since: now, word: m.ProvedSince, node: m.Node}
}

// interrupt ends the soak of a machine before its time.
func (c *canary) interrupt(name, why string) {
	delete(c.soaking, name)
	delete(c.passed, name)
	c.lost++
	c.progress = time.Now()
	c.notify(Canary{Step: c.step, Machine: name, News: why + "; the soak begins anew"})
}

// prove ends the wait when enough machines have soaked: after a look at the
// cluster itself, for a feed that has lost it tells nothing new, and with the
// command, after which it looks again.
func (c *canary) prove(ctx context.Context, i int) (done bool, err error) {
	for {
		snap, err := c.Cluster.Fetch(ctx, c.step.Reads())
		if err != nil {
			return true, err
		}
		if done, err := c.take(ctx, i, snap); done || err != nil {
			return done, err
		}
		at, enough := c.soaked()
		if !enough || time.Now().Before(at) {
			return false, nil
		}
		names := c.first()
		next := slices.IndexFunc(names, func(name string) bool { _, ok := c.passed[name]; return !ok })
		if len(c.step.Wait.Canary.Command) == 0 || next < 0 {
			note := "nothing to prove: the pool has no machines"
			if len(names) > 0 {
				note = fmt.Sprintf("%s ready for %s", strings.Join(names, ", "), c.soak)
			}
			if len(c.passed) > 0 {
				note += ", and the command exited with 0"
			}
			return true, c.done(ctx, note, c.proofs(names))
		}
		printed, err := c.command(ctx, names[next])
		if err != nil {
			return true, err
		}
		c.passed[names[next]] = printed
	}
}

// proofs gives how these machines have proved themselves, for the journal.
func (c *canary) proofs(names []string) []CanaryProof {
	var out []CanaryProof
	for _, name := range names {
		p := CanaryProof{Machine: name, Ready: time.Since(c.soaking[name].since).Truncate(time.Second).Seconds()}
		if printed, ran := c.passed[name]; ran {
			p.Command, p.Output = c.step.Wait.Canary.Command, printed
		}
		out = append(out, p)
	}
	return out
}

// first gives the names of the machines to be proved, the longest soaked first.
func (c *canary) first() []string {
	var names []string
	for name := range c.soaking {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if n := c.soaking[a].since.Compare(c.soaking[b].since); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	return names[:min(len(names), c.need())]
}

// command runs the command for one machine and gives the end of what it
// printed.
func (c *canary) command(ctx context.Context, machine string) (printed string, err error) {
	args := c.step.Wait.Canary.Command
	if c.Executor.Command == nil {
		return "", c.failed(ctx, c.step, errors.New("this program runs no commands, and the canary has one"))
	}
	up := c.plan.Upgrade
	env := []string{
		"NODEPOOL_UPGRADE=" + up.Name, "NODEPOOL_CLUSTER=" + up.Cluster.Name, "NODEPOOL_NAMESPACE=" + up.Cluster.Namespace,
		"NODEPOOL_POOL=" + c.step.Pool, "NODEPOOL_MACHINE=" + machine, "NODEPOOL_NODE=" + c.soaking[machine].node,
	}
	c.notify(Canary{Step: c.step, Machine: machine, News: "has soaked; running " + strings.Join(args, " ")})
	out := &output{tell: func(line string) { c.notify(Canary{Step: c.step, Machine: machine, News: line, Output: true}) }}
	within, cancel := context.WithTimeout(ctx, c.stallAfter)
	defer cancel()
	err = c.Executor.Command(within, args, env, out)
	out.close()
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case within.Err() != nil:
		err = fmt.Errorf("it did not end within %s", c.stallAfter)
	case err == nil:
		c.notify(Canary{Step: c.step, Machine: machine, News: "the command exited with 0"})
		return out.tail(), nil
	}
	m := capi.Machine{Name: machine, Namespace: up.Cluster.Namespace}
	return "", c.fail(ctx, c.failure(&m, fmt.Sprintf("The canary's command %s failed for Machine %s: %s.", args[0], machine, err), out.tail(),
		"Look at what it printed, and at the Machine; run it by hand with the same environment to try again."))
}

// failure is a canary that has not proved itself.
func (c *canary) failure(m *capi.Machine, explanation, message, next string) *StallError {
	s := &capi.Stall{Cause: capi.StallCanaryFailed, Kind: "MachineDeployment", Namespace: c.step.Wait.MachineDeployment.Namespace,
		Name: c.step.Wait.MachineDeployment.Name, Explanation: explanation, Message: message, Next: next}
	if m != nil {
		s.Kind, s.Namespace, s.Name = "Machine", m.Namespace, m.Name
	}
	return &StallError{Step: c.step, Rollout: c.last, Stall: s}
}

// fail ends the wait. Whatever the pool's onStall is, there is nothing to
// write: the rollout is held.
func (c *canary) fail(ctx context.Context, err *StallError) error {
	err.Then = fmt.Sprintf("The rollout is held: no old machine is deleted and no more than %d new are made for it, until it is carried on with, taken back or abandoned.",
		c.step.Wait.Canary.Machines)
	if note := err.Stall; note != nil && note.Message != "" && note.Cause == capi.StallCanaryFailed {
		c.trouble(ctx, c.step, "the canary's command printed: "+note.Message)
	}
	return c.failed(ctx, c.step, err)
}

func (c *canary) done(ctx context.Context, note string, proofs []CanaryProof) error {
	rec := Record{Step: c.step.ID, Phase: Done, Note: note, Canaries: proofs}
	rec.Machines, rec.More = c.roll.machines()
	if err := c.append(ctx, rec); err != nil {
		return err
	}
	c.notify(StepDone{Step: c.step, Took: time.Since(c.began), Outcome: note})
	return nil
}

// output takes what a command prints, and tells it line by line. Lines are cut,
// and beyond so many none is told; the last of it is kept for the journal.
type output struct {
	tell  func(line string)
	line  []byte
	lines int
	last  []string
}

const (
	maxLine  = 1000
	maxLines = 1000
	keptLine = 200
	kept     = 10
)

func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	for {
		before, after, ended := bytes.Cut(p, []byte("\n"))
		if room := maxLine - len(o.line); room > 0 {
			o.line = append(o.line, before[:min(room, len(before))]...)
		}
		if !ended {
			return n, nil
		}
		o.flush()
		p = after
	}
}

func (o *output) close() {
	if len(o.line) > 0 {
		o.flush()
	}
}

func (o *output) flush() {
	line := strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(o.line), "?"))
	o.line = o.line[:0]
	o.lines++
	switch {
	case o.lines < maxLines:
		o.tell(line)
	case o.lines == maxLines:
		o.tell("(it prints more, which is not shown)")
	}
	if len(line) > keptLine {
		line = strings.ToValidUTF8(line[:keptLine], "") + "…"
	}
	if o.last = append(o.last, line); len(o.last) > kept {
		o.last = o.last[1:]
	}
}

func (o *output) tail() string { return strings.Join(o.last, "\n") }
