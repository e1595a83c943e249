package main

import (
	"strings"
	"testing"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// resave adds findings to a saved plan, as those who see more would have it.
func (s *site) resave(file string, more ...plan.Finding) {
	s.Helper()
	made, err := readPlan(file)
	if err == nil {
		err = savePlan(file, made.WithFindings(more...))
	}
	if err != nil {
		s.Fatal(err)
	}
}

// TestSavedBlocked: a plan that was saved blocked stays so until somebody has
// looked at the same things again.
func TestSavedBlocked(t *testing.T) {
	data := plan.Finding{Code: plan.CheckWorkloadData, Severity: plan.Block, Pool: pool0, Message: "1 persistent volume is on a node to be replaced"}
	image := plan.Finding{Code: plan.CheckImageExists, Severity: plan.Block, Pool: pool0, Message: "ami-bad was not seen"}
	s := newSite(t, map[string]string{"u.yaml": badUpgrade}, clustertest.PoolVersion(pool0, "v1.35.0"))
	blocked := func(file string, words ...string) {
		t.Helper()
		writes := len(s.world.Writes())
		for _, args := range [][]string{nil, {"--workload=false"}} {
			said, stderr := s.do(3, "", append([]string{"apply", "--plan", file, "--auto-approve"}, args...)...)
			s.says(stderr, "The plan is blocked by "+words[0]+". Nothing was written.\n")
			s.says(said, append([]string{"BLOCKED", "This was found when the plan was saved, and nobody has looked again"}, words...)...)
		}
		if n := len(s.world.Writes()); n != writes {
			t.Errorf("%d writes", n-writes)
		}
	}
	s.do(0, "", "plan", "-f", "u.yaml", "--out", "data.plan")
	s.do(0, "", "plan", "-f", "u.yaml", "--out", "image.plan")
	s.resave("data.plan", data)
	s.resave("image.plan", image)
	blocked("data.plan", "workload-data", "1 persistent volume")
	blocked("image.plan", "image-exists", "no AWS credentials")
	s.do(3, "", "apply", "--plan", "data.plan", "--auto-approve", "--no-provider")

	// A plan that was looked at with the workload cluster is so again.
	s.do(0, "", "plan", "-f", "u.yaml", "--out", "looked.plan")
	s.resave("looked.plan", plan.Finding{Code: plan.CheckWorkload, Severity: plan.Pass, Message: "it was looked at"})
	said, _ := s.do(1, "", "apply", "--plan", "looked.plan")
	s.says(said, "the workload cluster is not verified", "aws-example-kubeconfig")
	if said, _ = s.do(1, "", "apply", "--plan", "looked.plan", "--workload=false"); strings.Contains(said, "kubeconfig") {
		t.Errorf("it looks all the same:\n%s", said)
	}

	// --no-provider is the way past an answer that is wrong, and says so.
	said, _ = s.do(0, "", "apply", "--plan", "image.plan", "--auto-approve", "--no-provider")
	s.says(said, "ami-bad was not seen", "with --no-provider it does not block")

	// So with the way back.
	s.do(0, "", "rollback", "-f", "u.yaml", "--out", "back.plan")
	s.resave("back.plan", data)
	blocked("back.plan", "workload-data")
}

// TestSavedBlockedByPause: what blocked a plan when it was saved is what is told
// of it as long as it stands, and is no drift; once it is gone, the same plan is
// carried out. While it stands, the plan says that the server was not asked.
func TestSavedBlockedByPause(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade}, clustertest.PoolVersion(pool0, "v1.35.0"))
	md := plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: "default", Name: pool0}
	s.world.Edit(md, set(true, "spec", "paused"))
	said, _ := s.do(3, "", "plan", "-f", "u.yaml", "--out", "paused.plan", "--full")
	s.says(said, "server-validation", "not verified: the plan is blocked; once nothing blocks it")
	said, stderr := s.do(3, "", "apply", "--plan", "paused.plan", "--auto-approve")
	s.says(said, "BLOCKED", "machinedeployment-paused")
	s.says(stderr, "The plan is blocked by machinedeployment-paused. Nothing was written.\n")
	if n := s.patches(); n != 0 {
		t.Errorf("%d patches", n)
	}
	s.world.Edit(md, set(false, "spec", "paused"))
	s.do(0, "", "apply", "--plan", "paused.plan", "--auto-approve")
}

// TestSpareWaiver: a waiver of a check that found nothing is told, and is none of
// one that did.
func TestSpareWaiver(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": strings.Replace(badUpgrade, "ami-bad}",
		"ami-bad, waive: [{check: field-managers, reason: CHG-4711}, {check: image-matches-version, reason: CHG-4712}]}", 1)})
	said, _ := s.do(0, "", "plan", "-f", "u.yaml")
	s.says(said, "; waived, not needed: field-managers\n")
	for _, args := range [][]string{{}, {"-o", "markdown"}} {
		said, _ = s.do(0, "", append([]string{"plan", "-f", "u.yaml", "--full"}, args...)...)
		said = strings.ReplaceAll(said, "`", "")
		s.says(said, "field-managers: waived by pool aws-example-md-0, not needed: CHG-4711")
		if strings.Contains(said, "not needed: CHG-4712") {
			t.Errorf("a waiver that is needed is told as spare:\n%s", said)
		}
	}
}

// TestBlockedRemedies: a block on the way back is not told to plan again, and a
// code is found in any case.
func TestBlockedRemedies(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade}, clustertest.PoolVersion(pool0, "v1.35.0"))
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Edit(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}, set(true, "spec", "paused"))
	said, stderr := s.do(3, "", "rollback", "-f", "u.yaml", "--auto-approve")
	s.says(said, "set spec.paused to false, then roll back again")
	s.says(stderr, "The plan is blocked by cluster-paused. Nothing was written.\n")
	said, _ = s.do(0, "", "explain", "VERSION-SKEW")
	s.says(said, "version-skew")
}
