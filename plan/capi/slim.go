package capi

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// Slimmer takes out of the objects of a rollout what is not read of them. A
// cluster of 5,000 Machines has 15,000 of them, of ten kilobytes each. What many
// of them hold in common, such as a condition that is met, is kept once. Its zero
// value is ready for use, by several goroutines.
type Slimmer struct {
	mu sync.Mutex
	store
}

// Slim gives what of o is judged by, by Judge and JudgeInPlace. Machines are
// judged by little of their metadata and status, and by their whole spec; what
// they refer to by less. Of MachineSets, MachineDeployments and Clusters, of which
// there are few, all is kept but the managed fields. It takes what it keeps out
// of o, which must not be used any more.
func (s *Slimmer) Slim(o *unstructured.Unstructured) *unstructured.Unstructured {
	machine, ok := isMachine(o)
	if !ok {
		unstructured.RemoveNestedField(o.Object, "metadata", "managedFields")
		return o
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slim(o, machine)
}

func (s *store) slim(o *unstructured.Unstructured, machine bool) *unstructured.Unstructured {
	s.begin()
	from := seen(o.Object)
	metadata := s.metadata(from)
	if !machine {
		delete(metadata, "creationTimestamp")
		delete(metadata, "ownerReferences")
	}
	var spec any
	if machine {
		spec = s.spec(from.object("spec"))
	} else {
		spec, _ = s.image(from)
	}
	var timed, timedBefore []string
	if machine {
		timed = judgedBy
		if len(from.conditions()) == 0 {
			timedBefore = judgedBy // there is no newer one
		}
	}
	return s.put(from, metadata, spec, s.status(from, timed, timedBefore, false))
}

// SlimForPlan gives what of a Machine, or of what one refers to, a plan is made
// from: what Slim gives, all labels and annotations, the times that StartupOf
// reads, the operating system of a node, and of a bootstrap config its spec, which
// is held against its template. What it gives is a form of the object for one
// plan, without a resourceVersion. Any other object it gives as Share does. It
// takes what it keeps out of o, which must not be used any more.
func (s *Slimmer) SlimForPlan(o *unstructured.Unstructured) *unstructured.Unstructured {
	machine, ok := isMachine(o)
	if !ok {
		return s.Share(o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slimForPlan(o, machine)
}

func (s *store) slimForPlan(o *unstructured.Unstructured, machine bool) *unstructured.Unstructured {
	s.begin()
	from := seen(o.Object)
	metadata := s.metadata(from)
	delete(metadata, "resourceVersion")
	for _, field := range []string{"labels", "annotations"} {
		if all := from.at("metadata", field); all != nil {
			metadata[field] = s.once(all)
		}
	}
	spec, known := s.image(from)
	if machine || !known {
		spec = s.once(from.at("spec"))
	}
	var timed []string
	if machine {
		timed = plannedBy
	}
	return s.put(from, metadata, spec, s.status(from, timed, timed, true))
}

// Share gives o with all that it holds in common with others kept once. It takes
// what it keeps out of o, which must not be used any more.
func (s *Slimmer) Share(o *unstructured.Unstructured) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	out := make(map[string]any, len(o.Object))
	for key, value := range o.Object {
		if metadata, ok := value.(map[string]any); ok && key == "metadata" { // no two are the same
			own := make(map[string]any, len(metadata))
			for key, value := range metadata {
				own[s.key(key)] = s.once(value)
			}
			value = own
		} else {
			value = s.once(value)
		}
		out[s.key(key)] = value
	}
	return &unstructured.Unstructured{Object: out}
}

// isMachine tells Machines from what they refer to; ok is false for any other
// object of a rollout.
func isMachine(o *unstructured.Unstructured) (machine, ok bool) {
	ref := RefOf(o)
	machine = ref.Group == Group && ref.Kind == "Machine"
	return machine, machine || ref.Group != Group
}

// put gives a slim object of its parts; nil and empty ones are left out.
func (s *store) put(from seen, metadata map[string]any, spec any, status map[string]any) *unstructured.Unstructured {
	out := map[string]any{"apiVersion": s.text(from.text("apiVersion")), "kind": s.text(from.kind()), "metadata": metadata}
	if spec != nil {
		out["spec"] = spec
	}
	if len(status) > 0 {
		out["status"] = status
	}
	return &unstructured.Unstructured{Object: out}
}

// spec keeps the spec of a Machine that is judged: what it refers to is its own,
// the rest is that of its MachineSet.
func (s *store) spec(from seen) any {
	if from == nil {
		return nil
	}
	out := make(map[string]any, len(from))
	for key, value := range from {
		switch key {
		case "providerID": // no two are the same
		case "infrastructureRef", "bootstrap":
			value = s.copied(value)
		default:
			value = s.once(value)
		}
		out[s.key(key)] = value
	}
	return out
}

// image keeps the machine image of an infrastructure machine, in its place; known
// is whether this is known of its kind.
func (s *store) image(from seen) (spec any, known bool) {
	p, ok := providers[from.kind()+"Template"]
	if !ok || p.image == nil {
		return nil, false
	}
	image := from.text(append([]string{"spec"}, p.image.Path...)...)
	if image == "" {
		return nil, true
	}
	at := map[string]any{}
	_ = unstructured.SetNestedField(at, image, p.image.Path...)
	return s.once(at), true
}

func (s *store) metadata(from seen) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"uid", "resourceVersion", "deletionTimestamp"} {
		if v := from.at("metadata", key); v != nil {
			out[key] = v
		}
	}
	if v := from.at("metadata", "creationTimestamp"); v != nil {
		out["creationTimestamp"] = s.copied(v)
	}
	if name := from.name(); name != "" {
		out["name"] = s.text(name)
	}
	if namespace := from.namespace(); namespace != "" {
		out["namespace"] = s.text(namespace)
	}
	keep := func(field string, of func(key string) bool) {
		kept := map[string]any{}
		for key, value := range from.object("metadata", field) {
			if of(key) {
				kept[key] = value
			}
		}
		if len(kept) > 0 {
			out[field] = s.once(kept)
		}
	}
	keep("labels", func(key string) bool {
		return slices.Contains([]string{clusterv1.ClusterNameLabel, clusterv1.MachineDeploymentNameLabel, clusterv1.MachineSetNameLabel}, key)
	})
	keep("annotations", func(key string) bool {
		return key == clusterv1.PausedAnnotation || key == clusterv1.TemplateClonedFromNameAnnotation ||
			strings.HasPrefix(key, clusterv1.PreDrainDeleteHookAnnotationPrefix) || strings.HasPrefix(key, clusterv1.PreTerminateDeleteHookAnnotationPrefix)
	})
	if finalizers := from.finalizers(); len(finalizers) > 0 {
		list := make([]any, len(finalizers))
		for i, f := range finalizers {
			list[i] = f
		}
		out["finalizers"] = s.once(list)
	}
	if owner, ok := from.controller(); ok {
		out["ownerReferences"] = s.once([]any{map[string]any{"controller": true, "kind": owner.kind(), "name": owner.text("name"), "uid": owner.text("uid")}})
	}
	return out
}

