package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// The codes of what a rollout needs in order to move.
const (
	CheckRoom      = "room"
	CheckUnhealthy = "unhealthy-machines"
	CheckHealth    = "machine-health-checks"
)

// room holds the strategy against the replicas: whether a machine may be added
// or taken away at all, and whether any stays.
func (c *checker) room(p *pool) {
	replicas := p.rollout.Desired
	surge, unavailable := p.fenceposts(p.wanted, replicas)
	at := func(path []string) string { return text(valueAt(p.wanted.Object, PointerTo(path...))) }
	says := fmt.Sprintf("maxSurge %s and maxUnavailable %s", at(p.fields.MaxSurge), at(p.fields.MaxUnavailable))
	maxSurge, maxUnavailable := p.setting("strategy.maxSurge", p.fields.MaxSurge), p.setting("strategy.maxUnavailable", p.fields.MaxUnavailable)
	f := Finding{Code: CheckRoom, Severity: Warn, Object: p.ref}
	switch {
	case at(p.fields.MaxSurge) == "0" && at(p.fields.MaxUnavailable) == "0":
		f.Severity = Block
		f.Message = fmt.Sprintf("%s of %s are both 0: no machine may be added and none taken away, so Cluster API refuses the change", says, p.ref)
		f.Remedy = fmt.Sprintf("set %s or %s to 1 or more%s", maxSurge, maxUnavailable, p.byHand())
	case replicas > 0 && surge == 0 && unavailable >= replicas, replicas > 1 && unavailable >= replicas:
		f.Message = fmt.Sprintf("with %s all %s of %s may be away at once, and their pods find no room in this pool", says, machines(replicas), p.ref)
		f.Remedy = fmt.Sprintf("make sure that the workload can do without this pool meanwhile, or lower %s and set %s to 1 or more%s", maxUnavailable, maxSurge, p.byHand())
	case replicas > 0 && count(p.wanted, p.fields.MaxSurge, replicas, true, 1)+count(p.wanted, p.fields.MaxUnavailable, replicas, false, 0) == 0:
		f.Message = fmt.Sprintf("%s of %s both come to 0 of %s: Cluster API then takes one machine away before it makes another", says, p.ref, replicaCount(replicas))
		f.Remedy = fmt.Sprintf("make sure that the pool can do with one machine less, or set %s to 1%s", maxSurge, p.byHand())
	default:
		c.pass(CheckRoom, p.ref, fmt.Sprintf("%s: at most %s, of which at least %d ready", says, machines(replicas+surge), max(0, replicas-unavailable)))
		return
	}
	c.add(f)
}

// setting names a field of the upgrade file, and on the way back, which reads no
// such file, where it stands in the MachineDeployment.
func (p *pool) setting(field string, path []string) string {
	if p.back == nil {
		return field
	}
	return strings.Join(path, ".")
}

// byHand says how a setting is changed on the way back. The rollback may itself
// write the field, and its facts hold the strategy to what was reviewed; once it
// rolls, Cluster API takes a change up at once.
func (p *pool) byHand() string {
	if p.back == nil {
		return ""
	}
	return fmt.Sprintf(" (kubectl edit machinedeployment %s -n %s, once it is rolling back)", p.ref.Name, p.ref.Namespace)
}

