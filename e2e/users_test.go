//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
)

var (
	roles               = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}
	roleBindings        = roles.GroupVersion().WithResource("rolebindings")
	clusterRoles        = roles.GroupVersion().WithResource("clusterroles")
	clusterRoleBindings = roles.GroupVersion().WithResource("clusterrolebindings")
)

// as gives the command line of another user: of nobody but that name, so that
// the rights that are bound to it are all it has.
func (c cli) as(t *testing.T, user string) cli {
	t.Helper()
	config, err := clientcmd.LoadFromFile(c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, auth := range config.AuthInfos {
		auth.Impersonate = user
	}
	c.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, c.kubeconfig); err != nil {
		t.Fatal(err)
	}
	c.home = t.TempDir()
	return c
}

// shippedRoles gives the ClusterRoles of deploy/rbac.yaml by name.
var shippedRoles = sync.OnceValues(func() (map[string]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(filepath.Join("..", "deploy", "rbac.yaml"))
	if err != nil {
		return nil, err
	}
	out := map[string]*unstructured.Unstructured{}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		out[o.GetName()] = o
	}
})

// right is a verb on a resource, as a role allows it.
type right struct{ Group, Resource, Verb string }

// rightsOf gives the rights of a shipped role one by one.
func rightsOf(t *testing.T, role string) []right {
	t.Helper()
	all, err := shippedRoles()
	if err != nil {
		t.Fatal(err)
	}
	if all[role] == nil {
		t.Fatalf("deploy/rbac.yaml has no role %s", role)
	}
	rules, _, err := unstructured.NestedSlice(all[role].Object, "rules")
	if err != nil {
		t.Fatal(err)
	}
	var out []right
	for _, rule := range rules {
		list := func(field string) []string {
			values, _, err := unstructured.NestedStringSlice(rule.(map[string]any), field)
			if err != nil {
				t.Fatal(err)
			}
			return values
		}
		for _, group := range list("apiGroups") {
			for _, resource := range list("resources") {
				for _, verb := range list("verbs") {
					out = append(out, right{group, resource, verb})
				}
			}
		}
	}
	return out
}

// without gives rights without one of them.
func without(rights []right, left right) []right {
	return slices.DeleteFunc(slices.Clone(rights), func(r right) bool { return r == left })
}

// definitions is the role that is bound in the whole cluster.
const definitions = "nodepool-definitions"

// bind gives a user rights in a namespace, and with an empty one in the whole
// cluster.
func (s *sandbox) bind(t *testing.T, namespace, user string, rights []right) {
	t.Helper()
	if len(rights) == 0 {
		return
	}
	var rules []any
	for _, r := range rights {
		rules = append(rules, map[string]any{"apiGroups": []any{r.Group}, "resources": []any{r.Resource}, "verbs": []any{r.Verb}})
	}
	role, binding, kind := roles, roleBindings, "Role"
	if namespace == "" {
		role, binding, kind = clusterRoles, clusterRoleBindings, "ClusterRole"
	}
	make := func(resource schema.GroupVersionResource, kind string, content map[string]any) {
		t.Helper()
		o := &unstructured.Unstructured{Object: content}
		o.SetAPIVersion(roles.GroupVersion().String())
		o.SetKind(kind)
		o.SetName(user)
		if _, err := s.client.Resource(resource).Namespace(namespace).Create(t.Context(), o, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	make(role, kind, map[string]any{"rules": rules})
	make(binding, kind+"Binding", map[string]any{
		"roleRef":  map[string]any{"apiGroup": roles.Group, "kind": kind, "name": user},
		"subjects": []any{map[string]any{"apiGroup": roles.Group, "kind": "User", "name": user}},
	})
}

// user gives the command line of a new user who has a shipped role in the
// namespace of c, and the one for definitions.
func (c cluster) user(t *testing.T, name, role string) cli {
	t.Helper()
	return c.userWith(t, name, rightsOf(t, role), rightsOf(t, definitions))
}

// userWith gives the command line of a new user who has these rights in the
// namespace of c and those in the whole cluster. It returns once the server
// knows of them.
func (c cluster) userWith(t *testing.T, name string, here, everywhere []right) cli {
	t.Helper()
	user := name + "-" + box.run
	box.bind(t, c.namespace, user, here)
	box.bind(t, "", user, everywhere)
	for _, of := range []struct {
		namespace string
		rights    []right
	}{{c.namespace, here}, {"", everywhere}} {
		if len(of.rights) > 0 {
			box.awaitRight(t, user, of.namespace, of.rights[len(of.rights)-1])
		}
	}
	return newCLI(t).as(t, user)
}

// awaitRight waits until the authorizer, which follows roles by a watch, has
// seen that a user has a right.
func (s *sandbox) awaitRight(t *testing.T, user, namespace string, r right) {
	t.Helper()
	reviews := schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "subjectaccessreviews"}
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		answer, err := s.client.Resource(reviews).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
			"spec": map[string]any{"user": user, "resourceAttributes": map[string]any{
				"verb": r.Verb, "group": r.Group, "resource": r.Resource, "namespace": namespace,
			}},
		}}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		allowed, _, err := unstructured.NestedBool(answer.Object, "status", "allowed")
		return allowed, err
	})
	if err != nil {
		t.Fatalf("waiting until %s may %s %s: %v", user, r.Verb, r.Resource, err)
	}
}
