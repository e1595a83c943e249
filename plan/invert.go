package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// ChangedError says that pools were changed by somebody else after a plan had
// changed them, so that going back would undo more than that plan.
type ChangedError struct {
	Plan        Digest
	Differences []Difference
}

func (e *ChangedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a pool is not as the plan %s left it", e.Plan.Short())
	for _, d := range e.Differences {
		fmt.Fprintf(&b, "; %s %s: it was left at %s, found %s", d.Object, d.Path.Dotted(), d.Reviewed, d.Found)
	}
	return b.String()
}

// wayBack is what is known of a pool that is to be taken back, beside what is
// known of any pool.
type wayBack struct {
	plan  Plan   // the recorded plan
	steps []Step // those of its steps that patch this pool, in order
	// stage counts the patches that stand on the pool; 0 is none of them.
	stage int
	// untouched tells that the pool bears the mark of before the first of
	// them: there is nothing to take back and nothing to wait for.
	untouched bool
	// foreign is the mark of another run that left everything as the plan had
	// made it.
	foreign     string
	differences []Difference

	// What follows is known once the templates of before are.
	set   *unstructured.Unstructured // the MachineSet of before, nil when it is gone
	stays int                        // its machines that are still there
	make  int                        // how many are to be made again
	goes  []capi.Machine             // the machines that are to be deleted
	size  string                     // their size, as their template has it
	// bound tells that none could be made, so that the plan relies on those
	// that are there.
	bound bool
}

// InvertNeeds says what must be looked up next to invert p; empty means that
// snap is enough.
func InvertNeeds(p Plan, snap Snapshot) []Selector {
	_, missing := lookBack(p, snap, takeOff)
	return missing
}

// RecheckNeeds is InvertNeeds for Recheck.
func RecheckNeeds(p Plan, snap Snapshot) []Selector {
	_, missing := lookBack(p, snap, putOn)
	return missing
}

// direction says what is to become of the patches of a plan.
type direction bool

const (
	takeOff direction = false
	putOn   direction = true
)

// Invert makes the plan that takes p back: each MachineDeployment that p
// patched goes back to the values before its first patch, in one patch with a
// new run mark, and the rollout of that is waited for. The last pool goes
// first. Nothing is created: the old templates are named again, and those that
// p made stay. A pool that p has not patched, or that is back already, needs
// nothing. The inverse of an inverse goes forward again.
//
// It is compiled against the cluster as snap shows it. Where there is no way
// back a finding blocks, which says why and what is possible instead; see
// Forward. Pools that somebody else changed since give a *ChangedError with all
// differences; a snapshot that lacks an answer to InvertNeeds, ErrIncomplete.
func Invert(p Plan, snap Snapshot) (Plan, error) {
	pools, missing := lookBack(p, snap, takeOff)
	if len(missing) > 0 {
		return Plan{}, fmt.Errorf("%w: %s", ErrIncomplete, missing[0].Ref)
	}
	changed := &ChangedError{Plan: p.Digest}
	for _, pl := range pools {
		changed.Differences = append(changed.Differences, pl.back.differences...)
	}
	if len(changed.Differences) > 0 {
		return Plan{}, changed
	}
	up, err := UpgradeOf(p)
	if err != nil {
		return Plan{}, err
	}
	out := Plan{APIVersion: APIVersion, Kind: Kind, Upgrade: p.Upgrade, Steps: []Step{}}
	out.Upgrade.Purpose, out.Upgrade.Rollback = ForRollback, p.Digest
	var perPool [][]Step
	marks := markerOf(out.Upgrade)
	for _, pl := range pools {
		if pl.md != nil && pl.wanted != nil && !pl.back.untouched && !pl.onlyReleased() {
			perPool = append(perPool, pl.steps(marks))
		}
	}
	out.Steps = append(out.Steps, ordered(up.Spec.Order, perPool)...)
	if len(out.Steps) > 0 {
		out.Steps = append([]Step{{ID: "preflight", Preflight: &Preflight{Checks: backCodes()}}}, out.Steps...)
	}
	out.Findings, out.Blocked, out.Impact = checkBack(p, pools, snap)
	if len(out.Steps) > 0 {
		out.Findings = answerAll(backCodes(), out.Findings)
	}
	out.Digest = out.Sum()
	return out, nil
}

// onlyReleased reports whether the plan that is taken back did nothing to the
// pool but end what an earlier run held, so that nothing of its own is left.
func (p *pool) onlyReleased() bool {
	return p.back.stage > 0 && len(p.changes(p.md, p.wanted)) == 0 &&
		!slices.ContainsFunc(p.back.steps, func(s Step) bool { return !s.releases() })
}

// Recheck gives p, which Invert made, with what stands in its way now. Its
// steps and its digest stay.
func Recheck(p Plan, snap Snapshot) (Plan, error) {
	pools, missing := lookBack(p, snap, putOn)
	if len(missing) > 0 {
		return Plan{}, fmt.Errorf("%w: %s", ErrIncomplete, missing[0].Ref)
	}
	p.Findings, p.Blocked, p.Impact = checkBack(p, pools, snap)
	if len(p.Steps) > 0 {
		p.Findings = answerAll(backCodes(), p.Findings)
	}
	return p, nil
}

// Select narrows p to the steps of some of its pools, to be inverted. Its
// digest stays that of the whole plan. Names that it does not have are an error.
func (p Plan) Select(pools ...string) (Plan, error) {
	up, err := UpgradeOf(p)
	if err != nil {
		return Plan{}, err
	}
	if up, err = up.Select(pools...); err != nil || len(pools) == 0 {
		return p, err
	}
	p.Upgrade.Content = mustCanonical(treeOf(up.Spec))
	p.Upgrade.Spec = digestOf(p.Upgrade.Content)
	p.Steps = slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return !slices.Contains(pools, s.Pool) })
	return p, nil
}

// waivedBack gives the waivers of p that hold for the way back, by pool: those
// that let others have a hand in the pool. What was said of the new version
// says nothing of the old one.
func waivedBack(p Plan) map[string][]schema.Waiver {
	out := map[string][]schema.Waiver{}
	up, _ := UpgradeOf(p)
	for _, spec := range up.Spec.Pools {
		for _, w := range spec.Waive {
			if slices.Contains([]string{CheckClusterPaused, CheckPaused, CheckTopology, CheckFieldManagers}, w.Check) {
				out[spec.Name] = append(out[spec.Name], w)
			}
		}
	}
	return out
}

// lookBack gathers the pools that p patches, the last first, in rounds as look
// does.
func lookBack(p Plan, snap Snapshot, to direction) (pools []*pool, missing []Selector) {
	need := func(sel Selector) bool {
		if snap.Asked(sel) {
			return true
		}
		if !slices.Contains(missing, sel) {
			missing = append(missing, sel)
		}
		return false
	}
	clusterRef := Ref{Group: capi.Group, Kind: "Cluster", Namespace: p.Upgrade.Cluster.Namespace, Name: p.Upgrade.Cluster.Name}
	ready := need(Selector{Ref: clusterRef})
	waived := waivedBack(p)
	for _, s := range p.Steps {
		if _, paused := s.Paused(snap); paused {
			s = Step{ID: s.ID + "/pause", Pool: s.Pool, Patch: s.Wait.Pause} // is taken back like any patch
		}
		if s.Patch == nil {
			continue
		}
		i := slices.IndexFunc(pools, func(pl *pool) bool { return pl.ref == s.Patch.Target })
		if i < 0 {
			pools = append([]*pool{{ref: s.Patch.Target, back: &wayBack{plan: p}, spec: schema.Pool{
				Name: s.Patch.Target.Name, Wait: schema.Wait{StallAfter: stallAfterOf(p, s.Patch.Target)},
				Waive: waived[s.Patch.Target.Name]}}}, pools...)
			i = 0
			ready = need(Selector{Ref: s.Patch.Target}) && ready
		}
		pools[i].back.steps = append(pools[i].back.steps, s)
	}
	if !ready {
		return pools, missing
	}
	cluster, ok := snap.Object(clusterRef)
	if !ok {
		return pools, missing
	}
	var controlPlane *unstructured.Unstructured
	if ref, ok := capi.ReferenceAt(cluster, "spec", "controlPlaneRef"); ok {
		need(Selector{Ref: ref})
		controlPlane, _ = snap.Object(ref)
	}
	near := indexOf(snap)
	for _, pl := range pools {
		pl.cluster, pl.controlPlane, pl.index = cluster, controlPlane, near
		pl.lookBack(snap, need, to)
	}
	return pools, missing
}

func stallAfterOf(p Plan, target Ref) schema.Duration {
	for _, s := range p.Steps {
		if s.Wait != nil && s.Wait.MachineDeployment == target {
			if d, err := time.ParseDuration(s.Wait.StallAfter); err == nil {
				return schema.Duration(d)
			}
		}
	}
	return schema.DefaultStallAfter
}

