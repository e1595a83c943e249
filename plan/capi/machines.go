package capi

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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
	asked
	deployment seen
	cluster    seen
	matching   []seen // MachineSets that match the template, the wanted one first
	others     []seen // all other MachineSets, by name
	machines   []member
}

// asked is what a MachineDeployment asks of each of its Machines. The judgement of
// a Machine is made by methods of it and of nothing larger, since it is kept for as
// long as this, the Machine, its setting and what that refers to are the same.
type asked struct {
	template rollingTemplate
	onDelete bool // the strategy is OnDelete
	after    bool // spec.rollout.after is set
}

// setting is what else the judgement of a Machine rests on.
type setting struct {
	set           string // name of its MachineSet
	old           bool
	infra, config *Packed // what it refers to, where observed
}

// member is a Machine of a pool.
type member struct {
	kept   *Packed
	old    bool
	known  *known
	judged *judgement
}

// poolMachine is a Machine of a pool that is being judged.
type poolMachine struct {
	seen
	set    string // name of its MachineSet
	old    bool
	config seen // its bootstrap config where observed
	infra  seen // its infrastructure machine where observed
	read   *readings
}

// readings are what is asked again and again of a Machine that is judged.
type readings struct{ conditions, oldConditions []rolloutCondition }

// judgement is that of one Machine.
type judgement struct {
	row   Machine
	holds []hold // the one to show first is first
}

// known is what is kept of a Machine.
type known struct {
	namespace, name, uid, created string
	owner                         struct{ kind, name, uid string } // its controller
	owned                         bool                             // it has one
	infra, config                 externalKey
	fingerprint                   [16]byte
	judged                        *judgement // the last, nil when there is none
	under                         setting    // that judged was made for
	turn                          int        // the last judgement that it was there for
}

func knownOf(m seen) *known {
	k := &known{namespace: m.namespace(), name: m.name(), uid: m.uid(), created: m.created()}
	var owner seen
	if owner, k.owned = m.controller(); k.owned {
		k.owner.kind, k.owner.name, k.owner.uid = owner.text("kind"), owner.text("name"), owner.text("uid")
	}
	k.infra = m.refers("spec", "infrastructureRef")
	k.config = m.refers("spec", "bootstrap", "configRef")
	return k
}

// refers gives what an object refers to.
func (s seen) refers(path ...string) externalKey {
	r := templateRefOf(s.object(path...))
	return externalKey{Group: r.group, Kind: r.kind, Namespace: s.namespace(), Name: r.name}
}

// Memo keeps what was found out about Machines from one judgement to the next: of
// a pool of 100, most are as they were, and are not judged again. Its zero value is
// ready for use, by several goroutines. It goes by the objects themselves, which
// must not change.
type Memo struct {
	mu       sync.Mutex
	asked    asked
	machines map[*Packed]*known
	turn     int // counts judgements
	// external holds infrastructure machines and bootstrap configs: those of lists.
	external map[externalKey]*Packed
	lists    [2][]*Packed
}

// begin makes the memo ready for a judgement under what is asked now.
func (m *Memo) begin(now asked, infra, configs []*Packed) {
	if m.asked != now {
		m.asked, m.machines = now, nil
	}
	if m.external != nil && m.renew(0, infra) && m.renew(1, configs) {
		return
	}
	m.external = make(map[externalKey]*Packed, len(infra)+len(configs))
	m.lists = [2][]*Packed{slices.Clone(infra), slices.Clone(configs)}
	for _, list := range m.lists {
		for _, o := range list {
			m.external[externalKey(o.Ref())] = o
		}
	}
}

// renew takes in a list that differs from the last by newer forms of its objects,
// each in its place; false when it differs by more.
func (m *Memo) renew(i int, list []*Packed) bool {
	if len(list) != len(m.lists[i]) {
		return false
	}
	for j, o := range list {
		old := m.lists[i][j]
		if o == old {
			continue
		}
		key := externalKey(o.Ref())
		if old.Ref() != o.Ref() {
			return false
		}
		if m.external[key] == old { // and not another one of that name
			m.external[key] = o
		}
		m.lists[i][j] = o
	}
	return true
}

// judge gives the judgement of a Machine of the pool.
func (a asked) judge(m poolMachine) *judgement {
	holds := a.findHolds(m)
	out := &judgement{holds: holds, row: Machine{
		Name:           m.name(),
		Namespace:      m.namespace(),
		Node:           m.node(),
		Set:            m.set,
		Version:        m.text("spec", "version"),
		KubeletVersion: m.kubelet(),
		Phase:          m.text("status", "phase"),
		Old:            m.old,
		Ready:          m.available() && (m.old || len(holds) == 0),
		Deleting:       m.deleting(),
		Waiting:        a.waits(m, holds),
		Created:        m.created(),
		ReadySince:     m.readySince(),
		Image:          m.image(),
	}}
	if out.row.Proved = a.proved(m, holds); out.row.Proved {
		out.row.ProvedSince = m.ready().since
	}
	return out
}

