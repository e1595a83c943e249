package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/json"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// ErrStopped is what Next of a stopped feed gives.
var ErrStopped = errors.New("the feed was stopped")

// Feed is the apply.Feed of a Cluster.
//
// Next goes on waiting when the server is away: the informers behind it come
// back by themselves, and list again only when their place is lost. Trouble
// says why nothing comes meanwhile.
type Feed struct {
	sources   *sources
	selectors []plan.Selector
	keys      []plan.Selector // in the order of selectors

	ended <-chan struct{}
	end   context.CancelFunc
	woken chan struct{} // holds one token when something has changed

	gather time.Duration // see Gather

	mu    sync.Mutex // the informers ask, and Trouble, while Next is at work
	notes []string   // why a selector is left out
	given bool
	// anew says that the next snapshot has to be made from all that the informers
	// hold; otherwise it is the last one with what has changed, newer forms of the
	// same objects.
	anew    bool
	changed map[plan.Ref]change
	last    plan.Snapshot
	held    int // objects of last

	// near are the keys of capi.Belonging that the last snapshot rests on, and
	// looking says that the next is being made from all; guarded by sources.mu.
	near    []string
	looking bool
}

// change is the newer form of an object, of the selector with that number.
type change struct {
	selector int
	object   *capi.Packed
}

var _ apply.Feed = (*Feed)(nil)

// sources are the informers of a Cluster, by what they select. Feeds that select
// the same share one: 50 pools of a cluster are followed by 6 watches.
type sources struct {
	mu sync.Mutex
	// byKey holds those for the same objects, the oldest first. There is more than
	// one while a new one is to take the place of the others.
	byKey map[plan.Selector][]*source
	// near holds the feeds by the keys that their last snapshots rest on, and
	// looking those that look at all again, to which any change may matter.
	near    map[string][]*Feed
	looking map[*Feed]bool
}

// looks begins or ends a look of a feed at all that is kept; near are the keys of
// capi.Belonging that its snapshot rests on then.
func (all *sources) looks(f *Feed, looking bool, near []string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.near == nil {
		all.near, all.looking = map[string][]*Feed{}, map[*Feed]bool{}
	}
	delete(all.looking, f)
	for _, key := range f.near {
		left := slices.DeleteFunc(all.near[key], func(other *Feed) bool { return other == f })
		if all.near[key] = left; len(left) == 0 {
			delete(all.near, key)
		}
	}
	f.near, f.looking = nil, false
	select {
	case <-f.ended:
		return // and nothing is to be left of it
	default:
	}
	if f.near, f.looking = near, looking; looking {
		all.looking[f] = true
	}
	for _, key := range near {
		all.near[key] = append(all.near[key], f)
	}
}

// fresh is how old a source may be to be shared by a new feed: waits that begin
// together share it, and one that looks anew, since nothing came for long, has
// the cluster listed again. Then all that share the old one go over to the new.
const fresh = 5 * time.Second

// keyOf gives what tells sources apart. Which pool a list is for does not.
func keyOf(s plan.Selector) plan.Selector {
	s.Optional = false
	if !s.Pool.IsZero() {
		s.Pool = plan.Ref{Kind: "MachineDeployment"}
	}
	return s
}

// source is the informer of what feeds select.
type source struct {
	key      plan.Selector
	kind     kind
	begun    time.Time
	patience time.Duration // after which its first content is late
	informer cache.SharedIndexInformer
	stop     context.CancelFunc
	of       *sources
	feeds    map[*Feed]bool // guarded by of.mu

	mu       sync.Mutex
	watching bool  // a watch has begun
	trouble  error // what the last request came to
}

