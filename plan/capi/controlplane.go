package capi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// ControlPlane is what the control plane contract tells of any kind of
// control plane (docs/book/src/developer/providers/contracts/control-plane.md).
type ControlPlane struct {
	// Version is spec.version; Running is the lowest version that serves.
	Version, Running string
	// Unsettled says why the control plane is not fully at its version,
	// in words; empty when it is.
	Unsettled string
	// Unstable tells that it is unsettled in a way for which Cluster API makes
	// no worker machine (preflight check ControlPlaneIsStable): it is being
	// made or upgraded. One that lacks machines is not.
	Unstable bool
}

// ControlPlaneOf reads a control plane object of any kind that follows the
// contract. Counts that its kind does not have are not judged.
func ControlPlaneOf(obj *unstructured.Unstructured) ControlPlane {
	cp := ControlPlane{
		Version: StringAt(obj, "spec", "version"),
		Running: StringAt(obj, "status", "version"),
	}
	if cp.Running == "" {
		cp.Running = lowestVersion(obj)
	}
	switch on, err := upgrading(cp.Version, cp.Running); {
	case cp.Version == "":
		return cp
	case cp.Running == "":
		cp.Unsettled, cp.Unstable = fmt.Sprintf("it reports no running version yet, and %s is wanted", cp.Version), true
		return cp
	case err == nil && on, err != nil && cp.Running != cp.Version:
		cp.Unsettled, cp.Unstable = fmt.Sprintf("it still runs %s, and %s is wanted", cp.Running, cp.Version), true
		return cp
	case err == nil && !sameVersion(cp.Running, cp.Version):
		cp.Unsettled = fmt.Sprintf("it runs %s, which is newer than the %s that is wanted", cp.Running, cp.Version)
		return cp
	}
	want, ok := Int64At(obj, "spec", "replicas")
	if !ok {
		return cp
	}
	var unsettled []string
	for _, c := range []struct {
		path []string
		what string
		must bool
	}{
		{dotted("status.replicas"), "are there", false},
		{dotted("status.readyReplicas"), "are ready", true},
		{dotted("status.upToDateReplicas"), "are up to date", false},
		{dotted("status.updatedReplicas"), "are up to date", false},
	} {
		got, found := Int64At(obj, c.path...)
		if (found || c.must) && got != want {
			text := fmt.Sprintf("%d of its %d machines %s", got, want, c.what)
			if got > want {
				text = fmt.Sprintf("%d machines %s in place of %d", got, c.what, want)
			}
			if !slices.Contains(unsettled, text) { // two fields tell the same
				unsettled = append(unsettled, text)
			}
		}
	}
	cp.Unsettled = strings.Join(unsettled, ", ")
	return cp
}

// Under adds what the cluster of the control plane tells: that its topology is
// to bring the control plane to another version, and has not yet asked it to,
// which is unstable to Cluster API, too (controlPlaneStablePreflightCheck of
// internal/controllers/machineset; a step of a chained upgrade counts as
// arrived).
func (cp ControlPlane) Under(cluster *unstructured.Unstructured) ControlPlane {
	topology := StringAt(cluster, "spec", "topology", "version")
	wanted := cmp.Or(cluster.GetAnnotations()[clusterv1.ClusterTopologyUpgradeStepAnnotation], topology)
	if topology == "" || cp.Version == "" || cp.Version == topology || cp.Version == wanted {
		return cp
	}
	if !cp.Unstable {
		cp.Unsettled, cp.Unstable = fmt.Sprintf("it is at %s, and the cluster's topology is to bring it to %s", cp.Version, wanted), true
	}
	return cp
}

// lowestVersion reads status.versions[].version, which replaces
// status.version from Cluster API v1.14 on.
func lowestVersion(obj *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(obj.Object, "status", "versions")
	lowest := ""
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			continue
		}
		if v, _ := m["version"].(string); older(v, lowest) {
			lowest = v
		}
	}
	return lowest
}
