package capi

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// templateRef is a reference without its API version: that alone never rolls a
// pool (mdutil.MachineTemplateUpToDate).
type templateRef struct{ group, kind, name string }

// templateRefOf reads {apiGroup, kind, name} of v1beta2 or {apiVersion, kind,
// name, namespace} of v1beta1.
func templateRefOf(ref seen) templateRef {
	group := ref.text("apiGroup")
	if group == "" {
		group, _, _ = strings.Cut(ref.text("apiVersion"), "/")
	}
	return templateRef{group: group, kind: ref.text("kind"), name: ref.text("name")}
}

// rollingTemplate holds the fields of a machine template that make a
// MachineDeployment roll; all others change in place.
// Source: mdutil.MachineTemplateUpToDate of Cluster API v1.13.4.
type rollingTemplate struct {
	version, failureDomain, dataSecret string
	bootstrap, infrastructure          templateRef
}

func rollingTemplateOf(owner seen) rollingTemplate {
	spec := owner.object("spec", "template", "spec")
	return rollingTemplate{
		version:        withV(spec.text("version")),
		failureDomain:  spec.text("failureDomain"),
		dataSecret:     spec.text("bootstrap", "dataSecretName"),
		bootstrap:      templateRefOf(spec.object("bootstrap", "configRef")),
		infrastructure: templateRefOf(spec.object("infrastructureRef")),
	}
}

// withV is the version as the webhook stores it.
func withV(version string) string {
	if version == "" || strings.HasPrefix(version, "v") {
		return version
	}
	return "v" + version
}

// KubeletRuns says whether a node's kubelet is of the version asked for. What a
// distributor appends (v1.35.2-eks-1a2b, +rke2r1) is not compared, a
// pre-release of Kubernetes itself (v1.36.0-rc.0) is.
func KubeletRuns(kubelet, version string) bool {
	return kubernetesRelease(kubelet) == kubernetesRelease(version)
}

func kubernetesRelease(version string) string {
	version, _, _ = strings.Cut(withV(version), "+")
	core, pre, _ := strings.Cut(version, "-")
	for _, own := range []string{"alpha", "beta", "rc"} {
		if strings.HasPrefix(pre, own) {
			return core + "-" + pre
		}
	}
	return core
}

// pool is what of an Observed belongs to its MachineDeployment.
type pool struct {
	deployment seen
	cluster    seen
	template   rollingTemplate
	matching   []seen // MachineSets that match the template, the wanted one first
	others     []seen // all other MachineSets, by name
	machines   []poolMachine
	external   map[externalKey]seen // infrastructure machines and bootstrap configs
}

type poolMachine struct {
	seen
	set    string // name of its MachineSet
	old    bool
	config seen // its bootstrap config where observed
	infra  seen // its infrastructure machine where observed
	read   *readings
	held   *[]hold // once they are known
}

// readings are what is asked of a Machine again and again.
type readings struct {
	conditions, oldConditions []rolloutCondition
	fingerprint               [16]byte
}

// Memo keeps what was read out of Machines from one judgement to the next: of a
// pool of 100, most are as they were. Its zero value is ready for use, by several
// goroutines. It goes by the objects themselves, which must not change.
type Memo struct {
	mu    sync.Mutex
	known map[*unstructured.Unstructured]*readings
}

// reading gives what was read out of a Machine, or reads it, and keeps it in next.
func (m *Memo) reading(o *unstructured.Unstructured, next map[*unstructured.Unstructured]*readings) *readings {
	r := m.known[o]
	if r == nil {
		object := seen(o.Object)
		r = &readings{conditions: object.conditions(), oldConditions: object.oldConditions()}
		r.fingerprint = r.print(object)
	}
	next[o] = r
	return r
}

// print digests what moves of a Machine when the rollout moves, and nothing else.
func (r *readings) print(m seen) (digest [16]byte) {
	var b []byte
	text := func(parts ...string) {
		for _, part := range parts {
			b = append(strconv.AppendInt(b, int64(len(part)), 10), ':')
			b = append(b, part...)
		}
	}
	text(m.name(), m.uid(), m.text("status", "phase"), m.text("status", "nodeRef", "name"), strconv.FormatBool(m.deleting()))
	list := r.conditions
	if len(list) == 0 {
		list = r.oldConditions
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b rolloutCondition) int { return cmp.Compare(a.kind, b.kind) })
	for _, c := range list {
		text(c.kind, c.status, c.reason)
		switch c.kind {
		case clusterv1.MachineDeletingCondition, string(clusterv1.DrainingSucceededV1Beta1Condition):
			text(c.message) // pod after pod leaves the node
		}
	}
	sum := sha256.Sum256(b)
	copy(digest[:], sum[:])
	return digest
}

// conditions and oldConditions are those of seen, read once.
func (m poolMachine) conditions() []rolloutCondition { return m.read.conditions }

func (m poolMachine) oldConditions() []rolloutCondition { return m.read.oldConditions }

