package render_test

import (
	"bytes"
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
