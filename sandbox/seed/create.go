package seed

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const (
	skipPreflight = "machineset.cluster.x-k8s.io/skip-preflight-checks"
	setLabel      = "cluster.x-k8s.io/deployment-name"
)

var (
	machineDeployments = schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "machinedeployments"}
	machineSets        = schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "machinesets"}
	machines           = schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "machines"}
	controlPlanes      = schema.GroupVersionResource{Group: "controlplane.cluster.x-k8s.io", Version: "v1beta2", Resource: "kubeadmcontrolplanes"}
	resources          = map[string]schema.GroupVersionResource{
		"Namespace":             {Version: "v1", Resource: "namespaces"},
		"Cluster":               {Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "clusters"},
		"MachineDeployment":     machineDeployments,
		"KubeadmControlPlane":   controlPlanes,
		"KubeadmConfigTemplate": {Group: "bootstrap.cluster.x-k8s.io", Version: "v1beta2", Resource: "kubeadmconfigtemplates"},
		"DevCluster":            {Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Resource: "devclusters"},
		"DevMachineTemplate":    {Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Resource: "devmachinetemplates"},
		"AWSMachineTemplate":    {Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Resource: "awsmachinetemplates"},
		"DevClusterTemplate":    {Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Resource: "devclustertemplates"},
		"ClusterClass":          {Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "clusterclasses"},

		"KubeadmControlPlaneTemplate": {Group: "controlplane.cluster.x-k8s.io", Version: "v1beta2", Resource: "kubeadmcontrolplanetemplates"},
	}
)

// Seeder makes clusters and pools and waits for them.
type Seeder struct {
	client   dynamic.Interface
	progress func(format string, args ...any)
}

// New returns a Seeder that reports to progress.
func New(cfg *rest.Config, progress func(string, ...any)) (*Seeder, error) {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &Seeder{client: client, progress: progress}, nil
}

