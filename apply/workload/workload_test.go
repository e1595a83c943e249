package workload_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply/clustertest"
	"nodepool/apply/workload"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// look asks for what there is to find out.
func look(t testing.TB, w *clustertest.World) plan.WorkloadReport {
	t.Helper()
	up := upgrade(t)
	snap := workload.Inquirer{Management: w.Open(nil), UserAgent: "nodepool/test", Patience: time.Minute}.Inquire(t.Context(), plan.Ask(up, observe(t, w, up)), observe(t, w, up))
	r, ok := snap.Workload()
	if !ok {
		t.Fatal("nothing was asked")
	}
	return r
}

// TestLook reads all kinds, in both forms, in pages.
func TestLook(t *testing.T) {
	t.Parallel()
	for name, asJSON := range map[string]bool{"protobuf": false, "json": true} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.json = asJSON
			w := management(s.kubeconfig())
			w.Put(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
				"metadata": map[string]any{"namespace": "default", "name": "batch"},
				"spec": map[string]any{"drain": map[string]any{"behavior": "WaitCompleted"},
					"pods": []any{map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kind": "batch"}}}}}}})
			nodes := goingNodes(t, w, upgrade(t))
			slices.Sort(nodes)
			for i, n := range nodes {
				o := readyNode(n)
				o.Spec.Unschedulable = i == 1
				if i == 2 {
					o.Status.Conditions[0].Status = corev1.ConditionUnknown
				}
				s.nodes = append(s.nodes, o)
			}
			for i := range 700 {
				s.nodes = append(s.nodes, readyNode(named("other", i)))
			}
			s.namespaces = []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "jobs", Labels: map[string]string{"kind": "batch"}}}}
			s.daemonSets = []appsv1.DaemonSet{{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "agent"}}}
			for i, host := range []string{"host-" + nodes[0], "elsewhere"} {
				s.volumes = append(s.volumes, corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: named("pv", i)},
					Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: named("data", i)},
						NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
							{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}}}}}}}})
			}
			s.budgets = []policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", Generation: 1},
				Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
				Status: policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1, DesiredHealthy: 1, ExpectedPods: 1}}}
			pod := func(namespace, name string, edit func(*corev1.Pod)) {
				p := runningPod(namespace, name, nodes[0])
				edit(&p)
				s.pods = append(s.pods, p)
			}
			controller := func(kind, name string) func(*corev1.Pod) {
				return func(p *corev1.Pod) { p.OwnerReferences[0].Kind, p.OwnerReferences[0].Name = kind, name }
			}
			volume := func(source corev1.VolumeSource, readOnly bool) func(*corev1.Pod) {
				return func(p *corev1.Pod) {
					p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: source}}
					p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", ReadOnly: readOnly}}
				}
			}
			socket := corev1.HostPathSocket
			pod("shop", "db", func(*corev1.Pod) {})
			pod("shop", "bare", func(p *corev1.Pod) { p.OwnerReferences = nil })
			pod("shop", "scratch", func(p *corev1.Pod) {
				p.OwnerReferences = nil
				volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, false)(p)
			})
			pod("shop", "memory", volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}, false))
			pod("shop", "writes", volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}}, false))
			pod("shop", "reads", volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}}, true))
			pod("shop", "talks", volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/run/x.sock", Type: &socket}}, false))
			pod("kube-system", "agent-1", controller("DaemonSet", "agent"))
			pod("kube-system", "orphan-1", controller("DaemonSet", "orphan"))
			pod("kube-system", "static", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} })
			pod("jobs", "import", controller("Job", "import"))
			pod("shop", "anywhere", func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} })
			pod("shop", "somewhere", func(p *corev1.Pod) {
				p.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
			})
			pod("shop", "going", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now().Add(-time.Second)} })
			pod("shop", "stays", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now().Add(-time.Hour)} })
			pod("shop", "homeless", func(p *corev1.Pod) {
				p.Spec.NodeName, p.Status.Phase = "", corev1.PodPending
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}
			})
			pod("shop", "done", func(p *corev1.Pod) { p.OwnerReferences, p.Status.Phase = nil, corev1.PodSucceeded })
			for i := range 1200 {
				s.pods = append(s.pods, runningPod("other", named("pod", i), named("other", i%700)))
			}
			on := func(names ...string) plan.Sample {
				for i := range names {
					names[i] += " on " + nodes[0]
				}
				return plan.Sample{Count: len(names), Names: names}
			}
			want := plan.WorkloadReport{Unread: map[string]string{}, Nodes: 703, Pods: 1216, Budgets: 1,
				Unschedulable: plan.Sample{Count: 1, Names: []string{"shop/homeless"}},
				Pools: map[string]*plan.WorkloadPool{pool: {Nodes: 3, Kubelets: map[string]int{"v1.34.3": 3},
					Cordoned: plan.Sample{Count: 1, Names: nodes[1:2]}, Unreachable: plan.Sample{Count: 1, Names: nodes[2:]},
					Pods: 15, Evicted: 12, Skipped: 2, Waits: on("jobs/import"),
					Unmanaged: on("shop/bare"), UnmanagedData: on("shop/scratch"), EmptyDir: 1, Orphans: on("kube-system/orphan-1"),
					HostPath: on("shop/writes"), Returning: on("shop/anywhere"), Overdue: on("shop/stays"),
					Volumes: on("claim shop/data-00000 (pv-00000)"),
					Never:   []plan.PinningBudget{{Budget: "shop/db", Why: "it wants 1 of 1 pods healthy", Pods: on("shop/db")}}}}}
			if diff := cmp.Diff(want, look(t, w)); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			wantAsked := []string{"GET /api/v1/nodes", "GET /api/v1/nodes", "GET /api/v1/namespaces", "GET /apis/apps/v1/daemonsets",
				"GET /api/v1/persistentvolumes", "GET /apis/policy/v1/poddisruptionbudgets", "GET /api/v1/pods", "GET /api/v1/pods", "GET /api/v1/pods"}
			if diff := cmp.Diff(wantAsked, s.asked()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotVerified has every way in which nothing is found out: the report says
// why, and holds nothing of the Secret.
func TestNotVerified(t *testing.T) {
	t.Parallel()
	answering := func(answer func(http.ResponseWriter, *http.Request) bool) func(*testing.T) *clustertest.World {
		return func(t *testing.T) *clustertest.World {
			s := newServer(t)
			s.answer = answer
			return management(s.kubeconfig())
		}
	}
	broken := func(change func(string) string) func(*testing.T) *clustertest.World {
		return func(t *testing.T) *clustertest.World { return management(change(newServer(t).kubeconfig())) }
	}
	for name, test := range map[string]struct {
		world func(*testing.T) *clustertest.World
		words []string
	}{
		"no right to the Secret": {func(*testing.T) *clustertest.World {
			w := management("")
			w.Forbid("get", "", "Secret")
			return w
		}, []string{"you may not get secrets in namespace default", "Secret default/aws-example-kubeconfig", "nodepool-workload"}},
		"no Secret": {func(*testing.T) *clustertest.World {
			w := management("")
			w.Delete(plan.Ref{Kind: "Secret", Namespace: "default", Name: "aws-example-kubeconfig"})
			return w
		}, []string{"there is no Secret default/aws-example-kubeconfig"}},
		"an empty Secret": {func(*testing.T) *clustertest.World { return management("") }, []string{"with a kubeconfig in its key value"}},
		"a Secret that is no base64": {func(*testing.T) *clustertest.World {
			w := management("")
			w.Edit(plan.Ref{Kind: "Secret", Namespace: "default", Name: "aws-example-kubeconfig"}, func(o *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(o.Object, "%"+secret, "data", "value")
			})
			return w
		}, []string{"with a kubeconfig in its key value"}},
		"a kubeconfig that is refused": {func(*testing.T) *clustertest.World {
			return management(kubeconfig(goodServer, "exec: {command: "+secret+"}"))
		}, []string{"the kubeconfig in Secret default/aws-example-kubeconfig is not used", "exec (it would run a program)"}},
		"a certificate that is none": {func(*testing.T) *clustertest.World {
			return management(kubeconfig(goodServer, "client-certificate-data: "+b64([]byte(secret))+", client-key-data: "+b64([]byte(secret))))
		}, []string{"its certificates or its key cannot be read"}},
		"another authority": {broken(func(k string) string {
			cert, _ := pair()
			at := strings.Index(k, "certificate-authority-data: ") + len("certificate-authority-data: ")
			return k[:at] + b64(cert) + k[strings.Index(k, "}}]"):]
		}), []string{"cannot be talked to", "its certificate is not trusted"}},
		"other credentials": {broken(func(k string) string { return strings.Replace(k, "token: "+secret, "token: x"+secret, 1) }),
			[]string{"does not accept the credentials"}},
		"a closed port": {func(t *testing.T) *clustertest.World {
			s := newServer(t)
			s.Close()
			return management(s.kubeconfig())
		}, []string{"the connection is refused"}},
		"an unknown name": {func(*testing.T) *clustertest.World {
			return management(kubeconfig("server: https://"+secret+".invalid", goodUser))
		}, []string{"cannot be talked to"}},
		"a redirect": {answering(func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://"+secret+".test/api/v1/nodes", http.StatusFound)
			return true
		}), []string{"it sends requests on to somewhere else"}},
		"no API server": {answering(func(w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprint(w, secret)
			return true
		}), []string{"the request failed"}},
		"an answer without end": {answering(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			for chunk := make([]byte, 1<<20); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					break
				}
			}
			return true
		}), []string{"an answer is too large"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := test.world(t)
			r := look(t, w)
			for _, word := range test.words {
				if !strings.Contains(r.NotVerified+" | "+r.Remedy, word) {
					t.Errorf("it does not say %q: %q, %q", word, r.NotVerified, r.Remedy)
				}
			}
			if r.Remedy == "" || len(r.Pools) > 0 {
				t.Errorf("%+v", r)
			}
			leaksNothing(t, r)
		})
	}
}

