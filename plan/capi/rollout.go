package capi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Observed is what was seen of one pool at one moment. Every object may come
// in the v1beta1 or the v1beta2 form, each by its own apiVersion, and the
// slices may hold objects of other pools and of the control plane: Judge picks
// those of the MachineDeployment. It changes nothing in them.
type Observed struct {
	MachineDeployment *unstructured.Unstructured
	MachineSets       []*unstructured.Unstructured
	Machines          []*unstructured.Unstructured
	// InfraMachines and BootstrapConfigs are the objects that the Machines
	// refer to, where they could be read. They add the provider's own words and
	// the name of the template that a machine was made from; without them the
	// judgement rests on the Machines.
	InfraMachines    []*unstructured.Unstructured
	BootstrapConfigs []*unstructured.Unstructured
	// Kept may be nil; it stands in the place of the three lists before it.
	Kept *Kept
	// Cluster may be nil; it is read for spec.paused alone.
	Cluster *unstructured.Unstructured
	// Memo may be nil; with it, Machines that were judged before are judged sooner.
	Memo *Memo
}

// Kept are the Machines of an Observed, and what they refer to, as they are kept.
// Of what is packed no more is made anew than what has not been judged yet.
type Kept struct{ Machines, InfraMachines, BootstrapConfigs []*Packed }

func (o Observed) kept() Kept {
	if o.Kept != nil {
		return *o.Kept
	}
	whole := func(list []*unstructured.Unstructured) (out []*Packed) {
		for _, object := range list {
			if object != nil && object.Object != nil {
				out = append(out, Whole(object))
			}
		}
		return out
	}
	return Kept{whole(o.Machines), whole(o.InfraMachines), whole(o.BootstrapConfigs)}
}

// Rollout is the judgement of one pool at one moment.
type Rollout struct {
	// Complete says that every Machine of the pool is what the
	// MachineDeployment's template, as it is now, asks for.
	Complete bool
	// InPlace marks the judgement of JudgeInPlace, which says what of the fields
	// below means something else.
	InPlace bool
	// Waiting is the first unmet condition of completion in words for a person;
	// empty when complete.
	Waiting string
	// Desired is the live spec.replicas, which an autoscaler may move at any time.
	Desired int
	// New counts the Machines of the wanted MachineSet, NewReady those of them
	// that are available, and Old the Machines still there of other MachineSets,
	// those being deleted included.
	New, NewReady, Old int
	// Machines lists them all: old ones first, then by creation and by name.
	Machines []Machine
	// Stalls are the causes visible now, the most telling first; empty means
	// that nothing wrong is to be seen, not that all is done.
	Stalls []Stall
	// Suspicions are what would explain a standstill, the most telling first:
	// waits that are no fault until they last. See Suspect.
	Suspicions []Stall
	// Fingerprint changes exactly when there is progress: when a Machine comes
	// or goes, or its phase, the status or reason of one of its conditions, or
	// what its deletion waits for changes. Heartbeats, times, resource versions
	// and the order of the slices do not move it.
	Fingerprint string
}

// Machine is one Machine of the pool.
type Machine struct {
	Name, Namespace string
	// Node is the name of its node in the workload cluster; empty until it joined.
	Node string
	// Set is the name of its MachineSet.
	Set string
	// Version is what it should run (spec.version), KubeletVersion what its node
	// reports; in-memory nodes report nothing.
	Version, KubeletVersion string
	// Phase is status.phase: Pending, Provisioning, Provisioned, Running,
	// Updating, Deleting, Deleted, Failed or Unknown.
	Phase string
	// Old is set on a Machine that is not of the wanted MachineSet.
	Old bool
	// Ready is set on a Machine that counts as available.
	Ready bool
	// Proved is set on a new Machine that is ready and as wanted, though it may
	// have to stay so for minReadySeconds before it counts as available.
	Proved bool
	// ProvedSince is when a Machine that is Proved became ready, RFC 3339.
	ProvedSince string
	// Deleting is set on a Machine with a deletion timestamp.
	Deleting bool
	// Waiting is what it waits for, with the reason, in one line; empty when it
	// waits for nothing.
	Waiting string
	// Created is metadata.creationTimestamp, RFC 3339.
	Created string
	// ReadySince is when it last became available, RFC 3339; empty when it is
	// not or does not tell.
	ReadySince string
	// Image is the machine image of its infrastructure machine; empty when
	// that was not seen or its kind is not known.
	Image string
}

