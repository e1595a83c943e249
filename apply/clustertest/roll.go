package clustertest

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// Fault is what goes wrong with the machines of a pool. The zero Fault is none.
type Fault struct {
	// Provider is what the infrastructure provider says of every machine that
	// it should make; the machine is never made.
	Provider string
	// Drain is what keeps the nodes of machines being deleted from being
	// drained.
	Drain string
	// NoJoin keeps the nodes of new machines from joining.
	NoJoin bool
	// Kubelet is the version that the nodes of new machines report, where it
	// differs from what the machine should run: the image holds another one.
	Kubelet string
}

// Break gives a pool a fault, from the next Step on; the zero Fault mends it.
func (w *World) Break(machineDeployment plan.Ref, f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[machineDeployment] = f
}

// AutoStep has every Fetch, and every Next that would otherwise block, take up
// to n steps of the rollout first. 0, the default, leaves Step to the test.
func (w *World) AutoStep(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.perLook = n
}

// look takes the steps that AutoStep asked for, and reports whether there was
// anything to do.
func (w *World) look() bool {
	w.mu.Lock()
	n := w.perLook
	w.mu.Unlock()
	moved := false
	for range n {
		if !w.Step() {
			break
		}
		moved = true
	}
	return moved
}

// Run takes a step every interval until ctx is done: for a bubble of
// testing/synctest, where that takes no time.
func (w *World) Run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.Step()
		}
	}
}

// Settle takes steps until there is nothing left to do, and gives their number.
func (w *World) Settle() int {
	for n := 0; ; n++ {
		if !w.Step() {
			return n
		}
		if n == 100_000 {
			panic("clustertest: the world does not settle")
		}
	}
}

// Step has the controllers do their next thing for every MachineDeployment,
// and reports whether anything changed. One step is one of: take note of a new
// generation and make its MachineSet; give a machine what changed in place; bring conditions and counters up to
// date; move one machine on by a stage (Pending, Provisioning, Running;
// Deleting, gone); scale one MachineSet by one, within maxSurge and
// maxUnavailable; remove an empty MachineSet. So, as with the real controllers,
// counters and conditions show for a while what was true before.
func (w *World) Step() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	moved := false
	for _, p := range w.pools() {
		if w.reconcile(p) {
			moved = true
		}
	}
	return moved
}

type pool struct {
	md       *unstructured.Unstructured
	ref      plan.Ref
	fields   capi.Fields
	old      bool // v1beta1
	cluster  *unstructured.Unstructured
	sets     []*unstructured.Unstructured
	machines map[string][]*unstructured.Unstructured // by the name of their MachineSet
	wanted   *unstructured.Unstructured              // the MachineSet of md's template
}

const (
	labelCluster    = "cluster.x-k8s.io/cluster-name"
	labelDeployment = "cluster.x-k8s.io/deployment-name"
	labelSet        = "cluster.x-k8s.io/set-name"
	labelHash       = "machine-template-hash"

	annotationPaused        = "cluster.x-k8s.io/paused"
	annotationClonedFrom    = "cluster.x-k8s.io/cloned-from-name"
	annotationClonedKind    = "cluster.x-k8s.io/cloned-from-groupkind"
	annotationSkipPreflight = "machineset.cluster.x-k8s.io/skip-preflight-checks"
)

// pools gathers every MachineDeployment with all that belongs to it.
func (w *World) pools() []pool {
	type key struct{ namespace, name string }
	deployments := w.list(schema.GroupKind{Group: capi.Group, Kind: "MachineDeployment"})
	out := make([]pool, 0, len(deployments))
	at := map[key]int{}
	for _, md := range deployments {
		fields, err := capi.FieldsOf(md)
		if err != nil {
			continue
		}
		ref := capi.RefOf(md)
		cluster := w.get(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: ref.Namespace, Name: capi.StringAt(md, "spec", "clusterName")})
		at[key{ref.Namespace, ref.Name}] = len(out)
		out = append(out, pool{
			md: md, ref: ref, fields: fields, cluster: cluster,
			old:      strings.HasSuffix(md.GetAPIVersion(), "v1beta1"),
			machines: map[string][]*unstructured.Unstructured{},
		})
	}
	for _, set := range w.list(schema.GroupKind{Group: capi.Group, Kind: "MachineSet"}) {
		if i, ok := at[key{set.GetNamespace(), set.GetLabels()[labelDeployment]}]; ok {
			out[i].sets = append(out[i].sets, set)
		}
	}
	for _, m := range w.list(schema.GroupKind{Group: capi.Group, Kind: "Machine"}) {
		labels := m.GetLabels()
		if i, ok := at[key{m.GetNamespace(), labels[labelDeployment]}]; ok {
			out[i].machines[labels[labelSet]] = append(out[i].machines[labels[labelSet]], m)
		}
	}
	for i := range out {
		p := &out[i]
		slices.SortFunc(p.sets, byAge)
		for _, set := range p.sets {
			if p.wanted == nil && p.sameTemplate(set) {
				p.wanted = set
			}
		}
	}
	return out
}

