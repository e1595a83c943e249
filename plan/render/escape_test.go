package render_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"nodepool/plan"
	"nodepool/plan/render"
)

func TestEscape(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"md-0 v1.35.2 → “ok” · ✗", "md-0 v1.35.2 → “ok” · ✗"},
		{"ümlaut 漢字 🚀", "ümlaut 漢字 🚀"},
		{"a\nb\r\tc", `a\nb\r\tc`},
		{"\x1b[31mred\x1b[0m\x00\x7f", `\x1b[31mred\x1b[0m\x00\x7f`},
		{"\u009b31m\u0085", `\u{9b}31m\u{85}`},
		{"a\u202eb\u2066c\u200ed\u061c", `a\u{202e}b\u{2066}c\u{200e}d\u{61c}`},
		{"a\u200bb\u200dc\ufeffd\u00ad", `a\u{200b}b\u{200d}c\u{feff}d\u{ad}`},
		{"a\u2028b\u2029c\u00a0d\u3000", `a\u{2028}b\u{2029}c\u{a0}d\u{3000}`},
		{"e\u0301\u20dd", `e\u{301}\u{20dd}`},
		{"\u3164\u115f\u2800\u034f\ufe0f\U000e0041", `\u{3164}\u{115f}\u{2800}\u{34f}\u{fe0f}\u{e0041}`},
		{"\U000f0000\ufff9", `\u{f0000}\u{fff9}`},
		{"של", `\u{5e9}\u{5dc}`},
		{"\xff\xc3(", `\xff\xc3(`},
		{"\xed\xa0\x80", `\xed\xa0\x80`},
		{`C:\new`, `C:\new`},
		{"�", "�"},
	} {
		if got := render.Escape(tt.in); got != tt.want {
			t.Errorf("Escape(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

// visible fails unless every rune of s shows itself where it stands.
func visible(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Fatalf("no UTF-8: %q", s)
	}
	for _, r := range s {
		if r != ' ' && !unicode.IsGraphic(r) || r != ' ' && unicode.IsSpace(r) ||
			unicode.In(r, unicode.Cf, unicode.Mn, unicode.Me, unicode.Hebrew, unicode.Arabic, unicode.Bidi_Control, unicode.Other_Default_Ignorable_Code_Point) {
			t.Fatalf("%U is shown as it is: %q", r, s)
		}
	}
}

func hostile(f *testing.F) {
	for _, s := range markup {
		f.Add(s)
	}
	for _, s := range []string{"", "md-0", "a\x1b[2Jb", "\u202e\u200b\n", "\u009b1A", "\xff", "- a: b", "a: b", "a #b", "| x", "~", "0x1f", "1e3", "on", "a\nb\n\n", "\n", " a\n b", "a\n\tb\n", "a\r\nb", "---\nx", "… → +", `"\`, "Digest: sha256:1", "\U0001f468\u200d\U0001f469", "key:", "漢字"} {
		f.Add(s)
	}
}

func FuzzEscape(f *testing.F) {
	hostile(f)
	f.Fuzz(func(t *testing.T, s string) {
		got := render.Escape(s)
		visible(t, got)
		if again := render.Escape(got); again != got {
			t.Errorf("not stable: %q, then %q", got, again)
		}
		for n := range 12 {
			if c := render.Columns(render.Truncate(got, n)); c > n {
				t.Errorf("Truncate(%q, %d) takes %d columns", got, n, c)
			}
		}
	})
}

// around builds a plan in which s stands wherever a string can.
func around(s string) plan.Plan {
	value, _ := json.Marshal(s)
	object, _ := json.Marshal(map[string]any{"k" + s: s, "list": []any{s, []any{s, map[string]any{s: nil}}, map[string]any{}}, "n": 1})
	change := []plan.Change{
		{Path: plan.PointerTo("spec", s), Before: value, After: object},
		{Path: plan.PointerTo("spec", "x"), After: value},
		{Path: plan.PointerTo("spec", "y"), Before: object, After: json.RawMessage(`{}`)},
		{Path: plan.PointerTo("spec", "z"), Before: value, After: json.RawMessage(`"v"`)},
	}
	pool := "p" + s // never empty: that is a step of the cluster
	p := upgrade(preflight(s), create(pool, awsTemplate(s), awsTemplate(s), change...), patch(pool, change...), wait(pool, s, s))
	for i := range p.Steps {
		p.Steps[i].Note = s
		p.Steps[i].Facts = []plan.Fact{{Object: deployment(s), Path: plan.PointerTo(s), Equals: object, Because: s}}
	}
	p.Upgrade.Name, p.Upgrade.Cluster.Name = s, s
	p.Findings = []plan.Finding{
		{Code: s, Severity: plan.Warn, Pool: s, Object: deployment(s), Message: s, Remedy: s, Waived: s},
		{Code: s, Severity: plan.Pass, Message: s}, {Code: "x" + s, Severity: plan.Pass, Pool: s, Message: s}}
	p.Impact = []plan.PoolImpact{{Pool: pool, Action: plan.Replace, Machines: 1, Waves: 1, Note: s}}
	p.Steps[3].Wait.StallAfter, p.Steps[3].Wait.Version = s, s
	return p
}

func FuzzText(f *testing.F) {
	hostile(f)
	f.Fuzz(func(t *testing.T, s string) {
		p := around(s)
		for _, o := range []render.Options{{}, {Width: 60}, {Width: 1}, {Full: true, Width: 90}} {
			var b strings.Builder
			if err := render.Text(&b, p, o); err != nil {
				t.Fatal(err)
			}
			ours := map[string]int{}
			for _, l := range strings.Split(b.String(), "\n") {
				visible(t, l)
				if l != "" && l[0] != ' ' {
					head, _, _ := strings.Cut(l, " ")
					ours[head]++
				}
			}
			// What begins at the margin is ours, and there once.
			want := map[string]int{"Upgrade": 1, "1": 1, "Pools": 1, "Steps": 1, "Plan:": 1, "Digest:": 1}
			if o.Width == 1 {
				continue // too narrow even for that
			}
			if d := cmp.Diff(want, ours); d != "" {
				t.Errorf("lines at the margin (-want +got):\n%s\n%s", d, b.String())
			}
		}
	})
}

func FuzzDataReadsBack(f *testing.F) {
	hostile(f)
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 300 { // YAML bounds the length of a key
			t.Skip()
		}
		p := around(s)
		plain, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var asJSON, asYAML bytes.Buffer
		if err := render.JSON(&asJSON, p); err != nil {
			t.Fatal(err)
		}
		if err := render.YAML(&asYAML, p); err != nil {
			t.Fatal(err)
		}
		var layout bytes.Buffer
		if err := json.Indent(&layout, plain, "", "  "); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(render.EscapeJSON(layout.Bytes()))+"\n", asJSON.String()); d != "" {
			t.Errorf("not in the layout of json.Indent (-want +got):\n%s", d)
		}
		for _, l := range strings.Split(asJSON.String()+asYAML.String(), "\n") {
			visible(t, l)
		}
		back, err := yaml.YAMLToJSON(asYAML.Bytes())
		if err != nil {
			t.Fatalf("%v\n%s", err, asYAML.String())
		}
		var want, gotJSON, gotYAML any
		for to, from := range map[*any][]byte{&want: plain, &gotJSON: asJSON.Bytes(), &gotYAML: back} {
			if err := json.Unmarshal(from, to); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, gotJSON); d != "" {
			t.Errorf("JSON (-want +got):\n%s", d)
		}
		if d := cmp.Diff(want, gotYAML); d != "" {
			t.Errorf("YAML (-want +got):\n%s\n%s", d, asYAML.String())
		}
	})
}
