package ui_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	generator "github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"nodepool/cmd/nodepool/ui"
)

// TestLineSchema holds the published schema to the types and their comments.
func TestLineSchema(t *testing.T) {
	r := &generator.Reflector{Anonymous: true, ExpandedStruct: true, Mapper: func(t reflect.Type) *generator.Schema {
		switch t {
		case reflect.TypeFor[json.Number]():
			return &generator.Schema{Type: "number"}
		case reflect.TypeFor[ui.LineType]():
			return &generator.Schema{Type: "string", Enum: []any{"runStarted", "stepStarted", "stepSkipped", "stepDone", "rolling", "canary", "stalled", "retrying", "runEnded"}}
		}
		return nil
	}}
	if err := r.AddGoComments("nodepool/cmd/nodepool/ui", ".", generator.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	for key, text := range r.CommentMap {
		r.CommentMap[key] = strings.Join(strings.Fields(text), " ")
	}
	root := r.Reflect(ui.Line{})
	root.ID = "nodepool/v1alpha1/progress.json"
	root.Title = "A line of the progress of nodepool apply --progress json"
	doc, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	doc = append(doc, '\n')
	for _, file := range []string{"progress.json", "../../../docs/schema/progress.json"} {
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
			t.Errorf("%s is not what the types say (-file +types); if the types are right, give -update:\n%s", file, d)
		}
	}
}

// TestLinesFollowTheSchema holds every kind of line to the schema, and a line
// with a field that it does not know not.
func TestLinesFollowTheSchema(t *testing.T) {
	tree, err := validator.UnmarshalJSON(bytes.NewReader(ui.LineSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("progress.json", tree); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("progress.json")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile("testdata/events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(lines)) {
		v, err := validator.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		o := v.(map[string]any)
		seen[o["type"].(string)] = true
		o["mistake"] = 1
		if s.Validate(o) == nil {
			t.Errorf("an unknown field is taken: %s", line)
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d of 8 types of lines were tried: %v", len(seen), seen)
	}
}
