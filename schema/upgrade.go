package schema

import (
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// The only apiVersion and kind that this package reads.
const (
	APIVersion = "nodepool/v1alpha1"
	Kind       = "NodePoolUpgrade"
)

// What Read fills in where the file says nothing.
const (
	DefaultNamespace  = "default"
	DefaultOrder      = Sequential
	DefaultStallAfter = Duration(15 * time.Minute)
	DefaultMachines   = 1
	DefaultSoak       = Duration(10 * time.Minute)
)

// Upgrade is a whole upgrade file as [Read] returns it: valid, with every
// default filled in and spec.defaults merged into the pools.
type Upgrade struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       Spec     `json:"spec"`
}

// Metadata identifies an upgrade.
type Metadata struct {
	// Name names the run, its journal and the holder of its lock. It is an
	// RFC 1123 subdomain.
	Name string `json:"name"`
}

// Spec is what the upgrade is to reach.
type Spec struct {
	Cluster ClusterRef `json:"cluster"`
	// Order is never empty after Read.
	Order Order `json:"order,omitempty"`
	// Preflight asks for checks that are not made by themselves.
	Preflight Preflight `json:"preflight,omitzero"`
	// Images is the catalogue of machine images: what each carries. It holds
	// each image at most once after Read.
	Images []Image `json:"images,omitempty"`
	// ImagesFrom names a file with more of the catalogue, relative to the
	// upgrade file. Read leaves it to its caller to read that file, with
	// [ReadImages], and to take over with [Upgrade.WithImages] what is of
	// matter.
	ImagesFrom string `json:"imagesFrom,omitempty"`
	// Pools holds at least one pool after Read, in the order of the file.
	Pools []Pool `json:"pools"`
}

// Preflight asks for checks that are not made by themselves.
type Preflight struct {
	// Workload asks for a look at the workload cluster, by the kubeconfig that
	// Cluster API keeps of it. It is read, never written to.
	Workload bool `json:"workload,omitempty"`
}

// ClusterRef names the Cluster object, in the management cluster, that the
// pools belong to.
type ClusterRef struct {
	Name string `json:"name"`
	// Namespace is never empty after Read.
	Namespace string `json:"namespace"`
}

// Image says what a machine image carries. What is empty is not told.
type Image struct {
	// Image is the image as the provider names it, as in Pool.MachineImage.
	Image string `json:"image"`
	// KubernetesVersion has a leading v, as that of a pool.
	KubernetesVersion string       `json:"kubernetesVersion,omitempty"`
	Architecture      Architecture `json:"architecture,omitempty"`
	// OS is the operating system and its release. A change of it is told.
	OS string `json:"os,omitempty"`
}

// Architecture is that of a processor, by the names of Kubernetes and Go.
type Architecture string

// The architectures.
const (
	AMD64 Architecture = "amd64"
	ARM64 Architecture = "arm64"
)

// Order says how the pools follow each other.
type Order string

const (
	// Sequential takes the pools in the order of the file; a stall or a
	// failure stops the later ones.
	Sequential Order = "sequential"
	// Parallel starts all pools at once.
	Parallel Order = "parallel"
)

// Pool is what one MachineDeployment is to become. The zero value of a field,
// Name and Wait apart, means "leave it as it is".
type Pool struct {
	// Name is the name of the MachineDeployment.
	Name string `json:"name"`
	// KubernetesVersion has a leading v (v1.35.2), which is how the webhook
	// of Cluster API stores a MachineDeployment's version.
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	// MachineImage and InstanceType are shorthands: which field of the
	// infrastructure template they set depends on its kind.
	MachineImage string `json:"machineImage,omitempty"`
	InstanceType string `json:"instanceType,omitempty"`
	// Infrastructure is a JSON merge patch (RFC 7386) over
	// spec.template.spec of a copy of the current infrastructure template.
	// A nil value removes a field. Numbers are int64 or float64.
	Infrastructure map[string]any `json:"infrastructure,omitempty"`
	// Bootstrap is the same for the bootstrap template.
	Bootstrap map[string]any `json:"bootstrap,omitempty"`
	// Strategy and Drain change the MachineDeployment in place.
	Strategy *Strategy `json:"strategy,omitempty"`
	Drain    *Drain    `json:"drain,omitempty"`
	Wait     Wait      `json:"wait"`
	// OnStall is empty after Read where it is stop, which is the default.
	OnStall OnStall `json:"onStall,omitempty"`
	// Canary is nil where no machine is to prove itself first.
	Canary *Canary `json:"canary,omitempty"`
	// Waive holds each check at most once after Read.
	Waive []Waiver `json:"waive,omitempty"`
}

// Waiver lets a pool go on although a preflight check blocks it.
type Waiver struct {
	// Check is the code of the check. Which codes there are, and which of them
	// can be waived, is not known to this package.
	Check string `json:"check"`
	// Reason is one line for the reviewer.
	Reason string `json:"reason"`
}

// OnStall says what is done to a pool whose rollout has stalled.
type OnStall string

const (
	// Stop ends the run and leaves the pool as it is.
	Stop OnStall = "stop"
	// Pause also sets spec.paused, so that the rollout does not go on by
	// itself.
	Pause OnStall = "pause"
	// Rollback takes the pool back to what it was before the run.
	Rollback OnStall = "rollback"
)

// Canary lets the first new machines of a rollout prove themselves before the
// others are replaced.
type Canary struct {
	// Machines is how many, at least 1 after Read.
	Machines int `json:"machines"`
	// Soak is how long they must stay ready without a break.
	Soak Duration `json:"soak"`
	// Command, when not empty, is run once for each of them after the soak,
	// where apply runs, and must exit with 0. It is a program and its
	// arguments, not a line for a shell.
	Command []string `json:"command,omitempty"`
}

// Strategy bounds a rolling update. Each value is a count of machines or a
// percentage of the replicas ("25%"), not both are zero, and nil leaves the
// MachineDeployment's value alone.
type Strategy struct {
	MaxSurge       *intstr.IntOrString `json:"maxSurge,omitempty"`
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// Drain bounds how long the deletion of a machine may take. Nil leaves the
// MachineDeployment's value alone; zero means no limit, as in Cluster API.
type Drain struct {
	NodeDrainTimeout        *Duration `json:"nodeDrainTimeout,omitempty"`
	NodeVolumeDetachTimeout *Duration `json:"nodeVolumeDetachTimeout,omitempty"`
	NodeDeletionTimeout     *Duration `json:"nodeDeletionTimeout,omitempty"`
}

// Wait says how a rollout is waited for.
type Wait struct {
	// StallAfter is how long a rollout may go without progress before it
	// counts as stalled. It is above zero after Read.
	StallAfter Duration `json:"stallAfter"`
}
