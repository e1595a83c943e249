package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nodepool/schema"
)

// The codes of what a look at the workload cluster finds. They are answered
// when it was looked at, or was to be.
const (
	CheckWorkload        = "workload"
	CheckWorkloadNodes   = "workload-nodes"
	CheckWorkloadBudgets = "workload-budgets"
	CheckWorkloadPods    = "workload-pods"
	CheckWorkloadData    = "workload-data"
	CheckWorkloadPending = "workload-pending"
)

// workload tells what was found out about the workload cluster. None of it is in
// steps or facts, so the plan's digest is the same without it. It blocks what
// would begin a rollout, and nothing that only waits for one that has begun.
func (c *checker) workload(up schema.Upgrade, pools []*pool) {
	c.pool = ""
	cluster := clusterRefOf(up)
	r, looked := c.snap.Workload()
	switch {
	case !looked:
		if up.Spec.Preflight.Workload && slices.ContainsFunc(pools, func(p *pool) bool { return len(p.leaving()) > 0 }) {
			c.add(Finding{Code: CheckWorkload, Severity: Warn, Object: cluster,
				Message: "the workload cluster is not verified: spec.preflight.workload asks for a look at it, and this plan was made without one. What would hold up its drains, or be lost in them, is not known",
				Remedy:  "plan again against the management cluster itself, and not from manifests"})
		}
		return
	case r.NotVerified != "":
		c.add(Finding{Code: CheckWorkload, Severity: Warn, Object: cluster,
			Message: "the workload cluster is not verified: " + r.NotVerified, Remedy: r.Remedy})
		return
	case len(r.Unread) > 0:
		var parts, remedies []string
		right, failed := false, false
		for _, kind := range slices.Sorted(maps.Keys(r.Unread)) {
			parts = append(parts, kind+" ("+r.Unread[kind]+")")
			missing := strings.Contains(r.Unread[kind], "may not") // the words of a refusal
			right, failed = right || missing, failed || !missing
		}
		if right {
			remedies = append(remedies, "give the right to list what may not be listed")
		}
		if failed {
			remedies = append(remedies, "see what is the matter with the API server that did not answer as it should")
		}
		c.add(Finding{Code: CheckWorkload, Severity: Warn, Object: cluster,
			Message: "the workload cluster is not verified in part: " + strings.Join(parts, ", "),
			Remedy:  strings.Join(remedies, ", and ") + ", then plan again; or look at them with kubectl, and go on if nothing there is in the way"})
	default:
		c.pass(CheckWorkload, cluster, fmt.Sprintf("the workload cluster was looked at: %d nodes, %d pods, %d PodDisruptionBudgets", r.Nodes, r.Pods, r.Budgets))
	}
	c.pending(cluster, r)
	for _, p := range pools {
		found := r.Pools[p.spec.Name]
		if found == nil {
			continue
		}
		c.pool = p.spec.Name
		c.workloadNodes(p, r, found)
		c.workloadBudgets(p, r, found)
		c.workloadPods(p, r, found)
		c.workloadData(p, r, found)
	}
	c.pool = ""
}

// unverified passes over a check for which something could not be read, which
// CheckWorkload tells. It is false when all was.
func (c *checker) unverified(code string, obj Ref, r WorkloadReport, kinds ...string) bool {
	for _, kind := range kinds {
		if r.Unread[kind] != "" {
			c.notVerified(code, obj, kind+" could not be read")
			return true
		}
	}
	return false
}

func (c *checker) pending(cluster Ref, r WorkloadReport) {
	switch {
	case c.unverified(CheckWorkloadPending, cluster, r, "Pods"):
	case r.Unschedulable.Count > 0:
		room := "make room or raise strategy.maxSurge"
		if c.back { // which reads no upgrade file
			room = "make room"
		}
		c.add(Finding{Code: CheckWorkloadPending, Severity: Warn, Object: cluster,
			Message: fmt.Sprintf("%s no node now: %s. Pods that the rollout evicts need room as well; where they find none they wait, and budgets may stop the next drain",
				counted(r.Unschedulable.Count, "pod finds", "pods find"), r.Unschedulable),
			Remedy: fmt.Sprintf("see what these pods wait for (kubectl describe pod), %s, then plan again; go on if the evicted pods do not need what these lack", room)})
	default:
		c.pass(CheckWorkloadPending, cluster, fmt.Sprintf("every pod has found a node; %d are starting", r.Starting))
	}
}

