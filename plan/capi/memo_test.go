package capi_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// TestMemo holds the judgement that keeps what it knows of a pool to be the one of
// a judge who sees the pool for the first time, after each of many random changes.
func TestMemo(t *testing.T) {
	const pools, changes = 12, 150
	forms(t, func(t *testing.T, version string) {
		for seed := range uint64(pools) {
			random := rand.New(rand.NewPCG(seed, 1))
			w := midway(version)
			for _, m := range slices.Concat(w.new, w.old) {
				w.infraMachine(m, "infra-new")
				w.config(m, "config-new")
			}
			var memo capi.Memo
			var slimmer capi.Slimmer
			packed := map[*object]*capi.Packed{} // once each, as a snapshot that is followed holds them
			pack := func(list []*object) (out []*capi.Packed) {
				for _, o := range list {
					if packed[o] == nil {
						packed[o] = slimmer.PackForJudge(o.DeepCopy())
					}
					out = append(out, packed[o])
				}
				return out
			}
			for i := range changes {
				what := w.change(random)
				fresh := w.observed()
				kept := fresh
				kept.Memo = &memo
				kept.Kept = &capi.Kept{Machines: pack(fresh.Machines), InfraMachines: pack(fresh.InfraMachines), BootstrapConfigs: pack(fresh.BootstrapConfigs)}
				where := fmt.Sprintf("pool %d, change %d, %s: the judgement with a memo is another (-fresh +memo):\n", seed, i, what)
				if diff := cmp.Diff(capi.Judge(fresh), capi.Judge(kept)); diff != "" {
					t.Fatal(where, diff)
				}
				fields := []capi.InPlaceField{{Path: []string{"spec", "template", "spec", "deletion"}, Value: json.RawMessage(`{"nodeDrainTimeoutSeconds":60}`)}}
				if diff := cmp.Diff(capi.JudgeInPlace(fresh, fields), capi.JudgeInPlace(kept, fields)); diff != "" {
					t.Fatal(where, diff)
				}
			}
		}
	})
}

// config adds the bootstrap config of a Machine.
func (w *world) config(m *object, from string) {
	o := w.object("KubeadmConfig", m.GetName(), m.GetName())
	set(o, "bootstrap.cluster.x-k8s.io/v1beta1", "apiVersion")
	annotate(o, "cluster.x-k8s.io/cloned-from-name", from)
	w.configs = append(w.configs, o)
}

