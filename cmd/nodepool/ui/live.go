package ui

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
)

const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"
)

// live keeps a block at the end of the terminal up to date. What stays, such
// as a step that is done, is written above it once.
type live struct {
	mu   sync.Mutex
	w    io.Writer
	o    Options
	done chan struct{}
	over sync.WaitGroup

	start  time.Time
	title  string
	steps  []plan.Step
	ended  int // steps that are done
	active []*activity
	closed bool
	hidden bool
	// drawn holds the columns of each line of the block on the screen.
	drawn []int
}

// activity is a step that has begun and not ended.
type activity struct {
	step    plan.Step
	began   time.Time
	rollout *capi.Rollout
	// retry says why the last try failed; it is cleared by the next news.
	retry string
}

func newLive(w io.Writer, o Options) *live {
	l := &live{w: w, o: o, done: make(chan struct{})}
	tick := o.Tick
	stop := func() {}
	if tick == nil {
		t := time.NewTicker(time.Second)
		tick, stop = t.C, t.Stop
	}
	l.over.Go(func() {
		defer stop()
		for {
			select {
			case <-l.done:
				return
			case <-tick:
				l.mu.Lock()
				if len(l.drawn) > 0 && !l.closed {
					l.draw()
				}
				l.mu.Unlock()
			}
		}
	})
	return l
}

func (l *live) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	close(l.done)
	if l.hidden {
		_, _ = io.WriteString(l.w, showCursor)
	}
	l.mu.Unlock()
	l.over.Wait()
}

func (l *live) Event(e apply.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	now := l.o.Now()
	if l.start.IsZero() {
		l.start = now
	}
	switch e := e.(type) {
	case apply.RunStarted:
		l.steps = e.Plan.Steps
		l.title = render.Escape(e.Plan.Upgrade.Name)
		l.draw(opening(e))
	case apply.StepStarted:
		if l.find(e.Step) == nil {
			l.active = append(l.active, &activity{step: e.Step, began: now})
		}
		l.draw()
	case apply.StepSkipped:
		l.end(e.Step)
		l.draw(l.paint(faint, "✓ "+render.Title(e.Step)+": found done"))
	case apply.StepDone:
		line := "✓ " + render.Title(e.Step)
		if a := l.find(e.Step); a != nil && a.rollout != nil {
			line = fmt.Sprintf("✓ %s: %s", render.Escape(e.Step.Pool), tally(*a.rollout))
		}
		l.end(e.Step)
		l.draw(l.paint(green, line+", "+clock(e.Took)))
	case apply.Rolling:
		a := l.find(e.Step)
		if a == nil {
			a = &activity{step: e.Step}
			l.active = append(l.active, a)
		}
		a.rollout, a.retry, a.began = &e.Rollout, "", now.Add(-e.Elapsed)
		l.draw()
	case apply.Stalled:
		cause, where, next := evidence(e.Stall)
		columns, _ := l.o.Size()
		var lines []string
		for _, p := range render.Wrap("! "+render.Escape(e.Step.Pool)+": held up by "+cause, columns-1) {
			lines = append(lines, l.paint(yellow, p))
		}
		if next != "" {
			next = "Next: " + next
		}
		for _, text := range []string{where, next} {
			if text == "" {
				continue
			}
			for _, p := range render.Wrap(text, max(columns-5, 20)) {
				lines = append(lines, "    "+p)
			}
		}
		l.draw(lines...)
	case apply.Retrying:
		if a := l.find(e.Step); a != nil {
			a.retry = render.Escape(e.Why) + "; trying again in " + clock(e.In)
		}
		l.draw()
	case apply.RunEnded:
		// The block stays as the last thing seen of what was not done.
		l.draw()
		l.drawn = nil
		l.active = nil
		if e.Err == nil {
			l.draw(l.paint(green, "Done in "+clock(e.Took)+"."))
		} else {
			word := ending(e.Err)
			l.draw(l.paint(red, strings.ToUpper(word[:1])+word[1:]+", after "+clock(e.Took)+"."))
		}
	}
}

func (l *live) find(s plan.Step) *activity {
	for _, a := range l.active {
		if a.step.ID == s.ID {
			return a
		}
	}
	return nil
}

func (l *live) end(s plan.Step) {
	l.ended++
	l.active = slices.DeleteFunc(l.active, func(a *activity) bool { return a.step.ID == s.ID })
}

// The attributes of a line.
const (
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (l *live) paint(attribute, line string) string {
	if !l.o.Color {
		return line
	}
	return "\x1b[" + attribute + "m" + line + "\x1b[0m"
}

// draw writes what stays, and the block anew below it, in one write so that a
// terminal does not show it half done.
func (l *live) draw(stays ...string) {
	columns, rows := l.o.Size()
	var b strings.Builder
	if !l.hidden {
		l.hidden = true
		b.WriteString(hideCursor)
	}
	// A terminal that was made narrower has broken the lines of the block.
	up := 0
	for _, n := range l.drawn {
		up += max(1, (n+columns-1)/columns)
	}
	if up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", min(up, rows-1))
	}
	// Line by line, and what is left over last: to clear the whole screen at
	// once flickers, and tmux would keep what was cleared in its history.
	// What stays may be longer than a line of the screen, so it needs room first.
	b.WriteString("\r")
	if len(stays) > 0 {
		b.WriteString(clearBelow)
	}
	for _, s := range stays {
		b.WriteString(s + "\n")
	}
	l.drawn = l.drawn[:0]
	for _, row := range l.block(columns-1, rows-1) {
		text := render.Truncate(row.text, columns-1)
		l.drawn = append(l.drawn, render.Columns(text))
		if row.attribute != "" {
			text = l.paint(row.attribute, text)
		}
		b.WriteString(text + clearLine + "\n")
	}
	b.WriteString(clearBelow)
	_, _ = io.WriteString(l.w, b.String())
}

