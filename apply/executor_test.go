package apply_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// memory is a journal that outlives the runs of a test.
type memory struct {
	plan    plan.Plan
	opened  bool
	records []apply.Record
}

func (m *memory) Open(_ context.Context, p plan.Plan, first ...apply.Record) (int, error) {
	if m.opened && m.plan.Digest != p.Digest {
		return 0, &apply.UnfinishedError{Unfinished: m.plan.Digest, Wanted: p.Digest}
	}
	attempt := 1
	if m.opened {
		for _, r := range m.records {
			if r.Phase == apply.Opened {
				attempt = r.Attempt + 1
			}
		}
	}
	m.plan, m.opened = p, true
	for _, r := range first {
		r.Attempt = attempt
		m.records = append(m.records, r)
	}
	return attempt, nil
}

func (m *memory) Append(_ context.Context, all ...apply.Record) error {
	m.records = append(m.records, all...)
	if all[len(all)-1].Phase == apply.Closed {
		m.opened = false
	}
	return nil
}

func (m *memory) Unfinished(context.Context) (plan.Plan, bool, error) { return m.plan, m.opened, nil }

func (m *memory) Runs(context.Context) ([]apply.Run, error) {
	return []apply.Run{{Upgrade: m.plan.Upgrade.Name, Number: 1, Plan: m.plan, Records: m.records}}, nil
}

const upgradeBoth = `
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: aws-example-1-35}
spec:
  cluster: {name: aws-example}
  pools:
    - name: aws-example-md-0
      kubernetesVersion: v1.35.2
      machineImage: ami-0fedcba9876543210
      instanceType: m5.xlarge
    - name: aws-example-md-1
      kubernetesVersion: v1.35.2
`

const upgradeOne = `
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: aws-example-1-35}
spec:
  cluster: {name: aws-example}
  pools:
    - name: aws-example-md-0
      kubernetesVersion: v1.35.2
      machineImage: ami-0fedcba9876543210
`

// upgradeDrain changes in place what a Cluster API before v1.12 must be given
// before the rollout.
const upgradeDrain = upgradeOne + `      drain: {nodeDrainTimeout: 10m}
`