// change changes something of the pool, as a cluster does: the object that differs
// is another one. It gives what it did.
func (w *world) change(random *rand.Rand) string {
	pick := func(texts ...string) string { return texts[random.IntN(len(texts))] }
	one := func(list []*object, edit func(*object)) {
		if len(list) > 0 {
			i := random.IntN(len(list))
			list[i] = list[i].DeepCopy()
			edit(list[i])
		}
	}
	drop := func(list []*object) []*object {
		if len(list) == 0 {
			return list
		}
		i := random.IntN(len(list))
		return slices.Delete(slices.Clone(list), i, i+1)
	}
	machines := w.new
	if random.IntN(2) == 0 {
		machines = w.old
	}
	changes := []struct {
		what string
		do   func()
	}{
		{"a condition of a Machine", func() {
			one(machines, func(m *object) {
				w.condition(m, pick("Available", "Ready", "BootstrapConfigReady", "InfrastructureReady", "NodeHealthy", "Updating", "HealthCheckSucceeded"),
					pick("True", "False", "Unknown"), pick("Waiting", "CreateFailed", "WaitingForMinReadySeconds"), pick("", "it cannot", "soon"))
			})
		}},
		{"rolloutAfter of a Machine", func() {
			one(machines, func(m *object) {
				w.condition(m, "UpToDate", "False", "NotUpToDate", "* MachineDeployment spec.rolloutAfter expired")
			})
		}},
		{"a deletion", func() {
			one(machines, func(m *object) {
				w.deleting(m, pick("DrainingNode", "WaitingForInfrastructureDeletion", "WaitingForPreDrainHook"), pick("", "Cannot evict pod: disruption budget"))
			})
		}},
		{"a Machine that comes up", func() { one(machines, func(m *object) { w.unready(m, "Machine is coming up") }) }},
		{"the version of a Machine", func() {
			one(machines, func(m *object) {
				set(m, pick("v1.34.3", "v1.35.2"), "spec", "version")
				set(m, pick("v1.34.3", "v1.35.2"), "status", "nodeInfo", "kubeletVersion")
			})
		}},
		{"the pause of a Machine", func() { one(machines, func(m *object) { annotate(m, capi.PausedAnnotation, "") }) }},
		{"the owner of a Machine", func() {
			one(machines, func(m *object) {
				owner := pick("pool-new", "pool-old", "gone", "other")
				set(m, []any{map[string]any{"kind": pick("MachineSet", "MachineSet", "KubeadmControlPlane"), "name": owner, "uid": "uid-" + owner, "controller": true}}, "metadata", "ownerReferences")
			})
		}},
		{"a Machine without an owner", func() {
			one(machines, func(m *object) { unstructured.RemoveNestedField(m.Object, "metadata", "ownerReferences") })
		}},
		{"the label of a Machine", func() {
			one(machines, func(m *object) { label(m, capi.DeploymentNameLabel, pick("pool", "other")) })
		}},
		{"what a Machine refers to", func() {
			one(machines, func(m *object) {
				set(m, w.ref("infrastructure.cluster.x-k8s.io", "AWSMachine", pick("pool-new-a", "pool-old-a", "gone")), "spec", "infrastructureRef")
			})
		}},
		{"a field in place", func() {
			one(machines, func(m *object) { set(m, map[string]any{"nodeDrainTimeoutSeconds": int64(60)}, "spec", "deletion") })
		}},
		{"a new Machine", func() {
			m := w.machine(fmt.Sprintf("pool-new-%d", random.IntN(1000)), w.newSet)
			w.new = append(slices.Clone(w.new), m)
			w.infraMachine(m, pick("infra-new", "infra-old"))
		}},
		{"a Machine is gone", func() {
			if len(w.new)+len(w.old) > 2 {
				w.new = drop(w.new)
			}
		}},
		{"an infrastructure machine", func() {
			one(w.infra, func(o *object) {
				w.condition(o, "Ready", pick("True", "False"), pick("Provisioned", "CreateFailed"), pick("", "quota exceeded"))
			})
		}},
		{"the template of an infrastructure machine", func() {
			one(w.infra, func(o *object) {
				annotate(o, "cluster.x-k8s.io/cloned-from-name", pick("infra-new", "infra-old"))
				set(o, pick("ami-1", "ami-2"), "spec", "ami", "id")
			})
		}},
		{"an infrastructure machine is gone", func() { w.infra = drop(w.infra) }},
		{"a bootstrap config", func() {
			one(w.configs, func(o *object) {
				annotate(o, "cluster.x-k8s.io/cloned-from-name", pick("config-new", "config-old"))
				w.condition(o, "Ready", pick("True", "False"), pick("Available", "DataGenerationFailed"), pick("", "no such secret"))
			})
		}},
		{"a bootstrap config is gone", func() { w.configs = drop(w.configs) }},
		{"the template", func() {
			w.md = w.md.DeepCopy()
			w.template(w.md, pick("v1.35.2", "v1.34.3"), pick("infra-new", "infra-old"), pick("config-new", "config-old"))
		}},
		{"the strategy", func() {
			w.md = w.md.DeepCopy()
			path := []string{"spec", "rollout", "strategy", "type"}
			if w.version == "v1beta1" {
				path = []string{"spec", "strategy", "type"}
			}
			set(w.md, pick("OnDelete", "RollingUpdate"), path...)
		}},
		{"rolloutAfter", func() {
			w.md = w.md.DeepCopy()
			path := []string{"spec", "rollout", "after"}
			if w.version == "v1beta1" {
				path = []string{"spec", "rolloutAfter"}
			}
			set(w.md, pick("2026-11-22T05:00:00Z", "2026-11-22T09:00:00Z", ""), path...)
		}},
		{"the replicas", func() {
			w.md = w.md.DeepCopy()
			set(w.md, random.Int64N(4), "spec", "replicas")
		}},
		{"the template of a MachineSet", func() {
			w.oldSet = w.oldSet.DeepCopy()
			w.template(w.oldSet, pick("v1.35.2", "v1.34.3"), pick("infra-new", "infra-old"), pick("config-new", "config-old"))
		}},
		{"the wanted MachineSet", func() {
			w.newSet = w.newSet.DeepCopy()
			w.counters(w.newSet, random.Int64N(3), random.Int64N(3))
			set(w.newSet, random.Int64N(3), "spec", "replicas")
		}},
		{"nothing", func() {}},
	}
	c := changes[random.IntN(len(changes))]
	c.do()
	return c.what
}
