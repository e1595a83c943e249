package plan_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

const (
	canaryStep  = awsPool + "/wait-canary"
	releaseStep = awsPool + "/release"
)

// beginPool does what is left of the plan of up, up to its first wait.
func beginPool(t testing.TB, w *clustertest.World, up schema.Upgrade) plan.Plan {
	t.Helper()
	p := compile(t, w, up)
	for i, s := range p.Steps {
		if s.Wait != nil {
			break
		}
		if p.Assess(i, fetch(t, w, s)).Verdict == plan.Pending {
			carry(t, w, up, s)
		}
	}
	w.Settle()
	return p
}

// heldBy has an earlier run with these fields come as far as its canary.
func heldBy(t testing.TB, fields string) func(*clustertest.World) {
	return func(w *clustertest.World) { beginPool(t, w, onePool(t, fields)) }
}

// pausedBy has an earlier run with these fields pause its pool.
func pausedBy(t testing.TB, fields string) func(*clustertest.World) {
	return func(w *clustertest.World) {
		w.Break(awsRef, clustertest.Fault{Provider: "no such image"})
		up := onePool(t, fields)
		beginPool(t, w, up)
		carry(t, w, up, plan.Step{Patch: step(t, compile(t, w, up), waitStep).Wait.Pause})
		w.Settle()
	}
}

// changed gives the changes of a patch as path: before → after.
func changed(p *plan.Patch) map[string]string {
	out := map[string]string{}
	for _, c := range p.Changes {
		out[c.Path.Dotted()] = string(c.Before) + " → " + string(c.After)
	}
	return out
}

// held gives what the pool has in the fields of a hold.
func held(t testing.TB, w *clustertest.World) map[string]any {
	t.Helper()
	md := w.Get(awsRef)
	out := map[string]any{}
	for name, paths := range map[string][]plan.Pointer{
		"maxSurge":        {"/spec/rollout/strategy/rollingUpdate/maxSurge", "/spec/strategy/rollingUpdate/maxSurge"},
		"maxUnavailable":  {"/spec/rollout/strategy/rollingUpdate/maxUnavailable", "/spec/strategy/rollingUpdate/maxUnavailable"},
		"minReadySeconds": {"/spec/template/spec/minReadySeconds", "/spec/minReadySeconds"},
		"paused":          {"/spec/paused"},
	} {
		for _, path := range paths {
			if v := valueAt(md.Object, path); v != nil {
				out[name] = v
			}
		}
	}
	if _, ok := md.GetAnnotations()[plan.HoldAnnotation]; ok {
		out["annotated"] = true
	}
	return out
}

