//go:build e2e

package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// identities gives the UIDs of a pool's machines.
func (c cluster) identities(t *testing.T, pool string) []string {
	t.Helper()
	var out []string
	for _, m := range box.list(t, machines, c.namespace, "cluster.x-k8s.io/deployment-name="+pool) {
		out = append(out, string(m.GetUID()))
	}
	return out
}

// patchesOf counts the patches of a pool's MachineDeployment.
func (c cluster) patchesOf(t *testing.T, pool string) int {
	t.Helper()
	return len(slices.DeleteFunc(c.writesOf(t, pool), func(w write) bool { return w.Resource != machineDeployments.Resource }))
}

// A rollout that is stuck at its first machine goes back by one patch, though
// its pool is a minor behind a kubeadm control plane: all old machines are
// still there. Once they are gone, there is no way back, and that is said
// before anything is written.
func TestRollback(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "back", "--pools", "aws:2")
	n, name, ami := c.user(t, "back-operator", "nodepool-operator"), c.pool(0), image("back")
	file := c.upgrade(t, "back-up", pool{"name": name, "kubernetesVersion": newVersion, "machineImage": ami,
		"wait": map[string]any{"stallAfter": "10s"}})
	before, template, olds := c.deployment(t, name), c.template(t, name), c.identities(t, name)

	fault(t, "missing", ami)
	carryOn(t, n, file).exits(t, 5)
	if ids := c.identities(t, name); len(ids) != 3 {
		t.Fatalf("%d machines, want the old ones and one that is stuck", len(ids))
	}
	patches := c.patchesOf(t, name)
	r := n.run(t, "rollback", "-f", file, "--auto-approve").exits(t, 0)
	for _, want := range []string{"Rollback of upgrade back-up", "the old 2 machines at " + oldVersion + " are all still there", "0 new left"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("it does not say %q\n%s", want, r)
		}
	}
	if got := c.patchesOf(t, name) - patches; got != 1 {
		t.Errorf("%d patches, want one", got)
	}
	if diff := cmp.Diff(olds, c.identities(t, name)); diff != "" {
		t.Errorf("not the old machines (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before.Object["spec"], c.deployment(t, name).Object["spec"]); diff != "" {
		t.Errorf("the MachineDeployment is not as it was (-before +after):\n%s", diff)
	}
	n.nothingToDo(t, c.upgrade(t, "as-it-was", pool{"name": name, "kubernetesVersion": oldVersion, "machineImage": oldImage}))
	r = n.run(t, "rollback", "back-up/1", "--namespace", c.namespace, "--auto-approve").exits(t, 0)
	if !strings.Contains(r.Stdout, "No changes.") {
		t.Errorf("there is still to take back\n%s", r)
	}

	// Forth again, under another mark, and to the end.
	sandboxCommand(t, "fault", "clear", "--dir", box.dir, "missing", ami)
	carryOn(t, n, file, "provider-error").exits(t, 0)
	if c.template(t, name) == template {
		t.Error("the pool is still at the old template")
	}
	patches = c.patchesOf(t, name)
	r = n.run(t, "rollback", "-f", file, "--auto-approve").exits(t, 3)
	for _, want := range []string{"there is no way back to " + oldVersion, "of the old machines 0 are left, 2 would have to be made", "go forward",
		"Possible instead: forward", "name: back-up-forward"} {
		if !strings.Contains(strings.Join(strings.Fields(r.Stdout), " "), want) {
			t.Errorf("it does not say %q\n%s", want, r)
		}
	}
	if got := c.patchesOf(t, name) - patches; got != 0 {
		t.Errorf("%d patches after the refusal", got)
	}
}
