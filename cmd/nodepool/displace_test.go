package main

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/apply/journal"
	"nodepool/plan"
)

// write puts a file into the operator's folder.
func (s *site) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

// TestAnotherUpgradeIsInTheWay: an unfinished run is in the way of every plan on
// its pools, whatever the upgrade is called, and each choice works.
func TestAnotherUpgradeIsInTheWay(t *testing.T) {
	for name, choice := range map[string]struct {
		args  []string
		code  int
		notes []string
	}{
		"carry on": {[]string{"apply", "one/1", "--auto-approve"}, 0, []string{"one/1  closed: "}},
		"go back":  {[]string{"rollback", "one/1", "--auto-approve"}, 0, []string{"one/1  closed: rolled back", "one/2 rollback closed: "}},
		"give up":  {[]string{"apply", "-f", "other.yaml", "--auto-approve", "--abandon"}, 5, []string{"one/1  closed: abandoned: for", "two/1  unfinished"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, map[string]string{"u.yaml": badUpgrade,
				"other.yaml": strings.NewReplacer("name: one", "name: two", "ami-bad", "ami-0123456789abcdef0").Replace(badUpgrade)})
			md := clustertest.MachineDeployment(pool0)
			s.world.Break(md, bad)
			s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve", "--ticket", "CHG-7")
			patches := s.patches()
			_, stderr := s.do(1, "", "apply", "-f", "other.yaml", "--auto-approve")
			s.says(stderr, "a plan of the upgrade one on "+pool0, "run one/1", "ticket CHG-7", "begun at 20", "nodepool apply one/1", "nodepool rollback one/1", "--abandon")
			if n := s.patches() - patches; n != 0 {
				t.Errorf("%d patches", n)
			}
			s.planTells("other.yaml", "nodepool apply refuses this plan while", "run one/1", "ticket CHG-7", "nodepool apply one/1")
			if choice.args[0] == "apply" && choice.code == 0 {
				s.world.Break(md, clustertest.Fault{})
			}
			s.do(choice.code, "", choice.args...)
			got := s.notes()
			for i := range got {
				got[i], _, _ = strings.Cut(got[i], " the plan")
			}
			if d := cmp.Diff(choice.notes, got); d != "" {
				t.Errorf("journal (-want +got):\n%s", d)
			}
		})
	}
}

// planTells wants a warning of an unfinished run in every form of the plan, and a
// digest that does not depend on it.
func (s *site) planTells(file string, words ...string) {
	s.Helper()
	digests := map[string]bool{}
	for _, form := range []string{"text", "markdown", "json", "yaml"} {
		said, _ := s.do(0, "", "plan", "-f", file, "-o", form)
		for _, sign := range []string{"`", "\\"} {
			said = strings.ReplaceAll(said, sign, "")
		}
		s.says(strings.Join(strings.Fields(said), " "), append([]string{"unfinished-run"}, words...)...)
		digests[regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(said)] = true
	}
	saved, _ := s.do(0, "", "plan", "-f", file, "-o", "json")
	p, err := plan.Read([]byte(saved))
	if err != nil {
		s.Fatal(err)
	}
	without := p
	without.Findings = nil
	if at := slices.IndexFunc(p.Findings, func(f plan.Finding) bool { return f.Code == plan.CheckUnfinished }); at < 0 || p.Findings[at].Severity != plan.Warn || p.Blocked {
		s.Errorf("no warning in %+v", p.Findings)
	}
	if len(digests) != 1 || without.Sum() != p.Digest {
		s.Errorf("it is signed: %v", digests)
	}
}

// TestFoundDoneNamesTheRun: apply that finds all done says which run it closes, and
// where its document is.
func TestFoundDoneNamesTheRun(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	md := clustertest.MachineDeployment(pool0)
	s.world.Break(md, bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Break(md, clustertest.Fault{})
	s.world.Settle()
	said, _ := s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(said, "No changes.", "has nothing left to do, and is closed.", "Run one/1, ", "nodepool history one/1 -o markdown")
	said, _ = s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	if strings.Contains(said, "closed") {
		t.Errorf("it closes it once more:\n%s", said)
	}
}

// TestNoRunIsUnfinished: that nobody is in the way is a check that passed, and
// what could not be looked at is not verified.
func TestNoRunIsUnfinished(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	said, _ := s.do(0, "", "plan", "-f", "u.yaml", "--full")
	s.says(said, "✓ unfinished-run: no run on these pools is unfinished")
	s.objects.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", nil)
	})
	said, stderr := s.do(0, "", "plan", "-f", "u.yaml", "--full")
	s.says(said, "? unfinished-run: not verified: you may not list configmaps", "not verified: ", "unfinished-run")
	if stderr != "" {
		t.Errorf("beside it: %s", stderr)
	}
}

