package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

// workload is what a test has in the workload cluster; the nodes of the AWS pool
// are ready unless it says otherwise.
type workload struct {
	nodes      []string // of the pool, sorted
	edit       func(i int, n *plan.NodeSeen) bool
	namespaces map[string]map[string]string
	daemonSets []string
	volumes    []plan.VolumeSeen
	budgets    []plan.BudgetSeen
	pods       []plan.PodSeen
	unread     map[string]string
	rules      []*object
}

func (w workload) look(q plan.WorkloadQuery) plan.WorkloadReport {
	tally := plan.NewWorkloadTally(q, w.rules)
	for kind, why := range w.unread {
		tally.Unread(kind, why)
	}
	for i, name := range w.nodes {
		n := plan.NodeSeen{Name: name, Hostname: name, Ready: true, KubeletVersion: "v1.34.3"}
		if w.edit == nil || w.edit(i, &n) {
			tally.Node(n)
		}
	}
	for name, l := range w.namespaces {
		tally.Namespace(name, l)
	}
	for _, d := range w.daemonSets {
		namespace, name, _ := strings.Cut(d, "/")
		tally.DaemonSet(namespace, name)
	}
	for _, v := range w.volumes {
		tally.Volume(v)
	}
	for _, b := range w.budgets {
		tally.Budget(b)
	}
	for _, p := range w.pods {
		tally.Pod(p)
	}
	return tally.Report()
}

func nodesOf(q plan.WorkloadQuery, pool string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(q.Nodes)), func(n string) bool { return q.Nodes[n].Pool != pool })
}

