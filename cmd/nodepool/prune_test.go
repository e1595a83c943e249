package main

import (
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply/clustertest"
	"nodepool/apply/journal"
	"nodepool/plan"
)

// images is a site in which the first pool was taken to several images, and
// the templates of that in order.
func images(t *testing.T, names ...string) (*site, []string) {
	t.Helper()
	files := map[string]string{}
	for _, name := range names {
		files[name+".yaml"] = `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: ` + name + `}
spec:
  cluster: {name: aws-example}
  pools: [{name: aws-example-md-0, machineImage: ` + name + `}]
`
	}
	s := newSite(t, files, clustertest.ControlPlaneVersion("v1.34.3"))
	var out []string
	for _, name := range names {
		s.do(0, "", "apply", "-f", name+".yaml", "--auto-approve")
		out = append(out, s.template(pool0))
	}
	return s, out
}

func (s *site) has(template string) bool {
	return s.world.Get(plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSMachineTemplate", Namespace: "default", Name: template}) != nil
}

// left tells which of the templates are there: "--x" says the third alone.
func (s *site) left(templates []string) string {
	out := ""
	for _, name := range templates {
		out += map[bool]string{true: "x", false: "-"}[s.has(name)]
	}
	return out
}

func TestPrune(t *testing.T) {
	s, made := images(t, "ami-a", "ami-b", "ami-c", "ami-d")
	out, _ := s.do(0, "", "prune", "--cluster", "aws-example", "--auto-approve")
	s.says(out, "Prune of cluster default/aws-example, plan ",
		"delete AWSMachineTemplate default/"+made[0], "MachineSet (2)", "AWSMachine (3)",
		"Kept", made[3]+" (pool aws-example-md-0): ", " objects refer to it, among them MachineDeployment default/aws-example-md-0",
		made[2]+" (pool aws-example-md-0): the run ami-d/1 changed the pool from it",
		made[1]+" (pool aws-example-md-0): nothing refers to it; it is one of the newest 2",
		"Plan: 1 template to delete.")
	if got := s.left(made); got != "-xxx" {
		t.Errorf("left: %s", got)
	}
	out, _ = s.do(0, "", "prune", "-f", "ami-d.yaml", "--keep", "0", "--auto-approve")
	if got := s.left(made); got != "--xx" {
		t.Errorf("left: %s\n%s", got, out)
	}
	out, _ = s.do(0, "", "prune", "-f", "ami-d.yaml", "--keep", "0", "--auto-approve")
	s.says(out, "Nothing to delete. Every template that nodepool made for this cluster is in use or kept.")
	if !s.has(pool0) {
		t.Error("the template that nodepool did not make is gone")
	}
	// What a rollback goes back to is there.
	s.do(0, "", "rollback", "-f", "ami-d.yaml", "--auto-approve")
	if s.template(pool0) != made[2] {
		t.Errorf("the pool names %s, want %s", s.template(pool0), made[2])
	}
}

func TestPruneSaved(t *testing.T) {
	for name, test := range map[string]struct {
		between func(*site, []string)
		code    int
		says    string // of the error, %s the template
		left    string
	}{
		"as reviewed": {func(*site, []string) {}, 0, "", "--xx"},
		"named again": {func(s *site, made []string) {
			s.world.Edit(clustertest.MachineDeployment("aws-example-md-1"), func(o *unstructured.Unstructured) {
				_ = unstructured.SetNestedMap(o.Object, map[string]any{"apiGroup": clustertest.InfrastructureGroup,
					"kind": "AWSMachineTemplate", "name": made[0]}, "spec", "template", "spec", "infrastructureRef")
			})
		}, 4, "MachineDeployment default/aws-example-md-1", "xxxx"},
		"needed by a run since": {func(s *site, made []string) {
			// Back to the second image, interrupted before the patch, which comes after its dry run: the
			// template of that time is found and named by an unfinished run.
			s.fuse = &clustertest.Fuse{At: 2, Ops: []clustertest.Op{clustertest.Patch}, Mode: clustertest.CrashBefore}
			again, _ := os.ReadFile("ami-b.yaml")
			_ = os.WriteFile("again.yaml", []byte(strings.Replace(string(again), "name: ami-b}", "name: again}", 1)), 0o600)
			s.do(1, "", "apply", "-f", "again.yaml", "--auto-approve")
			s.fuse = nil
		}, 4, "the run again/1 is not finished, and names it", "xxxx"},
		"gone already": {func(s *site, made []string) {
			s.world.Delete(plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSMachineTemplate", Namespace: "default", Name: made[0]})
		}, 0, "", "--xx"},
	} {
		t.Run(name, func(t *testing.T) {
			s, made := images(t, "ami-a", "ami-b", "ami-c", "ami-d")
			s.do(0, "", "prune", "--cluster", "aws-example", "--keep", "0", "--out", "prune.json")
			if got := s.left(made); got != "xxxx" {
				t.Fatalf("--out deleted: %s", got)
			}
			shown, _ := s.do(0, "", "show", "prune.json", "-o", "markdown")
			s.says(shown, "## Prune of cluster `default/aws-example`", "This plan deletes **2 templates**", "### To delete", made[0], "MachineSet (", "<summary>Kept</summary>")
			test.between(s, made)
			_, errs := s.do(test.code, "", "apply", "--plan", "prune.json", "--auto-approve")
			s.says(errs, test.says)
			if got := s.left(made); got != test.left {
				t.Errorf("left: %s, want %s\n%s", got, test.left, errs)
			}
		})
	}
}

// Killed in the middle, a prune carries on when it is run again.
func TestPruneCarriesOn(t *testing.T) {
	s, made := images(t, "ami-a", "ami-b", "ami-c", "ami-d")
	s.fuse = &clustertest.Fuse{At: 3, Ops: []clustertest.Op{clustertest.Delete}, Mode: clustertest.CrashAfter}
	s.do(1, "", "prune", "--cluster", "aws-example", "--keep", "0", "--auto-approve")
	s.fuse = nil
	_, errs := s.do(0, "", "prune", "--cluster", "aws-example", "--keep", "0", "--auto-approve")
	s.says(errs, "Carrying on with the plan ")
	if got := s.left(made); got != "--xx" {
		t.Errorf("left: %s", got)
	}
	var last string
	runs, err := s.beside(journal.Cluster{Namespace: "default", Name: "aws-example"}).Journal("aws-example-prune").Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		last = r.Name() + map[bool]string{true: " closed"}[r.Closed()]
	}
	if last != "aws-example-prune/1 closed" {
		t.Errorf("the journal ends with %q", last)
	}
}

func TestPruneRefuses(t *testing.T) {
	s, made := images(t, "ami-a", "ami-b", "ami-c")
	for _, test := range []struct {
		args string
		says string
		code int
	}{
		{"prune --auto-approve", "either -f FILE", 1},
		{"prune -f ami-a.yaml --cluster aws-example --auto-approve", "either -f FILE", 1},
		{"prune -f ami-a.yaml --namespace x --auto-approve", "--namespace goes with --cluster", 1},
		{"prune --cluster aws-example --keep -1 --auto-approve", "give 0 or more", 1},
		{"prune --cluster aws-example --keep 0", "look at the plan with nodepool prune --out FILE", 1},
		{"prune --cluster aws-exampel --auto-approve", "", 3},
		{"prune --cluster aws-example --keep 0 --auto-approve --expect sha256:" + strings.Repeat("0", 64), "no longer the one that was reviewed", 4},
	} {
		_, errs := s.do(test.code, "", strings.Fields(test.args)...)
		s.says(errs, test.says)
	}
	s.world.Forbid("delete", clustertest.InfrastructureGroup, "AWSMachineTemplate")
	_, errs := s.do(1, "", "prune", "--cluster", "aws-example", "--keep", "0", "--auto-approve")
	s.says(errs, "you may not delete awsmachinetemplates")
	s.world.Forbid("list", clustertest.InfrastructureGroup, "AWSMachine")
	_, errs = s.do(1, "", "prune", "--cluster", "aws-example", "--keep", "0", "--out", "prune.json")
	s.says(errs, "you may not list awsmachines")
	if got := s.left(made); got != "xxx" {
		t.Errorf("left: %s", got)
	}
}
