//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestForetoldTopology: a pool of a topology is refused, with what is to be
// changed instead; and where the change comes all the same, the topology's
// controller does what was foretold.
func TestForetoldTopology(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "topology", "--topology", "--pools", "dev:1,aws:1")
	n := newCLI(t)
	// blocked gives the file that waives the check for pool i.
	blocked := func(i int, fields pool, says, remedy string) string {
		fields["name"] = c.pool(i)
		fields["wait"] = map[string]any{"stallAfter": "10s"}
		waived := []any{map[string]any{"check": "version-skew", "reason": "to see it happen"}}
		fields["waive"] = waived
		file := c.upgrade(t, c.pool(i), fields)
		if message := blockedBy(t, n, file, "topology-owned"); !strings.Contains(message, says) {
			t.Errorf("it does not say %q: %s", says, message)
		}
		if r := n.run(t, "plan", "-f", file).exits(t, 3); !strings.Contains(r.Stdout, remedy) {
			t.Errorf("it does not name the field to change, %s\n%s", remedy, r)
		}
		fields["waive"] = append(waived, map[string]any{"check": "topology-owned", "reason": "to see it happen"})
		return c.upgrade(t, c.pool(i), fields)
	}

	// Another version than the topology's gets no machines; it is the control
	// plane's, so that two checks are waived.
	file := blocked(0, pool{"kubernetesVersion": "v1.35.1"}, "a version other than the topology's gets no machines", "spec.topology.version")
	r := until(t, n, file, "machineset-preflight", nil).exits(t, 5)
	if want := "ControlPlaneVersionSkew"; !strings.Contains(r.Stderr, want) {
		t.Errorf("it does not say %q\n%s", want, r)
	}
	for _, m := range c.machines(t, c.pool(0)) {
		if m.Version != "v1.35.2" {
			t.Errorf("a machine was made all the same: %+v", m)
		}
	}

	// A template that it did not make stops it, so that no waiver lets it pass;
	// it is brought in by other means, to see what it does.
	file = blocked(1, pool{"machineImage": image(c.pool(1))}, "does nothing more for any part of the cluster",
		fmt.Sprintf("spec.topology.workers.machineDeployments[name=%s]", c.pool(1)))
	if message := blockedBy(t, n, file, "topology-owned"); !strings.Contains(message, "cannot be waived") {
		t.Errorf("it does not say that it cannot be waived: %s", message)
	}
	before := c.template(t, c.pool(1))
	n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 3)
	if now := c.template(t, c.pool(1)); now != before {
		t.Fatalf("the pool names %s all the same, and no longer %s", now, before)
	}
	for _, step := range decode[matrixPlan](t, n.run(t, "plan", "-f", file, "-o", "json").Stdout).Steps {
		c.carryOut(t, step)
	}
	box.awaitObject(t, clusters, c.namespace, c.name, "the topology is stopped", func(cluster *unstructured.Unstructured) bool {
		return conditionOf(cluster, "TopologyReconciled") == "False"
	})
	box.await(t, awsMachineTemplates, c.namespace, "", "the old template is deleted", func(all []*unstructured.Unstructured) bool {
		return !slices.ContainsFunc(all, func(o *unstructured.Unstructured) bool { return o.GetName() == before })
	})
}
