package plan_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

// TestCatalogue holds the texts of the checks to what their readers need.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range plan.Checks() {
		if seen[c.Code] {
			t.Errorf("%s is there twice", c.Code)
		}
		seen[c.Code] = true
		if !strings.HasSuffix(c.Asks, "?") {
			t.Errorf("%s asks nothing: %q", c.Code, c.Asks)
		}
		for name, text := range map[string]string{"Means": c.Means, "Why": c.Why, "Fix": c.Fix} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %s is no sentence: %q", c.Code, name, text)
			}
		}
		if !slices.Contains([]plan.Severity{plan.Pass, plan.Warn, plan.Block}, c.Worst) {
			t.Errorf("%s: worst is %q", c.Code, c.Worst)
		}
		if c.Firm != "" && c.Worst != plan.Block {
			t.Errorf("%s cannot be waived and blocks nothing", c.Code)
		}
	}
	made := compile(t, clustertest.AWSExample(), onePool(t, toBoth))
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	up := onePool(t, toBoth)
	forth := compile(t, w, up)
	carryOut(t, w, up, forth)
	back := invert(t, w, forth)
	finding(t, back, plan.CheckRollbackValue, plan.Pass)
	for _, code := range append(made.Steps[0].Preflight.Checks, back.Steps[0].Preflight.Checks...) {
		if !seen[code] {
			t.Errorf("%s is not in the catalogue", code)
		}
	}
}

// TestFixesOfTheWayBack: where a rollback makes the check as well and the fix
// names a field of an upgrade file, it says what to do without one.
func TestFixesOfTheWayBack(t *testing.T) {
	w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	up := onePool(t, toBoth)
	forth := compile(t, w, up)
	carryOut(t, w, up, forth)
	codes := append(invert(t, w, forth).Steps[0].Preflight.Checks, plan.CheckWorkload, plan.CheckWorkloadNodes,
		plan.CheckWorkloadBudgets, plan.CheckWorkloadPods, plan.CheckWorkloadData, plan.CheckWorkloadPending)
	names := regexp.MustCompile(`(^|[^.\w])(strategy|drain|wait|canary)\.\w|\b(machineImage|instanceType|kubernetesVersion)\b`)
	found := 0
	for _, code := range codes {
		c, ok := plan.CheckOf(code)
		if !ok {
			t.Fatalf("no check %s", code)
		}
		if field := names.FindString(c.Fix); field != "" {
			if found++; !strings.Contains(c.Fix, "nodepool rollback") {
				t.Errorf("the fix of %s names %q, and not what to do for nodepool rollback: %s", code, field, c.Fix)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d fixes name fields: the pattern finds too little", found)
	}
}

func waiving(checks ...string) func(*schema.Upgrade) {
	return func(up *schema.Upgrade) {
		for _, c := range checks {
			up.Spec.Pools[0].Waive = append(up.Spec.Pools[0].Waive, schema.Waiver{Check: c, Reason: "CHG-4711"})
		}
	}
}

// TestWaive waives what blocks: the finding stays and bears the reason, the
// plan is not blocked, its steps can be carried out, and it is another plan.
func TestWaive(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		adjust []clustertest.Adjust
		edit   func(*clustertest.World)
		pool   string
		check  string
	}{
		{"a paused cluster", nil, edit(clusterRef, true, "spec", "paused"), toBoth, plan.CheckClusterPaused},
		{"a paused MachineDeployment", nil, edit(awsRef, true, "spec", "paused"), toBoth, plan.CheckPaused},
		{"a MachineDeployment that is paused by annotation", nil, edit(awsRef, "true", "metadata", "annotations", "cluster.x-k8s.io/paused"), toBoth, plan.CheckPaused},
		{"a topology", nil, edit(awsRef, "", "metadata", "labels", "topology.cluster.x-k8s.io/owned"), toVersion, plan.CheckTopology},
		{"a control plane on its way", []clustertest.Adjust{clustertest.ControlPlaneVersion("v1.35.1"), clustertest.ControlPlaneUpgrading("v1.35.2")}, nil,
			"kubernetesVersion: v1.35.0, machineImage: ami-new", plan.CheckControlPlane},
		{"Argo CD", nil, writtenBy("argocd-controller"), toBoth, plan.CheckFieldManagers},
		{"a rollout under way", nil, rolling("v1.35.1"), toBoth, plan.CheckRollout},
		{"a version ahead", nil, nil, "kubernetesVersion: v1.36.0, machineImage: ami-new", plan.CheckVersion},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample(test.adjust...)
			if test.edit != nil {
				test.edit(w)
			}
			up := onePool(t, test.pool)
			blocked := compile(t, w, up)
			if got := finding(t, blocked, test.check, plan.Block); !blocked.Blocked || got.Waived != "" {
				t.Fatalf("not blocked without a waiver: %+v", got)
			}
			waiving(test.check)(&up)
			made := compile(t, w, up)
			if got := finding(t, made, test.check, plan.Block); made.Blocked || got.Waived != "CHG-4711" {
				t.Errorf("blocked is %t, and the finding says %+v", made.Blocked, got)
			}
			if made.Digest == blocked.Digest {
				t.Error("the waiver is not signed")
			}
			snap := observe(t, w, up)
			for i, s := range made.Steps {
				if s.Wait != nil {
					continue // the patch comes first
				}
				if got := made.Assess(i, snap); got.Verdict == plan.Drifted {
					t.Errorf("%s is drifted at once: %v", s.ID, got.Differences)
				}
			}
			back, err := plan.UpgradeOf(made)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(up.Spec.Pools[0].Waive, back.Spec.Pools[0].Waive); diff != "" {
				t.Errorf("the waivers in the saved plan (-upgrade +plan):\n%s", diff)
			}
		})
	}
}

