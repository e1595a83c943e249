package plan

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Objects gives everything that was seen, ordered by group, kind, namespace
// and name.
func (s Snapshot) Objects() []*unstructured.Unstructured {
	refs := slices.SortedFunc(maps.Keys(s.objects), func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	out := make([]*unstructured.Unstructured, len(refs))
	for i, ref := range refs {
		out[i] = s.objects[ref]
	}
	return out
}

// Sealed gives s with every secret in it replaced by its keyed hash and
// length, and without the metadata that repeats whole objects: what may be
// kept in a file. A plan compiled from it has the digest of one compiled from
// s, and nothing can be made from it. The key is the UID of cluster; where
// that was not seen, each object is sealed by its own UID.
func (s Snapshot) Sealed(cluster Ref) Snapshot {
	out := s.clone()
	key, known := s.Object(cluster)
	for ref, obj := range s.objects {
		if !known {
			key = obj
		}
		out.objects[ref] = sealerOf(key).sealObject(obj)
	}
	return out
}

// repeating are annotations that hold a copy of the whole object, secrets
// included. No plan reads them and no clone keeps them.
var repeating = []string{
	"kubectl.kubernetes.io/last-applied-configuration",
	"cluster.x-k8s.io/conversion-data",
}

// sealObject gives a sealed copy of obj. What names it is never sealed. Its
// managed fields are left out: they repeat the values of sets, and kubectl
// leaves them out of its dumps too.
func (s sealer) sealObject(obj *unstructured.Unstructured) *unstructured.Unstructured {
	out := map[string]any{}
	for k, v := range obj.Object {
		switch k {
		case "apiVersion", "kind":
			out[k] = v
		case "metadata":
			out[k] = s.sealMetadata(v)
		default:
			out[k] = s.seal(map[string]any{k: v}).(map[string]any)[k]
		}
	}
	// Sealing shares what it leaves as it is.
	return &unstructured.Unstructured{Object: runtime.DeepCopyJSON(out)}
}

func (s sealer) sealMetadata(v any) any {
	metadata, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := maps.Clone(metadata)
	delete(out, "managedFields")
	for _, field := range []string{"annotations", "labels"} {
		marks, ok := out[field].(map[string]any)
		if !ok {
			continue
		}
		sealed := make(map[string]any, len(marks))
		for k, v := range marks {
			text, ok := v.(string)
			switch {
			case slices.Contains(repeating, k):
				continue
			case ok && hidesSecret(k, text):
				// A label or an annotation must stay a string.
				sealed[k], _ = s.sealValue(text).(map[string]any)[SealedKey].(string)
			default:
				sealed[k] = v
			}
		}
		out[field] = sealed
	}
	return out
}

// ownMark are the labels and annotations that plans read.
var ownMark = regexp.MustCompile(`^(nodepool|([a-z0-9-]+\.)*cluster\.x-k8s\.io)/`)

// longestMark is the longest annotation that is kept as it is: tools keep
// whole manifests in annotations, packed or not.
const longestMark = 256

// hidesSecret reports whether a label or annotation may hold a secret: by its
// name, by what it looks like, or because it holds a document.
func hidesSecret(key, text string) bool {
	if strings.HasPrefix(text, "hmac-sha256:") {
		return false // sealed before
	}
	_, name, _ := strings.Cut(key, "/")
	if name == "" {
		name = key
	}
	trimmed := strings.TrimSpace(text)
	document := len(text) > longestMark || strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[")
	return text != "" && (document || !ownMark.MatchString(key) && (secretKeys.MatchString(name) || secretText.MatchString(text)))
}
