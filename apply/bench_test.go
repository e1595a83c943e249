package apply_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// BenchmarkPreflight plans an upgrade of 50 pools of 20 machines each, as
// nodepool plan does for who may apply: it looks at the cluster, compiles,
// tries every write as a dry run and asks for the rights. It tells the requests
// that this takes, by kind, and what is kept of the cluster in memory. The
// numbers stand in docs/preflight.md.
func BenchmarkPreflight(b *testing.B) {
	const pools, machines = 50, 20
	w := clustertest.AWSExample(clustertest.ExtraPools(pools, machines))
	text := strings.Builder{}
	text.WriteString("apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: fifty}\nspec:\n  cluster: {name: aws-example, namespace: default}\n  pools:\n")
	for i := range pools {
		fmt.Fprintf(&text, "    - {name: aws-example-extra-%03d, kubernetesVersion: v1.35.2, machineImage: ami-new}\n", i)
	}
	up := read(b, text.String())
	var snap plan.Snapshot
	var p plan.Plan
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	preflight := func() {
		c := w.Open(nil)
		var err error
		if snap, err = apply.Observe(b.Context(), c, up); err != nil {
			b.Fatal(err)
		}
		if p, err = plan.Compile(up, snap); err != nil || p.Blocked {
			b.Fatal(err, p.Findings)
		}
		said, err := apply.Validate(b.Context(), c, p, snap, plan.SecretsOf(up, snap))
		if err != nil {
			b.Fatal(err)
		}
		p = p.WithFindings(append(said, apply.ReviewRights(b.Context(), c, p, snap, apply.BookkeepingRights("default", true))...)...)
	}
	before, calls := heap(), len(w.Calls())
	preflight()
	kept := heap() - before
	var gets, lists, dryRuns int
	for _, call := range w.Calls()[calls:] {
		for _, s := range call.Selectors {
			if s.IsList() {
				lists++
			} else {
				gets++
			}
		}
		if call.Mode == apply.DryRun && (call.Op == clustertest.Create || call.Op == clustertest.Patch) {
			dryRuns++
		}
	}
	rights := map[apply.Right]bool{}
	for _, r := range append(apply.ApplyRights(apply.ToDo(p, snap)), apply.BookkeepingRights("default", true)...) {
		if r.Name = ""; !r.Optional {
			rights[r] = true
		}
	}
	for b.Loop() {
		preflight()
	}
	b.ReportMetric(float64(gets), "gets")
	b.ReportMetric(float64(lists), "lists")
	b.ReportMetric(float64(dryRuns), "dry-runs")
	b.ReportMetric(float64(len(rights)), "questions-of-rights")
	b.ReportMetric(kept/(1<<20), "MiB-kept")
	b.ReportMetric(float64(len(p.Findings)), "findings")
}
