package plan_test

import (
	"fmt"
	"maps"
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

var awsExample = schema.ClusterRef{Name: "aws-example", Namespace: "default"}

// rolled is a world in which pools were upgraded several times: each upgrade
// left a template.
type rolled struct {
	*clustertest.World
	runs []plan.PastRun // oldest first
	// made are the templates, oldest first.
	made []plan.Ref
}

// upgraded takes a pool to each of the images in turn, with a file in its
// bootstrap template of the same name when both is set.
func (r *rolled) upgraded(t testing.TB, pool string, both bool, images ...string) {
	t.Helper()
	for _, image := range images {
		fields := "machineImage: " + image
		if both {
			fields += ", bootstrap: {preKubeadmCommands: [echo " + image + "]}"
		}
		up := upgrade(t, "pools: [{name: "+pool+", "+fields+"}]")
		p := compile(t, r.World, up)
		carryOut(t, r.World, up, p)
		r.runs = append(r.runs, plan.PastRun{Name: fmt.Sprintf("to-1-35/%d", len(r.runs)+1), Plan: p})
		for _, s := range p.Steps {
			if s.Create != nil {
				r.made = append(r.made, s.Create.Ref)
			}
		}
	}
}

func newRolled(t testing.TB, both bool, images ...string) *rolled {
	t.Helper()
	r := &rolled{World: clustertest.AWSExample(clustertest.ControlPlaneVersion("v1.34.3"),
		clustertest.AdjustPool(awsPool, func(p *clustertest.ExamplePool) { p.Replicas = 1 }),
		clustertest.AdjustPool(devPool, func(p *clustertest.ExamplePool) {
			p.Replicas, p.Template = 1, "AWSMachineTemplate"
		}))}
	r.upgraded(t, awsPool, both, images...)
	return r
}

func (r *rolled) prune(t testing.TB, o plan.PruneOptions, runs ...plan.PastRun) plan.Plan {
	t.Helper()
	snap := r.look(t, o, runs)
	p, err := plan.Prune(awsExample, o, snap, runs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (r *rolled) look(t testing.TB, o plan.PruneOptions, runs []plan.PastRun) plan.Snapshot {
	t.Helper()
	var snap plan.Snapshot
	for range 5 {
		needs := plan.PruneNeeds(awsExample, o, snap, runs)
		if len(needs) == 0 {
			return snap
		}
		for _, sel := range needs {
			if sel.Optional && sel != (plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "Cluster"}, Optional: true}) {
				t.Errorf("%v is optional: without it a use may be overlooked", sel)
			}
		}
		got, err := r.Open(nil).Fetch(t.Context(), needs)
		if err != nil {
			t.Fatal(err)
		}
		snap = snap.Merge(got)
	}
	t.Fatal("looking never ends")
	return snap
}

func deleted(p plan.Plan) []plan.Ref {
	out := []plan.Ref{}
	for _, s := range p.Steps {
		out = append(out, s.Delete.Ref)
	}
	return out
}

// why gives what the plan says of a template.
func why(p plan.Plan, template plan.Ref) string {
	for _, f := range p.Findings {
		if f.Object == template && (f.Code == plan.CheckKept || f.Code == plan.CheckUnused) {
			return f.Code + ": " + f.Message
		}
	}
	return ""
}

func TestPruneKeeps(t *testing.T) {
	t.Parallel()
	r := newRolled(t, true, "ami-1", "ami-2", "ami-3", "ami-4", "ami-5")
	infra, boot := []plan.Ref{}, []plan.Ref{}
	for _, ref := range r.made {
		if ref.Kind == "AWSMachineTemplate" {
			infra = append(infra, ref)
		} else {
			boot = append(boot, ref)
		}
	}
	ends := func(n int) (out []plan.Ref) { // the n oldest, as a plan orders them: newest first
		a, b := slices.Clone(boot[:n]), slices.Clone(infra[:n])
		slices.Reverse(a)
		slices.Reverse(b)
		return append(append(out, a...), b...)
	}
	unfinished := slices.Clone(r.runs)
	unfinished[1].Unfinished = true // names 1, which it is based on, and 2, which it makes
	for name, test := range map[string]struct {
		o    plan.PruneOptions
		runs []plan.PastRun
		want []plan.Ref
		says string // of the newest unused infrastructure template
	}{
		"the rollback target":      {plan.PruneOptions{}, r.runs, ends(3), "template-kept: the run to-1-35/5 changed the pool from it"},
		"the newest one":           {plan.PruneOptions{Keep: 1}, r.runs, ends(3), "the run to-1-35/5 changed the pool from it"},
		"the newest two":           {plan.PruneOptions{Keep: 2}, r.runs, ends(2), "the run to-1-35/5 changed the pool from it"},
		"all":                      {plan.PruneOptions{Keep: 9}, r.runs, ends(0), "the run to-1-35/5 changed the pool from it"},
		"what is unfinished names": {plan.PruneOptions{}, unfinished, []plan.Ref{boot[2], infra[2]}, "the run to-1-35/5 changed the pool from it"},
		"one at least where the last run is unknown": {plan.PruneOptions{}, nil, ends(3), "one of the newest 1"},
		"what the last known run changed from":       {plan.PruneOptions{}, r.runs[:2], []plan.Ref{boot[2], boot[1], infra[2], infra[1]}, "one of the newest 1"},
		"other pools":                                {plan.PruneOptions{Pools: []string{devPool}}, r.runs, ends(0), ""},
		"this pool":                                  {plan.PruneOptions{Pools: []string{awsPool}}, r.runs, ends(3), "the run to-1-35/5 changed the pool from it"},
	} {
		t.Run(name, func(t *testing.T) {
			p := r.prune(t, test.o, test.runs...)
			if diff := cmp.Diff(append([]plan.Ref{}, test.want...), deleted(p)); diff != "" {
				t.Errorf("deleted (-want +got):\n%s", diff)
			}
			mustContain(t, why(p, infra[3]), test.says)
			if test.says != "" {
				mustContain(t, why(p, infra[4]), "template-kept: ", " objects refer to it, among them MachineDeployment default/"+awsPool+" (spec.template.spec.infrastructureRef)")
			}
			for _, ref := range deleted(p) {
				mustContain(t, why(p, ref), "template-unused: nothing in namespace default refers to it, looked at: Cluster (1), MachineDeployment (2), MachineSet (2), Machine (3), "+
					"MachinePool (0), ClusterClass (0), KubeadmControlPlane (1), "+strings.TrimSuffix(ref.Kind, "Template")+" (",
					fmt.Sprintf("looked at: runs (%d)", len(test.runs)))
			}
			unknown := slices.ContainsFunc(p.Findings, func(f plan.Finding) bool { return f.Code == plan.CheckRollbackTarget })
			if want := len(test.runs) < len(r.runs); unknown != want {
				t.Errorf("a warning that the rollback target is not known: %v, want %v", unknown, want)
			}
			if p.Sum() != p.Digest {
				t.Error("the digest is not that of the plan")
			}
			if back, err := plan.Read(encode(t, p)); err != nil || back.Digest != p.Digest {
				t.Errorf("it does not read back: %v", err)
			}
			if cluster, o, err := plan.PruneOf(p); err != nil || cluster != awsExample || !cmp.Equal(o, test.o) {
				t.Errorf("it is of %v with %+v, %v", cluster, o, err)
			}
		})
	}
}

// referrer gives an object of the AWS world that holds value at path.
func referrer(group, kind, name string, value any, path ...string) *object {
	o := &object{Object: map[string]any{
		"apiVersion": group + "/v1beta2", "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": "default", "labels": map[string]any{"cluster.x-k8s.io/cluster-name": "another"}},
	}}
	put(o, value, path...)
	return o
}