// byAge orders older objects first: resource versions do not tell, creation
// times of one world do.
func byAge(a, b *unstructured.Unstructured) int {
	return cmp.Or(
		cmp.Compare(capi.StringAt(a, "metadata", "creationTimestamp"), capi.StringAt(b, "metadata", "creationTimestamp")),
		cmp.Compare(a.GetName(), b.GetName()))
}

// sameTemplate tells whether set makes the machines that the MachineDeployment
// asks for (mdutil.MachineTemplateUpToDate).
func (p *pool) sameTemplate(set *unstructured.Unstructured) bool {
	if capi.StringAt(p.md, p.fields.Version...) != capi.StringAt(set, p.fields.Version...) ||
		capi.StringAt(p.md, p.fields.FailureDomain...) != capi.StringAt(set, p.fields.FailureDomain...) ||
		capi.StringAt(p.md, p.fields.DataSecretName...) != capi.StringAt(set, p.fields.DataSecretName...) {
		return false
	}
	for _, path := range [][]string{p.fields.InfrastructureRef, p.fields.BootstrapRef} {
		a, _ := capi.ReferenceAt(p.md, path...)
		b, _ := capi.ReferenceAt(set, path...)
		if a != b {
			return false
		}
	}
	return true
}

func (p *pool) desired() int64 { return replicas(p.md) }

func replicas(o *unstructured.Unstructured) int64 {
	if n, ok := capi.Int64At(o, "spec", "replicas"); ok {
		return n
	}
	return 1
}

