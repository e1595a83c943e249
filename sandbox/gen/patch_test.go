package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// upstream writes a module in which every place that is to be changed is there.
func upstream(t *testing.T) string {
	t.Helper()
	src := t.TempDir()
	content := map[string]string{}
	for _, r := range replacements {
		content[r.file] += strings.Repeat(r.old+"\n", r.times)
	}
	for file, text := range content {
		write(t, filepath.Join(src, file), text)
	}
	write(t, filepath.Join(src, "go.mod"), "module m\n")
	write(t, filepath.Join(src, "infrastructure", "a_test.go"), "package a\n")
	write(t, filepath.Join(src, "infrastructure", "README.md"), "no\n")
	write(t, filepath.Join(src, "e2e", "e2e.go"), "package e2e\n")
	return src
}

func TestCopyPatched(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "copy")
	write(t, filepath.Join(dst, "infrastructure", "stale.go"), "package stale\n")
	if _, err := copyPatched(upstream(t), dst); err != nil {
		t.Fatal(err)
	}
	for _, r := range replacements {
		data, err := os.ReadFile(filepath.Join(dst, r.file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.new, r.old) && strings.Contains(string(data), r.old) || strings.Count(string(data), r.new) != r.times {
			t.Errorf("%s is not patched:\n%s", r.file, data)
		}
	}
	for file := range additions {
		if _, err := os.Stat(filepath.Join(dst, file)); err != nil {
			t.Error(err)
		}
	}
	for file, want := range map[string]bool{"go.mod": true, "infrastructure/a_test.go": false, "infrastructure/README.md": false,
		"e2e/e2e.go": false, "infrastructure/stale.go": false} {
		_, err := os.Stat(filepath.Join(dst, file))
		if (err == nil) != want {
			t.Errorf("%s: in the copy = %v, want %v", file, err == nil, want)
		}
	}
}

func TestApplyStopsWhenUpstreamChanged(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"gone.go": "other", "twice.go": "old old"} {
		write(t, filepath.Join(dir, name), content)
		err := replacement{file: name, old: "old", new: "new", times: 1}.apply(dir)
		if err == nil || !strings.Contains(err.Error(), "upstream changed") {
			t.Errorf("%s: apply = %v, want an error", name, err)
		}
		data, _ := os.ReadFile(filepath.Join(dir, name))
		if string(data) != content {
			t.Errorf("%s was changed to %q", name, data)
		}
	}
}

func TestWriteModFile(t *testing.T) {
	dir := t.TempDir()
	mod, sum := filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")
	write(t, mod, "module m\n")
	write(t, sum, "s\n")
	dst := filepath.Join(dir, "out")
	if err := os.Mkdir(dst, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeModFile(mod, sum, dst); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dst, "build.mod"))
	if err != nil || !strings.HasPrefix(string(data), "module m\n") || !strings.Contains(string(data), "replace "+testModule+" => ") {
		t.Errorf("build.mod = %q, %v", data, err)
	}
	// A go.mod in there would make the folder a module of its own, out of reach
	// of the embed directive.
	if _, err := os.Stat(filepath.Join(dst, "go.mod")); err == nil {
		t.Error("a go.mod was written")
	}
}

func TestKustomizeLabels(t *testing.T) {
	got, err := kustomizeLabels([]byte("commonLabels:\n  a: b\nlabels:\n- includeSelectors: true\n  pairs:\n    c: d\n- pairs:\n    e: f\n"))
	if err != nil || len(got) != 3 || got["a"] != "b" || got["c"] != "d" || got["e"] != "f" {
		t.Errorf("kustomizeLabels = %v, %v", got, err)
	}
}

func TestCollect(t *testing.T) {
	config := t.TempDir()
	write(t, filepath.Join(config, "crd", "kustomization.yaml"), "labels:\n- pairs:\n    cluster.x-k8s.io/v1beta2: v1beta2\n")
	write(t, filepath.Join(config, "default", "kustomization.yaml"), "commonLabels:\n  cluster.x-k8s.io/provider: p\n")
	write(t, filepath.Join(config, "crd", "bases", "a.yaml"), "---\nmetadata:\n  name: a\n")
	write(t, filepath.Join(config, "webhook", "manifests.yaml"), "---\nkind: A\n---\nkind: B\n")
	c, err := collect(source{name: "x", webhooks: true}, config)
	if err != nil {
		t.Fatal(err)
	}
	labels, _ := c.CRDs[0]["metadata"].(map[string]any)["labels"].(map[string]any)
	if len(c.CRDs) != 1 || labels["cluster.x-k8s.io/v1beta2"] != "v1beta2" || labels["cluster.x-k8s.io/provider"] != "p" {
		t.Errorf("definitions = %v", c.CRDs)
	}
	if len(c.Webhooks) != 2 {
		t.Errorf("webhooks = %v", c.Webhooks)
	}
}
