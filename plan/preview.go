package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// Preview shows an object as a plan leaves it: the template that a Create
// makes, or the MachineDeployment after its patches.
type Preview struct {
	// Object is the whole object, sealed. A MachineDeployment is without its
	// status and what the server keeps in its metadata.
	Object map[string]any
	// Kept and Stripped name the labels and annotations of a template's source that
	// the copy has and has not, as labels["…"] and annotations["…"].
	Kept, Stripped []string
}

// Preview gives the template that c makes of the source as it is in snap. It
// needs no secrets. A source that is gone or changed is an error.
func (c Create) Preview(snap Snapshot) (Preview, error) {
	source, ok := snap.Object(c.BasedOn.Ref)
	if !ok {
		return Preview{}, fmt.Errorf("%s, which is to be copied, is not there", c.BasedOn.Ref)
	}
	cluster, ok := snap.Object(c.Owner.Ref)
	if !ok {
		return Preview{}, fmt.Errorf("%s is not there", c.Owner.Ref)
	}
	s := sealerOf(cluster)
	body := clone(source, cluster, c.Ref.Name).DeepCopy()
	sealed, _ := s.seal(body.Object).(map[string]any)
	for _, change := range c.Changes {
		if err := change.writeSealed(sealed); err != nil {
			return Preview{}, fmt.Errorf("make %s: %w", c.Ref, err)
		}
	}
	if got := contentDigest(&unstructured.Unstructured{Object: sealed}, s); got != c.Result {
		return Preview{}, fmt.Errorf("%s has changed since the plan was made", c.BasedOn.Ref)
	}
	// The UID of the Cluster is the key that seals secrets: it stays out of
	// whatever is shown.
	_ = unstructured.SetNestedSlice(sealed, []any{map[string]any{
		"apiVersion": c.Owner.APIVersion, "kind": c.Owner.Ref.Kind, "name": c.Owner.Ref.Name, "uid": "(that of the Cluster)",
	}}, "metadata", "ownerReferences")
	out := Preview{Object: sealed}
	_ = unstructured.SetNestedField(sealed, string(c.Result), "metadata", "annotations", ContentAnnotation)
	for _, m := range []struct {
		name    string
		all     map[string]string
		allowed []string
	}{
		{"labels", source.GetLabels(), clonedLabels},
		{"annotations", source.GetAnnotations(), clonedAnnotations},
	} {
		for _, k := range slices.Sorted(maps.Keys(m.all)) {
			name := fmt.Sprintf("%s[%q]", m.name, k)
			if slices.Contains(m.allowed, k) {
				out.Kept = append(out.Kept, name)
			} else {
				out.Stripped = append(out.Stripped, name)
			}
		}
	}
	return out, nil
}

// Previews gives every object that p writes, as p leaves it, by the ID of the
// step that writes it: of a MachineDeployment that is patched more than once,
// by the last one. It needs no secrets. An object that is gone, and a source
// that has changed, is an error.
func (p Plan) Previews(snap Snapshot) (map[string]Preview, error) {
	out := map[string]Preview{}
	patched := map[Ref]*unstructured.Unstructured{}
	last := map[Ref]string{}
	for _, step := range p.Steps {
		var err error
		switch {
		case step.Create != nil:
			out[step.ID], err = step.Create.Preview(snap)
		case step.Patch != nil:
			target := step.Patch.Target
			live := patched[target]
			if live == nil {
				var ok bool
				if live, ok = snap.Object(target); !ok {
					return nil, fmt.Errorf("%s is not there", target)
				}
			}
			patched[target], err = step.Patch.Result(live)
			last[target] = step.ID
		}
		if err != nil {
			return nil, err
		}
	}
	if len(patched) == 0 {
		return out, nil
	}
	ref := Ref{Group: capi.Group, Kind: "Cluster", Namespace: p.Upgrade.Cluster.Namespace, Name: p.Upgrade.Cluster.Name}
	cluster, ok := snap.Object(ref)
	if !ok {
		return nil, fmt.Errorf("%s is not there", ref)
	}
	s := sealerOf(cluster)
	for target, obj := range patched {
		sealed := s.sealObject(obj).Object
		delete(sealed, "status")
		if metadata, ok := sealed["metadata"].(map[string]any); ok {
			// The owner's UID is the key of the seals.
			for _, k := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences", "finalizers", "selfLink"} {
				delete(metadata, k)
			}
			for _, k := range []string{"annotations", "labels"} {
				marks, _ := metadata[k].(map[string]any)
				for name, v := range marks {
					if text, _ := v.(string); strings.HasPrefix(text, sealedMark) {
						marks[name] = "(sealed)"
					}
				}
			}
		}
		out[last[target]] = Preview{Object: sealed}
	}
	return out, nil
}

// Result gives live, the MachineDeployment, as p leaves it. It needs no
// secrets. An error says that a change does not fit live.
func (p Patch) Result(live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	out := live.DeepCopy()
	for _, change := range p.Changes {
		if err := change.writeSealed(out.Object); err != nil {
			return nil, fmt.Errorf("change %s: %w", p.Target, err)
		}
	}
	return out, unstructured.SetNestedField(out.Object, p.Run.After, "metadata", "annotations", RunAnnotation)
}
