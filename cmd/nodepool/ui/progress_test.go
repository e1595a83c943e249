package ui_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hinshun/vt10x"

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

// TestSettings: a wait for settings counts the machines that have them.
func TestSettings(t *testing.T) {
	have := func(n int, waiting string) moment {
		return moment{time.Second, apply.Rolling{Step: wait0, Rollout: capi.Rollout{InPlace: true, Desired: 3, New: 3, NewReady: n, Waiting: waiting}}}
	}
	moments := []moment{have(0, "MachineSet a has nodeDrainTimeoutSeconds absent"), have(2, "Machine old-3 has nodeDrainTimeoutSeconds absent"), have(3, "")}
	var b bytes.Buffer
	tell(ui.Options{}, &b, moments).Close()
	want := "md-0: 0/3 machines have the new settings; MachineSet a has nodeDrainTimeoutSeconds absent\n" +
		"md-0: 2/3 machines have the new settings; Machine old-3 has nodeDrainTimeoutSeconds absent\n" +
		"md-0: 3/3 machines have the new settings\n"
	var got strings.Builder
	for line := range strings.Lines(b.String()) {
		got.WriteString(line[strings.Index(line, "md-0"):])
	}
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Error(d)
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

// live shows moments on a terminal, in virtual time, and gives what the screen
// held after each of them and at the end.
func live(t *testing.T, columns, rows int, color bool, moments []moment) (end string, frames []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		screen := vt10x.New(vt10x.WithSize(columns, rows))
		now := start
		p := ui.NewProgress(&tty{w: screen}, ui.Options{Mode: ui.Live, Color: color, Now: func() time.Time { return now },
			Size: func() (int, int) { return columns, rows }})
		for _, m := range moments {
			now = now.Add(m.after)
			p.Event(m.event)
			time.Sleep(100 * time.Millisecond) // the next frame is due then
			synctest.Wait()
			frames = append(frames, onScreen(screen))
		}
		if at := screen.Cursor(); !screen.CursorVisible() || at.X != 0 || rowOf(screen, at.Y) != "" {
			t.Errorf("the cursor is not in sight on a free line, but at %d,%d", at.X, at.Y)
		}
		p.Close()
		p.Close()
		if !screen.CursorVisible() {
			t.Error("the cursor is still hidden after Close")
		}
		end = onScreen(screen)
	})
	return end, frames
}

// tty begins a new line at its beginning, as the kernel has terminals do.
type tty struct {
	mu sync.Mutex
	w  io.Writer
}

// show has the terminal show another screen from now on.
func (t *tty) show(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.w = w
}

func (t *tty) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.w.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n")))
	return len(p), err
}

func rowOf(screen vt10x.Terminal, y int) string {
	return strings.TrimRight(strings.Split(screen.String(), "\n")[y], " ")
}

