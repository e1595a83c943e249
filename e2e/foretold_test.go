//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// foretold is a way in which Cluster API holds a change up, which a preflight
// check foretells. The check is waived, so that the change is written, and the
// controllers do as it says.
type foretold struct {
	name, check string
	// fields are those of the pool beside a version and an image of its own.
	fields pool
	before func(*testing.T, *scene)
	// says are words of the finding.
	says []string
	// held waits until the controllers have seen the change and held it up, in
	// the words of the finding where there are any.
	held func(t *testing.T, at *scene, message string)
	// cause is that of the stall in which apply then ends.
	cause string
	cure  func(*testing.T, *scene)
}

var foretoldOfPools = []foretold{
	{name: "MachineDeployment paused by its spec", check: "machinedeployment-paused",
		before: pause(machineDeployments, func(at *scene) string { return at.pool }),
		says:   []string{"spec.paused", "it would still scale but not roll"}, held: notRolled, cause: "paused", cure: undo},
	{name: "MachineDeployment paused by annotation", check: "machinedeployment-paused",
		before: annotate(machineDeployments, poolName, pausedAnnotation),
		says:   []string{pausedAnnotation}, held: notTouched("MachineDeployment has the " + pausedAnnotation + " annotation"), cause: "paused", cure: undo},
	{name: "KubeadmVersionSkew", check: "version-skew", fields: pool{"kubernetesVersion": nil},
		says: []string{"v1.34.3", "v1.35.2", "KubeadmVersionSkew"}, held: refusedAsSaid, cause: "machineset-preflight",
		cure: func(t *testing.T, at *scene) {
			box.merge(t, machineDeployments, at.namespace, at.pool, `{"metadata":{"annotations":{"machineset.cluster.x-k8s.io/skip-preflight-checks":"KubeadmVersionSkew"}}}`)
		}},
}

// Those for which a whole cluster must be in some state follow each other.
var foretoldOfClusters = []foretold{
	{name: "Cluster paused by its spec", check: "cluster-paused",
		before: pause(clusters, func(at *scene) string { return at.cluster.name }),
		says:   []string{"spec.paused", "nothing in it moves"}, held: notTouched("Cluster spec.paused is set to true"), cause: "paused", cure: undo},
	{name: "ControlPlaneIsStable", check: "control-plane-updated",
		before: func(t *testing.T, at *scene) {
			// A paused control plane stays at the version that it has.
			box.merge(t, controlPlanes, at.namespace, at.controlPlane(), `{"metadata":{"annotations":{"`+pausedAnnotation+`":""}},"spec":{"version":"v1.35.3"}}`)
		},
		says: []string{"still runs v1.35.2, and v1.35.3 is wanted", "ControlPlaneIsStable"}, held: refusedAsSaid, cause: "machineset-preflight",
		cure: func(t *testing.T, at *scene) { at.upgradeControlPlane(t, "v1.35.3") }},
	{name: "KubernetesVersionSkew", check: "version-skew", fields: pool{"kubernetesVersion": "v1.36.0"},
		says: []string{"v1.36.0 is newer than the control plane", "KubernetesVersionSkew and KubeadmVersionSkew"}, held: refusedAsSaid, cause: "machineset-preflight",
		cure: func(t *testing.T, at *scene) { at.upgradeControlPlane(t, "v1.36.0") }},
}

// TestForetold waives each check that foretells what Cluster API itself does,
// applies, watches the controllers do just that, and undoes it. The checks for
// versions are held against the controllers in TestMatrix, too.
func TestForetold(t *testing.T) {
	t.Parallel()
	t.Run("pools", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, "foretold", "--pools", strings.TrimSuffix(strings.Repeat("aws:1,", len(foretoldOfPools)+2), ","))
		for i, f := range foretoldOfPools {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				f.run(t, &scene{cluster: c, pool: c.pool(i)})
			})
		}
		t.Run("rollout under way", func(t *testing.T) {
			t.Parallel()
			rolloutOnTop(t, &scene{cluster: c, pool: c.pool(len(foretoldOfPools))})
		})
		t.Run("missing template", func(t *testing.T) {
			t.Parallel()
			missingTemplate(t, &scene{cluster: c, pool: c.pool(len(foretoldOfPools) + 1)})
		})
	})
	t.Run("clusters", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, "foretelling", "--pools", strings.TrimSuffix(strings.Repeat("aws:1,", len(foretoldOfClusters)+1), ","))
		for i, f := range foretoldOfClusters {
			t.Run(f.name, func(t *testing.T) { f.run(t, &scene{cluster: c, pool: c.pool(i)}) })
		}
		t.Run("Cluster with the annotation", func(t *testing.T) {
			annotatedCluster(t, &scene{cluster: c, pool: c.pool(len(foretoldOfClusters))})
		})
	})
}