// uses are all ways to refer to a template, each one alone.
func uses(template plan.Ref) map[string]*object {
	v2 := func() map[string]any {
		return map[string]any{"apiGroup": template.Group, "kind": template.Kind, "name": template.Name}
	}
	v1 := func() map[string]any {
		return map[string]any{"apiVersion": template.Group + "/v1beta2", "kind": template.Kind, "name": template.Name, "namespace": template.Namespace}
	}
	field := "infrastructureRef"
	if template.Group == clustertest.BootstrapGroup {
		field = "bootstrap"
	}
	at := func(ref map[string]any) map[string]any {
		if field == "bootstrap" {
			return map[string]any{"bootstrap": map[string]any{"configRef": ref}}
		}
		return map[string]any{field: ref}
	}
	set := referrer(capi.Group, "MachineSet", "empty", at(v2()), "spec", "template", "spec")
	put(set, int64(0), "spec", "replicas")
	going := referrer(capi.Group, "MachineSet", "going", at(v2()), "spec", "template", "spec")
	put(going, int64(0), "spec", "replicas")
	put(going, "2026-08-01T00:00:00Z", "metadata", "deletionTimestamp")
	goingDeployment := referrer(capi.Group, "MachineDeployment", "going", at(v2()), "spec", "template", "spec")
	put(goingDeployment, "2026-08-01T00:00:00Z", "metadata", "deletionTimestamp")
	clonedKind := strings.TrimSuffix(template.Kind, "Template")
	cloned := referrer(template.Group, clonedKind, "clone", template.Name, "metadata", "annotations", "cluster.x-k8s.io/cloned-from-name")
	bare := cloned.DeepCopy()
	put(cloned, template.Kind+"."+template.Group, "metadata", "annotations", "cluster.x-k8s.io/cloned-from-groupkind")
	ofClass := func(ref map[string]any, path ...string) *object {
		return referrer(capi.Group, "ClusterClass", "class", ref, append([]string{"spec"}, path...)...)
	}
	list := func(name string, item map[string]any, in ...string) *object {
		o := referrer(capi.Group, "ClusterClass", "class", "", "spec", "note")
		item["class"] = "default"
		put(o, map[string]any{name: []any{item}}, append([]string{"spec"}, in...)...)
		return o
	}
	return map[string]*object{
		"MachineDeployment":                          referrer(capi.Group, "MachineDeployment", "md", at(v2()), "spec", "template", "spec"),
		"MachineDeployment being deleted":            goingDeployment,
		"MachineDeployment in the form of v1beta1":   referrer(capi.Group, "MachineDeployment", "md", at(v1()), "spec", "template", "spec"),
		"MachineSet with no replicas":                set,
		"MachineSet being deleted":                   going,
		"Machine":                                    referrer(capi.Group, "Machine", "m", v2(), "spec", "infrastructureRef"),
		"what was cloned":                            cloned,
		"what was cloned and does not say from what": bare,
		"control plane":                              referrer(clustertest.ControlPlaneGroup, "KubeadmControlPlane", "cp", v2(), "spec", "machineTemplate", "spec", "infrastructureRef"),
		"control plane in the form of v1beta1":       referrer(clustertest.ControlPlaneGroup, "KubeadmControlPlane", "cp", v1(), "spec", "machineTemplate", "infrastructureRef"),
		"MachinePool":                                referrer(capi.Group, "MachinePool", "mp", at(v2()), "spec", "template", "spec"),
		"Cluster":                                    referrer(capi.Group, "Cluster", "another", v2(), "spec", "infrastructureRef"),
		"ClusterClass control plane machines":        ofClass(v1(), "controlPlane", "machineInfrastructure", "templateRef"),
		"ClusterClass control plane of v1beta1":      ofClass(v1(), "controlPlane", "machineInfrastructure", "ref"),
		"ClusterClass infrastructure":                ofClass(v1(), "infrastructure", "templateRef"),
		"ClusterClass workers": list("machineDeployments",
			map[string]any{"infrastructure": map[string]any{"templateRef": v1()}}, "workers"),
		"ClusterClass workers of v1beta1": list("machineDeployments",
			map[string]any{"template": map[string]any{"bootstrap": map[string]any{"ref": v1()}}}, "workers"),
		"ClusterClass machine pools": list("machinePools",
			map[string]any{"bootstrap": map[string]any{"templateRef": v1()}}, "workers"),
	}
}

