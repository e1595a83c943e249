package plan_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

const (
	toVersion = "kubernetesVersion: v1.35.2"
	toImage   = "machineImage: ami-new"
	toBoth    = "kubernetesVersion: v1.35.2, machineImage: ami-new"
)

// managed gives the cluster a control plane of another kind, that a provider
// runs, and the pool a bootstrap template that knows nothing of kubeadm.
func managed(spec, status map[string]any) func(*clustertest.World) {
	return func(w *clustertest.World) {
		w.Serve(
			clustertest.Kind{Group: clustertest.ControlPlaneGroup, Kind: "AWSManagedControlPlane", Version: "v1beta2"},
			clustertest.Kind{Group: clustertest.BootstrapGroup, Kind: "NodeadmConfigTemplate", Version: "v1beta2"},
			clustertest.Kind{Group: clustertest.BootstrapGroup, Kind: "NodeadmConfig", Version: "v1beta2"})
		meta := map[string]any{"namespace": "default", "name": "managed"}
		w.Put(&object{Object: map[string]any{"apiVersion": clustertest.ControlPlaneGroup + "/v1beta2", "kind": "AWSManagedControlPlane",
			"metadata": meta, "spec": spec, "status": status}})
		w.Put(&object{Object: map[string]any{"apiVersion": clustertest.BootstrapGroup + "/v1beta2", "kind": "NodeadmConfigTemplate",
			"metadata": meta, "spec": map[string]any{}}})
		edit(clusterRef, map[string]any{"apiGroup": clustertest.ControlPlaneGroup, "kind": "AWSManagedControlPlane", "name": "managed"},
			"spec", "controlPlaneRef")(w)
		edit(awsRef, map[string]any{"apiGroup": clustertest.BootstrapGroup, "kind": "NodeadmConfigTemplate", "name": "managed"},
			"spec", "template", "spec", "bootstrap", "configRef")(w)
	}
}

func version2(v string) map[string]any { return map[string]any{"version": v} }

func skip(checks string) func(*clustertest.World) {
	return edit(awsRef, checks, "metadata", "annotations", capi.SkipPreflightAnnotation)
}

// topology gives the Cluster a topology of a version that none of its pools is
// of, and the step of an upgrade that it is at.
func topology(version, step string) func(*clustertest.World) {
	return func(w *clustertest.World) {
		edit(clusterRef, map[string]any{"classRef": map[string]any{"name": "c"}, "version": version}, "spec", "topology")(w)
		if step != "" {
			edit(clusterRef, step, "metadata", "annotations", "topology.internal.cluster.x-k8s.io/upgrade-step")(w)
		}
	}
}

// release114 leaves what Cluster API v1.14 leaves on a MachineDeployment.
func release114(w *clustertest.World) {
	edit(awsRef, []any{map[string]any{"version": "v1.34.3", "replicas": int64(3)}}, "status", "versions")(w)
}

func all(edits ...func(*clustertest.World)) func(*clustertest.World) {
	return func(w *clustertest.World) {
		for _, e := range edits {
			e(w)
		}
	}
}