func (p *pool) lookBack(snap Snapshot, need func(Selector) bool, to direction) {
	clusterRef := capi.RefOf(p.cluster)
	md, ok := snap.Object(p.ref)
	if !ok {
		need(machineDeploymentsOf(clusterRef))
		need(p.machinePool())
		return
	}
	p.md = md
	recorded := p.back.steps[0].Patch
	if uid := string(md.GetUID()); uid != recorded.UID {
		p.back.differences = append(p.back.differences, Difference{Object: p.ref, Path: "/metadata/uid",
			Reviewed: recorded.UID, Found: uid, Because: "it was deleted and made anew"})
		return
	}
	fields, err := capi.FieldsOf(md)
	if version := md.GetAPIVersion(); err != nil || version != recorded.APIVersion {
		p.back.differences = append(p.back.differences, Difference{Object: p.ref, Path: "/apiVersion",
			Reviewed: recorded.APIVersion, Found: version, Because: "the cluster now serves its kind in another API version, whose fields stand elsewhere"})
		return
	}
	p.fields = fields
	if to == putOn {
		p.wantOn()
	} else {
		p.wantBack(snap)
	}
	if p.wanted == nil {
		return
	}
	now, _ := capi.ReferenceAt(md, fields.InfrastructureRef...)
	nowBootstrap, _ := capi.ReferenceAt(md, fields.BootstrapRef...)
	ready := true
	for _, t := range []struct {
		of   *template
		now  Ref
		path []string
	}{{&p.infra, now, fields.InfrastructureRef}, {&p.bootstrap, nowBootstrap, fields.BootstrapRef}} {
		ref, ok := capi.ReferenceAt(p.wanted, t.path...)
		if !ok {
			continue
		}
		t.of.ref = ref
		ready = need(Selector{Ref: ref}) && ready
		t.of.obj, _ = snap.Object(ref)
		if t.now != ref && !t.now.IsZero() {
			ready = need(Selector{Ref: t.now}) && ready // for the way forward
		}
	}
	for _, sel := range rolloutSelectors(clusterRef, cloned(p.infra.ref), cloned(p.bootstrap.ref)) {
		ready = need(sel) && ready
	}
	if ready = need(healthChecks(clusterRef)) && ready; !ready {
		return
	}
	p.countBack(snap)
	if p.makes() {
		p.locate(snap, need)
	}
	if obj, ok := snap.Object(now); ok {
		if f, ok := capi.SizeField(obj); ok {
			p.back.size = f.Read(obj)
		}
	}
}

// wantOn works out what the MachineDeployment is once the patches of the plan
// are made. What is not as they want it is found when they are assessed.
func (p *pool) wantOn() {
	tree := runtime.DeepCopyJSON(p.sealed(p.md.Object).(map[string]any))
	for _, s := range p.back.steps {
		for _, c := range s.Patch.Changes {
			if found, _ := c.Path.in(tree); !c.isAfter(found) && c.writeSealed(tree) == nil {
				p.back.stage = 1
			}
		}
	}
	p.wanted = &unstructured.Unstructured{Object: tree}
}

// wantBack works out what the MachineDeployment is to be: as it is now, with
// the patches of the recorded plan taken off it, the last first. It stays nil
// when somebody else has changed it.
func (p *pool) wantBack(snap Snapshot) {
	b := p.back
	live := p.sealed(p.md.Object).(map[string]any)
	mark := p.md.GetAnnotations()[RunAnnotation]
	all := len(b.steps)
	marked := slices.IndexFunc(b.steps, func(s Step) bool { return s.Patch.Run.After == mark }) + 1
	tree := runtime.DeepCopyJSON(live)
	switch {
	case marked > 0: // the mark tells how far the plan came
		b.stage = marked
		tree, b.differences = b.undone(live, marked)
	case b.before(live):
		b.untouched = mark == b.steps[0].Patch.Run.Before
	default: // what the plan changed may stand there under another's mark, or none
		for k := all; k > 0 && b.stage == 0; k-- {
			if undone, differences := b.undone(live, k); len(differences) == 0 {
				b.stage, b.foreign, tree = k, orAbsent(mark), undone
			}
		}
		if b.stage > 0 {
			break
		}
		if b.untouched = mark == b.steps[0].Patch.Run.Before; !b.untouched {
			_, b.differences = b.undone(live, all)
			b.differences = append(b.differences, Difference{Object: p.ref, Path: PointerTo("metadata", "annotations", RunAnnotation),
				Reviewed: b.steps[all-1].Patch.Run.After, Found: orAbsent(mark), Because: "another run has changed this pool since"})
		}
	}
	if b.stage > 0 {
		b.differences = append(b.differences, b.unkept(snap)...)
	}
	if len(b.differences) == 0 {
		p.wanted = &unstructured.Unstructured{Object: tree}
	}
	// A hold or a pause that nodepool itself had put there is not put there
	// again: nothing would end it.
	if p.wanted != nil && b.stage > 0 && p.wanted.GetAnnotations()[HoldAnnotation] != "" {
		p.wanted = unheld(p.wanted, p.fields, holdOn(p.wanted, p.fields))
	}
}

