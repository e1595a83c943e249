//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What the product believes of a management cluster, and its fake in memory
// with it, holds for a real API server.
func TestConformance(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "^TestConformance$", "./apply/kube")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "NODEPOOL_TEST_KUBECONFIG="+box.kubeconfig())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP: TestConformance ") || !strings.Contains(string(out), "--- PASS: TestConformance ") {
		t.Errorf("it did not run\n%s", out)
	}
}
