package main

import (
	"context"
	"os"
	"path/filepath"
)

// program measures the start and the size of the binaries.
func programs(ctx context.Context, e *Env) (Section, error) {
	start := func(name, binary string, args ...string) contender {
		return contender{name, func() (Sample, error) {
			s, _, err := process(ctx, nil, binary, args...)
			return s, err
		}}
	}
	series, err := rounds(2*e.Runs, start("Start/nodepool", e.Nodepool, "version"), start("Start/kubectl", e.Kubectl, "version", "--client"))
	if err != nil {
		return Section{}, err
	}
	stripped := filepath.Join(e.Dir, "nodepool-stripped")
	if err := e.build(ctx, e.Root, "-ldflags=-s -w", "-o", stripped, "./cmd/nodepool"); err != nil {
		return Section{}, err
	}
	for i, path := range []string{stripped, e.Kubectl} {
		info, err := os.Stat(path)
		if err != nil {
			return Section{}, err
		}
		series[i].Samples[0][size] = float64(info.Size())
	}
	bytes := atMost("size of the binary, stripped", size, series[0].Median(size), 45<<20)
	bytes.Against, bytes.Base = "kubectl, stripped", show(size, series[1].Median(size))
	return Section{
		Title:  "The binary",
		Text:   "`nodepool version` against `kubectl version --client`, both built here by the same Go.",
		Rows:   []Row{within("start of the binary", "kubectl", nanoseconds, series[0], series[1], 1), bytes},
		Series: series,
	}, nil
}
