package main

import (
	"strings"
	"testing"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// TestMissingTemplate: a plan that could not look at the template which it is to
// change never says that all is done, in no form and by no exit code.
func TestMissingTemplate(t *testing.T) {
	const file = `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: one}
spec:
  cluster: {name: aws-example}
  pools:
    - {name: aws-example-md-0, instanceType: m5.2xlarge, machineImage: ami-0fedcba9876543210}
`
	s := newSite(t, map[string]string{"up.yaml": file})
	s.world.Delete(plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSMachineTemplate", Namespace: "default", Name: pool0})
	for _, args := range [][]string{
		{"plan", "-f", "up.yaml"},
		{"plan", "-f", "up.yaml", "--detailed-exitcode"},
		{"plan", "-f", "up.yaml", "-o", "markdown"},
		{"plan", "-f", "up.yaml", "-o", "json"},
		{"apply", "-f", "up.yaml", "--auto-approve"},
	} {
		out, errs := s.do(exitBlocked, "", args...)
		s.says(out+errs, "AWSMachineTemplate default/aws-example-md-0", "does not exist")
		for _, wrong := range []string{"up to date", "No changes"} {
			if strings.Contains(out+errs, wrong) {
				t.Errorf("%q is said in:\n%s%s", wrong, out, errs)
			}
		}
	}
	if n := len(s.world.Writes()); n > 0 {
		t.Errorf("%d writes were made", n)
	}
}