// run has the check foretell, waives it, and looks on.
func (f foretold) run(t *testing.T, at *scene) {
	n := newCLI(t)
	at.ami = image(at.pool)
	fields := pool{"name": at.pool, "kubernetesVersion": newVersion, "machineImage": at.ami, "wait": map[string]any{"stallAfter": "10s"}}
	for k, v := range f.fields {
		if fields[k] = v; v == nil {
			delete(fields, k)
		}
	}
	if f.before != nil {
		f.before(t, at)
	}
	message := blockedBy(t, n, at.upgrade(t, at.pool, fields), f.check)
	for _, want := range f.says {
		if !strings.Contains(message, want) {
			t.Errorf("the finding does not say %q: %s", want, message)
		}
	}

	fields["waive"] = []any{map[string]any{"check": f.check, "reason": "to see it happen"}}
	at.file = at.upgrade(t, at.pool, fields)
	if r := n.run(t, "plan", "-f", at.file).exits(t, 0); !strings.Contains(r.Stdout, "Blocks, but is waived: to see it happen") {
		t.Errorf("the reason of the waiver is not shown\n%s", r)
	}
	r := until(t, n, at.file, f.cause, nil).exits(t, 5)
	if named, _, _ := strings.Cut(said(r, "Cause:"), ":"); named != f.cause {
		t.Errorf("it stalled for %q, want %q\n%s", named, f.cause, r)
	}
	f.held(t, at, message)
	if len(at.newSets(t)) > 1 || slices.ContainsFunc(at.machines(t, at.pool), func(m machine) bool { return m.Image == at.ami }) {
		t.Errorf("a machine was made all the same: %+v", at.machines(t, at.pool))
	}
	f.cure(t, at)
	// A MachineSet that was refused tries again every 15 seconds.
	box.await(t, machineSets, at.namespace, at.selector(), "a machine is made", func(all []*unstructured.Unstructured) bool {
		return slices.ContainsFunc(all, func(set *unstructured.Unstructured) bool {
			return text(set, "spec", "template", "spec", "infrastructureRef", "name") != at.pool && number(set, "status", "replicas") > 0
		})
	})
	carryOn(t, n, at.file, f.cause).exits(t, 0)
	n.nothingToDo(t, at.file)
}

// blockedBy plans and gives the message of the check that blocks.
func blockedBy(t *testing.T, n cli, file, check string) string {
	t.Helper()
	r := n.run(t, "plan", "-f", file, "-o", "json").exits(t, 3)
	var message string
	for _, f := range decode[matrixPlan](t, r.Stdout).Findings {
		if f.Severity != "block" || f.Waived != "" {
			continue
		}
		if f.Code != check {
			t.Errorf("blocked by %s as well: %s", f.Code, f.Message)
		} else {
			message = f.Message
		}
	}
	if message == "" {
		t.Fatalf("%s does not block\n%s", check, r)
	}
	return message
}

// newSets gives the pool's MachineSets without the one of its old version and
// template.
func (at *scene) newSets(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	return slices.DeleteFunc(box.list(t, machineSets, at.namespace, at.selector()), func(set *unstructured.Unstructured) bool {
		return text(set, "spec", "template", "spec", "infrastructureRef", "name") == at.pool
	})
}

func (at *scene) selector() string     { return "cluster.x-k8s.io/deployment-name=" + at.pool }
func (at *scene) controlPlane() string { return at.cluster.name + "-control-plane" }

