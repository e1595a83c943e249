//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestScripts runs testdata/script/*.txtar, each in a namespace of its own,
// $NS, which is filled into the yaml files of the script. Beside testscript's
// own commands there are:
//
//	cluster NAME POOLS [FLAG...]      makes a cluster in $NS, as `sandbox cluster` does
//	nodepool ARG...                   runs the product, which must succeed
//	exits CODE nodepool ARG...        runs the product, which must end so
//	get RESOURCE NAME PATH            prints a field, or its absence as an empty line
//	patch RESOURCE NAME JSON          changes an object by a merge patch, as somebody else
//	waitfor RESOURCE NAME PATH VALUE  waits until a field has the value
//	writes                            prints what the product wrote in $NS, a line for each
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			script := filepath.Base(env.WorkDir)
			script = strings.TrimPrefix(script, "script-")
			namespace := script + "-" + box.run
			env.Setenv("NS", namespace)
			env.Setenv("KUBECONFIG", box.kubeconfig())
			env.Setenv("HOME", env.WorkDir)
			env.Values[namespaceKey{}] = namespace
			tb, ok := env.T().(testing.TB)
			if !ok {
				return errors.New("the script's T is not a testing.TB")
			}
			env.Values[tbKey{}] = tb
			return expand(env.WorkDir, namespace)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cluster": func(ts *testscript.TestScript, neg bool, args []string) {
				usage(ts, neg || len(args) < 2, "cluster NAME POOLS [FLAG...]")
				c := cluster{namespace: namespaceOf(ts), name: args[0]}
				makeCluster(tbOf(ts), c, append([]string{"--pools", args[1]}, args[2:]...)...)
			},
			"nodepool": func(ts *testscript.TestScript, neg bool, args []string) {
				usage(ts, neg, "nodepool ARG..., or exits CODE nodepool ARG...")
				exits(ts, 0, args)
			},
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				usage(ts, neg || len(args) < 3 || args[1] != "nodepool", "exits CODE nodepool ARG...")
				code, err := strconv.Atoi(args[0])
				ts.Check(err)
				exits(ts, code, args[2:])
			},
			"get": func(ts *testscript.TestScript, neg bool, args []string) {
				usage(ts, neg || len(args) != 3, "get RESOURCE NAME PATH")
				value, err := field(box.get(tbOf(ts), resource(ts, args[0]), namespaceOf(ts), args[1]), args[2])
				ts.Check(err)
				fmt.Fprintln(ts.Stdout(), value)
			},
			"patch": func(ts *testscript.TestScript, neg bool, args []string) {
				usage(ts, neg || len(args) != 3, "patch RESOURCE NAME JSON")
				box.merge(tbOf(ts), resource(ts, args[0]), namespaceOf(ts), args[1], args[2])
			},
			"waitfor": func(ts *testscript.TestScript, neg bool, args []string) {
				usage(ts, neg || len(args) != 4, "waitfor RESOURCE NAME PATH VALUE")
				box.awaitObject(tbOf(ts), resource(ts, args[0]), namespaceOf(ts), args[1], strings.Join(args, " "),
					func(o *unstructured.Unstructured) bool {
						value, err := field(o, args[2])
						return err == nil && value == args[3]
					})
			},
			"writes": func(ts *testscript.TestScript, neg bool, args []string) {
				usage(ts, neg || len(args) != 0, "writes")
				out := ts.Stdout() // also when nothing is printed
				for _, w := range (cluster{namespace: namespaceOf(ts)}).writes(tbOf(ts)) {
					fmt.Fprintln(out, w)
				}
			},
		},
	})
}

// The keys of what Setup hands to the commands.
type (
	namespaceKey struct{}
	tbKey        struct{}
)

func namespaceOf(ts *testscript.TestScript) string { return ts.Value(namespaceKey{}).(string) }

// tbOf gives the testing.T of a script.
func tbOf(ts *testscript.TestScript) testing.TB { return ts.Value(tbKey{}).(testing.TB) }

func usage(ts *testscript.TestScript, wrong bool, text string) {
	if wrong {
		ts.Fatalf("usage: %s", text)
	}
}

// exits runs the product and checks its exit code.
func exits(ts *testscript.TestScript, want int, args []string) {
	err := ts.Exec(box.nodepool, args...)
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("nodepool %q: exit code %d, want %d", args, code, want)
	}
}

func resource(ts *testscript.TestScript, name string) schema.GroupVersionResource {
	for _, r := range []schema.GroupVersionResource{clusters, machineDeployments, machines, awsMachineTemplates, devMachineTemplates} {
		if r.Resource == name {
			return r
		}
	}
	ts.Fatalf("unknown resource %s", name)
	return schema.GroupVersionResource{}
}

// expand fills the namespace into the yaml files of a folder.
func expand(dir, namespace string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(raw), "$NS", namespace)), 0o600); err != nil {
			return err
		}
	}
	return nil
}
