package clustertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

var (
	md0 = clustertest.MachineDeployment("aws-example-md-0")
)

func template(name string) plan.Ref {
	return plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSMachineTemplate", Namespace: "default", Name: name}
}

// rotate patches md0 to a copy of its infrastructure template and to a version.
func rotate(t *testing.T, c *clustertest.Cluster, version string) {
	t.Helper()
	fresh := c.World().Get(template("aws-example-md-0"))
	fresh.SetName("aws-example-md-0-new")
	fresh.SetResourceVersion("")
	if err := c.Create(t.Context(), fresh, apply.Commit); err != nil {
		t.Fatal(err)
	}
	md := c.World().Get(md0)
	if err := c.Patch(t.Context(), md0, md.GetAPIVersion(), operations(t,
		"test", "/metadata/uid", string(md.GetUID()),
		"replace", "/spec/template/spec/version", version,
		"replace", "/spec/template/spec/infrastructureRef/name", "aws-example-md-0-new",
	), apply.Commit); err != nil {
		t.Fatal(err)
	}
}

// operations makes a JSON Patch of triples of operation, path and value.
func operations(t *testing.T, triples ...any) []byte {
	t.Helper()
	var out []map[string]any
	for i := 0; i < len(triples); i += 3 {
		op := map[string]any{"op": triples[i], "path": triples[i+1]}
		if triples[i] != "remove" {
			op["value"] = triples[i+2]
		}
		out = append(out, op)
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func machines(w *clustertest.World, pool string) (live []*unstructured.Unstructured) {
	for _, m := range w.List(capi.Group, "Machine", "") {
		if m.GetLabels()["cluster.x-k8s.io/deployment-name"] == pool {
			live = append(live, m)
		}
	}
	return live
}

// judge gives the judgement of plan/capi on md0's pool.
func judge(w *clustertest.World) capi.Rollout {
	return capi.Judge(capi.Observed{
		MachineDeployment: w.Get(md0),
		MachineSets:       w.List(capi.Group, "MachineSet", "default"),
		Machines:          w.List(capi.Group, "Machine", "default"),
		InfraMachines:     w.List(clustertest.InfrastructureGroup, "AWSMachine", "default"),
		BootstrapConfigs:  w.List(clustertest.BootstrapGroup, "KubeadmConfig", "default"),
		Cluster:           w.Get(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}),
	})
}

func TestRollout(t *testing.T) {
	for name, adjust := range map[string][]clustertest.Adjust{
		"v1beta2":            nil,
		"v1beta1":            {clustertest.V1Beta1Only()},
		"surge 2":            {clustertest.AdjustPool("aws-example-md-0", func(p *clustertest.ExamplePool) { p.MaxSurge = 2 })},
		"unavailable 1 of 3": {clustertest.AdjustPool("aws-example-md-0", func(p *clustertest.ExamplePool) { p.MaxSurge, p.MaxUnavailable = 0, "34%" })},
		"no machines":        {clustertest.AdjustPool("aws-example-md-0", func(p *clustertest.ExamplePool) { p.Replicas = 0 })},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample(adjust...)
			if w.Step() {
				t.Fatal("the example is not settled")
			}
			before := w.Get(md0)
			if before.GetGeneration() != 1 {
				t.Errorf("generation %d, want 1", before.GetGeneration())
			}
			desired, _ := capi.Int64At(before, "spec", "replicas")
			peak, floor := desired+1, desired
			switch name {
			case "surge 2":
				peak = desired + 2
			case "unavailable 1 of 3":
				peak, floor = desired, desired-1
			}
			other := machines(w, "aws-example-md-1")

			if r := judge(w); !r.Complete || len(r.Stalls) > 0 {
				t.Errorf("the example is not complete: %s, %v", r.Waiting, r.Stalls)
			}

			c := w.Open(nil)
			rotate(t, c, "v1.35.2")
			if judge(w).Complete && desired > 0 {
				t.Error("the rollout is judged complete right after the patch")
			}
			var seenPeak int64
			seenFloor := desired
			for w.Step() {
				all := machines(w, "aws-example-md-0")
				r := judge(w)
				if len(r.Stalls) > 0 {
					t.Fatalf("a rollout that goes well is judged stalled: %v", r.Stalls)
				}
				if r.Complete {
					for _, m := range all {
						if capi.StringAt(m, "spec", "version") != "v1.35.2" {
							t.Fatalf("the rollout is judged complete while %s is there", m.GetName())
						}
					}
				}
				available := int64(0)
				for _, m := range all {
					if m.GetDeletionTimestamp() == nil && capi.StringAt(m, "status", "phase") == "Running" {
						available++
					}
				}
				seenPeak, seenFloor = max(seenPeak, int64(len(all))), min(seenFloor, available)
			}
			if desired > 0 && (seenPeak != peak || seenFloor != floor) {
				t.Errorf("between %d and %d machines, want %d to %d", seenFloor, seenPeak, floor, peak)
			}

			all := machines(w, "aws-example-md-0")
			if int64(len(all)) != desired {
				t.Fatalf("%d machines, want %d", len(all), desired)
			}
			for _, m := range all {
				infra, _ := capi.ReferenceAt(m, "spec", "infrastructureRef")
				got := []string{
					capi.StringAt(m, "spec", "version"), capi.StringAt(m, "status", "nodeInfo", "kubeletVersion"),
					w.Get(infra).GetAnnotations()["cluster.x-k8s.io/cloned-from-name"],
				}
				if diff := cmp.Diff([]string{"v1.35.2", "v1.35.2", "aws-example-md-0-new"}, got); diff != "" {
					t.Errorf("%s: %s", m.GetName(), diff)
				}
			}
			if r := judge(w); !r.Complete {
				t.Errorf("at the end the rollout is judged incomplete: %s", r.Waiting)
			}
			after := w.Get(md0)
			if n, _ := capi.Int64At(after, "status", "observedGeneration"); n != 2 || after.GetGeneration() != 2 {
				t.Errorf("generation %d, observed %d, want 2 and 2", after.GetGeneration(), n)
			}
			sets := 0
			for _, s := range w.List(capi.Group, "MachineSet", "") {
				if s.GetLabels()["cluster.x-k8s.io/deployment-name"] == "aws-example-md-0" {
					sets++
				}
			}
			if sets != 1 {
				t.Errorf("%d MachineSets are left, want 1", sets)
			}
			if diff := cmp.Diff(other, machines(w, "aws-example-md-1")); diff != "" {
				t.Errorf("the other pool was touched: %s", diff)
			}
			if got := len(w.List(clustertest.InfrastructureGroup, "AWSMachine", "")); int64(got) != desired {
				t.Errorf("%d AWSMachines are left, want %d", got, desired)
			}
		})
	}
}

// The counters lag behind, as they do in the recordings: right after the patch
// the MachineDeployment still looks complete.
func TestRolloutLags(t *testing.T) {
	w := clustertest.AWSExample()
	rotate(t, w.Open(nil), "v1.35.2")
	w.Step()
	md := w.Get(md0)
	observed, _ := capi.Int64At(md, "status", "observedGeneration")
	upToDate, _ := capi.Int64At(md, "status", "upToDateReplicas")
	if observed != 2 || upToDate != 3 {
		t.Errorf("observedGeneration %d, upToDateReplicas %d; want 2 and still 3", observed, upToDate)
	}
}

func TestSame(t *testing.T) {
	run := func() []*unstructured.Unstructured {
		w := clustertest.AWSExample()
		rotate(t, w.Open(nil), "v1.35.2")
		w.Settle()
		return append(w.List(capi.Group, "Machine", ""), w.Get(md0))
	}
	if diff := cmp.Diff(run(), run()); diff != "" {
		t.Errorf("two worlds differ: %s", diff)
	}
}

func TestHeldUp(t *testing.T) {
	const denied = "cannot evict pod as it would violate the pod's disruption budget"
	tests := map[string]struct {
		adjust  []clustertest.Adjust
		version string
		fault   clustertest.Fault
		// where the cause is to be found
		kind, condition, message string
		// what plan/capi makes of it
		cause capi.StallCause
	}{
		"provider":         {version: "v1.35.2", fault: clustertest.Fault{Provider: "InvalidAMIID.NotFound"}, kind: "Machine", condition: "InfrastructureReady", message: "InvalidAMIID.NotFound", cause: capi.StallProviderError},
		"drain":            {version: "v1.35.2", fault: clustertest.Fault{Drain: denied}, kind: "Machine", condition: "Deleting", message: denied, cause: capi.StallDrainBlocked},
		"no node":          {version: "v1.35.2", fault: clustertest.Fault{NoJoin: true}, kind: "Machine", condition: "NodeHealthy", message: "Waiting for a Node with spec.providerID", cause: capi.StallNodeNotJoined},
		"version too new":  {version: "v1.36.0", kind: "MachineSet", condition: "ScalingUp", message: `"KubernetesVersionSkew" preflight check failed`, cause: capi.StallMachineSetPreflight},
		"version of old":   {version: "v1.34.9", kind: "MachineSet", condition: "ScalingUp", message: `"KubeadmVersionSkew" preflight check failed`, cause: capi.StallMachineSetPreflight},
		"upgrading":        {adjust: []clustertest.Adjust{clustertest.ControlPlaneUpgrading("v1.36.0")}, version: "v1.36.0", kind: "MachineSet", condition: "ScalingUp", message: `"ControlPlaneIsStable" preflight check failed`, cause: capi.StallMachineSetPreflight},
		"paused":           {adjust: []clustertest.Adjust{clustertest.PausedCluster()}, version: "v1.35.2", kind: "MachineDeployment", condition: "Paused", message: "paused", cause: capi.StallPaused},
		"paused v1beta1":   {adjust: []clustertest.Adjust{clustertest.PausedCluster(), clustertest.V1Beta1Only()}, version: "v1.35.2", kind: "MachineDeployment", condition: "Paused", message: "paused", cause: capi.StallPaused},
		"provider v1beta1": {adjust: []clustertest.Adjust{clustertest.V1Beta1Only()}, version: "v1.35.2", fault: clustertest.Fault{Provider: "quota"}, kind: "Machine", condition: "InfrastructureReady", message: "quota", cause: capi.StallProviderError},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample(test.adjust...)
			w.Break(md0, test.fault)
			rotate(t, w.Open(nil), test.version)
			w.Settle()
			for _, m := range machines(w, "aws-example-md-0") {
				if capi.StringAt(m, "spec", "version") == "v1.34.3" {
					goto stuck
				}
			}
			t.Fatal("the rollout went through")
		stuck:
			found := ""
			for _, o := range w.List(capi.Group, test.kind, "") {
				for _, path := range [][]string{{"status", "conditions"}, {"status", "v1beta2", "conditions"}} {
					list, _, _ := unstructured.NestedSlice(o.Object, path...)
					for _, item := range list {
						c := item.(map[string]any)
						if message, _ := c["message"].(string); c["type"] == test.condition && message != "" {
							found += message + "\n"
						}
					}
				}
			}
			if !strings.Contains(found, test.message) {
				t.Errorf("%s of %s says %q, want %q in it", test.condition, test.kind, found, test.message)
			}
			r := judge(w)
			if suspect := r.Suspect(); r.Complete || suspect == nil || suspect.Cause != test.cause {
				t.Errorf("judged complete %v, suspect %+v; want %s", r.Complete, suspect, test.cause)
			}
			if test.fault != (clustertest.Fault{}) {
				w.Break(md0, clustertest.Fault{})
				w.Settle()
				for _, m := range machines(w, "aws-example-md-0") {
					if v := capi.StringAt(m, "spec", "version"); v != test.version {
						t.Errorf("once mended, %s is still at %s", m.GetName(), v)
					}
				}
			}
		})
	}
}

// The pause of a pool keeps it from rolling out, not from taking note.
func TestPausedPool(t *testing.T) {
	w := clustertest.AWSExample(clustertest.PausedPool("aws-example-md-0"))
	rotate(t, w.Open(nil), "v1.35.2")
	w.Settle()
	if n := len(machines(w, "aws-example-md-0")); n != 3 {
		t.Errorf("%d machines, want the 3 old ones", n)
	}
	w.Edit(md0, func(o *unstructured.Unstructured) {
		unstructured.RemoveNestedField(o.Object, "spec", "paused")
	})
	w.Settle()
	for _, m := range machines(w, "aws-example-md-0") {
		if v := capi.StringAt(m, "spec", "version"); v != "v1.35.2" {
			t.Errorf("%s is at %s", m.GetName(), v)
		}
	}
}

func TestMissingTemplate(t *testing.T) {
	w := clustertest.AWSExample()
	w.Edit(md0, func(o *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(o.Object, "gone", "spec", "template", "spec", "infrastructureRef", "name"); err != nil {
			t.Fatal(err)
		}
	})
	w.Settle()
	if n, _ := capi.Int64At(w.Get(md0), "status", "observedGeneration"); n != 1 {
		t.Errorf("observedGeneration %d, want 1: it never catches up", n)
	}
}

func TestFuse(t *testing.T) {
	type result struct {
		Err     string
		Outcome apply.Outcome
		Writes  int
		Later   bool // whether the handle still works
	}
	tests := map[clustertest.Mode]result{
		clustertest.LoseRequest: {Err: "lost", Writes: 0, Later: true},
		clustertest.LoseReply:   {Err: "lost", Writes: 1, Later: true},
		clustertest.CrashBefore: {Err: "crashed", Writes: 0},
		clustertest.CrashAfter:  {Err: "crashed", Writes: 1},
	}
	for mode, want := range tests {
		t.Run(mode.String(), func(t *testing.T) {
			w := clustertest.AWSExample()
			blew := false
			c := w.Open(&clustertest.Fuse{At: 2, Mode: mode, OnBlow: func() { blew = true }})
			md := w.Get(md0)
			patch := func(version string) error {
				return c.Patch(t.Context(), md0, md.GetAPIVersion(), operations(t, "replace", "/spec/template/spec/version", version), apply.Commit)
			}
			if _, err := c.Fetch(t.Context(), []plan.Selector{{Ref: md0}}); err != nil || c.Blown() {
				t.Fatalf("the fuse blew too early: %v", err)
			}
			err := patch("v1.35.2")
			got := result{Writes: len(w.Writes())}
			var failure *apply.WriteError
			if !errors.As(err, &failure) {
				t.Fatalf("got %v, want a *WriteError", err)
			}
			got.Outcome = failure.Outcome
			switch {
			case errors.Is(err, clustertest.ErrCrashed):
				got.Err = "crashed"
			case errors.Is(err, clustertest.ErrLost):
				got.Err = "lost"
			}
			_, err = c.Fetch(t.Context(), []plan.Selector{{Ref: md0}})
			got.Later = err == nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if !blew || !c.Blown() || c.Crashed() == got.Later {
				t.Errorf("OnBlow %v, Blown %v, Crashed %v", blew, c.Blown(), c.Crashed())
			}
			if _, err := w.Open(nil).Fetch(t.Context(), []plan.Selector{{Ref: md0}}); err != nil {
				t.Errorf("a new handle does not work: %v", err)
			}
		})
	}
}

func TestFuseCountsOps(t *testing.T) {
	w := clustertest.AWSExample()
	c := w.Open(&clustertest.Fuse{At: 1, Ops: []clustertest.Op{clustertest.Create}, Mode: clustertest.CrashBefore})
	if _, err := c.Fetch(t.Context(), []plan.Selector{{Ref: md0}}); err != nil {
		t.Fatal(err)
	}
	fresh := w.Get(template("aws-example-md-0"))
	fresh.SetName("fresh")
	fresh.SetResourceVersion("")
	if err := c.Create(t.Context(), fresh, apply.Commit); !errors.Is(err, clustertest.ErrCrashed) {
		t.Errorf("got %v", err)
	}
	calls := w.Calls()
	got := []string{}
	for _, call := range calls {
		got = append(got, fmt.Sprintf("%s %v", call.Op, call.Blown))
	}
	if diff := cmp.Diff([]string{"fetch false", "create true"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBefore(t *testing.T) {
	w := clustertest.AWSExample()
	c := w.Open(nil)
	c.Before(1, func(w *clustertest.World) {
		w.Edit(md0, func(o *unstructured.Unstructured) { o.SetAnnotations(map[string]string{"who": "another"}) })
	}, clustertest.Patch)
	md := w.Get(md0)
	err := c.Patch(t.Context(), md0, md.GetAPIVersion(), operations(t,
		"test", "/metadata/annotations/who", nil,
		"replace", "/spec/template/spec/version", "v1.35.2",
	), apply.Commit)
	var refused *apply.WriteError
	if !errors.As(err, &refused) || refused.Outcome != apply.Refused {
		t.Errorf("got %v, want a refusal", err)
	}
	if len(w.Writes()) != 0 {
		t.Errorf("written: %v", w.Writes())
	}
}

func TestImmutableTemplate(t *testing.T) {
	w := clustertest.AWSExample()
	c := w.Open(nil)
	ref := template("aws-example-md-0")
	err := c.Patch(t.Context(), ref, w.Get(ref).GetAPIVersion(), operations(t, "replace", "/spec/template/spec/instanceType", "m5.xlarge"), apply.Commit)
	if !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want Invalid", err)
	}
	err = c.Patch(t.Context(), ref, w.Get(ref).GetAPIVersion(), operations(t, "add", "/metadata/annotations", map[string]string{"a": "b"}), apply.Commit)
	if err != nil {
		t.Errorf("metadata may change: %v", err)
	}
}

func TestForbid(t *testing.T) {
	w := clustertest.AWSExample()
	w.Forbid("get", capi.Group, "MachineDeployment")
	w.Forbid("list", capi.Group, "Machine")
	c := w.Open(nil)
	selectors := []plan.Selector{
		{Ref: md0},
		{Ref: plan.Ref{Group: capi.Group, Kind: "Machine", Namespace: "default"}},
		{Ref: plan.Ref{Group: "none.example", Kind: "Thing", Namespace: "default"}},
	}
	_, err := c.Fetch(t.Context(), selectors)
	for _, want := range []string{"get machinedeployments", "list machines", "Thing.none.example is not installed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q in it", err, want)
		}
	}
	for i := range selectors {
		selectors[i].Optional = true
	}
	s, err := c.Fetch(t.Context(), selectors)
	if err != nil {
		t.Fatal(err)
	}
	for _, selector := range selectors {
		if _, unread := s.Unread(selector); !unread {
			t.Errorf("%v is not noted as unread", selector)
		}
	}
}

// A feed and a rollout in a bubble: no time passes, and the feed sees the
// rollout from beginning to end.
func TestFeedInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		c := w.Open(nil)
		ctx, cancel := context.WithCancel(t.Context())
		list := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "Machine", Namespace: "default"}, Label: "cluster.x-k8s.io/deployment-name", LabelValue: "aws-example-md-0"}
		feed, err := c.Watch(ctx, []plan.Selector{{Ref: md0}, list})
		if err != nil {
			t.Fatal(err)
		}
		rotate(t, c, "v1.35.2")
		go w.Run(ctx, time.Minute)
		for looks := 0; ; looks++ {
			s, err := feed.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			fresh := 0
			for _, m := range s.List(list) {
				if capi.StringAt(m, "spec", "version") == "v1.35.2" && capi.StringAt(m, "status", "phase") == "Running" {
					fresh++
				}
			}
			if fresh == 3 && len(s.List(list)) == 3 {
				break
			}
			if looks > 1000 {
				t.Fatal("the feed does not see the end")
			}
		}
		cancel()
		synctest.Wait()
		if _, err := feed.Next(t.Context()); !errors.Is(err, clustertest.ErrStopped) {
			t.Errorf("after the end of its context the feed gives %v", err)
		}
	})
}

func TestAutoStep(t *testing.T) {
	w := clustertest.AWSExample()
	w.AutoStep(1)
	c := w.Open(nil)
	feed, err := c.Watch(t.Context(), []plan.Selector{{Ref: md0}})
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Stop()
	rotate(t, c, "v1.35.2")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s, err := feed.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		md, _ := s.Object(md0)
		updated, _ := capi.Int64At(md, "status", "deprecated", "v1beta1", "updatedReplicas")
		replicas, _ := capi.Int64At(md, "status", "replicas")
		observed, _ := capi.Int64At(md, "status", "observedGeneration")
		if observed == 2 && updated == 3 && replicas == 3 {
			return
		}
	}
}

func TestExampleAdjusts(t *testing.T) {
	w := clustertest.AWSExample(
		clustertest.InNamespace("tenant"), clustertest.ControlPlaneVersion("v1.36.1"),
		clustertest.PoolVersion("aws-example-md-0", "v1.35.2"), clustertest.ExtraPools(3, 1), clustertest.TopologyOwned(),
	)
	got := map[string]string{}
	for _, md := range w.List(capi.Group, "MachineDeployment", "tenant") {
		_, owned := md.GetLabels()["topology.cluster.x-k8s.io/owned"]
		n, _ := capi.Int64At(md, "status", "readyReplicas")
		got[md.GetName()] = fmt.Sprintf("%s ready %d owned %v", capi.StringAt(md, "spec", "template", "spec", "version"), n, owned)
	}
	want := map[string]string{
		"aws-example-md-0":      "v1.35.2 ready 3 owned true",
		"aws-example-md-1":      "v1.34.3 ready 2 owned true",
		"aws-example-extra-000": "v1.34.3 ready 1 owned true",
		"aws-example-extra-001": "v1.34.3 ready 1 owned true",
		"aws-example-extra-002": "v1.34.3 ready 1 owned true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(w.List("", "ConfigMap", "")) != 0 || len(w.List(capi.Group, "Machine", "default")) != 0 {
		t.Error("something is in another namespace")
	}
}

// Naming the old template again takes a stuck rollout back: machines that were
// never available cost nothing.
func TestRollback(t *testing.T) {
	w := clustertest.AWSExample()
	before := w.Get(md0)
	old := machines(w, "aws-example-md-0")
	w.Break(md0, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
	c := w.Open(nil)
	rotate(t, c, "v1.35.2")
	w.Settle()
	if n := len(machines(w, "aws-example-md-0")); n != 4 {
		t.Fatalf("%d machines, want the old ones and one that is stuck", n)
	}
	if err := c.Patch(t.Context(), md0, before.GetAPIVersion(), operations(t,
		"replace", "/spec/template/spec/version", "v1.34.3",
		"replace", "/spec/template/spec/infrastructureRef/name", "aws-example-md-0",
	), apply.Commit); err != nil {
		t.Fatal(err)
	}
	w.Settle()
	var want, got []string
	for _, m := range old {
		want = append(want, string(m.GetUID()))
	}
	for _, m := range machines(w, "aws-example-md-0") {
		got = append(got, string(m.GetUID()))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("not the old machines: %s", diff)
	}
	if r := judge(w); !r.Complete {
		t.Errorf("judged incomplete: %s", r.Waiting)
	}
}
