package clustertest_test

import (
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// seeder acts on a world directly.
type seeder struct {
	world   *clustertest.World
	version string
}

func (s seeder) Namespace() string { return "default" }

func (s seeder) APIVersion(group, kind string) string {
	if kind == "AWSMachineTemplate" {
		return group + "/v1beta2"
	}
	return group + "/" + s.version
}

func (s seeder) Create(_ *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	s.world.Put(o)
	return s.world.Get(capi.RefOf(o))
}

func (s seeder) Edit(_ *testing.T, ref plan.Ref, change func(*unstructured.Unstructured)) {
	s.world.Edit(ref, change)
}

func (s seeder) Delete(_ *testing.T, ref plan.Ref) { s.world.Delete(ref) }

func TestConformance(t *testing.T) {
	for _, v1beta1 := range []bool{false, true} {
		version := map[bool]string{false: "v1beta2", true: "v1beta1"}[v1beta1]
		t.Run(version, func(t *testing.T) {
			clustertest.Conformance(t, func(*testing.T) (apply.Cluster, clustertest.Seeder) {
				w := clustertest.NewWorld(clustertest.Kinds(v1beta1)...)
				w.Put(&unstructured.Unstructured{Object: map[string]any{
					"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "kube-root-ca.crt", "namespace": "default"},
				}})
				w.Schema(func(o *unstructured.Unstructured) error {
					if _, found, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "template", "spec", "preKubeadmComands"); found {
						return errors.New(`unknown field "spec.template.spec.preKubeadmComands"`)
					}
					return nil
				})
				return w.Open(nil), seeder{w, version}
			})
		})
	}
}
