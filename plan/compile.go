package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// ErrIncomplete says that a snapshot lacks the answer to a selector of Needs.
// It is a mistake of the caller: Compile must be given a snapshot for which
// Needs asks no more.
var ErrIncomplete = errors.New("the snapshot does not hold all that the plan needs")

// Needs says what must be looked up next to compile up; empty means that snap
// is enough. Each round's answers may lead to further questions, three rounds
// at most plus one for each name that other content has taken.
func Needs(up schema.Upgrade, snap Snapshot) []Selector {
	_, missing, _ := look(up, snap)
	return missing
}

// Compile makes the plan that turns what snap shows into what up asks for.
// The same input gives the same bytes. A plan without steps means that every
// pool is as wanted and its rollout is complete; at the target but still
// rolling gives the wait alone.
//
// What stands in the way is no error but a finding of severity Block, and
// Blocked is set. An error is a *schema.InvalidError, when the upgrade asks
// for something that the pool's templates cannot mean, with all problems at
// once; or ErrIncomplete.
func Compile(up schema.Upgrade, snap Snapshot) (Plan, error) {
	pools, missing, problems := look(up, snap)
	if len(missing) > 0 {
		return Plan{}, fmt.Errorf("%w: %s", ErrIncomplete, missing[0].Ref)
	}
	if len(problems) > 0 {
		return Plan{}, &schema.InvalidError{Problems: problems}
	}
	p := Plan{
		APIVersion: APIVersion,
		Kind:       Kind,
		Upgrade:    UpgradeRef{Name: up.Metadata.Name, Cluster: up.Spec.Cluster},
		Steps:      []Step{},
	}
	cluster, ok := snap.Object(clusterRefOf(up))
	if ok {
		p.Upgrade.Content = sealedSpec(up, sealerOf(cluster))
		p.Upgrade.Spec = digestOf(p.Upgrade.Content)
	}
	findings, blocked := check(up, pools, snap)
	p.Findings, p.Blocked = inOrder(findings), blocked
	var perPool [][]Step
	marks := markerOf(p.Upgrade)
	for _, pl := range pools {
		if pl.md == nil || pl.wanted == nil {
			p.Impact = append(p.Impact, PoolImpact{Pool: pl.spec.Name, Action: None})
			continue
		}
		perPool = append(perPool, pl.steps(marks))
		impact := pl.impact()
		for _, t := range []template{pl.infra, pl.bootstrap} {
			if t.create != nil && t.there {
				impact.Reuses = append(impact.Reuses, t.create.Ref.Name)
			}
		}
		p.Impact = append(p.Impact, impact)
	}
	p.Steps = append(p.Steps, ordered(up.Spec.Order, perPool)...)
	if len(p.Steps) > 0 {
		pre := Step{ID: "preflight", Preflight: &Preflight{Checks: checkCodes()}}
		p.Steps = append([]Step{pre}, p.Steps...)
		p.Findings = answerAll(checkCodes(), p.Findings)
	}
	p.Digest = p.Sum()
	return p, nil
}

// sealedSpec is the effective spec of up in canonical form, sealed.
func sealedSpec(up schema.Upgrade, s sealer) json.RawMessage {
	tree, err := decodeValue(mustCanonical(up.Spec))
	if err != nil {
		panic(err) // canonical JSON of our own always decodes
	}
	return mustCanonical(s.seal(tree))
}

// UpgradeOf gives back the upgrade that p was compiled from. Its secrets are
// sealed, so a plan compiled from it has the same steps and findings, and
// cannot be carried out without the upgrade file where it holds secrets.
func UpgradeOf(p Plan) (schema.Upgrade, error) {
	up := schema.Upgrade{APIVersion: schema.APIVersion, Kind: schema.Kind, Metadata: schema.Metadata{Name: p.Upgrade.Name}}
	if len(p.Upgrade.Content) == 0 {
		up.Spec.Cluster = p.Upgrade.Cluster
		return up, nil
	}
	if err := json.Unmarshal(p.Upgrade.Content, &up.Spec); err != nil {
		return up, &FileError{"the upgrade in this plan cannot be read: " + oneLine(err), "make the plan again with nodepool plan"}
	}
	return up, nil
}

