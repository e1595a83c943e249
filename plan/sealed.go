package plan

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"nodepool/plan/capi"
)

// Objects gives everything that was seen, ordered by group, kind, namespace
// and name.
func (s Snapshot) Objects() []*unstructured.Unstructured {
	refs := slices.SortedFunc(maps.Keys(s.at), func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	out := make([]*unstructured.Unstructured, len(refs))
	for i, ref := range refs {
		out[i] = s.objects[s.at[ref]].Object()
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
	for ref, i := range s.at {
		obj := s.objects[i].Object()
		if !known {
			key = obj
		}
		sealed := sealerOf(key).sealObject(obj)
		if s.LacksManagers() && isMachineDeployment(ref) && len(obj.GetManagedFields()) > 0 && len(sealed.GetManagedFields()) == 0 {
			// It was read with its managed fields, and none of them counts.
			sealed.SetManagedFields([]metav1.ManagedFieldsEntry{{}})
		}
		out.objects[i] = capi.Whole(sealed)
	}
	return out
}

// repeating are annotations that hold a copy of the whole object, secrets
// included. No plan reads them and no clone keeps them.
var repeating = []string{
	"kubectl.kubernetes.io/last-applied-configuration",
	"cluster.x-k8s.io/conversion-data",
}

func isMachineDeployment(ref Ref) bool {
	return ref.Group == capi.Group && ref.Kind == "MachineDeployment"
}

// sealObject gives a sealed copy of obj. What names it is never sealed.
func (s sealer) sealObject(obj *unstructured.Unstructured) *unstructured.Unstructured {
	out := map[string]any{}
	ref := capi.RefOf(obj)
	for k, v := range obj.Object {
		switch k {
		case "apiVersion", "kind":
			out[k] = v
		case "metadata":
			out[k] = s.sealMetadata(v, isMachineDeployment(ref))
		default:
			out[k] = s.sealUnder(k, v)
		}
	}
	if spec, ok := out["spec"].(map[string]any); ok && ref.Group == capi.Group && ref.Kind == "Cluster" && spec["topology"] != nil {
		out["spec"] = with(spec, s.sealVariables(spec["topology"]), "topology")
	}
	// Sealing shares what it leaves as it is.
	return &unstructured.Unstructured{Object: runtime.DeepCopyJSON(out)}
}

// sealVariables seals the values of the variables of a Cluster's topology and
// of their overrides, at any depth: what they are for is the ClusterClass's
// affair, so any may be a secret (api/core/v1beta2, ClusterVariable).
func (s sealer) sealVariables(tree any) any {
	switch node := tree.(type) {
	case map[string]any:
		_, named := node["name"]
		out := make(map[string]any, len(node))
		for k, v := range node {
			if named && k == "value" {
				out[k] = s.sealValue(v)
			} else {
				out[k] = s.sealVariables(v)
			}
		}
		return out
	case []any:
		out := make([]any, len(node))
		for i, v := range node {
			out[i] = s.sealVariables(v)
		}
		return out
	}
	return tree
}

// sealMetadata seals annotations and labels. Of the managed fields it keeps,
// when they are asked for, what the check of field managers reads: other parts
// repeat the values of sets and the keys of lists.
func (s sealer) sealMetadata(v any, managed bool) any {
	metadata, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := maps.Clone(metadata)
	delete(out, "managedFields")
	if kept := managedFieldsOf(metadata["managedFields"]); managed && len(kept) > 0 {
		out["managedFields"] = kept
	}
	for _, field := range []string{"annotations", "labels"} {
		marks, ok := out[field].(map[string]any)
		if !ok {
			continue
		}
		sealed := make(map[string]any, len(marks))
		for k, v := range marks {
			text, _ := v.(string)
			switch {
			case slices.Contains(repeating, k):
			case text == "", strings.HasPrefix(text, sealedMark):
				sealed[k] = v
			case field == "annotations" && !ownMark.MatchString(k), hidesSecret(k, text):
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

// managedFieldsOf gives the entries of the tools that plans look for, reduced to
// the names of the fields below spec.
func managedFieldsOf(v any) []any {
	entries, _ := v.([]any)
	var out []any
	for _, v := range entries {
		entry, _ := v.(map[string]any)
		manager, _ := entry["manager"].(string)
		fields, _ := entry["fieldsV1"].(map[string]any)
		operation, _ := entry["operation"].(string)
		if _, applies := applierOf(manager, operation); !applies || entry["subresource"] != nil || fields["f:spec"] == nil {
			continue
		}
		kept := map[string]any{"fieldsV1": fieldNames(map[string]any{"f:spec": fields["f:spec"]})}
		for _, k := range []string{"apiVersion", "fieldsType", "manager", "operation"} {
			if entry[k] != nil {
				kept[k] = entry[k]
			}
		}
		out = append(out, kept)
	}
	return out
}

// fieldNames keeps the names of fields (apimachinery fieldsV1: "f:<name>"),
// and not the keys of lists and the values of sets, which hold values.
func fieldNames(tree any) map[string]any {
	out := map[string]any{}
	node, _ := tree.(map[string]any)
	for k, v := range node {
		if strings.HasPrefix(k, "f:") {
			out[k] = fieldNames(v)
		}
	}
	if len(node) > 0 && len(out) == 0 {
		out["."] = map[string]any{} // an empty node is one that is owned as a whole
	}
	return out
}

// ownMark are the labels and annotations of nodepool and Cluster API, of whose
// values plans read some. Of all others they read no more than the name.
var ownMark = regexp.MustCompile(`^(nodepool|([a-z0-9-]+\.)*clusters?\.x-k8s\.io)/`)

// longestMark is the longest annotation that is kept as it is: tools keep
// whole manifests in annotations, packed or not.
const longestMark = 256

// sealedMark begins a label or an annotation that is sealed.
const sealedMark = "hmac-sha256:"

// hidesSecret reports whether a label or annotation may hold a secret: by its
// name, by what it looks like, or because it holds a document.
func hidesSecret(key, text string) bool {
	_, name, _ := strings.Cut(key, "/")
	if name == "" {
		name = key
	}
	trimmed := strings.TrimSpace(text)
	document := len(text) > longestMark || strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[")
	return document || !ownMark.MatchString(key) && (isSecretKey(name) || isSecretText(text))
}
