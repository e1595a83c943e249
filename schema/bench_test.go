package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"nodepool/schema"
)

// BenchmarkRead reads, checks and completes an upgrade file of 1,000 pools, in
// which each pool has fields of its own.
func BenchmarkRead(b *testing.B) {
	var text strings.Builder
	text.WriteString("apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: many}\nspec:\n" +
		"  cluster: {name: aws-example, namespace: default}\n  order: parallel\n" +
		"  defaults: {kubernetesVersion: v1.35.2, strategy: {maxSurge: 1, maxUnavailable: 0}, infrastructure: {rootVolume: {size: 100, type: gp3}}}\n  pools:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "    - name: aws-example-md-%d\n      machineImage: ami-%017x\n      infrastructure:\n        rootVolume: {size: %d}\n      wait: {stallAfter: %dm}\n", i, i, 100+i, 10+i%10)
	}
	b.Run("pools=1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			up, _, err := schema.Read("upgrade.yaml", []byte(text.String()))
			if err != nil || len(up.Spec.Pools) != 1000 {
				b.Fatal(err)
			}
		}
	})
}
