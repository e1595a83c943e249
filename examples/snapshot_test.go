package examples_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/offline"
	"nodepool/plan"
	"nodepool/plan/render"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestSnapshot plans every example from the snapshot that lies beside them,
// as "nodepool plan -f examples/upgrade.yaml --from examples/snapshot" does.
// The steps are those of the simulated cluster: both are the same example.
func TestSnapshot(t *testing.T) {
	cluster, err := offline.Open("snapshot", nil)
	if err != nil {
		t.Fatal(err)
	}
	for file, steps := range want {
		t.Run(file, func(t *testing.T) {
			up := read(t, file)
			snap, err := apply.Observe(t.Context(), cluster, up)
			if err != nil {
				t.Fatal(err)
			}
			p, err := plan.Compile(up, snap)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, s := range p.Steps {
				ids = append(ids, s.ID)
			}
			if d := cmp.Diff(steps, ids); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
			p = p.WithFindings(cluster.Validate(p, snap, plan.SecretsOf(up, snap))...)
			if p.Blocked {
				t.Error("the plan is blocked")
			}
			for _, f := range p.Findings {
				if f.Code == plan.CheckServer && !f.Object.IsZero() && f.Severity != plan.Pass {
					t.Errorf("%s: %s", f.Severity, f.Message)
				}
			}
			previews, err := p.Previews(snap)
			if err != nil {
				t.Fatal(err)
			}
			full := render.Options{Full: true, Previews: previews}
			for suffix, write := range map[string]func(io.Writer) error{
				".full.txt": func(w io.Writer) error { return render.Text(w, p, full) },
				".full.md":  func(w io.Writer) error { return render.Markdown(w, p, full) },
				".txt":      func(w io.Writer) error { return render.Text(w, p, render.Options{}) },
				".md":       func(w io.Writer) error { return render.Markdown(w, p, render.Options{}) },
				".json":     func(w io.Writer) error { return render.JSON(w, p) },
				".yaml":     func(w io.Writer) error { return render.YAML(w, p) },
			} {
				var b bytes.Buffer
				if err := write(&b); err != nil {
					t.Fatal(err)
				}
				golden(t, strings.TrimSuffix(file, ".yaml")+suffix, b.Bytes())
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// TestGoldenFilesAreAll finds files that no example writes any more.
func TestGoldenFilesAreAll(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		if _, ok := want[name+".yaml"]; !ok {
			t.Errorf("%s belongs to no example", file)
		}
	}
}

// TestSnapshotIsSealed: the snapshot holds no secret in the open. The join
// tokens of its machines are the ones that there are.
func TestSnapshotIsSealed(t *testing.T) {
	files, err := filepath.Glob("snapshot/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no snapshot: %v", err)
	}
	sealed := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sealed += bytes.Count(data, []byte(plan.SealedKey+": hmac-sha256:"))
		if bytes.Contains(data, []byte("last-applied")) || bytes.Contains(data, []byte("managedFields")) {
			t.Errorf("%s repeats objects in their metadata", file)
		}
	}
	if sealed == 0 {
		t.Error("nothing is sealed, and each machine had a join token")
	}
}
