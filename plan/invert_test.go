package plan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

func observeBack(t testing.TB, w *clustertest.World, p plan.Plan) plan.Snapshot {
	t.Helper()
	snap, err := apply.ObserveInverse(t.Context(), w.Open(nil), p)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func invert(t testing.TB, w *clustertest.World, p plan.Plan) plan.Plan {
	t.Helper()
	back, err := plan.Invert(p, observeBack(t, w, p))
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// begin makes all writes of a plan and waits for nothing.
func begin(t testing.TB, w *clustertest.World, up schema.Upgrade, p plan.Plan) {
	t.Helper()
	for _, s := range p.Steps {
		if s.Wait == nil {
			carry(t, w, up, s)
		}
	}
}

// findingOf gives the finding of a code and a pool, which must be there.
func findingOf(t testing.TB, p plan.Plan, code, pool string) plan.Finding {
	t.Helper()
	for _, f := range p.Findings {
		if f.Code == code && f.Pool == pool {
			return f
		}
	}
	t.Fatalf("nothing is found of %s in %s: %+v", code, pool, p.Findings)
	return plan.Finding{}
}

func machinesOf(w *clustertest.World, pool string) []string {
	var out []string
	for _, m := range w.List(capi.Group, "Machine", "default") {
		if m.GetLabels()["cluster.x-k8s.io/deployment-name"] == pool {
			out = append(out, m.GetName()+" "+capi.StringAt(m, "spec", "version"))
		}
	}
	return out
}

// objects gives each name once, sorted.
func objects(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }

func specOf(w *clustertest.World, ref plan.Ref) any { return w.Get(ref).Object["spec"] }

// TestInvertRoundTrip: forth and back, whatever was changed, gives the
// MachineDeployment of before, and forth again is the same change under another
// mark. So it is when the rollback is itself taken back.
func TestInvertRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 24 {
		form := []string{"v1beta2", "v1beta1"}[i%2]
		// One minor: machines can be made whichever way it goes.
		adjust := []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.0"), clustertest.PoolVersion(devPool, "v1.35.0")}
		if form == "v1beta1" {
			adjust = append(adjust, clustertest.V1Beta1Only())
		}
		w := clustertest.AWSExample(adjust...)
		up := randomUpgrade(t, random)
		refs := []plan.Ref{awsRef, clustertest.MachineDeployment(devPool)}
		original := []any{specOf(w, refs[0]), specOf(w, refs[1])}
		forth := compile(t, w, up)
		if forth.IsEmpty() {
			t.Fatalf("%d: nothing is asked for: %+v", i, up.Spec.Pools)
		}
		if i%3 == 0 {
			begin(t, w, up, forth) // half way
		} else {
			carryOut(t, w, up, forth)
		}
		changed := []any{specOf(w, refs[0]), specOf(w, refs[1])}
		back := invert(t, w, forth)
		if back.Blocked {
			t.Fatalf("%d: blocked: %+v", i, back.Findings)
		}
		// Where something had to come before the rollout, two patches go back in one.
		if d := cmp.Diff(objects(patchedBy(forth)), objects(patchedBy(back))); d != "" {
			t.Errorf("%d: other objects are patched: %s", i, d)
		}
		if again := invert(t, w, forth); again.Digest != back.Digest {
			t.Errorf("%d: the inverse is not the same twice", i)
		}
		if read, err := plan.Read(encode(t, back)); err != nil || read.Upgrade.Rollback != forth.Digest {
			t.Fatalf("%d: the inverse reads back as %+v, %v", i, read.Upgrade, err)
		}
		carryOut(t, w, up, back)
		for n, ref := range refs {
			if d := cmp.Diff(original[n], specOf(w, ref)); d != "" {
				t.Errorf("%d: %s is not as it was (-before +after):\n%s", i, ref, d)
			}
		}
		if done := invert(t, w, forth); !done.IsEmpty() || done.Blocked {
			t.Errorf("%d: after the rollback there is still to do: %q", i, stepsOf(done))
		}
		next := compile(t, w, up)
		if d := cmp.Diff(changesOf(forth), changesOf(next)); d != "" {
			t.Errorf("%d: forth again is another change (-first +again):\n%s", i, d)
		}
		if forth.Digest == next.Digest {
			t.Errorf("%d: forth again has the first digest", i)
		}
		for _, mark := range marksOf(next) {
			if slices.Contains(append(marksOf(forth), marksOf(back)...), mark) {
				t.Errorf("%d: the mark %s is used again", i, mark)
			}
		}
		if i%2 == 0 {
			continue
		}
		w.Settle()
		carryOut(t, w, up, invert(t, w, back))
		for n, ref := range refs {
			if d := cmp.Diff(changed[n], specOf(w, ref)); d != "" {
				t.Errorf("%d: the rollback of the rollback does not go forward (-before +after):\n%s", i, d)
			}
		}
	}
}

func patchedBy(p plan.Plan) []string {
	var out []string
	for _, s := range p.Steps {
		if s.Patch != nil {
			out = append(out, s.Patch.Target.String())
		}
	}
	return out
}

func marksOf(p plan.Plan) []string {
	var out []string
	for _, s := range p.Steps {
		if s.Patch != nil {
			out = append(out, s.Patch.Run.After)
		}
	}
	return out
}

// randomUpgrade changes anything of one pool or of both.
func randomUpgrade(t testing.TB, r *rand.Rand) schema.Upgrade {
	t.Helper()
	options := map[string][]string{
		awsPool: {"kubernetesVersion: v1.35.2", "machineImage: ami-%d", "instanceType: m5.%dxlarge", "infrastructure: {rootVolume: {size: %d}}",
			"bootstrap: {files: [{path: /etc/a, content: secret-%d}]}", `strategy: {maxSurge: 2, maxUnavailable: "10%%"}`, "drain: {nodeDrainTimeout: %dm}"},
		devPool: {"kubernetesVersion: v1.35.1", "bootstrap: {preKubeadmCommands: [echo %d]}", "drain: {nodeDeletionTimeout: %ds}",
			"infrastructure: {backend: {inMemory: {vm: {provisioning: {startupDuration: %ds}}}}}"},
	}
	var pools []string
	for _, pool := range []string{awsPool, devPool} {
		if pool == devPool && r.IntN(3) == 0 {
			continue
		}
		fields := []string{"name: " + pool}
		for _, o := range options[pool] {
			if r.IntN(3) == 0 {
				if strings.Contains(o, "%d") {
					o = fmt.Sprintf(o, 10+r.IntN(80))
				}
				fields = append(fields, strings.ReplaceAll(o, "%%", "%"))
			}
		}
		if len(fields) == 1 {
			fields = append(fields, "kubernetesVersion: v1.35.2")
		}
		pools = append(pools, "{"+strings.Join(fields, ", ")+"}")
	}
	order := []string{"sequential", "parallel"}[r.IntN(2)]
	return upgrade(t, "order: "+order+"\npools: ["+strings.Join(pools, ", ")+"]")
}

const bothPools = `
pools:
- {name: aws-example-md-0, kubernetesVersion: v1.35.2, machineImage: ami-new}
- {name: aws-example-md-1, kubernetesVersion: v1.35.2}
`

// TestInvertStalled: a rollout that got stuck at its first machine is taken
// back though no old machine could be made, since all of them are there.
func TestInvertStalled(t *testing.T) {
	t.Parallel()
	for form, w := range worlds() {
		t.Run(form, func(t *testing.T) {
			up := upgrade(t, bothPools)
			forth := compile(t, w, up)
			before := machinesOf(w, awsPool)
			w.Break(awsRef, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
			for _, s := range forth.Steps {
				if s.Pool == awsPool && s.Wait == nil {
					carry(t, w, up, s)
				}
			}
			w.Settle()
			if n := len(machinesOf(w, awsPool)); n != len(before)+1 {
				t.Fatalf("%d machines", n)
			}
			back := invert(t, w, forth)
			if back.Blocked {
				t.Fatalf("blocked: %+v", back.Findings)
			}
			if d := cmp.Diff([]string{"preflight", awsPool + "/patch", awsPool + "/wait"}, stepsOf(back)); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
			f := findingOf(t, back, plan.CheckVersion, awsPool)
			if f.Severity != plan.Warn {
				t.Errorf("%+v", f)
			}
			mustContain(t, f.Message, "the old 3 machines at v1.34.3 are all still there", "v1.35.2")
			impact := back.Impact[slices.IndexFunc(back.Impact, func(i plan.PoolImpact) bool { return i.Pool == awsPool })]
			if d := cmp.Diff(plan.PoolImpact{Pool: awsPool, Action: plan.InPlace, Peak: 4, Floor: 3,
				Note: "all old machines are still there; 1 machine of the new template deleted"}, impact); d != "" {
				t.Errorf("impact (-want +got):\n%s", d)
			}
			// It relies on the old machines: one less, and it is not done.
			patch := step(t, back, awsPool+"/patch")
			if d := cmp.Diff(marksOf(forth)[:1], []string{patch.Patch.Run.Before}); d != "" {
				t.Errorf("it starts from another run:\n%s", d)
			}
			set := patch.Facts[slices.IndexFunc(patch.Facts, func(f plan.Fact) bool { return f.Object.Kind == "MachineSet" })].Object
			saved := w.Get(set)
			edit(set, int64(2), "spec", "replicas")(w)
			if got := assess(t, w, patch).Verdict; got != plan.Drifted {
				t.Errorf("with an old machine less the patch is %s", got)
			}
			if blocked := invert(t, w, forth); !blocked.Blocked {
				t.Error("with an old machine less it is not blocked")
			}
			w.Put(saved)
			carryOut(t, w, up, back)
			if d := cmp.Diff(before, machinesOf(w, awsPool)); d != "" {
				t.Errorf("not the old machines (-before +after):\n%s", d)
			}
		})
	}
}

// TestInvertNoWayBack: what keeps a pool from going back blocks, with the
// reason and with what is possible instead.
func TestInvertNoWayBack(t *testing.T) {
	t.Parallel()
	const version = "kubernetesVersion: v1.35.2, machineImage: ami-new"
	const patchOnly = "instanceType: m5.4xlarge, bootstrap: {preKubeadmCommands: [echo]}"
	at135 := []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.2")}
	tests := []struct {
		name    string
		adjust  []clustertest.Adjust
		fields  string
		then    func(*clustertest.World)
		code    string
		pool    string
		want    plan.Severity
		says    []string
		forward string // the pool of the upgrade that is offered, as JSON
	}{
		{name: "kubeadm, a minor behind, no old machine left", fields: version, code: plan.CheckVersion, want: plan.Block,
			says:    []string{"no way back to v1.34.3", "of the old machines 0 are left, 3 would have to be made", "v1.35.2", "kubeadm", "go forward"},
			forward: `{"infrastructure":{"ami":{"id":"ami-0123456789abcdef0"}}}`},
		{name: "the same, and the pool skips the check", fields: version, code: plan.CheckVersion, want: plan.Warn,
			then: edit(awsRef, "KubeadmVersionSkew", "metadata", "annotations", capi.SkipPreflightAnnotation), says: []string{"skips"}},
		{name: "the same, and another check is skipped", fields: version, code: plan.CheckVersion, want: plan.Block,
			then: edit(awsRef, "ControlPlaneIsStable", "metadata", "annotations", capi.SkipPreflightAnnotation)},
		{name: "the same, and the old bootstrap template skips it", fields: version, code: plan.CheckVersion, want: plan.Warn,
			then: all(edit(awsBootstrapRef, "All", "metadata", "annotations", capi.SkipPreflightAnnotation), release114)},
		{name: "the same minor", adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.0")}, fields: version, code: plan.CheckVersion, want: plan.Pass},
		{name: "old infrastructure template gone", adjust: at135, fields: patchOnly, code: plan.CheckTemplates, want: plan.Block,
			then:    func(w *clustertest.World) { w.Delete(awsTemplateRef) },
			says:    []string{"AWSMachineTemplate default/" + awsPool, "does not exist any more", "restore it", "go forward"},
			forward: `{"bootstrap":{"preKubeadmCommands":null},"infrastructure":{"instanceType":"m5.large"}}`},
		{name: "old infrastructure template changed", adjust: at135, fields: patchOnly, code: plan.CheckTemplates, want: plan.Block,
			then: edit(awsTemplateRef, "ami-other", "spec", "template", "spec", "ami", "id"), says: []string{"changed since"},
			forward: `{"bootstrap":{"preKubeadmCommands":null},"infrastructure":{"instanceType":"m5.large"}}`},
		{name: "old infrastructure template made anew", adjust: at135, fields: patchOnly, code: plan.CheckTemplates, want: plan.Block,
			then: func(w *clustertest.World) {
				o := w.Get(awsTemplateRef)
				w.Delete(awsTemplateRef)
				put(o, nil, "metadata", "uid")
				w.Put(o)
			}, says: []string{"made anew"}},
		{name: "old bootstrap template changed", adjust: at135, fields: patchOnly, code: plan.CheckTemplates, want: plan.Block,
			then: edit(awsBootstrapRef, []any{"rm"}, "spec", "template", "spec", "preKubeadmCommands"), says: []string{"KubeadmConfigTemplate", "changed since"}},
		{name: "old template gone and the version went up a patch", adjust: []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.0")}, fields: version,
			code: plan.CheckTemplates, want: plan.Block, then: func(w *clustertest.World) { w.Delete(awsTemplateRef) },
			forward: `{"infrastructure":{"ami":{"id":"ami-0123456789abcdef0"}},"kubernetesVersion":"v1.35.0"}`},
		{name: "old bootstrap template gone, which held a secret", adjust: append(slices.Clone(at135), clustertest.AdjustPool(awsPool, func(p *clustertest.ExamplePool) { p.Files = []string{"old-secret"} })),
			fields: "bootstrap: {files: [{path: /etc/a, content: new-secret}]}", code: plan.CheckTemplates, want: plan.Block,
			then: func(w *clustertest.World) { w.Delete(awsBootstrapRef) }, says: []string{"does not exist any more"}},
		{name: "a topology took over", adjust: at135, fields: patchOnly, code: plan.CheckTopology, want: plan.Block,
			then: edit(awsRef, "", "metadata", "labels", capi.TopologyOwnedLabel), says: []string{"topology"}},
		{name: "the cluster is paused", adjust: at135, fields: patchOnly, code: plan.CheckClusterPaused, want: plan.Block,
			then: edit(clusterRef, true, "spec", "paused")},
		{name: "the pool is paused", adjust: at135, fields: patchOnly, code: plan.CheckPaused, want: plan.Block,
			then: edit(awsRef, true, "spec", "paused")},
		{name: "the control plane is on its way", adjust: at135, fields: patchOnly, code: plan.CheckControlPlane, want: plan.Block,
			then: edit(controlPlaneRef, "v1.35.1", "status", "version")},
		{name: "the pool is gone", adjust: at135, fields: patchOnly, code: plan.CheckMachineDeployment, want: plan.Block,
			then: func(w *clustertest.World) { w.Delete(awsRef) }, says: []string{"does not exist any more", "--pool"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := clustertest.AWSExample(test.adjust...)
			up := onePool(t, test.fields)
			forth := compile(t, w, up)
			carryOut(t, w, up, forth)
			if test.then != nil {
				test.then(w)
			}
			back := invert(t, w, forth)
			pool := awsPool
			if test.code == plan.CheckClusterPaused {
				pool = ""
			}
			f := findingOf(t, back, test.code, pool)
			if f.Severity != test.want {
				t.Errorf("%+v, want %s", f, test.want)
			}
			if back.Blocked != (test.want == plan.Block) {
				t.Errorf("blocked: %t, by %+v", back.Blocked, back.Findings)
			}
			mustContain(t, f.Message+"; "+f.Remedy, test.says...)
			offer, ok := plan.Forward(forth, back, observeBack(t, w, forth))
			if !ok || test.forward == "" {
				if test.forward != "" || ok && test.want != plan.Block {
					t.Errorf("offered: %+v", offer)
				}
				return
			}
			if d := cmp.Diff(test.forward, offered(offer.Spec.Pools[0])); d != "" {
				t.Errorf("offered (-want +got):\n%s", d)
			}
			// The offer can be carried out, and gives the old content.
			next := compile(t, w, offer)
			if next.Blocked {
				t.Errorf("the offer is blocked: %+v", next.Findings)
			}
			carryOut(t, w, offer, next)
		})
	}
}

// TestInvertChangedSince: what somebody else made of a pool is not undone.
func TestInvertChangedSince(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		then func(t *testing.T, w *clustertest.World)
		want []string // the fields that differ; none for no error
		warn string
	}{
		{"nothing", func(*testing.T, *clustertest.World) {}, nil, ""},
		{"scaled", func(_ *testing.T, w *clustertest.World) { edit(awsRef, int64(5), "spec", "replicas")(w) }, nil, ""},
		{"annotated", func(_ *testing.T, w *clustertest.World) { edit(awsRef, "y", "metadata", "annotations", "x")(w) }, nil, ""},
		{"version", func(_ *testing.T, w *clustertest.World) {
			edit(awsRef, "v1.35.1", "spec", "template", "spec", "version")(w)
		}, []string{"spec.template.spec.version"}, ""},
		{"two fields", func(_ *testing.T, w *clustertest.World) {
			edit(awsRef, "v1.35.1", "spec", "template", "spec", "version")(w)
			edit(awsRef, "other", "spec", "template", "spec", "infrastructureRef", "name")(w)
		}, []string{"spec.template.spec.infrastructureRef.name", "spec.template.spec.version"}, ""},
		{"a field that the plan kept", func(_ *testing.T, w *clustertest.World) {
			edit(awsRef, "zone-b", "spec", "template", "spec", "failureDomain")(w)
		}, []string{"spec.template.spec.failureDomain"}, ""},
		{"made anew", func(_ *testing.T, w *clustertest.World) {
			o := w.Get(awsRef)
			w.Delete(awsRef)
			put(o, nil, "metadata", "uid")
			w.Put(o)
		}, []string{"metadata.uid"}, ""},
		{"another run, of other fields", func(t *testing.T, w *clustertest.World) {
			up := onePool(t, "drain: {nodeDrainTimeout: 9m}")
			up.Metadata.Name = "another"
			carryOut(t, w, up, compile(t, w, up))
		}, nil, "another run has changed"},
		{"another run, of the same fields", func(t *testing.T, w *clustertest.World) {
			up := onePool(t, "machineImage: ami-newer")
			up.Metadata.Name = "another"
			carryOut(t, w, up, compile(t, w, up))
		}, []string{"spec.template.spec.infrastructureRef.name", `metadata.annotations["nodepool/run"]`}, ""},
		{"the mark is lost", func(_ *testing.T, w *clustertest.World) {
			edit(awsRef, nil, "metadata", "annotations", plan.RunAnnotation)(w)
		}, nil, "another run has changed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
			up := onePool(t, "kubernetesVersion: v1.35.2, machineImage: ami-new")
			forth := compile(t, w, up)
			carryOut(t, w, up, forth)
			test.then(t, w)
			back, err := plan.Invert(forth, observeBack(t, w, forth))
			var changed *plan.ChangedError
			if !errors.As(err, &changed) {
				if err != nil || test.want != nil {
					t.Fatalf("error %v, want one of %q", err, test.want)
				}
				if test.warn != "" {
					mustContain(t, findingOf(t, back, plan.CheckRollout, awsPool).Message, test.warn)
				}
				w.Settle()
				carryOut(t, w, up, back)
				if got := capi.StringAt(w.Get(awsRef), "spec", "template", "spec", "version"); got != "v1.35.0" {
					t.Errorf("it is at %s", got)
				}
				return
			}
			var got []string
			for _, d := range changed.Differences {
				got = append(got, d.Path.Dotted())
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("differences (-want +got):\n%s", d)
			}
			if changed.Plan != forth.Digest {
				t.Errorf("of plan %s", changed.Plan)
			}
		})
	}
}

// TestInvertHalfWay: a run that ended between two pools.
func TestInvertHalfWay(t *testing.T) {
	t.Parallel()
	world := func() *clustertest.World {
		return clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"), clustertest.PoolVersion(devPool, "v1.35.0"))
	}
	up := upgrade(t, bothPools)
	upTo := func(w *clustertest.World, id string) plan.Plan {
		p := compile(t, w, up)
		for _, s := range p.Steps {
			carry(t, w, up, s)
			if s.ID == id {
				return p
			}
		}
		t.Fatalf("no step %s", id)
		return p
	}
	t.Run("before the first patch", func(t *testing.T) {
		w := world()
		p := upTo(w, awsPool+"/create-infrastructure-template")
		if back := invert(t, w, p); !back.IsEmpty() || back.Blocked {
			t.Errorf("%q %+v", stepsOf(back), back.Findings)
		}
	})
	t.Run("between the pools", func(t *testing.T) {
		w := world()
		p := upTo(w, awsPool+"/wait")
		if d := cmp.Diff([]string{"preflight", awsPool + "/patch", awsPool + "/wait"}, stepsOf(invert(t, w, p))); d != "" {
			t.Errorf("steps (-want +got):\n%s", d)
		}
	})
	t.Run("after both, the last goes first", func(t *testing.T) {
		w := world()
		p := upTo(w, devPool+"/wait")
		back := invert(t, w, p)
		if d := cmp.Diff([]string{"preflight", devPool + "/patch", devPool + "/wait", awsPool + "/patch", awsPool + "/wait"}, stepsOf(back)); d != "" {
			t.Errorf("steps (-want +got):\n%s", d)
		}
		// Narrowed to one pool, and the rest after it.
		one, err := p.Select(awsPool)
		if err != nil {
			t.Fatal(err)
		}
		narrow := invert(t, w, one)
		if d := cmp.Diff([]string{"preflight", awsPool + "/patch", awsPool + "/wait"}, stepsOf(narrow)); d != "" {
			t.Errorf("narrowed (-want +got):\n%s", d)
		}
		if narrow.Upgrade.Rollback != p.Digest || narrow.Upgrade.SameTask(back.Upgrade) {
			t.Errorf("%+v", narrow.Upgrade)
		}
		if _, err := plan.Read(encode(t, narrow)); err != nil {
			t.Error(err)
		}
		carryOut(t, w, up, narrow)
		rest := invert(t, w, p)
		if d := cmp.Diff([]string{"preflight", devPool + "/patch", devPool + "/wait"}, stepsOf(rest)); d != "" {
			t.Errorf("the rest (-want +got):\n%s", d)
		}
		if _, err := p.Select("aws-example-md-9"); err == nil {
			t.Error("a pool that is not there is taken")
		}
	})
	t.Run("a pool that the run did not reach and somebody else changed", func(t *testing.T) {
		w := world()
		p := upTo(w, awsPool+"/wait")
		edit(clustertest.MachineDeployment(devPool), "v1.35.1", "spec", "template", "spec", "version")(w)
		back := invert(t, w, p)
		if d := cmp.Diff([]string{"preflight", awsPool + "/patch", awsPool + "/wait"}, stepsOf(back)); d != "" {
			t.Errorf("steps (-want +got):\n%s", d)
		}
		if f := findingOf(t, back, plan.CheckMachineDeployment, devPool); f.Severity != plan.Pass && f.Severity != plan.Warn {
			t.Errorf("%+v", f)
		}
	})
	t.Run("a pool that the run did not reach and that is stuck by itself", func(t *testing.T) {
		w := world()
		dev := clustertest.MachineDeployment(devPool)
		w.Break(dev, clustertest.Fault{NoJoin: true})
		edit(dev, "v1.35.1", "spec", "template", "spec", "version")(w)
		p := upTo(w, awsPool+"/wait")
		if d := cmp.Diff([]string{"preflight", awsPool + "/patch", awsPool + "/wait"}, stepsOf(invert(t, w, p))); d != "" {
			t.Errorf("steps (-want +got):\n%s", d)
		}
	})
	t.Run("rolling back already", func(t *testing.T) {
		w := world()
		p := upTo(w, devPool+"/wait")
		back := invert(t, w, p)
		for _, s := range back.Steps {
			if s.Patch != nil {
				carry(t, w, up, s)
			}
		}
		if d := cmp.Diff([]string{"preflight", devPool + "/wait", awsPool + "/wait"}, stepsOf(invert(t, w, p))); d != "" {
			t.Errorf("steps (-want +got):\n%s", d)
		}
		w.Settle()
		if done := invert(t, w, p); !done.IsEmpty() {
			t.Errorf("in the end: %q", stepsOf(done))
		}
	})
}

// TestInvertTwoPatches: a plan that patches a pool twice, as a hold and its
// release do, goes back in one patch from wherever it came to.
func TestInvertTwoPatches(t *testing.T) {
	t.Parallel()
	for _, came := range []int{0, 1, 2} {
		t.Run(fmt.Sprintf("after %d patches", came), func(t *testing.T) {
			w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
			original := specOf(w, awsRef)
			up := onePool(t, "kubernetesVersion: v1.35.2, machineImage: ami-new, strategy: {maxSurge: 1}")
			p := compile(t, w, up)
			twice := doubled(t, p)
			for _, s := range twice.Steps {
				if s.Patch != nil && came == 0 {
					break
				}
				if s.Patch != nil {
					came--
				}
				carry(t, w, up, s)
			}
			back := invert(t, w, twice)
			if test := t.Name(); strings.Contains(test, "0") {
				if !back.IsEmpty() {
					t.Errorf("%q", stepsOf(back))
				}
				return
			}
			if d := cmp.Diff([]string{"preflight", awsPool + "/patch", awsPool + "/wait"}, stepsOf(back)); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
			carryOut(t, w, up, back)
			if d := cmp.Diff(original, specOf(w, awsRef)); d != "" {
				t.Errorf("not as it was (-before +after):\n%s", d)
			}
		})
	}
}

// doubled gives p with a hold in its patch, and a second patch that releases
// it: an added object in the first, of which the second changes a field.
func doubled(t *testing.T, p plan.Plan) plan.Plan {
	t.Helper()
	p.Steps = slices.Clone(p.Steps)
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Patch != nil })
	hold := *p.Steps[i].Patch
	const at = "/spec/template/spec/deletion"
	hold.Changes = append(slices.Clone(hold.Changes), plan.Change{Path: at, After: json.RawMessage(`{"nodeDrainTimeoutSeconds":5,"nodeDeletionTimeoutSeconds":7}`)})
	p.Steps[i].Patch = &hold
	release := p.Steps[i]
	release.ID = awsPool + "/release"
	release.Facts = nil
	release.Patch = &plan.Patch{Target: hold.Target, Cluster: hold.Cluster, APIVersion: hold.APIVersion, UID: hold.UID,
		Run: plan.Run{Before: hold.Run.After, After: "released"},
		Changes: []plan.Change{{Path: at + "/nodeDrainTimeoutSeconds", Before: json.RawMessage("5"), After: json.RawMessage("6")},
			{Path: at + "/nodeDeletionTimeoutSeconds", Before: json.RawMessage("7")}}}
	p.Steps = slices.Insert(p.Steps, i+1, release)
	p.Digest = p.Sum()
	return p
}

