package capi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// TestJudgeComplete starts from a complete pool and breaks one condition of
// completion at a time.
func TestJudgeComplete(t *testing.T) {
	tests := []struct {
		name    string
		change  func(w *world)
		waiting string // a part of Waiting; empty: complete
	}{
		{"complete", func(w *world) {}, ""},
		{"not observed", func(w *world) { set(w.md, int64(5), "metadata", "generation") }, "has not acted on generation 5 yet (last seen: 4)"},
		{"nothing observed yet", func(w *world) { unstructured.RemoveNestedField(w.md.Object, "status") }, "has not acted on generation 4"},
		{"no replicas in the spec", func(w *world) { unstructured.RemoveNestedField(w.md.Object, "spec", "replicas") }, "spec.replicas of the MachineDeployment is not set"},
		{"being deleted", func(w *world) { set(w.md, "2026-11-22T07:00:00Z", "metadata", "deletionTimestamp") }, "MachineDeployment is being deleted"},
		{"version differs", func(w *world) { w.template(w.md, "v1.35.3", "infra-new", "config-new") }, "no MachineSet has the wanted template"},
		{"infrastructure template differs", func(w *world) { w.template(w.md, "v1.35.2", "infra-newer", "config-new") }, "no MachineSet has the wanted template"},
		{"bootstrap template differs", func(w *world) { w.template(w.md, "v1.35.2", "infra-new", "config-newer") }, "no MachineSet has the wanted template"},
		{"failure domain differs", func(w *world) { set(w.md, "b", "spec", "template", "spec", "failureDomain") }, "no MachineSet has the wanted template"},
		{"data secret differs", func(w *world) { set(w.md, "s", "spec", "template", "spec", "bootstrap", "dataSecretName") }, "no MachineSet has the wanted template"},
		{"labels and API version of references differ", func(w *world) {
			set(w.md, "x", "spec", "template", "metadata", "labels", "tier")
			set(w.newSet, map[string]any{"apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha9", "kind": "AWSMachineTemplate", "name": "infra-new"}, "spec", "template", "spec", "infrastructureRef")
		}, ""},
		{"version without v", func(w *world) { set(w.newSet, "1.35.2", "spec", "template", "spec", "version") }, ""},
		{"two matching sets", func(w *world) { w.oldSet = w.set("pool-twin", 0, "v1.35.2", "infra-new", "config-new") }, "2 MachineSets have the wanted template"},
		{"set to scale up", func(w *world) { set(w.newSet, int64(1), "spec", "replicas") }, "spec.replicas 1, 2 are wanted"},
		{"set counts too few", func(w *world) { set(w.newSet, int64(1), "status", "replicas") }, "status.replicas 1, 2 are wanted"},
		{"set counts too few ready", func(w *world) { w.counters(w.newSet, 2, 1) }, "readyReplicas 1, 2 are wanted"},
		{"set counts nothing yet", func(w *world) { unstructured.RemoveNestedField(w.newSet.Object, "status") }, "does not count status.replicas yet"},
		{"a Machine too few", func(w *world) { w.new = w.new[:1] }, "1 of 2 new Machines are available"},
		{"a surplus Machine", func(w *world) { w.new = append(w.new, w.machine("pool-new-c", w.newSet)) }, "3 new Machines are there, 2 are wanted"},
		{"a new Machine being deleted", func(w *world) {
			w.deleting(w.new[1], "DrainingNode", "Drain not completed yet")
		}, "1 of 2 new Machines are available; Machine pool-new-b: drain: Drain not completed yet"},
		{"scaled up", func(w *world) { set(w.md, int64(3), "spec", "replicas") }, "2 of 3 new Machines are available"},
		{"scaled down", func(w *world) { set(w.md, int64(1), "spec", "replicas") }, "2 new Machines are there, 1 are wanted"},
		{"no node", func(w *world) {
			unstructured.RemoveNestedField(w.new[0].Object, "status", "nodeRef")
			w.condition(w.new[0], "Available", "False", "NotReady", "")
		}, "Machine pool-new-a: a node to join"},
		{"available without a node", func(w *world) { unstructured.RemoveNestedField(w.new[0].Object, "status", "nodeRef") }, "Machine pool-new-a: a node to join"},
		{"kubelet of another version", func(w *world) { set(w.new[0], "v1.34.3", "status", "nodeInfo", "kubeletVersion") }, "kubelet v1.34.3, v1.35.2 is wanted"},
		{"kubelet silent", func(w *world) { set(w.new[0], "", "status", "nodeInfo", "kubeletVersion") }, ""},
		{"kubelet of a distributor", func(w *world) { set(w.new[0], "v1.35.2-eks-1a2b3c", "status", "nodeInfo", "kubeletVersion") }, ""},
		{"kubelet with build metadata", func(w *world) { set(w.new[0], "v1.35.2+rke2r1", "status", "nodeInfo", "kubeletVersion") }, ""},
		{"kubelet of a release candidate", func(w *world) { set(w.new[0], "v1.35.2-rc.0", "status", "nodeInfo", "kubeletVersion") }, "kubelet v1.35.2-rc.0"},
		{"Machine of another version", func(w *world) { set(w.new[0], "v1.35.1", "spec", "version") }, "version v1.35.1, v1.35.2 is wanted"},
		{"infrastructure from the template", func(w *world) { w.infraMachine(w.new[0], "infra-new") }, ""},
		{"infrastructure from another template", func(w *world) { w.infraMachine(w.new[0], "infra-old") }, "template infra-old, infra-new is wanted"},
		{"an old set with replicas", func(w *world) { w.oldSet = w.set("pool-old", 1, "v1.34.3", "infra-old", "config-old") }, "MachineSet pool-old still has spec.replicas 1"},
		{"an old set that counts", func(w *world) {
			w.oldSet = w.set("pool-old", 0, "v1.34.3", "infra-old", "config-old")
			set(w.oldSet, int64(1), "status", "replicas")
		}, "MachineSet pool-old still has status.replicas 1"},
		{"an old set without replicas", func(w *world) { w.oldSet = w.set("pool-old", 0, "v1.34.3", "infra-old", "config-old") }, ""},
		{"an old Machine", func(w *world) {
			w.oldSet = w.set("pool-old", 0, "v1.34.3", "infra-old", "config-old")
			w.old = []*object{w.machine("pool-old-a", w.oldSet)}
		}, "old Machine pool-old-a is still there: its turn"},
		{"an old Machine whose set is gone", func(w *world) {
			w.old = []*object{w.machine("pool-old-a", w.set("pool-old", 0, "v1.34.3", "infra-old", "config-old"))}
			w.deleting(w.old[0], "WaitingForInfrastructureDeletion", "Waiting for AWSMachine to be deleted")
		}, "old Machine pool-old-a is still there: infrastructure: Waiting for AWSMachine to be deleted"},
		{"set and Machines without an owner", func(w *world) {
			for _, o := range append(w.new, w.newSet) {
				unstructured.RemoveNestedField(o.Object, "metadata", "ownerReferences")
			}
		}, ""},
		{"set of an earlier MachineDeployment of the name", func(w *world) { set(w.md, "uid-again", "metadata", "uid") }, ""},
		{"objects of others", func(w *world) {
			foreign := w.set("other-set", 3, "v1.30.0", "x", "y")
			foreign.SetOwnerReferences(nil)
			label(foreign, "cluster.x-k8s.io/deployment-name", "other")
			machine := w.machine("other-set-a", foreign)
			label(machine, "cluster.x-k8s.io/deployment-name", "other")
			away := w.set("pool-new-away", 3, "v1.30.0", "x", "y")
			set(away, "elsewhere", "metadata", "namespace")
			w.oldSet, w.old = foreign, []*object{machine, w.machine("pool-new-away-a", away)}
			set(w.old[1], "elsewhere", "metadata", "namespace")
		}, ""},
		{"matching set being deleted", func(w *world) { set(w.newSet, "2026-11-22T07:00:00Z", "metadata", "deletionTimestamp") }, "no MachineSet has the wanted template"},
		{"Machine of another pool with our labels", func(w *world) {
			w.oldSet = w.set("other-set", 1, "v1.30.0", "x", "y")
			w.oldSet.SetOwnerReferences(nil)
			label(w.oldSet, "cluster.x-k8s.io/deployment-name", "other")
			w.old = []*object{w.machine("other-set-a", w.oldSet)}
		}, ""},
		{"OnDelete and done", func(w *world) { w.strategy("OnDelete") }, ""},
		{"OnDelete and an old Machine", func(w *world) {
			w.strategy("OnDelete")
			w.oldSet = w.set("pool-old", 1, "v1.34.3", "infra-old", "config-old")
			w.old = []*object{w.machine("pool-old-a", w.oldSet)}
		}, "strategy OnDelete: 1 old Machine must be deleted by someone"},
		{"rollout.after passed", func(w *world) {
			w.rolloutAfter("2026-11-22T06:30:00Z")
			w.condition(w.new[0], "UpToDate", "False", "NotUpToDate", "* MachineDeployment spec.rolloutAfter expired")
		}, "rolloutAfter expired"},
		{"rollout.after not passed", func(w *world) { w.rolloutAfter("2027-11-22T06:30:00Z") }, ""},
		{"rollout.after passed and rolled", func(w *world) {
			w.rolloutAfter("2026-11-22T06:30:00Z")
			set(w.newSet, "2026-11-22T06:31:00Z", "metadata", "creationTimestamp")
			w.oldSet = w.set("pool-old", 0, "v1.35.2", "infra-new", "config-new")
		}, ""},
		{"0 replicas", func(w *world) {
			set(w.md, int64(0), "spec", "replicas")
			w.newSet, w.new = w.set("pool-new", 0, "v1.35.2", "infra-new", "config-new"), nil
		}, ""},
		{"0 replicas and no set at all", func(w *world) { set(w.md, int64(0), "spec", "replicas"); w.newSet, w.new = nil, nil }, ""},
		{"0 replicas, not observed", func(w *world) {
			set(w.md, int64(0), "spec", "replicas")
			set(w.md, int64(9), "metadata", "generation")
			w.newSet, w.new = nil, nil
		}, "has not acted on generation 9"},
		{"0 replicas and a Machine", func(w *world) { set(w.md, int64(0), "spec", "replicas") }, "Machine pool-new-a is still there: it is to be deleted; and 1 more"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			forms(t, func(t *testing.T, version string) {
				w := done(version)
				test.change(w)
				r := judge(w.observed())
				if r.Complete != (test.waiting == "") || !strings.Contains(r.Waiting, test.waiting) || r.Complete != (r.Waiting == "") {
					t.Errorf("Complete %t, Waiting %q, want a part %q", r.Complete, r.Waiting, test.waiting)
				}
				if r.Complete && (r.Suspect() != nil || len(r.Stalls)+len(r.Suspicions) > 0) {
					t.Errorf("complete, yet stalls: %+v %+v", r.Stalls, r.Suspicions)
				}
				if !r.Complete && r.Suspect() == nil {
					t.Error("not complete, and nothing suspected")
				}
			})
		})
	}
}

