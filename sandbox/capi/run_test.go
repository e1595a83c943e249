package capi

import "testing"

func TestNewestForContract(t *testing.T) {
	for name, tc := range map[string]struct {
		labels map[string]string
		want   string
		ok     bool
	}{
		"both contracts":          {map[string]string{"cluster.x-k8s.io/v1beta1": "v1beta1", "cluster.x-k8s.io/v1beta2": "v1beta2"}, "v1beta2", true},
		"AWS: old contract":       {map[string]string{"cluster.x-k8s.io/v1alpha4": "v1alpha4", "cluster.x-k8s.io/v1beta1": "v1beta1_v1beta2"}, "v1beta2", true},
		"order does not matter":   {map[string]string{"cluster.x-k8s.io/v1beta1": "v1beta2_v1beta1"}, "v1beta2", true},
		"a contract nobody reads": {map[string]string{"cluster.x-k8s.io/v1alpha4": "v1alpha4"}, "", false},
		"none":                    {nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := newestForContract(tc.labels)
			if got != tc.want || ok != tc.ok {
				t.Errorf("newestForContract = %q, %v, want %q, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestScheme(t *testing.T) {
	if _, err := newScheme(); err != nil {
		t.Error(err)
	}
}
