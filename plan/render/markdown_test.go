package render_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	table "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/renderer/html"
	gmtext "github.com/yuin/goldmark/text"

	"nodepool/plan"
	"nodepool/plan/render"
)

// github renders as GitHub does before it takes out what HTML it does not
// trust: HTML passes, so that a test sees it. As XHTML, an XML parser tells
// whether all that opens closes.
var github = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe(), html.WithXHTML()))

// markup is what Markdown, HTML or GitHub would act on.
var markup = []string{
	"`", "``", "```", "````", "~~~", "`a", "a`", " ` ", "```\n</details>\n", "`````diff", "a`b``c```d",
	"|", "a|b", `a\|b`, `a\\|b`, "|:--|", "a | b | c | d | e | f | g", "\\", `\\`, "a\\\nb",
	"</details>", "<details>", "<!-- a", "-->", "<script>alert(1)</script>", "<img src=x onerror=y>", "<a href=b>c</a>", "<b", "&lt;b&gt;", "&#64;octocat", "&", "<?php", "<![CDATA[", "</code></summary></details>",
	"[a](http://b)", "![a](http://b)", "[a]: http://b", "[a][b]", "[^1]", "[ ]", "- [x] a", "<http://a.b>", "<a@b.c>",
	"http://a.example", "https://a.example/b?c=d.", "ftp://a.example", "www.a.example", "WWW.a.example", "a@b.example", "mailto:a@b.example", "xmpp:a@b.example",
	"@octocat", "@org/team", "a @octocat b", "(@octocat)", "#123", "GH-123", "owner/repo#1", "owner@0123456", "0123456789abcdef0123456789abcdef01234567", "deadbeef", "DEADBEEF", "deadbeef-a", "fixes #1",
	":smile:", ":+1:", "a :tada: b", "\U0001f680",
	"# a", "## a", "- a", "+ a", "* a", "1. a", "1) a", "> a", "    a", "\ta", "---", "===", "***", "a\n---", "a\n===",
	"*a*", "**a**", "_a_", "__a__", "~~a~~", "~a~", "$a$", "$$a$$", "$`a`$", "a$ $b", "***", "*_`[", "a\n\n# b\n\n",
	"```mermaid\ngraph TD\n```", "@@ -1 +1 @@", "‹new template›", "‹pool›", "[!CAUTION]", "\x00", "{{ a }}", "{% a %}", "a…b",
}

