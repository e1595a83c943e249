package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// pool is one pool of the upgrade beside what the snapshot says of it, and
// what would make the one into the other. It is the common ground of Needs,
// Compile and the checks.
type pool struct {
	spec schema.Pool
	path string // of the pool in the upgrade file: spec.pools[0]
	ref  Ref

	index        *index // of the snapshot
	names        string // by which Machines are looked up, empty for those of all pools
	cluster      *unstructured.Unstructured
	controlPlane *unstructured.Unstructured
	md           *unstructured.Unstructured // nil when it is not there
	hold         map[string]heldField       // what a run holds on md, nil when it holds nothing
	base         *unstructured.Unstructured // md without the hold
	fields       capi.Fields
	infra        template
	bootstrap    template // zero when the pool names a data secret instead
	wanted       *unstructured.Unstructured
	rollout      capi.Rollout
	back         *wayBack // set when a plan is taken back
	place        place
	// reachesOld tells that the Cluster API that runs gives what changes in
	// place to the machines that a rollout replaces, too.
	reachesOld bool
}

// place is the object that tells where the pool's machines are made, where
// nodepool knows of one.
type place struct {
	ref    Ref
	obj    *unstructured.Unstructured
	unread string // why it could not be read
}

// template is a template that a pool names, and what is to become of it.
type template struct {
	ref     Ref
	obj     *unstructured.Unstructured // nil when it is not there
	changes []Change
	create  *Create
	// spec is the spec.template.spec that create gives the copy.
	spec map[string]any
	// taken are the names that other content holds, tried before the name
	// of create.
	taken []Ref
	// there tells that create has been carried out already.
	there bool
}

// name gives the name that the pool's MachineDeployment is to have.
func (t template) name() string {
	if t.create != nil {
		return t.create.Ref.Name
	}
	return t.ref.Name
}

// missing reports whether the template that is named is not there.
func (t template) missing() bool { return !t.ref.IsZero() && t.obj == nil }

// look gathers pools in rounds, each of which needs the answers of the one
// before. It gives the selectors whose answers are still missing; while
// there are any, the pools are incomplete.
func look(up schema.Upgrade, snap Snapshot) (pools []*pool, missing []Selector, problems []schema.Problem) {
	wanted := map[Selector]bool{}
	need := func(sel Selector) bool {
		if snap.Asked(sel) {
			return true
		}
		// Pools of one cluster ask for the same lists.
		if !wanted[sel] {
			wanted[sel] = true
			missing = append(missing, sel)
		}
		return false
	}
	clusterRef := clusterRefOf(up)
	ns := up.Spec.Cluster.Namespace
	ready := need(Selector{Ref: clusterRef})
	for i, spec := range up.Spec.Pools {
		p := &pool{spec: spec, path: "spec.pools[" + strconv.Itoa(i) + "]",
			ref: Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: ns, Name: spec.Name}}
		problems = append(problems, p.waivers()...)
		pools = append(pools, p)
		ready = need(Selector{Ref: p.ref}) && ready
	}
	// Every pool that is there leads to these, whatever it is like.
	names := poolNames(up)
	for _, sel := range append(rolloutSelectors(clusterRef, Ref{}, Ref{}), healthChecks(clusterRef)) {
		if sel.Kind == "Machine" {
			sel.Pools = names
		}
		need(sel)
	}
	if !ready {
		return pools, missing, problems
	}
	cluster, ok := snap.Object(clusterRef)
	if !ok {
		need(clustersAnywhere())
		return pools, missing, problems
	}
	var controlPlane *unstructured.Unstructured
	if ref, ok := capi.ReferenceAt(cluster, "spec", "controlPlaneRef"); ok {
		ready = need(Selector{Ref: ref}) && ready
		controlPlane, _ = snap.Object(ref)
	}
	near := indexOf(snap)
	for _, p := range pools {
		p.cluster, p.controlPlane, p.index, p.names = cluster, controlPlane, near, names
		ready = p.lookAround(snap, need, &problems) && ready
	}
	if ready && names != "" && !enough(pools, snap) {
		for _, p := range pools {
			for _, sel := range p.lists() {
				sel.Pools = ""
				ready = need(sel) && ready
			}
		}
	}
	if !ready {
		return pools, missing, problems
	}
	for _, p := range pools {
		p.judge(snap)
	}
	near.near = nil
	for _, p := range pools {
		if p.md != nil && !p.foreign() {
			problems = append(problems, p.want(snap, need)...)
			p.locate(snap, need)
		}
	}
	return pools, missing, problems
}

