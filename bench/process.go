package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process runs a program to its end and tells its time, its processor time and
// its peak memory. Of a shell script, memory is that of the largest process
// that it waited for. The program is started by a small process of its own: Linux
// counts the peak of the one that starts a program as the program's, and this one
// holds large clusters.
func process(ctx context.Context, env []string, name string, args ...string) (Sample, []byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	told, tells, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer told.Close()
	cmd := exec.CommandContext(ctx, self, append([]string{starter, name}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.ExtraFiles = []*os.File{tells}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	tells.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("%s %q: %w\n%s%s", name, args, err, tail(stdout.Bytes()), tail(stderr.Bytes()))
	}
	out := Sample{}
	if err := json.NewDecoder(told).Decode(&out); err != nil {
		return nil, nil, fmt.Errorf("what %s took: %w", name, err)
	}
	return out, stdout.Bytes(), nil
}

// starter is the argument with which this program runs another one, and writes
// what that took to file 3.
const starter = "-start"

func start(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the death that counts is the thread's
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	if err != nil {
		return err
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("this system does not tell the memory of processes")
	}
	return json.NewEncoder(os.NewFile(3, "told")).Encode(Sample{
		nanoseconds: float64(took),
		cpu:         float64(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()),
		peak:        float64(usage.Maxrss * 1024),
	})
}

func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }
