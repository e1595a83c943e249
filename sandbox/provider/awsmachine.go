package provider

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	inmemory "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime"
	"sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/annotations"

	"nodepool/sandbox/faults"
)

const (
	awsFinalizer = "awsmachine.infrastructure.cluster.x-k8s.io"
	// kubeletAnnotation keeps what the image of the instance held when it
	// booted. A later change of the fault table does not change a disk, and
	// after a restart the node comes back as it was.
	kubeletAnnotation = "sandbox.nodepool/kubelet-version"
	// retry is how soon the stand-in looks again for what no event announces.
	retry = 250 * time.Millisecond
)

var (
	awsMachineKind = schema.GroupVersionKind{Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Kind: "AWSMachine"}
	awsMachineList = schema.GroupVersionKind{Group: awsMachineKind.Group, Version: awsMachineKind.Version, Kind: "AWSMachineList"}
)

// awsMachines stands in for the AWS provider's machine controller: it makes
// AWSMachines ready and their nodes join, without AWS.
type awsMachines struct {
	client client.Client
	cloud  inmemory.Manager
}

func newAWSMachine() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(awsMachineKind)
	return u
}

func (r *awsMachines) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("awsmachine").
		For(newAWSMachine()).
		WithOptions(concurrency).
		Watches(&clusterv1.Machine{}, handler.EnqueueRequestsFromMapFunc(util.MachineToInfrastructureMapFunc(awsMachineKind))).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(r.ofCluster)).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(r.onFaults)).
		Complete(r)
}

func (r *awsMachines) list(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	l := &unstructured.UnstructuredList{}
	l.SetGroupVersionKind(awsMachineList)
	if err := r.client.List(ctx, l, opts...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list AWSMachines")
		return nil
	}
	var out []reconcile.Request
	for _, u := range l.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&u)})
	}
	return out
}

func (r *awsMachines) ofCluster(ctx context.Context, o client.Object) []reconcile.Request {
	return r.list(ctx, client.InNamespace(o.GetNamespace()), client.MatchingLabels{clusterv1.ClusterNameLabel: o.GetName()})
}

func (r *awsMachines) onFaults(ctx context.Context, o client.Object) []reconcile.Request {
	if o.GetName() != faults.Name {
		return nil
	}
	return r.list(ctx)
}

// Reconcile takes one AWSMachine a step further.
func (r *awsMachines) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	infra := newAWSMachine()
	if err := r.client.Get(ctx, req.NamespacedName, infra); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	table, err := r.faults(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if table.ProviderDown {
		return ctrl.Result{}, nil // the change of the table brings it back
	}
	machine, err := util.GetOwnerMachine(ctx, r.client, metav1.ObjectMeta{Namespace: infra.GetNamespace(), OwnerReferences: infra.GetOwnerReferences()})
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !infra.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, r.terminate(ctx, infra)
	}
	if machine == nil {
		return ctrl.Result{}, nil
	}
	cluster, err := util.GetClusterByName(ctx, r.client, machine.Namespace, machine.Spec.ClusterName)
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if annotations.IsPaused(cluster, infra) {
		return ctrl.Result{}, nil
	}
	if err := r.ensureFinalizer(ctx, infra); err != nil {
		return ctrl.Result{}, err
	}
	if !ptr.Deref(cluster.Status.Initialization.InfrastructureProvisioned, false) {
		return ctrl.Result{}, r.setStatus(ctx, infra, notReady("WaitingForClusterInfrastructure", "Info", ""))
	}
	if machine.Spec.Bootstrap.DataSecretName == nil {
		return ctrl.Result{}, r.setStatus(ctx, infra, notReady("WaitingForBootstrapData", "Info", ""))
	}
	image, _, _ := unstructured.NestedString(infra.Object, "spec", "ami", "id")
	running, _, _ := unstructured.NestedString(infra.Object, "spec", "instanceID")
	if running == "" {
		if why := table.RunError(image); why != "" {
			return ctrl.Result{}, r.setStatus(ctx, infra, notReady("InstanceProvisionFailed", "Error",
				"failed to create AWSMachine instance: failed to run instance: "+why))
		}
		if err := r.start(ctx, infra); err != nil {
			return ctrl.Result{}, err
		}
	}
	if err := r.setStatus(ctx, infra, ready(infra)); err != nil {
		return ctrl.Result{}, err
	}
	return r.join(ctx, table, image, infra, machine)
}

func (r *awsMachines) faults(ctx context.Context) (*faults.Table, error) {
	cm := &corev1.ConfigMap{}
	err := r.client.Get(ctx, types.NamespacedName{Namespace: faults.Namespace, Name: faults.Name}, cm)
	if apierrors.IsNotFound(err) {
		return &faults.Table{}, nil
	}
	if err != nil {
		return nil, err
	}
	return faults.Parse(cm.Data)
}

