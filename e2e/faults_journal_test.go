//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// within gives a command line that runs in a mount namespace of its own, where
// a file system in memory is mounted on folder with these options. What is left
// in it is copied to kept, since it goes with the process.
func (c cli) within(folder, options, kept string) cli {
	const script = `set -e
mount -t tmpfs -o "$1" nodepool-test "$2"
folder=$2 kept=$3
shift 3
code=0; "$@" || code=$?
cp -a "$folder/." "$kept/"
exit $code`
	c.wrap = []string{"unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "sh", options, folder, kept}
	return c
}

// The journal is in a file, and there is no room for it, at any point of the
// run, or it may not be written. The run ends and says so, and the next one,
// with what is left of the journal and room for it, carries on.
func TestFaultsNoRoom(t *testing.T) {
	t.Parallel()
	b := newFaultBench(t, "full")
	out := newOutcomes(t, "disk")
	try := func(name, options, says string, wants func(int) bool) (code int) {
		t.Run(name, func(t *testing.T) {
			up := b.upgrade(t, "3m")
			folder, kept := t.TempDir(), t.TempDir()
			row := name + " @ file"
			if strings.HasPrefix(name, "room for ") {
				row = "disk full @ file"
			}
			r := b.cli.within(folder, options, kept).run(t, "apply", "-f", up.file, "--auto-approve", "--journal", "file:"+filepath.Join(folder, "run.jsonl"))
			code = r.Code
			out.ran(row, code, true)
			b.truthful(t, up, r, b.audited(t))
			if !wants(code) || code != 0 && !strings.Contains(r.Stderr, says) {
				t.Errorf("exit code %d, and it should say %q\n%s", code, says, r)
			}
			b.cli.run(t, "apply", "-f", up.file, "--auto-approve", "--journal", "file:"+filepath.Join(kept, "run.jsonl")).exits(t, 0)
			b.check(t, up, b.audited(t))
			if !t.Failed() {
				out.survived(row, true)
			}
		})
		return code
	}
	try("read-only folder", "ro", "read-only file system", func(code int) bool { return code == 1 })
	// A file system in memory gives room by the page.
	ended := map[int]int{}
	for pages := 1; ended[0] == 0 && pages < 64; pages++ {
		code := try(fmt.Sprintf("room for %d KiB", 4*pages), fmt.Sprintf("size=%dk", 4*pages), "no space left on device", func(code int) bool { return code == 0 || code == 1 })
		ended[code]++
		if code != 0 && code != 1 {
			break
		}
	}
	if ended[0] == 0 || ended[1] == 0 {
		t.Errorf("exit codes and how often: %v, want some of 1 and then 0", ended)
	}
}

// damage is what happens to a journal between two runs.
type damage struct {
	name string
	// readable tells that the next run makes do with what is left.
	readable bool
	file     func(data []byte, random *rand.Rand) []byte
	object   func(o *unstructured.Unstructured) // in place of file, for the journal in the cluster
}

var damages = []damage{
	{name: "empty", readable: true, file: func([]byte, *rand.Rand) []byte { return nil }},
	{name: "cut within its last line", readable: true, file: func(data []byte, random *rand.Rand) []byte {
		last := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
		return data[:last+1+random.IntN(len(data)-last-1)]
	}},
	{name: "cut within its plan", readable: true, file: func(data []byte, random *rand.Rand) []byte {
		return data[:1+random.IntN(bytes.IndexByte(data, '\n')-1)]
	}},
	{name: "cut anywhere", readable: true, file: func(data []byte, random *rand.Rand) []byte { return data[:random.IntN(len(data))] }},
	{name: "a byte of its plan changed", file: func(data []byte, _ *rand.Rand) []byte {
		i := bytes.Index(data, []byte(`"wait"`)) + 3
		data[i]++
		return data
	}},
	{name: "a torn line in the middle", file: func(data []byte, random *rand.Rand) []byte {
		first := bytes.IndexByte(data, '\n')
		return append(slices.Clone(data[:1+random.IntN(first-1)]), data[first:]...)
	}},
	{name: "zeros at its end", file: func(data []byte, _ *rand.Rand) []byte { return append(append(data, make([]byte, 512)...), '\n') }},
	{name: "records lost", readable: true, object: func(o *unstructured.Unstructured) {
		unstructured.RemoveNestedField(o.Object, "data", "records-1")
	}},
	{name: "records cut", object: func(o *unstructured.Unstructured) {
		records := text(o, "data", "records-1")
		set(o, records[:len(records)-7], "data", "records-1")
	}},
	{name: "plan cut", object: func(o *unstructured.Unstructured) { plans(o, func(p []byte) []byte { return p[:len(p)/2] }) }},
	{name: "a byte of its plan changed in the cluster", object: func(o *unstructured.Unstructured) {
		plans(o, func(p []byte) []byte { p[len(p)/2] ^= 0x10; return p })
	}},
	{name: "its format lost", object: func(o *unstructured.Unstructured) { unstructured.RemoveNestedField(o.Object, "data", "format") }},
	{name: "all data lost", object: func(o *unstructured.Unstructured) {
		delete(o.Object, "data")
		delete(o.Object, "binaryData")
	}},
}

func set(o *unstructured.Unstructured, value string, path ...string) {
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		panic(err) // a path through what is no map, which a journal has none of
	}
}

