package clustertest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// Kind is a kind that a World serves, in one API version.
type Kind struct {
	Group, Kind string
	// Version is the only version served, without the group: "v1beta2".
	Version string
	// Labels are those of its CRD.
	Labels map[string]string
	// Cluster marks a kind whose objects have no namespace.
	Cluster bool
	// Immutable marks a template whose spec.template.spec cannot change.
	Immutable bool
}

// Resource gives the plural that stands in URLs and rights.
func (k Kind) Resource() string { return strings.ToLower(k.Kind) + "s" }

func (k Kind) apiVersion() string {
	return schema.GroupVersion{Group: k.Group, Version: k.Version}.String()
}

// World is a management cluster in memory. Its methods may be called from
// several goroutines.
type World struct {
	mu      sync.Mutex
	kinds   map[schema.GroupKind]Kind
	objects map[schema.GroupKind]map[plan.Ref]*unstructured.Unstructured
	denied  map[right]bool
	schemas func(*unstructured.Unstructured) error
	// defaults fills in what is created.
	defaults func(*unstructured.Unstructured)
	faults   map[plan.Ref]Fault

	ticks   int64 // moves with every write: resource versions and times
	made    int64 // moves with every object: UIDs and names
	handles int

	calls   []Call
	writes  []Write
	feeds   map[*feed]bool
	perLook int
	derived map[plan.Ref]string // what a status was derived from, see derive
	lenient bool                // no preflight checks: an example is being built

	before112 bool // see Example.Before112
	outage    outage
}

type right struct {
	verb string
	kind schema.GroupKind
}

// epoch is the first second of a world's time, which moves with its writes.
var epoch = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)

// NewWorld gives a world without objects that serves the kinds given, and
// their CustomResourceDefinitions.
func NewWorld(kinds ...Kind) *World {
	w := &World{
		kinds:   map[schema.GroupKind]Kind{},
		objects: map[schema.GroupKind]map[plan.Ref]*unstructured.Unstructured{},
		denied:  map[right]bool{},
		faults:  map[plan.Ref]Fault{},
		feeds:   map[*feed]bool{},
		derived: map[plan.Ref]string{},
	}
	w.kinds[definitionKind.groupKind()] = definitionKind
	w.Serve(kinds...)
	return w
}

func (k Kind) groupKind() schema.GroupKind { return schema.GroupKind{Group: k.Group, Kind: k.Kind} }

var definitionKind = Kind{
	Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Version: "v1", Cluster: true,
}

// Serve adds kinds, each with a CustomResourceDefinition when it is in a group
// of Cluster API. The definitions have a schema that admits everything.
func (w *World) Serve(kinds ...Kind) {
	for _, k := range kinds {
		w.mu.Lock()
		w.kinds[k.groupKind()] = k
		w.mu.Unlock()
		if !strings.HasSuffix(k.Group, capi.Group) {
			continue
		}
		scope := "Namespaced"
		if k.Cluster {
			scope = "Cluster"
		}
		labels := map[string]any{}
		for key, v := range k.Labels {
			labels[key] = v
		}
		w.Put(&unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1",
			"kind":       "CustomResourceDefinition",
			"metadata":   map[string]any{"name": k.Resource() + "." + k.Group, "labels": labels},
			"spec": map[string]any{
				"group": k.Group,
				"names": map[string]any{
					"kind": k.Kind, "listKind": k.Kind + "List",
					"plural": k.Resource(), "singular": strings.ToLower(k.Kind),
				},
				"scope": scope,
				"versions": []any{map[string]any{
					"name": k.Version, "served": true, "storage": true,
					"schema": map[string]any{"openAPIV3Schema": map[string]any{
						"type": "object", "x-kubernetes-preserve-unknown-fields": true,
					}},
				}},
			},
		}})
	}
}

// Withdraw stops serving a kind, as if it were not installed.
func (w *World) Withdraw(group, kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gk := schema.GroupKind{Group: group, Kind: kind}
	delete(w.kinds, gk)
	delete(w.objects, gk)
	w.changed()
}

// Forbid takes the right to a verb ("get", "list", "watch", "create",
// "patch", "delete") on a kind from everybody who opened the world.
func (w *World) Forbid(verb, group, kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.denied[right{verb, schema.GroupKind{Group: group, Kind: kind}}] = true
}

// Schema sets a check that every object must pass when it is created or
// patched, as strict field validation and admission do. The error refuses the
// write; nil takes the check away.
func (w *World) Schema(check func(*unstructured.Unstructured) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.schemas = check
}

// Defaults has fill put a server's defaults into every object that is created.
func (w *World) Defaults(fill func(*unstructured.Unstructured)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.defaults = fill
}

// Get gives a copy of an object, or nil.
func (w *World) Get(ref plan.Ref) *unstructured.Unstructured {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.get(ref); o != nil {
		return o.DeepCopy()
	}
	return nil
}

