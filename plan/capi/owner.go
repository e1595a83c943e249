package capi

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Labels and annotations of Cluster API that nodepool reads
// (api/core/v1beta2/common_types.go).
const (
	ClusterNameLabel            = "cluster.x-k8s.io/cluster-name"
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