// onScreen gives what a terminal shows, without the blanks at the end.
func onScreen(screen vt10x.Terminal) string {
	var b strings.Builder
	for _, l := range strings.Split(screen.String(), "\n") {
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
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
	got, _ := live(t, 100, 24, false, append(story(),
		moment{0, apply.StepDone{Step: wait0, Took: time.Hour}}, ended(nil)))
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

// Machines that do not fit are counted, also when something happens to each.
func TestLiveCountsTheRest(t *testing.T) {
	for rows := 6; rows < 30; rows++ {
		var machines []capi.Machine
		for i := range 20 {
			machines = append(machines, fresh(i, "Provisioning", "infrastructure"))
		}
		_, frames := live(t, 80, rows, false, []moment{{0, apply.Rolling{Step: wait0, Rollout: rollout(20, machines...)}}})
		s := frames[0]
		shown, rest := strings.Count(s, "· new "), 0
		if m := regexp.MustCompile(`… and (\d+) new Provisioning`).FindStringSubmatch(s); m != nil {
			rest, _ = strconv.Atoi(m[1])
		}
		if shown+rest != 20 {
			t.Errorf("%d rows: %d machines shown and %d counted:\n%s", rows, shown, rest, s)
		}
	}
}

// TestLiveTells what numbers alone do not: that a canary soaks, how near a
// rollout is to be given up, and that a way back leads to old machines.
func TestLiveTells(t *testing.T) {
	hold := wait0
	hold.Wait = &plan.Wait{MachineDeployment: md0, StallAfter: "15m0s", Canary: &plan.Canary{Machines: 1, Soak: "10m0s"}}
	proved := fresh(1, "Running", "ready: WaitingForMinReadySeconds")
	proved.Proved, proved.Node = true, "ip-1"
	soaking := rollout(3, old(1), old(2), old(3), proved)
	soaking.Waiting = "Machine new-1: ready: WaitingForMinReadySeconds"
	slow := wait0
	slow.Wait = &plan.Wait{MachineDeployment: md0, StallAfter: "15m0s"}
	back := applied
	back.Upgrade.Purpose, back.Upgrade.Rollback = plan.ForRollback, applied.Digest
	for name, tc := range map[string]struct {
		moments   []moment
		says, not []string
	}{
		"a canary": {[]moment{{0, apply.RunStarted{Plan: applied}}, {0, apply.Rolling{Step: hold, Rollout: soaking, Idle: 8 * time.Minute,
			Proof: &apply.Proof{Machines: 1, Ready: 1, Soaked: 4 * time.Minute, Soak: 10 * time.Minute}}}},
			[]string{"→ md-0  ████████░░░░░░░░░░░░ canary: 1 of 1 ready, soaking 4m00s of 10m", "✓ new new-1  ready            node ip-1"},
			[]string{"MinReadySeconds", "0/3", "gives up"}},
		"a canary that has proved itself": {[]moment{{0, apply.RunStarted{Plan: applied}}, {0, apply.StepDone{Step: hold, Took: time.Minute, Outcome: "new-1 ready for 10m0s"}}},
			[]string{"✓ md-0: canary: new-1 ready for 10m0s, 1m00s"}, nil},
		"no progress": {[]moment{{0, apply.RunStarted{Plan: applied}}, {0, apply.Rolling{Step: slow, Rollout: rollout(3, old(1), old(2), old(3)), Idle: 4 * time.Minute}},
			{2 * time.Minute, apply.StepStarted{Step: wait1}}},
			[]string{"! md-0  ", "    no progress for 6m00s; gives up after 15m"}, nil},
		"no progress for a moment": {[]moment{{0, apply.RunStarted{Plan: applied}}, {0, apply.Rolling{Step: slow, Rollout: rollout(3, old(1), old(2), old(3)), Idle: 4 * time.Minute}}},
			[]string{"→ md-0  "}, []string{"no progress"}},
		"a way back": {[]moment{{0, apply.RunStarted{Plan: back}}, {0, apply.Rolling{Step: slow, Rollout: rollout(3, ready(1), ready(2), leaving(3, "drain"))}}},
			[]string{"rolling back aws-example", "2/3 old ready, 1 new left", "- new old-3  Deleting", "✓ old new-1  ready"}, nil},
	} {
		_, frames := live(t, 100, 24, false, tc.moments)
		got := frames[len(frames)-1]
		for _, want := range tc.says {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not said:\n%s", name, want, got)
			}
		}
		for _, no := range tc.not {
			if strings.Contains(got, no) {
				t.Errorf("%s: %q is said:\n%s", name, no, got)
			}
		}
	}
}

// pools is a run of so many pools, of which every fourth is held up.
func pools(n int) []moment {
	p := applied
	p.Steps = nil
	for i := range n {
		name := fmt.Sprintf("pool-%02d", i)
		p.Steps = append(p.Steps, plan.Step{ID: name + "/wait", Pool: name, Wait: &plan.Wait{StallAfter: "15m0s",
			MachineDeployment: plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: "default", Name: name}}})
	}
	moments := []moment{{0, apply.RunStarted{Plan: p}}}
	for _, s := range p.Steps {
		moments = append(moments, moment{0, apply.StepStarted{Step: s}})
	}
	for i, s := range p.Steps {
		r := rollout(3, old(1), old(2), old(3), fresh(1, "Provisioning", "infrastructure: "+strings.Repeat("no room ", 20)))
		if i%4 == 3 {
			r.Stalls = []capi.Stall{{Cause: capi.StallProviderError, Kind: "AWSMachine", Namespace: "default", Name: "x", Message: strings.Repeat("no such image ", 10),
				Explanation: "The infrastructure provider cannot make the machine: " + strings.Repeat("no such image ", 10), Next: strings.Repeat("look there ", 20)}}
		}
		moments = append(moments, moment{time.Second, apply.Rolling{Step: s, Rollout: r, Elapsed: time.Second, Idle: time.Second}})
		if len(r.Stalls) > 0 {
			moments = append(moments, moment{0, apply.Stalled{Step: s, Stall: r.Stalls[0]}})
		}
	}
	return append(moments, moment{time.Second, apply.StepDone{Step: p.Steps[0], Took: time.Minute}})
}