func (r *awsMachines) terminate(ctx context.Context, infra *unstructured.Unstructured) error {
	before := infra.DeepCopy()
	if !controllerutil.RemoveFinalizer(infra, awsFinalizer) {
		return nil
	}
	return client.IgnoreNotFound(r.client.Patch(ctx, infra, client.MergeFrom(before)))
}

func (r *awsMachines) ensureFinalizer(ctx context.Context, infra *unstructured.Unstructured) error {
	before := infra.DeepCopy()
	if !controllerutil.AddFinalizer(infra, awsFinalizer) {
		return nil
	}
	return r.client.Patch(ctx, infra, client.MergeFrom(before))
}

// start gives the machine an instance.
func (r *awsMachines) start(ctx context.Context, infra *unstructured.Unstructured) error {
	before := infra.DeepCopy()
	id := instanceID(infra.GetUID())
	if err := unstructured.SetNestedField(infra.Object, id, "spec", "instanceID"); err != nil {
		return err
	}
	if err := unstructured.SetNestedField(infra.Object, "aws:///us-east-1a/"+id, "spec", "providerID"); err != nil {
		return err
	}
	return r.client.Patch(ctx, infra, client.MergeFrom(before))
}

func instanceID(uid types.UID) string {
	h := fnv.New64a()
	h.Write([]byte(uid))
	return fmt.Sprintf("i-0%016x", h.Sum64())
}

// join makes the instance a node, when its image is one that joins.
func (r *awsMachines) join(ctx context.Context, table *faults.Table, image string, infra *unstructured.Unstructured, machine *clusterv1.Machine) (ctrl.Result, error) {
	kubelet, booted := infra.GetAnnotations()[kubeletAnnotation]
	if !booted {
		if !table.Joins(image) {
			return ctrl.Result{}, nil
		}
		if wait := table.BootDelay[image] - time.Since(runningSince(infra)); table.BootDelay[image] > 0 && wait > 0 {
			return ctrl.Result{RequeueAfter: wait}, nil
		}
		kubelet = table.Kubelet(image, machine.Spec.Version)
	}
	nodes := r.cloud.GetResourceGroup(resourceGroup(machine.Namespace, machine.Spec.ClusterName)).GetClient()
	node := newNode(infra, kubelet, table.NodeReady(image))
	existing := &corev1.Node{}
	switch err := nodes.Get(ctx, client.ObjectKeyFromObject(node), existing); {
	case apierrors.IsNotFound(err):
		if err := nodes.Create(ctx, node); err != nil && !apierrors.IsAlreadyExists(err) {
			return ctrl.Result{}, fmt.Errorf("join node %s: %w", node.Name, err)
		}
	case err != nil:
		// The workload cluster is not there yet, which is usual after a restart.
		return ctrl.Result{RequeueAfter: retry}, nil
	case readiness(existing) != readiness(node):
		existing.Status.Conditions = node.Status.Conditions
		if err := nodes.Update(ctx, existing); err != nil {
			return ctrl.Result{}, fmt.Errorf("update node %s: %w", node.Name, err)
		}
	}
	if booted {
		return ctrl.Result{}, nil
	}
	before := infra.DeepCopy()
	notes := infra.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	notes[kubeletAnnotation] = kubelet
	infra.SetAnnotations(notes)
	return ctrl.Result{}, r.client.Patch(ctx, infra, client.MergeFrom(before))
}

func newNode(infra *unstructured.Unstructured, kubelet string, isReady bool) *corev1.Node {
	providerID, _, _ := unstructured.NestedString(infra.Object, "spec", "providerID")
	instanceType, _, _ := unstructured.NestedString(infra.Object, "spec", "instanceType")
	now := metav1.Now()
	condition := func(t corev1.NodeConditionType, status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: t, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	readyCondition := condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady")
	if !isReady {
		readyCondition = condition(corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady")
		readyCondition.Message = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: infra.GetName(),
			Labels: map[string]string{
				corev1.LabelHostname:           infra.GetName(),
				corev1.LabelInstanceTypeStable: instanceType,
				corev1.LabelTopologyZone:       "us-east-1a",
			},
		},
		Spec: corev1.NodeSpec{ProviderID: providerID},
		Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: kubelet, OperatingSystem: "linux", Architecture: "amd64"},
			Conditions: []corev1.NodeCondition{
				readyCondition,
				condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
				condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"),
			},
		},
	}
}

func readiness(n *corev1.Node) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}
