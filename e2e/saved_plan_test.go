//go:build e2e

package e2e_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var (
	kubeadmControlPlanes   = schema.GroupVersionResource{Group: "controlplane.cluster.x-k8s.io", Version: "v1beta2", Resource: "kubeadmcontrolplanes"}
	kubeadmConfigTemplates = schema.GroupVersionResource{Group: "bootstrap.cluster.x-k8s.io", Version: "v1beta2", Resource: "kubeadmconfigtemplates"}
	controlPlaneSuffix     = "-control-plane"
	orphan                 = metav1.DeletePropagationOrphan
)

// emptyPool gives c one more pool without machines, so that what is changed
// in it makes and deletes none.
func (c cluster) emptyPool(t *testing.T, name string) string {
	t.Helper()
	c.addPool(t, name, "--replicas", "1")
	box.merge(t, machineDeployments, c.namespace, name, `{"spec":{"replicas":0}}`)
	box.await(t, machines, c.namespace, "cluster.x-k8s.io/deployment-name="+name, "the pool is empty",
		func(all []*unstructured.Unstructured) bool { return len(all) == 0 })
	box.awaitObject(t, machineDeployments, c.namespace, name, "the pool is settled", func(md *unstructured.Unstructured) bool {
		return number(md, "status", "replicas") == 0 && number(md, "status", "observedGeneration") == md.GetGeneration()
	})
	return name
}

// savePlan plans the upgrade of a pool and saves the plan.
func (c cluster) savePlan(t *testing.T, n cli, name, image string) (file string, made planned) {
	t.Helper()
	up := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": image})
	file = filepath.Join(t.TempDir(), "saved.plan")
	made = n.plan(t, up, "--out", file)
	return file, made
}

// drift is a change of what a plan relies on, and what undoes it.
type drift struct {
	name     string
	resource schema.GroupVersionResource
	object   string
	patch    string
	undo     string
	field    string
}