// notRolled waits until the controller has taken the change in, and then there
// must be no MachineSet for it.
func notRolled(t *testing.T, at *scene, _ string) {
	t.Helper()
	box.awaitObject(t, machineDeployments, at.namespace, at.pool, "the change is observed", func(md *unstructured.Unstructured) bool {
		return number(md, "status", "observedGeneration") >= md.GetGeneration()
	})
	if sets := at.newSets(t); len(sets) > 0 {
		t.Errorf("there is a MachineSet for the change: %s", sets[0].GetName())
	}
}

// notTouched waits until the controller says that it leaves the change alone, in
// these words; it says so of the generation that the change made.
func notTouched(words string) func(*testing.T, *scene, string) {
	return func(t *testing.T, at *scene, _ string) {
		t.Helper()
		box.awaitObject(t, machineDeployments, at.namespace, at.pool, "the controller says that it is paused", func(md *unstructured.Unstructured) bool {
			return strings.Contains(conditionMessage(md, "Paused"), words) && conditionOf(md, "Paused") == "True" &&
				number(md, "status", "observedGeneration") < md.GetGeneration()
		})
		if sets := at.newSets(t); len(sets) > 0 {
			t.Errorf("there is a MachineSet for the change: %s", sets[0].GetName())
		}
	}
}

// refusedAsSaid waits until the new MachineSet tells which checks keep it from
// making a machine, which must be just those that the finding names.
func refusedAsSaid(t *testing.T, at *scene, finding string) {
	t.Helper()
	var told string
	box.await(t, machineSets, at.namespace, at.selector(), "the new MachineSet is refused a machine", func(all []*unstructured.Unstructured) bool {
		for _, set := range all {
			if m := conditionMessage(set, "ScalingUp"); strings.Contains(m, "preflight check failed") {
				told = m
			}
		}
		return told != ""
	})
	if !slices.Equal(namesIn(told), namesIn(finding)) {
		t.Errorf("refused by %q, foretold: %q\n%s\n%s", namesIn(told), namesIn(finding), told, finding)
	}
}

// upgradeControlPlane lets the control plane upgrade and waits for it.
func (at *scene) upgradeControlPlane(t *testing.T, version string) {
	t.Helper()
	box.merge(t, controlPlanes, at.namespace, at.controlPlane(), fmt.Sprintf(`{"metadata":{"annotations":{%q:null}},"spec":{"version":%q}}`, pausedAnnotation, version))
	box.awaitObject(t, controlPlanes, at.namespace, at.controlPlane(), "the control plane is upgraded", func(o *unstructured.Unstructured) bool {
		return text(o, "status", "version") == version && number(o, "status", "readyReplicas") == 1 && number(o, "status", "replicas") == 1
	})
}

// rolloutOnTop: somebody else's rollout moves, and the change replaces its
// machines a second time.
func rolloutOnTop(t *testing.T, at *scene) {
	n := newCLI(t)
	theirs := image(at.pool + "-theirs")
	fault(t, "boot-delay", theirs, "60s")
	at.create(t, awsMachineTemplates, "AWSMachineTemplate", at.pool+"-theirs",
		map[string]any{"template": map[string]any{"spec": map[string]any{"ami": map[string]any{"id": theirs}, "instanceType": "m5.large"}}}, nil)
	box.merge(t, machineDeployments, at.namespace, at.pool, fmt.Sprintf(
		`{"spec":{"template":{"spec":{"version":%q,"infrastructureRef":{"name":%q}}}}}`, newVersion, at.pool+"-theirs"))
	box.await(t, machineSets, at.namespace, at.selector(), "their machine is on its way", func(all []*unstructured.Unstructured) bool {
		return slices.ContainsFunc(all, func(set *unstructured.Unstructured) bool {
			return text(set, "spec", "template", "spec", "infrastructureRef", "name") == at.pool+"-theirs" && number(set, "status", "replicas") == 1
		})
	})
	fields := pool{"name": at.pool, "machineImage": image(at.pool), "wait": map[string]any{"stallAfter": "2m"}}
	if message := blockedBy(t, n, at.upgrade(t, at.pool, fields), "rollout-under-way"); !strings.Contains(message, "replace machines twice") {
		t.Errorf("it does not say what would happen: %s", message)
	}
	fields["waive"] = []any{map[string]any{"check": "rollout-under-way", "reason": "it supersedes theirs"}}
	p := n.start(t, "apply", "-f", at.upgrade(t, at.pool, fields), "--auto-approve")
	box.await(t, machineSets, at.namespace, at.selector(), "there are three MachineSets, or theirs is given up already", func(all []*unstructured.Unstructured) bool {
		return slices.ContainsFunc(all, func(set *unstructured.Unstructured) bool {
			ref := text(set, "spec", "template", "spec", "infrastructureRef", "name")
			return ref != at.pool && ref != at.pool+"-theirs"
		})
	})
	p.wait(t).exits(t, 0)
	for _, m := range at.machines(t, at.pool) {
		if m.Image != image(at.pool) {
			t.Errorf("a machine of another rollout is left: %+v", m)
		}
	}
}

