package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"nodepool/sandbox/manifests"
	"nodepool/sandbox/pki"
	"nodepool/sandbox/seed"
	"nodepool/sandbox/state"
)

// up starts or resumes the sandbox and returns when it is ready.
func up(ctx context.Context, out io.Writer, dir state.Dir, withSeed bool, timeout time.Duration) error {
	if len(manifestBundle) == 0 {
		return manifests.ErrNone
	}
	if err := dir.Create(); err != nil {
		return fmt.Errorf("make the sandbox's directory: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	command, err := state.WaitLock(ctx, dir.CommandLock())
	if err != nil {
		return fmt.Errorf("another up, down or reset of %s did not end within %s: %w", dir, timeout, err)
	}
	defer command.Unlock()

	before, err := state.Load(dir)
	if err != nil && !errors.Is(err, state.ErrNoState) {
		return err
	}
	running := state.Locked(dir.RunLock())
	if !running {
		// What an earlier supervisor published says nothing about the next one.
		if err := os.Remove(dir.RunFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := detach(dir); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := follow(ctx, out, dir, running); err != nil {
		return err
	}
	progress := func(format string, args ...any) {
		fmt.Fprintf(out, "%5.1fs  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	if err := populate(ctx, dir, before, withSeed, running, progress); err != nil {
		return err
	}
	if running {
		fmt.Fprintln(out, "the sandbox was running already")
	}
	fmt.Fprintf(out, "ready\n  kubeconfig  %s\n  audit log   %s\n  logs        %s\n", dir.Kubeconfig(), dir.AuditLog(), dir.Logs())
	return nil
}

// populate makes the example, or waits until what was there runs again.
func populate(ctx context.Context, dir state.Dir, before *state.State, withSeed, running bool, progress func(string, ...any)) error {
	seeder, err := newSeeder(dir, progress)
	if err != nil {
		return err
	}
	if before != nil && !running {
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := seeder.WaitRunning(wait); err != nil {
			// Machines may be broken on purpose; the sandbox itself is up.
			progress("going on: %v", err)
		} else {
			progress("machines run again")
		}
	}
	if !withSeed {
		return nil
	}
	st, err := state.Load(dir)
	if err != nil || st.Seeded {
		return err
	}
	if err := seeder.CreateCluster(ctx, seed.Example()); err != nil {
		return fmt.Errorf("make the example: %w (the sandbox itself is up; `sandbox up` tries again)", err)
	}
	if st, err = state.Load(dir); err != nil {
		return err
	}
	st.Seeded = true
	return state.Save(dir, st)
}

func newSeeder(dir state.Dir, progress func(string, ...any)) (*seed.Seeder, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", pki.Kubeconfig(dir.PKI(), pki.Seed))
	if err != nil {
		return nil, fmt.Errorf("%w: is there a sandbox in %s? `sandbox up` makes one", err, dir)
	}
	cfg.QPS = -1 // no limit
	cfg.UserAgent = pki.Seed
	return seed.New(cfg, progress)
}

// detach starts the supervisor so that it outlives this command.
func detach(dir state.Dir) error {
	log, err := os.OpenFile(dir.Log("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "supervise", "--dir", string(dir))
	cmd.Args[0] = "sandbox"
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	// Reaped while this command still runs; afterwards init does it.
	go func() { _ = cmd.Wait() }()
	return nil
}

// follow prints the supervisor's progress until it is ready.
func follow(ctx context.Context, out io.Writer, dir state.Dir, quiet bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	shown := 0
	appeared := time.Now()
	for {
		run, err := state.LoadRun(dir)
		if err == nil {
			if quiet && run.Phase == state.Ready {
				return nil // it was ready before; its progress is history
			}
			for ; shown < len(run.Progress); shown++ {
				fmt.Fprintln(out, run.Progress[shown])
			}
			switch {
			case run.Phase == state.Ready:
				return nil
			case run.Phase == state.Failed:
				return fmt.Errorf("the sandbox did not start: %s", run.Message)
			case !run.Supervisor.Alive():
				return fmt.Errorf("the supervisor ended while starting; the end of %s:\n%s", dir.Log("supervisor"), tail(dir.Log("supervisor"), 5))
			}
		} else if time.Since(appeared) > 10*time.Second {
			return fmt.Errorf("the supervisor did not come up within 10 s; the end of %s:\n%s", dir.Log("supervisor"), tail(dir.Log("supervisor"), 5))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the sandbox in %s is not ready (%w); it goes on starting, `sandbox status` shows how far it is, logs are in %s", dir, ctx.Err(), dir.Logs())
		case <-tick.C:
		}
	}
}

func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimSpace(data)), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "  " + strings.Join(all, "\n  ")
}

// down stops the sandbox and returns when its last process is gone.
func down(ctx context.Context, out io.Writer, dir state.Dir) error {
	if _, err := os.Stat(string(dir)); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "no sandbox in %s\n", dir)
		return nil
	}
	command, err := lockCommand(ctx, dir)
	if err != nil {
		return err
	}
	defer command.Unlock()
	was, err := stopSupervisor(ctx, dir)
	if err != nil {
		return err
	}
	if was {
		fmt.Fprintf(out, "stopped; the state is kept in %s\n", dir)
	} else {
		fmt.Fprintln(out, "not running")
	}
	return nil
}

func lockCommand(ctx context.Context, dir state.Dir) (*state.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l, err := state.WaitLock(ctx, dir.CommandLock())
	if err != nil {
		return nil, fmt.Errorf("another up, down or reset of %s runs: %w", dir, err)
	}
	return l, nil
}

// stopSupervisor stops what this sandbox started, and nothing else.
func stopSupervisor(ctx context.Context, dir state.Dir) (wasRunning bool, err error) {
	run, runErr := state.LoadRun(dir)
	if !state.Locked(dir.RunLock()) {
		// The processes die with their supervisor, so there are none; its run
		// file may be left from a crash.
		if err := os.Remove(dir.RunFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		return false, nil
	}
	if runErr != nil {
		return true, fmt.Errorf("a supervisor runs but %s does not name it (%w): find it with `fuser %s` and end it", dir.RunFile(), runErr, dir.RunLock())
	}
	if err := run.Supervisor.Signal(syscall.SIGTERM); err != nil {
		return true, fmt.Errorf("a supervisor runs but it is not the one %s names (%w): find it with `fuser %s` and end it", dir.RunFile(), err, dir.RunLock())
	}
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	l, err := state.WaitLock(ctx, dir.RunLock())
	if err != nil {
		return true, fmt.Errorf("the supervisor (pid %d) did not end within 40 s: see %s", run.Supervisor.PID, dir.Log("supervisor"))
	}
	l.Unlock()
	return true, nil
}

// reset stops the sandbox and deletes its directory.
func reset(ctx context.Context, out io.Writer, dir state.Dir) error {
	if _, err := os.Stat(string(dir)); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "no sandbox in %s\n", dir)
		return nil
	}
	if err := ours(dir); err != nil {
		return err
	}
	command, err := lockCommand(ctx, dir)
	if err != nil {
		return err
	}
	defer command.Unlock()
	if _, err := stopSupervisor(ctx, dir); err != nil {
		return err
	}
	if err := os.RemoveAll(string(dir)); err != nil {
		return fmt.Errorf("delete the state: %w", err)
	}
	fmt.Fprintf(out, "deleted %s\n", dir)
	return nil
}

// ours refuses to delete a directory that holds anything but a sandbox: a
// mistyped --dir must not cost somebody's files.
func ours(dir state.Dir) error {
	entries, err := os.ReadDir(string(dir))
	if err != nil {
		return err
	}
	known := map[string]bool{"etcd": true, "pki": true, "logs": true, "stopped": true, "kubeconfig": true,
		"state.json": true, "run.json": true, "run.lock": true, "command.lock": true}
	for _, e := range entries {
		name := e.Name()
		if !known[name] && !strings.HasPrefix(name, "state.json.") && !strings.HasPrefix(name, "run.json.") && name != "kubeconfig.tmp" {
			return fmt.Errorf("%s holds %s, which is not of a sandbox: delete the directory yourself if you mean it", dir, filepath.Join(string(dir), name))
		}
	}
	return nil
}
