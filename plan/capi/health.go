package capi

import (
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// HealthCheck is what a MachineHealthCheck says that matters to a rollout, of
// v1beta2 and v1beta1 alike (api/core, machinehealthcheck_types.go).
type HealthCheck struct {
	Ref Ref
	// Startup is how long a new machine may take to its node; 0 is for ever.
	Startup time.Duration
	// Limit says in words of how many unhealthy machines remediation goes on.
	Limit string
	// Expected and Healthy count the machines that it selects, by its status.
	Expected, Healthy int

	selector labels.Selector
	most     intstr.IntOrString
	low      int
	high     int // of a range, which counts in place of most when it is set
}

// HealthCheckOf reads a MachineHealthCheck. What cannot be read has its default.
func HealthCheckOf(obj *unstructured.Unstructured) HealthCheck {
	o := seen(obj.Object)
	h := HealthCheck{Ref: RefOf(obj), Startup: time.Duration(clusterv1.DefaultNodeStartupTimeoutSeconds) * time.Second,
		most: intstr.FromString("100%"), selector: labels.Nothing()}
	var s metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.object("spec", "selector"), &s); err == nil {
		if selector, err := metav1.LabelSelectorAsSelector(&s); err == nil {
			h.selector = selector
		}
	}
	limit, rng := []string{"spec", "remediation", "triggerIf", "unhealthyLessThanOrEqualTo"}, o.text("spec", "remediation", "triggerIf", "unhealthyInRange")
	if seconds, ok := o.number("spec", "checks", "nodeStartupTimeoutSeconds"); ok {
		h.Startup = time.Duration(seconds) * time.Second
	}
	if o.oldForm() {
		limit, rng = []string{"spec", "maxUnhealthy"}, o.text("spec", "unhealthyRange")
		if d, err := time.ParseDuration(o.text("spec", "nodeStartupTimeout")); err == nil {
			h.Startup = d
		}
	}
	if n, ok := o.number(limit...); ok {
		h.most = intstr.FromInt32(int32(n))
	} else if text := o.text(limit...); text != "" {
		h.most = intstr.FromString(text)
	}
	h.Limit = "at most " + h.most.String() + " unhealthy"
	if low, high, ok := strings.Cut(strings.Trim(rng, "[]"), "-"); ok {
		a, err := strconv.Atoi(low)
		b, err2 := strconv.Atoi(high)
		if err == nil && err2 == nil {
			h.low, h.high, h.Limit = a, b, rng+" unhealthy"
		}
	}
	expected, _ := o.number("status", "expectedMachines")
	healthy, _ := o.number("status", "currentHealthy")
	h.Expected, h.Healthy = int(expected), int(healthy)
	return h
}

// Selects reports whether it checks machines with these labels.
func (h HealthCheck) Selects(machine map[string]string) bool {
	return h.selector.Matches(labels.Set(machine))
}

// Remediates reports whether it has any machine replaced when so many of all
// that it selects do not count as healthy. A machine that has no node yet, or
// is being deleted, does not (internal/controllers/machinehealthcheck:
// isAllowedRemediation, healthCheckTargets).
func (h HealthCheck) Remediates(unhealthy, of int) bool {
	if h.high > 0 {
		return h.low <= unhealthy && unhealthy <= h.high
	}
	most, err := intstr.GetScaledValueFromIntOrPercent(&h.most, of, false)
	return err == nil && unhealthy <= most
}

// StartupOf gives how long machines took to their nodes: the middle one of
// those times, since a condition that went and came back tells a time too long,
// and how many machines told one. A MachineHealthCheck counts from when the
// machine's infrastructure is ready (machinehealthcheck_targets.go,
// nodeChecks).
func StartupOf(machines iter.Seq[*unstructured.Unstructured]) (time.Duration, int) {
	var took []time.Duration
	for o := range machines {
		if o == nil {
			continue
		}
		m := seen(o.Object)
		from, err := time.Parse(time.RFC3339, m.created())
		if err != nil || m.text("status", "nodeRef", "name") == "" {
			continue
		}
		infra, _ := m.condition(clusterv1.MachineInfrastructureReadyCondition, string(clusterv1.InfrastructureReadyV1Beta1Condition))
		if at, err := time.Parse(time.RFC3339, infra.since); err == nil && infra.holds() && at.After(from) {
			from = at
		}
		joined := time.Time{}
		for _, kind := range []string{clusterv1.MachineNodeReadyCondition, clusterv1.MachineNodeHealthyCondition} {
			c, _ := m.condition(kind, string(clusterv1.MachineNodeHealthyV1Beta1Condition))
			if at, err := time.Parse(time.RFC3339, c.since); err == nil && (joined.IsZero() || at.Before(joined)) {
				joined = at
			}
		}
		if !joined.IsZero() && !joined.Before(from) {
			took = append(took, joined.Sub(from))
		}
	}
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[len(took)/2], len(took)
}
