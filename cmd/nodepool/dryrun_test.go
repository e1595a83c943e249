package main

import (
	"slices"
	"strings"
	"testing"

	"nodepool/apply"
	"nodepool/apply/clustertest"
)

// TestPlanWithoutDryRuns has nobody ask the server, and the plan is the same.
func TestPlanWithoutDryRuns(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: u}
spec:
  cluster: {name: aws-example, namespace: default}
  pools: [{name: aws-example-md-0, machineImage: ami-new, kubernetesVersion: v1.35.2}]
`})
	dryRuns := func(args ...string) (int, string) {
		before := len(s.world.Calls())
		out, _ := s.do(0, "", append([]string{"plan", "-f", "u.yaml", "--full"}, args...)...)
		n := 0
		for _, c := range s.world.Calls()[before:] {
			if c.Mode == apply.DryRun && (c.Op == clustertest.Create || c.Op == clustertest.Patch) {
				n++
			}
		}
		return n, out
	}
	tried, with := dryRuns()
	left, without := dryRuns("--no-dry-run")
	if tried != 2 || left != 0 {
		t.Errorf("%d dry runs, and %d with --no-dry-run", tried, left)
	}
	digest := func(text string) string {
		lines := strings.Split(text, "\n")
		return lines[slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Digest: ") })]
	}
	if digest(with) != digest(without) {
		t.Errorf("the digests differ: %s, %s", digest(with), digest(without))
	}
	s.says(without, "not verified: --no-dry-run was given")
}
