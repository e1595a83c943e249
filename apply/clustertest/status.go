package clustertest

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// condition is a status condition as v1beta2 has them.
type condition struct{ kind, status, reason, message string }

// conditionsPath tells where the conditions of v1beta2 stand: v1beta1 objects
// carry them apart, since Cluster API v1.9.
func conditionsPath(o *unstructured.Unstructured) []string {
	if strings.HasPrefix(o.GetAPIVersion(), capi.Group+"/") && strings.HasSuffix(o.GetAPIVersion(), "/v1beta1") {
		return []string{"status", "v1beta2", "conditions"}
	}
	return []string{"status", "conditions"}
}

// oldConditionsPath tells where the conditions of v1beta1 stand.
func oldConditionsPath(o *unstructured.Unstructured) []string {
	if strings.HasSuffix(o.GetAPIVersion(), "/v1beta1") {
		return []string{"status", "conditions"}
	}
	return []string{"status", "deprecated", "v1beta1", "conditions"}
}

// counter tells where a counter of v1beta1 stands.
func counter(v1beta1 bool, name string) []string {
	if v1beta1 {
		return []string{"status", name}
	}
	return []string{"status", "deprecated", "v1beta1", name}
}

// setCondition sets one condition and keeps its time while its status stays.
func setCondition(o *unstructured.Unstructured, now string, c condition) {
	setConditionAt(o, conditionsPath(o), now, map[string]any{
		"type": c.kind, "status": c.status, "reason": c.reason, "message": c.message,
		"observedGeneration": o.GetGeneration(),
	})
}

// setOldCondition sets one condition in the form of v1beta1.
func setOldCondition(o *unstructured.Unstructured, now string, c condition, severity string) {
	m := map[string]any{"type": c.kind, "status": c.status}
	if c.status != "True" {
		m["reason"], m["severity"] = c.reason, severity
		if c.message != "" {
			m["message"] = c.message
		}
	}
	setConditionAt(o, oldConditionsPath(o), now, m)
}

func setConditionAt(o *unstructured.Unstructured, path []string, now string, next map[string]any) {
	v, _, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
	list, _ := v.([]any)
	next["lastTransitionTime"] = now
	for i, item := range list {
		old, _ := item.(map[string]any)
		if old["type"] != next["type"] {
			continue
		}
		if old["status"] == next["status"] {
			next["lastTransitionTime"] = old["lastTransitionTime"]
		}
		list[i] = next // o is a copy of what is stored
		return
	}
	setField(o, append(list, next), path...)
}

func isFalse(reason string) condition { return condition{status: "False", reason: reason} }

func (c condition) of(kind string) condition { c.kind = kind; return c }

// stage moves a machine, its infrastructure machine and its bootstrap config
// to a phase.
func (w *World) stage(p pool, m *unstructured.Unstructured, phase string) bool {
	ref := capi.RefOf(m)
	infra, _ := capi.ReferenceAt(m, "spec", "infrastructureRef")
	bootstrap, hasBootstrap := capi.ReferenceAt(m, "spec", "bootstrap", "configRef")
	switch phase {
	case "Provisioning":
		if hasBootstrap && w.get(bootstrap) != nil {
			w.edit(bootstrap, func(o *unstructured.Unstructured) {
				setField(o, true, "status", "initialization", "dataSecretCreated")
				setField(o, ref.Name, "status", "dataSecretName")
				setCondition(o, w.now(), condition{"Ready", "True", "Ready", ""})
			})
		}
		w.edit(ref, func(o *unstructured.Unstructured) {
			setField(o, ref.Name, "spec", "bootstrap", "dataSecretName")
		})
	case "Provisioned", "Running":
		if w.get(infra) != nil {
			w.edit(infra, func(o *unstructured.Unstructured) {
				setField(o, providerID(infra), "spec", "providerID")
				setField(o, true, "status", "ready")
				setField(o, true, "status", "initialization", "provisioned")
				setInfraCondition(o, w.now(), condition{"Ready", "True", "Ready", ""})
			})
		}
		w.edit(ref, func(o *unstructured.Unstructured) {
			setField(o, providerID(infra), "spec", "providerID")
		})
	}
	w.edit(ref, func(o *unstructured.Unstructured) {
		setField(o, phase, "status", "phase")
		if phase == "Running" {
			w.join(p, o)
		}
	})
	w.describe(p, w.get(ref))
	return true
}