// undone takes the first k patches off a copy of live, the last of them first.
// Differences are fields that are not as they left them.
func (b *wayBack) undone(live map[string]any, k int) (tree map[string]any, differences []Difference) {
	tree = runtime.DeepCopyJSON(live)
	for i := k - 1; i >= 0; i-- {
		patch := b.steps[i].Patch
		for _, c := range patch.Changes {
			found, _ := c.Path.in(tree)
			if !c.isAfter(found) {
				differences = append(differences, Difference{Object: patch.Target, Path: c.Path,
					Reviewed: text(c.After), Found: text(rawOf(found)), Because: "it is to go back to " + text(c.Before)})
				continue
			}
			if err := (Change{Path: c.Path, After: c.Before}).writeSealed(tree); err != nil {
				differences = append(differences, Difference{Object: patch.Target, Path: c.Path,
					Reviewed: text(c.After), Found: text(rawOf(found)), Because: err.Error()})
			}
		}
	}
	return tree, differences
}

// before reports whether all that the plan changes is as it was before it.
func (b *wayBack) before(live map[string]any) bool {
	var seen []Pointer
	for _, s := range b.steps {
		for _, c := range s.Patch.Changes {
			if slices.ContainsFunc(seen, func(p Pointer) bool { return p.Within(c.Path) || c.Path.Within(p) }) {
				continue // an earlier patch tells
			}
			seen = append(seen, c.Path)
			if found, _ := c.Path.in(live); !bytes.Equal(rawOf(found), c.Before) {
				return false
			}
		}
	}
	return true
}

// unkept gives what decides how machines are made, was not to be changed by
// the plan, and is no longer as the plan relied on.
func (b *wayBack) unkept(snap Snapshot) []Difference {
	target := b.steps[0].Patch.Target
	md, _ := snap.Object(target)
	fields, err := capi.FieldsOf(md)
	if err != nil {
		return nil
	}
	var out []Difference
	// The facts of the last patch done are those that held last.
	s := b.steps[b.stage-1]
	for _, f := range s.Facts {
		rolling := f.Object == target && slices.ContainsFunc(rollingFields(fields), func(path []string) bool { return f.Path == PointerTo(path...) })
		if !rolling {
			continue
		}
		if d, ok := f.check(snap, s.Patch.Cluster); !ok {
			d.Because = "it was changed after the plan that is to be taken back"
			out = append(out, d)
		}
	}
	return out
}

// countBack counts the machines that are still there and those to be made.
func (p *pool) countBack(snap Snapshot) {
	clusterRef := capi.RefOf(p.cluster)
	see := func(md *unstructured.Unstructured) capi.Rollout {
		return capi.Judge(p.index.observed(snap, md, clusterRef, cloned(p.infra.ref), cloned(p.bootstrap.ref)))
	}
	p.rollout = see(p.md)
	b := p.back
	then := see(p.wanted)
	for _, m := range then.Machines {
		switch {
		case m.Deleting:
		case m.Old:
			b.goes = append(b.goes, m)
		default:
			b.stays++
			b.set, _ = snap.Object(Ref{Group: capi.Group, Kind: "MachineSet", Namespace: p.ref.Namespace, Name: m.Set})
		}
	}
	if b.set != nil {
		// What a MachineSet is to give up soon is no longer to be counted on.
		if n, ok, _ := unstructured.NestedInt64(b.set.Object, "spec", "replicas"); ok {
			b.stays = min(b.stays, int(n))
		}
	}
	b.make = max(0, then.Desired-b.stays)
	if !p.rolls() {
		b.make = 0
	}
	skew, known, err := p.skew()
	b.bound = known && err == nil && len(skew.refused) > 0 && p.rolls() && b.make == 0 && b.set != nil
}

// makes reports whether machines have to be made.
func (p *pool) makes() bool { return p.back == nil || p.back.make > 0 }

