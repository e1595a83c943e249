package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/apply/journal"
	"nodepool/plan"
)

// TestStatusThroughARun asks before, during and after a stalled run.
func TestStatusThroughARun(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	md := clustertest.MachineDeployment(pool0)
	states := func(args ...string) map[string]apply.PoolState {
		t.Helper()
		stdout, _ := s.do(0, "", append([]string{"status", "-o", "json"}, args...)...)
		var all []apply.PoolState
		if err := json.Unmarshal([]byte(stdout), &all); err != nil {
			t.Fatalf("%v in %s", err, stdout)
		}
		out := map[string]apply.PoolState{}
		for _, p := range all {
			out[p.Name] = p
		}
		return out
	}
	if got := states("-f", "u.yaml"); len(got) != 1 || !got[pool0].Complete || got[pool0].Run != nil || *got[pool0].Changes != 3 {
		t.Errorf("before: %+v", got)
	}
	if got := states(); len(got) != 2 || got[pool0].Changes != nil {
		t.Errorf("without -f: %+v", got)
	}

	s.world.Break(md, bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve", "--ticket", "CHG-7")
	got := states("-f", "u.yaml")[pool0]
	if got.Complete || !strings.Contains(got.Stall.Explanation, "InvalidAMIID.NotFound") || got.Old != 3 || *got.Changes != 0 {
		t.Errorf("stalled: %+v", got)
	}
	if st := got.Run.Stalled; st == nil || st.At.IsZero() || st.Stall == nil || st.Stall.Cause != "provider-error" || st.Stall.Next == "" || st.Stall.Message != "InvalidAMIID.NotFound" {
		t.Fatalf("stalled: %+v", st)
	}
	want := &apply.RunState{Run: "one/1", Plan: got.Run.Plan, Ticket: "CHG-7", Step: pool0 + "/wait", Number: 4, Steps: 4, Idle: true, Stalled: got.Run.Stalled}
	if d := cmp.Diff(want, got.Run); d != "" {
		t.Errorf("the run (-want +got):\n%s", d)
	}
	stdout, _ := s.do(0, "", "status")
	s.says(stdout, "stalled", "one/1", "4/4 wait", "InvalidAMIID.NotFound")

	// Somebody else is at work on it now.
	lock := s.beside(journal.Cluster{Namespace: "default", Name: "aws-example"}).Lock(0, nil)
	held, err := lock.Acquire(t.Context(), []plan.Ref{md}, apply.Holder{Actor: "ann@host", Host: "elsewhere", Upgrade: "one"})
	if err != nil {
		t.Fatal(err)
	}
	stdout, _ = s.do(0, "", "status", "--cluster", "aws-example")
	s.says(stdout, "ann@host", "locked by ann@host for one")
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}

	s.world.Break(md, clustertest.Fault{})
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	if got := states("-f", "u.yaml")[pool0]; !got.Complete || got.Run != nil || got.Holder != nil || *got.Changes != 0 {
		t.Errorf("after: %+v", got)
	}
}

func TestStatusSaysWhatIsWrong(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"--cluster", "none"}, "there is no cluster none in namespace default"},
		{[]string{"-f", "u.yaml", "--cluster", "x"}, "leave --cluster and --namespace out"},
		{[]string{"-o", "yaml"}, "text and json"},
		{[]string{"--journal", "nowhere"}, "file:PATH"},
	} {
		code := 1
		if test.args[0] == "--journal" {
			code = 0 // said, and the rest is shown
		}
		_, stderr := s.do(code, "", append([]string{"status"}, test.args...)...)
		s.says(stderr, test.says)
	}
	stdout, _ := s.do(0, "", "status", "-n", "empty")
	s.says(stdout, "There are no MachineDeployments in namespace empty")
}

