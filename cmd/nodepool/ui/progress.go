package ui

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
)

// Mode is a form of progress.
type Mode int

const (
	// Plain writes a line for each change, headed by the time since the start
	// of the run. The same is never said twice in a row of one machine, pool
	// or step.
	Plain Mode = iota
	// Live redraws a block in place: a line for each pool that is rolling, its
	// machines below. It needs a terminal; without one it is Plain.
	Live
	// JSONLines writes one JSON object a line for each event: see Line. Fields
	// that are empty are left out, counts and flags of machines never.
	JSONLines
)

// Options say how progress is shown.
type Options struct {
	Mode  Mode
	Color bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Size gives the columns and rows of what is no terminal and is to be used
	// as one, for Live; a terminal is asked itself.
	Size func() (columns, rows int)
}

// Progress is told the events of one run. Its methods may be called from
// several goroutines. What cannot be written is dropped: a closed pipe must
// not end a run.
type Progress interface {
	Event(apply.Event)
	// Close leaves the terminal as it was found. It may be called twice.
	Close()
}

// NewProgress begins to show a run on w.
func NewProgress(w io.Writer, o Options) Progress {
	if o.Now == nil {
		o.Now = time.Now
	}
	switch o.Mode {
	case Plain:
	case JSONLines:
		return &jsonLines{w: w, now: o.Now}
	case Live:
		if o.Size == nil {
			f, ok := w.(*os.File)
			if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
				break
			}
		}
		return newLive(w, o)
	}
	return &plainLines{w: w, now: o.Now, last: map[string]string{}}
}

// clock writes a duration to the second: 12s, 3m05s, 1h02m03s.
func clock(d time.Duration) string {
	s := int(max(d, 0).Round(time.Second).Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh%02dm%02ds", s/3600, s/60%60, s%60)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// opening is the line that a run begins with.
func opening(e apply.RunStarted) string {
	doing := "applying "
	if e.Plan.Upgrade.Rollback != "" {
		doing = "rolling back "
	}
	s := doing + e.Plan.Upgrade.Name + ", plan " + e.Plan.Digest.Short() + ": " + count(len(e.Plan.Steps), "step")
	if e.Resumed > 0 {
		s += fmt.Sprintf(", %d already done", e.Resumed)
	}
	return render.Escape(s)
}

// tally says how far a rollout is.
func tally(r capi.Rollout) string {
	if r.InPlace {
		return fmt.Sprintf("%d/%d machines have the new settings", r.NewReady, r.New)
	}
	return fmt.Sprintf("%d/%d new ready, %d old left", r.NewReady, r.Desired, r.Old)
}

// busy reports whether a machine is on its way in or out.
func busy(m capi.Machine) bool { return m.Deleting || !m.Old && !m.Ready }

// held gives what a rollout waits for when no machine tells it.
func held(r capi.Rollout) string {
	for _, m := range r.Machines {
		if busy(m) {
			return ""
		}
	}
	return render.Escape(r.Waiting)
}

// state names the state of a machine.
func state(m capi.Machine) string {
	switch {
	case m.Deleting:
		return "Deleting"
	case !m.Old && m.Ready:
		return "ready"
	case m.Phase == "":
		return "Unknown"
	}
	return render.Escape(m.Phase)
}

// age says of which kind a machine is.
func age(m capi.Machine) string {
	if m.Old {
		return "old"
	}
	return "new"
}

// evidence gives the lines that say what a stall is, where it is said, and
// what to do.
func evidence(s capi.Stall) (cause, where, next string) {
	cause = string(s.Cause)
	if s.Explanation != "" {
		cause += ": " + s.Explanation
	}
	where = place(s)
	if s.Message != "" {
		where += ": " + s.Message
	}
	return render.Escape(cause), render.Escape(where), render.Escape(s.Next)
}

// place names the object and the condition that a stall is said in.
func place(s capi.Stall) string {
	where := plan.Ref{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name}.String()
	if s.Condition != "" {
		where += ", condition " + s.Condition
	}
	return where
}

// canaryNews is a line about a machine that has to prove itself.
func canaryNews(e apply.Canary) string {
	what := render.Escape(e.Step.Pool) + ": canary " + render.Escape(e.Machine)
	if e.Output {
		return what + " | " + render.Escape(e.News)
	}
	return what + ": " + render.Escape(e.News)
}
