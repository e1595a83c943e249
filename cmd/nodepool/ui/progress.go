package ui

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
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
	// Interrupted is closed when the run is to end before its end: until it
	// does, people are told what it waits for. It may be nil.
	Interrupted <-chan struct{}
	// Commands are told where a run ends before its end.
	Commands Commands
	// Aside takes what JSONLines has to say to people; nil for nobody.
	Aside io.Writer
}

// Progress is told the events of one run. Its methods may be called from
// several goroutines. What cannot be written is dropped: a closed pipe must
// not end a run.
type Progress interface {
	Event(apply.Event)
	// Close leaves the terminal as it was found. It may be called twice.
	Close()
}

// form is a form of progress.
type form interface {
	Progress
	// interrupting says that the run was asked to end and has not ended yet.
	interrupting()
	// restore gives the terminal back as well as can be done without Close.
	restore()
}

// NewProgress begins to show a run on w.
func NewProgress(w io.Writer, o Options) Progress {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &show{form: newForm(w, o), over: make(chan struct{})}
	onShow.Lock()
	onShow.all = append(onShow.all, s)
	onShow.Unlock()
	if o.Interrupted != nil {
		go s.watch(o.Interrupted)
	}
	return s
}

func newForm(w io.Writer, o Options) form {
	switch o.Mode {
	case Plain:
	case JSONLines:
		return &jsonLines{w: w, now: o.Now, aside: o.Aside, commands: o.Commands}
	case Live:
		if o.Size == nil {
			f, ok := w.(*os.File)
			if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
				break
			}
		}
		return newLive(w, o)
	}
	p := &plainLines{w: w, now: o.Now, last: map[string]string{}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.columns = func() int {
			columns, _, _ := term.GetSize(int(f.Fd())) // 0 where it does not tell
			return columns
		}
	}
	return p
}

// onShow are the runs that are shown.
var onShow struct {
	sync.Mutex
	all []*show
}

// show is a run on show.
type show struct {
	form
	ended sync.Once
	over  chan struct{}
}

func (s *show) Event(e apply.Event) {
	s.form.Event(e)
	if _, ok := e.(apply.RunEnded); ok {
		s.end()
	}
}

func (s *show) Close() {
	s.end()
	s.form.Close()
	onShow.Lock()
	defer onShow.Unlock()
	onShow.all = slices.DeleteFunc(onShow.all, func(o *show) bool { return o == s })
}

func (s *show) end() { s.ended.Do(func() { close(s.over) }) }

// promptly is how long after an interrupt nothing has to be said of it.
const promptly = 300 * time.Millisecond

// watch tells of an interrupt that does not end the run promptly.
func (s *show) watch(interrupted <-chan struct{}) {
	select {
	case <-s.over:
		return
	case <-interrupted:
	}
	wait := time.NewTimer(promptly)
	defer wait.Stop()
	select {
	case <-s.over:
	case <-wait.C:
		s.interrupting()
	}
}

// interrupting is what is said to an interrupt.
const interrupting = "interrupted: finishing and recording what is in hand; interrupt again to stop at once"

// Stop gives the terminals back that runs are shown on, for a program that ends
// at once, and what to say of that.
func Stop() string {
	onShow.Lock()
	defer onShow.Unlock()
	if len(onShow.all) == 0 {
		return errorPrefix + "stopped at once."
	}
	for _, s := range onShow.all {
		s.restore()
	}
	return errorPrefix + "stopped at once. A write that was on its way may have arrived, and the end of the run is not recorded; a rollout that has begun goes on in the cluster. The same command carries on: it looks first and repeats nothing."
}

// oneLine escapes text for one line: its own line breaks are taken for breaks
// between sentences or, behind a colon, words.
func oneLine(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		switch {
		case b.Len() == 0:
		case strings.HasSuffix(b.String(), ":"):
			b.WriteString(" ")
		default:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return render.Escape(b.String())
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

// tally says how far a rollout is. Of one back, the new machines are those of
// the plan that is taken back, and what is to be ready the old ones.
func tally(r capi.Rollout, back bool) string {
	switch {
	case r.InPlace:
		return fmt.Sprintf("%d/%d machines have the new settings", r.NewReady, r.New)
	case back:
		return fmt.Sprintf("%d/%d old ready, %d new left", r.NewReady, r.Desired, r.Old)
	}
	return fmt.Sprintf("%d/%d new ready, %d old left", r.NewReady, r.Desired, r.Old)
}

// proofTally says how far a canary is that has soaked for so long.
func proofTally(p apply.Proof, soaked time.Duration) string {
	s := fmt.Sprintf("canary: %d of %d ready", p.Ready, p.Machines)
	switch {
	case p.Ready < p.Machines:
	case soaked >= p.Soak:
		s += ", soaked " + span(p.Soak)
	default:
		s += ", soaking " + clock(soaked) + " of " + span(p.Soak)
	}
	return s
}

// machines gives those of a rollout. The hold of a canary is no lack of its
// machines: those that are proved are as good as ready.
func machines(e apply.Rolling) []capi.Machine {
	if e.Proof == nil {
		return e.Rollout.Machines
	}
	out := slices.Clone(e.Rollout.Machines)
	for i, m := range out {
		if m.Proved && !m.Deleting {
			out[i].Ready, out[i].Waiting = true, ""
		}
	}
	return out
}

// busy reports whether a machine is on its way in or out.
func busy(m capi.Machine) bool { return m.Deleting || !m.Old && !m.Ready }

// held gives what a rollout waits for when no machine tells it.
func held(e apply.Rolling) string {
	if slices.ContainsFunc(machines(e), busy) || e.Proof != nil && e.Proof.Ready >= e.Proof.Machines {
		return ""
	}
	return oneLine(e.Rollout.Waiting)
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

// age says of which kind a machine is, on the way forward or back.
func age(m capi.Machine, back bool) string {
	if m.Old != back {
		return "old"
	}
	return "new"
}

// evidence gives the lines that say what a stall is, where it is said, and
// what to do. What the cause has said is not said again of the place.
func evidence(s capi.Stall) (cause, where, next string) {
	cause = string(s.Cause)
	if s.Explanation != "" {
		cause += ": " + s.Explanation
	}
	where = place(s)
	if !tells(s) {
		where += ": " + s.Message
	}
	return oneLine(cause), oneLine(where), oneLine(s.Next)
}

// tells reports whether the explanation of a stall holds its message, if there
// is one.
func tells(s capi.Stall) bool {
	flat := func(s string) string { return strings.Trim(strings.Join(strings.Fields(s), " "), ".") }
	return strings.Contains(flat(s.Explanation), flat(s.Message))
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
