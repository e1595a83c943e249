package seed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"

	"nodepool/sandbox/capi"
)

// Population is a large cluster whose objects are written as the controllers
// would leave them, status included, with no machines behind them. The same
// Population has the same names and contents whenever it is written; only what
// the server gives (UIDs, resource versions) and the times differ.
type Population struct {
	Name            string // of the Cluster, and how the names of its pools begin
	Pools, Machines int    // Machines are all workers, dealt out evenly
	Seed            uint64
}

// writers is how many pools are written together: enough to keep the API
// server and its webhooks busy on the cores of one machine.
const writers = 16

// The resources that only Populate writes.
var (
	awsMachines    = schema.GroupVersionResource{Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Resource: "awsmachines"}
	kubeadmConfigs = schema.GroupVersionResource{Group: "bootstrap.cluster.x-k8s.io", Version: "v1beta2", Resource: "kubeadmconfigs"}
)

// Populate writes p into the namespace that no controller looks into. A
// cluster of its name must not be there yet.
func (s *Seeder) Populate(ctx context.Context, p Population) error {
	if p.Pools < 1 || p.Machines < 0 {
		return fmt.Errorf("%d pools with %d machines: there must be one pool at least, and not less than no machine", p.Pools, p.Machines)
	}
	namespace := object("v1", "Namespace", "", nil)
	namespace.SetName(capi.Unwatched)
	if _, err := s.client.Resource(resources["Namespace"]).Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	w := populator{Seeder: s, p: p, now: time.Now().UTC()}
	cluster, err := w.cluster(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var written atomic.Int64
	workqueue.ParallelizeUntil(ctx, writers, p.Pools, func(i int) {
		if err := w.pool(ctx, cluster, i); err != nil {
			cancel(err)
		} else if n := written.Add(1); n%100 == 0 {
			s.progress("%d of %d pools", n, p.Pools)
		}
	})
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.progress("cluster %s/%s: %d pools and %d machines", capi.Unwatched, p.Name, p.Pools, p.Machines)
	return nil
}

// populator writes the objects of one population.
type populator struct {
	*Seeder
	p   Population
	now time.Time // of the conditions
}

func (w populator) time() string { return w.now.Format(time.RFC3339) }

// write creates u as a part of owner, and writes its status.
func (w populator) write(ctx context.Context, resource schema.GroupVersionResource, owner, u *unstructured.Unstructured, status map[string]any) (*unstructured.Unstructured, error) {
	u.SetNamespace(capi.Unwatched)
	if owner != nil {
		ref := metav1.OwnerReference{APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID()}
		if owner.GetKind() != "Cluster" {
			yes := true
			ref.Controller, ref.BlockOwnerDeletion = &yes, &yes
		}
		u.SetOwnerReferences([]metav1.OwnerReference{ref})
	}
	client := w.client.Resource(resource).Namespace(capi.Unwatched)
	out, err := client.Create(ctx, u, metav1.CreateOptions{FieldManager: "sandbox", FieldValidation: "Strict"})
	if err == nil && status != nil {
		out.Object["status"] = status
		out, err = client.UpdateStatus(ctx, out, metav1.UpdateOptions{FieldManager: "sandbox", FieldValidation: "Strict"})
	}
	if err != nil {
		return nil, fmt.Errorf("write %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return out, nil
}

// cluster writes the Cluster and its control plane, which runs the new version
// on one machine that is not written.
func (w populator) cluster(ctx context.Context) (*unstructured.Unstructured, error) {
	all := int64(w.p.Machines)
	objects, err := Cluster{Name: w.p.Name, Namespace: capi.Unwatched, Version: NewVersion, Replicas: 1}.Objects()
	if err != nil {
		return nil, err
	}
	var cluster *unstructured.Unstructured
	for _, u := range objects {
		owner, status := cluster, map[string]any(nil)
		switch u.GetKind() {
		case "Namespace":
			continue
		case "Cluster":
			u.Object["spec"].(map[string]any)["controlPlaneEndpoint"] = map[string]any{"host": "127.0.0.1", "port": int64(6443)}
			status = w.status("Available RemoteConnectionProbe InfrastructureReady ControlPlaneInitialized ControlPlaneAvailable WorkersAvailable "+
				"ControlPlaneMachinesReady WorkerMachinesReady ControlPlaneMachinesUpToDate WorkerMachinesUpToDate",
				"RollingOut Remediating ScalingDown ScalingUp Paused Deleting",
				map[string]any{"phase": "Provisioned",
					"initialization": map[string]any{"controlPlaneInitialized": true, "infrastructureProvisioned": true},
					"controlPlane":   counters(1, map[string]any{"desiredReplicas": int64(1)}),
					"workers":        counters(all, map[string]any{"desiredReplicas": all})})
		case "KubeadmControlPlane":
			u.SetLabels(map[string]string{clusterLabel: w.p.Name})
			status = w.status("Available CertificatesAvailable Initialized EtcdClusterHealthy ControlPlaneComponentsHealthy MachinesReady MachinesUpToDate",
				"RollingOut Remediating ScalingDown ScalingUp Paused Deleting",
				counters(1, map[string]any{"version": NewVersion, "initialization": map[string]any{"controlPlaneInitialized": true}}))
		}
		made, err := w.write(ctx, resources[u.GetKind()], owner, u, status)
		if err != nil {
			return nil, err
		}
		if u.GetKind() == "Cluster" {
			cluster = made
		}
	}
	return cluster, nil
}

// pool writes the pool number i and its machines.
func (w populator) pool(ctx context.Context, cluster *unstructured.Unstructured, i int) error {
	// A source of its own for each pool: they are written in any order.
	random := rand.New(rand.NewPCG(w.p.Seed, uint64(i)))
	replicas := w.p.Machines / w.p.Pools
	if i < w.p.Machines%w.p.Pools {
		replicas++
	}
	pool := Pool{Name: fmt.Sprintf("%s-md-%03d", w.p.Name, i), Cluster: w.p.Name, Namespace: capi.Unwatched, Kind: AWS, Version: OldVersion, Replicas: replicas, AMI: OldAMI}
	labels := map[string]string{clusterLabel: w.p.Name, setLabel: pool.Name}
	objects, err := pool.Objects()
	if err != nil {
		return err
	}
	var md, template *unstructured.Unstructured
	for _, u := range objects {
		var status map[string]any
		switch u.GetKind() {
		case "AWSMachineTemplate":
			sizes := []string{"m5.large", "m5.xlarge", "m6i.2xlarge", "c5.xlarge"}
			if err := unstructured.SetNestedField(u.Object, sizes[random.IntN(len(sizes))], "spec", "template", "spec", "instanceType"); err != nil {
				return err
			}
			template = u
		case "MachineDeployment":
			u.SetLabels(map[string]string{clusterLabel: w.p.Name})
			u.SetAnnotations(map[string]string{"machinedeployment.clusters.x-k8s.io/revision": "1"})
			status = w.status("Available MachinesReady MachinesUpToDate", "RollingOut Remediating ScalingDown ScalingUp Paused Deleting",
				counters(int64(replicas), map[string]any{"phase": "Running", "selector": selector(labels),
					"deprecated": map[string]any{"v1beta1": map[string]any{"updatedReplicas": int64(replicas), "readyReplicas": int64(replicas), "availableReplicas": int64(replicas), "unavailableReplicas": int64(0)}}}))
		}
		made, err := w.write(ctx, resources[u.GetKind()], cluster, u, status)
		if err != nil {
			return err
		}
		if u.GetKind() == "MachineDeployment" {
			md = made
		}
	}

	hash := fmt.Sprintf("%d-%s", random.Uint32(), suffix(random))
	set := object("cluster.x-k8s.io/v1beta2", "MachineSet", pool.Name+"-"+hash[len(hash)-5:], map[string]any{
		"clusterName": w.p.Name,
		"replicas":    int64(replicas),
		"selector":    map[string]any{"matchLabels": map[string]any{clusterLabel: w.p.Name, setLabel: pool.Name, hashLabel: hash}},
		"template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{clusterLabel: w.p.Name, setLabel: pool.Name, hashLabel: hash}},
			"spec":     md.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"],
		},
	})
	labels[hashLabel] = hash
	set.SetLabels(labels)
	set.SetAnnotations(map[string]string{
		"cluster.x-k8s.io/disable-machine-create":              "false",
		"machinedeployment.clusters.x-k8s.io/desired-replicas": fmt.Sprint(replicas),
		"machinedeployment.clusters.x-k8s.io/max-replicas":     fmt.Sprint(replicas + 1),
		"machinedeployment.clusters.x-k8s.io/revision":         "1",
	})
	set, err = w.write(ctx, machineSets, md, set, w.status("MachinesReady MachinesUpToDate", "Remediating ScalingDown ScalingUp Paused Deleting",
		counters(int64(replicas), map[string]any{"selector": selector(labels),
			"deprecated": map[string]any{"v1beta1": map[string]any{"fullyLabeledReplicas": int64(replicas), "readyReplicas": int64(replicas), "availableReplicas": int64(replicas)}}})))
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for range replicas {
		name := set.GetName() + "-" + suffix(random)
		for taken[name] {
			name = set.GetName() + "-" + suffix(random)
		}
		taken[name] = true
		one := w
		one.now = w.now.Add(-time.Duration(random.IntN(1e6)) * time.Second)
		if err := one.machine(ctx, pool, set, template, name, fmt.Sprintf("i-%016x", random.Uint64())); err != nil {
			return err
		}
	}
	return nil
}

// machine writes a Machine with its infrastructure and bootstrap objects.
func (w populator) machine(ctx context.Context, pool Pool, set, template *unstructured.Unstructured, name, instance string) error {
	providerID := "aws:///us-east-1a/" + instance
	labels := set.GetLabels()
	labels["cluster.x-k8s.io/set-name"] = set.GetName()
	machine := object("cluster.x-k8s.io/v1beta2", "Machine", name, map[string]any{
		"bootstrap": map[string]any{"dataSecretName": name,
			"configRef": map[string]any{"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": name}},
		"clusterName":       pool.Cluster,
		"deletion":          map[string]any{"nodeDeletionTimeoutSeconds": int64(10)},
		"infrastructureRef": map[string]any{"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "AWSMachine", "name": name},
		"providerID":        providerID,
		"version":           pool.Version,
	})
	machine.SetLabels(labels)
	node := map[string]any{"kubeletVersion": pool.Version, "architecture": "amd64", "operatingSystem": "linux", "osImage": "Ubuntu 24.04.3 LTS",
		"kernelVersion": "6.14.0-1015-aws", "containerRuntimeVersion": "containerd://2.1.4", "kubeProxyVersion": "", "bootID": "", "machineID": "", "systemUUID": ""}
	machine, err := w.write(ctx, machines, set, machine, w.status(
		"Available Ready UpToDate BootstrapConfigReady InfrastructureReady NodeHealthy NodeReady", "Updating Paused Deleting",
		map[string]any{"phase": "Running", "nodeRef": map[string]any{"name": name}, "nodeInfo": node, "lastUpdated": w.time(),
			"initialization": map[string]any{"bootstrapDataSecretCreated": true, "infrastructureProvisioned": true}}))
	if err != nil {
		return err
	}

	spec := map[string]any{"providerID": providerID, "instanceID": instance}
	for k, v := range template.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any) {
		spec[k] = v
	}
	infra := object("infrastructure.cluster.x-k8s.io/v1beta2", "AWSMachine", name, spec)
	infra.SetLabels(labels)
	infra.SetAnnotations(clonedFrom("AWSMachineTemplate.infrastructure.cluster.x-k8s.io", pool.Name))
	// The provider has conditions without observedGeneration and reason.
	_, err = w.write(ctx, awsMachines, machine, infra, map[string]any{"ready": true, "instanceState": "running",
		"addresses": []any{map[string]any{"type": "Hostname", "address": name}},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "lastTransitionTime": w.time()},
			map[string]any{"type": "InstanceReady", "status": "True", "lastTransitionTime": w.time()}}})
	if err != nil {
		return err
	}

	config := object("bootstrap.cluster.x-k8s.io/v1beta2", "KubeadmConfig", name, map[string]any{"joinConfiguration": map[string]any{
		"discovery": map[string]any{"bootstrapToken": map[string]any{"apiServerEndpoint": "127.0.0.1:6443", "token": "abcdef.0123456789abcdef",
			"caCertHashes": []any{"sha256:b626eb615d584210e6698b9b715334c22a2aadec3ee0e1c05e0d45d70c313670"}}},
		"nodeRegistration": map[string]any{"kubeletExtraArgs": []any{map[string]any{"name": "cloud-provider", "value": "external"}}},
	}})
	config.SetLabels(labels)
	config.SetAnnotations(clonedFrom("KubeadmConfigTemplate.bootstrap.cluster.x-k8s.io", pool.Name))
	_, err = w.write(ctx, kubeadmConfigs, machine, config, w.status("Ready CertificatesAvailable DataSecretAvailable", "Paused",
		map[string]any{"dataSecretName": name, "initialization": map[string]any{"dataSecretCreated": true}}))
	return err
}

