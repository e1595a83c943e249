// Package examples_test holds the examples to what they say: each is a valid
// upgrade file, and its plan has the steps that its comments promise.
package examples_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
	"nodepool/schema/jsonschema"
)

// want are the steps of each example's plan in the world that the examples
// are written for: clustertest.AWSExample, which is also what the sandbox
// comes up with.
var want = map[string][]string{
	"upgrade.yaml": {
		"preflight",
		"aws-example-md-0/create-infrastructure-template",
		"aws-example-md-0/patch",
		"aws-example-md-0/wait",
		"aws-example-md-1/patch",
		"aws-example-md-1/wait",
	},
	"version-only.yaml": {
		"preflight",
		"aws-example-md-1/patch",
		"aws-example-md-1/wait",
	},
	"image-and-type.yaml": {
		"preflight",
		"aws-example-md-0/create-infrastructure-template",
		"aws-example-md-0/patch",
		"aws-example-md-0/wait",
	},
	"merge-patch.yaml": {
		"preflight",
		"aws-example-md-0/create-infrastructure-template",
		"aws-example-md-0/create-bootstrap-template",
		"aws-example-md-0/patch",
		"aws-example-md-0/wait",
	},
	"parallel-pools.yaml": {
		"preflight",
		"aws-example-md-0/create-infrastructure-template",
		"aws-example-md-0/patch",
		"aws-example-md-1/patch",
		"aws-example-md-0/wait",
		"aws-example-md-1/wait",
	},
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(want) {
		t.Errorf("there are %d examples here and %d in the table: %v", len(files), len(want), files)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			p := compile(t, file)
			var ids []string
			for _, s := range p.Steps {
				ids = append(ids, s.ID)
			}
			if d := cmp.Diff(want[file], ids); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
			for _, f := range p.Findings {
				if f.Severity == plan.Block {
					t.Errorf("blocked by %s: %s", f.Code, f.Message)
				}
			}
		})
	}
}

// TestNames holds every example to a name of its own: the journal goes by it.
func TestNames(t *testing.T) {
	names := map[string]string{}
	for file := range want {
		name := read(t, file).Metadata.Name
		if other, taken := names[name]; taken {
			t.Errorf("%s and %s are both named %s", file, other, name)
		}
		names[name] = file
	}
}

// TestSchemaLine holds every example to a first line by which editors find the
// schema: that of upgrade files, as the program prints it.
func TestSchemaLine(t *testing.T) {
	for file := range want {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(data), "\n")
		path, ok := strings.CutPrefix(first, "# yaml-language-server: $schema=")
		if !ok {
			t.Errorf("the first line of %s names no schema: %s", file, first)
			continue
		}
		if found, err := os.ReadFile(path); err != nil || !bytes.Equal(found, jsonschema.Upgrade()) {
			t.Errorf("%s names %s, which is not the schema of upgrade files (%v)", file, path, err)
		}
	}
}

func read(t *testing.T, file string) schema.Upgrade {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	up, _, err := schema.Read(file, data)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func compile(t *testing.T, file string) plan.Plan {
	t.Helper()
	up := read(t, file)
	snap, err := apply.Observe(t.Context(), clustertest.AWSExample().Open(nil), up)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