// autoscaler tells what the bounds of the cluster autoscaler mean beside a
// rollout. It scales by spec.replicas, so machines of the surge do not count
// (cluster-autoscaler, cloudprovider/clusterapi: a group at its maximum is not
// enlarged, whatever is away from it).
func (c *checker) autoscaler(p *pool) {
	minimum, hasMin := p.md.GetAnnotations()[capi.AutoscalerMinAnnotation]
	maximum, hasMax := p.md.GetAnnotations()[capi.AutoscalerMaxAnnotation]
	if !hasMin && !hasMax {
		c.pass(CheckAutoscaler, p.ref, "no autoscaler annotations")
		return
	}
	f := Finding{Code: CheckAutoscaler, Severity: Warn, Object: p.ref}
	// One that is missing counts as 0, and a pool of at most 0 is left alone. Any
	// other mistake of one pool is an error of the whole list of them (parseScalingBounds,
	// nodeGroups and NodeGroups of that provider).
	least, err := strconv.Atoi(cmp.Or(minimum, "0"))
	most, err2 := strconv.Atoi(cmp.Or(maximum, "0"))
	upTo := fmt.Sprintf("%d (annotation %s)", most, capi.AutoscalerMaxAnnotation)
	if !hasMax {
		upTo = fmt.Sprintf("which is absent (annotation %s) and counts as 0", capi.AutoscalerMaxAnnotation)
	}
	const allFail = "so it scales no pool at all, and says why in its log"
	switch {
	case err != nil || err2 != nil || least < 0 || most < 0 || hasMin && minimum == "" || hasMax && maximum == "":
		f.Message = fmt.Sprintf("the cluster autoscaler cannot read its bounds on %s, %q to %q (annotations %s and %s), %s",
			p.ref, minimum, maximum, capi.AutoscalerMinAnnotation, capi.AutoscalerMaxAnnotation, allFail)
		f.Remedy = "correct the annotations, or remove both if the pool is not to be scaled; go on if no pool needs to be scaled meanwhile"
		c.add(f)
		return
	case least > most:
		f.Message = fmt.Sprintf("the cluster autoscaler takes no bounds on %s of which the minimum, %d (annotation %s), is above the maximum, %s, %s",
			p.ref, least, capi.AutoscalerMinAnnotation, upTo, allFail)
		f.Remedy = fmt.Sprintf("lower %s or set %s of the MachineDeployment to as much or more, or remove both if the pool is not to be scaled; go on if no pool needs to be scaled meanwhile",
			capi.AutoscalerMinAnnotation, capi.AutoscalerMaxAnnotation)
		c.add(f)
		return
	case most == 0:
		c.pass(CheckAutoscaler, p.ref, fmt.Sprintf("the cluster autoscaler leaves %s alone: its maximum is 0 (annotation %s; an absent one counts as 0)", p.ref, capi.AutoscalerMaxAnnotation))
		return
	}
	replicas := p.rollout.Desired
	f.Message = fmt.Sprintf("the cluster autoscaler scales %s between %d and %d, and the rollout follows the replicas", p.ref, least, most)
	if least == most {
		f.Message = fmt.Sprintf("the cluster autoscaler keeps %s at %d, its minimum and maximum", p.ref, least)
	}
	if least < most || replicas > least {
		f.Message += "; a scale-down meanwhile may remove new machines first"
	}
	surge, unavailable := p.fenceposts(p.wanted, replicas)
	const raise = "raise the maximum (annotation " + capi.AutoscalerMaxAnnotation + ") for the time of the rollout"
	switch {
	case replicas < least:
		f.Message += fmt.Sprintf("; it has %s, fewer than the minimum, to which it may be scaled up in the middle of the rollout", replicaCount(replicas))
	case replicas > most:
		f.Message += fmt.Sprintf("; it has %s, more than the maximum, and is not scaled up", replicaCount(replicas))
	case replicas == most:
		f.Message += "; it is at its maximum"
	}
	switch {
	case replicas >= most && unavailable > 0:
		f.Message += fmt.Sprintf(", so up to %s that the rollout takes away are not made up for, and pods may wait", machines(min(unavailable, replicas)))
		f.Remedy = raise
		if surge > 0 && replicas > 1 {
			f.Remedy += fmt.Sprintf("; or set %s to 0%s, where the provider has quota and room for %s", p.setting("strategy.maxUnavailable", p.fields.MaxUnavailable), p.byHand(), machines(replicas+surge))
		}
	case replicas+surge > most:
		f.Message += fmt.Sprintf("; the rollout makes up to %s, more than the maximum, which counts replicas alone", machines(replicas+surge))
		f.Remedy = fmt.Sprintf("%s, or go on, if the provider has quota and room for %s", raise, machines(replicas+surge))
		if replicas < most { // a surge of 0 would want machines to be away
			f.Remedy += fmt.Sprintf("; otherwise lower %s to %d%s", p.setting("strategy.maxSurge", p.fields.MaxSurge), most-replicas, p.byHand())
		}
	default:
		f.Severity = Pass
	}
	c.add(f)
}

