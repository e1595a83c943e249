package plan

import (
	"cmp"
	"iter"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// index finds what belongs to one of many pools without looking through what
// belongs to the others.
type index struct {
	// near is for the judgement, and let go of behind it.
	near map[string][]*capi.Packed
	// clones are by the name of their template and by their own kind.
	clones map[Ref][]*capi.Packed
	// reaches holds what was found out so far of in-place changes, by API version.
	reaches map[string]bool
}

func indexOf(snap Snapshot) *index {
	out := &index{near: map[string][]*capi.Packed{}, clones: map[Ref][]*capi.Packed{}, reaches: map[string]bool{}}
	for _, kept := range snap.objects {
		o, ref := kept.Object(), kept.Ref()
		for _, key := range capi.Keys(o) {
			out.near[key] = append(out.near[key], kept)
		}
		if from := capi.StringAt(o, "metadata", "annotations", clonedFromName); from != "" {
			ref.Name = from
			out.clones[ref] = append(out.clones[ref], kept)
		}
	}
	for _, clones := range out.clones {
		sortByName(clones)
	}
	return out
}

// observed gives the judge what of the pool md is in the index: no less than the
// observed of the whole snapshot, as far as the judgement goes.
func (i *index) observed(snap Snapshot, md *unstructured.Unstructured, cluster, infraMachine, bootstrapConfig Ref) capi.Observed {
	objects := map[*capi.Packed]*unstructured.Unstructured{} // made of what is packed once, and for this pool alone
	whole := func(kept *capi.Packed) *unstructured.Unstructured {
		if objects[kept] == nil {
			objects[kept] = kept.Object()
		}
		return objects[kept]
	}
	near := capi.Belonging(capi.RefOf(md), func(key string) []*capi.Packed { return i.near[key] }, whole)
	sortByName(near)
	return observedOf(snap, md, cluster, infraMachine, bootstrapConfig, func(sel Selector) []*capi.Packed {
		out := chosen(near, sel)
		for i, kept := range out {
			out[i] = capi.Whole(whole(kept))
		}
		return out
	})
}

// reachesOld reports whether in-place changes reach the old machines; which
// release of Cluster API that tells is seen on the machines of all pools.
func (i *index) reachesOld(snap Snapshot, cluster Ref, apiVersion string) bool {
	reaches, known := i.reaches[apiVersion]
	if !known {
		reaches = capi.InPlaceReachesOld(apiVersion, snap.each(machinesOf(cluster)))
		i.reaches[apiVersion] = reaches
	}
	return reaches
}

// madeFrom gives the objects among those that sel selects which were cloned from
// a template and are not being deleted.
func (i *index) madeFrom(template Ref, sel Selector) []*unstructured.Unstructured {
	ref := sel.Ref
	ref.Name = template.Name
	var out []*unstructured.Unstructured
	for _, kept := range chosen(i.clones[ref], sel) {
		if o := kept.Object(); o.GetDeletionTimestamp() == nil {
			out = append(out, o)
		}
	}
	return out
}

// chosen gives those that sel selects.
func chosen(kept []*capi.Packed, sel Selector) (out []*capi.Packed) {
	for _, o := range kept {
		if sel.matches(o.Ref(), o.Labels()) {
			out = append(out, o)
		}
	}
	return out
}

func sortByName(objs []*capi.Packed) {
	slices.SortFunc(objs, func(a, b *capi.Packed) int {
		return cmp.Or(cmp.Compare(a.Ref().Namespace, b.Ref().Namespace), cmp.Compare(a.Ref().Name, b.Ref().Name))
	})
}

// each gives the objects of List one by one: each is let go of before the next one.
func (s Snapshot) each(sel Selector) iter.Seq[*unstructured.Unstructured] {
	return func(yield func(*unstructured.Unstructured) bool) {
		for _, at := range s.placesOf(sel) {
			if !yield(s.objects[at].Object()) {
				return
			}
		}
	}
}
