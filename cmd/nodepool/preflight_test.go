package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"nodepool/plan"
)

// TestPreflightAgain makes checks again that are older than a moment: somebody
// was asked, or another run was waited for.
func TestPreflightAgain(t *testing.T) {
	blocking := plan.Finding{Code: plan.CheckControlPlane, Severity: plan.Block, Message: "it is not stable any more"}
	waived := plan.Finding{Code: plan.CheckVersion, Severity: plan.Block, Waived: "CHG-4711"}
	asked := 0
	todo := task{again: func(context.Context) (plan.Plan, error) {
		asked++
		return plan.Plan{Findings: []plan.Finding{{Severity: plan.Warn}, blocking, waived}}, nil
	}}
	synctest.Test(t, func(t *testing.T) {
		preflight := todo.preflight(time.Now())
		if got, err := preflight(t.Context()); err != nil || len(got) > 0 || asked != 0 {
			t.Errorf("at once: %v, %v, asked %d times", got, err, asked)
		}
		time.Sleep(time.Minute)
		got, err := preflight(t.Context())
		if diff := cmp.Diff([]plan.Finding{blocking}, got); diff != "" || err != nil {
			t.Errorf("a minute later (-want +got): %v\n%s", err, diff)
		}
	})
}
