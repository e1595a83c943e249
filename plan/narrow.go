package plan

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// maxNames bounds the names of pools in one request, in bytes: they stand in its
// address, and what stands between a client and the API server often takes no
// more than 8 KiB of that.
const maxNames = 4000

// poolNames gives the names of the pools of up for Selector.Pools; empty when
// they are too many, or one is no value of a label.
func poolNames(up schema.Upgrade) string {
	names := make([]string, len(up.Spec.Pools))
	for i, p := range up.Spec.Pools {
		if names[i] = p.Name; len(validation.IsValidLabelValue(p.Name)) > 0 {
			return ""
		}
	}
	if out := strings.Join(names, ","); len(out) <= maxNames {
		return out
	}
	return ""
}

// lists are what the judgement of the pool and the checks look through. Machines
// and what they refer to are those of the pools of the upgrade, where these can be
// told by a label; enough says whether that does. MachineSets are those of the
// whole cluster.
func (p *pool) lists() []Selector {
	if p.md == nil || p.foreign() {
		return nil
	}
	out := rolloutSelectors(capi.RefOf(p.cluster), cloned(p.infra.ref), cloned(p.bootstrap.ref))
	for i := range out {
		if out[i].Kind != "MachineSet" {
			out[i].Pools = p.names
		}
	}
	return out
}

// enough reports whether the Machines of the pools, and what these refer to, were
// all found by the label of their pool, and no check is about others. Cluster API
// gives each Machine of a MachineDeployment the label, its infrastructure machine
// and its bootstrap config too, and puts it back where it was taken away
// (internal/controllers/machineset, machineLabelsFromMachineSet and
// syncMachines), but not at once, and not while it is paused. So the Machines are
// held against the counts of the MachineSets. Machines of other pools count where
// they are made from the same templates, and where there are no others to tell
// which release of Cluster API runs.
func enough(pools []*pool, snap Snapshot) bool {
	templates, owners, kinds := map[Ref]bool{}, map[string]bool{}, map[Ref]bool{}
	var sets Selector
	var cluster Ref
	for _, p := range pools {
		for _, sel := range p.lists() {
			if sel.Kind == "MachineSet" {
				sets = sel
			} else if _, unread := snap.Unread(sel); !unread {
				kinds[sel.Ref] = true
			}
		}
		if p.md != nil && !p.foreign() {
			cluster = capi.RefOf(p.cluster)
			templates[p.infra.ref], templates[p.bootstrap.ref] = true, true
			owners[string(p.md.GetUID())] = true
		}
	}
	if cluster.IsZero() {
		return true // there is nothing to judge
	}
	if cp := pools[0].controlPlane; cp != nil {
		for _, path := range [][]string{{"spec", "machineTemplate", "spec", "infrastructureRef"}, {"spec", "machineTemplate", "infrastructureRef"}} {
			if ref, ok := capi.ReferenceAt(cp, path...); ok && templates[ref] {
				return false
			}
		}
	}
	found, any := map[string]int64{}, false
	for m := range snap.each(machinesOf(cluster)) {
		any = true
		if owner := metav1.GetControllerOfNoCopy(m); owner != nil {
			found[string(owner.UID)]++
		}
		for _, path := range [][]string{{"spec", "infrastructureRef"}, {"spec", "bootstrap", "configRef"}} {
			ref, ok := capi.ReferenceAt(m, path...)
			kind := ref
			if kind.Name = ""; !ok || !kinds[kind] || m.GetDeletionTimestamp() != nil {
				continue
			}
			if _, there := snap.Object(ref); !there {
				return false
			}
		}
	}
	if !any {
		return false
	}
	for _, set := range snap.List(sets) {
		count, _, _ := unstructured.NestedInt64(set.Object, "status", "replicas")
		owner := metav1.GetControllerOfNoCopy(set)
		switch {
		case owner == nil:
			return false
		case owners[string(owner.UID)]:
			if found[string(set.GetUID())] < count {
				return false
			}
		case count > 0:
			fields, err := capi.FieldsOf(set)
			if err != nil {
				return false
			}
			for _, path := range [][]string{fields.InfrastructureRef, fields.BootstrapRef} {
				if ref, ok := capi.ReferenceAt(set, path...); ok && templates[ref] {
					return false
				}
			}
		}
	}
	return true
}
