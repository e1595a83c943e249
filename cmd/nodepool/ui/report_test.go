package ui_test

import (
	"strings"
	"testing"
	"time"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/schema"
)

// aRun is a run in two attempts: the first stalled, the second came to its
// end. Some of its text would like to be more than text.
func aRun() apply.Run {
	p := plan.Plan{APIVersion: plan.APIVersion, Kind: plan.Kind, Digest: "sha256:0123456789abcdef",
		Upgrade: plan.UpgradeRef{Name: "to-1-35", Cluster: schema.ClusterRef{Namespace: "default", Name: "aws-example"}},
		Steps: []plan.Step{{ID: "preflight"}, {ID: "md-0/create-infrastructure-template", Pool: "md-0"},
			{ID: "md-0/patch", Pool: "md-0"}, {ID: "md-0/wait", Pool: "md-0"}, {ID: "md-1/patch", Pool: "md-1"}}}
	at := func(s int) time.Time { return time.Date(2026, 1, 2, 3, 0, s, 0, time.UTC) }
	text := func(s int) string { return at(s).Format(time.RFC3339) }
	old := apply.Machine{Name: "md-0-old", Node: "node-1", Version: "v1.34.3", Image: "ami-1", Created: "2025-12-01T00:00:00Z"}
	gone := old
	gone.Gone = text(95)
	fresh := apply.Machine{Name: "md-0-new", Node: "node-2", Version: "v1.35.2", Image: "ami-2", Created: text(20), Ready: text(90)}
	return apply.Run{Upgrade: "to-1-35", Number: 3, Plan: p, Records: []apply.Record{
		{Phase: apply.Opened, At: at(0), Attempt: 1, Actor: "ann@host", Ticket: "CHG-7 | <b>"},
		{Step: "preflight", Phase: apply.Done, At: at(0), Attempt: 1, Actor: "ann@host"},
		{Step: "md-0/create-infrastructure-template", Phase: apply.Started, At: at(1), Attempt: 1, Actor: "ann@host"},
		{Step: "md-0/create-infrastructure-template", Phase: apply.Done, At: at(2), Attempt: 1, Actor: "ann@host"},
		{Step: "md-0/patch", Phase: apply.Started, At: at(2), Attempt: 1, Actor: "ann@host", Machines: []apply.Machine{old}},
		{Step: "md-0/patch", Phase: apply.Done, At: at(3), Attempt: 1, Actor: "ann@host"},
		{Step: "md-0/wait", Phase: apply.Started, At: at(3), Attempt: 1, Actor: "ann@host"},
		{Step: "md-0/wait", Phase: apply.Noted, At: at(9), Attempt: 1, Actor: "ann@host", Note: "AWSMachine md-0-new:\x1b[31m InvalidAMIID.NotFound </details>"},
		{Step: "md-0/wait", Phase: apply.Failed, At: at(60), Attempt: 1, Actor: "ann@host", Note: "stalled: step md-0/wait: no progress for 50s"},
		{Phase: apply.Opened, At: at(80), Attempt: 2, Actor: "bob@laptop"},
		{Step: "preflight", Phase: apply.Done, At: at(80), Attempt: 2, Actor: "bob@laptop"},
		{Step: "md-0/create-infrastructure-template", Phase: apply.Done, At: at(80), Attempt: 2, Actor: "bob@laptop", Note: "found done"},
		{Step: "md-0/patch", Phase: apply.Done, At: at(80), Attempt: 2, Actor: "bob@laptop", Note: "found done"},
		{Step: "md-0/wait", Phase: apply.Started, At: at(80), Attempt: 2, Actor: "bob@laptop"},
		{Step: "md-0/wait", Phase: apply.Done, At: at(96), Attempt: 2, Actor: "bob@laptop", Machines: []apply.Machine{gone, fresh}},
		{Step: "md-1/patch", Phase: apply.Done, At: at(97), Attempt: 2, Actor: "bob@laptop", Note: "found done"},
		{Phase: apply.Closed, At: at(97), Attempt: 2, Actor: "bob@laptop"},
	}}
}

func TestReport(t *testing.T) {
	run := aRun()
	run.Records[14].More = 2
	run.Plan.Steps[3].Wait = &plan.Wait{Canary: &plan.Canary{Machines: 1}}
	run.Records[14].Canaries = []apply.CanaryProof{{Machine: "md-0-new", Ready: 600, Command: []string{"./smoke.sh", "x"}, Output: "all\n</details> \x1b[31mwell"}}
	killed := run
	killed.Number, killed.Records = 6, run.Records[:5]
	live := apply.ReportOf(killed).HeldBy(&apply.Holder{Actor: "cem@pod", Since: run.Records[0].At})
	var list, text, markdown strings.Builder
	stalled := run
	stalled.Number, stalled.Records = 4, run.Records[:9]
	abandoned := run
	abandoned.Number, abandoned.Records = 5, append(run.Records[:9:9], apply.Record{Phase: apply.Closed, At: run.Records[9].At, Note: "superseded: step md-0/patch: the cluster is not as it was reviewed"})
	if err := ui.Runs(&list, []apply.Report{apply.ReportOf(run), apply.ReportOf(stalled), apply.ReportOf(abandoned), live}); err != nil {
		t.Fatal(err)
	}
	if err := ui.Report(&text, apply.ReportOf(run)); err != nil {
		t.Fatal(err)
	}
	if err := ui.ReportMarkdown(&markdown, apply.ReportOf(run)); err != nil {
		t.Fatal(err)
	}
	golden(t, "runs.txt", list.String())
	golden(t, "report.txt", text.String())
	golden(t, "report.md", markdown.String())
	markdown.Reset()
	if err := ui.ReportMarkdown(&markdown, apply.ReportOf(stalled)); err != nil {
		t.Fatal(err)
	}
	golden(t, "report-stalled.md", markdown.String())
	text.Reset()
	if err := ui.Report(&text, live); err != nil {
		t.Fatal(err)
	}
	golden(t, "report-running.txt", text.String())
	if strings.Contains(text.String()+markdown.String()+list.String(), "\x1b") {
		t.Error("an escape sequence of the journal got through")
	}
}
