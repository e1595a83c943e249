package ui

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/render"
)

// States writes a line for each pool and, below those that are not at rest,
// what holds them up or what they wait for; then who holds which locks. It fits
// a terminal of so many columns: where the table is too wide, what all pools
// have in common stands above it, and then what the rest can do without below
// each pool. 0 columns are as many as it takes.
func States(w io.Writer, pools []apply.PoolState, columns int) error {
	var text string
	for _, shape := range []shape{{}, {common: true}, {common: true, short: true}} {
		var err error
		if text, err = states(pools, shape); err != nil {
			return err
		}
		if widest(text) <= columns || columns <= 0 {
			break
		}
	}
	_, err := io.WriteString(w, Fit(text, columns))
	return err
}

// Changed writes a line for each pool that is not as it was before, with what
// holds it up or what it waits for, and one for each that is gone.
func Changed(w io.Writer, before, now []apply.PoolState, at time.Time) error {
	known := map[[2]string]string{}
	for _, p := range before {
		known[[2]string{p.Namespace, p.Name}] = stateLines(p)
	}
	var b strings.Builder
	say := func(line string) { fmt.Fprintf(&b, "%s  %s\n", at.UTC().Format("15:04:05 UTC"), line) }
	for _, p := range now {
		key := [2]string{p.Namespace, p.Name}
		if lines := stateLines(p); lines != known[key] {
			say(lines)
		}
		delete(known, key)
	}
	for _, p := range before {
		if _, gone := known[[2]string{p.Namespace, p.Name}]; gone {
			say(render.Escape(p.Namespace+"/"+p.Name) + "  is gone")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// stateLines tells the state of a pool in a line, and details below it.
func stateLines(p apply.PoolState) string {
	line := fmt.Sprintf("%s/%s  %s, %d/%d up to date, %d old", p.Namespace, p.Name, stateOf(p), p.UpToDate, p.Replicas, p.Old)
	if p.Run != nil {
		line += ", run " + p.Run.Run + " " + stepOf(p)
	}
	if p.Holder != nil {
		line += ", locked by " + p.Holder.Actor
	}
	line = render.Escape(line)
	for _, d := range stateDetails(p) {
		line += "\n    " + render.Escape(d)
	}
	return line
}

// shape is how much room the table of States takes.
type shape struct {
	common bool // the namespace and the cluster that all share stand above it
	short  bool // the run and the holder stand below each pool
}

// widest gives the columns of the widest line of a table: of the header and of
// what does not stand below a pool.
func widest(text string) (n int) {
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "locked ") {
			n = max(n, render.Columns(line))
		}
	}
	return n
}

func states(pools []apply.PoolState, shape shape) (string, error) {
	var b strings.Builder
	header := []string{"NAMESPACE", "CLUSTER", "POOL", "VERSION", "STATE", "UP TO DATE", "OLD", "RUN", "STEP", "LOCKED BY"}
	from, to := 0, len(header)
	if shape.common && !slices.ContainsFunc(pools, func(p apply.PoolState) bool {
		return p.Namespace != pools[0].Namespace || p.Cluster != pools[0].Cluster
	}) {
		fmt.Fprintf(&b, "Cluster %s\n", render.Escape(pools[0].Namespace+"/"+pools[0].Cluster))
		from = 2
	}
	if shape.short {
		to = 7
	}
	rows := make([][]string, len(pools))
	for i, p := range pools {
		run, step, by := "-", "-", "-"
		if p.Run != nil {
			run, step = p.Run.Run, stepOf(p)
		}
		if p.Holder != nil {
			by = p.Holder.Actor
		}
		rows[i] = []string{p.Namespace, p.Cluster, p.Name, dash(p.Version), stateOf(p), fmt.Sprintf("%d/%d", p.UpToDate, p.Replicas), fmt.Sprint(p.Old), run, step, by}[from:to]
	}
	var table bytes.Buffer
	if err := Table(&table, header[from:to], rows); err != nil {
		return "", err
	}
	lines := strings.SplitAfter(strings.TrimSuffix(table.String(), "\n"), "\n")
	b.WriteString(lines[0])
	for i, p := range pools {
		b.WriteString(strings.TrimSuffix(lines[i+1], "\n") + "\n")
		if p.Run != nil && shape.short {
			b.WriteString("    " + render.Escape("run "+p.Run.Run+", step "+stepOf(p)) + "\n")
		}
		for _, d := range stateDetails(p) {
			b.WriteString("    " + render.Escape(d) + "\n")
		}
	}
	for _, line := range holderLines(pools) {
		b.WriteString(render.Escape(line) + "\n")
	}
	return b.String(), nil
}

// stepOf names the step that is next for a pool.
func stepOf(p apply.PoolState) string {
	switch {
	case p.Run.Step != "":
		return fmt.Sprintf("%d/%d %s", p.Run.Number, p.Run.Steps, strings.TrimPrefix(p.Run.Step, p.Name+"/"))
	case !p.Complete:
		return "waiting"
	case p.Run.Finished:
		return "done, not closed"
	}
	return "done"
}

// stateOf names the state of a pool in a word or two.
func stateOf(p apply.PoolState) string {
	run := p.Run
	if run == nil {
		run = &apply.RunState{}
	}
	switch {
	case run.Drift != "" && run.Overtaken == "":
		return "drifted"
	case p.Hold == "pause":
		return "paused"
	case !p.Complete && run.Stalled != nil && p.Holder == nil:
		return "stalled"
	case !p.Complete && p.Stall.Cause != "":
		return "held up"
	case p.Hold == "canary":
		return "held at canary"
	case !p.Complete:
		return "rolling"
	case p.Changes != nil && *p.Changes > 0:
		return count(*p.Changes, "change") + " to make"
	case run.Step != "" && run.Overtaken == "":
		return "not begun"
	case p.Paused:
		return "paused"
	}
	return "complete"
}

func stateDetails(p apply.PoolState) []string {
	var out []string
	run := p.Run
	if run == nil {
		run = &apply.RunState{}
	}
	stall := p.Stall
	if s := run.Stalled; s != nil && p.Holder == nil && !p.Complete {
		out = append(out, "stalled: the run gave up at "+moment(s.At)+": "+s.Because)
		if s.Stall != nil && (stall.Cause == "" || stall.Cause == s.Stall.Cause) {
			stall = plan.Stall{Next: s.Stall.Next} // the cause is in what is said already
		}
	}
	switch {
	case p.Complete:
	case stall.Cause != "":
		out = append(out, stall.Explanation)
	case p.Hold == "canary" && p.Proved > 0:
		out = append(out, fmt.Sprintf("the rollout is held until its canary is proved: %s ready since %s", count(p.Proved, "new machine"), instantOf(p.ProvedSince)+" UTC"))
	case p.Hold == "canary":
		out = append(out, "the rollout is held until its canary is proved, and no new machine is ready yet")
	case p.Waiting != "" && run.Stalled == nil:
		out = append(out, "waits: "+p.Waiting)
	}
	if !p.Complete && stall.Next != "" {
		out = append(out, "next: "+stall.Next)
	}
	if p.Hold == "pause" {
		out = append(out, "paused by nodepool after a stall (spec.paused); to run the plan again ends the pause")
	}
	switch {
	case run.Overtaken != "":
		out = append(out, "another nodepool run, "+run.Overtaken+", has changed it since "+run.Run+" did; "+run.Run+" cannot go on as it was reviewed")
	case run.Drift != "":
		out = append(out, "not as it was reviewed: "+run.Drift)
	case run.Finished:
		out = append(out, "all steps of "+run.Run+" are done; the same nodepool apply again closes it")
	case run.Idle && run.Step != "":
		out = append(out, "nobody is at work on "+run.Run+"; the same nodepool apply again carries on")
	}
	return out
}

// holderLines tells who holds which locks, a line for each holder.
func holderLines(pools []apply.PoolState) []string {
	var out []string
	var told []string
	for _, p := range pools {
		h := p.Holder
		if h == nil {
			continue
		}
		key := fmt.Sprint(h.Actor, h.Process, h.Plan, h.Upgrade)
		if slices.Contains(told, key) {
			continue
		}
		told = append(told, key)
		var names []string
		since := h.Since
		for _, other := range pools {
			if o := other.Holder; o != nil && fmt.Sprint(o.Actor, o.Process, o.Plan, o.Upgrade) == key {
				names = append(names, other.Name)
				if o.Since.Before(since) {
					since = o.Since
				}
			}
		}
		line := "locked by " + h.Actor + " for " + h.Upgrade + " since " + moment(since)
		if h.Ticket != "" {
			line += ", ticket " + h.Ticket
		}
		out = append(out, line+": "+strings.Join(names, ", "))
	}
	return out
}