// SecretsOf collects the values of up that a plan compiled from up and snap
// holds only as hashes.
func SecretsOf(up schema.Upgrade, snap Snapshot) Secrets {
	out := Secrets{opened: map[string]any{}}
	cluster, ok := snap.Object(clusterRefOf(up))
	if !ok {
		return out
	}
	s := sealerOf(cluster)
	s.opened = out.opened
	for _, p := range up.Spec.Pools {
		s.seal(p.MachineImage)
		s.seal(p.InstanceType)
		s.seal(p.Infrastructure)
		s.seal(p.Bootstrap)
	}
	return out
}

// Sum is the digest of what is signed: the upgrade and the steps. These are digested
// one by one, since those of many pools take megabytes as JSON.
func (p Plan) Sum() Digest {
	head := mustCanonical(struct {
		APIVersion string
		Kind       string
		Upgrade    UpgradeRef
		Steps      []Step
	}{p.APIVersion, p.Kind, p.Upgrade, p.Steps[:0]})
	if len(p.Steps) == 0 {
		return digestOfJSON(head)
	}
	const end = "]}"
	sum := sha256.New()
	sum.Write(bytes.TrimSuffix(head, []byte(end)))
	for i, s := range p.Steps {
		if i > 0 {
			sum.Write([]byte{','})
		}
		sum.Write(mustCanonical(s))
	}
	sum.Write([]byte(end))
	return digestOfSum(sum)
}

// ordered lays the pools' steps out: one pool after the other; or, in parallel,
// stage by stage, where the waits end a stage: all that is written first and
// then all waits, which are waited for together. What comes before the rollouts
// is done for all pools before the first of them begins, so that no pool waits
// for the rollout of another.
func ordered(order schema.Order, perPool [][]Step) []Step {
	if order != schema.Parallel {
		return slices.Concat(perPool...)
	}
	var before [][]Step
	for i, steps := range perPool {
		n := 1 + slices.IndexFunc(steps, func(s Step) bool { return s.Wait != nil && len(s.Wait.Propagated) > 0 })
		before, perPool[i] = append(before, steps[:n]), steps[n:]
	}
	return append(staged(before), staged(perPool)...)
}

func staged(perPool [][]Step) []Step {
	var out []Step
	for left := true; left; {
		left = false
		var waits []Step
		for i, steps := range perPool {
			n := slices.IndexFunc(steps, func(s Step) bool { return s.Wait != nil })
			if n < 0 {
				n = len(steps)
			}
			out = append(out, steps[:n]...)
			steps = steps[n:]
			if len(steps) > 0 {
				waits, steps = append(waits, steps[0]), steps[1:]
			}
			perPool[i] = steps
			left = left || len(steps) > 0
		}
		out = append(out, waits...)
	}
	return out
}