func read(t testing.TB, text string) schema.Upgrade {
	t.Helper()
	up, _, err := schema.Read("upgrade.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func compile(t *testing.T, r apply.Reader, up schema.Upgrade) (plan.Plan, plan.Secrets) {
	t.Helper()
	snap, err := apply.Observe(t.Context(), r, up)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	return p, plan.SecretsOf(up, snap)
}

func writes(w *clustertest.World) []string {
	var out []string
	for _, wr := range w.Writes() {
		out = append(out, wr.String())
	}
	return out
}

// planned gives the writes that a plan names.
func planned(p plan.Plan) []string {
	var out []string
	for _, s := range p.Steps {
		switch {
		case s.Create != nil:
			out = append(out, "create "+s.Create.Ref.String())
		case s.Patch != nil:
			out = append(out, "patch "+s.Patch.Target.String())
		}
	}
	return out
}

// run is t.Run in virtual time, so that what would wait for ever stalls.
func run(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestRunWritesExactlyThePlan(t *testing.T) {
	for name, adjust := range map[string][]clustertest.Adjust{
		"v1beta2": nil,
		"v1beta1": {clustertest.V1Beta1Only()},
	} {
		run(t, name, func(t *testing.T) {
			w := clustertest.AWSExample(adjust...)
			w.AutoStep(1)
			c := w.Open(nil)
			up := read(t, upgradeBoth)
			p, secrets := compile(t, c, up)
			j := &memory{}
			var done []string
			e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets, Notify: func(ev apply.Event) {
				if d, ok := ev.(apply.StepDone); ok {
					done = append(done, d.Step.ID)
				}
			}}
			if err := e.Run(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			want := []string{
				"create " + p.Steps[1].Create.Ref.String(),
				"patch MachineDeployment default/aws-example-md-0",
				"patch MachineDeployment default/aws-example-md-1",
			}
			if diff := cmp.Diff(want, writes(w)); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			wantDone := []string{"preflight", "aws-example-md-0/create-infrastructure-template", "aws-example-md-0/patch",
				"aws-example-md-0/wait", "aws-example-md-1/patch", "aws-example-md-1/wait"}
			if diff := cmp.Diff(wantDone, done); diff != "" {
				t.Errorf("steps done (-want +got):\n%s", diff)
			}
			again, _ := compile(t, c, up)
			if !again.IsEmpty() {
				t.Errorf("the next plan has %d steps, want none", len(again.Steps))
			}
			if j.opened {
				t.Error("the journal still holds the run for unfinished")
			}
		})
	}
}

func one(p *clustertest.ExamplePool) { p.Replicas = 1 }

// TestEveryCrashPoint kills a run at its Nth call to the cluster, for every N
// and in every way, and runs it again: without its journal, since the journal
// is a hint only.
func TestEveryCrashPoint(t *testing.T) {
	// One machine a pool: few calls, and all kinds of them.
	small := []clustertest.Adjust{clustertest.AdjustPool("aws-example-md-0", one), clustertest.AdjustPool("aws-example-md-1", one)}
	for name, tc := range map[string]struct {
		up     string
		adjust []clustertest.Adjust
		writes int
	}{
		"one patch":   {upgradeOne, small, 2},
		"two patches": {upgradeDrain, append(small, clustertest.Before112()), 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crashEverywhere(t, read(t, tc.up), tc.writes, func() *clustertest.World { return clustertest.AWSExample(tc.adjust...) })
		})
	}
}

// crashModes gives the modes to try: the last alone under the race detector,
// which is ten times slower. The tests run without it as well.
func crashModes(modes ...clustertest.Mode) []clustertest.Mode {
	if raceDetector {
		return modes[len(modes)-1:]
	}
	return modes
}

func crashEverywhere(t *testing.T, up schema.Upgrade, wanted int, world func() *clustertest.World) {
	points := 0
	for _, mode := range crashModes(clustertest.LoseRequest, clustertest.LoseReply, clustertest.CrashBefore, clustertest.CrashAfter) {
		for n := 1; ; n++ {
			blown := false
			t.Run(fmt.Sprintf("%s/%d", mode, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world()
					w.AutoStep(1)
					p, secrets := compile(t, w.Open(nil), up)
					if n := len(planned(p)); n != wanted {
						t.Fatalf("the plan writes %d times, want %d", n, wanted)
					}
					fuse := &clustertest.Fuse{At: n, Mode: mode}
					first := w.Open(fuse)
					err := (&apply.Executor{Cluster: first, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p)
					if blown = first.Blown(); !blown {
						if err != nil {
							t.Fatalf("no fuse blew, and the run failed: %v", err)
						}
						return
					}
					// As a user runs apply again: look, compile, run.
					second := w.Open(nil)
					next, secrets := compile(t, second, up)
					if err := (&apply.Executor{Cluster: second, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), next); err != nil {
						t.Fatalf("the second run: %v", err)
					}
					if diff := cmp.Diff(planned(p), writes(w)); diff != "" {
						t.Errorf("writes of both runs (-want +got):\n%s", diff)
					}
					if left, _ := compile(t, second, up); !left.IsEmpty() {
						t.Errorf("the next plan has %d steps, want none", len(left.Steps))
					}
				})
			})
			if !blown {
				points += n - 1
				break
			}
		}
	}
	if points < 40 && !raceDetector {
		t.Errorf("only %d crash points were tried; the fuse does not reach the run", points)
	}
	t.Logf("%d crash points", points)
}

