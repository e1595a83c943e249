package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The annotations that nodepool writes. They stand on an object's own
// metadata only, never on what Cluster API propagates to machines.
const (
	// ContentAnnotation is on every template that nodepool creates: the
	// digest of what was sent.
	ContentAnnotation = "nodepool/content"
	// RunAnnotation is on every MachineDeployment that nodepool patches.
	RunAnnotation = "nodepool/run"
)

// What the IDs of a pool's creates end in.
const (
	createInfrastructure = "/create-infrastructure-template"
	createBootstrap      = "/create-bootstrap-template"
)

// clonedLabels and clonedAnnotations are all the metadata that a clone keeps
// of its source. It is a list of what to keep and not of what to strip: a
// copied tracking id of Argo CD, Flux, Helm or kapp makes their prune delete
// the clone, and a copied conversion-data annotation brings back old values
// (Cluster API util/conversion, RestoreHubData).
var (
	clonedLabels = []string{
		"cluster.x-k8s.io/cluster-name",
		"clusterctl.cluster.x-k8s.io/move",
		"clusterctl.cluster.x-k8s.io/move-hierarchy",
	}
	clonedAnnotations = []string{
		"machineset.cluster.x-k8s.io/skip-preflight-checks",
	}
)

// clone copies what a clone keeps of source, owned by cluster: an owner makes
// garbage collection and "clusterctl move" take the template with its cluster. The
// spec is shared with source.
func clone(source, cluster *unstructured.Unstructured, name string) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: map[string]any{}}
	out.SetAPIVersion(source.GetAPIVersion())
	out.SetKind(source.GetKind())
	out.SetNamespace(source.GetNamespace())
	if name != "" {
		out.SetName(name)
	}
	if kept := keep(source.GetLabels(), clonedLabels); len(kept) > 0 {
		out.SetLabels(kept)
	}
	if kept := keep(source.GetAnnotations(), clonedAnnotations); len(kept) > 0 {
		out.SetAnnotations(kept)
	}
	_ = unstructured.SetNestedSlice(out.Object, []any{map[string]any{
		"apiVersion": cluster.GetAPIVersion(),
		"kind":       cluster.GetKind(),
		"name":       cluster.GetName(),
		"uid":        string(cluster.GetUID()),
	}}, "metadata", "ownerReferences")
	if spec, ok := source.Object["spec"]; ok {
		out.Object["spec"] = spec
	}
	return out
}

func keep(all map[string]string, names []string) map[string]string {
	kept := map[string]string{}
	for _, n := range names {
		if v, ok := all[n]; ok {
			kept[n] = v
		}
	}
	return kept
}

// contentDigest is the digest of a body that is sent, sealed, without its
// name and without the annotation that carries the digest.
func contentDigest(body *unstructured.Unstructured, s sealer) Digest {
	bare := without(without(body.Object, "metadata", "name"), "metadata", "annotations", ContentAnnotation)
	if len((&unstructured.Unstructured{Object: bare}).GetAnnotations()) == 0 {
		bare = without(bare, "metadata", "annotations")
	}
	return digestOf(s.seal(bare))
}

// sourceDigest is the digest of all that a clone copies of source.
func sourceDigest(source *unstructured.Unstructured, s sealer) Digest {
	return digestOf(s.seal(map[string]any{
		"apiVersion":  source.GetAPIVersion(),
		"kind":        source.GetKind(),
		"labels":      toAny(keep(source.GetLabels(), clonedLabels)),
		"annotations": toAny(keep(source.GetAnnotations(), clonedAnnotations)),
		"spec":        source.Object["spec"],
	}))
}