func markdownOf(t *testing.T, p plan.Plan, o render.Options) string {
	t.Helper()
	var b strings.Builder
	if err := render.Markdown(&b, p, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	// inert is text that neither Markdown nor GitHub acts on.
	inert   = regexp.MustCompile(`^[\pL\pN .,;:!?()"'“”‘’…→–—·‹›⛔⚠\x{fe0f}-]*$`)
	acted   = regexp.MustCompile(`(?i):[a-z0-9_+-]+:|www\.\S|\b[0-9a-f]{7,}\b|\bgh-[0-9]`)
	heading = regexp.MustCompile(`^(⛔ Blocked(: [0-9]+ problems? to solve first)?|⚠️ [0-9]+ warnings? to weigh|Pools|Changes|To delete)$`)
	opens   = regexp.MustCompile(`^<details>\n<summary>[^\n]*</summary>\n$`)
)

// inspect fails unless md holds nothing but what Markdown writes itself, and
// gives its blocks: what the document is made of without its words.
func inspect(t *testing.T, md string) (blocks []string) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf(format+"\n%s", append(args, md)...)
	}
	for _, l := range strings.Split(strings.ReplaceAll(md, "⚠️", ""), "\n") {
		visible(t, l)
	}
	source := []byte(md)
	var inline strings.Builder
	err := ast.Walk(github.Parser().Parse(gmtext.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		if n.Type() == ast.TypeBlock {
			blocks = append(blocks, n.Kind().String())
			inline.WriteByte('\n')
		}
		switch n := n.(type) {
		case *ast.Link, *ast.Image, *ast.AutoLink, *ast.RawHTML, *table.TaskCheckBox, *table.Strikethrough, *ast.Blockquote, *ast.CodeBlock, *ast.ThematicBreak:
			fail("a %s", n.Kind())
		case *ast.CodeSpan:
			inline.WriteByte('`')
			return ast.WalkSkipChildren, nil
		case *ast.Text:
			s := string(n.Segment.Value(source))
			if !inert.MatchString(s) {
				fail("bare text: %q", s)
			}
			if n.SoftLineBreak() || n.HardLineBreak() {
				fail("a line break after %q", s)
			}
			inline.WriteString(s)
		case *ast.Heading:
			words := string(n.Lines().Value(source))
			if n.Level == 2 && len(blocks) == 1 && (strings.HasPrefix(words, "Upgrade `") || strings.HasPrefix(words, "Prune of cluster `")) {
				break
			}
			if n.Level != 3 || !heading.MatchString(words) {
				fail("a heading: %q", words)
			}
		case *ast.List:
			if n.IsOrdered() {
				fail("a list of numbers")
			}
		case *ast.HTMLBlock:
			if s := string(n.Lines().Value(source)); s != "</details>\n" && !opens.MatchString(s) {
				fail("HTML: %q", s)
			}
		case *ast.FencedCodeBlock:
			if info := string(n.Language(source)); info != "diff" && info != "" {
				fail("a code block: %q", info)
			}
			for i := range n.Lines().Len() {
				seg := n.Lines().At(i)
				if l := string(seg.Value(source)); n.Info != nil && !strings.ContainsRune("-+!#@ ", rune(l[0])) {
					fail("a line without a mark: %q", l)
				}
			}
		case *table.TableRow, *table.TableHeader:
			// A cell too many would not be in the tree.
			cell := n.FirstChild()
			at := cell.Lines().At(0).Start
			line := md[strings.LastIndexByte(md[:at], '\n')+1:]
			line, _, _ = strings.Cut(line, "\n")
			if got, want := strings.Count(line, "|"), n.Parent().FirstChild().ChildCount()+1; got != want {
				fail("%d pipes, want %d: %s", got, want, line)
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found := acted.FindString(inline.String()); found != "" {
		fail("GitHub acts on %q", found)
	}
	checkHTML(t, md)
	return blocks
}

// checkHTML fails unless the rendered page is well-formed and made of the
// elements that we use, with its details side by side.
func checkHTML(t *testing.T, md string) {
	t.Helper()
	var page bytes.Buffer
	if err := github.Convert([]byte(md), &page); err != nil {
		t.Fatal(err)
	}
	var open []string
	for d := xml.NewDecoder(io.MultiReader(strings.NewReader("<page>"), &page, strings.NewReader("</page>"))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, md)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if !slices.Contains(strings.Fields("page h2 h3 p strong b code pre ul li table thead tbody tr th td details summary"), e.Name.Local) {
				t.Fatalf("element %s\n%s", e.Name.Local, md)
			}
			for _, a := range e.Attr {
				if a.Name.Local != "style" && a.Name.Local != "align" && (a.Name.Local != "class" || a.Value != "language-diff") {
					t.Fatalf("attribute %s=%q\n%s", a.Name.Local, a.Value, md)
				}
			}
			if e.Name.Local == "details" && len(open) != 1 {
				t.Fatalf("details within %s\n%s", open, md)
			}
			open = append(open, e.Name.Local)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.Comment, xml.Directive:
			t.Fatalf("%T\n%s", e, md)
		}
	}
}

func FuzzMarkdown(f *testing.F) {
	hostile(f)
	benign := around("md-0")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1000 { // the text stands in many places, and a fuzzer takes what is slow for hung
			return
		}
		p := around(s)
		blocks := inspect(t, markdownOf(t, p, render.Options{}))
		inspect(t, markdownOf(t, p, render.Options{Full: true}))
		if s != "" && len(s) < 60 { // a remedy that is empty is not written; a longer plan is cut
			if d := cmp.Diff(inspect(t, markdownOf(t, benign, render.Options{})), blocks); d != "" {
				t.Errorf("blocks (-of a harmless plan +got):\n%s", d)
			}
		}
	})
}

