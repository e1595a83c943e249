package capi

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of Cluster API's own kinds.
const Group = "cluster.x-k8s.io"

// Ref identifies an object. It never holds an API version: what an object is
// does not depend on the representation it is read in.
type Ref struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String gives "Kind namespace/name", the form in which every message names
// an object.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// IsZero reports whether the reference names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// RefOf gives the identity of obj.
func RefOf(obj *unstructured.Unstructured) Ref {
	gv, _ := schema.ParseGroupVersion(obj.GetAPIVersion())
	return Ref{Group: gv.Group, Kind: obj.GetKind(), Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// ReferenceAt reads the object reference at the given field path of obj.
// v1beta2 references hold apiGroup, kind and name; v1beta1 references hold
// apiVersion, kind, name and namespace (api/core/v1beta2/common_types.go,
// ContractVersionedObjectReference). Both are namespaced with their owner.
// It reports false when there is no reference or it names nothing.
func ReferenceAt(obj *unstructured.Unstructured, path ...string) (Ref, bool) {
	m, found, err := unstructured.NestedMap(obj.Object, path...)
	if err != nil || !found {
		return Ref{}, false
	}
	ref := Ref{Namespace: obj.GetNamespace()}
	ref.Kind, _ = m["kind"].(string)
	ref.Name, _ = m["name"].(string)
	if g, ok := m["apiGroup"].(string); ok {
		ref.Group = g
	} else if v, ok := m["apiVersion"].(string); ok {
		if i := strings.IndexByte(v, '/'); i >= 0 {
			ref.Group = v[:i]
		}
	}
	return ref, ref.Kind != "" && ref.Name != ""
}
