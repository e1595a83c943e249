package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// report writes benchmarks.md, its plot, and benchmarks.txt into docs.
func (e *Env) report(ctx context.Context, docs string, sections []Section, took time.Duration) error {
	if err := writeText(filepath.Join(docs, "benchmarks.txt"), sections); err != nil {
		return err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Benchmarks side by side\n\nWritten by `make bench`, all figures from one run of %s. Times are medians, peaks are the largest; samples that are compared were taken by turns. "+
		"Every sample is in [benchmarks.txt](benchmarks.txt), for `benchstat`.\n\n", took.Round(time.Second))
	fmt.Fprintf(&out, "| | |\n|---|---|\n")
	for _, line := range e.machine(ctx) {
		fmt.Fprintf(&out, "| %s | %s |\n", line[0], line[1])
	}
	plotted, err := writePlot(filepath.Join(docs, "benchmarks.svg"), sections)
	if err != nil {
		return err
	}
	for _, s := range sections {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n", s.Title, s.Text)
		if len(s.Rows) > 0 {
			fmt.Fprintf(&out, "\n| work | measured | against | measured | ratio | aim | met |\n|---|---|---|---|---|---|---|\n")
		}
		var missed []string
		for _, r := range s.Rows {
			met := "yes"
			switch {
			case r.NoAim:
				met = ""
			case !r.Met:
				met = "**no**"
				name := "“" + r.Work + "”"
				if r.Against != "" {
					name += " against “" + r.Against + "”"
				}
				if text := r.Behind(); text != "" {
					missed = append(missed, fmt.Sprintf("* Why %s misses its aim: %s.", name, text))
				} else {
					fmt.Fprintf(os.Stderr, "behind.go does not say what stands between %q and its aim\n", name)
				}
			}
			fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s |\n", r.Work, r.Got, r.Against, r.Base, r.Ratio, r.Aim, met)
		}
		if len(missed) > 0 {
			fmt.Fprintf(&out, "\n%s\n", strings.Join(missed, "\n"))
		}
		if plotted == s.Title {
			fmt.Fprintf(&out, "\n![time of a plan against its pools](benchmarks.svg)\n")
		}
	}
	fmt.Fprint(&out, compared)
	return os.WriteFile(filepath.Join(docs, "benchmarks.md"), out.Bytes(), 0o644)
}

// compared tells how two commits are compared.
const compared = `
## Comparing two commits

` + "`make bench-compare BASE=COMMIT`" + ` measures this checkout beside another commit, by turns: first the Go benchmarks of both, then whole runs of the plan of one pool on a sandbox. It prints two lists by ` + "`benchstat`" + `, one table for each unit. A line holds the median of the base with its spread (± of a 95 % confidence interval), the same of this checkout, and the difference. ` + "`~`" + ` in its place says that no difference can be told from noise (p ≥ 0.05); a percentage below zero says that this checkout takes less. The rows of kubectl and of the floor in the second list are the same programs on both sides: what they differ by is the machine's doing. ` + "`geomean`" + ` is over all lines of a table.

Waits and rollouts are not compared: ` + "`make bench-go`" + ` has their benchmarks (` + "`BenchmarkWait`, `BenchmarkTold`" + `), and ` + "`go run . -parts '^(end|wait)$' -nodepool PROGRAM -text FILE`" + ` in ` + "`bench`" + ` measures any program. A COMMIT must have ` + "`plan --no-dry-run`" + `. ` + "`ROUNDS=2`" + ` shortens it; with fewer rounds than the usual 6 nearly everything is ` + "`~`" + `.
`

// machine tells where and of what the figures are.
func (e *Env) machine(ctx context.Context) [][2]string {
	first := func(name string, args ...string) string {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = e.Root
		out, err := cmd.Output()
		if err != nil {
			return "unknown"
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return line
	}
	return [][2]string{
		{"date", time.Now().UTC().Format("2006-01-02")},
		{"machine", fmt.Sprintf("%s, %d cores, %s of memory, %s/%s; the cluster runs on it too", field("/proc/cpuinfo", "model name"), runtime.NumCPU(), memory(), runtime.GOOS, runtime.GOARCH)},
		{"nodepool", first("git", "describe", "--tags", "--always", "--dirty")},
		{"Go", strings.TrimPrefix(runtime.Version(), "go")},
		{"cluster", first(e.Sandbox, "--version") + ", Kubernetes v1.35.4 and etcd v3.6.14, the embedded management cluster"},
		{"kubectl", module(e.Kubectl, "k8s.io/kubectl")},
	}
}

// module gives the version of a module in a program.
func module(program, path string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}

// field gives the first value of a name in a file of lines "name : value".
func field(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memory() string {
	kib, err := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 64)
	if err != nil {
		return "unknown size"
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}

// writeText writes all samples as results of Go benchmarks, which benchstat
// reads.
func writeText(path string, sections []Section) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "goos: %s\ngoarch: %s\npkg: nodepool\ncpu: %s\n", runtime.GOOS, runtime.GOARCH, field("/proc/cpuinfo", "model name"))
	for _, s := range sections {
		for _, series := range s.Series {
			for _, sample := range series.Samples {
				fmt.Fprintf(&out, "Benchmark%s 1", series.Name)
				for _, unit := range sortedKeys(sample) {
					fmt.Fprintf(&out, " %s %s", strconv.FormatFloat(sample[unit], 'f', -1, 64), unit)
				}
				fmt.Fprintln(&out)
			}
		}
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

// writePlot draws the time of plans against their pools, and gives the title of
// the section that it is of; empty when there is nothing to draw.
func writePlot(path string, sections []Section) (string, error) {
	for _, s := range sections {
		lines := map[string]plotter.XYs{}
		var order []string
		for _, series := range s.Series {
			var pools float64
			var who string
			if n, _ := fmt.Sscanf(series.Name, "PlanMany/pools=%g/%s", &pools, &who); n != 2 {
				if n, _ = fmt.Sscanf(series.Name, "PlanManyValidated/pools=%g/%s", &pools, &who); n != 2 {
					continue
				}
				who += ", validated by the server"
			}
			if _, seen := lines[who]; !seen {
				order = append(order, who)
			}
			lines[who] = append(lines[who], plotter.XY{X: pools, Y: series.Median(nanoseconds) / 1e9})
		}
		if len(order) == 0 {
			continue
		}
		p := plot.New()
		p.X.Label.Text, p.Y.Label.Text = "pools in the upgrade file", "seconds"
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
		p.Legend.Top, p.Legend.Left = true, true
		p.Add(plotter.NewGrid())
		var all []any
		for _, who := range order {
			all = append(all, who, lines[who])
		}
		if err := plotutil.AddLinePoints(p, all...); err != nil {
			return "", err
		}
		return s.Title, p.Save(18*vg.Centimeter, 10*vg.Centimeter, path)
	}
	return "", nil
}

func sortedKeys(s Sample) []string { return slices.Sorted(maps.Keys(s)) }
