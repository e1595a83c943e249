package capi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// hold is one thing that keeps a Machine from what it is to become: available,
// or gone. Most are waits of seconds; stuck ones are said to be errors or blocks
// by the controllers' own words.
type hold struct {
	Stall
	stuck bool
	line  string
}

// findHolds are the holds of one Machine, the one to show first. An old
// Machine that is not being deleted waits for its turn and has none.
func (a asked) findHolds(m poolMachine) []hold {
	var holds []hold
	waitsOn := m.deleting() || !m.old && !m.available()
	if waitsOn && m.pausedByAnnotation() {
		holds = append(holds, hold{
			Stall: m.stall(StallPaused, rolloutCondition{}).saying(
				fmt.Sprintf("Machine %s carries the annotation %s, so no controller touches it.", m.name(), clusterv1.PausedAnnotation),
				fmt.Sprintf("Find out who paused it and why, then remove the annotation %s from the Machine.", clusterv1.PausedAnnotation)),
			stuck: true, line: "the pause of this Machine to end",
		})
	}
	switch {
	case m.deleting():
		return append(holds, deletionHolds(m)...)
	case m.old:
		return nil
	case m.available() && m.node() != "":
		return a.mismatchHolds(m)
	}
	for _, find := range []func(poolMachine) []hold{
		failureHolds, bootstrapHolds, infrastructureHolds, nodeHolds, updateHolds, healthCheckHolds, a.mismatchHolds,
	} {
		holds = append(holds, find(m)...)
	}
	if len(holds) == 0 {
		holds = append(holds, otherHold(m))
	}
	// What is stuck explains what merely waits behind it.
	slices.SortStableFunc(holds, func(a, b hold) int {
		switch {
		case a.stuck == b.stuck:
			return 0
		case a.stuck:
			return -1
		}
		return 1
	})
	return holds
}

// stall starts a Stall of this object in the words of a condition.
func (s seen) stall(cause StallCause, c rolloutCondition) Stall {
	return Stall{
		Cause: cause, Kind: s.kind(), Namespace: s.namespace(), Name: s.name(),
		Condition: c.kind, Message: cmp.Or(c.message, c.reason),
	}
}

func (s Stall) saying(explanation, next string) Stall {
	s.Explanation, s.Next = explanation, next
	return s
}

// failureHolds reports the terminal failure of the v1beta1 contract; providers
// of that contract still set it on their own object, and Cluster API copies it.
func failureHolds(m poolMachine) []hold {
	for _, path := range [][]string{{"status"}, {"status", "deprecated", "v1beta1"}} {
		status := m.object(path...)
		reason, message := status.text("failureReason"), status.text("failureMessage")
		if reason == "" && message == "" {
			continue
		}
		s := m.stall(StallProviderError, rolloutCondition{reason: reason, message: message}).saying(
			fmt.Sprintf("Machine %s has failed for good: %s.", m.name(), strings.TrimSuffix(oneLine(cmp.Or(message, reason)), ".")),
			"Correct the cause in the provider or in the template; this Machine will not recover and must be replaced.")
		return []hold{{Stall: s, stuck: true, line: "nothing any more, it has failed: " + oneLine(cmp.Or(message, reason))}}
	}
	return nil
}

func bootstrapHolds(m poolMachine) []hold {
	c, ok := m.condition(clusterv1.MachineBootstrapConfigReadyCondition, string(clusterv1.BootstrapReadyV1Beta1Condition))
	if !ok || c.holds() {
		return nil
	}
	ref := m.text("spec", "bootstrap", "configRef", "kind")
	h := hold{line: "bootstrap data: " + c.words()}
	object, telling := m.seen, c
	if worse, found := worstCondition(m.config); found {
		object, telling = m.config, worse
	}
	if h.stuck = telling.tellsError(); h.stuck {
		h.Stall = object.stall(StallBootstrapError, telling).saying(
			fmt.Sprintf("The bootstrap provider cannot make the bootstrap data of Machine %s: %s.", m.name(), firstError(telling)),
			fmt.Sprintf("Look at %s and the logs of the bootstrap provider; correct the bootstrap template, then let a new Machine be made.", described(m.config, ref, m.text("spec", "bootstrap", "configRef", "name"))))
		return []hold{h}
	}
	h.Stall = object.stall(StallBootstrapNotReady, telling).saying(
		fmt.Sprintf("The bootstrap data of Machine %s is not there and no error is reported.", m.name()),
		"See that the bootstrap provider's controller is running and that the control plane is initialized.")
	return []hold{h}
}

