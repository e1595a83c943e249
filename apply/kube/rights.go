package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"

	"nodepool/apply"
)

var _ apply.Guard = (*Cluster)(nil)

// Denied asks the server by SelfSubjectAccessReviews, which everybody who is
// logged in may create and which are not stored (ClusterRole
// system:basic-user). A right is first asked for all names, and for a name
// only where that is denied. A right to a kind that is not served is passed
// over.
func (c *Cluster) Denied(ctx context.Context, rights []apply.Right) ([]*apply.ForbiddenError, error) {
	var all []apply.Right // without names
	names := map[apply.Right][]string{}
	for _, r := range rights {
		name := r.Name
		r.Name = ""
		if _, seen := names[r]; !seen {
			all = append(all, r)
			names[r] = nil
		}
		if name != "" {
			names[r] = append(names[r], name)
		}
	}
	denied := make([][]*apply.ForbiddenError, len(all))
	errs := make([]error, len(all))
	workqueue.ParallelizeUntil(ctx, atOnce, len(all), func(i int) {
		denied[i], errs[i] = c.denied(ctx, all[i], names[all[i]])
	})
	var out []*apply.ForbiddenError
	for _, d := range denied {
		out = append(out, d...)
	}
	return out, errors.Join(append(errs, ctx.Err())...)
}

// denied asks for one right, to all objects and then to those of names.
func (c *Cluster) denied(ctx context.Context, r apply.Right, names []string) ([]*apply.ForbiddenError, error) {
	k, err := c.kinds.find(ctx, schema.GroupKind{Group: r.Group, Kind: r.Kind}, "")
	var forbidden *apply.ForbiddenError
	switch {
	case errors.As(err, &forbidden):
		return []*apply.ForbiddenError{forbidden}, nil
	case notServed(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	whole := &apply.ForbiddenError{Verb: r.Verb, Group: r.Group, Resource: k.resource.Resource, Namespace: r.Namespace}
	if !k.namespaced {
		whole.Namespace = ""
	}
	if ok, err := c.allowed(ctx, whole); ok || err != nil {
		return nil, err
	}
	var out []*apply.ForbiddenError
	for _, name := range names {
		one := *whole
		one.Name = name
		ok, err := c.allowed(ctx, &one)
		if err != nil {
			return nil, err
		}
		if !ok {
			out = append(out, &one)
		}
	}
	if len(out) == len(names) {
		return []*apply.ForbiddenError{whole}, nil
	}
	return out, nil
}

// allowed asks whether the caller has the right that r says is missing.
func (c *Cluster) allowed(ctx context.Context, r *apply.ForbiddenError) (bool, error) {
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1",
		"kind":       "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]any{
			"verb": r.Verb, "group": r.Group, "resource": r.Resource, "namespace": r.Namespace, "name": r.Name,
		}},
	}}
	answer := &unstructured.Unstructured{}
	err := c.read(ctx, func(ctx context.Context) error {
		return c.requests.Post().AbsPath("apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews").
			Body(review).MaxRetries(0).Do(ctx).Into(answer)
	})
	if err != nil {
		return false, reading("your rights", err)
	}
	allowed, found, err := unstructured.NestedBool(answer.Object, "status", "allowed")
	if err != nil || !found {
		return false, fmt.Errorf("the server does not tell whether you may %s %s", r.Verb, r.Resource)
	}
	return allowed, nil
}

// User gives the name by which the cluster knows the caller, by a
// SelfSubjectReview (authentication.k8s.io/v1, Kubernetes v1.28 and later),
// which everybody who is known may ask and which is stored nowhere. It is asked
// once: who it is serves people, and nothing waits for it.
func (c *Cluster) User(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, userTimeout)
	defer cancel()
	answer := &unstructured.Unstructured{}
	err := c.requests.Post().AbsPath("apis", "authentication.k8s.io", "v1", "selfsubjectreviews").
		Body(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}}).
		MaxRetries(0).Do(ctx).Into(answer)
	if err != nil {
		return "", reading("your name", err)
	}
	name, _, err := unstructured.NestedString(answer.Object, "status", "userInfo", "username")
	return name, err
}

// userTimeout bounds the question who the caller is.
const userTimeout = 5 * time.Second
