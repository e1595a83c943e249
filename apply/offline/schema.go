package offline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

const definitionGroup, definitionKind = "apiextensions.k8s.io", "CustomResourceDefinition"

// Schemas gives snap with the definitions of the kinds that an upgrade writes,
// so that a plan made from it is validated: those of the MachineDeployments
// and templates in snap, each reduced to the schema of the version that the
// object is in. Missing names what r has no definition of, or may not read,
// with the reason; the error is r's.
//
// A definition is looked up by the name that the Cluster API contract demands
// of providers: the plural of the kind, and the group (Cluster API,
// util/contract, CalculateCRDName).
func Schemas(ctx context.Context, r apply.Reader, snap plan.Snapshot) (out plan.Snapshot, missing []string, err error) {
	versions := map[plan.Selector]string{}
	var selectors []plan.Selector
	for _, o := range snap.Objects() {
		ref := capi.RefOf(o)
		if !strings.HasSuffix(ref.Group, capi.Group) || ref.Kind != "MachineDeployment" && !strings.HasSuffix(ref.Kind, "Template") {
			continue
		}
		s := plan.Selector{Ref: plan.Ref{Group: definitionGroup, Kind: definitionKind, Name: resource(ref)}, Optional: true}
		if versions[s] == "" {
			selectors = append(selectors, s)
		}
		versions[s] = o.GroupVersionKind().Version
	}
	found, err := r.Fetch(ctx, selectors)
	if err != nil {
		return plan.Snapshot{}, nil, err
	}
	out = snap
	for _, s := range selectors {
		why, _ := found.Unread(s)
		if o, ok := found.Object(s.Ref); ok {
			if reduced, ok := reduce(o, versions[s]); ok {
				out = out.With(s, reduced)
				continue
			}
			why = "it has no schema of the version " + versions[s]
		}
		if why == "" {
			why = "it does not exist"
		}
		missing = append(missing, s.Name+": "+why)
	}
	return out, missing, nil
}

// resource gives the name under which a kind is served, and which its
// definition bears: awsmachinetemplates.infrastructure.cluster.x-k8s.io.
func resource(kind plan.Ref) string {
	return schema.GroupResource{Group: kind.Group, Resource: strings.ToLower(kind.Kind) + "s"}.String()
}

// reduce keeps of a definition what tells it and one version's schema, without
// descriptions. False means that it has no schema of that version.
func reduce(crd *unstructured.Unstructured, version string) (*unstructured.Unstructured, bool) {
	tree, ok := schemaOf(crd, version)
	if !ok {
		return nil, false
	}
	out := &unstructured.Unstructured{Object: map[string]any{}}
	out.SetAPIVersion(crd.GetAPIVersion())
	out.SetKind(crd.GetKind())
	out.SetName(crd.GetName())
	out.SetUID(crd.GetUID())
	labels := map[string]string{}
	for k, v := range crd.GetLabels() {
		if strings.HasPrefix(k, capi.Group+"/") {
			labels[k] = v
		}
	}
	if len(labels) > 0 {
		out.SetLabels(labels)
	}
	bare := runtime.DeepCopyJSON(tree)
	withoutDescriptions(bare)
	spec := map[string]any{"versions": []any{map[string]any{
		"name": version, "served": true, "storage": true,
		"schema": map[string]any{"openAPIV3Schema": bare},
	}}}
	for _, k := range []string{"group", "names", "scope"} {
		if v, ok, _ := unstructured.NestedFieldCopy(crd.Object, "spec", k); ok {
			spec[k] = v
		}
	}
	out.Object["spec"] = spec
	return out, true
}

// withoutDescriptions takes the descriptions out of a schema, and leaves the
// properties of that name alone.
func withoutDescriptions(tree map[string]any) {
	if _, ok := tree["description"].(string); ok {
		delete(tree, "description")
	}
	for k, v := range tree {
		switch k {
		case "default", "enum", "example":
			continue // values
		}
		switch v := v.(type) {
		case map[string]any:
			if k != "properties" && k != "patternProperties" && k != "definitions" && k != "dependencies" {
				withoutDescriptions(v)
				continue
			}
			for _, property := range v {
				if p, ok := property.(map[string]any); ok {
					withoutDescriptions(p)
				}
			}
		case []any:
			for _, item := range v {
				if m, ok := item.(map[string]any); ok {
					withoutDescriptions(m)
				}
			}
		}
	}
}

func versionsOf(crd *unstructured.Unstructured) []any {
	versions, _, _ := unstructured.NestedFieldNoCopy(crd.Object, "spec", "versions")
	list, _ := versions.([]any)
	return list
}

func schemaOf(crd *unstructured.Unstructured, version string) (map[string]any, bool) {
	for _, v := range versionsOf(crd) {
		v, _ := v.(map[string]any)
		if v["name"] == version {
			tree, ok, _ := unstructured.NestedFieldNoCopy(v, "schema", "openAPIV3Schema")
			m, isMap := tree.(map[string]any)
			return m, ok && isMap
		}
	}
	return nil, false
}

// kindSchema validates objects of one kind in one version as the API server
// does, but for rules in CEL and webhooks.
type kindSchema struct {
	structural *structural.Structural
	openapi    *validate.SchemaValidator
}

// errNoSchema says that the manifests hold no schema to validate against.
type errNoSchema struct{ why string }

func (e *errNoSchema) Error() string { return e.why }