func infrastructureHolds(m poolMachine) []hold {
	c, ok := m.condition(clusterv1.MachineInfrastructureReadyCondition, string(clusterv1.InfrastructureReadyV1Beta1Condition))
	if !ok || c.holds() {
		return nil
	}
	ref := templateRefOf(m.object("spec", "infrastructureRef"))
	what := described(m.infra, ref.kind, ref.name)
	h := hold{line: "infrastructure: " + c.words()}
	object, telling := m.seen, c
	if worse, found := worstCondition(m.infra); found {
		object, telling = m.infra, worse
	}
	if m.infra.pausedByAnnotation() {
		h.stuck = true
		h.Stall = m.infra.stall(StallPaused, rolloutCondition{}).saying(
			fmt.Sprintf("%s carries the annotation %s, so its provider does not touch it.", what, clusterv1.PausedAnnotation),
			"Find out who paused it and why, then remove the annotation.")
		return []hold{h}
	}
	if c.reason == clusterv1.MachineInfrastructureDoesNotExistReason || c.reason == clusterv1.MachineInfrastructureDeletedReason {
		h.stuck = true
		h.Stall = m.stall(StallProviderError, c).saying(
			fmt.Sprintf("%s, the infrastructure of Machine %s, is gone.", what, m.name()),
			"Find out who deleted it; delete the Machine so that its MachineSet makes another.")
		return []hold{h}
	}
	if h.stuck = telling.tellsError(); h.stuck {
		h.Stall = object.stall(StallProviderError, telling).saying(
			fmt.Sprintf("The infrastructure provider cannot make the machine of Machine %s: %s.", m.name(), firstError(telling)),
			fmt.Sprintf("Look at %s and the logs of its provider; if the template is wrong, go back to the old one or name a corrected one.", what))
		return []hold{h}
	}
	explanation := fmt.Sprintf("%s is not provisioned and reports no error.", what)
	switch {
	case m.infra != nil && len(externalConditions(m.infra)) == 0:
		object, telling = m.infra, rolloutCondition{message: c.message}
		explanation = fmt.Sprintf("%s has no condition at all: no controller seems to take care of it.", what)
	case strings.Contains(c.message, "status.initialization.provisioned is false"), c.reason == clusterv1.WaitingForInfrastructureFallbackV1Beta1Reason:
		// Cluster API's own words for an infrastructure machine without a Ready
		// condition (machine_controller_status.go).
		explanation = fmt.Sprintf("%s is not provisioned and reports nothing: perhaps no controller takes care of it.", what)
	}
	h.Stall = object.stall(StallInfrastructureNotReady, telling).saying(explanation,
		fmt.Sprintf("See that the provider's controller for %s is installed, running and allowed to act, and read its logs.", cmp.Or(ref.kind, "the infrastructure machine")))
	return []hold{h}
}

func nodeHolds(m poolMachine) []hold {
	c, _ := m.condition(clusterv1.MachineNodeHealthyCondition, string(clusterv1.MachineNodeHealthyV1Beta1Condition))
	infra, _ := m.condition(clusterv1.MachineInfrastructureReadyCondition, string(clusterv1.InfrastructureReadyV1Beta1Condition))
	switch {
	case c.holds() && m.node() != "":
		return nil
	case c.reason == clusterv1.MachineNodeConnectionDownReason && strings.Contains(c.message, "Last successful probe"):
		return []hold{{stuck: true, line: "node: " + c.words(), Stall: m.stall(StallWorkloadUnreachable, c).saying(
			"The management cluster no longer reaches the API server of the workload cluster, so no node can be seen to join.",
			"Look at the control plane, its load balancer and the network between both clusters.")}}
	case m.node() != "" && c.reason == clusterv1.MachineNodeDeletedReason:
		return []hold{{stuck: true, line: "node: " + c.words(), Stall: m.stall(StallNodeNotHealthy, c).saying(
			fmt.Sprintf("Node %s of Machine %s was deleted while the Machine is still there.", m.node(), m.name()),
			"Find out what deleted the node (a cloud controller that sees no instance?); delete the Machine so that another is made.")}}
	case m.node() != "":
		return []hold{{line: "node: " + cmp.Or(c.words(), "not healthy"), Stall: m.stall(StallNodeNotHealthy, c).saying(
			fmt.Sprintf("Node %s has joined and is not healthy: %s.", m.node(), cmp.Or(oneLine(c.message), c.reason, "no reason given")),
			"Look at the node in the workload cluster: its conditions, its kubelet, and the network plugin's pods on it.")}}
	case !infra.holds():
		return nil // no node can be there yet
	}
	return []hold{{line: "a node to join: " + cmp.Or(c.words(), "none has"), Stall: m.stall(StallNodeNotJoined, c).saying(
		fmt.Sprintf("The infrastructure of Machine %s is there and no node has joined for it.", m.name()),
		"Read the machine's console or cloud-init log. Usual causes: an image of another Kubernetes version, a kubelet flag that is gone, no way to the API server's load balancer.")}}
}

