package plan_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// example is a plan with every kind of step, change and value.
func example(t testing.TB) plan.Plan {
	t.Helper()
	p := compile(t, clustertest.AWSExample(), upgrade(t, everything))
	if len(p.Steps) < 8 {
		t.Fatalf("only %q", stepsOf(p))
	}
	return p
}

func TestWriteRead(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]plan.Plan{
		"every kind of step": example(t),
		"nothing to do":      compile(t, clustertest.AWSExample(), onePool(t, "kubernetesVersion: v1.34.3")),
		"no cluster":         compile(t, clustertest.AWSExample(), upgradeOf(t, "elsewhere", "pools: [{name: a, kubernetesVersion: v1.34.3}]")),
	} {
		t.Run(name, func(t *testing.T) {
			data := encode(t, p)
			got, err := plan.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(p, got); d != "" {
				t.Errorf("(-written +read):\n%s", d)
			}
			sameBytes(t, "written again", data, encode(t, got))
			if !bytes.HasSuffix(data, []byte("\n")) || !p.Digest.Valid() || got.Sum() != p.Digest {
				t.Error("no newline at the end, or no digest")
			}
		})
	}
}

// TestReadOtherLayout: layout, comments and the order of fields are no content.
func TestReadOtherLayout(t *testing.T) {
	t.Parallel()
	p := example(t)
	data := encode(t, p)
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		t.Fatal(err)
	}
	kept, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var wide bytes.Buffer
	if err := json.Indent(&wide, data, "\t", "     "); err != nil {
		t.Fatal(err)
	}
	reflowed, err := yaml.JSONToYAML(data)
	if err != nil {
		t.Fatal(err)
	}
	commented := "# Reviewed by two people.\n---\n" + strings.ReplaceAll(string(reflowed), "\nsteps:", " # not a word of this counts\n\n\nsteps: # these do")
	if !strings.Contains(commented, "these do") {
		t.Fatal("the comment has no place")
	}
	for name, other := range map[string]string{
		"compact":             compact.String(),
		"as a journal has it": string(kept),
		"wide":                wide.String(),
		"no newline":          strings.TrimSpace(string(data)),
		"more newlines":       "\n\n" + string(data) + "\n\n",
		"CRLF":                strings.ReplaceAll(string(data), "\n", "\r\n"),
		"YAML":                string(reflowed),
		"YAML with comments":  commented,
		"escaped":             strings.ReplaceAll(string(data), "RollingUpdate", `\u0052olling\u0055pdate`),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := plan.Read([]byte(other))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(p, got); d != "" {
				t.Errorf("(-plan +read):\n%s", d)
			}
		})
	}
}