// Each way to refer to a template, alone, keeps it, and makes a delete that
// was planned before drift.
func TestPruneReferrers(t *testing.T) {
	t.Parallel()
	r := newRolled(t, true, "ami-1", "ami-2", "ami-3")
	before := r.prune(t, plan.PruneOptions{}, r.runs...)
	if diff := cmp.Diff([]plan.Ref{r.made[1], r.made[0]}, deleted(before)); diff != "" {
		t.Fatalf("deleted when nothing refers to them (-want +got):\n%s", diff)
	}
	for _, template := range r.made[:2] {
		planned := before.Steps[slices.Index(deleted(before), template)]
		for name, obj := range uses(template) {
			t.Run(template.Kind+"/"+name, func(t *testing.T) {
				if a := assess(t, r.World, planned); a.Verdict != plan.Pending {
					t.Fatalf("%s without it: %+v", a.Verdict, a.Differences)
				}
				r.Put(obj)
				defer r.Delete(capi.RefOf(obj))
				p := r.prune(t, plan.PruneOptions{}, r.runs...)
				if slices.Contains(deleted(p), template) {
					t.Error("the plan deletes it")
				}
				mustContain(t, why(p, template), "template-kept: "+capi.RefOf(obj).String()+" (", ") refers to it")
				a := assess(t, r.World, planned)
				if a.Verdict != plan.Drifted || len(a.Differences) != 1 || a.Differences[0].Object != capi.RefOf(obj) ||
					a.Differences[0].Path == "" || a.Differences[0].Found != template.Name {
					t.Errorf("%s with %+v", a.Verdict, a.Differences)
				}
			})
		}
	}
}

