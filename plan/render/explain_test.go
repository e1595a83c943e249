package render_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/plan"
	"nodepool/plan/render"
)

// TestChecksDocument holds docs/checks.md to the catalogue; -update writes it.
func TestChecksDocument(t *testing.T) {
	var got bytes.Buffer
	if err := render.ExplainMarkdown(&got, plan.Checks()); err != nil {
		t.Fatal(err)
	}
	const file = "../../docs/checks.md"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("run with -update (-document +catalogue):\n%s", diff)
	}
}

// TestExplain reads a check as a terminal of 80 columns shows it.
func TestExplain(t *testing.T) {
	c, _ := plan.CheckOf(plan.CheckVersion)
	var got bytes.Buffer
	if err := render.Explain(&got, c, render.Options{Width: 80}); err != nil {
		t.Fatal(err)
	}
	golden(t, "explain.txt", got.Bytes())
	for _, line := range strings.Split(got.String(), "\n") {
		if len(line) > 80 {
			t.Errorf("longer than 80: %q", line)
		}
	}
}

func TestExplainAll(t *testing.T) {
	var got bytes.Buffer
	if err := render.ExplainAll(&got, plan.Checks(), render.Options{Width: 100}); err != nil {
		t.Fatal(err)
	}
	for _, c := range plan.Checks() {
		if !strings.Contains(got.String(), "\n"+c.Code+" ") && !strings.HasPrefix(got.String(), c.Code+" ") {
			t.Errorf("%s is not listed", c.Code)
		}
	}
}

// TestNotVerifiedIsNoPass counts a check that could not find out among those
// that did not pass, in every form that people read.
func TestNotVerifiedIsNoPass(t *testing.T) {
	p := plan.Plan{Steps: []plan.Step{{ID: "preflight", Preflight: &plan.Preflight{Checks: []string{"cluster", "image-exists"}}}},
		Findings: []plan.Finding{
			{Code: "cluster", Severity: plan.Pass, Message: "it exists"},
			{Code: "image-exists", Severity: plan.Pass, NotVerified: true, Pool: "a", Message: "not verified: there are no credentials"},
		}}
	var text, full, markdown bytes.Buffer
	for _, err := range []error{render.Text(&text, p, render.Options{}), render.Text(&full, p, render.Options{Full: true}), render.Markdown(&markdown, p, render.Options{})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const want = "1 of 2 checks passed; not verified: image-exists"
	for _, got := range []string{text.String(), full.String(), markdown.String()} {
		if !strings.Contains(got, want) {
			t.Errorf("does not say %q:\n%s", want, got)
		}
	}
	if !strings.Contains(full.String(), "? image-exists (pool a): not verified: there are no credentials") || !strings.Contains(full.String(), "✓ cluster: it exists") {
		t.Errorf("the marks are not told apart:\n%s", full.String())
	}
}

// TestNothingToCheckIsNoPass: a check that had nothing to look at is counted by
// itself in every form that people read, also where a plan of an older release
// has no finding for it.
func TestNothingToCheckIsNoPass(t *testing.T) {
	p := plan.Plan{Steps: []plan.Step{{ID: "preflight", Preflight: &plan.Preflight{Checks: []string{"cluster", "held-by-run", "canary", "strategy"}}}},
		Findings: []plan.Finding{
			{Code: "cluster", Severity: plan.Pass, Message: "it exists"},
			{Code: "strategy", Severity: plan.Warn, Message: "OnDelete"},
			{Code: "held-by-run", Severity: plan.Pass, Message: "nothing to check"},
		}}
	var text, full, markdown bytes.Buffer
	for _, err := range []error{render.Text(&text, p, render.Options{}), render.Text(&full, p, render.Options{Full: true}), render.Markdown(&markdown, p, render.Options{})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const want = "1 of 4 checks passed, 2 had nothing to check"
	for _, got := range []string{text.String(), full.String(), markdown.String()} {
		if !strings.Contains(got, want) {
			t.Errorf("does not say %q:\n%s", want, got)
		}
	}
	for form, got := range map[string]struct{ text, mark string }{"text": {full.String(), "· %s: nothing to check"}, "Markdown": {markdown.String(), "- `%s`: nothing to check"}} {
		for _, code := range []string{"held-by-run", "canary"} {
			if line := fmt.Sprintf(got.mark, code); !strings.Contains(got.text, line) {
				t.Errorf("%s does not say %q:\n%s", form, line, got.text)
			}
		}
	}
	older := p
	older.Findings = []plan.Finding{{Code: "held-by-run", Severity: plan.Warn, Message: "held"}}
	var compared strings.Builder
	if err := render.Comparison(&compared, older, p, plan.Compare(older, p), render.Options{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(compared.String(), "warning before, now idle held-by-run: nothing to check") {
		t.Errorf("the comparison counts it as passed:\n%s", compared.String())
	}
}
