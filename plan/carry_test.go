package plan_test

import (
	"slices"
	"strings"
	"testing"

	"nodepool/plan"
)

// TestStillBlocked: what blocked a plan when it was saved ends by an answer, and
// not by nobody asking.
func TestStillBlocked(t *testing.T) {
	of := func(code string, severity plan.Severity) plan.Finding {
		return plan.Finding{Code: code, Severity: severity, Pool: "a", Message: "said of " + code}
	}
	unverified := func(code string) plan.Finding {
		return plan.Finding{Code: code, Severity: plan.Pass, NotVerified: true, Pool: "a", Message: "not verified: nobody knows"}
	}
	waived := of(plan.CheckWorkloadBudgets, plan.Block)
	waived.Waived = "CHG-4711"
	for _, test := range []struct {
		name       string
		saved      plan.Finding
		now        []plan.Finding
		noProvider bool
		// want is the severity of what is kept, empty where nothing is.
		want  plan.Severity
		words string
	}{
		{name: "data, and nobody looked", saved: of(plan.CheckWorkloadData, plan.Block), want: plan.Block, words: "said of workload-data. This was found when the plan was saved, and nobody has looked again: the check was not made"},
		{name: "data, and the look failed", saved: of(plan.CheckWorkloadData, plan.Block), now: []plan.Finding{{Code: plan.CheckWorkload, Severity: plan.Warn, Message: "no Secret"}}, want: plan.Block, words: "looked again: no Secret"},
		{name: "data, and it could not be read", saved: of(plan.CheckWorkloadData, plan.Block), now: []plan.Finding{unverified(plan.CheckWorkloadData)}, want: plan.Block, words: "looked again: nobody knows"},
		{name: "data that was moved", saved: of(plan.CheckWorkloadData, plan.Block), now: []plan.Finding{of(plan.CheckWorkloadData, plan.Pass)}},
		{name: "data of another pool", saved: of(plan.CheckWorkloadData, plan.Block), now: []plan.Finding{{Code: plan.CheckWorkloadData, Severity: plan.Pass, Pool: "b"}}, want: plan.Block},
		{name: "a pool to which nothing is done", saved: plan.Finding{Code: plan.CheckWorkloadData, Severity: plan.Block, Pool: "b"}},
		{name: "budgets that are waived", saved: waived},
		{name: "budgets that warned", saved: of(plan.CheckWorkloadBudgets, plan.Warn)},
		{name: "an image, and nobody was asked", saved: of(plan.CheckImageExists, plan.Block), now: []plan.Finding{unverified(plan.CheckImageExists)}, want: plan.Block},
		{name: "an image, and nobody is to be asked", saved: of(plan.CheckImageExists, plan.Block), now: []plan.Finding{unverified(plan.CheckImageExists)}, noProvider: true, want: plan.Warn},
		{name: "an image that is deprecated", saved: of(plan.CheckImageExists, plan.Block), now: []plan.Finding{of(plan.CheckImageExists, plan.Warn)}},
		{name: "data, and no provider is to be asked", saved: of(plan.CheckWorkloadData, plan.Block), noProvider: true, want: plan.Block},
		{name: "what an image carries, and nobody was asked", saved: of(plan.CheckImage, plan.Block), now: []plan.Finding{of(plan.CheckImage, plan.Warn), unverified(plan.CheckImageExists)}, want: plan.Block},
		{name: "what an image carries, and its name says so", saved: of(plan.CheckImage, plan.Block), now: []plan.Finding{of(plan.CheckImage, plan.Warn), of(plan.CheckImageExists, plan.Pass)}},
		{name: "a write, and nobody tried it", saved: of(plan.CheckServer, plan.Block), now: []plan.Finding{of(plan.CheckServer, plan.Warn)}, want: plan.Block},
		{name: "a write that is taken", saved: of(plan.CheckServer, plan.Block), now: []plan.Finding{of(plan.CheckServer, plan.Pass)}},
		{name: "a pause that is over", saved: of(plan.CheckPaused, plan.Block)},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := plan.Plan{Steps: []plan.Step{{ID: "1", Pool: "a"}}, Findings: test.now}
			got := now.StillBlocked(plan.Plan{Blocked: true, Findings: []plan.Finding{test.saved}}, test.noProvider)
			var kept plan.Finding
			for _, f := range got.Findings {
				if !slices.Contains(test.now, f) {
					kept = f
				}
			}
			if kept.Severity != test.want || got.Blocked != (test.want == plan.Block) || !strings.Contains(kept.Message, test.words) {
				t.Errorf("blocked %t, kept %+v; want severity %q, %q", got.Blocked, kept, test.want, test.words)
			}
		})
	}
}