// fenceposts resolves maxSurge and maxUnavailable as Cluster API does
// (mdutil.ResolveFenceposts).
func (p *pool) fenceposts() (surge, unavailable int64) {
	resolve := func(path []string, absent int64, up bool) int64 {
		v, ok, _ := unstructured.NestedFieldNoCopy(p.md.Object, path...)
		if !ok {
			return absent
		}
		value := intstr.Parse(fmt.Sprint(v))
		n, err := intstr.GetScaledValueFromIntOrPercent(&value, int(p.desired()), up)
		if err != nil {
			return absent
		}
		return int64(n)
	}
	surge = resolve(p.fields.MaxSurge, 1, true)
	unavailable = resolve(p.fields.MaxUnavailable, 0, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func (p *pool) all() []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, set := range p.sets {
		out = append(out, p.machines[set.GetName()]...)
	}
	return out
}

func (p *pool) paused() bool {
	_, annotated := p.md.GetAnnotations()[annotationPaused]
	return annotated || (p.cluster != nil && capi.BoolAt(p.cluster, "spec", "paused"))
}

// reconcile does the next thing for one pool.
func (w *World) reconcile(p pool) bool {
	if p.paused() {
		return w.edit(p.ref, func(o *unstructured.Unstructured) {
			setCondition(o, w.now(), condition{"Paused", "True", "Paused", "Cluster spec.paused or the paused annotation is set"})
		})
	}
	for _, path := range [][]string{p.fields.InfrastructureRef, p.fields.BootstrapRef} {
		if ref, ok := capi.ReferenceAt(p.md, path...); ok && w.get(ref) == nil {
			return w.edit(p.ref, func(o *unstructured.Unstructured) {
				setCondition(o, w.now(), condition{"ScalingUp", "False", "NotScalingUp",
					"Scaling up would be blocked because " + ref.Kind + " does not exist"})
			})
		}
	}
	if p.wanted == nil && !capi.BoolAt(p.md, p.fields.Paused...) {
		w.makeSet(p)
		w.observe(p)
		return true
	}
	if w.observe(p) {
		return true
	}
	if w.spread(p) || w.refresh(p) {
		return true
	}
	return w.moveMachines(p) || w.scale(p) || w.tidy(p)
}

// observe has the controller take note of the MachineDeployment's generation,
// and give what changes in place to its MachineSets. Only the old counter is
// written along with it (see the recordings of real rollouts).
func (w *World) observe(p pool) bool {
	seen, _ := capi.Int64At(p.md, "status", "observedGeneration")
	if seen == p.md.GetGeneration() {
		return false
	}
	for _, set := range p.sets {
		if w.before112 && set != p.wanted {
			continue
		}
		w.edit(capi.RefOf(set), func(o *unstructured.Unstructured) {
			for _, path := range p.inPlace() {
				copyField(p.md, o, path, path)
			}
		})
	}
	updated := int64(0)
	if p.wanted != nil {
		updated = int64(len(p.machines[p.wanted.GetName()]))
	}
	return w.edit(p.ref, func(o *unstructured.Unstructured) {
		setField(o, o.GetGeneration(), "status", "observedGeneration")
		setField(o, updated, counter(p.old, "updatedReplicas")...)
	})
}

func (p *pool) inPlace() [][]string {
	return [][]string{p.fields.NodeDrainTimeout, p.fields.NodeVolumeDetachTimeout, p.fields.NodeDeletionTimeout, p.fields.MinReadySeconds}
}

// ofMachine gives where a Machine keeps what a MachineSet has at path.
func ofMachine(path []string) []string {
	if path[len(path)-1] == "minReadySeconds" {
		return minReadySeconds
	}
	return slices.Concat([]string{"spec"}, path[3:])
}

// spread has a MachineSet's controller give what changes in place to one of its
// Machines.
func (w *World) spread(p pool) bool {
	for _, set := range p.sets {
		for _, m := range p.machines[set.GetName()] {
			for _, path := range p.inPlace() {
				own := ofMachine(path)
				want, _, _ := unstructured.NestedFieldNoCopy(set.Object, path...)
				if have, _, _ := unstructured.NestedFieldNoCopy(m.Object, own...); have == want {
					continue
				}
				return w.edit(capi.RefOf(m), func(o *unstructured.Unstructured) {
					for _, path := range p.inPlace() {
						copyField(set, o, path, ofMachine(path))
					}
				})
			}
		}
	}
	return false
}

// minReadySeconds is where a Machine keeps it, in either API version.
var minReadySeconds = []string{"spec", "minReadySeconds"}

func copyField(from, to *unstructured.Unstructured, source, target []string) {
	if v, ok, _ := unstructured.NestedFieldCopy(from.Object, source...); ok {
		setField(to, v, target...)
	} else {
		unstructured.RemoveNestedField(to.Object, target...)
	}
}

// makeSet makes the MachineSet of the template as it is now, still empty.
func (w *World) makeSet(p pool) {
	name := p.ref.Name + "-" + w.suffix(p.ref.String(), 5)
	hash := w.suffix(name, 9) + "-" + name[len(name)-5:]
	template, _, _ := unstructured.NestedMap(p.md.Object, "spec", "template")
	labels := map[string]any{
		labelCluster:    capi.StringAt(p.md, "spec", "clusterName"),
		labelDeployment: p.ref.Name,
		labelHash:       hash,
	}
	if err := unstructured.SetNestedMap(template, labels, "metadata", "labels"); err != nil {
		panic("clustertest: " + err.Error())
	}
	annotations := map[string]any{
		"machinedeployment.clusters.x-k8s.io/desired-replicas": strconv.FormatInt(p.desired(), 10),
		"machinedeployment.clusters.x-k8s.io/revision":         strconv.Itoa(len(p.sets) + 1),
	}
	if v, ok := p.md.GetAnnotations()[annotationSkipPreflight]; ok {
		annotations[annotationSkipPreflight] = v
	}
	set := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": p.md.GetAPIVersion(),
		"kind":       "MachineSet",
		"metadata": map[string]any{
			"name": name, "namespace": p.ref.Namespace,
			"labels":          runtimeCopy(labels),
			"annotations":     annotations,
			"finalizers":      []any{"cluster.x-k8s.io/machineset"},
			"ownerReferences": []any{controllerRef(p.md)},
		},
		"spec": map[string]any{
			"clusterName": capi.StringAt(p.md, "spec", "clusterName"),
			"replicas":    int64(0),
			"selector":    map[string]any{"matchLabels": runtimeCopy(labels)},
			"template":    template,
		},
	}}
	copyField(p.md, set, p.fields.MinReadySeconds, p.fields.MinReadySeconds)
	w.store(set)
}

func runtimeCopy(m map[string]any) map[string]any {
	return (&unstructured.Unstructured{Object: m}).DeepCopy().Object
}

func controllerRef(owner *unstructured.Unstructured) map[string]any {
	return map[string]any{
		"apiVersion": owner.GetAPIVersion(), "kind": owner.GetKind(), "name": owner.GetName(),
		"uid": string(owner.GetUID()), "controller": true, "blockOwnerDeletion": true,
	}
}

// suffix gives n letters that depend on seed and on how much was made so far.
func (w *World) suffix(seed string, n int) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", seed, w.made)
	sum := h.Sum64()
	out := make([]byte, n)
	for i := range out {
		out[i] = letters[sum%uint64(len(letters))]
		sum /= uint64(len(letters))
	}
	return string(out)
}

// moveMachines moves one machine on by a stage.
func (w *World) moveMachines(p pool) bool {
	fault := w.faults[p.ref]
	for _, m := range p.all() {
		ref := capi.RefOf(m)
		if m.GetDeletionTimestamp() != nil {
			if capi.StringAt(m, "status", "phase") != "Deleting" {
				return w.stage(p, m, "Deleting")
			}
			if fault.Drain != "" {
				continue
			}
			for _, path := range [][]string{{"spec", "infrastructureRef"}, {"spec", "bootstrap", "configRef"}} {
				if child, ok := capi.ReferenceAt(m, path...); ok {
					w.delete(child)
				}
			}
			return w.delete(ref)
		}
		switch capi.StringAt(m, "status", "phase") {
		case "":
			return w.stage(p, m, "Pending")
		case "Pending":
			return w.stage(p, m, "Provisioning")
		case "Provisioning":
			if fault.Provider == "" {
				if fault.NoJoin {
					return w.stage(p, m, "Provisioned")
				}
				return w.stage(p, m, "Running")
			}
		case "Provisioned":
			if !fault.NoJoin {
				return w.stage(p, m, "Running")
			}
		}
	}
	return false
}

// scale scales one MachineSet by one: up first, as far as maxSurge allows, then
// down, as far as maxUnavailable allows.
func (w *World) scale(p pool) bool {
	if p.wanted == nil {
		return false
	}
	for _, set := range p.sets {
		if w.matchReplicas(p, set) {
			return true
		}
	}
	if capi.StringAt(p.md, p.fields.StrategyType...) == "OnDelete" {
		return false
	}
	surge, unavailable := p.fenceposts()
	total, available := int64(0), int64(0)
	for _, set := range p.sets {
		total += replicas(set)
	}
	if capi.BoolAt(p.md, p.fields.Paused...) {
		return w.scalePaused(p, total, surge)
	}
	for _, m := range p.all() {
		if w.isAvailable(m) {
			available++
		}
	}
	wanted := replicas(p.wanted)
	unproved := wanted
	for _, m := range p.machines[p.wanted.GetName()] {
		if w.isAvailable(m) {
			unproved--
		}
	}
	switch {
	case wanted > p.desired():
		return w.setReplicas(p.wanted, wanted-1)
	case wanted < p.desired() && total < p.desired()+surge && int64(len(p.all())) < p.desired()+surge:
		return w.setReplicas(p.wanted, wanted+1)
	case total-(p.desired()-unavailable)-unproved <= 0:
		return false // new machines that are not available keep old ones in place
	}
	for _, set := range p.sets {
		if set == p.wanted || replicas(set) == 0 {
			continue
		}
		// An old machine that is not available, or that was never made, costs
		// nothing.
		alive := int64(0)
		for _, m := range p.machines[set.GetName()] {
			if w.isAvailable(m) {
				alive++
			}
		}
		if replicas(set) > alive || available > p.desired()-unavailable {
			return w.setReplicas(set, replicas(set)-1)
		}
	}
	return false
}

