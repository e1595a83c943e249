//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// What the tests look at.
var (
	clusters            = schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "clusters"}
	machineDeployments  = clusters.GroupVersion().WithResource("machinedeployments")
	machines            = clusters.GroupVersion().WithResource("machines")
	awsMachineTemplates = schema.GroupVersionResource{Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Resource: "awsmachinetemplates"}
	devMachineTemplates = awsMachineTemplates.GroupVersion().WithResource("devmachinetemplates")
	awsMachines         = awsMachineTemplates.GroupVersion().WithResource("awsmachines")
	devMachines         = awsMachineTemplates.GroupVersion().WithResource("devmachines")
	configMaps          = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
)

// patience is how long something that must come about may take. It is long,
// since it is only ever waited out in a test that fails.
const patience = 8 * time.Minute

// find gives an object, nil when there is none.
func (s *sandbox) find(t testing.TB, resource schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	o, err := s.client.Resource(resource).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// get gives an object that must be there.
func (s *sandbox) get(t testing.TB, resource schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	o := s.find(t, resource, namespace, name)
	if o == nil {
		t.Fatalf("there is no %s %s/%s", resource.Resource, namespace, name)
	}
	return o
}

// list gives the objects that a label selector selects, sorted by name.
func (s *sandbox) list(t testing.TB, resource schema.GroupVersionResource, namespace, selector string) []*unstructured.Unstructured {
	t.Helper()
	l, err := s.client.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]*unstructured.Unstructured, len(l.Items))
	for i := range l.Items {
		out[i] = &l.Items[i]
	}
	slices.SortFunc(out, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// merge changes an object as somebody else would, by a merge patch.
func (s *sandbox) merge(t testing.TB, resource schema.GroupVersionResource, namespace, name, patch string) {
	t.Helper()
	if err := s.tryMerge(t.Context(), resource, namespace, name, patch); err != nil {
		t.Fatal(err)
	}
}

func (s *sandbox) tryMerge(ctx context.Context, resource schema.GroupVersionResource, namespace, name, patch string) error {
	_, err := s.client.Resource(resource).Namespace(namespace).
		Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody-else"})
	return err
}

func (s *sandbox) deleteCluster(t testing.TB, c cluster) {
	err := s.client.Resource(clusters).Namespace(c.namespace).Delete(context.Background(), c.name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

// await watches the objects that a label selector selects until they are as
// wanted, for at most patience.
func (s *sandbox) await(t testing.TB, resource schema.GroupVersionResource, namespace, selector, what string, as func([]*unstructured.Unstructured) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.follow(ctx, resource, namespace, selector, as); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

// awaitObject is await for one object.
func (s *sandbox) awaitObject(t testing.TB, resource schema.GroupVersionResource, namespace, name, what string, as func(*unstructured.Unstructured) bool) {
	t.Helper()
	s.await(t, resource, namespace, "", what, func(all []*unstructured.Unstructured) bool {
		return slices.ContainsFunc(all, func(o *unstructured.Unstructured) bool { return o.GetName() == name && as(o) })
	})
}

// follow lists and then watches until the objects are as wanted or ctx ends.
func (s *sandbox) follow(ctx context.Context, resource schema.GroupVersionResource, namespace, selector string, as func([]*unstructured.Unstructured) bool) error {
	client := s.client.Resource(resource).Namespace(namespace)
	for {
		l, err := client.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		now := map[types.UID]*unstructured.Unstructured{}
		for i := range l.Items {
			now[l.Items[i].GetUID()] = &l.Items[i]
		}
		if as(values(now)) {
			return nil
		}
		w, err := client.Watch(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: l.GetResourceVersion()})
		if err != nil {
			return err
		}
		done, err := drain(ctx, w, now, as)
		w.Stop()
		if done || err != nil {
			return err
		}
	}
}

// drain takes the events of one watch in, until the objects are as wanted or
// the watch ends.
func drain(ctx context.Context, w watch.Interface, now map[types.UID]*unstructured.Unstructured, as func([]*unstructured.Unstructured) bool) (done bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case e, open := <-w.ResultChan():
			o, ok := e.Object.(*unstructured.Unstructured)
			if !open || !ok {
				return false, nil
			}
			if e.Type == watch.Deleted {
				delete(now, o.GetUID())
			} else {
				now[o.GetUID()] = o
			}
			if as(values(now)) {
				return true, nil
			}
		}
	}
}

func values(m map[types.UID]*unstructured.Unstructured) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, 0, len(m))
	for _, o := range m {
		out = append(out, o)
	}
	return out
}

// text gives a string of an object, "" when it is not there.
func text(o *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}

// number gives a whole number of an object, -1 when it is not there.
func number(o *unstructured.Unstructured, path ...string) int64 {
	n, found, err := unstructured.NestedInt64(o.Object, path...)
	if !found || err != nil {
		return -1
	}
	return n
}

// decode reads one JSON value.
func decode[T any](t testing.TB, raw string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v in:\n%s", err, raw)
	}
	return v
}

// field gives what a dotted path leads to in an object, as text.
func field(o *unstructured.Unstructured, path string) (string, error) {
	v, found, err := unstructured.NestedFieldNoCopy(o.Object, strings.Split(path, ".")...)
	if err != nil || !found {
		return "", err
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return string(raw), nil
}
