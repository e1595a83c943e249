package capi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// said is what a test asserts of a Stall.
type said struct {
	Cause           capi.StallCause
	Object, InField string // Kind/name, condition
}

func saidBy(s capi.Stall) said { return said{s.Cause, s.Kind + "/" + s.Name, s.Condition} }

const drainPDB = `Drain not completed yet (started at 2026-11-22T07:00:00Z):
* Pods shop/cart-0, shop/cart-1: cannot evict pod as it would violate the pod's disruption budget. The disruption budget cart needs 2 healthy pods and has 2 currently
* Pod shop/web: deletionTimestamp set, but still not removed from the Node`

// TestStalls sets one cause each in the middle of a rollout, where the
// controllers write it.
func TestStalls(t *testing.T) {
	const (
		stated    = true  // an error or a block by the controllers' words
		suspected = false // a wait that Suspect names when it lasts
	)
	tests := []struct {
		name        string
		change      func(w *world)
		stated      bool
		want        said
		explanation string
	}{
		{"Cluster paused", func(w *world) {
			w.cluster = w.object("Cluster", "demo", "")
			set(w.cluster, true, "spec", "paused")
		}, stated, said{"paused", "Cluster/demo", ""}, "Cluster demo is paused (spec.paused)"},
		{"MachineDeployment paused by annotation", func(w *world) { annotate(w.md, "cluster.x-k8s.io/paused", "") },
			stated, said{"paused", "MachineDeployment/pool", ""}, "carries the annotation cluster.x-k8s.io/paused"},
		{"MachineDeployment paused by its spec", func(w *world) { set(w.md, true, "spec", "paused") },
			stated, said{"paused", "MachineDeployment/pool", ""}, "still scales, it does not roll"},
		{"Paused condition without the Cluster at hand", func(w *world) {
			w.condition(w.md, "Paused", "True", "Paused", "Cluster spec.paused is set to true")
		}, stated, said{"paused", "MachineDeployment/pool", "Paused"}, "Cluster spec.paused is set to true"},
		{"MachineSet paused", func(w *world) { annotate(w.oldSet, "cluster.x-k8s.io/paused", "true") },
			stated, said{"paused", "MachineSet/pool-old", ""}, "no controller touches it"},
		{"Machine being deleted is paused", func(w *world) {
			w.deleting(w.old[0], "Deleting", "Deletion started")
			annotate(w.old[0], "cluster.x-k8s.io/paused", "")
		}, stated, said{"paused", "Machine/pool-old-a", ""}, "no controller touches it"},
		{"infrastructure paused", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "AWSMachine status.initialization.provisioned is false")
			annotate(w.infraMachine(w.new[0], "infra-new"), "cluster.x-k8s.io/paused", "")
		}, stated, said{"paused", "AWSMachine/pool-new-a", ""}, "its provider does not touch it"},

		{"template missing", func(w *world) {
			w.condition(w.md, "ScalingUp", "False", "NotScalingUp", "Scaling up would be blocked because AWSMachineTemplate does not exist")
		}, stated, said{"template-missing", "MachineDeployment/pool", "ScalingUp"}, "AWSMachineTemplate infra-new, which MachineDeployment pool names, does not exist"},
		{"both templates missing", func(w *world) {
			w.condition(w.md, "ScalingUp", "True", "ScalingUp", "Scaling up from 1 to 2 replicas is blocked because KubeadmConfigTemplate and AWSMachineTemplate do not exist")
		}, stated, said{"template-missing", "MachineDeployment/pool", "ScalingUp"}, "KubeadmConfigTemplate config-new and AWSMachineTemplate infra-new"},
		{"template missing for the MachineSet", func(w *world) {
			w.condition(w.newSet, "ScalingUp", "True", "ScalingUp", "Scaling up from 0 to 1 replicas is blocked because:\n* AWSMachineTemplate does not exist")
		}, stated, said{"template-missing", "MachineSet/pool-new", "ScalingUp"}, "AWSMachineTemplate infra-new"},

		{"template missing for a MachineSet that has its replicas", func(w *world) {
			w.condition(w.newSet, "ScalingUp", "False", "NotScalingUp", "Scaling up would be blocked because AWSMachineTemplate does not exist")
		}, suspected, said{"node-not-joined", "Machine/pool-new-a", "NodeHealthy"}, "no node has joined"},
		{"emptied MachineSet paused", func(w *world) {
			annotate(w.oldSet, "cluster.x-k8s.io/paused", "")
			set(w.oldSet, int64(0), "spec", "replicas")
			w.counters(w.oldSet, 0, 0)
		}, suspected, said{"node-not-joined", "Machine/pool-new-a", "NodeHealthy"}, "no node has joined"},

		{"preflight", func(w *world) {
			w.new = nil
			w.condition(w.newSet, "ScalingUp", "True", "ScalingUp", "Scaling up from 0 to 1 replicas is blocked because:\n* MachineSet version (1.34.3) and ControlPlane version (1.35.2) do not conform (\"KubeadmVersionSkew\" preflight check failed)")
		}, stated, said{"machineset-preflight", "MachineSet/pool-new", "ScalingUp"}, "kubeadm joins only with the control plane's own minor version"},
		{"preflight, control plane not stable", func(w *world) {
			w.condition(w.newSet, "ScalingUp", "True", "ScalingUp", "Scaling up from 0 to 1 replicas is blocked because:\n* control plane is upgrading (\"ControlPlaneIsStable\" preflight check failed)")
		}, stated, said{"machineset-preflight", "MachineSet/pool-new", "ScalingUp"}, "the control plane is being made or upgraded"},
		{"preflight in the words of v1beta1", func(w *world) {
			w.oldCondition(w.newSet, "MachinesCreated", "False", "Error", "PreflightCheckFailed", "(\"KubernetesVersionSkew\" preflight check failed)")
		}, stated, said{"machineset-preflight", "MachineSet/pool-new", "MachinesCreated"}, "too far from the control plane's"},
		{"preflight, too far behind", func(w *world) {
			w.condition(w.newSet, "ScalingUp", "True", "ScalingUp", "Scaling up from 0 to 1 replicas is blocked because:\n* MachineSet version (1.31.9) and ControlPlane version (1.35.2) do not conform to the kubernetes version skew policy as MachineSet version is more than 3 minor versions older than the ControlPlane version (\"KubernetesVersionSkew\" preflight check failed)")
		}, stated, said{"machineset-preflight", "MachineSet/pool-new", "ScalingUp"}, "more than three minors older than the control plane's"},
		{"preflight, MachineSets not seen", func(w *world) {
			w.newSet, w.oldSet, w.new, w.old = nil, nil, nil, nil
			w.oldCondition(w.md, "MachineSetReady", "False", "Error", "PreflightCheckFailed", "(\"ControlPlaneVersionSkew\" preflight check failed)")
		}, stated, said{"machineset-preflight", "MachineDeployment/pool", "MachineSetReady"}, "is not the control plane's"},
		{"Machine creation refused", func(w *world) {
			w.oldCondition(w.newSet, "MachinesCreated", "False", "Error", "MachineCreationFailed", "admission webhook denied the request")
		}, stated, said{"machine-creation", "MachineSet/pool-new", "MachinesCreated"}, "cannot create a Machine: admission webhook denied the request"},
		{"cloning failed", func(w *world) {
			w.oldCondition(w.newSet, "MachinesCreated", "False", "Error", "InfrastructureTemplateCloningFailed", "failed to retrieve AWSMachineTemplate")
		}, stated, said{"machine-creation", "MachineSet/pool-new", "MachinesCreated"}, "failed to retrieve AWSMachineTemplate"},

		{"provider error in the Machine", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "InstanceProvisionFailed", "failed to run machine: InvalidAMIID.NotFound: The image id '[ami-1]' does not exist")
		}, stated, said{"provider-error", "Machine/pool-new-a", "InfrastructureReady"}, "InvalidAMIID.NotFound"},
		{"provider error in a summary", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "* VMProvisioned: Please check controller logs for errors\n* NodeProvisioned: WaitingForVMProvisioned")
		}, stated, said{"provider-error", "Machine/pool-new-a", "InfrastructureReady"}, "VMProvisioned: Please check controller logs for errors"},
		{"provider error in its own object", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "AWSMachine status.initialization.provisioned is false")
			o := w.infraMachine(w.new[0], "infra-new")
			put(o, []string{"status", "conditions"}, map[string]any{"type": "Ready", "status": "False", "severity": "Error", "reason": "InstanceProvisionFailed", "message": "InsufficientInstanceCapacity: no m5.xlarge"})
			put(o, []string{"status", "conditions"}, map[string]any{"type": "InstanceReady", "status": "False", "severity": "Error", "reason": "InstanceProvisionFailed", "message": "InsufficientInstanceCapacity: no m5.xlarge"})
		}, stated, said{"provider-error", "AWSMachine/pool-new-a", "InstanceReady"}, "InsufficientInstanceCapacity"},
		{"severity Error alone", func(w *world) {
			w.oldCondition(w.infraMachine(w.new[0], "infra-new"), "Ready", "False", "Error", "InstanceStopped", "")
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "")
		}, stated, said{"provider-error", "AWSMachine/pool-new-a", "Ready"}, "InstanceStopped"},
		{"infrastructure gone", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "ObjectDeleted", "AWSMachine has been deleted while the Machine still exists")
		}, stated, said{"provider-error", "Machine/pool-new-a", "InfrastructureReady"}, "AWSMachine pool-new-a, the infrastructure of Machine pool-new-a, is gone"},
		{"failed for good", func(w *world) {
			path := []string{"status", "failureMessage"}
			if w.version == "v1beta2" {
				path = []string{"status", "deprecated", "v1beta1", "failureMessage"}
			}
			set(w.new[0], "instance was terminated", path...)
		}, stated, said{"provider-error", "Machine/pool-new-a", ""}, "has failed for good: instance was terminated"},
		{"nobody provisions", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "AWSMachine status.initialization.provisioned is false")
		}, suspected, said{"infrastructure-not-ready", "Machine/pool-new-a", "InfrastructureReady"}, "perhaps no controller takes care of it"},
		{"nobody provisions, seen in its object", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "AWSMachine status.initialization.provisioned is false")
			w.infraMachine(w.new[0], "infra-new")
		}, suspected, said{"infrastructure-not-ready", "AWSMachine/pool-new-a", ""}, "no controller seems to take care of it"},
		{"provider at work", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "* VMProvisioned: WaitingForStartupTimeout\n* NodeProvisioned: WaitingForVMProvisioned")
		}, suspected, said{"infrastructure-not-ready", "Machine/pool-new-a", "InfrastructureReady"}, "reports no error"},

		{"a wait that mentions an error", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "* VMProvisioned: Waiting for the image, not found in the cache yet\n* NodeProvisioned: WaitingForConflictResolution")
		}, suspected, said{"infrastructure-not-ready", "Machine/pool-new-a", "InfrastructureReady"}, "reports no error"},
		{"a reason that waits for the end of an error", func(w *world) {
			w.condition(w.new[0], "InfrastructureReady", "False", "WaitingForConflictResolution", "")
		}, suspected, said{"infrastructure-not-ready", "Machine/pool-new-a", "InfrastructureReady"}, "reports no error"},

		{"bootstrap error", func(w *world) {
			w.condition(w.new[0], "BootstrapConfigReady", "False", "NotReady", "* DataSecretAvailable: Failed to generate cloud-config: template: bad character")
		}, stated, said{"bootstrap-error", "Machine/pool-new-a", "BootstrapConfigReady"}, "Failed to generate cloud-config"},
		{"bootstrap error in its own object", func(w *world) {
			w.condition(w.new[0], "BootstrapConfigReady", "False", "NotReady", "KubeadmConfig status.initialization.dataSecretCreated is false")
			o := w.object("KubeadmConfig", w.new[0].GetName(), "")
			set(o, "bootstrap.cluster.x-k8s.io/v1beta1", "apiVersion")
			put(o, []string{"status", "conditions"}, map[string]any{"type": "DataSecretAvailable", "status": "False", "severity": "Warning", "reason": "DataSecretGenerationFailed", "message": "secret x is taken"})
			w.configs = []*object{o}
		}, stated, said{"bootstrap-error", "KubeadmConfig/pool-new-a", "DataSecretAvailable"}, "DataSecretGenerationFailed: secret x is taken"},
		{"bootstrap slow", func(w *world) {
			w.condition(w.new[0], "BootstrapConfigReady", "False", "NotReady", "KubeadmConfig status.initialization.dataSecretCreated is false")
			w.condition(w.new[0], "InfrastructureReady", "False", "NotReady", "AWSMachine status.initialization.provisioned is false")
		}, suspected, said{"bootstrap-not-ready", "Machine/pool-new-a", "BootstrapConfigReady"}, "no error is reported"},

		{"node does not join", func(w *world) {
			w.condition(w.new[0], "NodeHealthy", "Unknown", "InspectionFailed", "Waiting for a Node with spec.providerID aws:///i-1 to exist")
		}, suspected, said{"node-not-joined", "Machine/pool-new-a", "NodeHealthy"}, "no node has joined"},
		{"node not healthy", func(w *world) {
			set(w.new[0], "node-a", "status", "nodeRef", "name")
			w.condition(w.new[0], "NodeHealthy", "False", "NodeNotHealthy", "* Node.Ready: cni plugin not initialized")
		}, suspected, said{"node-not-healthy", "Machine/pool-new-a", "NodeHealthy"}, "cni plugin not initialized"},
		{"node deleted", func(w *world) {
			set(w.new[0], "node-a", "status", "nodeRef", "name")
			w.condition(w.new[0], "NodeHealthy", "False", "NodeDeleted", "Node node-a has been deleted while the Machine still exists")
		}, stated, said{"node-not-healthy", "Machine/pool-new-a", "NodeHealthy"}, "was deleted"},
		{"workload cluster unreachable", func(w *world) {
			w.condition(w.new[0], "NodeHealthy", "Unknown", "ConnectionDown", "Last successful probe at 2026-11-22T06:50:00Z")
		}, stated, said{"workload-unreachable", "Machine/pool-new-a", "NodeHealthy"}, "no longer reaches the API server"},
		{"workload cluster not connected yet", func(w *world) {
			w.condition(w.new[0], "NodeHealthy", "Unknown", "ConnectionDown", "Remote connection not established yet")
		}, suspected, said{"node-not-joined", "Machine/pool-new-a", "NodeHealthy"}, ""},
		{"wrong kubelet", func(w *world) {
			w.new = []*object{w.machine("pool-new-a", w.newSet)}
			set(w.new[0], "v1.34.3", "status", "nodeInfo", "kubeletVersion")
		}, stated, said{"wrong-kubelet-version", "Machine/pool-new-a", ""}, "runs kubelet v1.34.3, the pool asks for v1.35.2"},
		{"made from another template", func(w *world) {
			w.new = []*object{w.machine("pool-new-a", w.newSet)}
			w.infraMachine(w.new[0], "infra-old")
		}, stated, said{"wrong-template", "AWSMachine/pool-new-a", ""}, "was made from infra-old, the pool names infra-new"},
		{"readiness gate", func(w *world) {
			set(w.new[0], "node-a", "status", "nodeRef", "name")
			w.condition(w.new[0], "Ready", "False", "NotReady", "* GPUReady: driver is being installed")
		}, suspected, said{"machine-not-ready", "Machine/pool-new-a", "Ready"}, "GPUReady: driver is being installed"},
		{"minReadySeconds", func(w *world) {
			w.new = []*object{w.machine("pool-new-a", w.newSet)}
			w.condition(w.new[0], "Available", "False", "WaitingForMinReadySeconds", "")
		}, suspected, said{"machine-not-ready", "Machine/pool-new-a", "Available"}, "WaitingForMinReadySeconds"},
		{"no condition yet", func(w *world) {
			unstructured.RemoveNestedField(w.new[0].Object, "status")
		}, suspected, said{"machine-not-ready", "Machine/pool-new-a", ""}, "has not reported on it"},
		{"in-place update failed", func(w *world) {
			w.condition(w.new[0], "Updating", "True", "InPlaceUpdateFailed", "extension said no")
		}, stated, said{"in-place-update-failed", "Machine/pool-new-a", "Updating"}, "extension said no"},
		{"health check", func(w *world) {
			w.condition(w.new[0], "HealthCheckSucceeded", "False", "NodeStartupTimeout", "Health check failed: Node failed to report startup in 10m0s")
		}, stated, said{"health-check-churn", "Machine/pool-new-a", "HealthCheckSucceeded"}, "NodeStartupTimeout"},
		{"remediating", func(w *world) {
			w.condition(w.md, "Remediating", "True", "Remediating", "* Machine pool-new-x: Machine deletionTimestamp set")
		}, stated, said{"health-check-churn", "MachineDeployment/pool", "Remediating"}, "given up on new machines"},

		{"OnDelete", func(w *world) { w.strategy("OnDelete") }, stated, said{"on-delete-strategy", "MachineDeployment/pool", ""}, "2 old Machines of MachineDeployment pool will stay until someone deletes them"},

		{"pre-drain hook", func(w *world) {
			w.deleting(w.old[0], "WaitingForPreDrainHook", "Waiting for pre-drain hooks to succeed (hooks: pre-drain.delete.hook.machine.cluster.x-k8s.io/backup)")
			annotate(w.old[0], "pre-drain.delete.hook.machine.cluster.x-k8s.io/backup", "team")
		}, stated, said{"pre-drain-hook", "Machine/pool-old-a", "Deleting"}, "pre-drain.delete.hook.machine.cluster.x-k8s.io/backup"},
		{"disruption budget", func(w *world) { w.deleting(w.old[0], "DrainingNode", drainPDB) },
			stated, said{"drain-blocked", "Machine/pool-old-a", "Deleting"}, "Pods shop/cart-0, shop/cart-1: cannot evict pod"},
		{"eviction error", func(w *world) {
			w.deleting(w.old[0], "DrainingNode", "Drain not completed yet (started at 2026-11-22T07:00:00Z):\n* Pod shop/cart: failed to evict Pod, webhook refused")
		}, stated, said{"drain-blocked", "Machine/pool-old-a", "Deleting"}, "failed to evict Pod, webhook refused"},
		{"drain takes its time", func(w *world) {
			w.deleting(w.old[0], "DrainingNode", "Drain not completed yet (started at 2026-11-22T07:00:00Z):\n* Pod shop/cart: deletionTimestamp set, but still not removed from the Node")
			w.new = nil
			set(w.newSet, int64(0), "spec", "replicas")
		}, suspected, said{"drain-blocked", "Machine/pool-old-a", "Deleting"}, "not gone yet"},
		{"volumes", func(w *world) {
			w.deleting(w.old[0], "WaitingForVolumeDetach", "Waiting for Node volumes to be detached (started at 2026-11-22T07:00:00Z)\n* PersistentVolumeClaims: shop/cart")
			w.new = nil
			set(w.newSet, int64(0), "spec", "replicas")
		}, suspected, said{"volume-detach", "Machine/pool-old-a", "Deleting"}, "PersistentVolumeClaims: shop/cart"},
		{"pre-terminate hook", func(w *world) {
			w.deleting(w.old[0], "WaitingForPreTerminateHook", "Waiting for pre-terminate hooks to succeed (hooks: x)")
		}, stated, said{"pre-terminate-hook", "Machine/pool-old-a", "Deleting"}, "may not be terminated"},
		{"infrastructure deletion", func(w *world) {
			w.deleting(w.old[0], "WaitingForInfrastructureDeletion", "Waiting for AWSMachine to be deleted")
			w.new = nil
			set(w.newSet, int64(0), "spec", "replicas")
		}, suspected, said{"infrastructure-deletion", "Machine/pool-old-a", "Deleting"}, "AWSMachine pool-old-a"},
		{"infrastructure kept by finalizers", func(w *world) {
			w.deleting(w.old[0], "WaitingForInfrastructureDeletion", "Waiting for AWSMachine to be deleted")
			w.infraMachine(w.old[0], "infra-old").SetFinalizers([]string{"awsmachine.infrastructure.cluster.x-k8s.io", "example.com/inventory"})
			w.new = nil
			set(w.newSet, int64(0), "spec", "replicas")
		}, suspected, said{"infrastructure-deletion", "Machine/pool-old-a", "Deleting"}, "is being deleted and kept by 2 finalizers awsmachine.infrastructure.cluster.x-k8s.io, example.com/inventory"},
		{"infrastructure deletion fails", func(w *world) {
			w.deleting(w.old[0], "InternalError", "Failed to delete AWSMachine, please check controller logs for errors")
		}, stated, said{"infrastructure-deletion", "Machine/pool-old-a", "Deleting"}, "cannot be deleted"},
		{"infrastructure deletion fails by its own word", func(w *world) {
			w.deleting(w.old[0], "WaitingForInfrastructureDeletion", "Waiting for AWSMachine to be deleted")
			w.oldCondition(w.infraMachine(w.old[0], "infra-old"), "InstanceReady", "False", "Warning", "DeletionFailed", "UnauthorizedOperation: ec2:TerminateInstances")
		}, stated, said{"infrastructure-deletion", "AWSMachine/pool-old-a", "InstanceReady"}, "UnauthorizedOperation"},
		{"finalizer", func(w *world) {
			w.deleting(w.old[0], "DeletionCompleted", "Deletion completed")
			w.old[0].SetFinalizers([]string{"machine.cluster.x-k8s.io", "example.com/inventory"})
			w.new = nil
			set(w.newSet, int64(0), "spec", "replicas")
		}, suspected, said{"machine-deletion", "Machine/pool-old-a", "Deleting"}, "kept by finalizer example.com/inventory"},
		{"node deletion fails", func(w *world) {
			w.deleting(w.old[0], "DeletingNode", "Error deleting Node, please check controller logs for errors")
		}, stated, said{"machine-deletion", "Machine/pool-old-a", "Deleting"}, "DeletingNode"},

		{"pool being deleted", func(w *world) { set(w.md, "2026-11-22T07:00:00Z", "metadata", "deletionTimestamp") },
			stated, said{"pool-deleting", "MachineDeployment/pool", ""}, "is being deleted"},
		{"controllers silent", func(w *world) { set(w.md, int64(5), "metadata", "generation") },
			suspected, said{"controllers-silent", "MachineDeployment/pool", ""}, "generation 5, last seen 4"},
		{"no MachineSet made", func(w *world) { w.newSet, w.new = nil, nil },
			suspected, said{"controllers-silent", "MachineDeployment/pool", ""}, "has no MachineSet for its template"},
		{"no Machine made", func(w *world) { w.new = nil },
			suspected, said{"controllers-silent", "MachineSet/pool-new", ""}, "is to have 1 Machine and has 0"},
		{"nothing to see", func(w *world) {
			w.new = []*object{w.machine("pool-new-a", w.newSet)}
		}, suspected, said{"no-progress", "MachineDeployment/pool", ""}, "1 of 2 new Machines are available"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			forms(t, func(t *testing.T, version string) {
				w := midway(version)
				test.change(w)
				r := judge(w.observed())
				if r.Complete {
					t.Fatal("complete")
				}
				if got := len(r.Stalls) > 0; got != test.stated {
					t.Errorf("stated %t, want %t: %s", got, test.stated, causes(r.Stalls))
				}
				s := r.Suspect()
				if s == nil {
					t.Fatal("nothing suspected")
				}
				if diff := cmp.Diff(test.want, saidBy(*s)); diff != "" {
					t.Errorf("Suspect (-want +got):\n%s", diff)
				}
				if !strings.Contains(s.Explanation, test.explanation) {
					t.Errorf("Explanation %q lacks %q", s.Explanation, test.explanation)
				}
				if strings.Contains(s.Explanation, "\n") || s.Explanation == "" || s.Next == "" {
					t.Errorf("not one line and a next step: %q, %q", s.Explanation, s.Next)
				}
			})
		})
	}
}