// locate finds the object that tells where new machines are made. It serves
// checks alone, so that a missing right leaves it out.
func (p *pool) locate(snap Snapshot, need func(Selector) bool) {
	if !p.rolls() {
		return
	}
	if p.controlPlane != nil && capi.TellsLocation(p.controlPlane.GetKind(), p.infra.ref.Kind) {
		p.place = place{ref: capi.RefOf(p.controlPlane), obj: p.controlPlane}
		return
	}
	ref, ok := capi.ReferenceAt(p.cluster, "spec", "infrastructureRef")
	if !ok || !capi.TellsLocation(ref.Kind, p.infra.ref.Kind) {
		return
	}
	sel := Selector{Ref: ref, Optional: true}
	need(sel)
	p.place.ref = ref
	p.place.obj, _ = snap.Object(ref)
	p.place.unread, _ = snap.Unread(sel)
}

func clusterRefOf(up schema.Upgrade) Ref {
	return Ref{Group: capi.Group, Kind: "Cluster", Namespace: up.Spec.Cluster.Namespace, Name: up.Spec.Cluster.Name}
}

// clustersAnywhere selects the clusters of all namespaces, where they may be
// read, to name the ones that there are.
func clustersAnywhere() Selector {
	return Selector{Ref: Ref{Group: capi.Group, Kind: "Cluster"}, Optional: true}
}

func machineDeploymentsOf(cluster Ref) Selector {
	return Selector{Ref: Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: cluster.Namespace},
		Label: capi.ClusterNameLabel, LabelValue: cluster.Name, Optional: true}
}

func machinesOf(cluster Ref) Selector {
	return Selector{Ref: Ref{Group: capi.Group, Kind: "Machine", Namespace: cluster.Namespace}, Label: capi.ClusterNameLabel, LabelValue: cluster.Name, Slim: true}
}

// rolloutSelectors are what the judge of a rollout looks at beside the
// MachineDeployment. Lists go by the cluster's label, which every object has
// (Cluster API sets it by admission), and not by the pool's, which is lost
// when a MachineDeployment brings a selector of its own.
func rolloutSelectors(cluster, infraMachine, bootstrapConfig Ref) []Selector {
	list := func(group, kind string, optional bool) Selector {
		return Selector{Ref: Ref{Group: group, Kind: kind, Namespace: cluster.Namespace},
			Label: capi.ClusterNameLabel, LabelValue: cluster.Name, Slim: true, Optional: optional}
	}
	out := []Selector{list(capi.Group, "MachineSet", false), machinesOf(cluster)}
	if infraMachine.Kind != "" {
		out = append(out, list(infraMachine.Group, infraMachine.Kind, true))
	}
	if bootstrapConfig.Kind != "" {
		out = append(out, list(bootstrapConfig.Group, bootstrapConfig.Kind, true))
	}
	return out
}

// observed gives the judge what snap holds of the pool md.
func observed(snap Snapshot, md *unstructured.Unstructured, cluster, infraMachine, bootstrapConfig Ref) capi.Observed {
	return observedOf(snap, md, cluster, infraMachine, bootstrapConfig, snap.kept)
}

