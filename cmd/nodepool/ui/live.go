package ui

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/term"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
)

// live keeps a block at the end of the terminal up to date. What stays, such
// as a step that is done, is written above it once. Bubble Tea draws: it knows
// terminals, their widths and what a resize does to them.
//
// The cursor stays in sight, on a free line below the block: a program that is
// killed leaves the terminal usable and the next prompt below the block.
type live struct {
	program *tea.Program
	out     *pen
	loud    func() // has the terminal show again what is typed
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
	back   bool // it takes a plan back
	steps  []plan.Step
	ended  int // steps that are done
	active []*activity
	// notice stands above the block.
	notice string
	// last is what stays when the run is over.
	last          []row
	columns, rows int
	// said counts the lines that stay, and drawn is told how wide those of the
	// block are.
	said  int
	drawn func(widths []int)
}

// activity is a step that has begun and not ended.
type activity struct {
	step    plan.Step
	began   time.Time
	rolling *apply.Rolling
	seen    time.Time // when rolling came
	// retry says why the last try failed; it is cleared by the next news.
	retry string
	pace  pace
}

// redraw says that the board has changed, or the time.
type redraw struct{}

func newLive(w io.Writer, o Options) *live {
	l := &live{board: board{o: o, columns: 80, rows: 24}, loud: func() {}, out: &pen{w: w, begun: make(chan struct{}), reflows: reflows()}}
	l.drawn = l.out.planned
	var screen io.Writer = l.out
	if f, ok := w.(*os.File); ok {
		screen = terminal{f, l.out}
		if columns, rows, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 && rows > 0 {
			l.columns, l.rows = columns, rows
		}
		l.loud = sync.OnceFunc(silence(f))
	}
	options := []tea.ProgramOption{tea.WithOutput(screen), tea.WithInput(nil), tea.WithoutSignalHandler(), tea.WithFilter(l.resized)}
	if o.Size != nil {
		l.columns, l.rows = o.Size()
		options = append(options, tea.WithWindowSize(l.columns, l.rows))
	}
	l.program = tea.NewProgram(&l.board, options...)
	over := make(chan struct{})
	l.over.Go(func() {
		defer close(over)
		_, _ = l.program.Run() // what cannot be drawn is dropped
		l.out.begin()
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
	l.loud()
}

func (l *live) restore() { l.loud() }

func (l *live) Event(e apply.Event) {
	l.order.Lock()
	defer l.order.Unlock()
	stays := l.take(e)
	// Before its first frame, Bubble Tea takes the whole screen for its own. One
	// line at a time is all that it can make room for above a high block.
	<-l.out.begun
	for _, line := range stays {
		l.program.Send(tea.Println(line)())
	}
	l.program.Send(redraw{})
}

func (l *live) interrupting() {
	l.mu.Lock()
	l.notice = interrupting
	l.mu.Unlock()
	l.program.Send(redraw{})
}

// resized is shown every message of Bubble Tea before it is.
func (l *live) resized(_ tea.Model, msg tea.Msg) tea.Msg {
	if size, ok := msg.(tea.WindowSizeMsg); ok {
		l.out.resized(size.Width)
	}
	return msg
}

// terminal is a pen that Bubble Tea finds a terminal behind.
type terminal struct {
	*os.File
	pen *pen
}

func (t terminal) Write(p []byte) (int, error) { return t.pen.Write(p) }

// pen writes what Bubble Tea draws. Most terminals break lines anew when they
// become narrower, which Bubble Tea does not know: the block is then higher
// than it was, and its upper part would stay for good.
type pen struct {
	w       io.Writer
	reflows bool
	once    sync.Once
	begun   chan struct{} // closed with the first frame

	mu            sync.Mutex
	plan, written []int // widths of the lines of the block, as planned and as written
	up            int   // how much higher the block has become
}

func (p *pen) begin() { p.once.Do(func() { close(p.begun) }) }

func (p *pen) planned(widths []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = widths
}

func (p *pen) resized(columns int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = 0
	for _, width := range p.written {
		if p.reflows && width > 0 && columns > 0 {
			p.up += (width - 1) / columns
		}
	}
}

func (p *pen) Write(b []byte) (int, error) {
	defer p.begin()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = p.plan
	out := b
	if p.up > 0 {
		out = append(fmt.Appendf(nil, "\r\x1b[%dA", p.up), b...)
		p.up = 0
	}
	_, err := p.w.Write(out)
	return len(b), err
}

// reflows reports whether the terminal breaks lines anew when it is resized:
// all in use but xterm, GNU screen and the console of Linux.
func reflows() bool {
	return os.Getenv("TMUX") != "" || os.Getenv("XTERM_VERSION") == "" && os.Getenv("STY") == "" && os.Getenv("TERM") != "linux"
}

// Init implements tea.Model.
func (b *board) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (b *board) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if size, ok := msg.(tea.WindowSizeMsg); ok {
		b.columns, b.rows = size.Width, size.Height
	}
	if _, ok := msg.(redraw); ok && b.o.Size != nil {
		if columns, rows := b.o.Size(); columns != b.columns || rows != b.rows {
			return b, func() tea.Msg { return tea.WindowSizeMsg{Width: columns, Height: rows} }
		}
	}
	return b, nil
}

// View implements tea.Model.
func (b *board) View() tea.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.last
	if rows == nil {
		// One row is the cursor's, and one for a line that is to stay.
		rows = b.block(b.columns-1, b.rows-2)
	}
	lines := make([]string, len(rows), len(rows)+1)
	widths := make([]int, len(rows))
	for i, row := range rows {
		lines[i] = render.Truncate(row.text, b.columns-1)
		widths[i] = render.Columns(lines[i])
		if row.attribute != "" {
			lines[i] = b.paint(row.attribute, lines[i])
		}
	}
	b.drawn(widths)
	// The cursor's line. Behind a line that stays the cursor stands elsewhere,
	// and would do so until something changes: an attribute that says nothing.
	lines = append(lines, strings.Repeat("\x1b[m", b.said%2))
	v := tea.NewView(strings.Join(lines, "\n"))
	v.Cursor = tea.NewCursor(0, len(lines)-1)
	v.DisableBracketedPasteMode = true
	return v
}

