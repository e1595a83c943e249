//go:build e2e

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

// stall is a way for a rollout to get stuck, made on the real controllers.
type stall struct {
	name string
	// fault, with value, is set for the pool's image; slow is how long machines
	// of that image take to join, at most until the cause is taken away, so that
	// there is a midway.
	fault string
	value []string
	slow  string
	// fields are fields of the pool in the upgrade file.
	fields map[string]any
	// before is done before the apply, atPatch right before its patch reaches
	// the server, midway when the first new machine is on its way.
	before, atPatch, midway func(*testing.T, *scene)
	// cure takes the cause away; nil where the apply cannot go on by itself.
	cure func(*testing.T, *scene)

	// What is said: the code of the cause, the kind and the condition it is
	// seen on, and more words.
	cause, kind, condition string
	says                   []string
	// suspected is a wait that is no fault until it lasts: it is named when the
	// time is up, and before that the progress says what is waited for.
	suspected string
	// replaced tells that Cluster API up to v1.13 takes the new machine for
	// good and deletes the old one.
	replaced bool
	// own is set where it takes a cluster of its own, and replicas where it
	// takes more than one machine.
	own      bool
	replicas int
}

// scene is the pool that gets stuck.
type scene struct {
	cluster
	pool, ami, file string
	// undo holds what is needed to take the cause away.
	undo func(*testing.T)
}

// old gives the pool's only old Machine.
func (s *scene) old(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	for _, m := range box.list(t, machines, s.namespace, "cluster.x-k8s.io/deployment-name="+s.pool) {
		if text(m, "spec", "version") == oldVersion {
			return m
		}
	}
	t.Fatal("there is no old Machine")
	return nil
}

// annotate sets an annotation until the cause is taken away.
func annotate(resource schema.GroupVersionResource, name func(*testing.T, *scene) string, key string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		t.Helper()
		of := name(t, s)
		box.merge(t, resource, s.namespace, of, fmt.Sprintf(`{"metadata":{"annotations":{%q:"e2e"}}}`, key))
		s.undo = func(t *testing.T) {
			box.merge(t, resource, s.namespace, of, fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, key))
		}
	}
}

// hold adds a finalizer of its own until the cause is taken away.
func hold(resource schema.GroupVersionResource, name func(*testing.T, *scene) string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		t.Helper()
		of := name(t, s)
		o := box.get(t, resource, s.namespace, of)
		with := func(finalizers []string) string {
			raw, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": finalizers}})
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}
		box.merge(t, resource, s.namespace, of, with(append(o.GetFinalizers(), finalizer)))
		s.undo = func(t *testing.T) {
			left := slices.DeleteFunc(box.get(t, resource, s.namespace, of).GetFinalizers(), func(f string) bool { return f == finalizer })
			box.merge(t, resource, s.namespace, of, with(left))
		}
	}
}

const finalizer = "e2e.example.com/inventory"

func poolName(_ *testing.T, s *scene) string   { return s.pool }
func oldMachine(t *testing.T, s *scene) string { return s.old(t).GetName() }
func oldAWSMachine(t *testing.T, s *scene) string {
	return text(s.old(t), "spec", "infrastructureRef", "name")
}

// pause sets spec.paused until the cause is taken away.
func pause(resource schema.GroupVersionResource, name func(*scene) string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		t.Helper()
		box.merge(t, resource, s.namespace, name(s), `{"spec":{"paused":true}}`)
		s.undo = func(t *testing.T) { box.merge(t, resource, s.namespace, name(s), `{"spec":{"paused":null}}`) }
	}
}

func undo(t *testing.T, s *scene) { s.undo(t) }

func clearFault(fault string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) { sandboxCommand(t, "fault", "clear", "--dir", box.dir, fault, s.ami) }
}

const pausedAnnotation = "cluster.x-k8s.io/paused"

var (
	controlPlanes   = schema.GroupVersionResource{Group: "controlplane.cluster.x-k8s.io", Version: "v1beta2", Resource: "kubeadmcontrolplanes"}
	healthChecks    = clusters.GroupVersion().WithResource("machinehealthchecks")
	secrets         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	pods            = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	budgets         = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
	missingSecret   = "files-of-the-pool"
	bootstrapSecret = map[string]any{"files": []any{map[string]any{"path": "/etc/motd", "owner": "root:root", "permissions": "0644",
		"contentFrom": map[string]any{"secret": map[string]any{"name": missingSecret, "key": "motd"}}}}}
)

