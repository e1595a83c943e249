package capi

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// poolStalls are what the MachineDeployment itself asks for: its deletion, or a
// strategy under which nothing rolls.
func (p *pool) poolStalls() []Stall {
	md := p.deployment
	var found []Stall
	if md.deleting() {
		found = append(found, md.stall(StallPoolDeleting, rolloutCondition{}).saying(
			fmt.Sprintf("MachineDeployment %s is being deleted, its machines with it.", md.name()),
			"If this is not meant, it cannot be undone; make the pool anew."))
	}
	waiting := filter(p.machines, func(m member) bool { return m.old && !m.judged.row.Deleting })
	if _, _, seen := p.observed(); p.onDelete && seen && len(waiting) > 0 {
		found = append(found, md.stall(StallOnDeleteStrategy, rolloutCondition{}).saying(
			fmt.Sprintf("The strategy is OnDelete: %s of MachineDeployment %s will stay until someone deletes them.", count(len(waiting), "old Machine"), md.name()),
			fmt.Sprintf("Delete the old Machines one by one, %s first, or set the strategy to RollingUpdate on the MachineDeployment.", waiting[0].judged.row.Name)))
	}
	return found
}

// pauses finds the three pauses, which are independent of each other:
// Cluster.spec.paused, the annotation on an object, and the MachineDeployment's
// spec.paused, which no Paused condition shows.
func (p *pool) pauses() []Stall {
	var found []Stall
	next := "Find out who paused it and why, then end the pause."
	if p.cluster.flag("spec", "paused") {
		found = append(found, p.cluster.stall(StallPaused, rolloutCondition{}).saying(
			fmt.Sprintf("Cluster %s is paused (spec.paused), so no controller acts on anything in it.", p.cluster.name()), next))
	}
	md := p.deployment
	if md.flag("spec", "paused") {
		found = append(found, md.stall(StallPaused, rolloutCondition{}).saying(
			fmt.Sprintf("MachineDeployment %s is paused (spec.paused): it still scales, it does not roll.", md.name()), next))
	}
	// An old MachineSet that has nothing left holds nothing up.
	busy := filter(p.others, func(set seen) bool {
		wanted, _ := set.number("spec", "replicas")
		has, _ := set.number("status", "replicas")
		return wanted > 0 || has > 0
	})
	for _, object := range slices.Concat([]seen{md}, p.matching, busy) {
		if object.pausedByAnnotation() {
			found = append(found, object.stall(StallPaused, rolloutCondition{}).saying(
				fmt.Sprintf("%s %s carries the annotation %s, so no controller touches it.", object.kind(), object.name(), clusterv1.PausedAnnotation), next))
		}
	}
	if len(found) == 0 {
		// Without the Cluster at hand its pause still shows in this condition.
		if c, ok := md.condition(clusterv1.PausedCondition, ""); ok && c.holds() {
			found = append(found, md.stall(StallPaused, c).saying(
				fmt.Sprintf("MachineDeployment %s is paused: %s.", md.name(), strings.TrimSuffix(cmp.Or(oneLine(c.message), c.reason), ".")), next))
		}
	}
	return found
}

// templateStalls finds templates that do not exist. The webhook accepts such a
// name, and then observedGeneration never catches up; the MachineDeployment says
// it in ScalingUp even while that is False ("would be blocked"). A MachineSet
// that has its replicas says the same without being held up by it.
func (p *pool) templateStalls() []Stall {
	objects := []seen{p.deployment}
	if wanted, ok := p.wanted(); ok {
		objects = append(objects, wanted)
	}
	var found []Stall
	for _, object := range objects {
		c, ok := object.condition(clusterv1.MachineDeploymentScalingUpCondition, "")
		if !ok || !missingTemplate.MatchString(c.message) || object.kind() == "MachineSet" && !c.holds() {
			continue
		}
		var names []string
		for _, ref := range []templateRef{p.template.bootstrap, p.template.infrastructure} {
			if ref.kind != "" && strings.Contains(c.message, ref.kind) {
				names = append(names, ref.kind+" "+ref.name)
			}
		}
		which := cmp.Or(strings.Join(names, " and "), "the template")
		found = append(found, object.stall(StallTemplateMissing, c).saying(
			fmt.Sprintf("%s, which %s %s names, does not exist, so no machine can be made from it.", which, object.kind(), object.name()),
			"Create the template under that name in the same namespace, or name one that exists."))
	}
	return found
}

var (
	missingTemplate = regexp.MustCompile(`(?s)blocked because.*\bdo(es)? not exist`)
	preflightCheck  = regexp.MustCompile(`"(\w+)" preflight check failed`)
)

