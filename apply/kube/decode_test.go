package kube_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"nodepool/apply/kube"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// TestChangesAreDecoded: of an object of a rollout nothing is missing but what slim
// would take out, and the Status that ends a watch is what it was.
func TestChangesAreDecoded(t *testing.T) {
	pool := plan.Ref{Kind: "MachineDeployment"}
	keys := map[string]plan.Selector{
		"of no pool":       {Ref: plan.Ref{Group: capi.Group, Kind: "Machine"}},
		"of a pool":        {Ref: plan.Ref{Group: capi.Group, Kind: "Machine"}, Pool: pool},
		"bootstrap config": {Ref: plan.Ref{Group: bootstrap, Kind: "KubeadmConfig"}, Pool: pool},
	}
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			status := `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}}`
			kind, object, err := kube.DecodeChange(key, status)
			if err != nil || kind != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(object)) {
				t.Errorf("%s %v %v, want that the place has expired", kind, object, err)
			}
			if _, _, err := kube.DecodeChange(key, `{"type":"MODIFIED","object":{}}`); err == nil {
				t.Error("a change without an object is taken")
			}
			for of, whole := range recorded(t) {
				raw, err := json.Marshal(whole)
				if err != nil {
					t.Fatal(err)
				}
				var want unstructured.Unstructured
				if err := want.UnmarshalJSON(raw); err != nil {
					t.Fatal(err)
				}
				if !key.Pool.IsZero() {
					want.SetManagedFields(nil)
				}
				if key.Group == bootstrap {
					delete(want.Object, "spec")
				}
				_, got, err := kube.DecodeChange(key, fmt.Sprintf(`{"type":"MODIFIED","object":%s}`, raw))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.Object, got.(*unstructured.Unstructured).Object); diff != "" {
					t.Errorf("%s (-want +got):\n%s", of, diff)
				}
			}
		})
	}
}