// What looks like a reference and is to something else keeps nothing.
func TestPruneStrangers(t *testing.T) {
	t.Parallel()
	r := newRolled(t, false, "ami-1", "ami-2", "ami-3")
	r.Serve(clustertest.Kind{Group: "other.example", Kind: "AWSMachineTemplate", Version: "v1beta2"},
		clustertest.Kind{Group: "other.example", Kind: "AWSMachine", Version: "v1beta2"})
	template := r.made[0]
	want := deleted(r.prune(t, plan.PruneOptions{}, r.runs...))
	for name, obj := range map[string]*object{
		"another group": referrer(capi.Group, "MachineDeployment", "md",
			map[string]any{"apiGroup": "other.example", "kind": template.Kind, "name": template.Name}, "spec", "template", "spec", "infrastructureRef"),
		"another kind": referrer(capi.Group, "MachineDeployment", "md",
			map[string]any{"apiGroup": template.Group, "kind": "DevMachineTemplate", "name": template.Name}, "spec", "template", "spec", "infrastructureRef"),
		"a name in a text": referrer(capi.Group, "MachineDeployment", "md", "was "+template.Name, "metadata", "annotations", "example.com/note"),
		"a clone of another kind": func() *object {
			o := referrer(template.Group, "AWSMachine", "clone", template.Name, "metadata", "annotations", "cluster.x-k8s.io/cloned-from-name")
			put(o, "AWSMachineTemplate.other.example", "metadata", "annotations", "cluster.x-k8s.io/cloned-from-groupkind")
			return o
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			r.Put(obj)
			defer r.Delete(capi.RefOf(obj))
			if diff := cmp.Diff(want, deleted(r.prune(t, plan.PruneOptions{}, r.runs...))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Only what nodepool made for this cluster and nobody changed is deleted.
func TestPruneLeavesOthers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*object)
		says   string
	}{
		"made by somebody":           {func(o *object) { o.SetAnnotations(nil) }, ""},
		"with a mark that is none":   {func(o *object) { o.SetAnnotations(map[string]string{plan.ContentAnnotation: "x"}) }, ""},
		"a copy under another name":  {func(o *object) { o.SetName("golden") }, ""},
		"a copy with a longer name":  {func(o *object) { o.SetName(o.GetName() + "-copy") }, ""},
		"of another cluster":         {func(o *object) { put(o, []any{}, "metadata", "ownerReferences") }, ""},
		"edited":                     {func(o *object) { put(o, "ami-x", "spec", "template", "spec", "ami", "id") }, "template-kept: it was edited after nodepool made it"},
		"being deleted":              {func(o *object) { put(o, "2026-08-01T00:00:00Z", "metadata", "deletionTimestamp") }, "template-kept: it is being deleted"},
		"of a name that was taken":   {func(o *object) { o.SetName(o.GetName() + "-2") }, "template-unused: "},
		"labelled by somebody since": {func(o *object) { o.SetLabels(map[string]string{"team": "a"}) }, "template-unused: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRolled(t, false, "ami-1", "ami-2", "ami-3")
			o := r.Get(r.made[0])
			test.change(o)
			if o.GetName() != r.made[0].Name {
				o.SetUID("")
				r.Delete(r.made[0])
			}
			r.Put(o)
			p := r.prune(t, plan.PruneOptions{}, r.runs...)
			want := []plan.Ref{}
			if strings.HasPrefix(test.says, plan.CheckUnused) {
				want = append(want, capi.RefOf(o))
			}
			if diff := cmp.Diff(want, deleted(p)); diff != "" {
				t.Errorf("deleted (-want +got):\n%s", diff)
			}
			if got := why(p, capi.RefOf(o)); !strings.HasPrefix(got, test.says) || test.says == "" && got != "" {
				t.Errorf("it says %q, want %q", got, test.says)
			}
		})
	}
}

