package provider

import (
	"context"
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// awsStatus is what the stand-in says about an AWSMachine. Both conditions say
// the same: Ready is upstream's summary, of which only one part exists here.
type awsStatus struct {
	ready                     bool
	reason, severity, message string
	fields                    map[string]any
}

func notReady(reason, severity, message string) awsStatus {
	return awsStatus{reason: reason, severity: severity, message: message}
}

func ready(infra *unstructured.Unstructured) awsStatus {
	return awsStatus{ready: true, fields: map[string]any{
		"instanceState": "running",
		"addresses": []any{
			map[string]any{"type": "Hostname", "address": infra.GetName()},
		},
	}}
}

// setStatus writes s when it differs from what the object says.
func (r *awsMachines) setStatus(ctx context.Context, infra *unstructured.Unstructured, s awsStatus) error {
	before := infra.DeepCopy()
	status, _, _ := unstructured.NestedMap(infra.Object, "status")
	if status == nil {
		status = map[string]any{}
	}
	status["ready"] = s.ready
	for k, v := range s.fields {
		status[k] = v
	}
	old, _, _ := unstructured.NestedSlice(infra.Object, "status", "conditions")
	var conditions []any
	for _, conditionType := range []string{"Ready", "InstanceReady"} {
		conditions = append(conditions, s.condition(conditionType, old))
	}
	status["conditions"] = conditions
	infra.Object["status"] = status
	if reflect.DeepEqual(before.Object["status"], infra.Object["status"]) {
		return nil
	}
	return r.client.Status().Patch(ctx, infra, client.MergeFrom(before))
}

func (s awsStatus) condition(conditionType string, old []any) map[string]any {
	c := map[string]any{
		"type":               conditionType,
		"status":             string(metav1.ConditionTrue),
		"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
	}
	if !s.ready {
		c["status"], c["reason"], c["severity"] = string(metav1.ConditionFalse), s.reason, s.severity
		if s.message != "" {
			c["message"] = s.message
		}
	}
	if was := findCondition(old, conditionType); was != nil && was["status"] == c["status"] && was["reason"] == c["reason"] && was["message"] == c["message"] {
		c["lastTransitionTime"] = was["lastTransitionTime"]
	}
	return c
}

func findCondition(conditions []any, conditionType string) map[string]any {
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == conditionType {
			return m
		}
	}
	return nil
}

// runningSince is when the instance began to run, from its condition, so that
// a slow boot goes on where it was after a restart.
func runningSince(infra *unstructured.Unstructured) time.Time {
	conditions, _, _ := unstructured.NestedSlice(infra.Object, "status", "conditions")
	c := findCondition(conditions, "InstanceReady")
	if c == nil || c["status"] != string(metav1.ConditionTrue) {
		return time.Now()
	}
	s, _ := c["lastTransitionTime"].(string)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Now()
	}
	return t
}
