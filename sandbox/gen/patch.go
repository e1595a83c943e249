package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// replacement is one change to an upstream file.
type replacement struct {
	file     string
	old, new string
	times    int
}

// replacements are all changes. The first two bind the in-memory workload
// clusters and their debug server to 127.0.0.1, for which upstream has no
// option; the next keeps a DevCluster without annotations from a panic; the
// last lets the sandbox add a route to the workload clusters' API servers.
var replacements = []replacement{
	{"infrastructure/inmemory/pkg/server/mux.go", `fmt.Sprintf(":%d", options.DebugPort)`, `fmt.Sprintf("127.0.0.1:%d", options.DebugPort)`, 1},
	{"infrastructure/inmemory/pkg/server/mux.go", `net.Listen("tcp", fmt.Sprintf(":%d", wcl.Port()))`, `net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", wcl.Port()))`, 2},
	{"infrastructure/docker/internal/controllers/backends/inmemory/inmemorycluster_backend.go",
		`inMemoryCluster.Annotations[infrav1.ListenerAnnotationName] = listenerName`,
		`metav1.SetMetaDataAnnotation(&inMemoryCluster.ObjectMeta, infrav1.ListenerAnnotationName, listenerName)`, 1},
	{"infrastructure/inmemory/pkg/server/api/handler.go", `	apiServer.container.Add(ws)
`, `	if Extend != nil {
		Extend(ws, manager, resolver)
	}
	apiServer.container.Add(ws)
`, 1},
}

// additions are files of our own in the copy.
var additions = map[string]string{
	"infrastructure/inmemory/pkg/server/api/extend.go": `package api

import (
	"github.com/emicklei/go-restful/v3"

	inmemoryruntime "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime"
)

// Extend adds routes to every workload cluster's API server.
var Extend func(*restful.WebService, inmemoryruntime.Manager, ResourceGroupResolver)
`,
}

// copyPatched copies the Go files of the module in src that the sandbox needs
// to dst and changes what has to differ.
func copyPatched(src, dst string) (files int, err error) {
	if err := os.RemoveAll(dst); err != nil {
		return 0, err
	}
	err = filepath.WalkDir(src, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if strings.Count(rel, string(filepath.Separator)) == 0 && rel != "." && rel != "infrastructure" {
				return fs.SkipDir
			}
			return nil
		}
		if !wanted(filepath.ToSlash(rel)) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(dst, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		files++
		return os.WriteFile(target, data, 0o644)
	})
	if err != nil {
		return 0, err
	}
	for _, r := range replacements {
		if err := r.apply(dst); err != nil {
			return 0, err
		}
	}
	for file, content := range additions {
		if err := os.WriteFile(filepath.Join(dst, filepath.FromSlash(file)), []byte(content), 0o644); err != nil {
			return 0, err
		}
		files++
	}
	return files, nil
}

func wanted(rel string) bool {
	return rel == "go.mod" || strings.HasPrefix(rel, "infrastructure/") && strings.HasSuffix(rel, ".go") && !strings.HasSuffix(rel, "_test.go")
}

// apply changes exactly as many places as expected. Any other number means that
// upstream has moved on, and a build that silently listens on all interfaces is
// worse than one that stops.
func (r replacement) apply(root string) error {
	path := filepath.Join(root, filepath.FromSlash(r.file))
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(data), r.old); n != r.times {
		return fmt.Errorf("%s: %d places read %q, expected %d: upstream changed, adapt gen/patch.go", r.file, n, r.old, r.times)
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(data), r.old, r.new)), 0o644)
}

// writeModFile writes the go.mod of the build: the committed one with a replace
// of the copied module. A main module may only have one go.mod, hence -modfile.
func writeModFile(mod, sum, dst string) error {
	data, err := os.ReadFile(mod)
	if err != nil {
		return err
	}
	data = append(data, fmt.Sprintf("\nreplace %s => ./%s/cluster-api-test\n", testModule, filepath.ToSlash(dst))...)
	if err := writeIfChanged(filepath.Join(dst, "build.mod"), data); err != nil {
		return err
	}
	sums, err := os.ReadFile(sum)
	if err != nil {
		return err
	}
	return writeIfChanged(filepath.Join(dst, "build.sum"), sums)
}

func writeIfChanged(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return os.WriteFile(path, data, 0o644)
}
