package plan_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The packages that compute and touch nothing, from here, and what would let
// them touch something.
var (
	purePackages = []string{".", "capi", "render", "../schema"}
	impure       = []string{"context", "os", "net", "log", "math/rand", "crypto/rand", "syscall", "runtime", "os/exec",
		"net/http", "net/url", "math/rand/v2", "io/ioutil", "path/filepath", "testing"}
	clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}
)

// impurities lists what in a source file is impure.
func impurities(files *token.FileSet, file *ast.File) []string {
	var out []string
	at := func(n ast.Node, what string) { out = append(out, files.Position(n.Pos()).String()+": "+what) }
	clockName := ""
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		if slices.Contains(impure, path) {
			at(spec, "imports "+path)
		}
		if path == "time" {
			clockName = "time"
			if spec.Name != nil {
				clockName = spec.Name.Name
			}
		}
		if spec.Name != nil && spec.Name.Name == "." {
			at(spec, "imports "+path+" by a dot")
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && clockName != "" && x.Name == clockName && x.Obj == nil && slices.Contains(clock, n.Sel.Name) {
				at(n, "looks at the clock: "+x.Name+"."+n.Sel.Name)
			}
			if n.Sel.Name == "Context" && ok && x.Name == "context" {
				at(n, "takes a context.Context")
			}
		case *ast.GoStmt:
			at(n, "starts a goroutine")
		}
		return true
	})
	return out
}

func TestPure(t *testing.T) {
	t.Parallel()
	for _, dir := range purePackages {
		seen := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && path != dir:
				return fs.SkipDir
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			seen++
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			for _, what := range impurities(files, file) {
				t.Error(what)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if seen < 5 {
			t.Errorf("only %d files were looked at in %s", seen, dir)
		}
	}
}

// TestImpurities shows the test above something to find.
func TestImpurities(t *testing.T) {
	t.Parallel()
	const source = `package p
import (
	"context"
	"os"
	clock "time"
)
func f(ctx context.Context) { _ = clock.Now(); _ = os.Args; go f(ctx); _ = clock.Since(clock.Time{}); _ = 3*clock.Second }
`
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(impurities(files, file), "\n")
	mustContain(t, got, "imports context", "imports os", "takes a context.Context", "clock.Now", "clock.Since", "starts a goroutine")
	if n := strings.Count(got, "\n") + 1; n != 6 {
		t.Errorf("%d findings, want 6:\n%s", n, got)
	}
	if _, err := os.Stat("purity_test.go"); err != nil {
		t.Error("the test looks at another folder than it thinks")
	}
}
