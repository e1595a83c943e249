package capi_test

import (
	"fmt"
	"testing"

	"nodepool/plan/capi"
)

// BenchmarkJudge judges a pool in the middle of its rollout, half of its machines
// old, each with what it refers to.
func BenchmarkJudge(b *testing.B) {
	for _, machines := range []int{3, 100} {
		b.Run(fmt.Sprintf("machines=%d", machines), func(b *testing.B) {
			w := midway("v1beta2")
			for i := len(w.new); i < machines/2; i++ {
				w.new = append(w.new, w.machine(fmt.Sprintf("pool-new-%03d", i), w.newSet))
			}
			for i := len(w.old); i < machines-machines/2; i++ {
				w.old = append(w.old, w.machine(fmt.Sprintf("pool-old-%03d", i), w.oldSet))
			}
			for _, m := range append(append([]*object{}, w.new...), w.old...) {
				w.infraMachine(m, "infra")
			}
			o := w.observed()
			b.ReportAllocs()
			for b.Loop() {
				capi.Judge(o)
			}
		})
	}
}
