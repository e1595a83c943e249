//go:build e2e

package e2e_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Apply ends when the last old machine is gone: not before, as the status of
// the MachineDeployment would have it, and not much later. An observer with a
// client of its own watches the machines.
//
// The test is not parallel, so that the second is not taken up by the rollouts
// of other tests. Where the computer is busy with something else the
// controllers are late to count their machines; then another rollout is looked
// at.
func TestApplyEndsWithTheLastOldMachine(t *testing.T) {
	const atMost = time.Second
	c, n := newCluster(t, "observed", "--pools", "aws:2"), newCLI(t)
	for _, instanceType := range []string{"m5.xlarge", "m5.2xlarge", "m5.4xlarge"} {
		file := c.upgrade(t, "observed", pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage, "instanceType": instanceType})
		late := c.observe(t, c.pool(0), func() result { return n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0) })
		t.Logf("apply ended %s after the last old machine was gone", late.Round(time.Millisecond))
		if late <= atMost {
			return
		}
	}
	t.Errorf("apply never ended within %s after the last old machine was gone", atMost)
}

// observe watches the machines of a pool during an apply and gives the time
// from the end of the last old one to the end of apply. It is an error when an
// old machine is still there.
func (c cluster) observe(t *testing.T, pool string, apply func() result) time.Duration {
	t.Helper()
	selector := "cluster.x-k8s.io/deployment-name=" + pool
	var old []types.UID
	for _, m := range box.list(t, machines, c.namespace, selector) {
		old = append(old, m.GetUID())
	}
	if len(old) == 0 {
		t.Fatal("there are no old machines")
	}
	left := func(all []*unstructured.Unstructured) int {
		count := 0
		for _, m := range all {
			if slices.Contains(old, m.GetUID()) {
				count++
			}
		}
		return count
	}
	type sighting struct {
		at  time.Time
		err error
	}
	gone := make(chan sighting, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := box.follow(ctx, machines, c.namespace, selector, func(all []*unstructured.Unstructured) bool { return left(all) == 0 })
		gone <- sighting{time.Now(), err}
	}()
	r := apply()
	if still := left(box.list(t, machines, c.namespace, selector)); still > 0 {
		t.Errorf("apply has ended and %d old machines are still there\n%s", still, r)
	}
	seen := <-gone
	if seen.err != nil {
		t.Fatal(seen.err)
	}
	return r.Ended.Sub(seen.at)
}
