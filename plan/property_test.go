package plan_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// everything is an upgrade of both pools that makes every kind of change.
const everything = `
pools:
- name: aws-example-md-0
  kubernetesVersion: v1.35.2
  machineImage: ami-new
  instanceType: m5.xlarge
  infrastructure: {rootVolume: {size: 100}, sshKeyName: null, cpuOptions: {a: {b: 1}}}
  bootstrap: {files: [{path: /etc/a, content: secret-content}], joinConfiguration: {nodeRegistration: {taints: []}}}
  strategy: {maxSurge: 2, maxUnavailable: "10%"}
  drain: {nodeDrainTimeout: 10m}
- name: aws-example-md-1
  kubernetesVersion: v1.35.2
  infrastructure: {backend: {inMemory: {vm: {provisioning: {startupDuration: 9s}}}}}
`

func worlds() map[string]*clustertest.World {
	return map[string]*clustertest.World{
		"v1beta2": clustertest.AWSExample(),
		"v1beta1": clustertest.AWSExample(clustertest.V1Beta1Only()),
		"v1.11":   clustertest.AWSExample(clustertest.Before112()),
	}
}

// lens is a reader that shows the world in another way.
type lens struct {
	apply.Reader
	reverse bool                     // asks for one selector at a time, the last first
	change  func(*object)            // of every object seen
	extra   []*object                // are seen with every answer
	deny    func(plan.Selector) bool // optional selectors
}

func (l lens) Fetch(ctx context.Context, sels []plan.Selector) (plan.Snapshot, error) {
	sels = slices.Clone(sels)
	if l.reverse {
		slices.Reverse(sels)
	}
	var out plan.Snapshot
	for _, sel := range sels {
		if sel.Optional && l.deny != nil && l.deny(sel) {
			out = out.Without(sel, "forbidden")
			continue
		}
		got, err := l.Reader.Fetch(ctx, []plan.Selector{sel})
		if err != nil {
			return plan.Snapshot{}, err
		}
		found := got.List(sel)
		if !sel.IsList() {
			found = nil
			if o, ok := got.Object(sel.Ref); ok {
				found = append(found, o)
			}
		}
		if l.reverse {
			slices.Reverse(found)
		}
		for _, o := range found {
			if l.change != nil {
				l.change(o)
			}
		}
		out = out.With(sel, append(found, l.extra...)...)
	}
	return out, nil
}

func through(t testing.TB, l lens, up schema.Upgrade) plan.Plan {
	t.Helper()
	snap, err := apply.Observe(t.Context(), l, up)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func noise(o *object) {
	o.SetResourceVersion("987654")
	put(o, []any{map[string]any{"manager": "argocd-controller", "operation": "Update"}}, "metadata", "managedFields")
	put(o, "2026-01-02T03:04:05Z", "metadata", "annotations", "example.com/touched")
	put(o, "noise", "metadata", "labels", "example.com/label")
	put(o, "noise", "status", "somethingNew")
	put(o, "2030-01-01T00:00:00Z", "status", "lastUpdated")
}

// stranger is an object that has nothing to do with the upgrade.
func stranger(kind, namespace, name string) *object {
	o := &object{Object: map[string]any{
		"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": namespace, "uid": "stranger-" + name,
			"labels": map[string]any{"cluster.x-k8s.io/cluster-name": "other", "cluster.x-k8s.io/deployment-name": awsPool}},
		"spec":   map[string]any{"clusterName": "other", "replicas": int64(7)},
		"status": map[string]any{"replicas": int64(7)},
	}}
	return o
}

