//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var machineSets = clusters.GroupVersion().WithResource("machinesets")

// held is a pool that is looked at while it is held.
type held struct {
	cluster
	pool     string
	barriers int
}

// newHeld takes a pool whose old MachineSet may make machines though its version
// is behind the control plane's: what is shown is what Cluster API does by
// itself, not what a preflight check of one provider keeps it from.
func newHeld(t *testing.T, c cluster, pool string) *held {
	t.Helper()
	h := &held{cluster: c, pool: pool}
	h.patch(t, "v1beta2", `{"metadata":{"annotations":{"machineset.cluster.x-k8s.io/skip-preflight-checks":"All"}}}`)
	return h
}

// patch changes the pool's MachineDeployment through one of its API versions.
func (h *held) patch(t *testing.T, version, patch string) {
	t.Helper()
	_, err := box.client.Resource(schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: version, Resource: "machinedeployments"}).
		Namespace(h.namespace).Patch(t.Context(), h.pool, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody-else"})
	if err != nil {
		t.Fatal(err)
	}
}

func (h *held) selector() string { return "cluster.x-k8s.io/deployment-name=" + h.pool }

// settle waits until Cluster API has acted on all that was done before: it
// copies the annotations of a MachineDeployment to its MachineSets in the write
// that scales them, and the MachineSets then report as many machines as they
// should have.
func (h *held) settle(t *testing.T) {
	t.Helper()
	for range 2 { // the second sees what the machines of the first became
		h.barriers++
		mark := strconv.Itoa(h.barriers)
		h.patch(t, "v1beta2", fmt.Sprintf(`{"metadata":{"annotations":{"example.com/barrier":%q}}}`, mark))
		box.await(t, machineSets, h.namespace, h.selector(), "the MachineSets are settled", func(all []*unstructured.Unstructured) bool {
			for _, set := range all {
				if set.GetAnnotations()["example.com/barrier"] != mark || number(set, "status", "replicas") != number(set, "spec", "replicas") ||
					number(set, "status", "observedGeneration") < set.GetGeneration() {
					return false
				}
			}
			return len(all) > 0
		})
		box.await(t, machines, h.namespace, h.selector(), "the machines are ready", func(all []*unstructured.Unstructured) bool {
			for _, m := range all {
				if m.GetDeletionTimestamp() != nil || conditionOf(m, "Ready") != "True" {
					return false
				}
			}
			return true
		})
	}
}

func conditionOf(o *unstructured.Unstructured, kind string) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		if c, ok := item.(map[string]any); ok && c["type"] == kind {
			s, _ := c["status"].(string)
			return s
		}
	}
	return ""
}

