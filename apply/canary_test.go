package apply_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
)

var canaryPool = clustertest.MachineDeployment("aws-example-md-0")

func canaryUpgrade(fields string) string {
	return strings.TrimRight(upgradeOne, "\n") + "\n      " + strings.ReplaceAll(fields, "; ", "\n      ") + "\n"
}

// stage is a run of an upgrade on a world whose rollouts take their time.
type stage struct {
	*clustertest.World
	e       *apply.Executor
	j       *memory
	plan    plan.Plan
	news    []string
	command func(machine string) error
	env     []string
}

func newStage(t *testing.T, text string, adjust ...clustertest.Adjust) *stage {
	t.Helper()
	s := &stage{World: clustertest.AWSExample(adjust...), j: &memory{}}
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go s.World.Run(ctx, time.Second)
	c := s.Open(nil)
	p, secrets := compile(t, c, read(t, text))
	s.plan = p
	s.e = &apply.Executor{Cluster: c, Journal: s.j, Secrets: secrets,
		Command: func(_ context.Context, args, env []string, out io.Writer) error {
			s.env = env
			fmt.Fprintf(out, "%s says\x1b[31m: %s", args[0], args[1:])
			machine := ""
			for _, v := range env {
				if name, ok := strings.CutPrefix(v, "NODEPOOL_MACHINE="); ok {
					machine = name
				}
			}
			if s.command == nil {
				return nil
			}
			return s.command(machine)
		},
		Notify: func(ev apply.Event) {
			if n, ok := ev.(apply.Canary); ok {
				s.news = append(s.news, n.News)
			}
		}}
	return s
}

// pool gives how many old and new machines there are, by their version.
func (s *stage) pool(t *testing.T) (old, new int) {
	t.Helper()
	for _, m := range s.machines(t) {
		if capi.StringAt(m, "spec", "version") == "v1.35.2" {
			new++
		} else {
			old++
		}
	}
	return old, new
}

func (s *stage) machines(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	sel := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "Machine", Namespace: "default"},
		Label: "cluster.x-k8s.io/deployment-name", LabelValue: canaryPool.Name}
	snap, err := s.Open(nil).Fetch(t.Context(), []plan.Selector{sel})
	if err != nil {
		t.Fatal(err)
	}
	return snap.List(sel)
}

// newest gives the ref of the first new machine.
func (s *stage) newest(t *testing.T) plan.Ref {
	t.Helper()
	for _, m := range s.machines(t) {
		if capi.StringAt(m, "spec", "version") == "v1.35.2" {
			return capi.RefOf(m)
		}
	}
	t.Fatal("there is no new machine")
	return plan.Ref{}
}

// after does something once so much time of the run has passed.
func after(d time.Duration, do func()) { time.AfterFunc(d, do) }

// flap has a node go away and come back.
func (s *stage) flap(ref plan.Ref) {
	s.Edit(ref, func(o *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(o.Object, "Provisioned", "status", "phase")
	})
}

func wantStall(t *testing.T, err error, cause capi.StallCause) *apply.StallError {
	t.Helper()
	var stall *apply.StallError
	if !errors.As(err, &stall) || stall.Stall == nil || stall.Stall.Cause != cause {
		t.Fatalf("got %v, want a stall by %s", err, cause)
	}
	return stall
}

func TestCanaryProvesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("canary: {soak: 10m, command: [./smoke.sh, --quick]}"))
		checked := false
		s.command = func(machine string) error {
			if old, news := s.pool(t); old != 3 || news != 1 {
				t.Errorf("at the command there are %d old and %d new machines", old, news)
			}
			checked = machine == s.newest(t).Name
			return nil
		}
		began := time.Now()
		notify, soaks, shown := s.e.Notify, false, ""
		s.e.Notify = func(e apply.Event) {
			switch e := e.(type) {
			case apply.Rolling:
				soaks = soaks || e.Proof != nil && *e.Proof == apply.Proof{Machines: 1, Ready: 1, Soak: 10 * time.Minute}
			case apply.StepDone:
				shown += e.Outcome
			}
			notify(e)
		}
		if err := s.e.Run(t.Context(), s.plan); err != nil {
			t.Fatal(err)
		}
		if !soaks || !strings.Contains(shown, "ready for 10m0s, and the command exited with 0") {
			t.Errorf("that it soaks is told: %t; in the end: %q", soaks, shown)
		}
		if took := time.Since(began); took < 10*time.Minute || took > 15*time.Minute {
			t.Errorf("it took %s, with a soak of 10m", took)
		}
		if !checked {
			t.Error("the command did not run for the new machine")
		}
		want := []string{"NODEPOOL_UPGRADE=aws-example-1-35", "NODEPOOL_CLUSTER=aws-example", "NODEPOOL_NAMESPACE=default", "NODEPOOL_POOL=aws-example-md-0"}
		if d := cmp.Diff(want, s.env[:4]); d != "" || !strings.HasPrefix(s.env[5], "NODEPOOL_NODE=") || len(s.env[5]) < 20 {
			t.Errorf("environment (-want +got):\n%s\n%q", d, s.env)
		}
		if !slices.Contains(s.news, "./smoke.sh says[31m: [--quick]") {
			t.Errorf("news: %q", s.news)
		}
		if old, news := s.pool(t); old != 0 || news != 3 {
			t.Errorf("in the end %d old and %d new machines", old, news)
		}
		if s.j.opened {
			t.Error("the run is not closed")
		}
		again, _ := compile(t, s.Open(nil), read(t, canaryUpgrade("canary: {soak: 10m, command: [./smoke.sh, --quick]}")))
		if !again.IsEmpty() {
			t.Errorf("afterwards there is something to do: %+v", again.Steps)
		}
	})
}