// stalls are the causes of design notes and docs/stalls.md that can be made on
// the sandbox. TestControllersDown has those that need all of it.
//
// Not among them: a volume that is not detached, since the in-memory workload
// clusters serve no PersistentVolumes, without which Cluster API does not get as
// far; see "volumes" in TestStalls of plan/capi for what it says then. Likewise
// an in-place update that fails, for which the sandbox has no extension.
var stalls = []stall{
	{name: "an image that does not exist", fault: "missing", cure: clearFault("missing"),
		cause: "provider-error", kind: "AWSMachine", condition: "InstanceReady", says: []string{"InstanceProvisionFailed", "InvalidAMIID.NotFound"}},
	{name: "a quota that is used up", fault: "errors", value: []string{"VcpuLimitExceeded: You have requested more vCPU capacity than your current vCPU limit of 32 allows"}, cure: clearFault("errors"),
		cause: "provider-error", kind: "AWSMachine", condition: "InstanceReady", says: []string{"VcpuLimitExceeded"}},
	{name: "a template that was deleted", atPatch: deleteNewTemplate,
		cause: "template-missing", kind: "MachineDeployment", condition: "ScalingUp", says: []string{"does not exist"}},
	{name: "a bootstrap file that cannot be read", fields: map[string]any{"bootstrap": bootstrapSecret}, cure: makeBootstrapSecret,
		cause: "bootstrap-error", kind: "KubeadmConfig", condition: "DataSecretAvailable", says: []string{"Failed to read content from secrets for spec.files"}},
	{name: "machines that never join", fault: "never-join", suspected: "a node to join",
		cause: "node-not-joined", kind: "Machine", condition: "NodeHealthy"},
	{name: "nodes that are not ready", fault: "not-ready", cure: clearFault("not-ready"), suspected: "node:",
		cause: "node-not-healthy", kind: "Machine", condition: "NodeHealthy"},
	{name: "an image with another kubelet", fault: "images", value: []string{oldVersion}, replaced: true,
		cause: "wrong-kubelet-version", kind: "Machine", says: []string{oldVersion, newVersion, "old machines may be gone"}},
	{name: "a disruption budget", before: budget, cure: undo,
		cause: "drain-blocked", kind: "Machine", condition: "Deleting", says: []string{"shop/cart", "The disruption budget cart-budget needs 1 healthy pods and has 1 currently"}},
	{name: "a pre-drain hook", before: annotate(machines, oldMachine, "pre-drain.delete.hook.machine.cluster.x-k8s.io/backup"), cure: undo,
		cause: "pre-drain-hook", kind: "Machine", condition: "Deleting", says: []string{"pre-drain.delete.hook.machine.cluster.x-k8s.io/backup"}},
	{name: "a pre-terminate hook", before: annotate(machines, oldMachine, "pre-terminate.delete.hook.machine.cluster.x-k8s.io/backup"), cure: undo,
		cause: "pre-terminate-hook", kind: "Machine", condition: "Deleting", says: []string{"pre-terminate.delete.hook.machine.cluster.x-k8s.io/backup"}},
	{name: "infrastructure that stays", before: hold(awsMachines, oldAWSMachine), cure: undo, suspected: "infrastructure:",
		cause: "infrastructure-deletion", kind: "Machine", condition: "Deleting", says: []string{finalizer}},
	{name: "a finalizer on a Machine", before: hold(machines, oldMachine), cure: undo, suspected: "deletion:",
		cause: "machine-deletion", kind: "Machine", condition: "Deleting", says: []string{finalizer}},
	{name: "a control plane that is being upgraded", own: true, replicas: 2, slow: "15s", midway: upgradeControlPlane, cure: undo,
		cause: "machineset-preflight", kind: "MachineSet", condition: "ScalingUp", says: []string{"the control plane is being made or upgraded"}},
	{name: "a health check that deletes the new machines", fault: "never-join", before: healthCheck, fields: map[string]any{"wait": map[string]any{"stallAfter": "40s"}},
		cause: "health-check-churn"},
	{name: "a MachineDeployment paused by its spec", slow: "1h", midway: pause(machineDeployments, func(s *scene) string { return s.pool }), cure: undo,
		cause: "paused", kind: "MachineDeployment", says: []string{"spec.paused"}},
	{name: "a MachineDeployment paused by annotation", slow: "1h", midway: annotate(machineDeployments, poolName, pausedAnnotation), cure: undo,
		cause: "paused", kind: "MachineDeployment", says: []string{pausedAnnotation}},
	{name: "a Cluster that is paused", own: true, slow: "1h", midway: pause(clusters, func(s *scene) string { return s.cluster.name }), cure: undo,
		cause: "paused", kind: "Cluster", says: []string{"spec.paused"}},
}

