package plan

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// The codes of what a rollout brings along that nobody asked for.
const (
	CheckBootstrapEdited = "bootstrap-template-edited"
	CheckImagesDiffer    = "images-differ"
	CheckFieldManagers   = "field-managers"
	CheckInPlace         = "in-place-fields"
)

// clonedFromName is on every object that Cluster API clones from a template
// (api/core/v1beta2, TemplateClonedFromNameAnnotation).
const clonedFromName = "cluster.x-k8s.io/cloned-from-name"

// latent tells of changes that the rollout ships though the upgrade does not
// name them: a bootstrap template can be edited at any time, and new machines
// are made from it as it is then; and machines of one template run different
// images where the provider looked these up at different times.
func (c *checker) latent(p *pool) {
	if !p.rolls() {
		return
	}
	list := p.lists()
	var configs, infraMachines []*unstructured.Unstructured
	for _, sel := range list {
		whole := sel
		whole.Pools = ""
		switch sel.Kind {
		case cloned(p.bootstrap.ref).Kind:
			configs = p.index.madeFrom(p.bootstrap.ref, whole)
			if why, unread := c.snap.Unread(sel); unread && p.bootstrap.obj != nil {
				c.add(Finding{Code: CheckBootstrapEdited, Severity: Warn, Object: p.bootstrap.ref,
					Message: fmt.Sprintf("whether %s was edited after the machines were made from it is not known: %s. This rollout would ship such an edit", p.bootstrap.ref, why),
					Remedy:  fmt.Sprintf("plan again with the right to list %s, or from manifests that hold them; or compare the template with what was last reviewed, and go on if nothing differs", sel.Kind)})
			}
		case cloned(p.infra.ref).Kind:
			infraMachines = p.index.madeFrom(p.infra.ref, whole)
		}
	}
	c.bootstrapEdited(p, configs)
	c.imagesDiffer(p, infraMachines)
	c.inPlace(p)
}

// inPlace says how the fields that Cluster API takes over in place come to the
// machines that the rollout replaces.
func (c *checker) inPlace(p *pool) {
	switch {
	case len(p.drain()) == 0:
		c.pass(CheckInPlace, p.ref, "nothing that is taken over in place has to be written before the rollout")
	case !p.drainFirst():
		c.pass(CheckInPlace, p.ref, "this Cluster API gives the drain settings to the machines that are replaced, too")
	case p.rollout.Old > 0:
		c.add(Finding{Code: CheckInPlace, Severity: Warn, Object: p.ref,
			Message: fmt.Sprintf("%d machines that an earlier rollout still replaces keep their drain settings: "+
				"this Cluster API (v1.11 or older) gives new ones to the machines of the present template alone. Drains of these machines go on under the old limits", p.rollout.Old),
			Remedy: "go on if the old limits will do for these machines; otherwise wait until that rollout is complete (nodepool status), then plan again"})
	default:
		c.pass(CheckInPlace, p.ref, "the drain settings are written first and the rollout begins when the machines have them: "+
			"this Cluster API (v1.11 or older) would give them to new machines alone")
	}
}

// bootstrapEdited holds every machine's bootstrap config against the template
// as it is now. Only what the template says is compared, since the bootstrap
// provider adds to a config (CABPK fills in discovery and cluster values).
func (c *checker) bootstrapEdited(p *pool, configs []*unstructured.Unstructured) {
	if p.bootstrap.obj == nil || len(configs) == 0 {
		return
	}
	s := sealerOf(p.cluster)
	want := s.seal(templateSpec(p.bootstrap.obj))
	fields := map[string]bool{}
	older := 0
	for _, config := range configs {
		spec, _, _ := unstructured.NestedMap(config.Object, "spec")
		before := len(fields)
		differing("", s.seal(spec), want, func(at Pointer) { fields[at.Dotted()] = true })
		if len(fields) > before || !holds(s.seal(spec), want) {
			older++
		}
	}
	if older == 0 {
		c.pass(CheckBootstrapEdited, p.bootstrap.ref, "the machines were made from the bootstrap template as it is now")
		return
	}
	names := make([]string, 0, len(fields))
	for f := range fields {
		names = append(names, f)
	}
	slices.Sort(names)
	c.add(Finding{Code: CheckBootstrapEdited, Severity: Warn, Object: p.bootstrap.ref,
		Message: fmt.Sprintf("%s was edited after %d of %s %s made from it, and this rollout ships the edit, which the upgrade does not name, in all new machines: %s",
			p.bootstrap.ref, older, machines(len(configs)), wasOrWere(older), strings.Join(names, ", ")),
		Remedy: "have these fields of the template reviewed with this plan (kubectl get -o yaml), and go on if the edit is meant to ship; otherwise set them back to what the machines were made from, then plan again"})
}

