package ui_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
	"nodepool/schema"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

var (
	start   = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	md0     = plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: "default", Name: "md-0"}
	md1     = plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: "default", Name: "md-1"}
	checks  = plan.Step{ID: "preflight", Preflight: &plan.Preflight{}}
	create  = plan.Step{ID: "md-0/create", Pool: "md-0", Create: &plan.Create{Ref: plan.Ref{Kind: "AWSMachineTemplate", Namespace: "default", Name: "md-0-1a2b3c4d"}}}
	patch   = plan.Step{ID: "md-0/patch", Pool: "md-0", Patch: &plan.Patch{Target: md0}}
	wait0   = plan.Step{ID: "md-0/wait", Pool: "md-0", Wait: &plan.Wait{MachineDeployment: md0}}
	wait1   = plan.Step{ID: "md-1/wait", Pool: "md-1", Wait: &plan.Wait{MachineDeployment: md1}}
	applied = plan.Plan{
		Digest:  "sha256:1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809",
		Upgrade: plan.UpgradeRef{Name: "aws-example-1-35", Cluster: schema.ClusterRef{Name: "aws-example", Namespace: "default"}},
		Steps:   []plan.Step{checks, create, patch, wait0, wait1},
	}
	drain = capi.Stall{Cause: capi.StallDrainBlocked, Kind: "Machine", Namespace: "default", Name: "old-1", Condition: "Deleting",
		Message:     "Drain not completed:\n* Pod shop/checkout: cannot evict\x1b[31m",
		Explanation: "pods cannot be evicted", Next: "raise the replicas of shop/checkout"}
)

func old(i int) capi.Machine {
	return capi.Machine{Namespace: "default", Name: fmt.Sprintf("old-%d", i), Old: true, Ready: true, Phase: "Running", Waiting: "its turn to be replaced"}
}

func leaving(i int, why string) capi.Machine {
	m := old(i)
	m.Deleting, m.Ready, m.Phase, m.Waiting = true, false, "Deleting", why
	return m
}

func fresh(i int, phase, why string) capi.Machine {
	return capi.Machine{Namespace: "default", Name: fmt.Sprintf("new-%d", i), Phase: phase, Waiting: why, Created: start.Add(30 * time.Second).Format(time.RFC3339)}
}

func ready(i int) capi.Machine {
	m := fresh(i, "Running", "")
	m.Ready, m.Node = true, fmt.Sprintf("ip-10-0-0-%d", i)
	return m
}

func rollout(desired int, machines ...capi.Machine) capi.Rollout {
	r := capi.Rollout{Desired: desired, Machines: machines}
	for _, m := range machines {
		switch {
		case m.Old:
			r.Old++
		case m.Ready:
			r.New++
			r.NewReady++
		default:
			r.New++
		}
	}
	return r
}

// moment is an event and how long after the one before it came.
type moment struct {
	after time.Duration
	event apply.Event
}

// story is a run of two pools with a retry, a stall and equal news twice.
func story() []moment {
	none := rollout(3, old(1), old(2), old(3))
	none.Waiting = "no MachineSet has the wanted template yet"
	held := rollout(3, leaving(1, "drain: Pod shop/checkout cannot be evicted"), old(2), old(3), ready(1))
	held.Stalls = []capi.Stall{drain}
	return []moment{
		{0, apply.RunStarted{Plan: applied, Resumed: 1}},
		{0, apply.StepStarted{Step: checks}},
		{0, apply.StepDone{Step: checks}},
		{0, apply.StepSkipped{Step: create}},
		{time.Second, apply.StepStarted{Step: patch}},
		{0, apply.Retrying{Step: patch, Why: "dial tcp 192.0.2.1:6443: connection refused\x1b[1A", In: time.Second}},
		{time.Second, apply.Retrying{Step: patch, Why: "dial tcp 192.0.2.1:6443: connection refused\x1b[1A", In: 2 * time.Second}},
		{2 * time.Second, apply.StepDone{Step: patch, Took: 3200 * time.Millisecond}},
		{0, apply.StepStarted{Step: wait0}},
		{0, apply.StepStarted{Step: wait1}},
		{time.Second, apply.Rolling{Step: wait0, Rollout: none, Elapsed: time.Second}},
		{time.Second, apply.Rolling{Step: wait1, Rollout: rollout(1, old(9), fresh(9, "Pending", "bootstrap data")), Elapsed: time.Second}},
		{40 * time.Second, apply.Rolling{Step: wait0, Rollout: rollout(3, old(1), old(2), old(3), fresh(1, "Provisioning", "infrastructure\nnot there")), Elapsed: 42 * time.Second}},
		{5 * time.Second, apply.Rolling{Step: wait0, Rollout: rollout(3, old(1), old(2), old(3), fresh(1, "Provisioning", "infrastructure\nnot there")), Elapsed: 47 * time.Second}},
		{time.Minute, apply.Rolling{Step: wait0, Rollout: held, Elapsed: 107 * time.Second}},
		{0, apply.Stalled{Step: wait0, Stall: drain}},
		{time.Minute, apply.Rolling{Step: wait1, Rollout: rollout(1, ready(9)), Elapsed: 2 * time.Minute}},
		{0, apply.StepDone{Step: wait1, Took: 2 * time.Minute}},
		{time.Hour, apply.Rolling{Step: wait0, Rollout: rollout(3, old(2), old(3), ready(1)), Elapsed: time.Hour}},
	}
}

