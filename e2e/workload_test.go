//go:build e2e

package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

var (
	nodes   = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	volumes = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
)

// listed are the rights that a look at a workload cluster takes there.
var listed = []right{{"", "nodes", "list"}, {"", "namespaces", "list"}, {"", "persistentvolumes", "list"}, {"", "pods", "list"},
	{"apps", "daemonsets", "list"}, {"policy", "poddisruptionbudgets", "list"}}

// workloadFindings gives what a plan says of the workload cluster, by code.
func workloadFindings(t *testing.T, r result) map[string]finding {
	t.Helper()
	out := map[string]finding{}
	for _, f := range decode[struct{ Findings []finding }](t, r.Stdout).Findings {
		if strings.HasPrefix(f.Code, "workload") {
			out[f.Code] = f
		}
	}
	return out
}

// TestWorkloadCluster has the sandbox's own API server play the workload
// cluster, to a user who may do nothing there but list: nodes, pods and a budget
// are found, and nothing is written.
func TestWorkloadCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "look", "--pools", "aws:2")
	c.playWorkload(t)
	var names []string
	for _, m := range box.list(t, machines, c.namespace, "cluster.x-k8s.io/deployment-name="+c.pool(0)) {
		names = append(names, text(m, "status", "nodeRef", "name"))
	}
	// A kubelet may say anything of itself.
	hostile := "v1.34.3\x1b[31m\u202e"
	for i, name := range names {
		version := map[bool]string{true: oldVersion, false: hostile}[i == 0]
		makeAs(t, nodes, "", map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name},
			"spec": map[string]any{"unschedulable": i == 1},
			"status": map[string]any{"nodeInfo": map[string]any{"kubeletVersion": version, "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "",
				"osImage": "", "containerRuntimeVersion": "", "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"},
				"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}})
	}
	makeAs(t, serviceAccounts, c.namespace, map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default"}})
	owner := makeAs(t, configMaps, c.namespace, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "controller"}})
	controlled := []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": owner.GetName(), "uid": string(owner.GetUID()), "controller": true}}
	pod := func(name string, owners []any, volumes []any) {
		o := makeAs(t, pods, c.namespace, map[string]any{"apiVersion": "v1", "kind": "Pod",
			"metadata": map[string]any{"name": name, "labels": map[string]any{"app": name}, "ownerReferences": owners},
			"spec": map[string]any{"nodeName": names[0], "automountServiceAccountToken": false, "volumes": volumes,
				"containers": []any{map[string]any{"name": "c", "image": "example.com/c"}}}})
		o.Object["status"] = map[string]any{"phase": "Running", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
		if _, err := box.client.Resource(pods).Namespace(c.namespace).UpdateStatus(t.Context(), o, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pod("db", controlled, nil)
	pod("shell", nil, nil)
	pod("scratch", nil, []any{map[string]any{"name": "v", "emptyDir": map[string]any{}}})
	b := makeAs(t, budgets, c.namespace, map[string]any{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": map[string]any{"name": "db"},
		"spec": map[string]any{"minAvailable": int64(1), "selector": map[string]any{"matchLabels": map[string]any{"app": "db"}}}})
	b.Object["status"] = map[string]any{"observedGeneration": b.GetGeneration(), "disruptionsAllowed": int64(0), "currentHealthy": int64(1), "desiredHealthy": int64(1), "expectedPods": int64(1)}
	if _, err := box.client.Resource(budgets).Namespace(c.namespace).UpdateStatus(t.Context(), b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	makeAs(t, volumes, "", map[string]any{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": map[string]any{"name": c.namespace},
		"spec": map[string]any{"capacity": map[string]any{"storage": "1Gi"}, "accessModes": []any{"ReadWriteOnce"}, "local": map[string]any{"path": "/disk"},
			"claimRef":     map[string]any{"namespace": c.namespace, "name": "data"},
			"nodeAffinity": map[string]any{"required": map[string]any{"nodeSelectorTerms": []any{map[string]any{"matchExpressions": []any{map[string]any{"key": "kubernetes.io/hostname", "operator": "In", "values": []any{names[1]}}}}}}}}})

	fields := pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage}
	file := c.upgrade(t, "look", fields)
	n := newCLI(t)
	digest := n.plan(t, file).Digest
	r := n.run(t, "plan", "-f", file, "--workload", "-o", "json").exits(t, 3)
	if got := decode[planned](t, r.Stdout); got.Digest != digest || !got.Blocked {
		t.Errorf("blocked is %t, digest %s, without the look %s", got.Blocked, got.Digest, digest)
	}
	on := func(i int, name string) string { return c.namespace + "/" + name + " on " + names[i] }
	got := workloadFindings(t, r)
	for code, want := range map[string]struct {
		severity string
		words    []string
	}{
		"workload":         {"pass", []string{"the workload cluster was looked at"}},
		"workload-nodes":   {"warn", []string{"of the 2 nodes to be replaced", "1 is cordoned already", names[1]}},
		"workload-budgets": {"block", []string{"PodDisruptionBudget " + c.namespace + "/db (it wants 1 of 1 pods healthy) pins " + on(0, "db"), "for ever"}},
		"workload-pods":    {"warn", []string{"on the nodes to be replaced: 3 pods", "1 has no controller", on(0, "shell")}},
		"workload-data":    {"block", []string{"claim " + c.namespace + "/data (" + c.namespace + ") on " + names[1], "pod without a controller keeps data", on(0, "scratch")}},
		"workload-pending": {"pass", nil},
	} {
		if got[code].Severity != want.severity {
			t.Errorf("%s is %+v, want %s", code, got[code], want.severity)
		}
		for _, word := range want.words {
			if !strings.Contains(got[code].Message, word) {
				t.Errorf("%s does not say %q: %s", code, word, got[code].Message)
			}
		}
	}
	for _, form := range []string{"text", "markdown", "json", "yaml"} {
		r := n.run(t, "plan", "-f", file, "--workload", "-o", form).exits(t, 3)
		if strings.ContainsAny(r.Stdout+r.Stderr, "\x1b\u202e") {
			t.Errorf("%s: what a kubelet says of itself reaches the terminal: %q", form, r.Stdout)
		}
	}
	if r := n.run(t, "apply", "-f", file, "--workload", "--auto-approve").exits(t, 3); !strings.Contains(r.Stdout, "workload-data") {
		t.Errorf("apply does not say why\n%s", r)
	}
	asked := c.write(t, "look", map[string]any{"preflight": map[string]any{"workload": true}, "pools": []pool{fields}})
	if diff := cmp.Diff(got, workloadFindings(t, n.run(t, "plan", "-f", asked, "-o", "json").exits(t, 3))); diff != "" {
		t.Errorf("asked for in the upgrade (-flag +upgrade):\n%s", diff)
	}

	t.Run("the shipped role", func(t *testing.T) {
		reader := rightsOf(t, "nodepool-reader")
		without := workloadFindings(t, c.userWith(t, "look-without", reader, rightsOf(t, definitions)).run(t, "plan", "-f", file, "--workload", "-o", "json").exits(t, 0))
		if want := "you may not get secrets in namespace " + c.namespace; without["workload"].Severity != "warn" || !strings.Contains(without["workload"].Message, want) || len(without) != 1 {
			t.Errorf("want %q alone, got %+v", want, without)
		}
		both := slices.Concat(reader, rightsOf(t, "nodepool-workload"))
		with := workloadFindings(t, c.userWith(t, "look-with", both, rightsOf(t, definitions)).run(t, "plan", "-f", file, "--workload", "-o", "json").exits(t, 3))
		if diff := cmp.Diff(got, with); diff != "" {
			t.Errorf("(-admin +role):\n%s", diff)
		}
	})
	if w := c.writes(t); len(w) > 0 {
		t.Errorf("it wrote %v", w)
	}
}

// makeAs makes an object until the test ends.
func makeAs(t *testing.T, resource schema.GroupVersionResource, namespace string, content map[string]any) *unstructured.Unstructured {
	t.Helper()
	o, err := box.client.Resource(resource).Namespace(namespace).Create(t.Context(), &unstructured.Unstructured{Object: content}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create %s: %v", resource.Resource, err)
	}
	if namespace == "" {
		t.Cleanup(func() {
			if err := box.client.Resource(resource).Delete(context.Background(), o.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Errorf("delete %s %s: %v", resource.Resource, o.GetName(), err)
			}
		})
	}
	return o
}

// playWorkload has the Secret of c's kubeconfig lead to the sandbox's own API
// server, as a service account that may list and nothing else.
func (c cluster) playWorkload(t *testing.T) {
	t.Helper()
	account := makeAs(t, serviceAccounts, c.namespace, map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "workload"}})
	user := "system:serviceaccount:" + c.namespace + ":" + account.GetName()
	var rules []any
	for _, r := range listed {
		rules = append(rules, map[string]any{"apiGroups": []any{r.Group}, "resources": []any{r.Resource}, "verbs": []any{r.Verb}})
	}
	name := "workload-" + c.namespace
	makeAs(t, clusterRoles, "", map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": name}, "rules": rules})
	makeAs(t, clusterRoleBindings, "", map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": name},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "namespace": c.namespace, "name": account.GetName()}}})
	box.awaitRight(t, user, "", listed[len(listed)-1])
	token, err := box.client.Resource(serviceAccounts).Namespace(c.namespace).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": map[string]any{"name": account.GetName()}, "spec": map[string]any{}}},
		metav1.CreateOptions{}, "token")
	if err != nil {
		t.Fatal(err)
	}
	config := api.Config{CurrentContext: "x", Contexts: map[string]*api.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		Clusters:  map[string]*api.Cluster{"c": {Server: box.config.Host, CertificateAuthorityData: box.config.CAData}},
		AuthInfos: map[string]*api.AuthInfo{"u": {Token: text(token, "status", "token")}}}
	data, err := clientcmd.Write(config)
	if err != nil {
		t.Fatal(err)
	}
	box.merge(t, secrets, c.namespace, c.name+"-kubeconfig", fmt.Sprintf(`{"data":{"value":%q}}`, base64.StdEncoding.EncodeToString(data)))
}

// TestForetoldBudget has plan foretell that a budget stops the rollout for ever,
// waives that, and sees Cluster API's controllers do as foretold.
func TestForetoldBudget(t *testing.T) {
	t.Parallel()
	c, n := newCluster(t, "budgeted", "--pools", "aws:1"), newCLI(t)
	s := &scene{cluster: c, pool: c.pool(0)}
	workload := c.workload(t)
	create(t, workload, namespaces, "", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "shop"}})
	create(t, workload, pods, "shop", map[string]any{"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "cart", "labels": map[string]any{"app": "cart"}},
		"spec": map[string]any{"nodeName": text(s.old(t), "status", "nodeRef", "name"),
			"containers": []any{map[string]any{"name": "cart", "image": "example.com/cart"}}},
		"status": map[string]any{"phase": "Running", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}})
	create(t, workload, budgets, "shop", map[string]any{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": map[string]any{"name": "cart-budget"},
		"spec":   map[string]any{"minAvailable": int64(1), "selector": map[string]any{"matchLabels": map[string]any{"app": "cart"}}},
		"status": map[string]any{"observedGeneration": int64(1), "disruptionsAllowed": int64(0), "currentHealthy": int64(1), "desiredHealthy": int64(1), "expectedPods": int64(1)}})

	fields := pool{"name": s.pool, "kubernetesVersion": newVersion, "machineImage": newImage, "wait": map[string]any{"stallAfter": "10s"}}
	with := func(more map[string]any) string {
		p := pool{}
		for _, m := range []map[string]any{fields, more} {
			for k, v := range m {
				p[k] = v
			}
		}
		return c.write(t, "budgeted", map[string]any{"preflight": map[string]any{"workload": true}, "pools": []pool{p}})
	}
	found := workloadFindings(t, n.run(t, "plan", "-f", with(nil), "-o", "json").exits(t, 3))
	if f := found["workload-budgets"]; f.Severity != "block" || !strings.Contains(f.Message, "PodDisruptionBudget shop/cart-budget") || !strings.Contains(f.Message, "shop/cart on ") {
		t.Errorf("the budget: %+v", f)
	}
	// The in-memory API servers serve no PersistentVolumes.
	if f := found["workload"]; f.Severity != "warn" || !strings.Contains(f.Message, "not verified in part: PersistentVolumes") {
		t.Errorf("the look: %+v", f)
	}
	limited := workloadFindings(t, n.run(t, "plan", "-f", with(map[string]any{"drain": map[string]any{"nodeDrainTimeout": "10m"}}), "-o", "json").exits(t, 0))
	if f := limited["workload-budgets"]; f.Severity != "warn" || !strings.Contains(f.Message, "after 10m") {
		t.Errorf("with a limit: %+v", f)
	}
	waived := with(map[string]any{"waive": []any{map[string]any{"check": "workload-budgets", "reason": "to see it happen"}}})
	if r := n.run(t, "apply", "-f", waived, "--auto-approve").exits(t, 5); !strings.Contains(r.Stderr, "drain-blocked") || !strings.Contains(r.Stderr, "cart-budget") {
		t.Errorf("the controllers did something else\n%s", r)
	}
	// On its way, it blocks no apply from going on.
	if f := workloadFindings(t, n.run(t, "plan", "-f", with(nil), "-o", "json").exits(t, 0))["workload-budgets"]; f.Severity != "warn" {
		t.Errorf("on its way: %+v", f)
	}
}
