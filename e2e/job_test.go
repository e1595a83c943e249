//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

var (
	jobs            = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// job gives the objects of deploy/job.yaml by kind, for a namespace.
func job(t *testing.T, namespace string) map[string]*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "deploy", "job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*unstructured.Unstructured{}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if o.GetNamespace() != "" {
			o.SetNamespace(namespace)
		} else {
			o.SetName(o.GetName() + "-" + box.run)
		}
		if subjects, ok, _ := unstructured.NestedSlice(o.Object, "subjects"); ok {
			for _, s := range subjects {
				s.(map[string]any)["namespace"] = namespace
			}
			o.Object["subjects"] = subjects
		}
		out[o.GetKind()] = o
	}
}

// send creates an object, which may be there already, or asks whether it could
// be created.
func send(t *testing.T, resource schema.GroupVersionResource, o *unstructured.Unstructured, dryRun ...string) {
	t.Helper()
	_, err := box.client.Resource(resource).Namespace(o.GetNamespace()).Create(t.Context(), o,
		metav1.CreateOptions{DryRun: dryRun, FieldValidation: metav1.FieldValidationStrict})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("create %s %s: %v", o.GetKind(), o.GetName(), err)
	}
}

// TestJob does what the pods of deploy/job.yaml do, with the rights of its
// service account alone: there is no kubelet here. The first is killed in the
// middle, and its successor, in another container, carries on.
func TestJob(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "job", "--pools", "aws:2")
	objects := job(t, c.namespace)
	all, err := shippedRoles()
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"nodepool-operator", definitions} {
		send(t, clusterRoles, all[role])
	}
	send(t, serviceAccounts, objects["ServiceAccount"])
	send(t, roleBindings, objects["RoleBinding"])
	send(t, clusterRoleBindings, objects["ClusterRoleBinding"])

	// The server takes the Job, and a pod of it in a namespace that takes only
	// those that are locked down.
	send(t, jobs, objects["Job"], metav1.DryRunAll)
	box.merge(t, namespaces, "", c.namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
	template, _, err := unstructured.NestedMap(objects["Job"].Object, "spec", "template")
	if err != nil {
		t.Fatal(err)
	}
	pod := &unstructured.Unstructured{Object: template}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetName("nodepool")
	pod.SetNamespace(c.namespace)
	send(t, pods, pod, metav1.DryRunAll)

	n := c.serviceAccount(t, objects["ServiceAccount"].GetName())
	file := c.upgrade(t, "job", pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage})
	planned := n.plan(t, file)
	containers, _, _ := unstructured.NestedSlice(template, "spec", "containers")
	container := containers[0].(map[string]any)
	args, _, _ := unstructured.NestedStringSlice(container, "args")
	for i, a := range args {
		args[i] = strings.NewReplacer("/etc/nodepool/upgrade.yaml", file, "DIGEST", planned.Digest).Replace(a)
	}
	if command, _, _ := unstructured.NestedStringSlice(container, "command"); !slices.Equal(command, []string{"/nodepool"}) || !slices.Contains(args, planned.Digest) || !slices.Contains(args, file) {
		t.Fatalf("the container runs %q %q", command, args)
	}
	n.env = append(n.env, "USER=nodepool")

	first := n.start(t, args...)
	first.until(t, "a new machine was ready", func(e event) bool { return e.Type == "rolling" && e.Rollout.NewReady == 1 })
	first.signal(t, syscall.SIGKILL)
	first.wait(t).exits(t, -1)
	// The successor cannot know that the first is dead: it is in another
	// container, perhaps on another node.
	lease := box.get(t, leases, c.namespace, "nodepool-"+c.pool(0))
	var holder map[string]any
	if err := json.Unmarshal([]byte(lease.GetAnnotations()["nodepool/holder"]), &holder); err != nil {
		t.Fatal(err)
	}
	holder["place"], holder["host"], holder["actor"] = "another", "nodepool-aws-example-1-35-x7k2q", "nodepool@nodepool-aws-example-1-35-x7k2q"
	raw, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{"nodepool/holder": string(raw)}}})
	if err != nil {
		t.Fatal(err)
	}
	box.merge(t, leases, c.namespace, lease.GetName(), string(patch))

	second := n.run(t, args...).exits(t, 0)
	if !strings.Contains(second.Stderr, "nodepool-aws-example-1-35-x7k2q") {
		t.Errorf("it did not say whose lock it waited for\n%s", second)
	}
	want := []write{{"create", "awsmachinetemplates", planned.template(t)}, {"patch", "machinedeployments", c.pool(0)}}
	if diff := cmp.Diff(want, c.writesOf(t, c.pool(0))); diff != "" {
		t.Errorf("writes of both pods (-want +got):\n%s", diff)
	}
	for _, m := range c.machines(t, c.pool(0)) {
		if m.Version != newVersion || m.Image != newImage || m.Deleting {
			t.Errorf("a machine is %+v", m)
		}
	}
	// A pod that is made after the last one has finished, but before the Job
	// knew, has nothing to do, which is success.
	n.run(t, args...).exits(t, 0)
	if files, err := os.ReadDir(n.home); err != nil || len(files) > 0 {
		t.Errorf("it wrote files: %v, %v", files, err)
	}
}

// serviceAccount gives the command line of a service account: a kubeconfig with
// a token as the pod has it, and nothing else.
func (c cluster) serviceAccount(t *testing.T, name string) cli {
	t.Helper()
	answer, err := box.client.Resource(serviceAccounts).Namespace(c.namespace).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"expirationSeconds": int64(3600)},
	}}, metav1.CreateOptions{}, "token")
	if err != nil {
		t.Fatal(err)
	}
	user := "system:serviceaccount:" + c.namespace + ":" + name
	for _, of := range []struct{ namespace, role string }{{c.namespace, "nodepool-operator"}, {"", definitions}} {
		rights := rightsOf(t, of.role)
		box.awaitRight(t, user, of.namespace, rights[len(rights)-1])
	}
	n := newCLI(t)
	n.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"in": {Server: box.config.Host, CertificateAuthorityData: box.config.CAData, CertificateAuthority: box.config.CAFile}},
		AuthInfos:      map[string]*api.AuthInfo{"pod": {Token: text(answer, "status", "token")}},
		Contexts:       map[string]*api.Context{"in": {Cluster: "in", AuthInfo: "pod", Namespace: c.namespace}},
		CurrentContext: "in",
	}, n.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return n
}
