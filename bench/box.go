package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Unwatched is the sandbox's namespace for large clusters.
const Unwatched = "unwatched"

// Box is a running sandbox.
type Box struct {
	program, dir string
	config       *rest.Config
	marks        int
}

// StartBox starts a sandbox without the example below dir. Stop ends it.
func StartBox(ctx context.Context, program, dir string) (*Box, error) {
	b := &Box{program: program, dir: filepath.Join(dir, "sandbox")}
	if err := b.Command(ctx, "up", "--seed=false"); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", b.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.UserAgent, config.QPS = "bench", -1
	b.config = config
	return b, nil
}

// Command runs a command of the sandbox, such as populate.
func (b *Box) Command(ctx context.Context, command string, args ...string) error {
	args = append([]string{command, "--dir", b.dir}, args...)
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("sandbox %q: %w", args, err)
	}
	return nil
}

// Populate writes a large cluster into Unwatched.
func (b *Box) Populate(ctx context.Context, name string, pools, machines int) error {
	return b.Command(ctx, "populate", "--name", name, "--pools", fmt.Sprint(pools), "--machines", fmt.Sprint(machines), "--seed", "1")
}

// Stop ends the sandbox and deletes it.
func (b *Box) Stop() error { return b.Command(context.Background(), "reset") }

// Kubeconfig is that of the administrator whose requests are all audited.
func (b *Box) Kubeconfig() string { return filepath.Join(b.dir, "pki", "sandbox-audited.kubeconfig") }

// Env is what points a program to the sandbox.
func (b *Box) Env() []string { return []string{"KUBECONFIG=" + b.Kubeconfig()} }

// Request is one that the API server has answered, or a watch that has begun,
// by its audit log.
type Request struct {
	Verb, RequestURI, UserAgent string
	ObjectRef                   struct{ Resource, Subresource, Namespace, Name, APIGroup, APIVersion string }
	ResponseStatus              struct{ Code int }
	StageTimestamp              time.Time
	Stage                       string
	User                        struct{ Username string }
}

// DryRun tells a write that is thrown away.
func (r Request) DryRun() bool { return strings.Contains(r.RequestURI, "dryRun=") }

// During gives the requests of the audited administrator while f ran, those of
// this program left out.
func (b *Box) During(ctx context.Context, f func() error) ([]Request, error) {
	from, err := b.mark(ctx)
	if err != nil {
		return nil, err
	}
	if err := f(); err != nil {
		return nil, err
	}
	to, err := b.mark(ctx)
	if err != nil {
		return nil, err
	}
	return b.between(from, to)
}

// mark sends a request that can be recognised, waits until it is in the log,
// and gives the place behind it.
func (b *Box) mark(ctx context.Context) (int64, error) {
	b.marks++
	mark := fmt.Sprintf("/version?mark=%d", b.marks)
	config := rest.CopyConfig(b.config)
	config.GroupVersion, config.NegotiatedSerializer = &scheme.Scheme.PrioritizedVersionsAllGroups()[0], scheme.Codecs
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return 0, err
	}
	if err := client.Get().RequestURI(mark).Do(ctx).Error(); err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		at, err := find(b.log(), []byte(`"requestURI":"`+mark+`"`))
		if err != nil || at > 0 {
			return at, err
		}
	}
	return 0, fmt.Errorf("%s did not come into %s", mark, b.log())
}

func (b *Box) log() string { return filepath.Join(b.dir, "logs", "audit.log") }

// find gives the place behind the line that holds what; 0 when there is none.
func find(path string, what []byte) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	at := int64(0)
	for lines := bufio.NewReaderSize(f, 1<<20); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return 0, nil // half a line is none yet
		}
		at += int64(len(line))
		if bytes.Contains(line, what) {
			return at, nil
		}
	}
}

func (b *Box) between(from, to int64) ([]Request, error) {
	f, err := os.Open(b.log())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []Request
	for dec := json.NewDecoder(io.NewSectionReader(f, from, to-from)); dec.More(); {
		var r Request
		if err := dec.Decode(&r); err != nil {
			return nil, fmt.Errorf("audit log (is it rotated?): %w", err)
		}
		last := "ResponseComplete"
		if r.Verb == "watch" {
			last = "ResponseStarted"
		}
		if r.User.Username == "sandbox-audited" && r.UserAgent != "bench" && r.Stage == last {
			out = append(out, r)
		}
	}
	return out, nil
}
