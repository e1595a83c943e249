package offline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// Cluster is a cluster as manifests show it. It never changes.
type Cluster struct {
	// path names the manifests to people.
	path    string
	objects map[plan.Ref]manifest
	sorted  []plan.Ref
	// looked are the kinds that a snapshot says were looked up: of these the
	// manifests hold all objects that there are.
	looked map[schema.GroupKind]bool
	// lacksManagers is what a snapshot says of itself: it was made from manifests
	// that held objects without their managed fields.
	lacksManagers bool
}

// manifest is one object and where it stands.
type manifest struct {
	obj   *unstructured.Unstructured
	place place
}

// place is a line of a file, counted from 1; 0 leaves the line out.
type place struct {
	file string
	line int
}

func (p place) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

var _ apply.Reader = (*Cluster)(nil)

// Fetch answers selectors; see apply.Reader. An object that the manifests do
// not hold is an answer: it does not exist. But a kind of which they hold no
// object at all was left out of a dump, unless a snapshot says that it was
// looked up; that is an error for a selector of one object, and for a list when
// a MachineDeployment has replicas: there are a MachineSet and Machines then.
// An object without a UID is an
// error, since it was never read from a cluster and no plan could say which
// object it changes; so is one in another API version than a selector asks
// for. All such errors are told at once.
func (c *Cluster) Fetch(ctx context.Context, selectors []plan.Selector) (plan.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return plan.Snapshot{}, err
	}
	var snap plan.Snapshot
	var problems []error
	told := map[plan.Ref]bool{}
	if err := c.leftOut(selectors); err != nil {
		return plan.Snapshot{}, err
	}
	for _, s := range selectors {
		if s.Optional && s.IsList() && c.hasReplicas(s.Namespace) && c.lacks(s) {
			snap = snap.Without(s, fmt.Sprintf("%s holds no %s, and what kubectl prints does not tell an empty list from a missing one: make the manifests with nodepool snapshot, which does, or, where there are some, add what kubectl get -n %s -o yaml %s prints",
				c.path, s.Kind, s.Namespace, resource(s.Ref)))
			continue
		}
		var found []*unstructured.Unstructured
		for _, m := range c.answer(s) {
			if problem := m.unfit(s); problem != nil {
				if ref := capi.RefOf(m.obj); !told[ref] {
					told[ref] = true
					problems = append(problems, problem)
				}
				continue
			}
			if s.Group == capi.Group && s.Kind == "MachineDeployment" && (c.lacksManagers || !c.looked[kindOf(s)]) && len(m.obj.GetManagedFields()) == 0 {
				snap = snap.WithoutManagers(fmt.Sprintf("%s holds no metadata.managedFields, which kubectl get leaves out (kubectl get --show-managed-fields keeps them, and nodepool snapshot of the cluster what counts of them)", c.path))
			}
			found = append(found, m.obj.DeepCopy())
		}
		snap = snap.With(s, found...)
	}
	if len(problems) > 0 {
		return plan.Snapshot{}, errors.Join(problems...)
	}
	return snap, nil
}

func kindOf(s plan.Selector) schema.GroupKind {
	return schema.GroupKind{Group: s.Group, Kind: s.Kind}
}

// lacks reports whether the manifests hold nothing of a kind, and nothing says
// that it was looked up.
func (c *Cluster) lacks(s plan.Selector) bool {
	return !c.looked[kindOf(s)] && !slices.ContainsFunc(c.sorted, func(ref plan.Ref) bool { return ref.Group == s.Group && ref.Kind == s.Kind })
}

// leftOut names the kinds that the manifests lack.
func (c *Cluster) leftOut(selectors []plan.Selector) error {
	var kinds, resources []string
	namespace := ""
	for _, s := range selectors {
		if s.Optional || s.IsList() && !c.hasReplicas(s.Namespace) || slices.Contains(kinds, s.Kind) || !c.lacks(s) {
			continue
		}
		kinds, resources, namespace = append(kinds, s.Kind), append(resources, resource(s.Ref)), s.Namespace
	}
	if len(kinds) == 0 {
		return nil
	}
	return fmt.Errorf("%s holds no %s; add what this prints, or make the manifests with nodepool snapshot: kubectl get -n %s -o yaml %s",
		c.path, strings.Join(kinds, " and no "), namespace, strings.Join(resources, ","))
}

// hasReplicas reports whether a MachineDeployment of the namespace had machines.
func (c *Cluster) hasReplicas(namespace string) bool {
	for _, ref := range c.sorted {
		if ref.Group == capi.Group && ref.Kind == "MachineDeployment" && ref.Namespace == namespace {
			if n, _, _ := unstructured.NestedInt64(c.objects[ref].obj.Object, "status", "replicas"); n > 0 {
				return true
			}
		}
	}
	return false
}

func (c *Cluster) answer(s plan.Selector) []manifest {
	if !s.IsList() {
		if m, ok := c.objects[s.Ref]; ok {
			return []manifest{m}
		}
		return nil
	}
	var out []manifest
	for _, ref := range c.sorted {
		if m := c.objects[ref]; s.Matches(m.obj) {
			out = append(out, m)
		}
	}
	return out
}

// unfit says why m cannot answer s.
func (m manifest) unfit(s plan.Selector) error {
	ref := capi.RefOf(m.obj)
	switch {
	case s.APIVersion != "" && s.APIVersion != m.obj.GetAPIVersion():
		return fmt.Errorf("%s: %s is here in %s, and it is needed in %s; read it from the cluster in that version",
			m.place, ref, m.obj.GetAPIVersion(), s.APIVersion)
	case m.obj.GetUID() == "":
		return fmt.Errorf("%s: %s has no metadata.uid, so it was not read from a cluster, and a plan must name the very object that it changes; "+
			"make the manifests with nodepool snapshot or kubectl get -o yaml", m.place, ref)
	}
	return nil
}

// add takes an object up. The same object twice is borne when both are equal.
func (c *Cluster) add(obj *unstructured.Unstructured, at place) error {
	ref := capi.RefOf(obj)
	old, twice := c.objects[ref]
	switch {
	case !twice:
		c.objects[ref] = manifest{obj, at}
		c.sorted = append(c.sorted, ref)
		return nil
	case old.obj.GetAPIVersion() != obj.GetAPIVersion():
		return fmt.Errorf("%s: %s is here in %s, and at %s in %s; keep one of them: a plan speaks one API version",
			at, ref, obj.GetAPIVersion(), old.place, old.obj.GetAPIVersion())
	case !equal(old.obj, obj):
		return fmt.Errorf("%s: %s is also at %s, and the two differ; keep the newer one", at, ref, old.place)
	}
	return nil
}

func (c *Cluster) sort() {
	slices.SortFunc(c.sorted, func(a, b plan.Ref) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
