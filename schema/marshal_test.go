package schema_test

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"nodepool/schema"
)

// oddities are texts and numbers that YAML likes to change.
const oddities = head + `  pools:
    - name: md-0
      bootstrap:
        texts: ["", " ", "a ", "4", "4.0", "0x1", "yes", "NULL", "~", "1:30", "2026-01-02", "<<", "=", "- a", "a: b", "#a", "a #b", "!a", "&a", "*a", "'", "\"", "\\", "[a", "{a", "%a", "@a", "\ta", "?", "true", "1_000", ".inf", "é", "\u2028", "\ufeff", "\0", "10m", "md-0"]
        lines: ["a\n", "a\nb\n", "a\n\nb\n", "\na\n", "a\n\n", " a\n", "a \n", "a\n b\n", "a", "a\nb", "\n", "a\r\nb\n", "a\tb\n", "é\n", "#!/bin/sh\nset -e\n  echo x\n", "---\na\n", "...\n", "# a\n"]
        numbers: [0, -1, 9223372036854775807, -9223372036854775808, 0.5, 1.0, -0.0, 1e3, 1e300, 5e-324, 123456789.0]
        keys: {"": 1, "4": 1, "true": 1, "null": 1, "a: b": 1, "a\nb": 1, "yes": 1, "?": 1}
        empty: [[], {}, null, [[]], {a: []}]
`

func TestMarshalGolden(t *testing.T) {
	for name, data := range map[string]string{"whole": whole, "oddities": oddities} {
		t.Run(name, func(t *testing.T) {
			u, _ := read(t, data)
			got, err := schema.Marshal(u)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "marshal", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("Marshal (-want +got):\n%s", diff)
			}
			roundTrip(t, u)

			// What we write means to other tools what it means to us.
			ours, err := yaml.YAMLToJSON(got)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := yaml.Marshal(u)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := yaml.YAMLToJSON(plain)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(theirs), string(ours)); diff != "" {
				t.Errorf("as JSON (-sigs.k8s.io/yaml +Marshal):\n%s", diff)
			}
		})
	}
}

// roundTrip checks that an upgrade that was read is written so that it reads
// back the same, and that the same bytes come of it again.
func roundTrip(t *testing.T, u schema.Upgrade) {
	t.Helper()
	out, err := schema.Marshal(u)
	if err != nil {
		t.Fatalf("Marshal: %v", err)
	}
	if len(out) > 1<<20 {
		return // more than Read takes; Marshal says so
	}
	again, _, err := schema.Read("again.yaml", out)
	if err != nil {
		t.Fatalf("Read of what Marshal wrote: %v\n%s", err, out)
	}
	// Not by cmp: its time doubles with each level of nested lists.
	if !reflect.DeepEqual(u, again) {
		t.Fatalf("read again:\n%#v\nwant\n%#v\nfrom\n%s", again, u, out)
	}
	out2, err := schema.Marshal(again)
	if err != nil || !bytes.Equal(out, out2) {
		t.Fatalf("written again (%v):\n%s", err, cmp.Diff(string(out), string(out2)))
	}
}

func TestMarshalRefuses(t *testing.T) {
	for want, tree := range map[string]map[string]any{
		"spec.pools[0].bootstrap.a[1]: a merge patch holds no int":            {"a": []any{"x", 1}},
		`spec.pools[0].bootstrap.a["b c"]: +Inf is not a number of JSON`:      {"a": map[string]any{"b c": math.Inf(1)}},
		"spec.pools[0].bootstrap.a: a merge patch holds no map[string]string": {"a": map[string]string{}},
	} {
		_, err := schema.Marshal(schema.Upgrade{Spec: schema.Spec{Pools: []schema.Pool{{Name: "md-0", Bootstrap: tree}}}})
		if err == nil || err.Error() != want {
			t.Errorf("Marshal: %v, want %s", err, want)
		}
	}
}

// FuzzRead holds that no file makes Read panic or spend without end, and that
// what it takes survives being written.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(whole))
	f.Add([]byte(oddities))
	f.Fuzz(func(t *testing.T, data []byte) {
		u, positions, err := schema.Read("u.yaml", data)
		positions.Locate("spec.pools[0].infrastructure.a")
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatal("an error without words")
			}
			return
		}
		if len(u.Spec.Pools) == 0 {
			t.Fatal("an upgrade without pools")
		}
		roundTrip(t, u)
	})
}