// Judge says how far the rollout of a pool is, from its Machines and
// MachineSets and never from the MachineDeployment's own counters: those are
// summed over three controllers and read complete for up to two seconds after
// a patch.
//
// A rollout is complete when, all at once,
//
//  1. the MachineDeployment's controller has observed the live generation;
//  2. exactly one MachineSet of the pool matches spec.template by version,
//     bootstrap, infrastructureRef and failureDomain, and its spec, status, ready
//     and available replicas are the live spec.replicas, as is the number of its
//     Machines;
//  3. no other MachineSet of the pool has replicas, and no Machine of another one
//     is left, those being deleted included;
//  4. each Machine has the version and a node, a kubelet of that version where
//     the node reports one, and an infrastructure machine and a bootstrap config
//     made from the templates where they were observed;
//  5. with 0 replicas, nothing but 1 and 3: no machine has tried the template.
//
// It does not tell a fault from a wait by the clock: see Stalls and Suspect.
func Judge(o Observed) Rollout {
	p := poolOf(o)
	desired, _ := p.desired()
	r := Rollout{
		Desired:     int(desired),
		Waiting:     p.unmet(),
		Fingerprint: p.fingerprint(),
	}
	r.Complete = r.Waiting == ""
	r.Machines = slices.Grow(r.Machines, len(p.machines))
	for _, m := range p.machines {
		r.Machines = append(r.Machines, m.judged.row)
		switch {
		case m.old:
			r.Old++
		default:
			r.New++
			if m.judged.row.Ready {
				r.NewReady++
			}
		}
	}
	if !r.Complete {
		r.Stalls, r.Suspicions = p.stalls(r.Waiting)
	}
	return r
}

// desired is the live spec.replicas: read again each time, for an autoscaler
// may have moved it.
func (p *pool) desired() (int64, bool) {
	n, ok := p.deployment.number("spec", "replicas")
	return n, ok && n >= 0
}

func (p *pool) strategy() string {
	if p.deployment.oldForm() {
		return p.deployment.text("spec", "strategy", "type")
	}
	return p.deployment.text("spec", "rollout", "strategy", "type")
}

// observed says whether the controller has seen the live generation. Any
// number missing counts as not yet.
func (p *pool) observed() (generation, last int64, ok bool) {
	generation, known := p.deployment.number("metadata", "generation")
	last, reported := p.deployment.number("status", "observedGeneration")
	return generation, last, known && reported && last >= generation
}

// unmet is the first condition of completion that is not met, in words.
func (p *pool) unmet() string {
	if p.deployment == nil {
		return "the MachineDeployment is not there"
	}
	if p.deployment.deleting() {
		return "the MachineDeployment is being deleted"
	}
	desired, known := p.desired()
	if !known {
		return "spec.replicas of the MachineDeployment is not set"
	}
	if generation, last, ok := p.observed(); !ok {
		return fmt.Sprintf("the MachineDeployment controller has not acted on generation %d yet (last seen: %d)", generation, last)
	}
	waiting := filter(p.machines, func(m member) bool { return m.old && !m.judged.row.Deleting })
	if p.onDelete && len(waiting) > 0 {
		return fmt.Sprintf("strategy OnDelete: %s must be deleted by someone, none is replaced before", count(len(waiting), "old Machine"))
	}
	if desired > 0 {
		if unmet := p.unmetNew(desired); unmet != "" {
			return unmet
		}
	}
	return p.unmetOld(desired)
}

