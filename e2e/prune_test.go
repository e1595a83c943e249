//go:build e2e

package e2e_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// precondition is what a delete of the product demanded, by the server's own
// record.
type precondition struct{ Name, UID, ResourceVersion string }

// deletes gives the deletes of the product in c's namespace.
func (c cluster) deletes(t *testing.T) []precondition {
	t.Helper()
	var out []precondition
	for _, a := range c.audited(t) {
		if a.product && a.Verb == "delete" && !a.dryRun && !a.isBookkeeping() {
			sent := decode[struct {
				Preconditions struct{ UID, ResourceVersion string }
			}](t, string(a.sent))
			out = append(out, precondition{a.Name, sent.Preconditions.UID, sent.Preconditions.ResourceVersion})
		}
	}
	return out
}

// TestPrune deletes exactly what nothing refers to: after three upgrades the
// template of the first; in a stalled rollout not the one that the old
// MachineSet still makes machines from. The shipped role is enough for it.
func TestPrune(t *testing.T) {
	t.Parallel()
	c, n := newCluster(t, "pruned", "--pools", "aws:1"), newCLI(t)
	var made []string
	roll := func(name string, code int, more ...string) {
		t.Helper()
		up := pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": image(name), "wait": map[string]any{"stallAfter": "1m"}}
		if code != 0 {
			up["wait"] = map[string]any{"stallAfter": "10s"}
		}
		n.run(t, append([]string{"apply", "-f", c.upgrade(t, name, up), "--auto-approve"}, more...)...).exits(t, code)
		made = append(made, c.template(t, c.pool(0)))
	}
	left := func() (out []string) {
		t.Helper()
		for _, name := range made {
			if box.find(t, awsMachineTemplates, c.namespace, name) != nil {
				out = append(out, name)
			}
		}
		return out
	}
	for _, name := range []string{"first", "second", "third"} {
		roll(name, 0)
	}
	first := box.get(t, awsMachineTemplates, c.namespace, made[0])
	pruner := c.user(t, "pruned-pruner", "nodepool-pruner")
	saved := filepath.Join(t.TempDir(), "prune.plan")
	prune := []string{"prune", "--cluster", c.name, "--namespace", c.namespace, "--keep", "0"}
	pruner.run(t, append(prune, "--out", saved)...).exits(t, 0)
	if got := c.deletes(t); len(got) > 0 {
		t.Errorf("planning deleted %v", got)
	}

	// Somebody names it again during the review.
	before := c.template(t, c.pool(0))
	other := c.emptyPool(t, "pruned-md-9")
	box.merge(t, machineDeployments, c.namespace, other, `{"spec":{"template":{"spec":{"infrastructureRef":{"kind":"AWSMachineTemplate","name":"`+made[0]+`"}}}}}`)
	r := n.run(t, "apply", "--plan", saved, "--auto-approve").exits(t, 4)
	if !strings.Contains(r.Stderr, "MachineDeployment "+c.namespace+"/"+other) {
		t.Errorf("it does not say who names the template again\n%s", r)
	}
	if diff := cmp.Diff(made, left()); diff != "" || len(c.deletes(t)) > 0 {
		t.Fatalf("templates (-want +left):\n%s", diff)
	}
	if err := box.client.Resource(machineDeployments).Namespace(c.namespace).Delete(t.Context(), other, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, resource := range []string{"machinedeployments", "machinesets"} {
		box.await(t, machineDeployments.GroupVersion().WithResource(resource), c.namespace, "", "the other pool is gone", func(all []*unstructured.Unstructured) bool {
			return !slices.ContainsFunc(all, func(o *unstructured.Unstructured) bool { return strings.HasPrefix(o.GetName(), other) })
		})
	}

	r = pruner.run(t, "apply", "--plan", saved, "--auto-approve").exits(t, 0)
	if diff := cmp.Diff(made[1:], left()); diff != "" {
		t.Errorf("templates (-want +left):\n%s\n%s", diff, r)
	}
	want := []precondition{{made[0], string(first.GetUID()), first.GetResourceVersion()}}
	if diff := cmp.Diff(want, c.deletes(t)); diff != "" {
		t.Errorf("deletes in the audit log (-want +got):\n%s", diff)
	}
	if now := c.template(t, c.pool(0)); now != before {
		t.Errorf("the pool names %s, want %s", now, before)
	}

	// A rollout that stalls: its old MachineSet needs the third template, even
	// where no journal tells of it.
	fault(t, "missing", image("bad"))
	roll("bad", 5)
	journal := c.journal(t, "bad")
	forget(t, c, "bad")
	r = n.run(t, append(prune, "--auto-approve")...).exits(t, 0)
	if got := left(); len(got) < 2 || got[len(got)-2] != made[2] || got[len(got)-1] != made[3] {
		t.Errorf("left: %v of %v\n%s", got, made, r)
	}
	if !strings.Contains(r.Stdout, made[2]+" (pool "+c.pool(0)+"): ") || !strings.Contains(r.Stdout, "MachineSet "+c.namespace+"/"+c.pool(0)) {
		t.Errorf("it does not say that the old MachineSet refers to %s\n%s", made[2], r)
	}
	journal.SetResourceVersion("")
	if _, err := box.client.Resource(configMaps).Namespace(c.namespace).Create(t.Context(), journal, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pruner.run(t, append(prune, "--auto-approve")...).exits(t, 0)
	if diff := cmp.Diff(made[2:], left()); diff != "" {
		t.Errorf("templates (-want +left):\n%s", diff)
	}
	if got := len(c.deletes(t)); got != 2 {
		t.Errorf("%d deletes, want 2", got)
	}
}
