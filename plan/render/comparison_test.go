package render_test

import (
	"bytes"
	"strings"
	"testing"

	"nodepool/plan"
	"nodepool/plan/render"
)

func comparison(t *testing.T, older, newer plan.Plan, o render.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := render.Comparison(&b, older, newer, plan.Compare(older, newer), o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestComparison writes the differences of plans that the other tests render.
func TestComparison(t *testing.T) {
	all := plans()
	for name, pair := range map[string][2]string{
		"image-and-pools": {"image-type-version", "two-pools"},
		"order":           {"two-pools", "parallel"},
		"secrets":         {"version", "bootstrap-sealed"},
		"blocked-now":     {"version", "blocked"},
		"hostile":         {"hostile", "version"},
	} {
		t.Run(name, func(t *testing.T) {
			older, ok := all[pair[0]]
			newer, too := all[pair[1]]
			if !ok || !too {
				t.Fatalf("there are no such plans: %q", pair)
			}
			got := comparison(t, older, newer, render.Options{Width: 100})
			for _, r := range got {
				if r != '\n' && (r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e) {
					t.Errorf("the control character %U gets through", r)
				}
			}
			goldenComparison(t, name, got)
		})
	}
}

func goldenComparison(t *testing.T, name, got string) {
	t.Helper()
	golden(t, "comparison/"+name+".txt", []byte(got))
}

func TestComparisonOfTheSame(t *testing.T) {
	p := plans()["version"]
	if got := comparison(t, p, p, render.Options{}); !strings.HasPrefix(got, "The plans are the same.\n") {
		t.Errorf("it says:\n%s", got)
	}
	seen := p
	seen.Findings = append([]plan.Finding(nil), p.Findings...)
	seen.Findings = append(seen.Findings, plan.Finding{Code: "new", Severity: plan.Warn, Message: "something"})
	passed := p
	passed.Findings = append(append([]plan.Finding(nil), p.Findings...), plan.Finding{Code: "new", Severity: plan.Pass, Message: "as it should be"})
	if got := comparison(t, p, passed, render.Options{}); strings.Contains(got, "as it should be") || !strings.Contains(got, "only checks that passed differ") {
		t.Errorf("a check that passed is told:\n%s", got)
	}
	got := comparison(t, p, seen, render.Options{})
	for _, want := range []string{"The same plan:", "+ now: warning new: something"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q:\n%s", want, got)
		}
	}
}