// TestSavedPlanResumes is the same for the plan itself, run again as it was
// saved, at every point around its writes: a create and two patches with a wait
// in between.
func TestSavedPlanResumes(t *testing.T) {
	up := read(t, upgradeDrain)
	for _, mode := range []clustertest.Mode{clustertest.CrashBefore, clustertest.CrashAfter} {
		for _, at := range []struct {
			op clustertest.Op
			n  int
		}{{clustertest.Patch, 1}, {clustertest.Watch, 1}, {clustertest.Create, 1}, {clustertest.Patch, 2}, {clustertest.Watch, 2}} {
			run(t, fmt.Sprintf("%s/%s/%d", mode, at.op, at.n), func(t *testing.T) {
				w := clustertest.AWSExample(clustertest.Before112())
				w.AutoStep(1)
				p, secrets := compile(t, w.Open(nil), up)
				j := &memory{}
				first := w.Open(&clustertest.Fuse{At: at.n, Ops: []clustertest.Op{at.op}, Mode: mode})
				if err := (&apply.Executor{Cluster: first, Journal: j, Secrets: secrets}).Run(t.Context(), p); err == nil {
					t.Fatal("the crashed run says that all is well")
				}
				begun, unfinished, _ := j.Unfinished(t.Context())
				if !unfinished || begun.Digest != p.Digest {
					t.Fatal("the journal does not hold the begun plan")
				}
				if err := (&apply.Executor{Cluster: w.Open(nil), Journal: j, Secrets: secrets}).Run(t.Context(), begun); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(planned(p), writes(w)); diff != "" {
					t.Errorf("writes of both runs (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestDriftStopsBeforeTheFirstWrite(t *testing.T) {
	md := clustertest.MachineDeployment("aws-example-md-0")
	set := func(value any, path ...string) func(*clustertest.World) {
		return func(w *clustertest.World) {
			w.Edit(md, func(o *unstructured.Unstructured) {
				if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
					panic(err)
				}
			})
		}
	}
	for name, tc := range map[string]struct {
		drift func(*clustertest.World)
		field string
	}{
		"version": {set("v1.34.9", "spec", "template", "spec", "version"), "spec.template.spec.version"},
		"paused":  {set(true, "spec", "paused"), "spec.paused"},
		"another run": {func(w *clustertest.World) {
			w.Edit(md, func(o *unstructured.Unstructured) {
				o.SetAnnotations(map[string]string{plan.RunAnnotation: "another"})
			})
		}, `metadata.annotations["nodepool/run"]`},
		"re-created": {func(w *clustertest.World) {
			o := w.Get(md)
			w.Delete(md)
			o.SetUID("")
			w.Put(o)
		}, "metadata.uid"},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			c := w.Open(nil)
			p, secrets := compile(t, c, read(t, upgradeOne))
			tc.drift(w)
			err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p)
			var drift *apply.DriftError
			if !errors.As(err, &drift) {
				t.Fatalf("got %v, want a DriftError", err)
			}
			if got := drift.Differences[0].Path.Dotted(); got != tc.field {
				t.Errorf("the first difference is %s, want %s", got, tc.field)
			}
			if got := writes(w); len(got) > 0 {
				t.Errorf("written all the same: %v", got)
			}
		})
	}
}

// TestPreflightAgain holds the checks that are made under the lock: behind the
// facts, and before anything is written or recorded.
func TestPreflightAgain(t *testing.T) {
	unstable := plan.Finding{Code: plan.CheckControlPlane, Severity: plan.Block, Message: "it is not stable any more"}
	lost := errors.New("the cluster cannot be asked")
	md := clustertest.MachineDeployment("aws-example-md-0")
	for name, tc := range map[string]struct {
		drift bool
		said  []plan.Finding
		err   error
		want  func(error) bool
	}{
		"a block": {said: []plan.Finding{unstable}, want: func(err error) bool {
			var blocked *apply.BlockedError
			return errors.As(err, &blocked) && cmp.Equal(blocked.Findings, []plan.Finding{unstable})
		}},
		"drift comes first": {drift: true, said: []plan.Finding{unstable}, want: func(err error) bool {
			var drift *apply.DriftError
			return errors.As(err, &drift)
		}},
		"no answer": {err: lost, want: func(err error) bool { return errors.Is(err, lost) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			c := w.Open(nil)
			p, secrets := compile(t, c, read(t, upgradeOne))
			if tc.drift {
				w.Edit(md, func(o *unstructured.Unstructured) {
					_ = unstructured.SetNestedField(o.Object, true, "spec", "paused")
				})
			}
			j := &memory{}
			e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets,
				Preflight: func(context.Context) ([]plan.Finding, error) { return tc.said, tc.err }}
			if err := e.Run(t.Context(), p); !tc.want(err) {
				t.Errorf("got %v", err)
			}
			if got := writes(w); len(got) > 0 || j.opened || len(j.records) > 0 {
				t.Errorf("written all the same: %v, records %v", got, j.records)
			}
		})
	}
}

// TestRaceIsLostToTheServer lets another writer move the version right before
// our patch arrives, when nothing but the server can notice.
func TestRaceIsLostToTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeOne))
		md := clustertest.MachineDeployment("aws-example-md-0")
		c.Before(1, func(w *clustertest.World) {
			w.Edit(md, func(o *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(o.Object, "v1.34.9", "spec", "template", "spec", "version")
			})
		}, clustertest.Patch)
		err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p)
		var drift *apply.DriftError
		if !errors.As(err, &drift) || drift.Step != "aws-example-md-0/patch" {
			t.Fatalf("got %v, want drift at the patch", err)
		}
		if got := capi.StringAt(w.Get(md), "spec", "template", "spec", "version"); got != "v1.34.9" {
			t.Errorf("the other writer's version was overwritten with %s", got)
		}
	})
}

