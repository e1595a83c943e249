package plan_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

const (
	createStep = awsPool + "/create-infrastructure-template"
	patchStep  = awsPool + "/patch"
	waitStep   = awsPool + "/wait"
)

func TestAssessCreate(t *testing.T) {
	t.Parallel()
	up := onePool(t, toBoth)
	var target plan.Ref
	made := func(w *clustertest.World) { carry(t, w, up, step(t, compile(t, w, up), createStep)) }
	target = step(t, compile(t, clustertest.AWSExample(), up), createStep).Create.Ref
	foreign := func(w *clustertest.World) {
		o := w.Get(awsTemplateRef)
		o.SetName(target.Name)
		put(o, nil, "metadata", "uid")
		w.Put(o)
	}
	remove := func(ref plan.Ref) func(*clustertest.World) {
		return func(w *clustertest.World) { w.Delete(ref) }
	}
	remake := func(w *clustertest.World) {
		o := w.Get(awsTemplateRef)
		w.Delete(awsTemplateRef)
		put(o, nil, "metadata", "uid")
		w.Put(o)
	}
	content := plan.PointerTo("metadata", "annotations", plan.ContentAnnotation)
	tests := []struct {
		name    string
		edits   []func(*clustertest.World)
		verdict plan.Verdict
		object  plan.Ref
		path    plan.Pointer
		words   []string // reviewed, found, because
	}{
		{name: "to do"},
		{name: "source touched", edits: []func(*clustertest.World){edit(awsTemplateRef, "x", "metadata", "annotations", "example.com/x"),
			edit(awsTemplateRef, "x", "status", "capacity")}},
		{name: "done", edits: []func(*clustertest.World){made}, verdict: plan.Satisfied},
		{name: "done, source deleted", edits: []func(*clustertest.World){made, remove(awsTemplateRef)}, verdict: plan.Satisfied},
		{name: "done, source changed", edits: []func(*clustertest.World){made, edit(awsTemplateRef, "m5.odd", "spec", "template", "spec", "instanceType")}, verdict: plan.Satisfied},
		{name: "done, owned and labelled since", edits: []func(*clustertest.World){made, edit(target, "x", "metadata", "labels", "x")}, verdict: plan.Satisfied},
		{name: "done, edited since", edits: []func(*clustertest.World){made, edit(target, "m5.odd", "spec", "template", "spec", "instanceType")},
			verdict: plan.Drifted, object: target, path: content, words: []string{"edited after nodepool made it"}},
		{name: "done, going away", edits: []func(*clustertest.World){made, edit(target, "2026-01-01T00:00:00Z", "metadata", "deletionTimestamp")},
			verdict: plan.Drifted, object: target, path: content, words: []string{"being deleted"}},
		{name: "done, mark removed", edits: []func(*clustertest.World){made, edit(target, nil, "metadata", "annotations", plan.ContentAnnotation)},
			verdict: plan.Drifted, object: target, path: content, words: []string{"sha256:", "(absent)", "not made by nodepool"}},
		{name: "name taken", edits: []func(*clustertest.World){foreign},
			verdict: plan.Drifted, object: target, path: content, words: []string{"(absent)", "not made by nodepool"}},
		{name: "name taken by other content", edits: []func(*clustertest.World){foreign, edit(target, "sha256:1", "metadata", "annotations", plan.ContentAnnotation)},
			verdict: plan.Drifted, object: target, path: content, words: []string{"sha256:1", "other content"}},
		{name: "source gone", edits: []func(*clustertest.World){remove(awsTemplateRef)},
			verdict: plan.Drifted, object: awsTemplateRef, words: []string{"(present)", "(absent)", "copy of it"}},
		{name: "source made anew", edits: []func(*clustertest.World){remake},
			verdict: plan.Drifted, object: awsTemplateRef, path: "/metadata/uid", words: []string{"made anew"}},
		{name: "source edited", edits: []func(*clustertest.World){edit(awsTemplateRef, "m5.odd", "spec", "template", "spec", "instanceType")},
			verdict: plan.Drifted, object: awsTemplateRef, words: []string{"content", "copy of it"}},
		{name: "source's metadata that is copied", edits: []func(*clustertest.World){edit(awsTemplateRef, "other", "metadata", "labels", capi.ClusterNameLabel)},
			verdict: plan.Drifted, object: awsTemplateRef, words: []string{"copy of it"}},
		{name: "source in another API version", edits: []func(*clustertest.World){func(w *clustertest.World) {
			o := w.Get(awsTemplateRef)
			o.SetAPIVersion(clustertest.InfrastructureGroup + "/v1beta3")
			w.Put(o)
		}}, verdict: plan.Drifted, object: awsTemplateRef, path: "/apiVersion", words: []string{"v1beta2", "v1beta3"}},
		{name: "cluster gone", edits: []func(*clustertest.World){remove(clusterRef)},
			verdict: plan.Drifted, object: clusterRef, words: []string{"(absent)", "belongs to it"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			s := step(t, compile(t, w, up), createStep)
			for _, e := range test.edits {
				e(w)
			}
			a := assess(t, w, s)
			if a.Verdict != test.verdict {
				t.Fatalf("%s, want %s: %+v", a.Verdict, test.verdict, a.Differences)
			}
			if test.verdict != plan.Drifted {
				if len(a.Differences) > 0 {
					t.Errorf("differences without a drift: %+v", a.Differences)
				}
				return
			}
			d := a.Differences[0]
			if d.Object != test.object || d.Path != test.path {
				t.Errorf("%s %s, want %s %s", d.Object, d.Path, test.object, test.path)
			}
			mustContain(t, d.Reviewed+" | "+d.Found+" | "+d.Because, test.words...)
		})
	}
}

// drifts are changes by others between review and apply.
var drifts = []struct {
	name            string
	edit            func(*clustertest.World)
	object          plan.Ref
	path            string // dotted
	reviewed, found string
}{
	{"cluster made anew", func(w *clustertest.World) {
		o := w.Get(clusterRef)
		w.Delete(clusterRef)
		put(o, "another", "metadata", "uid")
		w.Put(o)
	}, clusterRef, "metadata.uid", "content", "content"},
	{"cluster gone", func(w *clustertest.World) { w.Delete(clusterRef) }, clusterRef, "", "(present)", "(absent)"},
	{"cluster paused", edit(clusterRef, true, "spec", "paused"), clusterRef, "spec.paused", "(absent)", "true"},
	{"cluster going away", edit(clusterRef, "2026-01-01T00:00:00Z", "metadata", "deletionTimestamp"), clusterRef, "metadata.deletionTimestamp", "(absent)", "2026-01-01T00:00:00Z"},
	{"control plane gone", func(w *clustertest.World) { w.Delete(controlPlaneRef) }, controlPlaneRef, "", "(present)", "(absent)"},
	{"control plane wants another version", edit(controlPlaneRef, "v1.36.0", "spec", "version"), controlPlaneRef, "spec.version", "v1.35.2", "v1.36.0"},
	{"control plane runs another version", edit(controlPlaneRef, "v1.34.3", "status", "version"), controlPlaneRef, "status.version", "v1.35.2", "v1.34.3"},
	{"control plane tells no version", edit(controlPlaneRef, nil, "status", "version"), controlPlaneRef, "status.version", "v1.35.2", "(absent)"},
	{"pool paused", edit(awsRef, true, "spec", "paused"), awsRef, "spec.paused", "(absent)", "true"},
	{"pool paused by annotation", edit(awsRef, "true", "metadata", "annotations", capi.PausedAnnotation), awsRef, `metadata.annotations["cluster.x-k8s.io/paused"]`, "(absent)", "true"},
	{"pool taken over by a topology", edit(awsRef, "", "metadata", "labels", capi.TopologyOwnedLabel), awsRef, `metadata.labels["topology.cluster.x-k8s.io/owned"]`, "(absent)", ""},
	{"pool going away", edit(awsRef, "2026-01-01T00:00:00Z", "metadata", "deletionTimestamp"), awsRef, "metadata.deletionTimestamp", "(absent)", "2026-01-01T00:00:00Z"},
	{"pool gone", func(w *clustertest.World) { w.Delete(awsRef) }, awsRef, "", "(present)", "(absent)"},
	{"pool made anew", func(w *clustertest.World) {
		o := w.Get(awsRef)
		w.Delete(awsRef)
		put(o, "another", "metadata", "uid")
		w.Put(o)
	}, awsRef, "metadata.uid", "0", "another"},
	{"pool in another API version", func(w *clustertest.World) {
		o := w.Get(awsRef)
		o.SetAPIVersion("cluster.x-k8s.io/v1beta1")
		w.Put(o)
	}, awsRef, "apiVersion", "cluster.x-k8s.io/v1beta2", "cluster.x-k8s.io/v1beta1"},
	{"another run", edit(awsRef, "someone", "metadata", "annotations", plan.RunAnnotation), awsRef, `metadata.annotations["nodepool/run"]`, "(absent)", "someone"},
	{"version changed", edit(awsRef, "v1.34.9", "spec", "template", "spec", "version"), awsRef, "spec.template.spec.version", "v1.34.3", "v1.34.9"},
	{"version removed", edit(awsRef, nil, "spec", "template", "spec", "version"), awsRef, "spec.template.spec.version", "v1.34.3", "(absent)"},
	{"infrastructure template changed", edit(awsRef, "x", "spec", "template", "spec", "infrastructureRef", "name"), awsRef, "spec.template.spec.infrastructureRef.name", awsPool, "x"},
	{"infrastructure kind changed", edit(awsRef, "DevMachineTemplate", "spec", "template", "spec", "infrastructureRef", "kind"), awsRef, "spec.template.spec.infrastructureRef.kind", "AWSMachineTemplate", "DevMachineTemplate"},
	{"bootstrap template changed", edit(awsRef, "x", "spec", "template", "spec", "bootstrap", "configRef", "name"), awsRef, "spec.template.spec.bootstrap.configRef.name", awsPool, "x"},
	{"bootstrap kind changed", edit(awsRef, "OddTemplate", "spec", "template", "spec", "bootstrap", "configRef", "kind"), awsRef, "spec.template.spec.bootstrap.configRef.kind", "KubeadmConfigTemplate", "OddTemplate"},
	{"bootstrap by secret", edit(awsRef, "join", "spec", "template", "spec", "bootstrap", "dataSecretName"), awsRef, "spec.template.spec.bootstrap.dataSecretName", "(absent)", "join"},
	{"failure domain", edit(awsRef, "b", "spec", "template", "spec", "failureDomain"), awsRef, "spec.template.spec.failureDomain", "(absent)", "b"},
	{"strategy", edit(awsRef, "OnDelete", "spec", "rollout", "strategy", "type"), awsRef, "spec.rollout.strategy.type", "RollingUpdate", "OnDelete"},
	{"surge", edit(awsRef, "30%", "spec", "rollout", "strategy", "rollingUpdate", "maxSurge"), awsRef, "spec.rollout.strategy.rollingUpdate.maxSurge", "1", "30%"},
	{"unavailable", edit(awsRef, int64(2), "spec", "rollout", "strategy", "rollingUpdate", "maxUnavailable"), awsRef, "spec.rollout.strategy.rollingUpdate.maxUnavailable", "0", "2"},
	{"bootstrap template edited", edit(awsBootstrapRef, []any{"rm"}, "spec", "template", "spec", "preKubeadmCommands"), awsBootstrapRef, "spec", "content", "content"},
	{"bootstrap template gone", func(w *clustertest.World) { w.Delete(awsBootstrapRef) }, awsBootstrapRef, "", "(present)", "(absent)"},
}

func TestAssessPatchDrifts(t *testing.T) {
	t.Parallel()
	up := onePool(t, toBoth)
	for _, test := range drifts {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			s := step(t, compile(t, w, up), patchStep)
			if a := assess(t, w, s); a.Verdict != plan.Pending {
				t.Fatalf("before: %s %+v", a.Verdict, a.Differences)
			}
			test.edit(w)
			a := assess(t, w, s)
			if a.Verdict != plan.Drifted {
				t.Fatalf("%s", a.Verdict)
			}
			i := slices.IndexFunc(a.Differences, func(d plan.Difference) bool {
				return d.Object == test.object && d.Path.Dotted() == test.path
			})
			if i < 0 {
				t.Fatalf("no difference at %s %s: %+v", test.object, test.path, a.Differences)
			}
			d := a.Differences[i]
			if !strings.HasPrefix(d.Reviewed, test.reviewed) || !strings.HasPrefix(d.Found, test.found) || d.Because == "" {
				t.Errorf("reviewed %q, found %q, because %q; want %q, %q", d.Reviewed, d.Found, d.Because, test.reviewed, test.found)
			}
			if d.Reviewed == d.Found {
				t.Errorf("reviewed and found are both %q", d.Found)
			}
		})
	}
}

// TestFactsCountWhilePending: what a step relies on is of no matter once it
// is done.
func TestFactsCountWhilePending(t *testing.T) {
	t.Parallel()
	up := onePool(t, toBoth)
	for _, test := range drifts {
		switch test.object {
		case awsRef: // these undo or hide the patch itself
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			p := compile(t, w, up)
			carry(t, w, up, step(t, p, createStep))
			carry(t, w, up, step(t, p, patchStep))
			test.edit(w)
			if a := assess(t, w, step(t, p, patchStep)); a.Verdict != plan.Satisfied {
				t.Errorf("%s %+v", a.Verdict, a.Differences)
			}
		})
	}
}

func TestAssessPatchNoDrift(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*clustertest.World){
		"replicas":        edit(awsRef, int64(9), "spec", "replicas"),
		"status":          edit(awsRef, int64(9), "status", "replicas"),
		"managed fields":  edit(awsRef, []any{map[string]any{"manager": "kubectl"}}, "metadata", "managedFields"),
		"a label":         edit(awsRef, "x", "metadata", "labels", "example.com/x"),
		"an annotation":   edit(awsRef, "x", "metadata", "annotations", "example.com/x"),
		"a machine label": edit(awsRef, "x", "spec", "template", "metadata", "labels", "example.com/x"),
		"not paused, in so many words": func(w *clustertest.World) {
			edit(awsRef, false, "spec", "paused")(w)
			edit(clusterRef, false, "spec", "paused")(w)
		},
		"a touched cluster":   edit(clusterRef, "x", "metadata", "labels", "example.com/x"),
		"control plane scale": edit(controlPlaneRef, int64(3), "spec", "replicas"),
		"touched templates":   edit(awsBootstrapRef, "x", "metadata", "labels", "example.com/x"),
		"machines": func(w *clustertest.World) {
			w.Delete(reference(capi.Group, "Machine", w.List(capi.Group, "Machine", "")[1].GetName()))
		},
		"time": func(w *clustertest.World) { w.Settle() },
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			up := onePool(t, toBoth)
			p := compile(t, w, up)
			change(w)
			for _, id := range []string{createStep, patchStep} {
				if a := assess(t, w, step(t, p, id)); a.Verdict != plan.Pending {
					t.Errorf("%s: %s %+v", id, a.Verdict, a.Differences)
				}
			}
			carryOut(t, w, up, p)
		})
	}
}

func TestAssessPatchSatisfied(t *testing.T) {
	t.Parallel()
	up := onePool(t, toVersion+", drain: {nodeDrainTimeout: 10m}")
	for name, test := range map[string]struct {
		edit func(*clustertest.World)
		want plan.Verdict
	}{
		"defaults were added to what was written": {edit(awsRef, int64(10), "spec", "template", "spec", "deletion", "nodeDeletionTimeoutSeconds"), plan.Satisfied},
		"the mark was removed":                    {edit(awsRef, nil, "metadata", "annotations", plan.RunAnnotation), plan.Satisfied},
		"half of it was undone":                   {edit(awsRef, "v1.34.3", "spec", "template", "spec", "version"), plan.Drifted},
		"all of it was undone": {all(edit(awsRef, "v1.34.3", "spec", "template", "spec", "version"),
			edit(awsRef, nil, "spec", "template", "spec", "deletion")), plan.Drifted},
		"another value": {edit(awsRef, int64(5), "spec", "template", "spec", "deletion", "nodeDrainTimeoutSeconds"), plan.Drifted},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			s := step(t, compile(t, w, up), patchStep)
			carry(t, w, up, s)
			if a := assess(t, w, s); a.Verdict != plan.Satisfied {
				t.Fatalf("after the patch: %s %+v", a.Verdict, a.Differences)
			}
			test.edit(w)
			if a := assess(t, w, s); a.Verdict != test.want {
				t.Errorf("%s, want %s: %+v", a.Verdict, test.want, a.Differences)
			}
		})
	}
}

func TestAssessWait(t *testing.T) {
	t.Parallel()
	up := onePool(t, toBoth)
	tests := []struct {
		name    string
		edit    func(*clustertest.World)
		verdict plan.Verdict
		path    string
	}{
		{"rolling", func(*clustertest.World) {}, plan.Pending, ""},
		{"done", func(w *clustertest.World) { w.Settle() }, plan.Satisfied, ""},
		{"done, scaled by others", func(w *clustertest.World) { w.Settle(); edit(awsRef, int64(4), "spec", "replicas")(w); w.Settle() }, plan.Satisfied, ""},
		{"stuck", func(w *clustertest.World) { w.Break(awsRef, clustertest.Fault{NoJoin: true}); w.Settle() }, plan.Pending, ""},
		{"paused", edit(clusterRef, true, "spec", "paused"), plan.Pending, ""},
		{"gone", func(w *clustertest.World) { w.Delete(awsRef) }, plan.Drifted, ""},
		{"made anew", func(w *clustertest.World) {
			o := w.Get(awsRef)
			w.Delete(awsRef)
			put(o, "another", "metadata", "uid")
			w.Put(o)
		}, plan.Drifted, "metadata.uid"},
		{"another version", edit(awsRef, "v1.34.3", "spec", "template", "spec", "version"), plan.Drifted, "spec.template.spec.version"},
		{"another template", edit(awsRef, awsPool, "spec", "template", "spec", "infrastructureRef", "name"), plan.Drifted, "spec.template.spec.infrastructureRef.name"},
		{"another bootstrap template", edit(awsRef, "x", "spec", "template", "spec", "bootstrap", "configRef", "name"), plan.Drifted, "spec.template.spec.bootstrap.configRef.name"},
		{"unknown API version", func(w *clustertest.World) {
			o := w.Get(awsRef)
			o.SetAPIVersion("cluster.x-k8s.io/v1beta7")
			w.Put(o)
		}, plan.Drifted, "apiVersion"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			p := compile(t, w, up)
			carry(t, w, up, step(t, p, createStep))
			carry(t, w, up, step(t, p, patchStep))
			test.edit(w)
			a := assess(t, w, step(t, p, waitStep))
			if a.Verdict != test.verdict {
				t.Fatalf("%s, want %s: %+v", a.Verdict, test.verdict, a.Differences)
			}
			if test.verdict == plan.Drifted {
				if got := a.Differences[0].Path.Dotted(); got != test.path || a.Differences[0].Object != awsRef {
					t.Errorf("%s %s, want %s", a.Differences[0].Object, got, test.path)
				}
				return
			}
			if a.Rollout.Desired == 0 || a.Rollout.Complete != (test.verdict == plan.Satisfied) {
				t.Errorf("the rollout is %+v", a.Rollout)
			}
		})
	}
}

func TestAssessPreflight(t *testing.T) {
	t.Parallel()
	s := plan.Step{ID: "preflight", Preflight: &plan.Preflight{}}
	if a := plan.Assess(s, plan.Snapshot{}); a.Verdict != plan.Satisfied || len(s.Reads()) > 0 {
		t.Errorf("%s, reads %v", a.Verdict, s.Reads())
	}
}

// patched applies the JSON Patch that s makes for reviewed to live.
func patched(t *testing.T, s plan.Step, reviewed, live *object) (*object, error) {
	t.Helper()
	body, err := s.Patch.JSONPatch(reviewed, s.Facts)
	if err != nil {
		t.Fatal(err)
	}
	operations, err := jsonpatch.DecodePatch(body)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(live.Object)
	if err != nil {
		t.Fatal(err)
	}
	after, err := operations.Apply(doc)
	if err != nil {
		return nil, err
	}
	out := &object{}
	if err := out.UnmarshalJSON(after); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

// TestJSONPatch holds the patch to what the API server's own library makes of
// it: the reviewed transition and no other.
func TestJSONPatch(t *testing.T) {
	t.Parallel()
	shapes := map[string]func(*object){
		"as it is":            func(*object) {},
		"no annotations":      func(o *object) { put(o, nil, "metadata", "annotations") },
		"empty annotations":   func(o *object) { put(o, map[string]any{}, "metadata", "annotations") },
		"no labels":           func(o *object) { put(o, nil, "metadata", "labels") },
		"an earlier run":      func(o *object) { put(o, "before", "metadata", "annotations", plan.RunAnnotation) },
		"no rollout settings": func(o *object) { put(o, nil, "spec", "rollout"); put(o, nil, "spec", "strategy") },
		"some of the deletion": func(o *object) {
			put(o, int64(5), "spec", "template", "spec", "deletion", "nodeDeletionTimeoutSeconds")
		},
		"paused: false": func(o *object) { put(o, false, "spec", "paused") },
		"no version":    func(o *object) { put(o, nil, "spec", "template", "spec", "version") },
		"no bootstrap template": func(o *object) {
			put(o, map[string]any{"dataSecretName": "x"}, "spec", "template", "spec", "bootstrap")
		},
		"an annotation to escape": func(o *object) { put(o, "x", "metadata", "annotations", "a~b/c~1d") },
	}
	for form, adjust := range map[string][]clustertest.Adjust{"v1beta2": nil, "v1beta1": {clustertest.V1Beta1Only()}} {
		for name, shape := range shapes {
			t.Run(form+"/"+name, func(t *testing.T) {
				w := clustertest.AWSExample(adjust...)
				w.Edit(awsRef, shape)
				up := onePool(t, toBoth+`, strategy: {maxSurge: "25%", maxUnavailable: 1}, drain: {nodeDrainTimeout: 10m}`)
				p := compile(t, w, up)
				for _, s := range p.Steps[:len(p.Steps)-2] {
					carry(t, w, up, s)
				}
				s := step(t, p, patchStep)
				live := w.Get(awsRef)
				after, err := patched(t, s, live, live)
				if err != nil {
					t.Fatal(err)
				}
				snap := fetch(t, w, s)
				if a := plan.Assess(s, snap.With(plan.Selector{Ref: awsRef}, after)); a.Verdict != plan.Satisfied {
					t.Errorf("the result is %s: %+v", a.Verdict, a.Differences)
				}
				want := live.DeepCopy()
				for _, c := range s.Patch.Changes {
					tokens := c.Path.Tokens()
					var v any
					if err := json.Unmarshal(c.After, &v); err != nil {
						t.Fatal(err)
					}
					put(want, v, tokens...)
				}
				put(want, s.Patch.Run.After, "metadata", "annotations", plan.RunAnnotation)
				sameBytes(t, "the patched object", canonical(want.Object), canonical(after.Object))

				// A change of anything it tests makes it fail.
				moved := map[string]func(*object){
					"uid":        func(o *object) { o.SetUID("another") },
					"run":        func(o *object) { put(o, "thawed", "metadata", "annotations", plan.RunAnnotation) },
					"pause":      func(o *object) { put(o, true, "spec", "paused") },
					"infra kind": func(o *object) { put(o, "Odd", "spec", "template", "spec", "infrastructureRef", "kind") },
					"failure domain": func(o *object) {
						put(o, "z", "spec", "template", "spec", "failureDomain")
					},
				}
				for _, c := range s.Patch.Changes {
					moved["another "+string(c.Path)] = func(o *object) { put(o, "moved", c.Path.Tokens()...) }
					if len(c.Before) > 0 {
						moved["no "+string(c.Path)] = func(o *object) { put(o, nil, c.Path.Tokens()...) }
					}
				}
				for what, move := range moved {
					other := live.DeepCopy()
					move(other)
					if _, err := patched(t, s, live, other); err == nil {
						t.Errorf("%s moved, and the patch passes", what)
					}
				}
				if _, err := patched(t, s, live, after); err == nil {
					t.Error("the patch passes a second time")
				}
				// What nobody relies on moves freely.
				free := live.DeepCopy()
				put(free, int64(7), "spec", "replicas")
				put(free, int64(7), "status", "replicas")
				free.SetResourceVersion("12345")
				if _, err := patched(t, s, live, free); err != nil {
					t.Errorf("scaled meanwhile: %v", err)
				}
			})
		}
	}
}

// TestReadsIsEnough: what a step says that it reads is all that Assess needs.
func TestReadsIsEnough(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := upgrade(t, everything)
	snap := observe(t, w, up)
	for _, s := range compile(t, w, up).Steps {
		seen := map[plan.Selector]bool{}
		for _, sel := range s.Reads() {
			if seen[sel] {
				t.Errorf("%s reads %+v twice", s.ID, sel)
			}
			seen[sel] = true
		}
		if d := cmp.Diff(plan.Assess(s, snap).Verdict, assess(t, w, s).Verdict); d != "" {
			t.Errorf("%s: all that was seen and what it reads give two verdicts:\n%s", s.ID, d)
		}
	}
}

// TestAssessInPlan holds the steps of a MachineDeployment that is patched
// twice, a hold and its release, to the order of their run marks.
func TestAssessInPlan(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := onePool(t, `kubernetesVersion: v1.35.2, strategy: {maxSurge: 1}`)
	p := compile(t, w, onePool(t, `kubernetesVersion: v1.35.2, strategy: {maxSurge: 2}`))
	hold, wait := step(t, p, patchStep), step(t, p, waitStep)
	release := step(t, compile(t, w, up), patchStep)
	surge := plan.PointerTo("spec", "rollout", "strategy", "rollingUpdate", "maxSurge")
	release.ID = awsPool + "/release"
	release.Patch.Run = plan.Run{Before: hold.Patch.Run.After, After: "released"}
	release.Patch.Changes = []plan.Change{{Path: surge, Before: json.RawMessage("2"), After: json.RawMessage("1")}}
	release.Facts = slices.DeleteFunc(release.Facts, func(f plan.Fact) bool { return f.Path.Within(surge) || surge.Within(f.Path) })
	p.Steps = []plan.Step{hold, wait, release}

	verdicts := func(edits ...func(*clustertest.World)) string {
		t.Helper()
		for _, e := range edits {
			e(w)
		}
		snap := fetch(t, w, hold).Merge(fetch(t, w, wait)).Merge(fetch(t, w, release))
		var out []string
		for i := range p.Steps {
			out = append(out, p.Assess(i, snap).Verdict.String())
		}
		return strings.Join(out, " ")
	}
	mark := func(run string, maxSurge int64) func(*clustertest.World) {
		return func(w *clustertest.World) {
			w.Edit(awsRef, func(o *object) {
				put(o, run, "metadata", "annotations", plan.RunAnnotation)
				put(o, "v1.35.2", "spec", "template", "spec", "version")
				put(o, maxSurge, "spec", "rollout", "strategy", "rollingUpdate", "maxSurge")
			})
		}
	}
	for _, test := range []struct {
		name, want string
		edit       func(*clustertest.World)
	}{
		{"nothing done", "pending drifted pending", func(*clustertest.World) {}},
		{"held", "satisfied pending pending", mark(hold.Patch.Run.After, 2)},
		{"released", "satisfied satisfied satisfied", mark("released", 1)},
		{"released, then another run", "drifted pending drifted", mark("other", 3)},
	} {
		if got := verdicts(test.edit); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}

	w = clustertest.AWSExample()
	if got, want := verdicts(edit(clusterRef, true, "spec", "paused")), "drifted drifted drifted"; got != want {
		t.Errorf("paused: %s, want %s: the facts of a step that must wait for another are checked all the same", got, want)
	}
}
