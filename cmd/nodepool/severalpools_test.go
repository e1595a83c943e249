package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
)

const pool1 = "aws-example-md-1"

// bothPools gives an upgrade of both pools at once; a and b are further fields
// of each.
func bothPools(a, b string) map[string]string {
	return map[string]string{"u.yaml": `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: one}
spec:
  cluster: {name: aws-example}
  order: parallel
  pools:
    - {name: aws-example-md-0, kubernetesVersion: v1.35.2, machineImage: ami-bad` + a + `}
    - {name: aws-example-md-1, kubernetesVersion: v1.35.2` + b + `}
`}
}

// TestOnStallRollbackOfOnePool: the run goes on for the pools that were not
// taken back, and what is told of each is true of it.
func TestOnStallRollbackOfOnePool(t *testing.T) {
	s := newSite(t, bothPools(", onStall: rollback", ""))
	for _, pool := range []string{pool0, pool1} {
		s.world.Break(clustertest.MachineDeployment(pool), bad)
	}
	_, stderr := s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	first, second, _ := strings.Cut(stderr, "error: the rollout of pool "+pool1)
	s.says(first, "The pool is taken back", "leaves this one out", "--abandon")
	if strings.Contains(first, "The change stays in the cluster") {
		t.Errorf("the change does not stay in the first pool:\n%s", first)
	}
	s.says(second, "The change stays in the cluster", "it goes on waiting")
	if d := cmp.Diff([]string{"one/1  unfinished", "one/2 rollback closed: "}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
	stdout, _ := s.do(0, "", "status", "-f", "u.yaml")
	for line := range strings.Lines(stdout) {
		if strings.HasPrefix(line, pool0) && strings.Contains(line, "one/1") || strings.HasPrefix(line, pool1) && !strings.Contains(line, "one/1") {
			t.Errorf("status: %s", line)
		}
	}
	// The same again does not push what was taken back once more.
	patches := s.patches()
	s.world.Break(clustertest.MachineDeployment(pool1), clustertest.Fault{})
	_, stderr = s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "Carrying on with the plan", "leaves out what was taken back: "+pool0)
	if n := s.patches() - patches; n != 0 || s.template(pool0) != pool0 {
		t.Errorf("%d patches more, template %s", n, s.template(pool0))
	}
	if d := cmp.Diff([]string{"one/1  closed: ", "one/2 rollback closed: "}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
	stdout, _ = s.do(0, "", "history", "one/1")
	s.says(stdout, "taken back")
}

// TestOnStallRollbackOfAllPools closes the run with the last of them.
func TestOnStallRollbackOfAllPools(t *testing.T) {
	s := newSite(t, bothPools(", onStall: rollback", ", onStall: rollback"))
	for _, pool := range []string{pool0, pool1} {
		s.world.Break(clustertest.MachineDeployment(pool), bad)
	}
	_, stderr := s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "Nothing of the change is left in it")
	if strings.Contains(stderr, "The change stays") || strings.Contains(stderr, "leaves this one out") {
		t.Errorf("it says:\n%s", stderr)
	}
	if d := cmp.Diff([]string{"one/1  closed: rolled back", "one/2 rollback closed: ", "one/3 rollback closed: "}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
}

// TestRollbackOfOnePool by hand leaves the run open for the other one, too.
func TestRollbackOfOnePool(t *testing.T) {
	s := newSite(t, bothPools("", ""))
	for _, pool := range []string{pool0, pool1} {
		s.world.Break(clustertest.MachineDeployment(pool), bad)
	}
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.do(0, "", "rollback", "-f", "u.yaml", "--pool", pool0, "--auto-approve")
	if d := cmp.Diff([]string{"one/1  unfinished", "one/2 rollback closed: "}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
	s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
	if d := cmp.Diff([]string{"one/1  closed: rolled back", "one/2 rollback closed: ", "one/3 rollback closed: "}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
}