func asYAML(t testing.TB, p plan.Plan) []byte {
	t.Helper()
	data, err := yaml.JSONToYAML(encode(t, p))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const withCanary = toBoth + ", strategy: {maxSurge: 2, maxUnavailable: 1}, canary: {machines: 1, soak: 5m, command: [./smoke.sh, --quick]}"

// TestCanarySteps: the plan of a pool with a canary, in both API versions.
func TestCanarySteps(t *testing.T) {
	t.Parallel()
	for name, w := range worlds() {
		t.Run(name, func(t *testing.T) {
			up := onePool(t, withCanary+", onStall: pause")
			p := compile(t, w, up)
			want := []string{"preflight", createStep, patchStep, canaryStep, releaseStep, waitStep}
			if d := cmp.Diff(want, stepsOf(p)); d != "" {
				t.Fatalf("steps (-want +got):\n%s", d)
			}
			if c := step(t, p, canaryStep).Wait.Canary; c == nil || c.Machines != 1 || c.Soak != "5m0s" || !slices.Equal(c.Command, []string{"./smoke.sh", "--quick"}) {
				t.Errorf("canary: %+v", c)
			}
			patch, release := step(t, p, patchStep).Patch, step(t, p, releaseStep).Patch
			if patch.Run.After != release.Run.Before || patch.Run.After == release.Run.After {
				t.Errorf("runs %+v and %+v", patch.Run, release.Run)
			}
			for path, change := range changed(release) {
				for _, other := range []string{"version", "Ref", "replicas"} {
					if strings.Contains(path, other) {
						t.Errorf("the release writes %s: %s", path, change)
					}
				}
			}
			i := p.Impact[0]
			if i.Peak != 5 || i.Floor != 2 || i.Waves != 2 {
				t.Errorf("impact %+v", i)
			}

			for form, data := range map[string][]byte{"JSON": encode(t, p), "YAML": asYAML(t, p)} {
				if again, err := plan.Read(data); err != nil || again.Digest != p.Digest {
					t.Errorf("read again from %s: %v", form, err)
				}
			}

			before := held(t, w)
			beginPool(t, w, up)
			if d := cmp.Diff(map[string]any{"maxSurge": int64(1), "maxUnavailable": int64(0), "minReadySeconds": int64(315360000), "annotated": true}, held(t, w)); d != "" {
				t.Errorf("held (-want +got):\n%s", d)
			}
			a := assess(t, w, step(t, p, canaryStep))
			if a.Verdict != plan.Pending || a.Rollout.New != 1 || a.Rollout.Old != 3 {
				t.Fatalf("held: %s, %d new and %d old machines: %+v", a.Verdict, a.Rollout.New, a.Rollout.Old, a.Differences)
			}
			for _, m := range a.Rollout.Machines {
				if m.Proved == m.Old || m.Proved != (m.ProvedSince != "") {
					t.Errorf("machine %+v", m)
				}
			}
			carry(t, w, up, step(t, p, releaseStep))
			if d := cmp.Diff(map[string]any{"maxSurge": int64(2), "maxUnavailable": int64(1)}, held(t, w)); d != "" {
				t.Errorf("released (-want +got):\n%s\nbefore: %v", d, before)
			}
			w.Settle()
			if a := assess(t, w, step(t, p, waitStep)); a.Verdict != plan.Satisfied {
				t.Errorf("after the release: %s %s", a.Verdict, a.Rollout.Waiting)
			}
			if again := compile(t, w, up); !again.IsEmpty() {
				t.Errorf("afterwards: %q", stepsOf(again))
			}
		})
	}
}

// TestCanaryCrashPoints: whoever comes after a crash, with the plan that was
// begun or without any record, goes on where it stopped.
func TestCanaryCrashPoints(t *testing.T) {
	t.Parallel()
	up := onePool(t, withCanary)
	left := map[int][]string{ // by how many writes were made
		0: {"preflight", createStep, patchStep, canaryStep, releaseStep, waitStep},
		1: {"preflight", createStep, patchStep, canaryStep, releaseStep, waitStep},
		2: {"preflight", canaryStep, releaseStep, waitStep},
		3: {"preflight", waitStep},
	}
	for name := range worlds() {
		for writes, want := range left {
			t.Run(name, func(t *testing.T) {
				w := worlds()[name]
				first := compile(t, w, up)
				made := 0
				for _, s := range first.Steps {
					if (s.Create != nil || s.Patch != nil) && made < writes {
						carry(t, w, up, s)
						w.Settle()
						made++
					}
				}
				second := compile(t, w, up)
				if writes == 3 {
					w.Settle()
					want = []string{}
				}
				if d := cmp.Diff(want, stepsOf(compile(t, w, up))); d != "" {
					t.Fatalf("after %d writes (-want +got):\n%s", writes, d)
				}
				if writes == 1 && second.Digest != first.Digest {
					t.Error("the plan after its create has another digest")
				}
				// The begun plan and the new one agree on what is done.
				n := 0
				for i, s := range first.Steps {
					verdict := first.Assess(i, fetch(t, w, s)).Verdict
					isWrite := s.Create != nil || s.Patch != nil
					if isWrite {
						n++
					}
					switch {
					case s.Wait == nil && verdict == plan.Drifted, isWrite && (verdict == plan.Satisfied) != (n <= writes):
						t.Errorf("after %d writes the begun plan's %s is %s: %+v", writes, s.ID, verdict, first.Assess(i, fetch(t, w, s)).Differences)
					}
				}
				// Both release with the same write, so neither is a stranger to the other.
				if writes == 2 {
					if d := cmp.Diff(step(t, first, releaseStep).Patch, step(t, second, releaseStep).Patch); d != "" {
						t.Errorf("release of the begun and of the new plan:\n%s", d)
					}
				}
				for _, s := range second.Steps {
					if s.Patch != nil || s.Create != nil {
						if a := assess(t, w, s); a.Verdict == plan.Pending {
							carry(t, w, up, s)
						}
					}
					w.Settle()
				}
				if again := compile(t, w, up); !again.IsEmpty() {
					t.Errorf("afterwards: %q", stepsOf(again))
				}
				if h := held(t, w); h["annotated"] != nil || h["minReadySeconds"] != nil || h["maxSurge"] != int64(2) {
					t.Errorf("afterwards held: %v", h)
				}
			})
		}
	}
}

// TestHeldPoolIsTakenOver: other upgrades of a held pool.
func TestHeldPoolIsTakenOver(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fields string
		want   []string
		after  map[string]any // what the first write leaves
	}{
		"the same":           {withCanary, []string{"preflight", canaryStep, releaseStep, waitStep}, nil},
		"without the canary": {toBoth, []string{"preflight", releaseStep, waitStep}, map[string]any{"maxSurge": int64(1), "maxUnavailable": int64(0)}},
		"back": {"kubernetesVersion: v1.34.3, machineImage: ami-0123456789abcdef0",
			[]string{"preflight", awsPool + "/create-infrastructure-template", patchStep, waitStep}, nil},
		"another canary": {toBoth + ", canary: {machines: 2}", []string{"preflight", patchStep, canaryStep, releaseStep, waitStep},
			map[string]any{"maxSurge": int64(2), "maxUnavailable": int64(0), "minReadySeconds": int64(315360000), "annotated": true}},
		"another image": {"kubernetesVersion: v1.35.2, machineImage: ami-corrected, canary: {}",
			[]string{"preflight", createStep, patchStep, canaryStep, releaseStep, waitStep},
			map[string]any{"maxSurge": int64(1), "maxUnavailable": int64(0), "minReadySeconds": int64(315360000), "annotated": true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			heldBy(t, withCanary)(w)
			up := onePool(t, test.fields)
			p := compile(t, w, up)
			if d := cmp.Diff(test.want, stepsOf(p)); d != "" {
				t.Fatalf("steps (-want +got):\n%s", d)
			}
			if test.after != nil {
				for _, s := range p.Steps {
					if s.Create != nil || s.Patch != nil {
						carry(t, w, up, s)
					}
					if s.Patch != nil {
						break
					}
				}
				if d := cmp.Diff(test.after, held(t, w)); d != "" {
					t.Errorf("after the first patch (-want +got):\n%s", d)
				}
			}
			for range 3 { // to the end, whatever is in the way
				q := beginPool(t, w, up)
				for _, s := range q.Steps {
					if s.ID == releaseStep && assess(t, w, s).Verdict == plan.Pending {
						carry(t, w, up, s)
						w.Settle()
					}
				}
			}
			want := map[string]any{"maxSurge": int64(1), "maxUnavailable": int64(0)}
			if test.fields == withCanary {
				want = map[string]any{"maxSurge": int64(2), "maxUnavailable": int64(1)}
			}
			if d := cmp.Diff(want, held(t, w)); d != "" {
				t.Errorf("in the end, what was there before the first run (-want +got):\n%s", d)
			}
		})
	}
}