func (w *world) strategy(kind string) {
	if w.version == "v1beta1" {
		set(w.md, kind, "spec", "strategy", "type")
		return
	}
	set(w.md, kind, "spec", "rollout", "strategy", "type")
}

func (w *world) rolloutAfter(at string) {
	if w.version == "v1beta1" {
		set(w.md, at, "spec", "rolloutAfter")
		return
	}
	set(w.md, at, "spec", "rollout", "after")
}

func TestJudgeNothing(t *testing.T) {
	r := judge(capi.Observed{})
	if r.Complete || r.Waiting != "the MachineDeployment is not there" || r.Suspect() != nil {
		t.Errorf("%+v", r)
	}
}

func TestJudgeMachines(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		w := midway(version)
		w.deleting(w.old[1], "DrainingNode", "Drain not completed yet (started at 2026-11-22T07:00:00Z):\n* Pod shop/cart: deletionTimestamp set, but still not removed from the Node")
		set(w.old[1], "2026-11-22T05:00:00Z", "metadata", "creationTimestamp")
		w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "AWSMachine status.initialization.provisioned is false")
		r := judge(w.observed())
		want := []capi.Machine{
			{
				Name: "pool-old-b", Namespace: "team", Node: "node-pool-old-b", Set: "pool-old", Version: "v1.34.3", KubeletVersion: "v1.34.3", Phase: "Deleting",
				Old: true, Deleting: true, Created: "2026-11-22T05:00:00Z",
				Waiting: "drain: Drain not completed yet (started at 2026-11-22T07:00:00Z): Pod shop/cart: deletionTimestamp set, but still not removed from the Node (DrainingNode)",
			},
			{
				Name: "pool-old-a", Namespace: "team", Node: "node-pool-old-a", Set: "pool-old", Version: "v1.34.3", KubeletVersion: "v1.34.3", Phase: "Running",
				Old: true, Ready: true, ReadySince: "2026-11-22T06:00:00Z", Created: "2026-11-22T06:00:00Z", Waiting: "its turn to be replaced",
			},
			{
				Name: "pool-new-a", Namespace: "team", Set: "pool-new", Version: "v1.35.2", Phase: "Provisioning", Created: "2026-11-22T06:00:00Z",
				Waiting: "infrastructure: AWSMachine status.initialization.provisioned is false",
			},
		}
		if diff := cmp.Diff(want, r.Machines); diff != "" {
			t.Errorf("Machines (-want +got):\n%s", diff)
		}
		if got, want := [4]int{r.Desired, r.New, r.NewReady, r.Old}, [4]int{2, 1, 0, 2}; got != want {
			t.Errorf("Desired, New, NewReady, Old = %v, want %v", got, want)
		}
		if len(r.Stalls) > 0 {
			t.Errorf("waits are no stalls: %s", causes(r.Stalls))
		}
	})
}

