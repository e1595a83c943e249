package clustertest

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// Example is what a world of one workload cluster is built from.
type Example struct {
	Namespace string
	Cluster   string
	// ControlPlaneVersion is the version of the KubeadmControlPlane, and
	// ControlPlaneTarget, when set, one that it is on its way to.
	ControlPlaneVersion, ControlPlaneTarget string
	// V1Beta1 has the world serve Cluster API's own kinds in v1beta1 alone, as
	// Cluster API did up to v1.10.
	V1Beta1 bool
	// Before112 has the controllers be those of Cluster API before v1.12: what
	// changes in place together with the template reaches the new MachineSet
	// alone, and Machines have no condition Updating. V1Beta1 implies it.
	Before112 bool
	// Topology makes cluster and pools belong to a ClusterClass.
	Topology bool
	// Paused sets the Cluster's spec.paused.
	Paused bool
	Pools  []ExamplePool
}

// ExamplePool is a MachineDeployment with its templates and machines.
type ExamplePool struct {
	Name     string
	Version  string
	Replicas int
	// Template is the kind of the infrastructure template:
	// AWSMachineTemplate or DevMachineTemplate.
	Template string
	// Paused sets the MachineDeployment's spec.paused.
	Paused bool
	// MaxSurge and MaxUnavailable are numbers or percentages.
	MaxSurge, MaxUnavailable any
	// Image and InstanceType are those of an AWSMachineTemplate.
	Image, InstanceType string
	// Files are contents of files in the bootstrap template: secrets.
	Files []string
}

// Adjust changes an example before it is built.
type Adjust func(*Example)

// AWSExample builds the world that most tests start from: in the namespace
// default the Cluster aws-example with a KubeadmControlPlane at v1.35.2, and
// two pools at v1.34.3, aws-example-md-0 with 3 machines of an
// AWSMachineTemplate and aws-example-md-1 with 2 machines of a
// DevMachineTemplate, each template named like its pool. All rollouts are
// complete.
func AWSExample(adjust ...Adjust) *World {
	e := Example{
		Namespace:           "default",
		Cluster:             "aws-example",
		ControlPlaneVersion: "v1.35.2",
		Pools: []ExamplePool{
			{Name: "aws-example-md-0", Version: "v1.34.3", Replicas: 3, Template: "AWSMachineTemplate"},
			{Name: "aws-example-md-1", Version: "v1.34.3", Replicas: 2, Template: "DevMachineTemplate"},
		},
	}
	for _, a := range adjust {
		a(&e)
	}
	return e.World()
}

// ControlPlaneVersion sets the version that the control plane runs.
func ControlPlaneVersion(v string) Adjust {
	return func(e *Example) { e.ControlPlaneVersion = v }
}

// ControlPlaneUpgrading has the control plane be on its way to a version.
func ControlPlaneUpgrading(to string) Adjust {
	return func(e *Example) { e.ControlPlaneTarget = to }
}

// PoolVersion sets the version of a pool.
func PoolVersion(pool, v string) Adjust {
	return AdjustPool(pool, func(p *ExamplePool) { p.Version = v })
}

// AdjustPool changes one pool. A pool that is not there is a programming error.
func AdjustPool(pool string, change func(*ExamplePool)) Adjust {
	return func(e *Example) {
		for i := range e.Pools {
			if e.Pools[i].Name == pool {
				change(&e.Pools[i])
				return
			}
		}
		panic("clustertest: no pool " + pool)
	}
}

// PausedCluster sets the Cluster's spec.paused.
func PausedCluster() Adjust { return func(e *Example) { e.Paused = true } }

// PausedPool sets the spec.paused of a MachineDeployment.
func PausedPool(pool string) Adjust {
	return AdjustPool(pool, func(p *ExamplePool) { p.Paused = true })
}

// TopologyOwned has cluster and pools belong to a ClusterClass.
func TopologyOwned() Adjust { return func(e *Example) { e.Topology = true } }

// V1Beta1Only has the world serve Cluster API's own kinds in v1beta1 alone.
func V1Beta1Only() Adjust { return func(e *Example) { e.V1Beta1 = true } }

// Before112 has the controllers be those of Cluster API before v1.12.
func Before112() Adjust { return func(e *Example) { e.Before112 = true } }

// InNamespace puts everything in another namespace.
func InNamespace(namespace string) Adjust {
	return func(e *Example) { e.Namespace = namespace }
}

