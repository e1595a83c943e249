package apply_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// rights gives the missing rights of err, a line each.
func rights(t *testing.T, err error) []string {
	t.Helper()
	var out []string
	if err == nil {
		return nil
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		what, ok := strings.CutSuffix(line, "; ask for that right, or use another kubeconfig context")
		if !ok {
			t.Errorf("more than a missing right: %s", line)
		}
		out = append(out, strings.TrimPrefix(what, "you may not "))
	}
	return out
}

// TestAllMissingRightsAtOnce takes rights away and lists what planning,
// applying and listing tell of it.
func TestAllMissingRightsAtOnce(t *testing.T) {
	const core, infra = capi.Group, clustertest.InfrastructureGroup
	type forbidden struct{ verb, group, kind string }
	for name, tc := range map[string]struct {
		forbidden []forbidden
		// observe, read, write and survey are what is told by Observe, by the
		// check of rights to read and to apply, and by Survey.
		observe, read, write, lesser, survey []string
	}{
		"none": {},
		"of two rounds": {
			forbidden: []forbidden{{"get", core, "Cluster"}, {"get", infra, "AWSMachineTemplate"}, {"list", core, "MachineSet"}},
			// The list of clusters shows what a get would have.
			observe: []string{"get clusters.cluster.x-k8s.io in namespace default", "list machinesets.cluster.x-k8s.io in namespace default",
				"get awsmachinetemplates.infrastructure.cluster.x-k8s.io in namespace default"},
			read: []string{"get awsmachinetemplates.infrastructure.cluster.x-k8s.io in namespace default", "get clusters.cluster.x-k8s.io in namespace default",
				"list machinesets.cluster.x-k8s.io in namespace default"},
			write:  []string{"list machinesets.cluster.x-k8s.io in namespace default"},
			survey: []string{"list machinesets.cluster.x-k8s.io in namespace default"},
		},
		"of the second and the third round": {
			forbidden: []forbidden{{"list", core, "MachineSet"}, {"get", infra, "AWSMachineTemplate"}, {"create", infra, "AWSMachineTemplate"}, {"patch", core, "MachineDeployment"}},
			observe: []string{"list machinesets.cluster.x-k8s.io in namespace default",
				"get awsmachinetemplates.infrastructure.cluster.x-k8s.io in namespace default"},
			read: []string{"get awsmachinetemplates.infrastructure.cluster.x-k8s.io in namespace default",
				"list machinesets.cluster.x-k8s.io in namespace default"},
			write: []string{"create awsmachinetemplates.infrastructure.cluster.x-k8s.io in namespace default",
				"patch machinedeployments.cluster.x-k8s.io in namespace default", "list machinesets.cluster.x-k8s.io in namespace default"},
			survey: []string{"list machinesets.cluster.x-k8s.io in namespace default"},
		},
		"of the pools": {
			forbidden: []forbidden{{"get", core, "MachineDeployment"}, {"watch", core, "Machine"}, {"list", core, "MachineDeployment"}},
			observe:   []string{"get machinedeployments.cluster.x-k8s.io in namespace default"},
			read:      []string{"get machinedeployments.cluster.x-k8s.io in namespace default"},
			write: []string{"list machinedeployments.cluster.x-k8s.io in namespace default",
				"watch machines.cluster.x-k8s.io in namespace default"},
			survey: []string{"list machinedeployments.cluster.x-k8s.io in namespace default"},
		},
		"to write": {
			forbidden: []forbidden{{"create", infra, "AWSMachineTemplate"}, {"patch", core, "MachineDeployment"}, {"watch", core, "Cluster"}},
			write: []string{"create awsmachinetemplates.infrastructure.cluster.x-k8s.io in namespace default",
				"patch machinedeployments.cluster.x-k8s.io in namespace default", "watch clusters.cluster.x-k8s.io in namespace default"},
		},
		"that are optional": {
			forbidden: []forbidden{{"list", infra, "AWSMachine"}, {"watch", infra, "AWSMachine"}},
			lesser: []string{"list awsmachines.infrastructure.cluster.x-k8s.io in namespace default",
				"watch awsmachines.infrastructure.cluster.x-k8s.io in namespace default"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			for _, f := range tc.forbidden {
				w.Forbid(f.verb, f.group, f.kind)
			}
			c := w.Open(nil)
			up := read(t, upgradeOne)
			snap, err := apply.Observe(t.Context(), c, up)
			if diff := cmp.Diff(tc.observe, rights(t, err)); diff != "" {
				t.Errorf("Observe (-want +got):\n%s", diff)
			}
			steps := apply.Expected(up, snap)
			if err == nil {
				p, err := plan.Compile(up, snap)
				if err != nil {
					t.Fatal(err)
				}
				steps = apply.ToDo(p, snap)
			}
			reads, _ := apply.CheckRights(t.Context(), c, apply.ReadRights(steps))
			if diff := cmp.Diff(tc.read, rights(t, reads)); diff != "" {
				t.Errorf("rights to read (-want +got):\n%s", diff)
			}
			writes, lesser := apply.CheckRights(t.Context(), c, apply.ApplyRights(steps))
			if diff := cmp.Diff(tc.write, rights(t, writes)); diff != "" {
				t.Errorf("rights to apply (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.lesser, rights(t, lesser)); diff != "" {
				t.Errorf("optional rights (-want +got):\n%s", diff)
			}
			_, pools, err := apply.Survey(t.Context(), c, plan.Scope{Namespace: "default"})
			if diff := cmp.Diff(tc.survey, rights(t, err)); diff != "" {
				t.Errorf("Survey (-want +got):\n%s", diff)
			}
			if (len(pools) == 0) != (len(tc.survey) > 0) {
				t.Errorf("Survey gives %d pools", len(pools))
			}
		})
	}
}

// TestExpectedRights holds that what is expected before a plan can be made is
// what the plan needs then.
func TestExpectedRights(t *testing.T) {
	w := clustertest.AWSExample()
	c := w.Open(nil)
	up := read(t, upgradeOne)
	p, _ := compile(t, c, up)
	snap, err := apply.Observe(t.Context(), c, up)
	if err != nil {
		t.Fatal(err)
	}
	kinds := func(all []apply.Right) map[string]bool {
		out := map[string]bool{}
		for _, r := range all {
			out[r.Verb+" "+r.Kind+"."+r.Group+" "+r.Namespace] = r.Optional
		}
		return out
	}
	if diff := cmp.Diff(kinds(apply.ApplyRights(apply.ToDo(p, snap))), kinds(apply.ApplyRights(apply.Expected(up, snap)))); diff != "" {
		t.Errorf("(-of the plan +expected):\n%s", diff)
	}
}

// TestDoneStepsNeedNoRight looks after the create was done.
func TestDoneStepsNeedNoRight(t *testing.T) {
	w := clustertest.AWSExample()
	up := read(t, upgradeOne)
	p, secrets := compile(t, w.Open(nil), up)
	first := w.Open(&clustertest.Fuse{At: 1, Ops: []clustertest.Op{clustertest.Patch}, Mode: clustertest.CrashBefore})
	if err := (&apply.Executor{Cluster: first, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p); err == nil {
		t.Fatal("the crashed run says that all is well")
	}
	w.Forbid("create", clustertest.InfrastructureGroup, "AWSMachineTemplate")
	c := w.Open(nil)
	snap, err := apply.Observe(t.Context(), c, up)
	if err != nil {
		t.Fatal(err)
	}
	if missing, _ := apply.CheckRights(t.Context(), c, apply.ApplyRights(apply.ToDo(p, snap))); missing != nil {
		t.Errorf("asked for %v, which is done", missing)
	}
}

// mute is a Guard that cannot be asked.
type mute struct{ apply.Cluster }

func (mute) Denied(_ context.Context, _ []apply.Right) ([]*apply.ForbiddenError, error) {
	return nil, errors.New("no answer")
}

// selective is a Guard that denies what it holds.
type selective []*apply.ForbiddenError

func (selective) Fetch(context.Context, []plan.Selector) (plan.Snapshot, error) {
	return plan.Snapshot{}, nil
}

func (s selective) Denied(context.Context, []apply.Right) ([]*apply.ForbiddenError, error) {
	return s, nil
}

// TestRightsThatCannotBeAsked leaves the telling to the requests.
func TestRightsThatCannotBeAsked(t *testing.T) {
	all := []apply.Right{{Verb: "get", Kind: "Node"}}
	for _, r := range []apply.Reader{mute{}, struct{ apply.Cluster }{}} {
		if missing, lesser := apply.CheckRights(t.Context(), r, all); missing != nil || lesser != nil {
			t.Errorf("got %v, %v", missing, lesser)
		}
	}
}

// TestReviewRights tells who plans what applying takes, in one finding, a line
// for each right; it keeps nobody from planning and can be waived.
func TestReviewRights(t *testing.T) {
	up := read(t, upgradeOne)
	beside := apply.BookkeepingRights("default", true)
	review := func(t *testing.T, w *clustertest.World, r apply.Reader) plan.Plan {
		t.Helper()
		p, _ := compile(t, w.Open(nil), up)
		snap, err := apply.Observe(t.Context(), w.Open(nil), up)
		if err != nil {
			t.Fatal(err)
		}
		with := p.WithFindings(apply.ReviewRights(t.Context(), r, p, snap, beside)...)
		if with.Blocked || with.Digest != p.Digest {
			t.Errorf("blocked is %t, digest %s, it was %s", with.Blocked, with.Digest, p.Digest)
		}
		with.Findings = slices.DeleteFunc(with.Findings, func(f plan.Finding) bool { return f.Code != plan.CheckRights })
		return with
	}
	w := clustertest.AWSExample()
	if got := review(t, w, w.Open(nil)).Findings; len(got) != 1 || got[0].Severity != plan.Pass || got[0].Message != "you may do all that apply takes" {
		t.Errorf("with all rights: %+v", got)
	}
	if got := review(t, w, mute{}).Findings; len(got) != 1 || got[0].Severity != plan.NotVerified || got[0].Message != "not verified: no answer" || !got[0].NotVerified {
		t.Errorf("without an answer: %+v", got)
	}
	if got := review(t, w, struct{ apply.Cluster }{}).Findings; len(got) > 0 {
		t.Errorf("with nobody to ask: %+v", got)
	}
	w.Forbid("patch", capi.Group, "MachineDeployment")
	w.Forbid("create", "coordination.k8s.io", "Lease")
	w.Forbid("create", "", "Event") // optional
	got := review(t, w, w.Open(nil)).Findings
	want := []plan.Finding{{Code: plan.CheckRights, Severity: plan.Warn, Object: plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"},
		Message: "whoever made this plan may not apply it, which takes the right to:\npatch machinedeployments.cluster.x-k8s.io in namespace default\ncreate leases.coordination.k8s.io in namespace default",
		Remedy:  "have somebody apply who has them, or ask for them (deploy/rbac.yaml; put the kinds of your providers there, in place of those of AWS and kubeadm)"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var named selective
	for i := range 7 {
		named = append(named, &apply.ForbiddenError{Verb: "patch", Group: capi.Group, Resource: "machinedeployments", Namespace: "default", Name: fmt.Sprintf("pool-%d", i)})
	}
	if got := review(t, w, named).Findings; len(got) != 1 || strings.Count(got[0].Message, "\n") != 1 ||
		!strings.HasSuffix(got[0].Message, "\npatch machinedeployments.cluster.x-k8s.io in namespace default: pool-0, pool-1, pool-2, pool-3, pool-4 and 2 more") {
		t.Errorf("with a right to some pools: %+v", got)
	}
	for i := range up.Spec.Pools {
		up.Spec.Pools[i].Waive = append(up.Spec.Pools[i].Waive, schema.Waiver{Check: plan.CheckRights, Reason: "the pipeline applies"})
	}
	if got := review(t, w, w.Open(nil)).Findings; len(got) != 1 || got[0].Waived != "the pipeline applies" {
		t.Errorf("waived: %+v", got)
	}
}