// TestJudgeRollback names the old template again in the middle of a rollout:
// the old MachineSet is the wanted one then.
func TestJudgeRollback(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		w := midway(version)
		w.template(w.md, "v1.34.3", "infra-old", "config-old")
		r := judge(w.observed())
		if r.Complete || r.New != 2 || r.NewReady != 2 || r.Old != 1 || !strings.Contains(r.Waiting, "old Machine pool-new-a is still there") {
			t.Errorf("%+v", r)
		}
		w.new, w.newSet = nil, nil
		if r = judge(w.observed()); !r.Complete {
			t.Errorf("not complete: %s", r.Waiting)
		}
	})
}

// TestJudgeScaledMidway moves spec.replicas while the pool rolls, as an
// autoscaler may.
func TestJudgeScaledMidway(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		w := done(version)
		set(w.md, int64(3), "spec", "replicas")
		w.newSet = w.set("pool-new", 3, "v1.35.2", "infra-new", "config-new")
		w.counters(w.newSet, 2, 2)
		if r := judge(w.observed()); r.Complete || r.Desired != 3 || r.Waiting != "2 of 3 new Machines are available" {
			t.Errorf("scaled up: %+v", r)
		}
		w.new = append(w.new, w.machine("pool-new-c", w.newSet))
		w.counters(w.newSet, 3, 3)
		if r := judge(w.observed()); !r.Complete || r.NewReady != 3 {
			t.Errorf("all there: %+v", r)
		}
	})
}

