//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The versions and the image that `sandbox cluster` gives its pools.
const (
	oldVersion = "v1.34.3"
	newVersion = "v1.35.2"
	oldImage   = "ami-0123456789abcdef0"
	newImage   = "ami-0fedcba9876543210"
)

// cluster is a workload cluster in a namespace of its own.
type cluster struct {
	namespace, name string
}

// newCluster makes a cluster for one test; flags are those of `sandbox cluster`.
func newCluster(t testing.TB, name string, flags ...string) cluster {
	t.Helper()
	c := cluster{namespace: name + "-" + box.run, name: name}
	makeCluster(t, c, flags...)
	return c
}

func makeCluster(t testing.TB, c cluster, flags ...string) {
	t.Helper()
	sandboxCommand(t, slices.Concat([]string{"cluster", "--dir", box.dir, "--name", c.name, "--namespace", c.namespace, "--timeout", patience.String()}, flags)...)
	if box.borrowed {
		t.Cleanup(func() { box.deleteCluster(t, c) })
	}
}

// addPool adds a pool; flags are those of `sandbox pool`.
func (c cluster) addPool(t *testing.T, name string, flags ...string) {
	t.Helper()
	sandboxCommand(t, slices.Concat([]string{"pool", "--dir", box.dir, "--name", name, "--cluster", c.name, "--namespace", c.namespace, "--timeout", patience.String()}, flags)...)
}

// pool gives the name of the cluster's nth pool.
func (c cluster) pool(n int) string { return fmt.Sprintf("%s-md-%d", c.name, n) }

func sandboxCommand(t testing.TB, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), box.program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("sandbox %q: %v\n%s", args, err, out)
	}
}

// fault sets a fault of one image until the test ends. The image must be the
// test's own: see image.
func fault(t *testing.T, name, ami string, values ...string) {
	t.Helper()
	sandboxCommand(t, slices.Concat([]string{"fault", "set", "--dir", box.dir, name, ami}, values)...)
	t.Cleanup(func() {
		// The test's context has ended.
		if out, err := exec.CommandContext(context.Background(), box.program, "fault", "clear", "--dir", box.dir, name, ami).CombinedOutput(); err != nil {
			t.Errorf("clear the fault: %v\n%s", err, out)
		}
	})
}

// image gives the name of an image that no other test uses.
func image(name string) string { return "ami-" + name + "-" + box.run }

// pool is a pool of an upgrade file.
type pool map[string]any

// upgrade writes an upgrade file named name for pools of c.
func (c cluster) upgrade(t *testing.T, name string, pools ...pool) string {
	t.Helper()
	return c.write(t, name, map[string]any{"pools": pools})
}

// write writes an upgrade file with a spec that lacks the cluster.
func (c cluster) write(t *testing.T, name string, spec map[string]any) string {
	t.Helper()
	spec["cluster"] = map[string]any{"name": c.name, "namespace": c.namespace}
	raw, err := yaml.Marshal(map[string]any{
		"apiVersion": "nodepool/v1alpha1",
		"kind":       "NodePoolUpgrade",
		"metadata":   map[string]any{"name": name},
		"spec":       spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "upgrade.yaml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// machine is what a machine of a pool is made of.
type machine struct {
	Version, Template, Image, Type string
	Deleting                       bool
}

// machines gives the machines of a pool, sorted by name. Image and Type are
// those of an AWSMachine.
func (c cluster) machines(t *testing.T, pool string) []machine {
	t.Helper()
	var out []machine
	for _, m := range box.list(t, machines, c.namespace, "cluster.x-k8s.io/deployment-name="+pool) {
		kind := text(m, "spec", "infrastructureRef", "kind")
		resource := awsMachines
		if kind == "DevMachine" {
			resource = devMachines
		}
		infra := box.find(t, resource, c.namespace, text(m, "spec", "infrastructureRef", "name"))
		if infra == nil {
			infra = &unstructured.Unstructured{Object: map[string]any{}}
		}
		out = append(out, machine{
			Version:  text(m, "spec", "version"),
			Template: infra.GetAnnotations()["cluster.x-k8s.io/cloned-from-name"],
			Image:    text(infra, "spec", "ami", "id"),
			Type:     text(infra, "spec", "instanceType"),
			Deleting: m.GetDeletionTimestamp() != nil,
		})
	}
	return out
}

// deployment gives a pool's MachineDeployment.
func (c cluster) deployment(t *testing.T, pool string) *unstructured.Unstructured {
	t.Helper()
	return box.get(t, machineDeployments, c.namespace, pool)
}

// template gives the name of a pool's infrastructure template.
func (c cluster) template(t *testing.T, pool string) string {
	t.Helper()
	return text(c.deployment(t, pool), "spec", "template", "spec", "infrastructureRef", "name")
}
