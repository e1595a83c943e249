package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/render"
)

// Waiting says that a run waits for the holder of a pool's lock.
func Waiting(pool plan.Ref, h apply.Holder, timeout time.Duration) string {
	return render.Escape(fmt.Sprintf("Pool %s is locked by %s%s; waiting up to %s for that run to end, or for its lock to expire.",
		pool.Name, h.Actor, since(h), span(timeout)))
}

// Locked says who holds the lock of a pool, in lines.
func Locked(pool plan.Ref, h apply.Holder) string {
	return render.Escape("Pool "+pool.Name+" is locked by "+h.Actor+".") + "\n" + strings.TrimSuffix(known(h), "\n")
}

// Holders names holders in a sentence, each once.
func Holders(all []apply.Holder) string {
	var names []string
	for _, h := range all {
		if name := render.Escape(h.Actor); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}

func since(h apply.Holder) string {
	if h.Since.IsZero() {
		return ""
	}
	return " since " + moment(h.Since)
}

// known tells all that is known of a holder, a line each.
func known(h apply.Holder) string {
	host := h.Host
	if host != "" && h.Process > 0 {
		host += fmt.Sprintf(", process %d", h.Process)
	}
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return moment(t)
	}
	var b strings.Builder
	for _, f := range [][2]string{
		{"host:", host},
		{"since:", stamp(h.Since)},
		{"renewed:", stamp(h.Renewed)},
		{"upgrade:", h.Upgrade},
		{"plan:", string(h.Plan)},
		{"ticket:", h.Ticket},
	} {
		if f[1] != "" {
			fmt.Fprintf(&b, "  %-9s%s\n", f[0], render.Escape(f[1]))
		}
	}
	return b.String()
}

func (c Commands) explainLocked(e *apply.LockedError) string {
	longer := "--lock-timeout 30m waits longer; from a run that is stuck, nodepool unlock takes the lock away. "
	if e.InTheWay {
		longer = "The run of another plan is not given up while it is at work; from one that is stuck, nodepool unlock takes the lock away. "
	}
	return "locked: another run works on pool " + render.Escape(e.Pool.Name+", that of "+e.Holder.Actor+".") + "\n" + known(e.Holder) +
		"Nothing was written. " + longer +
		c.again("once that run has ended", "")
}

func (c Commands) explainLost(e *apply.LockLostError) string {
	var names []string
	for _, p := range e.Pools {
		names = append(names, p.Name)
	}
	what := "Nothing was written."
	if e.Written {
		what = "What this run wrote before stays; nothing was written after that was found, and a rollout that has begun goes on."
	}
	return render.Escape("the lock on "+strings.Join(names, ", ")+" was lost: another run took it over, or somebody took it away.") + "\n" + what + "\n" +
		c.again("to carry on", "it waits for the other run, looks first and repeats nothing")
}