// take brings the board up to date and gives the lines that stay above it.
func (b *board) take(e apply.Event) (stays []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.said += len(stays) }()
	now := b.o.Now()
	if b.start.IsZero() {
		b.start = now
	}
	switch e := e.(type) {
	case apply.RunStarted:
		b.steps, b.back = e.Plan.Steps, e.Plan.Upgrade.Purpose == plan.ForRollback
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
		switch a := b.find(e.Step); {
		case e.Outcome != "":
			line = fmt.Sprintf("✓ %s: canary: %s", render.Escape(e.Step.Pool), render.Escape(e.Outcome))
		case a != nil && a.rolling != nil:
			line = fmt.Sprintf("✓ %s: %s", render.Escape(e.Step.Pool), tally(a.rolling.Rollout, b.back))
		}
		b.end(e.Step)
		var lines []string
		for _, part := range render.Wrap(line+", "+clock(e.Took), max(b.columns-1, 20)) {
			lines = append(lines, b.paint(green, part))
		}
		return lines
	case apply.Rolling:
		a := b.find(e.Step)
		if a == nil {
			a = &activity{step: e.Step}
			b.active = append(b.active, a)
		}
		a.rolling, a.seen, a.retry, a.began = &e, now, "", now.Add(-e.Elapsed)
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
			a.retry = oneLine(e.Why) + "; trying again in " + clock(e.In)
		}
	case apply.RunEnded:
		// The block stays as the last thing seen of what was not done.
		b.notice = ""
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
func (b *board) block(width, height int) (out []row) {
	if b.notice != "" && height > 0 {
		out, height = append(out, row{yellow, b.notice}), height-1
	}
	if len(b.active) == 0 || height < 1 {
		return out
	}
	now := b.o.Now()
	out = append(out, row{faint, fmt.Sprintf("%s: %d of %s done, %s", b.title, b.ended, count(len(b.steps), "step"), clock(now.Sub(b.start)))})
	// Pools in trouble come first, and their details before those of others.
	active := slices.Clone(b.active)
	slices.SortStableFunc(active, func(x, y *activity) int { return x.order(now) - y.order(now) })
	troubled := 0
	for troubled < len(active) && active[troubled].order(now) == 0 {
		troubled++
	}
	room := height - 1
	reserved := min(3*troubled, room/2) // for what there is to say of the trouble
	hidden := 0
	if most := max(room-reserved, min(troubled, room)); len(active) > most {
		hidden = len(active) - max(most-1, 0)
		active = active[:len(active)-hidden]
		room--
	}
	troubled = min(troubled, len(active))
	// What the pools' own lines leave is shared out evenly, first among those in
	// trouble; what one pool does not need goes to those behind it.
	room -= len(active)
	for i, a := range active {
		out = append(out, b.headline(a, width, now))
		sharers := len(active) - i
		if i < troubled {
			sharers = troubled - i
		}
		below := b.details(a, width, room/sharers, now)
		room -= len(below)
		out = append(out, below...)
	}
	if hidden > 0 && height > 1 {
		out = append(out, row{faint, fmt.Sprintf("… and %d more", hidden)})
	}
	return out
}