// scalePaused scales as Cluster API does what is paused by spec.paused: up to
// replicas and maxSurge, and the largest MachineSet takes it, be it an old one.
func (w *World) scalePaused(p pool, total, surge int64) bool {
	var largest *unstructured.Unstructured
	active := 0
	for _, set := range p.sets {
		if replicas(set) > 0 {
			active++
		}
		if largest == nil || replicas(set) > replicas(largest) {
			largest = set
		}
	}
	target := p.desired()
	if active > 1 {
		target += surge
	}
	switch {
	case largest == nil, total == target:
		return false
	case total < target:
		return w.setReplicas(largest, replicas(largest)+1)
	}
	return w.setReplicas(largest, replicas(largest)-1)
}

func (w *World) setReplicas(set *unstructured.Unstructured, n int64) bool {
	return w.edit(capi.RefOf(set), func(o *unstructured.Unstructured) { setField(o, n, "spec", "replicas") })
}

// matchReplicas is the MachineSet's controller: it makes or deletes one machine.
func (w *World) matchReplicas(p pool, set *unstructured.Unstructured) bool {
	var live []*unstructured.Unstructured
	for _, m := range p.machines[set.GetName()] {
		if m.GetDeletionTimestamp() == nil {
			live = append(live, m)
		}
	}
	switch n := int64(len(live)); {
	case n < replicas(set):
		if len(w.preflight(p, set)) > 0 {
			return false
		}
		w.makeMachine(p, set)
		return true
	case n > replicas(set):
		// Machines that are not available go first, then the oldest.
		slices.SortStableFunc(live, func(a, b *unstructured.Unstructured) int {
			if w.isAvailable(a) != w.isAvailable(b) {
				if w.isAvailable(b) {
					return -1
				}
				return 1
			}
			return byAge(a, b)
		})
		return w.edit(capi.RefOf(live[0]), func(o *unstructured.Unstructured) {
			setField(o, w.now(), "metadata", "deletionTimestamp")
		})
	}
	return false
}

// makeMachine makes a Machine with its infrastructure machine and bootstrap
// config, each cloned from its template.
func (w *World) makeMachine(p pool, set *unstructured.Unstructured) {
	name := set.GetName() + "-" + w.suffix(set.GetName(), 5)
	labels := map[string]any{labelSet: set.GetName()}
	for k, v := range set.GetLabels() {
		labels[k] = v
	}
	spec, _, _ := unstructured.NestedMap(set.Object, "spec", "template", "spec")
	machine := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": p.md.GetAPIVersion(),
		"kind":       "Machine",
		"metadata": map[string]any{
			"name": name, "namespace": p.ref.Namespace, "labels": labels,
			"finalizers":      []any{"machine.cluster.x-k8s.io"},
			"ownerReferences": []any{controllerRef(set)},
		},
		"spec": spec,
	}}
	copyField(set, machine, p.fields.MinReadySeconds, minReadySeconds)
	parts := [][]string{{"spec", "infrastructureRef"}}
	if _, ok := capi.ReferenceAt(machine, "spec", "bootstrap", "configRef"); ok {
		parts = append(parts, []string{"spec", "bootstrap", "configRef"})
	}
	var children []*unstructured.Unstructured
	for _, path := range parts {
		source, _ := capi.ReferenceAt(machine, path...)
		template := w.get(source)
		if template == nil {
			return
		}
		kind := strings.TrimSuffix(source.Kind, "Template")
		setField(machine, kind, slices.Concat(path, []string{"kind"})...)
		setField(machine, name, slices.Concat(path, []string{"name"})...)
		body, _, _ := unstructured.NestedMap(template.Object, "spec", "template", "spec")
		if body == nil {
			body = map[string]any{}
		}
		children = append(children, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": template.GetAPIVersion(),
			"kind":       kind,
			"metadata": map[string]any{
				"name": name, "namespace": p.ref.Namespace, "labels": runtimeCopy(labels),
				"annotations": map[string]any{
					annotationClonedFrom: source.Name,
					annotationClonedKind: source.Kind + "." + source.Group,
				},
			},
			"spec": body,
		}})
	}
	w.store(machine)
	for _, child := range children {
		child.SetOwnerReferences(nil)
		setField(child, []any{controllerRef(machine)}, "metadata", "ownerReferences")
		w.store(child)
	}
}