// TestReadUnsigned: what was seen at plan time is not signed.
func TestReadUnsigned(t *testing.T) {
	t.Parallel()
	p := example(t)
	changed := p
	changed.Blocked, changed.Findings, changed.Impact = true, nil, nil
	if changed.Sum() != p.Digest {
		t.Error("findings and impact are signed")
	}
	if _, err := plan.Read(encode(t, changed)); err != nil {
		t.Error(err)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	data := string(encode(t, example(t)))
	one := func(from, to string) string {
		if strings.Count(data, from) == 0 {
			t.Fatalf("%q is not in the plan", from)
		}
		return strings.Replace(data, from, to, 1)
	}
	resign := func(change func(*plan.Plan)) string {
		p := example(t)
		change(&p)
		p.Digest = p.Sum()
		return string(encode(t, p))
	}
	tests := []struct {
		name, data string
		words      []string
	}{
		{"nothing", "", []string{"empty", "nodepool plan"}},
		{"white space", " \n\t\n", []string{"empty"}},
		{"not JSON, not YAML", "\x00\x01{]", []string{"neither JSON nor YAML"}},
		{"a list", "[1, 2]", []string{"JSON nor YAML"}},
		{"a word", "hello", []string{"JSON nor YAML"}},
		{"an upgrade", "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\n", []string{`of kind "NodePoolUpgrade", not a Plan`, "nodepool plan wrote"}},
		{"an object of the cluster", "apiVersion: v1\nkind: Secret\ndata: {}\n", []string{`of kind "Secret"`}},
		{"no kind", "{}", []string{`of kind ""`}},
		{"a later format", one(`"nodepool/v1alpha1"`, `"nodepool/v2"`), []string{`"nodepool/v2"`, "reads nodepool/v1alpha1", "release of nodepool that wrote it"}},
		{"a value edited", one(`"m5.xlarge"`, `"m5.24xlarge"`), []string{"edited or cut", "reviewed"}},
		{"a fact edited", one(`"equals": "RollingUpdate"`, `"equals": "OnDelete"`), []string{"edited or cut"}},
		{"a fact removed", one(`"equals": "RollingUpdate",`, ``), []string{"edited or cut"}},
		{"a UID edited", one(`"uid": "0000`, `"uid": "1000`), []string{"edited or cut"}},
		{"a note edited", one("Creating a template changes no machine.", "Trust me."), []string{"edited or cut"}},
		{"machines edited", one(`"machines": 3`, `"machines": 0`), []string{"says of machines and checks", "was edited", "reviewed"}},
		{"a finding edited", one(`"severity": "pass"`, `"severity": "warn"`), []string{"was edited"}},
		{"unblocked", one(`"blocked": false`, `"blocked": true`), []string{"was edited"}},
		{"a key in another case", one(`"steps"`, `"Steps"`), []string{"edited or re-encoded"}},
		{"a byte order mark", "\ufeff" + data, []string{"byte order mark"}},
		{"UTF-16", "\xff\xfe{\x00}\x00", []string{"re-encoded"}},
		{"the digest edited", one(`"digest": "sha256:`, `"digest": "sha256:0`), []string{"edited or cut"}},
		{"no digest", one(`"digest"`, `"blocked": false, "spec"`), []string{"cannot be read"}},
		{"the upgrade's spec edited", one(`"ami-new"`, `"ami-other"`), []string{"edited or cut"}},
		{"a field on top", one(`"blocked"`, `"extra": 1, "blocked"`), []string{"cannot be read", "extra"}},
		{"a field of a step", one(`"create": {`, `"force": true, "create": {`), []string{"cannot be read", "force"}},
		{"a field deep inside", one(`"basedOn": {`, `"basedOn": {"evil": 1,`), []string{"cannot be read", "evil"}},
		{"a field of a change", one(`"path": "/spec/template`, `"apply": "now", "path": "/spec/template`), []string{"cannot be read", "apply"}},
		{"a field twice", one(`"kind": "Plan"`, `"kind": "Plan", "kind": "Plan"`), []string{"cannot be read", "kind"}},
		{"two plans", data + "\n---\n" + data, []string{"more than one document"}},
		{"something behind it", data + "\n{}", []string{"more than one document"}},
		{"a step of two kinds", resign(func(p *plan.Plan) { p.Steps[1].Wait = &plan.Wait{} }), []string{"cannot be used", `"aws-example-md-0/create-infrastructure-template" does 2 things`}},
		{"a step of no kind", resign(func(p *plan.Plan) { p.Steps[1].Create = nil }), []string{"does 0 things"}},
		{"a spec that is another's", resign(func(p *plan.Plan) { p.Upgrade.Content = json.RawMessage(`{"cluster":{"name":"other"}}`) }), []string{"does not go with the upgrade"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := plan.Read([]byte(test.data))
			var refused *plan.FileError
			if !errors.As(err, &refused) {
				t.Fatalf("the error is %v", err)
			}
			if refused.Why == "" || refused.Remedy == "" || strings.Contains(err.Error(), "\n") {
				t.Errorf("not in one line why and what to do: %q", err)
			}
			mustContain(t, err.Error(), test.words...)
			// In the layout of the journal it is refused as well, and for the same.
			var compact, kept bytes.Buffer
			if json.Compact(&compact, []byte(test.data)) != nil {
				return
			}
			json.HTMLEscape(&kept, compact.Bytes())
			_, err = plan.Read(kept.Bytes())
			if err == nil {
				t.Fatal("as a journal has it, it is taken")
			}
			mustContain(t, err.Error(), test.words...)
		})
	}
}

func TestReadRefusesCut(t *testing.T) {
	t.Parallel()
	data := bytes.TrimSpace(encode(t, example(t)))
	for n := 0; n < len(data); n += 1 + n/97 {
		if p, err := plan.Read(data[:n]); err == nil {
			t.Fatalf("cut after %d of %d bytes it is a plan of %d steps", n, len(data), len(p.Steps))
		}
	}
	if _, err := plan.Read(data[:len(data)-1]); err == nil {
		t.Error("without its last bracket it is a plan")
	}
}

// FuzzRead: no input brings Read down, and whatever it takes is written as
// the same plan again.
func FuzzRead(f *testing.F) {
	// Small, for speed: TestWriteRead has the large one.
	small := plan.Plan{APIVersion: plan.APIVersion, Kind: plan.Kind, Steps: []plan.Step{
		{ID: "a/create", Create: &plan.Create{Changes: []plan.Change{{Path: "/a~1b", Before: json.RawMessage(`{"x":[1,2.5,"<&>"]}`), After: json.RawMessage(`"ü"`)}}}},
		{ID: "a/patch", Facts: []plan.Fact{{Path: "/a", Equals: json.RawMessage("1")}}, Patch: &plan.Patch{UID: "u"}},
	}}
	small.Digest = small.Sum()
	data := encode(f, small)
	if _, err := plan.Read(data); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	reflowed, err := yaml.JSONToYAML(data)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reflowed)
	f.Add([]byte(`{"apiVersion":"nodepool/v1alpha1","kind":"Plan","steps":[{"patch":{"changes":[{"path":"a","before":1e3,"after":null}]},"facts":[{"equals":-0.0}]}]}`))
	f.Add([]byte("a: &a [*a, *a]\nkind: Plan\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(data []byte) {
			p, err := plan.Read(data)
			var refused *plan.FileError
			switch {
			case err == nil:
				again := encode(t, p)
				q, err := plan.Read(again)
				if err != nil {
					t.Fatalf("taken, and written again refused: %v\n%s", err, again)
				}
				if q.Digest != p.Digest || q.Sum() != p.Sum() {
					t.Fatalf("the digest goes from %s to %s", p.Digest, q.Digest)
				}
				sameBytes(t, "written twice", again, encode(t, q))
			case !errors.As(err, &refused):
				t.Fatalf("the error is %v", err)
			}
		}
		check(data)
		// Signed again, as by someone who computes the digest of what they
		// made up: this gets past the digest into what comes behind it.
		var p plan.Plan
		if json.Unmarshal(data, &p) == nil {
			p.APIVersion, p.Kind = plan.APIVersion, plan.Kind
			p.Digest = p.Sum()
			if data, err := plan.Write(p); err == nil {
				check(data)
			}
		}
	})
}

