package capi

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// UseOf finds where obj refers to the template: anywhere in it, a reference
// (an object with kind and name, and with apiGroup or apiVersion where that
// is set), or the mark of what was cloned from the template. It gives the path
// of the first one in the order of field names. No list of known fields is
// kept: a reference in a field of a later release or of another provider must
// not be overlooked. Text that merely holds the name is no reference.
func UseOf(obj *unstructured.Unstructured, template Ref) (path []string, used bool) {
	annotations := obj.GetAnnotations()
	if annotations[clusterv1.TemplateClonedFromNameAnnotation] == template.Name {
		// "AWSMachineTemplate.infrastructure.cluster.x-k8s.io"
		from, told := annotations[clusterv1.TemplateClonedFromGroupKindAnnotation]
		if !told || from == template.Kind+"."+template.Group {
			return []string{"metadata", "annotations", clusterv1.TemplateClonedFromNameAnnotation}, true
		}
	}
	return useIn(nil, obj.Object, template)
}

func useIn(at []string, v any, template Ref) ([]string, bool) {
	switch node := v.(type) {
	case map[string]any:
		if len(at) > 0 && names(node, template) {
			return slices.Clone(at), true
		}
		for _, k := range slices.Sorted(maps.Keys(node)) {
			if found, ok := useIn(append(at, k), node[k], template); ok {
				return found, true
			}
		}
	case []any:
		for i, item := range node {
			if found, ok := useIn(append(at, strconv.Itoa(i)), item, template); ok {
				return found, true
			}
		}
	}
	return nil, false
}

// names reports whether m is a reference to the template. Where it does not
// say of which group, any is taken for it.
func names(m map[string]any, template Ref) bool {
	if m["name"] != template.Name || m["kind"] != template.Kind {
		return false
	}
	if group, _ := m["apiGroup"].(string); group != "" {
		return group == template.Group
	}
	if version, _ := m["apiVersion"].(string); version != "" {
		group, _, _ := strings.Cut(version, "/")
		return group == template.Group
	}
	return true
}
