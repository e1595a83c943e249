//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// The matrix holds what nodepool says of a version before anything is written
// against what Cluster API then does. Its cells are made of these.

// control is a control plane as a pool's versions are compared with it.
type control struct {
	name string // of its table, and of nothing in the cluster
	// version is what the versions of the cells are counted from.
	version string
	// standIn tells that it is an object of a kind that does nothing but follow
	// the control plane contract, with this spec and status; otherwise it is
	// a KubeadmControlPlane that runs version. Missing: its Cluster names one
	// that is not there.
	standIn      bool
	spec, status map[string]any
	missing      bool
}

// cell is one pool, what is changed in it, and under which control plane.
type cell struct {
	pool      step   // its version, counted from the control plane's
	bootstrap string // how its machines join
	change    string
	// skip is the annotation that switches Cluster API's checks off, on the
	// MachineDeployment or on the bootstrap template.
	skip, templateSkip string
	// empty is a pool with 0 replicas.
	empty bool
	// essential cells are in the short form.
	essential bool
}

// step is a version, counted from the control plane's.
type step struct {
	name         string
	minor, patch int // patch is added where minor is 0, and else is the patch
}

func (s step) from(controlPlane string) string {
	v := version.MustParseGeneric(controlPlane)
	if s.minor == 0 {
		return fmt.Sprintf("v%d.%d.%d", v.Major(), v.Minor(), int(v.Patch())+s.patch)
	}
	return fmt.Sprintf("v%d.%d.%d", v.Major(), int(v.Minor())+s.minor, s.patch)
}

// The versions that pools have.
var (
	ahead      = step{"one minor ahead", 1, 1}
	same       = step{"the same", 0, 0}
	olderPatch = step{"an older patch", 0, -1}
	behind     = step{"one minor behind", -1, 3}
	behind3    = step{"three behind", -3, 3}
	behind4    = step{"four behind", -4, 3}
	poolSteps  = []step{ahead, same, olderPatch, behind, behind3, behind4}
)

// The versions that pools are given.
var targets = []step{
	{"the same", 0, 0}, {"a newer patch", 0, 4}, {"one ahead", 1, 0}, {"one behind", -1, 9}, {"three behind", -3, 9}, {"four behind", -4, 9},
}

const (
	kubeadm = "kubeadm"
	secret  = "a Secret"
	other   = "another kind"

	onlyImage    = "image"
	onlyType     = "type"
	withImage    = "the same, image"
	onlyInPlace  = "in place"
	drainTimeout = 600 // seconds, what a change in place sets
)

// changes are the columns of a grid.
var changes = append(targetNames(), withImage, onlyImage, onlyType, onlyInPlace)

func targetNames() []string {
	var out []string
	for _, s := range targets {
		out = append(out, s.name)
	}
	return out
}

// fields gives the pool of an upgrade file that asks for the change; ok is
// false where it changes nothing.
func (c cell) fields(controlPlane string) (fields pool, ok bool) {
	at := c.pool.from(controlPlane)
	switch c.change {
	case onlyImage:
		return pool{"machineImage": newImage}, true
	case onlyType:
		return pool{"instanceType": "m5.xlarge"}, true
	case onlyInPlace:
		return pool{"drain": map[string]any{"nodeDrainTimeout": "10m"}}, true
	case withImage:
		to := same.from(controlPlane)
		return pool{"kubernetesVersion": to, "machineImage": newImage}, to != at
	}
	i := slices.IndexFunc(targets, func(s step) bool { return s.name == c.change })
	to := targets[i].from(controlPlane)
	return pool{"kubernetesVersion": to}, to != at
}

// name tells what is special about the cell's pool.
func (c cell) name() string {
	out := c.pool.name
	if c.skip != "" {
		out += ", skips " + spoken(c.skip)
	}
	if c.templateSkip != "" {
		out += ", its bootstrap template skips " + spoken(c.templateSkip)
	}
	if c.empty {
		out += ", no replicas"
	}
	return out
}

func spoken(list string) string {
	return strings.Join(strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), " and ")
}

// wholeMatrix tells that all cells are run.
var wholeMatrix = os.Getenv("NODEPOOL_E2E_MATRIX") == "all"

