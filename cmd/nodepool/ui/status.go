package ui

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"nodepool/apply"
	"nodepool/plan/render"
)

// States writes a line for each pool and, below those that are not at rest,
// what holds them up or what they wait for.
func States(w io.Writer, pools []apply.PoolState) error {
	var table bytes.Buffer
	rows := make([][]string, len(pools))
	for i, p := range pools {
		run, step, by := "-", "-", "-"
		if p.Run != nil {
			run, step = p.Run.Run, "all done"
			if p.Run.Step != "" {
				step = fmt.Sprintf("%d/%d %s", p.Run.Number, p.Run.Steps, strings.TrimPrefix(p.Run.Step, p.Name+"/"))
			}
		}
		if p.Holder != nil {
			by = p.Holder.Actor
		}
		rows[i] = []string{p.Namespace, p.Cluster, p.Name, dash(p.Version), stateOf(p), fmt.Sprintf("%d/%d", p.UpToDate, p.Replicas), fmt.Sprint(p.Old), run, step, by}
	}
	if err := Table(&table, []string{"NAMESPACE", "CLUSTER", "POOL", "VERSION", "STATE", "UP TO DATE", "OLD", "RUN", "STEP", "LOCKED BY"}, rows); err != nil {
		return err
	}
	lines := strings.SplitAfter(strings.TrimSuffix(table.String(), "\n"), "\n")
	var b strings.Builder
	b.WriteString(lines[0])
	for i, p := range pools {
		b.WriteString(strings.TrimSuffix(lines[i+1], "\n") + "\n")
		for _, d := range stateDetails(p) {
			b.WriteString("    " + render.Escape(d) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// stateOf names the state of a pool in a word or two.
func stateOf(p apply.PoolState) string {
	switch {
	case p.Run != nil && p.Run.Drift != "":
		return "drifted"
	case !p.Complete && p.Stall.Cause != "":
		return "held up"
	case !p.Complete:
		return "rolling"
	case p.Changes != nil && *p.Changes > 0:
		return count(*p.Changes, "change") + " to make"
	case p.Paused:
		return "paused"
	}
	return "complete"
}

func stateDetails(p apply.PoolState) []string {
	var out []string
	switch {
	case p.Complete:
	case p.Stall.Cause != "":
		out = append(out, p.Stall.Explanation)
	case p.Waiting != "":
		out = append(out, "waits: "+p.Waiting)
	}
	if p.Run != nil && p.Run.Drift != "" {
		out = append(out, "not as it was reviewed: "+p.Run.Drift)
	}
	if h := p.Holder; h != nil {
		line := "locked by " + h.Actor + " for " + h.Upgrade + " since " + instant(h.Since) + " UTC"
		if h.Ticket != "" {
			line += ", ticket " + h.Ticket
		}
		out = append(out, line)
	}
	return out
}
