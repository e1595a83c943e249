package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"nodepool/apply"
)

// runCommand runs the command of a canary as a child of this process: with its
// environment, its working folder and its rights, without a shell and without
// input. A kubeconfig that was given by flag is given on as KUBECONFIG.
func runCommand(kubeconfig string) apply.Command {
	return func(ctx context.Context, args, env []string, output io.Writer) error {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), env...)
		if kubeconfig != "" {
			cmd.Env = append(cmd.Env, "KUBECONFIG="+kubeconfig)
		}
		cmd.Stdout, cmd.Stderr = output, output
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second // what does not end then is killed
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.Exited():
			return fmt.Errorf("it exited with %d", exit.ExitCode())
		case errors.As(err, &exit):
			return fmt.Errorf("it was ended by %s", exit.ProcessState)
		case err != nil:
			return fmt.Errorf("it could not be run: %w", err)
		}
		return nil
	}
}
