package plan

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// The codes of the preflight checks. They are stable: pipelines read them.
const (
	CheckCluster             = "cluster"
	CheckClusterPaused       = "cluster-paused"
	CheckClusterAvailable    = "cluster-available"
	CheckMachineDeployment   = "machinedeployment"
	CheckPaused              = "machinedeployment-paused"
	CheckTopology            = "topology-owned"
	CheckTemplates           = "templates"
	CheckControlPlane        = "control-plane-updated"
	CheckVersion             = "version-skew"
	CheckImage               = "image-matches-version"
	CheckImageExists         = "image-exists"
	CheckImageType           = "image-matches-type"
	CheckInstanceType        = "instance-type"
	CheckQuota               = "instance-quota"
	CheckRollout             = "rollout-under-way"
	CheckStrategy            = "strategy"
	CheckReplicas            = "replicas"
	CheckAutoscaler          = "autoscaler"
	CheckInfrastructureReuse = "infrastructure-template"
	CheckHold                = "held-by-run"
	CheckCanary              = "canary"
	// CheckUnfinished says whether a run that was begun stands in a plan's way.
	CheckUnfinished = "unfinished-run"
	// CheckRights says whether who plans could apply.
	CheckRights = "rights"
	// CheckServer is what the API server says of a write before it is made.
	CheckServer = "server-validation"
)

// checkCodes lists the codes in the order in which checks are made and shown.
func checkCodes() []string {
	return []string{CheckCluster, CheckClusterPaused, CheckClusterAvailable, CheckMachineDeployment, CheckPaused, CheckTopology,
		CheckTemplates, CheckControlPlane, CheckVersion, CheckImage, CheckImageExists, CheckImageType, CheckInstanceType, CheckQuota,
		CheckInfrastructureReuse, CheckRollout,
		CheckStrategy, CheckReplicas, CheckAutoscaler, CheckRoom, CheckUnhealthy, CheckHealth, CheckBootstrapEdited, CheckImagesDiffer,
		CheckInPlace, CheckFieldManagers, CheckHold, CheckCanary}
}

// check answers every preflight check, for the cluster and for each pool that
// is there. A pool that is as wanted and complete is asked for its cluster
// alone: what would stand in the way of a change is of no matter to it.
func check(up schema.Upgrade, pools []*pool, snap Snapshot) (findings []Finding, blocked bool) {
	c := checker{snap: snap, name: up.Metadata.Name, upgrade: up.Spec.Pools, catalogue: up.Image,
		findings: make([]Finding, 0, (len(pools)+1)*len(checkCodes()))}
	clusterRef := clusterRefOf(up)
	cluster, ok := snap.Object(clusterRef)
	if !ok {
		c.add(Finding{Code: CheckCluster, Severity: Block, Object: clusterRef,
			Message: fmt.Sprintf("%s does not exist in this management cluster (spec.cluster of the upgrade)", clusterRef),
			Remedy:  "check that the kubeconfig is the management cluster's, and set spec.cluster to a cluster that it has" + nearestCluster(clusterRef, snap.List(clustersAnywhere()))})
		return c.findings, c.blocked
	}
	c.cluster(cluster, !slices.ContainsFunc(pools, func(p *pool) bool { return !p.idle() }))
	for _, p := range pools {
		c.pool = p.spec.Name
		if p.md == nil {
			c.absent(p, clusterRef)
			continue
		}
		c.machineDeployment(p)
		if p.wanted == nil { // a pool of another cluster
			continue
		}
		if p.idle() {
			c.lostTemplates(p, Warn)
			continue
		}
		c.holds(p)
		c.templates(p)
		if p.asWanted() {
			if !p.rollout.Complete {
				c.rolling(p)
			}
			continue
		}
		c.controlPlane(p)
		c.version(p)
		c.image(p)
		c.contract(p)
		c.provider(p)
		if p.hold != nil {
			c.hold(p)
		} else {
			c.rollout(p)
		}
		c.machines(p)
		c.canary(p)
		c.latent(p)
		c.fieldManagers(p)
	}
	c.workload(up, pools)
	return c.findings, c.blocked
}

// idle reports whether the pool is as wanted and its rollout is complete, so
// that nothing will be done to it.
func (p *pool) idle() bool {
	return p.md != nil && p.wanted != nil && p.rollout.Complete && p.asWanted() && !p.unknown()
}

// asWanted reports whether there is nothing to write to the MachineDeployment.
func (p *pool) asWanted() bool {
	return len(changesBetween("", p.md.Object, p.wanted.Object)) == 0
}

// unknown reports whether the upgrade asks something of a template that is not
// there: then nobody can tell whether the pool is as wanted.
func (p *pool) unknown() bool {
	if p.back != nil {
		return false // the way back goes by the names of templates
	}
	return p.infra.missing() && p.asksInfrastructure() || p.bootstrap.missing() && len(p.spec.Bootstrap) > 0
}

// foreign reports whether the MachineDeployment belongs to another cluster than
// the upgrade's.
func (p *pool) foreign() bool {
	return capi.StringAt(p.md, "spec", "clusterName") != p.cluster.GetName()
}

// leaves reports whether the pool is being deleted, alone or with its cluster.
func (p *pool) leaves() bool {
	return p.md.GetDeletionTimestamp() != nil || p.cluster.GetDeletionTimestamp() != nil
}

type checker struct {
	snap    Snapshot
	checks  []*unstructured.Unstructured // the MachineHealthChecks, once they were listed
	name    string                       // of the upgrade
	back    bool                         // a plan is taken back
	upgrade []schema.Pool
	// catalogue gives what the upgrade says of an image.
	catalogue func(image string) (schema.Image, bool)
	pool      string // the one that is checked, empty while the cluster is
	findings  []Finding
	blocked   bool
}

// wordsBack puts a remedy into the words of a rollback: there is no plan to make
// again, and no upgrade file to take a pool out of.
var wordsBack = strings.NewReplacer(
	"remove the pool from the upgrade, then plan again", "take the other pools back alone, with --pool NAME",
	"remove the pool from this upgrade and plan again", "take the other pools back alone, with --pool NAME",
	"plan again", "roll back again")

func (c *checker) add(f Finding) {
	if f.NotVerified {
		f.Severity = NotVerified
	}
	if (f.Severity == Warn || f.Severity == Block) && f.Waived == "" {
		f.Waived = c.waived(f.Code)
	}
	c.addFirm(f)
}

