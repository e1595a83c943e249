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
	conforms(t, "TestConformance", "./apply/kube")
}

// So does what it believes of ConfigMaps.
func TestJournalConformance(t *testing.T) {
	t.Parallel()
	conforms(t, "TestConfigMapConformsOnAServer", "./apply/journal")
}

// conforms runs a unit test against the sandbox.
func conforms(t *testing.T, test, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "^"+test+"$", pkg)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "NODEPOOL_TEST_KUBECONFIG="+box.kubeconfig())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP: "+test+" ") || !strings.Contains(string(out), "--- PASS: "+test+"/") {
		t.Errorf("it did not run\n%s", out)
	}
}