func TestPruneTwoPools(t *testing.T) {
	t.Parallel()
	r := newRolled(t, false, "ami-1", "ami-2", "ami-3")
	r.upgraded(t, devPool, false, "ami-1", "ami-2", "ami-3")
	if diff := cmp.Diff([]plan.Ref{r.made[0], r.made[3]}, deleted(r.prune(t, plan.PruneOptions{}, r.runs...))); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	if got := deleted(r.prune(t, plan.PruneOptions{Keep: 2}, r.runs...)); len(got) > 0 {
		t.Errorf("each pool keeps its newest two, and the plan deletes %v", got)
	}
	// The templates of a pool that is gone have no rollback target left.
	for _, kind := range []string{"MachineDeployment", "MachineSet", "Machine"} {
		for _, o := range r.List(capi.Group, kind, "default") {
			if o.GetName() == devPool || o.GetLabels()["cluster.x-k8s.io/deployment-name"] == devPool {
				r.Delete(capi.RefOf(o))
			}
		}
	}
	for _, o := range r.List(clustertest.InfrastructureGroup, "AWSMachine", "default") {
		if strings.HasPrefix(o.GetName(), devPool) {
			r.Delete(capi.RefOf(o))
		}
	}
	got := deleted(r.prune(t, plan.PruneOptions{}))
	want := []plan.Ref{r.made[0], r.made[4], r.made[3]}
	if !slices.Contains(got, r.made[5]) {
		t.Errorf("the last template of a pool that is gone is kept: %v", got)
	}
	for _, ref := range want {
		if !slices.Contains(got, ref) {
			t.Errorf("%s is not deleted: %v", ref, got)
		}
	}
}

func TestPruneWithoutCluster(t *testing.T) {
	t.Parallel()
	r := newRolled(t, false)
	r.Delete(clusterRef)
	p := r.prune(t, plan.PruneOptions{})
	if !p.Blocked || !p.IsEmpty() || p.Findings[0].Code != plan.CheckCluster {
		t.Errorf("blocked %v, %d steps, %+v", p.Blocked, len(p.Steps), p.Findings)
	}
}

