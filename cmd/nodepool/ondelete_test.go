package main

import (
	"strings"
	"testing"

	"nodepool/apply/clustertest"
)

// TestOnDelete: with the strategy OnDelete nothing moves by itself, and plan,
// explain, apply and status all say so, and who has to do what.
func TestOnDelete(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": strings.Replace(badUpgrade, "ami-bad", "ami-good", 1)})
	md := clustertest.MachineDeployment(pool0)
	s.world.Edit(md, set("OnDelete", "spec", "rollout", "strategy", "type"))

	said, _ := s.do(0, "", "plan", "-f", "u.yaml")
	s.says(said, "! strategy (MachineDeployment default/aws-example-md-0)\n",
		"the strategy is OnDelete: no machine is replaced until someone deletes it. apply stops as stalled when none is for 15m0s (wait.stallAfter), and then does what onStall says\n",
		"Remedy: have someone delete the old machines while apply runs, and raise wait.stallAfter to what that takes; or set the strategy to RollingUpdate on the MachineDeployment, which an upgrade file cannot do; then plan again\n",
		"3 machines to replace, each once someone deletes it (strategy OnDelete: nothing moves until machines are deleted)\n",
		"Note: The strategy is OnDelete: no machine is replaced until someone deletes it.\n")
	if strings.Contains(said, "wave") {
		t.Errorf("it foretells waves:\n%s", said)
	}
	said, _ = s.do(0, "", "plan", "-f", "u.yaml", "-o", "markdown")
	s.says(said, "replaces **3 machines**, 3 of them only once someone deletes them", "**3 to replace**: strategy OnDelete: nothing moves until machines are deleted | – | – | – |",
		"- **`strategy`** (MachineDeployment `default/aws-example-md-0`): the strategy is OnDelete", "# The strategy is OnDelete: no machine is replaced until someone deletes it.")
	said, _ = s.do(0, "", "explain", "strategy")
	s.says(said, "The strategy is OnDelete: nothing is replaced until somebody deletes machines.", "apply would wait for somebody who does not know that others wait for them.",
		"Have someone delete the old machines while apply runs, and raise wait.stallAfter to what that takes;", "Of nodepool rollback: have someone delete the machines of the new template")

	const cause = "The strategy is OnDelete: 3 old Machines of MachineDeployment aws-example-md-0 will stay until someone deletes them."
	const next = "Delete the old Machines one by one, aws-example-md-0-"
	out, stderr := s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(out, "0/3 new ready, 3 old left; strategy OnDelete: 3 old Machines must be deleted by someone, none is replaced before\n",
		"HELD UP by on-delete-strategy: "+cause, "next: "+next, "15m00s  stalled\n")
	s.says(stderr, "made no progress for 15m", "Cause:     on-delete-strategy: "+cause, "Next:      "+next, "or set the strategy to RollingUpdate on the MachineDeployment.")
	said, _ = s.do(0, "", "status", "-f", "u.yaml")
	s.says(said, "stalled: the run gave up at", cause, "next: "+next)

	s.world.Edit(md, set("RollingUpdate", "spec", "rollout", "strategy", "type"))
	out, _ = s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(out, "found done", "3/3 new ready, 0 old left")
}
