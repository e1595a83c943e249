package capi

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// Slimmer takes out of the objects of a rollout what Judge and JudgeInPlace do
// not read. A cluster of 5,000 Machines has 15,000 of them, of ten kilobytes
// each. What many of them hold in common, such as a condition that is met, is
// kept once. Its zero value is ready for use, by several goroutines.
type Slimmer struct {
	mu     sync.Mutex
	texts  map[string]any // each a string
	known  map[condition]map[string]any
	shared map[[sha256.Size]byte]any
	buffer []byte
}

// condition is what of a condition is kept, but the time.
type condition struct{ kind, status, reason, severity, message string }

// What a Slimmer keeps to compare with is bounded; beyond that, it begins anew.
// The names of a large cluster's Machines are among the texts: what they refer to
// often has the same.
const maxTexts, maxShared = 1 << 15, 1 << 12

// Slim gives what of o is judged by. Machines are judged by little of their
// metadata and status, and by their whole spec; what they refer to by less. Of
// MachineSets, MachineDeployments and Clusters, of which there are few, all is
// kept but the managed fields. It takes what it keeps out of o, which must not
// be used any more.
func (s *Slimmer) Slim(o *unstructured.Unstructured) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	from, group := seen(o.Object), RefOf(o).Group
	machine := group == Group && o.GetKind() == "Machine"
	if group == Group && !machine {
		unstructured.RemoveNestedField(o.Object, "metadata", "managedFields")
		return o
	}
	out := map[string]any{"apiVersion": s.text(from.text("apiVersion")), "kind": s.text(from.kind()), "metadata": s.metadata(from, machine)}
	if machine {
		if spec := from.object("spec"); spec != nil {
			out["spec"] = s.spec(spec)
		}
	} else if p, ok := providers[from.kind()+"Template"]; ok && p.image != nil {
		path := append([]string{"spec"}, p.image.Path...)
		if image := from.text(path...); image != "" {
			_ = unstructured.SetNestedField(out, s.text(image), path...)
			out["spec"] = s.once(out["spec"])
		}
	}
	switch status := s.status(from, machine); {
	case len(status) == 0:
	case machine:
		out["status"] = status
	default:
		out["status"] = s.once(status)
	}
	return &unstructured.Unstructured{Object: out}
}

func (s *Slimmer) begin() {
	if s.texts == nil || len(s.texts) > maxTexts {
		s.texts = map[string]any{}
	}
	if s.known == nil || len(s.known) > maxShared {
		s.known = map[condition]map[string]any{}
	}
	if s.shared == nil || len(s.shared) > maxShared {
		s.shared = map[[sha256.Size]byte]any{}
	}
}

// text gives a text that may stand in many objects, as a string.
func (s *Slimmer) text(t string) any {
	known, ok := s.texts[t]
	if !ok {
		known = t
		s.texts[t] = known
	}
	return known
}

// key is text for what has to be a string.
func (s *Slimmer) key(t string) string { return s.text(t).(string) }

// once gives a value that may stand in many objects, which nobody may change.
func (s *Slimmer) once(v any) any {
	s.buffer = appendValue(s.buffer[:0], v)
	sum := sha256.Sum256(s.buffer)
	known, ok := s.shared[sum]
	if !ok {
		known = v
		s.shared[sum] = v
	}
	return known
}

// appendValue writes a value so that no other is written the same.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(append(strconv.AppendInt(append(b, 's'), int64(len(v)), 10), ':'), v...)
	case map[string]any:
		b = append(strconv.AppendInt(append(b, 'm'), int64(len(v)), 10), ':')
		for _, key := range slices.Sorted(maps.Keys(v)) {
			b = appendValue(appendValue(b, key), v[key])
		}
		return b
	case []any:
		b = append(strconv.AppendInt(append(b, 'l'), int64(len(v)), 10), ':')
		for _, item := range v {
			b = appendValue(b, item)
		}
		return b
	}
	return fmt.Appendf(b, "%T %v;", v, v)
}

// whole keeps a value with all that is in it.
func (s *Slimmer) whole(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) <= 64 {
			return s.text(v)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[s.key(key)] = s.whole(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = s.whole(v[i])
		}
		return out
	}
	return v
}

