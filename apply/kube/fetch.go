package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/util/workqueue"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

const (
	// pageSize is what kubectl takes at a time.
	pageSize = 500
	// atOnce bounds the reads of one Fetch that are under way together.
	atOnce = 8
	// poolsPageSize is for lists of some pools' objects: the server looks through
	// all others for each page, the one that ends the list too.
	poolsPageSize = 5000
)

// Fetch answers selectors; see apply.Reader. All missing rights and kinds are
// told together: as *apply.ForbiddenError and *NotServedError in the chain of
// one error. A server that does not answer is waited for, up to about 20
// seconds for each request.
func (c *Cluster) Fetch(ctx context.Context, selectors []plan.Selector) (plan.Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make([]plan.Snapshot, len(selectors))
	errs := make([]error, len(selectors))
	one := func(i int) {
		s := selectors[i]
		found, err := c.fetch(ctx, s)
		switch {
		case err == nil:
			parts[i] = plan.Snapshot{}.WithPacked(s, found...)
		case s.Optional && leavesOut(err):
			parts[i] = plan.Snapshot{}.Without(s, err.Error())
		default:
			errs[i] = err
			if !leavesOut(err) {
				cancel() // the others would wait for the same
			}
		}
	}
	batches := batched(selectors)
	workqueue.ParallelizeUntil(ctx, atOnce, len(batches), func(b int) {
		batch := batches[b]
		if len(batch) == 1 {
			one(batch[0])
			return
		}
		found, ok := c.together(ctx, selectors[batch[0]], len(batch))
		if !ok {
			workqueue.ParallelizeUntil(ctx, atOnce, len(batch), func(i int) { one(batch[i]) })
			return
		}
		for _, i := range batch {
			if o := found[selectors[i].Name]; o != nil {
				parts[i] = plan.Snapshot{}.WithPacked(selectors[i], o)
			} else {
				parts[i] = plan.Snapshot{}.With(selectors[i])
			}
		}
	})
	if err := summary(errs); err != nil {
		return plan.Snapshot{}, err
	}
	if err := ctx.Err(); err != nil {
		return plan.Snapshot{}, err
	}
	return merge(parts), nil
}

// batched gives the indexes of selectors, those together that ask for more than
// atOnce objects of one kind in one namespace by name.
func batched(selectors []plan.Selector) [][]int {
	kinds := map[plan.Selector][]int{}
	key := func(s plan.Selector) plan.Selector {
		s.Name = ""
		return s
	}
	for i, s := range selectors {
		if !s.IsList() && s.Namespace != "" {
			kinds[key(s)] = append(kinds[key(s)], i)
		}
	}
	var out [][]int
	for i, s := range selectors {
		switch same := kinds[key(s)]; {
		case s.IsList() || len(same) <= atOnce:
			out = append(out, []int{i})
		case same[0] == i:
			out = append(out, same)
		}
	}
	return out
}

// together lists the objects of the kind and namespace of s, by name, in place of
// that many reads of single ones. It reports false where that would take more
// requests than the single reads, and where it fails, for want of a right or for
// any other reason: then those tell.
func (c *Cluster) together(ctx context.Context, s plan.Selector, reads int) (map[string]*capi.Packed, bool) {
	k, err := c.kinds.find(ctx, groupKind(s), s.APIVersion)
	if err != nil {
		return nil, false
	}
	s.Name = ""
	found := map[string]*capi.Packed{}
	var slimmer capi.Slimmer
	share := func(o *unstructured.Unstructured) *capi.Packed { return capi.Whole(slimmer.Share(o)) }
	err = c.pages(ctx, k, s, share, func(items []*capi.Packed, got page) error {
		if got.RemainingItemCount != nil && *got.RemainingItemCount/pageSize >= int64(reads) {
			return errTooMany
		}
		for _, o := range items {
			found[o.Ref().Name] = o
		}
		return nil
	}, func() { clear(found) })
	return found, err == nil
}

var errTooMany = errors.New("too many pages")

// leavesOut reports whether err is one that an optional selector bears.
func leavesOut(err error) bool {
	var forbidden *apply.ForbiddenError
	return errors.As(err, &forbidden) || notServed(err)
}

// summary joins errs, the same words once. An error that came of ending the
// others is left out beside its cause.
func summary(errs []error) error {
	var out []error
	seen := map[string]bool{}
	ended := error(nil)
	for _, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled):
			ended = err
		case !seen[err.Error()]:
			seen[err.Error()] = true
			out = append(out, err)
		}
	}
	if len(out) == 0 {
		return ended
	}
	return errors.Join(out...)
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