func observedOf(snap Snapshot, md *unstructured.Unstructured, cluster, infraMachine, bootstrapConfig Ref, list func(Selector) []*capi.Packed) capi.Observed {
	o := capi.Observed{MachineDeployment: md, Memo: snap.memo, Kept: &capi.Kept{}}
	o.Cluster, _ = snap.Object(cluster)
	for _, sel := range rolloutSelectors(cluster, infraMachine, bootstrapConfig) {
		objs := list(sel)
		switch {
		case sel.Kind == "MachineSet":
			for _, set := range objs {
				o.MachineSets = append(o.MachineSets, set.Object())
			}
		case sel.Kind == "Machine":
			o.Kept.Machines = objs
		case sel.Ref == (Ref{Group: infraMachine.Group, Kind: infraMachine.Kind, Namespace: cluster.Namespace}):
			o.Kept.InfraMachines = objs
		default:
			o.Kept.BootstrapConfigs = objs
		}
	}
	return o
}

func cloned(template Ref) Ref {
	if template.Kind == "" {
		return Ref{}
	}
	return Ref{Group: template.Group, Kind: capi.ClonedKind(template.Kind), Namespace: template.Namespace}
}

func (p *pool) lookAround(snap Snapshot, need func(Selector) bool, problems *[]schema.Problem) bool {
	clusterRef := capi.RefOf(p.cluster)
	md, ok := snap.Object(p.ref)
	if !ok {
		found := need(machineDeploymentsOf(clusterRef))
		return need(p.machinePool()) && found
	}
	fields, err := capi.FieldsOf(md)
	if err != nil {
		*problems = append(*problems, schema.Problem{Path: p.path + ".name", Message: err.Error(),
			Remedy: "use a release of nodepool that knows this API version"})
		return true
	}
	p.md, p.fields, p.base = md, fields, md
	if p.foreign() {
		// Nothing is planned for it, and its cluster's objects are not these.
		return true
	}
	if _, ok := md.GetAnnotations()[HoldAnnotation]; ok {
		if p.hold = holdOn(md, fields); p.hold != nil {
			p.base = unheld(md, fields, p.hold)
		}
	}
	ready := true
	if ref, ok := capi.ReferenceAt(md, fields.InfrastructureRef...); ok {
		p.infra.ref = ref
		ready = need(Selector{Ref: ref}) && ready
		p.infra.obj, _ = snap.Object(ref)
	}
	if ref, ok := capi.ReferenceAt(md, fields.BootstrapRef...); ok {
		p.bootstrap.ref = ref
		ready = need(Selector{Ref: ref}) && ready
		p.bootstrap.obj, _ = snap.Object(ref)
	}
	for _, sel := range p.lists() {
		ready = need(sel) && ready
	}
	return need(healthChecks(clusterRef)) && ready
}

// judge judges the rollout of a pool around which all has been looked up.
func (p *pool) judge(snap Snapshot) {
	if p.md == nil || p.foreign() {
		return
	}
	cluster := capi.RefOf(p.cluster)
	p.rollout = capi.Judge(p.index.observed(snap, p.md, cluster, cloned(p.infra.ref), cloned(p.bootstrap.ref)))
	p.reachesOld = p.index.reachesOld(snap, cluster, p.fields.APIVersion)
}

func (p *pool) machinePool() Selector {
	ref := p.ref
	ref.Kind = "MachinePool"
	return Selector{Ref: ref, Optional: true}
}

