package plan

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// The codes of the findings of a prune plan. The proof of disuse stands with
// CheckUnused, the reason why a template stays with CheckKept.
const (
	CheckUnused         = "template-unused"
	CheckKept           = "template-kept"
	CheckForeign        = "templates-of-others"
	CheckRollbackTarget = "rollback-target"
)

// PruneOptions say what to delete of the templates that nothing refers to.
type PruneOptions struct {
	// Keep is how many unused templates of each pool and kind stay, the
	// newest ones.
	Keep int `json:"keep"`
	// Pools narrows it to the templates of these pools; none means all, and
	// those of pools that are gone as well.
	Pools []string `json:"pools,omitempty"`
}

// PastRun is what a journal tells of a run.
type PastRun struct {
	// Name is what people call the run.
	Name string
	Plan Plan
	// Unfinished tells that the run was neither finished nor given up.
	Unfinished bool
}

// prune gathers what Prune decides on. Objects in it are of one namespace.
type prune struct {
	PruneOptions
	ref        Ref // of the Cluster
	snap       Snapshot
	runs       []PastRun // oldest first
	kinds      []Ref     // of the templates
	everywhere []Ref     // the kinds that may refer to any template, and do not hang on its kind
}

// PruneNeeds says what must be looked up next for Prune; empty means that snap
// is enough. Nothing of it is optional: what could not be looked at could
// refer to a template. Kinds of templates are those that MachineDeployments
// and MachineSets of the namespace name and those that the runs created.
func PruneNeeds(cluster schema.ClusterRef, o PruneOptions, snap Snapshot, runs []PastRun) []Selector {
	_, missing := lookForPrune(cluster, o, snap, runs)
	return missing
}

func lookForPrune(cluster schema.ClusterRef, o PruneOptions, snap Snapshot, runs []PastRun) (*prune, []Selector) {
	p := &prune{PruneOptions: o, snap: snap, runs: runs,
		ref: Ref{Group: capi.Group, Kind: "Cluster", Namespace: cluster.Namespace, Name: cluster.Name}}
	var missing []Selector
	need := func(refs ...Ref) {
		for _, ref := range refs {
			if sel := (Selector{Ref: ref}); !snap.Asked(sel) && !slices.Contains(missing, sel) {
				missing = append(missing, sel)
			}
		}
	}
	core := make([]Ref, 0, len(coreReferrers))
	for _, kind := range coreReferrers {
		core = append(core, p.kind(capi.Group, kind))
	}
	need(p.ref)
	need(core...)
	if len(missing) > 0 {
		return p, missing
	}
	if _, ok := snap.Object(p.ref); !ok {
		if sel := clustersAnywhere(); !snap.Asked(sel) {
			missing = append(missing, sel)
		}
		return p, missing
	}
	controlPlanes := map[Ref]bool{}
	for _, c := range p.all(core[0]) {
		if ref, ok := capi.ReferenceAt(c, "spec", "controlPlaneRef"); ok {
			controlPlanes[p.kind(ref.Group, ref.Kind)] = true
		}
	}
	p.everywhere = append(core, sortedRefs(controlPlanes)...)
	p.kinds = p.templateKinds()
	need(p.everywhere...)
	for _, kind := range p.kinds {
		need(kind, cloned(kind))
	}
	return p, missing
}

// coreReferrers are Cluster API's own kinds whose objects may refer to a
// template: from MachineDeployments and MachineSets, those with no replicas and
// those being deleted included, to ClusterClasses, which name the templates of
// the clusters that are made of them. Clusters come first.
var coreReferrers = []string{"Cluster", "MachineDeployment", "MachineSet", "Machine", "MachinePool", "ClusterClass"}

// kind selects all objects of a kind in the namespace.
func (p *prune) kind(group, kind string) Ref {
	return Ref{Group: group, Kind: kind, Namespace: p.ref.Namespace}
}