// backCodes lists the codes of the checks of an inverse, in the order in which
// they are made and shown.
func backCodes() []string {
	return []string{CheckCluster, CheckClusterPaused, CheckClusterAvailable, CheckMachineDeployment, CheckPaused, CheckTopology,
		CheckTemplates, CheckControlPlane, CheckVersion, CheckImageExists, CheckImageType, CheckInstanceType, CheckQuota,
		CheckRollout, CheckRollbackValue, CheckStrategy, CheckReplicas, CheckAutoscaler, CheckRoom, CheckUnhealthy, CheckHealth,
		CheckBootstrapEdited, CheckImagesDiffer, CheckInPlace, CheckFieldManagers}
}

// checkBack answers the checks of an inverse.
func checkBack(of Plan, pools []*pool, snap Snapshot) (findings []Finding, blocked bool, impact []PoolImpact) {
	c := checker{snap: snap, back: true}
	for _, p := range pools {
		c.upgrade = append(c.upgrade, p.spec)
	}
	up, _ := UpgradeOf(of)
	clusterRef := clusterRefOf(up)
	cluster, ok := snap.Object(clusterRef)
	if !ok {
		c.add(Finding{Code: CheckCluster, Severity: Block, Object: clusterRef,
			Message: clusterRef.String() + " does not exist", Remedy: "use the kubeconfig of the management cluster that the plan was applied to; if the Cluster is gone there is nothing to take back"})
		return c.findings, c.blocked, nil
	}
	c.cluster(cluster, !slices.ContainsFunc(pools, func(p *pool) bool { return p.back.stage > 0 || !p.idle() && !p.back.untouched }))
	for _, p := range pools {
		c.pool = p.spec.Name
		switch {
		case p.md == nil:
			c.add(Finding{Code: CheckMachineDeployment, Severity: Block, Object: p.ref,
				Message: p.ref.String() + " does not exist any more", Remedy: "there is nothing to take back in it; take the other pools back alone, with --pool NAME"})
			continue
		case p.wanted == nil:
			continue
		case p.back.untouched:
			impact = append(impact, PoolImpact{Pool: p.spec.Name, Action: None, Peak: p.rollout.Desired, Floor: p.rollout.Desired})
		default:
			impact = append(impact, p.impact())
		}
		c.machineDeployment(p)
		switch {
		case p.back.untouched && !p.back.before(p.sealed(p.md.Object).(map[string]any)):
			c.add(Finding{Code: CheckMachineDeployment, Severity: Warn, Object: p.ref,
				Message: p.ref.String() + " was not changed by the plan that is taken back, and somebody else has changed it since: it is left as it is",
				Remedy:  "go on if it is to stay as it is; otherwise find out who changed it (metadata.managedFields) and change it by an upgrade of its own"})
			continue
		case p.back.untouched, p.idle():
			continue
		}
		c.holds(p)
		if p.onlyReleased() {
			c.add(Finding{Code: CheckHold, Severity: Warn, Object: p.ref,
				Message: fmt.Sprintf("the plan that is taken back only ended a hold or a pause of an earlier run on %s; what that run changed stays", p.ref),
				Remedy:  "to take that back too, name the earlier run: nodepool history lists the runs, nodepool rollback RUN takes one back"})
		}
		c.templatesBack(p)
		if p.back.stage == 0 {
			c.rollingBack(p)
			continue
		}
		c.controlPlane(p)
		c.versionBack(p)
		c.sourcesBack(p)
		c.rolloutBack(p)
		c.sealedBack(p)
		if p.back.make > 0 {
			c.machines(p)
			c.latent(p)
		}
		c.fieldManagers(p)
	}
	c.workload(up, pools)
	return inOrder(c.findings), c.blocked, impact
}

// templatesBack looks whether the templates that are named again are what they
// were: there, and with the content that the recorded plan saw or that nodepool
// gave them.
func (c *checker) templatesBack(p *pool) {
	fine := true
	block := func(ref Ref, why string) {
		fine = false
		c.add(Finding{Code: CheckTemplates, Severity: Block, Object: ref,
			Message: fmt.Sprintf("%s, which %s would name again, %s", ref, p.ref, why),
			Remedy:  "restore it; or " + p.offers()})
	}
	s := sealerOf(p.cluster)
	for _, t := range []template{p.infra, p.bootstrap} {
		switch {
		case t.ref.IsZero():
			continue
		case t.obj == nil:
			block(t.ref, "does not exist any more")
			continue
		case t.obj.GetDeletionTimestamp() != nil:
			block(t.ref, "is being deleted")
			continue
		}
		i := slices.IndexFunc(p.back.plan.Steps, func(s Step) bool {
			return s.Create != nil && s.Pool == p.spec.Name && s.Create.BasedOn.Ref == t.ref
		})
		content := t.obj.GetAnnotations()[ContentAnnotation]
		switch {
		case i >= 0 && string(t.obj.GetUID()) != p.back.plan.Steps[i].Create.BasedOn.UID:
			block(t.ref, "was deleted and made anew since")
		case i >= 0 && sourceDigest(t.obj, s) != p.back.plan.Steps[i].Create.BasedOn.Digest:
			block(t.ref, "was changed since: machines made from it would not be what they were")
		case i < 0 && content != "" && p.rolls():
			if ok, why := isOurs(t.obj, Digest(content), s, p.cluster); !ok {
				block(t.ref, "is not what nodepool made: "+why)
			}
		}
	}
	if fine {
		c.pass(CheckTemplates, p.ref, "the templates of before are there, as they were")
	}
}

