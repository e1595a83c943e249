package install

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/sandbox/manifests"
	"nodepool/sandbox/state"
)

func bundle() *manifests.Bundle {
	webhook := func() []map[string]any {
		return []map[string]any{{
			"kind": "ValidatingWebhookConfiguration", "metadata": map[string]any{"name": "validating-webhook-configuration"},
			"webhooks": []any{map[string]any{"name": "a", "clientConfig": map[string]any{
				"service": map[string]any{"name": "webhook-service", "namespace": "system", "path": "/validate-a"}}}},
		}}
	}
	definition := func(name string, versions ...string) map[string]any {
		var list []any
		for _, v := range versions {
			list = append(list, map[string]any{"name": v, "served": v != "v1alpha1"})
		}
		return map[string]any{"kind": "CustomResourceDefinition", "metadata": map[string]any{"name": name},
			"spec": map[string]any{"group": "g", "names": map[string]any{"plural": name}, "versions": list}}
	}
	return &manifests.Bundle{Components: []manifests.Component{
		{Name: manifests.Core, CRDs: []map[string]any{definition("two", "v1beta1", "v1beta2"), definition("one", "v1")}, Webhooks: webhook()},
		{Name: manifests.Dev, CRDs: []map[string]any{definition("dev", "v1beta1", "v1beta2")}, Webhooks: webhook()},
		{Name: manifests.AWS, CRDs: []map[string]any{definition("aws", "v1alpha1", "v1beta2")}},
	}}
}

func TestObjects(t *testing.T) {
	ports := state.Ports{Base: 20000}
	definitions, others, err := Objects(bundle(), []byte("ca"), ports)
	if err != nil {
		t.Fatal(err)
	}
	urls := map[string]string{}
	for _, u := range definitions {
		urls[u.GetName()], _, _ = unstructured.NestedString(u.Object, "spec", "conversion", "webhook", "clientConfig", "url")
	}
	for name, want := range map[string]string{
		"two": "https://127.0.0.1:20005/convert", "one": "",
		"dev": "https://127.0.0.1:20007/convert", "aws": "", // nobody converts for the AWS provider
	} {
		if urls[name] != want {
			t.Errorf("conversion of %s = %q, want %q", name, urls[name], want)
		}
	}
	names := map[string]*unstructured.Unstructured{}
	for _, u := range others {
		names[u.GetKind()+"/"+u.GetName()] = u
	}
	for _, want := range []string{
		"ValidatingWebhookConfiguration/capi-validating-webhook-configuration",
		"ValidatingWebhookConfiguration/capd-validating-webhook-configuration",
		"Namespace/sandbox-system",
		"ValidatingAdmissionPolicy/sandbox-awsmachinetemplate-immutable",
		"ValidatingAdmissionPolicyBinding/sandbox-awsmachinetemplate-immutable",
	} {
		if names[want] == nil {
			t.Errorf("%s is not installed", want)
		}
	}
	hooks, _, _ := unstructured.NestedSlice(names["ValidatingWebhookConfiguration/capd-validating-webhook-configuration"].Object, "webhooks")
	clientConfig := hooks[0].(map[string]any)["clientConfig"].(map[string]any)
	if clientConfig["url"] != "https://127.0.0.1:20007/validate-a" || clientConfig["service"] != nil || clientConfig["caBundle"] != "Y2E=" {
		t.Errorf("clientConfig = %v", clientConfig)
	}
	for _, u := range append(definitions, others...) {
		if _, ok := resources[u.GetKind()]; !ok {
			t.Errorf("no resource known for %s", u.GetKind())
		}
	}
}

func TestObjectsLeavesTheBundleAlone(t *testing.T) {
	b := bundle()
	for range 2 {
		_, others, err := Objects(b, nil, state.Ports{Base: 20000})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range others {
			if strings.Contains(u.GetName(), "capi-capi-") {
				t.Fatalf("%s was prefixed twice", u.GetName())
			}
		}
	}
}

func TestServedResources(t *testing.T) {
	definitions, _, err := Objects(bundle(), nil, state.Ports{Base: 20000})
	if err != nil {
		t.Fatal(err)
	}
	got, err := servedResources(definitions)
	if err != nil {
		t.Fatal(err)
	}
	if !got["g/v1beta1"]["two"] || !got["g/v1beta2"]["aws"] || got["g/v1alpha1"] != nil {
		t.Errorf("servedResources = %v", got)
	}
}
