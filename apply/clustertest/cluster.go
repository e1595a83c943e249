package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

var _ apply.Cluster = (*Cluster)(nil)

// Cluster is one process's handle to a World.
type Cluster struct {
	world *World
	id    int

	// All below is guarded by the world's lock.
	fuse    *Fuse
	hooks   []*hook
	crashed bool
}

// Open gives a new handle. The fuse may be nil.
func (w *World) Open(fuse *Fuse) *Cluster {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handles++
	return &Cluster{world: w, id: w.handles, fuse: fuse}
}

// World gives the world that c is a handle to.
func (c *Cluster) World() *World { return c.world }

// Crashed reports whether the fuse blew in one of the crash modes.
func (c *Cluster) Crashed() bool {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	return c.crashed
}

// Blown reports whether the fuse blew.
func (c *Cluster) Blown() bool {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	return c.fuse != nil && c.fuse.blown
}

// Before has do called right before the nth call of c, counted from 1: another
// actor who is quicker. Ops narrows what is counted; none counts every call.
func (c *Cluster) Before(n int, do func(*World), ops ...Op) {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.hooks = append(c.hooks, &hook{at: n, ops: ops, do: do})
}

// begin records a call and runs the hooks. blow tells that the fuse blows at
// this call; a caller that crashed already gets ErrCrashed.
func (c *Cluster) begin(call Call) (blow bool, err error) {
	w := c.world
	w.mu.Lock()
	if c.crashed {
		w.mu.Unlock()
		return false, ErrCrashed
	}
	var due []func(*World)
	for _, h := range c.hooks {
		if h.hit(call.Op) {
			due = append(due, h.do)
		}
	}
	blow = c.fuse.hit(call.Op)
	if blow && c.fuse.Mode.crash() {
		c.crashed = true
	}
	call.Handle, call.Blown = c.id, blow
	call.Selectors = slices.Clone(call.Selectors)
	w.calls = append(w.calls, call)
	w.mu.Unlock()
	for _, do := range due {
		do(w)
	}
	return blow, nil
}

// guard runs do as one call: the fuse decides whether it happens and whether
// the caller learns of it.
func (c *Cluster) guard(call Call, do func() error) error {
	blow, err := c.begin(call)
	if err != nil {
		return err
	}
	if err := c.world.away(call.Op); err != nil {
		return err
	}
	if !blow {
		return do()
	}
	if !c.fuse.Mode.before() {
		_ = do() // its reply is what gets lost
	}
	if c.fuse.OnBlow != nil {
		c.fuse.OnBlow()
	}
	return c.fuse.error()
}

// Fetch answers selectors; see apply.Reader. A missing right and a kind that
// is not served are told together for all selectors.
func (c *Cluster) Fetch(ctx context.Context, selectors []plan.Selector) (plan.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return plan.Snapshot{}, err
	}
	var out plan.Snapshot
	err := c.guard(Call{Op: Fetch, Selectors: selectors}, func() error {
		c.world.look()
		c.world.mu.Lock()
		defer c.world.mu.Unlock()
		snapshot, _, err := c.world.answer(selectors, "")
		out = snapshot
		return err
	})
	if err != nil {
		return plan.Snapshot{}, err
	}
	return out, nil
}

// answer is called with the lock held. It gives copies, and the stored objects
// by identity, for a feed to see what changed. verb is asked for besides get
// and list.
func (w *World) answer(selectors []plan.Selector, verb string) (plan.Snapshot, map[plan.Ref]string, error) {
	var parts []plan.Snapshot
	versions := map[plan.Ref]string{}
	var problems []error
	var slimmer capi.Slimmer
	for _, s := range selectors {
		if err := w.readable(s, verb); err != nil {
			if s.Optional {
				parts = append(parts, plan.Snapshot{}.Without(s, err.Error()))
			} else {
				problems = append(problems, err)
			}
			continue
		}
		var found []*unstructured.Unstructured
		if !s.IsList() {
			if o := w.get(s.Ref); o != nil {
				found = []*unstructured.Unstructured{o}
			}
		} else {
			for _, o := range w.list(schema.GroupKind{Group: s.Group, Kind: s.Kind}) {
				if s.Matches(o) {
					found = append(found, o)
				}
			}
		}
		kept := make([]*capi.Packed, len(found))
		for i, o := range found {
			versions[capi.RefOf(o)] = string(o.GetUID()) + "@" + o.GetResourceVersion()
			o = o.DeepCopy()
			switch {
			case verb == "watch" && !s.Pool.IsZero(): // as apply/kube's feeds keep them
				kept[i] = slimmer.PackForJudge(o)
			case verb == "watch":
				o.SetManagedFields(nil)
				kept[i] = capi.Whole(o)
			case s.IsList() && s.Slim: // as apply/kube reads
				kept[i] = slimmer.Pack(o)
			default:
				kept[i] = capi.Whole(o)
			}
		}
		parts = append(parts, plan.Snapshot{}.WithPacked(s, kept...))
	}
	if len(problems) > 0 {
		return plan.Snapshot{}, nil, errors.Join(problems...)
	}
	return merge(parts), versions, nil
}