// TestForeignHold: what others changed in a hold is theirs, and what they hold
// without our annotation is not ours to end.
func TestForeignHold(t *testing.T) {
	t.Parallel()
	up := onePool(t, withCanary)
	rolling := []string{"spec", "rollout", "strategy", "rollingUpdate"}
	for name, test := range map[string]struct {
		edit    func(*clustertest.World)
		drifted bool // the wait for the canary
		surge   any  // after a release without a strategy of its own
	}{
		"somebody raises the surge":            {edit(awsRef, int64(3), append(rolling, "maxSurge")...), true, int64(3)},
		"somebody ends the wait for ready":     {edit(awsRef, nil, "spec", "template", "spec", "minReadySeconds"), true, int64(1)},
		"somebody takes the annotation off":    {edit(awsRef, nil, "metadata", "annotations", plan.HoldAnnotation), false, int64(1)},
		"somebody scribbles in the annotation": {edit(awsRef, "{", "metadata", "annotations", plan.HoldAnnotation), false, int64(1)},
		"somebody names a field of his own":    {edit(awsRef, `{"replicas":{"held":3,"was":0}}`, "metadata", "annotations", plan.HoldAnnotation), false, int64(1)},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			first := beginPool(t, w, up)
			test.edit(w)
			a := assess(t, w, step(t, first, canaryStep))
			if (a.Verdict == plan.Drifted) != test.drifted {
				t.Errorf("the wait for the canary is %s: %+v", a.Verdict, a.Differences)
			}
			p := compile(t, w, onePool(t, toBoth))
			for _, s := range p.Steps {
				if s.Patch == nil {
					continue
				}
				if _, ok := changed(s.Patch)["spec.replicas"]; ok {
					t.Error("replicas are written")
				}
				carry(t, w, up, s)
			}
			if got := held(t, w)["maxSurge"]; got != test.surge {
				t.Errorf("maxSurge is %v, want %v", got, test.surge)
			}
		})
	}
}

