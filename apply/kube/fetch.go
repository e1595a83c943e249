package kube

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/workqueue"

	"nodepool/apply"
	"nodepool/plan"
)

const (
	// pageSize is what kubectl takes at a time.
	pageSize = 500
	// atOnce bounds the reads of one Fetch that are under way together.
	atOnce = 8
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
	workqueue.ParallelizeUntil(ctx, atOnce, len(selectors), func(i int) {
		s := selectors[i]
		found, err := c.fetch(ctx, s)
		switch {
		case err == nil:
			parts[i] = plan.Snapshot{}.With(s, found...)
		case s.Optional && leavesOut(err):
			parts[i] = plan.Snapshot{}.Without(s, err.Error())
		default:
			errs[i] = err
			if !leavesOut(err) {
				cancel() // the others would wait for the same
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

func (c *Cluster) fetch(ctx context.Context, s plan.Selector) ([]*unstructured.Unstructured, error) {
	k, err := c.kinds.find(ctx, groupKind(s), s.APIVersion)
	if err != nil {
		return nil, err
	}
	verb, what := "get", s.Ref.String()
	if s.IsList() {
		verb, what = "list", k.resource.GroupResource().String()
	}
	var found []*unstructured.Unstructured
	if s.IsList() {
		found, err = c.list(ctx, k, s)
	} else {
		found, err = c.get(ctx, k, s)
	}
	switch {
	case err == nil:
		return found, nil
	case apierrors.IsForbidden(err):
		return nil, forbidden(s, verb, k)
	case apierrors.IsUnauthorized(err):
		return nil, fmt.Errorf("the management cluster does not accept the credentials of this kubeconfig context; log in again, or use another context")
	}
	return nil, reading(what, err)
}

func (c *Cluster) get(ctx context.Context, k kind, s plan.Selector) ([]*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	err := c.read(ctx, func(ctx context.Context) error {
		return c.requests.Get().AbsPath(k.path(s.Namespace, s.Name)...).MaxRetries(0).Do(ctx).Into(o)
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []*unstructured.Unstructured{o}, nil
}

func (c *Cluster) list(ctx context.Context, k kind, s plan.Selector) ([]*unstructured.Unstructured, error) {
	options := listOptions(s)
	options.Limit = pageSize
	var out []*unstructured.Unstructured
	for {
		page := &unstructured.UnstructuredList{}
		err := c.read(ctx, func(ctx context.Context) error {
			*page = unstructured.UnstructuredList{}
			return c.requests.Get().AbsPath(k.path(s.Namespace, "")...).
				SpecificallyVersionedParams(&options, metav1.ParameterCodec, metav1.SchemeGroupVersion).
				MaxRetries(0).Do(ctx).Into(page)
		})
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			// The pages that are left are gone: all again, in one piece.
			options.Continue, options.Limit = "", 0
			out = nil
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			out = append(out, &page.Items[i])
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return out, nil
		}
	}
}

// listOptions gives the options that select what s selects.
func listOptions(s plan.Selector) metav1.ListOptions {
	var o metav1.ListOptions
	if !s.IsList() {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", s.Name).String()
	} else if s.Label != "" {
		o.LabelSelector = labels.SelectorFromSet(labels.Set{s.Label: s.LabelValue}).String()
	}
	return o
}