// annotatedCluster: the annotation pauses the Cluster and none of its pools, so
// that the check only warns.
func annotatedCluster(t *testing.T, at *scene) {
	n := newCLI(t)
	annotate(clusters, func(*testing.T, *scene) string { return at.cluster.name }, pausedAnnotation)(t, at)
	box.awaitObject(t, clusters, at.namespace, at.cluster.name, "the Cluster is paused", func(o *unstructured.Unstructured) bool {
		return conditionOf(o, "Paused") == "True"
	})
	// By now the control plane is where the last of the other tests left it.
	file := at.upgrade(t, at.pool, pool{"name": at.pool, "kubernetesVersion": "v1.36.0", "machineImage": image(at.pool)})
	r := n.run(t, "plan", "-f", file).exits(t, 0)
	if !strings.Contains(r.Stdout, "its pools roll all the same") {
		t.Errorf("it does not warn\n%s", r)
	}
	carryOn(t, n, file).exits(t, 0)
	undo(t, at)
}

// missingTemplate: the check cannot be waived, so that somebody else makes the
// change that it blocks.
func missingTemplate(t *testing.T, at *scene) {
	n := newCLI(t)
	old := box.get(t, awsMachineTemplates, at.namespace, at.pool)
	templates := box.client.Resource(awsMachineTemplates).Namespace(at.namespace)
	if err := templates.Delete(t.Context(), at.pool, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fields := pool{"name": at.pool, "kubernetesVersion": newVersion}
	message := blockedBy(t, n, at.upgrade(t, at.pool, fields), "templates")
	if want := "AWSMachineTemplate " + at.namespace + "/" + at.pool; !strings.Contains(message, want) || !strings.Contains(message, "does not exist") {
		t.Errorf("it does not say that %s does not exist: %s", want, message)
	}
	fields["waive"] = []any{map[string]any{"check": "templates", "reason": "to see it happen"}}
	if r := n.run(t, "plan", "-f", at.upgrade(t, at.pool, fields)).exits(t, 1); !strings.Contains(r.Stderr, "cannot be waived") {
		t.Errorf("it does not say that the check cannot be waived\n%s", r)
	}

	box.merge(t, machineDeployments, at.namespace, at.pool, fmt.Sprintf(`{"spec":{"template":{"spec":{"version":%q}}}}`, newVersion))
	box.awaitObject(t, machineDeployments, at.namespace, at.pool, "Cluster API misses the template", func(md *unstructured.Unstructured) bool {
		m := conditionMessage(md, "ScalingUp")
		return strings.Contains(m, "AWSMachineTemplate does not exist") && number(md, "status", "observedGeneration") < md.GetGeneration()
	})
	if sets := box.list(t, machineSets, at.namespace, at.selector()); len(sets) != 1 {
		t.Errorf("there are %d MachineSets, want the old one alone", len(sets))
	}
	spec, _, _ := unstructured.NestedMap(old.Object, "spec")
	at.create(t, awsMachineTemplates, "AWSMachineTemplate", at.pool, spec, nil)
	box.await(t, machines, at.namespace, at.selector(), "the machines are new", func(all []*unstructured.Unstructured) bool {
		return len(all) == 1 && text(all[0], "spec", "version") == newVersion && conditionOf(all[0], "Ready") == "True"
	})
}