// unhealthy tells of machines that are not as they should be before the
// rollout begins: what ails them may ail the new ones. While another rollout
// moves, machines come and go, and that says nothing; nor does it where the pool
// is being deleted.
func (c *checker) unhealthy(p *pool) {
	if p.leaves() {
		return
	}
	var ailing, leaving []capi.Machine
	for _, m := range p.rollout.Machines {
		switch {
		case m.Deleting:
			leaving = append(leaving, m)
		case !m.Ready:
			ailing = append(ailing, m)
		}
	}
	if moves := p.rollout.Old > 0 && len(p.rollout.Stalls) == 0; moves || len(ailing)+len(leaving) == 0 {
		c.pass(CheckUnhealthy, p.ref, "no machine of the pool is known to be unhealthy")
		return
	}
	_, unavailable := p.fenceposts(p.wanted, p.rollout.Desired)
	mends := "this upgrade"
	if p.back != nil {
		mends = "going back"
	}
	f := Finding{Code: CheckUnhealthy, Severity: Warn, Object: p.ref,
		Remedy: "find out why (nodepool status, kubectl describe machine), mend it, then plan again. If you go on, what ails them may ail the new machines as well, and the rollout stalls; go on where " + mends + " is what mends them"}
	var said []string
	if n := len(ailing); n > 0 {
		oldest := slices.MinFunc(ailing, func(a, b capi.Machine) int { return cmp.Compare(a.Created, b.Created) })
		words := fmt.Sprintf("%d of %s of %s %s not ready; the oldest is %s, made at %s", n, machines(len(p.rollout.Machines)), p.ref, isOrAre(n), machineRef(oldest), oldest.Created)
		if oldest.Waiting != "" {
			words += ", which waits for " + oldest.Waiting
		}
		said = append(said, words)
		after := "Cluster API tries to delete them first, once a new machine is ready"
		if unavailable > 0 {
			after = fmt.Sprintf("Cluster API tries to delete them first; they count among the %d that may be away, so the others may have to wait for new machines", unavailable)
		}
		said = append(said, after)
	}
	if n := len(leaving); n > 0 {
		since := func(m capi.Machine) string {
			if o, ok := c.snap.Object(machineRef(m)); ok && o.GetDeletionTimestamp() != nil {
				return o.GetDeletionTimestamp().UTC().Format("2006-01-02T15:04:05Z")
			}
			return ""
		}
		oldest := slices.MinFunc(leaving, func(a, b capi.Machine) int { return cmp.Compare(since(a), since(b)) })
		words := fmt.Sprintf("%s of %s %s being deleted and still there, the oldest is %s, since %s", machines(n), p.ref, isOrAre(n), machineRef(oldest), since(oldest))
		if oldest.Waiting != "" {
			words += ", which waits for " + oldest.Waiting
		}
		said = append(said, words)
	}
	f.Message = strings.Join(said, ". ")
	c.add(f)
}

// healthChecks selects the MachineHealthChecks of a cluster. Each has the
// cluster's label, by admission.
func healthChecks(cluster Ref) Selector {
	return Selector{Ref: Ref{Group: capi.Group, Kind: "MachineHealthCheck", Namespace: cluster.Namespace},
		Label: capi.ClusterNameLabel, LabelValue: cluster.Name, Optional: true}
}

