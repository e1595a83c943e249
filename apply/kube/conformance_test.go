package kube_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/apply/kube"
	"nodepool/plan"
)

// kubeconfigVariable names the kubeconfig of a management cluster with Cluster
// API and its development and AWS providers, in which tests may make
// namespaces. The sandbox is one.
const kubeconfigVariable = "NODEPOOL_TEST_KUBECONFIG"

func TestConformance(t *testing.T) {
	path := os.Getenv(kubeconfigVariable)
	if path == "" {
		t.Skip("set " + kubeconfigVariable + " to the kubeconfig of a sandbox (bin/sandbox up) to run this against a real API server")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	stem := fmt.Sprintf("conformance-%d", time.Now().UnixNano())
	count := 0
	clustertest.Conformance(t, func(t *testing.T) (apply.Cluster, clustertest.Seeder) {
		count++
		s := &seeder{client: client, namespace: fmt.Sprintf("%s-%d", stem, count)}
		s.makeNamespace(t)
		c, err := kube.Open(kube.Config{Kubeconfig: path})
		if err != nil {
			t.Fatal(err)
		}
		return c, s
	})
}

// seeder acts on a real API server with a client of its own.
type seeder struct {
	client    dynamic.Interface
	namespace string
}

func (s *seeder) Namespace() string { return s.namespace }

func (s *seeder) APIVersion(group, _ string) string { return group + "/v1beta2" }

func (s *seeder) makeNamespace(t *testing.T) {
	namespaces := s.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	_, err := namespaces.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": s.namespace},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := namespaces.Delete(context.Background(), s.namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func (s *seeder) resource(gvk schema.GroupVersionKind) dynamic.ResourceInterface {
	gvr, _ := meta.UnsafeGuessKindToResource(gvk)
	return s.client.Resource(gvr).Namespace(s.namespace)
}

func (s *seeder) of(ref plan.Ref) dynamic.ResourceInterface {
	return s.resource(schema.GroupVersionKind{Group: ref.Group, Version: "v1beta2", Kind: ref.Kind})
}

func (s *seeder) Create(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	made, err := s.resource(o.GroupVersionKind()).Create(t.Context(), o, metav1.CreateOptions{FieldManager: "another"})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (s *seeder) Edit(t *testing.T, ref plan.Ref, change func(*unstructured.Unstructured)) {
	t.Helper()
	for {
		o, err := s.of(ref).Get(t.Context(), ref.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(o)
		_, err = s.of(ref).Update(t.Context(), o, metav1.UpdateOptions{FieldManager: "another"})
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
}

func (s *seeder) Delete(t *testing.T, ref plan.Ref) {
	t.Helper()
	if err := s.of(ref).Delete(t.Context(), ref.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := s.of(ref).Get(t.Context(), ref.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A user without rights is told of every one that is missing.
func TestRightsOnServer(t *testing.T) {
	path := os.Getenv(kubeconfigVariable)
	if path == "" {
		t.Skip("set " + kubeconfigVariable + " to the kubeconfig of a sandbox (bin/sandbox up) to run this against a real API server")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate.UserName = "nobody"
	config.Impersonate.Groups = []string{"system:authenticated"}
	c, err := kube.New(config)
	if err != nil {
		t.Fatal(err)
	}
	md := clustertest.MachineDeployment("any")
	template := plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSMachineTemplate", Namespace: "default"}
	selectors := []plan.Selector{{Ref: md}, {Ref: template}}
	want := "you may not %s machinedeployments.cluster.x-k8s.io in namespace default; ask for that right, or use another kubeconfig context\n" +
		"you may not list awsmachinetemplates.infrastructure.cluster.x-k8s.io in namespace default; ask for that right, or use another kubeconfig context"
	if _, err := c.Fetch(t.Context(), selectors); err == nil || err.Error() != fmt.Sprintf(want, "get") {
		t.Errorf("got %v", err)
	}
	if _, err := c.Watch(t.Context(), selectors); err == nil || err.Error() != fmt.Sprintf(want, "list") {
		t.Errorf("got %v", err)
	}
	err = c.Patch(t.Context(), md, "cluster.x-k8s.io/v1beta2", []byte(`[]`), apply.Commit)
	var failure *apply.WriteError
	if !errors.As(err, &failure) || failure.Outcome != apply.Refused {
		t.Errorf("got %v, want a refusal", err)
	}
	for i := range selectors {
		selectors[i].Optional = true
	}
	feed, err := c.Watch(t.Context(), selectors)
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Stop()
	snapshot, err := feed.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range selectors {
		if _, unread := snapshot.Unread(s); !unread {
			t.Errorf("%v is not noted as unread", s)
		}
	}
}
