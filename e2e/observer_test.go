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
// the MachineDeployment would have it, and not much later. The test is not
// parallel, so that the second is not taken up by other rollouts.
func TestApplyEndsWithTheLastOldMachine(t *testing.T) {
	const atMost = time.Second
	c, n := newCluster(t, "observed", "--pools", "aws:2"), newCLI(t)
	file := c.upgrade(t, "observed", pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage})
	selector := "cluster.x-k8s.io/deployment-name=" + c.pool(0)
	var old []types.UID
	for _, m := range box.list(t, machines, c.namespace, selector) {
		old = append(old, m.GetUID())
	}
	if len(old) != 2 {
		t.Fatalf("%d old machines, want 2", len(old))
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

	r := n.run(t, "apply", "-f", file, "--auto-approve")
	if still := left(box.list(t, machines, c.namespace, selector)); still > 0 {
		t.Errorf("apply has ended and %d old machines are still there", still)
	}
	r.exits(t, 0)
	seen := <-gone
	if seen.err != nil {
		t.Fatal(seen.err)
	}
	late := r.Ended.Sub(seen.at)
	t.Logf("apply ended %s after the last old machine was gone", late.Round(time.Millisecond))
	if late > atMost {
		t.Errorf("apply ended %s after the last old machine was gone, want at most %s\n%s", late, atMost, r)
	}
}
