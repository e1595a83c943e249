// Package typed makes typed clients of single kinds of Kubernetes. Those that
// client-go generates register the types of all of Kubernetes, and the binary
// would be a third larger for it.
package typed

import (
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// Group sends requests to one version of an API group.
type Group struct {
	rest  rest.Interface
	codec runtime.ParameterCodec
}

// Connect makes the client of a version of an API group that reads and writes
// the given kinds and lists. It sends no request. The error is that of config.
func Connect(config *rest.Config, client *http.Client, version schema.GroupVersion, kinds ...runtime.Object) (Group, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(version, kinds...)
	metav1.AddToGroupVersion(scheme, version)
	config = rest.CopyConfig(config)
	config.GroupVersion = &version
	config.APIPath = "/apis"
	if version.Group == "" {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	if config.UserAgent == "" {
		config.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	r, err := rest.RESTClientForConfigAndClient(config, client)
	if err != nil {
		return Group{}, fmt.Errorf("use the kubeconfig: %w", err)
	}
	return Group{rest: r, codec: runtime.NewParameterCodec(scheme)}, nil
}

// Client gives the client of one resource of the group in a namespace, or in
// all of them for "". Where config names no format, it speaks protobuf, as
// client-go does for these kinds.
func Client[T, L any, O interface {
	*T
	runtime.Object
	metav1.Object
}, OL interface {
	*L
	runtime.Object
}](g Group, resource, namespace string) *gentype.ClientWithList[O, OL] {
	return gentype.NewClientWithList[O, OL](resource, g.rest, g.codec, namespace,
		func() O { return new(T) }, func() OL { return new(L) }, gentype.PrefersProtobuf[O]())
}