// TestChecks covers every preflight check: its severity, and that its message
// says what, where, why and what to do.
func TestChecks(t *testing.T) {
	t.Parallel()
	const (
		md  = "MachineDeployment default/aws-example-md-0"
		kcp = "KubeadmControlPlane default/aws-example-control-plane"

		entry = "spec.topology.workers.machineDeployments[name=md-0]."
	)
	deleted := "2026-01-01T00:00:00Z"
	tests := []struct {
		name   string
		adjust []clustertest.Adjust
		edit   func(*clustertest.World)
		pool   string // fields; toBoth when empty
		up     func(*schema.Upgrade)

		code     string
		severity plan.Severity
		words    []string
		not      []string
	}{
		{name: "cluster there", code: plan.CheckCluster, severity: plan.Pass, words: []string{"Cluster default/aws-example"}},
		{name: "cluster absent", up: func(up *schema.Upgrade) { up.Spec.Cluster.Name = "aws-exmaple" },
			code: plan.CheckCluster, severity: plan.Block, words: []string{"Cluster default/aws-exmaple does not exist", "spec.cluster", "there is default/aws-example"}},
		{name: "cluster in no namespace", up: func(up *schema.Upgrade) { up.Spec.Cluster.Namespace = "elsewhere" },
			code: plan.CheckCluster, severity: plan.Block, words: []string{"Cluster elsewhere/aws-example does not exist"}},
		{name: "cluster going away", edit: edit(clusterRef, deleted, "metadata", "deletionTimestamp"),
			code: plan.CheckCluster, severity: plan.Block, words: []string{"Cluster default/aws-example is being deleted"}},

		{name: "cluster moves", code: plan.CheckClusterPaused, severity: plan.Pass},
		{name: "cluster paused", adjust: []clustertest.Adjust{clustertest.PausedCluster()},
			code: plan.CheckClusterPaused, severity: plan.Block, words: []string{"Cluster default/aws-example is paused", "spec.paused is true", "nothing in it moves", "set spec.paused to false, then plan again"}},
		{name: "cluster paused by annotation", edit: edit(clusterRef, "", "metadata", "annotations", capi.PausedAnnotation),
			code: plan.CheckClusterPaused, severity: plan.Warn, words: []string{"Cluster default/aws-example has the annotation " + capi.PausedAnnotation, "its pools roll all the same", "do not apply", "then plan again"}},

		{name: "cluster available", code: plan.CheckClusterAvailable, severity: plan.Pass, words: []string{"infrastructure and control plane are available"}},
		{name: "old cluster available", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()}, code: plan.CheckClusterAvailable, severity: plan.Pass, words: []string{"are available"}},
		{name: "cluster that tells nothing", edit: edit(clusterRef, nil, "status"), code: plan.CheckClusterAvailable, severity: plan.NotVerified, words: []string{"not verified", "no status"}},
		{name: "cluster without infrastructure", edit: edit(clusterRef, nil, "status", "initialization", "infrastructureProvisioned"),
			code: plan.CheckClusterAvailable, severity: plan.Block, words: []string{"Cluster default/aws-example", "its infrastructure was never ready", "stand still at its first machine", "spec.infrastructureRef", "wait until they are ready, then plan again"}},
		{name: "old cluster without infrastructure", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()}, edit: edit(clusterRef, false, "status", "infrastructureReady"),
			code: plan.CheckClusterAvailable, severity: plan.Block, words: []string{"its infrastructure was never ready"}},
		{name: "cluster without control plane", edit: all(edit(clusterRef, false, "status", "initialization", "controlPlaneInitialized"), clusterSays("ControlPlaneAvailable", "False", "NotAvailable", "etcd has no quorum")),
			code: plan.CheckClusterAvailable, severity: plan.Block, words: []string{"its control plane was never ready (etcd has no quorum (NotAvailable))"}},
		{name: "old cluster without control plane", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()},
			edit: all(edit(clusterRef, false, "status", "controlPlaneReady"), edit(clusterRef, []any{}, "status", "conditions"), edit(clusterRef, nil, "status", "v1beta2")),
			code: plan.CheckClusterAvailable, severity: plan.Block, words: []string{"its control plane was never ready"}},
		{name: "control plane that does not answer", edit: clusterSays("ControlPlaneAvailable", "False", "NotAvailable", "etcd has no quorum"),
			code: plan.CheckClusterAvailable, severity: plan.Warn, words: []string{"Cluster default/aws-example is not well", "ControlPlaneAvailable is False", "etcd has no quorum", "may not join", "may stall", "wait until it is True, then plan again"}},
		{name: "infrastructure of unknown state", edit: clusterSays("InfrastructureReady", "Unknown", "InternalError", ""),
			code: plan.CheckClusterAvailable, severity: plan.Warn, words: []string{"InfrastructureReady is Unknown", "InternalError"}},

		{name: "pool there", code: plan.CheckMachineDeployment, severity: plan.Pass, words: []string{md}},
		{name: "pool absent", up: func(up *schema.Upgrade) { up.Spec.Pools[0].Name = "aws-example-md-3" },
			code: plan.CheckMachineDeployment, severity: plan.Block, words: []string{"MachineDeployment default/aws-example-md-3 does not exist", "correct the pool's name", "aws-example-md-0, aws-example-md-1"}},
		{name: "pool absent among many", adjust: []clustertest.Adjust{clustertest.ExtraPools(9, 0)},
			up:   func(up *schema.Upgrade) { up.Spec.Pools[0].Name = "aws-example-extra-01" },
			code: plan.CheckMachineDeployment, severity: plan.Block, words: []string{"there are aws-example-extra-001", "and 6 more"}},
		{name: "pool is a MachinePool", up: func(up *schema.Upgrade) { up.Spec.Pools[0].Name = "mp" },
			edit: func(w *clustertest.World) { w.Put(stranger("MachinePool", "default", "mp")) },
			code: plan.CheckMachineDeployment, severity: plan.Block, words: []string{"mp is a MachinePool", "without templates", "upgrades MachineDeployments"}},
		{name: "pool of another cluster", edit: edit(awsRef, "other", "spec", "clusterName"),
			code: plan.CheckMachineDeployment, severity: plan.Block, words: []string{md, "belongs to the cluster other", "spec.clusterName", "not to aws-example", "correct spec.cluster"}},
		{name: "pool going away", edit: edit(awsRef, deleted, "metadata", "deletionTimestamp"),
			code: plan.CheckMachineDeployment, severity: plan.Block, words: []string{md + " is being deleted", "remove the pool"}},

		{name: "pool of a name that is no label value", up: func(up *schema.Upgrade) { up.Spec.Pools[0].Name = strings.Repeat("n", 64) }, edit: renamed(64),
			code: plan.CheckMachineDeployment, severity: plan.Block, words: []string{"is no label value", "63", "shorter name"}},
		{name: "pool of the longest name", up: func(up *schema.Upgrade) { up.Spec.Pools[0].Name = strings.Repeat("n", 63) }, edit: renamed(63),
			code: plan.CheckMachineDeployment, severity: plan.Pass},

		{name: "pool moves", code: plan.CheckPaused, severity: plan.Pass},
		{name: "pool paused", adjust: []clustertest.Adjust{clustertest.PausedPool(awsPool)},
			code: plan.CheckPaused, severity: plan.Block, words: []string{md + " is paused", "spec.paused is true", "rolls whenever somebody ends the pause", "set spec.paused to false, then plan again"}},
		{name: "pool paused by annotation", edit: edit(awsRef, "", "metadata", "annotations", capi.PausedAnnotation),
			code: plan.CheckPaused, severity: plan.Block, words: []string{md + " is paused", capi.PausedAnnotation, "Cluster API does nothing with it", "remove the annotation, then plan again"}},

		{name: "no topology", code: plan.CheckTopology, severity: plan.Pass},
		{name: "topology", adjust: []clustertest.Adjust{clustertest.TopologyOwned()},
			code: plan.CheckTopology, severity: plan.Block, words: []string{md, "owned by the cluster's topology", "does nothing more for any part of the cluster", "no way back", "change it in the Cluster instead: spec.topology.version", "a variable of its ClusterClass that sets it (for this pool alone: spec.topology.workers.machineDeployments[name=md-0].variables.overrides)", "name it in the ClusterClass", "remove the pool from this upgrade and plan again"}},
		{name: "topology, and no new template", pool: "kubernetesVersion: v1.35.2", adjust: []clustertest.Adjust{clustertest.TopologyOwned()},
			code: plan.CheckTopology, severity: plan.Block, words: []string{md, "is put back", "replaced twice", "gets no machines", "change it in the Cluster instead: spec.topology.version, for control plane and workers alike; then remove the pool from this upgrade and plan again"}},
		{name: "topology, and another strategy", pool: "strategy: {maxUnavailable: 1}", adjust: []clustertest.Adjust{clustertest.TopologyOwned()},
			code: plan.CheckTopology, severity: plan.Block, words: []string{"sets is put back, and what they do not set stays", "change it in the Cluster instead: " + entry + "rollout.strategy; then remove"}, not: []string{"twice", "no machines"}},
		{name: "topology, and other drain settings", pool: "drain: {nodeDrainTimeout: 1m, nodeDeletionTimeout: 1m}", adjust: []clustertest.Adjust{clustertest.TopologyOwned()},
			code: plan.CheckTopology, severity: plan.Block, words: []string{"what they do not set stays", "instead: " + entry + "deletion.nodeDrainTimeoutSeconds; and " + entry + "deletion.nodeDeletionTimeoutSeconds; then remove"}, not: []string{"twice", "no machines"}},
		{name: "topology of before, with strategy and drain settings", pool: "strategy: {maxUnavailable: 1}, drain: {nodeDrainTimeout: 1m}", adjust: []clustertest.Adjust{clustertest.TopologyOwned(), clustertest.V1Beta1Only()},
			code: plan.CheckTopology, severity: plan.Block, words: []string{"instead: " + entry + "strategy; and " + entry + "nodeDrainTimeout; then remove"}},

		{name: "templates there", code: plan.CheckTemplates, severity: plan.Pass},
		{name: "infrastructure template missing", edit: func(w *clustertest.World) { w.Delete(awsTemplateRef) },
			code: plan.CheckTemplates, severity: plan.Block, words: []string{"AWSMachineTemplate default/aws-example-md-0", md, "does not exist", "restore the template"}},
		{name: "bootstrap template missing", edit: func(w *clustertest.World) { w.Delete(awsBootstrapRef) },
			code: plan.CheckTemplates, severity: plan.Block, words: []string{"KubeadmConfigTemplate default/aws-example-md-0", md, "does not exist", "restore the template"}},
		{name: "reference to nothing", edit: edit(awsRef, "gone", "spec", "template", "spec", "bootstrap", "configRef", "name"),
			code: plan.CheckTemplates, severity: plan.Block, words: []string{"KubeadmConfigTemplate default/gone", "does not exist"}},
		{name: "template going away", edit: edit(awsTemplateRef, deleted, "metadata", "deletionTimestamp"),
			code: plan.CheckTemplates, severity: plan.Block, words: []string{"AWSMachineTemplate default/aws-example-md-0", "is being deleted", "a template that stays"}},
		{name: "name too long", up: func(up *schema.Upgrade) { up.Spec.Pools[0].Name = strings.Repeat("n", 250) },
			edit: renamed(250),
			code: plan.CheckTemplates, severity: plan.Block, words: []string{"259 characters", "253 are allowed", "a shorter name"}},

		{name: "control plane updated", code: plan.CheckControlPlane, severity: plan.Pass, words: []string{kcp, "v1.35.2"}},
		{name: "control plane on its way", adjust: []clustertest.Adjust{clustertest.ControlPlaneVersion("v1.34.3"), clustertest.ControlPlaneUpgrading("v1.35.2")},
			code: plan.CheckControlPlane, severity: plan.Block, words: []string{kcp, "still runs v1.34.3", "v1.35.2 is wanted", "no worker machine", "wait until the control plane has finished, or repair it; then plan again"}},
		{name: "control plane's skip", adjust: []clustertest.Adjust{clustertest.ControlPlaneVersion("v1.35.1"), clustertest.ControlPlaneUpgrading("v1.35.2")},
			edit: skip("KubeadmVersionSkew, ControlPlaneIsStable"),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{kcp, "still runs v1.35.1", "skips the check", "newer than an API server", "then plan again"}},
		{name: "control plane of 3 with 2 ready", edit: edit(controlPlaneRef, int64(3), "spec", "replicas"),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{kcp, "1 of its 3 machines are there", "makes worker machines all the same"}},
		{name: "control plane not ready", edit: edit(controlPlaneRef, int64(0), "status", "readyReplicas"),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{"0 of its 1 machines are ready", "makes worker machines all the same"}},
		{name: "control plane not ready for lack of a count", edit: edit(controlPlaneRef, nil, "status", "readyReplicas"),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{"0 of its 1 machines are ready", "makes worker machines all the same"}},
		{name: "control plane not up to date", edit: edit(controlPlaneRef, int64(0), "status", "upToDateReplicas"),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{"0 of its 1 machines are up to date", "makes worker machines all the same"}},
		{name: "old control plane not up to date", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()}, edit: edit(controlPlaneRef, int64(0), "status", "updatedReplicas"),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{"0 of its 1 machines are up to date", "makes worker machines all the same"}},
		{name: "control plane tells nothing yet", edit: edit(controlPlaneRef, nil, "status", "version"),
			code: plan.CheckControlPlane, severity: plan.Block, words: []string{"reports no running version yet"}},
		{name: "control plane without version", edit: all(edit(controlPlaneRef, nil, "spec", "version"), edit(controlPlaneRef, nil, "status", "version")),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{kcp, "reports no version (spec.version)", "kubectl version", "v1.35.2 or newer"}},
		{name: "control plane missing", edit: func(w *clustertest.World) { w.Delete(controlPlaneRef) },
			code: plan.CheckControlPlane, severity: plan.Block, words: []string{kcp, "does not exist", "Cluster.spec.controlPlaneRef"}},
		{name: "no control plane object", edit: edit(clusterRef, nil, "spec", "controlPlaneRef"),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{"Cluster default/aws-example names no control plane object", "could not be compared", "may not join", "v1.35.2 or newer"}},
		{name: "control plane of another kind", edit: managed(version2("v1.35.2"), version2("v1.35.2")),
			code: plan.CheckControlPlane, severity: plan.Pass, words: []string{"AWSManagedControlPlane default/managed"}},
		{name: "control plane of another kind on its way", edit: managed(version2("v1.35.2"), version2("v1.34.9")),
			code: plan.CheckControlPlane, severity: plan.Block, words: []string{"AWSManagedControlPlane default/managed", "still runs v1.34.9"}},
		{name: "control plane on its way, nothing to be made", pool: "drain: {nodeDrainTimeout: 10m}", adjust: []clustertest.Adjust{clustertest.ControlPlaneVersion("v1.34.3"), clustertest.ControlPlaneUpgrading("v1.35.2")},
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{kcp, "still runs v1.34.3", "No machine has to be made for this change"}},
		{name: "control plane missing, nothing to be made", pool: "drain: {nodeDrainTimeout: 10m}", edit: func(w *clustertest.World) { w.Delete(controlPlaneRef) },
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{kcp, "does not exist", "No machine has to be made"}},
		{name: "topology that will upgrade the control plane", edit: topology("v1.36.0", ""),
			code: plan.CheckControlPlane, severity: plan.Block, words: []string{kcp, "at v1.35.2", "topology is to bring it to v1.36.0", "ControlPlaneIsStable"}},
		{name: "topology between two steps of an upgrade", edit: topology("v1.36.0", "v1.35.2"),
			code: plan.CheckControlPlane, severity: plan.Pass},
		{name: "topology that has the control plane at another step", edit: topology("v1.37.0", "v1.36.0"),
			code: plan.CheckControlPlane, severity: plan.Block, words: []string{"topology is to bring it to v1.36.0"}},
		{name: "control plane on its way back", edit: managed(version2("v1.35.1"), version2("v1.35.2")),
			code: plan.CheckControlPlane, severity: plan.Warn, words: []string{"runs v1.35.2, which is newer than the v1.35.1 that is wanted", "makes worker machines all the same"}},
		{name: "managed control plane that tells a minor and wants a patch", edit: managed(version2("v1.35.2"), version2("v1.35")),
			code: plan.CheckControlPlane, severity: plan.Block, words: []string{"still runs v1.35", "its preflight check ControlPlaneIsStable", "set its spec.version to v1.35"}},
		{name: "managed control plane that tells minors", edit: managed(version2("v1.35"), version2("1.35")),
			code: plan.CheckControlPlane, severity: plan.Pass},

		{name: "version goes", code: plan.CheckVersion, severity: plan.Pass},
		{name: "version ahead", pool: "kubernetesVersion: v1.36.0, machineImage: ami-new",
			code: plan.CheckVersion, severity: plan.Block, words: []string{"v1.36.0 is newer than the control plane " + kcp, "v1.35.2", "make no machine", "upgrade the control plane to v1.36.0 first, or set kubernetesVersion to v1.35.2"}},
		{name: "version far ahead", pool: "kubernetesVersion: v1.37.1, machineImage: ami-new",
			code: plan.CheckVersion, severity: plan.Block, words: []string{"upgrade the control plane to v1.37.1 (one minor version at a time) first, or set kubernetesVersion to v1.35.2"}},
		{name: "version of another major", pool: "kubernetesVersion: v2.0.0, machineImage: ami-new",
			code: plan.CheckVersion, severity: plan.Block, words: []string{"v2.0.0 is newer", "; set kubernetesVersion to v1.35.2: no control plane gets from there to v2.0"}},
		{name: "version ahead, and the control plane too far ahead of the machines by then", pool: "kubernetesVersion: v1.36.0, machineImage: ami-new", adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.32.4")},
			code: plan.CheckVersion, severity: plan.Block, words: []string{"; set kubernetesVersion to v1.35.2 first: the pool's machines, at v1.32.4, would be too far behind a control plane at v1.36"}},
		{name: "version ahead, and the machines just near enough by then", pool: "kubernetesVersion: v1.36.0, machineImage: ami-new", adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.33.4")},
			code: plan.CheckVersion, severity: plan.Block, words: []string{"; upgrade the control plane to v1.36.0 first, or"}},
		{name: "version ahead, all skipped", pool: "kubernetesVersion: v1.36.0, machineImage: ami-new", edit: skip("All"),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"v1.36.0 is newer", "skips Cluster API's checks KubernetesVersionSkew and KubeadmVersionSkew"}},
		{name: "version ahead, only one of its two checks skipped", pool: "kubernetesVersion: v1.36.0, machineImage: ami-new", edit: skip("KubernetesVersionSkew"),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"v1.36.0 is newer", "(its preflight check KubeadmVersionSkew)"}},
		{name: "version ahead, both of its checks skipped", pool: "kubernetesVersion: v1.36.0, machineImage: ami-new", edit: skip("KubernetesVersionSkew,KubeadmVersionSkew"),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"v1.36.0 is newer", "skips Cluster API's checks"}},
		{name: "version ahead, skipped, not kubeadm", pool: "kubernetesVersion: v1.36.0, machineImage: ami-new",
			edit: all(managed(version2("v1.35.2"), version2("v1.35.2")), skip("KubernetesVersionSkew")),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"v1.36.0 is newer"}},
		{name: "version ahead of what still runs", pool: "kubernetesVersion: v1.35.2", adjust: []clustertest.Adjust{clustertest.ControlPlaneVersion("v1.34.3"), clustertest.ControlPlaneUpgrading("v1.35.2")},
			code: plan.CheckVersion, severity: plan.Pass, words: []string{"v1.35.2 goes with the control plane's v1.35.2"}},
		{name: "version ahead of what still runs, and machines are made meanwhile", pool: "kubernetesVersion: v1.35.2", edit: skip("ControlPlaneIsStable"),
			adjust: []clustertest.Adjust{clustertest.ControlPlaneVersion("v1.34.3"), clustertest.ControlPlaneUpgrading("v1.35.2")},
			code:   plan.CheckVersion, severity: plan.Warn, words: []string{"v1.35.2 is newer", "which is at v1.34.3", "skips Cluster API's check ControlPlaneIsStable", "; wait until the control plane is at v1.35.2, then plan again; or set kubernetesVersion to v1.34.3"}},
		{name: "version of what still runs, and the check for the control plane skipped", pool: toImage, edit: skip("ControlPlaneIsStable"),
			adjust: []clustertest.Adjust{clustertest.ControlPlaneVersion("v1.34.3"), clustertest.ControlPlaneUpgrading("v1.35.2")},
			code:   plan.CheckVersion, severity: plan.Block, words: []string{"machines at v1.34.3 cannot join", "its preflight check KubeadmVersionSkew)"}},
		{name: "version far behind", pool: "kubernetesVersion: v1.31.9, machineImage: ami-new",
			code: plan.CheckVersion, severity: plan.Block, words: []string{"v1.31.9 is too far behind", "v1.35.2", "set kubernetesVersion to v1.35.2"}},
		{name: "image alone, a minor behind", pool: toImage,
			code: plan.CheckVersion, severity: plan.Block, words: []string{"machines at v1.34.3 cannot join", "v1.35.2", "kubeadm", "minor version", "set kubernetesVersion to v1.35.2 in the same upgrade"}},
		{name: "image alone, a minor behind, skipped", pool: toImage, edit: skip("KubeadmVersionSkew"),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"machines at v1.34.3 cannot join", "skips Cluster API's check KubeadmVersionSkew"}},
		{name: "skipped by the bootstrap template", pool: toImage,
			edit: all(edit(awsBootstrapRef, "All", "metadata", "annotations", capi.SkipPreflightAnnotation), release114),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"skips Cluster API's check KubeadmVersionSkew"}},
		{name: "skipped by the bootstrap template, and the MachineDeployment's list counts", pool: toImage,
			edit: all(edit(awsBootstrapRef, "All", "metadata", "annotations", capi.SkipPreflightAnnotation), skip("ControlPlaneIsStable"), release114),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"would make no machine"}},
		{name: "skipped by the bootstrap template, which Cluster API does not read", pool: toImage,
			edit: edit(awsBootstrapRef, "All", "metadata", "annotations", capi.SkipPreflightAnnotation),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"would make no machine", "read from v1.14 on"}},
		{name: "a bootstrap kind that is kubeadm's by name alone", pool: toImage,
			edit: func(w *clustertest.World) {
				w.Serve(clustertest.Kind{Group: "bootstrap.example.com", Kind: "KubeadmConfigTemplate", Version: "v1"},
					clustertest.Kind{Group: "bootstrap.example.com", Kind: "KubeadmConfig", Version: "v1"})
				w.Put(&object{Object: map[string]any{"apiVersion": "bootstrap.example.com/v1", "kind": "KubeadmConfigTemplate",
					"metadata": map[string]any{"namespace": "default", "name": "odd"}, "spec": map[string]any{}}})
				edit(awsRef, map[string]any{"apiGroup": "bootstrap.example.com", "kind": "KubeadmConfigTemplate", "name": "odd"}, "spec", "template", "spec", "bootstrap", "configRef")(w)
			}, code: plan.CheckVersion, severity: plan.Pass},
		{name: "before v1.25 three minors behind", pool: "kubernetesVersion: v1.24.9, machineImage: ami-new", edit: managed(version2("v1.27.4"), version2("v1.27.4")),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"v1.24.9 is too far behind", "v1.27.4", "two minor versions", "v1.10 and older"}},
		{name: "version ahead, no machines", pool: "kubernetesVersion: v1.36.0, machineImage: ami-new", adjust: []clustertest.Adjust{clustertest.AdjustPool(awsPool, func(p *clustertest.ExamplePool) { p.Replicas = 0 })},
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"v1.36.0 is newer", "The pool has no machines now", "scaled up, it gets none"}},
		{name: "another version in a cluster with a topology", pool: "kubernetesVersion: v1.35.1, machineImage: ami-new", edit: topology("v1.35.2", ""),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"v1.35.1 is not the control plane's v1.35.2", "topology", "(its preflight check ControlPlaneVersionSkew)"}},
		{name: "another version in a cluster with a topology, skipped", pool: "kubernetesVersion: v1.35.1, machineImage: ami-new",
			edit: all(topology("v1.35.2", ""), skip("ControlPlaneVersionSkew")),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"v1.35.1 is not the control plane's v1.35.2", "skips Cluster API's check ControlPlaneVersionSkew"}},
		{name: "another minor in a cluster with a topology", pool: toImage, edit: topology("v1.35.2", ""),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"machines at v1.34.3 cannot join", "(its preflight checks KubeadmVersionSkew and ControlPlaneVersionSkew)"}},
		{name: "the version in a cluster with a topology", edit: topology("v1.35.2", ""), code: plan.CheckVersion, severity: plan.Pass},
		{name: "an unreadable control plane version", edit: managed(version2("latest"), version2("latest")),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"spec.version of AWSManagedControlPlane default/managed is \"latest\"", "no version that can be read", "Cluster API, which cannot read it either", "correct spec.version", "then plan again"}},
		{name: "an unreadable version of the pool", pool: toImage, edit: edit(awsRef, "newest", "spec", "template", "spec", "version"),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"spec.template.spec.version of " + md + " is \"newest\"", "set kubernetesVersion"}},
		{name: "an older patch", pool: "kubernetesVersion: v1.35.0, machineImage: ami-new", adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.2")},
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"the version of " + md + " (spec.template.spec.version) goes back from v1.35.2 to v1.35.0", "lack the fixes", "kubernetesVersion is what you mean", "nodepool rollback"}},
		{name: "an older build of the same release", pool: "kubernetesVersion: v1.35.2+rke2r1, machineImage: ami-new", adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.2+rke2r2")},
			code: plan.CheckVersion, severity: plan.Pass},
		{name: "an older minor that joins otherwise", pool: "kubernetesVersion: v1.33.9, machineImage: ami-new", edit: managed(version2("v1.35.2"), version2("v1.35.2")),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"goes back from v1.34.3 to v1.33.9", "and the features", "not the way back from v1.34 to v1.33", "no workload needs what is newer"}},
		{name: "an older minor by kubeadm", pool: "kubernetesVersion: v1.33.9, machineImage: ami-new",
			code: plan.CheckVersion, severity: plan.Block, words: []string{"machines at v1.33.9 cannot join"}},
		{name: "an older version that nothing is known to go with", pool: "kubernetesVersion: v1.34.0, machineImage: ami-new", edit: edit(clusterRef, nil, "spec", "controlPlaneRef"),
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"goes back from v1.34.3 to v1.34.0"}},
		{name: "ahead of a control plane that tells minors", pool: "kubernetesVersion: v1.36.1, machineImage: ami-new", edit: managed(version2("v1.35"), version2("1.35")),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"upgrade the control plane to v1.36 first, or set kubernetesVersion to a release of v1.35"}},
		{name: "far behind a control plane that tells minors", pool: "kubernetesVersion: v1.31.9, machineImage: ami-new", edit: managed(version2("1.35"), version2("1.35")),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"set kubernetesVersion to a release of v1.35"}},
		{name: "another check skipped", pool: toImage, edit: skip("ControlPlaneIsStable"),
			code: plan.CheckVersion, severity: plan.Block, words: []string{"machines at v1.34.3 cannot join"}},
		{name: "image alone, a minor behind, not kubeadm", pool: toImage, edit: managed(version2("v1.35.2"), version2("v1.35.2")),
			code: plan.CheckVersion, severity: plan.Pass},
		{name: "newer patch", pool: "kubernetesVersion: v1.35.3, machineImage: ami-new",
			code: plan.CheckVersion, severity: plan.Warn, words: []string{"v1.35.3 is a newer patch release", "v1.35.2", "skew policy", "set kubernetesVersion to v1.35.2"}},
		{name: "a control plane that tells minors", edit: managed(version2("v1.35"), version2("1.35")),
			code: plan.CheckVersion, severity: plan.Pass, words: []string{"v1.35.2 goes with"}},

		{name: "image and version, and nobody knows the image", code: plan.CheckImage, severity: plan.Warn,
			words: []string{"nobody reports which version the image ami-new carries (the provider was not asked)", "v1.35.2", "cannot join", "under spec.images", "--no-provider", "then plan again"}},
		{name: "neither image nor version", pool: "instanceType: m5.xlarge", adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.2")},
			code: plan.CheckImage, severity: plan.Pass, words: []string{"neither the version nor the image changes"}},
		{name: "image listed", up: func(up *schema.Upgrade) {
			up.Spec.Images = []schema.Image{{Image: "ami-new", KubernetesVersion: "v1.35.2"}}
		},
			code: plan.CheckImage, severity: plan.Pass, words: []string{"ami-new carries v1.35.2, by the catalogue of images"}},
		{name: "version without image", pool: toVersion,
			code: plan.CheckImage, severity: plan.Warn, words: []string{"from v1.34.3 to v1.35.2", "the image stays ami-0123456789abcdef0", "cannot join", "set machineImage", "v1.35.2"}},
		{name: "version and type without image", pool: toVersion + ", instanceType: m5.xlarge",
			code: plan.CheckImage, severity: plan.Warn, words: []string{"the image stays ami-0123456789abcdef0"}},
		{name: "image without version", pool: toImage, adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.2")},
			code: plan.CheckImage, severity: plan.Warn, words: []string{"the image changes to ami-new and the version stays v1.35.2", "nobody reports which version that image carries", "built for v1.35.2"}},
		{name: "image pinned for the first time", pool: toImage, adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.2")}, edit: edit(awsTemplateRef, nil, "spec", "template", "spec", "ami"),
			code: plan.CheckImage, severity: plan.Warn, words: []string{"the image changes to ami-new and the version stays v1.35.2"}},
		{name: "image unpinned", pool: "kubernetesVersion: v1.35.2, infrastructure: {ami: null}",
			code: plan.CheckImage, severity: plan.Warn, words: []string{"pins no image", "v1.35.2"}},
		{name: "image of a pool without version", pool: toImage, edit: edit(awsRef, nil, "spec", "template", "spec", "version"),
			code: plan.CheckImage, severity: plan.NotVerified, words: []string{"not verified: " + md + " names no version (spec.template.spec.version)"}},
		{name: "image by patch", pool: toVersion + ", infrastructure: {ami: {id: ami-new}}",
			code: plan.CheckImage, severity: plan.Warn, words: []string{"nobody reports which version the image ami-new carries"}},
		{name: "image looked up", pool: toVersion, edit: edit(awsTemplateRef, nil, "spec", "template", "spec", "ami"),
			code: plan.CheckImage, severity: plan.Warn, words: []string{"pins no image", "v1.35.2", "may differ", "pin it with machineImage"}},
		{name: "kind with images unknown", pool: toVersion, edit: oddMachines,
			code: plan.CheckImage, severity: plan.Warn, words: []string{"v1.34.3 to v1.35.2", "does not know how kind OddMachineTemplate names its image", "cannot join", "carry v1.35.2"}},
		{name: "kind with images unknown, and its template changes", pool: toVersion + ", infrastructure: {disk: odd-1-35}", edit: oddMachines,
			code: plan.CheckImage, severity: plan.Warn, words: []string{"does not know how kind OddMachineTemplate names its image", "nobody has looked"}},
		{name: "kind with images unknown, and its template changes alone", pool: "infrastructure: {disk: odd-1-35}", adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.2")}, edit: oddMachines,
			code: plan.CheckImage, severity: plan.NotVerified, words: []string{"not verified: nodepool does not know how kind OddMachineTemplate names its image"}},
		{name: "kind whose machines have no image", up: func(up *schema.Upgrade) { up.Spec.Pools[0].Name = devPool }, pool: toVersion,
			code: plan.CheckImage, severity: plan.Pass, words: []string{"have no image"}},

		{name: "template copied", code: plan.CheckInfrastructureReuse, severity: plan.Pass, words: []string{"changed copy of AWSMachineTemplate default/aws-example-md-0"}},
		{name: "template kept", pool: toVersion, code: plan.CheckInfrastructureReuse, severity: plan.Pass, words: []string{"no new infrastructure template is needed", "AWSMachineTemplate default/aws-example-md-0"}},

		{name: "no rollout", code: plan.CheckRollout, severity: plan.Pass},
		{name: "rollout under way", edit: rolling("v1.35.1"),
			code: plan.CheckRollout, severity: plan.Block, words: []string{md + " is rolling already", "the next rollout on top of it", "twice", "wait until it is done", "waive"}},
		{name: "rollout under way, and nothing that rolls changes", edit: rolling("v1.35.1"), pool: "drain: {nodeDrainTimeout: 5m}",
			code: plan.CheckRollout, severity: plan.Warn, words: []string{md + " is rolling already", "in the middle of it"}},
		{name: "rollout to what is asked for, and a setting beside it", edit: rolling("v1.35.2"), pool: toVersion + ", strategy: {maxSurge: 2}",
			code: plan.CheckRollout, severity: plan.Warn, words: []string{md + " is rolling already", "in the middle of it"}},
		{name: "rollout under way of an earlier run of this upgrade", edit: all(marked("to-1-35-0123456789ab"), rolling("v1.35.1")),
			code: plan.CheckRollout, severity: plan.Warn, words: []string{md + " is rolling already", "by an earlier run of this upgrade", plan.RunAnnotation, "supersede"}},
		{name: "rollout under way of a run of another upgrade", edit: all(marked("to-1-35-more-0123456789ab"), rolling("v1.35.1")),
			code: plan.CheckRollout, severity: plan.Block, words: []string{md + " is rolling already"}},
		{name: "rollout that somebody began after an earlier run of this upgrade", edit: all(marked("to-1-35-0123456789ab"), rolling("v1.35.1"), lastWriters("nodepool", "kubectl-edit")),
			code: plan.CheckRollout, severity: plan.Block, words: []string{md + " is rolling already"}},
		{name: "rollout that an earlier run of this upgrade began after somebody's", edit: all(marked("to-1-35-0123456789ab"), rolling("v1.35.1"), lastWriters("kubectl-edit", "nodepool")),
			code: plan.CheckRollout, severity: plan.Warn, words: []string{"by an earlier run of this upgrade"}},
		{name: "machines still to be deleted by somebody", edit: all(edit(awsRef, "OnDelete", "spec", "rollout", "strategy", "type"), edit(awsRef, "v1.35.1", "spec", "template", "spec", "version"), settle),
			code: plan.CheckRollout, severity: plan.Warn, words: []string{md, "OnDelete", "3 old Machines", "supersede"}},
		{name: "scaled up a moment ago", edit: all(edit(awsRef, int64(4), "spec", "replicas"), steps(3)),
			code: plan.CheckRollout, severity: plan.Pass, words: []string{"no rollout is under way"}},
		{name: "rollout stuck", edit: all(edit(awsRef, "v1.35.1", "spec", "template", "spec", "version"), func(w *clustertest.World) {
			w.Break(awsRef, clustertest.Fault{Drain: "cannot evict pod as it would violate the pod's disruption budget."})
			w.Settle()
		}), code: plan.CheckRollout, severity: plan.Warn, words: []string{md, "supersede"}},

		{name: "rollout under way without its template", edit: all(rolling("v1.35.1"), gone(awsTemplateRef)),
			code: plan.CheckRollout, severity: plan.Warn, words: []string{md + " is rolling already (", "cannot go on without its template", "check templates", "does not end by itself", "restore the template", "then plan again"}},
		{name: "rollout to what is asked for, without its template", edit: all(rolling("v1.35.2"), gone(awsBootstrapRef)), pool: toVersion,
			code: plan.CheckRollout, severity: plan.Warn, words: []string{md + " is rolling to what this upgrade asks for (", "cannot go on without its template", "restore the template"}},

		{name: "rolling update", code: plan.CheckStrategy, severity: plan.Pass},
		{name: "on delete", edit: edit(awsRef, "OnDelete", "spec", "rollout", "strategy", "type"),
			code: plan.CheckStrategy, severity: plan.Warn, words: []string{"OnDelete", "until someone deletes it", "15m0s (wait.stallAfter)", "RollingUpdate"}},

		{name: "replicas", code: plan.CheckReplicas, severity: plan.Pass, words: []string{"3 replicas"}},
		{name: "no replicas", edit: all(edit(awsRef, int64(0), "spec", "replicas"), func(w *clustertest.World) { w.Settle() }),
			code: plan.CheckReplicas, severity: plan.Warn, words: []string{"0 replicas", "nothing exercises the new template", "scale up"}},

		{name: "no autoscaler", code: plan.CheckAutoscaler, severity: plan.Pass},
		{name: "autoscaler", edit: all(edit(awsRef, "2", "metadata", "annotations", capi.AutoscalerMinAnnotation), edit(awsRef, "9", "metadata", "annotations", capi.AutoscalerMaxAnnotation)),
			code: plan.CheckAutoscaler, severity: plan.Pass, words: []string{"between 2 and 9", "scale-down", "follows the replicas"}},

		{name: "autoscaler, fewer than its minimum", edit: bounds("5", "9"), code: plan.CheckAutoscaler, severity: plan.Pass, words: []string{"between 5 and 9", "3 replicas, fewer than the minimum"}},
		{name: "autoscaler, more than its maximum", edit: bounds("1", "2"), code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"3 replicas, more than the maximum", "quota and room for 4 machines"}},
		{name: "autoscaler at its maximum, without a surge or machines away", edit: bounds("1", "4"), code: plan.CheckAutoscaler, severity: plan.Pass},
		{name: "autoscaler at its maximum, with machines away", edit: bounds("1", "3"), pool: toBoth + ", strategy: {maxUnavailable: 2}",
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"it is at its maximum, so up to 2 machines", "not made up for", "strategy.maxUnavailable to 0"}},
		{name: "autoscaler at its maximum, with a surge", edit: bounds("1", "3"),
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"up to 4 machines, more than the maximum", "; raise the maximum (", "quota"}, not: []string{"maxSurge", "maxUnavailable"}},
		{name: "autoscaler near its maximum, with a larger surge", edit: bounds("1", "4"), pool: toBoth + ", strategy: {maxSurge: 2}",
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"up to 5 machines, more than the maximum", "lower strategy.maxSurge to 1"}},
		{name: "autoscaler that keeps the number", edit: bounds("3", "3"),
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"keeps " + md + " at 3, its minimum and maximum; it is at its maximum"}, not: []string{"scale-down"}},
		{name: "autoscaler that keeps a lower number", edit: bounds("2", "2"), code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"keeps " + md + " at 2", "scale-down", "3 replicas, more than the maximum"}},
		{name: "autoscaler that keeps one machine, which goes before the next comes", edit: all(edit(awsRef, int64(1), "spec", "replicas"), bounds("1", "1")), pool: toBoth + ", strategy: {maxSurge: 0, maxUnavailable: 1}",
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"so up to 1 machine that", "; raise the maximum ("}, not: []string{"strategy.max", "scale-down"}},
		{name: "autoscaler that keeps one machine, which goes after the next came", edit: all(edit(awsRef, int64(1), "spec", "replicas"), bounds("1", "1")),
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"up to 2 machines, more than the maximum", "; raise the maximum ("}, not: []string{"strategy.max", "scale-down"}},
		{name: "autoscaler of one machine, fewer than the minimum", edit: all(edit(awsRef, int64(1), "spec", "replicas"), bounds("2", "5")), code: plan.CheckAutoscaler, severity: plan.Pass, words: []string{"it has 1 replica, fewer"}},
		{name: "autoscaler, and a surge of more than there are", edit: bounds("1", "6"), pool: toBoth + ", strategy: {maxSurge: 5}", code: plan.CheckAutoscaler, severity: plan.Pass},
		{name: "autoscaler with bounds that cannot be read", edit: bounds("one", "3"),
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{`"one" to "3"`, "cannot read its bounds", capi.AutoscalerMinAnnotation, "scales no pool", "correct the annotations"}},
		{name: "autoscaler with a negative bound", edit: bounds("-1", "3"), code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"cannot read its bounds"}},
		{name: "autoscaler with a maximum alone", edit: edit(awsRef, "9", "metadata", "annotations", capi.AutoscalerMaxAnnotation),
			code: plan.CheckAutoscaler, severity: plan.Pass, words: []string{"between 0 and 9"}},
		{name: "autoscaler with a minimum alone", edit: edit(awsRef, "1", "metadata", "annotations", capi.AutoscalerMinAnnotation),
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"the minimum, 1 (", "above the maximum, which is absent (annotation " + capi.AutoscalerMaxAnnotation + ") and counts as 0, so"}, not: []string{"0 ("}},
		{name: "autoscaler that has nothing to scale", edit: bounds("0", "0"), code: plan.CheckAutoscaler, severity: plan.Pass, words: []string{"leaves " + md + " alone: its maximum is 0"}},
		{name: "autoscaler with a minimum of 0 alone", edit: edit(awsRef, "0", "metadata", "annotations", capi.AutoscalerMinAnnotation),
			code: plan.CheckAutoscaler, severity: plan.Pass, words: []string{"its maximum is 0 (annotation " + capi.AutoscalerMaxAnnotation + "; an absent one counts as 0)"}},
		{name: "autoscaler with bounds the wrong way round", edit: bounds("4", "3"),
			code: plan.CheckAutoscaler, severity: plan.Warn, words: []string{"on " + md + " of which the minimum, 4 (annotation " + capi.AutoscalerMinAnnotation + "), is above the maximum, 3 (annotation " + capi.AutoscalerMaxAnnotation + ")",
				"scales no pool", "lower " + capi.AutoscalerMinAnnotation + " or set " + capi.AutoscalerMaxAnnotation}},

		{name: "room", code: plan.CheckRoom, severity: plan.Pass, words: []string{"maxSurge 1 and maxUnavailable 0", "at most 4 machines, of which at least 3 ready"}},
		{name: "room for a surge of more than there are", pool: toBoth + ", strategy: {maxSurge: 5}", code: plan.CheckRoom, severity: plan.Pass, words: []string{"maxSurge 5", "at most 6 machines, of which at least 3 ready"}},
		{name: "room without replicas", edit: edit(awsRef, int64(0), "spec", "replicas"), code: plan.CheckRoom, severity: plan.Pass, words: []string{"at most 0 machines"}},
		{name: "no room", pool: toBoth + ", strategy: {maxSurge: 0}", code: plan.CheckRoom, severity: plan.Block, words: []string{md, "both 0", "refuses", "strategy.maxSurge"}},
		{name: "percentages that come to nothing", pool: toBoth + `, strategy: {maxSurge: "0%", maxUnavailable: "30%"}`,
			code: plan.CheckRoom, severity: plan.Warn, words: []string{"maxSurge 0% and maxUnavailable 30% of " + md + " both come to 0 of 3 replicas", "takes one machine away", "one machine less"}},
		{name: "all machines at once", pool: toBoth + `, strategy: {maxUnavailable: "100%"}`,
			code: plan.CheckRoom, severity: plan.Warn, words: []string{"all 3 machines of " + md + " may be away at once", "lower strategy.maxUnavailable"}},

		{name: "healthy machines", code: plan.CheckUnhealthy, severity: plan.Pass},
		{name: "a node that is not ready", edit: ailing(0, "NodeHealthy", "False", "NodeNotHealthy", "* Node.MemoryPressure: kubelet has not enough memory"),
			code: plan.CheckUnhealthy, severity: plan.Warn,
			words: []string{"1 of 3 machines of " + md + " is not ready", "the oldest is Machine default/aws-example-md-0-", "not enough memory", "tries to delete them first, once a new machine is ready", "find out why", "then plan again", "may ail the new machines"}},
		{name: "a node that is not ready, where one may be away", edit: ailing(0, "NodeHealthy", "False", "NodeNotHealthy", "down"), pool: toBoth + ", strategy: {maxUnavailable: 1}",
			code: plan.CheckUnhealthy, severity: plan.Warn, words: []string{"among the 1 that may be away"}},
		{name: "a machine that is being deleted", edit: func(w *clustertest.World) {
			m := machinesOfPool(w)[0]
			m.SetFinalizers([]string{"x/y"})
			put(m, "2026-01-02T03:04:05Z", "metadata", "deletionTimestamp")
			w.Put(m)
		}, code: plan.CheckUnhealthy, severity: plan.Warn, words: []string{"1 machine of " + md + " is being deleted and still there, the oldest is Machine default/aws-example-md-0-", "since 2026-01-02T03:04:05Z"}},
		{name: "machines of a rollout that moves", edit: rolling("v1.35.1"), code: plan.CheckUnhealthy, severity: plan.Pass},

		{name: "no health check", code: plan.CheckHealth, severity: plan.Pass, words: []string{"no MachineHealthCheck is known to select"}},
		{name: "a health check of other machines", edit: healthCheck("v1beta2", "aws-example-md-1", nil), code: plan.CheckHealth, severity: plan.Pass, words: []string{"no MachineHealthCheck is known to select"}},
		{name: "a health check with time", edit: all(started("90s"), healthCheck("v1beta2", awsPool, nil)),
			code: plan.CheckHealth, severity: plan.Pass, words: []string{"MachineHealthCheck default/mhc gives a new machine 10m0s", "took 1m30s"}},
		{name: "a health check without enough time", edit: all(started("90s"), healthCheck("v1beta2", awsPool, map[string]any{"checks": map[string]any{"nodeStartupTimeoutSeconds": int64(60)}})),
			code: plan.CheckHealth, severity: plan.Warn, words: []string{"MachineHealthCheck default/mhc", "1m0s", "3 machines of " + md + " took 1m30s", "again and again", "raise"}},
		{name: "a health check without enough time, of one machine", edit: all(onlyMachine, started("90s"), healthCheck("v1beta2", awsPool, map[string]any{"checks": map[string]any{"nodeStartupTimeoutSeconds": int64(60)}})),
			code: plan.CheckHealth, severity: plan.Warn, words: []string{"and the one machine of " + md + " took 1m30s: new ones"}, not: []string{"half"}},
		{name: "an old health check without enough time", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()},
			edit: all(started("15m"), healthCheck("v1beta1", awsPool, nil)), code: plan.CheckHealth, severity: plan.Warn, words: []string{"10m0s", "took 15m0s"}},
		{name: "an old health check with time", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()},
			edit: all(started("15m"), healthCheck("v1beta1", awsPool, map[string]any{"nodeStartupTimeout": "20m0s"})), code: plan.CheckHealth, severity: plan.Pass, words: []string{"20m0s"}},
		{name: "a health check without a time", edit: all(started("15m"), healthCheck("v1beta2", awsPool, map[string]any{"checks": map[string]any{"nodeStartupTimeoutSeconds": int64(0)}})),
			code: plan.CheckHealth, severity: plan.Pass, words: []string{"never deletes"}},
		{name: "a health check that the surge stops", edit: healthCheck("v1beta2", awsPool, limit("20%")), code: plan.CheckHealth, severity: plan.Warn,
			words: []string{"at most 20% unhealthy", "1 of 4 machines", "replaces none"}, not: []string{"lower"}},
		{name: "a health check that the surge does not stop", edit: healthCheck("v1beta2", awsPool, limit("25%")), code: plan.CheckHealth, severity: plan.Pass},
		{name: "a health check with a limit in numbers", edit: healthCheck("v1beta2", awsPool, limit(int64(1))), pool: toBoth + ", strategy: {maxSurge: 2}",
			code: plan.CheckHealth, severity: plan.Warn, words: []string{"at most 1 unhealthy", "2 of 5 machines", "lower strategy.maxSurge"}},
		{name: "an old health check with a range", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()}, edit: healthCheck("v1beta1", awsPool, map[string]any{"unhealthyRange": "[2-5]"}),
			code: plan.CheckHealth, severity: plan.Warn, words: []string{"[2-5] unhealthy"}},
		{name: "an old health check with a limit", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()}, edit: healthCheck("v1beta1", awsPool, map[string]any{"maxUnhealthy": int64(0)}),
			code: plan.CheckHealth, severity: plan.Warn, words: []string{"at most 0 unhealthy"}},
		{name: "health checks not readable", edit: func(w *clustertest.World) { w.Forbid("list", capi.Group, "MachineHealthCheck") },
			code: plan.CheckHealth, severity: plan.NotVerified, words: []string{"not verified", "you may not list machinehealthchecks"}},

		{name: "bootstrap template untouched", code: plan.CheckBootstrapEdited, severity: plan.Pass},
		{name: "bootstrap template edited", edit: edit(bootstrapRef, []any{"echo edited"}, "spec", "template", "spec", "preKubeadmCommands"),
			code: plan.CheckBootstrapEdited, severity: plan.Warn,
			words: []string{"KubeadmConfigTemplate default/aws-example-md-0 was edited after 3 of 3 machines", "preKubeadmCommands", "reviewed with this plan", "set them back", "then plan again"}},
		{name: "bootstrap template edited, of one machine", edit: all(onlyMachine, edit(bootstrapRef, []any{"echo edited"}, "spec", "template", "spec", "preKubeadmCommands")),
			code: plan.CheckBootstrapEdited, severity: plan.Warn, words: []string{"was edited after 1 of 1 machine was made from it"}},
		{name: "bootstrap configs not readable", edit: func(w *clustertest.World) { w.Forbid("list", clustertest.BootstrapGroup, "KubeadmConfig") },
			code: plan.CheckBootstrapEdited, severity: plan.Warn,
			words: []string{"KubeadmConfigTemplate default/aws-example-md-0", "is not known", "you may not list kubeadmconfigs", "with the right to list KubeadmConfig"}},
		{name: "one image", code: plan.CheckImagesDiffer, severity: plan.Pass},
		{name: "images differ, and the new one is pinned", edit: olderImage, code: plan.CheckImagesDiffer, severity: plan.Pass, words: []string{"2 different images", "ami-older", "new ones get ami-new"}},
		{name: "images differ", edit: all(olderImage, edit(awsTemplateRef, nil, "spec", "template", "spec", "ami")), pool: toVersion,
			code: plan.CheckImagesDiffer, severity: plan.Warn, words: []string{"2 different images", "ami-older", "not reviewed here", "set machineImage"}},
		{name: "drain with the rollout", pool: toBoth + ", drain: {nodeDrainTimeout: 5m}", code: plan.CheckInPlace, severity: plan.Pass,
			words: []string{"machines that are replaced, too"}},
		{name: "drain with the rollout in an old Cluster API", adjust: []clustertest.Adjust{clustertest.V1Beta1Only()},
			pool: toBoth + ", drain: {nodeDrainTimeout: 5m}", code: plan.CheckInPlace, severity: plan.Pass,
			words: []string{"written first", "v1.11 or older", "new machines alone"}},
		{name: "drain with a second rollout in an old Cluster API", adjust: []clustertest.Adjust{clustertest.Before112()},
			edit: edit(awsRef, "v1.35.0", "spec", "template", "spec", "version"),
			pool: toBoth + ", drain: {nodeDrainTimeout: 5m}", code: plan.CheckInPlace, severity: plan.Warn,
			words: []string{"3 machines", "earlier rollout", "keep their drain settings", "plan again"}},
		{name: "no other writer", code: plan.CheckFieldManagers, severity: plan.Pass},
		{name: "a controller of Cluster API is no other writer", edit: writtenBy("capi-machinedeployment"), code: plan.CheckFieldManagers, severity: plan.Pass},
		{name: "an unknown tool that updates is no other writer", edit: ownedBy("mycorp-operator", metav1.ManagedFieldsOperationUpdate, versionFields), code: plan.CheckFieldManagers, severity: plan.Pass},
		{name: "an unknown tool applies the version", edit: writtenBy("mycorp-operator"), code: plan.CheckFieldManagers, severity: plan.Block,
			words: []string{`"mycorp-operator"`, "server-side apply", "spec.template.spec.version", "when it applies again", "second rollout", "--export", "waive"}},
		{name: "an unknown tool applies a reference as a whole", edit: ownedBy("mycorp-operator", metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:template":{"f:spec":{"f:infrastructureRef":{}}}}}`),
			code: plan.CheckFieldManagers, severity: plan.Block, words: []string{`"mycorp-operator"`, "spec.template.spec.infrastructureRef.name"}},
		{name: "an unknown tool applies other fields", edit: ownedBy("mycorp-operator", metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{".":{},"f:clusterName":{}}}}}`),
			code: plan.CheckFieldManagers, severity: plan.Pass},
		{name: "kubectl is no other writer", edit: writtenBy("kubectl-edit"), code: plan.CheckFieldManagers, severity: plan.Pass},
		{name: "Argo CD writes the version", edit: writtenBy("argocd-controller"), code: plan.CheckFieldManagers, severity: plan.Block,
			words: []string{"Argo CD", "argocd-controller", "spec.template.spec.version", "second rollout", "--export", "waive"}},
		{name: "Argo CD writes the version by client-side apply", edit: ownedBy("argocd-controller", metav1.ManagedFieldsOperationUpdate, versionFields),
			code: plan.CheckFieldManagers, severity: plan.Block, words: []string{"Argo CD"}},
		{name: "Flux writes the reference to the bootstrap template", pool: toBoth + ", bootstrap: {postKubeadmCommands: [echo]}",
			edit: ownedBy("kustomize-controller", metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:template":{"f:spec":{"f:bootstrap":{"f:configRef":{"f:name":{}}}}}}}`),
			code: plan.CheckFieldManagers, severity: plan.Block, words: []string{"Flux", "spec.template.spec.bootstrap.configRef.name"}},
		{name: "Helm writes the strategy alone", edit: ownedBy("helm", metav1.ManagedFieldsOperationUpdate, strategyFields), pool: toBoth + ", strategy: {maxSurge: 2}",
			code: plan.CheckFieldManagers, severity: plan.Warn, words: []string{"Helm", "maxSurge", "put back its own value;", "then plan again"}},
		{name: "a topology wrote the version", edit: writtenBy("capi-topology"),
			code: plan.CheckFieldManagers, severity: plan.Warn, words: []string{"the cluster's topology", "spec.template.spec.version of " + md, "change Cluster.spec.topology instead"}},
		{name: "kubectl apply wrote the version", edit: ownedBy("kubectl-client-side-apply", metav1.ManagedFieldsOperationUpdate, versionFields),
			code: plan.CheckFieldManagers, severity: plan.Warn, words: []string{"kubectl apply", "applies that manifest again", "second rollout", "--export"}},
		{name: "kubectl apply --server-side wrote the version", edit: writtenBy("kubectl"),
			code: plan.CheckFieldManagers, severity: plan.Warn, words: []string{"kubectl apply"}},
		{name: "marks of Argo CD alone", edit: edit(awsRef, "pools:cluster.x-k8s.io/MachineDeployment:default/aws-example-md-0", "metadata", "annotations", "argocd.argoproj.io/tracking-id"),
			code: plan.CheckFieldManagers, severity: plan.Warn, words: []string{"Argo CD manages " + md, "not visible in metadata.managedFields", "second rollout", "leaves these fields alone"}},

		// What a provider says is in TestProviderChecks.
		{name: "image not asked for", code: plan.CheckImageExists, severity: plan.NotVerified, words: []string{"not verified: the provider was not asked"}},
		{name: "image and type not asked for", code: plan.CheckImageType, severity: plan.NotVerified, words: []string{"not verified: the provider was not asked"}},
		{name: "type not asked for", code: plan.CheckInstanceType, severity: plan.NotVerified, words: []string{"not verified: the provider was not asked"}},
		{name: "quota not asked for", code: plan.CheckQuota, severity: plan.NotVerified, words: []string{"not verified: the provider was not asked"}},

		{name: "canary", pool: toBoth + ", canary: {}", code: plan.CheckCanary, severity: plan.Pass, words: []string{"1 new machine until proved", "none is deleted"}},
		{name: "canary where nothing rolls", pool: "drain: {nodeDrainTimeout: 1m}, canary: {}", code: plan.CheckCanary, severity: plan.Pass, words: []string{"no machine is replaced"}},
		{name: "canary on delete", pool: toBoth + ", canary: {}", edit: edit(awsRef, "OnDelete", "spec", "rollout", "strategy", "type"),
			code: plan.CheckCanary, severity: plan.Warn, words: []string{"no canary", "OnDelete", "RollingUpdate"}},
		{name: "canary without replicas", pool: toBoth + ", canary: {}", edit: edit(awsRef, int64(0), "spec", "replicas"),
			code: plan.CheckCanary, severity: plan.Warn, words: []string{"0 replicas", "scale up"}},
		{name: "canary as large as the pool", pool: toBoth + ", canary: {machines: 5}",
			code: plan.CheckCanary, severity: plan.Warn, words: []string{"whole pool", "3 of 3", "canary.machines"}},
		{name: "canary without room", pool: toBoth + ", canary: {machines: 2}",
			code: plan.CheckCanary, severity: plan.Warn, words: []string{"2 larger", "maxSurge allows 1", "quota"}},

		{name: "canary of an earlier run", pool: toBoth + ", canary: {}", edit: heldBy(t, toBoth+", canary: {}"),
			code: plan.CheckHold, severity: plan.Pass, words: []string{"maxSurge, maxUnavailable, minReadySeconds", plan.HoldAnnotation, "goes on with its canary"}},
		{name: "held, and the canary is given up", edit: heldBy(t, toBoth+", canary: {}"),
			code: plan.CheckHold, severity: plan.Warn, words: []string{md, "earlier run", "this plan ends the hold", "nodepool history", "nodepool rollback, then plan again"}},
		{name: "paused by an earlier run", edit: pausedBy(t, toBoth+", onStall: pause"),
			code: plan.CheckHold, severity: plan.Warn, words: []string{md, "earlier run", "(paused;", "this plan ends the hold", "then plan again"}},
	}
	codes := map[string]bool{}
	for _, test := range tests {
		codes[test.code] = true
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample(test.adjust...)
			if test.edit != nil {
				test.edit(w)
			}
			fields := test.pool
			if fields == "" {
				fields = toBoth
			}
			up := onePool(t, fields)
			if test.up != nil {
				test.up(&up)
			}
			p := compile(t, w, up)
			found := finding(t, p, test.code, test.severity)
			if test.severity == plan.Warn || test.severity == plan.Block {
				if found.Remedy == "" || found.Object.IsZero() {
					t.Errorf("no remedy or no object: %+v", found)
				}
			}
			mustContain(t, found.Message+"; "+found.Remedy, test.words...)
			for _, w := range test.not {
				if strings.Contains(found.Message+"; "+found.Remedy, w) {
					t.Errorf("it says %q: %s; %s", w, found.Message, found.Remedy)
				}
			}
			if found.Pool == "" != (slices.Contains([]string{plan.CheckCluster, plan.CheckClusterPaused, plan.CheckClusterAvailable}, test.code)) {
				t.Errorf("the finding is of pool %q", found.Pool)
			}
			blocks := slices.ContainsFunc(p.Findings, func(f plan.Finding) bool { return f.Severity == plan.Block })
			if p.Blocked != blocks {
				t.Errorf("blocked is %t, and a finding blocks: %t", p.Blocked, blocks)
			}
		})
	}
	preflight := compile(t, clustertest.AWSExample(), onePool(t, toBoth)).Steps[0].Preflight
	for _, code := range preflight.Checks {
		if !codes[code] {
			t.Errorf("the check %s has no case", code)
		}
	}
	if len(codes) != len(preflight.Checks) {
		t.Errorf("%d codes in cases and %d in the plan", len(codes), len(preflight.Checks))
	}
}