// want works out the templates and the MachineDeployment that the upgrade
// asks for. Problems are those of the upgrade file.
func (p *pool) want(snap Snapshot, need func(Selector) bool) []schema.Problem {
	var problems []schema.Problem
	switch {
	case p.infra.obj != nil:
		problems = append(problems, p.wantInfrastructure(snap, need)...)
	case p.infra.ref.IsZero() && p.asksInfrastructure():
		problems = append(problems, schema.Problem{Path: p.path,
			Message: fmt.Sprintf("%s names no infrastructure template, so there is nothing to change", p.ref),
			Remedy:  "remove machineImage, instanceType and infrastructure, or give the MachineDeployment an infrastructureRef first"})
	}
	switch {
	case p.bootstrap.obj != nil && len(p.spec.Bootstrap) > 0:
		spec, err := mergePatch(templateSpec(p.bootstrap.obj), p.spec.Bootstrap)
		if err != nil {
			problems = append(problems, schema.Problem{Path: p.path + ".bootstrap", Message: err.Error()})
			break
		}
		p.wantTemplate(&p.bootstrap, spec, snap, need)
	case p.bootstrap.ref.IsZero() && len(p.spec.Bootstrap) > 0:
		problems = append(problems, schema.Problem{Path: p.path + ".bootstrap",
			Message: fmt.Sprintf("%s names no bootstrap template, so there is nothing to change", p.ref),
			Remedy:  "remove bootstrap, or give the MachineDeployment a configRef first"})
	}
	p.wantMachineDeployment()
	return problems
}

// asksInfrastructure reports whether the upgrade asks something of the
// infrastructure template.
func (p *pool) asksInfrastructure() bool {
	return p.spec.MachineImage != "" || p.spec.InstanceType != "" || len(p.spec.Infrastructure) > 0
}

// templateSpec gives what a template says of the objects that are cloned from it,
// which must not be changed.
func templateSpec(t *unstructured.Unstructured) map[string]any {
	v, _, _ := unstructured.NestedFieldNoCopy(t.Object, "spec", "template", "spec")
	spec, _ := v.(map[string]any)
	if spec == nil {
		spec = map[string]any{}
	}
	return spec
}

func (p *pool) wantInfrastructure(snap Snapshot, need func(Selector) bool) []schema.Problem {
	var problems []schema.Problem
	spec := runtime.DeepCopyJSON(templateSpec(p.infra.obj))
	write := func(name, value string, find func(*unstructured.Unstructured) (capi.Field, bool)) {
		if value == "" {
			return
		}
		at := p.path + "." + name
		f, ok := find(p.infra.obj)
		if !ok {
			problems = append(problems, schema.Problem{Path: at,
				Message: fmt.Sprintf("%s has no field that nodepool knows as %s", p.infra.ref, name),
				Remedy:  "set the provider's own field under infrastructure (a merge patch over spec.template.spec)"})
			return
		}
		if _, set := lookup(p.spec.Infrastructure, f.Replaces); set {
			problems = append(problems, schema.Problem{Path: at,
				Message: fmt.Sprintf("%s and infrastructure.%s set the same field", name, strings.Join(f.Replaces, ".")),
				Remedy:  "keep one of them"})
			return
		}
		if err := f.Write(spec, value); err != nil {
			problems = append(problems, schema.Problem{Path: at, Message: err.Error()})
		}
	}
	write("machineImage", p.spec.MachineImage, capi.ImageField)
	write("instanceType", p.spec.InstanceType, capi.SizeField)
	if len(p.spec.Infrastructure) > 0 {
		merged, err := mergePatch(spec, p.spec.Infrastructure)
		if err != nil {
			problems = append(problems, schema.Problem{Path: p.path + ".infrastructure", Message: err.Error()})
		} else {
			spec = merged
		}
	}
	if len(problems) == 0 {
		p.wantTemplate(&p.infra, spec, snap, need)
	}
	return problems
}

// lookup reports whether patch sets the field at path, one of its parents or
// one of its children.
func lookup(patch map[string]any, path []string) (any, bool) {
	var at any = patch
	for _, k := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return at, true
		}
		if at, ok = m[k]; !ok {
			return nil, false
		}
	}
	return at, true
}