// spec keeps the spec of a Machine: what it refers to is its own, the rest is that
// of its MachineSet.
func (s *Slimmer) spec(from seen) map[string]any {
	out := make(map[string]any, len(from))
	for key, value := range from {
		_, many := value.(map[string]any)
		switch key {
		case "providerID":
			out[s.key(key)] = value
		case "infrastructureRef", "bootstrap":
			out[s.key(key)] = s.whole(value)
		default:
			if value = s.whole(value); many {
				value = s.once(value)
			}
			out[s.key(key)] = value
		}
	}
	return out
}

func (s *Slimmer) metadata(from seen, machine bool) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"uid", "resourceVersion", "deletionTimestamp"} {
		if v := from.at("metadata", key); v != nil {
			out[key] = v
		}
	}
	if v := from.at("metadata", "creationTimestamp"); v != nil && machine {
		out["creationTimestamp"] = s.whole(v)
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
				kept[s.key(key)] = s.whole(value)
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
			list[i] = s.text(f)
		}
		out["finalizers"] = s.once(list)
	}
	if owner, ok := from.controller(); ok && machine {
		out["ownerReferences"] = s.once([]any{map[string]any{"controller": true, "kind": owner.kind(), "name": owner.text("name"), "uid": owner.text("uid")}})
	}
	return out
}

// status keeps what is read of the status of a Machine or of an object that it
// refers to; the conditions of both contracts, wherever they stand, and of the
// older only those times for which there is no newer one.
func (s *Slimmer) status(from seen, machine bool) map[string]any {
	var timed, timedBefore []string
	if machine {
		timed = judgedBy
		if len(from.conditions()) == 0 {
			timedBefore = judgedBy
		}
	}
	status := from.object("status")
	if from.oldForm() {
		timed, timedBefore = timedBefore, timed
	}
	out := s.said(status, timed)
	if phase := status.text("phase"); phase != "" {
		out["phase"] = s.text(phase)
	}
	if node := status.text("nodeRef", "name"); node != "" {
		out["nodeRef"] = map[string]any{"name": s.text(node)}
	}
	if kubelet := status.text("nodeInfo", "kubeletVersion"); kubelet != "" {
		out["nodeInfo"] = s.once(map[string]any{"kubeletVersion": s.text(kubelet)})
	}
	if newer := s.said(status.object("v1beta2"), timedBefore); len(newer) > 0 {
		out["v1beta2"] = newer
	}
	if older := s.said(status.object("deprecated", "v1beta1"), timedBefore); len(older) > 0 {
		out["deprecated"] = s.once(map[string]any{"v1beta1": older})
	}
	return out
}

// said keeps the conditions and the terminal failure that stand at one place.
func (s *Slimmer) said(from seen, timed []string) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"failureReason", "failureMessage"} {
		if text := from.text(key); text != "" {
			out[key] = text
		}
	}
	if items := from.objects("conditions"); len(items) > 0 {
		out["conditions"] = s.conditions(items, timed)
	}
	return out
}

func (s *Slimmer) conditions(items []seen, timed []string) []any {
	list := make([]any, len(items))
	for i, item := range items {
		list[i] = s.condition(item, timed)
	}
	return list
}

// The conditions of a Machine whose time is read: by Judge, since when it is
// available, and ready; for a plan also how long it took to start.
var (
	judgedBy  = []string{clusterv1.MachineAvailableCondition, clusterv1.MachineReadyCondition, string(clusterv1.MachineNodeHealthyV1Beta1Condition)}
	plannedBy = append(slices.Clone(judgedBy), clusterv1.MachineInfrastructureReadyCondition, string(clusterv1.InfrastructureReadyV1Beta1Condition),
		clusterv1.MachineNodeReadyCondition, clusterv1.MachineNodeHealthyCondition)
)

func (s *Slimmer) condition(from seen, timed []string) map[string]any {
	c := condition{from.text("type"), from.text("status"), from.text("reason"), from.text("severity"), from.text("message")}
	known, ok := s.known[c]
	if !ok {
		known = map[string]any{}
		for _, f := range []struct{ key, value string }{{"type", c.kind}, {"status", c.status}, {"reason", c.reason}, {"severity", c.severity}, {"message", c.message}} {
			if f.value != "" {
				known[f.key] = s.text(f.value)
			}
		}
		s.known[c] = known
	}
	since := from.text("lastTransitionTime")
	if since == "" || !slices.Contains(timed, c.kind) {
		return known
	}
	own := make(map[string]any, len(known)+1)
	for key, value := range known {
		own[key] = value
	}
	own["lastTransitionTime"] = since
	return own
}