// steps gives what is to be done for the pool: what must come before the
// rollout, creates, one patch, a wait; with a canary, a patch that holds the
// rollout at the first new machines, a wait for them, the patch that releases
// it, a wait; the wait alone when the pool is as wanted and still rolling;
// nothing when it is done.
func (p *pool) steps(marks marker) []Step {
	from, mark := p.md, p.md.GetAnnotations()[RunAnnotation]
	if len(p.changes(p.md, p.wanted)) == 0 {
		if p.rollout.Complete {
			return nil
		}
		return []Step{p.rolloutStep(marks, mark)}
	}
	out := p.inPlaceSteps(marks)
	if len(out) > 0 {
		from = p.withDrain(p.md)
		if first := out[0].Patch; first != nil {
			mark = first.Run.After
		}
	}
	for _, t := range []struct {
		id string
		template
	}{{createInfrastructure, p.infra}, {createBootstrap, p.bootstrap}} {
		if t.create != nil {
			out = append(out, Step{
				ID:     p.spec.Name + t.id,
				Pool:   p.spec.Name,
				Note:   "Creating a template changes no machine.",
				Create: t.create,
			})
		}
	}
	write := func(id, note string, changes []Change, facts []Fact) {
		patch := p.patch(marks, changes, mark)
		mark = patch.Run.After
		out = append(out, Step{ID: p.spec.Name + "/" + id, Pool: p.spec.Name, Note: note, Facts: facts, Patch: patch})
	}
	canary := p.canary()
	if canary == nil {
		id, note := "patch", p.patchNote()
		if p.releases() {
			id, note = release, "This ends the hold that an earlier run left; the rollout goes on."
		}
		changes := p.changes(from, p.wanted)
		write(id, note, changes, p.facts(p.md, changes))
		return append(out, p.rolloutStep(marks, mark))
	}
	held := p.held(canary.Machines)
	relies, before := p.md, p.changes(from, held)
	if len(before) > 0 {
		note := p.patchNote() + fmt.Sprintf(" It is held at %s.", newMachines(canary.Machines))
		if !p.rolls() {
			note = "The rollout is held already; this brings the hold in line with the upgrade."
		}
		write("patch", note, before, p.facts(p.md, before))
		relies = held
	}
	wait := p.wait(p.wanted, p.infra.name(), p.bootstrap.name())
	wait.Canary = &Canary{Machines: canary.Machines, Soak: canary.Soak.String(), Command: canary.Command}
	wait.Rollback = p.spec.OnStall == schema.Rollback
	out = append(out, Step{ID: p.spec.Name + "/wait-canary", Pool: p.spec.Name, Facts: p.holdFacts(held), Wait: wait})
	// What is held is never what is wanted: no upgrade sets minReadySeconds.
	changes := p.changes(held, p.wanted)
	write(release, "This ends the hold: the rollout goes on with the reviewed values.", changes,
		p.facts(relies, slices.Concat(before, changes)))
	return append(out, p.rolloutStep(marks, mark))
}

// rolloutStep waits for the pool's rollout, and pauses it on a stall where the
// upgrade says so; run is the mark that its MachineDeployment bears by then.
func (p *pool) rolloutStep(marks marker, run string) Step {
	s := Step{ID: p.spec.Name + "/wait", Pool: p.spec.Name, Wait: p.wait(p.wanted, p.infra.name(), p.bootstrap.name())}
	switch p.spec.OnStall {
	case schema.Pause:
		s.Wait.Pause = p.pause(marks, run)
	case schema.Rollback:
		s.Wait.Rollback = true
	case schema.Stop:
	}
	return s
}

func (p *pool) sealed(tree map[string]any) any { return sealerOf(p.cluster).seal(tree) }

func (p *pool) patchNote() string {
	switch {
	case !p.rolls():
		return "Cluster API takes this over in place; no machine is replaced."
	case p.strategyType() == "OnDelete":
		return "The strategy is OnDelete: no machine is replaced until someone deletes it."
	case p.back != nil && p.back.make == 0:
		return "This write ends the rollout: the old machines are all still there, and those of the new template are deleted."
	case p.back != nil:
		return fmt.Sprintf("This write starts the rollout back: machines are made from %s again.", p.infra.ref)
	}
	if p.infra.create == nil && p.infra.obj != nil {
		return fmt.Sprintf("This write starts the rollout. No new infrastructure template is needed: machines are made from %s as it is.", p.infra.ref)
	}
	return "This write starts the rollout."
}

// marker names runs. What it digests of the upgrade is the same for all patches,
// and as long as the file of all pools.
type marker struct {
	name string
	head []byte // the state of the hash behind the upgrade
}

func markerOf(up UpgradeRef) marker {
	sum := sha256.New()
	sum.Write(bytes.TrimSuffix(mustCanonical(struct{ Upgrade UpgradeRef }{up}), []byte("}")))
	sum.Write([]byte(`,"Patch":`))
	head, err := sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(err) // crypto/sha256 promises it
	}
	return marker{up.Name, head}
}

// mark names the run that makes this patch. It is made of what the patch
// does and of the run before it, so that the same change made a second time,
// after a rollback, bears another mark.
func (m marker) mark(patch Patch) string {
	patch.Run.After = ""
	sum := sha256.New()
	if err := sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(m.head); err != nil {
		panic(err) // it comes from markerOf
	}
	sum.Write(mustCanonical(patch))
	sum.Write([]byte("}"))
	return m.name + "-" + digestOfSum(sum).Short()
}