// schemaFor finds the schema of a kind. An *errNoSchema says that there is none.
func (c *Cluster) schemaFor(kind plan.Ref, apiVersion string) (*kindSchema, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, err
	}
	for _, ref := range c.sorted {
		if ref.Group != definitionGroup || ref.Kind != definitionKind {
			continue
		}
		crd := c.objects[ref].obj
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		name, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		if group != kind.Group || name != kind.Kind {
			continue
		}
		tree, ok := schemaOf(crd, gv.Version)
		if !ok {
			var versions []string
			for _, v := range versionsOf(crd) {
				v, _ := v.(map[string]any)
				versions = append(versions, fmt.Sprint(v["name"]))
			}
			return nil, &errNoSchema{fmt.Sprintf("the manifests hold the schema of %s in %s, and it is written in %s", kind.Kind, strings.Join(versions, ", "), gv.Version)}
		}
		out, err := newKindSchema(tree)
		if err != nil {
			return nil, fmt.Errorf("%s: the schema of %s cannot be read: %w", c.objects[ref].place, kind.Kind, err)
		}
		return out, nil
	}
	return nil, &errNoSchema{"the manifests hold no schema of " + kind.Kind}
}

func newKindSchema(tree map[string]any) (*kindSchema, error) {
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	var props apiextensionsv1.JSONSchemaProps
	if err := json.Unmarshal(raw, &props); err != nil {
		return nil, err
	}
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&props, &internal, nil); err != nil {
		return nil, err
	}
	s, err := structural.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	return &kindSchema{s, validate.NewSchemaValidator(s.ToKubeOpenAPI(), nil, "", strfmt.Default)}, nil
}

// sealedValue stands for a value that is only known sealed, a scalar always.
const sealedValue = "sealed"

// problem is what is wrong with a field. It never holds the field's value.
type problem struct{ field, words string }

func (p problem) String() string {
	if p.field == "" {
		return p.words
	}
	return p.field + ": " + p.words
}

// check gives obj as the server would make it, unknown fields dropped and
// defaults put in, and what the server would not accept. The values at sealed
// are not looked at. The order is the server's (apiextensions-apiserver,
// pkg/apiserver/customresource_handler.go, schemaCoercingDecoder, and
// pkg/registry/customresource/strategy.go).
func (k *kindSchema) check(obj *unstructured.Unstructured, sealed []plan.Pointer) (*unstructured.Unstructured, []problem) {
	made := obj.DeepCopy()
	hidden := map[string]bool{}
	for _, at := range sealed {
		hidden[fieldPath(at)] = true
	}
	made.Object, _ = conceal(made.Object).(map[string]any)
	var out []problem
	unknown := pruning.PruneWithOptions(made.Object, k.structural, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		out = append(out, problem{words: fmt.Sprintf("unknown field %q", path)})
	}
	setDefaults(made.Object, k.structural)
	for _, err := range k.openapi.Validate(made.Object).Errors {
		if p := problemOf(err); !hidden[p.field] {
			out = append(out, p)
		}
	}
	for _, err := range listtype.ValidateListSetsAndMaps(nil, k.structural, made.Object) {
		out = append(out, problem{err.Field, "holds the same item twice"})
	}
	return made, distinct(out)
}

// distinct orders problems, which come in the order of maps.
func distinct(problems []problem) []problem {
	slices.SortFunc(problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.field, b.field), cmp.Compare(a.words, b.words))
	})
	return slices.Compact(problems)
}

// conceal puts a string in place of every sealed value.
func conceal(tree any) any {
	switch node := tree.(type) {
	case map[string]any:
		if _, ok := node[plan.SealedKey].(string); ok {
			return sealedValue
		}
		for k, v := range node {
			node[k] = conceal(v)
		}
	case []any:
		for i, v := range node {
			node[i] = conceal(v)
		}
	}
	return tree
}

// fieldPath gives a pointer as the validator names fields: spec.files[0].content.
func fieldPath(at plan.Pointer) string {
	var b strings.Builder
	for _, t := range at.Tokens() {
		if strings.Trim(t, "0123456789") == "" {
			b.WriteString("[" + t + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(t)
	}
	return b.String()
}

// problemOf words an error of the validator without the value, which it quotes
// where a type or a format is wrong.
func problemOf(err error) problem {
	var v *openapierrors.Validation
	if !errors.As(err, &v) {
		// That one of several schemas must fit: it quotes fields alone.
		return problem{words: err.Error()}
	}
	words := strings.TrimPrefix(v.Error(), v.Name)
	words = strings.TrimPrefix(words, " in body ")
	if v.Code() == openapierrors.InvalidTypeCode {
		words, _, _ = strings.Cut(words, ": ")
		words, _, _ = strings.Cut(words, ", because")
	}
	return problem{strings.TrimPrefix(v.Name, "."), strings.TrimSpace(words)}
}

// setDefaults drops nulls that may not be and puts in defaults, as
// apiextensions-apiserver does (pkg/apiserver/schema/defaulting, Default and
// PruneNonNullableNullsWithoutDefaults, whose package needs the whole API
// server).
func setDefaults(x any, s *structural.Structural) {
	if s == nil {
		return
	}
	switch x := x.(type) {
	case map[string]any:
		for k, v := range x {
			prop, found := s.Properties[k]
			if v == nil && (found && !prop.Nullable || !found && s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil && !s.AdditionalProperties.Structural.Nullable) {
				delete(x, k)
			}
		}
		for k, prop := range s.Properties {
			if _, found := x[k]; !found && prop.Default.Object != nil {
				x[k] = runtime.DeepCopyJSONValue(prop.Default.Object)
			}
		}
		for k, v := range x {
			if prop, found := s.Properties[k]; found {
				setDefaults(v, &prop)
			} else if s.AdditionalProperties != nil {
				setDefaults(v, s.AdditionalProperties.Structural)
			}
		}
	case []any:
		for _, v := range x {
			setDefaults(v, s.Items)
		}
	}
}