func (m poolMachine) condition(kind, oldKind string) (rolloutCondition, bool) {
	if c, ok := findCondition(m.conditions(), kind); ok || oldKind == "" {
		return c, ok
	}
	return findCondition(m.oldConditions(), oldKind)
}

type externalKey struct{ group, kind, namespace, name string }

func poolOf(o Observed) pool {
	p := pool{external: map[externalKey]seen{}}
	if o.Cluster != nil {
		p.cluster = o.Cluster.Object
	}
	if o.MachineDeployment != nil {
		p.deployment = o.MachineDeployment.Object
	}
	if p.deployment == nil {
		return p
	}
	for _, list := range [][]seen{seenAll(o.InfraMachines), seenAll(o.BootstrapConfigs)} {
		for _, object := range list {
			group, _, _ := strings.Cut(object.text("apiVersion"), "/")
			p.external[externalKey{group, object.kind(), object.namespace(), object.name()}] = object
		}
	}
	p.template = rollingTemplateOf(p.deployment)
	p.takeSets(seenAll(o.MachineSets))
	p.takeMachines(o.Memo, o.Machines, seenAll(o.MachineSets))
	return p
}

// takeSets sorts the pool's MachineSets into those that match the template and
// the others.
func (p *pool) takeSets(sets []seen) {
	for _, set := range sets {
		if !p.ownsSet(set) {
			continue
		}
		if rollingTemplateOf(set) == p.template && !set.deleting() {
			p.matching = append(p.matching, set)
		} else {
			p.others = append(p.others, set)
		}
	}
	// Of several that match, the controller takes the one with the most replicas
	// (mdutil.FindNewAndOldMachineSets).
	slices.SortFunc(p.matching, func(a, b seen) int {
		x, _ := a.number("spec", "replicas")
		y, _ := b.number("spec", "replicas")
		return cmp.Or(cmp.Compare(y, x), cmp.Compare(a.created(), b.created()), cmp.Compare(a.name(), b.name()))
	})
	// Once spec.rollout.after has passed, a set from before it no longer matches,
	// whatever its template. Only a newer one that matches proves, without a
	// clock, that it has passed.
	if after, ok := p.rolloutAfter(); ok {
		before := func(set seen) bool {
			created, err := time.Parse(time.RFC3339, set.created())
			return err == nil && created.Before(after)
		}
		if slices.ContainsFunc(p.matching, func(set seen) bool { return !before(set) }) {
			p.others = append(p.others, filter(p.matching, before)...)
			p.matching = slices.DeleteFunc(p.matching, before)
		}
	}
	slices.SortFunc(p.others, func(a, b seen) int { return cmp.Compare(a.name(), b.name()) })
}

func (p *pool) rolloutAfter() (time.Time, bool) {
	text := p.deployment.text("spec", "rollout", "after")
	if p.deployment.oldForm() {
		text = p.deployment.text("spec", "rolloutAfter")
	}
	after, err := time.Parse(time.RFC3339, text)
	return after, err == nil
}

// ownsSet says whether a MachineSet belongs to the pool: by its controller, or
// by its labels where it has no controller, or one of our name that is gone
// (names are unique, so another UID means another life of the same name).
func (p *pool) ownsSet(set seen) bool {
	if set.namespace() != p.deployment.namespace() {
		return false
	}
	owner, ok := set.controller()
	if !ok {
		return p.labelled(set)
	}
	if uid := owner.text("uid"); uid != "" && uid == p.deployment.uid() {
		return true
	}
	return owner.text("kind") == "MachineDeployment" && owner.text("name") == p.deployment.name() && p.labelled(set)
}

func (p *pool) labelled(object seen) bool {
	return p.deployment.name() != "" &&
		object.label(clusterv1.MachineDeploymentNameLabel) == p.deployment.name() &&
		object.label(clusterv1.ClusterNameLabel) == p.deployment.text("spec", "clusterName")
}