// addFirm adds a finding that no waiver touches, though its check has some that
// can be waived (Check.FirmIn). Its message says so.
func (c *checker) addFirm(f Finding) {
	f.Pool = c.pool
	if c.back {
		f.Remedy = wordsBack.Replace(f.Remedy)
	}
	if f.blocks() && c.pool == "" {
		f.Remedy += c.waivedInPart(f.Code)
	}
	c.blocked = c.blocked || f.blocks()
	c.findings = append(c.findings, f)
}

// waived gives the reason for which a check does not count for the pool. One
// of the cluster does not count when no pool of the upgrade wants it to.
func (c *checker) waived(code string) string {
	reason := ""
	for _, spec := range c.upgrade {
		if c.pool != "" && spec.Name != c.pool {
			continue
		}
		if reason = waives(spec, code); reason == "" {
			return ""
		}
	}
	return reason
}

// waivedInPart tells of a check of the cluster that some pools waive, and others
// do not; it is empty where none does.
func (c *checker) waivedInPart(code string) string {
	var by, without []string
	for _, spec := range c.upgrade {
		if reason := waives(spec, code); reason != "" {
			by = append(by, fmt.Sprintf("%s (%s)", spec.Name, reason))
		} else {
			without = append(without, spec.Name)
		}
	}
	if len(by) == 0 {
		return ""
	}
	return fmt.Sprintf(". It is waived by %s, and not by %s: a check of the cluster is waived by every pool of the upgrade or not at all",
		SomeOf(by), SomeOf(without))
}

