package capi

import (
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PauseMakes gives how many Machines Cluster API would make once spec.paused is
// set on the MachineDeployment of o as it stands: a paused one does not roll
// and still scales, up to replicas and maxSurge, and adds to its largest
// MachineSet, which may be an old one. Negative is how many it would delete.
// It is 0 in the middle of a rollout that waits for a new Machine: there are
// then as many as there may be.
// Source: internal/controllers/machinedeployment, sync and scale of Cluster API
// v1.13.4, and the same since v1.0.
func PauseMakes(o Observed) int {
	p := poolOf(o)
	desired, known := p.desired()
	if !known {
		return 0
	}
	var total, active, last int64
	for _, set := range append(append([]seen{}, p.matching...), p.others...) {
		if n, _ := set.number("spec", "replicas"); n > 0 {
			total, active, last = total+n, active+1, n
		}
	}
	switch {
	case active <= 1: // it is scaled to all of the replicas
		return int(desired - last)
	case p.onDelete: // several are not scaled
		return 0
	case desired == 0:
		return int(-total)
	}
	return int(desired + p.maxSurge(desired) - total)
}

// maxSurge resolves maxSurge as Cluster API does (mdutil.MaxSurge); it is 1
// where nothing is set.
func (p *pool) maxSurge(desired int64) int64 {
	path := []string{"spec", "rollout", "strategy", "rollingUpdate", "maxSurge"}
	if p.deployment.oldForm() {
		path = []string{"spec", "strategy", "rollingUpdate", "maxSurge"}
	}
	var value intstr.IntOrString
	if n, ok := p.deployment.number(path...); ok {
		value = intstr.FromInt32(int32(n))
	} else if s := p.deployment.text(path...); s != "" {
		value = intstr.FromString(s)
	} else {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, int(desired), true)
	if err != nil {
		return 1
	}
	return int64(n)
}