// CreateCluster makes the cluster and its pools and returns when the control
// plane and all machines run. What exists already is left as it is.
func (s *Seeder) CreateCluster(ctx context.Context, c Cluster) error {
	objects, err := c.Objects()
	if err != nil {
		return err
	}
	if err := s.createAll(ctx, objects); err != nil {
		return err
	}
	if err := s.poll(ctx, "control plane "+c.Namespace+"/"+c.Name, func() (string, error) { return s.controlPlane(ctx, c) }); err != nil {
		return err
	}
	s.progress("control plane of %s/%s runs %s", c.Namespace, c.Name, c.Version)
	// Only now: a worker that comes before its control plane waits for the next
	// of its controllers' periodic looks.
	for _, p := range c.Pools {
		if c.Topology {
			break // makes them itself
		}
		if err := s.createPool(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range c.Pools {
		if err := s.finishPool(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// CreatePool adds a pool to a cluster and returns when its machines run.
func (s *Seeder) CreatePool(ctx context.Context, p Pool) error {
	_, err := s.client.Resource(resources["Cluster"]).Namespace(p.Namespace).Get(ctx, p.Cluster, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no cluster %s in namespace %s: make it with `sandbox cluster --name %[1]s --namespace %[2]s`", p.Cluster, p.Namespace)
	}
	if err != nil {
		return err
	}
	if err := s.createPool(ctx, p); err != nil {
		return err
	}
	return s.finishPool(ctx, p)
}

func (s *Seeder) createPool(ctx context.Context, p Pool) error {
	objects, err := p.Objects()
	if err != nil {
		return err
	}
	return s.createAll(ctx, objects)
}

func (s *Seeder) createAll(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, u := range objects {
		resource, ok := resources[u.GetKind()]
		if !ok {
			return fmt.Errorf("no resource known for kind %s", u.GetKind())
		}
		if err := s.create(ctx, resource, u); err != nil {
			return fmt.Errorf("create %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
		}
	}
	return nil
}

// create retries for a while: a webhook may not be reachable yet.
func (s *Seeder) create(ctx context.Context, resource schema.GroupVersionResource, u *unstructured.Unstructured) error {
	var last error
	for range 20 {
		_, last = s.client.Resource(resource).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{FieldManager: "sandbox", FieldValidation: "Strict"})
		switch {
		case last == nil, apierrors.IsAlreadyExists(last):
			return nil
		case apierrors.IsInternalError(last), apierrors.IsNotFound(last) && u.GetNamespace() == "default":
		default:
			return last
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return errors.Join(last, err)
		}
	}
	return last
}

func (s *Seeder) controlPlane(ctx context.Context, c Cluster) (string, error) {
	u, err := s.client.Resource(controlPlanes).Namespace(c.Namespace).Get(ctx, c.Name+"-control-plane", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	want := int64(c.Replicas)
	if n := number(u, "status", "availableReplicas"); n < want {
		return fmt.Sprintf("%d of %d machines available", n, want), nil
	}
	if version, _, _ := unstructured.NestedString(u.Object, "status", "version"); version != c.Version {
		return fmt.Sprintf("version %q, not yet %s", version, c.Version), nil
	}
	if condition(u, "Available") != "True" {
		return "not yet Available", nil
	}
	return "", nil
}

// finishPool waits for the machines, ends the skipping of checks, and waits
// until the pool looks as one that nobody ever helped.
func (s *Seeder) finishPool(ctx context.Context, p Pool) error {
	what := "pool " + p.Namespace + "/" + p.Name
	if err := s.poll(ctx, what, func() (string, error) { return s.poolRunning(ctx, p) }); err != nil {
		return err
	}
	removal := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, skipPreflight)
	if _, err := s.client.Resource(machineDeployments).Namespace(p.Namespace).Patch(ctx, p.Name, types.MergePatchType, removal, metav1.PatchOptions{FieldManager: "sandbox"}); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.poll(ctx, what, func() (string, error) { return s.poolSettled(ctx, p) }); err != nil {
		return err
	}
	s.progress("pool %s/%s: %d machines (%s) run %s", p.Namespace, p.Name, p.Replicas, p.Kind, p.Version)
	return nil
}

func (s *Seeder) poolRunning(ctx context.Context, p Pool) (string, error) {
	u, err := s.client.Resource(machineDeployments).Namespace(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	want := number(u, "spec", "replicas")
	if number(u, "status", "observedGeneration") < u.GetGeneration() {
		return "not observed yet", nil
	}
	for _, field := range []string{"replicas", "readyReplicas", "availableReplicas", "upToDateReplicas"} {
		if n := number(u, "status", field); n != want {
			return fmt.Sprintf("%s %d of %d", field, n, want), nil
		}
	}
	return "", nil
}

func (s *Seeder) poolSettled(ctx context.Context, p Pool) (string, error) {
	sets, err := s.client.Resource(machineSets).Namespace(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: setLabel + "=" + p.Name})
	if err != nil {
		return "", err
	}
	for _, set := range sets.Items {
		if _, there := set.GetAnnotations()[skipPreflight]; there {
			return "MachineSet " + set.GetName() + " still skips preflight checks", nil
		}
	}
	return s.poolRunning(ctx, p)
}

// WaitRunning waits until every machine that has a node is healthy.
func (s *Seeder) WaitRunning(ctx context.Context) error {
	return s.poll(ctx, "machines", func() (string, error) {
		list, err := s.client.Resource(machines).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		waiting := ""
		n := 0
		for i := range list.Items {
			u := &list.Items[i]
			node, _, _ := unstructured.NestedString(u.Object, "status", "nodeRef", "name")
			phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
			if node != "" && u.GetDeletionTimestamp() == nil && (phase != "Running" || condition(u, "NodeHealthy") != "True") {
				n++
				waiting = u.GetNamespace() + "/" + u.GetName()
			}
		}
		if n > 0 {
			return fmt.Sprintf("%d not running again, one is %s", n, waiting), nil
		}
		return "", nil
	})
}

// poll calls look until it returns nothing to wait for. A look that fails is
// taken for one that came too early.
func (s *Seeder) poll(ctx context.Context, what string, look func() (waiting string, err error)) error {
	for {
		waiting, err := look()
		if err == nil && waiting == "" {
			return nil
		}
		if err != nil {
			waiting = err.Error()
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%s did not become ready in time: %s", what, waiting)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func number(u *unstructured.Unstructured, path ...string) int64 {
	n, _, _ := unstructured.NestedInt64(u.Object, path...)
	return n
}

func condition(u *unstructured.Unstructured, name string) string {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == name {
			status, _ := m["status"].(string)
			return status
		}
	}
	return ""
}
