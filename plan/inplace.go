package plan

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// drain gives where the drain settings that the upgrade asks for stand in the
// MachineDeployment, and their values. Of all that the upgrade can change, these
// are the fields that Cluster API gives to machines in place.
func (p *pool) drain() []Field {
	d := p.spec.Drain
	if d == nil {
		return nil
	}
	var out []Field
	for _, t := range []struct {
		path  []string
		value *schema.Duration
	}{
		{p.fields.NodeDrainTimeout, d.NodeDrainTimeout},
		{p.fields.NodeVolumeDetachTimeout, d.NodeVolumeDetachTimeout},
		{p.fields.NodeDeletionTimeout, d.NodeDeletionTimeout},
	} {
		if t.value != nil {
			out = append(out, Field{Path: PointerTo(t.path...), Value: mustCanonical(p.fields.Timeout(t.value.Std()))})
		}
	}
	return out
}

// withDrain gives the MachineDeployment md with the drain settings of the upgrade.
func (p *pool) withDrain(md *unstructured.Unstructured) *unstructured.Unstructured {
	w := md.Object
	for _, f := range p.drain() {
		value, err := decodeValue(f.Value)
		if err != nil {
			panic(err) // canonical JSON of our own always decodes
		}
		w = with(w, value, f.Path.Tokens()...)
	}
	return &unstructured.Unstructured{Object: w}
}

// drainFirst reports whether the drain settings must be with the machines before
// the rollout begins, since the Cluster API that runs would give them to the new
// machines alone. It depends on what the upgrade asks for, and not on whether the
// machines have it by now: after the first patch the plan still waits for them.
func (p *pool) drainFirst() bool {
	return p.rolls() && len(p.drain()) > 0 && !p.reachesOld
}

// inPlaceSteps gives what is to be done before the rollout: a patch of the drain
// settings, unless they stand there already, and a wait until the machines have
// them.
func (p *pool) inPlaceSteps(marks marker) []Step {
	if !p.drainFirst() {
		return nil
	}
	var out []Step
	if changes := p.changes(p.md, p.withDrain(p.md)); len(changes) > 0 {
		patch := p.patch(marks, changes, p.md.GetAnnotations()[RunAnnotation])
		out = append(out, Step{
			ID:   p.spec.Name + "/patch-in-place",
			Pool: p.spec.Name,
			Note: "Written before the rollout, for this Cluster API (v1.11 or older) would give it to new machines alone. " +
				"No machine is replaced by it.",
			Facts: p.facts(p.md, changes),
			Patch: patch,
		})
	}
	wait := p.wait(p.md, p.infra.ref.Name, p.bootstrap.ref.Name)
	wait.Propagated = p.drain()
	return append(out, Step{
		ID:   p.spec.Name + "/wait-in-place",
		Pool: p.spec.Name,
		Note: "The rollout begins when the machines that it replaces are drained by these settings.",
		Wait: wait,
	})
}

// changes lists what turns one state of the MachineDeployment into another.
func (p *pool) changes(from, to *unstructured.Unstructured) []Change {
	changes := sealerOf(p.cluster).changesBetween(from.Object, to.Object)
	// Cluster API adds annotations of its own at any time, so ours is written by
	// itself though there were none at all.
	annotations := PointerTo("metadata", "annotations")
	for i, c := range changes {
		if c.Path == annotations && len(c.Before) == 0 {
			at := annotations.Append(HoldAnnotation)
			changes[i] = Change{Path: at, After: valueAt(to.Object, at)}
		}
	}
	return changes
}

// patch gives the patch of the MachineDeployment that starts from a run mark.
func (p *pool) patch(marks marker, changes []Change, before string) *Patch {
	patch := &Patch{
		Target:     p.ref,
		Cluster:    capi.RefOf(p.cluster),
		APIVersion: p.md.GetAPIVersion(),
		UID:        string(p.md.GetUID()),
		Changes:    changes,
	}
	patch.Run.Before = before
	patch.Run.After = marks.mark(*patch)
	return patch
}