// sum digests what moves of a Machine when the rollout moves, and nothing else.
func (r *readings) sum(m seen) (digest [16]byte) {
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

// conditions and oldConditions are those of seen, read once; while it is judged.
func (m poolMachine) conditions() []rolloutCondition { return m.read.conditions }

func (m poolMachine) oldConditions() []rolloutCondition { return m.read.oldConditions }

func (m poolMachine) condition(kind, oldKind string) (rolloutCondition, bool) {
	if c, ok := findCondition(m.conditions(), kind); ok || oldKind == "" {
		return c, ok
	}
	return findCondition(m.oldConditions(), oldKind)
}

type externalKey Ref

func poolOf(o Observed) pool {
	var p pool
	if o.Cluster != nil {
		p.cluster = o.Cluster.Object
	}
	if o.MachineDeployment != nil {
		p.deployment = o.MachineDeployment.Object
	}
	if p.deployment == nil {
		return p
	}
	_, after := p.rolloutAfter()
	p.asked = asked{template: rollingTemplateOf(p.deployment), onDelete: p.strategy() == string(clusterv1.OnDeleteMachineDeploymentStrategyType), after: after}
	p.takeSets(seenAll(o.MachineSets))
	memo := o.Memo
	if memo == nil {
		memo = &Memo{}
	}
	memo.mu.Lock()
	defer memo.mu.Unlock()
	kept := o.kept()
	memo.begin(p.asked, kept.InfraMachines, kept.BootstrapConfigs)
	p.takeMachines(memo, kept.Machines, seenAll(o.MachineSets))
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
		return p.labelled(set.object("metadata", "labels"))
	}
	if uid := owner.text("uid"); uid != "" && uid == p.deployment.uid() {
		return true
	}
	return owner.text("kind") == "MachineDeployment" && owner.text("name") == p.deployment.name() && p.labelled(set.object("metadata", "labels"))
}

func (p *pool) labelled(labels seen) bool {
	return p.deployment.name() != "" &&
		labels.text(clusterv1.MachineDeploymentNameLabel) == p.deployment.name() &&
		labels.text(clusterv1.ClusterNameLabel) == p.deployment.text("spec", "clusterName")
}

func (p *pool) takeMachines(memo *Memo, machines []*Packed, allSets []seen) {
	if memo.machines == nil {
		memo.machines = make(map[*Packed]*known, len(machines))
	}
	memo.turn++
	there := 0
	defer func() {
		if there < len(memo.machines) { // the others are forgotten
			maps.DeleteFunc(memo.machines, func(_ *Packed, k *known) bool { return k.turn != memo.turn })
		}
	}()
	p.machines = slices.Grow(p.machines, len(machines))
	namespace := p.deployment.namespace()
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
		var m seen // made when it is needed
		k := memo.machines[o]
		if k == nil {
			m = o.Object().Object
			k = knownOf(m)
			memo.machines[o] = k
		}
		if k.turn != memo.turn {
			k.turn = memo.turn
			there++
		}
		if k.namespace != namespace {
			continue
		}
		var set seen
		if k.owned {
			set = own[k.owner.uid]
		}
		switch {
		case set != nil:
		case k.owned && (k.owner.kind != "MachineSet" || foreign[k.owner.uid]):
			continue // of another pool, or of the control plane
		case !p.labelled(o.Labels()):
			continue
		default:
			// Its MachineSet is gone or was not seen, or it has no owner: the labels
			// say whose it is.
			for _, s := range own {
				if s.name() == seen(o.Labels()).text(clusterv1.MachineSetNameLabel) && s.name() != "" && !k.owned {
					set = s
				}
			}
		}
		now := setting{set: set.name(), old: true, infra: memo.external[k.infra], config: memo.external[k.config]}
		if now.set == "" {
			now.set = cmp.Or(seen(o.Labels()).text(clusterv1.MachineSetNameLabel), k.owner.name)
		}
		if wanted, ok := p.wanted(); ok && set != nil {
			now.old = set.name() != wanted.name()
		}
		if k.judged == nil || k.under != now {
			if m == nil {
				m = o.Object().Object
			}
			read := &readings{m.conditions(), m.oldConditions()}
			k.judged = p.asked.judge(poolMachine{seen: m, set: now.set, old: now.old, infra: objectOf(now.infra), config: objectOf(now.config), read: read})
			k.under, k.fingerprint = now, read.sum(m)
		}
		p.machines = append(p.machines, member{kept: o, old: now.old, known: k, judged: k.judged})
	}
	slices.SortFunc(p.machines, func(a, b member) int {
		if a.old != b.old {
			if a.old {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.known.created, b.known.created), cmp.Compare(a.known.name, b.known.name), cmp.Compare(a.known.uid, b.known.uid))
	})
}

func objectOf(o *Packed) seen {
	if o == nil {
		return nil
	}
	return o.Object().Object
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
func (a asked) proved(m poolMachine, holds []hold) bool {
	if m.old || m.deleting() || m.node() == "" || !m.ready().holds() {
		return false
	}
	if m.available() {
		return len(holds) == 0
	}
	c, _ := m.condition(clusterv1.MachineAvailableCondition, "")
	return c.reason == clusterv1.MachineWaitingForMinReadySecondsReason && len(holds) == 1 && holds[0].Cause == StallMachineNotReady && len(a.mismatchHolds(m)) == 0
}

// fingerprint digests what moves when the rollout moves, and nothing else.
func (p *pool) fingerprint() string {
	machines := make([][16]byte, len(p.machines))
	for i, m := range p.machines {
		machines[i] = m.known.fingerprint
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