// merge joins snapshots by halves: one by one would copy each again for every
// selector.
func merge(parts []plan.Snapshot) plan.Snapshot {
	switch len(parts) {
	case 0:
		return plan.Snapshot{}
	case 1:
		return parts[0]
	}
	half := len(parts) / 2
	return merge(parts[:half]).Merge(merge(parts[half:]))
}

func (w *World) readable(s plan.Selector, verb string) error {
	gk := schema.GroupKind{Group: s.Group, Kind: s.Kind}
	kind, served := w.kinds[gk]
	if !served {
		return fmt.Errorf("the kind %s is not installed in the management cluster", gk)
	}
	if s.APIVersion != "" && s.APIVersion != kind.apiVersion() {
		return fmt.Errorf("the management cluster does not serve %s in %s, but in %s", s.Kind, s.APIVersion, kind.apiVersion())
	}
	verbs := []string{"get"}
	if s.IsList() || verb == "watch" {
		verbs = []string{"list"}
	}
	if verb != "" {
		verbs = append(verbs, verb)
	}
	for _, v := range verbs {
		if w.denied[right{v, gk}] {
			return &apply.ForbiddenError{Verb: v, Group: s.Group, Resource: kind.Resource(), Namespace: s.Namespace, Name: s.Name}
		}
	}
	return nil
}

// Create makes obj as it is; see apply.Cluster.
func (c *Cluster) Create(ctx context.Context, obj *unstructured.Unstructured, mode apply.Mode) error {
	if err := ctx.Err(); err != nil {
		return writeLost(err)
	}
	ref := capi.RefOf(obj)
	err := c.guard(Call{Op: Create, Ref: ref, Mode: mode}, func() error {
		made, err := c.world.create(obj.DeepCopy(), mode, c.id)
		if err == nil {
			obj.Object = made.Object
		}
		return err
	})
	return asWriteError(err)
}

func (w *World) create(obj *unstructured.Unstructured, mode apply.Mode, handle int) (*unstructured.Unstructured, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ref := capi.RefOf(obj)
	kind, err := w.writable("create", ref, obj.GetAPIVersion())
	if err != nil {
		return nil, err
	}
	resource := schema.GroupResource{Group: kind.Group, Resource: kind.Resource()}
	switch {
	case ref.Name == "":
		return nil, apierrors.NewInvalid(kind.groupKind(), "", field.ErrorList{
			field.Required(field.NewPath("metadata", "name"), "name or generateName is required"),
		})
	case obj.GetResourceVersion() != "":
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	case !kind.Cluster && !w.namespaceExists(ref.Namespace):
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, ref.Namespace)
	case w.get(ref) != nil:
		return nil, apierrors.NewAlreadyExists(resource, ref.Name)
	}
	sent := obj.DeepCopy()
	// The server fills these itself; status has an endpoint of its own.
	for _, f := range []string{"uid", "generation", "creationTimestamp", "deletionTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(obj.Object, "metadata", f)
	}
	unstructured.RemoveNestedField(obj.Object, "status")
	if err := w.valid(obj); err != nil {
		return nil, err
	}
	if w.defaults != nil {
		w.defaults(obj)
	}
	if mode == apply.DryRun {
		return obj, nil
	}
	w.store(obj)
	w.writes = append(w.writes, Write{Handle: handle, Op: Create, Ref: ref, Sent: sent})
	return obj.DeepCopy(), nil
}

// Patch sends a JSON Patch; see apply.Cluster.
func (c *Cluster) Patch(ctx context.Context, target plan.Ref, apiVersion string, jsonPatch []byte, mode apply.Mode) error {
	if err := ctx.Err(); err != nil {
		return writeLost(err)
	}
	err := c.guard(Call{Op: Patch, Ref: target, Mode: mode}, func() error {
		return c.world.patch(target, apiVersion, slices.Clone(jsonPatch), mode, c.id)
	})
	return asWriteError(err)
}

