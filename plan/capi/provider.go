package capi

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Field is where a provider's infrastructure template keeps something that
// has a shorthand in the upgrade file. Paths lie below spec.template.spec.
type Field struct {
	// Path is the field to read the present value from.
	Path []string
	// Replaces is the field to write: Path itself, or the whole one-of that
	// Path is one choice of.
	Replaces []string
	// Clears are fields that would contradict the new value.
	Clears [][]string
}

// Write sets the field to value in spec, the map at spec.template.spec.
func (f Field) Write(spec map[string]any, value string) error {
	for _, c := range f.Clears {
		unstructured.RemoveNestedField(spec, c...)
	}
	unstructured.RemoveNestedField(spec, f.Replaces...)
	return unstructured.SetNestedField(spec, value, f.Path...)
}

// Read gives the present value in template, "" when it is not set.
func (f Field) Read(template *unstructured.Unstructured) string {
	path := append([]string{"spec", "template", "spec"}, f.Path...)
	return StringAt(template, path...)
}

// ReadSpec gives the value in spec, the map at spec.template.spec, "" when it
// is not set.
func (f Field) ReadSpec(spec map[string]any) string {
	s, _, _ := unstructured.NestedString(spec, f.Path...)
	return s
}

type provider struct {
	image, size *Field
	// needs is a path below spec.template.spec that must be there for the
	// fields to mean anything.
	needs []string
}

func field(path string, clears ...string) *Field {
	f := &Field{Path: dotted(path), Replaces: dotted(path)}
	for _, c := range clears {
		f.Clears = append(f.Clears, dotted(c))
	}
	return f
}

func oneOf(replaces, path string) *Field {
	return &Field{Path: dotted(path), Replaces: dotted(replaces)}
}

// providers maps an infrastructure template's kind to its fields, from the
// API types of each provider: CAPA api/v1beta2 AMIReference, CAPZ
// api/v1beta1 Image, CAPG api/v1beta1 (image and imageFamily exclude each
// other), CAPV (a snapshot belongs to its template), CAPD and the dev provider.
var providers = map[string]provider{
	"AWSMachineTemplate":     {image: oneOf("ami", "ami.id"), size: field("instanceType")},
	"AzureMachineTemplate":   {image: oneOf("image", "image.id"), size: field("vmSize")},
	"GCPMachineTemplate":     {image: field("image", "imageFamily"), size: field("instanceType")},
	"VSphereMachineTemplate": {image: field("template", "snapshot")},
	"DockerMachineTemplate":  {image: field("customImage")},
	"DevMachineTemplate":     {image: field("backend.docker.customImage"), needs: dotted("backend.docker")},
}

// ImageField tells where template keeps its machine image; false when its
// kind has no such field or nodepool does not know it.
func ImageField(template *unstructured.Unstructured) (Field, bool) {
	return shorthand(template, func(p provider) *Field { return p.image })
}

// SizeField tells where template keeps its instance type; false when its kind
// has no single such field or nodepool does not know it.
func SizeField(template *unstructured.Unstructured) (Field, bool) {
	return shorthand(template, func(p provider) *Field { return p.size })
}

// KnowsImages reports whether nodepool knows how a template's kind names its
// machine image. A template of such a kind without an ImageField has none, as
// one for in-memory machines.
func KnowsImages(kind string) bool { return providers[kind].image != nil }

func shorthand(template *unstructured.Unstructured, pick func(provider) *Field) (Field, bool) {
	p, ok := providers[template.GetKind()]
	if !ok || pick(p) == nil {
		return Field{}, false
	}
	if len(p.needs) > 0 {
		path := append([]string{"spec", "template", "spec"}, p.needs...)
		if _, found, err := unstructured.NestedMap(template.Object, path...); err != nil || !found {
			return Field{}, false
		}
	}
	return *pick(p), true
}

// ClonedKind gives the kind of the objects that Cluster API clones from a
// template of the given kind (Cluster API controllers/external, TemplateSuffix).
func ClonedKind(templateKind string) string {
	return strings.TrimSuffix(templateKind, "Template")
}