// olderImage has one machine of the AWS pool run another image than the others.
func olderImage(w *clustertest.World) {
	first := w.List(clustertest.InfrastructureGroup, "AWSMachine", "default")[0]
	edit(capi.RefOf(first), "ami-older", "spec", "ami", "id")(w)
}

// oddMachines has the pool's machines made of a kind that nodepool does not know.
func oddMachines(w *clustertest.World) {
	w.Serve(clustertest.Kind{Group: clustertest.InfrastructureGroup, Kind: "OddMachineTemplate", Version: "v1"},
		clustertest.Kind{Group: clustertest.InfrastructureGroup, Kind: "OddMachine", Version: "v1"})
	w.Put(&object{Object: map[string]any{"apiVersion": clustertest.InfrastructureGroup + "/v1", "kind": "OddMachineTemplate",
		"metadata": map[string]any{"namespace": "default", "name": "odd"},
		"spec":     map[string]any{"template": map[string]any{"spec": map[string]any{"disk": "odd-1-34"}}}}})
	edit(awsRef, map[string]any{"apiGroup": clustertest.InfrastructureGroup, "kind": "OddMachineTemplate", "name": "odd"}, "spec", "template", "spec", "infrastructureRef")(w)
}

// clusterSays gives the Cluster one condition and no other.
func clusterSays(kind, status, reason, message string) func(*clustertest.World) {
	return edit(clusterRef, []any{map[string]any{"type": kind, "status": status, "reason": reason, "message": message}}, "status", "conditions")
}

