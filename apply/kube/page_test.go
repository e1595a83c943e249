package kube_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// lists gives a server that answers the list of Machines, MachineDeployments and
// AWSMachines with text, the first time with another one where there are two.
func lists(t *testing.T, texts ...string) *server {
	s := &server{t: t, served: []served{core, {infrastructure + "/v1beta2", []string{"AWSMachine"}}}}
	s.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if !strings.HasPrefix(r.URL.Path, "/apis/") || !strings.Contains(r.URL.Path, "/namespaces/") {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, texts[min(n, len(texts))-1])
		return true
	}
	return s
}

func listOf(group, kind string) plan.Selector {
	return plan.Selector{Ref: plan.Ref{Group: group, Kind: kind, Namespace: "default"}}
}

// TestFetchReadsWhatIsSent holds lists to be what the client's own decoder makes
// of them, but managed fields, of which those of MachineDeployments stay.
func TestFetchReadsWhatIsSent(t *testing.T) {
	like := recorded(t)
	for kind, group := range map[string]string{"MachineDeployment": capi.Group, "Machine": capi.Group} {
		object := like[kind]
		metadata := object["metadata"].(map[string]any)
		metadata["namespace"] = "default"
		metadata["managedFields"] = []any{map[string]any{"manager": "m", "operation": "Update", "fieldsV1": map[string]any{"f:spec": map[string]any{"f:replicas": map[string]any{}}}}}
		object["a"] = map[string]any{"number": 7, "large": int64(1) << 60, "fraction": 0.5, "none": nil, "no": []any{}, "bare": map[string]any{},
			"list": []any{"x", map[string]any{"y": true}, []any{1}}, "text": "\u00e4\"\n</script>", "twice": []any{map[string]any{"k": "v"}, map[string]any{"k": "v"}}}
		text, err := json.Marshal(map[string]any{"apiVersion": group + "/v1beta2", "kind": kind + "List", "items": []any{object}, "metadata": map[string]any{"resourceVersion": "7"}})
		if err != nil {
			t.Fatal(err)
		}
		want := &unstructured.UnstructuredList{}
		if err := want.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		if kind != "MachineDeployment" {
			want.Items[0].SetManagedFields(nil)
		}
		sel := listOf(group, kind)
		got, err := lists(t, string(text)).client().Fetch(t.Context(), []plan.Selector{sel})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]*unstructured.Unstructured{&want.Items[0]}, got.List(sel)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// TestFetchSlim: what a plan does not read is left out where it says so, and
// nowhere else.
func TestFetchSlim(t *testing.T) {
	const text = `{"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "AWSMachineList", "items": [{"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2",
		"kind": "AWSMachine", "metadata": {"name": "a", "namespace": "default", "labels": {"l": "v"}}, "spec": {"ami": {"id": "ami-1"}, "instanceType": "m5"}, "status": {"addresses": ["10.0.0.1"]}}]}`
	whole := listOf(infrastructure, "AWSMachine")
	slim := whole
	slim.Slim = true
	for sel, want := range map[plan.Selector]map[string]any{
		whole: {"spec": map[string]any{"ami": map[string]any{"id": "ami-1"}, "instanceType": "m5"}, "status": map[string]any{"addresses": []any{"10.0.0.1"}}},
		slim:  {"spec": map[string]any{"ami": map[string]any{"id": "ami-1"}}},
	} {
		want["apiVersion"], want["kind"] = infrastructure+"/v1beta2", "AWSMachine"
		want["metadata"] = map[string]any{"name": "a", "namespace": "default", "labels": map[string]any{"l": "v"}}
		got, err := lists(t, text).client().Fetch(t.Context(), []plan.Selector{sel})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]*unstructured.Unstructured{{Object: want}}, got.List(sel)); diff != "" {
			t.Errorf("slim: %v (-want +got):\n%s", sel.Slim, diff)
		}
	}
}

// TestFetchOfPools: objects of some pools are asked for by one selector of labels.
func TestFetchOfPools(t *testing.T) {
	s := lists(t, `{"kind": "MachineList", "items": []}`)
	sel := plan.Selector{Ref: machines.Ref, Label: capi.ClusterNameLabel, LabelValue: "demo", Pools: "b,a"}
	if _, err := s.client().Fetch(t.Context(), []plan.Selector{sel}); err != nil {
		t.Fatal(err)
	}
	asked := s.asked("labelSelector")
	if len(asked) != 1 {
		t.Fatalf("it asked %q", asked)
	}
	const want = "labelSelector=cluster.x-k8s.io/cluster-name=demo,cluster.x-k8s.io/deployment-name in (a,b)&limit=5000&"
	if got, err := url.QueryUnescape(asked[0]); err != nil || !strings.Contains(got+"&", want) {
		t.Errorf("it asked %q", got)
	}
}

// TestFetchListCutOff asks again for a page that broke off, wherever it did, and
// takes each object once.
func TestFetchListCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text, err := json.Marshal(machineList("", machine("a"), machine("b")))
		if err != nil {
			t.Fatal(err)
		}
		for at := 1; at < len(text); at += 7 {
			s := lists(t, string(text[:at]), string(text))
			sel := plan.Selector{Ref: machines.Ref}
			got, err := s.client().Fetch(t.Context(), []plan.Selector{sel})
			if err != nil {
				t.Fatalf("cut off after %d bytes: %v", at, err)
			}
			if n, asked := len(got.List(sel)), len(s.asked(listPath)); n != 2 || asked != 2 {
				t.Fatalf("cut off after %d bytes: %d machines of %d requests", at, n, asked)
			}
		}
	})
}

// TestFetchNoList: what is no list is told as such, and not as a list of nothing.
func TestFetchNoList(t *testing.T) {
	for text, want := range map[string]string{
		`{"kind": "Machine", "metadata": {"name": "a"}}`: "something else than a list",
		`{"kind": "MachineList", "items": {"a": 1}}`:     "of an unknown form",
		`[]`:                                    "of an unknown form",
		`<html>`:                                "invalid character",
		`{"kind": "MachineList", "items": [1]}`: "of an unknown form",
		`{"kind": "MachineList", "items": [{"spec": {x}}]}`: "invalid character",
	} {
		_, err := lists(t, text).client().Fetch(t.Context(), []plan.Selector{{Ref: machines.Ref}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q in it", text, err, want)
		}
	}
	got, err := lists(t, `{"kind": "MachineList", "metadata": {}, "items": null}`).client().Fetch(t.Context(), []plan.Selector{{Ref: machines.Ref}})
	if err != nil || len(got.Objects()) > 0 {
		t.Errorf("an empty list gave %v, %v", got.Objects(), err)
	}
}

// TestFetchKindsOfKubernetes: items of such lists do not say their kind.
func TestFetchKindsOfKubernetes(t *testing.T) {
	const text = `{"kind": "MachineList", "apiVersion": "cluster.x-k8s.io/v1beta2", "items": [{"metadata": {"name": "a", "namespace": "default"}}]}`
	got, err := lists(t, text).client().Fetch(t.Context(), []plan.Selector{{Ref: machines.Ref}})
	if err != nil {
		t.Fatal(err)
	}
	a := machines.Ref
	a.Name, a.Namespace = "a", "default"
	if o, ok := got.Object(a); !ok || o.GetAPIVersion() != capi.Group+"/v1beta2" {
		t.Errorf("%v", got.Objects())
	}
}