// preflight gives the words of the MachineSet's preflight checks that fail
// (internal/controllers/machineset/machineset_preflight.go): no machine is made
// while there are any.
func (w *World) preflight(p pool, set *unstructured.Unstructured) []string {
	if w.lenient || p.cluster == nil {
		return nil
	}
	ref, ok := capi.ReferenceAt(p.cluster, "spec", "controlPlaneRef")
	controlPlane := w.get(ref)
	if !ok || controlPlane == nil {
		return nil
	}
	skip := set.GetAnnotations()[annotationSkipPreflight]
	skipped := func(check string) bool {
		return slices.ContainsFunc(strings.Split(skip, ","), func(s string) bool {
			s = strings.TrimSpace(s)
			return s == "All" || s == check
		})
	}
	var out []string
	want, is := capi.StringAt(controlPlane, "spec", "version"), capi.StringAt(controlPlane, "status", "version")
	if want != is && !skipped("ControlPlaneIsStable") {
		out = append(out, fmt.Sprintf("%s %s is upgrading (%q preflight check failed)", ref.Kind, ref.Name, "ControlPlaneIsStable"))
	}
	mine, theirs := minor(capi.StringAt(set, p.fields.Version...)), minor(want)
	if mine < 0 || theirs < 0 {
		return out
	}
	versions := fmt.Sprintf("MachineSet version (%s) and ControlPlane version (%s)",
		strings.TrimPrefix(capi.StringAt(set, p.fields.Version...), "v"), strings.TrimPrefix(want, "v"))
	if !skipped("KubernetesVersionSkew") {
		if mine > theirs {
			out = append(out, versions+` do not conform to the kubernetes version skew policy as MachineSet version is higher than ControlPlane version ("KubernetesVersionSkew" preflight check failed)`)
		} else if mine < theirs-3 {
			out = append(out, versions+` do not conform to the kubernetes version skew policy as MachineSet version is more than 3 minor versions older than the ControlPlane version ("KubernetesVersionSkew" preflight check failed)`)
		}
	}
	bootstrap, _ := capi.ReferenceAt(set, p.fields.BootstrapRef...)
	if bootstrap.Kind == "KubeadmConfigTemplate" && mine != theirs && !skipped("KubeadmVersionSkew") {
		out = append(out, versions+` do not conform to kubeadm version skew policy as kubeadm only supports joining with the same major+minor version as the control plane ("KubeadmVersionSkew" preflight check failed)`)
	}
	return out
}

// minor gives the minor number of a version, -1 when there is none.
func minor(version string) int {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 2 {
		return -1
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return -1
	}
	return n
}

// tidy removes an old MachineSet that is empty, as Cluster API has done since
// v1.11.
func (w *World) tidy(p pool) bool {
	for _, set := range p.sets {
		if set != p.wanted && p.wanted != nil && replicas(set) == 0 && len(p.machines[set.GetName()]) == 0 {
			return w.delete(capi.RefOf(set))
		}
	}
	return false
}

// isAvailable tells whether a machine has been ready for its minReadySeconds.
func (w *World) isAvailable(m *unstructured.Unstructured) bool {
	return m.GetDeletionTimestamp() == nil && capi.StringAt(m, "status", "phase") == "Running" && !w.young(m)
}

// young tells whether a machine is ready, and not yet for its minReadySeconds.
// It is looked at when something else happens to the machine, not as time
// passes.
func (w *World) young(m *unstructured.Unstructured) bool {
	seconds, ok := capi.Int64At(m, minReadySeconds...)
	if !ok || seconds == 0 {
		return false
	}
	now, err := time.Parse(time.RFC3339, w.now())
	if err != nil {
		panic("clustertest: " + err.Error())
	}
	list, _, _ := unstructured.NestedSlice(m.Object, conditionsPath(m)...)
	since := now
	for _, item := range list {
		c, _ := item.(map[string]any)
		if at, _ := c["lastTransitionTime"].(string); c["type"] == "Ready" && c["status"] == "True" {
			if since, err = time.Parse(time.RFC3339, at); err != nil {
				panic("clustertest: " + err.Error())
			}
		}
	}
	return now.Sub(since) < time.Duration(seconds)*time.Second
}