// bounds gives the AWS pool the bounds of the cluster autoscaler.
func bounds(least, most string) func(*clustertest.World) {
	return all(edit(awsRef, least, "metadata", "annotations", capi.AutoscalerMinAnnotation), edit(awsRef, most, "metadata", "annotations", capi.AutoscalerMaxAnnotation))
}

// onlyMachine leaves the pool one machine, with its bootstrap config.
func onlyMachine(w *clustertest.World) {
	edit(awsRef, int64(1), "spec", "replicas")(w)
	for _, m := range machinesOfPool(w)[1:] {
		w.Delete(capi.RefOf(m))
		if ref, ok := capi.ReferenceAt(m, "spec", "bootstrap", "configRef"); ok {
			w.Delete(ref)
		}
	}
}

func machinesOfPool(w *clustertest.World) []*object {
	return slices.DeleteFunc(w.List(capi.Group, "Machine", "default"), func(m *object) bool {
		return m.GetLabels()["cluster.x-k8s.io/deployment-name"] != awsPool
	})
}

// ailing has the nth machine of the AWS pool say one condition, and that it is
// not available.
func ailing(n int, kind, status, reason, message string) func(*clustertest.World) {
	return func(w *clustertest.World) {
		m := machinesOfPool(w)[n]
		conditions, _, _ := unstructured.NestedSlice(m.Object, "status", "conditions")
		for _, c := range conditions {
			switch c := c.(map[string]any); c["type"] {
			case kind:
				c["status"], c["reason"], c["message"] = status, reason, message
			case "Available", "Ready":
				c["status"] = "False"
			}
		}
		put(m, conditions, "status", "conditions")
		w.Put(m)
	}
}

