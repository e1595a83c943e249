package capi

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Observed is what was seen of one pool at one moment. Every object may come
// in the v1beta1 or the v1beta2 form, each by its own apiVersion, and the
// slices may hold objects of other pools and of the control plane: Judge picks
// those of the MachineDeployment. It changes nothing in them.
type Observed struct {
	MachineDeployment *unstructured.Unstructured
	MachineSets       []*unstructured.Unstructured
	Machines          []*unstructured.Unstructured
	// InfraMachines and BootstrapConfigs are the objects that the Machines
	// refer to, where they could be read. They add the provider's own words and
	// the name of the template that a machine was made from; without them the
	// judgement rests on the Machines.
	InfraMachines    []*unstructured.Unstructured
	BootstrapConfigs []*unstructured.Unstructured
	// Cluster may be nil; it is read for spec.paused alone.
	Cluster *unstructured.Unstructured
}

// Rollout is the judgement of one pool at one moment.
type Rollout struct {
	// Complete says that every Machine of the pool is what the
	// MachineDeployment's template, as it is now, asks for.
	Complete bool
	// Waiting is the first unmet condition of completion in words for a person;
	// empty when complete.
	Waiting string
	// Desired is the live spec.replicas, which an autoscaler may move at any time.
	Desired int
	// New counts the Machines of the wanted MachineSet, NewReady those of them
	// that are available, and Old the Machines still there of other MachineSets,
	// those being deleted included.
	New, NewReady, Old int
	// Machines lists them all: old ones first, then by creation and by name.
	Machines []Machine
	// Stalls are the causes visible now, the most telling first; empty means
	// that nothing wrong is to be seen, not that all is done.
	Stalls []Stall
	// Fingerprint changes exactly when there is progress: when a Machine comes
	// or goes, or its phase, the status or reason of one of its conditions, or
	// what its deletion waits for changes. Heartbeats, times, resource versions
	// and the order of the slices do not move it.
	Fingerprint string
}

// Machine is one Machine of the pool.
type Machine struct {
	Name, Namespace string
	// Node is the name of its node in the workload cluster; empty until it joined.
	Node string
	// Set is the name of its MachineSet.
	Set string
	// Version is what it should run (spec.version), KubeletVersion what its node
	// reports; in-memory nodes report nothing.
	Version, KubeletVersion string
	// Phase is status.phase: Pending, Provisioning, Provisioned, Running,
	// Updating, Deleting, Deleted, Failed or Unknown.
	Phase string
	// Old is set on a Machine that is not of the wanted MachineSet.
	Old bool
	// Ready is set on a Machine that counts as available.
	Ready bool
	// Deleting is set on a Machine with a deletion timestamp.
	Deleting bool
	// Waiting is what it waits for, with the reason, in one line; empty when it
	// waits for nothing.
	Waiting string
	// Created is metadata.creationTimestamp, RFC 3339.
	Created string
}

// Judge says how far the rollout of a pool is, from its Machines and
// MachineSets and never from the MachineDeployment's own counters: those are
// summed over three controllers and read complete for up to two seconds after
// a patch.
func Judge(o Observed) Rollout {
	return Rollout{}
}