// ExtraPools adds n pools of AWS machines at v1.34.3, named
// aws-example-extra-000 and on, with the given number of machines each.
func ExtraPools(n, replicas int) Adjust {
	return func(e *Example) {
		for i := range n {
			e.Pools = append(e.Pools, ExamplePool{
				Name: fmt.Sprintf("%s-extra-%03d", e.Cluster, i), Version: "v1.34.3",
				Replicas: replicas, Template: "AWSMachineTemplate",
			})
		}
	}
}

// MachineDeployment gives the identity of a pool of the example in the
// namespace default.
func MachineDeployment(pool string) plan.Ref {
	return plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: "default", Name: pool}
}

// The groups of the providers in an example.
const (
	InfrastructureGroup = "infrastructure.cluster.x-k8s.io"
	BootstrapGroup      = "bootstrap.cluster.x-k8s.io"
	ControlPlaneGroup   = "controlplane.cluster.x-k8s.io"
)

// Kinds gives the kinds of a management cluster with the kubeadm, AWS and
// development providers. CAPA's own API v1beta2 keeps to contract v1beta1, and
// its CRDs say so.
func Kinds(v1beta1 bool) []Kind {
	version := "v1beta2"
	if v1beta1 {
		version = "v1beta1"
	}
	contract := map[string]string{"cluster.x-k8s.io/v1beta1": "v1beta1"}
	if !v1beta1 {
		contract["cluster.x-k8s.io/v1beta2"] = "v1beta2"
	}
	aws := map[string]string{"cluster.x-k8s.io/v1beta1": "v1beta1_v1beta2"}
	var out []Kind
	for _, name := range []string{"Cluster", "MachineDeployment", "MachineSet", "Machine", "MachineHealthCheck", "MachinePool", "MachineDrainRule", "ClusterClass"} {
		out = append(out, Kind{Group: capi.Group, Kind: name, Version: version, Labels: contract})
	}
	for _, name := range []string{"KubeadmConfig", "KubeadmConfigTemplate"} {
		out = append(out, Kind{Group: BootstrapGroup, Kind: name, Version: version, Labels: contract})
	}
	for _, name := range []string{"KubeadmControlPlane", "KubeadmControlPlaneTemplate"} {
		out = append(out, Kind{Group: ControlPlaneGroup, Kind: name, Version: version, Labels: contract})
	}
	for _, name := range []string{"DevCluster", "DevMachine", "DevMachineTemplate"} {
		out = append(out, Kind{Group: InfrastructureGroup, Kind: name, Version: version, Labels: contract, Immutable: name == "DevMachineTemplate"})
	}
	for _, name := range []string{"AWSCluster", "AWSMachine", "AWSMachineTemplate"} {
		out = append(out, Kind{Group: InfrastructureGroup, Kind: name, Version: "v1beta2", Labels: aws, Immutable: name == "AWSMachineTemplate"})
	}
	return append(out,
		Kind{Kind: "ConfigMap", Version: "v1"},
		Kind{Kind: "Event", Version: "v1"},
		Kind{Group: "coordination.k8s.io", Kind: "Lease", Version: "v1"},
	)
}

