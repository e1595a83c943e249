package apply_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// The upgrades that race. Each asks for another version and another template,
// so that any mixture of two of them shows.
const (
	upgradeImage = `
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: image}
spec:
  cluster: {name: aws-example}
  pools:
    - name: aws-example-md-0
      kubernetesVersion: v1.35.2
      machineImage: ami-00000000000000002
`
	upgradeSize = `
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: size}
spec:
  cluster: {name: aws-example}
  pools:
    - name: aws-example-md-0
      kubernetesVersion: v1.35.1
      instanceType: m5.xlarge
      bootstrap: {joinConfiguration: {nodeRegistration: {kubeletExtraArgs: [{name: v, value: "4"}]}}}
`
	upgradeVersion = `
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: version}
spec:
  cluster: {name: aws-example}
  pools:
    - name: aws-example-md-0
      kubernetesVersion: v1.35.2
`
)

var racedPool = clustertest.MachineDeployment("aws-example-md-0")

// contender is a process of a race: it carries plans out, one after the other.
type contender struct {
	name, alike string
	do          func(ctx context.Context, r *runner) error
}

// saved carries out a plan that was compiled before the race began.
func saved(upgrade string) func(context.Context, *runner) error {
	return func(ctx context.Context, r *runner) error {
		return r.run(ctx, r.judge.plans[upgrade])
	}
}

// rollback inverts that plan in the midst of the race, as the cluster is then,
// and carries the inverse out.
func rollback(upgrade string) func(context.Context, *runner) error {
	return func(ctx context.Context, r *runner) error {
		patches := r.judge.patches
		c, err := inverted(ctx, r.Cluster, r.judge.plans[upgrade].plan)
		if err != nil {
			return err
		}
		c.patches = patches
		return r.run(ctx, c)
	}
}

// hand is somebody who changes the version without nodepool, and so leaves no
// mark of a run.
const hand = "hand"

func byHand(ctx context.Context, r *runner) error {
	patch := `[{"op": "replace", "path": "/spec/template/spec/version", "value": "v1.35.1"}]`
	_ = r.Cluster.Patch(ctx, racedPool, "cluster.x-k8s.io/v1beta2", []byte(patch), apply.Commit)
	return nil
}

