package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"nodepool/sandbox/seed"
	"nodepool/sandbox/state"
)

func makeCluster(ctx context.Context, out io.Writer, dir state.Dir, c seed.Cluster, timeout time.Duration) error {
	return withSeeder(ctx, out, dir, timeout, func(ctx context.Context, s *seed.Seeder) error { return s.CreateCluster(ctx, c) })
}

func makePool(ctx context.Context, out io.Writer, dir state.Dir, p seed.Pool, timeout time.Duration) error {
	return withSeeder(ctx, out, dir, timeout, func(ctx context.Context, s *seed.Seeder) error { return s.CreatePool(ctx, p) })
}

func populateCluster(ctx context.Context, out io.Writer, dir state.Dir, p seed.Population, timeout time.Duration) error {
	return withSeeder(ctx, out, dir, timeout, func(ctx context.Context, s *seed.Seeder) error { return s.Populate(ctx, p) })
}

func withSeeder(ctx context.Context, out io.Writer, dir state.Dir, timeout time.Duration, f func(context.Context, *seed.Seeder) error) error {
	if !state.Locked(dir.RunLock()) {
		return fmt.Errorf("no sandbox runs in %s: `sandbox up` starts it", dir)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begin := time.Now()
	s, err := newSeeder(dir, func(format string, args ...any) {
		fmt.Fprintf(out, "%5.1fs  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	})
	if err != nil {
		return err
	}
	return f(ctx, s)
}