// TestSavedPlanIsCarriedOutAsReviewedOrNotAtAll changes, one after the other,
// everything that a saved plan relies on: each change is refused before any
// write. With all of them undone, the same plan goes through.
func TestSavedPlanIsCarriedOutAsReviewedOrNotAtAll(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "saved", "--pools", "aws:1")
	name := c.emptyPool(t, "saved-md-9")
	n := newCLI(t)
	file, made := c.savePlan(t, n, name, newImage)
	template := made.template(t)
	controlPlane := c.name + controlPlaneSuffix
	md := func(what, patch, undo, field string) drift {
		return drift{what, machineDeployments, name, patch, undo, field}
	}
	spec := func(field, before, after string) (string, string) {
		return fmt.Sprintf(`{"spec":{"template":{"spec":{%q:%s}}}}`, field, after), fmt.Sprintf(`{"spec":{"template":{"spec":{%q:%s}}}}`, field, before)
	}
	version, versionBack := spec("version", `"`+oldVersion+`"`, `"v1.34.9"`)
	domain, domainBack := spec("failureDomain", `null`, `"zone-b"`)
	secret, secretBack := spec("bootstrap", `{"dataSecretName":null}`, `{"dataSecretName":"other"}`)
	refused := func(t *testing.T, file, field string) {
		t.Helper()
		before := c.writesOf(t, name)
		r := n.run(t, "apply", "--plan", file, "--auto-approve").exits(t, 4)
		for _, want := range []string{field, "reviewed:", "found:", "Nothing was written"} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("it does not say %q\n%s", want, r)
			}
		}
		if diff := cmp.Diff(before, c.writesOf(t, name)); diff != "" {
			t.Errorf("it wrote all the same (-before +after):\n%s", diff)
		}
	}
	for _, d := range []drift{
		md("version", version, versionBack, "spec.template.spec.version"),
		md("failure domain", domain, domainBack, "spec.template.spec.failureDomain"),
		md("data secret", secret, secretBack, "spec.template.spec.bootstrap.dataSecretName"),
		md("infrastructure template", `{"spec":{"template":{"spec":{"infrastructureRef":{"name":"other"}}}}}`,
			`{"spec":{"template":{"spec":{"infrastructureRef":{"name":"`+name+`"}}}}}`, "spec.template.spec.infrastructureRef.name"),
		md("kind of the infrastructure template", `{"spec":{"template":{"spec":{"infrastructureRef":{"kind":"DevMachineTemplate"}}}}}`,
			`{"spec":{"template":{"spec":{"infrastructureRef":{"kind":"AWSMachineTemplate"}}}}}`, "spec.template.spec.infrastructureRef.kind"),
		md("bootstrap template", `{"spec":{"template":{"spec":{"bootstrap":{"configRef":{"name":"other"}}}}}}`,
			`{"spec":{"template":{"spec":{"bootstrap":{"configRef":{"name":"`+name+`"}}}}}}`, "spec.template.spec.bootstrap.configRef.name"),
		md("maxSurge", `{"spec":{"rollout":{"strategy":{"rollingUpdate":{"maxSurge":3}}}}}`,
			`{"spec":{"rollout":{"strategy":{"rollingUpdate":{"maxSurge":1}}}}}`, "rollingUpdate.maxSurge"),
		md("maxUnavailable", `{"spec":{"rollout":{"strategy":{"rollingUpdate":{"maxUnavailable":1}}}}}`,
			`{"spec":{"rollout":{"strategy":{"rollingUpdate":{"maxUnavailable":0}}}}}`, "rollingUpdate.maxUnavailable"),
		md("strategy", `{"spec":{"rollout":{"strategy":{"type":"OnDelete","rollingUpdate":null}}}}`,
			`{"spec":{"rollout":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}}}`, "spec.rollout.strategy.type"),
		md("paused by spec", `{"spec":{"paused":true}}`, `{"spec":{"paused":null}}`, "spec.paused"),
		md("paused by annotation", `{"metadata":{"annotations":{"cluster.x-k8s.io/paused":""}}}`,
			`{"metadata":{"annotations":{"cluster.x-k8s.io/paused":null}}}`, `cluster.x-k8s.io/paused`),
		md("owned by a topology", `{"metadata":{"labels":{"topology.cluster.x-k8s.io/owned":""}}}`,
			`{"metadata":{"labels":{"topology.cluster.x-k8s.io/owned":null}}}`, "topology.cluster.x-k8s.io/owned"),
		md("another run", `{"metadata":{"annotations":{"nodepool/run":"another"}}}`,
			`{"metadata":{"annotations":{"nodepool/run":null}}}`, "nodepool/run"),
		{"cluster paused by spec", clusters, c.name, `{"spec":{"paused":true}}`, `{"spec":{"paused":null}}`, "spec.paused"},
		{"bootstrap template edited", kubeadmConfigTemplates, name, `{"spec":{"template":{"spec":{"preKubeadmCommands":["true"]}}}}`,
			`{"spec":{"template":{"spec":{"preKubeadmCommands":null}}}}`, "KubeadmConfigTemplate"},
	} {
		t.Run(d.name, func(t *testing.T) {
			box.merge(t, d.resource, c.namespace, d.object, d.patch)
			refused(t, file, d.field)
			box.merge(t, d.resource, c.namespace, d.object, d.undo)
		})
	}
	t.Run("the new name taken", func(t *testing.T) {
		other := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "AWSMachineTemplate",
			"metadata": map[string]any{"name": template}, "spec": map[string]any{"template": map[string]any{"spec": map[string]any{"instanceType": "other"}}}}}
		templates := box.client.Resource(awsMachineTemplates).Namespace(c.namespace)
		if _, err := templates.Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		refused(t, file, "nodepool/content")
		if err := templates.Delete(t.Context(), template, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("all undone", func(t *testing.T) {
		// The annotation pauses the Cluster object alone, and is no drift.
		box.merge(t, clusters, c.namespace, c.name, `{"metadata":{"annotations":{"cluster.x-k8s.io/paused":"true"}}}`)
		defer box.merge(t, clusters, c.namespace, c.name, `{"metadata":{"annotations":{"cluster.x-k8s.io/paused":null}}}`)
		n.run(t, "apply", "--plan", file, "--auto-approve").exits(t, 0)
		want := []write{{"create", "awsmachinetemplates", template}, {"patch", "machinedeployments", name}}
		if diff := cmp.Diff(want, c.writesOf(t, name)); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})

	// What cannot be undone, from the last step's facts to the first step's.
	file, _ = c.savePlan(t, n, name, image("next"))
	t.Run("control plane mid-upgrade", func(t *testing.T) {
		box.merge(t, kubeadmControlPlanes, c.namespace, controlPlane, `{"metadata":{"annotations":{"cluster.x-k8s.io/paused":""}}}`)
		box.merge(t, kubeadmControlPlanes, c.namespace, controlPlane, `{"spec":{"version":"v1.35.3"}}`)
		refused(t, file, "spec.version")
	})
	t.Run("control plane behind", func(t *testing.T) {
		_, err := box.client.Resource(kubeadmControlPlanes).Namespace(c.namespace).Patch(t.Context(), controlPlane, types.MergePatchType,
			[]byte(`{"status":{"version":"`+oldVersion+`"}}`), metav1.PatchOptions{}, "status")
		if err != nil {
			t.Fatal(err)
		}
		refused(t, file, "status.version")
	})
	remake := func(t *testing.T, resource schema.GroupVersionResource, object string, change func(*unstructured.Unstructured)) {
		t.Helper()
		o := box.get(t, resource, c.namespace, object)
		api := box.client.Resource(resource).Namespace(c.namespace)
		// An earlier case had a topology own the object, and its controller put a
		// finalizer on it that it takes away only while that is so.
		box.merge(t, resource, c.namespace, object, `{"metadata":{"finalizers":null}}`)
		if err := api.Delete(t.Context(), object, metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
			t.Fatal(err)
		}
		box.await(t, resource, c.namespace, "", "it is gone", func(all []*unstructured.Unstructured) bool {
			return !slices.ContainsFunc(all, func(o *unstructured.Unstructured) bool { return o.GetName() == object })
		})
		for _, f := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "finalizers", "deletionTimestamp"} {
			unstructured.RemoveNestedField(o.Object, "metadata", f)
		}
		delete(o.Object, "status")
		change(o)
		if _, err := api.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("MachineDeployment made anew", func(t *testing.T) {
		remake(t, machineDeployments, name, func(*unstructured.Unstructured) {})
		refused(t, file, "metadata.uid")
	})
	t.Run("template made anew", func(t *testing.T) {
		remake(t, awsMachineTemplates, template, func(*unstructured.Unstructured) {})
		refused(t, file, "metadata.uid")
	})
	t.Run("template gone", func(t *testing.T) {
		if err := box.client.Resource(awsMachineTemplates).Namespace(c.namespace).Delete(t.Context(), template, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		refused(t, file, "AWSMachineTemplate")
	})
}

// TestSavedPlanOutlivesWhatItDoesNotRelyOn changes what no plan relies on
// between plan and apply, each of which then goes through.
func TestSavedPlanOutlivesWhatItDoesNotRelyOn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kept", "--pools", "aws:1")
	name := c.emptyPool(t, "kept-md-9")
	n := newCLI(t)
	current := name
	for i, d := range []drift{
		{name: "label", resource: machineDeployments, patch: `{"metadata":{"labels":{"team":"blue"}}}`},
		{name: "annotation", resource: machineDeployments, patch: `{"metadata":{"annotations":{"note":"x"}}}`},
		{name: "replicas", resource: machineDeployments, patch: `{"spec":{"replicas":1}}`},
		{name: "machines' labels", resource: machineDeployments, patch: `{"spec":{"template":{"metadata":{"labels":{"tier":"x"}}}}}`},
		{name: "cluster label", resource: clusters, object: c.name, patch: `{"metadata":{"labels":{"team":"blue"}}}`},
		{name: "cluster annotation", resource: clusters, object: c.name, patch: `{"metadata":{"annotations":{"note":"x"}}}`},
		{name: "control plane annotation", resource: kubeadmControlPlanes, object: c.name + controlPlaneSuffix, patch: `{"metadata":{"annotations":{"note":"x"}}}`},
		{name: "template annotation", resource: awsMachineTemplates, patch: `{"metadata":{"annotations":{"argocd.argoproj.io/tracking-id":"x"}}}`},
		{name: "template label", resource: awsMachineTemplates, patch: `{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"x"}}}`},
	} {
		t.Run(d.name, func(t *testing.T) {
			file, made := c.savePlan(t, n, name, image(fmt.Sprintf("kept%d", i)))
			switch {
			case d.resource == awsMachineTemplates:
				d.object = current
			case d.object == "":
				d.object = name
			}
			box.merge(t, d.resource, c.namespace, d.object, d.patch)
			n.run(t, "apply", "--plan", file, "--auto-approve").exits(t, 0)
			current = made.template(t)
			if got := c.template(t, name); got != current {
				t.Errorf("the pool names the template %s, want %s", got, current)
			}
			if d.name == "replicas" {
				box.merge(t, machineDeployments, c.namespace, name, `{"spec":{"replicas":0}}`)
			}
		})
	}
}