func (p *prune) all(kind Ref) []*unstructured.Unstructured { return p.snap.List(Selector{Ref: kind}) }

func sortedRefs(set map[Ref]bool) []Ref {
	return slices.SortedFunc(maps.Keys(set), func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}

func (p *prune) templateKinds() []Ref {
	kinds := map[Ref]bool{}
	add := func(ref Ref) {
		if strings.HasSuffix(ref.Kind, "Template") {
			kinds[p.kind(ref.Group, ref.Kind)] = true
		}
	}
	for _, kind := range []string{"MachineDeployment", "MachineSet"} {
		for _, obj := range p.all(p.kind(capi.Group, kind)) {
			fields, err := capi.FieldsOf(obj)
			if err != nil {
				continue
			}
			for _, path := range [][]string{fields.InfrastructureRef, fields.BootstrapRef} {
				if ref, ok := capi.ReferenceAt(obj, path...); ok {
					add(ref)
				}
			}
		}
	}
	for _, r := range p.runs {
		for _, s := range r.Plan.Steps {
			if s.Create != nil && s.Create.Ref.Namespace == p.ref.Namespace {
				add(s.Create.Ref)
			}
		}
	}
	return sortedRefs(kinds)
}

// candidate is a template that nodepool made, and what speaks against
// deleting it; nothing does when kept is empty.
type candidate struct {
	obj  *unstructured.Unstructured
	ref  Ref
	pool string
	kept string
}

// Prune makes the plan that deletes the templates of one cluster that nodepool
// made and nothing refers to any more. Templates that nodepool did not make
// are never touched. It keeps what a run of runs needs: all that an unfinished
// one names, and of each pool what its last run changed from, the target of a
// rollback; and besides these the newest unused ones, o.Keep for each pool and
// kind. Each delete comes with the proof of disuse, a finding. The runs are
// those of the cluster, oldest first.
//
// The same input gives the same bytes, and a plan without steps means that
// there is nothing to delete. The error is ErrIncomplete.
func Prune(cluster schema.ClusterRef, o PruneOptions, snap Snapshot, runs []PastRun) (Plan, error) {
	o.Pools = slices.Compact(slices.Sorted(slices.Values(o.Pools)))
	p, missing := lookForPrune(cluster, o, snap, runs)
	if len(missing) > 0 {
		return Plan{}, fmt.Errorf("%w: %s", ErrIncomplete, missing[0].Ref)
	}
	out := Plan{APIVersion: APIVersion, Kind: Kind, Steps: []Step{}}
	out.Upgrade = UpgradeRef{Name: cluster.Name + "-prune", Purpose: ForPrune, Cluster: cluster, Content: mustCanonical(o)}
	out.Upgrade.Spec = digestOf(out.Upgrade.Content)
	owner, ok := snap.Object(p.ref)
	if !ok {
		return out.WithFindings(Finding{Code: CheckCluster, Severity: Block, Object: p.ref,
			Message: fmt.Sprintf("%s does not exist", p.ref),
			Remedy:  "name one that does" + nearestCluster(p.ref, snap.List(clustersAnywhere()))}).summed(), nil
	}
	candidates, findings := p.candidates(owner)
	s := sealerOf(owner)
	for _, c := range candidates {
		f := Finding{Code: CheckKept, Severity: Pass, Pool: c.pool, Object: c.ref, Message: c.kept}
		if c.kept == "" {
			f.Code, f.Message = CheckUnused, p.proof(c)
			out.Steps = append(out.Steps, Step{
				ID:   c.pool + "/delete-" + strings.ToLower(c.ref.Kind) + "-" + c.ref.Name,
				Pool: c.pool,
				Delete: &Delete{
					Ref:        c.ref,
					APIVersion: c.obj.GetAPIVersion(),
					UID:        string(c.obj.GetUID()),
					Cluster:    p.ref,
					Content:    sourceDigest(c.obj, s),
					UnusedBy:   p.referrers(c.ref),
				},
			})
		}
		findings = append(findings, f)
	}
	return out.WithFindings(findings...).summed(), nil
}

// PruneOf gives back what a prune plan was made of.
func PruneOf(p Plan) (schema.ClusterRef, PruneOptions, error) {
	var o PruneOptions
	if p.Upgrade.Purpose != ForPrune {
		return p.Upgrade.Cluster, o, &FileError{"this is no plan of nodepool prune", "carry it out with nodepool apply --plan"}
	}
	if err := json.Unmarshal(p.Upgrade.Content, &o); err != nil {
		return p.Upgrade.Cluster, o, &FileError{"the options in this plan cannot be read: " + oneLine(err), "make the plan again with nodepool prune"}
	}
	return p.Upgrade.Cluster, o, nil
}

func (p Plan) summed() Plan {
	p.Digest = p.Sum()
	return p
}

// referrers are the kinds whose objects could refer to the template.
func (p *prune) referrers(template Ref) []Ref {
	return append(slices.Clone(p.everywhere), cloned(p.kind(template.Group, template.Kind)))
}

// candidates gives the templates that nodepool made for the cluster, pool by
// pool, and what else there is to say.
func (p *prune) candidates(owner *unstructured.Unstructured) (out []candidate, said []Finding) {
	s := sealerOf(owner)
	users := map[Ref][]*unstructured.Unstructured{}
	for _, kind := range p.everywhere {
		users[kind] = p.all(kind)
	}
	foreign := 0
	for _, kind := range p.kinds {
		users[cloned(kind)] = p.all(cloned(kind))
		for _, obj := range p.all(kind) {
			c := candidate{obj: obj, ref: capi.RefOf(obj)}
			if c.pool = madeFor(obj); c.pool == "" || !ownedBy(obj, owner) {
				foreign++
				continue
			}
			if len(p.Pools) > 0 && !slices.Contains(p.Pools, c.pool) {
				continue
			}
			c.kept = p.usedBy(c.ref, users)
			if c.kept == "" {
				if ours, why := isOurs(obj, Digest(obj.GetAnnotations()[ContentAnnotation]), s, owner); !ours {
					c.kept = why
				}
			}
			out = append(out, c)
		}
	}
	if foreign > 0 {
		said = append(said, Finding{Code: CheckForeign, Severity: Pass, Object: p.ref,
			Message: fmt.Sprintf("%d templates in namespace %s were not made by nodepool for this cluster, and are left alone", foreign, p.ref.Namespace)})
	}
	slices.SortFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.ref.Group, b.ref.Group), cmp.Compare(a.ref.Kind, b.ref.Kind),
			newer(a.obj, b.obj), cmp.Compare(a.ref.Name, b.ref.Name))
	})
	return out, append(said, p.keep(out)...)
}

