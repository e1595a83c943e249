package provider

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestPermitted(t *testing.T) {
	pod := func(name, app string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}}}
	}
	pods := []corev1.Pod{pod("a", "web"), pod("b", "web"), pod("c", "db")}
	budget := func(app string, spec policyv1.PodDisruptionBudgetSpec) []policyv1.PodDisruptionBudget {
		spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
		return []policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Name: "budget"}, Spec: spec}}
	}
	value := func(s string) *intstr.IntOrString { v := intstr.Parse(s); return &v }
	for name, tc := range map[string]struct {
		budgets []policyv1.PodDisruptionBudget
		ok      bool
	}{
		"no budget":                {nil, true},
		"another app's":            {budget("db", policyv1.PodDisruptionBudgetSpec{MinAvailable: value("1")}), true},
		"one may go":               {budget("web", policyv1.PodDisruptionBudgetSpec{MinAvailable: value("1")}), true},
		"none may go":              {budget("web", policyv1.PodDisruptionBudgetSpec{MinAvailable: value("2")}), false},
		"all must stay":            {budget("web", policyv1.PodDisruptionBudgetSpec{MinAvailable: value("100%")}), false},
		"half must stay":           {budget("web", policyv1.PodDisruptionBudgetSpec{MinAvailable: value("50%")}), true},
		"none may be unavailable":  {budget("web", policyv1.PodDisruptionBudgetSpec{MaxUnavailable: value("0")}), false},
		"one may be unavailable":   {budget("web", policyv1.PodDisruptionBudgetSpec{MaxUnavailable: value("1")}), true},
		"a budget without numbers": {budget("web", policyv1.PodDisruptionBudgetSpec{}), true},
	} {
		t.Run(name, func(t *testing.T) {
			err := permitted(&pods[0], pods, tc.budgets)
			if tc.ok != (err == nil) {
				t.Fatalf("permitted = %v", err)
			}
			if err != nil && (!apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "disruption budget")) {
				t.Errorf("permitted = %v, want what an API server says", err)
			}
		})
	}
}