// A rollout that does not move is explained as soon as somebody states why, and
// ends with exit code 5, the cause and its evidence, what to do, and how to go
// on; and once the cause is gone the same apply carries on.
func TestStalls(t *testing.T) {
	t.Parallel()
	shared := 0
	for _, s := range stalls {
		if !s.own {
			shared++
		}
	}
	c := newCluster(t, "stalling", "--pools", strings.TrimSuffix(strings.Repeat("aws:1,", shared), ","))
	table := newStallTable(t)
	next := 0
	for _, s := range stalls {
		at := scene{cluster: c}
		if !s.own {
			at.pool = c.pool(next)
			next++
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.own {
				at.cluster = newCluster(t, "stalling-"+s.cause, "--pools", fmt.Sprintf("aws:%d", max(1, s.replicas)))
				at.pool = at.cluster.pool(0)
			}
			s.run(t, &at, table)
		})
	}
}

func (s stall) run(t *testing.T, at *scene, table *stallTable) {
	n := newCLI(t)
	at.ami = image(at.pool)
	fields := pool{"name": at.pool, "kubernetesVersion": newVersion, "machineImage": at.ami, "wait": map[string]any{"stallAfter": "10s"}}
	for k, v := range s.fields {
		fields[k] = v
	}
	at.file = at.upgrade(t, at.pool, fields)
	if s.fault != "" {
		fault(t, s.fault, at.ami, s.value...)
	}
	if s.slow != "" {
		fault(t, "boot-delay", at.ami, s.slow)
	}
	if s.before != nil {
		s.before(t, at)
	}
	own := n
	if s.atPatch != nil {
		once := sync.OnceFunc(func() { s.atPatch(t, at) })
		n.kubeconfig = proxy{request: func(r *http.Request) bool {
			if isWrite(r, http.MethodPatch, "machinedeployments") {
				once()
			}
			return true
		}}.serve(t)
	}
	r := until(t, n, at.file, s.cause, func() {
		if s.midway != nil && at.undo == nil {
			box.await(t, machines, at.namespace, "cluster.x-k8s.io/deployment-name="+at.pool, "a new machine is on its way", func(all []*unstructured.Unstructured) bool {
				return slices.ContainsFunc(all, func(m *unstructured.Unstructured) bool { return text(m, "spec", "version") == newVersion })
			})
			s.midway(t, at)
		}
	}).exits(t, 5)
	s.explained(t, r)
	if !t.Failed() {
		table.add(t, s.name, at, r)
	}
	if ms := at.machines(t, at.pool); s.replicas == 0 && !s.replaced && s.cause != "template-missing" && s.cause != "health-check-churn" && len(ms) != 2 {
		t.Errorf("machines: %+v, want the old one and a new one", ms)
	}
	if s.cure == nil {
		return
	}
	written := at.writesOf(t, at.pool)
	s.cure(t, at)
	if s.slow != "" {
		clearFault("boot-delay")(t, at)
	}
	carryOn(t, own, at.file, s.cause).exits(t, 0)
	if diff := cmp.Diff(written, at.writesOf(t, at.pool)); diff != "" || len(written) < 2 {
		t.Errorf("writes of the first run and of both (-first +both):\n%s", diff)
	}
	own.nothingToDo(t, at.file)
}