// TestJudgeBefore19 is Cluster API before 1.9: v1beta1 alone, without any
// condition or counter of the v1beta2 contract.
func TestJudgeBefore19(t *testing.T) {
	w := done("v1beta1")
	for _, m := range w.new {
		unstructured.RemoveNestedField(m.Object, "status", "v1beta2")
		for _, kind := range []string{"Ready", "BootstrapReady", "InfrastructureReady", "NodeHealthy"} {
			w.oldCondition(m, kind, "True", "", "", "")
		}
	}
	unstructured.RemoveNestedField(w.newSet.Object, "status", "v1beta2")
	if r := judge(w.observed()); !r.Complete {
		t.Fatalf("not complete: %s", r.Waiting)
	}
	w.oldCondition(w.new[0], "NodeHealthy", "False", "Warning", "NodeConditionsFailed", "Node condition Ready is False")
	r := judge(w.observed())
	if r.Complete || r.NewReady != 1 || !strings.Contains(r.Waiting, "Node condition Ready is False") {
		t.Errorf("%+v", r)
	}
}

// TestJudgeReadsTheReplicasOfItsForm gives the counters of v1beta1 their own
// meaning: readyReplicas at the top counts nodes, not ready Machines.
func TestJudgeReadsTheReplicasOfItsForm(t *testing.T) {
	w := done("v1beta1")
	set(w.newSet, int64(1), "status", "v1beta2", "availableReplicas")
	r := judge(w.observed())
	if r.Complete || !strings.Contains(r.Waiting, "status.v1beta2.availableReplicas 1") {
		t.Errorf("%+v", r)
	}
}