// newer orders the newest object first.
func newer(a, b *unstructured.Unstructured) int {
	return b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time)
}

// keep marks what a run needs and the newest of each pool and kind, of the
// candidates that nothing refers to, in the order of pool, kind and age.
func (p *prune) keep(all []candidate) (said []Finding) {
	unfinished, targets := p.unfinished(), map[string]map[string]string{}
	kept, of := 0, Ref{}
	for i := range all {
		c := &all[i]
		if c.kept != "" {
			continue
		}
		if group := (Ref{Group: c.ref.Group, Kind: c.ref.Kind, Name: c.pool}); of != group {
			kept, of = 0, group
		}
		atLeast := p.Keep
		if _, known := targets[c.pool]; !known {
			var run string
			if targets[c.pool], run = p.rollbackTargets(c.pool); run != "" {
				said = append(said, Finding{Code: CheckRollbackTarget, Severity: Warn, Pool: c.pool,
					Message: fmt.Sprintf("the run %s, which changed this pool last, stands in no journal that was looked at: what it changed from, the target of a rollback, is not known", run),
					Remedy:  "the newest unused templates are kept, one at least; raise --keep, or prune where the journal of that run is"})
				targets[c.pool][""] = run
			}
		}
		if _, unknown := targets[c.pool][""]; unknown {
			atLeast = max(atLeast, 1)
		}
		switch {
		case unfinished[c.ref.Name] != "":
			c.kept = unfinished[c.ref.Name]
		case targets[c.pool][c.ref.Name] != "":
			c.kept = targets[c.pool][c.ref.Name]
		case kept < atLeast:
			c.kept = fmt.Sprintf("nothing refers to it; it is one of the newest %d that stay for each pool and kind", atLeast)
		}
		if kept < atLeast {
			kept++
		}
	}
	return said
}