// differing reports the fields of want that live does not hold.
func differing(at Pointer, live, want any, report func(Pointer)) {
	w, ok := want.(map[string]any)
	if !ok || isSealed(w) {
		if !holds(live, want) {
			report(at)
		}
		return
	}
	l, _ := live.(map[string]any)
	for k, v := range w {
		differing(at.Append(k), l[k], v, report)
	}
}

func (c *checker) imagesDiffer(p *pool, infraMachines []*unstructured.Unstructured) {
	if p.infra.obj == nil {
		return
	}
	field, known := capi.ImageField(p.infra.obj)
	if !known {
		c.pass(CheckImagesDiffer, p.infra.ref, "the infrastructure template names no image that could differ")
		return
	}
	images := map[string]bool{}
	for _, m := range infraMachines {
		if image := capi.StringAt(m, append([]string{"spec"}, field.Path...)...); image != "" {
			images[image] = true
		}
	}
	if len(images) < 2 {
		c.pass(CheckImagesDiffer, p.infra.ref, "the machines made from the infrastructure template run one image, as far as their objects say")
		return
	}
	names := make([]string, 0, len(images))
	for i := range images {
		names = append(names, i)
	}
	slices.Sort(names)
	if m, _ := p.machine(); m.image != "" {
		c.pass(CheckImagesDiffer, p.infra.ref, fmt.Sprintf("machines made from %s run %d different images (%s), and new ones get %s",
			p.infra.ref, len(names), strings.Join(names, ", "), m.image))
		return
	}
	remedy := "set machineImage, so that all new machines run the image that was reviewed"
	if c.back {
		remedy = "go back now if the workload runs on any of them; for one image in all machines, set machineImage by another upgrade afterwards"
	}
	c.add(Finding{Code: CheckImagesDiffer, Severity: Warn, Object: p.infra.ref,
		Message: fmt.Sprintf("machines made from %s run %d different images (%s), as they do when the provider looks the image up for each machine: which one new machines get is not reviewed here",
			p.infra.ref, len(names), strings.Join(names, ", ")),
		Remedy: remedy})
}

// fieldManager is the name under which the API server records what nodepool
// writes.
const fieldManager = "nodepool"

// appliers are the field managers that write a field again when somebody else
// changed it, by the start of their name.
var appliers = []struct{ prefix, owner string }{
	{"argocd", "Argo CD"},
	{"kustomize-controller", "Flux"},
	{"helm-controller", "Flux"},
	{"helm", "Helm"},
	{"kapp", "kapp"},
	{"capi-topology", theTopology},
}

// applierOf tells whether a field manager is one that applies again: a tool
// that is known to, which owner names, or any other that has used server-side
// apply, whose next apply puts back what it owns. The controllers of Cluster
// API other than that of topologies apply objects that they made (field
// managers capi-*), and nodepool and kubectl edit apply nothing again.
func applierOf(manager, operation string) (owner string, applies bool) {
	for _, a := range appliers {
		if strings.HasPrefix(manager, a.prefix) {
			return a.owner, true
		}
	}
	own := strings.HasPrefix(manager, "capi-") || manager == fieldManager || manager == "kubectl-edit"
	return "", operation == string(metav1.ManagedFieldsOperationApply) && !own || manager == clientSideApply
}

// The field managers of kubectl apply and kubectl apply --server-side.
const (
	clientSideApply = "kubectl-client-side-apply"
	serverSideApply = "kubectl"
)

// theTopology names the owner whose objects are the business of CheckTopology.
const theTopology = "the cluster's topology"