// wantTemplate compares the wanted spec with the template's and, where they
// differ, fills in the create of a changed copy. Its name is made of the
// pool's name and its content, so that the same content has the same name in
// any run; a name that other content holds gets a number behind it.
func (p *pool) wantTemplate(t *template, spec map[string]any, snap Snapshot, need func(Selector) bool) {
	if len(changesBetween("", templateSpec(t.obj), spec)) == 0 {
		return // nor is an empty spec written where there is none
	}
	s := sealerOf(p.cluster)
	body := clone(t.obj, p.cluster, "")
	before := body.Object
	body.Object = with(before, spec, "spec", "template", "spec")
	t.changes = s.changesBetween(before, body.Object)
	if len(t.changes) == 0 {
		return
	}
	content := contentDigest(body, s)
	create := &Create{
		APIVersion: t.obj.GetAPIVersion(),
		BasedOn:    Source{Ref: t.ref, UID: string(t.obj.GetUID()), Digest: sourceDigest(t.obj, s)},
		Owner:      Owner{Ref: capi.RefOf(p.cluster), APIVersion: p.cluster.GetAPIVersion()},
		Changes:    t.changes,
		Result:     content,
	}
	name := p.spec.Name + "-" + content.Short()[:8]
	for n := 1; ; n++ {
		create.Ref = t.ref
		create.Ref.Name = name
		if n > 1 {
			create.Ref.Name += "-" + strconv.Itoa(n)
		}
		if !need(Selector{Ref: create.Ref, APIVersion: ""}) {
			break
		}
		live, exists := snap.Object(create.Ref)
		if !exists {
			break
		}
		if ok, _ := isOurs(live, content, s, p.cluster); ok {
			t.there = true
			break
		}
		t.taken = append(t.taken, create.Ref)
	}
	t.create, t.spec = create, spec
}

// wantMachineDeployment makes the MachineDeployment as the upgrade wants it:
// version, both references and the fields in place, all in one object. What
// starts the rollout goes in one patch, since two can mean two rollouts.
func (p *pool) wantMachineDeployment() {
	w := p.withDrain(p.base).Object
	set := func(path []string, value any) { w = with(w, value, path...) }
	if v := p.spec.KubernetesVersion; v != "" {
		set(p.fields.Version, v)
	}
	if p.infra.create != nil {
		set(append(clipped(p.fields.InfrastructureRef), "name"), p.infra.name())
	}
	if p.bootstrap.create != nil {
		set(append(clipped(p.fields.BootstrapRef), "name"), p.bootstrap.name())
	}
	if s := p.spec.Strategy; s != nil {
		if s.MaxSurge != nil {
			set(p.fields.MaxSurge, intOrString(s.MaxSurge))
		}
		if s.MaxUnavailable != nil {
			set(p.fields.MaxUnavailable, intOrString(s.MaxUnavailable))
		}
	}
	p.wanted = &unstructured.Unstructured{Object: w}
}

func clipped(path []string) []string { return path[:len(path):len(path)] }

// rollingFields are the fields that make Cluster API replace machines when
// they change (internal/util/... mdutil.MachineTemplateUpToDate: version,
// infrastructureRef, bootstrap, failureDomain).
func rollingFields(f capi.Fields) [][]string {
	return [][]string{
		f.Version,
		append(clipped(f.InfrastructureRef), "kind"),
		append(clipped(f.InfrastructureRef), "name"),
		append(clipped(f.BootstrapRef), "kind"),
		append(clipped(f.BootstrapRef), "name"),
		f.DataSecretName,
		f.FailureDomain,
	}
}

// rolls reports whether the change makes Cluster API replace machines.
func (p *pool) rolls() bool {
	return p.wanted != nil && slices.ContainsFunc(rollingFields(p.fields), func(path []string) bool {
		return capi.StringAt(p.md, path...) != capi.StringAt(p.wanted, path...)
	})
}

// intOrString gives a count as int64 or a percentage as string, as objects
// from the API server hold them.
func intOrString(v *intstr.IntOrString) any {
	if v.Type == intstr.String {
		return v.StrVal
	}
	return int64(v.IntVal)
}