// TestARunThatEndedByItselfIsInNobodysWay, and is closed by the next one.
func TestARunThatEndedByItselfIsInNobodysWay(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade,
		"other.yaml": strings.NewReplacer("name: one", "name: two", "ami-bad", "ami-0123456789abcdef0").Replace(badUpgrade)})
	md := clustertest.MachineDeployment(pool0)
	s.world.Break(md, bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Break(md, clustertest.Fault{})
	s.world.Settle()
	s.do(0, "", "apply", "-f", "other.yaml", "--auto-approve")
	if d := cmp.Diff([]string{"one/1  closed: found done", "two/1  closed: "}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
}

// TestTheRefusalNamesTheRun of the same upgrade, whose file was edited.
func TestTheRefusalNamesTheRun(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	s.world.Break(clustertest.MachineDeployment(pool0), bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve", "--ticket", "CHG-7")
	s.planTells("u.yaml", "nodepool apply carries on with", "run one/1", "and not with this plan", "nodepool history one/1")
	s.write("u.yaml", strings.Replace(badUpgrade, "ami-bad", "ami-0123456789abcdef0", 1))
	_, stderr := s.do(1, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "another plan of this upgrade", "run one/1", "by ", "begun at 20", "ticket CHG-7", "nodepool apply one/1", "nodepool rollback one/1", "--abandon")
	s.planTells("u.yaml", "nodepool apply refuses this plan while", "run one/1")

	s.world.Break(clustertest.MachineDeployment(pool0), clustertest.Fault{})
	s.do(0, "", "apply", "one/1", "--auto-approve")
	_, stderr = s.do(1, "", "apply", "one/1", "--auto-approve")
	s.says(stderr, "the run one/1 has ended: done")
	_, stderr = s.do(1, "", "apply", "u.yaml", "--auto-approve")
	s.says(stderr, "the upgrade file goes behind -f")
}

// heldByBob gives the lock of a pool as bob holds it, who carries out a plan.
func (s *site) heldByBob(ctx context.Context, md plan.Ref, of plan.Digest) apply.Held {
	s.Helper()
	held, err := s.beside(journal.Cluster{Namespace: "default", Name: "aws-example"}).Lock(0, nil).
		Acquire(ctx, []plan.Ref{md}, apply.Holder{Actor: "bob@there", Host: "there", Process: 7, Upgrade: "one", Plan: of})
	if err != nil {
		s.Fatal(err)
	}
	return held
}

// TestLookBeforeAsking: who works on the pools is told before anything else is
// decided or asked.
func TestLookBeforeAsking(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	md := clustertest.MachineDeployment(pool0)
	s.world.Break(md, bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Break(md, clustertest.Fault{})
	runs, err := s.beside(journal.Cluster{Namespace: "default"}).Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.meanwhile = func(ctx context.Context) func() {
		held := s.heldByBob(ctx, md, runs[0].Plan.Digest)
		time.Sleep(time.Second)
		return func() { _ = held.Release(ctx) }
	}
	_, stderr := s.do(6, "", "apply", "-f", "u.yaml", "--auto-approve", "--lock-timeout", "0s")
	s.says(stderr, "is being carried out now by bob@there")
	if strings.Contains(stderr, "Carrying on with") {
		t.Errorf("it says:\n%s", stderr)
	}
	s.write("u.yaml", strings.Replace(badUpgrade, "ami-bad", "ami-0123456789abcdef0", 1))
	_, stderr = s.do(6, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "locked: another run works on pool "+pool0, "bob@there")
	if strings.Contains(stderr, "--abandon") {
		t.Errorf("it offers to give up what is at work:\n%s", stderr)
	}
}

// TestAbandonSparesWhatIsAtWork: a run on other pools is not given up, nor is it
// offered to be, while it is at work.
func TestAbandonSparesWhatIsAtWork(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade,
		"more.yaml": strings.NewReplacer(", machineImage: ami-bad", "", pool0, pool1).Replace(badUpgrade)})
	md := clustertest.MachineDeployment(pool0)
	s.world.Break(md, bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Break(md, clustertest.Fault{})
	runs, err := s.beside(journal.Cluster{Namespace: "default"}).Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.meanwhile = func(ctx context.Context) func() {
		held := s.heldByBob(ctx, md, runs[0].Plan.Digest)
		return func() { _ = held.Release(ctx) }
	}
	patches := s.patches()
	for _, more := range [][]string{nil, {"--abandon"}} {
		_, stderr := s.do(6, "", append([]string{"apply", "-f", "more.yaml", "--auto-approve"}, more...)...)
		s.says(stderr, "another run works on pool "+pool0, "bob@there", "Nothing was written", "not given up while it is at work")
		if strings.Contains(stderr, "add --abandon") || strings.Contains(stderr, "--lock-timeout") {
			t.Errorf("it offers what is of no use:\n%s", stderr)
		}
	}
	if diff := cmp.Diff([]string{"one/1  unfinished"}, s.notes()); diff != "" || s.patches() != patches {
		t.Errorf("%d patches; runs (-want +got):\n%s", s.patches()-patches, diff)
	}
}

// TestLockedTellsNoRun: who does not get the lock has no run, and is not told that
// the run of another is his, though it may be of the same plan.
func TestLockedTellsNoRun(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	md := clustertest.MachineDeployment(pool0)
	s.world.Break(md, bad)
	stdout, _ := s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stdout, "closing document")
	s.world.Break(md, clustertest.Fault{})
	s.meanwhile = func(ctx context.Context) func() {
		held := s.heldByBob(ctx, md, "sha256:other")
		return func() { _ = held.Release(ctx) }
	}
	stdout, stderr := s.do(6, "", "apply", "-f", "u.yaml", "--auto-approve", "--lock-timeout", "0s")
	s.says(stderr, "bob@there", "Nothing was written")
	if strings.Contains(stdout, "closing document") {
		t.Errorf("it says:\n%s", stdout)
	}
}

// TestWithoutATerminal: commands look first, and refuse only what there is to
// approve.
func TestWithoutATerminal(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade}, clustertest.PoolVersion(pool0, "v1.35.0"))
	_, stderr := s.do(1, "", "apply", "-f", "u.yaml")
	s.says(stderr, "nothing was written", "no terminal to ask on", "--auto-approve")
	_, stderr = s.do(1, "", "rollback", "one/1")
	s.says(stderr, "no run of the upgrade one")
	stdout, _ := s.do(0, "", "unlock", "-f", "u.yaml")
	s.says(stdout, "Nothing is locked.")
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	stdout, _ = s.do(0, "", "apply", "-f", "u.yaml")
	s.says(stdout, "No changes.")
	s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
	stdout, _ = s.do(0, "", "rollback", "-f", "u.yaml")
	s.says(stdout, "No changes.")
}

// TestPausedMeanwhile: a run that ends well says that somebody has paused its
// pool, and records it.
func TestPausedMeanwhile(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	md := clustertest.MachineDeployment(pool0)
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Break(md, bad)
	s.write("u.yaml", strings.Replace(badUpgrade, "ami-bad", "ami-0123456789abcdef0", 1))
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Break(md, clustertest.Fault{})
	s.world.Settle()
	s.world.Edit(md, set(true, "spec", "paused"))
	_, stderr := s.do(0, "", "apply", "one/2", "--auto-approve")
	s.says(stderr, pool0+" is paused, by somebody else")
	stdout, _ := s.do(0, "", "history", "one/2")
	s.says(stdout, "the rollout is complete, and MachineDeployment default/"+pool0+" is paused")
}

// TestOthersCannotBeListed: who may not list the journals is told, and goes on.
func TestOthersCannotBeListed(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	s.objects.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", nil)
	})
	_, stderr := s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "note: you may not list configmaps in namespace default", "unfinished runs of other upgrades are not found")
	_, stderr = s.do(0, "", "plan", "-f", "u.yaml")
	if stderr != "" {
		t.Errorf("plan says %s", stderr)
	}
}