// wait gives the wait for what md, the MachineDeployment at that time, names.
func (p *pool) wait(md *unstructured.Unstructured, template, bootstrapTemplate string) *Wait {
	return &Wait{
		MachineDeployment: p.ref,
		UID:               string(p.md.GetUID()),
		Cluster:           capi.RefOf(p.cluster),
		Template:          template,
		BootstrapTemplate: bootstrapTemplate,
		InfraMachine:      cloned(p.infra.ref),
		BootstrapConfig:   cloned(p.bootstrap.ref),
		Version:           capi.StringAt(md, p.fields.Version...),
		StallAfter:        p.spec.Wait.StallAfter.String(),
	}
}

// facts lists what a patch relies on and does not write, with the values that
// the MachineDeployment from has; changes are those of the patch and of the
// plan's patches before it. The set is fixed by what the pool is, never by what
// its reader may read.
func (p *pool) facts(from *unstructured.Unstructured, changes []Change) []Fact {
	out := make([]Fact, 0, 22) // a pool has about as many
	changed := func(at Pointer) bool {
		for _, c := range changes {
			if at.Within(c.Path) || c.Path.Within(at) {
				return true
			}
		}
		return false
	}
	absent := func(obj Ref, because string, path ...string) {
		out = append(out, Fact{Object: obj, Path: PointerTo(path...), Because: because})
	}
	as := func(obj Ref, tree map[string]any, because string, path ...string) {
		at := PointerTo(path...)
		out = append(out, Fact{Object: obj, Path: at, Equals: valueAt(tree, at), Because: because})
	}
	digest := func(obj Ref, tree map[string]any, because string, path ...string) {
		at := PointerTo(path...)
		v, _ := at.in(tree)
		out = append(out, Fact{Object: obj, Path: at, Digest: digestOf(p.sealed(map[string]any{"value": v})), Because: because})
	}
	cluster := capi.RefOf(p.cluster)
	digest(cluster, p.cluster.Object, "the cluster must be the one that was reviewed", "metadata", "uid")
	// What a check looked at and the upgrade waives is held to what it was.
	unlessWaived := func(check string, obj Ref, tree map[string]any, because string, path ...string) {
		if waives(p.spec, check) != "" {
			as(obj, tree, because, path...)
		} else {
			absent(obj, because, path...)
		}
	}
	unlessWaived(CheckClusterPaused, cluster, p.cluster.Object, "nothing moves in a paused cluster", "spec", "paused")
	// The annotation of that name pauses the Cluster object alone, and is no fact:
	// its pools roll all the same (CheckClusterPaused warns of it).
	absent(cluster, "the cluster must not be going away", "metadata", "deletionTimestamp")
	if p.controlPlane != nil {
		cp := capi.RefOf(p.controlPlane)
		as(cp, p.controlPlane.Object, "the pool's version was checked against it", "spec", "version")
		as(cp, p.controlPlane.Object, "machines are made only while the control plane is at its version", "status", "version")
	}
	md := p.ref
	if !changed(PointerTo(p.fields.Paused...)) {
		unlessWaived(CheckPaused, md, from.Object, "a paused MachineDeployment does not roll", p.fields.Paused...)
	}
	unlessWaived(CheckPaused, md, p.md.Object, "a paused MachineDeployment does not roll", "metadata", "annotations", capi.PausedAnnotation)
	unlessWaived(CheckTopology, md, p.md.Object, "a topology would revert the change", "metadata", "labels", capi.TopologyOwnedLabel)
	absent(md, "the MachineDeployment must not be going away", "metadata", "deletionTimestamp")
	keeps := func(because string, paths ...[]string) {
		for _, path := range paths {
			if !changed(PointerTo(path...)) {
				as(md, from.Object, because, path...)
			}
		}
	}
	keeps("the reviewed rollout keeps it", rollingFields(p.fields)...)
	keeps("it decides how machines are replaced", p.fields.StrategyType, p.fields.MaxSurge, p.fields.MaxUnavailable)
	for _, t := range []template{p.infra, p.bootstrap} {
		if t.obj != nil && t.create == nil && (p.rolls() || p.hold != nil) {
			digest(t.ref, t.obj.Object, "new machines are made from it", "spec")
		}
	}
	if p.back != nil && p.back.bound {
		as(capi.RefOf(p.back.set), p.back.set.Object, "these machines cannot be made again, so they must still be there", "spec", "replicas")
	}
	return out
}