// TestInvertEditedSince: a rollback is not taken back by a template of nodepool
// that somebody has edited.
func TestInvertEditedSince(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	up := onePool(t, "bootstrap: {preKubeadmCommands: [echo]}")
	forth := compile(t, w, up)
	carryOut(t, w, up, forth)
	back := invert(t, w, forth)
	carryOut(t, w, up, back)
	if again := invert(t, w, back); again.Blocked {
		t.Errorf("blocked: %+v", again.Findings)
	}
	edit(step(t, forth, awsPool+"/create-bootstrap-template").Create.Ref, []any{"rm"}, "spec", "template", "spec", "preKubeadmCommands")(w)
	again := invert(t, w, back)
	if f := findingOf(t, again, plan.CheckTemplates, awsPool); f.Severity != plan.Block || !strings.Contains(f.Message, "edited after nodepool made it") {
		t.Errorf("%+v", f)
	}
}

// handmade gives p with one more change in its patch, and the world as if that
// had been made.
func handmade(t *testing.T, p plan.Plan, c plan.Change) plan.Plan {
	t.Helper()
	p.Steps = slices.Clone(p.Steps)
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Patch != nil })
	patch := *p.Steps[i].Patch
	patch.Changes = append(slices.Clone(patch.Changes), c)
	p.Steps[i].Patch = &patch
	p.Digest = p.Sum()
	return p
}