func ended(err error) moment {
	return moment{time.Second, apply.RunEnded{Plan: applied, Err: err, Took: time.Hour + 3*time.Minute}}
}

// tell shows the moments with a clock that only they move.
func tell(o ui.Options, w *bytes.Buffer, moments []moment) ui.Progress {
	now := start
	o.Now = func() time.Time { return now }
	if o.Tick == nil {
		o.Tick = make(chan time.Time) // never
	}
	p := ui.NewProgress(w, o)
	for _, m := range moments {
		now = now.Add(m.after)
		p.Event(m.event)
	}
	return p
}

func TestPlain(t *testing.T) {
	for name, last := range map[string]error{"done": nil, "stalled": &apply.StallError{Step: wait0}} {
		var b bytes.Buffer
		p := tell(ui.Options{}, &b, append(story(), ended(last)))
		p.Close()
		golden(t, "plain-"+name+".txt", b.String())
	}
}

func TestPlainSaysNothingTwice(t *testing.T) {
	var once, twice bytes.Buffer
	r := apply.Rolling{Step: wait0, Rollout: rollout(2, leaving(1, "drain"), ready(1))}
	tell(ui.Options{}, &once, []moment{{0, r}})
	tell(ui.Options{}, &twice, []moment{{0, r}, {time.Minute, r}, {time.Minute, r}})
	if once.Len() == 0 || once.String() != twice.String() {
		t.Errorf("once:\n%s\nagain:\n%s", once.String(), twice.String())
	}
}

func TestJSONLines(t *testing.T) {
	var b bytes.Buffer
	p := tell(ui.Options{Mode: ui.JSONLines}, &b, append(story(), ended(&apply.StallError{Step: wait0, Rollout: rollout(3, old(1)), Stall: &drain, After: 15 * time.Minute})))
	p.Close()
	golden(t, "events.jsonl", b.String())

	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != len(story())+1 {
		t.Errorf("%d lines for %d events", len(lines), len(story())+1)
	}
	for _, l := range lines {
		var o struct {
			Time time.Time
			Type string
		}
		if err := json.Unmarshal([]byte(l), &o); err != nil || o.Type == "" || o.Time.Before(start) {
			t.Errorf("%v: %s", err, l)
		}
		if render.Escape(l) != l {
			t.Errorf("not safe to show: %q", l)
		}
	}
}

// screen is a terminal that knows what Live uses; anything else fails the test.
type screen struct {
	t             *testing.T
	columns, rows int
	lines         [][]rune
	row, column   int
	hidden        bool
}

var sequence = regexp.MustCompile(`^\x1b\[(\??[0-9;]*)([A-Za-z])`)

