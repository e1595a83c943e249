package plan

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// index finds what belongs to one of many pools without looking through what
// belongs to the others.
type index struct {
	near map[string][]*unstructured.Unstructured
	// clones are by the name of their template and by their own kind.
	clones map[Ref][]*unstructured.Unstructured
	// reaches holds what was found out so far of in-place changes, by API version.
	reaches map[string]bool
}

func indexOf(snap Snapshot) index {
	out := index{near: map[string][]*unstructured.Unstructured{}, clones: map[Ref][]*unstructured.Unstructured{}, reaches: map[string]bool{}}
	for ref, i := range snap.at {
		o := snap.objects[i]
		for _, key := range capi.Keys(o) {
			out.near[key] = append(out.near[key], o)
		}
		if from := capi.StringAt(o, "metadata", "annotations", clonedFromName); from != "" {
			ref.Name = from
			out.clones[ref] = append(out.clones[ref], o)
		}
	}
	for _, clones := range out.clones {
		sortByName(clones)
	}
	return out
}

// observed gives the judge what of the pool md is in the index: no less than the
// observed of the whole snapshot, as far as the judgement goes.
func (i index) observed(snap Snapshot, md *unstructured.Unstructured, cluster, infraMachine, bootstrapConfig Ref) capi.Observed {
	near := capi.Belonging(capi.RefOf(md), func(key string) []*unstructured.Unstructured { return i.near[key] })
	sortByName(near)
	return observedOf(snap, md, cluster, infraMachine, bootstrapConfig, func(sel Selector) []*unstructured.Unstructured {
		return slices.DeleteFunc(slices.Clone(near), func(o *unstructured.Unstructured) bool { return !sel.Matches(o) })
	})
}

// reachesOld reports whether in-place changes reach the old machines; which
// release of Cluster API that tells is seen on the machines of all pools.
func (i index) reachesOld(snap Snapshot, cluster Ref, apiVersion string) bool {
	reaches, known := i.reaches[apiVersion]
	if !known {
		reaches = capi.InPlaceReachesOld(apiVersion, snap.List(machinesOf(cluster)))
		i.reaches[apiVersion] = reaches
	}
	return reaches
}

// madeFrom gives the objects among those that sel selects which were cloned from
// a template and are not being deleted.
func (i index) madeFrom(template Ref, sel Selector) []*unstructured.Unstructured {
	ref := sel.Ref
	ref.Name = template.Name
	return slices.DeleteFunc(slices.Clone(i.clones[ref]), func(o *unstructured.Unstructured) bool {
		return !sel.Matches(o) || o.GetDeletionTimestamp() != nil
	})
}

func sortByName(objs []*unstructured.Unstructured) {
	slices.SortFunc(objs, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}