// A watch that has gone silent is no stall of the canary.
func TestCanaryOutlivesASilentWatch(t *testing.T) {
	for name, told := range map[string]bool{"nobody knows": false, "the feed tells": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, canaryUpgrade("canary: {soak: 1m}"))
				c := &deaf{Cluster: s.e.Cluster, told: told}
				s.e.Cluster = c
				if err := s.e.Run(t.Context(), s.plan); err != nil {
					t.Fatal(err)
				}
				if c.watches != 3 {
					t.Errorf("it watched %d times, want two for the canary and one for the rollout", c.watches)
				}
			})
		})
	}
}

// TestCanarySoaksWithoutABreak: a machine that is not ready for a moment soaks
// anew, be the moment seen or not.
func TestCanarySoaksWithoutABreak(t *testing.T) {
	for name, seen := range map[string]bool{"seen": true, "unseen": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, canaryUpgrade("canary: {soak: 10m}"))
				after(8*time.Minute, func() {
					if seen {
						s.flap(s.newest(t))
						return
					}
					s.Edit(s.newest(t), func(o *unstructured.Unstructured) {
						list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
						for _, c := range list {
							if c := c.(map[string]any); c["type"] == "Ready" {
								c["lastTransitionTime"] = "2030-01-01T00:00:00Z"
							}
						}
						_ = unstructured.SetNestedSlice(o.Object, list, "status", "conditions")
					})
				})
				began := time.Now()
				if err := s.e.Run(t.Context(), s.plan); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < 18*time.Minute {
					t.Errorf("it took %s, and the soak of 10m was broken after 8m", took)
				}
			})
		})
	}
}

func TestCanaryThatFlapsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("canary: {soak: 10m}"))
		for n := range 5 {
			after(time.Duration(3+4*n)*time.Minute, func() { s.flap(s.newest(t)) })
		}
		stall := wantStall(t, s.e.Run(t.Context(), s.plan), capi.StallCanaryFailed)
		if !strings.Contains(stall.Error(), "3 times") || !strings.Contains(stall.Then, "held") {
			t.Errorf("it says %s", stall)
		}
		if old, news := s.pool(t); old != 3 || news != 1 {
			t.Errorf("%d old and %d new machines", old, news)
		}
	})
}

// TestCanaryCommandFails: the rollout stays held at one machine, and the same
// plan asks again.
func TestCanaryCommandFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("canary: {soak: 1m, command: [./smoke.sh]}; onStall: pause"))
		s.command = func(string) error { return errors.New("exit status 3") }
		stall := wantStall(t, s.e.Run(t.Context(), s.plan), capi.StallCanaryFailed)
		for _, words := range []string{"./smoke.sh", "exit status 3"} {
			if !strings.Contains(stall.Error(), words) {
				t.Errorf("%q is not said in %s", words, stall)
			}
		}
		if stall.Stall.Kind != "Machine" || stall.Stall.Message != "./smoke.sh says[31m: []" {
			t.Errorf("stall %+v", stall.Stall)
		}
		noted := slices.ContainsFunc(s.j.records, func(r apply.Record) bool {
			return r.Phase == apply.Noted && strings.Contains(r.Note, "./smoke.sh says[31m: []")
		})
		if !noted || !s.j.opened {
			t.Errorf("journal (open: %t): %+v", s.j.opened, s.j.records)
		}
		time.Sleep(time.Hour)
		if old, news := s.pool(t); old != 3 || news != 1 {
			t.Errorf("an hour later %d old and %d new machines", old, news)
		}
		s.command = nil
		if err := s.e.Run(t.Context(), s.plan); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(planned(s.plan), writes(s.World)); d != "" {
			t.Errorf("writes of both runs (-plan +got):\n%s", d)
		}
	})
}

func TestCanaryCommandMustEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("canary: {soak: 1m, command: [sleep]}; wait: {stallAfter: 5m}"))
		s.e.Command = func(ctx context.Context, _, _ []string, _ io.Writer) error {
			<-ctx.Done()
			return errors.New("killed")
		}
		stall := wantStall(t, s.e.Run(t.Context(), s.plan), capi.StallCanaryFailed)
		if !strings.Contains(stall.Error(), "did not end within 5m") {
			t.Errorf("it says %s", stall)
		}
	})
}

// TestCanaryNeedsSomebodyToRunItsCommand: who cannot run commands stops.
func TestCanaryNeedsSomebodyToRunItsCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("canary: {soak: 0s, command: [x]}"))
		s.e.Command = nil
		if err := s.e.Run(t.Context(), s.plan); err == nil || !strings.Contains(err.Error(), "runs no commands") {
			t.Errorf("got %v", err)
		}
	})
}

// TestCanaryThatIsNeverMade: the rollout is held at one machine however long
// nobody looks, and whatever becomes of the replicas.
func TestCanaryThatIsNeverMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("canary: {soak: 1m}; onStall: pause"))
		s.Break(canaryPool, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
		stall := wantStall(t, s.e.Run(t.Context(), s.plan), capi.StallProviderError)
		if stall.After != 15*time.Minute || !strings.Contains(stall.Then, "no old machine is deleted") {
			t.Errorf("after %s, then %q", stall.After, stall.Then)
		}
		md := s.Get(canaryPool)
		if capi.BoolAt(md, "spec", "paused") {
			t.Error("what is held was paused too")
		}
		replicas := func(n int64) {
			s.Edit(canaryPool, func(o *unstructured.Unstructured) { _ = unstructured.SetNestedField(o.Object, n, "spec", "replicas") })
			time.Sleep(time.Hour)
		}
		if old, news := s.pool(t); old != 3 || news != 1 {
			t.Errorf("%d old and %d new machines", old, news)
		}
		replicas(4)
		if old, news := s.pool(t); old != 3 || news != 2 {
			t.Errorf("grown by one: %d old and %d new machines", old, news)
		}
		replicas(3)
		if old, news := s.pool(t); old != 3 || news != 2 {
			t.Errorf("shrunk again: %d old and %d new machines", old, news)
		}
		s.Break(canaryPool, clustertest.Fault{})
		time.Sleep(time.Hour)
		if old, _ := s.pool(t); old != 3 {
			t.Errorf("mended while nobody looks: %d old machines", old)
		}
		if err := s.e.Run(t.Context(), s.plan); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCanaryHoldIsTakenAway: somebody who ends the hold stops the run.
func TestCanaryHoldIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("canary: {soak: 10m}"))
		after(5*time.Minute, func() {
			s.Edit(canaryPool, func(o *unstructured.Unstructured) {
				unstructured.RemoveNestedField(o.Object, "spec", "template", "spec", "minReadySeconds")
			})
		})
		var drift *apply.DriftError
		if err := s.e.Run(t.Context(), s.plan); !errors.As(err, &drift) || !drift.Written {
			t.Errorf("got %v, want a drift", err)
		}
	})
}

// TestCanaryEveryCrashPoint: a run with a canary ends at every one of its calls
// of the cluster, and another one carries on, with the journal or without.
func TestCanaryEveryCrashPoint(t *testing.T) {
	text := canaryUpgrade("canary: {soak: 30s, command: [./smoke.sh]}; strategy: {maxSurge: 2, maxUnavailable: 1}")
	points := 0
	for _, mode := range crashModes(clustertest.CrashBefore, clustertest.CrashAfter) {
		for _, journal := range []bool{true, false} {
			for n, blown := 1, true; blown; n++ {
				synctest.Test(t, func(t *testing.T) {
					// One machine a pool: few calls, and all kinds of them.
					s := newStage(t, text, clustertest.AdjustPool("aws-example-md-0", one), clustertest.AdjustPool("aws-example-md-1", one))
					c := s.Open(&clustertest.Fuse{At: n, Mode: mode})
					s.e.Cluster = c
					err := s.e.Run(t.Context(), s.plan)
					if blown = c.Blown(); !blown {
						if err != nil {
							t.Fatalf("no fuse blew: %v", err)
						}
						return
					}
					points++
					s.e.Cluster = s.Open(nil)
					p := s.plan
					if !journal {
						s.e.Journal = &memory{}
						p, s.e.Secrets = compile(t, s.e.Cluster, read(t, text))
					}
					if err := s.e.Run(t.Context(), p); err != nil {
						t.Fatalf("%s call %d (journal: %t): %v", mode, n, journal, err)
					}
					if d := cmp.Diff(planned(s.plan), writes(s.World)); d != "" {
						t.Errorf("%s call %d (journal: %t): writes (-plan +got):\n%s", mode, n, journal, d)
					}
					if again, _ := compile(t, s.e.Cluster, read(t, text)); !again.IsEmpty() {
						t.Errorf("%s call %d: afterwards there is something to do", mode, n)
					}
				})
			}
		}
	}
	if points < 60 && !raceDetector {
		t.Errorf("only %d crash points were tried", points)
	}
	t.Logf("%d crash points", points)
}