// Watch keeps the answers to selectors up to date; see apply.Cluster. It
// returns once every informer has its first content, or after about 20 seconds:
// then the feed waits for the rest. A missing right and a kind that is not
// served are errors as in Fetch. Feeds that begin together share informers.
func (c *Cluster) Watch(ctx context.Context, selectors []plan.Selector) (apply.Feed, error) {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	f := &Feed{
		sources:   &c.sources,
		selectors: slices.Clone(selectors),
		keys:      make([]plan.Selector, len(selectors)),
		notes:     make([]string, len(selectors)),
		end:       cancel,
		ended:     ctx.Done(),
		woken:     make(chan struct{}, 1),
	}
	var problems []error
	kinds := make([]kind, len(selectors))
	for i, s := range f.selectors {
		var err error
		f.keys[i] = keyOf(s)
		kinds[i], err = c.kinds.find(ctx, groupKind(s), s.APIVersion)
		switch {
		case err == nil:
		case s.Optional && leavesOut(err):
			f.notes[i] = err.Error()
		default:
			problems = append(problems, err)
		}
	}
	if err := summary(problems); err != nil {
		cancel()
		return nil, err
	}
	context.AfterFunc(ctx, f.leave)
	for i, s := range f.selectors {
		if f.notes[i] != "" {
			continue
		}
		if err := c.join(outer, f, s, kinds[i]); err != nil {
			cancel()
			return nil, cmp.Or(outer.Err(), err)
		}
	}
	if err := f.settle(ctx, c.patience.start); err != nil {
		cancel()
		return nil, err
	}
	return f, nil
}

// join gives the feed the source of a selector, which it starts if there is none
// that is fresh.
func (c *Cluster) join(ctx context.Context, f *Feed, s plan.Selector, k kind) error {
	all, key := &c.sources, keyOf(s)
	all.mu.Lock()
	defer all.mu.Unlock()
	select {
	case <-f.ended:
		return ErrStopped // and has left what it had joined
	default:
	}
	list := all.byKey[key]
	if n := len(list); n > 0 && time.Since(list[n-1].begun) < fresh {
		list[n-1].feeds[f] = true
		return nil
	}
	out, err := c.source(key, k)
	if err != nil {
		return err
	}
	for _, old := range list {
		maps.Copy(out.feeds, old.feeds)
	}
	out.feeds[f] = true
	if all.byKey == nil {
		all.byKey = map[plan.Selector][]*source{}
	}
	all.byKey[key] = append(list, out)
	// It outlives the feed that it was begun for, if others share it.
	ctx, out.stop = context.WithCancel(context.WithoutCancel(ctx))
	go out.informer.RunWithContext(ctx)
	return nil
}

// leave takes a feed away from all that it shares, or from the sources for keys.
func (all *sources) leave(f *Feed, keys ...plan.Selector) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for key, list := range all.byKey {
		if len(keys) == 0 || slices.Contains(keys, key) {
			all.drop(f, key, list)
		}
	}
}

// drop takes a feed away from sources of one key, and ends those that are left
// without one.
func (all *sources) drop(f *Feed, key plan.Selector, from []*source) {
	for _, s := range from {
		if delete(s.feeds, f); len(s.feeds) == 0 {
			s.stop()
		}
	}
	left := slices.DeleteFunc(slices.Clone(all.byKey[key]), func(s *source) bool { return len(s.feeds) == 0 })
	if all.byKey[key] = left; len(left) == 0 {
		delete(all.byKey, key)
	}
}

// current gives the source that a feed goes by: the newest that is ready, or else
// the newest. It leaves the older ones.
func (all *sources) current(f *Feed, key plan.Selector) *source {
	list := all.byKey[key]
	if len(list) == 1 && list[0].feeds[f] {
		return list[0]
	}
	var own []*source
	for _, s := range list {
		if s.feeds[f] {
			own = append(own, s)
		}
	}
	for i := len(own) - 1; i >= 0; i-- {
		if own[i].ready() {
			all.drop(f, key, own[:i])
			return own[i]
		}
	}
	if len(own) == 0 {
		return nil // it has just been stopped
	}
	return own[len(own)-1]
}

