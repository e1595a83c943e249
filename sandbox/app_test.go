package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nodepool/sandbox/state"
)

// sandbox runs the command line and returns what it printed.
func sandbox(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	err := newApp(&out, &out).RunContext(ctx, append([]string{"sandbox"}, args...))
	return out.String(), err
}

func TestErrorsSayWhatToDo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	for _, tc := range []struct{ args, want string }{
		{"up --dir DIR --cluster-api v1.10.0", "built in and no other"},
		{"down --dir DIR --cluster-api nonsense", "built in and no other"},
		{"up --dir DIR", "make -C sandbox"}, // tests are built without manifests
		{"up --dir DIR extra", "takes no arguments"},
		{"status --dir DIR -o yaml", "text or json"},
		{"kill --dir DIR", "etcd, apiserver, gc, provider, controllers"},
		{"kill --dir DIR kubelet", "etcd, apiserver, gc, provider, controllers"},
		{"kill apiserver --dir DIR", "flags come first"},
		{"kill --dir DIR apiserver", "sandbox up"},
		{"stop --dir DIR controllers", "sandbox up"},
		{"fault set --dir DIR", "missing, never-join"},
		{"fault set --dir DIR missing ami-a", "sandbox up"},
		{"fault list --dir DIR", "sandbox up"},
		{"cluster --dir DIR", "name"},
		{"cluster --dir DIR --name c2 --pools gcp:1", "aws:3,dev:2"},
		{"cluster --dir DIR --name c2", "sandbox up"},
		{"pool --dir DIR --name p", "sandbox up"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			_, err := sandbox(t, strings.Fields(strings.ReplaceAll(tc.args, "DIR", dir))...)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a command that failed left a sandbox behind")
	}
}

func TestNothingToStopOrDelete(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	for _, command := range []string{"down", "reset"} {
		out, err := sandbox(t, command, "--dir", dir)
		if err != nil || !strings.Contains(out, "no sandbox in "+dir) {
			t.Errorf("%s: %q, %v", command, out, err)
		}
	}
	out, err := sandbox(t, "status", "--dir", dir)
	if err != nil || !strings.Contains(out, "none") {
		t.Errorf("status: %q, %v", out, err)
	}
}

func TestResetDeletesOnlySandboxes(t *testing.T) {
	dir := t.TempDir()
	keep := filepath.Join(dir, "thesis.tex")
	if err := os.WriteFile(keep, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sandbox(t, "reset", "--dir", dir); err == nil || !strings.Contains(err.Error(), keep) {
		t.Errorf("reset = %v, want a refusal that names %s", err, keep)
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error(err)
	}
}

func TestStaleRunFile(t *testing.T) {
	dir := state.Dir(t.TempDir())
	if err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	if err := state.Save(dir, &state.State{ClusterAPI: "v1.13.4", PortBase: 20000}); err != nil {
		t.Fatal(err)
	}
	self, err := state.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The pid belongs to this test now; it must not be stopped.
	self.Start++
	if err := state.SaveRun(dir, &state.Run{Supervisor: self, Phase: state.Ready}); err != nil {
		t.Fatal(err)
	}
	out, err := sandbox(t, "status", "--dir", string(dir))
	if err != nil || !strings.Contains(out, "supervisor was killed") {
		t.Errorf("status: %q, %v", out, err)
	}
	out, err = sandbox(t, "down", "--dir", string(dir))
	if err != nil || !strings.Contains(out, "not running") {
		t.Errorf("down: %q, %v", out, err)
	}
	if _, err := os.Stat(dir.RunFile()); err == nil {
		t.Error("down left the stale run file")
	}
	if out, err = sandbox(t, "reset", "--dir", string(dir)); err != nil || !strings.Contains(out, "deleted") {
		t.Errorf("reset: %q, %v", out, err)
	}
}

func TestHalfWrittenState(t *testing.T) {
	dir := state.Dir(t.TempDir())
	if err := os.WriteFile(dir.StateFile(), []byte(`{"format":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sandbox(t, "status", "--dir", string(dir)); err == nil || !strings.Contains(err.Error(), "half-written") {
		t.Errorf("status = %v, want an error that says half-written", err)
	}
	if _, err := sandbox(t, "reset", "--dir", string(dir)); err != nil {
		t.Errorf("reset of a half-written state: %v", err)
	}
}