// inTurn carries several out, one after the other.
func inTurn(all ...func(context.Context, *runner) error) func(context.Context, *runner) error {
	return func(ctx context.Context, r *runner) error {
		for i, do := range all {
			if i > 0 {
				r.Forget()
			}
			if err := do(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}
}

// runner is one contender in one interleaving.
type runner struct {
	clustertest.Hand
	judge *judge
}

// run has a journal of its own, as a run on another machine has: what another
// run's journal tells may only stop a run, never let it go on.
func (r *runner) run(ctx context.Context, c compilation) error {
	r.judge.begins(r.Process, c)
	e := &apply.Executor{Cluster: r.Cluster, Journal: &memory{}, Lock: r.Lock, Secrets: c.secrets}
	return e.Run(ctx, c.plan)
}

// compilation is a plan with what it came from.
type compilation struct {
	plan    plan.Plan
	secrets plan.Secrets
	// again compiles anew.
	again   func(context.Context, apply.Reader) (compilation, error)
	patches int // how many of the race had taken effect when it was begun
}

func compiled(ctx context.Context, r apply.Reader, up schema.Upgrade) (compilation, error) {
	snap, err := apply.Observe(ctx, r, up)
	if err != nil {
		return compilation{}, err
	}
	p, err := plan.Compile(up, snap)
	return compilation{plan: p, secrets: plan.SecretsOf(up, snap), again: func(ctx context.Context, r apply.Reader) (compilation, error) {
		return compiled(ctx, r, up)
	}}, err
}

func inverted(ctx context.Context, r apply.Reader, p plan.Plan) (compilation, error) {
	snap, err := apply.ObserveInverse(ctx, r, p)
	if err != nil {
		return compilation{}, err
	}
	back, err := plan.Invert(p, snap)
	if err == nil && back.Blocked {
		err = fmt.Errorf("the rollback is blocked: %+v", back.Findings)
	}
	return compilation{plan: back, again: func(ctx context.Context, r apply.Reader) (compilation, error) {
		return inverted(ctx, r, p)
	}}, err
}

// arena is what all interleavings of a race begin with.
type arena struct {
	world *clustertest.World
	plans map[string]compilation // by upgrade
	// good holds what was found good in the end, with whose patch came last:
	// the same ends come often.
	good map[*clustertest.World]plan.Digest
}

// newArena makes a cluster of one pool with one machine, and compiles the
// upgrades on it.
func newArena(t *testing.T) *arena {
	t.Helper()
	a := &arena{plans: map[string]compilation{}, good: map[*clustertest.World]plan.Digest{}}
	a.world = clustertest.AWSExample(
		func(e *clustertest.Example) { e.Pools = e.Pools[:1] },
		clustertest.PoolVersion(racedPool.Name, "v1.35.0"), // of one minor with the others, so that there is a way back
		clustertest.AdjustPool(racedPool.Name, one))
	for _, text := range []string{upgradeImage, upgradeSize, upgradeVersion} {
		c, err := compiled(t.Context(), a.world.Open(nil), read(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if c.plan.Blocked {
			t.Fatalf("blocked: %+v", c.plan.Findings)
		}
		a.plans[text] = c
	}
	return a
}

// race gives one run of the race.
func (a *arena) race(server func(apply.Cluster) apply.Cluster, contenders []contender) clustertest.Race {
	j := &judge{arena: a, live: a.world.Clone(), runs: map[string]*record{}, created: map[plan.Ref]int{}, marks: map[string]int{}}
	j.pool = j.live.Get(racedPool)
	out := clustertest.Race{World: j.live, Server: server, Made: j.made, Ended: j.ended, Over: j.over}
	for _, c := range contenders {
		out.Programs = append(out.Programs, clustertest.Program{Name: c.name, Alike: c.alike, Run: func(ctx context.Context, hand clustertest.Hand) error {
			return c.do(ctx, &runner{hand, j})
		}})
	}
	return out
}

// judge holds one interleaving to what must be true of all of them.
type judge struct {
	*arena
	live    *clustertest.World
	pool    *unstructured.Unstructured // the MachineDeployment after the last call
	runs    map[string]*record         // by process: its run at hand
	created map[plan.Ref]int
	marks   map[string]int
	winner  *compilation // whose patch took effect last
	patches int          // how many took effect
	// lostLock tells that some run lost its lock, byHand that the pool was
	// changed without nodepool.
	lostLock, byHand bool
}

// record is what is known of one run.
type record struct {
	compilation
	wrote    bool // a write of this run took effect
	unsure   bool // a request or a reply of its writes was lost
	lost     bool // its lock
	overtook bool // another run's patch took effect since the plan was made
}

func (j *judge) begins(process string, c compilation) {
	j.runs[process] = &record{compilation: c, overtook: j.patches > c.patches}
}

// made judges one call.
func (j *judge) made(turn clustertest.Turn) error {
	before := j.pool
	if turn.Changed {
		j.pool = j.live.Get(racedPool)
	}
	run := j.runs[turn.Process]
	if run == nil { // it is compiling, or by hand
		if turn.Changed {
			j.byHand = true
			j.patched(turn)
		}
		return nil
	}
	if turn.Op == clustertest.Create || turn.Op == clustertest.Patch {
		if run.lost {
			return fmt.Errorf("%s goes on writing after it lost the lock", turn.Process)
		}
		run.unsure = run.unsure || turn.Strike == clustertest.LostRequest || turn.Strike == clustertest.LostReply
	}
	if turn.Strike.OfLock() {
		run.lost, j.lostLock = true, true
	}
	switch turn.Op {
	case clustertest.Create:
		if !turn.Arrived || turn.Reply != nil {
			if turn.Changed {
				return fmt.Errorf("a create that was refused changed the world")
			}
			return nil
		}
		run.wrote = true
		if j.created[turn.Ref]++; j.created[turn.Ref] > 1 {
			return fmt.Errorf("%s was created twice", turn.Ref)
		}
		return j.isPlanned(run.compilation, turn.Ref)
	case clustertest.Patch:
		if !turn.Changed {
			return nil
		}
		run.wrote = true
		j.winner = &run.compilation
		j.patched(turn)
		return j.isReviewed(run.plan, turn.Ref, before)
	case clustertest.Fetch, clustertest.Watch, clustertest.Next, clustertest.Delete:
	}
	if turn.Changed {
		return errors.New("a read changed the world")
	}
	return nil
}

func (j *judge) patched(turn clustertest.Turn) {
	j.patches++
	for process, other := range j.runs {
		if process != turn.Process {
			other.overtook = true
		}
	}
}

// isPlanned holds a new template to being exactly what the plan creates.
func (j *judge) isPlanned(c compilation, ref plan.Ref) error {
	for _, s := range c.plan.Steps {
		if s.Create == nil || s.Create.Ref != ref {
			continue
		}
		snap, err := j.world.Open(nil).Fetch(context.Background(), s.Reads())
		if err != nil {
			return err
		}
		want, err := s.Create.Body(snap, c.secrets)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(specOf(want), specOf(j.live.Get(ref))); diff != "" {
			return fmt.Errorf("%s is not as reviewed (-want +got):\n%s", ref, diff)
		}
		return nil
	}
	return fmt.Errorf("%s was created, which the plan does not name", ref)
}

// isReviewed holds a patch that took effect to being the reviewed transition
// of its plan, from all the old values to all the new ones, and to being the
// only one of its mark.
func (j *judge) isReviewed(p plan.Plan, ref plan.Ref, before *unstructured.Unstructured) error {
	for _, s := range p.Steps {
		if s.Patch == nil || s.Patch.Target != ref {
			continue
		}
		if j.marks[s.Patch.Run.After]++; j.marks[s.Patch.Run.After] > 1 {
			return fmt.Errorf("the patch of run %s took effect twice", s.Patch.Run.After)
		}
		for _, f := range s.Facts {
			if found := valueAt(before, f.Path); f.Object == ref && f.Digest == "" && found != string(f.Equals) {
				return fmt.Errorf("%s was patched although %s was %s, and %s was reviewed", ref, f.Path.Dotted(), found, f.Equals)
			}
		}
		want := before.DeepCopy()
		for _, c := range s.Patch.Changes {
			if found := valueAt(before, c.Path); found != string(c.Before) {
				return fmt.Errorf("%s was patched although %s was %s, and %s was reviewed", ref, c.Path.Dotted(), found, c.Before)
			}
			set(want, c)
		}
		annotations := want.GetAnnotations()
		if found := annotations[plan.RunAnnotation]; found != s.Patch.Run.Before {
			return fmt.Errorf("%s was patched although its last run was %q, and %q was reviewed", ref, found, s.Patch.Run.Before)
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[plan.RunAnnotation] = s.Patch.Run.After
		want.SetAnnotations(annotations)
		if diff := cmp.Diff(specOf(want), specOf(j.pool)); diff != "" {
			return fmt.Errorf("%s was not patched as reviewed (-want +got):\n%s", ref, diff)
		}
		return nil
	}
	return fmt.Errorf("%s was patched, which the plan does not name", ref)
}

// ended judges what a process says of its last run.
func (j *judge) ended(end clustertest.End, settled *clustertest.World) error {
	run := j.runs[end.Process]
	if run == nil {
		run = &record{} // it was compiling
	}
	var drift *apply.DriftError
	var changed *plan.ChangedError
	var lost *apply.LockLostError
	left, err := j.left(run, settled)
	if err != nil {
		return err
	}
	switch {
	case end.Err == nil && left != "":
		return fmt.Errorf("%s says that all is well, and %s", end.Process, left)
	case end.Err == nil:
		return nil
	case errors.As(end.Err, &drift):
		switch {
		case left == "":
			return fmt.Errorf("%s says that the cluster is not as reviewed, and all its steps are satisfied: %w", end.Process, end.Err)
		case !run.overtook:
			return fmt.Errorf("%s says that the cluster is not as reviewed, and nobody else changed it: %w", end.Process, end.Err)
		case len(drift.Differences) == 0:
			return fmt.Errorf("%s does not say what drifted: %w", end.Process, end.Err)
		case run.wrote && !drift.Written:
			return fmt.Errorf("%s says that it wrote nothing, and it did: %w", end.Process, end.Err)
		case drift.Written && !run.wrote && !run.unsure:
			return fmt.Errorf("%s says that it wrote, and it did not: %w", end.Process, end.Err)
		}
		return nil
	case errors.As(end.Err, &changed) && len(changed.Differences) > 0 && j.patches > 1:
		return nil
	case errors.As(end.Err, &lost) && run.lost && (lost.Written || !run.wrote):
		return nil
	case errors.Is(end.Err, clustertest.ErrLost) && end.Strike == clustertest.LostReply:
		return nil
	}
	return fmt.Errorf("%s ended with the wrong error: %w", end.Process, end.Err)
}

// left says which step of a run is not satisfied.
func (j *judge) left(run *record, settled *clustertest.World) (string, error) {
	for i, s := range run.plan.Steps {
		snap, err := settled.Open(nil).Fetch(context.Background(), s.Reads())
		if err != nil {
			return "", err
		}
		if a := run.plan.Assess(i, snap); a.Verdict != plan.Satisfied {
			return fmt.Sprintf("its step %s is %s", s.ID, a.Verdict), nil
		}
	}
	return "", nil
}

// over judges what is left when all have ended.
func (j *judge) over(settled *clustertest.World) error {
	switch {
	case j.byHand:
		return nil // what became of that is nobody's plan
	case j.winner == nil && j.lostLock:
		return nil // who took the lock over may have found nothing to do
	case j.winner == nil:
		return errors.New("nobody's patch took effect")
	}
	for _, s := range j.winner.plan.Steps {
		if s.Wait == nil {
			continue
		}
		fields, err := capi.FieldsOf(j.pool)
		if err != nil {
			return err
		}
		got := []string{
			capi.StringAt(j.pool, fields.Version...),
			capi.StringAt(j.pool, append(fields.InfrastructureRef[:len(fields.InfrastructureRef):len(fields.InfrastructureRef)], "name")...),
			capi.StringAt(j.pool, append(fields.BootstrapRef[:len(fields.BootstrapRef):len(fields.BootstrapRef)], "name")...),
		}
		if diff := cmp.Diff([]string{s.Wait.Version, s.Wait.Template, s.Wait.BootstrapTemplate}, got); diff != "" {
			return fmt.Errorf("%s is not the result of one plan (-want +got):\n%s", racedPool, diff)
		}
	}
	if j.good[settled] == j.winner.plan.Digest {
		return nil
	}
	left, err := j.winner.again(context.Background(), settled.Open(nil))
	if err != nil {
		return err
	}
	if !left.plan.IsEmpty() {
		return fmt.Errorf("the next plan of the winner has %d steps, want none", len(left.plan.Steps))
	}
	j.good[settled] = j.winner.plan.Digest
	return nil
}

// valueAt gives the value at a pointer in canonical JSON, empty when it is
// absent.
func valueAt(o *unstructured.Unstructured, at plan.Pointer) string {
	v, ok, _ := unstructured.NestedFieldNoCopy(o.Object, at.Tokens()...)
	if !ok {
		return ""
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// set makes one change.
func set(o *unstructured.Unstructured, c plan.Change) {
	if len(c.After) == 0 {
		unstructured.RemoveNestedField(o.Object, c.Path.Tokens()...)
		return
	}
	var v any
	err := json.Unmarshal(c.After, &v)
	if err == nil {
		err = unstructured.SetNestedField(o.Object, v, c.Path.Tokens()...)
	}
	if err != nil {
		panic(err)
	}
}

// specOf gives of an object what writes are about: no status, no bookkeeping
// of the server.
func specOf(o *unstructured.Unstructured) map[string]any {
	return map[string]any{"name": o.GetName(), "spec": o.Object["spec"], "labels": o.GetLabels(), "annotations": o.GetAnnotations()}
}

// The races.
var (
	sameTwice  = []contender{{"A", "same", saved(upgradeImage)}, {"B", "same", saved(upgradeImage)}}
	twoPlans   = []contender{{"A", "", saved(upgradeImage)}, {"B", "", saved(upgradeSize)}}
	forthOrNot = []contender{{"A", "", saved(upgradeImage)}, {"B", "", rollback(upgradeImage)}}
	// While A is frozen, B can go forth and back.
	frozen = []contender{{"A", "", saved(upgradeImage)}, {"B", "", inTurn(saved(upgradeImage), rollback(upgradeImage))}}
	// The same without a new template, so that there are fewer calls.
	frozenVersion = []contender{{"A", "", saved(upgradeVersion)}, {"B", "", inTurn(saved(upgradeVersion), rollback(upgradeVersion))}}
	versionTwice  = []contender{{"A", "", saved(upgradeVersion)}, {"B", "", saved(upgradeVersion)}}
	aHand         = []contender{{"A", "", saved(upgradeImage)}, {hand, "", byHand}}
)

// TestInterleavings explores the races of two runs for one pool. It says how
// many interleavings it explored: docs/interleavings.md.
func TestInterleavings(t *testing.T) {
	for name, tc := range map[string]struct {
		contenders []contender
		faults     int
		// atLeast is how many interleavings there were when this was written.
		// Fewer means that the executor makes fewer calls, or that something
		// is not explored any more.
		atLeast uint64
	}{
		"the same plan twice":                  {sameTwice, 1, 103226},
		"two plans":                            {twoPlans, 1, 147152},
		"a plan and its rollback":              {forthOrNot, 1, 3528},
		"a plan against forth and back":        {frozen, 0, 26208},
		"a version against forth and back":     {frozenVersion, 1, 96316},
		"a plan and somebody without nodepool": {aHand, 1, 185},
	} {
		run(t, name, func(t *testing.T) {
			how := clustertest.Exploration{Faults: tc.faults}
			if raceDetector {
				// It makes all this ten times as slow, and what it looks for is in
				// any interleaving: a sample. "make unit" has a run without it.
				how.Limit, how.Pick = 60, rand.New(rand.NewPCG(1, 2)).IntN
			}
			a := newArena(t)
			got, err := clustertest.Explore(t.Context(), how, func() clustertest.Race { return a.race(nil, tc.contenders) })
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d interleavings, %d states, %d executions", got.Interleavings, got.States, got.Executions)
			if how.Limit == 0 && got.Interleavings < tc.atLeast {
				t.Errorf("%d interleavings were explored, there were %d", got.Interleavings, tc.atLeast)
			}
		})
	}
}

// TestReductionLosesNothing carries every interleaving of two small races out,
// and finds as many as Explore counts without that.
func TestReductionLosesNothing(t *testing.T) {
	type race struct {
		contenders []contender
		faults     int
	}
	races := map[string]race{"a run, with a fault": {[]contender{{"A", "", saved(upgradeVersion)}, {hand, "", byHand}}, 1}}
	if !raceDetector { // which makes it ten times as slow
		races["two runs"] = race{versionTwice, 0}
	}
	for name, tc := range races {
		run(t, name, func(t *testing.T) {
			a := newArena(t)
			explore := func(whole bool) clustertest.Explored {
				got, err := clustertest.Explore(t.Context(), clustertest.Exploration{Faults: tc.faults, Whole: whole},
					func() clustertest.Race { return a.race(nil, tc.contenders) })
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("whole %t: %+v", whole, got)
				return got
			}
			reduced, whole := explore(false), explore(true)
			if reduced.Interleavings != whole.Interleavings || whole.Interleavings != uint64(whole.Executions) {
				t.Errorf("%d interleavings are counted, and %d were carried out", reduced.Interleavings, whole.Executions)
			}
			if reduced.Executions >= whole.Executions {
				t.Errorf("nothing was reduced: %d executions", reduced.Executions)
			}
		})
	}
}

// TestBrokenServersAreCaught breaks the compare-and-swap of the server, each
// time in another way.
func TestBrokenServersAreCaught(t *testing.T) {
	without := func(drop func(path string) bool) func(apply.Cluster) apply.Cluster {
		return func(c apply.Cluster) apply.Cluster { return lax{c, drop} }
	}
	mark := string(plan.PointerTo("metadata", "annotations", plan.RunAnnotation))
	for name, tc := range map[string]struct {
		server     func(apply.Cluster) apply.Cluster
		contenders []contender
		says       string
	}{
		"no test of a patch": {without(func(string) bool { return true }), twoPlans,
			"was patched although spec.template.spec"},
		"no test of the run": {without(func(path string) bool { return path == mark }), frozen,
			"took effect twice"},
		"no test of the old values": {without(func(path string) bool { return path != mark }), aHand,
			"was patched although spec.template.spec.version was"},
		"a create replaces what is there": {func(c apply.Cluster) apply.Cluster { return replacing{c} }, sameTwice,
			"was created twice"},
	} {
		run(t, name, func(t *testing.T) {
			a := newArena(t)
			got, err := clustertest.Explore(t.Context(), clustertest.Exploration{}, func() clustertest.Race { return a.race(tc.server, tc.contenders) })
			var violation *clustertest.Violation
			if !errors.As(err, &violation) || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("%+v, %v: the broken server was not caught", got, err)
			}
			t.Log(err)
		})
	}
}

// lax is a server that passes over some tests of a patch.
type lax struct {
	apply.Cluster
	drop func(path string) bool
}

func (l lax) Patch(ctx context.Context, target plan.Ref, apiVersion string, patch []byte, mode apply.Mode) error {
	var operations []map[string]any
	if err := json.Unmarshal(patch, &operations); err != nil {
		return err
	}
	operations = slices.DeleteFunc(operations, func(o map[string]any) bool { return o["op"] == "test" && l.drop(o["path"].(string)) })
	patch, err := json.Marshal(operations)
	if err != nil {
		return err
	}
	return l.Cluster.Patch(ctx, target, apiVersion, patch, mode)
}

// replacing is a server that takes no name for taken.
type replacing struct{ apply.Cluster }

func (r replacing) Create(ctx context.Context, obj *unstructured.Unstructured, mode apply.Mode) error {
	ref := capi.RefOf(obj)
	snap, err := r.Fetch(ctx, []plan.Selector{{Ref: ref}})
	if err != nil {
		return err
	}
	if old, ok := snap.Object(ref); ok {
		if err := r.Delete(ctx, ref, old.GetAPIVersion(), string(old.GetUID()), old.GetResourceVersion(), mode); err != nil {
			return err
		}
	}
	return r.Cluster.Create(ctx, obj, mode)
}
