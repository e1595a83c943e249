//go:build e2e

package e2e_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// missing gives what a run says of missing rights: what stands behind "you may
// not" in each line.
func (r result) missing() []string {
	var out []string
	for line := range strings.SplitSeq(r.Stderr, "\n") {
		if _, what, ok := strings.Cut(line, "you may not "); ok {
			out = append(out, strings.TrimSuffix(what, "."))
		}
	}
	return out
}

// TestShippedRolesAreEnough does all as users who have the roles of
// deploy/rbac.yaml and nothing more.
func TestShippedRolesAreEnough(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "roles", "--pools", "aws:2")
	reader, operator := c.user(t, "roles-reader", "nodepool-reader"), c.user(t, "roles-operator", "nodepool-operator")
	file := c.upgrade(t, "roles", pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage, "instanceType": "m5.xlarge"})
	for name, n := range map[string]cli{"reader": reader, "operator": operator} {
		t.Run(name, func(t *testing.T) {
			for _, args := range [][]string{
				{"init", "--cluster", c.name, "--namespace", c.namespace},
				{"list", "--namespace", c.namespace},
				{"snapshot", "-f", file, "--out", filepath.Join(t.TempDir(), "snapshot")},
				{"plan", "-f", file, "--out", filepath.Join(t.TempDir(), "saved")},
			} {
				r := n.run(t, args...).exits(t, 0)
				if strings.Contains(r.Stderr, "may not") || strings.Contains(r.Stderr, "could not be read") {
					t.Errorf("it lacks a right\n%s", r)
				}
				if args[0] == "plan" && strings.Contains(r.Stdout, "not validated by the server") != (name == "reader") {
					t.Errorf("what it says of validation does not go with its rights\n%s", r)
				}
			}
		})
	}
	t.Run("a reader does not apply", func(t *testing.T) {
		r := reader.run(t, "apply", "-f", file, "--auto-approve").exits(t, 1)
		got := map[string]bool{}
		for _, what := range r.missing() {
			got[what] = true
		}
		for _, want := range []string{"create awsmachinetemplates.infrastructure", "patch machinedeployments", "watch clusters", "watch machinedeployments", "watch machinesets", "watch machines"} {
			if what := want + ".cluster.x-k8s.io in namespace " + c.namespace; !got[what] {
				t.Errorf("it does not say that the right to %s is missing\n%s", what, r)
			}
		}
		if len(got) != len(r.missing()) {
			t.Errorf("it says a right twice\n%s", r)
		}
		if diff := cmp.Diff([]write(nil), c.writes(t)); diff != "" {
			t.Errorf("it wrote (-want +got):\n%s", diff)
		}
	})
	t.Run("an operator does", func(t *testing.T) {
		made := operator.plan(t, file)
		operator.run(t, "apply", "-f", file, "--auto-approve", "--expect", made.Digest).exits(t, 0)
		want := []write{{"create", "awsmachinetemplates", made.template(t)}, {"patch", "machinedeployments", c.pool(0)}}
		if diff := cmp.Diff(want, c.writesOf(t, c.pool(0))); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		for _, m := range c.machines(t, c.pool(0)) {
			if m.Version != newVersion || m.Image != newImage || m.Type != "m5.xlarge" || m.Template != made.template(t) {
				t.Errorf("a machine is %+v", m)
			}
		}
		reader.nothingToDo(t, file)
	})
}

