package capi_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"nodepool/plan/capi"
)

// event is one line of a recording: one watch event of a real rollout.
type event struct {
	T      *float64                   `json:"t"` // seconds after the patch; nil: the state before
	W      string                     `json:"w"` // md1, md2, ms, m
	Type   string                     `json:"type"`
	Object *unstructured.Unstructured `json:"object"`
}

func (e event) String() string {
	at := "before"
	if e.T != nil {
		at = fmt.Sprintf("%.3f s", *e.T)
	}
	return fmt.Sprintf("%s %s %s/%s", at, e.Type, e.Object.GetKind(), e.Object.GetName())
}

// open unpacks a file of a recording.
func open(t testing.TB, recording, file string) io.Reader {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "recordings", recording, file+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return unpacked
}

func events(t testing.TB, recording string) []event {
	t.Helper()
	var all []event
	lines := bufio.NewReader(open(t, recording, "events.jsonl"))
	for {
		line, err := lines.ReadBytes('\n')
		if len(strings.TrimSpace(string(line))) > 0 {
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// manifests reads a YAML file of one object or of a list.
func manifests(t testing.TB, recording, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := io.ReadAll(open(t, recording, file))
	if err != nil {
		t.Fatal(err)
	}
	var object unstructured.Unstructured
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := object.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	if !object.IsList() {
		return []*unstructured.Unstructured{&object}
	}
	list, err := object.ToList()
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all
}

// store is what a watcher of the management cluster holds.
type store struct {
	deployment     *unstructured.Unstructured
	sets, machines []*unstructured.Unstructured
}

func (s *store) take(e event) {
	key := func(u *unstructured.Unstructured) string { return u.GetNamespace() + "/" + u.GetName() }
	update := func(list []*unstructured.Unstructured) []*unstructured.Unstructured {
		var next []*unstructured.Unstructured
		for _, u := range list {
			if key(u) != key(e.Object) {
				next = append(next, u)
			}
		}
		if e.Type != "DELETED" {
			next = append(next, e.Object)
		}
		return next
	}
	switch e.W {
	case "ms":
		s.sets = update(s.sets)
	case "m":
		s.machines = update(s.machines)
	default:
		s.deployment = e.Object
	}
}

func (s *store) observed() capi.Observed {
	return capi.Observed{MachineDeployment: s.deployment, MachineSets: s.sets, Machines: s.machines}
}

// replay judges a recording after each of its events, with the
// MachineDeployment as one of its two watches gave it, and with all
// objects of the other version left out.
func replay(t testing.TB, recording, watch string, visit func(e event, r capi.Rollout, s *store)) {
	t.Helper()
	var s store
	for _, e := range events(t, recording) {
		if strings.HasPrefix(e.W, "md") && e.W != watch {
			continue
		}
		s.take(e)
		visit(e, capi.Judge(s.observed()), &s)
	}
}

func recordings(t testing.TB) []string {
	t.Helper()
	found, err := fs.Glob(os.DirFS("testdata/recordings"), "*/events.jsonl.gz")
	if err != nil || len(found) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return found
}

func causes(list []capi.Stall) string {
	var all []string
	for _, s := range list {
		all = append(all, fmt.Sprintf("%s %s/%s", s.Cause, s.Kind, s.Name))
	}
	return strings.Join(all, ", ")
}

func TestDump(t *testing.T) {
	if os.Getenv("DUMP") == "" {
		t.Skip()
	}
	for _, name := range recordings(t) {
		for _, w := range []string{"md2", "md1"} {
			last := ""
			first := true
			replay(t, name, w, func(e event, r capi.Rollout, s *store) {
				now := fmt.Sprintf("%v %d/%d/%d/%d %s\n     stalls: %s\n     suspect: %s", r.Complete, r.Desired, r.New, r.NewReady, r.Old, r.Waiting, causes(r.Stalls), causes(r.Suspicions))
				if now != last && e.T != nil {
					fmt.Println(name, w, e, now)
				}
				if r.Complete && first && e.T != nil {
					first = false
					fmt.Println("####", name, w, *e.T)
				}
				last = now
			})
		}
	}
}
