package capi

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// The words of the drain that mean a pod cannot be evicted, as against one that
// takes its time. Source: EvictionResult.ConditionMessage, which says that other
// code relies on them, and machine_controller.go.
var evictionRefused = regexp.MustCompile(`cannot evict pod as it would violate the pod's disruption budget|failed to evict Pod|Error draining Node|[Ff]ailed to drain`)

// deletionHolds are what a Machine that is being deleted waits for. The
// deletion goes through pre-drain hooks, drain, volumes, pre-terminate hooks,
// infrastructure, bootstrap config and node, in this order.
func deletionHolds(m poolMachine) []hold {
	c, ok := m.condition(clusterv1.MachineDeletingCondition, "")
	if !ok || !c.holds() {
		return oldDeletionHolds(m)
	}
	switch c.reason {
	case clusterv1.MachineDeletingWaitingForPreDrainHookReason:
		return []hold{hookHold(m, c, StallPreDrainHook, clusterv1.PreDrainDeleteHookAnnotationPrefix, "drained")}
	case clusterv1.MachineDeletingDrainingNodeReason:
		return []hold{drainHold(m, c)}
	case clusterv1.MachineDeletingWaitingForVolumeDetachReason:
		return []hold{volumeHold(m, c)}
	case clusterv1.MachineDeletingWaitingForPreTerminateHookReason:
		return []hold{hookHold(m, c, StallPreTerminateHook, clusterv1.PreTerminateDeleteHookAnnotationPrefix, "terminated")}
	case clusterv1.MachineDeletingWaitingForInfrastructureDeletionReason:
		return []hold{infrastructureDeletionHold(m, c)}
	case clusterv1.MachineDeletingInternalErrorReason:
		if kind := m.text("spec", "infrastructureRef", "kind"); kind != "" && strings.Contains(c.message, kind) {
			return []hold{infrastructureDeletionHold(m, c)}
		}
	}
	return []hold{finalHold(m, c)}
}

// oldDeletionHolds reads the conditions of the v1beta1 contract, for Cluster
// API before 1.9.
func oldDeletionHolds(m poolMachine) []hold {
	if len(m.conditions()) > 0 {
		return []hold{finalHold(m, rolloutCondition{})} // the new condition is about to be set
	}
	old := m.oldConditions()
	unmet := func(kind clusterv1.ConditionType) (rolloutCondition, bool) {
		c, ok := findCondition(old, string(kind))
		return c, ok && !c.holds()
	}
	if c, ok := unmet(clusterv1.PreDrainDeleteHookSucceededV1Beta1Condition); ok {
		return []hold{hookHold(m, c, StallPreDrainHook, clusterv1.PreDrainDeleteHookAnnotationPrefix, "drained")}
	}
	if c, ok := unmet(clusterv1.DrainingSucceededV1Beta1Condition); ok {
		return []hold{drainHold(m, c)}
	}
	if c, ok := unmet(clusterv1.VolumeDetachSucceededV1Beta1Condition); ok {
		return []hold{volumeHold(m, c)}
	}
	if c, ok := unmet(clusterv1.PreTerminateDeleteHookSucceededV1Beta1Condition); ok {
		return []hold{hookHold(m, c, StallPreTerminateHook, clusterv1.PreTerminateDeleteHookAnnotationPrefix, "terminated")}
	}
	if c, ok := unmet(clusterv1.InfrastructureReadyV1Beta1Condition); ok && c.reason == clusterv1.DeletionFailedV1Beta1Reason {
		return []hold{infrastructureDeletionHold(m, c)}
	}
	return []hold{finalHold(m, rolloutCondition{})}
}

func hookHold(m poolMachine, c rolloutCondition, cause StallCause, prefix, what string) hold {
	var hooks []string
	for key := range m.object("metadata", "annotations") {
		if strings.HasPrefix(key, prefix) {
			hooks = append(hooks, key)
		}
	}
	slices.Sort(hooks)
	which := strings.Join(hooks, ", ")
	if c.message == "" {
		c.message = which // the v1beta1 condition has no message
	}
	return hold{stuck: true, line: "hook: " + c.words(), Stall: m.stall(cause, c).saying(
		fmt.Sprintf("Machine %s may not be %s until the owner of its hook allows it (%s).", m.name(), what, cmp.Or(which, oneLine(c.message), "hook not named")),
		"Find the controller that owns the hook and why it waits; it removes the annotation when it is done.")}
}

