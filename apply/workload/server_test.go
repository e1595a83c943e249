package workload_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

// server is the API server of a workload cluster: it lists what it holds, in
// pages, as JSON or protobuf.
type server struct {
	*httptest.Server
	nodes      []corev1.Node
	namespaces []corev1.Namespace
	daemonSets []appsv1.DaemonSet
	volumes    []corev1.PersistentVolume
	budgets    []policyv1.PodDisruptionBudget
	pods       []corev1.Pod
	// answer, when set, sees every request first, and reports whether it
	// answered.
	answer func(w http.ResponseWriter, r *http.Request) bool
	json   bool // it speaks no protobuf

	mu       sync.Mutex
	requests []string
	encoded  map[string][]byte // pages by content type and request
}

func newServer(t testing.TB) *server {
	s := &server{}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

// asked gives the requests so far: method, path and selected parts of the query.
func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if s.answer != nil && s.answer(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+secret {
		status(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
		return
	}
	switch r.URL.Path {
	case "/api/v1/nodes":
		list(s, w, r, s.nodes, func(m metav1.ListMeta, items []corev1.Node) runtime.Object {
			return &corev1.NodeList{TypeMeta: kindOf("v1", "NodeList"), ListMeta: m, Items: items}
		})
	case "/api/v1/namespaces":
		list(s, w, r, s.namespaces, func(m metav1.ListMeta, items []corev1.Namespace) runtime.Object {
			return &corev1.NamespaceList{TypeMeta: kindOf("v1", "NamespaceList"), ListMeta: m, Items: items}
		})
	case "/api/v1/persistentvolumes":
		list(s, w, r, s.volumes, func(m metav1.ListMeta, items []corev1.PersistentVolume) runtime.Object {
			return &corev1.PersistentVolumeList{TypeMeta: kindOf("v1", "PersistentVolumeList"), ListMeta: m, Items: items}
		})
	case "/api/v1/pods":
		list(s, w, r, s.pods, func(m metav1.ListMeta, items []corev1.Pod) runtime.Object {
			return &corev1.PodList{TypeMeta: kindOf("v1", "PodList"), ListMeta: m, Items: items}
		})
	case "/apis/apps/v1/daemonsets":
		list(s, w, r, s.daemonSets, func(m metav1.ListMeta, items []appsv1.DaemonSet) runtime.Object {
			return &appsv1.DaemonSetList{TypeMeta: kindOf("apps/v1", "DaemonSetList"), ListMeta: m, Items: items}
		})
	case "/apis/policy/v1/poddisruptionbudgets":
		list(s, w, r, s.budgets, func(m metav1.ListMeta, items []policyv1.PodDisruptionBudget) runtime.Object {
			return &policyv1.PodDisruptionBudgetList{TypeMeta: kindOf("policy/v1", "PodDisruptionBudgetList"), ListMeta: m, Items: items}
		})
	default:
		status(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	}
}

func kindOf(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// list answers with a page.
func list[T any](s *server, w http.ResponseWriter, r *http.Request, all []T, make func(metav1.ListMeta, []T) runtime.Object) {
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if limit == 0 || limit > 500 {
		status(w, http.StatusBadRequest, metav1.StatusReasonBadRequest) // nobody may ask for all at once
		return
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	to := min(from+limit, len(all))
	meta := metav1.ListMeta{ResourceVersion: "7"}
	if to < len(all) {
		meta.Continue = strconv.Itoa(to)
	}
	contentType := "application/json"
	if !s.json && strings.Contains(r.Header.Get("Accept"), "application/vnd.kubernetes.protobuf") {
		contentType = "application/vnd.kubernetes.protobuf"
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(s.page(contentType+" "+r.URL.String(), func() []byte {
		var body bytes.Buffer
		o := make(meta, all[from:to])
		if contentType != "application/json" {
			if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(o, &body); err != nil {
				panic(err)
			}
		} else if err := json.NewEncoder(&body).Encode(o); err != nil {
			panic(err)
		}
		return body.Bytes()
	}))
}

// page encodes a page once, so that a benchmark measures its reader.
func (s *server) page(key string, encode func() []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.encoded == nil {
		s.encoded = map[string][]byte{}
	}
	if _, ok := s.encoded[key]; !ok {
		s.encoded[key] = encode()
	}
	return s.encoded[key]
}

// status answers as an API server does when it refuses; its message holds what
// must not be passed on.
func status(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: kindOf("v1", "Status"), Status: "Failure", Code: int32(code), Reason: reason,
		Message: `User "` + secret + `" is refused`})
}

// kubeconfig is that of the server's admin.
func (s *server) kubeconfig() string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return kubeconfig("server: "+s.URL+", certificate-authority-data: "+b64(ca), goodUser)
}

var (
	secretKind    = clustertest.Kind{Kind: "Secret", Version: "v1"}
	drainRuleKind = clustertest.Kind{Group: "cluster.x-k8s.io", Kind: "MachineDrainRule", Version: "v1beta2"}
)

// management is a management cluster with the Secret of a kubeconfig.
func management(kubeconfig string) *clustertest.World {
	w := clustertest.AWSExample()
	w.Serve(secretKind, drainRuleKind)
	w.Put(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"namespace": "default", "name": "aws-example-kubeconfig"},
		"data":     map[string]any{"value": b64([]byte(kubeconfig))}}})
	return w
}

const pool = "aws-example-md-0"

func upgrade(t testing.TB) schema.Upgrade {
	t.Helper()
	up, _, err := schema.Read("upgrade.yaml", []byte(`apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: up}
spec:
  cluster: {name: aws-example}
  pools: [{name: aws-example-md-0, kubernetesVersion: v1.35.2, machineImage: ami-new}]
`))
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func observe(t testing.TB, w *clustertest.World, up schema.Upgrade) plan.Snapshot {
	t.Helper()
	snap, err := apply.Observe(t.Context(), w.Open(nil), up)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// goingNodes gives the nodes of the pool.
func goingNodes(t testing.TB, w *clustertest.World, up schema.Upgrade) []string {
	t.Helper()
	q := plan.Ask(up, observe(t, w, up)).Workload
	if q == nil || len(q.Nodes) != 3 {
		t.Fatalf("nodes: %v", q)
	}
	var out []string
	for name := range q.Nodes {
		out = append(out, name)
	}
	return out
}

func readyNode(name string) corev1.Node {
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: "host-" + name}},
		Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.34.3"},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
}

func runningPod(namespace, name, node string) corev1.Pod {
	yes := true
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name, Controller: &yes}}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}}}
}

func named(prefix string, n int) string { return fmt.Sprintf("%s-%05d", prefix, n) }