// creationStalls finds what keeps the wanted MachineSet from creating Machines:
// a preflight check, which the MachineDeployment does not show, or an error.
func (p *pool) creationStalls() []Stall {
	wanted, ok := p.wanted()
	if !ok {
		if len(p.others) > 0 {
			return nil // the MachineDeployment speaks of an older one
		}
		c, _ := findCondition(p.deployment.oldConditions(), string(clusterv1.MachineSetReadyV1Beta1Condition))
		if c.reason == clusterv1.PreflightCheckFailedV1Beta1Reason && c.status == "False" {
			return p.preflightStalls(p.deployment, c)
		}
		return nil
	}
	c, _ := wanted.condition(clusterv1.MachineSetScalingUpCondition, "")
	if c.holds() && strings.Contains(c.message, "preflight check failed") {
		return p.preflightStalls(wanted, c)
	}
	c, _ = findCondition(wanted.oldConditions(), string(clusterv1.MachinesCreatedV1Beta1Condition))
	if c.status != "False" {
		return nil
	}
	switch c.reason {
	case clusterv1.PreflightCheckFailedV1Beta1Reason:
		return p.preflightStalls(wanted, c)
	case clusterv1.BootstrapTemplateCloningFailedV1Beta1Reason, clusterv1.InfrastructureTemplateCloningFailedV1Beta1Reason, clusterv1.MachineCreationFailedV1Beta1Reason:
		return []Stall{wanted.stall(StallMachineCreation, c).saying(
			fmt.Sprintf("MachineSet %s cannot create a Machine: %s.", wanted.name(), strings.TrimSuffix(cmp.Or(oneLine(c.message), c.reason), ".")),
			"Read the error; a template that is gone, a webhook that refuses, or a quota of objects are usual causes.")}
	}
	return nil
}

// preflightAdvice explains the checks of MachineSetPreflightChecks (on by
// default since Cluster API 1.9); they are tried again every 15 seconds.
var preflightAdvice = map[string][2]string{
	string(clusterv1.MachineSetPreflightCheckControlPlaneIsStable): {
		"the control plane is being made or upgraded",
		"Wait until the control plane is stable; if it never is, look there first."},
	string(clusterv1.MachineSetPreflightCheckKubernetesVersionSkew): {
		"the pool's version is too far from the control plane's, or above it",
		"Upgrade the control plane first, or name a version that it allows."},
	string(clusterv1.MachineSetPreflightCheckKubeadmVersionSkew): {
		"kubeadm joins only with the control plane's own minor version",
		"Give the pool a version of the control plane's minor."},
	string(clusterv1.MachineSetPreflightCheckControlPlaneVersionSkew): {
		"the pool's version is not the control plane's",
		"Give the pool the control plane's version."},
}

// tooOldAdvice is for KubernetesVersionSkew where the pool is behind: a newer
// control plane would be still further away.
var tooOldAdvice = [2]string{
	"the pool's version is more than three minors older than the control plane's",
	"Give the pool a version that is nearer to the control plane's."}

func (p *pool) preflightStalls(object seen, c rolloutCondition) []Stall {
	var why, next []string
	tooOld := strings.Contains(c.message, "minor versions older")
	for _, match := range preflightCheck.FindAllStringSubmatch(c.message, -1) {
		if advice, ok := preflightAdvice[match[1]]; ok {
			if tooOld && match[1] == string(clusterv1.MachineSetPreflightCheckKubernetesVersionSkew) {
				advice = tooOldAdvice
			}
			why, next = append(why, advice[0]), append(next, advice[1])
		}
	}
	if len(why) == 0 {
		why, next = []string{"a check has failed"}, []string{"Read the message."}
	}
	if len(next) > 1 && next[0] == preflightAdvice[string(clusterv1.MachineSetPreflightCheckKubernetesVersionSkew)][1] {
		next = next[:1] // the other advice would be to go back
	}
	if len(next) > 1 && next[0] == tooOldAdvice[1] {
		next = next[1:] // the other advice is more exact
	}
	return []Stall{object.stall(StallMachineSetPreflight, c).saying(
		fmt.Sprintf("%s %s may not create machines: %s.", object.kind(), object.name(), strings.Join(why, ", and ")),
		strings.Join(next, " ")+" A check can be skipped with the annotation "+clusterv1.MachineSetSkipPreflightChecksAnnotation+", at your own risk.")}
}

// remediationStalls finds the replacement of new machines by a
// MachineHealthCheck. Machines of an old MachineSet are not remediated during a
// rollout, so a pool that remediates is deleting its new ones.
func (p *pool) remediationStalls() []Stall {
	objects := []seen{p.deployment}
	if wanted, ok := p.wanted(); ok {
		objects = append(objects, wanted)
	}
	for i := len(objects) - 1; i >= 0; i-- {
		if c, ok := objects[i].condition(clusterv1.MachineDeploymentRemediatingCondition, ""); ok && c.holds() {
			return []Stall{churn(objects[i], c)}
		}
	}
	return nil
}

// silences are waits for a controller that says nothing.
func (p *pool) silences() []Stall {
	md := p.deployment
	next := "See that the Cluster API controllers are running, and read their logs about this object."
	if generation, last, ok := p.observed(); !ok {
		return []Stall{md.stall(StallControllersSilent, rolloutCondition{}).saying(
			fmt.Sprintf("The controller of MachineDeployment %s has not acted on its last change: generation %d, last seen %d.", md.name(), generation, last), next)}
	}
	desired, _ := p.desired()
	wanted, ok := p.wanted()
	if !ok {
		if desired == 0 {
			return nil
		}
		return []Stall{md.stall(StallControllersSilent, rolloutCondition{}).saying(
			fmt.Sprintf("MachineDeployment %s has no MachineSet for its template, and nothing is said about it.", md.name()), next)}
	}
	news := int64(len(filter(p.machines, func(m member) bool { return !m.old })))
	if asked, _ := wanted.number("spec", "replicas"); news < asked {
		c, _ := wanted.condition(clusterv1.MachineSetScalingUpCondition, string(clusterv1.ResizedV1Beta1Condition))
		return []Stall{wanted.stall(StallControllersSilent, c).saying(
			fmt.Sprintf("MachineSet %s is to have %s and has %d, and nothing is said about it.", wanted.name(), count(int(asked), "Machine"), news), next)}
	}
	return nil
}
