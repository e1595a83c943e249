package typed_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"nodepool/apply/typed"
)

// request is what a server was asked.
type request struct {
	Method, URI, Type string
	Object            runtime.Object
}

// answer is a server that decodes as an API server does and answers each
// request with the next of its objects, a Status with its code.
func answer(t *testing.T, format string, objects ...runtime.Object) (*rest.Config, *[]request) {
	var got []request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		asked := request{Method: r.Method, URI: r.URL.RequestURI(), Type: r.Header.Get("Content-Type")}
		if len(body) > 0 {
			if asked.Object, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil); err != nil {
				t.Error(err)
			}
		}
		got = append(got, asked)
		next := objects[0]
		objects = objects[1:]
		info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), format)
		if !ok {
			t.Fatal(format)
		}
		w.Header().Set("Content-Type", format)
		if status, ok := next.(*metav1.Status); ok {
			w.WriteHeader(int(status.Code))
		}
		if err := scheme.Codecs.EncoderForVersion(info.Serializer, schema.GroupVersions{corev1.SchemeGroupVersion, coordinationv1.SchemeGroupVersion}).Encode(next, w); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}, &got
}

// Requests go to the paths of each group, as protobuf, and what the server
// answers is understood in each format that it may choose.
func TestClient(t *testing.T) {
	for _, format := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		t.Run(format, func(t *testing.T) {
			named := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: "u"}, Data: map[string]string{"k": "v"}}
			gone := apierrors.NewNotFound(coordinationv1.Resource("leases"), "b").ErrStatus
			config, got := answer(t, format, &named, &corev1.ConfigMapList{Items: []corev1.ConfigMap{named}}, &gone, &metav1.Status{Code: 200, Status: metav1.StatusSuccess})
			core, err := typed.Connect(config, http.DefaultClient, corev1.SchemeGroupVersion, &corev1.ConfigMap{}, &corev1.ConfigMapList{})
			if err != nil {
				t.Fatal(err)
			}
			coordination, err := typed.Connect(config, http.DefaultClient, coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{}, &coordinationv1.LeaseList{})
			if err != nil {
				t.Fatal(err)
			}
			configMaps := typed.Client[corev1.ConfigMap, corev1.ConfigMapList](core, "configmaps", "ns")
			made, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: named.Data}, metav1.CreateOptions{FieldManager: "me"})
			if err != nil {
				t.Fatal(err)
			}
			all, err := configMaps.List(t.Context(), metav1.ListOptions{LabelSelector: "x=y", Limit: 5})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]corev1.ConfigMap{named, named}, append([]corev1.ConfigMap{*made}, all.Items...)); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			leases := typed.Client[coordinationv1.Lease, coordinationv1.LeaseList](coordination, "leases", "ns")
			if _, err := leases.Get(t.Context(), "b", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("a Lease that is not there: %v", err)
			}
			seen := metav1.Preconditions{UID: new(types.UID("u")), ResourceVersion: new("7")}
			if err := leases.Delete(t.Context(), "b", metav1.DeleteOptions{Preconditions: &seen}); err != nil {
				t.Error(err)
			}
			want := []request{
				{"POST", "/api/v1/namespaces/ns/configmaps?fieldManager=me", "application/vnd.kubernetes.protobuf",
					&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: named.Data}},
				{"GET", "/api/v1/namespaces/ns/configmaps?labelSelector=x%3Dy&limit=5", "", nil},
				{"GET", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/b", "", nil},
				{"DELETE", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/b", "application/vnd.kubernetes.protobuf", &metav1.DeleteOptions{Preconditions: &seen}},
			}
			for i := range *got { // the decoder notes the kind
				if o := (*got)[i].Object; o != nil {
					o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
				}
			}
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}
