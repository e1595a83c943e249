//go:build e2e

package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A management cluster that knows MachineDeployments in v1beta1 only.
func TestV1beta1(t *testing.T) {
	t.Parallel()
	c, n := newCluster(t, "older", "--pools", "aws:1"), newCLI(t)
	var mu sync.Mutex
	asked := map[string]bool{} // the API versions of Cluster API's own kinds
	p := onlyV1beta1()
	hide := p.request
	p.request = func(r *http.Request) bool {
		if rest, own := strings.CutPrefix(r.URL.Path, "/apis/cluster.x-k8s.io/"); own && strings.Contains(rest, "/") {
			version, _, _ := strings.Cut(rest, "/")
			mu.Lock()
			asked[version] = true
			mu.Unlock()
		}
		return hide(r)
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
	if diff := cmp.Diff(map[string]bool{"v1beta1": true}, asked); diff != "" {
		t.Errorf("API versions that were used (-want +got):\n%s", diff)
	}
}