// TestPause: the pause of a stalled pool is part of the plan, is known as ours
// afterwards, and the plan that follows ends it.
func TestPause(t *testing.T) {
	t.Parallel()
	for name := range worlds() {
		t.Run(name, func(t *testing.T) {
			w := worlds()[name]
			fields := toBoth + ", onStall: pause"
			up := onePool(t, fields)
			first := compile(t, w, up)
			wait := slices.IndexFunc(first.Steps, func(s plan.Step) bool { return s.ID == waitStep })
			pausedBy(t, fields)(w)
			if d := cmp.Diff(map[string]any{"maxSurge": int64(1), "maxUnavailable": int64(0), "paused": true, "annotated": true}, held(t, w)); d != "" {
				t.Fatalf("paused (-want +got):\n%s", d)
			}
			if a := first.Assess(wait, fetch(t, w, first.Steps[wait])); a.Verdict != plan.Drifted {
				t.Errorf("the wait of the plan that paused is %s", a.Verdict)
			}
			machines := func() (n int) {
				a := assess(t, w, first.Steps[wait])
				return a.Rollout.New*10 + a.Rollout.Old
			}
			if got := machines(); got != 13 {
				t.Errorf("paused with %d new and %d old machines", got/10, got%10)
			}
			w.Break(awsRef, clustertest.Fault{})
			w.Settle()
			if got := machines(); got != 13 {
				t.Errorf("mended and paused with %d new and %d old machines", got/10, got%10)
			}
			p := compile(t, w, up)
			if d := cmp.Diff([]string{"preflight", releaseStep, waitStep}, stepsOf(p)); d != "" || p.Blocked {
				t.Fatalf("steps (-want +got):\n%s\nblocked: %t", d, p.Blocked)
			}
			if pause, release := step(t, p, waitStep).Wait.Pause, step(t, p, releaseStep).Patch; pause.Run.Before != release.Run.After {
				t.Errorf("a second pause starts from %s, and the release leaves %s", pause.Run.Before, release.Run.After)
			}
			beginPool(t, w, up)
			if again := compile(t, w, up); !again.IsEmpty() {
				t.Errorf("afterwards: %q", stepsOf(again))
			}
		})
	}
}

// TestForeignPause: a pause that others set blocks, as before.
func TestForeignPause(t *testing.T) {
	t.Parallel()
	up := onePool(t, withCanary)
	w := clustertest.AWSExample()
	beginPool(t, w, up)
	edit(awsRef, true, "spec", "paused")(w)
	if p := compile(t, w, up); !p.Blocked {
		t.Error("somebody paused a held pool, and the plan is not blocked")
	}
}

// TestAbandon ends what a run holds and nothing else.
func TestAbandon(t *testing.T) {
	t.Parallel()
	up := onePool(t, withCanary)
	w := clustertest.AWSExample()
	if p, err := plan.Abandon(up, observe(t, w, up)); err != nil || !p.IsEmpty() {
		t.Errorf("nothing is held, and to abandon takes %q (%v)", stepsOf(p), err)
	}
	beginPool(t, w, up)
	p, err := plan.Abandon(up, observe(t, w, up))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{releaseStep}, stepsOf(p)); d != "" || p.Digest != p.Sum() {
		t.Fatalf("steps (-want +got):\n%s", d)
	}
	if _, err := plan.Read(encode(t, p)); err != nil {
		t.Error(err)
	}
	version := valueAt(w.Get(awsRef).Object, "/spec/template/spec/version")
	carry(t, w, up, p.Steps[0])
	want := map[string]any{"maxSurge": int64(1), "maxUnavailable": int64(0)}
	if d := cmp.Diff(want, held(t, w)); d != "" {
		t.Errorf("after it (-want +got):\n%s", d)
	}
	if now := valueAt(w.Get(awsRef).Object, "/spec/template/spec/version"); now != version {
		t.Errorf("the version is %v and was %v", now, version)
	}
}

// TestHoldWithoutAnnotations: a MachineDeployment that bears none at all.
func TestHoldWithoutAnnotations(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	edit(awsRef, nil, "metadata", "annotations")(w)
	up := onePool(t, withCanary)
	p := compile(t, w, up)
	for _, annotated := range []bool{false, true} {
		w := clustertest.AWSExample()
		if !annotated {
			edit(awsRef, nil, "metadata", "annotations")(w)
		}
		carry(t, w, up, step(t, p, createStep))
		carry(t, w, up, step(t, p, patchStep))
		var record map[string]json.RawMessage
		if err := json.Unmarshal([]byte(w.Get(awsRef).GetAnnotations()[plan.HoldAnnotation]), &record); err != nil || len(record) != 3 {
			t.Errorf("annotated before: %t; the record is %v (%v)", annotated, record, err)
		}
	}
}

// TestHoldIsTakenBack: a rollback of a plan that holds, or has paused, its pool
// ends that with the rest, in one patch.
func TestHoldIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, fields := range map[string]string{"held": withCanary, "paused": toBoth + ", onStall: pause"} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			before := specOf(w, awsRef)
			first := compile(t, w, onePool(t, fields))
			if name == "held" {
				heldBy(t, fields)(w)
			} else {
				pausedBy(t, fields)(w)
			}
			back := invert(t, w, first)
			if back.Blocked {
				t.Fatalf("blocked: %+v", back.Findings)
			}
			for _, s := range back.Steps {
				if s.Patch != nil {
					carry(t, w, onePool(t, fields), s)
				}
			}
			if d := cmp.Diff(before, specOf(w, awsRef)); d != "" {
				t.Errorf("spec before and taken back:\n%s", d)
			}
			if h := held(t, w); h["annotated"] != nil {
				t.Errorf("afterwards: %v", h)
			}
		})
	}
}