// TestAnnotationsOfOthersAreNoDrift lets someone add the first annotation
// between our look and our patch, which makes the first try fail.
func TestAnnotationsOfOthersAreNoDrift(t *testing.T) {
	w := clustertest.AWSExample()
	w.AutoStep(1)
	c := w.Open(nil)
	md := clustertest.MachineDeployment("aws-example-md-0")
	w.Edit(md, func(o *unstructured.Unstructured) { o.SetAnnotations(nil) })
	p, secrets := compile(t, c, read(t, upgradeOne))
	c.Before(1, func(w *clustertest.World) {
		w.Edit(md, func(o *unstructured.Unstructured) { o.SetAnnotations(map[string]string{"team": "x"}) })
	}, clustertest.Patch)
	if err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := w.Get(md).GetAnnotations()["team"]; got != "x" {
		t.Errorf("the other annotation is %q, want x", got)
	}
}

func TestReplicasAreNeitherUndoneNorRefused(t *testing.T) {
	md := clustertest.MachineDeployment("aws-example-md-0")
	scale := func(to int64) func(w *clustertest.World) {
		return func(w *clustertest.World) {
			w.Edit(md, func(o *unstructured.Unstructured) { _ = unstructured.SetNestedField(o.Object, to, "spec", "replicas") })
		}
	}
	for name, at := range map[string]clustertest.Op{"review": clustertest.Fetch, "patch": clustertest.Patch, "rollout": clustertest.Next} {
		run(t, name, func(t *testing.T) {
			w := clustertest.AWSExample()
			w.AutoStep(1)
			c := w.Open(nil)
			p, secrets := compile(t, c, read(t, upgradeOne))
			c.Before(1, scale(5), at)
			var last capi.Rollout
			e := &apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets, Notify: func(ev apply.Event) {
				if r, ok := ev.(apply.Rolling); ok {
					last = r.Rollout
				}
			}}
			if err := e.Run(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if got, _ := capi.Int64At(w.Get(md), "spec", "replicas"); got != 5 {
				t.Errorf("spec.replicas is %d, want the 5 of the other writer", got)
			}
			if last.NewReady != 5 || last.Old != 0 {
				t.Errorf("done with %d new and %d old machines, want 5 and 0", last.NewReady, last.Old)
			}
		})
	}
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		w.AutoStep(1)
		w.Break(clustertest.MachineDeployment("aws-example-md-0"),
			clustertest.Fault{Provider: "InvalidAMIID.NotFound: The image id '[ami-0fedcba9876543210]' does not exist"})
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeOne))
		var stalls []string
		began := time.Now()
		j := &memory{}
		e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets, Notify: func(ev apply.Event) {
			if s, ok := ev.(apply.Stalled); ok {
				stalls = append(stalls, string(s.Stall.Cause))
			}
		}}
		err := e.Run(t.Context(), p)
		var stall *apply.StallError
		if !errors.As(err, &stall) {
			t.Fatalf("got %v, want a StallError", err)
		}
		if took := time.Since(began); took < 15*time.Minute || took > 16*time.Minute {
			t.Errorf("gave up after %s without progress, want the default of 15m", took)
		}
		if stall.Stall == nil || !strings.Contains(stall.Stall.Message, "InvalidAMIID.NotFound") {
			t.Errorf("the cause is %+v, want the provider's words", stall.Stall)
		}
		if len(stalls) == 0 {
			t.Error("nothing was said before the time was up")
		}
		if !j.opened {
			t.Error("the run cannot be resumed: the journal holds it for finished")
		}
	})
}

// deaf is a cluster whose first watch gives one snapshot and then nothing, as
// behind a proxy that has lost it.
type deaf struct {
	apply.Cluster
	watches int
	told    bool // the feed says so
}

