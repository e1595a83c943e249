package apply_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan/capi"
)

// parallelUpgrade gives an upgrade of both pools at once; a and b are further
// fields of each.
func parallelUpgrade(a, b string) string {
	return `
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: aws-example-1-35}
spec:
  cluster: {name: aws-example}
  order: parallel
  pools:
    - {name: aws-example-md-0, kubernetesVersion: v1.35.2` + a + `}
    - {name: aws-example-md-1, kubernetesVersion: v1.35.2` + b + `}
`
}

var otherPool = clustertest.MachineDeployment("aws-example-md-1")

// stalledPools gives the pools of all stalls in err, in the order of the plan.
func stalledPools(err error) []string {
	var out []string
	for _, s := range apply.Stalls(err) {
		out = append(out, s.Step.Pool)
	}
	return out
}

// TestEachParallelPoolEndsByItself: the first stall ends nothing but its own
// pool; every stalled pool is told and done to as the plan says, and one that
// is well comes to its end.
func TestEachParallelPoolEndsByItself(t *testing.T) {
	bad := clustertest.Fault{Provider: "InvalidAMIID.NotFound"}
	for name, tc := range map[string]struct {
		a, b    string
		breakA  bool
		breakB  bool
		stalled []string
		paused  bool // the first pool
		done    []string
	}{
		"both stall": {a: ", onStall: pause, wait: {stallAfter: 14m}", b: ", wait: {stallAfter: 6m}", breakA: true, breakB: true,
			stalled: []string{"aws-example-md-0", "aws-example-md-1"}, paused: true},
		"the quick one stalls": {b: ", wait: {stallAfter: 1s}", breakB: true,
			stalled: []string{"aws-example-md-1"}, done: []string{"aws-example-md-0/wait"}},
		"the canary of one": {a: ", canary: {soak: 1m}, wait: {stallAfter: 5m}", b: ", canary: {soak: 30m}", breakA: true,
			stalled: []string{"aws-example-md-0"}, done: []string{"aws-example-md-1/wait-canary", "aws-example-md-1/release", "aws-example-md-1/wait"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, parallelUpgrade(tc.a, tc.b))
				if tc.breakA {
					s.Break(canaryPool, bad)
				}
				if tc.breakB {
					s.Break(otherPool, bad)
				}
				err := s.e.Run(t.Context(), s.plan)
				if d := cmp.Diff(tc.stalled, stalledPools(err)); d != "" {
					t.Errorf("stalled pools (-want +got):\n%s\n%v", d, err)
				}
				if got := capi.BoolAt(s.Get(canaryPool), "spec", "paused"); got != tc.paused {
					t.Errorf("paused: %t", got)
				}
				var done, failed []string
				for _, r := range s.j.records {
					switch {
					case r.Phase == apply.Done && slices.Contains(tc.done, r.Step):
						done = append(done, r.Step)
					case r.Phase == apply.Failed && r.Step != "": // not the end of the attempt
						failed = append(failed, strings.TrimSuffix(strings.TrimSuffix(r.Step, "/wait"), "/wait-canary"))
					}
				}
				slices.Sort(failed)
				if d := cmp.Diff(tc.done, done); d != "" {
					t.Errorf("done (-want +got):\n%s", d)
				}
				if d := cmp.Diff(tc.stalled, failed); d != "" || !s.j.opened {
					t.Errorf("recorded as failed (-want +got; open: %t):\n%s", s.j.opened, d)
				}
			})
		})
	}
}

// TestNothingIsBegunBehindAStall: of pools one after the other, those behind a
// stall stay as they are, also where the stalled one was waited for together
// with one that was rolling before.
func TestNothingIsBegunBehindAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, strings.Replace(parallelUpgrade("", ""), "order: parallel", "order: sequential", 1))
		s.Break(canaryPool, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
		err := s.e.Run(t.Context(), s.plan)
		if d := cmp.Diff([]string{"aws-example-md-0"}, stalledPools(err)); d != "" {
			t.Errorf("stalled pools (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"patch " + canaryPool.String()}, writes(s.World)); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
	})
}

// TestAnInterruptEndsAllPools: also behind a stall, which is told all the same.
func TestAnInterruptEndsAllPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, parallelUpgrade(", wait: {stallAfter: 5m}", ""))
		s.Break(canaryPool, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
		s.Break(otherPool, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		began := time.Now()
		err := s.e.Run(ctx, s.plan)
		if !errors.Is(err, apply.ErrInterrupted) || time.Since(began) != 10*time.Minute {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if d := cmp.Diff([]string{"aws-example-md-0"}, stalledPools(err)); d != "" {
			t.Errorf("stalled pools (-want +got):\n%s", d)
		}
	})
}