func updateHolds(m poolMachine) []hold {
	c, ok := m.condition(clusterv1.MachineUpdatingCondition, "")
	if !ok || !c.holds() {
		return nil
	}
	h := hold{line: "in-place update: " + c.words()}
	if h.stuck = c.reason == clusterv1.MachineInPlaceUpdateFailedReason; h.stuck {
		h.Stall = m.stall(StallInPlaceUpdateFailed, c).saying(
			fmt.Sprintf("The update of Machine %s in place has failed: %s.", m.name(), cmp.Or(oneLine(c.message), c.reason)),
			"Read the logs of the update extension; deleting the Machine makes a new one instead.")
		return []hold{h}
	}
	h.Stall = m.stall(StallMachineNotReady, c).saying(
		fmt.Sprintf("Machine %s is being updated in place.", m.name()), "Read the logs of the update extension.")
	return []hold{h}
}

func healthCheckHolds(m poolMachine) []hold {
	for _, pair := range [][2]string{
		{clusterv1.MachineHealthCheckSucceededCondition, string(clusterv1.MachineHealthCheckSucceededV1Beta1Condition)},
		{clusterv1.MachineOwnerRemediatedCondition, string(clusterv1.MachineOwnerRemediatedV1Beta1Condition)},
	} {
		c, ok := m.condition(pair[0], pair[1])
		if !ok || c.status != "False" {
			continue
		}
		return []hold{{stuck: true, line: "health check: " + c.words(), Stall: churn(m.seen, c)}}
	}
	return nil
}

func churn(object seen, c rolloutCondition) Stall {
	return object.stall(StallHealthCheckChurn, c).saying(
		fmt.Sprintf("A MachineHealthCheck has given up on new machines of this pool and has them replaced: %s.", strings.TrimSuffix(c.words(), ".")),
		"Find out why the new machines are not healthy in time; if they only boot slowly, raise nodeStartupTimeoutSeconds, or annotate a Machine with "+clusterv1.MachineSkipRemediationAnnotation+" to look at it.")
}