// join gives a machine its node.
func (w *World) join(p pool, m *unstructured.Unstructured) {
	node := map[string]any{"name": m.GetName()}
	if p.old {
		node["apiVersion"], node["kind"] = "v1", "Node"
	}
	setField(m, node, "status", "nodeRef")
	kubelet := capi.StringAt(m, "spec", "version")
	if f := w.faults[p.ref].Kubelet; f != "" {
		kubelet = f
	}
	setField(m, map[string]any{
		"kubeletVersion": kubelet, "kubeProxyVersion": kubelet,
		"architecture": "amd64", "operatingSystem": "linux", "osImage": "Ubuntu 24.04 LTS",
		"kernelVersion": "6.8.0", "containerRuntimeVersion": "containerd://2.1.4",
		"machineID": "", "systemUUID": "", "bootID": "",
	}, "status", "nodeInfo")
}

func providerID(infra plan.Ref) string {
	if strings.HasPrefix(infra.Kind, "AWS") {
		return "aws:///eu-central-1a/i-" + infra.Name
	}
	return "in-memory://" + infra.Name
}

// setInfraCondition writes a condition of an infrastructure machine in the form
// of its provider: CAPA still keeps to contract v1beta1.
func setInfraCondition(o *unstructured.Unstructured, now string, c condition) {
	if !strings.HasPrefix(o.GetKind(), "AWS") {
		setCondition(o, now, c)
		return
	}
	m := map[string]any{"type": c.kind, "status": c.status}
	if c.status != "True" {
		m["reason"], m["severity"], m["message"] = c.reason, "Error", c.message
	}
	setConditionAt(o, []string{"status", "conditions"}, now, m)
}

// refresh brings what the controllers derive up to date: the conditions of
// machines first; in a later step the counters of MachineSets and of the
// MachineDeployment.
func (w *World) refresh(p pool) bool {
	moved := false
	base := fmt.Sprintf("%s %s %+v", p.md.GetUID(), p.md.GetResourceVersion(), w.faults[p.ref])
	sets := map[string]string{}
	for _, set := range p.sets {
		sets[set.GetName()] = base + " " + set.GetResourceVersion()
		for _, m := range p.machines[set.GetName()] {
			from := sets[set.GetName()] + " " + m.GetResourceVersion()
			if w.derive(capi.RefOf(m), from, func() bool { return w.describe(p, m) }) {
				moved = true
			}
		}
	}
	if moved {
		return true
	}
	all := base + w.controlPlaneState(p)
	for _, set := range p.sets {
		from := sets[set.GetName()] + w.controlPlaneState(p)
		for _, m := range p.machines[set.GetName()] {
			from += " " + m.GetResourceVersion()
		}
		all += from
		if w.derive(capi.RefOf(set), from, func() bool {
			return w.edit(capi.RefOf(set), func(o *unstructured.Unstructured) { w.describeSet(p, o) })
		}) {
			moved = true
		}
	}
	if w.derive(p.ref, all, func() bool {
		return w.edit(p.ref, func(o *unstructured.Unstructured) { w.describeDeployment(p, o) })
	}) {
		moved = true
	}
	return moved
}

// derive runs a derivation unless it ran on the same versions before and
// changed nothing.
func (w *World) derive(ref plan.Ref, from string, run func() bool) bool {
	if w.derived[ref] == from {
		return false
	}
	if run() {
		delete(w.derived, ref)
		return true
	}
	w.derived[ref] = from
	return false
}

func (w *World) controlPlaneState(p pool) string {
	if p.cluster == nil {
		return ""
	}
	ref, _ := capi.ReferenceAt(p.cluster, "spec", "controlPlaneRef")
	if o := w.get(ref); o != nil {
		return " " + o.GetResourceVersion()
	}
	return ""
}