// TestCompileSameBytes: the plan depends on nothing but the spec and what
// counts in the cluster.
func TestCompileSameBytes(t *testing.T) {
	t.Parallel()
	for form, w := range worlds() {
		up := upgrade(t, everything)
		want := compile(t, w, up)
		for name, l := range map[string]lens{
			"again":           {},
			"another order":   {reverse: true},
			"noise on it all": {change: noise},
			"unrelated objects": {extra: []*object{
				stranger("Machine", "default", "m"), stranger("MachineSet", "default", "s"),
				stranger("MachineDeployment", "default", "aws-example-md-2"), stranger("MachineSet", "elsewhere", awsPool)}},
		} {
			t.Run(form+"/"+name, func(t *testing.T) {
				l.Reader = w.Open(nil)
				got := through(t, l, up)
				sameBytes(t, "the plan", encode(t, want), encode(t, got))
				if got.Digest != want.Digest {
					t.Error("the digests differ")
				}
			})
		}
	}
}

// TestCompileSameDigest: what a reader may not see, and what moves all the
// time, may change the findings and never what is signed.
func TestCompileSameDigest(t *testing.T) {
	t.Parallel()
	for form, w := range worlds() {
		up := upgrade(t, everything)
		want := compile(t, w, up).Digest
		for name, l := range map[string]lens{
			"no right to optional kinds": {deny: func(plan.Selector) bool { return true }},
			"no right to one of them":    {deny: func(s plan.Selector) bool { return s.Kind == "AWSMachine" }},
			"scaled": {change: func(o *object) {
				if o.GetKind() == "MachineDeployment" {
					put(o, int64(11), "spec", "replicas")
					o.SetGeneration(o.GetGeneration() + 1)
				}
			}},
			"autoscaled": {change: func(o *object) {
				if o.GetKind() == "MachineDeployment" {
					put(o, "9", "metadata", "annotations", capi.AutoscalerMaxAnnotation)
				}
			}},
			"machines come and go": {change: func(o *object) {
				if o.GetKind() == "Machine" {
					put(o, "Deleting", "status", "phase")
					put(o, "2026-01-02T03:04:05Z", "metadata", "deletionTimestamp")
				}
			}},
		} {
			t.Run(form+"/"+name, func(t *testing.T) {
				l.Reader = w.Open(nil)
				if got := through(t, l, up).Digest; got != want {
					t.Errorf("the digest is %s, want %s", got, want)
				}
			})
		}
	}
}

// TestDigestDepends is the other side: what counts moves the digest.
func TestDigestDepends(t *testing.T) {
	t.Parallel()
	up := upgrade(t, everything)
	want := compile(t, clustertest.AWSExample(), up).Digest
	for name, change := range map[string]func(*clustertest.World, *schema.Upgrade){
		"name of the upgrade": func(_ *clustertest.World, up *schema.Upgrade) { up.Metadata.Name = "other" },
		"how to wait":         func(_ *clustertest.World, up *schema.Upgrade) { up.Spec.Pools[0].Wait.StallAfter *= 2 },
		"a secret of the spec": func(_ *clustertest.World, up *schema.Upgrade) {
			up.Spec.Pools[0].Bootstrap = map[string]any{"content": "x"}
		},
		"run mark": func(w *clustertest.World, _ *schema.Upgrade) {
			edit(awsRef, "before", "metadata", "annotations", plan.RunAnnotation)(w)
		},
		"the source template": func(w *clustertest.World, _ *schema.Upgrade) {
			edit(awsTemplateRef, "gp2", "spec", "template", "spec", "rootVolume", "type")(w)
		},
		"the control plane": func(w *clustertest.World, _ *schema.Upgrade) {
			edit(controlPlaneRef, "v1.35.3", "spec", "version")(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, changed := clustertest.AWSExample(), upgrade(t, everything)
			change(w, &changed)
			if compile(t, w, changed).Digest == want {
				t.Error("the digest stays")
			}
		})
	}
}

// changesOf gives all changes of a plan by the object that they are made on.
func changesOf(p plan.Plan) map[plan.Ref][]plan.Change {
	out := map[plan.Ref][]plan.Change{}
	for _, s := range p.Steps {
		switch {
		case s.Create != nil:
			out[s.Create.Ref] = append(out[s.Create.Ref], s.Create.Changes...)
		case s.Patch != nil:
			out[s.Patch.Target] = append(out[s.Patch.Target], s.Patch.Changes...)
		}
	}
	return out
}