func (p *pool) takeMachines(memo *Memo, machines []*unstructured.Unstructured, allSets []seen) {
	if memo == nil {
		memo = &Memo{}
	}
	memo.mu.Lock()
	defer memo.mu.Unlock()
	next := map[*unstructured.Unstructured]*readings{}
	defer func() { memo.known = next }() // all others are forgotten
	own, foreign := map[string]seen{}, map[string]bool{}
	for _, set := range slices.Concat(p.matching, p.others) {
		own[set.uid()] = set
	}
	for _, set := range allSets {
		// A Machine of a MachineSet that is there and not ours is not ours either,
		// whatever its labels say.
		foreign[set.uid()] = own[set.uid()] == nil
	}
	for _, o := range machines {
		if o == nil || o.Object == nil {
			continue
		}
		m := seen(o.Object)
		if m.namespace() != p.deployment.namespace() {
			continue
		}
		set, owned := seen(nil), false
		owner, ok := m.controller()
		if ok {
			set, owned = own[owner.text("uid")], own[owner.text("uid")] != nil
		}
		switch {
		case owned:
		case ok && (owner.text("kind") != "MachineSet" || foreign[owner.text("uid")]):
			continue // of another pool, or of the control plane
		case !p.labelled(m):
			continue
		default:
			// Its MachineSet is gone or was not seen, or it has no owner: the labels
			// say whose it is.
			for _, s := range own {
				if s.name() == m.label(clusterv1.MachineSetNameLabel) && s.name() != "" && !ok {
					set = s
				}
			}
		}
		member := poolMachine{seen: m, set: set.name(), old: true, read: memo.reading(o, next), held: new([]hold)}
		if member.set == "" {
			member.set = cmp.Or(m.label(clusterv1.MachineSetNameLabel), owner.text("name"))
		}
		if wanted, ok := p.wanted(); ok && set != nil {
			member.old = set.name() != wanted.name()
		}
		member.infra = p.externalOf(m, m.object("spec", "infrastructureRef"))
		member.config = p.externalOf(m, m.object("spec", "bootstrap", "configRef"))
		p.machines = append(p.machines, member)
	}
	slices.SortFunc(p.machines, func(a, b poolMachine) int {
		if a.old != b.old {
			if a.old {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.created(), b.created()), cmp.Compare(a.name(), b.name()), cmp.Compare(a.uid(), b.uid()))
	})
}

func (p *pool) externalOf(m, ref seen) seen {
	r := templateRefOf(ref)
	return p.external[externalKey{r.group, r.kind, m.namespace(), r.name}]
}

// wanted is the MachineSet that matches the template.
func (p *pool) wanted() (seen, bool) {
	if len(p.matching) == 0 {
		return nil, false
	}
	return p.matching[0], true
}

func (m poolMachine) node() string { return m.text("status", "nodeRef", "name") }

func (m poolMachine) kubelet() string { return m.text("status", "nodeInfo", "kubeletVersion") }

// available says whether the Machine counts as available, by its own word.
// Before Cluster API 1.9 a Machine had no such condition; it is ready then when
// its infrastructure and its node are.
func (m poolMachine) available() bool {
	if m.deleting() {
		return false
	}
	if list := m.conditions(); len(list) > 0 {
		c, _ := findCondition(list, clusterv1.MachineAvailableCondition)
		return c.holds()
	}
	old := m.oldConditions()
	infra, _ := findCondition(old, string(clusterv1.InfrastructureReadyV1Beta1Condition))
	node, _ := findCondition(old, string(clusterv1.MachineNodeHealthyV1Beta1Condition))
	return m.node() != "" && infra.holds() && node.holds()
}

// readySince is when the Machine last became available, by its own word.
func (m poolMachine) readySince() string {
	if !m.available() {
		return ""
	}
	if c, ok := findCondition(m.conditions(), clusterv1.MachineAvailableCondition); ok {
		return c.since
	}
	c, _ := findCondition(m.oldConditions(), string(clusterv1.MachineNodeHealthyV1Beta1Condition))
	return c.since
}

// image is the machine image that its infrastructure machine names. What a
// template has below spec.template.spec, the object made from it has below spec.
func (m poolMachine) image() string {
	p, ok := providers[m.infra.kind()+"Template"]
	if !ok || p.image == nil {
		return ""
	}
	return m.infra.text(append([]string{"spec"}, p.image.Path...)...)
}

// ready is the condition that says that a Machine is ready. Before Cluster API
// 1.9 that is its node's.
func (m poolMachine) ready() rolloutCondition {
	if list := m.conditions(); len(list) > 0 {
		c, _ := findCondition(list, clusterv1.MachineReadyCondition)
		return c
	}
	c, _ := findCondition(m.oldConditions(), string(clusterv1.MachineNodeHealthyV1Beta1Condition))
	return c
}

// proved says whether a new Machine is all that it should be, minReadySeconds
// apart (machine_controller_status.go, setAvailableCondition).
func (p *pool) proved(m poolMachine, holds []hold) bool {
	if m.old || m.deleting() || m.node() == "" || !m.ready().holds() {
		return false
	}
	if m.available() {
		return len(holds) == 0
	}
	c, _ := m.condition(clusterv1.MachineAvailableCondition, "")
	return c.reason == clusterv1.MachineWaitingForMinReadySecondsReason && len(holds) == 1 && holds[0].Cause == StallMachineNotReady && len(p.mismatchHolds(m)) == 0
}

// fingerprint digests what moves when the rollout moves, and nothing else.
func (p *pool) fingerprint() string {
	machines := make([][16]byte, len(p.machines))
	for i, m := range p.machines {
		machines[i] = m.read.fingerprint
	}
	slices.SortFunc(machines, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	sum := sha256.New()
	for _, m := range machines {
		sum.Write(m[:])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

func filter[T any](list []T, keep func(T) bool) []T {
	var kept []T
	for _, item := range list {
		if keep(item) {
			kept = append(kept, item)
		}
	}
	return kept
}
