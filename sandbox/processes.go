package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"nodepool/sandbox/state"
)

// settle is how long the process commands wait for the supervisor to notice.
const settle = 15 * time.Second

// component returns one process of the running sandbox.
func runningComponent(dir state.Dir, name string) (*state.Component, error) {
	if !state.Locked(dir.RunLock()) {
		return nil, fmt.Errorf("no sandbox runs in %s: `sandbox up` starts it", dir)
	}
	run, err := state.LoadRun(dir)
	if err != nil {
		return nil, err
	}
	for i := range run.Components {
		if run.Components[i].Name == name {
			return &run.Components[i], nil
		}
	}
	return nil, fmt.Errorf("%s has not been started yet: the sandbox in %s is %s", name, dir, run.Phase)
}

// await waits until the supervisor says about a process what done wants.
func await(dir state.Dir, name, what string, done func(*state.Component) bool) error {
	deadline := time.Now().Add(settle)
	for {
		c, err := runningComponent(dir, name)
		if err == nil && done(c) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s did not %s within %s: see %s", name, what, settle, dir.Log("supervisor")), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// kill ends a process without warning and returns when another one runs.
func kill(out io.Writer, dir state.Dir, name string) error {
	c, err := runningComponent(dir, name)
	if err != nil {
		return err
	}
	old := c.Process
	if err := old.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s (%s): %w", name, c.State, err)
	}
	err = await(dir, name, "start again", func(c *state.Component) bool { return c.Process != old && c.Process.Alive() })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s killed (pid %d) and started again\n", name, old.PID)
	return nil
}

// stop ends a process and keeps it down, also over down and up.
func stop(out io.Writer, dir state.Dir, name string) error {
	c, err := runningComponent(dir, name)
	if err != nil {
		return err
	}
	marker := dir.Stopped(name)
	if err := os.MkdirAll(filepath.Dir(marker), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		return err
	}
	if c.Process.Alive() {
		// A stopped provider is gone, not polite: no SIGTERM.
		if err := c.Process.Signal(syscall.SIGKILL); err != nil && c.Process.Alive() {
			return err
		}
	}
	if err := await(dir, name, "stop", func(c *state.Component) bool { return c.State == "stopped" }); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s stopped; `sandbox start %s` starts it\n", name, name)
	return nil
}

// start lets a stopped process run again.
func start(out io.Writer, dir state.Dir, name string) error {
	if err := os.Remove(dir.Stopped(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := await(dir, name, "start", func(c *state.Component) bool { return c.State == "running" && c.Process.Alive() }); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s runs\n", name)
	return nil
}