// poolIndex is the index of capi.Keys, but for the identity of an object, by which
// a store keeps it anyway.
const poolIndex = "pool"

// source makes the informer of a key; it does not start it.
func (c *Cluster) source(key plan.Selector, k kind) (*source, error) {
	out := &source{key: key, kind: k, begun: time.Now(), patience: c.patience.start, of: &c.sources, feeds: map[*Feed]bool{}}
	selected := listOptions(key)
	narrow := func(o *metav1.ListOptions) {
		o.FieldSelector, o.LabelSelector = selected.FieldSelector, selected.LabelSelector
	}
	keep := func(o *unstructured.Unstructured) *capi.Packed {
		slim(o)
		return capi.Whole(o)
	}
	lean := slim
	indexers := cache.Indexers{}
	if !key.Pool.IsZero() {
		keep = c.slimmer.PackForJudge
		lean = func(o *unstructured.Unstructured) { *o = *c.slimmer.Slim(o) }
		indexers[poolIndex] = func(o any) ([]string, error) {
			kept, ok := o.(*capi.Packed)
			if !ok {
				return nil, nil
			}
			return slices.DeleteFunc(kept.Keys(), func(key string) bool { _, is := capi.Identity(key); return is }), nil
		}
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			narrow(&o)
			if o.ResourceVersion == "0" {
				// A reflector is content with what a server has cached, however old:
				// a server that lags behind would show the world as it was before our
				// own patch.
				o.ResourceVersion = ""
			}
			body, err := c.requests.Get().AbsPath(k.path(key.Namespace, "")...).
				SpecificallyVersionedParams(&o, metav1.ParameterCodec, metav1.SchemeGroupVersion).Stream(ctx)
			if err != nil {
				out.failed("list", err)
				return nil, err
			}
			defer body.Close()
			list := &unstructured.UnstructuredList{}
			got, err := readPage(body, false, func(item map[string]any) {
				u := unstructured.Unstructured{Object: item}
				lean(&u) // before the next one comes
				list.Items = append(list.Items, u)
			})
			if err != nil {
				out.failed("list", err)
				return nil, err
			}
			list.SetResourceVersion(got.ResourceVersion)
			list.SetContinue(got.Continue)
			list.SetRemainingItemCount(got.RemainingItemCount)
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			narrow(&o)
			o.Watch = true
			body, err := c.requests.Get().AbsPath(k.path(key.Namespace, "")...).
				SpecificallyVersionedParams(&o, metav1.ParameterCodec, metav1.SchemeGroupVersion).Stream(ctx)
			if err != nil {
				// Where the first content was asked for with the watch, a reflector
				// goes on with a list, except after what triedAgain tells of.
				if o.SendInitialEvents == nil || !*o.SendInitialEvents || triedAgain(err) {
					out.failed("watch", err)
				}
				return nil, err
			}
			out.watches()
			return watch.NewStreamWatcher(events{body, json.NewDecoderCaseSensitivePreserveInts(body), key},
				apierrors.NewClientErrorReporter(http.StatusInternalServerError, http.MethodGet, "ClientWatchDecoding")), nil
		},
	}
	out.informer = cache.NewSharedIndexInformerWithOptions(lw, &unstructured.Unstructured{}, cache.SharedIndexInformerOptions{Indexers: indexers})
	err := out.informer.SetTransform(func(o any) (any, error) {
		if u, ok := o.(*unstructured.Unstructured); ok {
			return keep(u), nil
		}
		return o, nil // it is kept already
	})
	if err != nil {
		return nil, err
	}
	err = out.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		// What the requests said is noted above; what remains is a watch that
		// broke, and the next try tells whether that is trouble.
	})
	if err != nil {
		return nil, err
	}
	_, err = out.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { out.changed(nil, o) },
		UpdateFunc: func(old, o any) { out.changed(old, o) },
		DeleteFunc: func(o any) { out.changed(o, nil) },
	})
	return out, err
}