func TestPointer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		tokens  []string
		pointer plan.Pointer
		dotted  string
	}{
		{nil, "", ""},
		{[]string{"spec", "replicas"}, "/spec/replicas", "spec.replicas"},
		{[]string{"metadata", "annotations", "nodepool/run"}, "/metadata/annotations/nodepool~1run", `metadata.annotations["nodepool/run"]`},
		{[]string{"a~1b", "~"}, "/a~01b/~0", "a~1b.~"},
		{[]string{"files", "0", "content"}, "/files/0/content", "files[0].content"},
		{[]string{"", ""}, "//", "."},
	}
	for _, test := range tests {
		if got := plan.PointerTo(test.tokens...); got != test.pointer {
			t.Errorf("PointerTo(%q) is %q, want %q", test.tokens, got, test.pointer)
		}
		if got := test.pointer.Tokens(); !slices.Equal(got, test.tokens) {
			t.Errorf("the tokens of %q are %q, want %q", test.pointer, got, test.tokens)
		}
		if got := test.pointer.Dotted(); got != test.dotted && len(test.tokens) > 0 && test.tokens[0] != "" {
			t.Errorf("%q dotted is %q, want %q", test.pointer, got, test.dotted)
		}
	}
	for _, test := range []struct {
		p, q plan.Pointer
		want bool
	}{
		{"/a/b", "/a", true}, {"/a", "/a", true}, {"/a", "/a/b", false}, {"/ab", "/a", false}, {"/a", "", true},
	} {
		if got := test.p.Within(test.q); got != test.want {
			t.Errorf("%q within %q: %t", test.p, test.q, got)
		}
	}
}