// sourcesBack looks whether machines can be made of what they were made of
// before, where any have to be: Cluster API reaches the templates, and the
// provider still has the image and the instance type.
func (c *checker) sourcesBack(p *pool) {
	if !p.makes() {
		return
	}
	c.contract(p)
	from := len(c.findings)
	c.provider(p)
	for i := range c.findings[from:] {
		// No upgrade file is at hand to be corrected, or to hold a waiver.
		switch f := &c.findings[from+i]; f.Severity {
		case Block:
			f.Remedy = p.orHold("go forward by an upgrade with an image and an instance type that exist; where more of the old template than these is to come back, " +
				"nodepool rollback prints such an upgrade below its plan. If nodepool asked with other credentials than the cluster's, " +
				"plan the rollback again with those, or with --no-provider to ask nobody")
		case Warn:
			f.Remedy = "go back now if the pool works with it, and mend it by another upgrade soon"
		case Pass, NotVerified:
		}
	}
}

// versionBack tells whether machines of the old version can be made, where
// any have to be. Cluster API's preflight checks hold up the making of machines
// and nothing else (internal/controllers/machineset/machineset_preflight.go):
// naming the old template again keeps the old machines that are still there.
func (c *checker) versionBack(p *pool) {
	skew, known, err := p.skew()
	version := capi.StringAt(p.wanted, p.fields.Version...)
	b := p.back
	f := Finding{Code: CheckVersion, Severity: Warn, Object: p.ref}
	switch {
	case !known, !p.rolls():
		return
	case err != nil:
		f.Severity = Block
		f.Object, f.Message, _ = p.unreadable(err)
		f.Remedy = p.offers()
	case skew.Skew == capi.NoSkew:
		c.pass(CheckVersion, p.ref, fmt.Sprintf("%s goes with the control plane's %s", version, skew.against))
		return
	case skew.Skew == capi.NewerPatch:
		f.Message = fmt.Sprintf("%s is a newer patch release than the control plane's %s: Cluster API allows it, the Kubernetes version skew policy does not", version, skew.against)
		f.Remedy = fmt.Sprintf("go back now; then upgrade the control plane, or bring the pool to %s by another upgrade, soon", skew.against)
	case len(skew.refused) == 0:
		f.Message = fmt.Sprintf("%s does not go with the control plane's %s%s. %s", version, skew.against, why(skew.Skew), skew.words)
		f.Remedy = fmt.Sprintf("go back now, and bring the pool to %s by another upgrade soon", settable(skew.against))
	case p.rollout.Desired == 0:
		f.Message = fmt.Sprintf("the pool has no machines; once it is scaled up, under the control plane's %s Cluster API would make none at %s", skew.against, version)
		f.Remedy = fmt.Sprintf("bring the pool to %s by another upgrade before it is scaled up", settable(skew.against))
	case b.make == 0:
		there := fmt.Sprintf("the old %s at %s are all still there", machines(b.stays), version)
		if b.stays == 1 {
			there = fmt.Sprintf("the one old machine at %s is still there", version)
		}
		f.Message = fmt.Sprintf("%s, and none has to be made; under the control plane's %s Cluster API would make none, so one that fails later is not replaced", there, skew.against)
		f.Remedy = fmt.Sprintf("go back now, and bring the pool to %s by another upgrade soon", settable(skew.against))
	default:
		f.Severity = Block
		f.Message = fmt.Sprintf("there is no way back to %s: of the old machines %d are left, %d would have to be made again, and under a control plane at %s Cluster API makes none (its preflight %s)%s",
			version, b.stays, b.make, skew.against, checksOf(skew.refused), why(skew.Skew))
		f.Remedy = p.offers()
	}
	c.add(f)
}