// explained checks what a stalled run has said.
func (s stall) explained(t *testing.T, r result) {
	t.Helper()
	for _, want := range append([]string{s.cause + ": ", "made no progress for ", "  Next: ", "run the same command again", "nodepool rollback"}, s.says...) {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("it does not say %q\n%s", want, r)
		}
	}
	seen := said(r, "Seen on:")
	kind, _, _ := strings.Cut(seen, " ")
	_, condition, _ := strings.Cut(seen, ", condition ")
	if s.kind != "" && (kind != s.kind || condition != s.condition) {
		t.Errorf("it is seen on %q, want a %s and condition %q\n%s", seen, s.kind, s.condition, r)
	}
	// What the progress said before the time was up.
	early := "HELD UP by " + s.cause
	if s.suspected != "" {
		early = "waits for " + s.suspected
	}
	if !strings.Contains(r.Stdout, early) {
		t.Errorf("it did not say %q when it was to be seen\n%s", early, r)
	}
}

// said gives a line of the explanation of a stall, without its name.
func said(r result, name string) string {
	for line := range strings.Lines(r.Stderr) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// carryOn applies, again while nothing at all moved in the time that these tests
// allow, a machine that is to come was just not there yet, or a cause that is
// cured still stands: that is no fault but a busy computer, or a controller that
// has yet to look again (a MachineSet that may not create machines looks every
// 15 s, which is longer than these tests' stallAfter).
func carryOn(t *testing.T, n cli, file string, cured ...string) result {
	t.Helper()
	return until(t, n, file, "", nil, cured...)
}

// until is carryOn until a cause is named; midway is done while it runs.
func until(t *testing.T, n cli, file, cause string, midway func(), cured ...string) result {
	t.Helper()
	passing := append([]string{"controllers-silent", "no-progress", "infrastructure-not-ready", "bootstrap-not-ready", "node-not-joined", "machine-not-ready"}, cured...)
	for tries := 1; ; tries++ {
		p := n.start(t, "apply", "-f", file, "--auto-approve", "--progress", "plain")
		if midway != nil {
			midway()
		}
		r := p.wait(t)
		named, _, _ := strings.Cut(said(r, "Cause:"), ":")
		if r.Code != 5 || named == cause || !slices.Contains(passing, named) || tries == 5 {
			return r
		}
	}
}

func deleteNewTemplate(t *testing.T, s *scene) {
	for _, o := range box.list(t, awsMachineTemplates, s.namespace, "") {
		if strings.HasPrefix(o.GetName(), s.pool+"-") && len(o.GetName()) == len(s.pool)+len("-01234567") {
			if err := box.client.Resource(awsMachineTemplates).Namespace(s.namespace).Delete(t.Context(), o.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Error("there is no new template to delete")
}

func makeBootstrapSecret(t *testing.T, s *scene) {
	create(t, box.client, secrets, s.namespace, map[string]any{"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"name": missingSecret}, "stringData": map[string]any{"motd": "hello"}})
}

// budget puts a pod on the old machine's node that may not be evicted.
func budget(t *testing.T, s *scene) {
	workload := s.workload(t)
	create(t, workload, namespaces, "", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "shop"}})
	create(t, workload, pods, "shop", map[string]any{"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "cart", "labels": map[string]any{"app": "cart"}},
		"spec": map[string]any{"nodeName": text(s.old(t), "status", "nodeRef", "name"),
			"containers": []any{map[string]any{"name": "cart", "image": "example.com/cart"}}}})
	create(t, workload, budgets, "shop", map[string]any{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
		"metadata": map[string]any{"name": "cart-budget"},
		"spec":     map[string]any{"minAvailable": int64(1), "selector": map[string]any{"matchLabels": map[string]any{"app": "cart"}}}})
	s.undo = func(t *testing.T) {
		if err := workload.Resource(budgets).Namespace("shop").Delete(t.Context(), "cart-budget", metav1.DeleteOptions{}); err != nil && !errors.As(err, new(*json.SyntaxError)) {
			t.Logf("delete the budget: %v", err) // the in-memory server's answer to a delete is empty
		}
	}
}

// workload gives a client for the workload cluster.
func (c cluster) workload(t *testing.T) dynamic.Interface {
	t.Helper()
	raw, _, err := unstructured.NestedString(box.get(t, secrets, c.namespace, c.name+"-kubeconfig").Object, "data", "value")
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	if err := json.Unmarshal([]byte(`"`+raw+`"`), &data); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func create(t *testing.T, client dynamic.Interface, resource schema.GroupVersionResource, namespace string, content map[string]any) {
	t.Helper()
	if _, err := client.Resource(resource).Namespace(namespace).Create(t.Context(), &unstructured.Unstructured{Object: content}, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create %s: %v", resource.Resource, err)
	}
}

// upgradeControlPlane begins an upgrade of the control plane that does not go
// on until the cause is taken away.
func upgradeControlPlane(t *testing.T, s *scene) {
	name := s.cluster.name + "-control-plane"
	box.merge(t, controlPlanes, s.namespace, name, `{"metadata":{"annotations":{"`+pausedAnnotation+`":""}}}`)
	box.merge(t, controlPlanes, s.namespace, name, `{"spec":{"version":"v1.35.3"}}`)
	s.undo = func(t *testing.T) {
		box.merge(t, controlPlanes, s.namespace, name, `{"metadata":{"annotations":{"`+pausedAnnotation+`":null}}}`)
		box.awaitObject(t, controlPlanes, s.namespace, name, "the control plane is upgraded", func(o *unstructured.Unstructured) bool {
			return text(o, "status", "version") == "v1.35.3" && number(o, "status", "upToDateReplicas") == 1 && number(o, "status", "replicas") == 1
		})
	}
}

func healthCheck(t *testing.T, s *scene) {
	create(t, box.client, healthChecks, s.namespace, map[string]any{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
		"metadata": map[string]any{"name": s.pool},
		"spec": map[string]any{"clusterName": s.cluster.name,
			"selector": map[string]any{"matchLabels": map[string]any{"cluster.x-k8s.io/deployment-name": s.pool}},
			"checks":   map[string]any{"nodeStartupTimeoutSeconds": int64(30)}}})
}

// What somebody else does while an apply waits is drift when it undoes the
// change, and none when an autoscaler asks for more machines.
func TestOthersWhileItWaits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "others", "--pools", "aws:1,aws:1,aws:1")
	tests := []struct {
		name, patch, path string
		code, machines    int
	}{
		{"the version is put back", `{"spec":{"template":{"spec":{"version":"` + oldVersion + `"}}}}`, "spec.template.spec.version", 4, 0},
		{"the template is put back", `{"spec":{"template":{"spec":{"infrastructureRef":{"name":"` + c.pool(1) + `"}}}}}`, "spec.template.spec.infrastructureRef.name", 4, 0},
		{"more machines are asked for", `{"spec":{"replicas":2}}`, "", 0, 2},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n, name, ami := newCLI(t), c.pool(i), image(c.pool(i))
			fault(t, "boot-delay", ami, "8s")
			file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": ami})
			p := n.start(t, "apply", "-f", file, "--auto-approve", "--progress", "json")
			p.until(t, "a new machine was on its way", func(e event) bool { return e.Type == "rolling" && e.Rollout.New == 1 })
			box.merge(t, machineDeployments, c.namespace, name, test.patch)
			r := p.wait(t).exits(t, test.code)
			if test.code == 0 {
				if ms := c.machines(t, name); len(ms) != test.machines || slices.ContainsFunc(ms, func(m machine) bool { return m.Version != newVersion }) {
					t.Errorf("machines: %+v, want %d new ones", ms, test.machines)
				}
				if got := number(c.deployment(t, name), "spec", "replicas"); got != int64(test.machines) {
					t.Errorf("spec.replicas is %d, want the %d that were asked for", got, test.machines)
				}
				return
			}
			for _, want := range []string{"MachineDeployment " + c.namespace + "/" + name + ", " + test.path, "another writer (field manager somebody-else) changed it after this run did"} {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("it does not say %q\n%s", want, r)
				}
			}
			if w := c.writesOf(t, name); len(w) != 2 {
				t.Errorf("writes %v, want the template and the patch and none against the other writer", w)
			}
		})
	}
}
