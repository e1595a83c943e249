package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"nodepool/sandbox/state"
)

// spawner starts all children from one OS thread. The kernel sends a child's
// death signal when the thread that started it ends, and Go ends threads freely.
type spawner struct{ requests chan func() }

func newSpawner() *spawner {
	s := &spawner{requests: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.requests {
			f()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	done := make(chan error)
	s.requests <- func() { done <- cmd.Start() }
	return <-done
}

// child is one running process of the sandbox.
type child struct {
	name    string
	process state.Process
	cmd     *exec.Cmd
	started time.Time
	exited  chan struct{}
	err     error // how it ended; read after exited is closed
}

func (s *spawner) spawn(dir state.Dir, base int, name string) (*child, error) {
	log, err := os.OpenFile(dir.Log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// This very program, even if its file was replaced by a newer build.
	cmd := exec.Command("/proc/self/exe", "internal", name, "--dir", string(dir), "--port-base", fmt.Sprint(base))
	cmd.Args[0] = "sandbox"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := s.start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &child{name: name, cmd: cmd, started: time.Now(), exited: make(chan struct{})}
	c.process, err = state.Identify(cmd.Process.Pid)
	if err != nil {
		// It ended before it could be looked at; Wait tells how.
		c.process = state.Process{PID: cmd.Process.Pid}
	}
	go func() {
		c.err = cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// stop asks the child to end and kills it if it does not within grace.
func (c *child) stop(grace time.Duration) {
	// Errors mean that it is gone already.
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(grace):
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
}

func (c *child) howItEnded() string {
	if c.err == nil {
		return "ended by itself"
	}
	return c.err.Error()
}
