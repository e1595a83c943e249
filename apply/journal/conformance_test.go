package journal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/apply/journal/journaltest"
	"nodepool/plan"
)

// store is a place that holds one journal. open gives it as a new process
// would find it; the one before has died.
type store struct {
	open func(t *testing.T) apply.Journal
	// shared tells that two processes may have it open at once.
	shared bool
}

// conformance is what every store must do.
func conformance(t *testing.T, fresh func(t *testing.T) store) {
	one, two := planNamed("one"), planNamed("two")
	tests := map[string]func(t *testing.T, s store){
		"an empty journal holds nothing": func(t *testing.T, s store) {
			j := s.open(t)
			if _, unfinished, err := j.Unfinished(t.Context()); unfinished || err != nil {
				t.Errorf("unfinished %v, %v", unfinished, err)
			}
			if runs, err := j.Runs(t.Context()); len(runs) > 0 || err != nil {
				t.Errorf("%d runs, %v", len(runs), err)
			}
		},
		"what was written is found again": func(t *testing.T, s store) {
			attempt, err := s.open(t).Open(t.Context(), one)
			if attempt != 1 || err != nil {
				t.Fatalf("attempt %d, %v; want the first", attempt, err)
			}
			written := []apply.Record{
				{Plan: one.Digest, Phase: apply.Opened, Attempt: 1, At: at(1), Actor: "a@b", Ticket: "CHG-1"},
				{Plan: one.Digest, Step: "md/patch", Phase: apply.Started, Attempt: 1, At: at(2), Actor: "a@b",
					Machines: []apply.Machine{{Name: "m", Node: "n", Version: "v1.34.3", Image: "ami-0", Created: "2026-01-02T03:04:05Z"}}},
				{Plan: one.Digest, Step: "md/patch", Phase: apply.Noted, Attempt: 1, At: at(3), Actor: "a@b", Note: "ünïcode \"quoted\"\nand \x1b more"},
			}
			j := s.open(t)
			appendAll(t, j, written...)
			check := func(j apply.Journal) {
				t.Helper()
				got, unfinished, err := j.Unfinished(t.Context())
				if !unfinished || err != nil {
					t.Fatalf("the begun plan is not found again: %v", err)
				}
				if diff := cmp.Diff(one, got); diff != "" {
					t.Errorf("plan (-want +got):\n%s", diff)
				}
				runs, err := j.Runs(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]apply.Run{{Upgrade: one.Upgrade.Name, Number: 1, Plan: one, Records: written}}, runs); diff != "" {
					t.Errorf("runs (-want +got):\n%s", diff)
				}
			}
			check(j)
			j = s.open(t)
			check(j)
			if attempt, err := j.Open(t.Context(), one); attempt != 2 || err != nil {
				t.Errorf("attempt %d, %v; want the second", attempt, err)
			}
		},
		"the first records come with the plan": func(t *testing.T, s store) {
			opened, looked := record(one, "", apply.Opened, 0), record(one, "preflight", apply.Done, 0)
			var want []apply.Record
			for attempt := 1; attempt <= 2; attempt++ {
				j := s.open(t)
				if got, err := j.Open(t.Context(), one, opened, looked); got != attempt || err != nil {
					t.Fatalf("attempt %d, %v; want %d", got, err, attempt)
				}
				for _, r := range []apply.Record{opened, looked} {
					r.Attempt = attempt
					want = append(want, r)
				}
				for _, j := range []apply.Journal{j, s.open(t)} {
					if diff := cmp.Diff(want, allRuns(t, j)[0].Records); diff != "" {
						t.Errorf("records (-want +got):\n%s", diff)
					}
				}
			}
			j := s.open(t)
			if _, err := j.Open(t.Context(), two, record(two, "", apply.Opened, 0)); err == nil {
				t.Error("another plan was opened beside it")
			}
			if diff := cmp.Diff(want, allRuns(t, s.open(t))[0].Records); diff != "" {
				t.Errorf("records after a refusal (-want +got):\n%s", diff)
			}
		},
		"another plan is refused until the first is closed": func(t *testing.T, s store) {
			j := s.open(t)
			mustOpen(t, j, one, 1)
			appendAll(t, j, record(one, "", apply.Opened, 1))
			for _, j := range []apply.Journal{j, s.open(t)} {
				var unfinished *apply.UnfinishedError
				if _, err := j.Open(t.Context(), two); !errors.As(err, &unfinished) || unfinished.Unfinished != one.Digest || unfinished.Wanted != two.Digest {
					t.Fatalf("got %v, want an UnfinishedError for the first plan", err)
				}
				if s.shared {
					continue
				}
				break
			}
			j = s.open(t)
			appendAll(t, j, record(one, "", apply.Closed, 1))
			if _, unfinished, err := j.Unfinished(t.Context()); unfinished || err != nil {
				t.Errorf("a closed run is unfinished: %v, %v", unfinished, err)
			}
			mustOpen(t, j, two, 1)
			runs := allRuns(t, s.open(t))
			if len(runs) != 2 || !runs[0].Closed() || runs[1].Closed() || runs[1].Number != 2 {
				t.Errorf("runs: %+v", runs)
			}
		},
		"the same plan again is a new run once it is closed": func(t *testing.T, s store) {
			j := s.open(t)
			for n := 1; n <= 2; n++ {
				mustOpen(t, j, one, 1)
				appendAll(t, j, record(one, "", apply.Opened, n), record(one, "", apply.Closed, n))
			}
			runs := allRuns(t, j)
			if len(runs) != 2 || len(runs[0].Records) != 2 || len(runs[1].Records) != 2 {
				t.Errorf("runs: %+v", runs)
			}
		},
		"records come together": func(t *testing.T, s store) {
			j := s.open(t)
			mustOpen(t, j, one, 1)
			all := []apply.Record{record(one, "md/wait", apply.Done, 1), record(one, "", apply.Closed, 1)}
			if err := j.Append(t.Context(), all...); err != nil {
				t.Fatal(err)
			}
			runs := allRuns(t, s.open(t))
			if diff := cmp.Diff(all, runs[0].Records); diff != "" || !runs[0].Closed() {
				t.Errorf("records (-want +got; closed: %t):\n%s", runs[0].Closed(), diff)
			}
		},
		"a closed run stays closed": func(t *testing.T, s store) {
			j := s.open(t)
			mustOpen(t, j, one, 1)
			late := record(one, "md/patch", apply.Failed, 1)
			appendAll(t, j, record(one, "", apply.Opened, 1), record(one, "", apply.Closed, 2), late)
			runs := allRuns(t, s.open(t))
			if !runs[0].Closed() || len(runs[0].Records) != 3 || runs[0].Records[1].Phase != apply.Failed {
				t.Errorf("records: %+v", runs[0].Records)
			}
		},
		"old runs go when new ones come, and numbers go on": func(t *testing.T, s store) {
			const all = 25
			for n := 1; n <= all; n++ {
				j := s.open(t)
				p := planNamed(fmt.Sprintf("run-%d", n))
				mustOpen(t, j, p, 1)
				appendAll(t, j, record(p, "", apply.Opened, 1), record(p, "", apply.Closed, 1))
			}
			p := planNamed("last")
			mustOpen(t, s.open(t), p, 1)
			runs := allRuns(t, s.open(t))
			if len(runs) != 10 {
				t.Fatalf("it holds %d runs, want the last 10", len(runs))
			}
			for i, run := range runs {
				if want := all + 1 - (len(runs) - 1) + i; run.Number != want {
					t.Errorf("run %d has the number %d, want %d", i, run.Number, want)
				}
			}
			if last := runs[len(runs)-1]; last.Plan.Digest != p.Digest {
				t.Error("the newest run is not there")
			}
		},
		"a plan of many pools fits": func(t *testing.T, s store) {
			p := planNamed("large")
			for i := range 200 {
				p.Steps = append(p.Steps, plan.Step{ID: fmt.Sprintf("pool-%03d/%s", i, strings.Repeat("x", 20)), Note: strings.Repeat("what is done and why ", 200),
					Preflight: &plan.Preflight{Checks: []string{"cluster"}}})
			}
			p.Digest = p.Sum()
			mustOpen(t, s.open(t), p, 1)
			got, _, err := s.open(t).Unfinished(t.Context())
			if err != nil || got.Digest != p.Digest {
				t.Errorf("digest %s, %v", got.Digest.Short(), err)
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
	t.Run("two at once lose nothing", func(t *testing.T) {
		s := fresh(t)
		if !s.shared {
			return // TestOneAtATime
		}
		first := s.open(t)
		mustOpen(t, first, one, 1)
		const writers, each = 6, 8
		errs := make(chan error, writers)
		for w := range writers {
			j := s.open(t)
			go func() {
				for n := range each {
					r := record(one, fmt.Sprintf("%d/%d", w, n), apply.Done, w)
					if err := j.Append(t.Context(), r); err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
		}
		for range writers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		next := map[string]int{}
		records := allRuns(t, first)[0].Records
		for _, r := range records {
			var w, n int
			if _, err := fmt.Sscanf(r.Step, "%d/%d", &w, &n); err != nil || n != next[fmt.Sprint(w)] {
				t.Fatalf("record %s: want number %d of its writer", r.Step, next[fmt.Sprint(w)])
			}
			next[fmt.Sprint(w)]++
		}
		if len(records) != writers*each {
			t.Errorf("%d records, want %d", len(records), writers*each)
		}
	})
	t.Run("of two plans at once one is opened", func(t *testing.T) {
		s := fresh(t)
		if !s.shared {
			return
		}
		errs := make(chan error, 8)
		for i := range 8 {
			j := s.open(t)
			p := planNamed(fmt.Sprintf("plan-%d", i))
			go func() {
				_, err := j.Open(t.Context(), p)
				errs <- err
			}()
		}
		opened := 0
		for range 8 {
			var unfinished *apply.UnfinishedError
			switch err := <-errs; {
			case err == nil:
				opened++
			case !errors.As(err, &unfinished):
				t.Error(err)
			}
		}
		if runs := allRuns(t, s.open(t)); opened != 1 || len(runs) != 1 {
			t.Errorf("%d were opened and %d runs are there, want 1", opened, len(runs))
		}
	})
}

func at(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 123456789, time.UTC) }

func mustOpen(t *testing.T, j apply.Journal, p plan.Plan, attempt int) {
	t.Helper()
	if got, err := j.Open(t.Context(), p); err != nil || got != attempt {
		t.Fatalf("attempt %d, %v; want %d", got, err, attempt)
	}
}

func allRuns(t *testing.T, j apply.Journal) []apply.Run {
	t.Helper()
	runs, err := j.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestFileConforms(t *testing.T) {
	conformance(t, func(t *testing.T) store {
		path := filepath.Join(t.TempDir(), "run.jsonl")
		var last *journal.File
		return store{open: func(t *testing.T) apply.Journal {
			t.Helper()
			if last != nil {
				_ = last.Close()
			}
			j, err := journal.OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			last = j
			t.Cleanup(func() { _ = j.Close() })
			return j
		}}
	})
}

func TestConfigMapConforms(t *testing.T) {
	conformance(t, func(t *testing.T) store {
		client := journaltest.NewClientset()
		return store{shared: true, open: func(*testing.T) apply.Journal {
			return journal.New(client.CoreV1(), client.CoordinationV1(), owner).Journal("up")
		}}
	})
}

// TestConfigMapConformsOnAServer is run by the end-to-end tests.
func TestConfigMapConformsOnAServer(t *testing.T) {
	kubeconfig := os.Getenv("NODEPOOL_TEST_KUBECONFIG")
	if kubeconfig == "" {
		t.Log("NODEPOOL_TEST_KUBECONFIG names no server; the end-to-end tests have one")
		return
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	configMaps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("default")
	conformance(t, func(t *testing.T) store {
		// Some object to be its owner.
		o, err := configMaps.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"generateName": "journal-conformance-"},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := configMaps.Delete(context.Background(), o.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		s, err := journal.Connect(config, journal.Cluster{APIVersion: "v1", Namespace: "default", Name: o.GetName(), UID: o.GetUID()})
		if err != nil {
			t.Fatal(err)
		}
		return store{shared: true, open: func(*testing.T) apply.Journal { return s.Journal("up") }}
	})
}
