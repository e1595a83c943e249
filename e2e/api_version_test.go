//go:build e2e

package e2e_test

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

var definitionsResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// newProvider installs a kind of infrastructure template that only this test
// knows, served in v1beta1 and v1beta2, of which the contract names v1beta1. It
// gives the name of its definition.
func newProvider(t *testing.T, kind, resource, group string) (definition string) {
	t.Helper()
	definition = resource + "." + group
	version := func(name string, storage bool) any {
		return map[string]any{"name": name, "served": true, "storage": storage, "schema": map[string]any{"openAPIV3Schema": map[string]any{
			"type": "object", "properties": map[string]any{"spec": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		}}}
	}
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": definition, "labels": map[string]any{"cluster.x-k8s.io/v1beta2": "v1beta1"}},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced",
			"names":    map[string]any{"kind": kind, "plural": resource, "singular": strings.ToLower(kind)},
			"versions": []any{version("v1beta1", false), version("v1beta2", true)},
		},
	}}
	definitions := box.client.Resource(definitionsResource)
	if _, err := definitions.Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !box.borrowed {
			// What refers to it stays. Without it, Cluster API converts none of that
			// to v1beta1, and the API server can then give no watch in v1beta1.
			return
		}
		if err := definitions.Delete(context.Background(), definition, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	client, err := rest.HTTPClientFor(box.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"v1beta1", "v1beta2"} {
		err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
			answer, err := client.Get(box.config.Host + "/apis/" + group + "/" + v)
			if err != nil {
				return false, err
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			return strings.Contains(string(body), kind), err
		})
		if err != nil {
			t.Fatalf("waiting until %s is served in %s: %v", definition, v, err)
		}
	}
	return definition
}

// TestMovedAPIVersionIsDrift moves the API version that goes with the contract
// between plan and apply, as the upgrade of a provider does: JSON pointers
// depend on it, so the plan does not go through. Moved back, it does.
func TestMovedAPIVersionIsDrift(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "moved", "--pools", "aws:1")
	name := c.emptyPool(t, "moved-md-9")
	group := "moved-" + box.run + ".infrastructure.cluster.x-k8s.io"
	definition := newProvider(t, "ProbeMachineTemplate", "probemachinetemplates", group)
	templates := schema.GroupVersionResource{Group: group, Version: "v1beta1", Resource: "probemachinetemplates"}
	template := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1beta1", "kind": "ProbeMachineTemplate", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"image": "old"}}},
	}}
	if _, err := box.client.Resource(templates).Namespace(c.namespace).Create(t.Context(), template, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	box.merge(t, machineDeployments, c.namespace, name,
		`{"spec":{"template":{"spec":{"infrastructureRef":{"apiGroup":"`+group+`","kind":"ProbeMachineTemplate","name":"`+name+`"}}}}}`)
	n := newCLI(t)
	file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "infrastructure": map[string]any{"image": "new"}})
	saved := filepath.Join(t.TempDir(), "saved.plan")
	made := n.plan(t, file, "--out", saved)

	before := c.writes(t)
	box.merge(t, definitionsResource, "", definition, `{"metadata":{"labels":{"cluster.x-k8s.io/v1beta2":"v1beta1_v1beta2"}}}`)
	r := n.run(t, "apply", "--plan", saved, "--auto-approve").exits(t, 4)
	for _, want := range []string{
		"ProbeMachineTemplate " + c.namespace + "/" + name + ", apiVersion\n    reviewed: " + group + "/v1beta1\n    found:    " + group + "/v1beta2\n",
		"Nothing was written",
	} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("it does not say %q\n%s", want, r)
		}
	}
	n.run(t, "apply", "-f", file, "--expect", made.Digest, "--auto-approve").exits(t, 4)
	if diff := cmp.Diff(before, c.writes(t)); diff != "" {
		t.Errorf("it wrote all the same (-before +after):\n%s", diff)
	}

	box.merge(t, definitionsResource, "", definition, `{"metadata":{"labels":{"cluster.x-k8s.io/v1beta2":"v1beta1"}}}`)
	n.run(t, "apply", "--plan", saved, "--auto-approve").exits(t, 0)
	want := []write{{"create", "probemachinetemplates", made.template(t)}, {"patch", "machinedeployments", name}}
	if diff := cmp.Diff(want, c.writes(t)[len(before):]); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}
