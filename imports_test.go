package nodepool_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
	ForTest    string
}

// look opens every folder and file of the product: the go command runs a test
// again only when what the test itself has opened is another.
func look(t *testing.T) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "sandbox" || d.Name() == "bench" || d.Name() == "bin" || d.Name() == "testdata"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go"):
			files++
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil || files < 50 {
		t.Fatalf("%d files were found: %v", files, err)
	}
}

// list asks the go command for packages; tests and their imports are not among
// what it tells.
func list(t *testing.T, patterns ...string) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,Standard,ForTest"}, patterns...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	out := map[string]listed{}
	for dec := json.NewDecoder(strings.NewReader(string(stdout))); ; {
		var p listed
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatal(err)
		}
		out[p.ImportPath] = p
	}
}

// in reports whether a package is of a module, or of a folder of the product.
func in(pkg string, of ...string) bool {
	return slices.ContainsFunc(of, func(of string) bool { return pkg == of || strings.HasPrefix(pkg, of+"/") })
}

// Modules that a room must not have anywhere below it.
const (
	controllerRuntime = "sigs.k8s.io/controller-runtime"
	apiServer         = "k8s.io/apiserver"
	kubernetes        = "k8s.io/kubernetes"
	clientGo          = "k8s.io/client-go"
	cliLibrary        = "github.com/urfave/cli/v2"
	clusterAPI        = "sigs.k8s.io/cluster-api"
	clusterAPITypes   = "sigs.k8s.io/cluster-api/api"
)

// all stands for every package of the product.
const all = "nodepool"

// room says what the packages of a folder may have: of the product, by direct
// imports; of the standard library, what they must not import directly, since
// fmt itself needs os; and the modules that must not be anywhere below them.
type room struct {
	folder  string
	product []string
	noStd   []string
	noDeps  []string
}

// rooms is the table of the design; a folder stands before its parent.
var rooms = []room{
	{folder: "nodepool/schema", product: []string{},
		noStd: []string{"context", "os", "net", "math/rand"}, noDeps: []string{clientGo, cliLibrary, clusterAPI}},
	{folder: "nodepool/plan/capi", product: []string{},
		noStd: []string{"context", "os", "net", "math/rand"}, noDeps: []string{clientGo, cliLibrary}},
	{folder: "nodepool/plan/render", product: []string{"nodepool/plan", "nodepool/plan/capi", "nodepool/schema"},
		noStd: []string{"context", "os", "net", "math/rand"}, noDeps: []string{clientGo, cliLibrary}},
	{folder: "nodepool/plan", product: []string{"nodepool/schema", "nodepool/plan/capi"},
		noStd: []string{"context", "os", "net", "math/rand"}, noDeps: []string{clientGo, cliLibrary}},
	{folder: "nodepool/apply/journal", product: []string{"nodepool/apply", "nodepool/plan", "nodepool/plan/capi", "nodepool/plan/render"}, noDeps: []string{cliLibrary}},
	{folder: "nodepool/apply/kube", product: []string{"nodepool/apply", "nodepool/plan", "nodepool/plan/capi", "nodepool/schema"}, noDeps: []string{cliLibrary}},
	{folder: "nodepool/apply/aws", product: []string{"nodepool/plan", "nodepool/plan/capi", "nodepool/schema"}, noDeps: []string{clientGo, cliLibrary}},
	{folder: "nodepool/apply/workload", product: []string{"nodepool/apply", "nodepool/plan", "nodepool/plan/capi", "nodepool/schema"}, noDeps: []string{cliLibrary}},
	{folder: "nodepool/apply/offline", product: []string{"nodepool/apply", "nodepool/plan", "nodepool/plan/capi", "nodepool/schema"},
		noStd: []string{"net"}, noDeps: []string{clientGo, cliLibrary}},
	{folder: "nodepool/apply/clustertest", product: []string{"nodepool/apply", "nodepool/plan", "nodepool/plan/capi", "nodepool/schema"},
		noDeps: []string{clientGo, cliLibrary}},
	{folder: "nodepool/apply", product: []string{"nodepool/plan", "nodepool/plan/capi", "nodepool/schema"},
		noStd: []string{"os", "net", "math/rand"}, noDeps: []string{clientGo, cliLibrary}},
	{folder: "nodepool/cmd/nodepool/ui", product: []string{"nodepool/apply", "nodepool/plan", "nodepool/plan/capi", "nodepool/plan/render", "nodepool/schema"},
		noDeps: []string{clientGo, cliLibrary}},
	{folder: "nodepool/cmd", product: []string{all}},
	// Tests alone.
	{folder: "nodepool/examples", product: []string{all}},
	{folder: "nodepool/e2e", product: []string{all}},
}

func TestImports(t *testing.T) {
	look(t)
	packages := list(t, "./...")
	if len(packages) < 9 {
		t.Fatalf("only %d packages are listed", len(packages))
	}
	for name, p := range packages {
		if name == "nodepool" {
			continue // this test, and nothing else
		}
		// Nowhere in the product: what a management cluster is made of.
		for _, dep := range p.Deps {
			if in(dep, controllerRuntime, apiServer, kubernetes) {
				t.Errorf("%s has %s below it", name, dep)
			}
			if in(dep, clusterAPI) && !in(dep, clusterAPITypes) {
				t.Errorf("%s has %s below it; only the types of Cluster API are stable", name, dep)
			}
		}
		if !strings.HasSuffix(name, "/clustertest") && slices.Contains(p.Deps, "nodepool/apply/clustertest") {
			t.Errorf("%s has the cluster for tests below it", name)
		}
		at := slices.IndexFunc(rooms, func(r room) bool { return in(name, r.folder) })
		if at < 0 {
			t.Errorf("%s is in no room: give it one in this test, as the design does", name)
			continue
		}
		room := rooms[at]
		for _, i := range p.Imports {
			if in(i, "nodepool") && !in(i, room.folder) && !slices.Contains(room.product, i) && !slices.Contains(room.product, all) {
				t.Errorf("%s imports %s, and may import %q", name, i, room.product)
			}
			if in(i, room.noStd...) {
				t.Errorf("%s imports %s", name, i)
			}
		}
		for _, dep := range p.Deps {
			if in(dep, room.noDeps...) {
				t.Errorf("%s has %s below it", name, dep)
			}
		}
	}
	for _, room := range rooms {
		if slices.Contains(room.product, all) {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(packages)), func(name string) bool { return in(name, room.folder) }) {
			t.Errorf("%s is in this test and not in the product", room.folder)
		}
	}
}

// TestExecutorIsAlone: a store and a cluster need the ports, and what drives
// them stands above both.
func TestExecutorIsAlone(t *testing.T) {
	look(t)
	packages := list(t, "./apply/...")
	for _, below := range []string{"nodepool/apply/journal", "nodepool/apply/kube"} {
		if slices.Contains(packages["nodepool/apply"].Deps, below) {
			t.Errorf("nodepool/apply has %s below it", below)
		}
		for other, p := range packages {
			if other != below && slices.Contains(p.Deps, below) {
				t.Errorf("%s has %s below it", other, below)
			}
		}
	}
}

// TestModules: the product's own go.mod stays free of what the embedded
// management cluster needs.
func TestModules(t *testing.T) {
	data, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if !strings.Contains(text, clientGo+" v") {
		t.Fatal("this is no go.mod of the product")
	}
	for _, module := range []string{kubernetes, controllerRuntime, apiServer, clusterAPI} {
		if strings.Contains(text, module+" v") {
			t.Errorf("go.mod lists %s", module)
		}
	}
}