// health holds the MachineHealthChecks that will see to the pool's new machines
// against what these need: time to start, and a limit that leaves room for the
// machines that are on the way.
func (c *checker) health(p *pool) {
	sel := healthChecks(capi.RefOf(p.cluster))
	if why, unread := c.snap.Unread(sel); unread {
		c.notVerified(CheckHealth, p.ref, why)
		return
	}
	labels := map[string]string{}
	if made, _, err := unstructured.NestedStringMap(p.wanted.Object, "spec", "template", "metadata", "labels"); err == nil {
		maps.Copy(labels, made)
	}
	labels[capi.ClusterNameLabel], labels[capi.DeploymentNameLabel] = p.cluster.GetName(), p.ref.Name
	surge, unavailable := p.fenceposts(p.wanted, p.rollout.Desired)
	moving := surge + min(unavailable, p.rollout.Desired)
	lower := ""
	if moving > 1 { // with one on the way there is nothing to lower
		lower = "; or lower " + p.setting("strategy.maxSurge", p.fields.MaxSurge) + " and " + p.setting("maxUnavailable", p.fields.MaxUnavailable) + p.byHand()
	}
	var passed []string
	warned := false
	if c.checks == nil {
		c.checks = c.snap.List(sel) // the same for all pools
	}
	var checks []capi.HealthCheck
	for _, obj := range c.checks {
		if h := capi.HealthCheckOf(obj); capi.StringAt(obj, "spec", "clusterName") == p.cluster.GetName() && h.Selects(labels) {
			checks = append(checks, h)
		}
	}
	took, of := time.Duration(0), 0
	if len(checks) > 0 {
		took, of = p.startup(c.snap)
	}
	for _, h := range checks {
		warn := func(message, remedy string) {
			warned = true
			c.add(Finding{Code: CheckHealth, Severity: Warn, Object: h.Ref, Message: message, Remedy: remedy})
		}
		said := fmt.Sprintf("%s never deletes a machine of the pool for want of a node", h.Ref)
		if h.Startup > 0 {
			said = fmt.Sprintf("%s gives a new machine %s to its node", h.Ref, h.Startup)
			if of > 0 {
				said += fmt.Sprintf(", and those of the pool took %s", took)
			}
		}
		unhealthy, all := max(0, h.Expected-h.Healthy)+moving, h.Expected+surge
		switch {
		case h.Startup > 0 && took > h.Startup:
			present := fmt.Sprintf("half of the %s of %s took %s or longer", machines(of), p.ref, took)
			if of == 1 {
				present = fmt.Sprintf("the one machine of %s took %s", p.ref, took)
			}
			warn(fmt.Sprintf("%s deletes a new machine that has no node %s after its infrastructure is ready, and %s: new ones may be deleted before they have joined, again and again, and the rollout never ends",
				h.Ref, h.Startup, present),
				"raise its spec.checks.nodeStartupTimeoutSeconds (v1beta1: spec.nodeStartupTimeout) above that, or pause it for the time of the rollout (annotation "+capi.PausedAnnotation+"); then plan again")
		case !h.Remediates(unhealthy, all):
			warn(fmt.Sprintf("%s replaces unhealthy machines only with %s. During this rollout up to %d of %s count as unhealthy, new ones without a node among them, so it replaces none: a new machine that fails stays",
				h.Ref, h.Limit, unhealthy, machines(all)),
				"watch the rollout and delete a new machine that fails yourself"+lower+"; or raise its limit for the time of the rollout, spec.remediation.triggerIf (v1beta1: maxUnhealthy, unhealthyRange), then plan again")
		default:
			passed = append(passed, said)
		}
	}
	switch {
	case warned:
	case len(passed) > 0:
		c.pass(CheckHealth, p.ref, strings.Join(passed, "; "))
	default:
		c.pass(CheckHealth, p.ref, "no MachineHealthCheck is known to select the pool's machines")
	}
}

func machineRef(m capi.Machine) Ref {
	return Ref{Group: capi.Group, Kind: "Machine", Namespace: m.Namespace, Name: m.Name}
}

// startup gives how long machines of the pool took to their nodes, and how many
// told.
func (p *pool) startup(snap Snapshot) (time.Duration, int) {
	return capi.StartupOf(func(yield func(*unstructured.Unstructured) bool) {
		for _, m := range p.rollout.Machines {
			if o, ok := snap.Object(machineRef(m)); ok && !yield(o) {
				return
			}
		}
	})
}
