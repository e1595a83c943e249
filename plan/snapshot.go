package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// Ref identifies an object, without an API version.
type Ref = capi.Ref

// Selector says what to look up: one object (Name set), or all objects of a
// kind in a namespace, narrowed by Label when that is set.
type Selector struct {
	Ref
	// APIVersion asks for one representation. Empty leaves the choice to the
	// reader: for Cluster API's own kinds v1beta2, or v1beta1 where that is
	// all there is; for a provider's kinds the version that the label
	// "cluster.x-k8s.io/<contract>" of the CRD names, or the preferred one.
	APIVersion string
	// Label and LabelValue narrow a list to objects that carry the label.
	Label, LabelValue string
	// Pools narrows a list further, to objects whose label capi.DeploymentNameLabel
	// is among these names, with commas between them; empty does not.
	Pools string
	// Pool says that a list is for the judgement of the rollout of this
	// MachineDeployment. A reader that follows the cluster may leave out objects
	// that the judgement cannot rest on, and fields that it does not read: see
	// capi.Belonging and capi.Slimmer. Only what it gives is narrowed by it.
	Pool Ref
	// Slim says that of what is listed no more is read than what
	// capi.Slimmer.SlimForPlan keeps. A reader may leave out the rest.
	Slim bool
	// Optional marks what only makes a message better. A missing right or a
	// missing kind leaves it out; for any other selector a missing right is
	// an error, since a plan must not depend on who compiles it.
	Optional bool
}

// IsList reports whether s selects any number of objects.
func (s Selector) IsList() bool { return s.Name == "" }

// Matches reports whether s selects obj.
func (s Selector) Matches(obj *unstructured.Unstructured) bool {
	metadata, _ := obj.Object["metadata"].(map[string]any)
	labels, _ := metadata["labels"].(map[string]any)
	return s.matches(capi.RefOf(obj), labels)
}

// matches is Matches of an object whose identity and labels are known.
func (s Selector) matches(ref Ref, labels map[string]any) bool {
	if ref.Group != s.Group || ref.Kind != s.Kind || (s.Namespace != "" && ref.Namespace != s.Namespace) {
		return false
	}
	if !s.IsList() {
		return ref.Name == s.Name
	}
	if s.Label == "" && s.Pools == "" {
		return true
	}
	if s.Pools != "" {
		pool, _ := labels[capi.DeploymentNameLabel].(string)
		if pool == "" || !strings.Contains(","+s.Pools+",", ","+pool+",") {
			return false
		}
	}
	value, _ := labels[s.Label].(string)
	return value == s.LabelValue
}

// Snapshot is what was seen of a cluster, and what was looked for in vain.
// It is a value: With and Merge give a new one and leave the old as it was.
// Objects in it must not be changed.
type Snapshot struct {
	objects []*capi.Packed
	at      map[Ref]int // their places among objects
	asked   map[Selector]bool
	unread  map[Selector]string
	// workload is what was found out about the workload cluster, nil when it was
	// not looked at.
	workload *WorkloadReport
	images   map[ImageQuery]ImageInfo
	// contracts are what the definitions of kinds say, by group and kind.
	contracts map[Ref]Contract
	types     map[InstanceTypeQuery]InstanceTypeInfo
	kinds     *kinds // made anew by clone, since With puts objects in; Renewed does not
	// managers says why objects without managed fields tell nothing of who
	// manages theirs; empty where they do.
	managers string
	// memo goes with all that With makes of a snapshot, for one judge; see Following.
	memo *capi.Memo
}

// Following gives s for the judgement of one pool again and again, as With gives
// it newer forms of objects: what was read out of the others is kept.
func (s Snapshot) Following() Snapshot {
	s.memo = &capi.Memo{}
	return s
}

// With gives s plus the answer to one selector: the objects found, possibly
// none.
func (s Snapshot) With(asked Selector, found ...*unstructured.Unstructured) Snapshot {
	kept := make([]*capi.Packed, len(found))
	for i, o := range found {
		kept[i] = capi.Whole(o)
	}
	return s.WithPacked(asked, kept...)
}