// under gives what the informer keeps under a key of capi.Belonging.
func (s *source) under(key string) []any {
	is, ok := capi.Identity(key)
	if !ok {
		items, _ := s.informer.GetIndexer().ByIndex(poolIndex, key) // which all of these have
		return items
	}
	if is.Group != s.key.Group || is.Kind != s.key.Kind {
		return nil
	}
	item, there, _ := s.informer.GetStore().GetByKey(cache.NewObjectName(is.Namespace, is.Name).String())
	if !there {
		return nil
	}
	return []any{item}
}

// events reads the changes of a watch. The dynamic client's own decoder goes
// through the bytes of each change again and again; this one does so twice, and
// passes over what would be dropped: see slim.
type events struct {
	body    io.Closer
	decoder json.Decoder
	key     plan.Selector
}

// changeOf is what comes of a watch, with an object of type O.
type changeOf[O any] struct {
	Type   watch.EventType `json:"type"`
	Object O               `json:"object"`
}

func (e events) Decode() (watch.EventType, runtime.Object, error) {
	var kind watch.EventType
	var object map[string]any
	var err error
	switch {
	case e.key.Pool.IsZero():
		var got changeOf[map[string]any]
		err = e.decoder.Decode(&got)
		kind, object = got.Type, got.Object
	case e.key.Group == bootstrapGroup:
		var got changeOf[member]
		err = e.decoder.Decode(&got)
		kind, object = got.Type, got.Object.object()
	default:
		var got changeOf[struct {
			member
			Spec any `json:"spec"`
		}]
		err = e.decoder.Decode(&got)
		kind, object = got.Type, got.Object.object()
		put(object, "spec", got.Object.Spec)
	}
	switch {
	case err != nil:
		return "", nil, err
	case object["kind"] == nil:
		return "", nil, errors.New("the server sent a change without an object")
	}
	return kind, &unstructured.Unstructured{Object: object}, nil
}

func (e events) Close() { _ = e.body.Close() }

// member is an object of a rollout without its managed fields and its spec, or the
// Status by which a server ends a watch.
type member struct {
	APIVersion any `json:"apiVersion"`
	Kind       any `json:"kind"`
	Metadata   struct {
		Name              any `json:"name"`
		Namespace         any `json:"namespace"`
		UID               any `json:"uid"`
		ResourceVersion   any `json:"resourceVersion"`
		Generation        any `json:"generation"`
		CreationTimestamp any `json:"creationTimestamp"`
		DeletionTimestamp any `json:"deletionTimestamp"`
		Labels            any `json:"labels"`
		Annotations       any `json:"annotations"`
		Finalizers        any `json:"finalizers"`
		OwnerReferences   any `json:"ownerReferences"`
	} `json:"metadata"`
	Status  any `json:"status"`
	Message any `json:"message"`
	Reason  any `json:"reason"`
	Details any `json:"details"`
	Code    any `json:"code"`
}

func (m *member) object() map[string]any {
	metadata, out := map[string]any{}, map[string]any{}
	from := &m.Metadata
	put(metadata, "name", from.Name)
	put(metadata, "namespace", from.Namespace)
	put(metadata, "uid", from.UID)
	put(metadata, "resourceVersion", from.ResourceVersion)
	put(metadata, "generation", from.Generation)
	put(metadata, "creationTimestamp", from.CreationTimestamp)
	put(metadata, "deletionTimestamp", from.DeletionTimestamp)
	put(metadata, "labels", from.Labels)
	put(metadata, "annotations", from.Annotations)
	put(metadata, "finalizers", from.Finalizers)
	put(metadata, "ownerReferences", from.OwnerReferences)
	out["metadata"] = metadata
	put(out, "apiVersion", m.APIVersion)
	put(out, "kind", m.Kind)
	put(out, "status", m.Status)
	put(out, "message", m.Message)
	put(out, "reason", m.Reason)
	put(out, "details", m.Details)
	put(out, "code", m.Code)
	return out
}

