//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const skipAnnotation = "machineset.cluster.x-k8s.io/skip-preflight-checks"

var (
	standIns             = schema.GroupVersionResource{Group: "controlplane.matrix.example.com", Version: "v1", Resource: "standincontrolplanes"}
	otherConfigs         = schema.GroupVersionResource{Group: "bootstrap.matrix.example.com", Version: "v1", Resource: "otherconfigs"}
	otherConfigTemplates = otherConfigs.GroupVersion().WithResource("otherconfigtemplates")
)

// verdict is what nodepool says of a cell, and reaction what Cluster API did.
type verdict struct {
	severity string
	checks   []string // of Cluster API that are foretold to refuse machines
	messages []string
}

type reaction struct {
	decided bool
	refused bool
	checks  []string
	message string
	inPlace bool // no new MachineSet was made
}

// trial is a cell with the pool that it is tried on.
type trial struct {
	cell
	phase   matrixPhase
	pool    string
	set     string // the UID of its MachineSet before
	verdict verdict
	outcome reaction
}

// TestMatrix holds the verdict on versions, of the built binary, against what
// Cluster API's controllers then do, for control planes × pool versions × kinds
// of bootstrap × changes. A pool that is blocked is changed all the same, so that
// neither a false pass nor a false block goes unseen. The whole matrix takes
// minutes: make matrix; its tables are docs/preflight-matrix.md.
func TestMatrix(t *testing.T) {
	t.Parallel()
	defineStandIns(t)
	table := newMatrixTable(t)
	for _, s := range matrixStages() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t, table)
		})
	}
}

// run makes the stage's pools and then goes through its phases.
func (s matrixStage) run(t *testing.T, table *matrixTable) {
	var trials []*trial
	for _, p := range s.phases {
		for _, c := range p.chosen() {
			trials = append(trials, &trial{cell: c, phase: p, pool: fmt.Sprintf("p%03d", len(trials))})
		}
	}
	if len(trials) == 0 {
		return
	}
	c := newCluster(t, "matrix-"+s.name, "--pools", "", "--version", s.version)
	c.makeTemplates(t, trials)
	// Not more at once than a small computer makes within the patience of a test.
	const most = 24
	if len(s.phases) > 1 { // while the control plane is as it should be
		for some := range slices.Chunk(trials, most) {
			c.makePools(t, some)
		}
	}
	for i, p := range s.phases {
		now := slices.DeleteFunc(slices.Clone(trials), func(tr *trial) bool { return tr.phase.name != p.name })
		if len(now) == 0 {
			continue
		}
		if p.standIn {
			c.standIn(t, p.control)
		}
		for some := range slices.Chunk(now, most) {
			if len(s.phases) == 1 {
				c.makePools(t, some)
			}
			c.judge(t, fmt.Sprintf("matrix-%d", i), some)
			for _, tr := range some {
				tr.check(t)
				table.add(tr)
			}
			c.deletePools(t, some)
		}
	}
}

// deletePools has the pools deleted, and does not wait for it: Cluster API would
// go on trying to make machines for them.
func (c cluster) deletePools(t *testing.T, trials []*trial) {
	inParallel(trials, func(tr *trial) {
		if err := box.client.Resource(machineDeployments).Namespace(c.namespace).Delete(t.Context(), tr.pool, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// makeTemplates makes what all pools of the trials are made from.
func (c cluster) makeTemplates(t *testing.T, trials []*trial) {
	t.Helper()
	c.create(t, awsMachineTemplates, "AWSMachineTemplate", "base", map[string]any{"template": map[string]any{"spec": map[string]any{
		"ami": map[string]any{"id": oldImage}, "instanceType": "m5.large",
	}}}, nil)
	c.create(t, otherConfigTemplates, "OtherConfigTemplate", "base", map[string]any{"template": map[string]any{"spec": map[string]any{}}}, nil)
	for _, note := range skipsOf(trials) {
		c.create(t, kubeadmConfigTemplates, "KubeadmConfigTemplate", templateName(note), map[string]any{"template": map[string]any{"spec": map[string]any{
			"joinConfiguration": map[string]any{"nodeRegistration": map[string]any{"kubeletExtraArgs": []any{map[string]any{"name": "cloud-provider", "value": "external"}}}},
		}}}, map[string]any{skipAnnotation: note})
	}
}

// makePools makes the pools of the trials, with a machine each, and returns when
// they look as pools that nobody ever helped: what kept Cluster API from refusing
// their machines is gone.
func (c cluster) makePools(t *testing.T, trials []*trial) {
	t.Helper()
	failed := t.Failed()
	inParallel(trials, func(tr *trial) { c.makePool(t, tr) })
	if t.Failed() && !failed {
		t.FailNow()
	}
	pools := map[string]*trial{}
	for _, tr := range trials {
		pools[tr.pool] = tr
	}
	box.await(t, machineDeployments, c.namespace, "", "the pools run", func(all []*unstructured.Unstructured) bool {
		running := 0
		for _, md := range all {
			if pools[md.GetName()] != nil && runs(md) {
				running++
			}
		}
		return running == len(trials)
	})
	inParallel(trials, func(tr *trial) {
		note := "null"
		if tr.skip != "" {
			note = fmt.Sprintf("%q", tr.skip)
		}
		if err := box.tryMerge(t.Context(), machineDeployments, c.namespace, tr.pool, fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, skipAnnotation, note)); err != nil {
			t.Error(err)
		}
	})
	box.await(t, machineSets, c.namespace, "", "the MachineSets are no longer helped", func(all []*unstructured.Unstructured) bool {
		for _, set := range all {
			if tr := pools[set.GetLabels()["cluster.x-k8s.io/deployment-name"]]; tr != nil && set.GetAnnotations()[skipAnnotation] == tr.skip {
				tr.set = string(set.GetUID())
			}
		}
		return !slices.ContainsFunc(trials, func(tr *trial) bool { return tr.set == "" })
	})
}

// runs reports whether a pool has all of its machines.
func runs(md *unstructured.Unstructured) bool {
	for _, count := range []string{"replicas", "readyReplicas", "availableReplicas", "upToDateReplicas"} {
		if max(0, number(md, "status", count)) != number(md, "spec", "replicas") {
			return false
		}
	}
	return number(md, "status", "observedGeneration") >= md.GetGeneration()
}

func skipsOf(trials []*trial) []string {
	notes := map[string]bool{"": true}
	for _, tr := range trials {
		notes[tr.templateSkip] = true
	}
	return slices.Sorted(maps.Keys(notes))
}

func templateName(skip string) string {
	return strings.TrimSuffix("base-"+strings.ToLower(strings.ReplaceAll(skip, ",", "-")), "-")
}

func (c cluster) makePool(t *testing.T, tr *trial) {
	t.Helper()
	bootstrap := map[string]any{"dataSecretName": "bootstrap"}
	switch tr.bootstrap {
	case kubeadm:
		bootstrap = map[string]any{"configRef": map[string]any{"apiGroup": kubeadmConfigTemplates.Group, "kind": "KubeadmConfigTemplate", "name": templateName(tr.templateSkip)}}
	case other:
		bootstrap = map[string]any{"configRef": map[string]any{"apiGroup": otherConfigTemplates.Group, "kind": "OtherConfigTemplate", "name": "base"}}
	}
	replicas := int64(1)
	if tr.empty {
		replicas = 0
	}
	c.create(t, machineDeployments, "MachineDeployment", tr.pool, map[string]any{
		"clusterName": c.name,
		"replicas":    replicas,
		"template": map[string]any{"spec": map[string]any{
			"clusterName":       c.name,
			"version":           tr.cell.pool.from(tr.phase.version),
			"bootstrap":         bootstrap,
			"infrastructureRef": map[string]any{"apiGroup": awsMachineTemplates.Group, "kind": "AWSMachineTemplate", "name": "base"},
		}},
	}, map[string]any{skipAnnotation: "All"})
}

// create creates an object; annotations with an empty value are left out.
func (c cluster) create(t *testing.T, resource schema.GroupVersionResource, kind, name string, spec, annotations map[string]any) {
	t.Helper()
	maps.DeleteFunc(annotations, func(_ string, v any) bool { return v == "" })
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": resource.GroupVersion().String(), "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": c.namespace, "annotations": annotations},
		"spec":     spec,
	}}
	if _, err := box.client.Resource(resource).Namespace(c.namespace).Create(t.Context(), o, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
		t.Errorf("create %s %s: %v", kind, name, err)
	}
}

// standIn gives the cluster the stand-in as its control plane, in the state of
// the phase. The KubeadmControlPlane goes on running the workload cluster.
func (c cluster) standIn(t *testing.T, now control) {
	t.Helper()
	name := "stand-in"
	if now.missing {
		name = "gone"
	} else {
		c.setStandIn(t, name, now)
	}
	box.merge(t, clusters, c.namespace, c.name, fmt.Sprintf(`{"spec":{"controlPlaneRef":{"apiGroup":%q,"kind":"StandInControlPlane","name":%q}}}`, standIns.Group, name))
	if now.missing {
		return
	}
	box.awaitObject(t, standIns, c.namespace, name, "Cluster API knows the stand-in", func(o *unstructured.Unstructured) bool {
		return len(o.GetOwnerReferences()) > 0
	})
}

func (c cluster) setStandIn(t *testing.T, name string, now control) {
	t.Helper()
	client := box.client.Resource(standIns).Namespace(c.namespace)
	status := maps.Clone(now.status)
	status["initialization"] = map[string]any{"controlPlaneInitialized": true}
	for {
		o, err := client.Get(t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			o = &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": standIns.GroupVersion().String(), "kind": "StandInControlPlane",
				"metadata": map[string]any{"name": name, "namespace": c.namespace},
				"spec":     now.spec, "status": status,
			}}
			_, err = client.Create(t.Context(), o, metav1.CreateOptions{})
		} else if err == nil {
			o.Object["spec"], o.Object["status"] = now.spec, status
			_, err = client.Update(t.Context(), o, metav1.UpdateOptions{})
		}
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) { // Cluster API writes to it, too
			t.Fatal(err)
		}
	}
}