// leaksNothing looks for what is in the Secret alone.
func leaksNothing(t *testing.T, r plan.WorkloadReport) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{secret, "127.0.0.1", "https://", "BEGIN"} {
		if strings.Contains(string(text), what) {
			t.Errorf("the report holds %q: %s", what, text)
		}
	}
}

// TestTime gives up when the time is over, wherever the look is then.
func TestTime(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/pods" {
			return false
		}
		<-r.Context().Done()
		return true
	}
	w, up := management(s.kubeconfig()), upgrade(t)
	snap := workload.Inquirer{Management: w.Open(nil), Patience: 500 * time.Millisecond}.Inquire(t.Context(), plan.Ask(up, observe(t, w, up)), observe(t, w, up))
	r, _ := snap.Workload()
	if want := "it took longer than 500ms"; r.NotVerified != want {
		t.Errorf("%q, want %q", r.NotVerified, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, _ := (workload.Inquirer{Management: w.Open(nil)}).Inquire(ctx, plan.Ask(up, observe(t, w, up)), observe(t, w, up)).Workload(); r.NotVerified == "" {
		t.Errorf("%+v", r)
	}
}

// TestInPart goes on without what it may not list.
func TestInPart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/api/v1/persistentvolumes":
			status(w, http.StatusForbidden, metav1.StatusReasonForbidden)
		case "/apis/apps/v1/daemonsets":
			status(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		case "/apis/policy/v1/poddisruptionbudgets":
			status(w, http.StatusInternalServerError, metav1.StatusReasonInternalError)
		default:
			return false
		}
		return true
	}
	w := management(s.kubeconfig())
	w.Forbid("list", capi.Group, "MachineDrainRule")
	for _, n := range goingNodes(t, w, upgrade(t)) {
		s.nodes = append(s.nodes, readyNode(n))
	}
	r := look(t, w)
	want := map[string]string{
		"PersistentVolumes":    "the user of its kubeconfig may not list them",
		"DaemonSets":           "it does not serve them",
		"PodDisruptionBudgets": "it answered with the status 500",
		"MachineDrainRules":    "you may not list machinedrainrules.cluster.x-k8s.io in namespace default",
	}
	if diff := cmp.Diff(want, r.Unread); diff != "" || r.Pools[pool].Nodes != 3 {
		t.Errorf("%+v; unread (-want +got):\n%s", r.Pools[pool], diff)
	}
	leaksNothing(t, r)

	w.Withdraw(capi.Group, "MachineDrainRule") // Cluster API before v1.9
	if why, unread := look(t, w).Unread["MachineDrainRules"]; unread {
		t.Errorf("there are no rules, and it says %q", why)
	}
}

