package capi

import (
	"hash/maphash"
	"maps"
	"math/bits"
	"reflect"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// Sharer takes out of the objects of a rollout what is not read of them. A
// cluster of 5,000 Machines has 15,000 of them, of ten kilobytes each. What many
// of them hold in common, such as a condition that is met, is kept once. Its zero
// value is ready for use, by several goroutines.
type Sharer struct {
	mu         sync.Mutex
	seed       maphash.Seed // decides where what is kept is looked for, and nothing else
	texts      map[string]any
	conditions map[alikeCondition]sharedTree
	// trees are the maps and lists that are kept once, by their hash, and hashes
	// tells these from others by their address.
	trees  map[uint64][]any
	hashes map[uintptr]uint64
}

// alikeCondition is what of a condition is kept, but the time.
type alikeCondition struct{ kind, status, reason, severity, message string }

// sharedTree is a map that is kept once, and its hash.
type sharedTree struct {
	tree map[string]any
	hash uint64
}

// maxTrees bounds what a Sharer keeps to compare with. Beyond it, it begins anew.
const maxTrees = 1 << 14

// SlimForPlan gives what of a Machine, or of what one refers to, a plan is made
// from: what Slim gives, all labels and annotations, the times that StartupOf
// reads, and of a bootstrap config its spec, which is held against its template.
// What it gives is a form of the object for one plan, without a resourceVersion.
// Any other object it gives as Share does. It takes what it keeps out of o, which
// must not be used any more.
func (s *Sharer) SlimForPlan(o *unstructured.Unstructured) *unstructured.Unstructured {
	from, group := seen(o.Object), RefOf(o).Group
	machine := group == Group && o.GetKind() == "Machine"
	if group == Group && !machine {
		return s.Share(o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	metadata := s.metadata(from)
	delete(metadata, "resourceVersion")
	for _, field := range []string{"labels", "annotations"} {
		if all := from.at("metadata", field); all != nil {
			metadata[field] = s.whole(all)
		}
	}
	out := map[string]any{"apiVersion": s.text(from.text("apiVersion")), "kind": s.text(from.kind()), "metadata": metadata}
	if p := providers[from.kind()+"Template"]; machine || p.image == nil {
		if spec := from.at("spec"); spec != nil {
			out["spec"] = s.whole(spec)
		}
	} else if image := s.image(from); image != nil {
		out["spec"] = image
	}
	if machine {
		if status := s.status(from, plannedBy); len(status) > 0 {
			out["status"] = status
		}
	} else if status := s.status(from, nil); len(status) > 0 {
		out["status"] = s.whole(status)
	}
	return &unstructured.Unstructured{Object: out}
}

// Share gives o with all that it holds in common with others kept once. It takes
// what it keeps out of o, which must not be used any more.
func (s *Sharer) Share(o *unstructured.Unstructured) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	out := make(map[string]any, len(o.Object))
	for key, value := range o.Object {
		if metadata, ok := value.(map[string]any); ok && key == "metadata" { // no two are the same
			own := make(map[string]any, len(metadata))
			for key, value := range metadata {
				own[s.key(key)] = s.whole(value)
			}
			value = own
		} else {
			value = s.whole(value)
		}
		out[s.key(key)] = value
	}
	return &unstructured.Unstructured{Object: out}
}

func (s *Sharer) begin() {
	if s.texts == nil {
		s.seed = maphash.MakeSeed()
	} else if len(s.texts) < maxTrees && len(s.conditions) < maxTrees && len(s.hashes) < maxTrees {
		return
	}
	s.texts, s.conditions = map[string]any{}, map[alikeCondition]sharedTree{}
	s.trees, s.hashes = map[uint64][]any{}, map[uintptr]uint64{}
}

// text gives a text that may stand in many objects, as a value.
func (s *Sharer) text(t string) any {
	if known, ok := s.texts[t]; ok {
		return known
	}
	s.texts[t] = t
	return s.texts[t]
}

// key gives a text that may stand in many objects.
func (s *Sharer) key(t string) string {
	k, _ := s.text(t).(string)
	return k
}

// whole keeps a value with all that is in it.
func (s *Sharer) whole(v any) any {
	v, _ = s.tree(v)
	return v
}

// tree keeps a value with all that is in it, each part once, and gives its hash.
// It writes to no map or list that it has given before: others may read these.
func (s *Sharer) tree(v any) (any, uint64) {
	var hash uint64
	switch v := v.(type) {
	case string:
		hash = maphash.String(s.seed, v)
		if len(v) <= 64 {
			return s.text(v), hash
		}
		return v, hash
	case map[string]any:
		if hash, known := s.hashes[address(v)]; known {
			return v, hash
		}
		for key, value := range v {
			child, h := s.tree(value)
			v[key] = child
			hash += mix(maphash.String(s.seed, key), h) // in any order
		}
	case []any:
		if hash, known := s.hashes[address(v)]; known {
			return v, hash
		}
		for i, value := range v {
			child, h := s.tree(value)
			v[i] = child
			hash = mix(hash, h)
		}
	default:
		return v, maphash.Comparable(s.seed, v)
	}
	return s.once(v, hash), hash
}

// once gives what is kept of a map or list whose parts are kept already.
func (s *Sharer) once(v any, hash uint64) any {
	for _, known := range s.trees[hash] {
		if alike(known, v) {
			return known
		}
	}
	switch from := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(from))
		for key, value := range from {
			out[s.key(key)] = value
		}
		v = out
	case []any:
		v = slices.Clip(slices.Clone(from))
	}
	s.trees[hash] = append(s.trees[hash], v)
	s.hashes[address(v)] = hash
	return v
}