func (c *checker) workloadNodes(p *pool, r WorkloadReport, found *WorkloadPool) {
	if c.unverified(CheckWorkloadNodes, p.ref, r, "Nodes") {
		return
	}
	var odd []string
	tell := func(s Sample, one, many string) {
		if s.Count > 0 {
			odd = append(odd, fmt.Sprintf("%s: %s", counted(s.Count, one, many), s))
		}
	}
	tell(found.Missing, "is named by a Machine and is not there, so nothing is drained from it", "are named by Machines and are not there, so nothing is drained from them")
	tell(found.Unreachable, "is unreachable (Ready is Unknown), so its pods are given 1 second to end", "are unreachable (Ready is Unknown), so their pods are given 1 second to end")
	tell(found.NotReady, "is not ready", "are not ready")
	tell(found.Cordoned, "is cordoned already, so its room is missing now", "are cordoned already, so their room is missing now")
	tell(found.Other, "runs a kubelet that is not of its Machine's version", "run kubelets that are not of their Machines' version")
	tell(found.NotDrained, "is deleted without a drain (annotation machine.cluster.x-k8s.io/exclude-node-draining on its Machine): its pods are killed, whatever their budgets say",
		"are deleted without a drain (annotation machine.cluster.x-k8s.io/exclude-node-draining on their Machines): their pods are killed, whatever their budgets say")
	kubelets := slices.Sorted(maps.Keys(found.Kubelets))
	if more := len(kubelets) - maxSamples; more > 0 {
		kubelets = append(kubelets[:maxSamples], fmt.Sprintf("%d more", more))
	}
	running := ""
	if len(kubelets) > 0 {
		running = " (kubelet " + strings.Join(kubelets, ", ") + ")"
	}
	if len(odd) > 0 {
		c.add(Finding{Code: CheckWorkloadNodes, Severity: Warn, Object: p.ref,
			Message: fmt.Sprintf("of the %d nodes to be replaced%s, %s", found.Nodes+found.Missing.Count, running, strings.Join(odd, "; ")),
			Remedy:  "find out why and mend it, or uncordon the nodes whose room is needed; then plan again. If you go on, evicted pods may find no room, and those on a node that does not answer are not shut down in order"})
		return
	}
	c.pass(CheckWorkloadNodes, p.ref, fmt.Sprintf("the %d nodes to be replaced are ready and not cordoned%s", found.Nodes, running))
}

func (c *checker) workloadBudgets(p *pool, r WorkloadReport, found *WorkloadPool) {
	if c.unverified(CheckWorkloadBudgets, p.ref, r, "Nodes", "Pods", "PodDisruptionBudgets") {
		return
	}
	limit := p.fields.TimeoutAt(p.wanted, p.fields.NodeDrainTimeout)
	end := "the rollout would stand still at the machine for ever: nodeDrainTimeout of the pool is not set, which is no limit"
	if limit > 0 {
		end = fmt.Sprintf("Cluster API deletes the machine with these pods on it after %s, whatever their budgets say (nodeDrainTimeout)", short(limit))
	}
	never, now := pinsText(found.Never, found.NeverMore), pinsText(found.Now, found.NowMore)
	f := Finding{Code: CheckWorkloadBudgets, Severity: Warn, Object: p.ref}
	switch {
	case never != "":
		f.Message = "pods on the nodes to be replaced cannot be evicted as things stand: " + never
		if now != "" {
			f.Message += "; and not at the moment: " + now
		}
		f.Message += ". Cluster API tries again every 20 seconds; " + end
		f.Remedy = "let the workload lose a pod (more replicas, a looser budget, or one budget for each pod), then plan again; or set " +
			p.setting("drain.nodeDrainTimeout", p.fields.NodeDrainTimeout) + p.byHand() + ", and the pods are killed when it is over"
		if limit == 0 && p.rolls() && p.back == nil { // the way back is the way out, and a drain that stands is told as a stall
			f.Severity = Block
			f.Remedy += "; or waive " + CheckWorkloadBudgets + " if something moves these pods when their node is cordoned, as operators of databases do"
		}
	case now != "":
		f.Message = "pods on the nodes to be replaced cannot be evicted at the moment: " + now +
			". Cluster API tries again every 20 seconds, and goes on once it may; if it never may, " + end
		f.Remedy = "see what keeps these budgets from allowing a disruption, such as pods that are not ready, and mend it; then plan again, or go on if it will pass by itself"
	default:
		c.pass(CheckWorkloadBudgets, p.ref, "no PodDisruptionBudget forbids an eviction now; "+p.deletionLimits())
		return
	}
	c.add(f)
}

// deletionLimits tells how long the deletion of a machine may take.
func (p *pool) deletionLimits() string {
	words := func(path []string, absent string) string {
		if _, set := PointerTo(path...).in(p.wanted.Object); !set {
			return absent
		}
		if d := p.fields.TimeoutAt(p.wanted, path); d > 0 {
			return "at most " + short(d)
		}
		return "without limit"
	}
	return fmt.Sprintf("a drain goes on %s, the detaching of volumes %s, the deletion of a node %s",
		words(p.fields.NodeDrainTimeout, "without limit"), words(p.fields.NodeVolumeDetachTimeout, "without limit"),
		// The webhook's default (webhooks/machine.go, defaultNodeDeletionTimeoutSeconds).
		words(p.fields.NodeDeletionTimeout, "at most 10s"))
}

// short gives 10m for 10m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func pinsText(pins []PinningBudget, more int) string {
	var parts []string
	for _, b := range pins {
		parts = append(parts, fmt.Sprintf("PodDisruptionBudget %s (%s) pins %s", b.Budget, b.Why, b.Pods))
	}
	if more > 0 {
		parts = append(parts, fmt.Sprintf("%d more budgets", more))
	}
	return strings.Join(parts, "; ")
}

