package capi_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

type object = unstructured.Unstructured

// world is a pool of two machines made by hand, in one of the two versions of
// the API.
type world struct {
	version        string // v1beta1 or v1beta2
	md             *object
	newSet, oldSet *object
	new, old       []*object
	infra, configs []*object
	cluster        *object
}

func (w *world) observed() capi.Observed {
	o := capi.Observed{
		MachineDeployment: w.md, Machines: append(append([]*object{}, w.new...), w.old...),
		InfraMachines: w.infra, BootstrapConfigs: w.configs, Cluster: w.cluster,
	}
	for _, set := range []*object{w.newSet, w.oldSet} {
		if set != nil {
			o.MachineSets = append(o.MachineSets, set)
		}
	}
	return o
}

// forms runs a test with each form of the API.
func forms(t *testing.T, test func(t *testing.T, version string)) {
	for _, version := range []string{"v1beta1", "v1beta2"} {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}

// done is a pool whose rollout is complete.
func done(version string) *world {
	w := &world{version: version}
	w.md = w.object("MachineDeployment", "pool", "")
	set(w.md, int64(4), "metadata", "generation")
	set(w.md, int64(4), "status", "observedGeneration")
	set(w.md, int64(2), "spec", "replicas")
	w.template(w.md, "v1.35.2", "infra-new", "config-new")
	w.newSet = w.set("pool-new", 2, "v1.35.2", "infra-new", "config-new")
	w.new = []*object{w.machine("pool-new-a", w.newSet), w.machine("pool-new-b", w.newSet)}
	return w
}

// midway is a pool in the middle of its rollout: the first new Machine has just
// been made, and none of the two old ones is being deleted.
func midway(version string) *world {
	w := done(version)
	w.newSet = w.set("pool-new", 1, "v1.35.2", "infra-new", "config-new")
	w.counters(w.newSet, 1, 0)
	w.oldSet = w.set("pool-old", 2, "v1.34.3", "infra-old", "config-old")
	w.new = []*object{w.machine("pool-new-a", w.newSet)}
	w.unready(w.new[0], "Machine is coming up")
	w.old = []*object{w.machine("pool-old-a", w.oldSet), w.machine("pool-old-b", w.oldSet)}
	return w
}

func (w *world) object(kind, name, owner string) *object {
	o := &object{Object: map[string]any{
		"apiVersion": "cluster.x-k8s.io/" + w.version, "kind": kind,
		"metadata": map[string]any{
			"name": name, "namespace": "team", "uid": "uid-" + name, "creationTimestamp": "2026-11-22T06:00:00Z",
			"labels": map[string]any{"cluster.x-k8s.io/cluster-name": "demo", "cluster.x-k8s.io/deployment-name": "pool"},
		},
		"spec": map[string]any{"clusterName": "demo"},
	}}
	if owner != "" {
		ownerKind := "MachineSet"
		if kind == "MachineSet" {
			ownerKind = "MachineDeployment"
		}
		set(o, []any{map[string]any{"kind": ownerKind, "name": owner, "uid": "uid-" + owner, "controller": true}}, "metadata", "ownerReferences")
	}
	return o
}

func (w *world) ref(group, kind, name string) map[string]any {
	if w.version == "v1beta1" {
		return map[string]any{"apiVersion": group + "/v1beta1", "kind": kind, "name": name, "namespace": "team"}
	}
	return map[string]any{"apiGroup": group, "kind": kind, "name": name}
}

func (w *world) template(o *object, version, infra, config string) {
	set(o, map[string]any{
		"clusterName":       "demo",
		"version":           version,
		"bootstrap":         map[string]any{"configRef": w.ref("bootstrap.cluster.x-k8s.io", "KubeadmConfigTemplate", config)},
		"infrastructureRef": w.ref("infrastructure.cluster.x-k8s.io", "AWSMachineTemplate", infra),
	}, "spec", "template", "spec")
}

func (w *world) set(name string, replicas int64, version, infra, config string) *object {
	o := w.object("MachineSet", name, "pool")
	set(o, replicas, "spec", "replicas")
	set(o, replicas, "status", "replicas")
	w.template(o, version, infra, config)
	w.counters(o, replicas, replicas)
	return o
}

// counters sets what a MachineSet counts, in both meanings of v1beta1.
func (w *world) counters(o *object, replicas, ready int64) {
	set(o, replicas, "status", "replicas")
	set(o, ready, "status", "readyReplicas")
	set(o, ready, "status", "availableReplicas")
	if w.version == "v1beta1" {
		set(o, ready, "status", "v1beta2", "readyReplicas")
		set(o, ready, "status", "v1beta2", "availableReplicas")
	}
}

func (w *world) machine(name string, owner *object) *object {
	o := w.object("Machine", name, owner.GetName())
	spec := owner.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	set(o, spec["version"], "spec", "version")
	set(o, w.ref("infrastructure.cluster.x-k8s.io", "AWSMachine", name), "spec", "infrastructureRef")
	set(o, w.ref("bootstrap.cluster.x-k8s.io", "KubeadmConfig", name), "spec", "bootstrap", "configRef")
	set(o, "node-"+name, "status", "nodeRef", "name")
	set(o, spec["version"], "status", "nodeInfo", "kubeletVersion")
	set(o, "Running", "status", "phase")
	label(o, "cluster.x-k8s.io/set-name", owner.GetName())
	for _, kind := range []string{"Available", "Ready", "BootstrapConfigReady", "InfrastructureReady", "NodeHealthy"} {
		w.condition(o, kind, "True", kind, "")
	}
	w.condition(o, "Deleting", "False", "NotDeleting", "")
	return o
}

// condition sets a condition of the v1beta2 contract.
func (w *world) condition(o *object, kind, status, reason, message string) {
	path := []string{"status", "conditions"}
	if w.version == "v1beta1" {
		path = []string{"status", "v1beta2", "conditions"}
	}
	put(o, path, map[string]any{"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-22T06:00:00Z"})
}

// oldCondition sets a condition of the v1beta1 contract.
func (w *world) oldCondition(o *object, kind, status, severity, reason, message string) {
	path := []string{"status", "deprecated", "v1beta1", "conditions"}
	if w.version == "v1beta1" {
		path = []string{"status", "conditions"}
	}
	put(o, path, map[string]any{"type": kind, "status": status, "severity": severity, "reason": reason, "message": message})
}

func put(o *object, path []string, condition map[string]any) {
	list, _, _ := unstructured.NestedSlice(o.Object, path...)
	for i, item := range list {
		if item.(map[string]any)["type"] == condition["type"] {
			list[i] = condition
			set(o, list, path...)
			return
		}
	}
	set(o, append(list, condition), path...)
}

// unready makes a Machine one that is still being provisioned.
func (w *world) unready(o *object, message string) {
	w.condition(o, "Available", "False", "NotReady", "")
	w.condition(o, "Ready", "False", "NotReady", message)
	unstructured.RemoveNestedField(o.Object, "status", "nodeRef")
	unstructured.RemoveNestedField(o.Object, "status", "nodeInfo")
	set(o, "Provisioning", "status", "phase")
}

func (w *world) deleting(o *object, reason, message string) {
	set(o, "2026-11-22T07:00:00Z", "metadata", "deletionTimestamp")
	set(o, "Deleting", "status", "phase")
	w.condition(o, "Available", "False", "NotReady", "")
	w.condition(o, "Deleting", "True", reason, message)
}

// infraMachine adds the infrastructure machine of a Machine.
func (w *world) infraMachine(m *object, from string) *object {
	o := w.object("AWSMachine", m.GetName(), m.GetName())
	set(o, "infrastructure.cluster.x-k8s.io/"+"v1beta2", "apiVersion")
	if w.version == "v1beta1" {
		set(o, "infrastructure.cluster.x-k8s.io/v1beta1", "apiVersion")
	}
	annotate(o, "cluster.x-k8s.io/cloned-from-name", from)
	set(o, "ami-of-"+from, "spec", "ami", "id")
	w.infra = append(w.infra, o)
	return o
}

func set(o *object, value any, path ...string) {
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		panic(fmt.Sprintf("%s: %v", strings.Join(path, "."), err))
	}
}

func label(o *object, key, value string)    { set(o, value, "metadata", "labels", key) }
func annotate(o *object, key, value string) { set(o, value, "metadata", "annotations", key) }