// healthCheck puts a MachineHealthCheck of the machines of a pool.
func healthCheck(version, pool string, spec map[string]any) func(*clustertest.World) {
	return func(w *clustertest.World) {
		all := map[string]any{"clusterName": "aws-example",
			"selector": map[string]any{"matchLabels": map[string]any{"cluster.x-k8s.io/deployment-name": pool}}}
		maps.Copy(all, spec)
		w.Put(&object{Object: map[string]any{"apiVersion": capi.Group + "/" + version, "kind": "MachineHealthCheck",
			"metadata": map[string]any{"namespace": "default", "name": "mhc", "labels": map[string]any{"cluster.x-k8s.io/cluster-name": "aws-example"}},
			"spec":     all, "status": map[string]any{"expectedMachines": int64(3), "currentHealthy": int64(3)}}})
	}
}

func limit(most any) map[string]any {
	return map[string]any{"remediation": map[string]any{"triggerIf": map[string]any{"unhealthyLessThanOrEqualTo": most}}}
}

// started has the machines of the AWS pool have joined so long after they had
// their infrastructure.
func started(after string) func(*clustertest.World) {
	return func(w *clustertest.World) {
		took, err := time.ParseDuration(after)
		if err != nil {
			panic(err)
		}
		for _, m := range machinesOfPool(w) {
			for _, path := range [][]string{{"status", "conditions"}, {"status", "v1beta2", "conditions"}, {"status", "deprecated", "v1beta1", "conditions"}} {
				conditions, ok, _ := unstructured.NestedSlice(m.Object, path...)
				if !ok {
					continue
				}
				for _, c := range conditions {
					at := m.GetCreationTimestamp().Add(time.Minute)
					switch c := c.(map[string]any); c["type"] {
					case "InfrastructureReady":
						c["lastTransitionTime"] = at.UTC().Format(time.RFC3339)
					case "NodeReady", "NodeHealthy":
						c["lastTransitionTime"] = at.Add(took).UTC().Format(time.RFC3339)
					}
				}
				put(m, conditions, path...)
			}
			w.Put(m)
		}
	}
}