// planWith compiles up with what the workload cluster holds.
func planWith(t *testing.T, w *clustertest.World, up schema.Upgrade, in func(nodes []string) workload) plan.Plan {
	t.Helper()
	snap := observe(t, w, up)
	q := plan.Ask(up, snap).Workload
	if q == nil {
		t.Fatal("there is nothing to look at")
	}
	nodes := nodesOf(*q, awsPool)
	what := in(nodes)
	what.nodes = nodes
	made, err := plan.Compile(up, snap.WithWorkload(what.look(*q)))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// shop is a pod that is ready, has a controller and keeps nothing.
func shop(node string, edits ...func(*plan.PodSeen)) plan.PodSeen {
	p := plan.PodSeen{Namespace: "shop", Name: "cart", Node: node, Labels: map[string]string{"app": "cart"},
		ControllerKind: "ReplicaSet", ControllerName: "cart-1", Ready: true}
	for _, e := range edits {
		e(&p)
	}
	return p
}

func bare(p *plan.PodSeen) { p.ControllerKind, p.ControllerName = "", "" }

// cart is a budget for the pods of shop.
func cart(edits ...func(*plan.BudgetSeen)) plan.BudgetSeen {
	b := plan.BudgetSeen{Namespace: "shop", Name: "cart", Selector: labels.SelectorFromSet(labels.Set{"app": "cart"}), Current: true,
		Allowed: 1, Healthy: 2, Desired: 1, Expected: 2}
	for _, e := range edits {
		e(&b)
	}
	return b
}

func tight(b *plan.BudgetSeen) { b.Allowed, b.Healthy, b.Desired, b.Expected = 0, 1, 1, 1 }
func spent(b *plan.BudgetSeen) { b.Allowed, b.Healthy, b.Desired, b.Expected = 0, 2, 2, 3 }

func rule(name, behavior string, pods map[string]any) *object {
	spec := map[string]any{"drain": map[string]any{"behavior": behavior}}
	if pods != nil {
		spec["pods"] = []any{pods}
	}
	return &object{Object: map[string]any{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
		"metadata": map[string]any{"namespace": "default", "name": name}, "spec": spec}}
}

func TestWorkloadChecks(t *testing.T) {
	t.Parallel()
	on := func(pods ...func(node string) plan.PodSeen) func([]string) workload {
		return func(nodes []string) workload {
			var w workload
			for _, p := range pods {
				w.pods = append(w.pods, p(nodes[0]))
			}
			return w
		}
	}
	pod := func(edits ...func(*plan.PodSeen)) func(string) plan.PodSeen {
		return func(node string) plan.PodSeen { return shop(node, edits...) }
	}
	guarded := func(b plan.BudgetSeen, edits ...func(*plan.PodSeen)) func([]string) workload {
		return func(nodes []string) workload {
			return workload{pods: []plan.PodSeen{shop(nodes[0], edits...)}, budgets: []plan.BudgetSeen{b}}
		}
	}
	none := func([]string) workload { return workload{} }
	odd := func(edit func(*plan.NodeSeen) bool) func([]string) workload {
		return func([]string) workload {
			return workload{edit: func(i int, n *plan.NodeSeen) bool { return i > 0 || edit(n) }}
		}
	}
	const limited = toBoth + ", drain: {nodeDrainTimeout: 10m}"
	tests := []struct {
		name string
		in   func(nodes []string) workload
		edit func(*clustertest.World)
		pool string

		code     string
		severity plan.Severity
		words    []string
	}{
		{name: "all was read", in: on(pod()), code: plan.CheckWorkload, severity: plan.Pass, words: []string{"3 nodes, 1 pods, 0 PodDisruptionBudgets"}},
		{name: "a part was not", in: func([]string) workload {
			return workload{unread: map[string]string{"PersistentVolumes": "the user of its kubeconfig may not list them"}}
		}, code: plan.CheckWorkload, severity: plan.Warn, words: []string{"not verified in part", "PersistentVolumes (the user of its kubeconfig may not list them)", "give the right to list"}},
		{name: "a part was not, for want of an answer", in: func([]string) workload {
			return workload{unread: map[string]string{"PersistentVolumes": "it answered with the status 500"}}
		}, code: plan.CheckWorkload, severity: plan.Warn, words: []string{"not verified in part", "PersistentVolumes (it answered with the status 500)", "see what is the matter with the API server", "then plan again"}},

		{name: "nodes ready", in: none, code: plan.CheckWorkloadNodes, severity: plan.Pass, words: []string{"the 3 nodes to be replaced are ready", "kubelet v1.34.3"}},
		{name: "node missing", in: odd(func(*plan.NodeSeen) bool { return false }),
			code: plan.CheckWorkloadNodes, severity: plan.Warn, words: []string{"of the 3 nodes", "1 is named by a Machine and is not there", "NODE"}},
		{name: "node unreachable", in: odd(func(n *plan.NodeSeen) bool { n.Ready, n.Unreachable = false, true; return true }),
			code: plan.CheckWorkloadNodes, severity: plan.Warn, words: []string{"1 is unreachable", "NODE"}},
		{name: "node not ready", in: odd(func(n *plan.NodeSeen) bool { n.Ready = false; return true }),
			code: plan.CheckWorkloadNodes, severity: plan.Warn, words: []string{"1 is not ready: NODE"}},
		{name: "node cordoned", in: odd(func(n *plan.NodeSeen) bool { n.Cordoned = true; return true }),
			code: plan.CheckWorkloadNodes, severity: plan.Warn, words: []string{"1 is cordoned already", "NODE"}},
		{name: "another kubelet", in: odd(func(n *plan.NodeSeen) bool { n.KubeletVersion = "v1.33.1"; return true }),
			code: plan.CheckWorkloadNodes, severity: plan.Warn, words: []string{"kubelet v1.33.1, v1.34.3", "1 runs a kubelet that is not of its Machine's version: NODE (v1.33.1)"}},
		{name: "a distributor's kubelet", in: odd(func(n *plan.NodeSeen) bool { n.KubeletVersion = "v1.34.3-eks-1a2b"; return true }),
			code: plan.CheckWorkloadNodes, severity: plan.Pass},
		{name: "not drained", in: none, edit: eachMachine(func(m *object) {
			m.SetAnnotations(map[string]string{"machine.cluster.x-k8s.io/exclude-node-draining": ""})
		}), code: plan.CheckWorkloadNodes, severity: plan.Warn, words: []string{"3 are deleted without a drain", "exclude-node-draining", "whatever their budgets say"}},

		{name: "no budget", in: on(pod()), code: plan.CheckWorkloadBudgets, severity: plan.Pass,
			words: []string{"a drain goes on without limit", "volumes without limit", "the deletion of a node at most 10s"}},
		{name: "limits told", in: on(pod()), pool: toBoth + ", drain: {nodeDrainTimeout: 10m, nodeVolumeDetachTimeout: 1h, nodeDeletionTimeout: 0s}",
			code: plan.CheckWorkloadBudgets, severity: plan.Pass, words: []string{"goes on at most 10m,", "volumes at most 1h,", "a node without limit"}},
		{name: "budget with room", in: guarded(cart()), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "budget of others", in: guarded(cart(tight), func(p *plan.PodSeen) { p.Labels = nil }), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "budget of another namespace", in: guarded(cart(tight), func(p *plan.PodSeen) { p.Namespace = "bank" }), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "budget on another node", in: guarded(cart(tight), func(p *plan.PodSeen) { p.Node = "elsewhere" }), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "budget that allows nothing", in: guarded(cart(tight)), code: plan.CheckWorkloadBudgets, severity: plan.Block,
			words: []string{"cannot be evicted as things stand", "PodDisruptionBudget shop/cart (it wants 1 of 1 pods healthy) pins shop/cart on NODE",
				"nodeDrainTimeout of the pool is not set", "for ever", "set drain.nodeDrainTimeout", "waive workload-budgets"}},
		{name: "budget that allows nothing, drain limited", in: guarded(cart(tight)), pool: limited, code: plan.CheckWorkloadBudgets, severity: plan.Warn,
			words: []string{"deletes the machine with these pods on it after 10m", "(nodeDrainTimeout)"}},
		{name: "drain limited before", in: guarded(cart(tight)), edit: edit(awsRef, int64(90), "spec", "template", "spec", "deletion", "nodeDrainTimeoutSeconds"),
			code: plan.CheckWorkloadBudgets, severity: plan.Warn, words: []string{"after 1m30s"}},
		{name: "budget exhausted now", in: guarded(cart(spent)), code: plan.CheckWorkloadBudgets, severity: plan.Warn,
			words: []string{"cannot be evicted at the moment", "(2 pods are healthy, and it wants 2 of 3)", "goes on once it may", "if it never may, the rollout would stand still"}},
		{name: "budget that is not worked out", in: guarded(cart(spent, func(b *plan.BudgetSeen) { b.Failed = true })), code: plan.CheckWorkloadBudgets, severity: plan.Block,
			words: []string{"SyncFailed"}},
		{name: "budget that just changed", in: guarded(cart(func(b *plan.BudgetSeen) { b.Current = false })), code: plan.CheckWorkloadBudgets, severity: plan.Warn,
			words: []string{"its status is not that of its present spec"}},
		{name: "two budgets for one pod", in: func(nodes []string) workload {
			return workload{pods: []plan.PodSeen{shop(nodes[0])}, budgets: []plan.BudgetSeen{cart(), cart(func(b *plan.BudgetSeen) { b.Name = "all" })}}
		}, code: plan.CheckWorkloadBudgets, severity: plan.Block, words: []string{"shop/all and shop/cart", "more than one budget"}},
		{name: "tight budget, pod pending", in: guarded(cart(tight, func(b *plan.BudgetSeen) { b.Healthy = 0 }), func(p *plan.PodSeen) { p.Ready, p.Pending = false, true }), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "tight budget, pod going", in: guarded(cart(tight), func(p *plan.PodSeen) { p.Deleting = true }), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "tight budget that is met, pod not ready", in: guarded(cart(tight), func(p *plan.PodSeen) { p.Ready = false }), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "tight budget that is not met, pod not ready", in: guarded(cart(tight, func(b *plan.BudgetSeen) { b.Healthy = 0 }), func(p *plan.PodSeen) { p.Ready = false }),
			code: plan.CheckWorkloadBudgets, severity: plan.Block},
		{name: "tight budget that lets the sick go", in: guarded(cart(tight, func(b *plan.BudgetSeen) { b.Healthy, b.AlwaysAllow = 0, true }), func(p *plan.PodSeen) { p.Ready = false }),
			code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "tight budget, static pod", in: guarded(cart(tight), func(p *plan.PodSeen) { p.Mirror = true }), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "tight budget, pod left out by label", in: guarded(cart(tight), func(p *plan.PodSeen) { p.Labels["cluster.x-k8s.io/drain"] = "Skip" }), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "tight budget, pod left out by rule", in: func(nodes []string) workload {
			return workload{pods: []plan.PodSeen{shop(nodes[0])}, budgets: []plan.BudgetSeen{cart(tight)}, namespaces: map[string]map[string]string{"shop": {"team": "a"}},
				rules: []*object{rule("z", "Drain", nil), rule("a", "Skip", map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"team": "a"}}})}}
		}, code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "tight budget, pod of a DaemonSet", in: func(nodes []string) workload {
			return workload{pods: []plan.PodSeen{shop(nodes[0], daemon)}, budgets: []plan.BudgetSeen{cart(tight)}, daemonSets: []string{"shop/agent"}}
		}, code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "tight budget, machine without drain", in: guarded(cart(tight)), edit: eachMachine(func(m *object) {
			m.SetAnnotations(map[string]string{"machine.cluster.x-k8s.io/exclude-node-draining": ""})
		}), code: plan.CheckWorkloadBudgets, severity: plan.Pass},
		{name: "budgets not read", in: func(nodes []string) workload {
			return workload{unread: map[string]string{"PodDisruptionBudgets": "it does not serve them"}}
		}, code: plan.CheckWorkloadBudgets, severity: plan.NotVerified, words: []string{"not verified: PodDisruptionBudgets could not be read"}},

		{name: "plain pods", in: on(pod(), pod(func(p *plan.PodSeen) { p.Mirror = true })), code: plan.CheckWorkloadPods, severity: plan.Pass,
			words: []string{"on the nodes to be replaced: 2 pods; evicted: 1, left to end with their machine: 1"}},
		{name: "no controller", in: on(pod(bare)), code: plan.CheckWorkloadPods, severity: plan.Warn, words: []string{"among them 1 has no controller and is gone for good: shop/cart on NODE"}},
		{name: "no controller, static", in: on(pod(bare, func(p *plan.PodSeen) { p.Mirror = true })), code: plan.CheckWorkloadPods, severity: plan.Pass},
		{name: "DaemonSet that is gone", in: on(pod(daemon)), code: plan.CheckWorkloadPods, severity: plan.Warn, words: []string{"DaemonSet that is not there", "shop/cart on NODE"}},
		{name: "DaemonSets not read", in: func(nodes []string) workload {
			return workload{pods: []plan.PodSeen{shop(nodes[0], daemon)}, unread: map[string]string{"DaemonSets": "x"}}
		}, code: plan.CheckWorkloadPods, severity: plan.Pass, words: []string{"left to end with their machine: 1"}},
		{name: "comes back to a cordoned node", in: on(pod(func(p *plan.PodSeen) { p.ToleratesCordon = true })), code: plan.CheckWorkloadPods, severity: plan.Warn,
			words: []string{"tolerates the cordon", "the drain does not end", "a drain has no limit"}},
		{name: "waited for", in: on(pod(bare, func(p *plan.PodSeen) { p.Labels["cluster.x-k8s.io/drain"] = "wait-completed" })), pool: limited, code: plan.CheckWorkloadPods, severity: plan.Warn,
			words: []string{"1 is waited for until it completes", "given up after 10m"}},
		{name: "does not go", in: on(pod(func(p *plan.PodSeen) { p.Deleting, p.Overdue = true, true })), code: plan.CheckWorkloadPods, severity: plan.Warn,
			words: []string{"is being deleted and does not go"}},

		{name: "no data", in: on(pod(func(p *plan.PodSeen) { p.EmptyDir = true })), code: plan.CheckWorkloadData, severity: plan.Pass, words: []string{"scratch space (emptyDir) of 1 pod"}},
		{name: "volume on a node", in: func(nodes []string) workload {
			return workload{volumes: []plan.VolumeSeen{{Name: "pvc-1", Claim: "shop/data-0", Nodes: []string{"eu-west-1a", nodes[0]}}}}
		}, code: plan.CheckWorkloadData, severity: plan.Block, words: []string{"1 persistent volume is on a node to be replaced", "claim shop/data-0 (pvc-1) on NODE", "| move the data of a volume", "delete the claim"}},
		{name: "volume on another node", in: func([]string) workload {
			return workload{volumes: []plan.VolumeSeen{{Name: "pvc-1", Claim: "shop/data-0", Nodes: []string{"eu-west-1a"}}}}
		}, code: plan.CheckWorkloadData, severity: plan.Pass},
		{name: "volume that nobody claimed", in: func(nodes []string) workload {
			return workload{volumes: []plan.VolumeSeen{{Name: "disk-1", Nodes: []string{nodes[0]}}}}
		}, code: plan.CheckWorkloadData, severity: plan.Pass},
		{name: "no controller, and data", in: on(pod(bare, func(p *plan.PodSeen) { p.EmptyDir = true })), code: plan.CheckWorkloadData, severity: plan.Block,
			words: []string{"1 pod without a controller keeps data on its node (emptyDir or hostPath): the data is lost, and nobody makes the pod again: shop/cart on NODE", "| copy what must be kept", "make the pod again on a node that is not replaced"}},
		{name: "no controller, data and no drain", in: on(pod(bare, func(p *plan.PodSeen) { p.HostPath = true })), edit: eachMachine(func(m *object) {
			m.SetAnnotations(map[string]string{"machine.cluster.x-k8s.io/exclude-node-draining": ""})
		}), code: plan.CheckWorkloadData, severity: plan.Block},
		{name: "directory of the node", in: on(pod(func(p *plan.PodSeen) { p.HostPath = true })), code: plan.CheckWorkloadData, severity: plan.Warn, words: []string{"hostPath", "shop/cart on NODE"}},
		{name: "directory of the node, DaemonSet", in: func(nodes []string) workload {
			return workload{daemonSets: []string{"shop/agent"}, pods: []plan.PodSeen{shop(nodes[0], daemon, func(p *plan.PodSeen) { p.HostPath = true })}}
		}, code: plan.CheckWorkloadData, severity: plan.Pass},
		{name: "volumes not read", in: func([]string) workload {
			return workload{unread: map[string]string{"PersistentVolumes": "x"}}
		}, code: plan.CheckWorkloadData, severity: plan.NotVerified, words: []string{"not verified: PersistentVolumes could not be read"}},

		{name: "nothing pending", in: on(pod(func(p *plan.PodSeen) { p.Pending = true })), code: plan.CheckWorkloadPending, severity: plan.Pass, words: []string{"1 are starting"}},
		{name: "pods without a node", in: func([]string) workload {
			var w workload
			for i := range 30 {
				w.pods = append(w.pods, shop("", func(p *plan.PodSeen) { p.Name, p.Pending, p.Unschedulable = fmt.Sprintf("cart-%02d", 29-i), true, true }))
			}
			return w
		}, code: plan.CheckWorkloadPending, severity: plan.Warn, words: []string{"30 pods find no node now: shop/cart-00, shop/cart-01, ", "shop/cart-09 and 20 more", "maxSurge"}},
		{name: "pods not read", in: func([]string) workload { return workload{unread: map[string]string{"Pods": "x"}} },
			code: plan.CheckWorkloadPending, severity: plan.NotVerified, words: []string{"not verified: Pods"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			if test.edit != nil {
				test.edit(w)
			}
			fields := test.pool
			if fields == "" {
				fields = toBoth
			}
			up := onePool(t, fields)
			var node string
			made := planWith(t, w, up, func(nodes []string) workload { node = nodes[0]; return test.in(nodes) })
			f := finding(t, made, test.code, test.severity)
			for _, word := range test.words {
				if word = strings.ReplaceAll(word, "NODE", node); !strings.Contains(f.Message+" | "+f.Remedy, word) {
					t.Errorf("it does not say %q:\n%s\n%s", word, f.Message, f.Remedy)
				}
			}
			if (f.Severity == plan.Warn || f.Severity == plan.Block) && f.Remedy == "" {
				t.Error("it says not what to do")
			}
			if plain := compile(t, w, up); plain.Digest != made.Digest {
				t.Error("the digest depends on the workload cluster")
			}
			if made.Blocked != (test.severity == plan.Block) {
				t.Errorf("blocked is %t", made.Blocked)
			}
		})
	}
}