func (s *screen) write(out string) {
	for out != "" {
		if m := sequence.FindStringSubmatch(out); m != nil {
			out = out[len(m[0]):]
			switch {
			case m[2] == "A":
				n, _ := strconv.Atoi(m[1])
				s.row -= n
				if s.row < 0 || s.row < len(s.lines)-s.rows {
					s.t.Fatalf("the cursor goes up %d lines, above the screen", n)
				}
			case m[2] == "K" && m[1] == "":
				if s.row < len(s.lines) {
					s.lines[s.row] = s.lines[s.row][:min(s.column, len(s.lines[s.row]))]
				}
			case m[2] == "J" && m[1] == "":
				if s.column != 0 {
					s.t.Fatalf("clears below from column %d", s.column)
				}
				s.lines = s.lines[:min(s.row, len(s.lines))]
			case m[1] == "?25" && m[2] == "l":
				s.hidden = true
			case m[1] == "?25" && m[2] == "h":
				s.hidden = false
			case m[2] == "m":
			default:
				s.t.Fatalf("unknown sequence %q", m[0])
			}
			continue
		}
		r := []rune(out)[0]
		out = out[len(string(r)):]
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, nil)
		}
		switch {
		case r == '\n':
			s.row, s.column = s.row+1, 0
		case r == '\r':
			s.column = 0
		case r < ' ':
			s.t.Fatalf("control character %q", r)
		default:
			s.lines[s.row] = append(s.lines[s.row][:s.column], append([]rune{r}, s.lines[s.row][min(s.column+1, len(s.lines[s.row])):]...)...)
			s.column++
		}
	}
}

func (s *screen) String() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(string(l) + "\n")
	}
	return b.String()
}

func live(t *testing.T, columns, rows int, color bool, moments []moment) (*screen, []string) {
	t.Helper()
	s := &screen{t: t, columns: columns, rows: rows}
	var frames []string
	var b bytes.Buffer
	now := start
	p := ui.NewProgress(&b, ui.Options{Mode: ui.Live, Color: color, Now: func() time.Time { return now },
		Size: func() (int, int) { return columns, rows }, Tick: make(chan time.Time)})
	for _, m := range moments {
		now = now.Add(m.after)
		p.Event(m.event)
		s.write(b.String())
		b.Reset()
		frames = append(frames, s.String())
	}
	if !s.hidden {
		t.Error("the cursor is shown while the block moves")
	}
	p.Close()
	p.Close()
	s.write(b.String())
	if s.hidden {
		t.Error("the cursor is still hidden after Close")
	}
	return s, frames
}

func TestLive(t *testing.T) {
	_, frames := live(t, 100, 24, false, append(story(), ended(errors.New("x"))))
	golden(t, "live.txt", strings.Join(frames, "--------\n"))
	_, colored := live(t, 100, 24, true, append(story(), ended(errors.New("x"))))
	if d := cmp.Diff(frames, colored); d != "" {
		t.Errorf("colour changes more than colour:\n%s", d)
	}
}

func TestLiveEndsClean(t *testing.T) {
	s, _ := live(t, 100, 24, false, append(story(),
		moment{0, apply.StepDone{Step: wait0, Took: time.Hour}}, ended(nil)))
	got := s.String()
	if strings.Contains(got, "→") || !strings.HasSuffix(got, "Done in 1h03m00s.\n") {
		t.Errorf("the block is left on the screen:\n%s", got)
	}
}

// Whatever the size, the block fits below the cursor's home and no line of it
// reaches the edge.
func TestLiveFits(t *testing.T) {
	var machines []capi.Machine
	for i := range 60 {
		machines = append(machines, old(i))
	}
	machines[40] = leaving(40, strings.Repeat("long ", 40))
	machines = append(machines, fresh(70, "Pending", "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字"), ready(71))
	moments := []moment{{0, apply.RunStarted{Plan: applied}}}
	for _, w := range []plan.Step{wait0, wait1} {
		moments = append(moments, moment{0, apply.StepStarted{Step: w}}, moment{0, apply.Rolling{Step: w, Rollout: rollout(61, machines...)}},
			moment{0, apply.Retrying{Step: w, Why: "no answer", In: time.Second}})
	}
	for _, size := range [][2]int{{200, 100}, {80, 24}, {40, 12}, {20, 6}, {30, 4}, {30, 3}, {30, 2}, {10, 1}} {
		_, frames := live(t, size[0], size[1], false, moments)
		lines := strings.Split(strings.TrimSuffix(frames[len(frames)-1], "\n"), "\n")[1:] // without what stays
		if len(lines) > max(size[1]-1, 0) {
			t.Errorf("%v: the block has %d lines:\n%s", size, len(lines), strings.Join(lines, "\n"))
		}
		for _, l := range lines {
			if render.Columns(l) >= size[0] {
				t.Errorf("%v: too wide: %s", size, l)
			}
		}
		if size[1] >= 12 && size[0] >= 80 {
			all := strings.Join(lines, "\n")
			for _, want := range []string{"old old-40", "new new-70", "… and"} {
				if strings.Count(all, want) != 2 {
					t.Errorf("%v: %q is not shown for each pool:\n%s", size, want, all)
				}
			}
		}
	}
}

