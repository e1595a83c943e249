package jsonschema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"nodepool/plan"
	"nodepool/schema"
	"nodepool/schema/jsonschema"
)

var update = flag.Bool("update", false, "generate the schemas anew")

// TestGenerated holds both schemas, and their copies among the documents, to
// what the types and their comments say.
func TestGenerated(t *testing.T) {
	for name, doc := range map[string][]byte{"upgrade.json": upgradeSchema(t), "plan.json": planSchema(t)} {
		for _, file := range []string{name, filepath.Join("../../docs/schema", name)} {
			if *update {
				if err := os.WriteFile(file, doc, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(old), string(doc)); d != "" {
				t.Errorf("%s is not what the types say (-file +types); if the types are right, run go generate ./schema/jsonschema:\n%s", file, d)
			}
		}
	}
}

func compiled(t *testing.T, doc []byte) *validator.Schema {
	t.Helper()
	tree, err := validator.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("schema.json", tree); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tree reads YAML or JSON as an editor does.
func tree(t *testing.T, data []byte) (any, error) {
	t.Helper()
	raw, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, err
	}
	return validator.UnmarshalJSON(bytes.NewReader(raw))
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	out, err := filepath.Glob(pattern)
	if err != nil || len(out) == 0 {
		t.Fatalf("%s: no files: %v", pattern, err)
	}
	return out
}

func TestHead(t *testing.T) {
	for name, doc := range map[string][]byte{"upgrade.json": jsonschema.Upgrade(), "plan.json": jsonschema.Plan()} {
		var head struct {
			Schema string `json:"$schema"`
			ID     string `json:"$id"`
		}
		if err := json.Unmarshal(doc, &head); err != nil {
			t.Fatal(err)
		}
		if want := "https://json-schema.org/draft/2020-12/schema"; head.Schema != want {
			t.Errorf("%s: $schema is %q, want %q", name, head.Schema, want)
		}
		if want := "nodepool/v1alpha1/" + name; head.ID != want {
			t.Errorf("%s: $id is %q, want %q", name, head.ID, want)
		}
	}
}

// TestEveryFieldIsDescribed, since that is what an editor shows.
func TestEveryFieldIsDescribed(t *testing.T) {
	var doc struct {
		Properties map[string]struct{ Description string }
		Defs       map[string]struct {
			Description string
			Properties  map[string]struct{ Description string }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(jsonschema.Upgrade(), &doc); err != nil {
		t.Fatal(err)
	}
	for name, p := range doc.Properties {
		if p.Description == "" {
			t.Errorf("%s has no description", name)
		}
	}
	for name, def := range doc.Defs {
		for field, p := range def.Properties {
			if p.Description == "" {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
	}
}

// TestExamples: what schema.Read takes, the schema takes.
func TestExamples(t *testing.T) {
	s := compiled(t, jsonschema.Upgrade())
	for _, file := range append(files(t, "../../examples/*.yaml"), files(t, "../testdata/marshal/*.yaml")...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := schema.Read(file, data); err != nil {
			t.Fatal(err)
		}
		doc, err := tree(t, data)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// beyond are the mistakes that a schema cannot see: they are not in the tree
// that a reader of YAML gets, or lie between several values of it.
var beyond = []string{
	"both-zero-across", // one from defaults, one from a pool
	"nothing-to-change-defaults",
	"pool-twice",
	"key-ambiguous", "odd-keys-path", "patch-values", "tags", // how a value is written in YAML
	"too-deep",
	"trailing-dashes", "two-documents", "syntax-second-document", "syntax-end-marker", // a reader of one document sees the first
	"merge-key", "alias-bomb", "alias-cycle", "alias-key", "long-key", "duplicate-key",
}

// TestInvalid: every mistake of the tests of schema.Read is one to the schema
// too, save those beyond it.
func TestInvalid(t *testing.T) {
	s := compiled(t, jsonschema.Upgrade())
	for _, file := range files(t, "../testdata/invalid/*.yaml") {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := tree(t, data)
		if err != nil {
			continue // no YAML, or none with a meaning
		}
		err = s.Validate(doc)
		var invalid *validator.ValidationError
		switch expected := !slices.Contains(beyond, name); {
		case err != nil && !errors.As(err, &invalid):
			t.Errorf("%s: %v", name, err)
		case expected && err == nil:
			t.Errorf("%s: the schema takes it", name)
		case !expected && err != nil:
			t.Errorf("%s: the schema sees it after all; take it from the list", name)
		}
	}
}

// TestRules tries each rule from both sides.
func TestRules(t *testing.T) {
	s := compiled(t, jsonschema.Upgrade())
	pool := func(field string) string {
		return "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: up}\nspec:\n  cluster: {name: c}\n  pools: [{name: md-0, kubernetesVersion: v1.35.2, " + field + "}]\n"
	}
	for _, tc := range []struct {
		text string
		ok   bool
	}{
		{pool("machineImage: ami-1"), true},
		{pool("machineImage: 'ami 1'"), false},
		{pool("machineImage: ''"), false},
		{pool("machineImage: null"), false},
		{pool("strategy: {maxSurge: 0, maxUnavailable: 1}"), true},
		{pool("strategy: {maxSurge: 0, maxUnavailable: 0%}"), false},
		{pool("strategy: {maxSurge: 150%}"), true},
		{pool("strategy: {maxUnavailable: 100%}"), true},
		{pool("strategy: {maxUnavailable: 101%}"), false},
		{pool("strategy: {maxSurge: -1}"), false},
		{pool("strategy: {maxSurge: '1'}"), false},
		{pool("strategy: {maxSurge: 1.5}"), false},
		{pool("drain: {nodeDrainTimeout: 1h30m}"), true},
		{pool("drain: {nodeDrainTimeout: 0}"), true},
		{pool("drain: {nodeDrainTimeout: 0s}"), true},
		{pool("drain: {nodeDrainTimeout: 10}"), false},
		{pool("drain: {nodeDrainTimeout: 10 m}"), false},
		{pool("wait: {stallAfter: 90s}"), true},
		{pool("wait: {stallAfter: 0s}"), false},
		{pool("infrastructure: {any: {thing: [1, null, x]}}"), true},
		{pool("infrastructure: []"), false},
		{pool("bootstrap: {files: null}"), true},
		{pool("kubernetesVersoin: v1.35.2"), false},
		{pool("waive: []"), true},
		{pool("waive: [{check: version-skew, reason: 'CHG-4711: the machines are made by hand'}]"), true},
		{pool("waive: [{check: version-skew}]"), false},
		{pool("waive: [{reason: none}]"), false},
		{pool("waive: [{check: version-skew, reason: ' '}]"), false},
		{pool("waive: [{check: version skew, reason: r}]"), false},
		{pool("waive: [{check: version-skew, reason: r, until: Monday}]"), false},
		{pool("onStall: rollback"), true},
		{pool("canary: {}"), true},
		{pool("canary: {machines: 2, soak: 1h30m, command: [./smoke.sh, --quick, '']}"), true},
		{pool("canary: {machines: 0, soak: 0}"), true},
		{pool("canary: {machines: -1}"), false},
		{pool("canary: {machines: 50%}"), false},
		{pool("canary: {soak: 10}"), false},
		{pool("canary: {command: ./smoke.sh --quick}"), false},
		{pool("canary: {command: []}"), false},
		{pool("canary: {command: [sleep, 10]}"), false},
		{pool("onStall: pause"), true},
		{pool("onStall: stop"), true},
		{pool("onStall: panic"), false},
		{strings.Replace(pool("machineImage: a"), "v1.35.2", "1.35.2", 1), false},
		{strings.Replace(pool("machineImage: a"), "v1.35.2", "v1.35", 1), false},
		{strings.Replace(pool("machineImage: a"), "v1.35.2", "v1.35.2+rke2r1", 1), true},
		{strings.Replace(pool("machineImage: a"), "v1.35.2", "v1.36.0-rc.1", 1), true},
		{strings.Replace(pool("machineImage: a"), "md-0", "MD-0", 1), false},
		{strings.Replace(pool("machineImage: a"), "name: c}", "name: c, namespace: a.b}", 1), false},
		{strings.Replace(pool("machineImage: a"), "  pools", "  defaults: {drain: {nodeDrainTimeout: 1m}}\n  order: parallel\n  pools", 1), true},
		{strings.Replace(pool("machineImage: a"), "  pools", "  defaults: {name: x}\n  pools", 1), false},
		{strings.Replace(pool("machineImage: a"), "  pools", "  order: paralel\n  pools", 1), false},
	} {
		doc, err := tree(t, []byte(tc.text))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); (err == nil) != tc.ok {
			t.Errorf("%s\nvalid: %v, want %v: %v", tc.text, err == nil, tc.ok, err)
		}
		// What the schema refuses, schema.Read refuses, and the other way round
		// for these.
		if _, _, err := schema.Read("u.yaml", []byte(tc.text)); (err == nil) != tc.ok {
			t.Errorf("%s\nschema.Read: %v, and the schema's test wants %v", tc.text, err, tc.ok)
		}
	}
}

// TestPlans: every plan that the tests of plan and render keep is one.
func TestPlans(t *testing.T) {
	s := compiled(t, jsonschema.Plan())
	for _, file := range slices.Concat(files(t, "../../plan/testdata/plans/*.json"),
		files(t, "../../plan/render/testdata/*.json"), files(t, "../../plan/render/testdata/*.yaml")) {
		if strings.HasPrefix(filepath.Base(file), "hostile.") {
			continue // it holds words that no plan has
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := tree(t, data)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestBrokenPlans breaks a plan in ways that plan.Read refuses as well.
func TestBrokenPlans(t *testing.T) {
	s := compiled(t, jsonschema.Plan())
	data, err := os.ReadFile("../../plan/testdata/plans/all.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ old, new string }{
		"unknown field":   {`"steps":`, `"stepz": [], "steps":`},
		"another format":  {`"nodepool/v1alpha1"`, `"nodepool/v9"`},
		"another kind":    {`"Plan"`, `"Plane"`},
		"a short digest":  {`"digest": "sha256:`, `"digest": "sha256:a`},
		"two in one step": {`"preflight": {`, `"wait": {}, "preflight": {`},
	} {
		broken := strings.Replace(string(data), tc.old, tc.new, 1)
		if broken == string(data) {
			t.Fatalf("%s: nothing was broken", name)
		}
		doc, err := tree(t, []byte(broken))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(doc) == nil {
			t.Errorf("%s: the schema takes it", name)
		}
		if _, err := plan.Read([]byte(broken)); err == nil {
			t.Errorf("%s: plan.Read takes it", name)
		}
	}
}
