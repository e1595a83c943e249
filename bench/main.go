// Bench measures nodepool beside what a user would do instead, on a sandbox, and
// writes the report: docs/benchmarks.md with its plot, and benchmarks.txt for
// benchstat. All figures of a report come from one run.
//
// A part is a function that measures and gives a Section: rows for the table,
// and the series behind them. A new one is a line in parts.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Env is what the parts share.
type Env struct {
	// The programs: what is measured, what it is compared with, and the cluster.
	Nodepool, Kubectl, Floor, Sandbox string
	Root                              string // of the repository
	Dir                               string // for temporary files
	Box                               *Box
	// Runs is how often a short measurement is made; Pools and Machines are the
	// size of the large cluster.
	Runs, Pools, Machines int
	// Window is how long the wait of 50 pools is measured at each rate of change.
	Window time.Duration
}

// parts are measured in this order, in one sandbox: the small clusters before
// the large one, which slows the API server down.
var parts = []struct {
	name string
	run  func(context.Context, *Env) (Section, error)
}{
	{"programs", programs},
	{"pure", pure},
	{"plan-one", planOne},
	{"apply", applyOne},
	{"preflight", preflight},
	{"end", endOfRollout},
	{"wait", waits},
	{"plan-many", planMany},
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == starter {
		if err := start(os.Args[2], os.Args[3:]...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	e := &Env{}
	flag.StringVar(&e.Root, "root", "..", "the repository")
	flag.StringVar(&e.Nodepool, "nodepool", "../bin/nodepool", "the `program` that is measured")
	flag.StringVar(&e.Sandbox, "sandbox", "../bin/sandbox", "the sandbox's `program`")
	flag.IntVar(&e.Runs, "runs", 20, "how often each short measurement is made")
	flag.IntVar(&e.Pools, "pools", 1000, "MachineDeployments of the large cluster")
	flag.IntVar(&e.Machines, "machines", 10000, "Machines of the large cluster")
	flag.DurationVar(&e.Window, "window", time.Minute, "how long the wait of 50 pools is measured at each rate of change")
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	only := flag.String("parts", ".", "measure the parts that match this `expression`, of "+strings.Join(names, ", ")+"; the report in docs then holds these alone, unless -text is given")
	text := flag.String("text", "", "write the figures for benchstat to this `file` and no report")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(names, wanted.MatchString) {
		return fmt.Errorf("-parts %s: there is no such part; there are %s", *only, strings.Join(names, ", "))
	}
	for _, path := range []*string{&e.Root, &e.Nodepool, &e.Sandbox} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if e.Dir, err = os.MkdirTemp("", "nodepool-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(e.Dir)
	e.Floor, e.Kubectl = filepath.Join(e.Dir, "floor"), filepath.Join(e.Dir, "kubectl")
	if err := e.build(ctx, filepath.Join(e.Root, "bench"), "-ldflags=-s -w", "-o", e.Dir, "./floor", "./kubectl"); err != nil {
		return err
	}
	if e.Box, err = StartBox(ctx, e.Sandbox, e.Dir); err != nil {
		return err
	}
	defer func() {
		if stopErr := e.Box.Stop(); err == nil {
			err = stopErr
		}
	}()
	// The garbage collector would follow every object of the large clusters.
	if err := e.Box.Command(ctx, "stop", "gc"); err != nil {
		return err
	}
	began := time.Now()
	var sections []Section
	for _, p := range parts {
		if !wanted.MatchString(p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(began).Seconds(), p.name)
		s, err := p.run(ctx, e)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		sections = append(sections, s)
	}
	if *text != "" {
		return writeText(*text, sections)
	}
	return e.report(ctx, filepath.Join(e.Root, "docs"), sections, time.Since(began))
}

// build runs go build in a folder, for programs that need no library of the
// system, as nodepool is built and kubectl is published.
func (e *Env) build(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd.Run()
}