func daemon(p *plan.PodSeen) { p.ControllerKind, p.ControllerName = "DaemonSet", "agent" }

// eachMachine edits the Machines of the AWS pool.
func eachMachine(change func(*object)) func(*clustertest.World) {
	return func(w *clustertest.World) {
		for _, o := range w.List("cluster.x-k8s.io", "Machine", "default") {
			if o.GetLabels()["cluster.x-k8s.io/deployment-name"] == awsPool {
				o = o.DeepCopy()
				change(o)
				w.Put(o)
			}
		}
	}
}

// TestAskOfTheWorkload asks for the nodes of machines that go, and for those alone.
func TestAskOfTheWorkload(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, pools string
		want        map[string]int
	}{
		{"one pool", "pools: [{name: aws-example-md-0, " + toBoth + "}]", map[string]int{awsPool: 3}},
		{"both", "pools: [{name: aws-example-md-0, " + toBoth + "}, {name: aws-example-md-1, kubernetesVersion: v1.35.2}]", map[string]int{awsPool: 3, devPool: 2}},
		{"in place", "pools: [{name: aws-example-md-0, drain: {nodeDrainTimeout: 5m}}]", nil},
		{"nothing to do", "pools: [{name: aws-example-md-0, kubernetesVersion: v1.34.3}]", nil},
		{"no such pool", "pools: [{name: elsewhere, " + toBoth + "}]", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			up := upgrade(t, test.pools)
			q := plan.Ask(up, observe(t, clustertest.AWSExample(), up)).Workload
			if q == nil {
				q = &plan.WorkloadQuery{}
			}
			var got map[string]int
			for _, n := range q.Nodes {
				if got == nil {
					got = map[string]int{}
				}
				got[n.Pool]++
				if n.Version != "v1.34.3" || n.Labels["cluster.x-k8s.io/deployment-name"] != n.Pool {
					t.Errorf("%+v", n)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("nodes by pool (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWorkloadNotLookedAt says so where the upgrade asks for it, and is silent
// where it does not.
func TestWorkloadNotLookedAt(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := onePool(t, toBoth)
	for _, f := range compile(t, w, up).Findings {
		if strings.HasPrefix(f.Code, plan.CheckWorkload) {
			t.Errorf("nobody asked for %+v", f)
		}
	}
	asked := up
	asked.Spec.Preflight.Workload = true
	made := compile(t, w, asked)
	mustContain(t, finding(t, made, plan.CheckWorkload, plan.Warn).Message, "not verified", "spec.preflight.workload")
	if made.Digest == compile(t, w, up).Digest {
		t.Error("what the upgrade asks for is not signed")
	}
	idle := onePool(t, "kubernetesVersion: v1.34.3")
	idle.Spec.Preflight.Workload = true
	for _, f := range compile(t, w, idle).Findings {
		if f.Code == plan.CheckWorkload {
			t.Errorf("nothing goes, and it says %+v", f)
		}
	}
	snap := observe(t, w, up).WithWorkload(plan.WorkloadReport{NotVerified: "no right", Remedy: "ask for it"})
	failed, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	if f := finding(t, failed, plan.CheckWorkload, plan.Warn); !strings.Contains(f.Message, "no right") || f.Remedy != "ask for it" || failed.Blocked {
		t.Errorf("%+v", f)
	}
}

// TestWorkloadWaivers waives a budget, and cannot waive data.
func TestWorkloadWaivers(t *testing.T) {
	t.Parallel()
	up := onePool(t, toBoth)
	waiving(plan.CheckWorkloadBudgets)(&up)
	made := planWith(t, clustertest.AWSExample(), up, func(nodes []string) workload {
		return workload{pods: []plan.PodSeen{shop(nodes[0])}, budgets: []plan.BudgetSeen{cart(tight)}}
	})
	if f := finding(t, made, plan.CheckWorkloadBudgets, plan.Block); made.Blocked || f.Waived == "" {
		t.Errorf("blocked is %t: %+v", made.Blocked, f)
	}
	waiving(plan.CheckWorkloadData)(&up)
	if got := plan.WaiverProblems(up); len(got) != 1 || !strings.Contains(got[0].Message, "data that is lost does not come back") {
		t.Errorf("the waiver of data: %v", got)
	}
}

// TestWorkloadOnTheWay blocks no run that only waits for what it began.
func TestWorkloadOnTheWay(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := onePool(t, toBoth)
	p := compile(t, w, up)
	carry(t, w, up, step(t, p, createStep))
	carry(t, w, up, step(t, p, patchStep))
	for range 8 {
		w.Step()
	}
	made := planWith(t, w, up, func(nodes []string) workload {
		return workload{pods: []plan.PodSeen{shop(nodes[0], bare, func(p *plan.PodSeen) { p.EmptyDir = true })}, budgets: []plan.BudgetSeen{cart(tight)}}
	})
	if made.Blocked {
		t.Error("it is blocked")
	}
	finding(t, made, plan.CheckWorkloadBudgets, plan.Warn)
	finding(t, made, plan.CheckWorkloadData, plan.Warn)
}

// TestSample counts in full and keeps the first names, in whatever order they
// come.
func TestSample(t *testing.T) {
	t.Parallel()
	var s plan.Sample
	for i := range 1000 {
		s.Add(fmt.Sprintf("pod-%03d", i*7%1000))
	}
	s.Add("a" + strings.Repeat("x", 10000) + "\xff")
	if s.Count != 1001 || len(s.Names) != 10 || len(s.Names[0]) > 310 || s.Names[9] != "pod-008" {
		t.Errorf("%d, %q", s.Count, s.Names)
	}
	if !strings.HasSuffix(s.String(), "pod-008 and 991 more") {
		t.Error(s.String())
	}
}