// TestInvertUnpauses: a pause that the plan itself set is taken back with the
// rest, and stands in the way of nothing.
func TestInvertUnpauses(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	original := specOf(w, awsRef)
	up := onePool(t, "kubernetesVersion: v1.35.2, machineImage: ami-new")
	p := handmade(t, compile(t, w, up), plan.Change{Path: "/spec/paused", After: json.RawMessage("true")})
	begin(t, w, up, p)
	back := invert(t, w, p)
	if back.Blocked {
		t.Fatalf("blocked: %+v", back.Findings)
	}
	carryOut(t, w, up, back)
	if d := cmp.Diff(original, specOf(w, awsRef)); d != "" {
		t.Errorf("not as it was (-before +after):\n%s", d)
	}
}

// TestInvertIsNoDowngrade: a rollback goes back on purpose, and is not warned of
// the older version as an upgrade is.
func TestInvertIsNoDowngrade(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	up := onePool(t, toBoth)
	forth := compile(t, w, up)
	carryOut(t, w, up, forth)
	finding(t, invert(t, w, forth), plan.CheckVersion, plan.Pass)
	finding(t, compile(t, w, onePool(t, "kubernetesVersion: v1.35.0")), plan.CheckVersion, plan.Warn)
}

// TestInvertSecret: a value of before that is known by its hash alone cannot
// be written.
func TestInvertSecret(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	at := []string{"spec", "template", "metadata", "annotations", "password"}
	edit(awsRef, "hidden", at...)(w)
	up := onePool(t, "kubernetesVersion: v1.35.2, machineImage: ami-new")
	sealed, _ := observe(t, w, up).Sealed(clusterRef).Object(awsRef)
	pointer := plan.PointerTo(at...)
	p := handmade(t, compile(t, w, up), plan.Change{Path: pointer, Before: canonical(valueAt(sealed.Object, pointer)), After: json.RawMessage(`"seen"`)})
	edit(awsRef, "seen", at...)(w)
	for _, s := range p.Steps {
		if s.Patch != nil { // as if it had been sent
			for _, c := range s.Patch.Changes {
				var after any
				if err := json.Unmarshal(c.After, &after); err != nil {
					t.Fatal(err)
				}
				if c.Path != pointer {
					edit(awsRef, after, c.Path.Tokens()...)(w)
				}
			}
			edit(awsRef, s.Patch.Run.After, "metadata", "annotations", plan.RunAnnotation)(w)
		}
	}
	// What stands there now would be sealed too.
	p.Steps[slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Patch != nil })].Patch.Changes[2].After =
		canonical(valueAt(func() any { o, _ := observe(t, w, up).Sealed(clusterRef).Object(awsRef); return o.Object }(), pointer))
	back := invert(t, w, p)
	found := slices.ContainsFunc(back.Findings, func(f plan.Finding) bool {
		return f.Severity == plan.Block && f.Code == plan.CheckRollbackValue && f.Remedy != "" &&
			strings.Contains(f.Message, "spec.template.metadata.annotations.password of MachineDeployment default/aws-example-md-0 was a secret")
	})
	if !back.Blocked || !found {
		t.Errorf("not blocked: %+v", back.Findings)
	}
	if strings.Contains(string(encode(t, back)), "hidden") {
		t.Error("the secret is told")
	}
}