// renamed puts the AWS pool once more, under a name of n letters.
func renamed(n int) func(*clustertest.World) {
	return func(w *clustertest.World) {
		md := w.Get(awsRef)
		md.SetName(strings.Repeat("n", n))
		put(md, nil, "metadata", "uid")
		w.Put(md)
	}
}

func settle(w *clustertest.World) { w.Settle() }

func steps(n int) func(*clustertest.World) {
	return func(w *clustertest.World) {
		for range n {
			w.Step()
		}
	}
}

// rolling begins a rollout of the AWS pool to a version.
func rolling(version string) func(*clustertest.World) {
	return all(edit(awsRef, version, "spec", "template", "spec", "version"), steps(9))
}

// marked gives the AWS pool the mark of a run.
func marked(run string) func(*clustertest.World) {
	return edit(awsRef, run, "metadata", "annotations", plan.RunAnnotation)
}

// lastWriters has each manager write the version of the AWS pool, the last of
// them last.
func lastWriters(managers ...string) func(*clustertest.World) {
	return func(w *clustertest.World) {
		w.Edit(awsRef, func(o *unstructured.Unstructured) {
			var fields []metav1.ManagedFieldsEntry
			for i, m := range managers {
				at := metav1.Unix(int64(1_700_000_000+60*i), 0)
				fields = append(fields, metav1.ManagedFieldsEntry{Manager: m, Operation: metav1.ManagedFieldsOperationUpdate, Time: &at,
					FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(versionFields)})
			}
			o.SetManagedFields(fields)
		})
	}
}