func valueAt(tree any, p plan.Pointer) any {
	for _, token := range p.Tokens() {
		switch node := tree.(type) {
		case map[string]any:
			tree = node[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i >= len(node) {
				return nil
			}
			tree = node[i]
		default:
			return nil
		}
	}
	return tree
}

// TestChanges: one writer for a field, every old value is the cluster's, no
// replicas, and no fact about a field that the patch itself writes.
func TestChanges(t *testing.T) {
	t.Parallel()
	for form, w := range worlds() {
		for _, order := range []string{"sequential", "parallel"} {
			t.Run(form+"/"+order, func(t *testing.T) {
				up := upgrade(t, "order: "+order+everything)
				snap := observe(t, w, up)
				p := compile(t, w, up)
				writes := changesOf(p)
				if len(writes) != 5 {
					t.Fatalf("%d objects are written, want two MachineDeployments and three templates", len(writes))
				}
				for ref, changes := range writes {
					for i, c := range changes {
						if replicas := plan.Pointer("/spec/replicas"); c.Path.Within(replicas) || replicas.Within(c.Path) {
							t.Errorf("%s: %s is written", ref, c.Path)
						}
						for _, other := range changes[i+1:] {
							if c.Path.Within(other.Path) || other.Path.Within(c.Path) {
								t.Errorf("%s: %s and %s are both written", ref, c.Path, other.Path)
							}
						}
					}
				}
				for _, s := range p.Steps {
					var of plan.Ref
					var changes []plan.Change
					switch {
					case s.Create != nil:
						of, changes = s.Create.BasedOn.Ref, s.Create.Changes
					case s.Patch != nil:
						of, changes = s.Patch.Target, s.Patch.Changes
					}
					for _, c := range changes {
						live, _ := snap.Object(of)
						if d := cmp.Diff(raw(valueAt(live.Object, c.Path)), string(c.Before)); d != "" {
							t.Errorf("%s %s (-snapshot +before):\n%s", s.ID, c.Path, d)
						}
						for _, f := range s.Facts {
							if f.Object == of && (f.Path.Within(c.Path) || c.Path.Within(f.Path)) {
								t.Errorf("%s relies on %s, which it writes", s.ID, f.Path)
							}
						}
					}
				}
			})
		}
	}
}

// raw gives a value as canonical JSON, "" for none.
func raw(v any) string {
	if v == nil {
		return ""
	}
	return string(canonical(v))
}

// TestCompileBetweenSteps: whoever compiles again while a run is under way
// gets the plan of that run, then the wait alone, then nothing.
func TestCompileBetweenSteps(t *testing.T) {
	t.Parallel()
	for form, w := range worlds() {
		t.Run(form, func(t *testing.T) {
			up := onePool(t, `kubernetesVersion: v1.35.2, machineImage: ami-new, bootstrap: {preKubeadmCommands: [echo]}`)
			p := compile(t, w, up)
			for _, s := range p.Steps {
				if s.Create != nil || s.Preflight != nil {
					carry(t, w, up, s)
					if got := compile(t, w, up); got.Digest != p.Digest {
						t.Errorf("after %s the digest is %s, want %s", s.ID, got.Digest, p.Digest)
					}
				}
			}
			carry(t, w, up, step(t, p, awsPool+"/patch"))
			if d := cmp.Diff([]string{"preflight", awsPool + "/wait"}, stepsOf(compile(t, w, up))); d != "" {
				t.Errorf("after the patch (-want +got):\n%s", d)
			}
			w.Settle()
			if got := compile(t, w, up); !got.IsEmpty() {
				t.Errorf("in the end: %q", stepsOf(got))
			}
		})
	}
}

func TestNamesDoNotGrow(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.2"))
	seen := map[string]bool{}
	for i := range 50 {
		up := onePool(t, fmt.Sprintf("instanceType: m5.%dxlarge, bootstrap: {preKubeadmCommands: [echo %d]}", i+2, i))
		p := compile(t, w, up)
		for _, s := range p.Steps {
			if s.Create != nil {
				name := s.Create.Ref.Name
				if len(name) != len(awsPool)+9 || !strings.HasPrefix(name, awsPool+"-") || seen[name] {
					t.Fatalf("upgrade %d makes %s", i, s.Create.Ref)
				}
				seen[name] = true
			}
			if s.Wait == nil {
				carry(t, w, up, s)
			}
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d templates were made", len(seen))
	}
	w.Settle()
	if p := compile(t, w, onePool(t, "instanceType: m5.51xlarge")); !p.IsEmpty() {
		t.Errorf("in the end: %q", stepsOf(p))
	}
}

// TestForthAndBack: identical content has one name and is made once, and each
// run has a mark of its own.
func TestForthAndBack(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.2"))
	forth := onePool(t, "instanceType: m5.xlarge, bootstrap: {preKubeadmCommands: [echo]}")
	back := onePool(t, "instanceType: m5.large, bootstrap: {preKubeadmCommands: null}")
	templates := map[string][]string{}
	marks := map[string]bool{}
	for round := range 3 {
		for way, up := range []schema.Upgrade{forth, back} {
			p := compile(t, w, up)
			var names []string
			for _, s := range p.Steps {
				switch {
				case s.Create != nil:
					names = append(names, s.Create.Ref.Kind+" "+s.Create.Ref.Name)
					if got := assess(t, w, s).Verdict; (got == plan.Satisfied) != (round > 0) {
						t.Errorf("round %d: %s is %s", round, s.ID, got)
					}
				case s.Patch != nil:
					if marks[s.Patch.Run.After] {
						t.Errorf("round %d: the mark %s was there before", round, s.Patch.Run.After)
					}
					marks[s.Patch.Run.After] = true
				}
			}
			carryOut(t, w, up, p)
			key := strconv.Itoa(way)
			if round > 0 {
				if d := cmp.Diff(templates[key], names); d != "" {
					t.Errorf("round %d (-before +now):\n%s", round, d)
				}
			}
			templates[key] = names
		}
	}
	if len(marks) != 6 {
		t.Errorf("%d marks for 6 runs", len(marks))
	}
	if got := w.Get(awsRef).GetAnnotations()[plan.RunAnnotation]; !marks[got] {
		t.Errorf("the pool bears the mark %q", got)
	}
}

func TestNameTaken(t *testing.T) {
	t.Parallel()
	up := onePool(t, "bootstrap: {preKubeadmCommands: [echo]}")
	const create = awsPool + "/create-bootstrap-template"
	world := func() *clustertest.World {
		return clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.2"))
	}
	free := step(t, compile(t, world(), up), create).Create.Ref
	foreign := func(name string) func(*clustertest.World) {
		return func(w *clustertest.World) {
			o := w.Get(awsBootstrapRef)
			o.SetName(name)
			put(o, nil, "metadata", "uid")
			w.Put(o)
		}
	}
	carried := func(w *clustertest.World) { carry(t, w, up, step(t, compile(t, w, up), create)) }
	commands := func(value any) func(*clustertest.World) {
		return edit(free, value, "spec", "template", "spec", "preKubeadmCommands")
	}
	tests := []struct {
		name  string
		edits []func(*clustertest.World)
		want  string
	}{
		{"free", nil, ""},
		{"ours", []func(*clustertest.World){carried}, ""},
		{"someone else's", []func(*clustertest.World){foreign(free.Name)}, "-2"},
		{"two of someone else's", []func(*clustertest.World){foreign(free.Name), foreign(free.Name + "-2")}, "-3"},
		{"ours, edited since", []func(*clustertest.World){carried, commands([]any{"rm"})}, "-2"},
		{"ours, edited and mended", []func(*clustertest.World){carried, commands([]any{"rm"}), commands([]any{"echo"})}, ""},
		{"ours, defaulted by a controller", []func(*clustertest.World){carried, edit(free, "x", "metadata", "annotations", "example.com/x")}, ""},
		{"ours, going away", []func(*clustertest.World){carried, edit(free, "2026-01-01T00:00:00Z", "metadata", "deletionTimestamp")}, "-2"},
		{"marked as another's", []func(*clustertest.World){carried, edit(free, "sha256:0", "metadata", "annotations", plan.ContentAnnotation)}, "-2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := world()
			for _, e := range test.edits {
				e(w)
			}
			p := compile(t, w, up)
			if got := step(t, p, create).Create.Ref.Name; got != free.Name+test.want {
				t.Errorf("the new template is %s, want %s", got, free.Name+test.want)
			}
			if got := step(t, p, awsPool+"/wait").Wait.BootstrapTemplate; got != free.Name+test.want {
				t.Errorf("the wait is for %s", got)
			}
			warned := slices.ContainsFunc(p.Findings, func(f plan.Finding) bool {
				return f.Code == plan.CheckTemplates && f.Severity == plan.Warn && strings.Contains(f.Message, "other content")
			})
			if warned != (test.want != "") {
				t.Errorf("warned: %t, in %+v", warned, p.Findings)
			}
			carryOut(t, w, up, p)
		})
	}
}

// TestSnapshotStaysAsItWas: what is made of the objects of a snapshot shares what it
// does not change with them, and changes nothing in them.
func TestSnapshotStaysAsItWas(t *testing.T) {
	t.Parallel()
	held := secretWorld()
	held.Edit(plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: "default", Name: awsPool}, func(o *object) {
		put(o, int64(315360000), "spec", "template", "spec", "minReadySeconds")
		put(o, `{"minReadySeconds":{"held":315360000,"was":0}}`, "metadata", "annotations", plan.HoldAnnotation)
	})
	all := worlds()
	all["held, with secrets"] = held
	for name, w := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := upgrade(t, strings.Replace(everything, "strategy:", "canary: {machines: 1}\n  onStall: pause\n  strategy:", 1))
			snap, err := apply.Observe(t.Context(), w.Open(nil), up)
			if err != nil {
				t.Fatal(err)
			}
			was := map[plan.Ref]*object{}
			for _, o := range snap.Objects() {
				was[capi.RefOf(o)] = o.DeepCopy()
			}
			p, err := plan.Compile(up, snap)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Previews(snap); err != nil {
				t.Fatal(err)
			}
			if _, err := plan.Abandon(up, snap); err != nil {
				t.Fatal(err)
			}
			creates := 0
			for i, s := range p.Steps {
				p.Assess(i, snap)
				switch {
				case s.Create != nil:
					creates++
					_, err = s.Create.Body(snap, plan.SecretsOf(up, snap))
				case s.Patch != nil:
					_, err = p.DryRunPatch(i, snap)
				}
				if err != nil {
					t.Error(err)
				}
			}
			if creates != 3 {
				t.Errorf("%d creates, and three templates are changed", creates)
			}
			snap.Sealed(clusterRef)
			for ref, o := range was {
				if now, _ := snap.Object(ref); !cmp.Equal(o, now) {
					t.Errorf("%s is not as it was (-before +after):\n%s", ref, cmp.Diff(o, now))
				}
			}
		})
	}
}

// TestDigestIsOfTheWhole: a digest that is made step by step is that of all steps.
func TestDigestIsOfTheWhole(t *testing.T) {
	t.Parallel()
	p := compile(t, clustertest.AWSExample(), upgrade(t, everything))
	for n := range len(p.Steps) + 1 {
		part := p
		part.Steps = p.Steps[:n]
		whole := sha256.Sum256(canonical(struct {
			APIVersion, Kind string
			Upgrade          plan.UpgradeRef
			Steps            []plan.Step
		}{p.APIVersion, p.Kind, p.Upgrade, part.Steps}))
		if got, want := string(part.Sum()), fmt.Sprintf("sha256:%x", whole); got != want {
			t.Errorf("the digest of %d steps is %s, want %s", n, got, want)
		}
	}
	if nothing := (plan.Plan{}); nothing.Sum() == (plan.Plan{Steps: []plan.Step{}}).Sum() {
		t.Error("no steps are null, and have another digest than an empty list")
	}
}