// FuzzMarkdownCut is FuzzMarkdown for a plan that is so long that it is cut.
func FuzzMarkdownCut(f *testing.F) {
	for _, s := range []string{"`", "```\n", "|", "</details>", "@octocat ", "[a](http://b)", "漢", "\xff", "A", "a ", "‹pool› "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || len(s) > 1000 {
			return
		}
		p := around(s)
		line := strings.Repeat(s, 200/len(s)+1) + "\n"
		much, _ := json.Marshal(strings.Repeat(s, 35000/len(s)))
		lines, _ := json.Marshal(strings.Repeat(line, 35000/len(line)))
		p.Steps[2].Patch.Changes = append(p.Steps[2].Patch.Changes, plan.Change{Path: "/spec/much", Before: much, After: lines})
		p.Steps[2].Note, p.Findings[0].Message = strings.Repeat(s, 3000/len(s)), strings.Repeat(s, 3000/len(s))
		twin := p.Steps[2]
		twin.Pool += "2"
		p.Steps = append(p.Steps, twin)
		md := markdownOf(t, p, render.Options{})
		inspect(t, md)
		if len(s) < 60 && len(md) >= githubLimit {
			t.Errorf("%d bytes", len(md))
		}
	})
}

func TestMarkdownOfFixtures(t *testing.T) {
	for name, p := range plans() {
		t.Run(name, func(t *testing.T) { inspect(t, markdownOf(t, p, render.Options{})) })
	}
}

// TestMarkdownLosesNothing: however long the plan, every pool with its numbers,
// every risk, every change's path and every new name is there.
func TestMarkdownLosesNothing(t *testing.T) {
	for name, made := range map[string]func(int) plan.Plan{"own": fleet, "same": sameFleet, "scripts": scripts} {
		for _, n := range []int{1, 10, 50} {
			t.Run(fmt.Sprint(name, n), func(t *testing.T) {
				p := made(n)
				md := markdownOf(t, p, render.Options{})
				inspect(t, md)
				rows := strings.Split(md, "\n")
				for _, i := range p.Impact {
					want := fmt.Sprintf("`%s` |", i.Pool)
					end := fmt.Sprintf("| **%d replaced** | %d | %d | %d |", i.Machines, i.Waves, i.Peak, i.Floor)
					if !slices.ContainsFunc(rows, func(l string) bool { return strings.Contains(l, want) && strings.HasSuffix(l, end) }) {
						t.Errorf("no row of %s with %s", i.Pool, end)
					}
				}
				for _, f := range p.Findings {
					if f.Severity != plan.Pass && !strings.Contains(md, "**`"+f.Code+"`**") {
						t.Errorf("no risk %s", f.Code)
					}
				}
				for _, s := range p.Steps {
					var changes []plan.Change
					if s.Create != nil {
						changes = s.Create.Changes
						if !strings.Contains(md, s.Create.Ref.Name) {
							t.Errorf("no word of %s", s.Create.Ref.Name)
						}
					}
					if s.Patch != nil {
						changes = s.Patch.Changes
						if !strings.Contains(md, s.Patch.Run.After) {
							t.Errorf("no word of %s", s.Patch.Run.After)
						}
					}
					for _, c := range changes {
						if !strings.Contains(md, " "+c.Path.Dotted()+":") {
							t.Errorf("no word of %s", c.Path)
						}
					}
				}
			})
		}
	}
}