// unmetNew covers the wanted MachineSet and its Machines.
func (p *pool) unmetNew(desired int64) string {
	wanted, ok := p.wanted()
	if !ok {
		return "no MachineSet has the wanted template yet"
	}
	if len(p.matching) > 1 {
		return fmt.Sprintf("%d MachineSets have the wanted template, one is to remain", len(p.matching))
	}
	var news []member
	ready := 0
	for _, m := range p.machines {
		if !m.old {
			news = append(news, m)
		}
	}
	first := "" // what the first Machine that is not ready waits for
	for _, m := range news {
		switch row := m.judged.row; {
		case row.Ready:
			ready++
		case first == "":
			first = fmt.Sprintf("Machine %s: %s", row.Name, row.Waiting)
		}
	}
	tally := fmt.Sprintf("%d of %d new Machines are available", ready, desired)
	switch {
	case first != "":
		return tally + "; " + first
	case int64(ready) < desired:
		for _, m := range p.machines {
			if row := m.judged.row; row.Old && row.Deleting {
				return fmt.Sprintf("%s; old Machine %s: %s", tally, row.Name, row.Waiting)
			}
		}
		return tally
	case int64(len(news)) != desired:
		return fmt.Sprintf("%d new Machines are there, %d are wanted", len(news), desired)
	}
	status := "status" // where the counters of readiness are
	if wanted.oldForm() && wanted.at("status", "v1beta2") != nil {
		status = "status.v1beta2"
	}
	for _, counter := range []string{"spec.replicas", "status.replicas", status + ".readyReplicas", status + ".availableReplicas"} {
		n, ok := wanted.number(strings.Split(counter, ".")...)
		switch {
		case !ok:
			return fmt.Sprintf("MachineSet %s does not count %s yet", wanted.name(), counter)
		case n != desired:
			return fmt.Sprintf("MachineSet %s has %s %d, %d are wanted", wanted.name(), counter, n, desired)
		}
	}
	return ""
}

// unmetOld covers what must be gone.
func (p *pool) unmetOld(desired int64) string {
	var left []member
	for _, m := range p.machines {
		if m.old || desired == 0 {
			left = append(left, m)
		}
	}
	// One that is on its way out tells more than one whose turn has not come.
	slices.SortStableFunc(left, func(a, b member) int {
		switch x, y := a.judged.row.Deleting, b.judged.row.Deleting; {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	})
	if len(left) > 0 {
		m := left[0]
		kind := "old Machine"
		if !m.old {
			kind = "Machine"
		}
		unmet := fmt.Sprintf("%s %s is still there: %s", kind, m.judged.row.Name, cmp.Or(m.judged.row.Waiting, "it is to be deleted"))
		if len(left) > 1 {
			unmet += fmt.Sprintf("; and %d more", len(left)-1)
		}
		return unmet
	}
	sets := p.others
	if desired == 0 {
		sets = slices.Concat(p.matching, p.others)
	}
	for _, set := range sets {
		for _, path := range [][]string{{"spec", "replicas"}, {"status", "replicas"}} {
			if n, ok := set.number(path...); ok && n > 0 {
				return fmt.Sprintf("MachineSet %s still has %s %d", set.name(), strings.Join(path, "."), n)
			}
		}
	}
	return ""
}

// waits is what a Machine waits for, in one line.
func (a asked) waits(m poolMachine, holds []hold) string {
	switch {
	case len(holds) > 0:
		return holds[0].line
	case m.deleting():
		return "deletion: just begun"
	case m.old && a.onDelete:
		return "somebody to delete it (strategy OnDelete)"
	case m.old:
		return "its turn to be replaced"
	}
	return ""
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func seenAll(list []*unstructured.Unstructured) []seen {
	var all []seen
	for _, object := range list {
		if object != nil && object.Object != nil {
			all = append(all, object.Object)
		}
	}
	return all
}