// matrixPlan is the part of plan -o json that the matrix reads.
type matrixPlan struct {
	Findings []struct{ Code, Severity, Pool, Message, Waived string }
	Steps    []matrixStep
}

type matrixStep struct {
	ID, Pool string
	Create   *struct {
		Ref     struct{ Kind, Name string }
		BasedOn struct{ Ref struct{ Name string } }
		Changes []matrixChange
	}
	Patch *struct{ Changes []matrixChange }
}

type matrixChange struct {
	Path  string
	After any
}

// carryOut makes the template or the patch of a step.
func (c cluster) carryOut(t *testing.T, step matrixStep) {
	t.Helper()
	if step.Create != nil {
		source, err := box.client.Resource(awsMachineTemplates).Namespace(c.namespace).Get(t.Context(), step.Create.BasedOn.Ref.Name, metav1.GetOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		for _, change := range step.Create.Changes {
			if err := unstructured.SetNestedField(source.Object, change.After, change.fields()...); err != nil {
				t.Error(err)
			}
		}
		spec, _, _ := unstructured.NestedMap(source.Object, "spec")
		c.create(t, awsMachineTemplates, step.Create.Ref.Kind, step.Create.Ref.Name, spec, nil)
	}
	if step.Patch != nil {
		patch := map[string]any{}
		for _, change := range step.Patch.Changes {
			if err := unstructured.SetNestedField(patch, change.After, change.fields()...); err != nil {
				t.Error(err)
			}
		}
		raw, err := json.Marshal(patch)
		if err != nil {
			t.Error(err)
		}
		if err := box.tryMerge(t.Context(), machineDeployments, c.namespace, step.Pool, string(raw)); err != nil {
			t.Error(err)
		}
	}
}

func (c matrixChange) fields() []string { return strings.Split(strings.TrimPrefix(c.Path, "/"), "/") }

// inParallel does something for all trials, for several at a time.
func inParallel(trials []*trial, do func(*trial)) {
	var wait sync.WaitGroup
	turn := make(chan struct{}, 8)
	for _, tr := range trials {
		wait.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			do(tr)
		})
	}
	wait.Wait()
}