func TestMarkdownOfManyPools(t *testing.T) {
	const note = "Long text is cut here"
	own, same, long := markdownOf(t, fleet(50), render.Options{}), markdownOf(t, sameFleet(50), render.Options{}), markdownOf(t, scripts(10), render.Options{})
	if got := strings.Count(same, "<b>50 pools</b> with changes of the same fields: <code>md-00</code>, <code>md-01</code> and 48 more"); got != 1 {
		t.Errorf("pools that are the same stand in %d sections together:\n%s", got, same)
	}
	if strings.Contains(same, note) || strings.Count(same, "+   a line of the script") != 100 {
		t.Errorf("what had room was cut:\n%s", same)
	}
	if !strings.Contains(same, "! spec.template.spec.infrastructureRef.name: ‹pool› → ‹new template›") || !strings.Contains(same, "\nmd-07   md-07-1a2b3c4d") {
		t.Errorf("names are missing:\n%s", same)
	}
	for i := range 50 {
		for _, want := range []string{fmt.Sprintf("\naws-example-eu-central-1-md-%02d  ami-%017x  ami-%017x  %d ", i, 0x123456789+i, 0xfedcba9876+i, 100+i)} {
			if !strings.Contains(own, want) {
				t.Errorf("no word of %s:\n%s", want, own)
			}
		}
	}
	if !strings.Contains(long, note) || !strings.Contains(long, "`nodepool show -o json FILE`") || !strings.Contains(long, "changed lines more") ||
		!strings.Contains(long, "\n-   echo 0 of pool 7\n") || !strings.Contains(long, "\n+   printf '%s' 0 of pool 7\\x20\n") {
		t.Errorf("what was cut is not told:\n%s", long)
	}
}

// Two values that differ behind the cut must not look the same.
func TestMarkdownCutValuesDiffer(t *testing.T) {
	long := strings.Repeat("b", 70000)
	got := markdownOf(t, upgrade(patch("md", plan.Change{Path: "/spec/x", Before: text(long + "1"), After: text(long + "2")})), render.Options{})
	lines := regexp.MustCompile(`(?m)^[-+]   (b+….*)$`).FindAllStringSubmatch(got, -1)
	if len(lines) != 2 || lines[0][1] == lines[1][1] {
		t.Errorf("got\n%s", got)
	}
}

func TestMarkdownTooLong(t *testing.T) {
	p := upgrade(preflight("cluster-paused"))
	for i := range 1200 {
		p.Impact = append(p.Impact, rolled(fmt.Sprintf("md-%04d", i), 1))
	}
	p.Steps = append(p.Steps, patch("md-0000", version))
	got := markdownOf(t, p, render.Options{})
	if !strings.Contains(got, "too long for a comment") || !strings.Contains(got, "| `md-1199` |") {
		t.Error("a plan that cannot be cut must say so and be whole")
	}
}

func TestMarkdownProse(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"the control plane runs v1.34.3, and (so far) nothing's wrong: wait.", "the control plane runs `v1.34.3`, and (so far) nothing's wrong: wait."},
		{"3 of 3 pods", "3 of 3 pods"},
		{"ask @octocat or see #12, owner/repo#1 and http://a.example.", "ask `@octocat` or see `#12`, `owner/repo#1` and `http://a.example`."},
		{":tada: `x` ``y``", "`:tada`: `` `x` `` ``` ``y`` ```"},
		{"a|b <b>\nx", "`a\\u{7c}b` `<b>\\nx`"},
		{"commit deadbeef 1234567 DEADBEEF-a", "commit `deadbeef` `1234567` `DEADBEEF-a`"},
		{"a → b - c", "a → b - c"},
		{"größer 漢字", "größer 漢字"},
		{"", "(no words)"},
		{"1. one", "1. one"},
	} {
		p := upgrade()
		p.Findings = []plan.Finding{{Code: "c", Severity: plan.Warn, Message: tt.in}}
		if got := markdownOf(t, p, render.Options{}); !strings.Contains(got, "\n- **`c`**: "+tt.want+"\n") {
			t.Errorf("%q: want %s, got\n%s", tt.in, tt.want, got)
		}
	}
}

