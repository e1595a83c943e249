package plan_test

import (
	"testing"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

// toFirstWait carries p out as far as its first wait, and lets some machines roll.
func toFirstWait(t *testing.T, w *clustertest.World, up schema.Upgrade, p plan.Plan) {
	t.Helper()
	for _, s := range p.Steps {
		if s.Wait != nil {
			break
		}
		carry(t, w, up, s)
	}
	steps(9)(w)
}

// TestOwnRolloutNeverBlocks: what is left of our own run goes on, whoever
// compiles it, and so does its way back.
func TestOwnRolloutNeverBlocks(t *testing.T) {
	t.Parallel()
	for _, fields := range []string{toBoth, toBoth + ", canary: {}", toBoth + ", onStall: pause", toBoth + ", drain: {nodeDrainTimeout: 5m}"} {
		t.Run(fields, func(t *testing.T) {
			w := clustertest.AWSExample()
			up := onePool(t, fields)
			toFirstWait(t, w, up, compile(t, w, up))
			for _, name := range []string{up.Metadata.Name, "of-somebody-else"} {
				rest := onePool(t, fields)
				rest.Metadata.Name = name
				if p := compile(t, w, rest); p.Blocked || p.IsEmpty() {
					t.Errorf("as %s: blocked is %t, steps %q, findings %+v", name, p.Blocked, stepsOf(p), p.Findings)
				}
			}
		})
	}
}

// TestForwardSupersedes: what rollback offers where there is no way back may be
// started on top of the rollout that it is about.
func TestForwardSupersedes(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	up := onePool(t, toBoth)
	forth := compile(t, w, up)
	toFirstWait(t, w, up, forth)
	w.Delete(awsTemplateRef)
	back := invert(t, w, forth)
	if !back.Blocked {
		t.Fatal("there is a way back without the old template")
	}
	offer, ok := plan.Forward(forth, back, observeBack(t, w, forth))
	if !ok {
		t.Fatal("nothing is offered")
	}
	next := compile(t, w, offer)
	found := finding(t, next, plan.CheckRollout, plan.Block)
	if next.Blocked || found.Waived != "it supersedes the rollout of the plan "+forth.Digest.Short() {
		t.Errorf("blocked is %t, by %+v", next.Blocked, next.Findings)
	}
}

// TestNoToolBlocksTheWayBack: who else writes is told, and an emergency is not
// kept waiting for it.
func TestNoToolBlocksTheWayBack(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	up := onePool(t, toBoth)
	forth := compile(t, w, up)
	toFirstWait(t, w, up, forth)
	writtenBy("argocd-controller")(w)
	back := invert(t, w, forth)
	found := findingOf(t, back, plan.CheckFieldManagers, awsPool)
	if back.Blocked || found.Severity != plan.Warn {
		t.Errorf("blocked is %t, by %+v", back.Blocked, back.Findings)
	}
	mustContain(t, found.Message, "Argo CD", "second rollout")
}
