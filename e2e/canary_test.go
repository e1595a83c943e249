//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// rollingOf gives how a pool rolls, and whether it is held or paused.
func (c cluster) rollingOf(t *testing.T, pool string) map[string]any {
	t.Helper()
	md := c.deployment(t, pool)
	out := map[string]any{}
	for name, path := range map[string][]string{
		"maxSurge":        {"spec", "rollout", "strategy", "rollingUpdate", "maxSurge"},
		"maxUnavailable":  {"spec", "rollout", "strategy", "rollingUpdate", "maxUnavailable"},
		"minReadySeconds": {"spec", "template", "spec", "minReadySeconds"},
		"paused":          {"spec", "paused"},
	} {
		if v, ok, _ := unstructured.NestedFieldNoCopy(md.Object, path...); ok {
			out[name] = v
		}
	}
	if _, ok := md.GetAnnotations()["nodepool/hold"]; ok {
		out["annotated"] = true
	}
	return out
}

// A canary that proves itself lets the rollout go on; one that is never made
// holds it at one machine, and every old one stays.
func TestCanary(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "canary", "--pools", "aws:2,aws:2,aws:2,aws:2")

	t.Run("proves itself", func(t *testing.T) {
		t.Parallel()
		n, name := newCLI(t), c.pool(0)
		told := filepath.Join(t.TempDir(), "told")
		file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": newImage,
			"canary": map[string]any{"soak": "3s", "command": []string{"sh", "-c", `echo "checked $NODEPOOL_POOL" && echo "$NODEPOOL_MACHINE $NODEPOOL_NODE" > ` + told}}})
		before := c.rollingOf(t, name)
		r := n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
		for _, want := range []string{"must stay so for 3s", "| checked " + name, "the command exited with 0"} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("it does not say %q\n%s", want, r)
			}
		}
		words, err := os.ReadFile(told)
		if fields := strings.Fields(string(words)); err != nil || len(fields) != 2 {
			t.Errorf("the command was told %q (%v), want a machine and a node", words, err)
		}
		if d := cmp.Diff(before, c.rollingOf(t, name)); d != "" {
			t.Errorf("how it rolls, before and after:\n%s", d)
		}
		ms := c.machines(t, name)
		if len(ms) != 2 || slices.ContainsFunc(ms, func(m machine) bool { return m.Version != newVersion || m.Image != newImage }) {
			t.Errorf("machines: %+v", ms)
		}
		if w := c.writesOf(t, name); len(w) != 3 {
			t.Errorf("writes: %v, want a create and two patches", w)
		}
		n.nothingToDo(t, file)
	})

	t.Run("is never made", func(t *testing.T) {
		t.Parallel()
		n, name, ami := newCLI(t), c.pool(1), image("no-canary")
		fault(t, "missing", ami)
		file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": ami, "onStall": "pause",
			"canary": map[string]any{"soak": "3s"}, "strategy": map[string]any{"maxSurge": 2, "maxUnavailable": 1},
			"wait": map[string]any{"stallAfter": "10s"}})
		before := c.rollingOf(t, name)
		r := carryOn(t, n, file).exits(t, 5)
		for _, want := range []string{"InvalidAMIID.NotFound", "The rollout is held", "no old machine is deleted"} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("it does not say %q\n%s", want, r)
			}
		}
		old := 0
		for _, m := range c.machines(t, name) {
			if m.Version == oldVersion && !m.Deleting {
				old++
			}
		}
		if ms := c.machines(t, name); old != 2 || len(ms) != 3 {
			t.Errorf("machines: %+v, want two old ones and a new one", ms)
		}
		held := map[string]any{"maxSurge": int64(1), "maxUnavailable": int64(0), "minReadySeconds": int64(315360000), "annotated": true}
		if d := cmp.Diff(held, c.rollingOf(t, name)); d != "" {
			t.Errorf("held (-want +got):\n%s", d)
		}
		// To give up ends the hold, with a plan that is shown.
		r = n.run(t, "apply", "-f", file, "--abandon", "--auto-approve").exits(t, 0)
		if !strings.Contains(r.Stdout, "Abandon the run of upgrade "+name) || !strings.Contains(r.Stdout, "minReadySeconds") {
			t.Errorf("the release is not shown\n%s", r)
		}
		if d := cmp.Diff(before, c.rollingOf(t, name)); d != "" {
			t.Errorf("how it rolls, before the run and abandoned:\n%s", d)
		}
	})

	t.Run("survives a crash and the loss of the journal", func(t *testing.T) {
		t.Parallel()
		n, name := newCLI(t), c.pool(2)
		file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": newImage,
			"canary": map[string]any{"soak": "1h"}})
		p := n.start(t, "apply", "-f", file, "--auto-approve", "--progress", "json")
		p.until(t, "its canary is ready", func(e event) bool { return e.Type == "canary" })
		p.signal(t, syscall.SIGKILL)
		p.wait(t)
		for _, o := range box.list(t, configMaps, c.namespace, "") {
			if strings.Contains(o.GetName(), name) {
				if err := box.client.Resource(configMaps).Namespace(c.namespace).Delete(t.Context(), o.GetName(), metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Another name, so that it carries on with no run.
		file = c.upgrade(t, name+"-again", pool{"name": name, "kubernetesVersion": newVersion, "machineImage": newImage,
			"canary": map[string]any{"soak": "2s"}})
		r := n.run(t, "plan", "-f", file).exits(t, 0)
		if !strings.Contains(r.Stdout, "hold until 1 new machine") || strings.Contains(r.Stdout, "create AWSMachineTemplate") {
			t.Errorf("it does not go on from the hold\n%s", r)
		}
		n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
		n.nothingToDo(t, file)
	})

	t.Run("a stalled pool is paused", func(t *testing.T) {
		t.Parallel()
		n, name, ami := newCLI(t), c.pool(3), image("paused")
		fault(t, "missing", ami)
		file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": ami, "onStall": "pause",
			"wait": map[string]any{"stallAfter": "20s"}})
		r := n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 5)
		if !strings.Contains(r.Stderr, "is paused now (spec.paused)") {
			t.Errorf("it does not say that it paused\n%s", r)
		}
		sandboxCommand(t, "fault", "clear", "--dir", box.dir, "missing", ami)
		h := &held{cluster: c, pool: name}
		box.await(t, machines, c.namespace, h.selector(), "the new machine is ready", func(all []*unstructured.Unstructured) bool {
			return len(all) == 3 && !slices.ContainsFunc(all, func(m *unstructured.Unstructured) bool { return conditionOf(m, "Ready") != "True" })
		})
		h.settle(t)
		h.has(t, "mended and paused", 2, 1)
		n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
		n.nothingToDo(t, file)
	})
}