// put sets what is there.
func put(to map[string]any, key string, value any) {
	if value != nil {
		to[key] = value
	}
}

// triedAgain reports whether a reflector asks for the same watch again after this
// error, for as long as it comes. The rule is isWatchErrorRetriable's, in
// tools/cache/reflector.go of client-go.
func triedAgain(err error) bool {
	return utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)
}

// slim takes out of an object what nothing that watches asks for: managed
// fields, which are half of it, and what a bootstrap config tells a machine,
// which is long and may hold secrets. There is one of these for every machine.
func slim(o *unstructured.Unstructured) {
	unstructured.RemoveNestedField(o.Object, "metadata", "managedFields")
	if kind := o.GroupVersionKind(); kind.Group == bootstrapGroup && !strings.HasSuffix(kind.Kind, "Template") {
		unstructured.RemoveNestedField(o.Object, "spec")
	}
}

// bootstrapGroup is where the bootstrap provider contract of Cluster API puts
// the kinds of its providers.
const bootstrapGroup = "bootstrap.cluster.x-k8s.io"

// changed tells the feeds that this may matter to of an object that is new, gone
// or changed; old is nil for a new one, and now for one that is gone.
func (s *source) changed(old, now any) {
	if gone, ok := old.(cache.DeletedFinalStateUnknown); ok {
		old = gone.Obj
	}
	before, _ := old.(*capi.Packed)
	after, _ := now.(*capi.Packed)
	alike := before != nil && after != nil && capi.SameTies(before, after)
	var keys []string
	if after != nil && !s.key.Pool.IsZero() {
		keys = after.Keys()
	}
	if before != nil && !alike && !s.key.Pool.IsZero() {
		keys = append(keys, before.Keys()...)
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.key.Pool.IsZero() {
		for f := range s.feeds {
			f.take(s, after, alike)
		}
		return
	}
	for f := range s.of.looking {
		if s.feeds[f] {
			f.take(s, after, alike)
		}
	}
	var told *Feed // mostly each key is that of one pool
	for _, key := range keys {
		for _, f := range s.of.near[key] {
			if f != told && s.feeds[f] {
				f.take(s, after, alike)
				told = f
			}
		}
	}
}

// wake wakes all feeds of the source.
func (s *source) wake() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	for f := range s.feeds {
		f.wake()
	}
}

// failed notes what a request came to. An expired place in the history is no
// trouble: the reflector lists again.
func (s *source) failed(verb string, err error) {
	if errors.Is(err, context.Canceled) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	trouble := reading(s.kind.resource.GroupResource().String(), err)
	if apierrors.IsForbidden(err) {
		trouble = forbidden(s.key, verb, s.kind)
	}
	s.mu.Lock()
	s.trouble = trouble
	s.mu.Unlock()
	s.wake()
}

func (s *source) watches() {
	s.mu.Lock()
	s.watching, s.trouble = true, nil
	s.mu.Unlock()
	s.wake()
}

// ready reports whether the first content is complete and is being followed.
func (s *source) ready() bool {
	s.mu.Lock()
	watching := s.watching
	s.mu.Unlock()
	return watching && s.informer.HasSynced()
}

func (s *source) missingRight() *apply.ForbiddenError {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out *apply.ForbiddenError
	if s.watching || !errors.As(s.trouble, &out) {
		return nil
	}
	return out
}

// each gives the current sources, nil for a selector that is left out.
func (f *Feed) each() []*source {
	f.sources.mu.Lock()
	defer f.sources.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*source, len(f.keys))
	for i, key := range f.keys {
		if f.notes[i] == "" {
			out[i] = f.sources.current(f, key)
		}
	}
	return out
}

