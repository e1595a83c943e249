//go:build e2e

package e2e_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A management cluster that knows MachineDeployments in v1beta1 only.
func TestV1beta1(t *testing.T) {
	t.Parallel()
	c, n := newCluster(t, "older", "--pools", "aws:1"), newCLI(t)
	var mu sync.Mutex
	used := map[string]bool{} // the API versions of Cluster API's own kinds that the server knew, and that writes were sent in
	p := onlyV1beta1()
	hide, show := p.request, p.reply
	use := func(r *http.Request) {
		if rest, own := strings.CutPrefix(r.URL.Path, "/apis/cluster.x-k8s.io/"); own && strings.Contains(rest, "/") {
			version, _, _ := strings.Cut(rest, "/")
			mu.Lock()
			used[version] = true
			mu.Unlock()
		}
	}
	p.request = func(r *http.Request) bool {
		if r.Method != http.MethodGet {
			use(r)
		}
		return hide(r)
	}
	p.reply = func(r *http.Response) error {
		// A read may try whether there is a newer version.
		if r.StatusCode != http.StatusNotFound {
			use(r.Request)
		}
		return show(r)
	}
	n.kubeconfig = p.serve(t)

	file := c.upgrade(t, "older", pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage})
	n.run(t, "plan", "-f", file, "--detailed-exitcode").exits(t, 2)
	template := n.plan(t, file).template(t)
	n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
	if diff := cmp.Diff([]machine{{Version: newVersion, Template: template, Image: newImage, Type: "m5.large"}}, c.machines(t, c.pool(0))); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
	n.nothingToDo(t, file)
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(map[string]bool{"v1beta1": true}, used); diff != "" {
		t.Errorf("API versions that were used (-want +got):\n%s", diff)
	}
}

// A Cluster API that serves v1beta1 alone gives what changes in place to new
// machines alone when a rollout comes with it. So the plan writes it first, waits
// until the machines have it, and only then begins the rollout. It is killed
// after the first patch and carried on.
func TestV1beta1DrainFirst(t *testing.T) {
	t.Parallel()
	c, n := newCluster(t, "drained", "--pools", "aws:2"), newCLI(t)
	name := c.pool(0)
	selector := "cluster.x-k8s.io/deployment-name=" + name
	drained := func() (out []int64) {
		for _, m := range box.list(t, machines, c.namespace, selector) {
			out = append(out, number(m, "spec", "deletion", "nodeDrainTimeoutSeconds"))
		}
		return out
	}
	// The proxy looks at the machines when a patch comes in, before the server has it.
	var mu sync.Mutex
	var atPatch [][]int64
	p := onlyV1beta1()
	hide := p.request
	p.request = func(r *http.Request) bool {
		if isWrite(r, http.MethodPatch, "machinedeployments") {
			now := drained()
			mu.Lock()
			atPatch = append(atPatch, now)
			mu.Unlock()
		}
		return hide(r)
	}
	n.kubeconfig = p.serve(t)

	file := c.upgrade(t, "drained", pool{"name": name, "kubernetesVersion": newVersion, "machineImage": newImage,
		"drain": map[string]any{"nodeDrainTimeout": "7m"}})
	made := n.plan(t, file)
	var steps []string
	for _, s := range made.Steps {
		steps = append(steps, strings.TrimPrefix(s.ID, name+"/"))
	}
	want := []string{"preflight", "patch-in-place", "wait-in-place", "create-infrastructure-template", "patch", "wait"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Fatalf("steps (-want +got):\n%s", diff)
	}
	before := revision(t, c, name)

	run := n.start(t, "apply", "-f", file, "--auto-approve", "--progress", "json")
	run.until(t, "the wait for the settings", func(e event) bool { return e.Type == "stepStarted" && e.Step == name+"/wait-in-place" })
	run.signal(t, syscall.SIGKILL)
	run.wait(t)
	n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
	n.nothingToDo(t, file)

	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([][]int64{{-1, -1}, {420, 420}}, atPatch); diff != "" {
		t.Errorf("drain timeouts of the machines at each patch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int64{420, 420}, drained()); diff != "" {
		t.Errorf("drain timeouts in the end (-want +got):\n%s", diff)
	}
	if after := revision(t, c, name); after != before+1 {
		t.Errorf("the MachineDeployment went from revision %d to %d: not one rollout", before, after)
	}
	template := made.template(t)
	m := machine{Version: newVersion, Template: template, Image: newImage, Type: "m5.large"}
	if diff := cmp.Diff([]machine{m, m}, c.machines(t, name)); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
}

// revision counts the MachineSets that a MachineDeployment ever had.
func revision(t *testing.T, c cluster, pool string) int {
	t.Helper()
	n, err := strconv.Atoi(c.deployment(t, pool).GetAnnotations()["machinedeployment.clusters.x-k8s.io/revision"])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