func why(skew capi.Skew) string {
	switch skew {
	case capi.KubeadmMinor:
		return ": a machine that joins by kubeadm must have the control plane's minor version"
	case capi.NewerMinor:
		return ": workers must not be ahead of it"
	case capi.TooOld, capi.OldKubelet:
		return ": that is too far behind it"
	case capi.NoSkew, capi.NewerPatch:
	case capi.OtherVersion:
		return ": in a cluster with a topology, machines have the control plane's own version"
	}
	return ""
}

// offers says what is possible where there is no way back.
func (p *pool) offers() string {
	return p.orHold("go forward with the content of the old template, by the upgrade file that nodepool rollback prints below its plan")
}

// orHold says how to hold the rollout, where there is one, or what else to do.
func (p *pool) orHold(forward string) string {
	if p.rollout.Complete {
		return forward
	}
	return fmt.Sprintf("hold the rollout where it is with kubectl patch machinedeployment %s -n %s --type merge -p '{\"spec\":{\"paused\":true}}' "+
		"(a paused MachineDeployment goes on scaling); or %s", p.ref.Name, p.ref.Namespace, forward)
}

// rollingBack tells how a rollout stands that goes back already.
func (c *checker) rollingBack(p *pool) {
	if len(p.rollout.Stalls) > 0 {
		c.add(Finding{Code: CheckRollout, Severity: Warn, Object: p.ref,
			Message: fmt.Sprintf("%s is rolling back already and is stuck: %s", p.ref, p.rollout.Stalls[0].Explanation),
			Remedy:  p.rollout.Stalls[0].Next})
		return
	}
	c.pass(CheckRollout, p.ref, fmt.Sprintf("%s is rolling back already: %s", p.ref, p.rollout.Waiting))
}

func (c *checker) rolloutBack(p *pool) {
	switch {
	case p.back.foreign != "":
		c.add(Finding{Code: CheckRollout, Severity: Warn, Object: p.ref,
			Message: fmt.Sprintf("another run has changed %s since (mark %s), and what this plan takes back still stands there", p.ref, p.back.foreign),
			Remedy:  "find out what that run changed (nodepool history), and go on only if it goes with the values of before"})
	case len(p.rollout.Stalls) > 0:
		c.pass(CheckRollout, p.ref, "the rollout that is taken back is stuck: "+p.rollout.Stalls[0].Explanation)
	case !p.rollout.Complete:
		c.pass(CheckRollout, p.ref, "the rollout that is taken back is under way: "+p.rollout.Waiting)
	default:
		c.pass(CheckRollout, p.ref, "the rollout that is taken back is complete")
	}
}

// CheckRollbackValue is answered by rollbacks alone.
const CheckRollbackValue = "rollback-value-unknown"

// sealedBack blocks where a value of before is a secret: the recorded plan
// holds its hash and not its value.
func (c *checker) sealedBack(p *pool) {
	known := true
	for _, change := range sealerOf(p.cluster).changesBetween(p.md.Object, p.wanted.Object) {
		if len(change.After) == 0 {
			continue
		}
		tree, err := decodeValue(change.After)
		if err != nil {
			continue
		}
		if at, ok := sealedAt(change.Path, tree); ok {
			known = false
			c.add(Finding{Code: CheckRollbackValue, Severity: Block, Object: p.ref,
				Message: fmt.Sprintf("%s of %s was a secret, of which the recorded plan holds the hash alone: the value to go back to is not known", at.Dotted(), p.ref),
				Remedy:  "write an upgrade that sets it, with the other values of before, and apply that; take the other pools back alone, with --pool NAME"})
		}
	}
	if known {
		c.pass(CheckRollbackValue, p.ref, "every value that goes back is recorded")
	}
}

// impactBack predicts what going back does to the pool's machines.
func (p *pool) impactBack(out PoolImpact) PoolImpact {
	b := p.back
	deleted := fmt.Sprintf("%s of the new template deleted", machines(len(b.goes)))
	switch {
	case !p.rolls():
		out.Action = InPlace
	case b.make == 0:
		out.Action = InPlace
		out.Note = "all old machines are still there"
		if len(b.goes) > 0 {
			out.Note += "; " + deleted
			out.Peak = b.stays + len(b.goes)
		}
	case p.strategyType() == "OnDelete":
		out.Action, out.Machines = Replace, len(b.goes)
		out.Note = "strategy OnDelete: nothing moves until machines are deleted"
	default:
		out.Action, out.Machines = Replace, b.make
		out.Waves, out.Peak, out.Floor = p.waves(b.make, out.Peak)
		if b.stays > 0 {
			out.Note = fmt.Sprintf("%s of the old template still there", machines(b.stays))
		}
	}
	return out
}