// settle waits until every source is ready or lacks a right, or until patience
// ends. A source that lacks a right is left out or gives an error.
func (f *Feed) settle(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		undecided := false
		for _, s := range f.each() {
			if s != nil && !s.ready() && s.missingRight() == nil {
				undecided = true
			}
		}
		if !undecided || ctx.Err() != nil {
			break
		}
		f.pause(ctx)
	}
	return f.leaveOut()
}

// leaveOut drops the optional sources that lack a right, and gives an error for
// the others that do.
func (f *Feed) leaveOut() error {
	var problems []error
	for i, s := range f.each() {
		if s == nil {
			continue
		}
		missing := s.missingRight()
		switch {
		case missing == nil:
		case f.selectors[i].Optional:
			f.mu.Lock()
			f.notes[i] = missing.Error()
			f.mu.Unlock()
			f.sources.leave(f, f.keys[i])
		default:
			problems = append(problems, missing)
		}
	}
	return summary(problems)
}

// pause waits for a change. The informers do not tell when they have synced
// without an object, so it does not wait long before that.
func (f *Feed) pause(ctx context.Context) {
	var tick <-chan time.Time
	if !f.given {
		timer := time.NewTimer(20 * time.Millisecond)
		defer timer.Stop()
		tick = timer.C
	}
	select {
	case <-f.woken:
	case <-tick:
	case <-f.ended:
	case <-ctx.Done():
	}
}

func (f *Feed) wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// take takes in that an object has changed that may matter; alike says that now is
// the same object with the same ties. Before there is a snapshot, nobody has to
// be woken: see pause.
func (f *Feed) take(s *source, now *capi.Packed, alike bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.given {
		return
	}
	i := slices.Index(f.keys, s.key)
	if !alike || f.looking || i < 0 {
		f.anew = true
	} else {
		if f.changed == nil {
			f.changed = map[plan.Ref]change{}
		}
		f.changed[now.Ref()] = change{i, now}
	}
	f.wake()
}

// Next gives the next snapshot; see apply.Feed. A right that turns out to be
// missing before the first snapshot is an *apply.ForbiddenError; once the feed
// has given one, it bears everything and waits.
func (f *Feed) Next(ctx context.Context) (plan.Snapshot, error) {
	for {
		if err := ctx.Err(); err != nil {
			return plan.Snapshot{}, err
		}
		select {
		case <-f.ended:
			return plan.Snapshot{}, ErrStopped
		default:
		}
		if !f.given {
			if err := f.leaveOut(); err != nil {
				return plan.Snapshot{}, err
			}
		}
		if f.gather > 0 && f.stirred() {
			f.rest(ctx)
		}
		if s, changed := f.look(); changed {
			return s, nil
		}
		f.pause(ctx)
	}
}

// Gather has Next wait for what changes with a change; see apply.Feed. It is
// called where Next is, and not while Next is at work.
func (f *Feed) Gather(d time.Duration) { f.gather = d }

// stirred reports whether something has changed since the last snapshot.
func (f *Feed) stirred() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.given && (f.anew || len(f.changed) > 0)
}

// rest waits until what changes together has changed.
func (f *Feed) rest(ctx context.Context) {
	timer := time.NewTimer(f.gather)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.ended:
	case <-ctx.Done():
	}
}

// look gives what the informers hold, if it is complete and not what was given
// last.
func (f *Feed) look() (plan.Snapshot, bool) {
	f.mu.Lock()
	changed, anew := f.changed, f.anew || !f.given
	f.changed, f.anew = nil, false
	f.mu.Unlock()
	if anew {
		// What changes from here on is a reason to look again.
		f.sources.looks(f, true, nil)
		return f.lookAtAll(f.each())
	}
	sources := f.each()
	var forms []*capi.Packed
	for ref, c := range changed {
		old, known := f.last.Packed(ref)
		if !known || sameForm(old, c.object) || sources[c.selector] == nil || !f.last.Asked(f.selectors[c.selector]) {
			continue
		}
		if newer(old, c.object) {
			continue // another informer was quicker
		}
		forms = append(forms, c.object)
	}
	if len(forms) == 0 {
		return plan.Snapshot{}, false
	}
	f.last = f.last.Renewed(forms...)
	return f.last, true
}