const (
	clusterLabel = "cluster.x-k8s.io/cluster-name"
	hashLabel    = "machine-template-hash"
)

func object(apiVersion, kind, name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{}}}
	if name != "" {
		u.SetName(name)
	}
	if spec != nil {
		u.Object["spec"] = spec
	}
	return u
}

// status gives more with the observed generation of a new object and with
// conditions of these types, separated by spaces, that are true and false.
func (w populator) status(yes, no string, more map[string]any) map[string]any {
	var conditions []any
	add := func(types, status, reason string) {
		for _, t := range strings.Fields(types) {
			conditions = append(conditions, map[string]any{"type": t, "status": status, "reason": reason + t, "message": "",
				"lastTransitionTime": w.time(), "observedGeneration": int64(1)})
		}
	}
	add(yes, "True", "")
	add(no, "False", "Not")
	more["conditions"] = conditions
	more["observedGeneration"] = int64(1)
	return more
}

// counters gives more with n replicas of which all is well.
func counters(n int64, more map[string]any) map[string]any {
	for _, key := range []string{"replicas", "readyReplicas", "availableReplicas", "upToDateReplicas"} {
		more[key] = n
	}
	return more
}

func clonedFrom(groupKind, name string) map[string]string {
	return map[string]string{"cluster.x-k8s.io/cloned-from-groupkind": groupKind, "cluster.x-k8s.io/cloned-from-name": name}
}

func selector(l map[string]string) string { return labels.Set(l).String() }

// suffix draws what the API server would add to a generated name.
func suffix(random *rand.Rand) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789" // those of k8s.io/apimachinery/pkg/util/rand
	out := make([]byte, 5)
	for i := range out {
		out[i] = letters[random.IntN(len(letters))]
	}
	return string(out)
}
