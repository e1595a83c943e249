package kube_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan"
	"nodepool/plan/capi"
)

const (
	infrastructure = "infrastructure.cluster.x-k8s.io"
	bootstrap      = "bootstrap.cluster.x-k8s.io"
)

// recorded gives the last form of each kind in a recording of a real rollout that
// is not being deleted, as the API server sent it, with managed fields as such a server has them.
func recorded(tb testing.TB) map[string]map[string]any {
	tb.Helper()
	f, err := os.Open("../../plan/capi/testdata/recordings/rollout-1/events.jsonl.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	out := map[string]map[string]any{}
	for lines.Scan() {
		var event struct {
			W, Type string
			Object  map[string]any
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			tb.Fatal(err)
		}
		_, deleting := event.Object["metadata"].(map[string]any)["deletionTimestamp"]
		if event.W != "md1" && event.Type != "DELETED" && !deleting {
			out[event.Object["kind"].(string)] = event.Object
		}
	}
	for _, kind := range []string{"MachineDeployment", "MachineSet", "Machine"} {
		if out[kind] == nil {
			tb.Fatalf("the recording has no %s", kind)
		}
	}
	return out
}

// herd is a cluster of pools of 100 machines each, all in the middle of a rollout:
// of every pool, half of the machines are old, and there is an infrastructure
// machine and a bootstrap config of the size of a Machine for each. Objects are
// made as they are sent, so that they are not what fills the memory.
type herd struct {
	*server
	templates map[string]string // JSON, by resource
	objects   map[string][]member
	reasons   map[string]int // by resource and name
	version   int
}

// member is what tells an object of a herd from others of its kind.
type member struct {
	pool              int
	name, uid         string
	owner, owns       string // name and UID of its controller
	template, version string
}

var resources = map[string]struct{ group, kind, ownerKind string }{
	"clusters":           {capi.Group, "Cluster", ""},
	"machinedeployments": {capi.Group, "MachineDeployment", ""},
	"machinesets":        {capi.Group, "MachineSet", "MachineDeployment"},
	"machines":           {capi.Group, "Machine", "MachineSet"},
	"awsmachines":        {infrastructure, "AWSMachine", "Machine"},
	"kubeadmconfigs":     {bootstrap, "KubeadmConfig", "Machine"},
}

func poolName(i int) string { return fmt.Sprintf("demo-md-%03d", i) }

func newHerd(tb testing.TB, pools int) *herd {
	h := &herd{templates: map[string]string{}, objects: map[string][]member{}, reasons: map[string]int{}, version: 1}
	h.server = &server{t: tb, served: []served{
		{capi.Group + "/v1beta2", []string{"Cluster", "MachineDeployment", "MachineSet", "Machine"}},
		{infrastructure + "/v1beta2", []string{"AWSMachine"}}, {bootstrap + "/v1beta2", []string{"KubeadmConfig"}}}}
	like := recorded(tb)
	for resource, r := range resources {
		from := like[r.kind]
		if from == nil {
			from = like["Machine"]
		}
		h.templates[resource] = template(tb, from, r.group, r.kind, r.ownerKind)
	}
	add := func(resource string, m member) member {
		h.version++
		m.uid = fmt.Sprintf("00000000-0000-4000-8000-%012d", h.version)
		h.objects[resource] = append(h.objects[resource], m)
		return m
	}
	add("clusters", member{name: "demo"})
	for p := range pools {
		pool := poolName(p)
		md := add("machinedeployments", member{pool: p, name: pool, template: pool + "-new", version: "v1.35.2"})
		for age, version := range map[string]string{"old": "v1.34.2", "new": "v1.35.2"} {
			set := add("machinesets", member{pool: p, name: pool + "-" + age, owner: md.name, owns: md.uid, template: pool + "-" + age, version: version})
			for i := range 50 {
				m := add("machines", member{pool: p, name: fmt.Sprintf("%s-x7k2p-%03d", set.name, i), owner: set.name, owns: set.uid, version: version})
				for _, resource := range []string{"awsmachines", "kubeadmconfigs"} {
					add(resource, member{pool: p, name: m.name, owner: m.name, owns: m.uid})
				}
			}
		}
	}
	h.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		resource := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		objects := h.objects[resource]
		if objects == nil || r.URL.Query().Get("watch") != "" {
			return false
		}
		from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
		to := len(objects)
		metadata := map[string]any{"resourceVersion": strconv.Itoa(h.version)}
		if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); limit > 0 && from+limit < to {
			to = from + limit
			metadata["continue"] = strconv.Itoa(to)
		}
		items := []json.RawMessage{}
		for _, m := range objects[from:to] {
			items = append(items, h.object(resource, m))
		}
		reply(w, 200, map[string]any{"kind": resources[resource].kind + "List", "apiVersion": resources[resource].group + "/v1beta2",
			"metadata": metadata, "items": items})
		return true
	}
	return h
}