// judge asks nodepool about the trials, and then changes all of the pools as it
// would, whatever it said, until it is decided what Cluster API makes of each.
// It is not nodepool apply that changes them, which would wait for rollouts that
// are of no matter here; TestForetold has it do so.
func (c cluster) judge(t *testing.T, name string, trials []*trial) {
	t.Helper()
	var pools []pool
	for _, tr := range trials {
		fields, _ := tr.fields(tr.phase.version)
		fields["name"] = tr.pool
		pools = append(pools, fields)
	}
	r := newCLI(t).run(t, "plan", "-f", c.upgrade(t, name, pools...), "-o", "json")
	if r.Code != 0 && r.Code != 3 {
		t.Fatal(r)
	}
	plan := decode[matrixPlan](t, r.Stdout)
	for _, tr := range trials {
		for _, f := range plan.Findings {
			switch {
			case f.Pool != tr.pool:
			case f.Code == "control-plane-updated" || f.Code == "version-skew":
				tr.verdict.add(f.Severity, f.Message)
			case f.Severity == "block":
				t.Errorf("%s: blocked by another check, %s: %s", tr, f.Code, f.Message)
			}
		}
	}
	failed := t.Failed() // by an earlier phase
	inParallel(trials, func(tr *trial) {
		for _, step := range plan.Steps {
			if step.Pool == tr.pool {
				c.carryOut(t, step)
			}
		}
	})
	if t.Failed() && !failed {
		t.FailNow() // nothing would be decided
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all := func(sets []*unstructured.Unstructured) bool {
		decided := true
		for _, tr := range trials {
			tr.decide(sets)
			decided = decided && tr.outcome.decided
		}
		return decided
	}
	err := box.follow(ctx, machineSets, c.namespace, "", all)
	if err != nil {
		for _, tr := range trials {
			if !tr.outcome.decided {
				t.Errorf("%s: undecided", tr)
			}
		}
		t.Fatal(err)
	}
	made := map[string]bool{}
	for _, m := range box.list(t, machines, c.namespace, "") {
		for _, o := range m.GetOwnerReferences() {
			made[string(o.UID)] = true
		}
	}
	for _, tr := range trials {
		for _, set := range tr.newSets(box.list(t, machineSets, c.namespace, "cluster.x-k8s.io/deployment-name="+tr.pool)) {
			if tr.outcome.inPlace {
				t.Errorf("%s: a MachineSet was made for a change in place", tr)
			} else if tr.outcome.refused && made[string(set.GetUID())] {
				t.Errorf("%s: refused, and there is a machine", tr)
			}
		}
	}
}

var preflightNames = regexp.MustCompile(`\b(ControlPlaneIsStable|KubernetesVersionSkew|KubeadmVersionSkew|ControlPlaneVersionSkew)\b`)

func namesIn(message string) []string {
	names := preflightNames.FindAllString(message, -1)
	slices.Sort(names)
	return slices.Compact(names)
}

func (v *verdict) add(severity, message string) {
	rank := []string{"", "pass", "notVerified", "warn", "block"}
	v.messages = append(v.messages, severity+": "+message)
	if slices.Index(rank, severity) > slices.Index(rank, v.severity) {
		v.severity = severity
	}
	if severity == "block" {
		v.checks = append(v.checks, namesIn(message)...)
		slices.Sort(v.checks)
		v.checks = slices.Compact(v.checks)
	}
}

func (tr *trial) newSets(all []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(all), func(set *unstructured.Unstructured) bool {
		return set.GetLabels()["cluster.x-k8s.io/deployment-name"] != tr.pool || string(set.GetUID()) == tr.set
	})
}

