package seed

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestExample(t *testing.T) {
	c := Example()
	objects, err := c.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Pools {
		more, err := p.Objects()
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, more...)
	}
	byName := map[string]*unstructured.Unstructured{}
	for _, u := range objects {
		byName[u.GetKind()+" "+u.GetName()] = u
		if _, ok := resources[u.GetKind()]; !ok {
			t.Errorf("no resource known for kind %q", u.GetKind())
		}
	}
	for name, want := range map[string]map[string]string{
		"KubeadmControlPlane aws-example-control-plane": {"spec.version": "v1.35.2"},
		"AWSMachineTemplate aws-example-md-0":           {"spec.template.spec.ami.id": OldAMI, "spec.template.spec.instanceType": "m5.large"},
		"DevMachineTemplate aws-example-md-1":           {},
		"KubeadmConfigTemplate aws-example-md-0":        {},
		"MachineDeployment aws-example-md-0": {"spec.template.spec.version": "v1.34.3", "spec.template.spec.infrastructureRef.kind": "AWSMachineTemplate",
			"spec.template.spec.infrastructureRef.name": "aws-example-md-0"},
		"MachineDeployment aws-example-md-1": {"spec.template.spec.infrastructureRef.kind": "DevMachineTemplate"},
	} {
		u := byName[name]
		if u == nil {
			t.Errorf("%s is not made", name)
			continue
		}
		for path, value := range want {
			if got, _, _ := unstructured.NestedString(u.Object, strings.Split(path, ".")...); got != value {
				t.Errorf("%s: %s = %q, want %q", name, path, got, value)
			}
		}
	}
	if n := number(byName["MachineDeployment aws-example-md-0"], "spec", "replicas"); n != 3 {
		t.Errorf("aws-example-md-0 has %d replicas, want 3", n)
	}
}

// TestTopology: what the class refers to is made, before the Cluster, and the
// MachineDeployments are not.
func TestTopology(t *testing.T) {
	c := Cluster{Name: "c2", Namespace: "team-a", Version: NewVersion, Replicas: 1, Topology: true}
	c.Pools, _ = ParsePools("aws:3,dev:2", c, NewVersion)
	objects, err := c.Objects()
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	for _, u := range objects {
		made[u.GetKind()+" "+u.GetName()] = true
		if _, ok := resources[u.GetKind()]; !ok {
			t.Errorf("no resource known for kind %q", u.GetKind())
		}
		if u.GetKind() != "ClusterClass" {
			continue
		}
		workers, _, _ := unstructured.NestedSlice(u.Object, "spec", "workers", "machineDeployments")
		for _, w := range workers {
			for _, of := range []string{"bootstrap", "infrastructure"} {
				ref, _, _ := unstructured.NestedStringMap(w.(map[string]any), of, "templateRef")
				if !made[ref["kind"]+" "+ref["name"]] {
					t.Errorf("%s %s is not made before the class", ref["kind"], ref["name"])
				}
			}
		}
		if len(workers) != 2 {
			t.Errorf("%d classes of workers", len(workers))
		}
	}
	if last := objects[len(objects)-1]; last.GetKind() != "Cluster" || made["MachineDeployment c2-md-0"] {
		t.Errorf("the last is a %s; %v", last.GetKind(), made)
	}
}

func TestParsePools(t *testing.T) {
	c := Cluster{Name: "c2", Namespace: "team-a"}
	pools, err := ParsePools("aws:3, dev:0", c, "v1.34.3")
	if err != nil {
		t.Fatal(err)
	}
	want := Pool{Name: "c2-md-0", Cluster: "c2", Namespace: "team-a", Kind: AWS, Version: "v1.34.3", Replicas: 3, AMI: OldAMI}
	if len(pools) != 2 || pools[0] != want || pools[1].Name != "c2-md-1" || pools[1].Replicas != 0 {
		t.Errorf("ParsePools = %+v", pools)
	}
	for _, bad := range []string{"", "aws", "aws:x", "aws:-1", "gcp:1", "aws:1,,dev:1"} {
		if _, err := ParsePools(bad, c, "v1.34.3"); err == nil || !strings.Contains(err.Error(), "aws:3,dev:2") {
			t.Errorf("ParsePools(%q) = %v, want an error with an example", bad, err)
		}
	}
}

func TestPoolOfUnknownKind(t *testing.T) {
	if _, err := (Pool{Name: "p", Kind: "gcp"}).Objects(); err == nil {
		t.Error("a pool of an unknown kind was made")
	}
}