// template gives a recorded object as JSON with @WORDS@ for what differs.
func template(tb testing.TB, from map[string]any, group, kind, ownerKind string) string {
	raw, err := json.Marshal(from)
	if err != nil {
		tb.Fatal(err)
	}
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		tb.Fatal(err)
	}
	set := func(value any, path ...string) {
		if err := unstructured.SetNestedField(o, value, path...); err != nil {
			tb.Fatal(err)
		}
	}
	ref := func(group, kind, name string) map[string]any {
		return map[string]any{"apiGroup": group, "kind": kind, "name": name}
	}
	o["apiVersion"], o["kind"] = group+"/v1beta2", kind
	set("@NAME@", "metadata", "name")
	set("default", "metadata", "namespace")
	set("@UID@", "metadata", "uid")
	set("@RV@", "metadata", "resourceVersion")
	set(map[string]any{capi.ClusterNameLabel: "demo", capi.DeploymentNameLabel: "@POOL@"}, "metadata", "labels")
	unstructured.RemoveNestedField(o, "metadata", "ownerReferences")
	if ownerKind != "" {
		set([]any{map[string]any{"kind": ownerKind, "name": "@OWNER@", "uid": "@OWNS@", "controller": true}}, "metadata", "ownerReferences")
	}
	switch kind {
	case "MachineDeployment", "MachineSet":
		set(int64(50), "spec", "replicas")
		set("demo", "spec", "clusterName")
		set("@VERSION@", "spec", "template", "spec", "version")
		set(ref(infrastructure, "AWSMachineTemplate", "@TEMPLATE@"), "spec", "template", "spec", "infrastructureRef")
		set(ref(bootstrap, "KubeadmConfigTemplate", "@POOL@"), "spec", "template", "spec", "bootstrap", "configRef")
	case "Machine":
		set(ref(infrastructure, "AWSMachine", "@NAME@"), "spec", "infrastructureRef")
		set(ref(bootstrap, "KubeadmConfig", "@NAME@"), "spec", "bootstrap", "configRef")
		set("aws:///eu-central-1a/i-@NAME@", "spec", "providerID")
		set("@VERSION@", "spec", "version")
		set("ip-@NAME@.ec2.internal", "status", "nodeRef", "name")
	}
	conditions, _, _ := unstructured.NestedSlice(o, "status", "conditions")
	conditions[0].(map[string]any)["reason"] = "Reason@REASON@"
	set(conditions, "status", "conditions")
	if raw, err = json.Marshal(o); err != nil {
		tb.Fatal(err)
	}
	return string(raw)
}

func (h *herd) object(resource string, m member) []byte {
	return []byte(strings.NewReplacer("@NAME@", m.name, "@UID@", m.uid, "@RV@", strconv.Itoa(h.version), "@POOL@", poolName(m.pool), "@OWNER@", m.owner, "@OWNS@", m.owns,
		"@TEMPLATE@", m.template, "@VERSION@", m.version, "@REASON@", strconv.Itoa(h.reasons[resource+m.name])).Replace(h.templates[resource]))
}

// change gives the bytes of a watch event that changes an object of a pool.
func (h *herd) change(random *rand.Rand, resource string, pool int) (path string, event []byte) {
	all := h.objects[resource]
	each := len(all) / len(h.objects["machinedeployments"]) // they stand in the order of their pools
	m := all[pool*each+random.IntN(each)]
	h.version++
	h.reasons[resource+m.name]++
	event = slices.Concat([]byte(`{"type":"MODIFIED","object":`), h.object(resource, m), []byte("}\n"))
	return "/apis/" + resources[resource].group + "/v1beta2/namespaces/default/" + resource, event
}

// step is the wait for a pool of a herd.
func (h *herd) step(pool int) plan.Step {
	md := h.objects["machinedeployments"][pool]
	in := func(group, kind, name string) plan.Ref {
		return plan.Ref{Group: group, Kind: kind, Namespace: "default", Name: name}
	}
	return plan.Step{ID: md.name + "/wait", Pool: md.name, Wait: &plan.Wait{
		MachineDeployment: in(capi.Group, "MachineDeployment", md.name), UID: md.uid, Cluster: in(capi.Group, "Cluster", "demo"),
		Template: md.template, BootstrapTemplate: md.name, Version: "v1.35.2", StallAfter: "15m0s",
		InfraMachine: in(infrastructure, "AWSMachine", ""), BootstrapConfig: in(bootstrap, "KubeadmConfig", ""),
	}}
}

// cpu gives the time that this process has spent.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// peak gives the most memory that this process has had, in MiB.
func peak() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Maxrss) / (1 << 10)
}

// A rollout of 5,000 machines within an hour replaces 1.4 machines in a second. In
// the recording rollout-1, of 3 machines, each that is replaced brings 25 changes of
// Machines, 24 of MachineSets and 18 of the MachineDeployment, which come in 31
// bursts of less than 200 ms. Of infrastructure machines and bootstrap configs there
// is no recording; 10 and 4 are guesses.
const (
	bursts = 31
	gap    = time.Hour / 5000 / bursts // between two of them
)

var perMachine = []struct {
	resource string
	changes  float64
}{{"machines", 25}, {"machinesets", 24}, {"machinedeployments", 18}, {"awsmachines", 10}, {"kubeadmconfigs", 4}}

// BenchmarkWait waits for 50 pools of 100 machines each, all of which change at the
// pace at which a rollout of them within an hour does, from the bytes of the
// watches until the judgements; as apply does, it judges a pool the less often the
// more old machines it has. An op is a burst of changes, and its time that between two bursts: what
// counts is the share of a core, the server that sends the bytes included, and the
// memory.
func BenchmarkWait(b *testing.B) {
	const pools = 50
	h := newHerd(b, pools)
	before := heap()
	c := h.client()
	first := make(chan error, pools)
	var judged atomic.Int64
	for p := range pools {
		s, first := h.step(p), first
		go func() {
			feed, err := c.Watch(b.Context(), s.Follows())
			for ; err == nil; judged.Add(1) {
				var snap plan.Snapshot
				if snap, err = feed.Next(b.Context()); err != nil {
					break
				}
				a := plan.Assess(s, snap)
				switch n := len(a.Rollout.Machines); {
				case a.Verdict != plan.Pending || n != 100:
					err = fmt.Errorf("%s, %d machines, %v", a.Verdict, n, a.Differences)
				case first != nil:
					first <- nil
					first = nil
				}
				time.Sleep(750 * time.Millisecond) // the mean over a rollout, see apply
			}
			if first != nil {
				first <- err
			}
		}()
	}
	for range pools {
		if err := <-first; err != nil {
			b.Fatal(err)
		}
	}
	kept := heap() - before
	random := rand.New(rand.NewPCG(1, 2))
	judgedBefore, spent, changes := judged.Load(), cpu(), 0
	began := time.Now()
	for next := began; b.Loop(); time.Sleep(time.Until(next)) {
		pool := random.IntN(pools)
		for _, r := range perMachine {
			if random.Float64() > r.changes/bursts {
				continue
			}
			changes++
			path, event := h.change(random, r.resource, pool)
			h.mu.Lock()
			watches := slices.Clone(h.watches[path])
			h.mu.Unlock()
			for _, w := range watches {
				_, _ = w.Write(event)
			}
		}
		next = next.Add(gap)
	}
	elapsed := time.Since(began)
	b.ReportMetric(100*float64(cpu()-spent)/float64(elapsed), "%core")
	b.ReportMetric(float64(changes)/elapsed.Seconds(), "changes/s")
	b.ReportMetric(float64(judged.Load()-judgedBefore)/elapsed.Seconds(), "judgements/s")
	b.ReportMetric(kept, "MiB-kept")
	b.ReportMetric(peak(), "MiB-peak")
	b.ReportMetric(float64(len(h.asked("watch="))), "watches")
}

// BenchmarkTold is the time from the bytes of a watch event until the pool that it
// is about has been judged, when nothing else happens: what the end of a rollout
// takes here, before the journal is written.
func BenchmarkTold(b *testing.B) {
	for _, pools := range []int{1, 50} {
		b.Run(fmt.Sprintf("pools=%d", pools), func(b *testing.B) {
			h := newHerd(b, pools)
			c := h.client()
			s := h.step(0)
			feed, err := c.Watch(b.Context(), s.Follows())
			if err != nil {
				b.Fatal(err)
			}
			defer feed.Stop()
			judge := func() {
				snap, err := feed.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if a := plan.Assess(s, snap); a.Verdict != plan.Pending {
					b.Fatal(a.Verdict, a.Differences)
				}
			}
			judge()
			random := rand.New(rand.NewPCG(1, 2))
			var took []time.Duration
			for b.Loop() {
				path, event := h.change(random, "machines", 0)
				h.mu.Lock()
				watches := slices.Clone(h.watches[path])
				h.mu.Unlock()
				began := time.Now()
				for _, w := range watches {
					_, _ = w.Write(event)
				}
				judge()
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-worst")
		})
	}
}

// BenchmarkFetch reads the Machines of a cluster as a plan of many pools does, and
// tells what is kept of them.
func BenchmarkFetch(b *testing.B) {
	for _, pools := range []int{10, 100} {
		b.Run(fmt.Sprintf("machines=%d", 100*pools), func(b *testing.B) {
			h := newHerd(b, pools)
			c := h.client()
			all := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "Machine", Namespace: "default"}}
			before := heap()
			var snap plan.Snapshot
			for b.Loop() {
				var err error
				if snap, err = c.Fetch(b.Context(), []plan.Selector{all}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(heap()-before, "MiB-kept")
			b.ReportMetric(peak(), "MiB-peak")
			if n := len(snap.List(all)); n != 100*pools {
				b.Fatalf("%d Machines are read", n)
			}
		})
	}
}