// TestRecheck: what stands in the way of a saved inverse is asked again, and
// the plan stays what it was.
func TestRecheck(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	up := onePool(t, "kubernetesVersion: v1.35.2, machineImage: ami-new")
	forth := compile(t, w, up)
	carryOut(t, w, up, forth)
	saved := invert(t, w, forth)
	recheck := func() plan.Plan {
		t.Helper()
		snap, err := apply.ObserveRecheck(t.Context(), w.Open(nil), saved)
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Recheck(saved, snap)
		if err != nil {
			t.Fatal(err)
		}
		if p.Digest != saved.Digest || p.Sum() != saved.Digest {
			t.Error("the digest moved")
		}
		return p
	}
	if p := recheck(); p.Blocked || len(p.Impact) != 1 || p.Impact[0].Machines != 3 {
		t.Errorf("%+v %+v", p.Impact, p.Findings)
	}
	edit(clusterRef, true, "spec", "paused")(w)
	if p := recheck(); !p.Blocked {
		t.Error("a paused cluster does not block")
	}
	edit(clusterRef, nil, "spec", "paused")(w)
	edit(controlPlaneRef, "v1.36.0", "spec", "version")(w)
	edit(controlPlaneRef, "v1.36.0", "status", "version")(w)
	if f := findingOf(t, recheck(), plan.CheckVersion, awsPool); f.Severity != plan.Block {
		t.Errorf("%+v", f)
	}
	edit(controlPlaneRef, "v1.35.2", "spec", "version")(w)
	edit(controlPlaneRef, "v1.35.2", "status", "version")(w)
	carryOut(t, w, up, saved)
	if p := recheck(); p.Blocked {
		t.Errorf("done, and blocked by %+v", p.Findings)
	}
}

// offered gives what an upgrade asks of a pool, as JSON.
func offered(p schema.Pool) string {
	out := map[string]any{}
	if p.KubernetesVersion != "" {
		out["kubernetesVersion"] = p.KubernetesVersion
	}
	if p.Infrastructure != nil {
		out["infrastructure"] = p.Infrastructure
	}
	if p.Bootstrap != nil {
		out["bootstrap"] = p.Bootstrap
	}
	return string(canonical(out))
}

func TestInvertIncomplete(t *testing.T) {
	t.Parallel()
	p := compile(t, clustertest.AWSExample(), upgrade(t, bothPools))
	if _, err := plan.Invert(p, plan.Snapshot{}); !errors.Is(err, plan.ErrIncomplete) {
		t.Errorf("error %v", err)
	}
	if _, err := plan.Recheck(p, plan.Snapshot{}); !errors.Is(err, plan.ErrIncomplete) {
		t.Errorf("error %v", err)
	}
}