// WithPacked is With of objects as they are kept. Of those that are packed, Object
// and List give another copy each time.
func (s Snapshot) WithPacked(asked Selector, found ...*capi.Packed) Snapshot {
	out := s.clone()
	out.asked[asked] = true
	for _, o := range found {
		out.put(o)
	}
	return out
}

// put is for snapshots that nobody has yet but who made them.
func (s *Snapshot) put(o *capi.Packed) {
	ref := o.Ref()
	if i, known := s.at[ref]; known {
		s.objects[i] = o
		return
	}
	s.at[ref] = len(s.objects)
	s.objects = append(s.objects, o)
}

// Renewed gives s with other forms of objects that it holds. It takes far less
// than With: of a pool that is followed, little changes at a time.
func (s Snapshot) Renewed(forms ...*capi.Packed) Snapshot {
	objects, alike := slices.Clone(s.objects), true
	for _, form := range forms {
		ref := form.Ref()
		i, known := s.at[ref]
		if !known {
			continue
		}
		alike = alike && s.kinds.listAlike(ref, s.objects[i].Labels(), form.Labels())
		objects[i] = form
	}
	if s.kinds != nil {
		s.kinds = s.fork(alike)
	}
	s.objects = objects
	return s
}

// fork gives the kinds of s for a snapshot with other forms of the same objects:
// with the lists that are kept where they are the same, and apart from those of
// s, which may be asked more.
func (s Snapshot) fork(alike bool) *kinds {
	s.kind("", "") // makes the places, which names decide
	out := &kinds{places: s.kinds.places}
	out.once.Do(func() {})
	if alike {
		s.kinds.mu.Lock()
		defer s.kinds.mu.Unlock()
		out.lists = maps.Clone(s.kinds.lists)
	}
	return out
}

// Without gives s plus the note that an optional selector could not be read,
// and why.
func (s Snapshot) Without(asked Selector, why string) Snapshot {
	out := s.clone()
	out.asked[asked] = true
	out.unread[asked] = why
	return out
}

// WithoutManagers gives s plus the note that objects were not read with their
// metadata.managedFields, and why: one that has none tells nothing then.
func (s Snapshot) WithoutManagers(why string) Snapshot {
	out := s.clone()
	out.managers = why
	return out
}

// LacksManagers reports whether s has the note of WithoutManagers.
func (s Snapshot) LacksManagers() bool { return s.managers != "" }

// Merge gives all that s and t hold; where both hold an object, t's is taken.
func (s Snapshot) Merge(t Snapshot) Snapshot {
	out := s.clone()
	for _, o := range t.objects {
		out.put(o)
	}
	for k := range t.asked {
		out.asked[k] = true
	}
	for k, v := range t.unread {
		out.unread[k] = v
	}
	if t.workload != nil {
		out.workload = t.workload
	}
	if t.contracts != nil {
		out.contracts = t.contracts
	}
	if t.managers != "" {
		out.managers = t.managers
	}
	maps.Copy(out.images, t.images)
	maps.Copy(out.types, t.types)
	return out
}

func (s Snapshot) clone() Snapshot {
	out := Snapshot{
		objects: slices.Clone(s.objects),
		at:      make(map[Ref]int, len(s.at)+1),
		asked:   make(map[Selector]bool, len(s.asked)+1),
		unread:  make(map[Selector]string, len(s.unread)),

		memo:      s.memo,
		managers:  s.managers,
		kinds:     &kinds{},
		workload:  s.workload,
		contracts: s.contracts,
		images:    make(map[ImageQuery]ImageInfo, len(s.images)),
		types:     make(map[InstanceTypeQuery]InstanceTypeInfo, len(s.types)),
	}
	maps.Copy(out.images, s.images)
	maps.Copy(out.types, s.types)
	maps.Copy(out.at, s.at)
	for k := range s.asked {
		out.asked[k] = true
	}
	for k, v := range s.unread {
		out.unread[k] = v
	}
	return out
}

// Asked reports whether sel has been answered.
func (s Snapshot) Asked(sel Selector) bool { return s.asked[sel] }

