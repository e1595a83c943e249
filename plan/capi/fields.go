package capi

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Fields says where a MachineDeployment's fields stand in one API version.
// Paths are lists of map keys from the top of the object. The moves between
// v1beta1 and v1beta2 are those of Cluster API v1.11
// (docs/book/src/developer/providers/migrations/v1.10-to-v1.11.md).
type Fields struct {
	APIVersion string

	Version           []string
	InfrastructureRef []string
	BootstrapRef      []string
	DataSecretName    []string
	FailureDomain     []string
	Paused            []string
	StrategyType      []string
	MaxSurge          []string
	MaxUnavailable    []string
	Replicas          []string
	MinReadySeconds   []string

	NodeDrainTimeout        []string
	NodeVolumeDetachTimeout []string
	NodeDeletionTimeout     []string

	// seconds tells that the three timeouts are whole seconds (v1beta2)
	// rather than duration strings (v1beta1).
	seconds bool
}

var machineDeploymentFields = map[string]Fields{
	"v1beta2": {
		APIVersion:              Group + "/v1beta2",
		Version:                 dotted("spec.template.spec.version"),
		InfrastructureRef:       dotted("spec.template.spec.infrastructureRef"),
		BootstrapRef:            dotted("spec.template.spec.bootstrap.configRef"),
		DataSecretName:          dotted("spec.template.spec.bootstrap.dataSecretName"),
		FailureDomain:           dotted("spec.template.spec.failureDomain"),
		Paused:                  dotted("spec.paused"),
		StrategyType:            dotted("spec.rollout.strategy.type"),
		MaxSurge:                dotted("spec.rollout.strategy.rollingUpdate.maxSurge"),
		MaxUnavailable:          dotted("spec.rollout.strategy.rollingUpdate.maxUnavailable"),
		Replicas:                dotted("spec.replicas"),
		MinReadySeconds:         dotted("spec.template.spec.minReadySeconds"),
		NodeDrainTimeout:        dotted("spec.template.spec.deletion.nodeDrainTimeoutSeconds"),
		NodeVolumeDetachTimeout: dotted("spec.template.spec.deletion.nodeVolumeDetachTimeoutSeconds"),
		NodeDeletionTimeout:     dotted("spec.template.spec.deletion.nodeDeletionTimeoutSeconds"),
		seconds:                 true,
	},
	"v1beta1": {
		APIVersion:              Group + "/v1beta1",
		Version:                 dotted("spec.template.spec.version"),
		InfrastructureRef:       dotted("spec.template.spec.infrastructureRef"),
		BootstrapRef:            dotted("spec.template.spec.bootstrap.configRef"),
		DataSecretName:          dotted("spec.template.spec.bootstrap.dataSecretName"),
		FailureDomain:           dotted("spec.template.spec.failureDomain"),
		Paused:                  dotted("spec.paused"),
		StrategyType:            dotted("spec.strategy.type"),
		MaxSurge:                dotted("spec.strategy.rollingUpdate.maxSurge"),
		MaxUnavailable:          dotted("spec.strategy.rollingUpdate.maxUnavailable"),
		Replicas:                dotted("spec.replicas"),
		MinReadySeconds:         dotted("spec.minReadySeconds"),
		NodeDrainTimeout:        dotted("spec.template.spec.nodeDrainTimeout"),
		NodeVolumeDetachTimeout: dotted("spec.template.spec.nodeVolumeDetachTimeout"),
		NodeDeletionTimeout:     dotted("spec.template.spec.nodeDeletionTimeout"),
	},
}

func dotted(path string) []string { return strings.Split(path, ".") }

// FieldsOf gives the field paths of a MachineDeployment in the API version of
// obj. An API version that is neither v1beta1 nor v1beta2 is an error.
func FieldsOf(obj *unstructured.Unstructured) (Fields, error) {
	version := obj.GetAPIVersion()
	group, v, ok := strings.Cut(version, "/")
	f, known := machineDeploymentFields[v]
	if !ok || group != Group || !known {
		return Fields{}, fmt.Errorf("%s is in API version %q; nodepool reads %s/v1beta2 and %s/v1beta1",
			RefOf(obj), version, Group, Group)
	}
	return f, nil
}

// Timeout gives the value that the API version of f stores for d: whole
// seconds as int64 in v1beta2, a duration string in v1beta1. A fraction of a
// second is rounded up, since v1beta2 cannot hold it.
func (f Fields) Timeout(d time.Duration) any {
	seconds := int64((d + time.Second - 1) / time.Second)
	if f.seconds {
		return seconds
	}
	return (time.Duration(seconds) * time.Second).String()
}

// StringAt reads the string at path, "" when it is absent or no string.
func StringAt(obj *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(obj.Object, path...)
	return s
}

// Int64At reads the whole number at path; it reports false when it is absent
// or no number.
func Int64At(obj *unstructured.Unstructured, path ...string) (int64, bool) {
	v, found, err := unstructured.NestedFieldNoCopy(obj.Object, path...)
	if err != nil || !found {
		return 0, false
	}
	switch n := v.(type) {
	case int64:
		return n, true
	case float64:
		return int64(n), n == float64(int64(n))
	}
	return 0, false
}

// BoolAt reads the boolean at path, false when it is absent or no boolean.
func BoolAt(obj *unstructured.Unstructured, path ...string) bool {
	b, _, _ := unstructured.NestedBool(obj.Object, path...)
	return b
}