// order is 0 for what is in trouble, 1 for the rest.
func (a *activity) order(now time.Time) int {
	if a.retry != "" || a.idle(now) != "" || a.rolling != nil && len(a.rolling.Rollout.Stalls) > 0 {
		return 0
	}
	return 1
}

// idle says how near a rollout is to be given up, once there is a visible cause
// or a third of the time is over.
func (a *activity) idle(now time.Time) string {
	if a.rolling == nil || a.step.Wait == nil || a.retry != "" {
		return ""
	}
	after, err := time.ParseDuration(a.step.Wait.StallAfter)
	idle := a.rolling.Idle + now.Sub(a.seen)
	soaks := a.rolling.Proof != nil && a.rolling.Proof.Ready >= a.rolling.Proof.Machines // which takes its time
	if err != nil || soaks || idle < time.Second || 3*idle < after && len(a.rolling.Rollout.Stalls) == 0 {
		return ""
	}
	return "no progress for " + clock(idle) + "; gives up after " + span(after)
}

func (b *board) headline(a *activity, width int, now time.Time) row {
	took := clock(now.Sub(a.began))
	head := row{"", "→ "}
	if a.order(now) == 0 {
		head = row{yellow, "! "}
	}
	if a.rolling == nil {
		head.text += render.Title(a.step) + "  " + took
		return head
	}
	cells := 20
	if width < 80 {
		cells = 8
	}
	full, what := cells, tally(a.rolling.Rollout, b.back)
	if r := a.rolling.Rollout; r.Desired > 0 {
		full = min(r.NewReady*cells/r.Desired, cells)
	}
	if p := a.rolling.Proof; p != nil {
		soaked := p.Soaked
		if p.Ready >= p.Machines {
			soaked = min(soaked+now.Sub(a.seen), p.Soak)
		}
		full, what = 0, proofTally(*p, soaked)
		if p.Soak > 0 {
			full = int(int64(cells) * int64(soaked) / int64(p.Soak))
		}
	}
	bar := strings.Repeat("█", full) + strings.Repeat("░", cells-full)
	head.text += fmt.Sprintf("%s  %s %s  %s", render.Escape(a.step.Pool), bar, what, took+a.pace.left(now.Sub(a.began)))
	return head
}

// few is how many machines of a pool are all shown. Of more, only those that
// something happens to are, and others up to this number.
const few = 8

// details gives the lines below a pool's own: what it waits for and its
// machines, those first that something happens to.
func (b *board) details(a *activity, width, room int, now time.Time) []row {
	if room < 1 {
		return nil
	}
	var out []row
	say := func(attribute, text string, most int) {
		for i, line := range inLines(text, width-4, min(most, room-len(out))) {
			indent := "    "
			if i > 0 {
				indent = "      "
			}
			out = append(out, row{attribute, indent + line})
		}
	}
	if a.retry != "" {
		say(yellow, a.retry, 2)
	}
	if a.rolling == nil {
		return out
	}
	say(yellow, a.idle(now), 1)
	if stalls := a.rolling.Rollout.Stalls; len(stalls) > 0 {
		say(yellow, "! "+oneLine(string(stalls[0].Cause)+": "+cmp.Or(stalls[0].Message, stalls[0].Explanation)), 3)
	}
	say("", held(*a.rolling), 2)
	machines := machines(*a.rolling)
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
		out = append(out, b.machineRow(m, min(name, 63), what, now))
	}
	if len(rest) > 0 && len(out) < room {
		out = append(out, row{faint, "    " + b.summary(rest, len(shown) > 0)})
	}
	return out
}

// inLines breaks text at words into at most so many lines; the last is cut.
func inLines(text string, columns, most int) []string {
	if text == "" || most < 1 {
		return nil
	}
	lines := render.Wrap(text, max(columns-2, 20))
	if len(lines) > most {
		lines[most-1] = render.Truncate(strings.Join(lines[most-1:], " "), max(columns-2, 20))
		lines = lines[:most]
	}
	return lines
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

func (b *board) machineRow(m capi.Machine, name, what int, now time.Time) row {
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
	text := fmt.Sprintf("    %s %s %s  %s  %6s  %s", symbol, age(m, b.back), pad(render.Escape(m.Name), name), pad(state(m), what), since, oneLine(detail))
	return row{attribute, strings.TrimRight(text, " ")}
}

func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(columns-render.Columns(s), 0))
}

// summary counts machines by what they do.
func (b *board) summary(machines []capi.Machine, more bool) string {
	counts := map[string]int{}
	var order []string
	for _, m := range machines {
		k := age(m, b.back) + " " + state(m)
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
