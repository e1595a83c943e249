package kube_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// recordedMachine gives a Machine of a real rollout, as the API server sent it,
// with managed fields as such a server has them.
func recordedMachine(tb testing.TB) map[string]any {
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
	var machine map[string]any
	for lines.Scan() {
		var event struct{ Object map[string]any }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			tb.Fatal(err)
		}
		if event.Object["kind"] == "Machine" {
			machine = event.Object
		}
	}
	if machine == nil {
		tb.Fatal("the recording has no Machine")
	}
	return machine
}

// BenchmarkWatchMachines follows a cluster of 5,000 Machines, each with an
// infrastructure machine and a bootstrap config of the same size, and tells what
// the feed keeps in memory once it has given its first snapshot.
func BenchmarkWatchMachines(b *testing.B) {
	const machines = 5000
	like := recordedMachine(b)
	list := func(kind, apiVersion string) []byte {
		var items []any
		for i := range machines {
			o := map[string]any{}
			for k, v := range like {
				o[k] = v
			}
			metadata := map[string]any{}
			for k, v := range like["metadata"].(map[string]any) {
				metadata[k] = v
			}
			metadata["name"] = fmt.Sprintf("aws-example-md-%d-x7k2p-%05d", i%50, i)
			metadata["namespace"] = "default"
			metadata["uid"] = fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
			metadata["resourceVersion"] = fmt.Sprint(i + 1)
			o["kind"], o["apiVersion"], o["metadata"] = kind, apiVersion, metadata
			items = append(items, o)
		}
		body, err := json.Marshal(map[string]any{"kind": kind + "List", "apiVersion": apiVersion,
			"metadata": map[string]any{"resourceVersion": "9000"}, "items": items})
		if err != nil {
			b.Fatal(err)
		}
		return body
	}
	const infrastructure, bootstrap = "infrastructure.cluster.x-k8s.io", "bootstrap.cluster.x-k8s.io"
	bodies := map[string][]byte{
		"machines":       list("Machine", capi.Group+"/v1beta2"),
		"awsmachines":    list("AWSMachine", infrastructure+"/v1beta2"),
		"kubeadmconfigs": list("KubeadmConfig", bootstrap+"/v1beta2"),
	}
	var selectors []plan.Selector
	for _, ref := range []plan.Ref{{Group: capi.Group, Kind: "Machine"}, {Group: infrastructure, Kind: "AWSMachine"}, {Group: bootstrap, Kind: "KubeadmConfig"}} {
		ref.Namespace = "default"
		selectors = append(selectors, plan.Selector{Ref: ref, Label: capi.ClusterNameLabel, LabelValue: "demo"})
	}
	for b.Loop() {
		s := &server{t: b, served: []served{{capi.Group + "/v1beta2", []string{"Machine"}},
			{infrastructure + "/v1beta2", []string{"AWSMachine"}}, {bootstrap + "/v1beta2", []string{"KubeadmConfig"}}}}
		s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			body, ok := bodies[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
			if !ok || r.URL.Query().Get("watch") != "" {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
			return true
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		feed, err := s.client().Watch(b.Context(), selectors)
		if err != nil {
			b.Fatal(err)
		}
		snap, err := feed.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if got := len(snap.List(selectors[0])); got != machines {
			b.Fatalf("%d machines", got)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-kept")
		runtime.KeepAlive(snap)
		feed.Stop()
	}
	b.ReportMetric(float64(len(bodies["machines"])+len(bodies["awsmachines"])+len(bodies["kubeadmconfigs"]))/(1<<20), "MiB-sent")
}