// fieldManagers looks in managedFields for who else writes what this plan
// changes (apimachinery fieldsV1: one "f:<name>" key a level). Somebody who
// will put a field back that rolls blocks: that would be a second rollout. On
// the way back nothing blocks, since an emergency must not wait.
func (c *checker) fieldManagers(p *pool) {
	changes := changesBetween("", p.md.Object, p.wanted.Object)
	type writer struct {
		owner, manager string
		fields         []string
		rolls          bool
	}
	var writers []*writer
	for _, m := range p.md.GetManagedFields() {
		owner, applies := applierOf(m.Manager, string(m.Operation))
		if !applies || m.FieldsV1 == nil || m.Subresource != "" {
			continue
		}
		tree, err := decodeValue(m.FieldsV1.GetRawBytes())
		if err != nil {
			continue
		}
		i := slices.IndexFunc(writers, func(w *writer) bool { return w.manager == m.Manager })
		if i < 0 {
			i, writers = len(writers), append(writers, &writer{owner: owner, manager: m.Manager})
		}
		w := writers[i]
		for _, change := range changes {
			if owns(tree, change.Path.Tokens()) && !slices.Contains(w.fields, change.Path.Dotted()) {
				w.fields = append(w.fields, change.Path.Dotted())
				w.rolls = w.rolls || slices.ContainsFunc(rollingFields(p.fields), func(path []string) bool { return change.Path.Within(PointerTo(path...)) })
			}
		}
	}
	writers = slices.DeleteFunc(writers, func(w *writer) bool { return len(w.fields) == 0 })
	const export = "nodepool plan --export DIR writes it as manifests"
	for _, w := range writers {
		fields, second := fmt.Sprintf("%s of %s", strings.Join(w.fields, ", "), p.ref), ""
		if w.rolls {
			second = ", which would be a second rollout"
		}
		f := Finding{Code: CheckFieldManagers, Severity: Warn, Object: p.ref}
		switch {
		case w.manager == clientSideApply, w.manager == serverSideApply:
			f.Message = fmt.Sprintf("%s was written by kubectl apply (field manager %s): whoever applies that manifest again puts its value back%s", fields, w.manager, second)
			f.Remedy = "change the manifest too, wherever it is kept, before anybody applies it again; " + export
			c.add(f)
			continue
		case w.owner == "":
			f.Message = fmt.Sprintf("the field manager %q, which uses server-side apply, writes %s too, and will put back its own value when it applies again%s", w.manager, fields, second)
			f.Remedy = "make the change where it takes it from, in place of here: " + export + "; or have it leave these fields alone, then plan again"
		default:
			f.Message = fmt.Sprintf("%s (field manager %s) writes %s too, and will put back its own value%s", w.owner, w.manager, fields, second)
			f.Remedy = "make the change where " + w.owner + " takes it from, in place of here: " + export + "; or have it leave these fields alone, then plan again"
		}
		if w.owner == theTopology {
			f.Remedy = "change Cluster.spec.topology instead; the check " + CheckTopology + " tells where"
		}
		if w.rolls && w.owner != theTopology && p.back == nil {
			f.Severity = Block
			f.Remedy += "; or waive this check, with the reason, if it will not apply before that is done"
		}
		c.add(f)
	}
	owner := capi.OwnerOf(p.md)
	switch {
	case len(writers) > 0:
	case owner != "" && owner != "topology":
		c.add(Finding{Code: CheckFieldManagers, Severity: Warn, Object: p.ref,
			Message: fmt.Sprintf("%s manages %s by its labels or annotations; that it writes the fields that change is not visible in metadata.managedFields, and it may put its own values back, which would be a second rollout", owner, p.ref),
			Remedy:  "go on if it leaves these fields alone; otherwise make the change where " + owner + " takes it from, in place of here: " + export})
	case c.snap.managers != "" && len(p.md.GetManagedFields()) == 0:
		c.notVerified(CheckFieldManagers, p.ref, c.snap.managers)
	default:
		c.pass(CheckFieldManagers, p.ref, "no other tool is known to write the fields that change")
	}
}

// owns reports whether tree holds the field at tokens. An empty node above it
// is owned as a whole: references of v1beta1 are atomic (core/v1,
// ObjectReference).
func owns(tree any, tokens []string) bool {
	for i, t := range tokens {
		m, ok := tree.(map[string]any)
		if !ok {
			return false
		}
		if i > 0 && len(m) == 0 {
			return true
		}
		if tree, ok = m["f:"+t]; !ok {
			return false
		}
	}
	return true
}
