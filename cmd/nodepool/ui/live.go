package ui

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
)

// live keeps a block at the end of the terminal up to date. What stays, such
// as a step that is done, is written above it once. Bubble Tea draws: it knows
// terminals, their widths and what a resize does to them.
type live struct {
	program *tea.Program
	over    sync.WaitGroup
	order   sync.Mutex // held from a change of the board until it is sent
	board
}

// board is what the block shows.
type board struct {
	o  Options
	mu sync.Mutex // guards all below

	start  time.Time
	title  string
	steps  []plan.Step
	ended  int // steps that are done
	active []*activity
	// last is what stays when the run is over.
	last          []row
	columns, rows int
}

// activity is a step that has begun and not ended.
type activity struct {
	step    plan.Step
	began   time.Time
	rollout *capi.Rollout
	// retry says why the last try failed; it is cleared by the next news.
	retry string
	pace  pace
}

// redraw says that the board has changed, or the time.
type redraw struct{}

func newLive(w io.Writer, o Options) *live {
	l := &live{board: board{o: o, columns: 80, rows: 24}}
	options := []tea.ProgramOption{tea.WithOutput(w), tea.WithInput(nil), tea.WithoutSignalHandler()}
	if o.Size != nil {
		l.columns, l.rows = o.Size()
		options = append(options, tea.WithWindowSize(l.columns, l.rows))
	}
	l.program = tea.NewProgram(&l.board, options...)
	over := make(chan struct{})
	l.over.Go(func() {
		defer close(over)
		_, _ = l.program.Run() // what cannot be drawn is dropped
	})
	l.over.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				l.program.Send(redraw{})
			}
		}
	})
	return l
}

func (l *live) Close() {
	l.program.Quit()
	l.over.Wait()
}

func (l *live) Event(e apply.Event) {
	l.order.Lock()
	defer l.order.Unlock()
	if stays := l.take(e); len(stays) > 0 {
		l.program.Println(strings.Join(stays, "\n"))
	}
	l.program.Send(redraw{})
}

// Init implements tea.Model.
func (b *board) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (b *board) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if size, ok := msg.(tea.WindowSizeMsg); ok {
		b.mu.Lock()
		b.columns, b.rows = size.Width, size.Height
		b.mu.Unlock()
	}
	return b, nil
}

// View implements tea.Model.
func (b *board) View() tea.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.last
	if rows == nil {
		rows = b.block(b.columns-1, b.rows-1)
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = render.Truncate(row.text, b.columns-1)
		if row.attribute != "" {
			lines[i] = b.paint(row.attribute, lines[i])
		}
	}
	if b.last != nil {
		lines = append(lines, "") // Bubble Tea ends by clearing the last line
	}
	return tea.NewView(strings.Join(lines, "\n"))
}

// take brings the board up to date and gives the lines that stay above it.
func (b *board) take(e apply.Event) (stays []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.o.Now()
	if b.start.IsZero() {
		b.start = now
	}
	switch e := e.(type) {
	case apply.RunStarted:
		b.steps = e.Plan.Steps
		b.title = render.Escape(e.Plan.Upgrade.Name)
		return []string{opening(e)}
	case apply.StepStarted:
		if b.find(e.Step) == nil {
			b.active = append(b.active, &activity{step: e.Step, began: now})
		}
	case apply.StepSkipped:
		b.end(e.Step)
		return []string{b.paint(faint, "✓ "+render.Title(e.Step)+": found done")}
	case apply.StepDone:
		line := "✓ " + render.Title(e.Step)
		if a := b.find(e.Step); a != nil && a.rollout != nil {
			line = fmt.Sprintf("✓ %s: %s", render.Escape(e.Step.Pool), tally(*a.rollout))
		}
		b.end(e.Step)
		return []string{b.paint(green, line+", "+clock(e.Took))}
	case apply.Rolling:
		a := b.find(e.Step)
		if a == nil {
			a = &activity{step: e.Step}
			b.active = append(b.active, a)
		}
		a.rollout, a.retry, a.began = &e.Rollout, "", now.Add(-e.Elapsed)
		a.pace.take(e)
	case apply.Canary:
		var lines []string
		for _, line := range render.Wrap(canaryNews(e), max(b.columns-1, 20)) {
			lines = append(lines, b.paint(faint, line))
		}
		return lines
	case apply.Stalled:
		cause, where, next := evidence(e.Stall)
		var lines []string
		for _, p := range render.Wrap("! "+render.Escape(e.Step.Pool)+": held up by "+cause, b.columns-1) {
			lines = append(lines, b.paint(yellow, p))
		}
		if next != "" {
			next = "Next: " + next
		}
		for _, text := range []string{where, next} {
			if text == "" {
				continue
			}
			for _, p := range render.Wrap(text, max(b.columns-5, 20)) {
				lines = append(lines, "    "+p)
			}
		}
		return lines
	case apply.Retrying:
		if a := b.find(e.Step); a != nil {
			a.retry = render.Escape(e.Why) + "; trying again in " + clock(e.In)
		}
	case apply.RunEnded:
		// The block stays as the last thing seen of what was not done.
		b.last = b.block(b.columns-1, b.rows-3)
		if e.Err == nil {
			b.last = []row{{green, "Done in " + clock(e.Took) + "."}}
		} else {
			word := ending(e.Err)
			b.last = append(b.last, row{red, strings.ToUpper(word[:1]) + word[1:] + ", after " + clock(e.Took) + "."})
		}
	}
	return nil
}

func (b *board) find(s plan.Step) *activity {
	for _, a := range b.active {
		if a.step.ID == s.ID {
			return a
		}
	}
	return nil
}

func (b *board) end(s plan.Step) {
	b.ended++
	b.active = slices.DeleteFunc(b.active, func(a *activity) bool { return a.step.ID == s.ID })
}

// The attributes of a line.
const (
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (b *board) paint(attribute, line string) string {
	if !b.o.Color {
		return line
	}
	return "\x1b[" + attribute + "m" + line + "\x1b[0m"
}

// row is a line of the block, escaped; attribute "" leaves it plain.
type row struct{ attribute, text string }

// block gives the lines of the block, at most height.
func (b *board) block(width, height int) []row {
	if len(b.active) == 0 || height < 1 {
		return nil
	}
	now := b.o.Now()
	out := []row{{faint, fmt.Sprintf("%s: %d of %s done, %s", b.title, b.ended, count(len(b.steps), "step"), clock(now.Sub(b.start)))}}
	active := b.active
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
		out = append(out, b.headline(a, width, now))
		below := details(a, room/(len(active)-i), now)
		room -= len(below)
		out = append(out, below...)
	}
	if hidden > 0 && height > 1 {
		out = append(out, row{faint, fmt.Sprintf("… and %d more", hidden)})
	}
	return out
}

func (b *board) headline(a *activity, width int, now time.Time) row {
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
	return row{"", fmt.Sprintf("→ %s  %s %s  %s", render.Escape(a.step.Pool), bar, tally(*a.rollout), took+a.pace.left(now.Sub(a.began)))}
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