// describe writes the conditions of one machine from its phase.
func (w *World) describe(p pool, m *unstructured.Unstructured) bool {
	fault := w.faults[p.ref]
	infra, _ := capi.ReferenceAt(m, "spec", "infrastructureRef")
	phase := capi.StringAt(m, "status", "phase")
	if phase == "" {
		return false
	}
	stuck := phase == "Provisioning" && fault.Provider != ""
	if stuck && w.get(infra) != nil {
		w.edit(infra, func(o *unstructured.Unstructured) {
			reason := "InternalError"
			if strings.HasPrefix(infra.Kind, "AWS") {
				reason = "InstanceProvisionFailed"
			}
			setInfraCondition(o, w.now(), condition{"Ready", "False", reason, fault.Provider})
		})
	}
	return w.edit(capi.RefOf(m), func(o *unstructured.Unstructured) {
		now := w.now()
		deleting := o.GetDeletionTimestamp() != nil && phase == "Deleting"
		joined := phase == "Running" || deleting

		bootstrap := condition{"BootstrapConfigReady", "True", "Ready", ""}
		if phase == "Pending" {
			bootstrap = condition{"BootstrapConfigReady", "False", "NotReady", "KubeadmConfig status.initialization.dataSecretCreated is false"}
		}
		provisioned := joined || phase == "Provisioned"
		ready := condition{"InfrastructureReady", "True", "Ready", ""}
		if !provisioned {
			message := infra.Kind + " status.initialization.provisioned is false"
			reason := "NotReady"
			if stuck {
				message = fault.Provider
				if strings.HasPrefix(infra.Kind, "AWS") {
					reason = "InstanceProvisionFailed"
				}
			}
			ready = condition{"InfrastructureReady", "False", reason, message}
		}
		healthy := condition{"NodeHealthy", "True", "NodeHealthy", ""}
		nodeReady := condition{"NodeReady", "True", "NodeReady", ""}
		switch {
		case phase == "Provisioned":
			message := "Waiting for a Node with spec.providerID " + providerID(infra) + " to exist"
			healthy = condition{"NodeHealthy", "Unknown", "InspectionFailed", message}
			nodeReady = condition{"NodeReady", "Unknown", "InspectionFailed", message}
		case !joined:
			message := "Waiting for " + infra.Kind + " to report spec.providerID"
			healthy = condition{"NodeHealthy", "Unknown", "InspectionFailed", message}
			nodeReady = condition{"NodeReady", "Unknown", "InspectionFailed", message}
		}
		deletion := isFalse("NotDeleting").of("Deleting")
		if deleting {
			deletion = condition{"Deleting", "True", "WaitingForInfrastructureDeletion", "Waiting for " + infra.Kind + " to be deleted"}
			if fault.Drain != "" {
				deletion = condition{"Deleting", "True", "DrainingNode", fault.Drain}
			}
		}
		all := condition{"Ready", "True", "Ready", ""}
		available := condition{"Available", "True", "Available", ""}
		var waits []string
		for _, c := range []condition{bootstrap, ready, healthy} {
			if c.status != "True" {
				waits = append(waits, "* "+c.kind+": "+c.message)
			}
		}
		if deleting {
			waits = append(waits, "* Deleting: Machine deletion in progress, stage: "+deletion.reason)
		}
		if len(waits) > 0 {
			all = condition{"Ready", "False", "NotReady", strings.Join(waits, "\n")}
			available = condition{"Available", "False", "NotReady", ""}
		} else if w.young(o) {
			available = condition{"Available", "False", "WaitingForMinReadySeconds", ""}
		}
		for _, c := range []condition{
			available, all, w.upToDate(p, o), bootstrap, ready, healthy, nodeReady,
			isFalse("NotPaused").of("Paused"), deletion,
		} {
			setCondition(o, now, c)
		}
		if !w.before112 {
			setCondition(o, now, isFalse("NotUpdating").of("Updating"))
		}
		old := func(kind string, c condition, severity string) {
			setOldCondition(o, now, c.of(kind), severity)
		}
		old("Ready", all, "Info")
		old("BootstrapReady", bootstrap, "Info")
		old("InfrastructureReady", ready, map[bool]string{true: "Error", false: "Info"}[stuck])
		if joined {
			old("NodeHealthy", healthy, "Info")
		} else {
			old("NodeHealthy", condition{status: "False", reason: "WaitingForNodeRef"}, "Info")
		}
		if p.old {
			setField(o, phase != "Pending", "status", "bootstrapReady")
			setField(o, provisioned, "status", "infrastructureReady")
		} else {
			setField(o, phase != "Pending", "status", "initialization", "bootstrapDataSecretCreated")
			setField(o, provisioned, "status", "initialization", "infrastructureProvisioned")
		}
		setField(o, o.GetGeneration(), "status", "observedGeneration")
	})
}

