package capi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// InPlaceReachesOld reports whether the Cluster API that runs gives fields that
// it takes over in place to the Machines that a rollout replaces, too, when the
// MachineDeployment gets both in one change. Since v1.12.0 it does
// (internal/controllers/machinedeployment, rolloutPlanner.computeDesiredOldMS);
// up to v1.11 only the MachineSet that matches the new template gets them
// (Reconciler.getNewMachineSet → updateMachineSet).
//
// Which release runs is told by what it leaves on Machines, since its Machine
// controller is the same program: v1.12.0 brought the condition Updating, which
// it sets on every Machine (internal/controllers/machine, setUpdatingCondition),
// beside Deleting, which is older. A release that serves apiVersion v1beta1
// alone is v1.10 or older. Machines are any of the cluster, also of the control
// plane; without a Machine that tells, it gives true: then there is none that
// could be reached.
func InPlaceReachesOld(apiVersion string, machines iter.Seq[*unstructured.Unstructured]) bool {
	if strings.HasSuffix(apiVersion, "/v1beta1") {
		return false
	}
	older := false
	for m := range machines {
		if m == nil {
			continue
		}
		list := seen(m.Object).conditions()
		if _, ok := findCondition(list, clusterv1.MachineUpdatingCondition); ok {
			return true
		}
		_, ok := findCondition(list, clusterv1.MachineDeletingCondition)
		older = older || ok
	}
	return !older
}

// InPlaceField is a field of spec.template.spec that Cluster API takes over in
// place. Path is that in a MachineDeployment and in a MachineSet; in a Machine
// it is the same without spec.template. Value is JSON; empty means absent.
type InPlaceField struct {
	Path  []string
	Value json.RawMessage
}

func (f InPlaceField) name() string { return f.Path[len(f.Path)-1] }

// missing says what is wrong with the field at path of an object, "" when it is
// as wanted.
func (f InPlaceField) missing(o seen, path []string) string {
	found := "absent"
	var raw json.RawMessage
	if v := o.at(path...); v != nil {
		raw, _ = json.Marshal(v) // what came from JSON encodes again
		found = string(raw)
	}
	if bytes.Equal(raw, f.Value) {
		return ""
	}
	wanted := string(f.Value)
	if wanted == "" {
		wanted = "absent"
	}
	return fmt.Sprintf("%s %s has %s %s, %s is wanted", o.kind(), o.name(), f.name(), found, wanted)
}

// JudgeInPlace says how far the fields have come that Cluster API takes over in
// place, from the MachineDeployment to its MachineSet and from there to the
// Machines (internal/controllers/machineset, syncMachines). It is complete when
// the MachineSet that matches the MachineDeployment's template has them all, and
// every Machine of it that is not being deleted. Machines of other MachineSets do
// not count: an older Cluster API does not give them anything any more.
//
// In the Rollout, New counts the Machines that are to have the fields and
// NewReady those that do; Desired is New. Machines are left out.
func JudgeInPlace(o Observed, fields []InPlaceField) Rollout {
	p := poolOf(o)
	r := Rollout{InPlace: true, Fingerprint: p.fingerprint()}
	missing := func(o seen, path func(InPlaceField) []string) string {
		for _, f := range fields {
			if why := f.missing(o, path(f)); why != "" {
				return why
			}
		}
		return ""
	}
	inSet := func(f InPlaceField) []string { return f.Path }
	inMachine := func(f InPlaceField) []string { return f.Path[2:] }
	desired, _ := p.desired()
	set, ok := p.wanted()
	switch {
	case p.deployment == nil:
		r.Waiting = "the MachineDeployment is not there"
	case p.deployment.deleting():
		r.Waiting = "the MachineDeployment is being deleted"
	case ok:
		r.Waiting = missing(set, inSet)
	case desired > 0:
		r.Waiting = "no MachineSet has the template of the MachineDeployment"
	}
	for _, m := range p.machines {
		if m.old || m.judged.row.Deleting {
			continue
		}
		r.New++
		switch why := missing(m.kept.Object().Object, inMachine); {
		case why == "":
			r.NewReady++
		case r.Waiting == "":
			r.Waiting = why
		}
	}
	r.Desired = r.New
	r.Fingerprint += fmt.Sprintf(" %d of %d, %s", r.NewReady, r.New, r.Waiting)
	if r.Complete = r.Waiting == ""; !r.Complete {
		r.Stalls, r.Suspicions = p.stalls(r.Waiting)
	}
	return r
}