// World builds the world, with every rollout complete.
func (e Example) World() *World {
	w := NewWorld(Kinds(e.V1Beta1)...)
	w.before112 = e.Before112 || e.V1Beta1
	version := "v1beta2"
	if e.V1Beta1 {
		version = "v1beta1"
	}
	put := func(text string, change ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
		text = strings.NewReplacer("\t", "  ", "NAMESPACE", e.Namespace, "CLUSTER", e.Cluster, "VERSION", version).Replace(text)
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			panic("clustertest: " + err.Error() + " in\n" + text)
		}
		for _, c := range change {
			c(o)
		}
		w.Put(o)
		return w.Get(capi.RefOf(o))
	}
	// reference writes a reference the way that the API version does.
	reference := func(o *unstructured.Unstructured, group, groupVersion, kind, name string, path ...string) {
		ref := map[string]any{"kind": kind, "name": name}
		if e.V1Beta1 {
			ref["apiVersion"], ref["namespace"] = group+"/"+groupVersion, e.Namespace
		} else {
			ref["apiGroup"] = group
		}
		setField(o, ref, path...)
	}
	owned := map[string]any{}
	if e.Topology {
		owned["topology.cluster.x-k8s.io/owned"] = ""
	}

	cluster := put(`
apiVersion: cluster.x-k8s.io/VERSION
kind: Cluster
metadata:
  name: CLUSTER
  namespace: NAMESPACE
  labels: {cluster.x-k8s.io/cluster-name: CLUSTER}
  finalizers: [cluster.cluster.x-k8s.io]
spec:
  clusterNetwork:
    pods: {cidrBlocks: [192.168.0.0/16]}
    services: {cidrBlocks: [10.128.0.0/12]}
  controlPlaneEndpoint: {host: 203.0.113.10, port: 6443}
status:
  phase: Provisioned
`, func(o *unstructured.Unstructured) {
		reference(o, InfrastructureGroup, "v1beta2", "AWSCluster", e.Cluster, "spec", "infrastructureRef")
		reference(o, ControlPlaneGroup, version, "KubeadmControlPlane", e.Cluster+"-control-plane", "spec", "controlPlaneRef")
		if e.Paused {
			setField(o, true, "spec", "paused")
		}
		if e.Topology {
			topology := map[string]any{"version": e.ControlPlaneVersion}
			if e.V1Beta1 {
				topology["class"] = "quick-start"
			} else {
				topology["classRef"] = map[string]any{"name": "quick-start"}
			}
			var workers []any
			for _, p := range e.Pools {
				workers = append(workers, map[string]any{"class": "default-worker", "name": strings.TrimPrefix(p.Name, e.Cluster+"-"), "replicas": int64(p.Replicas)})
			}
			topology["workers"] = map[string]any{"machineDeployments": workers}
			setField(o, topology, "spec", "topology")
		}
		if e.V1Beta1 {
			setField(o, true, "status", "infrastructureReady")
			setField(o, true, "status", "controlPlaneReady")
		} else {
			setField(o, true, "status", "initialization", "infrastructureProvisioned")
			setField(o, true, "status", "initialization", "controlPlaneInitialized")
		}
		setField(o, int64(1), "status", "observedGeneration")
		setCondition(o, epochTime, condition{"Available", "True", "Available", ""})
		setCondition(o, epochTime, condition{"InfrastructureReady", "True", "Ready", ""})
		setCondition(o, epochTime, condition{"ControlPlaneAvailable", "True", "Available", ""})
		setOldCondition(o, epochTime, condition{kind: "Ready", status: "True"}, "")
		setOldCondition(o, epochTime, condition{kind: "ControlPlaneInitialized", status: "True"}, "")
	})
	owner := map[string]any{
		"apiVersion": cluster.GetAPIVersion(), "kind": "Cluster", "name": e.Cluster, "uid": string(cluster.GetUID()),
	}
	ownedByCluster := func(o *unstructured.Unstructured) {
		setField(o, []any{owner}, "metadata", "ownerReferences")
		labels := map[string]any{labelCluster: e.Cluster}
		for k, v := range owned {
			labels[k] = v
		}
		setField(o, labels, "metadata", "labels")
	}
	put(`
apiVersion: infrastructure.cluster.x-k8s.io/v1beta2
kind: AWSCluster
metadata: {name: CLUSTER, namespace: NAMESPACE}
spec: {region: eu-central-1, sshKeyName: default}
status: {ready: true}
`, ownedByCluster)

	target := e.ControlPlaneTarget
	if target == "" {
		target = e.ControlPlaneVersion
	}
	controlPlane := put(`
apiVersion: controlplane.cluster.x-k8s.io/VERSION
kind: KubeadmControlPlane
metadata: {name: CLUSTER-control-plane, namespace: NAMESPACE, finalizers: [kubeadm.controlplane.cluster.x-k8s.io]}
spec: {replicas: 1, kubeadmConfigSpec: {}}
status: {replicas: 1, readyReplicas: 1, availableReplicas: 1, upToDateReplicas: 1, observedGeneration: 1}
`, ownedByCluster, func(o *unstructured.Unstructured) {
		setField(o, target, "spec", "version")
		setField(o, e.ControlPlaneVersion, "status", "version")
		infra := []string{"spec", "machineTemplate", "spec", "infrastructureRef"}
		if e.V1Beta1 {
			infra = []string{"spec", "machineTemplate", "infrastructureRef"}
			setField(o, true, "status", "initialized")
			setField(o, true, "status", "ready")
			setField(o, int64(1), "status", "updatedReplicas")
			setField(o, int64(0), "status", "unavailableReplicas")
			unstructured.RemoveNestedField(o.Object, "status", "upToDateReplicas")
			unstructured.RemoveNestedField(o.Object, "status", "availableReplicas")
			setField(o, map[string]any{"readyReplicas": int64(1), "availableReplicas": int64(1), "upToDateReplicas": int64(1)}, "status", "v1beta2")
		} else {
			setField(o, true, "status", "initialization", "controlPlaneInitialized")
		}
		reference(o, InfrastructureGroup, "v1beta2", "AWSMachineTemplate", e.Cluster+"-control-plane", infra...)
		rolling := condition{"RollingOut", "False", "NotRollingOut", ""}
		if target != e.ControlPlaneVersion {
			rolling = condition{"RollingOut", "True", "RollingOut", "Rolling out 1 not up-to-date replicas"}
		}
		setCondition(o, epochTime, rolling)
		setCondition(o, epochTime, condition{"Available", "True", "Available", ""})
		setOldCondition(o, epochTime, condition{kind: "Ready", status: "True"}, "")
	})
	put(`
apiVersion: infrastructure.cluster.x-k8s.io/v1beta2
kind: AWSMachineTemplate
metadata: {name: CLUSTER-control-plane, namespace: NAMESPACE}
spec: {template: {spec: {ami: {id: ami-0c0ffee0c0ffee000}, instanceType: m5.large}}}
`, ownedByCluster)
	put(`
apiVersion: cluster.x-k8s.io/VERSION
kind: Machine
metadata:
  name: CLUSTER-control-plane-h4rlh
  namespace: NAMESPACE
  finalizers: [machine.cluster.x-k8s.io]
  labels:
    cluster.x-k8s.io/cluster-name: CLUSTER
    cluster.x-k8s.io/control-plane: ""
    cluster.x-k8s.io/control-plane-name: CLUSTER-control-plane
spec: {clusterName: CLUSTER, bootstrap: {dataSecretName: CLUSTER-control-plane-h4rlh}}
status: {phase: Running, nodeRef: {name: CLUSTER-control-plane-h4rlh}}
`, func(o *unstructured.Unstructured) {
		setField(o, []any{controllerRef(controlPlane)}, "metadata", "ownerReferences")
		setField(o, e.ControlPlaneVersion, "spec", "version")
		setField(o, e.ControlPlaneVersion, "status", "nodeInfo", "kubeletVersion")
		reference(o, InfrastructureGroup, "v1beta2", "AWSMachine", o.GetName(), "spec", "infrastructureRef")
		setCondition(o, epochTime, condition{"Ready", "True", "Ready", ""})
		setCondition(o, epochTime, condition{"Available", "True", "Available", ""})
		setOldCondition(o, epochTime, condition{kind: "Ready", status: "True"}, "")
	})

	for _, p := range e.Pools {
		e.pool(w, put, reference, ownedByCluster, version, p)
	}
	e.complete(w)
	return w
}