// suffix is what stands behind the pool's name in the name of a template of
// ours that has the content digest given: wantTemplate makes such names.
var suffix = regexp.MustCompile(`^-([0-9a-f]{8})(-[0-9]+)?$`)

// madeFor gives the pool that nodepool made the template for: the one whose
// name stands before the digest of its content. It gives "" for any other
// template, also for one that was copied from ours with its annotations.
func madeFor(template *unstructured.Unstructured) string {
	content := Digest(template.GetAnnotations()[ContentAnnotation])
	if !content.Valid() {
		return ""
	}
	name, short := template.GetName(), content.Short()[:8]
	for at := strings.LastIndex(name, "-"+short); at > 0; at = strings.LastIndex(name[:at], "-"+short) {
		if suffix.MatchString(name[at:]) {
			return name[:at]
		}
	}
	return ""
}

func ownedBy(obj, owner *unstructured.Unstructured) bool {
	for _, o := range obj.GetOwnerReferences() {
		if o.Kind == owner.GetKind() && o.UID == owner.GetUID() {
			return true
		}
	}
	return false
}

// usedBy says what refers to the template, "" when nothing does.
func (p *prune) usedBy(template Ref, users map[Ref][]*unstructured.Unstructured) string {
	var by []string
	for _, kind := range p.referrers(template) {
		for _, obj := range users[kind] {
			if path, used := capi.UseOf(obj, template); used {
				by = append(by, capi.RefOf(obj).String()+" ("+PointerTo(path...).Dotted()+")")
			}
		}
	}
	switch len(by) {
	case 0:
		return ""
	case 1:
		return by[0] + " refers to it"
	}
	return fmt.Sprintf("%d objects refer to it, among them %s", len(by), by[0])
}

// proof says what was looked at in vain.
func (p *prune) proof(c candidate) string {
	var looked []string
	for _, kind := range p.referrers(c.ref) {
		looked = append(looked, fmt.Sprintf("%s (%d)", kind.Kind, len(p.all(kind))))
	}
	return fmt.Sprintf("nothing in namespace %s refers to it, looked at: %s; no unfinished run names it, and it is no rollback target, looked at: runs (%d); made %s",
		p.ref.Namespace, strings.Join(looked, ", "), len(p.runs), c.obj.GetCreationTimestamp().UTC().Format("2006-01-02 15:04:05"))
}

// unfinished gives the names of all templates that a run that is not over
// names, with the reason to keep them.
func (p *prune) unfinished() map[string]string {
	out := map[string]string{}
	for _, r := range p.runs {
		if !r.Unfinished {
			continue
		}
		add := func(names ...string) {
			for _, n := range names {
				out[n] = fmt.Sprintf("the run %s is not finished, and names it", r.Name)
			}
		}
		for _, s := range r.Plan.Steps {
			switch {
			case s.Create != nil:
				add(s.Create.Ref.Name, s.Create.BasedOn.Ref.Name)
			case s.Patch != nil:
				for _, c := range s.Patch.Changes {
					add(stringsIn(c.Before)...)
					add(stringsIn(c.After)...)
				}
			case s.Wait != nil:
				add(s.Wait.Template, s.Wait.BootstrapTemplate)
			}
		}
	}
	delete(out, "")
	return out
}