// TestEachRightIsMissed takes the rights of an operator away one by one. Each
// is told in one line, before the plan writes anything; so none of them is in
// the role for nothing.
func TestEachRightIsMissed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "missed", "--pools", "aws:1")
	name := c.emptyPool(t, "missed-md-9")
	// Those that only make messages better are missed without harm.
	lesser := map[right]bool{
		{"infrastructure.cluster.x-k8s.io", "awsmachines", "list"}:  true,
		{"infrastructure.cluster.x-k8s.io", "awsmachines", "watch"}: true,
		{"bootstrap.cluster.x-k8s.io", "kubeadmconfigs", "list"}:    true,
		{"bootstrap.cluster.x-k8s.io", "kubeadmconfigs", "watch"}:   true,
		{"", "events", "create"}:                                    true,
		{"", "configmaps", "list"}:                                  true,
	}
	// Asked for only where a pool of the upgrade is not there, and to ask the
	// provider in the cluster's region; one that a check does without, and says
	// so; and lists in place of many single reads.
	unasked := []right{{"cluster.x-k8s.io", "machinepools", "get"},
		{"infrastructure.cluster.x-k8s.io", "awsclusters", "get"}, {"cluster.x-k8s.io", "machinehealthchecks", "list"},
		{"infrastructure.cluster.x-k8s.io", "awsmachinetemplates", "list"}, {"bootstrap.cluster.x-k8s.io", "kubeadmconfigtemplates", "list"}}
	here, everywhere := rightsOf(t, "nodepool-operator"), rightsOf(t, definitions)
	tell := func(r right, where string) string {
		return fmt.Sprintf("%s %s in %s", r.Verb, strings.TrimSuffix(r.Resource+"."+r.Group, "."), where)
	}
	type lack struct {
		right
		where            string
		here, everywhere []right
	}
	var lacks []lack
	for _, r := range here {
		lacks = append(lacks, lack{r, "namespace " + c.namespace, without(here, r), everywhere})
	}
	for _, r := range everywhere {
		lacks = append(lacks, lack{r, "the whole cluster", here, without(everywhere, r)})
	}
	for i, l := range lacks {
		t.Run(l.Verb+" "+l.Resource, func(t *testing.T) {
			n := c.userWith(t, fmt.Sprintf("missed-%d", i), l.here, l.everywhere)
			file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": image(fmt.Sprintf("missed%d", i)),
				"bootstrap": map[string]any{"preKubeadmCommands": []any{fmt.Sprintf("echo %d", i)}}})
			code, want := 1, []string{tell(l.right, l.where)}
			switch {
			case lesser[l.right]:
				less := "causes of a stall are told less precisely"
				switch l.Resource {
				case "events":
					less = "writes no Events"
				case "configmaps":
					less = "unfinished runs of other upgrades are not found"
				}
				code, want = 0, []string{tell(l.right, l.where) + "; the run goes on, and " + less}
			case slices.Contains(unasked, l.right):
				code, want = 0, nil
			}
			before := c.writes(t)
			r := n.run(t, "apply", "-f", file, "--auto-approve").exits(t, code)
			if diff := cmp.Diff(want, r.missing()); diff != "" {
				t.Errorf("missing rights (-want +got):\n%s\n%s", diff, r)
			}
			if wrote := c.writes(t)[len(before):]; (len(wrote) > 0) != (code == 0) {
				t.Errorf("it wrote %v\n%s", wrote, r)
			}
		})
	}
	t.Logf("%d rights were taken away", len(lacks))
	t.Run("all but one", func(t *testing.T) {
		n := c.userWith(t, "missed-all", []right{{"cluster.x-k8s.io", "machinedeployments", "get"}}, everywhere)
		r := n.run(t, "apply", "-f", c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": image("missed-all")}), "--auto-approve").exits(t, 1)
		got := map[string]bool{}
		for _, what := range r.missing() {
			got[what] = true
		}
		for _, l := range lacks {
			switch {
			case lesser[l.right], slices.Contains(unasked, l.right), l.right.Resource == "customresourcedefinitions",
				l.right == right{"cluster.x-k8s.io", "machinedeployments", "get"},
				l.right.Resource == "kubeadmconfigtemplates" && l.right.Verb == "create",
				// Which kind of control plane there is stands in the Cluster.
				l.right.Resource == "kubeadmcontrolplanes":
				continue
			}
			if !got[tell(l.right, l.where)] {
				t.Errorf("it does not say that the right to %s is missing\n%s", tell(l.right, l.where), r)
			}
		}
		if len(got) != len(r.missing()) {
			t.Errorf("it says a right twice\n%s", r)
		}
	})
}