var bootstrapRef = plan.Ref{Group: clustertest.BootstrapGroup, Kind: "KubeadmConfigTemplate", Namespace: "default", Name: "aws-example-md-0"}

const strategyFields = `{"f:spec":{"f:rollout":{"f:strategy":{"f:rollingUpdate":{"f:maxSurge":{}}}}}}`

const versionFields = `{"f:spec":{"f:template":{"f:spec":{"f:version":{}}}}}`

// writtenBy has a field manager apply the version of the AWS pool.
func writtenBy(manager string) func(*clustertest.World) {
	return ownedBy(manager, metav1.ManagedFieldsOperationApply, versionFields)
}

// ownedBy gives a field manager fields of the AWS pool.
func ownedBy(manager string, operation metav1.ManagedFieldsOperationType, fields string) func(*clustertest.World) {
	return func(w *clustertest.World) {
		w.Edit(awsRef, func(o *unstructured.Unstructured) {
			o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: manager, Operation: operation, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(fields)}})
		})
	}
}

// finding gives the worst finding of a code, and proves its severity.
func finding(t *testing.T, p plan.Plan, code string, severity plan.Severity) plan.Finding {
	t.Helper()
	var found []plan.Finding
	for _, s := range []plan.Severity{plan.Block, plan.Warn, plan.NotVerified, plan.Pass} {
		for _, f := range p.Findings {
			if f.Code == code && f.Severity == s {
				found = append(found, f)
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("no finding %s in %+v", code, p.Findings)
	}
	if found[0].Severity != severity {
		t.Errorf("%s is %s, want %s: %s", code, found[0].Severity, severity, found[0].Message)
	}
	return found[0]
}

// TestChecksAtOnce: everything that is wrong is told at once.
func TestChecksAtOnce(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PausedCluster(), clustertest.PausedPool(awsPool), clustertest.TopologyOwned(),
		clustertest.ControlPlaneVersion("v1.34.3"), clustertest.ControlPlaneUpgrading("v1.35.2"))
	w.Delete(awsBootstrapRef)
	p := compile(t, w, upgrade(t, "pools: [{name: aws-example-md-0, kubernetesVersion: v1.36.1}, {name: nowhere, kubernetesVersion: v1.35.2}]"))
	var got []string
	for _, f := range p.Findings {
		if f.Severity == plan.Block {
			got = append(got, f.Pool+" "+f.Code)
		}
	}
	want := []string{" cluster-paused", awsPool + " machinedeployment-paused", awsPool + " topology-owned", awsPool + " templates",
		awsPool + " control-plane-updated", awsPool + " version-skew", "nowhere machinedeployment"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestNothingToDoIsNotBlocked: what stands in the way of a change is no
// matter where there is none; a pool that is not the cluster's is.
func TestNothingToDoIsNotBlocked(t *testing.T) {
	t.Parallel()
	const asItIs = "kubernetesVersion: v1.34.3, machineImage: ami-0123456789abcdef0"
	for name, test := range map[string]struct {
		adjust  []clustertest.Adjust
		edit    func(*clustertest.World)
		blocked bool
	}{
		"control plane ahead":      {},
		"control plane on its way": {adjust: []clustertest.Adjust{clustertest.ControlPlaneUpgrading("v1.36.0")}},
		"topology":                 {adjust: []clustertest.Adjust{clustertest.TopologyOwned()}},
		"paused pool":              {edit: edit(awsRef, "", "metadata", "annotations", capi.PausedAnnotation)},
		"paused cluster":           {edit: edit(clusterRef, true, "spec", "paused")},
		"another cluster's":        {edit: edit(awsRef, "other", "spec", "clusterName"), blocked: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample(test.adjust...)
			if test.edit != nil {
				test.edit(w)
			}
			p := compile(t, w, onePool(t, asItIs))
			if p.Blocked != test.blocked || (!p.IsEmpty() && !test.blocked) {
				t.Errorf("blocked %t, steps %q, findings %+v", p.Blocked, stepsOf(p), p.Findings)
			}
		})
	}
}

// TestAnnotatedCluster: the annotation on the Cluster holds nothing up, so that
// a plan is the same with it and without, and can be carried out whoever sets it
// or takes it off meanwhile.
func TestAnnotatedCluster(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := onePool(t, toBoth)
	without := compile(t, w, up)
	edit(clusterRef, "true", "metadata", "annotations", capi.PausedAnnotation)(w)
	p := compile(t, w, up)
	if p.Blocked || p.Digest != without.Digest {
		t.Errorf("digest %s, without the annotation %s; findings: %+v", p.Digest, without.Digest, p.Findings)
	}
	for i, s := range p.Steps {
		if got := p.Assess(i, observe(t, w, up)); s.Wait == nil && got.Verdict == plan.Drifted {
			t.Errorf("%s is drifted at once: %v", s.ID, got.Differences)
		}
	}
}

func TestImpact(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		replicas int64
		surge    any
		down     any
		fields   string
		edit     func(*clustertest.World)
		want     plan.PoolImpact
	}{
		{name: "one by one", replicas: 3, surge: int64(1), down: int64(0), want: plan.PoolImpact{Action: plan.Replace, Machines: 3, Waves: 3, Peak: 4, Floor: 3}},
		{name: "two at once", replicas: 5, surge: int64(2), down: int64(0), want: plan.PoolImpact{Action: plan.Replace, Machines: 5, Waves: 3, Peak: 7, Floor: 5}},
		{name: "surge and unavailable", replicas: 10, surge: int64(2), down: int64(3), want: plan.PoolImpact{Action: plan.Replace, Machines: 10, Waves: 2, Peak: 12, Floor: 7}},
		{name: "surge rounds up", replicas: 3, surge: "34%", down: int64(0), want: plan.PoolImpact{Action: plan.Replace, Machines: 3, Waves: 2, Peak: 5, Floor: 3}},
		{name: "unavailable rounds down", replicas: 5, surge: int64(1), down: "39%", want: plan.PoolImpact{Action: plan.Replace, Machines: 5, Waves: 3, Peak: 6, Floor: 4}},
		{name: "both come to nothing", replicas: 3, surge: "0%", down: "33%", want: plan.PoolImpact{Action: plan.Replace, Machines: 3, Waves: 3, Peak: 3, Floor: 2}},
		{name: "not set", replicas: 4, want: plan.PoolImpact{Action: plan.Replace, Machines: 4, Waves: 4, Peak: 5, Floor: 4}},
		{name: "more than there are", replicas: 2, surge: int64(0), down: int64(5), want: plan.PoolImpact{Action: plan.Replace, Machines: 2, Waves: 1, Peak: 2, Floor: 0}},
		{name: "a surge of more than there are", replicas: 3, surge: int64(5), down: int64(0), want: plan.PoolImpact{Action: plan.Replace, Machines: 3, Waves: 1, Peak: 6, Floor: 3}},
		{name: "more than there are at once, and away", replicas: 3, surge: int64(5), down: int64(4), want: plan.PoolImpact{Action: plan.Replace, Machines: 3, Waves: 1, Peak: 6, Floor: 0}},
		{name: "nothing there", replicas: 0, want: plan.PoolImpact{Action: plan.Replace, Note: "nothing exercises the new template"}},
		{name: "on delete", replicas: 3, edit: edit(awsRef, "OnDelete", "spec", "rollout", "strategy", "type"),
			want: plan.PoolImpact{Action: plan.Replace, Machines: 3, Peak: 3, Floor: 3, Note: "strategy OnDelete: nothing moves until machines are deleted"}},
		{name: "in place", replicas: 3, fields: "drain: {nodeDrainTimeout: 1m}", want: plan.PoolImpact{Action: plan.InPlace, Peak: 3, Floor: 3}},
		{name: "strategy of the same upgrade", replicas: 6, surge: int64(1), down: int64(0), fields: toVersion + `, strategy: {maxSurge: "50%"}`,
			want: plan.PoolImpact{Action: plan.Replace, Machines: 6, Waves: 2, Peak: 9, Floor: 6}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			edit(awsRef, test.replicas, "spec", "replicas")(w)
			edit(awsRef, test.surge, "spec", "rollout", "strategy", "rollingUpdate", "maxSurge")(w)
			edit(awsRef, test.down, "spec", "rollout", "strategy", "rollingUpdate", "maxUnavailable")(w)
			if test.edit != nil {
				test.edit(w)
			}
			fields := test.fields
			if fields == "" {
				fields = toVersion
			}
			test.want.Pool = awsPool
			if d := cmp.Diff([]plan.PoolImpact{test.want}, compile(t, w, onePool(t, fields)).Impact); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestServerFindingsStandTogether: the answer about rights, which is asked for
// beside the dry runs, comes before what these found.
func TestServerFindingsStandTogether(t *testing.T) {
	t.Parallel()
	f := func(code, pool string) plan.Finding {
		return plan.Finding{Code: code, Severity: plan.Warn, Pool: pool, Message: "m", Remedy: "r"}
	}
	p := compile(t, clustertest.AWSExample(), onePool(t, toBoth)).WithFindings(
		f(plan.CheckServer, ""), f(plan.CheckServer, awsPool)).WithFindings(f(plan.CheckRights, ""))
	var got []string
	for _, f := range p.Findings {
		if f.Severity == plan.Warn && (f.Code == plan.CheckServer || f.Code == plan.CheckRights) {
			got = append(got, f.Code)
		}
	}
	if diff := cmp.Diff([]string{plan.CheckRights, plan.CheckServer, plan.CheckServer}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