var epochTime = epoch.Format("2006-01-02T15:04:05Z")

type putter func(string, ...func(*unstructured.Unstructured)) *unstructured.Unstructured

// pool puts the two templates and the MachineDeployment of one pool; its
// machines come from the rollout.
func (e Example) pool(w *World, put putter,
	reference func(o *unstructured.Unstructured, group, groupVersion, kind, name string, path ...string),
	ownedByCluster func(*unstructured.Unstructured), version string, p ExamplePool,
) {
	name := func(o *unstructured.Unstructured) { o.SetName(p.Name) }
	infraVersion := "v1beta2"
	switch p.Template {
	case "AWSMachineTemplate":
		put(`
apiVersion: infrastructure.cluster.x-k8s.io/v1beta2
kind: AWSMachineTemplate
metadata: {namespace: NAMESPACE}
spec:
  template:
    spec:
      ami: {id: ami-0123456789abcdef0}
      instanceType: m5.large
      iamInstanceProfile: nodes.cluster-api-provider-aws.sigs.k8s.io
      rootVolume: {size: 50, type: gp3}
      sshKeyName: default
`, name, ownedByCluster, func(o *unstructured.Unstructured) {
			if p.Image != "" {
				setField(o, p.Image, "spec", "template", "spec", "ami", "id")
			}
			if p.InstanceType != "" {
				setField(o, p.InstanceType, "spec", "template", "spec", "instanceType")
			}
		})
	case "DevMachineTemplate":
		infraVersion = version
		put(`
apiVersion: infrastructure.cluster.x-k8s.io/VERSION
kind: DevMachineTemplate
metadata: {namespace: NAMESPACE}
spec:
  template:
    spec:
      backend:
        inMemory:
          vm: {provisioning: {startupDuration: 3s}}
          node: {provisioning: {startupDuration: 1s}}
`, name, ownedByCluster)
	default:
		panic("clustertest: no template kind " + p.Template)
	}
	put(`
apiVersion: bootstrap.cluster.x-k8s.io/VERSION
kind: KubeadmConfigTemplate
metadata: {namespace: NAMESPACE}
spec:
  template:
    spec:
      joinConfiguration:
        nodeRegistration:
          name: '{{ ds.meta_data.local_hostname }}'
`, name, ownedByCluster, func(o *unstructured.Unstructured) {
		arguments := any([]any{map[string]any{"name": "cloud-provider", "value": "external"}})
		if e.V1Beta1 {
			arguments = map[string]any{"cloud-provider": "external"}
		}
		setField(o, arguments, "spec", "template", "spec", "joinConfiguration", "nodeRegistration", "kubeletExtraArgs")
		var files []any
		for i, content := range p.Files {
			files = append(files, map[string]any{"path": fmt.Sprintf("/etc/secret-%d", i), "owner": "root:root", "permissions": "0600", "content": content})
		}
		if files != nil {
			setField(o, files, "spec", "template", "spec", "files")
		}
	})
	put(`
apiVersion: cluster.x-k8s.io/VERSION
kind: MachineDeployment
metadata:
  namespace: NAMESPACE
  finalizers: [cluster.x-k8s.io/machinedeployment]
  annotations: {machinedeployment.clusters.x-k8s.io/revision: "1"}
spec:
  clusterName: CLUSTER
  template:
    spec: {clusterName: CLUSTER}
`, name, ownedByCluster, func(o *unstructured.Unstructured) {
		fields, err := capi.FieldsOf(o)
		if err != nil {
			panic("clustertest: " + err.Error())
		}
		labels := map[string]any{labelCluster: e.Cluster, labelDeployment: p.Name}
		if e.Topology {
			setField(o, strings.TrimPrefix(p.Name, e.Cluster+"-"), "metadata", "labels", "topology.cluster.x-k8s.io/deployment-name")
		}
		setField(o, labels, "spec", "selector", "matchLabels")
		setField(o, labels, "spec", "template", "metadata", "labels")
		setField(o, int64(p.Replicas), fields.Replicas...)
		setField(o, p.Version, fields.Version...)
		setField(o, "RollingUpdate", fields.StrategyType...)
		setField(o, orDefault(p.MaxSurge, 1), fields.MaxSurge...)
		setField(o, orDefault(p.MaxUnavailable, 0), fields.MaxUnavailable...)
		reference(o, InfrastructureGroup, infraVersion, p.Template, p.Name, fields.InfrastructureRef...)
		reference(o, BootstrapGroup, version, "KubeadmConfigTemplate", p.Name, fields.BootstrapRef...)
	})
}