// TestStallsOfOldControllers reads a deletion as Cluster API before 1.9 told it.
func TestStallsOfOldControllers(t *testing.T) {
	tests := []struct {
		condition, severity, reason, message string
		annotation                           string
		want                                 said
		stated                               bool
	}{
		{"PreDrainDeleteHookSucceeded", "Info", "WaitingExternalHook", "", "pre-drain.delete.hook.machine.cluster.x-k8s.io/x", said{"pre-drain-hook", "Machine/pool-old-a", "PreDrainDeleteHookSucceeded"}, true},
		{"PreTerminateDeleteHookSucceeded", "Info", "WaitingExternalHook", "", "pre-terminate.delete.hook.machine.cluster.x-k8s.io/x", said{"pre-terminate-hook", "Machine/pool-old-a", "PreTerminateDeleteHookSucceeded"}, true},
		{"DrainingSucceeded", "Warning", "DrainingFailed", "error when evicting pods", "", said{"drain-blocked", "Machine/pool-old-a", "DrainingSucceeded"}, true},
		{"DrainingSucceeded", "Info", "Draining", "Draining the node before deletion", "", said{"drain-blocked", "Machine/pool-old-a", "DrainingSucceeded"}, false},
		{"VolumeDetachSucceeded", "Info", "WaitingForVolumeDetach", "Waiting for node volumes to be detached", "", said{"volume-detach", "Machine/pool-old-a", "VolumeDetachSucceeded"}, false},
		{"InfrastructureReady", "Error", "DeletionFailed", "cannot terminate", "", said{"infrastructure-deletion", "Machine/pool-old-a", "InfrastructureReady"}, true},
	}
	for _, test := range tests {
		t.Run(test.condition+" "+test.reason, func(t *testing.T) {
			w := done("v1beta1")
			w.oldSet = w.set("pool-old", 0, "v1.34.3", "infra-old", "config-old")
			old := w.machine("pool-old-a", w.oldSet)
			unstructured.RemoveNestedField(old.Object, "status", "v1beta2")
			set(old, "2026-11-22T07:00:00Z", "metadata", "deletionTimestamp")
			w.oldCondition(old, test.condition, "False", test.severity, test.reason, test.message)
			if test.annotation != "" {
				annotate(old, test.annotation, "")
			}
			w.old = []*object{old}
			r := judge(w.observed())
			if got := len(r.Stalls) > 0; got != test.stated {
				t.Errorf("stated %t: %s", got, causes(r.Stalls))
			}
			if diff := cmp.Diff(test.want, saidBy(*r.Suspect())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !strings.Contains(r.Suspect().Explanation+r.Suspect().Message, test.annotation) {
				t.Errorf("the hook is not named: %+v", r.Suspect())
			}
		})
	}
}

// TestPreflightAdvice: a newer control plane is advised where it is the way out,
// and not where the pool is behind it.
func TestPreflightAdvice(t *testing.T) {
	const (
		newer   = "MachineSet version is higher than ControlPlane version (\"KubernetesVersionSkew\" preflight check failed)"
		older   = "MachineSet version is more than 3 minor versions older than the ControlPlane version (\"KubernetesVersionSkew\" preflight check failed)"
		kubeadm = "kubeadm only supports joining with the same major+minor version as the control plane (\"KubeadmVersionSkew\" preflight check failed)"
	)
	for message, want := range map[string]string{
		newer:                                   "Upgrade the control plane first, or name a version that it allows. A check",
		newer + "\n* " + kubeadm:                "Upgrade the control plane first, or name a version that it allows. A check",
		older:                                   "Give the pool a version that is nearer to the control plane's. A check",
		older + "\n* " + kubeadm:                "Give the pool a version of the control plane's minor. A check",
		"some (\"New\" preflight check failed)": "Read the message. A check",
	} {
		w := midway("v1beta2")
		w.condition(w.newSet, "ScalingUp", "True", "ScalingUp", "Scaling up from 0 to 1 replicas is blocked because:\n* "+message)
		if got := judge(w.observed()).Suspect().Next; !strings.HasPrefix(got, want) {
			t.Errorf("%s\ngot  %s\nwant %s", message, got, want)
		}
	}
}

// TestStallsRank puts what explains the others first: a pause before a provider
// error before a blocked drain.
func TestStallsRank(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		w := midway(version)
		w.deleting(w.old[0], "DrainingNode", drainPDB)
		w.condition(w.new[0], "InfrastructureReady", "False", "InstanceProvisionFailed", "quota")
		set(w.md, true, "spec", "paused")
		want := "paused MachineDeployment/pool, provider-error Machine/pool-new-a, drain-blocked Machine/pool-old-a"
		if got := causes(judge(w.observed()).Stalls); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// TestErrorOfTheMakingIsNoErrorOfTheDeletion is a rollback: the broken machine
// still tells why it could not be made while it is being deleted.
func TestErrorOfTheMakingIsNoErrorOfTheDeletion(t *testing.T) {
	forms(t, func(t *testing.T, version string) {
		w := midway(version)
		w.template(w.md, "v1.34.3", "infra-old", "config-old")
		w.deleting(w.new[0], "WaitingForInfrastructureDeletion", "Waiting for AWSMachine to be deleted")
		w.oldCondition(w.infraMachine(w.new[0], "infra-new"), "InstanceReady", "False", "Error", "InstanceProvisionFailed", "InvalidAMIID.NotFound")
		if r := judge(w.observed()); len(r.Stalls) > 0 {
			t.Errorf("stalls: %s", causes(r.Stalls))
		}
	})
}