func plans(o *unstructured.Unstructured, change func([]byte) []byte) {
	raw, err := base64.StdEncoding.DecodeString(text(o, "binaryData", "plan-1"))
	if err != nil {
		panic(err)
	}
	set(o, base64.StdEncoding.EncodeToString(change(raw)), "binaryData", "plan-1")
}

// A run dies behind its create, and its journal is damaged before the next one.
// Where the damage cannot be read over, that one says so and writes nothing, and
// once the journal is put aside, as it says, it carries on.
func TestFaultsDamagedJournal(t *testing.T) {
	t.Parallel()
	b := newFaultBench(t, "damaged")
	out := newOutcomes(t, "journal")
	for i, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			up := b.upgrade(t, "3m")
			path := filepath.Join(t.TempDir(), "run.jsonl")
			args := []string{"apply", "-f", up.file, "--auto-approve"}
			where := "cluster"
			if d.file != nil {
				args, where = append(args, "--journal", "file:"+path), "file"
			}
			row := d.name + " @ " + where
			dying := b.cli
			started := make(chan *process, 1)
			strike := sync.OnceFunc(func() { (<-started).signal(t, syscall.SIGKILL) })
			dying.kubeconfig = after(http.MethodPost, "awsmachinetemplates")(strike).serve(t)
			p := dying.start(t, args...)
			started <- p
			p.wait(t).exits(t, -1)
			b.damage(t, d, up, path, rand.New(rand.NewPCG(1, uint64(i))))

			before := b.audited(t)
			r := b.cli.run(t, args...)
			out.ran(row, r.Code, true)
			b.truthful(t, up, r, b.audited(t))
			if d.readable {
				r.exits(t, 0)
			} else {
				if r.exits(t, 1); !strings.Contains(r.Stderr, "journal is damaged") || !strings.Contains(r.Stderr, "to go on") {
					t.Errorf("it does not say what is wrong and how to go on\n%s", r)
				}
				if all := b.audited(t); len(up.written(all)) != len(up.written(before)) {
					t.Errorf("it wrote %v", up.written(all))
				}
				b.putAside(t, d, up, path)
			}
			b.cli.run(t, args...).exits(t, 0)
			b.check(t, up, b.audited(t))
			if !t.Failed() {
				out.survived(row, true)
			}
		})
	}
}

func (b *faultBench) damage(t *testing.T, d damage, up upgradeCase, path string, random *rand.Rand) {
	t.Helper()
	if d.file != nil {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, d.file(data, random), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	o := b.journal(t, up.name)
	before, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	d.object(o)
	if after, err := json.Marshal(o.Object); err != nil || bytes.Equal(before, after) {
		t.Fatalf("the journal was not damaged: %v", err)
	}
	if _, err := box.client.Resource(configMaps).Namespace(b.namespace).Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// putAside does what the product says to do with a damaged journal.
func (b *faultBench) putAside(t *testing.T, d damage, up upgradeCase, path string) {
	t.Helper()
	if d.file != nil {
		if err := os.Rename(path, path+".damaged"); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, o := range box.list(t, configMaps, b.namespace, "nodepool/journal") {
		if strings.Contains(o.GetName(), up.name) {
			if err := box.client.Resource(configMaps).Namespace(b.namespace).Delete(t.Context(), o.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
