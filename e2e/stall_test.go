//go:build e2e

package e2e_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A rollout that does not move ends with exit code 5 and its cause, and once
// the cause is gone the same apply carries on.
func TestStalls(t *testing.T) {
	t.Parallel()
	stalls := []struct {
		name  string
		fault string
		value []string
		says  []string
		// replaced tells that Cluster API up to v1.13 takes the new machine for
		// good and deletes the old one.
		replaced bool
	}{
		{name: "an image that does not exist", fault: "missing", says: []string{"provider-error", "InstanceProvisionFailed", "InvalidAMIID.NotFound"}},
		{name: "no capacity", fault: "errors", value: []string{"InsufficientInstanceCapacity: not enough m5.large"}, says: []string{"provider-error", "InsufficientInstanceCapacity: not enough m5.large"}},
		{name: "machines that never join", fault: "never-join", says: []string{"node-not-joined"}},
		{name: "nodes that are not ready", fault: "not-ready", says: []string{"node-not-healthy"}},
		{name: "an image with another kubelet", fault: "images", value: []string{oldVersion}, says: []string{"wrong-kubelet-version", oldVersion, newVersion}, replaced: true},
	}
	c := newCluster(t, "stalling", "--pools", strings.TrimSuffix(strings.Repeat("aws:1,", len(stalls)), ","))
	for i, s := range stalls {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n, name, ami := newCLI(t), c.pool(i), image(s.fault)
			file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": ami,
				"wait": map[string]any{"stallAfter": "10s"}})
			fault(t, s.fault, ami, s.value...)
			r := carryOn(t, n, file).exits(t, 5)
			for _, want := range append(s.says, "made no progress for 10s", "run the same\ncommand again") {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("it does not say %q\n%s", want, r)
				}
			}
			if ms := c.machines(t, name); !s.replaced && len(ms) != 2 {
				t.Errorf("machines: %+v, want the old one and a new one", ms)
			}
			if s.fault != "missing" {
				return
			}
			written := c.writesOf(t, name)
			sandboxCommand(t, "fault", "clear", "--dir", box.dir, s.fault, ami)
			carryOn(t, n, file).exits(t, 0)
			if diff := cmp.Diff(written, c.writesOf(t, name)); diff != "" || len(written) != 2 {
				t.Errorf("writes of the first run and of both (-first +both):\n%s", diff)
			}
			n.nothingToDo(t, file)
		})
	}
}

// carryOn applies, again while nothing at all moved in the 10 seconds that
// these tests allow: that is no fault but a busy computer.
func carryOn(t *testing.T, n cli, file string) result {
	t.Helper()
	for tries := 1; ; tries++ {
		r := n.run(t, "apply", "-f", file, "--auto-approve")
		silent := strings.Contains(r.Stderr, "controllers-silent") || strings.Contains(r.Stderr, "no-progress")
		if r.Code != 5 || !silent || tries == 5 {
			return r
		}
	}
}
