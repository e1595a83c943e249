package capi

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Labels and annotations of Cluster API that nodepool reads
// (api/core/v1beta2/common_types.go).
const (
	ClusterNameLabel            = "cluster.x-k8s.io/cluster-name"
	DeploymentNameLabel         = "cluster.x-k8s.io/deployment-name"
	PausedAnnotation            = "cluster.x-k8s.io/paused"
	TopologyOwnedLabel          = "topology.cluster.x-k8s.io/owned"
	TopologyDeploymentNameLabel = "topology.cluster.x-k8s.io/deployment-name"
	AutoscalerMinAnnotation     = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size"
	AutoscalerMaxAnnotation     = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size"
)

// TopologyOwned reports whether a ClusterClass topology owns obj, and the
// name of its entry in Cluster.spec.topology.workers.machineDeployments.
func TopologyOwned(obj *unstructured.Unstructured) (entry string, owned bool) {
	_, owned = obj.GetLabels()[TopologyOwnedLabel]
	return obj.GetLabels()[TopologyDeploymentNameLabel], owned
}

// OwnerOf names the tool that manages obj by the marks it leaves: a topology,
// Argo CD, Flux, Helm or kapp. It gives "" when there is no mark; kubectl and
// people leave none.
func OwnerOf(obj *unstructured.Unstructured) string {
	labels, annotations := obj.GetLabels(), obj.GetAnnotations()
	if _, owned := TopologyOwned(obj); owned {
		return "topology"
	}
	for _, mark := range []struct {
		marks map[string]string
		key   string
		owner string
	}{
		{annotations, "argocd.argoproj.io/tracking-id", "Argo CD"},
		{labels, "argocd.argoproj.io/instance", "Argo CD"},
		{labels, "kustomize.toolkit.fluxcd.io/name", "Flux"},
		{labels, "helm.toolkit.fluxcd.io/name", "Flux"},
		{annotations, "meta.helm.sh/release-name", "Helm"},
		{labels, "kapp.k14s.io/app", "kapp"},
	} {
		if _, ok := mark.marks[mark.key]; ok {
			return mark.owner
		}
	}
	return ""
}

// IsPaused reports whether o is paused by its spec or by the annotation.
func IsPaused(o *unstructured.Unstructured) bool {
	_, annotated := o.GetAnnotations()[PausedAnnotation]
	return annotated || BoolAt(o, "spec", "paused")
}
