package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan/capi"
)

// onStallRollback is badUpgrade with fields more.
func onStallRollback(fields string) map[string]string {
	return map[string]string{"u.yaml": strings.Replace(badUpgrade, "machineImage: ami-bad", "machineImage: ami-bad, onStall: rollback"+fields, 1)}
}

// TestOnStallRollback takes a pool back whose first machine cannot be made,
// with a canary and without; the exit code and the cause are those of the stall.
func TestOnStallRollback(t *testing.T) {
	for name, fields := range map[string]string{"rollout": "", "canary": ", canary: {machines: 1, soak: 1m}"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, onStallRollback(fields))
			md := clustertest.MachineDeployment(pool0)
			before := s.world.Get(md).Object["spec"]
			s.world.Break(md, bad)
			stdout, stderr := s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
			s.says(stdout, "On a stall the pool is taken back", "rolling back one")
			s.says(stderr, "the plan ", "says to take it back", "Rollback of upgrade one", "InvalidAMIID.NotFound", "The pool is taken back to what it was before this run")
			if strings.Contains(stderr, "is held") {
				t.Errorf("it is not held any more:\n%s", stderr)
			}
			if d := cmp.Diff(before, s.world.Get(md).Object["spec"]); d != "" {
				t.Errorf("spec (-before +after):\n%s", d)
			}
			if n := s.patches(); n != 2 {
				t.Errorf("%d patches, want one there and one back", n)
			}
			if d := cmp.Diff([]string{"one/1  closed: rolled back", "one/2 rollback closed: "}, s.notes()); d != "" {
				t.Errorf("journal (-want +got):\n%s", d)
			}
		})
	}
}

// TestOnStallNoWayBack leaves a pool alone that cannot be taken back: an old
// machine is gone that Cluster API would not make again.
func TestOnStallNoWayBack(t *testing.T) {
	s := newSite(t, onStallRollback(", strategy: {maxSurge: 0, maxUnavailable: 1}"))
	s.world.Break(clustertest.MachineDeployment(pool0), bad)
	_, stderr := s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "InvalidAMIID.NotFound", "The pool was to be taken back, and is not: there is no way back to v1.34.3")
	if n := s.patches(); n != 1 {
		t.Errorf("%d patches, want the one there", n)
	}
	if d := cmp.Diff([]string{"one/1  unfinished"}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
}

// TestOnStallRollbackBreaksOff is carried on by nodepool rollback.
func TestOnStallRollbackBreaksOff(t *testing.T) {
	s := newSite(t, onStallRollback(""))
	s.world.Break(clustertest.MachineDeployment(pool0), bad)
	// The dry run and the patch there, the dry run back, and the patch back.
	s.fuse = &clustertest.Fuse{At: 4, Ops: []clustertest.Op{clustertest.Patch}, Mode: clustertest.CrashAfter}
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.fuse = nil
	_, stderr := s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "Carrying on with the plan")
	if n := s.patches(); n != 2 || s.template(pool0) != pool0 {
		t.Errorf("%d patches, template %s", n, s.template(pool0))
	}
}

// onStallPause is badUpgrade with onStall: pause.
func onStallPause() map[string]string {
	return map[string]string{"u.yaml": strings.Replace(badUpgrade, "machineImage: ami-bad", "machineImage: ami-bad, onStall: pause", 1)}
}

// TestResumeAfterItsOwnPause: the plan that was reviewed carries on, by each way
// to name it, and the whole of it can be taken back.
func TestResumeAfterItsOwnPause(t *testing.T) {
	for name, args := range map[string][]string{
		"-f":       {"-f", "u.yaml"},
		"--expect": {"-f", "u.yaml", "--expect", "DIGEST"},
		"--plan":   {"--plan", "u.plan"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, onStallPause())
			md := clustertest.MachineDeployment(pool0)
			s.world.Break(md, bad)
			stdout, _ := s.do(0, "", "plan", "-f", "u.yaml", "-o", "json", "--out", "u.plan")
			digest := digestIn(t, stdout)
			s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve", "--expect", digest)
			if !capi.BoolAt(s.world.Get(md), "spec", "paused") {
				t.Fatal("it is not paused")
			}
			stdout, _ = s.do(0, "", "status", "-f", "u.yaml")
			s.says(stdout, "one/1")
			again := append([]string{"apply", "--auto-approve"}, args...)
			for i := range again {
				again[i] = strings.ReplaceAll(again[i], "DIGEST", digest)
			}
			s.do(5, "", again...) // the cause is still there: it is paused again
			if d := cmp.Diff([]string{"one/1  unfinished"}, s.notes()); d != "" {
				t.Errorf("journal (-want +got):\n%s", d)
			}
			stdout, _ = s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
			s.says(stdout, "rolling back one")
			if s.template(pool0) != pool0 || capi.BoolAt(s.world.Get(md), "spec", "paused") {
				t.Errorf("template %s", s.template(pool0))
			}
			s.world.Break(md, clustertest.Fault{})
			s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
		})
	}
}

// TestRollbackOfARetry: a run that did nothing but end the pause of the one
// before it is no block to the way back, which is that of both.
func TestRollbackOfARetry(t *testing.T) {
	for name, by := range map[string]string{"rollback": "", "onStall": "onStall: rollback"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, onStallPause())
			md := clustertest.MachineDeployment(pool0)
			before := s.world.Get(md).Object["spec"]
			s.world.Break(md, bad)
			s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
			again := strings.Replace(onStallPause()["u.yaml"], "onStall: pause", "wait: {stallAfter: 10m}, "+by, 1)
			if err := os.WriteFile("u.yaml", []byte(strings.Replace(again, ", }", "}", 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve", "--abandon")
			s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
			if by == "" {
				stdout, _ := s.do(0, "", "rollback", "one/2", "--auto-approve")
				s.says(stdout, "only ended a hold or a pause of an earlier run", "nodepool rollback RUN")
				s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
			}
			if d := cmp.Diff(before, s.world.Get(md).Object["spec"]); d != "" {
				t.Errorf("spec (-before +after):\n%s\n%v", d, s.notes())
			}
		})
	}
}