// names gives the pool's machines of one version.
func (h *held) names(t *testing.T, version string) []string {
	t.Helper()
	found := map[string]bool{}
	for _, m := range box.list(t, machines, h.namespace, h.selector()) {
		if text(m, "spec", "version") == version {
			found[m.GetName()] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// has checks how many machines there are, and that those named are among them.
func (h *held) has(t *testing.T, when string, old, new int, still ...string) {
	t.Helper()
	olds, news := h.names(t, oldVersion), h.names(t, newVersion)
	if len(olds) != old || len(news) != new {
		t.Errorf("%s: %d old and %d new machines, want %d and %d", when, len(olds), len(news), old, new)
	}
	for _, name := range still {
		if !slices.Contains(olds, name) && !slices.Contains(news, name) {
			t.Errorf("%s: %s is gone", when, name)
		}
	}
}

func (h *held) kill(t *testing.T, name string) {
	t.Helper()
	m := box.get(t, machines, h.namespace, name)
	if err := box.client.Resource(machines).Namespace(h.namespace).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	box.await(t, machines, h.namespace, h.selector(), name+" is gone", func(all []*unstructured.Unstructured) bool {
		return !slices.ContainsFunc(all, func(o *unstructured.Unstructured) bool { return o.GetUID() == m.GetUID() })
	})
}

// TestHoldOfCanary proves what nodepool's canary relies on: a rollout with
// maxSurge 1, maxUnavailable 0 and a minReadySeconds that never ends makes one
// new machine and deletes no old one, though all of them are younger than
// minReadySeconds and so none is available; and it goes on once the values are
// put back. docs/canary.md says why, from the controllers' source.
func TestHoldOfCanary(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "held", "--pools", "aws:3,dev:3")
	hold := map[string]string{
		"v1beta2": `{"spec":{"template":{"spec":{"version":%q,"minReadySeconds":315360000}},"rollout":{"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}}}`,
		"v1beta1": `{"spec":{"minReadySeconds":315360000,"template":{"spec":{"version":%q}},"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}}`,
	}
	release := map[string]string{
		"v1beta2": `{"spec":{"template":{"spec":{"minReadySeconds":null}}}}`,
		"v1beta1": `{"spec":{"minReadySeconds":0}}`,
	}
	for i, version := range []string{"v1beta2", "v1beta1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			h := newHeld(t, c, c.pool(i))
			old := h.names(t, oldVersion)
			h.patch(t, version, fmt.Sprintf(hold[version], newVersion))
			box.await(t, machines, h.namespace, h.selector(), "the new machine is ready, and no machine counts as available", func(all []*unstructured.Unstructured) bool {
				for _, m := range all {
					if conditionOf(m, "Available") == "True" || conditionOf(m, "Ready") != "True" {
						return false
					}
				}
				return len(all) == 4
			})
			h.settle(t)
			h.has(t, "held", 3, 1, old...)
			first := h.names(t, newVersion)

			h.patch(t, version, `{"spec":{"replicas":4}}`)
			h.settle(t)
			h.has(t, "one replica more", 3, 2, slices.Concat(old, first)...)
			h.patch(t, version, `{"spec":{"replicas":3}}`)
			h.settle(t)
			h.has(t, "one replica less again", 3, 2, slices.Concat(old, first)...)
			h.patch(t, version, `{"spec":{"replicas":2}}`)
			h.settle(t)
			h.has(t, "fewer replicas than old machines", 2, 2, first...)

			old = h.names(t, oldVersion)
			h.kill(t, old[0])
			h.settle(t)
			h.has(t, "an old machine died", 2, 2, slices.Concat(old[1:], first)...)
			old = h.names(t, oldVersion)
			h.kill(t, first[0])
			h.settle(t)
			h.has(t, "the new machine died", 2, 2, old...)

			h.patch(t, version, release[version])
			box.await(t, machines, h.namespace, h.selector(), "all machines are new", func(all []*unstructured.Unstructured) bool {
				return len(all) == 2 && !slices.ContainsFunc(all, func(m *unstructured.Unstructured) bool { return text(m, "spec", "version") != newVersion })
			})
		})
	}
}

// TestSpecPausedScales proves why spec.paused alone holds nothing: a paused
// MachineDeployment fills up to replicas + maxSurge, and with old machines.
func TestSpecPausedScales(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "pausing", "--pools", "aws:3")
	h := newHeld(t, c, c.pool(0))
	// Held with one new machine, then paused: nothing is to be filled up.
	h.patch(t, "v1beta2", fmt.Sprintf(`{"spec":{"template":{"spec":{"version":%q,"minReadySeconds":315360000}}}}`, newVersion))
	box.await(t, machines, h.namespace, h.selector(), "there is a new machine", func(all []*unstructured.Unstructured) bool { return len(all) == 4 })
	h.settle(t)
	h.patch(t, "v1beta2", `{"spec":{"paused":true,"template":{"spec":{"minReadySeconds":null}}}}`)
	h.settle(t)
	h.has(t, "paused", 3, 1)
	// With room for one more, it makes an old one.
	h.patch(t, "v1beta2", `{"spec":{"rollout":{"strategy":{"rollingUpdate":{"maxSurge":2}}}}}`)
	h.settle(t)
	h.has(t, "paused with room for one more", 4, 1)
}