// mismatchHolds compares what a new Machine is with what it should be. Up to
// Cluster API 1.13 a machine from the wrong image counts as up to date.
func (a asked) mismatchHolds(m poolMachine) []hold {
	if c, ok := m.condition(clusterv1.MachineUpdatingCondition, ""); ok && c.holds() {
		return nil // it is on its way there in place
	}
	var holds []hold
	if is := withV(m.text("spec", "version")); is != a.template.version {
		holds = append(holds, hold{
			line: fmt.Sprintf("version %s, %s is wanted", cmp.Or(is, "none"), cmp.Or(a.template.version, "none")),
			Stall: m.stall(StallMachineNotReady, rolloutCondition{}).saying(
				fmt.Sprintf("Machine %s has version %s, %s is wanted.", m.name(), cmp.Or(is, "none"), cmp.Or(a.template.version, "none")),
				"See who changed the Machine; delete it so that its MachineSet makes another."),
		})
	}
	if kubelet := m.kubelet(); kubelet != "" && a.template.version != "" && !KubeletRuns(kubelet, a.template.version) {
		s := m.stall(StallWrongKubeletVersion, rolloutCondition{message: "status.nodeInfo.kubeletVersion is " + kubelet}).saying(
			fmt.Sprintf("Node %s of Machine %s runs kubelet %s, the pool asks for %s: the image holds another Kubernetes version.", m.node(), m.name(), kubelet, a.template.version),
			fmt.Sprintf("Name an image made for %s, or the version that this one holds. Cluster API up to v1.13 takes such a machine for good and goes on: some or all old machines may be gone.", a.template.version))
		holds = append(holds, hold{Stall: s, stuck: true, line: fmt.Sprintf("kubelet %s, %s is wanted", kubelet, a.template.version)})
	}
	for _, made := range []struct {
		from templateRef
		is   seen
	}{{a.template.infrastructure, m.infra}, {a.template.bootstrap, m.config}} {
		name, ok := made.is.annotation(clusterv1.TemplateClonedFromNameAnnotation)
		if !ok || name == made.from.name {
			continue
		}
		s := made.is.stall(StallWrongTemplate, rolloutCondition{message: clusterv1.TemplateClonedFromNameAnnotation + ": " + name}).saying(
			fmt.Sprintf("%s %s of Machine %s was made from %s, the pool names %s.", made.is.kind(), made.is.name(), m.name(), name, made.from.name),
			"Delete the Machine so that its MachineSet makes another from the template that is named.")
		holds = append(holds, hold{Stall: s, stuck: true, line: fmt.Sprintf("template %s, %s is wanted", name, made.from.name)})
	}
	if c, ok := m.condition(clusterv1.MachineUpToDateCondition, ""); ok && c.status == "False" {
		// The one part of a rollout that needs a clock; Cluster API has looked at it.
		if a.after && strings.Contains(c.message, "rolloutAfter expired") {
			holds = append(holds, hold{
				line: c.words(),
				Stall: m.stall(StallControllersSilent, c).saying(
					"spec.rollout.after has passed and the machines made before it are still to be replaced.", "See that the Cluster API controllers are running."),
			})
		}
	}
	return holds
}

// otherHold is for a Machine that is not available although nothing known holds
// it: a readiness gate, minReadySeconds, or no condition yet.
func otherHold(m poolMachine) hold {
	ready, _ := m.condition(clusterv1.MachineReadyCondition, string(clusterv1.ReadyV1Beta1Condition))
	available, _ := m.condition(clusterv1.MachineAvailableCondition, "")
	c := ready
	if ready.holds() {
		c = available
	}
	line := "ready: " + c.words()
	if c.words() == "" {
		line = "its controller to report on it"
	}
	return hold{line: line, Stall: m.stall(StallMachineNotReady, c).saying(
		fmt.Sprintf("Machine %s is not available: %s.", m.name(), cmp.Or(oneLine(c.message), c.reason, "its controller has not reported on it")),
		"Look at the conditions of the Machine, its readiness gates and minReadySeconds among them.")}
}

// externalConditions are all conditions of a provider's object, which may
// follow the v1beta1 contract, the v1beta2 contract, or both, whatever the
// version of its API is called.
func externalConditions(object seen) []rolloutCondition {
	return slices.Concat(
		rolloutConditions(object.objects("status", "conditions")),
		rolloutConditions(object.objects("status", "v1beta2", "conditions")),
		rolloutConditions(object.objects("status", "deprecated", "v1beta1", "conditions")),
	)
}

// worstCondition is the first condition of a provider's object that tells of an
// error; Ready sums the others up and is taken last.
func worstCondition(object seen) (rolloutCondition, bool) {
	var summary *rolloutCondition
	for _, c := range externalConditions(object) {
		if c.kind == clusterv1.PausedCondition || c.kind == clusterv1.DeletingCondition || !c.tellsError() {
			continue
		}
		if c.kind != clusterv1.ReadyCondition {
			return c, true
		}
		if summary == nil {
			summary = &c
		}
	}
	if summary != nil {
		return *summary, true
	}
	return rolloutCondition{}, false
}

// firstError is the part of a condition to quote in an explanation.
func firstError(c rolloutCondition) string {
	said := oneLine(c.message)
	if lines := errorLines(c.message); len(lines) > 0 {
		said = lines[0]
	}
	if reasonTellsError(c.reason) && said != "" {
		said = c.reason + ": " + said
	}
	return strings.TrimSuffix(cmp.Or(said, c.reason, "no reason given"), ".")
}

func described(object seen, kind, name string) string {
	if object != nil {
		kind, name = object.kind(), object.name()
	}
	return strings.TrimSpace(kind + " " + name)
}
