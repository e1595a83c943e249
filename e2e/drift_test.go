//go:build e2e

package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The version that somebody else sets: an older patch release of the control
// plane's minor.
const otherVersion = "v1.35.1"

func TestTheClusterChanges(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "drifting", "--pools", "aws:1,aws:1,aws:1")
	upgradeOf := func(t *testing.T, name string) string {
		return c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": newImage})
	}
	// during applies the upgrade of a pool; change is made between the instant
	// in which the product sends its patch and the one in which the server gets it.
	during := func(t *testing.T, n cli, name, change string) result {
		t.Helper()
		interfere := sync.OnceFunc(func() {
			if err := box.tryMerge(t.Context(), machineDeployments, c.namespace, name, change); err != nil {
				t.Error(err)
			}
		})
		n.kubeconfig = proxy{request: func(r *http.Request) bool {
			if isWrite(r, http.MethodPatch, "machinedeployments") {
				interfere()
			}
			return true
		}}.serve(t)
		return n.run(t, "apply", "-f", upgradeOf(t, name), "--auto-approve")
	}

	// The server itself refuses what was not reviewed.
	t.Run("in what was reviewed, as the patch is sent", func(t *testing.T) {
		t.Parallel()
		n, name := newCLI(t), c.pool(0)
		template := n.plan(t, upgradeOf(t, name)).template(t)
		r := during(t, n, name, `{"spec":{"template":{"spec":{"version":"`+otherVersion+`"}}}}`).exits(t, 4)
		for _, want := range []string{"error: the cluster is not as it was reviewed", "spec.template.spec.version", oldVersion, otherVersion, "What this run wrote before stays as it is"} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("it does not say %q\n%s", want, r)
			}
		}
		if diff := cmp.Diff([]write{{"create", "awsmachinetemplates", template}}, c.writesOf(t, name)); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		md := c.deployment(t, name)
		if got := text(md, "spec", "template", "spec", "version"); got != otherVersion {
			t.Errorf("the version is %s, want %s as somebody set it", got, otherVersion)
		}
		if got := c.template(t, name); got != name {
			t.Errorf("the template is %s, want %s as it was", got, name)
		}
	})

	t.Run("in what nobody relies on, as the patch is sent", func(t *testing.T) {
		t.Parallel()
		n, name := newCLI(t), c.pool(1)
		during(t, n, name, `{"metadata":{"annotations":{"somebody":"else"},"labels":{"team":"blue"}},"spec":{"replicas":2}}`).exits(t, 0)
		md := c.deployment(t, name)
		if md.GetAnnotations()["somebody"] != "else" || md.GetLabels()["team"] != "blue" || number(md, "spec", "replicas") != 2 {
			t.Errorf("what somebody else set is gone: annotations %v, labels %v, replicas %d",
				md.GetAnnotations(), md.GetLabels(), number(md, "spec", "replicas"))
		}
		for _, m := range c.machines(t, name) {
			if m.Version != newVersion || m.Image != newImage || m.Deleting {
				t.Errorf("a machine is not as wanted: %+v", m)
			}
		}
		n.nothingToDo(t, upgradeOf(t, name))
	})

	t.Run("between a run that died and the next", func(t *testing.T) {
		t.Parallel()
		n, name := newCLI(t), c.pool(2)
		// The other writer has begun a rollout, which blocks without the waiver.
		file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": newImage,
			"waive": []any{map[string]any{"check": "rollout-under-way", "reason": "somebody else began it, and it is superseded"}}})
		begun := n.plan(t, file)
		died := ending{signal: syscall.SIGKILL, proxy: after(http.MethodPost, "awsmachinetemplates")}
		died.endRun(t, n, file).exits(t, -1)
		box.merge(t, machineDeployments, c.namespace, name, `{"spec":{"template":{"spec":{"version":"`+otherVersion+`"}}}}`)

		r := n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
		if !strings.Contains(r.Stderr, "no longer goes with the cluster; this is a new one") {
			t.Errorf("it does not say that the plan is a new one\n%s", r)
		}
		if !strings.Contains(r.Stdout, otherVersion+" → "+newVersion) || strings.Contains(r.Stdout, begun.Digest) {
			t.Errorf("it does not show a new plan\n%s", r)
		}
		// What the first run made has the wanted content and is used.
		want := []write{{"create", "awsmachinetemplates", begun.template(t)}, {"patch", "machinedeployments", name}}
		if diff := cmp.Diff(want, c.writesOf(t, name)); diff != "" {
			t.Errorf("writes of both runs (-want +got):\n%s", diff)
		}
		n.nothingToDo(t, file)
	})
}
