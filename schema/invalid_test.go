package schema_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/schema"
)

var update = flag.Bool("update", false, "write what the tests see into the golden files")

// TestInvalid holds the exact words for every mistake: testdata/invalid has a
// file for each, and beside it what the user is told.
func TestInvalid(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			u, _, err := schema.Read("upgrade.yaml", data)
			var invalid *schema.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("Read: %v, want an InvalidError", err)
			}
			if diff := cmp.Diff(schema.Upgrade{}, u); diff != "" {
				t.Errorf("Read returned an upgrade beside its error:\n%s", diff)
			}
			lines := strings.Count(string(data), "\n") + 1
			for _, p := range invalid.Problems {
				if p.Position.Line < 1 || p.Position.Line > lines || p.Position.Column < 1 {
					t.Errorf("a problem at %s, outside the file: %s", p.Position, p.Message)
				}
				if p.Remedy == "" {
					t.Errorf("a problem without a remedy: %s", p.Message)
				}
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("Error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInvalidBytes has what cannot stand in a test file, or not well.
func TestInvalidBytes(t *testing.T) {
	const head = "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: up}\nspec:\n  cluster: {name: c}\n"
	manyPools := head + "  defaults: {infrastructure: {a: [" + strings.Repeat("x, ", 2000) + "]}}\n  pools:\n"
	for i := range 1000 {
		manyPools += fmt.Sprintf("    - {name: md-%d}\n", i)
	}
	tests := []struct{ name, data, want string }{
		{"too large", "a: " + strings.Repeat("x", 1<<20),
			"u.yaml: the file has 1048579 bytes; an upgrade file has at most 1048576 (1 MiB)"},
		{"not UTF-8", "a: ü\nb: ü\xff\n",
			"u.yaml:2:5: the byte 0xff is not UTF-8; save the file as UTF-8 text"},
		{"UTF-16", "\xff\xfea\x00",
			"u.yaml:1:1: the byte 0xff is not UTF-8; save the file as UTF-8 text"},
		{"NUL", "a: b\x00\n",
			"u.yaml:1:5: the control character U+0000 is not allowed in YAML; save the file as UTF-8 text"},
		{"byte order mark inside", "a:\n  b: \ufeff1\n",
			"u.yaml:2:6: the control character U+FEFF is not allowed in YAML; save the file as UTF-8 text"},
		{"byte order mark before a problem", "\ufeffa: b: c\n",
			`u.yaml:1:5: not valid YAML: mapping values are not allowed in this context; put a value that holds ": " in quotes, and align the fields of a mapping`},
		{"large defaults in many pools", manyPools,
			"u.yaml:7:3: spec.pools: the pools with their defaults come to more than 2 MiB; put fewer pools into one upgrade, or less into defaults"},
		{"aliases of a large text", head + "  pools:\n    - name: md-0\n      infrastructure:\n        a: &a " + strings.Repeat("x", 500_000) + "\n        b: [*a, *a, *a, *a]\n",
			"u.yaml:10:21: spec.pools[0].infrastructure.b[2]: the aliases of this file expand to more than 10000 values or 1 MiB; put what pools share in spec.defaults"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := schema.Read("u.yaml", []byte(tt.data))
			if err == nil {
				t.Fatal("Read took it")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("Error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProblemsAreBounded reads a file that is nothing but problems.
func TestProblemsAreBounded(t *testing.T) {
	var data bytes.Buffer
	for i := range 50_000 {
		fmt.Fprintf(&data, "k%d: 1\n", i)
	}
	_, _, err := schema.Read("u.yaml", data.Bytes())
	var invalid *schema.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("Read: %v, want an InvalidError", err)
	}
	if got := len(invalid.Problems); got != 1000 {
		t.Errorf("%d problems, want 1000", got)
	}
}
