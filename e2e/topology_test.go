//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestForetoldTopology: a pool of a topology is refused, with what is to be
// changed instead; and with the check waived the topology's controller takes the
// change back, as foretold, and apply says so.
func TestForetoldTopology(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "topology", "--topology", "--pools", "aws:1")
	at := &scene{cluster: c, pool: c.pool(0)}
	n := newCLI(t)
	before := at.template(t, at.pool)
	fields := pool{"name": at.pool, "machineImage": image(at.pool), "wait": map[string]any{"stallAfter": "1m"}}
	file := at.upgrade(t, at.pool, fields)
	if message := blockedBy(t, n, file, "topology-owned"); !strings.Contains(message, "reverts any change") {
		t.Errorf("it does not say what would happen: %s", message)
	}
	want := fmt.Sprintf("spec.topology.workers.machineDeployments[name=%s]", at.pool)
	if r := n.run(t, "plan", "-f", file).exits(t, 3); !strings.Contains(r.Stdout, want) {
		t.Errorf("it does not name the field to change, %s\n%s", want, r)
	}

	fields["waive"] = []any{map[string]any{"check": "topology-owned", "reason": "to see it happen"}}
	file = at.upgrade(t, at.pool, fields)
	r := n.run(t, "apply", "-f", file, "--auto-approve", "--progress", "plain").exits(t, 4)
	t.Logf("%s", r)
	if want := "field manager capi-topology"; !strings.Contains(r.Stderr, want) {
		t.Errorf("it does not say %q\n%s", want, r)
	}
	box.awaitObject(t, machineDeployments, at.namespace, at.pool, "the topology has its template back", func(md *unstructured.Unstructured) bool {
		return text(md, "spec", "template", "spec", "infrastructureRef", "name") == before
	})
}
