package capi

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// ClusterState says what of a Cluster stands in the way of new machines.
type ClusterState struct {
	// Told is false when the object has no status, as manifests in Git have none.
	Told bool
	// Lacking holds what never was there and without which no machine comes up:
	// bootstrap providers and infrastructure providers wait for both.
	Lacking []string
	// Unwell holds what was there and does not answer its purpose now, in the
	// words of the Cluster's conditions.
	Unwell []string
}

// ClusterStateOf reads the state of a Cluster of any provider: v1beta2 tells in
// status.initialization and the conditions InfrastructureReady and
// ControlPlaneAvailable, v1beta1 in status.infrastructureReady,
// status.controlPlaneReady and the conditions ControlPlaneInitialized and
// ControlPlaneReady.
// Source: ClusterStatus (api/core/v1beta1 and v1beta2, cluster_types.go).
func ClusterStateOf(cluster *unstructured.Unstructured) ClusterState {
	c := seen(cluster.Object)
	out := ClusterState{Told: len(c.object("status")) > 0}
	if !out.Told {
		return out
	}
	infrastructure := c.flag("status", "initialization", "infrastructureProvisioned")
	controlPlane := c.flag("status", "initialization", "controlPlaneInitialized")
	if c.oldForm() {
		infrastructure = c.flag("status", "infrastructureReady")
		initialized, _ := findCondition(c.oldConditions(), string(clusterv1.ControlPlaneInitializedV1Beta1Condition))
		controlPlane = initialized.holds() || c.flag("status", "controlPlaneReady")
	}
	for _, part := range []struct {
		name      string
		there     bool
		kind, old string
	}{
		{"infrastructure", infrastructure, clusterv1.ClusterInfrastructureReadyCondition, string(clusterv1.InfrastructureReadyV1Beta1Condition)},
		{"control plane", controlPlane, clusterv1.ClusterControlPlaneAvailableCondition, string(clusterv1.ControlPlaneReadyV1Beta1Condition)},
	} {
		condition, found := c.condition(part.kind, part.old)
		words := ""
		if said := condition.words(); said != "" && !condition.holds() {
			words = " (" + said + ")"
		}
		switch {
		case !part.there:
			out.Lacking = append(out.Lacking, "its "+part.name+" was never ready"+words)
		case found && !condition.holds():
			out.Unwell = append(out.Unwell, "the condition "+condition.kind+" is "+condition.status+words)
		}
	}
	return out
}
