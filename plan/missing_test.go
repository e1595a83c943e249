package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// TestMissingTemplateIsNotUpToDate: what the upgrade asks of a template that is
// not there blocks, though nothing else changes.
func TestMissingTemplateIsNotUpToDate(t *testing.T) {
	t.Parallel()
	const edited = "bootstrap: {joinConfiguration: {nodeRegistration: {kubeletExtraArgs: [{name: v, value: '4'}]}}}"
	tests := []struct {
		name, fields string
		gone         plan.Ref
		want         plan.Severity
	}{
		{"image", "machineImage: ami-new", awsTemplateRef, plan.Block},
		{"type", "instanceType: m5.2xlarge", awsTemplateRef, plan.Block},
		{"infrastructure", "infrastructure: {iamInstanceProfile: other}", awsTemplateRef, plan.Block},
		{"bootstrap", edited, awsBootstrapRef, plan.Block},
		{"image, and a change in place", "machineImage: ami-new, drain: {nodeDrainTimeout: 7m}", awsTemplateRef, plan.Block},
		{"nothing asked of it", "kubernetesVersion: v1.34.3", awsTemplateRef, plan.Warn},
		{"bootstrap, the other is gone", "kubernetesVersion: v1.34.3", awsBootstrapRef, plan.Warn},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.34.3"))
			w.Delete(test.gone)
			p := compile(t, w, onePool(t, test.fields))
			found := finding(t, p, plan.CheckTemplates, test.want)
			mustContain(t, found.Message, test.gone.String(), "does not exist")
			if blocked := test.want == plan.Block; p.Blocked != blocked {
				t.Errorf("blocked is %t, want %t: %+v", p.Blocked, blocked, p.Findings)
			}
			if test.want == plan.Warn && !p.IsEmpty() {
				t.Errorf("the steps are %q", stepsOf(p))
			}
		})
	}
}

// TestMissingTemplateAmongOthers: the pool of a missing template does not read
// as one that nothing is asked of, where another pool changes.
func TestMissingTemplateAmongOthers(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	w.Delete(awsTemplateRef)
	p := compile(t, w, upgrade(t, "pools: [{name: "+awsPool+", machineImage: ami-new}, {name: "+devPool+", kubernetesVersion: v1.35.2}]"))
	if !p.Blocked || findingOf(t, p, plan.CheckTemplates, awsPool).Severity != plan.Block {
		t.Errorf("blocked is %t, by %+v", p.Blocked, p.Findings)
	}
	mustContain(t, p.Impact[0].Note, "does not exist", "cannot be planned")
}

// TestMissingTemplateIsNotReused: the steps for review do not say that machines
// are made from it.
func TestMissingTemplateIsNotReused(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	w.Delete(awsTemplateRef)
	p := compile(t, w, onePool(t, toBoth))
	if note := step(t, p, awsPool+"/patch").Note; strings.Contains(note, "No new infrastructure template is needed") {
		t.Errorf("the note is %q", note)
	}
}

// TestPoolOfAnotherCluster: nothing is planned and nothing judged, for all that
// is looked at is of the wrong cluster.
func TestPoolOfAnotherCluster(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	edit(awsRef, "other", "spec", "clusterName")(w)
	p := compile(t, w, upgrade(t, "pools: [{name: "+awsPool+", "+toBoth+", drain: {nodeDrainTimeout: 7m}}, {name: "+devPool+", kubernetesVersion: v1.35.2}]"))
	var codes []string
	for _, f := range p.Findings {
		if f.Pool == awsPool {
			codes = append(codes, f.Code+" "+string(f.Severity))
		}
	}
	if d := cmp.Diff([]string{plan.CheckMachineDeployment + " block"}, codes); d != "" {
		t.Errorf("findings (-want +got):\n%s", d)
	}
	if d := cmp.Diff(plan.PoolImpact{Pool: awsPool, Action: plan.None}, p.Impact[0]); d != "" {
		t.Errorf("impact (-want +got):\n%s", d)
	}
	if slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Pool == awsPool }) || p.IsEmpty() {
		t.Errorf("the steps are %q", stepsOf(p))
	}
}

// TestDeletionIsNoRollout: of what is being deleted, neither its rollout nor its
// failing machines are told as something to go on in spite of.
func TestDeletionIsNoRollout(t *testing.T) {
	t.Parallel()
	const since = "2026-01-01T00:00:00Z"
	tests := []struct {
		name   string
		ref    plan.Ref
		before func(*clustertest.World)
		fields string
	}{
		{"cluster, rolling", clusterRef, rolling("v1.35.0"), toBoth},
		{"pool, rolling", awsRef, rolling("v1.35.0"), toBoth},
		{"pool, rolling to what is asked for", awsRef, rolling("v1.35.2"), toVersion},
		{"cluster, at rest", clusterRef, func(*clustertest.World) {}, toBoth},
		{"pool, at rest", awsRef, func(*clustertest.World) {}, toBoth},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			test.before(w)
			edit(test.ref, since, "metadata", "deletionTimestamp")(w)
			leaving := strings.Fields(machinesOf(w, awsPool)[0])[0]
			edit(reference("cluster.x-k8s.io", "Machine", leaving), since, "metadata", "deletionTimestamp")(w)
			p := compile(t, w, onePool(t, test.fields))
			if !p.Blocked {
				t.Errorf("it is not blocked: %+v", p.Findings)
			}
			for _, f := range p.Findings {
				if f.Pool == awsPool && (f.Code == plan.CheckRollout || f.Code == plan.CheckUnhealthy) {
					t.Errorf("%s is told: %+v", f.Code, f)
				}
			}
		})
	}
}
