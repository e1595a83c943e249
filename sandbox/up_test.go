package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUp runs the built binary from nothing to a ready example, stops it, and
// resumes it. It needs `make` first and about a minute, so it runs only when
// asked for.
func TestUp(t *testing.T) {
	if os.Getenv("SANDBOX_TEST_UP") == "" || testing.Short() {
		t.Skip("set SANDBOX_TEST_UP=1 to start a real sandbox with ../bin/sandbox")
	}
	bin, err := filepath.Abs("../bin/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "sandbox")
	run := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		args = append([]string{args[0], "--dir", dir}, args[1:]...)
		out, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("sandbox %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	phase := func() status {
		t.Helper()
		var s status
		if err := json.Unmarshal([]byte(run("status", "-o", "json")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Cleanup(func() { run("reset") })

	for i := range 2 { // the second time on the kept state
		t.Log(run("up"))
		s := phase()
		if s.Phase != "ready" || !s.Seeded || len(s.Components) != 5 {
			t.Fatalf("round %d: status %+v", i, s)
		}
		if out := run("up"); !strings.Contains(out, "running already") {
			t.Errorf("a second up: %s", out)
		}
		run("kill", "apiserver")
		run("down")
		if s := phase(); s.Phase != "down" || s.Supervisor != nil {
			t.Errorf("after down: status %+v", s)
		}
	}
}
