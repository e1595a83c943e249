package render_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"nodepool/plan"
	"nodepool/plan/render"
)

func textOf(t *testing.T, p plan.Plan, o render.Options) string {
	t.Helper()
	var b strings.Builder
	if err := render.Text(&b, p, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextFitsTheWidth(t *testing.T) {
	for name, p := range plans() {
		for _, width := range []int{40, 60, 80, 120} {
			for _, l := range strings.Split(textOf(t, p, render.Options{Width: width}), "\n") {
				if n := render.Columns(l); n > width && !strings.HasPrefix(l, "Digest: ") {
					t.Errorf("%s at %d: %d columns: %s", name, width, n, l)
				}
			}
		}
	}
}

func TestWrappingLosesNothing(t *testing.T) {
	p := upgrade()
	p.Findings = []plan.Finding{{Code: "c", Severity: plan.Warn, Message: "two  spaces, 漢字漢字漢字漢字漢字漢字 and " + strings.Repeat("x", 95) + " end"}}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	narrow, unwrapped := textOf(t, p, render.Options{Width: 30}), textOf(t, p, render.Options{})
	if squeeze(narrow) != squeeze(unwrapped) {
		t.Errorf("wrapped:\n%s\nnot wrapped:\n%s", narrow, unwrapped)
	}
}

// TestMissingRightsALineEach: each missing right stands on a line of its own, in
// every form that is read by people; no other message breaks a line.
func TestMissingRightsALineEach(t *testing.T) {
	p := upgrade(preflight("cluster"))
	p.Findings = []plan.Finding{
		{Code: plan.CheckRights, Severity: plan.Warn, Message: "it takes the right to:\npatch machinedeployments.cluster.x-k8s.io in namespace default\ncreate configmaps in namespace default\x1b[2J", Remedy: "ask for them"},
		{Code: plan.CheckServer, Severity: plan.Warn, Message: "the server says: no\n✓ all is well"},
	}
	older := upgrade(preflight("cluster"))
	var compared strings.Builder
	if err := render.Comparison(&compared, older, p, plan.Compare(older, p), render.Options{}); err != nil {
		t.Fatal(err)
	}
	var sheet strings.Builder
	if err := render.Markdown(&sheet, p, render.Options{}); err != nil {
		t.Fatal(err)
	}
	for form, test := range map[string]struct {
		got  string
		want []string
	}{
		"text": {textOf(t, p, render.Options{}), []string{
			"    it takes the right to:\n      - patch machinedeployments.cluster.x-k8s.io in namespace default\n      - create configmaps in namespace default\\x1b[2J\n    Remedy: ask for them\n",
			`no\n✓ all is well`,
		}},
		"Markdown": {sheet.String(), []string{
			"it takes the right to:\n  - patch `machinedeployments.cluster.x-k8s.io` in namespace default\n  - create configmaps in namespace `default\\x1b[2J`\n  - **Remedy:** ask for them\n",
			`\n✓`,
		}},
		"a comparison": {compared.String(), []string{
			`it takes the right to: patch machinedeployments.cluster.x-k8s.io in namespace default; create configmaps in namespace default\x1b[2J`,
		}},
	} {
		for _, want := range test.want {
			if !strings.Contains(test.got, want) {
				t.Errorf("%s: %q is not in\n%s", form, want, test.got)
			}
		}
	}
}

func TestColorAddsOnlyColor(t *testing.T) {
	for name, p := range plans() {
		got := textOf(t, p, render.Options{Color: true, Width: 80})
		if !strings.Contains(got, "\x1b[") {
			t.Errorf("%s: no colour", name)
		}
		for _, code := range []string{"0", "1", "2", "31", "32", "33", "1;31"} {
			got = strings.ReplaceAll(got, "\x1b["+code+"m", "")
		}
		if want := textOf(t, p, render.Options{Width: 80}); got != want {
			t.Errorf("%s: differs in more than colour:\n%s", name, got)
		}
	}
}

func TestSealedValuesShowNoHash(t *testing.T) {
	for name, p := range plans() {
		if got := textOf(t, p, render.Options{Full: true}); strings.Contains(got, "hmac-sha256") {
			t.Errorf("%s shows a keyed hash:\n%s", name, got)
		}
	}
}

// A secret replaced by one of the same length must not look unchanged,
// wherever it stands.
func TestSealedChangeOfTheSameLengthShows(t *testing.T) {
	for _, form := range []string{`%s`, `[%s]`, `{"files":[{"content":%s,"path":"/a"}]}`} {
		p := upgrade(patch("md", replace("/spec/x", fmt.Sprintf(form, sealed("a", "24")), fmt.Sprintf(form, sealed("b", "24")))))
		if got := textOf(t, p, render.Options{}); !strings.Contains(got, "changed (sealed, 24 → 24 bytes)") {
			t.Errorf("%s:\n%s", form, got)
		}
	}
}

func TestChange(t *testing.T) {
	long := func(first string) string {
		return `"` + first + strings.Repeat(`\nsame`, 20) + `"`
	}
	for _, tt := range []struct{ name, before, after, want string }{
		{"null and absent differ", ``, `null`, "+ spec.x: null"},
		{"number and text differ", `4`, `"4"`, `~ spec.x: 4 → "4"`},
		{"an arrow in a value is quoted", `"a → b"`, `"c"`, `~ spec.x: "a → b" → c`},
		{"a fake seal is quoted", `"(sealed, 24 bytes)"`, `""`, `~ spec.x: "(sealed, 24 bytes)" → ""`},
		{"from nothing to sealed", ``, sealed("a", "24"), "+ spec.x: (sealed, 24 bytes)"},
		{"from plain to sealed", `"p"`, sealed("a", "24"), "~ spec.x: p → (sealed, 24 bytes)"},
		{"big numbers keep their digits", `9007199254740993`, `1e400`, "~ spec.x: 9007199254740993 → 1e400"},
		{"object for text", `"a"`, `{"b":[]}`, "~ spec.x:\n         - a\n         + b: []"},
		{"no JSON", `{`, ``, `- spec.x: "no JSON: {"`},
		{"added text of lines", ``, `"a\nb\n"`, "+ spec.x: |\n         + a\n         + b"},
		{"no newline at the end", `"a\nb\n"`, `"a\nb"`, "~ spec.x:\n         - |\n         + |-\n           a\n           b"},
		{"far lines are left out", long("a"), long("b"), "- a\n         + b\n           same\n           same\n           same\n           … 17 unchanged lines"},
	} {
		p := upgrade(patch("md", plan.Change{Path: "/spec/x", Before: raw(tt.before), After: raw(tt.after)}))
		if got := textOf(t, p, render.Options{}); !strings.Contains(got, "       "+tt.want+"\n") && !strings.Contains(got, tt.want+"\n") {
			t.Errorf("%s: want\n%s\ngot\n%s", tt.name, tt.want, got)
		}
	}
}

func TestFullLeavesNothingOut(t *testing.T) {
	value := `"a` + strings.Repeat(`\nsame`, 20) + `"`
	p := upgrade(patch("md", replace("/spec/x", value, strings.Replace(value, "a", "b", 1))))
	if got := textOf(t, p, render.Options{Full: true}); strings.Count(got, "same\n") != 20 {
		t.Errorf("got\n%s", got)
	}
}

func TestHugeValuesAreStillShown(t *testing.T) {
	value := func(s string) string { return `"` + strings.Repeat(s+`\n`, 3000) + `"` }
	p := upgrade(patch("md", replace("/spec/x", value("a"), value("b"))))
	got := textOf(t, p, render.Options{})
	if strings.Count(got, "- a\n") != 3000 || strings.Count(got, "+ b\n") != 3000 {
		t.Error("lines are missing")
	}
}

// Neither the flag nor the findings are signed: the worse of the two is shown.
func TestBlockedByEither(t *testing.T) {
	flag := upgrade()
	flag.Blocked = true
	finding := upgrade()
	finding.Findings = []plan.Finding{{Code: "c", Severity: plan.Block, Message: "m"}}
	for name, p := range map[string]plan.Plan{"flag": flag, "finding": finding} {
		got := textOf(t, p, render.Options{})
		if !strings.Contains(got, "BLOCKED: nothing can be applied") || strings.Contains(got, "No changes") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrorsAreReturned(t *testing.T) {
	if render.Text(broken{}, upgrade(), render.Options{}) == nil || render.JSON(broken{}, upgrade()) == nil || render.YAML(broken{}, upgrade()) == nil {
		t.Error("an error of the writer was lost")
	}
}

// TestReusedTemplate: a template that is there already is not told as created.
func TestReusedTemplate(t *testing.T) {
	p := around("md-0")
	for i := range p.Steps {
		if c := p.Steps[i].Create; c != nil {
			p.Steps[i].Pool, p.Impact[0].Pool = "md-0", "md-0"
			p.Impact[0].Reuses = append(p.Impact[0].Reuses, c.Ref.Name)
		}
	}
	var text, markdown strings.Builder
	if err := render.Text(&text, p, render.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := render.Markdown(&markdown, p, render.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"text": text.String(), "markdown": markdown.String()} {
		if !strings.Contains(got, "there already with this content, and used again") || strings.Contains(got, " to create") || strings.Contains(got, "it creates") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// TestTextOfWaitsTogether: many steps that are waited for at once are told by
// the first and the last of them.
func TestTextOfWaitsTogether(t *testing.T) {
	for n, want := range map[int]string{1: "; stalled after", 2: ", together with step 2; stalled after", 8: ", together with the others of steps 1 to 8; stalled after"} {
		var p plan.Plan
		for i := range n {
			p.Steps = append(p.Steps, plan.Step{ID: fmt.Sprint(i), Wait: &plan.Wait{Template: "t", StallAfter: "15m0s",
				MachineDeployment: plan.Ref{Kind: "MachineDeployment", Namespace: "default", Name: fmt.Sprint("md-", i)}}})
		}
		first, _, _ := strings.Cut(textOf(t, p, render.Options{}), "2. ")
		if !strings.Contains(first, "from template t"+want) {
			t.Errorf("%d at once:\n%s", n, first)
		}
	}
}

func TestBlockedByOne(t *testing.T) {
	t.Parallel()
	p := plans()["blocked"]
	if got := textOf(t, p, render.Options{}); !strings.Contains(got, "BLOCKED by 2 problems, nothing can be applied. Without them:") {
		t.Errorf("of two problems it says\n%s", got)
	}
	p.Findings = p.Findings[1:]
	if got := textOf(t, p, render.Options{}); !strings.Contains(got, "BLOCKED by 1 problem, nothing can be applied. Without it:") {
		t.Errorf("of one problem it says\n%s", got)
	}
}
