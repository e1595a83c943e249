package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"

	"nodepool/apply"
)

var _ apply.Guard = (*Cluster)(nil)

// Denied asks the server by a SelfSubjectRulesReview for what the caller may do
// in a namespace, once, and by a SelfSubjectAccessReview for each right that
// this does not show: everybody who is logged in may create both, and they are
// not stored (ClusterRole system:basic-user). A right is first asked for all
// names, and for a name only where that is denied. A right to a kind that is not
// served is passed over.
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
	if k.namespaced && r.Namespace != "" && c.rules.of(ctx, c, r.Namespace).allow(r.Verb, k) {
		return nil, nil
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
	review := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: r.Verb, Group: r.Group, Resource: r.Resource, Namespace: r.Namespace, Name: r.Name,
		}},
	}
	var body []byte
	err := c.read(ctx, func(ctx context.Context) (err error) {
		body, err = c.review(ctx, "selfsubjectaccessreviews", review)
		return err
	})
	if err != nil {
		return false, reading("your rights", err)
	}
	var answer struct {
		Status struct{ Allowed *bool }
	}
	if json.Unmarshal(body, &answer) != nil || answer.Status.Allowed == nil {
		return false, fmt.Errorf("the server does not tell whether you may %s %s", r.Verb, r.Resource)
	}
	return *answer.Status.Allowed, nil
}

// rules holds what the caller may do, by namespace.
type rules struct {
	mu  sync.Mutex
	all map[string]func() grants
}

// grants are what the caller may do in a namespace for certain; there may be
// more.
type grants []authorizationv1.ResourceRule

// of asks for the rules of a namespace, the first time. They are empty where the
// server does not tell them, or not all: an authorizer that cannot list what it
// allows may forbid what another one lists (SelfSubjectRulesReview, incomplete).
func (r *rules) of(ctx context.Context, c *Cluster, namespace string) grants {
	r.mu.Lock()
	ask := r.all[namespace]
	if ask == nil {
		ask = sync.OnceValue(func() grants {
			review := &authorizationv1.SelfSubjectRulesReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectRulesReview"},
				Spec:     authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace},
			}
			ctx, cancel := context.WithTimeout(ctx, userTimeout)
			defer cancel()
			answer, err := c.review(ctx, "selfsubjectrulesreviews", review)
			if err != nil || json.Unmarshal(answer, review) != nil || review.Status.Incomplete {
				return nil
			}
			return review.Status.ResourceRules
		})
		if r.all == nil {
			r.all = map[string]func() grants{}
		}
		r.all[namespace] = ask
	}
	r.mu.Unlock()
	return ask()
}

// allow reports whether a verb on all objects of a kind is among g.
func (g grants) allow(verb string, k kind) bool {
	has := func(list []string, one string) bool { return slices.Contains(list, one) || slices.Contains(list, "*") }
	return slices.ContainsFunc(g, func(r authorizationv1.ResourceRule) bool {
		return has(r.Verbs, verb) && has(r.APIGroups, k.resource.Group) && has(r.Resources, k.resource.Resource) && len(r.ResourceNames) == 0
	})
}

// review posts a question that is stored nowhere, and gives the answer.
func (c *Cluster) review(ctx context.Context, resource string, question any) (answer []byte, err error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	return c.requests.Post().AbsPath("apis", "authorization.k8s.io", "v1", resource).
		SetHeader("Content-Type", "application/json").Body(body).MaxRetries(0).Do(ctx).Raw()
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

// userTimeout bounds the questions for which nothing waits long: who the caller
// is, and what the rules are.
const userTimeout = 5 * time.Second