// mix gives a hash of two, which tells their order.
func mix(a, b uint64) uint64 {
	a = (a ^ bits.RotateLeft64(b, 32)) * 0x9e3779b97f4a7c15
	return a ^ a>>29
}

// address tells maps and lists apart.
func address(v any) uintptr { return reflect.ValueOf(v).Pointer() }

// alike reports whether two maps or two lists hold the same parts, each of which
// is kept once.
func alike(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key, x := range a {
			if y, ok := b[key]; !ok || !one(x, y) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, one)
	}
	return false
}

// one reports whether a and b are one value.
func one(a, b any) bool {
	switch a.(type) {
	case map[string]any:
		_, ok := b.(map[string]any)
		return ok && address(a) == address(b)
	case []any:
		_, ok := b.([]any)
		return ok && address(a) == address(b)
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// image keeps the machine image of an infrastructure machine, in its place.
func (s *Sharer) image(from seen) any {
	p, ok := providers[from.kind()+"Template"]
	if !ok || p.image == nil {
		return nil
	}
	image := from.text(append([]string{"spec"}, p.image.Path...)...)
	if image == "" {
		return nil
	}
	spec := map[string]any{}
	_ = unstructured.SetNestedField(spec, image, p.image.Path...)
	return s.whole(spec)
}

func (s *Sharer) metadata(from seen) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"name", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"} {
		if v := from.at("metadata", key); v != nil {
			out[key] = v
		}
	}
	if namespace := from.namespace(); namespace != "" {
		out["namespace"] = s.text(namespace)
	}
	keep := func(field string, of func(key string) bool) {
		kept := map[string]any{}
		for key, value := range from.object("metadata", field) {
			if of(key) {
				kept[s.key(key)] = s.whole(value)
			}
		}
		if len(kept) > 0 {
			out[field] = s.whole(kept)
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
			list[i] = s.text(f)
		}
		out["finalizers"] = s.whole(list)
	}
	if owner, ok := from.controller(); ok {
		out["ownerReferences"] = s.whole([]any{map[string]any{"controller": true, "kind": owner.kind(), "name": owner.text("name"), "uid": owner.text("uid")}})
	}
	return out
}

// status keeps what is read of the status of a Machine or of an object that it
// refers to; the conditions of both contracts, wherever they stand, with the
// times of those that are timed.
func (s *Sharer) status(from seen, timed []string) map[string]any {
	out := s.said(from.object("status"), timed)
	status := from.object("status")
	if phase := status.text("phase"); phase != "" {
		out["phase"] = s.text(phase)
	}
	if node := status.text("nodeRef", "name"); node != "" {
		out["nodeRef"] = map[string]any{"name": node}
	}
	if kubelet := status.text("nodeInfo", "kubeletVersion"); kubelet != "" {
		out["nodeInfo"] = s.whole(map[string]any{"kubeletVersion": kubelet})
	}
	if newer := s.said(status.object("v1beta2"), timed); len(newer) > 0 {
		out["v1beta2"] = newer
	}
	if older := s.said(status.object("deprecated", "v1beta1"), timed); len(older) > 0 {
		out["deprecated"] = map[string]any{"v1beta1": older}
	}
	return out
}

// said keeps the conditions and the terminal failure that stand at one place.
func (s *Sharer) said(from seen, timed []string) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"failureReason", "failureMessage"} {
		if text := from.text(key); text != "" {
			out[key] = text
		}
	}
	if items := from.objects("conditions"); len(items) > 0 {
		out["conditions"] = s.list(items, timed)
	}
	return out
}

// list keeps conditions: all in one where none has a time of its own.
func (s *Sharer) list(items []seen, timed []string) any {
	list, hash, own := make([]any, len(items)), uint64(0), false
	for i, item := range items {
		known := s.condition(item)
		list[i], hash = known.tree, mix(hash, known.hash)
		since := item.text("lastTransitionTime")
		if since == "" || !slices.Contains(timed, item.text("type")) {
			continue
		}
		with := make(map[string]any, len(known.tree)+1)
		maps.Copy(with, known.tree)
		with["lastTransitionTime"] = s.text(since)
		list[i], own = with, true
	}
	if own {
		return list
	}
	return s.once(list, hash)
}

// condition keeps a condition without its time, once.
func (s *Sharer) condition(from seen) sharedTree {
	c := alikeCondition{from.text("type"), from.text("status"), from.text("reason"), from.text("severity"), from.text("message")}
	known, ok := s.conditions[c]
	if !ok {
		tree := map[string]any{}
		for _, f := range []struct{ key, value string }{{"type", c.kind}, {"status", c.status}, {"reason", c.reason}, {"severity", c.severity}, {"message", c.message}} {
			if f.value != "" {
				tree[f.key] = f.value
			}
		}
		kept, hash := s.tree(tree)
		known.tree, _ = kept.(map[string]any)
		known.hash = hash
		s.conditions[c] = known
	}
	return known
}
