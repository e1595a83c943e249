//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// cli runs bin/nodepool with an environment of its own.
type cli struct {
	kubeconfig string
	// home is the user's home folder.
	home string
	// env is added to the environment, NAME=value each.
	env []string
	// wrap is the command that runs it, when there is one.
	wrap []string
	// program is what is run; "" is bin/nodepool.
	program string
	// patience is how long a run may take; 0 is the patience of all tests.
	patience time.Duration
}

// newCLI gives the command line of a user with an empty home folder, for the
// sandbox.
func newCLI(t *testing.T) cli {
	return cli{kubeconfig: box.kubeconfig(), home: t.TempDir()}
}

// result is how a run ended.
type result struct {
	args           []string
	Stdout, Stderr string
	Code           int // -1 when a signal ended it
	Ended          time.Time
}

func (r result) String() string {
	return fmt.Sprintf("nodepool %q: exit code %d\n--- stdout\n%s--- stderr\n%s", r.args, r.Code, r.Stdout, r.Stderr)
}

// exits checks the exit code.
func (r result) exits(t testing.TB, code int) result {
	t.Helper()
	if r.Code != code {
		t.Fatalf("exit code %d, want %d\n%s", r.Code, code, r)
	}
	return r
}

// run runs the product to its end.
func (c cli) run(t testing.TB, args ...string) result {
	t.Helper()
	return c.start(t, args...).wait(t)
}

// process is a run under way.
type process struct {
	cmd            *exec.Cmd
	args           []string
	stdout, stderr bytes.Buffer
	// events takes the lines of --progress json; it is closed at the end.
	events chan event
	read   chan error
	cancel context.CancelFunc
}

// event is a line of --progress json.
type event struct {
	Type, Action, Pool, Step string
	Rollout                  struct {
		Complete                    bool
		Desired, New, NewReady, Old int
		Waiting                     string
	}
	Stall struct{ Cause, Message string }
}

// start starts the product. The caller must wait for it.
func (c cli) start(t testing.TB, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(c.patience, patience))
	p := &process{args: args, events: make(chan event, 10000), read: make(chan error, 1), cancel: cancel}
	command := slices.Concat(c.wrap, []string{cmp.Or(c.program, box.nodepool)}, args)
	p.cmd = exec.CommandContext(ctx, command[0], command[1:]...)
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig, "HOME="+c.home)
	// Whoever runs the tests may have credentials of a cloud: it is not asked.
	p.cmd.Env = append(p.cmd.Env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_PROFILE=",
		"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_WEB_IDENTITY_TOKEN_FILE=",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=", "AWS_CONTAINER_CREDENTIALS_FULL_URI=", "AWS_EC2_METADATA_DISABLED=true")
	p.cmd.Env = append(p.cmd.Env, c.env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.events)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			p.stdout.Write(append(lines.Bytes(), '\n'))
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Type != "" {
				p.events <- e
			}
		}
		p.read <- lines.Err()
	}()
	return p
}

// wait waits for the end of the run.
func (p *process) wait(t testing.TB) result {
	t.Helper()
	defer p.cancel()
	if err := <-p.read; err != nil {
		t.Error(err)
	}
	err := p.cmd.Wait()
	r := result{args: p.args, Stdout: p.stdout.String(), Stderr: p.stderr.String(), Code: p.cmd.ProcessState.ExitCode(), Ended: time.Now()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, r)
	}
	return r
}

// until reads the events of --progress json until one is as wanted.
func (p *process) until(t testing.TB, what string, as func(event) bool) event {
	t.Helper()
	for e := range p.events {
		if as(e) {
			return e
		}
	}
	t.Fatalf("it ended before %s\n%s", what, p.wait(t))
	return event{}
}

// signal sends a signal to the run.
func (p *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}