func orDefault(v any, absent int64) any {
	switch v := v.(type) {
	case nil:
		return absent
	case int:
		return int64(v)
	}
	return v
}

// complete lets every pool come up, whatever would keep its machines from
// being made by now: they were made when that was not so yet.
func (e Example) complete(w *World) {
	type held struct {
		ref  plan.Ref
		path []string
	}
	var paused []held
	lift := func(ref plan.Ref, path ...string) {
		o := w.Get(ref)
		if o != nil && capi.BoolAt(o, path...) {
			paused = append(paused, held{ref, path})
			w.Edit(ref, func(o *unstructured.Unstructured) { setField(o, false, path...) })
		}
	}
	lift(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: e.Namespace, Name: e.Cluster}, "spec", "paused")
	for _, p := range e.Pools {
		ref := plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: e.Namespace, Name: p.Name}
		if p.Paused {
			w.Edit(ref, func(o *unstructured.Unstructured) { setField(o, true, "spec", "paused") })
		}
		lift(ref, "spec", "paused")
	}
	w.mu.Lock()
	w.lenient = true
	w.mu.Unlock()
	w.Settle()
	w.mu.Lock()
	w.lenient = false
	w.mu.Unlock()
	for _, h := range paused {
		w.Edit(h.ref, func(o *unstructured.Unstructured) { setField(o, true, h.path...) })
	}
	for range paused {
		w.Step() // the controllers take note of the pause
	}
	// A pool of the example starts at generation 1.
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pools() {
		o := p.md.DeepCopy()
		o.SetGeneration(1)
		setField(o, int64(1), "status", "observedGeneration")
		conditions, _, _ := unstructured.NestedSlice(o.Object, conditionsPath(o)...)
		for _, c := range conditions {
			c.(map[string]any)["observedGeneration"] = int64(1)
		}
		setField(o, conditions, conditionsPath(o)...)
		w.objects[o.GroupVersionKind().GroupKind()][p.ref] = o
	}
}
