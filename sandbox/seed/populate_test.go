package seed

import (
	"context"
	"encoding/json"
	"sort"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
)

// populated gives what Populate writes of a population, by kind and name as
// JSON.
func populated(t *testing.T, p Population) map[string]string {
	t.Helper()
	kinds := map[schema.GroupVersionResource]string{}
	for kind, resource := range resources {
		kinds[resource] = kind + "List"
	}
	for resource, kind := range map[schema.GroupVersionResource]string{machineSets: "MachineSet", machines: "Machine", awsMachines: "AWSMachine", kubeadmConfigs: "KubeadmConfig"} {
		kinds[resource] = kind + "List"
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	s := &Seeder{client: client, progress: t.Logf}
	if err := s.Populate(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, a := range client.Actions() {
		write, ok := a.(interface{ GetObject() runtime.Object })
		if !ok {
			continue
		}
		u := write.GetObject().(*unstructured.Unstructured)
		raw, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		out[u.GetKind()+" "+u.GetName()] = string(raw) // the last write of each, with its status
	}
	return out
}

func TestPopulate(t *testing.T) {
	p := Population{Name: "big", Pools: 3, Machines: 7, Seed: 4}
	got := populated(t, p)
	count := map[string]int{}
	for key := range got {
		kind, _, _ := strings.Cut(key, " ")
		count[kind]++
	}
	for kind, n := range map[string]int{"Cluster": 1, "KubeadmControlPlane": 1, "MachineDeployment": 3, "MachineSet": 3, "AWSMachineTemplate": 3,
		"KubeadmConfigTemplate": 3, "Machine": 7, "AWSMachine": 7, "KubeadmConfig": 7} {
		if count[kind] != n {
			t.Errorf("%d objects of kind %s, want %d", count[kind], kind, n)
		}
	}
	for key, text := range got {
		if kind, _, _ := strings.Cut(key, " "); kind == "Machine" && !strings.Contains(text, `"phase":"Running"`) {
			t.Errorf("%s has no status: %s", key, text)
		}
	}
	names := func(p Population) string {
		var out []string
		for key := range populated(t, p) {
			out = append(out, key)
		}
		sort.Strings(out)
		return strings.Join(out, "\n")
	}
	if names(p) != names(p) {
		t.Error("the same seed gave other names")
	}
	if other := (Population{Name: "big", Pools: 3, Machines: 7, Seed: 5}); names(p) == names(other) {
		t.Error("another seed gave the same names")
	}
}