func TestMarkdownDiff(t *testing.T) {
	for _, tt := range []struct{ name, before, after, want string }{
		{"short", `"a"`, `"b"`, "! spec.x: a → b"},
		{"long values below each other", `"` + strings.Repeat("a", 60) + `"`, `"` + strings.Repeat("b", 60) + `"`, "! spec.x:\n-   " + strings.Repeat("a", 60) + "\n+   " + strings.Repeat("b", 60)},
		{"a secret of the same length", sealed("a", "24"), sealed("b", "24"), "! spec.x: changed (sealed, 24 → 24 bytes)"},
		{"a secret inside", `[` + sealed("a", "24") + `]`, `[` + sealed("b", "24") + `]`, "! spec.x:\n!   - changed (sealed, 24 → 24 bytes)"},
		{"a fence within a value", ``, "\"a\\n```\\n</details>\\n\"", "````diff\n@@ patch MachineDeployment default/md @@\n+ spec.x: |\n+   a\n+   ```\n+   </details>\n#"},
		{"a fence in an unchanged line", "\"```\\na\"", "\"```\\nb\"", "! spec.x:\n    |-\n    ```\n-   a\n+   b\n"},
		{"a space at the end", `"a\n"`, `"a \n"`, "-   a\n+   a\\x20\n"},
		{"far lines are left out", `"a` + strings.Repeat(`\nsame`, 20) + `"`, `"b` + strings.Repeat(`\nsame`, 20) + `"`, "    same\n    … 17 unchanged lines\n"},
		{"a value that looks like a role", `"‹pool›"`, ``, `- spec.x: "‹pool›"`},
	} {
		got := markdownOf(t, upgrade(patch("md", plan.Change{Path: "/spec/x", Before: raw(tt.before), After: raw(tt.after)})), render.Options{})
		inspect(t, got)
		if !strings.Contains(got, "\n"+tt.want) && !strings.Contains(got, tt.want) {
			t.Errorf("%s: want\n%s\ngot\n%s", tt.name, tt.want, got)
		}
	}
}

// A risk that several pools share is told once, with all of them.
func TestMarkdownSharedRisks(t *testing.T) {
	p := upgrade(preflight("c"))
	for _, pool := range []string{"md-0", "md-1", "md-2"} {
		p.Findings = append(p.Findings, plan.Finding{Code: "c", Severity: plan.Warn, Pool: pool, Message: "the same words"})
	}
	p.Findings = append(p.Findings, plan.Finding{Code: "c", Severity: plan.Warn, Pool: "md-3", Message: "the same words", Remedy: "another remedy"})
	got := markdownOf(t, p, render.Options{})
	for _, want := range []string{"4 warnings to weigh", "- **`c`** (pools `md-0`, `md-1` and `md-2`): the same words\n- **`c`** (pool `md-3`): the same words\n  - **Remedy:** another remedy\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %s, got\n%s", want, got)
		}
	}
}

func TestMarkdownShowsNoHash(t *testing.T) {
	for name, p := range plans() {
		if got := markdownOf(t, p, render.Options{Full: true}); strings.Contains(got, "hmac-sha256") {
			t.Errorf("%s shows a keyed hash:\n%s", name, got)
		}
	}
}

// Neither the flag nor the findings are signed: the worse of the two is shown.
func TestMarkdownBlockedByEither(t *testing.T) {
	flag := upgrade()
	flag.Blocked = true
	finding := upgrade(patch("md", version))
	finding.Findings = []plan.Finding{{Code: "c", Severity: plan.Block, Message: "m"}}
	for name, p := range map[string]plan.Plan{"flag": flag, "finding": finding} {
		got := markdownOf(t, p, render.Options{})
		if !strings.Contains(got, "nothing can be applied.**") || strings.Contains(got, "No changes") || strings.Contains(got, "--expect") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

func TestMarkdownWriteErrorsAreReturned(t *testing.T) {
	if render.Markdown(broken{}, upgrade(), render.Options{}) == nil {
		t.Error("an error of the writer was lost")
	}
}