// workloadPods tells of pods with which a drain does not do what one may think.
func (c *checker) workloadPods(p *pool, r WorkloadReport, found *WorkloadPool) {
	if c.unverified(CheckWorkloadPods, p.ref, r, "Nodes", "Pods") {
		return
	}
	var odd []string
	tell := func(s Sample, one, many string) {
		if s.Count > 0 {
			odd = append(odd, fmt.Sprintf("%s: %s", counted(s.Count, one, many), s))
		}
	}
	tell(found.Unmanaged, "has no controller and is gone for good", "have no controller and are gone for good")
	tell(found.Orphans, "belongs to an apps/v1 DaemonSet that is not there: it is evicted, and comes back only if another kind of controller makes it again",
		"belong to apps/v1 DaemonSets that are not there: they are evicted, and come back only if another kind of controller makes them again")
	tell(found.Returning, "tolerates the cordon: it may be put on the node again after each eviction, and then the drain does not end",
		"tolerate the cordon: they may be put on the node again after each eviction, and then the drain does not end")
	tell(found.Waits, "is waited for until it completes by itself (wait-completed)", "are waited for until they complete by themselves (wait-completed)")
	tell(found.Overdue, "is being deleted and does not go: the drain waits for it", "are being deleted and do not go: the drain waits for them")
	all := "on the nodes to be replaced: " + counted(found.Pods, "pod", "pods")
	summary := fmt.Sprintf("evicted: %d, left to end with their machine: %d", found.Evicted, found.Skipped+found.Undrained)
	if len(odd) == 0 {
		c.pass(CheckWorkloadPods, p.ref, all+"; "+summary)
		return
	}
	limit := p.fields.TimeoutAt(p.wanted, p.fields.NodeDrainTimeout)
	if found.Returning.Count+found.Waits.Count+found.Overdue.Count > 0 {
		if limit > 0 {
			summary += fmt.Sprintf("; a drain is given up after %s (nodeDrainTimeout)", short(limit))
		} else {
			summary += "; a drain has no limit (nodeDrainTimeout is not set)"
		}
	}
	c.add(Finding{Code: CheckWorkloadPods, Severity: Warn, Object: p.ref,
		Message: fmt.Sprintf("%s, among them %s (%s)", all, strings.Join(odd, "; "), summary),
		Remedy:  "move what must not be lost, or give it a controller, then plan again; go on if these pods may be lost or waited for. A pod that cannot be drained is left out by its label cluster.x-k8s.io/drain: skip, or by a MachineDrainRule, and ends with its machine"})
}

// workloadData tells of data that is on the nodes to be replaced, and nowhere
// else.
func (c *checker) workloadData(p *pool, r WorkloadReport, found *WorkloadPool) {
	var lost []string
	tell := func(s Sample, one, many string) {
		if s.Count > 0 {
			lost = append(lost, fmt.Sprintf("%s: %s", counted(s.Count, one, many), s))
		}
	}
	tell(found.Volumes, "persistent volume is on a node to be replaced, and is lost with it; its pods then find no node", "persistent volumes are on nodes to be replaced, and are lost with them; their pods then find no node")
	tell(found.UnmanagedData, "pod without a controller keeps data on its node (emptyDir or hostPath): the data is lost, and nobody makes the pod again",
		"pods without a controller keep data on their node (emptyDir or hostPath): the data is lost, and nobody makes the pods again")
	f := Finding{Code: CheckWorkloadData, Object: p.ref}
	switch {
	case len(lost) > 0:
		f.Severity = Block
		if !p.rolls() {
			f.Severity = Warn
		}
		var remedies []string
		if found.UnmanagedData.Count > 0 {
			remedies = append(remedies, "copy what must be kept off a pod without a controller, make the pod again on a node that is not replaced, and delete the old one; then plan again")
		}
		if found.Volumes.Count > 0 {
			remedies = append(remedies, "move the data of a volume to nodes that are not replaced, then plan again. Where the application keeps another copy: cordon the node, delete the claim and then its pod, wait until the copy is whole on a node that is not replaced, and go on with the next node; then plan again")
		}
		f.Remedy = strings.Join(remedies, ". And ")
	case c.unverified(CheckWorkloadData, p.ref, r, "Nodes", "Pods", "PersistentVolumes"):
		return
	}
	tell(found.HostPath, "pod may write to a directory of its node (hostPath), which is lost with it", "pods may write to directories of their node (hostPath), which are lost with it")
	switch {
	case len(lost) == 0:
		c.pass(CheckWorkloadData, p.ref, fmt.Sprintf("no data is known to be on the nodes to be replaced alone; an eviction empties the scratch space (emptyDir) of %s", counted(found.EmptyDir, "pod", "pods")))
		return
	case f.Severity == "":
		f.Severity = Warn
		f.Remedy = "go on if what they write there may be lost; otherwise move it first, then plan again"
	}
	f.Message = strings.Join(lost, "; ")
	c.add(f)
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