func (d *deaf) Watch(ctx context.Context, s []plan.Selector) (apply.Feed, error) {
	f, err := d.Cluster.Watch(ctx, s)
	if d.watches++; d.watches > 1 || err != nil {
		return f, err
	}
	if d.told {
		return &knownSilent{silent{Feed: f}}, nil
	}
	return &silent{Feed: f}, nil
}

// knownSilent is silent, and says so once it is.
type knownSilent struct{ silent }

func (m *knownSilent) Trouble() error {
	if !m.given {
		return nil
	}
	return fmt.Errorf("%w of machines", apply.ErrSilent)
}

type silent struct {
	apply.Feed
	given bool
}

func (f *silent) Next(ctx context.Context) (plan.Snapshot, error) {
	s, err := f.Feed.Next(ctx)
	for f.given && err == nil { // the world moves, and nobody hears of it
		_, err = f.Feed.Next(ctx)
	}
	f.given = true
	return s, err
}

// A watch that has gone silent is no stall: the world is looked at anew before
// one is told.
func TestSilentWatchIsNoStall(t *testing.T) {
	for name, told := range map[string]bool{"nobody knows": false, "the feed tells": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := clustertest.AWSExample()
				w.AutoStep(1)
				c := &deaf{Cluster: w.Open(nil), told: told}
				p, secrets := compile(t, c, read(t, upgradeOne))
				if err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				if c.watches != 2 {
					t.Errorf("it watched %d times, want once more", c.watches)
				}
			})
		})
	}
}

func TestInterruptFinishesTheWriteInHand(t *testing.T) {
	w := clustertest.AWSExample()
	ctx, interrupt := context.WithCancel(t.Context())
	fuse := &clustertest.Fuse{}
	c := w.Open(fuse)
	p, secrets := compile(t, c, read(t, upgradeOne))
	c.Before(1, func(*clustertest.World) { interrupt() }, clustertest.Create)
	j := &memory{}
	err := (&apply.Executor{Cluster: c, Journal: j, Secrets: secrets}).Run(ctx, p)
	if !errors.Is(err, apply.ErrInterrupted) {
		t.Fatalf("got %v, want ErrInterrupted", err)
	}
	if diff := cmp.Diff(planned(p)[:1], writes(w)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	var phases []string
	for _, r := range j.records {
		phases = append(phases, strings.TrimSpace(r.Step+" "+string(r.Phase)))
	}
	want := []string{"opened", "preflight done", "aws-example-md-0/create-infrastructure-template started",
		"aws-example-md-0/create-infrastructure-template done", "failed"}
	if diff := cmp.Diff(want, phases); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}

// TestInPlaceComesFirst: the machines that a rollout replaces have the drain
// settings before it begins, and those that come have them too.
func TestInPlaceComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample(clustertest.Before112())
		w.AutoStep(1)
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeDrain))
		drained := func(m *unstructured.Unstructured) bool {
			n, _ := capi.Int64At(m, "spec", "deletion", "nodeDrainTimeoutSeconds")
			return n == 600
		}
		var steps, waits []string
		e := &apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets, Notify: func(ev apply.Event) {
			switch ev := ev.(type) {
			case apply.StepDone:
				steps = append(steps, strings.TrimPrefix(ev.Step.ID, "aws-example-md-0/"))
			case apply.Rolling:
				if ev.Rollout.InPlace {
					waits = append(waits, fmt.Sprintf("%d/%d", ev.Rollout.NewReady, ev.Rollout.New))
				}
			}
		}}
		began := false
		c.Before(2, func(w *clustertest.World) {
			began = true
			for _, m := range w.List(capi.Group, "Machine", "default") {
				if strings.HasPrefix(m.GetName(), "aws-example-md-0") && !drained(m) {
					t.Errorf("the rollout begins and %s has no drain timeout", m.GetName())
				}
			}
		}, clustertest.Patch)
		if err := e.Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		want := []string{"preflight", "patch-in-place", "wait-in-place", "create-infrastructure-template", "patch", "wait"}
		if diff := cmp.Diff(want, steps); diff != "" || !began {
			t.Errorf("steps done (-want +got):\n%s", diff)
		}
		if len(waits) < 3 || waits[len(waits)-1] != "3/3" {
			t.Errorf("the wait told %q", waits)
		}
	})
}

