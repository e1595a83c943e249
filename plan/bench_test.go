package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

// fleet is a cluster of so many pools of 10 machines each, with an upgrade of
// all of them.
func fleet(b *testing.B, pools int) (*clustertest.World, schema.Upgrade, plan.Snapshot) {
	b.Helper()
	w := clustertest.AWSExample(clustertest.ExtraPools(pools, 10))
	spec := strings.Builder{}
	spec.WriteString("order: parallel\ndefaults: {kubernetesVersion: v1.35.2, machineImage: ami-new}\npools:\n")
	for i := range pools {
		fmt.Fprintf(&spec, "  - {name: aws-example-extra-%03d}\n", i)
	}
	up := upgrade(b, spec.String())
	snap, err := apply.Observe(b.Context(), w.Open(nil), up)
	if err != nil {
		b.Fatal(err)
	}
	return w, up, snap
}

// sizes runs a benchmark for fleets of several sizes.
func sizes(b *testing.B, run func(b *testing.B, w *clustertest.World, up schema.Upgrade, snap plan.Snapshot), pools ...int) {
	for _, n := range pools {
		b.Run(fmt.Sprintf("pools=%d", n), func(b *testing.B) {
			w, up, snap := fleet(b, n)
			b.ReportAllocs()
			run(b, w, up, snap)
		})
	}
}

func compiled(b *testing.B, up schema.Upgrade, snap plan.Snapshot) plan.Plan {
	b.Helper()
	p, err := plan.Compile(up, snap)
	if err != nil || p.Blocked {
		b.Fatal(err, p.Findings)
	}
	return p
}

func BenchmarkNeeds(b *testing.B) {
	sizes(b, func(b *testing.B, _ *clustertest.World, up schema.Upgrade, snap plan.Snapshot) {
		for b.Loop() {
			plan.Needs(up, snap)
		}
	}, 1, 10, 50)
}

func BenchmarkCompile(b *testing.B) {
	sizes(b, func(b *testing.B, _ *clustertest.World, up schema.Upgrade, snap plan.Snapshot) {
		for b.Loop() {
			compiled(b, up, snap)
		}
	}, 1, 10, 50)
}

// BenchmarkAssess assesses each step of a plan once, as apply does before its
// first write, against one snapshot of the cluster.
func BenchmarkAssess(b *testing.B) {
	sizes(b, func(b *testing.B, w *clustertest.World, up schema.Upgrade, snap plan.Snapshot) {
		p := compiled(b, up, snap)
		var needs []plan.Selector
		for _, s := range p.Steps {
			needs = append(needs, s.Reads()...)
		}
		snap, err := w.Open(nil).Fetch(b.Context(), needs)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			for i := range p.Steps {
				p.Assess(i, snap)
			}
		}
	}, 1, 50)
}

// BenchmarkWrite is the encoding of a plan with its digest, BenchmarkRead the
// decoding that checks it.
func BenchmarkWrite(b *testing.B) {
	sizes(b, func(b *testing.B, _ *clustertest.World, up schema.Upgrade, snap plan.Snapshot) {
		p := compiled(b, up, snap)
		for b.Loop() {
			encode(b, p)
		}
	}, 50)
}

func BenchmarkRead(b *testing.B) {
	sizes(b, func(b *testing.B, _ *clustertest.World, up schema.Upgrade, snap plan.Snapshot) {
		data := encode(b, compiled(b, up, snap))
		for b.Loop() {
			if _, err := plan.Read(data); err != nil {
				b.Fatal(err)
			}
		}
	}, 50)
}