// Without an answer to every question nothing is planned.
func TestPruneNeedsAll(t *testing.T) {
	t.Parallel()
	for _, kind := range [][2]string{
		{capi.Group, "Cluster"}, {capi.Group, "MachineDeployment"}, {capi.Group, "MachineSet"}, {capi.Group, "Machine"}, {capi.Group, "MachinePool"},
		{capi.Group, "ClusterClass"}, {clustertest.ControlPlaneGroup, "KubeadmControlPlane"}, {clustertest.InfrastructureGroup, "AWSMachine"},
		{clustertest.InfrastructureGroup, "AWSMachineTemplate"}, {clustertest.BootstrapGroup, "KubeadmConfig"},
	} {
		w := newRolled(t, false, "ami-1", "ami-2")
		w.Forbid("list", kind[0], kind[1])
		if _, _, err := apply.Prune(t.Context(), w.Open(nil), awsExample, plan.PruneOptions{}); err == nil || !strings.Contains(err.Error(), strings.ToLower(kind[1])) {
			t.Errorf("without the right to list %s: %v", kind[1], err)
		}
	}
	if _, err := plan.Prune(awsExample, plan.PruneOptions{}, plan.Snapshot{}, nil); err == nil {
		t.Error("an empty snapshot is enough")
	}
}

func TestDeleteAssess(t *testing.T) {
	t.Parallel()
	r := newRolled(t, false, "ami-1", "ami-2", "ami-3")
	s := r.prune(t, plan.PruneOptions{}, r.runs...).Steps[0]
	was := r.Get(s.Delete.Ref)
	for name, test := range map[string]struct {
		change func(*clustertest.World)
		want   plan.Verdict
		path   string
	}{
		"as it was":     {func(*clustertest.World) {}, plan.Pending, ""},
		"gone":          {func(w *clustertest.World) { w.Delete(s.Delete.Ref) }, plan.Satisfied, ""},
		"being deleted": {edit(s.Delete.Ref, "2026-08-01T00:00:00Z", "metadata", "deletionTimestamp"), plan.Satisfied, ""},
		"annotated":     {edit(s.Delete.Ref, "x", "metadata", "annotations", "example.com/note"), plan.Pending, ""},
		"edited":        {edit(s.Delete.Ref, "ami-x", "spec", "template", "spec", "ami", "id"), plan.Drifted, ""},
		"made anew": {func(w *clustertest.World) {
			o := was.DeepCopy()
			o.SetUID("")
			w.Delete(s.Delete.Ref)
			w.Put(o)
		}, plan.Drifted, "/metadata/uid"},
		"the cluster is gone": {func(w *clustertest.World) { w.Delete(clusterRef) }, plan.Drifted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRolled(t, false, "ami-1", "ami-2", "ami-3")
			test.change(r.World)
			a := assess(t, r.World, s)
			if a.Verdict != test.want {
				t.Errorf("%s, want %s: %+v", a.Verdict, test.want, a.Differences)
			}
			if test.want == plan.Drifted && string(a.Differences[0].Path) != test.path {
				t.Errorf("the difference is at %s, want %s", a.Differences[0].Path, test.path)
			}
		})
	}
}

// TestPruneProperty: whatever refers to what, a template that any object
// refers to is never deleted, and one that nothing needs always is.
func TestPruneProperty(t *testing.T) {
	t.Parallel()
	r := newRolled(t, true, "ami-1", "ami-2", "ami-3", "ami-4")
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		var put []plan.Ref
		used := map[plan.Ref]bool{}
		for _, template := range r.made {
			all := uses(template)
			for _, name := range slices.Sorted(maps.Keys(all)) {
				if random.IntN(40) > 0 {
					continue
				}
				o := all[name]
				o.SetName(fmt.Sprintf("r%d-%d", round, len(put)))
				r.Put(o)
				put = append(put, capi.RefOf(o))
				used[template] = true
			}
		}
		keep := random.IntN(3)
		p := r.prune(t, plan.PruneOptions{Keep: keep}, r.runs...)
		left := map[string]int{}
		for _, template := range r.made {
			gone := slices.Contains(deleted(p), template)
			if gone && used[template] {
				t.Fatalf("round %d: %s is referred to and deleted", round, template)
			}
			if !gone && !used[template] {
				left[template.Kind]++
			}
		}
		for kind, n := range left {
			// The one in use by the pool, the rollback target, and the newest.
			if n > 2+keep {
				t.Errorf("round %d: %d unused %s stay with --keep %d", round, n, kind, keep)
			}
		}
		for _, ref := range put {
			r.Delete(ref)
		}
	}
}