// decide looks whether it is decided what becomes of the pool: its new MachineSet
// has a machine, or says why it must not make one; a change in place has reached
// the MachineSet.
func (tr *trial) decide(all []*unstructured.Unstructured) {
	if tr.outcome.decided {
		return
	}
	if tr.change == onlyInPlace {
		for _, set := range all {
			if string(set.GetUID()) == tr.set && number(set, "spec", "template", "spec", "deletion", "nodeDrainTimeoutSeconds") == drainTimeout &&
				number(set, "status", "observedGeneration") >= set.GetGeneration() {
				tr.outcome = reaction{decided: true, inPlace: true}
			}
		}
		return
	}
	for _, set := range tr.newSets(all) {
		message := conditionMessage(set, "ScalingUp")
		switch {
		case number(set, "status", "replicas") > 0:
			tr.outcome = reaction{decided: true}
		case strings.Contains(message, "preflight check"):
			tr.outcome = reaction{decided: true, refused: true, checks: namesIn(message), message: message}
		case tr.empty && number(set, "status", "replicas") == 0 && number(set, "status", "observedGeneration") >= set.GetGeneration():
			tr.outcome = reaction{decided: true}
		}
	}
}

func conditionMessage(o *unstructured.Unstructured, kind string) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		if c, ok := item.(map[string]any); ok && c["type"] == kind {
			s, _ := c["message"].(string)
			return s
		}
	}
	return ""
}

func (tr *trial) String() string {
	return fmt.Sprintf("%s; pool at %s, %s; %s (%s)", tr.phase.name, tr.cell.name(), tr.bootstrap, tr.change, tr.pool)
}

// wrong says how verdict and outcome disagree, "" where they do not.
func (tr *trial) wrong() string {
	switch foretold := tr.verdict.severity == "block"; {
	case tr.outcome.refused && !foretold:
		return "false pass"
	case foretold && !tr.outcome.refused:
		return "false block"
	case !slices.Equal(tr.verdict.checks, tr.outcome.checks):
		return "other checks"
	}
	return ""
}

func (tr *trial) check(t *testing.T) {
	t.Helper()
	if wrong := tr.wrong(); wrong != "" {
		t.Errorf("%s: %s\nforetold: %s\nwas:      %s", tr, wrong, strings.Join(tr.verdict.messages, "\n          "), cmp.Or(tr.outcome.message, "no machine was refused"))
	}
}

// defineStandIns gives the sandbox a kind of control plane that does nothing but
// follow the contract, and a kind of bootstrap that is not kubeadm's: whatever is
// made of its template is ready at once.
func defineStandIns(t *testing.T) {
	t.Helper()
	anything := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	ready := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": map[string]any{
		"status": map[string]any{
			"type": "object", "x-kubernetes-preserve-unknown-fields": true,
			"default": map[string]any{"dataSecretName": "bootstrap", "initialization": map[string]any{"dataSecretCreated": true}},
		},
	}}
	for kind, is := range map[string]struct {
		schema.GroupVersionResource
		schema map[string]any
	}{
		"StandInControlPlane": {standIns, anything},
		"OtherConfigTemplate": {otherConfigTemplates, anything},
		"OtherConfig":         {otherConfigs, ready},
	} {
		name := is.Resource + "." + is.Group
		o := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": definitionsResource.GroupVersion().String(), "kind": "CustomResourceDefinition",
			"metadata": map[string]any{"name": name, "labels": map[string]any{"cluster.x-k8s.io/v1beta2": is.Version}},
			"spec": map[string]any{
				"group": is.Group, "scope": "Namespaced",
				"names": map[string]any{"kind": kind, "plural": is.Resource, "singular": strings.ToLower(kind)},
				"versions": []any{map[string]any{
					"name": is.Version, "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": is.schema},
				}},
			},
		}}
		_, err := box.client.Resource(definitionsResource).Create(t.Context(), o, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		box.awaitObject(t, definitionsResource, "", name, "the definition is served", func(o *unstructured.Unstructured) bool {
			return conditionOf(o, "Established") == "True"
		})
	}
}