// TestNothingToLookAt sends nothing where no machine goes.
func TestNothingToLookAt(t *testing.T) {
	t.Parallel()
	w, up := management(""), upgrade(t)
	up.Spec.Pools[0].KubernetesVersion, up.Spec.Pools[0].MachineImage = "v1.34.3", ""
	snap := observe(t, w, up)
	before := len(w.Calls())
	if _, asked := (workload.Inquirer{Management: w.Open(nil)}).Inquire(t.Context(), plan.Ask(up, snap), snap).Workload(); asked || len(w.Calls()) > before {
		t.Errorf("asked is %t, requests %v", asked, w.Calls()[before:])
	}
}

// TestOnlyLists sends all that a client could send besides, and none of it goes
// out.
func TestOnlyLists(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, err := workload.Client([]byte(s.kubeconfig()))
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, url string, header ...string) error {
		r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(header) > 0 {
			r.Header.Set(header[0], header[1])
		}
		resp, err := client.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT"} {
		if send(method, s.URL+"/api/v1/pods") == nil {
			t.Errorf("%s went out", method)
		}
	}
	for _, path := range []string{"/api/v1/pods?watch=true", "/api/v1/pods?watch=1", "/api/v1/secrets", "/api/v1/namespaces/shop/pods/cart/exec",
		"/api/v1/namespaces/shop/pods/cart/log", "/api/v1/nodes/n/proxy/", "/api/v1/pods/", "/api", "/"} {
		if send("GET", s.URL+path) == nil {
			t.Errorf("GET %s went out", path)
		}
	}
	if send("GET", s.URL+"/api/v1/pods", "Upgrade", "SPDY/3.1") == nil {
		t.Error("an upgrade went out")
	}
	if send("GET", strings.Replace(s.URL, "127.0.0.1", "localhost", 1)+"/api/v1/pods") == nil {
		t.Error("a request to another host went out")
	}
	if got := s.asked(); len(got) > 0 {
		t.Errorf("the server got %q", got)
	}
	if err := send("GET", s.URL+"/api/v1/pods?limit=1"); err != nil {
		t.Error(err)
	}
}