// status keeps what is read of the status of a Machine or of an object that it
// refers to; the conditions of both contracts, wherever they stand. Timed are
// those of the newer contract whose time is read, timedBefore those of the older;
// planned adds what a plan alone reads.
func (s *store) status(from seen, timed, timedBefore []string, planned bool) map[string]any {
	status := from.object("status")
	if from.oldForm() {
		timed, timedBefore = timedBefore, timed
	}
	out, own := s.said(status, timed)
	if phase := status.text("phase"); phase != "" {
		out["phase"] = s.text(phase)
	}
	if node := status.text("nodeRef", "name"); node != "" {
		out["nodeRef"], own = map[string]any{"name": s.text(node)}, true
	}
	node := map[string]any{}
	if kubelet := status.text("nodeInfo", "kubeletVersion"); kubelet != "" {
		node["kubeletVersion"] = kubelet
	}
	if system := status.text("nodeInfo", "osImage"); system != "" && planned {
		node["osImage"] = system
	}
	if len(node) > 0 {
		out["nodeInfo"] = s.once(node)
	}
	if newer, timed := s.said(status.object("v1beta2"), timedBefore); len(newer) > 0 {
		out["v1beta2"], own = s.kept(newer, timed), own || timed
	}
	if older, timed := s.said(status.object("deprecated", "v1beta1"), timedBefore); len(older) > 0 {
		out["deprecated"], own = s.kept(map[string]any{"v1beta1": older}, timed), own || timed
	}
	return s.kept(out, own)
}

// kept keeps a map once, unless it is an object's own.
func (s *store) kept(m map[string]any, own bool) map[string]any {
	if own || len(m) == 0 {
		return m
	}
	m, _ = s.once(m).(map[string]any)
	return m
}

// said keeps the conditions and the terminal failure that stand at one place. Own
// is whether no other object can have the same, as far as is known.
func (s *store) said(from seen, timed []string) (out map[string]any, own bool) {
	out = map[string]any{}
	for _, key := range []string{"failureReason", "failureMessage"} {
		if text := from.text(key); text != "" {
			out[key] = text
		}
	}
	items := from.objects("conditions")
	if len(items) == 0 {
		return out, false
	}
	list := make([]any, len(items))
	for i, item := range items {
		kept := s.condition(item)
		if since := item.text("lastTransitionTime"); since != "" && slices.Contains(timed, item.text("type")) {
			kept, own = maps.Clone(kept), true
			kept["lastTransitionTime"] = s.text(since)
		}
		list[i] = kept
	}
	if out["conditions"] = list; !own {
		out["conditions"] = s.once(list)
	}
	return out, own
}

// condition is what of a condition is kept, but the time.
type condition struct{ kind, status, reason, severity, message string }

// condition keeps a condition without its time, once.
func (s *store) condition(from seen) map[string]any {
	c := condition{from.text("type"), from.text("status"), from.text("reason"), from.text("severity"), from.text("message")}
	known, ok := s.conditions[c]
	if !ok {
		known = map[string]any{}
		for _, f := range []struct{ key, value string }{{"type", c.kind}, {"status", c.status}, {"reason", c.reason}, {"severity", c.severity}, {"message", c.message}} {
			if f.value != "" {
				known[f.key] = f.value
			}
		}
		known = s.kept(known, false)
		s.conditions[c] = known
	}
	return known
}

// The conditions of a Machine whose time is read: by Judge, since when it is
// available, and ready; for a plan also how long it took to start.
var (
	judgedBy  = []string{clusterv1.MachineAvailableCondition, clusterv1.MachineReadyCondition, string(clusterv1.MachineNodeHealthyV1Beta1Condition)}
	plannedBy = append(slices.Clone(judgedBy), clusterv1.MachineInfrastructureReadyCondition, string(clusterv1.InfrastructureReadyV1Beta1Condition),
		clusterv1.MachineNodeReadyCondition, clusterv1.MachineNodeHealthyCondition)
)