func toAny(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// Secrets holds the values that a plan's sealed changes stand for, by hash.
// It never enters a plan, a journal or a message.
type Secrets struct{ opened map[string]any }

// Body gives the object to create: the source as it is in snap, copied again
// and changed again, with both digests checked. A source that is gone or
// changed, or a result of another digest, is an error: what was reviewed can
// no longer be made. A sealed change without its value is a *SecretError.
func (c Create) Body(snap Snapshot, secrets Secrets) (*unstructured.Unstructured, error) {
	body, sealed, err := c.Outline(snap, secrets)
	if err != nil {
		return nil, err
	}
	if len(sealed) > 0 { // a sealed snapshot has the digests of a live one
		return nil, fmt.Errorf("%s is known only with its secrets sealed (%s), and must be read from the cluster to be copied", c.BasedOn.Ref, sealed[0].Dotted())
	}
	return body, nil
}

// Outline is Body for who looks at the object and does not send it: what a
// sealed snapshot holds sealed stays so, and is named.
func (c Create) Outline(snap Snapshot, secrets Secrets) (body *unstructured.Unstructured, sealed []Pointer, err error) {
	source, ok := snap.Object(c.BasedOn.Ref)
	if !ok {
		return nil, nil, fmt.Errorf("%s, which is to be copied, is not there", c.BasedOn.Ref)
	}
	cluster, ok := snap.Object(c.Owner.Ref)
	if !ok {
		return nil, nil, fmt.Errorf("%s is not there", c.Owner.Ref)
	}
	s := sealerOf(cluster)
	if got := sourceDigest(source, s); got != c.BasedOn.Digest {
		return nil, nil, fmt.Errorf("%s has changed since the plan was made", c.BasedOn.Ref)
	}
	body = clone(source, cluster, c.Ref.Name).DeepCopy()
	for _, change := range c.Changes {
		if err := change.write(body.Object, secrets.opened); err != nil {
			return nil, nil, fmt.Errorf("make %s: %w", c.Ref, err)
		}
	}
	if got := contentDigest(body, s); got != c.Result {
		return nil, nil, fmt.Errorf("%s would become %s, and %s was reviewed", c.Ref, got.Short(), c.Result.Short())
	}
	_ = unstructured.SetNestedField(body.Object, string(c.Result), "metadata", "annotations", ContentAnnotation)
	sealedFields("", body.Object, func(at Pointer) { sealed = append(sealed, at) })
	slices.Sort(sealed)
	return body, sealed, nil
}

// PutBack gives the fields that s, a create of p, is to leave out and that made,
// which the server made of it, has all the same: it put a default in their
// place. That is what s removes, and what the upgrade says null of; a null over
// a field that was not there is no change.
func (p Plan) PutBack(s Step, made *unstructured.Unstructured) []Pointer {
	var out []Pointer
	look := func(at Pointer) {
		if len(valueAt(made.Object, at)) > 0 && !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	for _, change := range s.Create.Changes {
		if len(change.After) == 0 {
			look(change.Path)
		}
	}
	up, _ := UpgradeOf(p)
	for _, pool := range up.Spec.Pools {
		patch := pool.Infrastructure
		if s.ID == s.Pool+createBootstrap {
			patch = pool.Bootstrap
		}
		if pool.Name == s.Pool {
			nulls(PointerTo("spec", "template", "spec"), patch, look)
		}
	}
	slices.Sort(out)
	return out
}

// nulls reports the fields that a merge patch removes. A null in a list is a
// value.
func nulls(at Pointer, patch any, report func(Pointer)) {
	node, _ := patch.(map[string]any)
	for k, v := range node {
		if v == nil {
			report(at.Append(k))
		}
		nulls(at.Append(k), v, report)
	}
}

// mergePatch gives spec with the merge patch (RFC 7386) made on it.
func mergePatch(spec map[string]any, patch map[string]any) (map[string]any, error) {
	doc, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	p, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	merged, err := jsonpatch.MergePatch(doc, p)
	if err != nil {
		return nil, err
	}
	v, err := decodeValue(merged)
	if err != nil {
		return nil, err
	}
	out, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the result is no object")
	}
	return out, nil
}

// isOurs reports whether live is what a create of this content left behind:
// it carries the digest, nobody edited its spec since, and it is not being
// deleted. A generation above 1 means an edited spec for kinds whose status
// is a subresource; for others the content itself must still have the digest
// (apiextensions: metadata.generation moves with every change but status and
// metadata).
func isOurs(live *unstructured.Unstructured, content Digest, s sealer, cluster *unstructured.Unstructured) (ok bool, why string) {
	found := live.GetAnnotations()[ContentAnnotation]
	switch {
	case live.GetDeletionTimestamp() != nil:
		return false, "it is being deleted"
	case found == "":
		return false, "it was not made by nodepool"
	case found != string(content):
		return false, "it has other content"
	case live.GetGeneration() <= 1:
		return true, ""
	}
	if contentDigest(clone(live, cluster, ""), s) == content {
		return true, ""
	}
	return false, "it was edited after nodepool made it"
}

// with gives tree with value at path. All that does not lie on the path is shared
// with tree. Where something other than an object stands in the way, it gives tree.
func with(tree map[string]any, value any, path ...string) map[string]any {
	if len(path) > 1 {
		below, there := tree[path[0]]
		object, ok := below.(map[string]any)
		if there && !ok {
			return tree
		}
		value = with(object, value, path[1:]...)
	}
	out := make(map[string]any, len(tree)+1)
	maps.Copy(out, tree)
	out[path[0]] = value
	return out
}

// without gives tree without the field at path, and shares the rest as with does.
func without(tree map[string]any, path ...string) map[string]any {
	below, there := tree[path[0]]
	if !there {
		return tree
	}
	out := maps.Clone(tree)
	if len(path) == 1 {
		delete(out, path[0])
	} else if object, ok := below.(map[string]any); ok {
		out[path[0]] = without(object, path[1:]...)
	}
	return out
}
