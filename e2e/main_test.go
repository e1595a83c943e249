//go:build e2e

package e2e_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// box is the sandbox that all tests share.
var box *sandbox

// sandbox is a running management cluster.
type sandbox struct {
	program  string // bin/sandbox
	nodepool string // bin/nodepool
	dir      string
	borrowed bool // it was there before, and stays
	// run tells the namespaces and images of this run from those of others in
	// the same sandbox.
	run    string
	config *rest.Config
	client dynamic.Interface
	log    auditLog
}

func (s *sandbox) kubeconfig() string { return filepath.Join(s.dir, "kubeconfig") }

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait more than they work.
	if !given("test.parallel") {
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func given(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func runTests(m *testing.M) (code int, err error) {
	s := &sandbox{run: fmt.Sprintf("%05x", time.Now().UnixNano()/1e6&0xfffff), dir: os.Getenv("NODEPOOL_E2E_DIR")}
	s.borrowed = s.dir != ""
	if s.nodepool, err = program("NODEPOOL_BIN", "nodepool"); err != nil {
		return 1, err
	}
	if s.program, err = program("SANDBOX_BIN", "sandbox"); err != nil {
		return 1, err
	}
	if !s.borrowed {
		stop, err := s.start()
		if err != nil {
			return 1, err
		}
		defer func() {
			if stopErr := stop(); stopErr != nil && err == nil {
				code, err = max(code, 1), stopErr
			}
		}()
	}
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.kubeconfig()); err != nil {
		return 1, err
	}
	s.config.UserAgent = "e2e"
	s.config.QPS = -1 // no limit
	if s.client, err = dynamic.NewForConfig(s.config); err != nil {
		return 1, err
	}
	box = s
	return m.Run(), nil
}

// program gives the path of a program to test.
func program(variable, name string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		path = filepath.Join("..", "bin", name)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w; make build and make sandbox make the programs, %s names another one", err, variable)
	}
	return path, nil
}

// start makes a sandbox without the example in a temporary folder. It is
// deleted when stop is called, and also when this process ends in any other
// way, such as the panic of a test or a signal: the one who deletes it is a
// process of its own, which waits for its standard input to end.
func (s *sandbox) start() (stop func() error, err error) {
	parent, err := os.MkdirTemp("", "nodepool-e2e-")
	if err != nil {
		return nil, err
	}
	s.dir = filepath.Join(parent, "sandbox")
	end, held, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	const script = `cat >/dev/null; "$0" reset --dir "$1/sandbox" && rm -rf "$1"`
	keeper := exec.Command("/bin/sh", "-c", script, s.program, parent)
	keeper.Stdin = end
	keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the tests alone
	if err := keeper.Start(); err != nil {
		return nil, err
	}
	end.Close()
	stop = func() error {
		held.Close()
		if err := keeper.Wait(); err != nil {
			return fmt.Errorf("delete the sandbox in %s: %w", s.dir, err)
		}
		return nil
	}
	up := exec.Command(s.program, "up", "--dir", s.dir, "--seed=false")
	var out io.Writer = io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	up.Stdout, up.Stderr = out, os.Stderr
	if err := up.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the sandbox: %w", err), stop())
	}
	return stop, nil
}