// TestNewTemplateInATopology: what stops the topology of the whole cluster stays
// blocked, whatever the pool waives, and says so.
func TestNewTemplateInATopology(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pool    string
		blocked bool
	}{
		"the version alone":                 {toVersion, false},
		"drain settings":                    {"drain: {nodeDrainTimeout: 1m}", false},
		"version and image":                 {toBoth, true},
		"an image":                          {"machineImage: ami-new", true},
		"a new bootstrap template":          {`bootstrap: {preKubeadmCommands: ["true"]}`, true},
		"drain settings and a new template": {"drain: {nodeDrainTimeout: 1m}, instanceType: m6i.large", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample(clustertest.TopologyOwned())
			up := onePool(t, test.pool)
			waiving(plan.CheckTopology, plan.CheckVersion, plan.CheckImage)(&up)
			made := compile(t, w, up)
			f := finding(t, made, plan.CheckTopology, plan.Block)
			if made.Blocked != test.blocked || (f.Waived == "") != test.blocked {
				t.Errorf("blocked is %t, want %t: %+v", made.Blocked, test.blocked, f)
			}
			if strings.Contains(f.Message, "therefore it cannot be waived") != test.blocked {
				t.Errorf("it says %q", f.Message)
			}
			if again := made.WithFindings(); again.Blocked != test.blocked {
				t.Errorf("with the findings of others, blocked is %t", again.Blocked)
			}
		})
	}
}

// TestWaiveTheCluster needs every pool to waive a check of the cluster.
func TestWaiveTheCluster(t *testing.T) {
	w := clustertest.AWSExample()
	edit(clusterRef, true, "spec", "paused")(w)
	up := upgrade(t, "pools: [{name: aws-example-md-0, "+toBoth+
		", waive: [{check: cluster-paused, reason: one}]}, {name: aws-example-md-1, kubernetesVersion: v1.35.2}]")
	made := compile(t, w, up)
	if !made.Blocked {
		t.Error("one pool waives it, the other does not, and the plan is not blocked")
	}
	if got := finding(t, made, plan.CheckClusterPaused, plan.Block); !strings.Contains(got.Remedy, "waived by aws-example-md-0 (one), and not by aws-example-md-1:") {
		t.Errorf("it does not say who waives it: %s", got.Remedy)
	}
	if spare := made.SpareWaivers(); len(spare) > 0 {
		t.Errorf("not needed: %v", spare)
	}
	up.Spec.Pools[1].Waive = []schema.Waiver{{Check: plan.CheckClusterPaused, Reason: "two"}}
	if made := compile(t, w, up); made.Blocked {
		t.Errorf("every pool waives it, and the plan is blocked: %+v", finding(t, made, plan.CheckClusterPaused, plan.Block))
	}
}

// TestWaiveWhatCannotBe tells every waiver that means nothing.
func TestWaiveWhatCannotBe(t *testing.T) {
	up := onePool(t, toBoth)
	waiving("version-screw", plan.CheckTemplates, plan.CheckInfrastructureReuse, plan.CheckVersion)(&up)
	w := clustertest.AWSExample()
	_, err := plan.Compile(up, observe(t, w, up))
	if err == nil {
		t.Fatal("compiled")
	}
	mustContain(t, err.Error(),
		`spec.pools[0].waive[0].check: there is no check "version-screw"`, "did you mean version-skew?",
		"spec.pools[0].waive[1].check: the check templates cannot be waived: machines cannot be made without a template",
		"spec.pools[0].waive[2].check: the check infrastructure-template cannot be waived: it never blocks")
	if strings.Contains(err.Error(), "waive[3]") {
		t.Errorf("complains of a good waiver: %v", err)
	}
}