// What is written above a high block leaves the block whole: its heading, a
// line for each pool, those in trouble first, and the number of the rest.
func TestLiveManyPools(t *testing.T) {
	for _, n := range []int{8, 20, 60} {
		for _, size := range [][2]int{{80, 24}, {100, 30}, {60, 12}} {
			moments := pools(n)
			_, frames := live(t, size[0], size[1], false, moments)
			for at := 1 + n; at < len(frames); at++ { // all have begun
				frame := frames[at]
				all := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
				heads, more, trouble, began := 0, 0, true, false
				for _, line := range all {
					switch {
					case strings.HasPrefix(line, "aws-example-1-35: "):
						if began {
							t.Errorf("%d pools, %v: two headings", n, size)
						}
						began = true
					case !began:
					case strings.HasPrefix(line, "→ "), strings.HasPrefix(line, "! "):
						heads++
						if trouble = trouble && line[0] == '!'; !trouble && line[0] == '!' {
							t.Errorf("%d pools, %v: a pool in trouble stands behind others", n, size)
						}
						if render.Columns(line) >= size[0] || !regexp.MustCompile(`pool-\d\d  `).MatchString(line) {
							t.Errorf("%d pools, %v: %q", n, size, line)
						}
					case strings.HasPrefix(line, "… and "):
						_, _ = fmt.Sscanf(line, "… and %d more", &more)
					case !strings.HasPrefix(line, "    "):
						t.Errorf("%d pools, %v: %q is no line of the block", n, size, line)
					}
				}
				left := n
				if at == len(frames)-1 {
					left-- // one is done
				}
				if !began || heads+more != left {
					t.Errorf("%d pools, %v, after event %d: heading %t, %d pools and %d more:\n%s", n, size, at, began, heads, more, frame)
				}
				if t.Failed() {
					t.Fatalf("the screen:\n%s", frame)
				}
			}
		}
	}
}

// A terminal that breaks its lines anew when it becomes narrower makes the
// block higher: nothing of it stays behind.
func TestLiveResizes(t *testing.T) {
	t.Setenv("TMUX", "yes")
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[[2]int]
		now.Store(&[2]int{100, 30})
		screen := vt10x.New(vt10x.WithSize(100, 30))
		out := &tty{w: screen}
		p := ui.NewProgress(out, ui.Options{Mode: ui.Live, Size: func() (int, int) { return now.Load()[0], now.Load()[1] }})
		wait := func() { time.Sleep(1100 * time.Millisecond); synctest.Wait() }
		for _, m := range append(story()[:len(story())-8], pools(3)[1:]...) {
			p.Event(m.event)
		}
		wait()
		for _, size := range [][2]int{{80, 30}, {60, 12}, {120, 40}, {100, 40}, {100, 20}} {
			log := strings.Count(onScreen(screen), "✓ ")
			columns, rows := size[0], size[1]
			now.Store(&size)
			screen = reflow(screen, columns, rows)
			out.show(screen)
			wait()
			got := onScreen(screen)
			if strings.Count(got, "steps done") > 1 || strings.Count(got, "pool-01  ") != 1 {
				t.Errorf("at %v a piece of an old block is left:\n%s", size, got)
			}
			if rows > 20 && strings.Count(got, "✓ ") != log {
				t.Errorf("at %v what stays is gone:\n%s", size, got)
			}
		}
		p.Close()
	})
}

// reflow gives a terminal of another size with what is shown, in lines that are
// broken anew, as most terminals do.
func reflow(screen vt10x.Terminal, columns, rows int) vt10x.Terminal {
	out := vt10x.New(vt10x.WithSize(columns, rows))
	at := screen.Cursor()
	for y := range at.Y {
		_, _ = io.WriteString(out, rowOf(screen, y)+"\r\n")
	}
	return out
}

func TestLiveTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := vt10x.New(vt10x.WithSize(80, 24))
		p := ui.NewProgress(&tty{w: screen}, ui.Options{Mode: ui.Live, Size: func() (int, int) { return 80, 24 }})
		p.Event(apply.RunStarted{Plan: applied})
		p.Event(apply.StepStarted{Step: wait0})
		time.Sleep(75*time.Second + 100*time.Millisecond)
		synctest.Wait()
		if got := onScreen(screen); !strings.Contains(got, "1m15s") {
			t.Errorf("the time stands still:\n%s", got)
		}
		p.Close()
	})
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
			Size: func() (int, int) { return 80, 24 }})
		p.Event(apply.RunEnded{Err: errors.New("x")})
		p.Close()
		if !strings.Contains(b.String(), "rror") {
			t.Errorf("mode %d: %q", mode, b.String())
		}
	}
}