// impact predicts what happens to the pool's machines, with the rounding of
// Cluster API (mdutil.ResolveFenceposts: surge up, unavailable down, and
// unavailable 1 when both come to 0).
func (p *pool) impact() PoolImpact {
	replicas := p.rollout.Desired
	out := PoolImpact{Pool: p.spec.Name, Action: None, Peak: replicas, Floor: replicas}
	if p.back != nil && p.back.stage > 0 {
		return p.impactBack(out)
	}
	if p.unknown() && p.asWanted() {
		out.Note = "what the upgrade asks of a template that does not exist cannot be planned"
	} else if !p.rolls() {
		if p.hold == nil && len(changesBetween("", p.md.Object, p.wanted.Object)) > 0 {
			out.Action = InPlace
		} else if left := p.rollout.Old; left > 0 {
			out.Action, out.Machines = Replace, left
			out.Note = "a rollout to what is asked for is under way; these are the machines left"
			out.Waves, out.Peak, out.Floor = p.waves(left, replicas)
		}
		return out
	}
	out.Action = Replace
	if replicas == 0 {
		out.Note = "nothing exercises the new template"
		return out
	}
	if p.strategyType() == "OnDelete" {
		out.Machines = replicas
		out.Note = "strategy OnDelete: nothing moves until machines are deleted"
		return out
	}
	out.Machines = replicas
	out.Waves, out.Peak, out.Floor = p.waves(replicas, replicas)
	if c := p.canary(); c != nil {
		out.Note = fmt.Sprintf("%s first, to stay ready for %s", newMachines(min(c.Machines, replicas)), c.Soak)
	}
	return out
}

// waves gives in how many rounds so many machines of a pool of replicas are
// replaced, and the most and the fewest machines on the way. A canary is a
// round of its own, beside the replicas.
func (p *pool) waves(machines, replicas int) (waves, peak, floor int) {
	surge, unavailable := p.fenceposts(p.wanted, replicas)
	peak, floor = replicas+surge, max(0, replicas-unavailable)
	if canary := p.canary(); canary != nil {
		first := min(canary.Machines, replicas)
		waves, machines, peak = 1, max(0, machines-first), max(peak, replicas+first)
	}
	each := max(1, surge+unavailable)
	return waves + (machines+each-1)/each, peak, floor
}

// fenceposts resolves how many machines of md may be there beyond its replicas
// and how many may be missing. Neither is more than the replicas: Cluster API
// makes no more new machines than those (NewMSNewReplicas and MaxUnavailable in
// internal/controllers/machinedeployment/mdutil).
func (p *pool) fenceposts(md *unstructured.Unstructured, replicas int) (surge, unavailable int) {
	surge = count(md, p.fields.MaxSurge, replicas, true, 1)
	unavailable = count(md, p.fields.MaxUnavailable, replicas, false, 0)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return min(surge, replicas), min(unavailable, replicas)
}

func (p *pool) strategyType() string { return capi.StringAt(p.wanted, p.fields.StrategyType...) }

// count resolves a number or a percentage of replicas.
func count(md *unstructured.Unstructured, path []string, replicas int, up bool, absent int) int {
	v, ok := PointerTo(path...).in(md.Object)
	if !ok {
		return absent
	}
	switch x := v.(type) {
	case int64:
		return int(x)
	case string:
		if len(x) == 0 || x[len(x)-1] != '%' {
			return absent
		}
		percent, err := strconv.Atoi(x[:len(x)-1])
		if err != nil {
			return absent
		}
		if up {
			return (replicas*percent + 99) / 100
		}
		return replicas * percent / 100
	}
	return absent
}
