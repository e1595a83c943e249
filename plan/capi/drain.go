package capi

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// Drain is what Cluster API does with a pod when it drains a machine's node.
type Drain = clusterv1.MachineDrainRuleDrainBehavior

// What becomes of a pod in a drain: it is evicted; it is left, and ends with its
// machine; it is left until it completes by itself, and the machine with it.
const (
	DrainEvicts = clusterv1.MachineDrainRuleDrainBehaviorDrain
	DrainSkips  = clusterv1.MachineDrainRuleDrainBehaviorSkip
	DrainWaits  = clusterv1.MachineDrainRuleDrainBehaviorWaitCompleted
)

// DrainPod is what a drain looks at in a pod that has not finished.
type DrainPod struct {
	Labels map[string]string
	// NamespaceLabels are those of its namespace.
	NamespaceLabels map[string]string
	// Mirror marks a static pod (annotation kubernetes.io/config.mirror).
	Mirror bool
	// OfDaemonSet says that its controller is of the kind DaemonSet and that an
	// apps/v1 DaemonSet of that name is there. Another API group's DaemonSet
	// does not count, nor one that is gone.
	OfDaemonSet bool
}

// DrainRules are MachineDrainRules, in the order in which Cluster API asks them.
type DrainRules []drainRule

type drainRule struct {
	name           string
	behavior       Drain
	machines, pods []selectors
}

// selectors selects an object and what it belongs to: a Machine and its Cluster,
// a pod and its namespace.
type selectors struct{ of, owner labels.Selector }

// DrainRulesOf reads MachineDrainRules of v1beta1 or v1beta2, which look alike.
// A selector that is no selector selects nothing; the webhook of Cluster API
// lets none in.
func DrainRulesOf(objs []*unstructured.Unstructured) DrainRules {
	var out DrainRules
	for _, o := range objs {
		out = append(out, drainRule{
			name:     o.GetName(),
			behavior: Drain(StringAt(o, "spec", "drain", "behavior")),
			machines: selectorsAt(o, "machines", "selector", "clusterSelector"),
			pods:     selectorsAt(o, "pods", "selector", "namespaceSelector"),
		})
	}
	slices.SortFunc(out, func(a, b drainRule) int { return cmp.Compare(a.name, b.name) })
	return out
}

func selectorsAt(o *unstructured.Unstructured, list, of, owner string) []selectors {
	items, _, _ := unstructured.NestedSlice(o.Object, "spec", list)
	var out []selectors
	for _, item := range items {
		fields, _ := item.(map[string]any)
		out = append(out, selectors{of: selectorAt(fields, of), owner: selectorAt(fields, owner)})
	}
	return out
}

// selectorAt reads a label selector; one that is absent selects everything.
func selectorAt(fields map[string]any, name string) labels.Selector {
	tree, ok := fields[name].(map[string]any)
	if !ok {
		return labels.Everything()
	}
	var s metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(tree, &s); err != nil {
		return labels.Nothing()
	}
	selector, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// anySelects tells whether one of list selects both; an empty list selects all.
func anySelects(list []selectors, of, owner map[string]string) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(s selectors) bool {
		return s.of.Matches(labels.Set(of)) && s.owner.Matches(labels.Set(owner))
	})
}

// For gives the rules that hold for a Machine, by its labels and its Cluster's.
func (r DrainRules) For(machine, cluster map[string]string) DrainRules {
	var out DrainRules
	for _, rule := range r {
		if anySelects(rule.machines, machine, cluster) {
			out = append(out, rule)
		}
	}
	return out
}

// Of says what a drain does with a pod, by the rules that hold for its machine.
// Source: GetPodsForEviction and filters.go in internal/controllers/machine/drain
// of Cluster API v1.13.4: pods of DaemonSets and static pods are skipped; then
// the pod's label decides, then the first rule that selects it; all else is
// evicted. Unlike kubectl's, this drain asks for no leave to evict a pod that has
// local storage or no controller.
func (r DrainRules) Of(pod DrainPod) Drain {
	if pod.OfDaemonSet || pod.Mirror {
		return DrainSkips
	}
	switch value := pod.Labels[clusterv1.PodDrainLabel]; {
	case strings.EqualFold(value, string(DrainSkips)):
		return DrainSkips
	case strings.EqualFold(strings.Replace(value, "-", "", 1), string(DrainWaits)):
		return DrainWaits
	}
	for _, rule := range r {
		if anySelects(rule.pods, pod.Labels, pod.NamespaceLabels) {
			return rule.behavior
		}
	}
	return DrainEvicts
}

// NotDrained reports whether Cluster API deletes a Machine without a drain, by
// its annotation: no pod is evicted then, and no budget is asked
// (machine_controller.go, isNodeDrainAllowed).
func NotDrained(machine *unstructured.Unstructured) bool {
	_, ok := machine.GetAnnotations()[clusterv1.ExcludeNodeDrainingAnnotation]
	return ok
}

// TimeoutAt reads one of the three timeouts of a MachineDeployment. Zero is no
// limit, and so is one that is absent, save that of the node's deletion, which
// Cluster API's webhook sets to 10 seconds.
func (f Fields) TimeoutAt(md *unstructured.Unstructured, path []string) time.Duration {
	if seconds, ok := Int64At(md, path...); ok {
		return time.Duration(seconds) * time.Second
	}
	d, err := time.ParseDuration(StringAt(md, path...))
	if err != nil {
		return 0
	}
	return d
}
