package schema_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodepool/schema"
)

const whole = `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata:
  name: aws-example-1-35
spec:
  cluster: {name: aws-example, namespace: clusters}
  order: parallel
  preflight: {workload: true}
  images:
    - {image: ami-0fedcba9876543210, kubernetesVersion: v1.35.2, architecture: amd64, os: Ubuntu 24.04}
    - {image: ami-0123456789abcdef0, architecture: arm64}
  imagesFrom: ../images.yaml
  defaults:
    kubernetesVersion: v1.35.2
    infrastructure:
      rootVolume: {size: 100, type: gp3}
      tags: [a, b]
    strategy: {maxSurge: 1, maxUnavailable: 0}
    wait: {stallAfter: 20m}
  pools:
    - name: aws-example-md-0
      machineImage: ami-0fedcba9876543210
      instanceType: m5.xlarge
      infrastructure:
        rootVolume: {size: 200, iops: null}
        tags: [c]
        share: 0.5
      bootstrap: {joinConfiguration: {nodeRegistration: {kubeletExtraArgs: [{name: v, value: "4"}]}}}
      strategy: {maxSurge: 25%}
      drain: {nodeDrainTimeout: 10m, nodeVolumeDetachTimeout: 0s, nodeDeletionTimeout: 90s}
      wait: {stallAfter: 1h}
      waive: [{check: rollout-under-way, reason: "superseded by this one, CHG-4711"}]
    - name: aws-example-md-1
`

func ptr[T any](v T) *T { return &v }

func TestReadWhole(t *testing.T) {
	got, _, err := schema.Read("upgrade.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := schema.Upgrade{
		APIVersion: schema.APIVersion,
		Kind:       schema.Kind,
		Metadata:   schema.Metadata{Name: "aws-example-1-35"},
		Spec: schema.Spec{
			Cluster:   schema.ClusterRef{Name: "aws-example", Namespace: "clusters"},
			Order:     schema.Parallel,
			Preflight: schema.Preflight{Workload: true},
			Images: []schema.Image{
				{Image: "ami-0fedcba9876543210", KubernetesVersion: "v1.35.2", Architecture: schema.AMD64, OS: "Ubuntu 24.04"},
				{Image: "ami-0123456789abcdef0", Architecture: schema.ARM64},
			},
			ImagesFrom: "../images.yaml",
			Pools: []schema.Pool{
				{
					Name:              "aws-example-md-0",
					KubernetesVersion: "v1.35.2",
					MachineImage:      "ami-0fedcba9876543210",
					InstanceType:      "m5.xlarge",
					Infrastructure: map[string]any{
						"rootVolume": map[string]any{"size": int64(200), "type": "gp3", "iops": nil},
						"tags":       []any{"c"},
						"share":      0.5,
					},
					Bootstrap: map[string]any{"joinConfiguration": map[string]any{"nodeRegistration": map[string]any{
						"kubeletExtraArgs": []any{map[string]any{"name": "v", "value": "4"}},
					}}},
					Strategy: &schema.Strategy{MaxSurge: ptr(intstr.FromString("25%")), MaxUnavailable: ptr(intstr.FromInt32(0))},
					Drain: &schema.Drain{
						NodeDrainTimeout:        ptr(schema.Duration(10 * time.Minute)),
						NodeVolumeDetachTimeout: ptr(schema.Duration(0)),
						NodeDeletionTimeout:     ptr(schema.Duration(90 * time.Second)),
					},
					Wait:  schema.Wait{StallAfter: schema.Duration(time.Hour)},
					Waive: []schema.Waiver{{Check: "rollout-under-way", Reason: "superseded by this one, CHG-4711"}},
				},
				{
					Name:              "aws-example-md-1",
					KubernetesVersion: "v1.35.2",
					Infrastructure: map[string]any{
						"rootVolume": map[string]any{"size": int64(100), "type": "gp3"},
						"tags":       []any{"a", "b"},
					},
					Strategy: &schema.Strategy{MaxSurge: ptr(intstr.FromInt32(1)), MaxUnavailable: ptr(intstr.FromInt32(0))},
					Wait:     schema.Wait{StallAfter: schema.Duration(20 * time.Minute)},
				},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
}
