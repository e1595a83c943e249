package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// bound is an aim of a Go benchmark of the product: Benchmark without its
// "Benchmark", as the result names it and without the number of processors.
type bound struct {
	Work, Benchmark string
	Limit           float64 // in nanoseconds
}

// pureBounds are the aims of the parts that need no cluster.
var pureBounds = []bound{
	{"render the plan of 1,000 pools as text", "Render/form=text/pools=1000", 200e6},
	{"render the plan of 1,000 pools as Markdown", "Render/form=markdown/pools=1000", 200e6},
	{"render the plan of 1,000 pools as JSON", "Render/form=json/pools=1000", 200e6},
	{"read and check an upgrade file of 1,000 pools", "Read/pools=1000", 50e6},
}

// pure runs the Go benchmarks of the product's pure parts and holds some of them
// to their aims.
func pure(ctx context.Context, e *Env) (Section, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchmem", "-count", "3", "-benchtime", "200ms", "./plan/...", "./schema/...")
	cmd.Dir, cmd.Stderr = e.Root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return Section{}, fmt.Errorf("go test -bench: %w\n%s", err, out)
	}
	section := Section{Title: "The parts without a cluster", Text: "Go benchmarks; the whole list is in [benchmarks.txt](benchmarks.txt)."}
	at := map[string]int{}
	for results := benchfmt.NewReader(bytes.NewReader(out), "go test"); results.Scan(); {
		result, ok := results.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		name := string(result.Name)
		if dash := strings.LastIndexByte(name, '-'); dash > 0 {
			name = name[:dash]
		}
		if _, seen := at[name]; !seen {
			at[name] = len(section.Series)
			section.Series = append(section.Series, Series{Name: name})
		}
		sample := Sample{}
		for _, v := range result.Values {
			if v.OrigUnit != "" {
				sample[v.OrigUnit] = v.OrigValue
			} else {
				sample[v.Unit] = v.Value
			}
		}
		s := &section.Series[at[name]]
		s.Samples = append(s.Samples, sample)
	}
	for _, b := range pureBounds {
		i, ok := at[b.Benchmark]
		if !ok {
			return Section{}, fmt.Errorf("there is no Go benchmark %s", b.Benchmark)
		}
		section.Rows = append(section.Rows, atMost(b.Work, nanoseconds, section.Series[i].Median(nanoseconds), b.Limit))
	}
	return section, nil
}
