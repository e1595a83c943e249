package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
)

// TestMain is the program itself where a test starts it as a process. No cloud
// is set up for the tests.
func TestMain(m *testing.M) {
	withoutCloud()
	if os.Getenv("NODEPOOL_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestSecondSignalIsObeyed: the first signal waits for what is in hand, here a
// file that nobody writes, and the second does not; also where the program was
// started with interrupts ignored, as the background jobs of scripts are.
func TestSecondSignalIsObeyed(t *testing.T) {
	for name, script := range map[string]string{"interactive": `exec "$0" "$@"`, "interrupts ignored": `trap "" INT; exec "$0" "$@"`} {
		t.Run(name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			fifo := filepath.Join(t.TempDir(), "upgrade.yaml")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", script, self, "validate", "-f", fifo)
			cmd.Env = append(os.Environ(), "NODEPOOL_TEST_MAIN=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// It reads the file once it obeys: only then can it be opened to write.
			w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			// Two of one kind may become one on the way.
			for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
			err = cmd.Wait()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 130 {
				t.Errorf("it ended with %v", err)
			}
			if got := stderr.String(); got != "error: stopped at once.\n" {
				t.Errorf("it said %q", got)
			}
		})
	}
}

// TestStop: what a hard stop says of a run that is shown.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		interrupted := make(chan struct{})
		p := ui.NewProgress(&out, ui.Options{Interrupted: interrupted})
		p.Event(apply.RunStarted{Plan: plan.Plan{}})
		close(interrupted)
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(out.String(), "interrupt again to stop at once") {
			t.Errorf("the first interrupt says %q", out.String())
		}
		if said := ui.Stop(); !strings.Contains(said, "may have arrived") || !strings.Contains(said, "not recorded") {
			t.Errorf("the second says %q", said)
		}
		p.Close()
		if said := ui.Stop(); said != "error: stopped at once." {
			t.Errorf("without a run it says %q", said)
		}
	})
}

// TestNoCollectionBeforeMain: the libraries fill more than the 4 MiB at which the
// first collection comes otherwise, and their packages are initialised behind early.
func TestNoCollectionBeforeMain(t *testing.T) {
	for gogc, want := range map[string]bool{"": false, "100": true} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "version")
		cmd.Env = append(os.Environ(), "NODEPOOL_TEST_MAIN=1", "GODEBUG=gctrace=1", "GOGC="+gogc)
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(said), "gc 1 @"); got != want {
			t.Errorf("GOGC=%q: a collection: %v, want %v\n%s", gogc, got, want, said)
		}
	}
}