// grid gives all cells of a control plane that is stable; essential says whether
// its essential cells are in the short form.
// Machines that join by a Secret of their own are to Cluster API what those of
// another kind are, so that fewer of these cells tell that.
func grid(essential bool) []cell {
	return append(product(essential, poolSteps, []string{kubeadm, other}, changes),
		product(essential, []step{same, behind, behind4}, []string{secret}, []string{"the same", "one ahead", "four behind", onlyImage, onlyType, onlyInPlace})...)
}

// core gives those of a grid that tell a control plane of one kind or version
// from another.
func core(essential bool) []cell {
	return product(essential, []step{ahead, same, behind, behind4}, []string{kubeadm, other}, []string{"the same", "one ahead", "one behind", onlyImage, onlyInPlace})
}

func product(essential bool, pools []step, bootstraps, changes []string) []cell {
	var out []cell
	for _, p := range pools {
		for _, b := range bootstraps {
			for _, change := range changes {
				out = append(out, cell{pool: p, bootstrap: b, change: change,
					essential: essential && slices.Contains(essentials, [3]string{p.name, b, change})})
			}
		}
	}
	return out
}

// essentials are the cells of a grid that the short form has: each rule once,
// from both sides of its limit.
var essentials = [][3]string{
	{same.name, kubeadm, "a newer patch"}, {same.name, kubeadm, "one ahead"}, {same.name, kubeadm, "one behind"},
	{same.name, secret, "one ahead"}, {same.name, other, "three behind"}, {same.name, secret, "four behind"},
	{behind.name, kubeadm, "the same"}, {behind.name, kubeadm, onlyImage}, {behind.name, kubeadm, onlyType}, {behind.name, kubeadm, onlyInPlace},
	{behind.name, other, onlyType}, {behind4.name, other, onlyImage}, {ahead.name, kubeadm, withImage},
}

// skips are the cells of pools that switch checks off, and of pools that have
// no machines.
func skips() []cell {
	const all, cubernetes, cubeadm, stable = "All", "KubernetesVersionSkew", "KubeadmVersionSkew", "ControlPlaneIsStable"
	return []cell{
		{pool: behind, bootstrap: kubeadm, change: onlyImage, skip: cubeadm, essential: true},
		{pool: behind, bootstrap: kubeadm, change: onlyImage, skip: all},
		{pool: behind, bootstrap: kubeadm, change: onlyImage, skip: stable + "," + cubernetes},
		{pool: behind4, bootstrap: kubeadm, change: onlyImage, skip: cubeadm},
		{pool: behind4, bootstrap: other, change: onlyImage, skip: cubernetes},
		{pool: same, bootstrap: kubeadm, change: "one ahead", skip: cubernetes},
		{pool: same, bootstrap: kubeadm, change: "one ahead", skip: cubernetes + ", " + cubeadm},
		{pool: behind, bootstrap: kubeadm, change: onlyImage, templateSkip: all, essential: true},
		{pool: behind, bootstrap: kubeadm, change: onlyImage, templateSkip: all, skip: stable},
		{pool: behind, bootstrap: kubeadm, change: onlyImage, empty: true, essential: true},
		{pool: same, bootstrap: other, change: "one ahead", empty: true},
	}
}

// few are the cells of a control plane in a state of its own.
func few(essential ...string) []cell {
	var out []cell
	for _, b := range []string{kubeadm, other} {
		for _, change := range []string{"the same", onlyImage, onlyInPlace} {
			out = append(out, cell{pool: behind, bootstrap: b, change: change, essential: b == kubeadm && slices.Contains(essential, change)})
		}
		out = append(out, cell{pool: same, bootstrap: b, change: onlyImage})
	}
	return out
}

// unstable gives the cells of a control plane that is not at its version: few,
// and pools that skip the check for that.
func unstable(essential ...string) []cell {
	const stable = "ControlPlaneIsStable"
	return append(few(essential...),
		cell{pool: behind, bootstrap: kubeadm, change: "the same", skip: stable},
		cell{pool: behind, bootstrap: kubeadm, change: onlyImage, skip: stable, essential: true},
		cell{pool: behind, bootstrap: other, change: onlyImage, skip: stable})
}

