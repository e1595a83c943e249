package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/plan"
	"nodepool/schema"
)

// planNamed gives one of several plans of the upgrade "up".
func planNamed(name string) plan.Plan {
	p := plan.Plan{APIVersion: plan.APIVersion, Kind: plan.Kind,
		Upgrade: plan.UpgradeRef{Name: "up", Cluster: schema.ClusterRef{Name: "c", Namespace: "default"}},
		Steps:   []plan.Step{{ID: "preflight", Preflight: &plan.Preflight{Checks: []string{name}}}}}
	p.Digest = p.Sum()
	return p
}

func open(t *testing.T, path string) *journal.File {
	t.Helper()
	j, err := journal.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func record(p plan.Plan, step string, phase apply.Phase, attempt int) apply.Record {
	return apply.Record{Plan: p.Digest, Step: step, Phase: phase, Attempt: attempt,
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Actor: "a@b"}
}

func appendAll(t *testing.T, j apply.Journal, records ...apply.Record) {
	t.Helper()
	for _, r := range records {
		if err := j.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasWrittenIsFoundAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "run.jsonl")
	p := planNamed("one")
	j := open(t, path)
	attempt, err := j.Open(t.Context(), p)
	if err != nil || attempt != 1 {
		t.Fatalf("attempt %d, %v; want the first", attempt, err)
	}
	written := []apply.Record{record(p, "", apply.Opened, 1), record(p, "preflight", apply.Done, 1)}
	appendAll(t, j, written...)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = open(t, path)
	got, unfinished, _ := j.Unfinished(t.Context())
	if !unfinished {
		t.Fatal("the begun plan is not found again")
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	records := recordsOf(t, j)
	if diff := cmp.Diff(written, records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if attempt, err = j.Open(t.Context(), p); err != nil || attempt != 2 {
		t.Errorf("attempt %d, %v; want the second", attempt, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestAnotherPlanIsRefusedUntilTheFirstIsClosed(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "run.jsonl"))
	one, two := planNamed("one"), planNamed("two")
	if _, err := j.Open(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	var unfinished *apply.UnfinishedError
	if _, err := j.Open(t.Context(), two); !errors.As(err, &unfinished) || unfinished.Unfinished != one.Digest {
		t.Fatalf("got %v, want an UnfinishedError for the first plan", err)
	}
	appendAll(t, j, record(one, "", apply.Opened, 1), record(one, "", apply.Closed, 1))
	if attempt, err := j.Open(t.Context(), two); err != nil || attempt != 1 {
		t.Errorf("attempt %d, %v; want the first of the second plan", attempt, err)
	}
}

func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.jsonl")
	p := planNamed("one")
	j := open(t, path)
	if _, err := j.Open(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, record(p, "", apply.Opened, 1), record(p, "preflight", apply.Done, 1))
	_ = j.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Every length at which a crash may have cut the last line.
	lastLine := len(whole) - 1
	for lastLine > 0 && whole[lastLine-1] != '\n' {
		lastLine--
	}
	for cut := lastLine; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := journal.OpenFile(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := j.Append(t.Context(), record(p, "preflight", apply.Done, 2)); err != nil {
			t.Fatal(err)
		}
		_ = j.Close()
		read, err := journal.ReadFile(path)
		if err != nil {
			t.Fatalf("cut at %d, then appended to: %v", cut, err)
		}
		records := recordsOf(t, read)
		if diff := cmp.Diff([]apply.Record{record(p, "", apply.Opened, 1), record(p, "preflight", apply.Done, 2)}, records); diff != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", cut, diff)
		}
	}
}

func TestDamageIsSaidAndLeftAlone(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":       "{\"record\":{}}\nrubbish\n",
		"unknown field": "{\"recrod\":{}}\n",
		"empty line":    "{}\n",
		"edited plan":   "{\"open\":{\"apiVersion\":\"nodepool/v1alpha1\",\"kind\":\"Plan\",\"digest\":\"sha256:00\",\"steps\":[]}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run.jsonl")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := journal.OpenFile(path)
			var corrupt *journal.CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("got %v, want a CorruptError", err)
			}
			var file *plan.FileError
			if errors.As(err, &file) || strings.Contains(err.Error(), "nodepool plan") || !strings.Contains(err.Error(), "move it away to go on") {
				t.Errorf("it is told as a damaged plan, which would be made again: %v", err)
			}
			left, err := os.ReadFile(path)
			if err != nil || string(left) != text {
				t.Errorf("the damaged journal was changed to %q", left)
			}
		})
	}
}

func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.jsonl")
	j := open(t, path)
	var locked *apply.JournalLockedError
	if _, err := journal.OpenFile(path); !errors.As(err, &locked) {
		t.Fatalf("got %v, want a LockedError", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestReadFile(t *testing.T) {
	j, err := journal.ReadFile(filepath.Join(t.TempDir(), "none.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if _, unfinished, _ := j.Unfinished(t.Context()); unfinished {
		t.Error("a journal that does not exist holds a plan")
	}
	if err := j.Append(t.Context(), apply.Record{}); err == nil {
		t.Error("a journal opened to be read was written")
	}
}

// recordsOf gives the records of the last run.
func recordsOf(t *testing.T, j apply.Journal) []apply.Record {
	t.Helper()
	runs, err := j.Runs(t.Context())
	if err != nil || len(runs) == 0 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	return runs[len(runs)-1].Records
}

// TestListsOfMachinesAreThinned: of the lists of machines of many attempts those
// between the first and the last go first, and are counted.
func TestListsOfMachinesAreThinned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.jsonl")
	j := open(t, path)
	p := planNamed("many")
	if _, err := j.Open(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	list := func(name string) []apply.Machine {
		var out []apply.Machine
		for i := range 500 {
			out = append(out, apply.Machine{Name: fmt.Sprintf("%s-%d-%s", name, i, strings.Repeat("x", 150))})
		}
		return out
	}
	add := func(r apply.Record) {
		r.Plan, r.At = p.Digest, time.Now().UTC()
		if err := j.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	add(apply.Record{Phase: apply.Opened, Attempt: 1})
	add(apply.Record{Step: "md/patch", Phase: apply.Started, Machines: list("before")})
	for n := range 120 {
		add(apply.Record{Step: "md/wait", Phase: apply.Failed, Attempt: n + 1, Note: "stalled: no", Machines: list("after")})
		add(apply.Record{Phase: apply.Opened, Attempt: n + 2})
	}
	add(apply.Record{Step: "md/wait", Phase: apply.Done, Machines: list("last")})
	add(apply.Record{Phase: apply.Closed})
	if _, err := j.Open(t.Context(), planNamed("next")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 9<<20 {
		t.Fatalf("%v, %d bytes", err, info.Size())
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := journal.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := again.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept, counted := map[string]int{}, 0
	for _, r := range runs[0].Records {
		if len(r.Machines) > 0 {
			kept[r.Machines[0].Name[:4]]++
		} else if r.More == 500 {
			counted++
		}
	}
	if kept["befo"] != 1 || kept["last"] != 1 || kept["afte"] == 120 || counted == 0 {
		t.Errorf("kept %v, counted %d", kept, counted)
	}
}