// rollbackTargets gives the names of the templates that the last run of a pool
// changed from, with the reason to keep them. The last run is the one whose
// mark the MachineDeployment bears; where no journal holds that one, its mark
// is unknown, and what the newest run that is known changed from counts.
func (p *prune) rollbackTargets(pool string) (names map[string]string, unknown string) {
	names = map[string]string{}
	target := p.kind(capi.Group, "MachineDeployment")
	target.Name = pool
	mark := ""
	if md, ok := p.snap.Object(target); ok {
		mark = md.GetAnnotations()[RunAnnotation]
	}
	last, unknown := -1, mark
	for i, r := range p.runs {
		for _, s := range r.Plan.Steps {
			if s.Patch == nil || s.Patch.Target != target {
				continue
			}
			if s.Patch.Run.After == mark {
				last, unknown = i, ""
			} else if unknown == mark {
				last = i
			}
		}
	}
	if last < 0 {
		return names, unknown
	}
	r := p.runs[last]
	add := func(found ...string) {
		for _, n := range found {
			names[n] = fmt.Sprintf("the run %s changed the pool from it: a rollback goes back to it", r.Name)
		}
	}
	for _, s := range r.Plan.Steps {
		switch {
		case s.Create != nil && s.Pool == pool:
			add(s.Create.BasedOn.Ref.Name)
		case s.Patch != nil && s.Patch.Target == target:
			for _, c := range s.Patch.Changes {
				add(stringsIn(c.Before)...)
			}
		}
	}
	delete(names, "")
	return names, unknown
}

// stringsIn gives all strings in a value of a change.
func stringsIn(raw json.RawMessage) []string {
	if len(raw) == 0 {
		return nil
	}
	v, err := decodeValue(raw)
	if err != nil {
		return nil
	}
	var out []string
	var walk func(any)
	walk = func(v any) {
		switch x := v.(type) {
		case string:
			out = append(out, x)
		case []any:
			for _, item := range x {
				walk(item)
			}
		case map[string]any:
			for _, item := range x {
				walk(item)
			}
		}
	}
	walk(v)
	return out
}

// assess looks for the template first: gone is done, and so is one that is
// being deleted, which cannot be taken back.
func (d Delete) assess(snap Snapshot) Assessment {
	live, ok := snap.Object(d.Ref)
	if !ok {
		return Assessment{Verdict: Satisfied}
	}
	if uid := string(live.GetUID()); uid != d.UID {
		return drifted(Difference{Object: d.Ref, Path: "/metadata/uid", Reviewed: d.UID, Found: uid,
			Because: "it was deleted and made anew"})
	}
	if live.GetDeletionTimestamp() != nil {
		return Assessment{Verdict: Satisfied}
	}
	if version := live.GetAPIVersion(); version != d.APIVersion {
		return drifted(Difference{Object: d.Ref, Path: "/apiVersion", Reviewed: d.APIVersion, Found: version,
			Because: "the cluster now serves its kind in another API version"})
	}
	cluster, ok := snap.Object(d.Cluster)
	if !ok {
		return drifted(gone(d.Cluster, "the template belongs to it"))
	}
	var differences []Difference
	if found := sourceDigest(live, sealerOf(cluster)); found != d.Content {
		differences = append(differences, Difference{Object: d.Ref, Reviewed: "content " + d.Content.Short(),
			Found: "content " + found.Short(), Because: "somebody edited it since"})
	}
	for _, kind := range d.UnusedBy {
		for _, obj := range snap.List(Selector{Ref: kind}) {
			if path, used := capi.UseOf(obj, d.Ref); used {
				differences = append(differences, Difference{Object: capi.RefOf(obj), Path: PointerTo(path...),
					Reviewed: "(does not refer to " + d.Ref.String() + ")", Found: d.Ref.Name, Because: "the template is in use again, and must stay"})
			}
		}
	}
	if len(differences) > 0 {
		return drifted(differences...)
	}
	return Assessment{Verdict: Pending}
}