// A terminal that was made narrower shows a line of the block as several; the
// cursor must go up over all of them.
func TestLiveAfterTheTerminalNarrowed(t *testing.T) {
	var b bytes.Buffer
	columns := 100
	p := ui.NewProgress(&b, ui.Options{Mode: ui.Live, Now: func() time.Time { return start },
		Size: func() (int, int) { return columns, 40 }, Tick: make(chan time.Time)})
	defer p.Close()
	news := apply.Rolling{Step: wait0, Rollout: rollout(2, leaving(1, strings.Repeat("long ", 30)), fresh(1, "Pending", "bootstrap data"))}
	p.Event(news)
	s := &screen{t: t, columns: columns, rows: 40}
	s.write(b.String())
	const narrow = 40
	want := 0
	for _, l := range s.lines {
		want += (len(l) + narrow - 1) / narrow
	}
	if want == len(s.lines) {
		t.Fatal("no line is long enough for this test")
	}
	b.Reset()
	columns = narrow
	p.Event(news)
	if up := fmt.Sprintf("\x1b[%dA", want); !strings.HasPrefix(b.String(), up) {
		t.Errorf("the redraw begins %q, want %q", b.String()[:8], up)
	}
}

// Machines that do not fit are counted, also when something happens to each.
func TestLiveCountsTheRest(t *testing.T) {
	for rows := 6; rows < 30; rows++ {
		var machines []capi.Machine
		for i := range 20 {
			machines = append(machines, fresh(i, "Provisioning", "infrastructure"))
		}
		s, _ := live(t, 80, rows, false, []moment{{0, apply.Rolling{Step: wait0, Rollout: rollout(20, machines...)}}})
		shown, rest := strings.Count(s.String(), "· new "), 0
		if m := regexp.MustCompile(`… and (\d+) new Provisioning`).FindStringSubmatch(s.String()); m != nil {
			rest, _ = strconv.Atoi(m[1])
		}
		if shown+rest != 20 {
			t.Errorf("%d rows: %d machines shown and %d counted:\n%s", rows, shown, rest, s)
		}
	}
}

func TestLiveTicks(t *testing.T) {
	var b bytes.Buffer
	now := start
	tick := make(chan time.Time)
	p := ui.NewProgress(&b, ui.Options{Mode: ui.Live, Now: func() time.Time { return now },
		Size: func() (int, int) { return 80, 24 }, Tick: tick})
	p.Event(apply.RunStarted{Plan: applied})
	p.Event(apply.StepStarted{Step: wait0})
	now = now.Add(75 * time.Second)
	tick <- now
	tick <- now // taken when the first has been drawn
	p.Close()
	if !strings.Contains(b.String(), "1m15s") {
		t.Errorf("the time stands still:\n%q", b.String())
	}
}

func TestLiveWithoutTerminalIsPlain(t *testing.T) {
	var b bytes.Buffer
	p := ui.NewProgress(&b, ui.Options{Mode: ui.Live, Now: func() time.Time { return start }})
	p.Event(apply.RunStarted{Plan: applied})
	p.Close()
	if got, want := b.String(), "      0s  applying aws-example-1-35, plan 1a2b3c4d5e6f: 5 steps\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A run that fails before it begins ends without a beginning.
func TestEndWithoutStart(t *testing.T) {
	for _, mode := range []ui.Mode{ui.Plain, ui.Live, ui.JSONLines} {
		var b bytes.Buffer
		p := ui.NewProgress(&b, ui.Options{Mode: mode, Now: func() time.Time { return start },
			Size: func() (int, int) { return 80, 24 }, Tick: make(chan time.Time)})
		p.Event(apply.RunEnded{Err: errors.New("x")})
		p.Close()
		if !strings.Contains(b.String(), "rror") {
			t.Errorf("mode %d: %q", mode, b.String())
		}
	}
}
