package capi_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

type tree = map[string]any

func drainRule(name, behavior string, spec tree) *unstructured.Unstructured {
	if spec == nil {
		spec = tree{}
	}
	spec["drain"] = tree{"behavior": behavior}
	return &unstructured.Unstructured{Object: tree{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
		"metadata": tree{"name": name, "namespace": "default"}, "spec": spec}}
}

func selects(key, value string) tree { return tree{"matchLabels": tree{key: value}} }

// TestDrain has the cases of filters_test.go of Cluster API's drain.
func TestDrain(t *testing.T) {
	t.Parallel()
	labelled := func(value string) capi.DrainPod {
		return capi.DrainPod{Labels: map[string]string{"cluster.x-k8s.io/drain": value, "app": "a"}}
	}
	app := capi.DrainPod{Labels: map[string]string{"app": "a"}, NamespaceLabels: map[string]string{"team": "x"}}
	for _, test := range []struct {
		name  string
		rules []*unstructured.Unstructured
		pod   capi.DrainPod
		want  capi.Drain
	}{
		{"no rule", nil, app, capi.DrainEvicts},
		{"a pod of a DaemonSet", nil, capi.DrainPod{OfDaemonSet: true}, capi.DrainSkips},
		{"a static pod", nil, capi.DrainPod{Mirror: true}, capi.DrainSkips},
		{"label skip", nil, labelled("skip"), capi.DrainSkips},
		{"label SKIP", nil, labelled("SKIP"), capi.DrainSkips},
		{"label wait-completed", nil, labelled("wait-completed"), capi.DrainWaits},
		{"label WaitCompleted", nil, labelled("WaitCompleted"), capi.DrainWaits},
		{"an unknown label", nil, labelled("never"), capi.DrainEvicts},
		{"a rule for all", []*unstructured.Unstructured{drainRule("a", "Skip", nil)}, app, capi.DrainSkips},
		{"the label before the rule", []*unstructured.Unstructured{drainRule("a", "Skip", nil)}, labelled("wait-completed"), capi.DrainWaits},
		{"the DaemonSet before the rule", []*unstructured.Unstructured{drainRule("a", "Drain", nil)}, capi.DrainPod{OfDaemonSet: true}, capi.DrainSkips},
		{"the first rule by name", []*unstructured.Unstructured{drainRule("b", "Skip", nil), drainRule("a", "WaitCompleted", nil)}, app, capi.DrainWaits},
		{"a rule by the pod's labels", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"pods": []any{tree{"selector": selects("app", "a")}}})}, app, capi.DrainSkips},
		{"a rule for other pods", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"pods": []any{tree{"selector": selects("app", "b")}}})}, app, capi.DrainEvicts},
		{"a rule by namespace", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"pods": []any{tree{"namespaceSelector": selects("team", "x")}}})}, app, capi.DrainSkips},
		{"both must select", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"pods": []any{tree{"selector": selects("app", "a"), "namespaceSelector": selects("team", "y")}}})}, app, capi.DrainEvicts},
		{"one of several", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"pods": []any{tree{"selector": selects("app", "b")}, tree{"selector": selects("app", "a")}}})}, app, capi.DrainSkips},
		{"a rule for these machines", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"machines": []any{tree{"selector": selects("pool", "p"), "clusterSelector": selects("env", "e")}}})}, app, capi.DrainSkips},
		{"a rule for other machines", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"machines": []any{tree{"selector": selects("pool", "q")}}})}, app, capi.DrainEvicts},
		{"a rule for other clusters", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"machines": []any{tree{"clusterSelector": selects("env", "f")}}})}, app, capi.DrainEvicts},
		{"no selector at all", []*unstructured.Unstructured{drainRule("a", "Skip", tree{"pods": []any{tree{"selector": tree{"matchExpressions": []any{tree{"key": "app", "operator": "Maybe"}}}}}})}, app, capi.DrainEvicts},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules := capi.DrainRulesOf(test.rules).For(map[string]string{"pool": "p"}, map[string]string{"env": "e"})
			if got := rules.Of(test.pod); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestTimeoutAt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version string
		value   any
		want    time.Duration
	}{
		{"v1beta2", nil, 0}, {"v1beta2", int64(90), 90 * time.Second}, {"v1beta2", int64(0), 0},
		{"v1beta1", nil, 0}, {"v1beta1", "1m30s", 90 * time.Second}, {"v1beta1", "0s", 0}, {"v1beta1", "soon", 0},
	} {
		md := &unstructured.Unstructured{Object: tree{"apiVersion": "cluster.x-k8s.io/" + test.version, "kind": "MachineDeployment"}}
		f, err := capi.FieldsOf(md)
		if err != nil {
			t.Fatal(err)
		}
		if test.value != nil {
			if err := unstructured.SetNestedField(md.Object, test.value, f.NodeDrainTimeout...); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.TimeoutAt(md, f.NodeDrainTimeout); got != test.want {
			t.Errorf("%s %v: %s, want %s", test.version, test.value, got, test.want)
		}
	}
}
