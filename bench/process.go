package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process runs a program to its end and tells its time, its processor time and
// its peak memory. Of a shell script, memory is that of the largest process
// that it waited for.
func process(ctx context.Context, env []string, name string, args ...string) (Sample, []byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %q: %w\n%s%s", name, args, err, tail(stdout.Bytes()), tail(stderr.Bytes()))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return nil, nil, errors.New("this system does not tell the memory of processes")
	}
	return Sample{
		nanoseconds: float64(took),
		cpu:         float64(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()),
		peak:        float64(usage.Maxrss * 1024),
	}, stdout.Bytes(), nil
}

func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }
