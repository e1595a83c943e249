package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// Seeder acts on the cluster behind a conformance run as somebody else would,
// past the implementation that is tested. A failure is fatal to the test.
type Seeder interface {
	// Namespace is an empty namespace of this test's own.
	Namespace() string
	// Create makes an object and gives it as it is stored.
	Create(t *testing.T, obj *unstructured.Unstructured) *unstructured.Unstructured
	// Edit changes an object's metadata and spec.
	Edit(t *testing.T, ref plan.Ref, change func(*unstructured.Unstructured))
	// Delete removes an object and waits until it is gone.
	Delete(t *testing.T, ref plan.Ref)
	// APIVersion is the version that the cluster should be read in for a kind.
	APIVersion(group, kind string) string
}

// patience bounds how long a run waits for what must come; it is long since it
// passes only in a run that fails.
const patience = 30 * time.Second

// Conformance runs the suite that every apply.Cluster passes. The cluster must
// serve the kinds MachineDeployment, KubeadmConfigTemplate, DevMachineTemplate
// and AWSMachineTemplate, and open gives each test a namespace of its own.
// Controllers may be at work on what the tests make; no machine is made.
func Conformance(t *testing.T, open func(t *testing.T) (apply.Cluster, Seeder)) {
	tests := []struct {
		name string
		run  func(suite, *testing.T)
	}{
		{"fetch gives one object", suite.fetchOne},
		{"fetch gives an absent object as absent", suite.fetchAbsent},
		{"fetch lists by label", suite.fetchList},
		{"fetch refuses a kind that is not installed", suite.fetchNotInstalled},
		{"fetch chooses the API version", suite.fetchVersion},
		{"fetch ends with its context", suite.fetchCancelled},
		{"create stores", suite.create},
		{"create refuses a name that is taken", suite.createTaken},
		{"create refuses an unknown field", suite.createUnknownField},
		{"create as a dry run stores nothing", suite.createDryRun},
		{"patch changes and moves the generation", suite.patch},
		{"patch of metadata leaves the generation", suite.patchMetadata},
		{"patch refuses when a test fails", suite.patchTest},
		{"patch refuses another UID", suite.patchUID},
		{"patch tests for null", suite.patchNull},
		{"patch refuses an absent object", suite.patchAbsent},
		{"patch refuses an unknown field", suite.patchUnknownField},
		{"patch as a dry run stores nothing", suite.patchDryRun},
		{"templates are immutable", suite.immutable},
		{"delete removes", suite.delete},
		{"delete refuses another UID", suite.deleteUID},
		{"delete refuses another resource version", suite.deleteResourceVersion},
		{"delete refuses an absent object", suite.deleteAbsent},
		{"delete as a dry run removes nothing", suite.deleteDryRun},
		{"delete leaves what has finalizers", suite.deleteFinalizers},
		{"watch begins complete", suite.watchFirst},
		{"watch sees what others do", suite.watchChanges},
		{"watch joins changes", suite.watchJoins},
		{"watch gathers changes", suite.watchGathers},
		{"watch refuses a kind that is not installed", suite.watchNotInstalled},
		{"watch ends with its contexts", suite.watchEnds},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, seeder := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			test.run(suite{Cluster: c, seed: seeder, ctx: ctx}, t)
		})
	}
}

type suite struct {
	apply.Cluster
	seed Seeder
	ctx  context.Context
}

func (s suite) ref(group, kind, name string) plan.Ref {
	return plan.Ref{Group: group, Kind: kind, Namespace: s.seed.Namespace(), Name: name}
}

// bootstrap is a KubeadmConfigTemplate: mutable, and nobody's controller
// touches it.
func (s suite) bootstrap(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": s.seed.APIVersion(BootstrapGroup, "KubeadmConfigTemplate"),
		"kind":       "KubeadmConfigTemplate",
		"metadata": map[string]any{
			"name": name, "namespace": s.seed.Namespace(),
			"labels": map[string]any{"conformance": "yes"},
		},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"preKubeadmCommands": []any{"echo before"},
		}}},
	}}
}

func (s suite) bootstrapRef(name string) plan.Ref {
	return s.ref(BootstrapGroup, "KubeadmConfigTemplate", name)
}

func (s suite) templates() plan.Selector {
	return plan.Selector{Ref: s.bootstrapRef(""), Label: "conformance", LabelValue: "yes"}
}

// get looks an object up; nil when it is absent.
func (s suite) get(t *testing.T, ref plan.Ref) *unstructured.Unstructured {
	t.Helper()
	snapshot, err := s.Fetch(s.ctx, []plan.Selector{{Ref: ref}})
	if err != nil {
		t.Fatal(err)
	}
	o, _ := snapshot.Object(ref)
	return o
}

// command is the field that the tests change.
func command(o *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "template", "spec", "preKubeadmCommands")
	return strings.Join(list, " ")
}

const commandPath = "/spec/template/spec/preKubeadmCommands/0"

func jsonPatch(operations ...any) []byte {
	var out []map[string]any
	for i := 0; i < len(operations); i += 3 {
		out = append(out, map[string]any{"op": operations[i], "path": operations[i+1], "value": operations[i+2]})
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return b
}

// refused demands that err is a refusal with words.
func refused(t *testing.T, err error) {
	t.Helper()
	var failure *apply.WriteError
	if !errors.As(err, &failure) {
		t.Fatalf("got %v, want a *WriteError", err)
	}
	if failure.Outcome != apply.Refused || failure.Words == "" {
		t.Errorf("got outcome %d with the words %q, want Refused with some", failure.Outcome, failure.Words)
	}
}

func (s suite) fetchOne(t *testing.T) {
	made := s.seed.Create(t, s.bootstrap("one"))
	got := s.get(t, s.bootstrapRef("one"))
	if got == nil {
		t.Fatal("the object was not found")
	}
	if diff := cmp.Diff(identity(made), identity(got)); diff != "" {
		t.Error(diff)
	}
	if command(got) != "echo before" {
		t.Errorf("the spec holds %v", got.Object["spec"])
	}
}

func identity(o *unstructured.Unstructured) map[string]string {
	return map[string]string{
		"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "namespace": o.GetNamespace(),
		"name": o.GetName(), "uid": string(o.GetUID()), "generation": fmt.Sprint(o.GetGeneration()),
	}
}

func (s suite) fetchAbsent(t *testing.T) {
	selector := plan.Selector{Ref: s.bootstrapRef("absent")}
	snapshot, err := s.Fetch(s.ctx, []plan.Selector{selector})
	if err != nil {
		t.Fatal(err)
	}
	if _, found := snapshot.Object(selector.Ref); found || !snapshot.Asked(selector) {
		t.Errorf("found %v, asked %v; want an answer that it is absent", found, snapshot.Asked(selector))
	}
}

func (s suite) fetchList(t *testing.T) {
	for _, name := range []string{"b", "a", "c"} {
		o := s.bootstrap(name)
		if name == "c" {
			o.SetLabels(map[string]string{"conformance": "no"})
		}
		s.seed.Create(t, o)
	}
	all := plan.Selector{Ref: s.bootstrapRef("")}
	tests := map[string]struct {
		selector plan.Selector
		want     []string
	}{
		"by label": {s.templates(), []string{"a", "b"}},
		"all":      {all, []string{"a", "b", "c"}},
	}
	for name, test := range tests {
		snapshot, err := s.Fetch(s.ctx, []plan.Selector{test.selector})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range snapshot.List(test.selector) {
			got = append(got, o.GetName())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func (s suite) notInstalled() plan.Selector {
	return plan.Selector{Ref: s.ref("nothing.nodepool.example", "Nothing", "any")}
}

func (s suite) fetchNotInstalled(t *testing.T) {
	selector := s.notInstalled()
	if _, err := s.Fetch(s.ctx, []plan.Selector{selector}); err == nil || !strings.Contains(err.Error(), "Nothing") {
		t.Errorf("got %v, want an error that names the kind", err)
	}
	selector.Optional = true
	snapshot, err := s.Fetch(s.ctx, []plan.Selector{selector})
	if err != nil {
		t.Fatal(err)
	}
	if why, unread := snapshot.Unread(selector); !unread || why == "" {
		t.Errorf("unread %v because %q; want a note", unread, why)
	}
}

func (s suite) fetchVersion(t *testing.T) {
	s.seed.Create(t, s.infrastructure("AWSMachineTemplate", "versioned"))
	s.seed.Create(t, s.infrastructure("DevMachineTemplate", "versioned"))
	for _, kind := range []string{"AWSMachineTemplate", "DevMachineTemplate"} {
		ref := s.ref(InfrastructureGroup, kind, "versioned")
		got := s.get(t, ref)
		if got == nil {
			t.Fatalf("%s was not found", ref)
		}
		want := s.seed.APIVersion(InfrastructureGroup, kind)
		if got.GetAPIVersion() != want {
			t.Errorf("%s came in %s, want %s", kind, got.GetAPIVersion(), want)
		}
		snapshot, err := s.Fetch(s.ctx, []plan.Selector{{Ref: ref, APIVersion: want}})
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := snapshot.Object(ref); o == nil || o.GetAPIVersion() != want {
			t.Errorf("asked for %s in %s, got %v", kind, want, o)
		}
		if _, err := s.Fetch(s.ctx, []plan.Selector{{Ref: ref, APIVersion: InfrastructureGroup + "/v9"}}); err == nil {
			t.Errorf("%s was read in a version that nobody serves", kind)
		}
	}
}

// infrastructure is an infrastructure template that controllers leave alone.
func (s suite) infrastructure(kind, name string) *unstructured.Unstructured {
	spec := map[string]any{"instanceType": "m5.large", "ami": map[string]any{"id": "ami-0123456789abcdef0"}}
	if kind == "DevMachineTemplate" {
		spec = map[string]any{"backend": map[string]any{"inMemory": map[string]any{
			"vm": map[string]any{"provisioning": map[string]any{"startupDuration": "1s"}},
		}}}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": s.seed.APIVersion(InfrastructureGroup, kind),
		"kind":       kind,
		"metadata":   map[string]any{"name": name, "namespace": s.seed.Namespace()},
		"spec":       map[string]any{"template": map[string]any{"spec": spec}},
	}}
}

func (s suite) fetchCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := s.Fetch(ctx, []plan.Selector{s.templates()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func (s suite) create(t *testing.T) {
	if err := s.Create(s.ctx, s.bootstrap("new"), apply.Commit); err != nil {
		t.Fatal(err)
	}
	got := s.get(t, s.bootstrapRef("new"))
	if got == nil {
		t.Fatal("nothing was stored")
	}
	if got.GetUID() == "" || got.GetResourceVersion() == "" || got.GetGeneration() != 1 || capi.StringAt(got, "metadata", "creationTimestamp") == "" {
		t.Errorf("uid %q, resource version %q, generation %d, created %v",
			got.GetUID(), got.GetResourceVersion(), got.GetGeneration(), got.GetCreationTimestamp())
	}
	if command(got) != "echo before" {
		t.Errorf("the spec holds %v", got.Object["spec"])
	}
}

func (s suite) createTaken(t *testing.T) {
	made := s.seed.Create(t, s.bootstrap("taken"))
	err := s.Create(s.ctx, s.bootstrap("taken"), apply.Commit)
	refused(t, err)
	if !apierrors.IsAlreadyExists(err) {
		t.Errorf("got %v, want AlreadyExists in the chain", err)
	}
	if got := s.get(t, s.bootstrapRef("taken")); got.GetUID() != made.GetUID() {
		t.Error("the object was replaced")
	}
}

func (s suite) createUnknownField(t *testing.T) {
	o := s.bootstrap("misspelt")
	if err := unstructured.SetNestedField(o.Object, "x", "spec", "template", "spec", "preKubeadmComands"); err != nil {
		t.Fatal(err)
	}
	err := s.Create(s.ctx, o, apply.Commit)
	refused(t, err)
	if err == nil || !strings.Contains(err.Error(), "preKubeadmComands") {
		t.Errorf("%v: want the field in it", err)
	}
	if s.get(t, s.bootstrapRef("misspelt")) != nil {
		t.Error("it was stored all the same")
	}
}

func (s suite) createDryRun(t *testing.T) {
	made := s.bootstrap("dry")
	if err := s.Create(s.ctx, made, apply.DryRun); err != nil {
		t.Fatal(err)
	}
	if command(made) != "echo before" || made.GetName() != "dry" {
		t.Errorf("what would be made is not given, but %v", made.Object)
	}
	if s.get(t, s.bootstrapRef("dry")) != nil {
		t.Error("a dry run stored the object")
	}
	s.seed.Create(t, s.bootstrap("dry"))
	refused(t, s.Create(s.ctx, s.bootstrap("dry"), apply.DryRun))
}

// patchTemplate patches the object made by bootstrap(name).
func (s suite) patchTemplate(name string, mode apply.Mode, operations ...any) error {
	return s.Patch(s.ctx, s.bootstrapRef(name), s.bootstrap(name).GetAPIVersion(), jsonPatch(operations...), mode)
}

func (s suite) patch(t *testing.T) {
	made := s.seed.Create(t, s.bootstrap("patched"))
	if err := s.patchTemplate("patched", apply.Commit,
		"test", "/metadata/uid", string(made.GetUID()),
		"test", commandPath, "echo before",
		"replace", commandPath, "echo after",
	); err != nil {
		t.Fatal(err)
	}
	got := s.get(t, s.bootstrapRef("patched"))
	if command(got) != "echo after" || got.GetGeneration() != 2 || got.GetUID() != made.GetUID() {
		t.Errorf("command %q, generation %d, uid %s", command(got), got.GetGeneration(), got.GetUID())
	}
	if got.GetResourceVersion() == made.GetResourceVersion() {
		t.Error("the resource version did not move")
	}
	// The same again tests what is no longer so.
	refused(t, s.patchTemplate("patched", apply.Commit,
		"test", commandPath, "echo before",
		"replace", commandPath, "echo after",
	))
}

func (s suite) patchMetadata(t *testing.T) {
	s.seed.Create(t, s.bootstrap("annotated"))
	if err := s.patchTemplate("annotated", apply.Commit,
		"add", "/metadata/annotations", map[string]any{"nodepool/run": "one"},
	); err != nil {
		t.Fatal(err)
	}
	got := s.get(t, s.bootstrapRef("annotated"))
	if got.GetAnnotations()["nodepool/run"] != "one" || got.GetGeneration() != 1 {
		t.Errorf("annotations %v, generation %d; want the annotation at generation 1", got.GetAnnotations(), got.GetGeneration())
	}
}

func (s suite) patchTest(t *testing.T) {
	made := s.seed.Create(t, s.bootstrap("tested"))
	refused(t, s.patchTemplate("tested", apply.Commit,
		"add", "/metadata/annotations", map[string]any{"first": "done"},
		"test", commandPath, "echo something else",
		"replace", commandPath, "echo after",
	))
	if diff := cmp.Diff(made.GetResourceVersion(), s.get(t, s.bootstrapRef("tested")).GetResourceVersion()); diff != "" {
		t.Errorf("the object was changed: %s", diff)
	}
}

func (s suite) patchUID(t *testing.T) {
	s.seed.Create(t, s.bootstrap("again"))
	s.seed.Delete(t, s.bootstrapRef("again"))
	made := s.seed.Create(t, s.bootstrap("again"))
	refused(t, s.patchTemplate("again", apply.Commit, "replace", "/metadata/uid", "11111111-1111-4111-8111-111111111111"))
	refused(t, s.patchTemplate("again", apply.Commit,
		"test", "/metadata/uid", "11111111-1111-4111-8111-111111111111",
		"replace", commandPath, "echo after",
	))
	if err := s.patchTemplate("again", apply.Commit,
		"test", "/metadata/uid", string(made.GetUID()),
		"replace", commandPath, "echo after",
	); err != nil {
		t.Error(err)
	}
}

func (s suite) patchNull(t *testing.T) {
	s.seed.Create(t, s.bootstrap("null"))
	if err := s.patchTemplate("null", apply.Commit,
		"test", "/spec/template/spec/verbosity", nil,
		"add", "/spec/template/spec/verbosity", 3,
	); err != nil {
		t.Errorf("a null passes on an absent leaf: %v", err)
	}
	refused(t, s.patchTemplate("null", apply.Commit,
		"test", "/spec/template/spec/verbosity", nil,
		"add", "/spec/template/spec/verbosity", 4,
	))
	refused(t, s.patchTemplate("null", apply.Commit,
		"test", "/spec/template/spec/joinConfiguration/nodeRegistration/name", nil,
		"add", "/spec/template/spec/verbosity", 5,
	))
	if n, _ := capi.Int64At(s.get(t, s.bootstrapRef("null")), "spec", "template", "spec", "verbosity"); n != 3 {
		t.Errorf("verbosity %d, want 3", n)
	}
}

func (s suite) patchAbsent(t *testing.T) {
	err := s.patchTemplate("absent", apply.Commit, "replace", commandPath, "echo after")
	refused(t, err)
	if !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want NotFound in the chain", err)
	}
}

func (s suite) patchUnknownField(t *testing.T) {
	s.seed.Create(t, s.bootstrap("strict"))
	refused(t, s.patchTemplate("strict", apply.Commit, "add", "/spec/template/spec/preKubeadmComands", "x"))
}

func (s suite) patchDryRun(t *testing.T) {
	s.seed.Create(t, s.bootstrap("dry"))
	if err := s.patchTemplate("dry", apply.DryRun, "replace", commandPath, "echo after"); err != nil {
		t.Fatal(err)
	}
	if got := command(s.get(t, s.bootstrapRef("dry"))); got != "echo before" {
		t.Errorf("a dry run stored %q", got)
	}
	refused(t, s.patchTemplate("dry", apply.DryRun, "test", commandPath, "echo something else"))
}

func (s suite) immutable(t *testing.T) {
	o := s.infrastructure("DevMachineTemplate", "fixed")
	s.seed.Create(t, o)
	ref := capi.RefOf(o)
	path := "/spec/template/spec/backend/inMemory/vm/provisioning/startupDuration"
	refused(t, s.Patch(s.ctx, ref, o.GetAPIVersion(), jsonPatch("replace", path, "2s"), apply.Commit))
	if err := s.Patch(s.ctx, ref, o.GetAPIVersion(), jsonPatch("add", "/metadata/annotations", map[string]any{"a": "b"}), apply.Commit); err != nil {
		t.Errorf("metadata may change: %v", err)
	}
}

// remove deletes o as it was last seen.
func (s suite) remove(o *unstructured.Unstructured, mode apply.Mode) error {
	return s.Delete(s.ctx, capi.RefOf(o), o.GetAPIVersion(), string(o.GetUID()), o.GetResourceVersion(), mode)
}

func (s suite) delete(t *testing.T) {
	made := s.seed.Create(t, s.bootstrap("unused"))
	other := s.seed.Create(t, s.bootstrap("other"))
	if err := s.remove(made, apply.Commit); err != nil {
		t.Fatal(err)
	}
	if s.get(t, s.bootstrapRef("unused")) != nil {
		t.Error("it is still there")
	}
	if got := s.get(t, s.bootstrapRef("other")); got == nil || got.GetUID() != other.GetUID() {
		t.Error("another object went with it")
	}
	refused(t, s.remove(made, apply.Commit))
}

// conflict demands a refusal by a precondition, and that the object is there.
func (s suite) conflict(t *testing.T, name string, err error) {
	t.Helper()
	refused(t, err)
	if !apierrors.IsConflict(err) {
		t.Errorf("got %v, want Conflict in the chain", err)
	}
	if s.get(t, s.bootstrapRef(name)) == nil {
		t.Error("it was deleted all the same")
	}
}

func (s suite) deleteUID(t *testing.T) {
	before := s.seed.Create(t, s.bootstrap("again"))
	s.seed.Delete(t, s.bootstrapRef("again"))
	after := s.seed.Create(t, s.bootstrap("again"))
	before.SetResourceVersion(after.GetResourceVersion())
	s.conflict(t, "again", s.remove(before, apply.Commit))
	s.conflict(t, "again", s.remove(before, apply.DryRun))
}

func (s suite) deleteResourceVersion(t *testing.T) {
	before := s.seed.Create(t, s.bootstrap("edited"))
	s.seed.Edit(t, s.bootstrapRef("edited"), func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{"example.com/note": "in use again"})
	})
	s.conflict(t, "edited", s.remove(before, apply.Commit))
	if err := s.remove(s.get(t, s.bootstrapRef("edited")), apply.Commit); err != nil {
		t.Error(err)
	}
}

func (s suite) deleteAbsent(t *testing.T) {
	o := s.bootstrap("absent")
	o.SetUID("11111111-1111-4111-8111-111111111111")
	o.SetResourceVersion("1")
	err := s.remove(o, apply.Commit)
	refused(t, err)
	if !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want NotFound in the chain", err)
	}
}

func (s suite) deleteDryRun(t *testing.T) {
	made := s.seed.Create(t, s.bootstrap("dry"))
	if err := s.remove(made, apply.DryRun); err != nil {
		t.Fatal(err)
	}
	if s.get(t, s.bootstrapRef("dry")) == nil {
		t.Error("a dry run deleted the object")
	}
}

func (s suite) deleteFinalizers(t *testing.T) {
	o := s.bootstrap("held")
	o.SetFinalizers([]string{"nodepool.example/hold"})
	if err := s.remove(s.seed.Create(t, o), apply.Commit); err != nil {
		t.Fatal(err)
	}
	got := s.get(t, s.bootstrapRef("held"))
	if got == nil || got.GetDeletionTimestamp() == nil {
		t.Fatalf("got %v, want the object being deleted", got)
	}
	s.seed.Edit(t, s.bootstrapRef("held"), func(o *unstructured.Unstructured) { o.SetFinalizers(nil) })
}

func (s suite) watch(t *testing.T, ctx context.Context, selectors ...plan.Selector) apply.Feed {
	t.Helper()
	feed, err := s.Watch(ctx, selectors)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(feed.Stop)
	return feed
}

func (s suite) next(t *testing.T, feed apply.Feed) plan.Snapshot {
	t.Helper()
	snapshot, err := feed.Next(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

// until asks for snapshots until one is as wanted.
func (s suite) until(t *testing.T, feed apply.Feed, what string, as func(plan.Snapshot) bool) plan.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	for {
		snapshot, err := feed.Next(ctx)
		if err != nil {
			t.Fatalf("no snapshot came in which %s: %v", what, err)
		}
		if as(snapshot) {
			return snapshot
		}
	}
}

func (s suite) watchFirst(t *testing.T) {
	for i := range 5 {
		s.seed.Create(t, s.bootstrap(fmt.Sprint("t", i)))
	}
	optional := s.notInstalled()
	optional.Optional = true
	absent := plan.Selector{Ref: s.bootstrapRef("absent")}
	one := plan.Selector{Ref: s.bootstrapRef("t3")}
	empty := plan.Selector{Ref: s.ref(InfrastructureGroup, "DevMachineTemplate", "")}
	feed := s.watch(t, s.ctx, s.templates(), one, absent, empty, optional)
	first := s.next(t, feed)
	if n := len(first.List(s.templates())); n != 5 {
		t.Errorf("the first snapshot lists %d objects, want 5", n)
	}
	if _, found := first.Object(one.Ref); !found {
		t.Error("the first snapshot lacks the object asked for by name")
	}
	if _, found := first.Object(absent.Ref); found || !first.Asked(absent) || !first.Asked(empty) {
		t.Error("what is absent is not answered for")
	}
	if _, unread := first.Unread(optional); !unread {
		t.Error("the optional kind that is not installed is not noted")
	}
}

func (s suite) watchChanges(t *testing.T) {
	s.seed.Create(t, s.bootstrap("a"))
	one := plan.Selector{Ref: s.bootstrapRef("a")}
	feed := s.watch(t, s.ctx, s.templates(), one)
	s.next(t, feed)

	s.seed.Create(t, s.bootstrap("b"))
	s.until(t, feed, "b is listed", func(p plan.Snapshot) bool { return len(p.List(s.templates())) == 2 })

	s.seed.Edit(t, one.Ref, func(o *unstructured.Unstructured) {
		if err := unstructured.SetNestedStringSlice(o.Object, []string{"echo edited"}, "spec", "template", "spec", "preKubeadmCommands"); err != nil {
			t.Fatal(err)
		}
	})
	s.until(t, feed, "the edit is seen", func(p plan.Snapshot) bool {
		o, found := p.Object(one.Ref)
		return found && command(o) == "echo edited"
	})

	if err := s.patchTemplate("a", apply.Commit, "replace", commandPath, "echo patched"); err != nil {
		t.Fatal(err)
	}
	s.until(t, feed, "the own patch is seen", func(p plan.Snapshot) bool {
		o, found := p.Object(one.Ref)
		return found && command(o) == "echo patched"
	})

	s.seed.Edit(t, s.bootstrapRef("b"), func(o *unstructured.Unstructured) { o.SetLabels(nil) })
	s.until(t, feed, "b has lost its label", func(p plan.Snapshot) bool { return len(p.List(s.templates())) == 1 })

	s.seed.Delete(t, one.Ref)
	s.until(t, feed, "a is gone", func(p plan.Snapshot) bool {
		_, found := p.Object(one.Ref)
		return !found && len(p.List(s.templates())) == 0
	})
}

func (s suite) watchJoins(t *testing.T) {
	feed := s.watch(t, s.ctx, s.templates())
	s.next(t, feed)
	const n = 12
	for i := range n {
		s.seed.Create(t, s.bootstrap(fmt.Sprint("t", i)))
	}
	// Whoever looks late sees the whole at once, and then nothing new.
	looks := 0
	s.until(t, feed, "all are listed", func(p plan.Snapshot) bool {
		looks++
		return len(p.List(s.templates())) == n
	})
	if looks > n {
		t.Errorf("%d snapshots came for %d changes", looks, n)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := feed.Next(ctx)
		ended <- err
	}()
	s.seed.Create(t, s.bootstrap("last"))
	if err := <-ended; err != nil {
		t.Errorf("Next does not wake: %v", err)
	}
	cancel()
}

// watchGathers: what changes within a time after a change comes with it.
func (s suite) watchGathers(t *testing.T) {
	feed := s.watch(t, s.ctx, s.templates())
	feed.Gather(patience) // of which the first snapshot knows nothing
	s.next(t, feed)

	feed.Gather(2 * time.Second)
	s.seed.Create(t, s.bootstrap("a"))
	s.seed.Create(t, s.bootstrap("b"))
	if n := len(s.next(t, feed).List(s.templates())); n != 2 {
		t.Errorf("%d of 2 changes came together", n)
	}
	// The end of Next's own time ends the gathering, not the snapshot.
	feed.Gather(patience)
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	s.seed.Create(t, s.bootstrap("c"))
	if snapshot, err := feed.Next(ctx); err != nil || len(snapshot.List(s.templates())) != 3 {
		t.Errorf("when its time was over Next gave %d objects and %v, want 3", len(snapshot.List(s.templates())), err)
	}
	feed.Gather(0)
	s.seed.Create(t, s.bootstrap("d"))
	s.until(t, feed, "d is listed", func(p plan.Snapshot) bool { return len(p.List(s.templates())) == 4 })
}

func (s suite) watchNotInstalled(t *testing.T) {
	feed, err := s.Watch(s.ctx, []plan.Selector{s.notInstalled()})
	if err == nil {
		feed.Stop()
		t.Fatal("it is watched")
	}
	if !strings.Contains(err.Error(), "Nothing") {
		t.Errorf("%v: want the kind in it", err)
	}
}

func (s suite) watchEnds(t *testing.T) {
	s.seed.Create(t, s.bootstrap("a"))
	outer, stop := context.WithCancel(s.ctx)
	defer stop()
	feed := s.watch(t, outer, s.templates())
	s.next(t, feed)

	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := feed.Next(ctx)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Next ended with %v, want context.Canceled", err)
	}

	// The feed goes on for the next caller, and ends with its own context.
	s.seed.Create(t, s.bootstrap("b"))
	s.until(t, feed, "b is listed", func(p plan.Snapshot) bool { return len(p.List(s.templates())) == 2 })
	go func() {
		_, err := feed.Next(s.ctx)
		ended <- err
	}()
	stop()
	if err := <-ended; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the end of the watch Next gave %v", err)
	}
	feed.Stop()
	feed.Stop()
}