func (w *World) patch(ref plan.Ref, apiVersion string, body []byte, mode apply.Mode, handle int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind, err := w.writable("patch", ref, apiVersion)
	if err != nil {
		return err
	}
	resource := schema.GroupResource{Group: kind.Group, Resource: kind.Resource()}
	old := w.get(ref)
	if old == nil {
		return apierrors.NewNotFound(resource, ref.Name)
	}
	// The same library and the same answers as the API server's
	// (k8s.io/apiserver/pkg/endpoints/handlers/patch.go, applyJSPatch).
	operations, err := jsonpatch.DecodePatch(body)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	before, err := json.Marshal(old.Object)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	after, err := operations.Apply(before)
	if err != nil {
		return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(after); err != nil {
		return apierrors.NewBadRequest("the patched object cannot be read")
	}
	switch {
	case capi.RefOf(obj) != ref:
		return apierrors.NewBadRequest("the name, namespace or kind of the object does not match the one in the request")
	case obj.GetUID() != old.GetUID():
		return apierrors.NewConflict(resource, ref.Name, errors.New("Precondition failed: UID in precondition and UID in object meta differ"))
	case obj.GetResourceVersion() != "" && obj.GetResourceVersion() != old.GetResourceVersion():
		return apierrors.NewConflict(resource, ref.Name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	carry(old, obj)
	if status, ok := old.Object["status"]; ok {
		obj.Object["status"] = status
	} else {
		delete(obj.Object, "status")
	}
	if kind.Immutable {
		was, _, _ := unstructured.NestedFieldNoCopy(old.Object, "spec", "template", "spec")
		is, _, _ := unstructured.NestedFieldNoCopy(obj.Object, "spec", "template", "spec")
		if !sameTree(was, is) {
			return apierrors.NewInvalid(kind.groupKind(), ref.Name, field.ErrorList{
				field.Forbidden(field.NewPath("spec", "template", "spec"), kind.Kind+" spec.template.spec field is immutable"),
			})
		}
	}
	if err := w.valid(obj); err != nil {
		return err
	}
	if mode == apply.DryRun {
		return nil
	}
	if w.store(obj) {
		w.writes = append(w.writes, Write{Handle: handle, Op: Patch, Ref: ref, Patch: body})
	}
	return nil
}

// Delete removes an object; see apply.Cluster.
func (c *Cluster) Delete(ctx context.Context, target plan.Ref, apiVersion, uid, resourceVersion string, mode apply.Mode) error {
	if err := ctx.Err(); err != nil {
		return writeLost(err)
	}
	err := c.guard(Call{Op: Delete, Ref: target, Mode: mode}, func() error {
		return c.world.remove(target, apiVersion, uid, resourceVersion, mode, c.id)
	})
	return asWriteError(err)
}

func (w *World) remove(ref plan.Ref, apiVersion, uid, resourceVersion string, mode apply.Mode, handle int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind, err := w.writable("delete", ref, apiVersion)
	if err != nil {
		return err
	}
	resource := schema.GroupResource{Group: kind.Group, Resource: kind.Resource()}
	live := w.get(ref)
	if live == nil {
		return apierrors.NewNotFound(resource, ref.Name)
	}
	// The words of k8s.io/apiserver/pkg/storage, Preconditions.Check.
	if found := string(live.GetUID()); found != uid {
		return apierrors.NewConflict(resource, ref.Name,
			fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, found))
	}
	if found := live.GetResourceVersion(); found != resourceVersion {
		return apierrors.NewConflict(resource, ref.Name,
			fmt.Errorf("Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s", resourceVersion, found))
	}
	if mode == apply.DryRun {
		return nil
	}
	switch {
	case len(live.GetFinalizers()) == 0:
		w.delete(ref)
	case live.GetDeletionTimestamp() == nil:
		w.edit(ref, func(o *unstructured.Unstructured) { setField(o, w.now(), "metadata", "deletionTimestamp") })
	default:
		return nil // it is on its way already
	}
	w.writes = append(w.writes, Write{Handle: handle, Op: Delete, Ref: ref, UID: uid, ResourceVersion: resourceVersion})
	return nil
}

func (w *World) writable(verb string, ref plan.Ref, apiVersion string) (Kind, error) {
	gk := schema.GroupKind{Group: ref.Group, Kind: ref.Kind}
	kind, served := w.kinds[gk]
	if !served || kind.apiVersion() != apiVersion {
		return Kind{}, &apierrors.StatusError{ErrStatus: apierrors.NewGenericServerResponse(
			http.StatusNotFound, verb, schema.GroupResource{}, "", "", 0, false).ErrStatus}
	}
	if w.denied[right{verb, gk}] {
		return Kind{}, apierrors.NewForbidden(schema.GroupResource{Group: kind.Group, Resource: kind.Resource()}, ref.Name,
			fmt.Errorf("the user cannot %s it", verb))
	}
	return kind, nil
}

func (w *World) valid(obj *unstructured.Unstructured) error {
	if w.schemas == nil {
		return nil
	}
	if err := w.schemas(obj.DeepCopy()); err != nil {
		return apierrors.NewBadRequest("strict decoding error: " + err.Error())
	}
	return nil
}

// asWriteError gives a server's answer as a refusal and anything else as a
// write of unknown outcome.
func asWriteError(err error) error {
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return &apply.WriteError{Outcome: apply.Refused, Words: err.Error(), Err: err}
	}
	return writeLost(err)
}

// Denied gives those rights that Forbid has taken; see apply.Guard.
func (c *Cluster) Denied(ctx context.Context, rights []apply.Right) ([]*apply.ForbiddenError, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := c.world
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*apply.ForbiddenError
	seen := map[right]bool{}
	for _, r := range rights {
		gk := schema.GroupKind{Group: r.Group, Kind: r.Kind}
		kind, served := w.kinds[gk]
		if this := (right{r.Verb, gk}); served && w.denied[this] && !seen[this] {
			seen[this] = true
			out = append(out, &apply.ForbiddenError{Verb: r.Verb, Group: r.Group, Resource: kind.Resource(), Namespace: r.Namespace})
		}
	}
	return out, nil
}
