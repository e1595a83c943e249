package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

var (
	machineDeployments = schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "machinedeployments"}
	templates          = schema.GroupVersionResource{Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Resource: "awsmachinetemplates"}
)

// applyOne measures the time from the approval of a plan to the patch of the
// MachineDeployment, against the two writes alone. Nothing rolls: the pools are
// in the namespace that no controller looks into, and apply is interrupted in
// its wait.
func applyOne(ctx context.Context, e *Env) (Section, error) {
	const cluster = "apply"
	if err := e.Box.Populate(ctx, cluster, 2*e.Runs, 6*e.Runs); err != nil {
		return Section{}, err
	}
	client, err := dynamic.NewForConfig(rest.CopyConfig(e.Box.config))
	if err != nil {
		return Section{}, err
	}
	next := 0
	var made []Request
	series, err := rounds(e.Runs,
		contender{"Apply/nodepool", func() (Sample, error) {
			defer func() { next++ }()
			var took time.Duration
			var err error
			took, made, err = e.apply(ctx, cluster, next)
			return Sample{nanoseconds: float64(took), requests: float64(len(made))}, err
		}},
		contender{"Apply/floor", func() (Sample, error) {
			defer func() { next++ }()
			took, err := twoWrites(ctx, client, poolName(cluster, next))
			return Sample{nanoseconds: float64(took), requests: 2}, err
		}})
	if err != nil {
		return Section{}, err
	}
	row := within("apply of one pool, from the approval to the patch", "two bare writes", nanoseconds, series[0], series[1], 3)
	return Section{
		Title: "Apply",
		Text: "With --auto-approve, from the moment in which the plan has been shown to the time at which the API server has answered the patch, by its audit log. " +
			"The two bare writes are a create of a template and a patch of a MachineDeployment over a connection that is open. " +
			"In between, apply sends: " + kinds(made) + ".",
		Rows:   []Row{row},
		Series: series,
	}, nil
}

// apply runs apply of one pool, with --auto-approve, and interrupts it in its
// wait. It gives the time from the plan's last word, which is when it counts as
// approved, to the patch, and the requests in between.
func (e *Env) apply(ctx context.Context, cluster string, pool int) (time.Duration, []Request, error) {
	file, err := e.upgradeFile(cluster, pool, 1)
	if err != nil {
		return 0, nil, err
	}
	var approved time.Time
	all, err := e.Box.During(ctx, func() error {
		cmd := exec.CommandContext(ctx, e.Nodepool, "apply", "-f", file, "--progress", "json", "--auto-approve")
		cmd.Env = append(os.Environ(), e.Box.Env()...)
		reader, writer := io.Pipe()
		cmd.Stdout, cmd.Stderr = writer, writer
		if err := cmd.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait(); writer.Close() }()
		said := await(reader, "Digest: sha256:")
		if said == nil {
			approved = time.Now()
			said = await(reader, `"action":"wait"`)
		}
		go func() { _, _ = io.Copy(io.Discard, reader) }()
		_ = cmd.Process.Signal(syscall.SIGINT)
		err := <-ended
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 130 {
			err = nil
		}
		return errors.Join(said, err)
	})
	if err != nil {
		return 0, nil, fmt.Errorf("apply: %w", err)
	}
	var between []Request
	for _, r := range all {
		if r.StageTimestamp.Before(approved) {
			continue
		}
		between = append(between, r)
		if r.Verb == "patch" && r.ObjectRef.Resource == "machinedeployments" && !r.DryRun() {
			return r.StageTimestamp.Sub(approved), between, nil
		}
	}
	return 0, nil, errors.New("apply: no patch was sent")
}

// await reads until one of these words has come.
func await(r io.Reader, words ...string) error {
	var said strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := r.Read(buffer)
		said.Write(buffer[:n])
		for _, w := range words {
			if strings.Contains(said.String(), w) {
				return nil
			}
		}
		if err != nil {
			return fmt.Errorf("it ended before it said one of %q:\n%s", words, said.String())
		}
	}
}

// twoWrites creates a copy of a pool's template and patches its
// MachineDeployment to it, and gives the time for both.
func twoWrites(ctx context.Context, client dynamic.Interface, pool string) (time.Duration, error) {
	template, err := client.Resource(templates).Namespace(Unwatched).Get(ctx, pool, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	template.SetName(pool + "-bare")
	template.SetResourceVersion("")
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/template/spec/infrastructureRef/name", "value": pool + "-bare"},
		{"op": "replace", "path": "/spec/template/spec/version", "value": "v1.35.2"},
	})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := client.Resource(templates).Namespace(Unwatched).Create(ctx, template, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	if _, err := client.Resource(machineDeployments).Namespace(Unwatched).Patch(ctx, pool, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}
