package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/apply/journal"
	"nodepool/plan"
)

// report gives the report of a run as a program reads it.
func (s *site) report(run string) (r apply.Report) {
	s.Helper()
	stdout, _ := s.do(0, "", "history", run, "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		s.Fatal(err)
	}
	return r
}

// TestHistoryOfAStallThatWentOn: the rollout of a stalled run came to its end by
// itself; the apply that finds nothing left to do closes the run, and tells the
// machines.
func TestHistoryOfAStallThatWentOn(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	md := clustertest.MachineDeployment(pool0)
	s.world.Break(md, bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Break(md, clustertest.Fault{})
	for range 50 {
		s.world.Step()
	}
	stdout, _ := s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stdout, "No changes")
	r := s.report("one/1")
	gone, there := 0, 0
	for _, m := range r.Pools[0].After {
		switch {
		case m.Gone == "" && m.Version == "v1.35.2" && m.Node != "":
			there++
		case m.Gone != "" && m.Version != "v1.35.2":
			gone++
		}
	}
	if r.Outcome != "done" || gone != 3 || there != 3 || len(r.Pools[0].After) != 6 {
		t.Errorf("%s, %d gone, %d there: %+v", r.Outcome, gone, there, r.Pools)
	}
	if last := r.Steps[len(r.Steps)-1]; last.Outcome != "done" {
		t.Errorf("the wait is %s", last.Outcome)
	}
}

// TestHistoryTellsWhoIsAtWork: a run whose lock is held is running, and one that
// was killed is not; who took the lock away is told.
func TestHistoryTellsWhoIsAtWork(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	s.fuse = secondPatch(clustertest.CrashBefore)
	s.do(1, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.fuse = nil
	md := clustertest.MachineDeployment(pool0)
	runs, err := s.beside(journal.Cluster{Namespace: "default"}).Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lock := s.beside(journal.Cluster{Namespace: "default", Name: "aws-example"}).Lock(0, nil)
	held, err := lock.Acquire(t.Context(), []plan.Ref{md}, apply.Holder{Actor: "ann@elsewhere", Upgrade: "one", Plan: runs[0].Plan.Digest})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Release(t.Context()) }()
	r := s.report("one/1")
	if r.Outcome != "running" || r.Holder == nil || r.Holder.Actor != "ann@elsewhere" {
		t.Errorf("%s by %+v", r.Outcome, r.Holder)
	}
	stdout, _ := s.do(0, "", "history")
	s.says(stdout, "running", "ann@elsewhere")
	s.do(0, "", "unlock", "-f", "u.yaml", "--auto-approve")
	if r = s.report("one/1"); r.Outcome == "running" {
		t.Error("it is told to be running without a lock")
	}
	text, _ := s.do(0, "", "history", "one/1")
	s.says(text, "On the way", "took the lock of "+pool0+" away from ann@elsewhere")
}

// TestHistoryIsOldestFirst: by the time, not by the name.
func TestHistoryIsOldestFirst(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": strings.Replace(badUpgrade, "name: one", "name: zebra", 1), "v.yaml": strings.Replace(badUpgrade, "name: one", "name: ape", 1)})
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve", "--journal", "file:"+t.TempDir()+"/j")
	store := s.beside(journal.Cluster{Namespace: "default", Name: "aws-example"})
	for i, name := range []string{"zebra", "ape"} {
		p := plan.Plan{APIVersion: plan.APIVersion, Kind: plan.Kind, Upgrade: plan.UpgradeRef{Name: name}, Steps: []plan.Step{}}
		p.Digest = p.Sum()
		j := store.Journal(name)
		if _, err := j.Open(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 1, 2+i, 0, 0, 0, 0, time.UTC)
		for _, phase := range []apply.Phase{apply.Opened, apply.Closed} {
			if err := j.Append(t.Context(), apply.Record{Plan: p.Digest, Phase: phase, At: at}); err != nil {
				t.Fatal(err)
			}
		}
	}
	stdout, _ := s.do(0, "", "history")
	if z, a := strings.Index(stdout, "zebra/1"), strings.Index(stdout, "ape/1"); z < 0 || a < z {
		t.Errorf("zebra was first:\n%s", stdout)
	}
}

// TestFileJournalTellsItsHolder: who holds it stands beside the lock, and is
// gone with the run.
func TestFileJournalTellsItsHolder(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	path := t.TempDir() + "/j.jsonl"
	j, err := journal.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Acquire(t.Context(), nil, apply.Holder{Actor: "ann@here", Host: "here", Process: os.Getpid(), Upgrade: "one", Plan: "sha256:0123", Ticket: "CHG-7"}); err != nil {
		t.Fatal(err)
	}
	_, stderr := s.do(6, "", "apply", "-f", "u.yaml", "--auto-approve", "--journal", "file:"+path)
	s.says(stderr, "that of ann@here", "process ", "since:", "sha256:0123", "CHG-7")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if h, held, err := journal.FileHolder(path); held || err != nil {
		t.Errorf("%+v holds it, %v", h, err)
	}
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve", "--journal", "file:"+path)
	stdout, _ := s.do(0, "", "history", "one/1", "--journal", "file:"+path)
	s.says(stdout, "Run one/1", "done")
}