// matrixPhase is a control plane and the cells that are tried under it.
type matrixPhase struct {
	control
	cells []cell
}

// matrixStage is a workload cluster whose control plane goes through phases.
type matrixStage struct {
	name    string
	version string // of its KubeadmControlPlane
	phases  []matrixPhase
}

// matrixStages gives the matrix. A real KubeadmControlPlane and the stand-in of the
// same version have cells in common, so that each proves the other; states that
// a real one has for moments only are the stand-in's.
func matrixStages() []matrixStage {
	const now = "v1.35.2"
	kcp := func(v string) control { return control{name: "KubeadmControlPlane at " + v, version: v} }
	standIn := func(what, spec, status string) control {
		c := control{name: "stand-in, " + what, version: now, standIn: true, spec: map[string]any{}, status: map[string]any{}}
		for m, v := range map[*map[string]any]string{&c.spec: spec, &c.status: status} {
			if v != "" {
				(*m)["version"] = v
			}
		}
		return c
	}
	replicas := standIn("one of three machines ready", now, now)
	replicas.spec["replicas"] = int64(3)
	replicas.status["replicas"], replicas.status["readyReplicas"], replicas.status["availableReplicas"], replicas.status["upToDateReplicas"] =
		int64(3), int64(1), int64(1), int64(3)
	gone := standIn("not there", "", "")
	gone.missing = true
	old := standIn("at v1.27.4", "v1.27.4", "v1.27.4")
	old.version = "v1.27.4"
	return []matrixStage{
		{"kcp35", now, []matrixPhase{{kcp(now), slices.Concat(grid(true), skips())}}},
		{"standin35", now, []matrixPhase{{standIn("at "+now, now, now), core(true)}}},
		{"kcp34", "v1.34.6", []matrixPhase{{kcp("v1.34.6"), core(false)}}},
		{"kcp33", "v1.33.8", []matrixPhase{{kcp("v1.33.8"), core(false)}}},
		{"states", now, []matrixPhase{
			{standIn("v1.35.2 wanted, v1.34.3 runs", now, "v1.34.3"), unstable("the same", onlyInPlace)},
			{standIn("v1.35.2 wanted, v1.35.1 runs", now, "v1.35.1"), few()},
			{standIn("v1.35.1 wanted, v1.35.2 runs", "v1.35.1", now), few("the same")},
			{standIn("v1.34.3 wanted, v1.35.2 runs", "v1.34.3", now), few()},
			{standIn("v1.35.2+b2 wanted, v1.35.2+b1 runs", now+"+b2", now+"+b1"), few("the same")},
			{standIn("v1.35.2+a1 wanted, v1.35.2+b1 runs", now+"+a1", now+"+b1"), few()},
			{standIn("v1.35.2+1 wanted, v1.35.2+2 runs", now+"+1", now+"+2"), few()},
			{standIn("v1.35.2 wanted, v1.35.2-gke.1 runs", now, now+"-gke.1"), few()},
			{standIn("v1.35.2-gke.1 wanted, v1.35.2 runs", now+"-gke.1", now), few()},
			{standIn("v1.35 wanted, 1.35 runs", "v1.35", "1.35"), few("the same")},
			{standIn("v1.35.2 wanted, v1.35 runs", now, "v1.35"), few("the same")},
			{standIn("v1.35 wanted, v1.35.2 runs", "v1.35", now), few()},
			{standIn("v1.35.2 wanted, nothing runs", now, ""), unstable("the same")},
			{standIn("no version wanted", "", now), few(onlyImage)},
			{standIn("an unreadable version", "latest", "latest"), few()},
			{replicas, few("the same")},
			{gone, few("the same", onlyInPlace)},
			{old, []cell{{pool: behind3, bootstrap: other, change: onlyImage, essential: true}, {pool: behind3, bootstrap: secret, change: onlyType},
				{pool: behind4, bootstrap: other, change: onlyImage}}},
		}},
	}
}

// chosen gives the cells that are run: all that change something, or of those
// the essential ones.
func (p matrixPhase) chosen() []cell {
	return slices.DeleteFunc(slices.Clone(p.cells), func(c cell) bool {
		_, ok := c.fields(p.version)
		return !ok || !wholeMatrix && !c.essential
	})
}