func drainHold(m poolMachine, c rolloutCondition) hold {
	h := hold{line: "drain: " + c.words(), stuck: evictionRefused.MatchString(c.message) || c.reason == clusterv1.DrainingFailedV1Beta1Reason}
	node := cmp.Or(m.node(), m.name())
	explanation := fmt.Sprintf("The pods of node %s are not gone yet.", node)
	next := "See what the pods on the node wait for: a long termination grace period, a finalizer, a job that runs on."
	switch {
	case strings.Contains(c.message, "disruption budget"):
		explanation = fmt.Sprintf("A PodDisruptionBudget forbids the eviction of pods from node %s, so Machine %s cannot be deleted: %s", node, m.name(), strings.Join(evictionLines(c.message), "; "))
		next = "Make the workload able to lose a pod: more replicas, ready pods elsewhere, or a looser budget. Without nodeDrainTimeout the drain waits for ever."
	case h.stuck:
		explanation = fmt.Sprintf("Pods cannot be evicted from node %s, so Machine %s cannot be deleted: %s", node, m.name(), strings.Join(evictionLines(c.message), "; "))
		next = "Read the error and the logs of the Cluster API controller; a webhook that refuses evictions and an unreachable API server are usual causes."
	}
	h.Stall = m.stall(StallDrainBlocked, c).saying(explanation, next)
	return h
}

// evictionLines are the lines about pods that cannot be evicted, in one line each.
func evictionLines(message string) []string {
	var lines []string
	for _, line := range strings.Split(message, "\n") {
		if evictionRefused.MatchString(line) {
			lines = append(lines, strings.TrimLeft(strings.TrimSpace(line), "* "))
		}
	}
	if len(lines) == 0 {
		return []string{oneLine(message)}
	}
	return lines
}

func volumeHold(m poolMachine, c rolloutCondition) hold {
	return hold{line: "volumes: " + c.words(), stuck: strings.HasPrefix(c.message, "Error"), Stall: m.stall(StallVolumeDetach, c).saying(
		fmt.Sprintf("Volumes are still attached to node %s, so its machine is kept: %s.", cmp.Or(m.node(), m.name()), cmp.Or(oneLine(c.message), c.reason)),
		"Look at the VolumeAttachments of the node and the CSI driver; without nodeVolumeDetachTimeout the wait has no end.")}
}

func infrastructureDeletionHold(m poolMachine, c rolloutCondition) hold {
	ref := templateRefOf(m.object("spec", "infrastructureRef"))
	what := described(m.infra, ref.kind, ref.name)
	h := hold{line: "infrastructure: " + c.words(), stuck: c.reason == clusterv1.MachineDeletingInternalErrorReason || c.reason == clusterv1.DeletionFailedV1Beta1Reason}
	object, telling := m.seen, c
	// An error of the time when the machine was made may still stand there; only
	// one that speaks of the deletion counts.
	for _, said := range externalConditions(m.infra) {
		if said.tellsError() && speaksOfDeletion(said) {
			object, telling, h.stuck = m.infra, said, true
			break
		}
	}
	kept := "still there"
	if finalizers := m.infra.finalizers(); len(finalizers) > 0 {
		kept = "kept by " + strings.TrimPrefix(count(len(finalizers), "finalizer"), "1 ") + " " + strings.Join(finalizers, ", ")
	}
	explanation := fmt.Sprintf("%s, the infrastructure of Machine %s, is being deleted and %s.", what, m.name(), kept)
	if h.stuck {
		explanation = fmt.Sprintf("%s, the infrastructure of Machine %s, cannot be deleted: %s.", what, m.name(), firstError(telling))
	}
	h.Stall = object.stall(StallInfrastructureDeletion, telling).saying(explanation,
		fmt.Sprintf("Look at the machine in the cloud, at %s and its finalizers, and at the logs of its provider.", what))
	return h
}

func speaksOfDeletion(c rolloutCondition) bool {
	said := strings.ToLower(c.reason + " " + c.message)
	return slices.ContainsFunc([]string{"delet", "terminat", "destroy", "detach"}, func(word string) bool { return strings.Contains(said, word) })
}

// finalHold is the rest of a deletion: bootstrap config, node, finalizers.
func finalHold(m poolMachine, c rolloutCondition) hold {
	foreign := filter(m.finalizers(), func(f string) bool { return f != clusterv1.MachineFinalizer })
	line := "deletion: " + cmp.Or(c.words(), "just begun")
	explanation := fmt.Sprintf("Machine %s is being deleted and still there (%s).", m.name(), cmp.Or(c.reason, "nothing reported"))
	next := "See that the Cluster API controllers are running and read their logs."
	if len(foreign) > 0 {
		explanation = fmt.Sprintf("Machine %s is being deleted and kept by %s %s.", m.name(), strings.TrimPrefix(count(len(foreign), "finalizer"), "1 "), strings.Join(foreign, ", "))
		next = "Find the controller that set the finalizer and why it does not take it away."
	}
	stuck := c.reason == clusterv1.MachineDeletingInternalErrorReason || strings.HasPrefix(c.message, "Error")
	return hold{line: line, stuck: stuck, Stall: m.stall(StallMachineDeletion, c).saying(explanation, next)}
}
