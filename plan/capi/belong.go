package capi

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// Keys gives the keys under which Belonging looks for an object: a store of a
// whole cluster keeps it under each of them. None is empty.
func Keys(o *unstructured.Unstructured) []string {
	object := seen(o.Object)
	ref := RefOf(o)
	if ref.Group != Group || ref.Kind != "MachineSet" && ref.Kind != "Machine" {
		return []string{identityKey(ref)}
	}
	var out []string
	if ref.Kind == "MachineSet" {
		out = append(out, uidKey(object.uid()))
	}
	if owner, ok := object.controller(); ok {
		out = append(out, ownerKey(ref.Kind, owner.text("uid")))
	}
	return append(out, labelKey(ref.Kind, ref.Namespace, object.label(clusterv1.MachineDeploymentNameLabel)))
}

// Identity gives the identity that a key stands for, if it is one.
func Identity(key string) (Ref, bool) {
	is, ok := strings.CutPrefix(key, identity)
	parts := strings.Split(is, "/")
	if !ok || len(parts) != 4 {
		return Ref{}, false
	}
	return Ref{Group: parts[0], Kind: parts[1], Namespace: parts[2], Name: parts[3]}, true
}

const identity = "is "

func identityKey(ref Ref) string {
	return identity + ref.Group + "/" + ref.Kind + "/" + ref.Namespace + "/" + ref.Name
}
func uidKey(uid string) string                     { return "set " + uid }
func ownerKey(kind, uid string) string             { return kind + " by " + uid }
func labelKey(kind, namespace, pool string) string { return kind + " of " + namespace + "/" + pool }

// Keys is Keys of the object.
func (p *Packed) Keys() []string {
	if p.ref.Group != Group {
		return []string{identityKey(p.ref)}
	}
	return Keys(p.Object())
}

// SameTies reports whether Belonging gives one form of an object exactly where it
// would give the other.
func SameTies(a, b *Packed) bool {
	if a.ref != b.ref || a.ref.Group != Group {
		return a.ref == b.ref
	}
	x, y := seen(a.Object().Object), seen(b.Object().Object)
	first, owned := x.controller()
	second, alsoOwned := y.controller()
	if x.uid() != y.uid() || owned != alsoOwned || first.text("uid") != second.text("uid") ||
		x.label(clusterv1.MachineDeploymentNameLabel) != y.label(clusterv1.MachineDeploymentNameLabel) {
		return false
	}
	for _, path := range machineRefs {
		if templateRefOf(x.object(path...)) != templateRefOf(y.object(path...)) {
			return false
		}
	}
	return true
}

// machineRefs are where a Machine refers to what was made for it.
var machineRefs = [][]string{{"spec", "infrastructureRef"}, {"spec", "bootstrap", "configRef"}}

// Belonging gives all that the judgement of a pool can rest on: its
// MachineDeployment, the MachineSets and Machines that may be its own, the
// MachineSets that own those Machines, and what the Machines refer to. It may
// be a little more than what is the pool's, which Judge tells. find gives the
// objects that are kept under a key, in any order; the answer depends on the
// answers of find and on nothing else. The objects are kept as O, of which whole
// gives the object.
func Belonging[O comparable](pool Ref, find func(key string) []O, whole func(O) *unstructured.Unstructured) []O {
	var out []O
	known := map[O]bool{}
	asked := map[string]bool{}
	take := func(key string) (taken []O) {
		if asked[key] {
			return nil
		}
		asked[key] = true
		for _, o := range find(key) {
			if !known[o] {
				known[o] = true
				taken = append(taken, o)
			}
		}
		out = append(out, taken...)
		return taken
	}
	var sets, machines []O
	for _, md := range take(identityKey(pool)) {
		sets = append(sets, take(ownerKey("MachineSet", string(whole(md).GetUID())))...)
	}
	sets = append(sets, take(labelKey("MachineSet", pool.Namespace, pool.Name))...)
	for _, set := range sets {
		machines = append(machines, take(ownerKey("Machine", string(whole(set).GetUID())))...)
	}
	machines = append(machines, take(labelKey("Machine", pool.Namespace, pool.Name))...)
	for _, m := range machines {
		machine := seen(whole(m).Object)
		if owner, ok := machine.controller(); ok {
			take(uidKey(owner.text("uid")))
		}
		for _, path := range machineRefs {
			if r := templateRefOf(machine.object(path...)); r.name != "" {
				take(identityKey(Ref{Group: r.group, Kind: r.kind, Namespace: machine.namespace(), Name: r.name}))
			}
		}
	}
	return out
}
