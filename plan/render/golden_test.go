package render_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/plan/render"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func TestGolden(t *testing.T) {
	for name, p := range plans() {
		for suffix, write := range map[string]func(io.Writer) error{
			".txt":      func(w io.Writer) error { return render.Text(w, p, render.Options{Width: 100}) },
			".json":     func(w io.Writer) error { return render.JSON(w, p) },
			".yaml":     func(w io.Writer) error { return render.YAML(w, p) },
			".full.txt": func(w io.Writer) error { return render.Text(w, p, render.Options{Full: true}) },
			".full.md":  func(w io.Writer) error { return render.Markdown(w, p, render.Options{Full: true}) },
			".md":       func(w io.Writer) error { return render.Markdown(w, p, render.Options{}) },
			".html": func(w io.Writer) error {
				var md bytes.Buffer
				if err := render.Markdown(&md, p, render.Options{}); err != nil {
					return err
				}
				return github.Convert(md.Bytes(), w)
			},
			".color.txt": func(w io.Writer) error { return render.Text(w, p, render.Options{Color: true, Width: 60}) },
		} {
			if (suffix == ".full.txt" || suffix == ".full.md" || suffix == ".color.txt") && name != "image-type-version" && name != "blocked" {
				continue
			}
			t.Run(name+suffix, func(t *testing.T) {
				var b bytes.Buffer
				if err := write(&b); err != nil {
					t.Fatal(err)
				}
				golden(t, name+suffix, b.Bytes())
			})
		}
	}
}

// TestGoldenFilesAreAll finds files that no case writes any more.
func TestGoldenFilesAreAll(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	known := plans()
	for _, f := range files {
		name, _, _ := bytes.Cut([]byte(filepath.Base(f)), []byte("."))
		if _, ok := known[string(name)]; !ok && string(name) != "explain" {
			t.Errorf("%s belongs to no case", f)
		}
	}
}