func (c *Cluster) fetch(ctx context.Context, s plan.Selector) ([]*capi.Packed, error) {
	k, likely := c.kinds.likely(s)
	if likely {
		found, err := c.fetchAs(ctx, k, s)
		if err == nil {
			c.kinds.wasRead(groupKind(s), k)
		}
		if !apierrors.IsNotFound(err) {
			return found, c.notFetched(err, k, s)
		}
		// There is no such object, or no such kind in this version.
	}
	served, err := c.kinds.find(ctx, groupKind(s), s.APIVersion)
	if err != nil {
		return nil, err
	}
	if likely && served == k && !s.IsList() {
		return nil, nil
	}
	found, err := c.fetchAs(ctx, served, s)
	if apierrors.IsNotFound(err) && !s.IsList() {
		return nil, nil
	}
	return found, c.notFetched(err, served, s)
}

// fetchAs reads what s selects through a kind as it is served.
func (c *Cluster) fetchAs(ctx context.Context, k kind, s plan.Selector) ([]*capi.Packed, error) {
	if s.IsList() {
		return c.list(ctx, k, s)
	}
	o := &unstructured.Unstructured{}
	err := c.read(ctx, func(ctx context.Context) error {
		return c.requests.Get().AbsPath(k.path(s.Namespace, s.Name)...).MaxRetries(0).Do(ctx).Into(o)
	})
	if err != nil {
		return nil, err
	}
	return []*capi.Packed{capi.Whole(o)}, nil
}

// notFetched words the error of a read, if it is one.
func (c *Cluster) notFetched(err error, k kind, s plan.Selector) error {
	verb, what := "get", s.Ref.String()
	if s.IsList() {
		verb, what = "list", k.resource.GroupResource().String()
	}
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return forbidden(s, verb, k)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the management cluster does not accept the credentials of this kubeconfig context; log in again, or use another context")
	}
	return reading(what, err)
}

func (c *Cluster) list(ctx context.Context, k kind, s plan.Selector) ([]*capi.Packed, error) {
	var out []*capi.Packed
	var slimmer capi.Slimmer
	keep := func(o *unstructured.Unstructured) *capi.Packed { return capi.Whole(slimmer.Share(o)) }
	if s.Slim {
		keep = slimmer.Pack
	}
	err := c.pages(ctx, k, s, keep, func(items []*capi.Packed, _ page) error {
		out = append(out, items...)
		return nil
	}, func() { out = nil })
	return out, err
}

// pages reads a list page by page and gives each to take, its objects as keep
// keeps them. When all begins anew, it calls anew. An error of take ends it.
func (c *Cluster) pages(ctx context.Context, k kind, s plan.Selector, keep func(*unstructured.Unstructured) *capi.Packed,
	take func([]*capi.Packed, page) error, anew func()) error {
	options := listOptions(s)
	options.Limit = pageSize
	if s.Pools != "" {
		options.Limit = poolsPageSize
	}
	managed := s.Kind == "MachineDeployment" // which alone is asked for its field managers
	for {
		var got page
		var items []*capi.Packed
		err := c.read(ctx, func(ctx context.Context) (err error) {
			body, err := c.requests.Get().AbsPath(k.path(s.Namespace, "")...).
				SpecificallyVersionedParams(&options, metav1.ParameterCodec, metav1.SchemeGroupVersion).
				MaxRetries(0).Stream(ctx)
			if err != nil {
				return err
			}
			defer body.Close()
			items = nil
			got, err = readPage(body, managed, func(item map[string]any) {
				if item["kind"] == nil { // as in the lists of Kubernetes' own kinds
					item["apiVersion"], item["kind"] = k.resource.GroupVersion().String(), s.Kind
				}
				items = append(items, keep(&unstructured.Unstructured{Object: item}))
			})
			return err
		})
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			// The pages that are left are gone: all again, in one piece.
			options.Continue, options.Limit = "", 0
			anew()
			continue
		}
		if err != nil {
			return err
		}
		if err := take(items, got); err != nil {
			return err
		}
		if options.Continue = got.Continue; options.Continue == "" {
			return nil
		}
	}
}

// listOptions gives the options that select what s selects.
func listOptions(s plan.Selector) metav1.ListOptions {
	var o metav1.ListOptions
	if !s.IsList() {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", s.Name).String()
		return o
	}
	selector := labels.Everything()
	if s.Label != "" {
		selector = labels.SelectorFromSet(labels.Set{s.Label: s.LabelValue})
	}
	if s.Pools != "" {
		if among, err := labels.NewRequirement(capi.DeploymentNameLabel, selection.In, strings.Split(s.Pools, ",")); err == nil {
			selector = selector.Add(*among)
		}
	}
	o.LabelSelector = selector.String()
	return o
}