// SomeOf gives names, the first of many.
func SomeOf(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (c *checker) pass(code string, obj Ref, message string) {
	c.add(Finding{Code: code, Severity: Pass, Object: obj, Message: message})
}

// cluster checks the Cluster object. Idle tells that no pool has anything to
// be done, so that a pause is of no matter.
func (c *checker) cluster(cluster *unstructured.Unstructured, idle bool) {
	ref := capi.RefOf(cluster)
	if cluster.GetDeletionTimestamp() != nil {
		c.add(Finding{Code: CheckCluster, Severity: Block, Object: ref, Message: ref.String() + " is being deleted, and its machines with it",
			Remedy: "do not upgrade it; a deletion that has begun cannot be taken back. If it was not meant, tell the owner of the cluster now"})
	} else {
		c.pass(CheckCluster, ref, ref.String()+" exists")
	}
	_, annotated := cluster.GetAnnotations()[capi.PausedAnnotation]
	switch {
	case idle:
	case capi.BoolAt(cluster, "spec", "paused"):
		c.add(Finding{Code: CheckClusterPaused, Severity: Block, Object: ref,
			Message: ref.String() + " is paused (spec.paused is true): nothing in it moves, and a change that is written now rolls whenever somebody ends the pause",
			Remedy:  "find out who paused it and why; once it may move again, set spec.paused to false, then plan again"})
	case annotated:
		// Cluster API asks each object for its own annotation, and the Cluster
		// for spec.paused alone (util/annotations, IsPaused).
		c.add(Finding{Code: CheckClusterPaused, Severity: Warn, Object: ref,
			Message: fmt.Sprintf("%s has the annotation %s, which pauses that object alone: its pools roll all the same", ref, capi.PausedAnnotation),
			Remedy:  "find out who set it and why. If the whole cluster was meant to rest, do not apply: wait until it may move again, then plan again"})
	default:
		c.pass(CheckClusterPaused, ref, "the cluster is not paused")
	}
	if !idle {
		c.available(cluster)
	}
}

// available tells whether machines can come up in the cluster.
func (c *checker) available(cluster *unstructured.Unstructured) {
	f := Finding{Code: CheckClusterAvailable, Severity: Warn, Object: capi.RefOf(cluster)}
	state := capi.ClusterStateOf(cluster)
	switch {
	case !state.Told:
		c.notVerified(CheckClusterAvailable, f.Object, "the Cluster has no status in what was read")
		return
	case len(state.Lacking) > 0:
		f.Severity = Block
		if c.back {
			f.Severity = Warn
		}
		f.Message = fmt.Sprintf("%s cannot take machines yet: %s. Bootstrap and infrastructure providers wait for that before they make one, so a rollout would stand still at its first machine", f.Object, strings.Join(state.Lacking, ", and "))
		f.Remedy = "look at the conditions of the objects that its spec.infrastructureRef and spec.controlPlaneRef name, wait until they are ready, then plan again"
	case len(state.Unwell) > 0:
		f.Message = fmt.Sprintf("%s is not well: %s. Meanwhile new machines may not join and old ones may not be drained, so the rollout may stall", f.Object, strings.Join(state.Unwell, "; "))
		f.Remedy = "mend what the condition names, wait until it is True, then plan again"
	default:
		c.pass(CheckClusterAvailable, f.Object, "the cluster's infrastructure and control plane are available")
		return
	}
	c.add(f)
}

func (c *checker) absent(p *pool, cluster Ref) {
	if pool, ok := c.snap.Object(p.machinePool().Ref); ok {
		c.add(Finding{Code: CheckMachineDeployment, Severity: Block, Object: capi.RefOf(pool),
			Message: fmt.Sprintf("%s is a MachinePool, and nodepool upgrades MachineDeployments: the provider of a MachinePool replaces the machines itself, without templates to rotate", p.spec.Name),
			Remedy:  "remove the pool from the upgrade; change spec.template.spec.version of the MachinePool, and the object that its infrastructureRef names, directly"})
		return
	}
	c.add(Finding{Code: CheckMachineDeployment, Severity: Block, Object: p.ref,
		Message: fmt.Sprintf("%s does not exist", p.ref),
		Remedy:  "correct the pool's name in spec.pools" + nearest(p.spec.Name, c.snap.List(machineDeploymentsOf(cluster)))})
}

// nearestCluster is nearest for clusters of all namespaces: the namespace may
// be what is wrong.
func nearestCluster(wanted Ref, objs []*unstructured.Unstructured) string {
	names := make([]string, len(objs))
	for i, o := range objs {
		names[i] = o.GetNamespace() + "/" + o.GetName()
	}
	return nearestName(wanted.Namespace+"/"+wanted.Name, names)
}

// nearest lists the names that there are, the most alike first.
func nearest(wanted string, objs []*unstructured.Unstructured) string {
	names := make([]string, len(objs))
	for i, o := range objs {
		names[i] = o.GetName()
	}
	return nearestName(wanted, names)
}

func nearestName(wanted string, names []string) string {
	if len(names) == 0 {
		return "; none is visible"
	}
	slices.SortStableFunc(names, func(a, b string) int { return schema.Distance(wanted, a) - schema.Distance(wanted, b) })
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("; there are %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return fmt.Sprintf("; there %s %s", isOrAre(len(names)), strings.Join(names, ", "))
}

func wasOrWere(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func (c *checker) machineDeployment(p *pool) {
	if p.foreign() {
		c.add(Finding{Code: CheckMachineDeployment, Severity: Block, Object: p.ref,
			Message: fmt.Sprintf("%s belongs to the cluster %s (spec.clusterName), not to %s", p.ref, capi.StringAt(p.md, "spec", "clusterName"), p.cluster.GetName()),
			Remedy:  "correct spec.cluster of the upgrade, or the pool's name"})
	} else if p.md.GetDeletionTimestamp() != nil {
		c.add(Finding{Code: CheckMachineDeployment, Severity: Block, Object: p.ref, Message: p.ref.String() + " is being deleted, and its machines with it",
			Remedy: "remove the pool from the upgrade, then plan again"})
	} else if wrong := validation.IsValidLabelValue(p.ref.Name); len(wrong) > 0 {
		// The webhook refuses every change of such an object; it may be older than
		// the webhook (internal/webhooks/machinedeployment.go, validate).
		c.add(Finding{Code: CheckMachineDeployment, Severity: Block, Object: p.ref,
			Message: fmt.Sprintf("the name of %s is no label value, and Cluster API labels machines with it, so it refuses every change of this object: %s", p.ref, strings.Join(wrong, "; ")),
			Remedy:  "make a MachineDeployment with a shorter name, move the workload there, and put that one into the upgrade: a name cannot be changed"})
	} else {
		c.pass(CheckMachineDeployment, p.ref, p.ref.String()+" exists and belongs to the cluster")
	}
}

// holds looks for what would keep a change of the MachineDeployment from
// taking effect.
func (c *checker) holds(p *pool) {
	_, annotated := p.md.GetAnnotations()[capi.PausedAnnotation]
	switch {
	case capi.BoolAt(p.wanted, p.fields.Paused...):
		c.add(Finding{Code: CheckPaused, Severity: Block, Object: p.ref,
			Message: p.ref.String() + " is paused (spec.paused is true): it would still scale but not roll, and a change that is written now rolls whenever somebody ends the pause",
			Remedy:  "find out who paused it and why; once it may roll again, set spec.paused to false, then plan again"})
	case annotated:
		c.add(Finding{Code: CheckPaused, Severity: Block, Object: p.ref,
			Message: fmt.Sprintf("%s is paused (annotation %s): Cluster API does nothing with it, and a change that is written now rolls whenever somebody ends the pause", p.ref, capi.PausedAnnotation),
			Remedy:  "find out who paused it and why; once it may roll again, remove the annotation, then plan again"})
	case p.hold[heldPaused].Held != nil:
		c.pass(CheckPaused, p.ref, "the MachineDeployment is paused by an earlier run, and this plan ends the pause")
	default:
		c.pass(CheckPaused, p.ref, "the MachineDeployment is not paused")
	}
	if entry, owned := capi.TopologyOwned(p.md); owned {
		if f := p.ownedByTopology(entry); p.infra.create != nil || p.bootstrap.create != nil {
			c.addFirm(f)
		} else {
			c.add(f)
		}
	} else {
		c.pass(CheckTopology, p.ref, "no topology owns the MachineDeployment")
	}
}

// ownedByTopology says what the topology controller does about the change. It
// puts back what its topology or its ClusterClass sets, and nothing else (it
// applies the desired state on the server's side); but for the version of a pool
// that is being rolled (exp/topology/desiredstate, computeMachineDeploymentVersion),
// to which the preflight check ControlPlaneVersionSkew gives no machines. At a
// template that it did not make it gives the whole cluster up ("is not topology
// owned", internal/controllers/topology/cluster, current_state.go); and it deletes
// its own template with the last MachineSet that uses it
// (internal/controllers/topology/machineset).
func (p *pool) ownedByTopology(entry string) Finding {
	f := Finding{Code: CheckTopology, Severity: Block, Object: p.ref}
	changed := func(path []string) bool {
		at := PointerTo(path...)
		return !bytes.Equal(valueAt(p.md.Object, at), valueAt(p.wanted.Object, at))
	}
	version := changed(p.fields.Version)
	template := p.infra.create != nil || p.bootstrap.create != nil || changed(p.fields.InfrastructureRef) || changed(p.fields.BootstrapRef)
	// The fields of an entry are called as those of a MachineDeployment, without
	// its spec.template.spec (MachineDeploymentTopology in api/core/v1beta2 and
	// v1beta1). Both objects are read in one API version.
	pool := "spec.topology.workers.machineDeployments"
	if entry != "" {
		pool += "[name=" + entry + "]"
	}
	var fields []string
	if version {
		fields = append(fields, "spec.topology.version, for control plane and workers alike")
	}
	strategy := p.fields.StrategyType[:len(p.fields.StrategyType)-1]
	if changed(strategy) {
		fields = append(fields, pool+"."+strings.Join(strategy[1:], "."))
	}
	for _, timeout := range [][]string{p.fields.NodeDrainTimeout, p.fields.NodeVolumeDetachTimeout, p.fields.NodeDeletionTimeout} {
		if name, ok := strings.CutPrefix(strings.Join(timeout, "."), "spec.template.spec."); ok && changed(timeout) {
			fields = append(fields, pool+"."+name)
		}
	}
	if template {
		fields = append(fields, fmt.Sprintf("for what is in a template, a variable of its ClusterClass that sets it (for this pool alone: %s.variables.overrides); where the class has none, make another template and name it in the ClusterClass, for all its clusters", pool))
	}
	if len(fields) == 0 {
		fields = append(fields, pool)
	}
	f.Message = p.ref.String() + " is owned by the cluster's topology: what the topology or its ClusterClass sets is put back"
	switch {
	case p.infra.create != nil || p.bootstrap.create != nil:
		f.Message = p.ref.String() + " is owned by the cluster's topology, and the new template is not: with it named here, the topology controller does nothing more for any part of the cluster, and deletes the old template, so that there is no way back; therefore it cannot be waived"
	case version:
		f.Message += ", so that machines are replaced twice, and a version other than the topology's gets no machines at all"
	case template:
		f.Message += ", so that machines are replaced twice"
	default:
		f.Message += ", and what they do not set stays as it is written here, where the next reader of the Cluster does not see it"
	}
	f.Remedy = "change it in the Cluster instead: " + strings.Join(fields, "; and ") + "; then remove the pool from this upgrade and plan again"
	return f
}

func (c *checker) templates(p *pool) {
	lost := c.lostTemplates(p, Block)
	for _, t := range []template{p.infra, p.bootstrap} {
		if t.create != nil && len(t.create.Ref.Name) > maxName {
			c.add(Finding{Code: CheckTemplates, Severity: Block, Object: t.create.Ref,
				Message: fmt.Sprintf("the name of the new template, which begins with the pool's, would have %d characters, and %d are allowed", len(t.create.Ref.Name), maxName),
				Remedy:  "make a MachineDeployment with a shorter name, move the workload there, and put that one into the upgrade: a name cannot be changed"})
		}
		for _, taken := range t.taken {
			c.add(Finding{Code: CheckTemplates, Severity: Warn, Object: taken,
				Message: fmt.Sprintf("%s exists with other content, so the new template is named %s", taken, t.create.Ref.Name),
				Remedy:  "go on: it is left alone. Find out who made or changed it (kubectl get -o yaml, metadata.managedFields), for nodepool names templates by their content"})
		}
	}
	if !lost {
		c.pass(CheckTemplates, p.ref, "the templates that the MachineDeployment names exist")
	}
}

// lostTemplates tells of the templates that are gone or going, and whether there
// are any. To a pool that is up to date they are no block, and matter all the
// same.
func (c *checker) lostTemplates(p *pool, severity Severity) (lost bool) {
	for _, t := range []template{p.infra, p.bootstrap} {
		switch {
		case t.missing():
			lost = true
			f := Finding{Code: CheckTemplates, Severity: severity, Object: t.ref,
				Message: fmt.Sprintf("%s, which %s names, does not exist: there is nothing to copy, and Cluster API can make no machine", t.ref, p.ref),
				Remedy:  "restore the template, or point the MachineDeployment at one that exists; then plan again"}
			if severity == Warn {
				f.Message = fmt.Sprintf("%s, which %s names, does not exist: this upgrade asks nothing of it, but Cluster API can make no machine, so one that fails is not replaced", t.ref, p.ref)
			}
			c.add(f)
		case t.obj != nil && t.obj.GetDeletionTimestamp() != nil:
			lost = true
			c.add(Finding{Code: CheckTemplates, Severity: severity, Object: t.ref,
				Message: fmt.Sprintf("%s, which %s names, is being deleted: once it is gone, no machine can be made from it", t.ref, p.ref),
				Remedy:  "point the MachineDeployment at a template that stays; then plan again"})
		}
	}
	return lost
}

// maxName is the longest name of an object (RFC 1123 subdomain).
const maxName = 253

func (c *checker) controlPlane(p *pool) {
	if p.controlPlane == nil {
		ref, ok := capi.ReferenceAt(p.cluster, "spec", "controlPlaneRef")
		switch {
		case ok && p.makesNow():
			c.add(Finding{Code: CheckControlPlane, Severity: Block, Object: ref,
				Message: ref.String() + ", which the cluster names as its control plane, does not exist: Cluster API makes no worker machine without it",
				Remedy:  "restore it, or correct Cluster.spec.controlPlaneRef; then plan again"})
		case ok:
			c.add(Finding{Code: CheckControlPlane, Severity: Warn, Object: ref,
				Message: ref.String() + ", which the cluster names as its control plane, does not exist. No machine has to be made for this change, and none could be",
				Remedy:  "restore it, or correct Cluster.spec.controlPlaneRef; then plan again. If you go on, machines that fail are not replaced"})
		default:
			c.add(Finding{Code: CheckControlPlane, Severity: Warn, Object: capi.RefOf(p.cluster),
				Message: fmt.Sprintf("%s names no control plane object (spec.controlPlaneRef), so versions could not be compared: machines that are newer than their control plane may not join", capi.RefOf(p.cluster)),
				Remedy:  p.askAPIServer()})
		}
		return
	}
	ref := capi.RefOf(p.controlPlane)
	cp := capi.ControlPlaneOf(p.controlPlane).Under(p.cluster)
	unsettled := Finding{Code: CheckControlPlane, Severity: Warn, Object: ref,
		Message: fmt.Sprintf("%s is not fully updated: %s. ", ref, cp.Unsettled),
		Remedy:  "wait until the control plane has finished, then plan again"}
	switch {
	case cp.Version == "":
		c.add(Finding{Code: CheckControlPlane, Severity: Warn, Object: ref,
			Message: ref.String() + " reports no version (spec.version), so versions could not be compared: machines that are newer than their control plane may not join",
			Remedy:  p.askAPIServer()})
		return
	case cp.Unsettled == "":
		c.pass(CheckControlPlane, ref, fmt.Sprintf("%s is at %s, all of it", ref, cp.Version))
		return
	case !cp.Unstable:
		unsettled.Message += "Cluster API makes worker machines all the same; if more of the control plane fails meanwhile, they do not join"
		unsettled.Remedy = "repair the control plane, or wait until it has finished; then plan again"
	case !p.makesNow():
		unsettled.Message += "No machine has to be made for this change, and none could be"
		unsettled.Remedy = "go on if the pool can do without a machine that fails meanwhile; otherwise wait until the control plane has finished, then plan again"
	case p.skips(capi.ControlPlaneIsStable):
		unsettled.Message += "The pool skips the check that would hold its machines back, so they may be newer than an API server that they join"
	default:
		unsettled.Severity = Block
		unsettled.Message += fmt.Sprintf("Cluster API makes no worker machine meanwhile (its preflight check %s)", capi.ControlPlaneIsStable)
		unsettled.Remedy = "wait until the control plane has finished, or repair it; then plan again"
		if capi.IsMinor(cp.Running) && capi.MinorOf(cp.Running) == capi.MinorOf(cp.Version) {
			unsettled.Remedy += fmt.Sprintf(". If its provider reports minor versions alone, it will not: set its spec.version to %s", capi.MinorOf(cp.Version))
		}
	}
	c.add(unsettled)
}

// askAPIServer says what to do where no object reports the control plane's
// version.
func (p *pool) askAPIServer() string {
	remedy := "ask the API server of the workload cluster for its version (kubectl version) and go on if it is not older than the pool's"
	if to := capi.StringAt(p.wanted, p.fields.Version...); to != "" {
		remedy = fmt.Sprintf("ask the API server of the workload cluster for its version (kubectl version) and go on if it is %s or newer", to)
	}
	return remedy
}

// makesNow reports whether Cluster API has to make machines for the change. Its
// preflight checks hold that up and nothing else.
func (p *pool) makesNow() bool {
	return p.makes() && (p.rolls() || p.hold != nil) && !p.empty()
}

// empty reports whether the pool is to have no machines. Manifests that leave
// replicas out say nothing of them.
func (p *pool) empty() bool {
	n, ok := capi.Int64At(p.md, "spec", "replicas")
	return ok && n == 0
}

// skips reports whether the pool switches a MachineSet preflight check of
// Cluster API off, on the MachineDeployment or, where its release reads that,
// on the bootstrap template.
func (p *pool) skips(check string) bool {
	list := p.md.GetAnnotations()[capi.SkipPreflightAnnotation]
	if list == "" && p.bootstrap.obj != nil && capi.ReadsTemplateSkips(p.md) {
		list = p.bootstrap.obj.GetAnnotations()[capi.SkipPreflightAnnotation]
	}
	return capi.SkipsPreflight(list, check)
}

// skewed is how the version that the pool is to have goes with its control plane.
type skewed struct {
	capi.Skew
	// against is the control plane's version that it is compared with.
	against string
	// refused names the checks of Cluster API that refuse to make the pool's
	// machines; none when the pool skips them, or no check is against it.
	refused []string
	// words says that Cluster API makes no such machines, or why it does.
	words string
}

// skew is skewAt for the version that the pool is to have.
func (p *pool) skew() (s skewed, known bool, err error) {
	return p.skewAt(capi.StringAt(p.wanted, p.fields.Version...))
}

// skewAt compares a version of the pool with the one that its control plane is
// to have, as Cluster API does, and with the one that it still runs, as the
// Kubernetes policy has it, where machines are made meanwhile. Known is false
// where there is nothing to compare.
func (p *pool) skewAt(version string) (s skewed, known bool, err error) {
	if p.controlPlane == nil || version == "" {
		return s, false, nil
	}
	cp := capi.ControlPlaneOf(p.controlPlane).Under(p.cluster)
	if cp.Version == "" {
		return s, false, nil
	}
	kubeadm := capi.JoinsByKubeadm(p.bootstrap.ref)
	s.against = cp.Version
	if s.Skew, err = capi.SkewOf(version, cp.Version, kubeadm); err != nil {
		return s, true, err
	}
	var checks []string
	s.Skew, checks = s.InTopology(p.cluster, version, cp.Version, kubeadm)
	for _, check := range checks {
		if !p.skips(check) {
			s.refused = append(s.refused, check)
		}
	}
	switch {
	case len(s.refused) > 0:
		s.words = fmt.Sprintf("Cluster API would make no machine (its preflight %s)", checksOf(s.refused))
		if p.bootstrap.obj != nil && p.bootstrap.obj.GetAnnotations()[capi.SkipPreflightAnnotation] != "" && !capi.ReadsTemplateSkips(p.md) {
			s.words += fmt.Sprintf("; the annotation %s of a bootstrap template is read from v1.14 on, and this Cluster API seems to be older", capi.SkipPreflightAnnotation)
		}
	case len(checks) > 0:
		s.words = fmt.Sprintf("The pool skips Cluster API's %s, so machines are made all the same", checksOf(checks))
	case s.Skew == capi.OldKubelet:
		s.words = "Cluster API v1.10 and older makes no such machine, newer ones do"
	case cp.Unstable && p.skips(capi.ControlPlaneIsStable):
		if running, err := capi.SkewOf(version, cp.Running, false); err == nil && running == capi.NewerMinor {
			s.Skew, s.against = running, cp.Running
			s.words = fmt.Sprintf("The pool skips Cluster API's check %s, so machines are made before the control plane is at %s",
				capi.ControlPlaneIsStable, cp.Version)
		}
	}
	return s, true, nil
}

// mayHave reports whether CheckVersion would have nothing against the pool at
// version, so that a remedy may offer it.
func (p *pool) mayHave(version string) bool {
	s, known, err := p.skewAt(version)
	return err == nil && (!known || s.Skew == capi.NoSkew) && !capi.Older(version, capi.StringAt(p.md, p.fields.Version...))
}

func (c *checker) version(p *pool) {
	if !p.rolls() && p.hold == nil {
		return // no machine is made, so none can be refused
	}
	version := capi.StringAt(p.wanted, p.fields.Version...)
	s, known, err := p.skew()
	f := Finding{Code: CheckVersion, Severity: Warn, Object: p.ref}
	if p.makesNow() && (err != nil || len(s.refused) > 0) {
		f.Severity = Block
	}
	back, goesBack := p.downgrade()
	switch {
	case err != nil:
		f.Object, f.Message, f.Remedy = p.unreadable(err)
		c.add(f)
		return
	case goesBack && s.Skew == capi.NoSkew:
		c.add(back)
		return
	case !known: // nothing to compare with
		return
	}
	ref := capi.RefOf(p.controlPlane)
	switch s.Skew {
	case capi.NoSkew:
		c.pass(CheckVersion, p.ref, fmt.Sprintf("%s goes with the control plane's %s", version, s.against))
		return
	case capi.NewerMinor:
		f.Message = fmt.Sprintf("%s is newer than the control plane %s, which is at %s: workers must not be ahead. %s", version, ref, s.against, s.words)
		f.Remedy = p.behindIt(version, s.against)
	case capi.TooOld:
		f.Message = fmt.Sprintf("%s is too far behind the control plane's %s: workers may be at most three minor versions behind. %s", version, s.against, s.words)
		f.Remedy = fmt.Sprintf("set kubernetesVersion to %s", settable(s.against))
	case capi.KubeadmMinor:
		f.Message = fmt.Sprintf("machines at %s cannot join under a control plane at %s: a machine that joins by kubeadm must have the control plane's minor version. %s",
			version, s.against, s.words)
		f.Remedy = fmt.Sprintf("set kubernetesVersion to %s in the same upgrade, with an image that carries it", settable(s.against))
	case capi.OtherVersion:
		f.Message = fmt.Sprintf("%s is not the control plane's %s: in a cluster with a topology, machines are made only at that very version. %s", version, s.against, s.words)
		f.Remedy = fmt.Sprintf("set kubernetesVersion to %s", s.against)
	case capi.OldKubelet:
		f.Message = fmt.Sprintf("%s is too far behind the control plane's %s: before v1.25, workers may be at most two minor versions behind. %s", version, s.against, s.words)
		f.Remedy = fmt.Sprintf("set kubernetesVersion to %s", settable(s.against))
	case capi.NewerPatch:
		f.Message = fmt.Sprintf("%s is a newer patch release than the control plane's %s: machines are made, and their kubelet is newer than its API server, which the Kubernetes version skew policy does not allow", version, s.against)
		f.Remedy = fmt.Sprintf("set kubernetesVersion to %s, or upgrade the control plane first", s.against)
	}
	if p.empty() && len(s.refused) > 0 {
		f.Message += ". The pool has no machines now, so the change itself goes through; scaled up, it gets none"
	}
	c.add(f)
	if goesBack && f.Severity == Warn {
		c.add(back)
	}
}

// behindIt says how a pool that is to have version does not get ahead of its
// control plane, which is at controlPlane.
func (p *pool) behindIt(version, controlPlane string) string {
	set := "set kubernetesVersion to " + settable(controlPlane)
	present, cp := capi.StringAt(p.md, p.fields.Version...), capi.ControlPlaneOf(p.controlPlane)
	onItsWay, err := capi.SkewOf(version, cp.Version, false)
	ahead, ok := capi.MinorsAhead(version, controlPlane)
	if !ok {
		return set + ": no control plane gets from there to " + capi.MinorOf(version)
	}
	if err == nil && onItsWay != capi.NewerMinor {
		return fmt.Sprintf("wait until the control plane is at %s, then plan again; or %s", cp.Version, set)
	}
	if now, err := capi.SkewOf(present, version, false); err == nil && (now == capi.TooOld || now == capi.OldKubelet) {
		return fmt.Sprintf("%s first: the pool's machines, at %s, would be too far behind a control plane at %s", set, present, capi.MinorOf(version))
	}
	first := version
	if capi.IsMinor(controlPlane) {
		first = capi.MinorOf(version)
	}
	if ahead > 1 {
		first += " (one minor version at a time)"
	}
	return fmt.Sprintf("upgrade the control plane to %s first, or %s", first, set)
}

// downgrade warns of a version that is older than the pool's present one. A
// rollback does not come here: it goes back on purpose, to what ran before, and
// an emergency must not wait.
//
// Kubernetes has no rule against an older kubelet within the skew policy, and
// describes and tests upgrades alone (kubernetes.io/releases/version-skew-policy,
// "Supported component upgrade order"; kubernetes/website issue 12327). What is
// not supported, a minor change of a kubelet in place, does not happen here:
// machines are replaced.
func (p *pool) downgrade() (Finding, bool) {
	from, to := capi.StringAt(p.md, p.fields.Version...), capi.StringAt(p.wanted, p.fields.Version...)
	if !capi.Older(to, from) {
		return Finding{}, false
	}
	f := Finding{Code: CheckVersion, Severity: Warn, Object: p.ref,
		Message: fmt.Sprintf("the version of %s (%s) goes back from %s to %s: new machines lack the fixes that came between them", p.ref, strings.Join(p.fields.Version, "."), from, to),
		Remedy:  "check that kubernetesVersion is what you mean, and that none of the fixes is needed. To take an earlier run back, use nodepool rollback: it keeps the old machines that are still there"}
	if capi.MinorOf(from) != capi.MinorOf(to) {
		f.Message += fmt.Sprintf(", and the features. Kubernetes tests and documents upgrades, and not the way back from %s to %s", capi.MinorOf(from), capi.MinorOf(to))
		f.Remedy = strings.Replace(f.Remedy, "none of the fixes is needed", "no workload needs what is newer", 1)
	}
	return f, true
}

// unreadable tells of a version that SkewOf could not read: which object has it,
// where, and what follows. Cluster API fails on it as well, with an error
// (internal/controllers/machineset/machineset_preflight.go).
func (p *pool) unreadable(err error) (obj Ref, message, remedy string) {
	obj, at, version := p.ref, strings.Join(p.fields.Version, "."), ""
	remedy = "set kubernetesVersion to a version such as v1.35.2"
	if wrong := (*capi.VersionError)(nil); errors.As(err, &wrong) {
		version = wrong.Version
		if wrong.OfControlPlane {
			obj, at = capi.RefOf(p.controlPlane), "spec.version"
			remedy = fmt.Sprintf("correct %s of %s to a version such as v1.35.2, then plan again", at, obj)
		}
	}
	return obj, fmt.Sprintf("%s of %s is %q, which is no version that can be read: whether the pool's machines go with their control plane is not known, and Cluster API, which cannot read it either, makes none",
		at, obj, version), remedy
}

// checksOf names checks of Cluster API.
func checksOf(names []string) string {
	word := "check "
	if len(names) > 1 {
		word = "checks "
	}
	return word + strings.Join(names, " and ")
}

// settable names a version to set. A managed control plane may report its minor
// version alone: any release of that will do.
func settable(version string) string {
	if capi.IsMinor(version) {
		return "a release of " + capi.MinorOf(version)
	}
	return version
}

// image holds version and image against each other: a machine whose image
// carries another version than the pool asks for cannot join. What nobody looked
// at does not pass: it warns where the reviewer can find out or tell, and is not
// verified where the change says nothing of images.
func (c *checker) image(p *pool) {
	if p.infra.obj == nil {
		return
	}
	from, to := capi.StringAt(p.md, p.fields.Version...), capi.StringAt(p.wanted, p.fields.Version...)
	seen := c.known(p)
	field, known := capi.ImageField(p.infra.obj)
	m, _ := p.machine()
	changed := p.infra.create != nil && (!known || changesField(p.infra.changes, field))
	kind := p.infra.ref.Kind
	f := Finding{Code: CheckImage, Severity: Warn, Object: p.infra.ref}
	switch {
	case seen.version != "" && to != "" && !capi.SameKubernetes(seen.version, to):
		c.otherVersion(p, seen, to)
	case seen.conflict != "":
		f.Message, f.Remedy = seen.conflict, "find out which of the two is right, and correct spec.images or what the provider says of the image; then plan again"
	case seen.version != "" && to != "" && seen.pinned:
		c.pass(CheckImage, p.infra.ref, fmt.Sprintf("%s carries %s, by %s", seen.image, seen.version, seen.versionFrom))
	case from == to && !changed:
		c.pass(CheckImage, p.infra.ref, "neither the version nor the image changes")
	case !known && capi.KnowsImages(kind):
		c.pass(CheckImage, p.infra.ref, fmt.Sprintf("machines of %s have no image", p.infra.ref))
	case !known && from == to:
		c.notVerified(CheckImage, p.infra.ref, fmt.Sprintf("nodepool does not know how kind %s names its image, so it cannot tell whether this change of the template is one of the image", kind))
	case !known:
		f.Message = fmt.Sprintf("the version goes from %s to %s, and nodepool does not know how kind %s names its image, so nobody has looked at which version the image carries. With an image of another version machines cannot join", from, to, kind)
		f.Remedy = fmt.Sprintf("look up the image that new machines are made from, in this template as the plan leaves it, and make sure that they carry %s before you go on", to)
	case to == "":
		c.notVerified(CheckImage, p.infra.ref, fmt.Sprintf("%s names no version (%s) to hold the image against", p.ref, strings.Join(p.fields.Version, ".")))
	case seen.info.Missing:
		c.notVerified(CheckImage, p.infra.ref, "no image was found; the check "+CheckImageExists+" tells more")
	case m.image == "":
		f.Message = fmt.Sprintf("%s pins no image: its provider looks one up for %s when it makes each machine, so which one is not reviewed here, and one machine's may differ from the next one's%s", p.infra.ref, to, seen.now())
		f.Remedy = "pin it with machineImage, or see to it that the lookup finds an image built for " + to
	case from == to:
		f.Message = fmt.Sprintf("the image changes to %s and the version stays %s; nobody reports which version that image carries%s, and with another one machines cannot join", seen.image, to, seen.because())
		f.Remedy = seen.tell(p, to)
	case !changed:
		f.Message = fmt.Sprintf("the version goes from %s to %s and the image stays %s: unless that image is built for %s, machines cannot join", from, to, seen.image, to)
		f.Remedy = fmt.Sprintf("set machineImage to an image built for %s; if this one is, list it with its kubernetesVersion under spec.images", to)
	default:
		f.Message = fmt.Sprintf("nobody reports which version the image %s carries%s; unless it is built for %s, machines cannot join", seen.image, seen.because(), to)
		f.Remedy = seen.tell(p, to)
	}
	if f.Message != "" {
		c.add(f)
	}
	if changed {
		c.system(p, seen)
	}
	switch {
	case p.infra.create != nil && p.infra.there:
		c.pass(CheckInfrastructureReuse, p.infra.create.Ref, fmt.Sprintf("the changed copy of %s is there already, and is used again", p.infra.ref))
	case p.infra.create != nil:
		c.pass(CheckInfrastructureReuse, p.infra.create.Ref, fmt.Sprintf("a changed copy of %s is made", p.infra.ref))
	case from != to:
		c.pass(CheckInfrastructureReuse, p.infra.ref, fmt.Sprintf(
			"no new infrastructure template is needed: new machines are made from %s as it is", p.infra.ref))
	}
}

func changesField(changes []Change, f capi.Field) bool {
	at := PointerTo("spec", "template", "spec").Append(f.Replaces...)
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Path.Within(at) || at.Within(c.Path) })
}

// rolling tells how a rollout stands that is as this upgrade wants it and is
// only to be waited for.
func (c *checker) rolling(p *pool) {
	if p.leaves() {
		return // which ends it, and CheckMachineDeployment or CheckCluster tells
	}
	if p.lacksTemplate() {
		c.add(p.stranded("is rolling to what this upgrade asks for"))
		return
	}
	if len(p.rollout.Stalls) > 0 {
		c.add(Finding{Code: CheckRollout, Severity: Warn, Object: p.ref,
			Message: fmt.Sprintf("%s is rolling to what this upgrade asks for and is stuck: %s", p.ref, p.rollout.Stalls[0].Explanation),
			Remedy:  p.rollout.Stalls[0].Next})
		return
	}
	c.pass(CheckRollout, p.ref, fmt.Sprintf("%s is rolling to what this upgrade asks for: %s", p.ref, p.rollout.Waiting))
}

// rollout looks for a rollout on top of which the change would start the next
// one. One that moves blocks: its machines would be replaced twice. One that is
// stuck does not: a correct rollout on top is the way out of it. Nor does one
// that an earlier run of the same upgrade began, nor a change that replaces no
// machine.
func (c *checker) rollout(p *pool) {
	if p.leaves() {
		return // as in rolling
	}
	f := Finding{Code: CheckRollout, Severity: Warn, Object: p.ref}
	switch {
	case p.rollout.Old == 0:
		// What else is not complete is told by CheckUnhealthy: machines that come
		// up, or fail.
		c.pass(CheckRollout, p.ref, "no rollout is under way")
		return
	case p.lacksTemplate():
		c.add(p.stranded("is rolling already"))
		return
	case len(p.rollout.Stalls) > 0:
		f.Message = fmt.Sprintf("%s has a rollout that is stuck: %s", p.ref, p.rollout.Stalls[0].Explanation)
		f.Remedy = "go on if this upgrade is meant to supersede it and does not have the same problem; otherwise solve the problem first, then plan again"
	case !p.rolls():
		f.Message = fmt.Sprintf("%s is rolling already (%s); this change takes effect in the middle of it, for the machines that it has not replaced yet", p.ref, p.rollout.Waiting)
		f.Remedy = "go on if that is meant; otherwise wait until it is done (nodepool status), then plan again"
	case p.ownRun(c.name):
		f.Message = fmt.Sprintf("%s is rolling already (%s), by an earlier run of this upgrade (annotation %s); this change starts the next rollout on top of it",
			p.ref, p.rollout.Waiting, RunAnnotation)
		f.Remedy = "go on if what was changed in the upgrade since is meant to supersede it; otherwise wait until it is done (nodepool status), then plan again"
	default:
		f.Severity = Block
		f.Message = fmt.Sprintf("%s is rolling already (%s); this change would start the next rollout on top of it, and replace machines twice", p.ref, p.rollout.Waiting)
		f.Remedy = "wait until it is done (nodepool status), then plan again; or waive this check, with the reason, if this upgrade is meant to supersede it"
	}
	c.add(f)
}

// lacksTemplate reports whether the MachineDeployment names a template that is
// not there.
func (p *pool) lacksTemplate() bool {
	return p.infra.missing() || p.bootstrap.missing()
}

// stranded tells of a rollout whose template is gone: to wait for it is of no
// use.
func (p *pool) stranded(rolls string) Finding {
	return Finding{Code: CheckRollout, Severity: Warn, Object: p.ref,
		Message: fmt.Sprintf("%s %s (%s), and cannot go on without its template, as the check %s tells: it does not end by itself", p.ref, rolls, p.rollout.Waiting, CheckTemplates),
		Remedy:  "restore the template, or point the MachineDeployment at one that exists; then plan again"}
}

// ownRun reports whether the rollout under way is that of an earlier run of the
// upgrade of that name: the pool bears its mark, and nobody else has written a
// field that rolls since then (metadata.managedFields, where it is seen).
func (p *pool) ownRun(name string) bool {
	if mark, ok := strings.CutPrefix(p.md.GetAnnotations()[RunAnnotation], name+"-"); !ok || strings.Contains(mark, "-") {
		return false
	}
	var ours, others metav1.Time
	for _, m := range p.md.GetManagedFields() {
		if m.Time == nil || m.FieldsV1 == nil || m.Subresource != "" {
			continue
		}
		tree, err := decodeValue(m.FieldsV1.GetRawBytes())
		if err != nil || !slices.ContainsFunc(rollingFields(p.fields), func(path []string) bool { return owns(tree, path) }) {
			continue
		}
		latest := &others
		if m.Manager == fieldManager {
			latest = &ours
		}
		if latest.Before(m.Time) {
			*latest = *m.Time
		}
	}
	return !ours.Before(&others)
}

// hold tells what an earlier run holds, which the plan goes on from.
func (c *checker) hold(p *pool) {
	f := Finding{Code: CheckHold, Severity: Warn, Object: p.ref,
		Message: fmt.Sprintf("an earlier run holds %s (%s; annotation %s), and this plan ends the hold, so that machines are replaced again", p.ref, holdWords(p.hold), HoldAnnotation),
		Remedy:  "find out why that run stopped (nodepool history); go on if its reason is gone. Otherwise take it back with nodepool rollback, then plan again"}
	if p.canary() != nil {
		f.Severity, f.Remedy = Pass, ""
		f.Message = fmt.Sprintf("an earlier run holds %s (%s; annotation %s): the plan goes on with its canary", p.ref, holdWords(p.hold), HoldAnnotation)
	}
	if len(p.rollout.Stalls) > 0 {
		f.Message += "; its rollout is stuck: " + p.rollout.Stalls[0].Explanation
		f.Severity = Warn
		if f.Remedy == "" {
			f.Remedy = "go on if this upgrade is meant to cure that; otherwise solve the problem first, then plan again"
		}
	}
	c.add(f)
}

// canary tells whether the pool's canary makes sense, and what it takes.
func (c *checker) canary(p *pool) {
	spec := p.spec.Canary
	if spec == nil {
		return
	}
	n := spec.Machines
	surge, _ := p.fenceposts(p.wanted, p.rollout.Desired)
	f := Finding{Code: CheckCanary, Severity: Warn, Object: p.ref}
	switch {
	case p.strategyType() == "OnDelete":
		f.Message = "there is no canary: with the strategy OnDelete no machine is replaced until someone deletes one"
		f.Remedy = "delete one machine and look at its successor, or set the strategy to RollingUpdate on the MachineDeployment"
	case p.canary() == nil:
		c.pass(CheckCanary, p.ref, "there is no canary, since no machine is replaced")
		return
	case p.rollout.Desired == 0:
		f.Message = "the pool has 0 replicas, so there is no machine for a canary, and a mistake in the new template shows only when the pool is scaled up"
		f.Remedy = "scale up by one afterwards to see whether its machines join"
	case n >= p.rollout.Desired:
		f.Message = fmt.Sprintf("the canary is the whole pool: %d of %s %s made at once, beside the old ones, so it keeps no machine from the change", min(n, p.rollout.Desired), replicaCount(p.rollout.Desired), isOrAre(min(n, p.rollout.Desired)))
		f.Remedy = "set canary.machines to fewer than the pool's replicas"
	case n > surge:
		f.Message = fmt.Sprintf("the canary makes the pool %d larger than its replicas for a while, and maxSurge allows %d at other times: there must be room and quota for it, or the canary never comes up", n, surge)
		f.Remedy = "check the quota and room of the provider, or lower canary.machines"
	default:
		c.pass(CheckCanary, p.ref, fmt.Sprintf("the rollout is held at %s until proved; meanwhile young machines count as not available, and none is deleted for it", newMachines(n)))
		return
	}
	c.add(f)
}

func newMachines(n int) string {
	if n == 1 {
		return "1 new machine"
	}
	return fmt.Sprintf("%d new machines", n)
}

func (c *checker) machines(p *pool) {
	if !p.rolls() {
		return
	}
	if p.strategyType() == "OnDelete" {
		f := Finding{Code: CheckStrategy, Severity: Warn, Object: p.ref,
			Message: fmt.Sprintf("the strategy is OnDelete: no machine is replaced until someone deletes it. apply stops as stalled when none is for %s (wait.stallAfter), and then does what onStall says",
				p.spec.Wait.StallAfter),
			Remedy: "have someone delete the old machines while apply runs, and raise wait.stallAfter to what that takes; or set the strategy to RollingUpdate on the MachineDeployment, which an upgrade file cannot do; then plan again"}
		if p.back != nil {
			f.Message = fmt.Sprintf("the strategy is OnDelete: no machine is replaced until someone deletes it. The rollback stops as stalled when none is for %s", p.spec.Wait.StallAfter)
			f.Remedy = fmt.Sprintf("have someone delete the machines of the new template while it runs, and give the same command again if it has stopped; or set %s to RollingUpdate%s",
				strings.Join(p.fields.StrategyType, "."), p.byHand())
		}
		c.add(f)
	} else {
		c.pass(CheckStrategy, p.ref, "machines are replaced by a rolling update")
	}
	if p.rollout.Desired == 0 {
		c.add(Finding{Code: CheckReplicas, Severity: Warn, Object: p.ref,
			Message: "the pool has 0 replicas: nothing exercises the new template, and a mistake in it shows only when the pool is scaled up",
			Remedy:  "scale up by one afterwards to see whether its machines join"})
	} else {
		c.pass(CheckReplicas, p.ref, replicaCount(p.rollout.Desired)+"; replicas are never written")
	}
	c.autoscaler(p)
	if p.strategyType() != "OnDelete" {
		c.room(p)
	}
	c.unhealthy(p)
	c.health(p)
}