// Forward gives the upgrade that is possible where inverse, as Invert made it
// of p and snap, is blocked for want of old machines or templates, or of what
// they were made from: it brings the content of the old template back, in a new
// one, and with it the old version where machines of that can be made. An image
// or an instance type that is gone stays as it is now, and with the image the
// version. It reports false where that would change nothing, or where the
// content holds secrets.
func Forward(p, inverse Plan, snap Snapshot) (schema.Upgrade, bool) {
	up := schema.Upgrade{APIVersion: schema.APIVersion, Kind: schema.Kind,
		Metadata: schema.Metadata{Name: p.Upgrade.Name + "-forward"}}
	up.Spec.Cluster = p.Upgrade.Cluster
	pools, _ := lookBack(p, snap, takeOff)
	for _, pl := range slices.Backward(pools) {
		blocked := func(codes ...string) bool {
			return slices.ContainsFunc(inverse.Findings, func(f Finding) bool {
				return f.Pool == pl.spec.Name && f.Severity == Block && slices.Contains(codes, f.Code)
			})
		}
		image, size := blocked(CheckImageExists, CheckImageType), blocked(CheckInstanceType, CheckImageType)
		if pl.wanted == nil || !image && !size && !blocked(CheckVersion, CheckTemplates) {
			continue
		}
		var gone []func(*unstructured.Unstructured) (capi.Field, bool)
		if image {
			gone = append(gone, capi.ImageField)
		}
		if size {
			gone = append(gone, capi.SizeField)
		}
		spec := schema.Pool{Name: pl.spec.Name, Wait: pl.spec.Wait, Waive: slices.Clone(pl.spec.Waive)}
		if pl.rollout.Old > 0 {
			spec.Waive = append(spec.Waive, schema.Waiver{Check: CheckRollout, Reason: "it supersedes the rollout of the plan " + p.Digest.Short()})
		}
		if skew, known, err := pl.skew(); !image && (!known || err == nil && len(skew.refused) == 0) {
			if was := capi.StringAt(pl.wanted, pl.fields.Version...); was != capi.StringAt(pl.md, pl.fields.Version...) {
				spec.KubernetesVersion = was
			}
		}
		var ok [2]bool
		spec.Infrastructure, ok[0] = pl.contentBack(p, snap, pl.fields.InfrastructureRef, gone...)
		spec.Bootstrap, ok[1] = pl.contentBack(p, snap, pl.fields.BootstrapRef)
		if !ok[0] || !ok[1] || spec.KubernetesVersion == "" && spec.Infrastructure == nil && spec.Bootstrap == nil {
			continue
		}
		up.Spec.Pools = append(up.Spec.Pools, spec)
	}
	return up, len(up.Spec.Pools) > 0
}

// contentBack gives the merge patch that brings the content of the template
// that p had copied back into the one that the pool names now; nil when there
// is nothing to bring back. It reports false when the patch would hold secrets,
// of which the plan knows hashes alone. The fields keep are left as they are now.
func (p *pool) contentBack(of Plan, snap Snapshot, path []string, keep ...func(*unstructured.Unstructured) (capi.Field, bool)) (map[string]any, bool) {
	ref, named := capi.ReferenceAt(p.md, path...)
	now, there := snap.Object(ref)
	i := slices.IndexFunc(of.Steps, func(s Step) bool { return s.Create != nil && s.Create.Ref == ref })
	if !named || i < 0 {
		return nil, true
	}
	if !there {
		return nil, false
	}
	tree := p.sealed(runtime.DeepCopyJSON(now.Object)).(map[string]any)
	was := runtime.DeepCopyJSON(tree)
	for _, c := range of.Steps[i].Create.Changes {
		if err := (Change{Path: c.Path, After: c.Before}).writeSealed(was); err != nil {
			return nil, false
		}
	}
	for _, find := range keep {
		if f, ok := find(now); ok {
			at := PointerTo("spec", "template", "spec").Append(f.Replaces...)
			if err := (Change{Path: at, After: valueAt(tree, at)}).writeSealed(was); err != nil {
				return nil, false
			}
		}
	}
	spec := func(tree map[string]any) json.RawMessage {
		return mustCanonical(templateSpec(&unstructured.Unstructured{Object: tree}))
	}
	raw, err := jsonpatch.CreateMergePatch(spec(tree), spec(was))
	if err != nil {
		return nil, false
	}
	v, err := decodeValue(raw)
	if err != nil {
		return nil, false
	}
	if _, secret := sealedAt("", v); secret {
		return nil, false
	}
	patch, _ := v.(map[string]any)
	if len(patch) == 0 {
		return nil, true
	}
	return patch, true
}
