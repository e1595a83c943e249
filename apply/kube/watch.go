package kube

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

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
	selectors []plan.Selector
	sources   []*source  // in the order of selectors; nil where one is left out
	notes     []string   // why it is
	mu        sync.Mutex // for Trouble: Next may leave sources out meanwhile

	cancel  context.CancelFunc
	ended   <-chan struct{}
	woken   chan struct{} // holds one token when something has changed
	given   bool
	content map[plan.Ref]string
}

var _ apply.Feed = (*Feed)(nil)

// source is the informer of one selector.
type source struct {
	selector plan.Selector
	kind     kind
	informer cache.SharedIndexInformer
	stop     context.CancelFunc
	wake     func()

	mu       sync.Mutex
	watching bool  // a watch has begun
	trouble  error // what the last request came to
}

// Watch keeps the answers to selectors up to date; see apply.Cluster. It
// returns once every informer has its first content, or after about 20 seconds:
// then the feed waits for the rest. A missing right and a kind that is not
// served are errors as in Fetch.
func (c *Cluster) Watch(ctx context.Context, selectors []plan.Selector) (apply.Feed, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &Feed{
		selectors: slices.Clone(selectors),
		sources:   make([]*source, len(selectors)),
		notes:     make([]string, len(selectors)),
		cancel:    cancel,
		ended:     ctx.Done(),
		woken:     make(chan struct{}, 1),
	}
	var problems []error
	for i, s := range f.selectors {
		k, err := c.kinds.find(ctx, groupKind(s), s.APIVersion)
		switch {
		case err == nil:
			f.sources[i], err = c.source(s, k, f.wake)
			if err != nil {
				problems = append(problems, err)
			}
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
	for _, s := range f.sources {
		if s == nil {
			continue
		}
		var own context.Context
		own, s.stop = context.WithCancel(ctx)
		go func() {
			s.informer.RunWithContext(own)
		}()
	}
	if err := f.settle(ctx, c.patience.start); err != nil {
		cancel()
		return nil, err
	}
	return f, nil
}

// source makes the informer of a selector; it does not start it.
func (c *Cluster) source(s plan.Selector, k kind, wake func()) (*source, error) {
	out := &source{selector: s, kind: k, wake: wake}
	var client dynamic.ResourceInterface = c.dynamic.Resource(k.resource)
	if k.namespaced && s.Namespace != "" {
		client = c.dynamic.Resource(k.resource).Namespace(s.Namespace)
	}
	selected := listOptions(s)
	narrow := func(o *metav1.ListOptions) {
		o.FieldSelector, o.LabelSelector = selected.FieldSelector, selected.LabelSelector
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
			list, err := client.List(ctx, o)
			if err != nil {
				out.failed("list", err)
				return nil, err
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			narrow(&o)
			w, err := client.Watch(ctx, o)
			if err != nil {
				if o.SendInitialEvents == nil || !*o.SendInitialEvents {
					out.failed("watch", err)
				} // otherwise the reflector goes on with a list
				return nil, err
			}
			out.watches()
			return w, nil
		},
	}
	out.informer = cache.NewSharedIndexInformerWithOptions(lw, &unstructured.Unstructured{}, cache.SharedIndexInformerOptions{})
	err := out.informer.SetTransform(func(o any) (any, error) {
		if u, ok := o.(*unstructured.Unstructured); ok {
			slim(u)
		}
		return o, nil
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
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(any) { wake() },
	})
	return out, err
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

// failed notes what a request came to. An expired place in the history is no
// trouble: the reflector lists again.
func (s *source) failed(verb string, err error) {
	if errors.Is(err, context.Canceled) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if apierrors.IsForbidden(err) {
		s.trouble = forbidden(s.selector, verb, s.kind)
	} else {
		s.trouble = reading(s.kind.resource.GroupResource().String(), err)
	}
	s.wake()
}

func (s *source) watches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching, s.trouble = true, nil
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

// settle waits until every source is ready or lacks a right, or until patience
// ends. A source that lacks a right is left out or gives an error.
func (f *Feed) settle(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		undecided := false
		for _, s := range f.sources {
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
	for i, s := range f.sources {
		if s == nil {
			continue
		}
		missing := s.missingRight()
		switch {
		case missing == nil:
		case s.selector.Optional:
			s.stop()
			f.mu.Lock()
			f.sources[i], f.notes[i] = nil, missing.Error()
			f.mu.Unlock()
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
		if s, changed := f.look(); changed {
			return s, nil
		}
		f.pause(ctx)
	}
}

// look gives what the informers hold, if it is complete and not what was given
// last.
func (f *Feed) look() (plan.Snapshot, bool) {
	held := make([][]*unstructured.Unstructured, len(f.sources))
	newest := map[plan.Ref]*unstructured.Unstructured{}
	for i, s := range f.sources {
		if s == nil {
			continue
		}
		if !f.given && !s.ready() {
			return plan.Snapshot{}, false
		}
		for _, item := range s.informer.GetStore().List() {
			o, ok := item.(*unstructured.Unstructured)
			if !ok {
				continue
			}
			held[i] = append(held[i], o)
			ref := capi.RefOf(o)
			if old := newest[ref]; old == nil || newer(o, old) {
				newest[ref] = o
			}
		}
	}
	content := make(map[plan.Ref]string, len(newest))
	for ref, o := range newest {
		content[ref] = string(o.GetUID()) + "@" + o.GetResourceVersion()
	}
	if f.given && maps.Equal(content, f.content) {
		return plan.Snapshot{}, false
	}
	parts := make([]plan.Snapshot, len(f.sources))
	for i, s := range f.sources {
		if s == nil {
			parts[i] = plan.Snapshot{}.Without(f.selectors[i], f.notes[i])
			continue
		}
		for j, o := range held[i] {
			// Two informers may hold one object, one of them an older form.
			held[i][j] = newest[capi.RefOf(o)]
		}
		parts[i] = plan.Snapshot{}.With(f.selectors[i], held[i]...)
	}
	f.given, f.content = true, content
	return merge(parts), true
}

func newer(a, b *unstructured.Unstructured) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && order > 0
}

// Trouble says what keeps the feed from following the cluster at the moment,
// nil when nothing does.
func (f *Feed) Trouble() error {
	f.mu.Lock()
	sources := slices.Clone(f.sources)
	f.mu.Unlock()
	var problems []error
	for _, s := range sources {
		if s == nil {
			continue
		}
		s.mu.Lock()
		problems = append(problems, s.trouble)
		s.mu.Unlock()
	}
	return summary(problems)
}

// Stop ends the feed; see apply.Feed.
func (f *Feed) Stop() { f.cancel() }