// List gives copies of all objects of a kind in a namespace, or in all of them
// when namespace is empty, ordered by namespace and name.
func (w *World) List(group, kind, namespace string) []*unstructured.Unstructured {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*unstructured.Unstructured
	for _, o := range w.list(schema.GroupKind{Group: group, Kind: kind}) {
		if namespace == "" || o.GetNamespace() == namespace {
			out = append(out, o.DeepCopy())
		}
	}
	return out
}

// Put stores a copy of obj as it is, status included, and replaces what was
// there. UID, resource version, generation and creation time are filled in or
// moved as a server would. A kind that is not served is a programming error.
func (w *World) Put(obj *unstructured.Unstructured) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gk := obj.GroupVersionKind().GroupKind()
	if _, ok := w.kinds[gk]; !ok {
		panic(fmt.Sprintf("clustertest: the world does not serve %s", gk))
	}
	w.store(obj.DeepCopy())
}

// Edit changes an object as somebody else would, status included. An object
// that is not there is a programming error.
func (w *World) Edit(ref plan.Ref, change func(*unstructured.Unstructured)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.get(ref) == nil {
		panic(fmt.Sprintf("clustertest: no %s", ref))
	}
	w.edit(ref, change)
}

// Delete removes an object, at once and without its dependents. It reports
// whether the object was there.
func (w *World) Delete(ref plan.Ref) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.delete(ref)
}

// What follows is called with the lock held. A stored object is never changed:
// a change stores another one, so that readers can keep what they got.

func (w *World) get(ref plan.Ref) *unstructured.Unstructured {
	return w.objects[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}][ref]
}

func (w *World) list(gk schema.GroupKind) []*unstructured.Unstructured {
	return slices.SortedFunc(maps.Values(w.objects[gk]), func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// edit reports whether change made a difference.
func (w *World) edit(ref plan.Ref, change func(*unstructured.Unstructured)) bool {
	next := w.get(ref).DeepCopy()
	change(next)
	return w.store(next)
}

// store takes obj over. It reports false, and stores nothing, when obj is what
// is there already, as a server does with an update that changes nothing.
func (w *World) store(obj *unstructured.Unstructured) bool {
	ref := capi.RefOf(obj)
	gk := schema.GroupKind{Group: ref.Group, Kind: ref.Kind}
	old := w.get(ref)
	if old != nil {
		carry(old, obj)
		if sameTree(old.Object, obj.Object) {
			return false
		}
		if !sameTree(content(old), content(obj)) {
			obj.SetGeneration(old.GetGeneration() + 1)
		}
	}
	w.ticks++
	if old == nil {
		w.made++
		if obj.GetUID() == "" {
			setField(obj, w.uid(), "metadata", "uid")
		}
		if obj.GetGeneration() == 0 {
			obj.SetGeneration(1)
		}
		setField(obj, w.now(), "metadata", "creationTimestamp")
	}
	obj.SetResourceVersion(strconv.FormatInt(w.ticks, 10))
	if w.objects[gk] == nil {
		w.objects[gk] = map[plan.Ref]*unstructured.Unstructured{}
	}
	w.objects[gk][ref] = obj
	w.changed()
	return true
}

// carry copies from old what no update can change.
func carry(old, obj *unstructured.Unstructured) {
	for _, field := range []string{"uid", "generation", "creationTimestamp", "resourceVersion"} {
		if v, ok, _ := unstructured.NestedFieldNoCopy(old.Object, "metadata", field); ok {
			setField(obj, v, "metadata", field)
		} else {
			unstructured.RemoveNestedField(obj.Object, "metadata", field)
		}
	}
}

// content is what a change of moves the generation: all but metadata and
// status (registry/customresource/strategy.go of apiextensions-apiserver).
func content(obj *unstructured.Unstructured) map[string]any {
	out := maps.Clone(obj.Object)
	delete(out, "metadata")
	delete(out, "status")
	return out
}

func (w *World) delete(ref plan.Ref) bool {
	if w.get(ref) == nil {
		return false
	}
	delete(w.objects[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}], ref)
	w.ticks++
	w.changed()
	return true
}

// uid looks like a UUID and counts.
func (w *World) uid() string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.made)
}

// now is the time of the last write.
func (w *World) now() string {
	return epoch.Add(time.Duration(w.ticks) * time.Second).Format(time.RFC3339)
}

func (w *World) changed() {
	for f := range w.feeds {
		f.wake()
	}
}

// namespaceExists: a namespace is there when something is in it.
func (w *World) namespaceExists(name string) bool {
	for _, objects := range w.objects {
		for ref := range objects {
			if ref.Namespace == name {
				return true
			}
		}
	}
	return false
}

func setField(obj *unstructured.Unstructured, value any, path ...string) {
	if err := unstructured.SetNestedField(obj.Object, value, path...); err != nil {
		panic("clustertest: " + err.Error())
	}
}

// sameTree compares two JSON trees. It stands for reflect.DeepEqual, which takes
// most of the time of a test on these.
func sameTree(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !sameTree(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameTree)
	default:
		switch b.(type) {
		case map[string]any, []any:
			return false
		}
		return a == b
	}
}