func (f *Feed) lookAtAll(sources []*source) (plan.Snapshot, bool) {
	for _, s := range sources {
		if s != nil && !f.given && !s.ready() {
			return plan.Snapshot{}, false
		}
	}
	held := make([][]*capi.Packed, len(sources))
	newest := map[plan.Ref]*capi.Packed{}
	take := func(i int, items []any) (taken []*capi.Packed) {
		for _, item := range items {
			if o, ok := item.(*capi.Packed); ok {
				taken = append(taken, o)
				ref := o.Ref()
				if old := newest[ref]; old == nil || newer(o, old) {
					newest[ref] = o
				}
			}
		}
		held[i] = append(held[i], taken...)
		return taken
	}
	var near []string
	pools := map[plan.Ref]bool{}
	for i, s := range sources {
		switch pool := f.selectors[i].Pool; {
		case s == nil:
		case pool.IsZero():
			take(i, s.informer.GetStore().List())
		case !pools[pool]:
			pools[pool] = true
			capi.Belonging(pool, func(key string) (found []*capi.Packed) {
				near = append(near, key)
				for j, s := range sources {
					if s != nil && f.selectors[j].Pool == pool {
						found = append(found, take(j, s.under(key))...)
					}
				}
				return found
			}, (*capi.Packed).Object)
		}
	}
	same := f.given && len(newest) == f.held
	for ref, o := range newest {
		if !same {
			break
		}
		old, known := f.last.Packed(ref)
		same = known && sameForm(old, o)
	}
	defer f.sources.looks(f, false, near) // once what was seen is noted
	f.mu.Lock()
	defer f.mu.Unlock()
	if same {
		return plan.Snapshot{}, false
	}
	parts := make([]plan.Snapshot, len(sources))
	for i, s := range sources {
		if s == nil {
			parts[i] = plan.Snapshot{}.Without(f.selectors[i], f.notes[i])
			continue
		}
		for j, o := range held[i] {
			// Two informers may hold one object, one of them an older form.
			held[i][j] = newest[o.Ref()]
		}
		parts[i] = plan.Snapshot{}.WithPacked(f.selectors[i], held[i]...)
	}
	f.given, f.held, f.last = true, len(newest), merge(parts).Following()
	return f.last, true
}

// sameForm reports whether a and b are the same form of one object.
func sameForm(a, b *capi.Packed) bool {
	return a == b || a.Version() == b.Version() && a.Object().GetUID() == b.Object().GetUID()
}

func newer(a, b *capi.Packed) bool {
	order, err := resourceversion.CompareResourceVersion(a.Version(), b.Version())
	return err == nil && order > 0
}

// Trouble says what keeps the feed from following the cluster at the moment,
// nil when nothing does.
func (f *Feed) Trouble() error {
	var problems []error
	for _, s := range f.each() {
		if s == nil {
			continue
		}
		problems = append(problems, s.troubled())
	}
	return summary(problems)
}

// troubled says what keeps the source from its content. A server that cannot
// fill its cache of a kind takes a watch and then sends nothing, without an
// error: one object that its conversion webhook refuses, in any namespace, is
// enough.
func (s *source) troubled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil && !s.informer.HasSynced() && time.Since(s.begun) > s.patience {
		return fmt.Errorf("%w of %s in %s; its log says why, for example that a conversion webhook refuses an object of that kind in any namespace",
			apply.ErrSilent, s.kind.resource.GroupResource(), s.kind.resource.Version)
	}
	return s.trouble
}

// Stop ends the feed; see apply.Feed.
func (f *Feed) Stop() {
	f.end()
	f.leave()
}

func (f *Feed) leave() {
	f.sources.leave(f)
	f.sources.looks(f, false, nil)
}