// upToDate compares a machine with the MachineDeployment's template.
func (w *World) upToDate(p pool, m *unstructured.Unstructured) condition {
	set := w.get(plan.Ref{Group: capi.Group, Kind: "MachineSet", Namespace: m.GetNamespace(), Name: m.GetLabels()[labelSet]})
	if set == nil {
		return condition{"UpToDate", "Unknown", "InternalError", ""}
	}
	var differs []string
	if was, want := capi.StringAt(set, p.fields.Version...), capi.StringAt(p.md, p.fields.Version...); was != want {
		differs = append(differs, fmt.Sprintf("* Version %s, %s required", was, want))
	}
	for _, path := range [][]string{p.fields.BootstrapRef, p.fields.InfrastructureRef} {
		was, _ := capi.ReferenceAt(set, path...)
		want, _ := capi.ReferenceAt(p.md, path...)
		if was != want {
			differs = append(differs, "* "+strings.TrimSuffix(was.Kind, "Template")+" is not up-to-date")
		}
	}
	if len(differs) > 0 {
		return condition{"UpToDate", "False", "NotUpToDate", strings.Join(differs, "\n")}
	}
	return condition{"UpToDate", "True", "UpToDate", ""}
}

type counts struct{ all, ready, upToDate int64 }

func (w *World) count(machines []*unstructured.Unstructured) (c counts, notReady, notUpToDate []string) {
	for _, m := range machines {
		c.all++
		if w.isAvailable(m) {
			c.ready++
		} else {
			_, _, message := conditionOf(m, "Ready")
			notReady = append(notReady, "* Machine "+m.GetName()+":\n  "+strings.ReplaceAll(message, "\n", "\n  "))
		}
		if status, _, message := conditionOf(m, "UpToDate"); status == "True" {
			c.upToDate++
		} else if status == "False" {
			notUpToDate = append(notUpToDate, "* Machine "+m.GetName()+":\n  "+strings.ReplaceAll(message, "\n", "\n  "))
		}
	}
	return c, notReady, notUpToDate
}

// conditionOf gives status, reason and message of a condition in the form of
// v1beta2.
func conditionOf(o *unstructured.Unstructured, kind string) (status, reason, message string) {
	v, _, _ := unstructured.NestedFieldNoCopy(o.Object, conditionsPath(o)...)
	list, _ := v.([]any)
	for _, item := range list {
		if c, _ := item.(map[string]any); c["type"] == kind {
			status, _ = c["status"].(string)
			reason, _ = c["reason"].(string)
			message, _ = c["message"].(string)
		}
	}
	return status, reason, message
}

func machineConditions(notReady, notUpToDate []string) []condition {
	ready := condition{"MachinesReady", "True", "Ready", ""}
	if len(notReady) > 0 {
		ready = condition{"MachinesReady", "False", "NotReady", strings.Join(notReady, "\n")}
	}
	fresh := condition{"MachinesUpToDate", "True", "UpToDate", ""}
	if len(notUpToDate) > 0 {
		fresh = condition{"MachinesUpToDate", "False", "NotUpToDate", strings.Join(notUpToDate, "\n")}
	}
	return []condition{ready, fresh}
}

func (w *World) describeSet(p pool, o *unstructured.Unstructured) {
	now := w.now()
	n, notReady, notUpToDate := w.count(p.machines[o.GetName()])
	setCounters(o, p.old, n)
	desired := replicas(o)
	up, down := isFalse("NotScalingUp").of("ScalingUp"), isFalse("NotScalingDown").of("ScalingDown")
	created := condition{kind: "MachinesCreated", status: "True"}
	if desired > n.all {
		up = condition{"ScalingUp", "True", "ScalingUp", fmt.Sprintf("Scaling up from %d to %d replicas", n.all, desired)}
		if failed := w.preflight(p, o); len(failed) > 0 {
			up.message += " is blocked because:\n* " + strings.Join(failed, "\n* ")
			created = condition{"MachinesCreated", "False", "PreflightCheckFailed", strings.Join(failed, "; ")}
		}
	}
	if desired < n.all {
		down = condition{"ScalingDown", "True", "ScalingDown", fmt.Sprintf("Scaling down from %d to %d replicas", n.all, desired)}
	}
	for _, c := range append([]condition{isFalse("NotRemediating").of("Remediating"), down, up}, machineConditions(notReady, notUpToDate)...) {
		setCondition(o, now, c)
	}
	setCondition(o, now, isFalse("NotPaused").of("Paused"))
	setCondition(o, now, isFalse("NotDeleting").of("Deleting"))
	setOldCondition(o, now, created, "Error")
	setField(o, o.GetGeneration(), "status", "observedGeneration")
}

