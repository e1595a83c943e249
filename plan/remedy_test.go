package plan_test

import (
	"cmp"
	"regexp"
	"strings"
	"testing"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

func gone(ref plan.Ref) func(*clustertest.World) {
	return func(w *clustertest.World) { w.Delete(ref) }
}

// TestNoWaitForWhatDoesNotEnd: nobody is told to wait for a rollout whose
// template is gone.
func TestNoWaitForWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	for _, ref := range []plan.Ref{awsTemplateRef, awsBootstrapRef} {
		w := clustertest.AWSExample()
		all(rolling("v1.35.1"), gone(ref))(w)
		p := compile(t, w, onePool(t, toBoth))
		for _, f := range p.Findings {
			if strings.Contains(f.Remedy, "wait until it is done") {
				t.Errorf("without %s: %+v", ref, f)
			}
		}
	}
}

// TestVersionOfTheImage: the version that an image carries is offered for the
// pool where version-skew has nothing against it.
func TestVersionOfTheImage(t *testing.T) {
	t.Parallel()
	other := managed(version2("v1.35.2"), version2("v1.35.2"))
	for name, test := range map[string]struct {
		edit    func(*clustertest.World)
		carries string
		offered bool
	}{
		"another patch of the control plane's minor": {carries: "v1.35.1", offered: true},
		"a minor that cannot join by kubeadm":        {carries: "v1.34.3"},
		"one that the skipped check would refuse":    {carries: "v1.34.3", edit: skip("All")},
		"a newer patch than the control plane":       {carries: "v1.35.3"},
		"a newer minor than the control plane":       {carries: "v1.36.0"},
		"the pool's own, that joins otherwise":       {carries: "v1.34.3", edit: other, offered: true},
		"an older one than the pool's":               {carries: "v1.34.2", edit: other},
		"another than the topology's":                {carries: "v1.35.1", edit: topology("v1.35.2", "")},
		"nothing to hold it against":                 {carries: "v1.35.1", edit: edit(clusterRef, nil, "spec", "controlPlaneRef"), offered: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			if test.edit != nil {
				test.edit(w)
			}
			up := upgrade(t, "images: [{image: ami-new, kubernetesVersion: "+test.carries+"}]\npools: [{name: "+awsPool+", "+toBoth+"}]")
			f := finding(t, compile(t, w, up), plan.CheckImage, plan.Block)
			mustContain(t, f.Remedy, "set machineImage to an image built for v1.35.2")
			if got := strings.Contains(f.Remedy, "or kubernetesVersion to "+test.carries); got != test.offered {
				t.Errorf("offered is %t: %s", got, f.Remedy)
			}
		})
	}
}

// ofUpgradeFile finds what a remedy names that only an upgrade file has.
var ofUpgradeFile = regexp.MustCompile(`(^|[^.\w])(strategy|drain|wait|canary)\.\w|(set|correct) (machineImage|instanceType|kubernetesVersion)|from (the|this) upgrade`)

// TestRemediesOfTheWayBack: a rollback reads no upgrade file, so its remedies
// name the fields of the MachineDeployment, and how they are changed.
func TestRemediesOfTheWayBack(t *testing.T) {
	t.Parallel()
	const (
		byHand  = " (kubectl edit machinedeployment aws-example-md-0 -n default, once it is rolling back)"
		updates = "spec.rollout.strategy.rollingUpdate."
	)
	guarded := func(nodes []string) workload {
		return workload{nodes: nodes, pods: []plan.PodSeen{shop(nodes[0])}, budgets: []plan.BudgetSeen{cart(tight)}}
	}
	pending := func(nodes []string) workload {
		return workload{nodes: nodes, pods: []plan.PodSeen{shop("", func(p *plan.PodSeen) { p.Pending, p.Unschedulable = true, true })}}
	}
	for name, test := range map[string]struct {
		edit func(*clustertest.World)
		code string
		want string
		in   func(nodes []string) workload
		as   plan.Severity // Warn when empty
	}{
		"a pool that goes away": {edit: edit(awsRef, "2026-01-01T00:00:00Z", "metadata", "deletionTimestamp"), code: plan.CheckMachineDeployment, as: plan.Block,
			want: "take the other pools back alone, with --pool NAME"},
		"a pool of a topology": {edit: edit(awsRef, "", "metadata", "labels", capi.TopologyOwnedLabel), code: plan.CheckTopology, as: plan.Block,
			want: "; then take the other pools back alone, with --pool NAME"},
		"a budget that allows nothing": {in: guarded, code: plan.CheckWorkloadBudgets, want: "or set spec.template.spec.deletion.nodeDrainTimeoutSeconds" + byHand + ", and the pods are killed"},
		"pods without a node":          {in: pending, code: plan.CheckWorkloadPending, want: ", make room, then roll back again"},
		"percentages that come to nothing": {edit: all(strategyOf("maxSurge", "0%"), strategyOf("maxUnavailable", "30%")), code: plan.CheckRoom,
			want: "set " + updates + "maxSurge to 1" + byHand},
		"all machines at once": {edit: strategyOf("maxUnavailable", "100%"), code: plan.CheckRoom, want: "lower " + updates + "maxUnavailable and set " + updates + "maxSurge to 1 or more" + byHand},
		"near the maximum":     {edit: all(bounds("1", "4"), strategyOf("maxSurge", int64(2))), code: plan.CheckAutoscaler, want: "lower " + updates + "maxSurge to 1" + byHand},
		"at the maximum, with machines away": {edit: all(bounds("1", "3"), strategyOf("maxUnavailable", int64(1))), code: plan.CheckAutoscaler,
			want: "set " + updates + "maxUnavailable to 0" + byHand},
		"a health check that is stopped": {edit: all(strategyOf("maxSurge", int64(2)), healthCheck("v1beta2", awsPool, limit("20%"))), code: plan.CheckHealth, want: "or lower " + updates + "maxSurge and " + updates + "maxUnavailable" + byHand},
		"on delete": {edit: edit(awsRef, "OnDelete", "spec", "rollout", "strategy", "type"), code: plan.CheckStrategy,
			want: "give the same command again if it has stopped; or set spec.rollout.strategy.type to RollingUpdate" + byHand},
		"images differ": {edit: all(olderImage, edit(awsTemplateRef, nil, "spec", "template", "spec", "ami")), code: plan.CheckImagesDiffer, want: "by another upgrade afterwards"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, forth := wentForth(t, toVersion)
			if test.edit != nil {
				test.edit(w)
			}
			snap := observeBack(t, w, forth)
			if test.in != nil {
				q := plan.AskBack(forth, snap).Workload
				snap = snap.WithWorkload(test.in(nodesOf(*q, awsPool)).look(*q))
			}
			back, err := plan.Invert(forth, snap)
			if err != nil {
				t.Fatal(err)
			}
			if f := finding(t, back, test.code, cmp.Or(test.as, plan.Warn)); !strings.Contains(f.Remedy, test.want) {
				t.Errorf("it does not say %q: %+v", test.want, f)
			}
			for _, f := range back.Findings {
				if found := ofUpgradeFile.FindString(f.Remedy); found != "" && !strings.Contains(f.Remedy, "by another upgrade") {
					t.Errorf("%s names %s: %s", f.Code, found, f.Remedy)
				}
			}
		})
	}
}

func strategyOf(field string, value any) func(*clustertest.World) {
	return edit(awsRef, value, "spec", "rollout", "strategy", "rollingUpdate", field)
}