// TestInPlaceStalls when no controller hands the settings on.
func TestInPlaceStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample(clustertest.Before112())
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeDrain))
		err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p)
		var stall *apply.StallError
		if !errors.As(err, &stall) || stall.Step.ID != "aws-example-md-0/wait-in-place" || !stall.Rollout.InPlace {
			t.Fatalf("got %v, want a stall of the wait in place", err)
		}
		if stall.Stall == nil {
			t.Error("nothing explains the stall")
		}
		if diff := cmp.Diff([]string{"patch MachineDeployment default/aws-example-md-0"}, writes(w)); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}

// TestParallelWaitsTogether has both pools patched before either is waited for.
func TestParallelWaitsTogether(t *testing.T) {
	w := clustertest.AWSExample()
	w.AutoStep(1)
	c := w.Open(nil)
	up := read(t, strings.Replace(upgradeBoth, "  pools:", "  order: parallel\n  pools:", 1))
	p, secrets := compile(t, c, up)
	var order []string
	e := &apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets, Notify: func(ev apply.Event) {
		switch ev := ev.(type) {
		case apply.StepStarted:
			order = append(order, "start "+ev.Step.ID)
		case apply.StepDone:
			order = append(order, "done "+ev.Step.ID)
		}
	}}
	if err := e.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	started := 0
	for _, o := range order {
		if strings.HasPrefix(o, "start ") && strings.HasSuffix(o, "/wait") {
			started++
		}
		if strings.HasPrefix(o, "done ") && strings.HasSuffix(o, "/wait") && started < 2 {
			t.Errorf("a wait was over before the other began: %v", order)
		}
	}
}

func TestRejectionIsToldInTheServersWords(t *testing.T) {
	w := clustertest.AWSExample()
	w.Schema(func(o *unstructured.Unstructured) error {
		if o.GetKind() == "AWSMachineTemplate" {
			return errors.New(`spec.template.spec.instanceType: unknown field "instanceTyp"`)
		}
		return nil
	})
	c := w.Open(nil)
	p, secrets := compile(t, c, read(t, upgradeOne))
	err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p)
	var rejected *apply.RejectedError
	if !errors.As(err, &rejected) || !strings.Contains(rejected.Words, "unknown field") {
		t.Fatalf("got %v, want the server's refusal", err)
	}
	if got := writes(w); len(got) > 0 {
		t.Errorf("written all the same: %v", got)
	}
}

// TestChurnIsNoProgress has a MachineHealthCheck delete each new machine that
// does not join, which makes ever new ones.
func TestChurnIsNoProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		w.AutoStep(1)
		md := clustertest.MachineDeployment("aws-example-md-0")
		w.Break(md, clustertest.Fault{NoJoin: true})
		old := map[string]bool{}
		for _, m := range w.List(capi.Group, "Machine", "default") {
			old[m.GetName()] = true
		}
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Hour)
		defer stop()
		go func() {
			every := time.NewTicker(30 * time.Second)
			for condemn := true; ; condemn = !condemn {
				select {
				case <-ctx.Done():
					return
				case <-every.C:
				}
				for _, m := range w.List(capi.Group, "Machine", "default") {
					if old[m.GetName()] {
						continue
					}
					if !condemn {
						w.Delete(capi.RefOf(m))
						continue
					}
					w.Edit(capi.RefOf(m), func(o *unstructured.Unstructured) {
						_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"type": "HealthCheckSucceeded", "status": "False",
							"reason": "NodeStartupTimeout", "message": "Node failed to report startup in 1m0s"}}, "status", "conditions")
					})
				}
			}
		}()
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeOne))
		began := time.Now()
		err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(ctx, p)
		var stall *apply.StallError
		if !errors.As(err, &stall) {
			t.Fatalf("got %v, want a StallError", err)
		}
		if took := time.Since(began); took > 20*time.Minute {
			t.Errorf("gave up after %s only: new machines that never join were taken for progress", took)
		}
		if stall.Stall == nil || stall.Stall.Cause != capi.StallHealthCheckChurn {
			t.Errorf("the cause is %+v, want the churn, not what ails the latest machine", stall.Stall)
		}
	})
}