// row is a line of the block, escaped; attribute "" leaves it plain.
type row struct{ attribute, text string }

// block gives the lines of the block, at most height.
func (l *live) block(width, height int) []row {
	if len(l.active) == 0 || height < 1 {
		return nil
	}
	now := l.o.Now()
	out := []row{{faint, fmt.Sprintf("%s: %d of %s done, %s", l.title, l.ended, count(len(l.steps), "step"), clock(now.Sub(l.start)))}}
	active := l.active
	room := height - 1
	hidden := 0
	if len(active) > room {
		hidden = len(active) - max(room-1, 0)
		active = active[:len(active)-hidden]
		room--
	}
	// What the pools' own lines leave is shared out evenly; what one pool does
	// not need goes to those behind it.
	room -= len(active)
	for i, a := range active {
		out = append(out, l.headline(a, width, now))
		below := details(a, room/(len(active)-i), now)
		room -= len(below)
		out = append(out, below...)
	}
	if hidden > 0 && height > 1 {
		out = append(out, row{faint, fmt.Sprintf("… and %d more", hidden)})
	}
	return out
}

func (l *live) headline(a *activity, width int, now time.Time) row {
	took := clock(now.Sub(a.began))
	if a.rollout == nil {
		return row{"", "→ " + render.Title(a.step) + "  " + took}
	}
	cells := 20
	if width < 80 {
		cells = 8
	}
	full := cells
	if r := a.rollout; r.Desired > 0 {
		full = min(r.NewReady*cells/r.Desired, cells)
	}
	bar := strings.Repeat("█", full) + strings.Repeat("░", cells-full)
	return row{"", fmt.Sprintf("→ %s  %s %s  %s", render.Escape(a.step.Pool), bar, tally(*a.rollout), took)}
}

// few is how many machines of a pool are all shown. Of more, only those that
// something happens to are, and others up to this number.
const few = 8

// details gives the lines below a pool's own: what it waits for and its
// machines, those first that something happens to.
func details(a *activity, room int, now time.Time) []row {
	if room < 1 {
		return nil
	}
	var out []row
	if a.retry != "" {
		out = append(out, row{yellow, "    " + a.retry})
	}
	if a.rollout == nil {
		return out
	}
	if why := held(*a.rollout); why != "" && len(out) < room {
		out = append(out, row{"", "    " + why})
	}
	if len(a.rollout.Stalls) > 0 && len(out) < room {
		cause, _, _ := evidence(a.rollout.Stalls[0])
		out = append(out, row{yellow, "    ! held up by " + cause})
	}
	machines := a.rollout.Machines
	shown, rest := machines, machines[:0]
	if left := room - len(out); len(machines) > min(left, few) {
		machines = slices.Clone(machines)
		slices.SortStableFunc(machines, func(x, y capi.Machine) int { return rank(x) - rank(y) })
		moving := 0
		for moving < len(machines) && busy(machines[moving]) {
			moving++
		}
		n := min(max(moving, few-1), len(machines))
		if n < len(machines) || n > left {
			n = max(min(n, left-1), 0) // a line is for the rest
		}
		shown, rest = machines[:n], machines[n:]
	}
	name, what := 0, 0
	for _, m := range shown {
		name = max(name, render.Columns(render.Escape(m.Name)))
		what = max(what, render.Columns(state(m)))
	}
	for _, m := range shown {
		out = append(out, machineRow(m, min(name, 63), what, now))
	}
	if len(rest) > 0 && len(out) < room {
		out = append(out, row{faint, "    " + summary(rest, len(shown) > 0)})
	}
	return out
}

// rank orders machines for a view that cannot show them all.
func rank(m capi.Machine) int {
	switch {
	case busy(m):
		return 0
	case m.Old:
		return 1
	}
	return 2
}

func machineRow(m capi.Machine, name, what int, now time.Time) row {
	symbol, attribute := "·", ""
	detail := m.Waiting
	switch {
	case m.Deleting:
		symbol = "-"
	case m.Old:
		symbol, attribute = "-", faint
	case m.Ready:
		symbol, attribute = "✓", green
		if detail == "" && m.Node != "" {
			detail = "node " + m.Node
		}
	}
	since := ""
	if created, err := time.Parse(time.RFC3339, m.Created); err == nil && busy(m) && !m.Deleting {
		since = clock(now.Sub(created))
	}
	text := fmt.Sprintf("    %s %s %s  %s  %6s  %s", symbol, age(m), pad(render.Escape(m.Name), name), pad(state(m), what), since, render.Escape(detail))
	return row{attribute, strings.TrimRight(text, " ")}
}

func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(columns-render.Columns(s), 0))
}

// summary counts machines by what they do.
func summary(machines []capi.Machine, more bool) string {
	counts := map[string]int{}
	var order []string
	for _, m := range machines {
		k := age(m) + " " + state(m)
		if counts[k] == 0 {
			order = append(order, k)
		}
		counts[k]++
	}
	parts := make([]string, len(order))
	for i, k := range order {
		parts[i] = fmt.Sprintf("%d %s", counts[k], k)
	}
	head := ""
	if more {
		head = "… and "
	}
	return head + strings.Join(parts, ", ")
}