// FuzzSeen: the digest of what is not signed is the one over sorted keys of what
// is read again, as the plans that are saved have it.
func FuzzSeen(f *testing.F) {
	for _, s := range []string{"", "plain", `a "b" \c`, `{"x":[1,{}],`, "}]", "\xff", "a\xff\xfe\ufffd", `\ufffd`, `\\ufffd`, "\\\xff", "<&>\u2028\n\x00\x7f", "漢字"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		p := plan.Plan{
			Blocked: true,
			Findings: []plan.Finding{{Code: s, Severity: plan.Block, NotVerified: true, Object: plan.Ref{Kind: s, Group: "g", Namespace: "n", Name: s}, Message: s, Remedy: s, Waived: s},
				{Pool: s, Message: "m"}, {}},
			Impact: []plan.PoolImpact{{Pool: s, Machines: n, Reuses: []string{s, s}, Note: s}, {}},
		}
		for _, p := range []plan.Plan{p, {Findings: p.Findings[1:]}, {}} {
			raw, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Seen plan.Digest }
			var tree map[string]any
			if err := errors.Join(json.Unmarshal(raw, &got), json.Unmarshal(raw, &tree)); err != nil {
				t.Fatal(err)
			}
			maps.DeleteFunc(tree, func(k string, _ any) bool { return !slices.Contains([]string{"blocked", "findings", "impact"}, k) })
			if impact, _ := tree["impact"].([]any); len(impact) > 0 {
				impact[0].(map[string]any)["machines"] = n // and not a float
			}
			var want bytes.Buffer
			enc := json.NewEncoder(&want)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(tree); err != nil {
				t.Fatal(err)
			}
			if d := plan.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(bytes.TrimSpace(want.Bytes())))); d != got.Seen {
				t.Errorf("%s is not the digest of %s", got.Seen, want.String())
			}
		}
	})
}

func FuzzPointer(f *testing.F) {
	f.Add("spec", "a/b", "~1")
	f.Add("", "~0~1", "0")
	f.Add("cluster.x-k8s.io/paused", "~~//", "ü")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		tokens := []string{a, b, c}
		p := plan.PointerTo(tokens...)
		if d := cmp.Diff(tokens, p.Tokens()); d != "" {
			t.Errorf("%q (-tokens +back):\n%s", p, d)
		}
		if q := plan.PointerTo(a).Append(b, c); q != p {
			t.Errorf("in two ways: %q and %q", p, q)
		}
		if !p.Within(plan.PointerTo(a, b)) || plan.PointerTo(a, b).Within(p) {
			t.Errorf("%q is not within its parent", p)
		}
	})
}

func TestDigest(t *testing.T) {
	t.Parallel()
	for d, want := range map[plan.Digest]bool{
		plan.Digest("sha256:" + strings.Repeat("a", 64)): true,
		plan.Digest("sha256:" + strings.Repeat("A", 64)): false,
		plan.Digest("sha256:" + strings.Repeat("a", 63)): false,
		"": false, "sha1:aa": false,
	} {
		if d.Valid() != want {
			t.Errorf("%q is valid: %t", d, d.Valid())
		}
	}
	shorts := map[string]string{"sha256:0123456789abcdef": "0123456789ab", "": "", "sha256:01": "01"}
	for _, d := range slices.Sorted(maps.Keys(shorts)) {
		if got := plan.Digest(d).Short(); got != shorts[d] {
			t.Errorf("%q is %q in short", d, got)
		}
	}
}
