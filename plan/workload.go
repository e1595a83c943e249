package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"nodepool/plan/capi"
)

// WorkloadQuery says what to find out about the workload cluster of an upgrade:
// how the nodes stand that its rollouts take away, and what runs on them.
type WorkloadQuery struct {
	// Cluster is the Cluster object in the management cluster.
	Cluster Ref
	// ClusterLabels are its labels, which MachineDrainRules select by.
	ClusterLabels map[string]string
	// Nodes are the nodes of the machines that will be replaced, by name.
	Nodes map[string]WorkloadNode
}

// WorkloadNode is the node of a machine that will be replaced.
type WorkloadNode struct {
	Pool string
	// Version is what its Machine is to run (spec.version).
	Version string
	// Labels are those of its Machine, which MachineDrainRules select by.
	Labels map[string]string
	// NotDrained says that Cluster API deletes it without a drain.
	NotDrained bool
}

// leaving gives the machines with a node that the upgrade, or a rollout to what
// it asks for, replaces. A machine without a node is deleted without a drain.
func (p *pool) leaving() []capi.Machine {
	if p.md == nil || p.wanted == nil || p.idle() {
		return nil
	}
	if p.back != nil && p.back.untouched {
		return nil
	}
	if p.back != nil {
		return slices.DeleteFunc(slices.Clone(p.back.goes), func(m capi.Machine) bool { return m.Node == "" })
	}
	return slices.DeleteFunc(slices.Clone(p.rollout.Machines), func(m capi.Machine) bool {
		return m.Node == "" || !m.Old && !p.rolls()
	})
}

// NodeSeen is a node of the workload cluster.
type NodeSeen struct {
	Name string
	// Hostname is its label kubernetes.io/hostname, by which volumes are bound
	// to it.
	Hostname string
	// Ready and Unreachable tell its condition Ready: True, and Unknown.
	Ready, Unreachable bool
	Cordoned           bool
	KubeletVersion     string
}

// VolumeSeen is a PersistentVolume that can be used on some nodes alone.
type VolumeSeen struct {
	Name string
	// Claim is the namespace/name of the claim that holds or held it; empty when
	// it was never bound.
	Claim string
	// Nodes are the single values that its node affinity asks of a label: of a
	// volume on one node that node's name or hostname is among them.
	Nodes []string
}

// BudgetSeen is a PodDisruptionBudget.
type BudgetSeen struct {
	Namespace, Name string
	Selector        labels.Selector
	// Allowed, Healthy, Desired and Expected are status.disruptionsAllowed,
	// currentHealthy, desiredHealthy and expectedPods.
	Allowed, Healthy, Desired, Expected int
	// Current says that the status was made for the present spec. The API server
	// refuses evictions while it is not.
	Current bool
	// Failed says that it cannot be worked out (condition DisruptionAllowed, reason
	// SyncFailed): nothing is allowed until that is mended.
	Failed bool
	// AlwaysAllow is spec.unhealthyPodEvictionPolicy AlwaysAllow.
	AlwaysAllow bool
}

// PodSeen is a pod that has not finished.
type PodSeen struct {
	Namespace, Name string
	// Node is the name of its node; empty when it has none.
	Node   string
	Labels map[string]string
	// Mirror marks a static pod.
	Mirror bool
	// ControllerKind and ControllerName are of the owner that is its controller;
	// empty when none is.
	ControllerKind, ControllerName string
	// Pending is the phase of that name, Unschedulable says that no node was
	// found for it.
	Pending, Unschedulable bool
	Ready                  bool
	// Deleting says that it is being deleted, Overdue that it should have been
	// gone for a while.
	Deleting, Overdue bool
	// EmptyDir says that it keeps something in an emptyDir on disk, HostPath that
	// it may write to a directory of its node.
	EmptyDir, HostPath bool
	// ToleratesCordon says that it may be put on a cordoned node.
	ToleratesCordon bool
}

func (p PodSeen) String() string { return p.Namespace + "/" + p.Name }

// maxSamples bounds the names that are kept of what is counted in full, and
// maxSample the length of one.
const (
	maxSamples = 10
	maxSample  = 300
)

// Sample is a count with the first names of what was counted, in order.
type Sample struct {
	Count int
	Names []string
}