func TestHistory(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	stdout, _ := s.do(0, "", "history")
	s.says(stdout, "No run is recorded here.")
	s.world.Break(clustertest.MachineDeployment(pool0), bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve", "--ticket", "CHG-7")
	s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")

	stdout, _ = s.do(0, "", "history")
	s.says(stdout, "one/1", "rolled back", "one/2", "done", "CHG-7")
	if both, _ := s.do(0, "", "history", "-f", "u.yaml"); both != stdout {
		t.Errorf("by -f it tells:\n%s\nand without:\n%s", both, stdout)
	}
	stdout, _ = s.do(0, "", "history", "one/1")
	s.says(stdout, "Run one/1 of cluster default/aws-example: rolled back", "Ticket    CHG-7", pool0+"/wait", "stalled", "On the way", "InvalidAMIID.NotFound", "v1.34.3")
	stdout, _ = s.do(0, "", "history", "one/1", "-o", "markdown")
	s.says(stdout, "## Run `one/1` of cluster `default/aws-example`", "| Machine | Node |")
	var report apply.Report
	stdout, _ = s.do(0, "", "history", "one/2", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Run != "one/2" || report.Outcome != "done" {
		t.Errorf("%v, %+v", err, report)
	}
	for args, says := range map[string]string{"one/9": "there is no run one/9", "one/1 one/2": "one run at a time", "-o markdown": "markdown for one run"} {
		_, stderr := s.do(1, "", append([]string{"history"}, strings.Fields(args)...)...)
		s.says(stderr, says)
	}
}

// TestStatusOfNamedPools: --pool narrows without an upgrade file too, and a typo
// does not pass.
func TestStatusOfNamedPools(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	stdout, _ := s.do(0, "", "status", "--cluster", "aws-example", "--pool", pool0)
	if s.says(stdout, pool0); strings.Contains(stdout, "aws-example-md-1") {
		t.Errorf("the other pool is there:\n%s", stdout)
	}
	_, stderr := s.do(1, "", "status", "--pool", "aws-exampel-md-0")
	s.says(stderr, "namespace default has no pool", "did you mean "+pool0, "its pools: ")
	_, stderr = s.do(1, "", "unlock", "--pool", "aws-exampel-md-0", "--auto-approve")
	s.says(stderr, "namespace default has no pool", "did you mean "+pool0)
	stdout, _ = s.do(0, "", "unlock", "--pool", pool0, "--auto-approve")
	s.says(stdout, "Nothing is locked.")
}

// TestStatusOfWhatOthersDid: what a run has changed itself is no drift, nor is
// its own pause; what another run did is told as that.
func TestStatusOfWhatOthersDid(t *testing.T) {
	// A run that is done with a pool and not with another lets others have that.
	both := strings.Replace(badUpgrade, "ami-bad}", "ami-0fedcba9876543210}", 1) + "    - {name: " + pool1 + ", kubernetesVersion: v1.35.2}\n"
	s := newSite(t, map[string]string{"u.yaml": badUpgrade, "both.yaml": strings.Replace(both, "name: one", "name: both", 1),
		"v.yaml": strings.NewReplacer("name: one", "name: two", "ami-bad", "ami-1fedcba9876543210").Replace(badUpgrade)})
	md := clustertest.MachineDeployment(pool0)
	s.world.Break(md, bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	stdout, _ := s.do(0, "", "status", "--pool", pool0)
	s.says(stdout, "stalled", "the run gave up at", "InvalidAMIID.NotFound", "next: ", "nobody is at work on one/1")

	s.world.Edit(md, set("v1.34.3", "spec", "template", "spec", "version"))
	stdout, _ = s.do(0, "", "status", "--pool", pool0)
	s.says(stdout, "drifted", "spec.template.spec.version: reviewed v1.35.2, found v1.34.3")
	if strings.Contains(stdout, "infrastructureRef") {
		t.Errorf("nodepool's own change is told as drift:\n%s", stdout)
	}
	s.world.Edit(md, set("v1.35.2", "spec", "template", "spec", "version"))

	s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
	s.world.Break(md, clustertest.Fault{})
	s.world.Break(clustertest.MachineDeployment(pool1), bad)
	s.do(5, "", "apply", "-f", "both.yaml", "--auto-approve")
	s.do(0, "", "apply", "-f", "v.yaml", "--auto-approve")
	stdout, _ = s.do(0, "", "status", "--pool", pool0)
	s.says(stdout, "complete", "another nodepool run, two/1, has changed it since both/1 did")
	if strings.Contains(stdout, "drifted") {
		t.Errorf("it is told as drift:\n%s", stdout)
	}
}

// TestStatusOfAPause: the pause of a stalled run is its own.
func TestStatusOfAPause(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": strings.Replace(badUpgrade, "ami-bad}", "ami-bad, onStall: pause}", 1)})
	s.world.Break(clustertest.MachineDeployment(pool0), bad)
	s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	stdout, _ := s.do(0, "", "status", "--pool", pool0)
	s.says(stdout, "paused", "paused by nodepool after a stall", "the run gave up at")
	if strings.Contains(stdout, "drifted") || strings.Contains(stdout, "nodepool/hold") {
		t.Errorf("its own pause is told as drift:\n%s", stdout)
	}
}
