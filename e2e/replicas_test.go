//go:build e2e

package e2e_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An autoscaler, or anybody, may change the replicas during the review and
// during the rollout: that is neither undone nor refused.
func TestReplicasBelongToOthers(t *testing.T) {
	t.Parallel()
	c, n := newCluster(t, "scaled", "--pools", "aws:2"), newCLI(t)
	file := c.upgrade(t, "scaled", pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage})

	reviewed := n.plan(t, file)
	box.merge(t, machineDeployments, c.namespace, c.pool(0), `{"spec":{"replicas":3}}`)
	if now := n.plan(t, file); now.Digest != reviewed.Digest {
		t.Errorf("the digest was %s and is %s after a change of replicas", reviewed.Digest, now.Digest)
	}
	p := n.start(t, "apply", "-f", file, "--auto-approve", "--progress", "json")
	p.until(t, "it saw a new machine and 3 that are wanted", func(e event) bool {
		return e.Type == "rolling" && e.Rollout.Desired == 3 && e.Rollout.New > 0
	})
	box.merge(t, machineDeployments, c.namespace, c.pool(0), `{"spec":{"replicas":1}}`)
	p.wait(t).exits(t, 0)

	if replicas := number(c.deployment(t, c.pool(0)), "spec", "replicas"); replicas != 1 {
		t.Errorf("spec.replicas is %d, want 1 as somebody set it", replicas)
	}
	template := reviewed.template(t)
	want := []machine{{Version: newVersion, Template: template, Image: newImage, Type: "m5.large"}}
	if diff := cmp.Diff(want, c.machines(t, c.pool(0))); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]write{{"create", "awsmachinetemplates", template}, {"patch", "machinedeployments", c.pool(0)}}, c.writes(t)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	n.nothingToDo(t, file)
}