// Add counts one more.
func (s *Sample) Add(name string) {
	s.Count++
	name = shortened(name, maxSample)
	if at, found := slices.BinarySearch(s.Names, name); !found && at < maxSamples {
		s.Names = slices.Insert(s.Names, at, name)
		s.Names = s.Names[:min(len(s.Names), maxSamples)]
	}
}

func shortened(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// String gives the names, and how many more there are.
func (s Sample) String() string {
	text := strings.Join(s.Names, ", ")
	if more := s.Count - len(s.Names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// WorkloadReport is what was found out about a workload cluster. Its size does
// not grow with the cluster: counts are in full, names are samples.
type WorkloadReport struct {
	// NotVerified says why nothing was found out, and Remedy what to do about it;
	// both are empty when something was.
	NotVerified, Remedy string
	// Unread holds what could not be read: the kind, and why.
	Unread map[string]string
	// Nodes, Pods and Budgets count what was read.
	Nodes, Pods, Budgets int
	// Unschedulable are pods that no node is found for, Starting counts those that
	// have one and do not run yet.
	Unschedulable Sample
	Starting      int
	// Pools are the pools of the query, by name.
	Pools map[string]*WorkloadPool
}

// WorkloadPool is what was found out about the nodes of one pool that will be
// replaced, and about the pods on them.
type WorkloadPool struct {
	// Nodes counts those that were found.
	Nodes int
	// Missing are nodes that Machines name and that are not there.
	Missing                         Sample
	NotReady, Unreachable, Cordoned Sample
	// Kubelets counts nodes by kubelet version; Other are nodes whose kubelet is
	// not of their Machine's version.
	Kubelets map[string]int
	Other    Sample
	// NotDrained are nodes whose machines are deleted without a drain.
	NotDrained Sample

	// Pods counts those that have not finished; Evicted, Skipped and Waits tell
	// what a drain does with them. Undrained counts those on nodes without one.
	Pods, Evicted, Skipped, Undrained int
	Waits                             Sample

	// Of the pods that go for good or whose data does: those without a
	// controller, those among them with data on their node, those whose
	// DaemonSet is gone, those that may write to their node, and those with an
	// emptyDir.
	Unmanaged, UnmanagedData, Orphans, HostPath Sample
	EmptyDir                                    int
	// Returning are pods that may come back to a cordoned node, Overdue those
	// that are being deleted and do not go.
	Returning, Overdue Sample
	// Volumes are PersistentVolumes that are on the pool's nodes alone.
	Volumes Sample

	// Never are pods that cannot be evicted as things stand, and Now those that
	// cannot be evicted at the moment, with the budgets that pin them. Of either
	// at most maxSamples budgets are kept; NeverMore and NowMore count the others.
	Never, Now         []PinningBudget
	NeverMore, NowMore int
}

// PinningBudget is a PodDisruptionBudget, or several, and the pods that may not
// be evicted for it.
type PinningBudget struct {
	// Budget is its namespace/name; of several that select one pod all names.
	Budget string
	// Why says in numbers why it allows nothing.
	Why  string
	Pods Sample
}

// WorkloadTally reduces what a workload cluster holds, item by item, to a
// report. Nodes, namespaces, DaemonSets, volumes and budgets must be added
// before the pods. It keeps budgets and the names of DaemonSets and labels of
// namespaces, but no pod.
type WorkloadTally struct {
	query      WorkloadQuery
	rules      map[string]capi.DrainRules // by node
	hasRules   bool
	found      map[string]bool   // nodes
	hostnames  map[string]string // → node
	namespaces map[string]map[string]string
	daemonSets map[string]bool
	budgets    map[string][]BudgetSeen // by namespace
	never, now map[pin]*PinningBudget
	report     WorkloadReport
}

type pin struct{ pool, budget string }

// NewWorkloadTally begins a tally; drainRules are the MachineDrainRules of the
// Cluster's namespace.
func NewWorkloadTally(q WorkloadQuery, drainRules []*unstructured.Unstructured) *WorkloadTally {
	t := &WorkloadTally{query: q, rules: map[string]capi.DrainRules{}, found: map[string]bool{}, hostnames: map[string]string{},
		namespaces: map[string]map[string]string{}, daemonSets: map[string]bool{}, budgets: map[string][]BudgetSeen{},
		never: map[pin]*PinningBudget{}, now: map[pin]*PinningBudget{},
		report: WorkloadReport{Unread: map[string]string{}, Pools: map[string]*WorkloadPool{}}}
	rules := capi.DrainRulesOf(drainRules)
	for name, n := range q.Nodes {
		t.rules[name] = rules.For(n.Labels, q.ClusterLabels)
		t.hasRules = t.hasRules || len(t.rules[name]) > 0
		if t.report.Pools[n.Pool] == nil {
			t.report.Pools[n.Pool] = &WorkloadPool{Kubelets: map[string]int{}}
		}
	}
	return t
}

// Unread notes that a kind could not be read, and why.
func (t *WorkloadTally) Unread(kind, why string) { t.report.Unread[kind] = why }

// NeedsNamespaces reports whether the labels of namespaces matter: they do for
// MachineDrainRules alone.
func (t *WorkloadTally) NeedsNamespaces() bool { return t.hasRules }

// Namespace adds a namespace.
func (t *WorkloadTally) Namespace(name string, labels map[string]string) { t.namespaces[name] = labels }

// DaemonSet adds an apps/v1 DaemonSet.
func (t *WorkloadTally) DaemonSet(namespace, name string) {
	t.daemonSets[namespace+"/"+name] = true
}

// Node adds a node.
func (t *WorkloadTally) Node(n NodeSeen) {
	t.report.Nodes++
	asked, ok := t.query.Nodes[n.Name]
	if !ok {
		return
	}
	t.found[n.Name] = true
	t.hostnames[n.Name] = n.Name
	if n.Hostname != "" {
		t.hostnames[n.Hostname] = n.Name
	}
	p := t.report.Pools[asked.Pool]
	p.Nodes++
	switch {
	case n.Unreachable:
		p.Unreachable.Add(n.Name)
	case !n.Ready:
		p.NotReady.Add(n.Name)
	}
	if n.Cordoned {
		p.Cordoned.Add(n.Name)
	}
	if asked.NotDrained {
		p.NotDrained.Add(n.Name)
	}
	if n.KubeletVersion == "" { // in-memory nodes report none
		return
	}
	version := shortened(n.KubeletVersion, maxSample)
	p.Kubelets[version]++
	if asked.Version != "" && !capi.KubeletRuns(n.KubeletVersion, asked.Version) {
		p.Other.Add(n.Name + " (" + version + ")")
	}
}

// Volume adds a PersistentVolume.
func (t *WorkloadTally) Volume(v VolumeSeen) {
	if v.Claim == "" {
		return // nobody's data
	}
	for _, value := range v.Nodes {
		node, ok := t.hostnames[value]
		if !ok {
			continue
		}
		t.report.Pools[t.query.Nodes[node].Pool].Volumes.Add("claim " + v.Claim + " (" + v.Name + ") on " + node)
		return
	}
}

// Budget adds a PodDisruptionBudget.
func (t *WorkloadTally) Budget(b BudgetSeen) {
	t.report.Budgets++
	t.budgets[b.Namespace] = append(t.budgets[b.Namespace], b)
}

// Pod adds a pod that has not finished.
func (t *WorkloadTally) Pod(pod PodSeen) {
	t.report.Pods++
	switch {
	case pod.Node == "" && pod.Pending && pod.Unschedulable:
		t.report.Unschedulable.Add(pod.String())
	case pod.Pending && !pod.Deleting:
		t.report.Starting++
	}
	node, ok := t.query.Nodes[pod.Node]
	if !ok {
		return
	}
	p := t.report.Pools[node.Pool]
	p.Pods++
	on := pod.String() + " on " + pod.Node
	data := func() {
		if pod.ControllerKind == "" && !pod.Mirror {
			if pod.EmptyDir || pod.HostPath {
				p.UnmanagedData.Add(on)
			} else {
				p.Unmanaged.Add(on)
			}
		} else if pod.HostPath {
			p.HostPath.Add(on)
		}
		if pod.EmptyDir {
			p.EmptyDir++
		}
	}
	isDaemon := pod.ControllerKind == "DaemonSet" &&
		(t.daemonSets[pod.Namespace+"/"+pod.ControllerName] || t.report.Unread["DaemonSets"] != "")
	if node.NotDrained {
		p.Undrained++
		if !isDaemon && !pod.Mirror {
			data()
		}
		return
	}
	switch t.rules[pod.Node].Of(capi.DrainPod{Labels: pod.Labels, NamespaceLabels: t.namespaces[pod.Namespace],
		Mirror: pod.Mirror, OfDaemonSet: isDaemon}) {
	case capi.DrainSkips:
		p.Skipped++
		if !isDaemon && !pod.Mirror {
			data() // it ends with its machine
		}
		return
	case capi.DrainWaits:
		p.Waits.Add(on)
		return
	case capi.DrainEvicts:
	}
	p.Evicted++
	if pod.ControllerKind == "DaemonSet" {
		p.Orphans.Add(on)
	} else {
		data()
	}
	switch {
	case pod.Overdue:
		p.Overdue.Add(on)
	case pod.ToleratesCordon && pod.ControllerKind != "" && !pod.Deleting:
		p.Returning.Add(on)
	}
	t.pinned(node.Pool, pod, on)
}

// pinned notes the budget, if any, for which the API server would refuse to
// evict a pod. Source: EvictionREST.Create and canIgnorePDB in
// pkg/registry/core/pod/storage/eviction.go of Kubernetes v1.35: budgets do not
// guard a pod that is pending or being deleted, one that is not ready only while
// the budget is not met, and none of two budgets is asked, but the eviction
// refused.
func (t *WorkloadTally) pinned(pool string, pod PodSeen, on string) {
	if pod.Pending || pod.Deleting {
		return
	}
	var guards []BudgetSeen
	for _, b := range t.budgets[pod.Namespace] {
		if b.Selector.Matches(labels.Set(pod.Labels)) {
			guards = append(guards, b)
		}
	}
	add := func(pins map[pin]*PinningBudget, budget, why string) {
		key := pin{pool, budget}
		if pins[key] == nil {
			pins[key] = &PinningBudget{Budget: shortened(budget, maxSample), Why: why}
		}
		pins[key].Pods.Add(on)
	}
	if len(guards) > 1 {
		names := make([]string, len(guards))
		for i, b := range guards {
			names[i] = b.Namespace + "/" + b.Name
		}
		slices.Sort(names)
		add(t.never, strings.Join(names, " and "), "the API server refuses to evict a pod that more than one budget selects")
		return
	}
	if len(guards) == 0 {
		return
	}
	b := guards[0]
	name := b.Namespace + "/" + b.Name
	switch {
	case !pod.Ready && (b.AlwaysAllow || b.Healthy >= b.Desired && b.Desired > 0):
	case b.Failed:
		add(t.never, name, "its condition DisruptionAllowed says SyncFailed")
	case !b.Current:
		add(t.now, name, "its status is not that of its present spec")
	case b.Allowed > 0:
	case b.Expected > 0 && b.Desired >= b.Expected:
		add(t.never, name, fmt.Sprintf("it wants %d of %d pods healthy", b.Desired, b.Expected))
	default:
		add(t.now, name, fmt.Sprintf("%d pods are healthy, and it wants %d of %d", b.Healthy, b.Desired, b.Expected))
	}
}

// Report gives what the tally has come to.
func (t *WorkloadTally) Report() WorkloadReport {
	r := t.report
	if r.Unread["Nodes"] == "" {
		for _, name := range slices.Sorted(maps.Keys(t.query.Nodes)) {
			if !t.found[name] {
				r.Pools[t.query.Nodes[name].Pool].Missing.Add(name)
			}
		}
	}
	for name, p := range r.Pools {
		p.Never, p.NeverMore = pinsOf(t.never, name)
		p.Now, p.NowMore = pinsOf(t.now, name)
	}
	return r
}

// pinsOf gives the first budgets that pin pods of a pool, and how many more do.
func pinsOf(pins map[pin]*PinningBudget, pool string) (out []PinningBudget, more int) {
	for key, b := range pins {
		if key.pool == pool {
			out = append(out, *b)
		}
	}
	slices.SortFunc(out, func(a, b PinningBudget) int { return cmp.Compare(a.Budget, b.Budget) })
	kept := min(len(out), maxSamples)
	return out[:kept:kept], len(out) - kept
}

// WithWorkload gives s plus what was found out about the workload cluster.
func (s Snapshot) WithWorkload(r WorkloadReport) Snapshot {
	out := s.clone()
	out.workload = &r
	return out
}

// Workload gives what was found out about the workload cluster, if it was looked
// at.
func (s Snapshot) Workload() (WorkloadReport, bool) {
	if s.workload == nil {
		return WorkloadReport{}, false
	}
	return *s.workload, true
}