// TestStalledPoolIsPaused: the pause keeps the rollout at what it was, and the
// plan that paused ends the pause when it is carried on with.
func TestStalledPoolIsPaused(t *testing.T) {
	for name, byHand := range map[string]bool{"": false, "unpaused by hand": true} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { stalledAndPaused(t, byHand) }) })
	}
}

func stalledAndPaused(t *testing.T, byHand bool) {
	{
		text := canaryUpgrade("onStall: pause")
		s := newStage(t, text)
		s.Break(canaryPool, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
		stall := wantStall(t, s.e.Run(t.Context(), s.plan), capi.StallProviderError)
		if !strings.Contains(stall.Then, "is paused now") {
			t.Errorf("then: %q", stall.Then)
		}
		s.Break(canaryPool, clustertest.Fault{})
		time.Sleep(time.Hour)
		if old, news := s.pool(t); old != 3 || news != 1 {
			t.Errorf("mended and paused: %d old and %d new machines", old, news)
		}
		// Another plan ends the pause, which stands in its patch...
		p, _ := compile(t, s.Open(nil), read(t, text))
		if p.Blocked || p.Digest == s.plan.Digest {
			t.Fatalf("the plan after the pause is blocked: %+v", p.Findings)
		}
		if !p.OnlyReleases() || s.plan.OnlyReleases() {
			t.Errorf("only releases: %t, and that before %t", p.OnlyReleases(), s.plan.OnlyReleases())
		}
		// ...and so does the one that made it, which can pause again.
		s.Break(canaryPool, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
		stall = wantStall(t, s.e.Run(t.Context(), s.plan), capi.StallProviderError)
		if !strings.Contains(stall.Then, "is paused now") || !capi.BoolAt(s.Get(canaryPool), "spec", "paused") {
			t.Errorf("the second time: %q", stall.Then)
		}
		s.Break(canaryPool, clustertest.Fault{})
		if byHand {
			s.Edit(canaryPool, func(o *unstructured.Unstructured) { unstructured.RemoveNestedField(o.Object, "spec", "paused") })
		}
		if err := s.e.Run(t.Context(), s.plan); err != nil {
			t.Fatal(err)
		}
		if capi.BoolAt(s.Get(canaryPool), "spec", "paused") || s.Get(canaryPool).GetAnnotations()[plan.HoldAnnotation] != "" || s.j.opened {
			t.Errorf("in the end: paused, or open: %t", s.j.opened)
		}
		if old, news := s.pool(t); old != 0 || news != 3 {
			t.Errorf("in the end %d old and %d new machines", old, news)
		}
	}
}

// TestPauseThatWouldMakeMachinesIsNotMade: with room for more, a paused
// MachineDeployment would fill it with old machines.
func TestPauseThatWouldMakeMachinesIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, canaryUpgrade("onStall: pause"))
		s.Break(canaryPool, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
		after(20*time.Second, func() {
			// The controllers are down, and somebody makes room.
			s.Edit(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}, func(o *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(o.Object, true, "spec", "paused")
			})
			s.Edit(canaryPool, func(o *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(o.Object, int64(2), "spec", "rollout", "strategy", "rollingUpdate", "maxSurge")
			})
		})
		var stall *apply.StallError
		if err := s.e.Run(t.Context(), s.plan); !errors.As(err, &stall) || !strings.Contains(stall.Then, "would make 1 more") {
			t.Fatalf("got %v", err)
		}
		if capi.BoolAt(s.Get(canaryPool), "spec", "paused") {
			t.Error("it is paused")
		}
	})
}