func (w *World) describeDeployment(p pool, o *unstructured.Unstructured) {
	now := w.now()
	n, notReady, notUpToDate := w.count(p.all())
	setCounters(o, p.old, n)
	updated := int64(0)
	if p.wanted != nil {
		updated = int64(len(p.machines[p.wanted.GetName()]))
	}
	setField(o, updated, counter(p.old, "updatedReplicas")...)
	setField(o, max(p.desired()-n.ready, 0), counter(p.old, "unavailableReplicas")...)

	_, unavailable := p.fenceposts()
	available := condition{"Available", "True", "Available", ""}
	if n.ready < p.desired()-unavailable {
		available = condition{"Available", "False", "NotAvailable",
			fmt.Sprintf("%d available replicas, at least %d required (spec.strategy.rollout.maxUnavailable is %d, spec.replicas is %d)",
				n.ready, p.desired()-unavailable, unavailable, p.desired())}
	}
	rolling := isFalse("NotRollingOut").of("RollingOut")
	if k := n.all - n.upToDate; k > 0 {
		rolling = condition{"RollingOut", "True", "RollingOut", fmt.Sprintf("Rolling out %d not up-to-date replicas", k)}
	}
	phase := "Running"
	up, down := isFalse("NotScalingUp").of("ScalingUp"), isFalse("NotScalingDown").of("ScalingDown")
	if n.all < p.desired() {
		phase = "ScalingUp"
		up = condition{"ScalingUp", "True", "ScalingUp", fmt.Sprintf("Scaling up from %d to %d replicas", n.all, p.desired())}
	}
	if n.all > p.desired() {
		phase = "ScalingDown"
		down = condition{"ScalingDown", "True", "ScalingDown", fmt.Sprintf("Scaling down from %d to %d replicas", n.all, p.desired())}
	}
	setField(o, phase, "status", "phase")
	for _, c := range append([]condition{available, rolling, isFalse("NotRemediating").of("Remediating"), down, up}, machineConditions(notReady, notUpToDate)...) {
		setCondition(o, now, c)
	}
	setCondition(o, now, isFalse("NotPaused").of("Paused"))
	setCondition(o, now, isFalse("NotDeleting").of("Deleting"))
	setOldCondition(o, now, available, "Warning")
	setOldCondition(o, now, available.of("Ready"), "Warning")
	sets := condition{kind: "MachineSetReady", status: "True"}
	if p.wanted != nil {
		if failed := w.preflight(p, p.wanted); len(failed) > 0 && replicas(p.wanted) > int64(len(p.machines[p.wanted.GetName()])) {
			sets = condition{"MachineSetReady", "False", "PreflightCheckFailed", strings.Join(failed, "; ")}
		}
	}
	setOldCondition(o, now, sets, "Error")
	setField(o, labelCluster+"="+capi.StringAt(o, "spec", "clusterName")+","+labelDeployment+"="+o.GetName(), "status", "selector")
}

// setCounters writes the counters that MachineSets and MachineDeployments
// share.
func setCounters(o *unstructured.Unstructured, v1beta1 bool, n counts) {
	setField(o, n.all, "status", "replicas")
	setField(o, n.ready, "status", "readyReplicas")
	setField(o, n.ready, "status", "availableReplicas")
	if v1beta1 {
		setField(o, n.ready, "status", "v1beta2", "readyReplicas")
		setField(o, n.ready, "status", "v1beta2", "availableReplicas")
		setField(o, n.upToDate, "status", "v1beta2", "upToDateReplicas")
		return
	}
	setField(o, n.upToDate, "status", "upToDateReplicas")
	setField(o, n.ready, "status", "deprecated", "v1beta1", "readyReplicas")
	setField(o, n.ready, "status", "deprecated", "v1beta1", "availableReplicas")
}