// Kinds gives the kinds that were looked up and read, found or not, ordered by group and
// kind. The refs hold nothing else.
func (s Snapshot) Kinds() []Ref {
	var out []Ref
	for sel := range s.asked {
		if _, unread := s.unread[sel]; unread {
			continue
		}
		if kind := (Ref{Group: sel.Group, Kind: sel.Kind}); !slices.Contains(out, kind) {
			out = append(out, kind)
		}
	}
	slices.SortFunc(out, func(a, b Ref) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind)) })
	return out
}

// Object gives the object of that identity, if it was seen.
func (s Snapshot) Object(ref Ref) (*unstructured.Unstructured, bool) {
	i, ok := s.at[ref]
	if !ok {
		return nil, false
	}
	return s.objects[i].Object(), true
}

// Packed is Object of an object as it is kept.
func (s Snapshot) Packed(ref Ref) (*capi.Packed, bool) {
	i, ok := s.at[ref]
	if !ok {
		return nil, false
	}
	return s.objects[i], true
}

// List gives the objects seen that sel selects, ordered by namespace and name.
func (s Snapshot) List(sel Selector) []*unstructured.Unstructured {
	kept := s.kept(sel)
	if len(kept) == 0 {
		return nil
	}
	out := make([]*unstructured.Unstructured, len(kept))
	for i, o := range kept {
		out[i] = o.Object()
	}
	return out
}

// kept is List of objects as they are kept.
func (s Snapshot) kept(sel Selector) []*capi.Packed {
	places := s.placesOf(sel)
	out := make([]*capi.Packed, len(places))
	for i, at := range places {
		out[i] = s.objects[at]
	}
	return out
}

// placesOf gives the places of the objects that sel selects, in the order of List.
func (s Snapshot) placesOf(sel Selector) (places []int) {
	if s.kinds == nil {
		return nil // an empty snapshot
	}
	if s.memo != nil {
		if places, known := s.kinds.list(sel); known {
			return places
		}
	}
	for _, at := range s.kind(sel.Group, sel.Kind) {
		if o := s.objects[at]; sel.matches(o.Ref(), o.Labels()) {
			places = append(places, at)
		}
	}
	if s.memo != nil {
		s.kinds.keep(sel, places)
	}
	return places
}

// kinds are the places of the objects by group and kind, ordered by namespace and
// name. They are made when they are first asked for: snapshots are made one from
// the other, and most are asked nothing.
type kinds struct {
	once   sync.Once
	places map[Ref][]int

	mu sync.Mutex
	// lists are the places that selectors were answered with, where a snapshot is
	// followed: to look at all of its objects again takes longer than to judge.
	lists map[Selector][]int
}

func (k *kinds) list(sel Selector) (places []int, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	places, known = k.lists[sel]
	return places, known
}

// listAlike reports whether the lists that are kept hold either both forms of an
// object or none, by its labels in both.
func (k *kinds) listAlike(ref Ref, a, b map[string]any) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for sel := range k.lists {
		if sel.matches(ref, a) != sel.matches(ref, b) {
			return false
		}
	}
	return true
}

func (k *kinds) keep(sel Selector, places []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lists == nil {
		k.lists = map[Selector][]int{}
	}
	k.lists[sel] = places
}

// kind gives the places of all objects of a kind.
func (s Snapshot) kind(group, kind string) []int {
	s.kinds.once.Do(func() {
		s.kinds.places = map[Ref][]int{}
		for i, o := range s.objects {
			of := Ref{Group: o.Ref().Group, Kind: o.Ref().Kind}
			s.kinds.places[of] = append(s.kinds.places[of], i)
		}
		for _, places := range s.kinds.places {
			slices.SortFunc(places, func(i, j int) int {
				a, b := s.objects[i].Ref(), s.objects[j].Ref()
				return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
			})
		}
	})
	return s.kinds.places[Ref{Group: group, Kind: kind}]
}

// Unread gives the reason why an optional selector could not be read.
func (s Snapshot) Unread(sel Selector) (why string, unread bool) {
	why, unread = s.unread[sel]
	return why, unread
}
