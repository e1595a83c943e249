//go:build e2e

package e2e_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// manual is the procedure that the product replaces: copy the template that
// the MachineDeployment names, patch the copy, create it, and patch the
// MachineDeployment with its name and with the version. It always makes a
// template, also for a new version alone. Empty values are left as they are.
func (c cluster) manual(t *testing.T, pool, version, image, instanceType string) {
	t.Helper()
	current := box.get(t, awsMachineTemplates, c.namespace, c.template(t, pool))
	made := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": current.GetAPIVersion(),
		"kind":       current.GetKind(),
		"metadata":   map[string]any{"name": pool + "-4e7d", "namespace": c.namespace},
		"spec":       current.Object["spec"],
	}}
	for _, change := range []struct {
		value string
		path  []string
	}{
		{image, []string{"spec", "template", "spec", "ami", "id"}},
		{instanceType, []string{"spec", "template", "spec", "instanceType"}},
	} {
		if change.value == "" {
			continue
		}
		if err := unstructured.SetNestedField(made.Object, change.value, change.path...); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	if _, err := box.client.Resource(awsMachineTemplates).Namespace(c.namespace).Create(ctx, made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	spec := map[string]any{"infrastructureRef": map[string]any{"name": made.GetName()}}
	if version != "" {
		spec["version"] = version
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}})
	if err != nil {
		t.Fatal(err)
	}
	// The seed's own version of the API is not served any more; v1beta1 has
	// the same fields in the same places.
	old := machineDeployments
	old.Version = "v1beta1"
	if _, err := box.client.Resource(old).Namespace(c.namespace).Patch(ctx, pool, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// outcome is what a pool came to be, without the name of its template.
type outcome struct {
	Deployment, Template any
	Machines             []machine
}

func (c cluster) outcome(t *testing.T, pool string) outcome {
	t.Helper()
	md := c.deployment(t, pool)
	template := c.template(t, pool)
	if err := unstructured.SetNestedField(md.Object, "TEMPLATE", "spec", "template", "spec", "infrastructureRef", "name"); err != nil {
		t.Fatal(err)
	}
	out := outcome{
		Deployment: md.Object["spec"],
		Template:   box.get(t, awsMachineTemplates, c.namespace, template).Object["spec"],
		Machines:   c.machines(t, pool),
	}
	for i := range out.Machines {
		if out.Machines[i].Template == template {
			out.Machines[i].Template = "TEMPLATE"
		}
	}
	return out
}

// The product and the manual procedure give the same, for each of its cases.
func TestSameAsTheManualProcedure(t *testing.T) {
	t.Parallel()
	byHand := cluster{namespace: "byhand-" + box.run, name: "twin"}
	byPlan := cluster{namespace: "byplan-" + box.run, name: "twin"}
	cases := []struct {
		name, pool                   string
		version, image, instanceType string
		images                       int
	}{
		{name: "version, image and type", pool: "twin-md-0", version: newVersion, image: newImage, instanceType: "m5.xlarge"},
		{name: "version only", pool: "twin-md-1", version: newVersion},
		{name: "image only", pool: "twin-image", image: newImage},
		{name: "type only", pool: "twin-type", instanceType: "c5.2xlarge"},
	}
	n := newCLI(t)
	for _, c := range []cluster{byHand, byPlan} {
		makeCluster(t, c, "--pools", "aws:1,aws:1")
		// Without a new version a pool can roll only at its control plane's.
		c.addPool(t, "twin-image", "--version", newVersion)
		c.addPool(t, "twin-type", "--version", newVersion)
	}
	var pools []pool
	for _, tc := range cases {
		p := pool{"name": tc.pool}
		for field, value := range map[string]string{"kubernetesVersion": tc.version, "machineImage": tc.image, "instanceType": tc.instanceType} {
			if value != "" {
				p[field] = value
			}
		}
		pools = append(pools, p)
		byHand.manual(t, tc.pool, tc.version, tc.image, tc.instanceType)
	}
	file := byPlan.write(t, "twin", map[string]any{"order": "parallel", "pools": pools})
	n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
	n.nothingToDo(t, file)

	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			template := byHand.template(t, tc.pool)
			box.await(t, awsMachines, byHand.namespace, "cluster.x-k8s.io/deployment-name="+tc.pool, "the manual rollout is done",
				func(all []*unstructured.Unstructured) bool {
					return len(all) == 1 && all[0].GetAnnotations()["cluster.x-k8s.io/cloned-from-name"] == template
				})
			got := byPlan.outcome(t, tc.pool)
			if tc.version != "" && tc.image == "" && tc.instanceType == "" {
				// A version alone needs no new template: the one that the pool
				// has says the same as the copy that was made by hand.
				if byPlan.template(t, tc.pool) != tc.pool {
					t.Errorf("a version alone made the template %s", byPlan.template(t, tc.pool))
				}
			}
			if diff := cmp.Diff(byHand.outcome(t, tc.pool), got); diff != "" {
				t.Errorf("by hand and by plan differ (-hand +plan):\n%s", diff)
			}
		})
	}
}
