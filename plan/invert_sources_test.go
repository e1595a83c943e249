package plan_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// wentForth gives a world in which a pool was upgraded, and the plan of that.
func wentForth(t *testing.T, fields string, adjust ...clustertest.Adjust) (*clustertest.World, schema.Upgrade, plan.Plan) {
	t.Helper()
	w := clustertest.AWSExample(append(adjust, clustertest.PoolVersion(awsPool, "v1.35.0"))...)
	up := onePool(t, fields)
	forth := compile(t, w, up)
	carryOut(t, w, up, forth)
	return w, up, forth
}

// TestInvertAsksForSources: where machines have to be made again, the provider's
// word on what they were made from counts as in a plan; no waiver of the upgrade
// speaks of it, and nothing of it is signed.
func TestInvertAsksForSources(t *testing.T) {
	t.Parallel()
	const fields = "kubernetesVersion: v1.35.2, machineImage: ami-new, instanceType: m5.xlarge"
	const mixed = fields + ", infrastructure: {rootVolume: {size: 99}}"
	gone := func(i *plan.ImageInfo) { *i = plan.ImageInfo{Missing: true} }
	for name, test := range map[string]struct {
		fields   string
		image    func(*plan.ImageInfo)
		size     func(*plan.InstanceTypeInfo)
		code     string
		severity plan.Severity
		says     []string
		forward  string
	}{
		"all there": {fields: fields, code: plan.CheckImageExists, severity: plan.Pass},
		"the image is gone": {fields: fields, image: gone, code: plan.CheckImageExists, severity: plan.Block,
			says:    []string{"ami-0123456789abcdef0 was not seen in eu-central-1", "go forward by an upgrade with an image", "--no-provider"},
			forward: `{"infrastructure":{"instanceType":"m5.large"}}`},
		"the image is gone, and a waiver was of the new one": {fields: fields + ", waive: [{check: image-exists, reason: it comes}]",
			image: gone, code: plan.CheckImageExists, severity: plan.Block, forward: `{"infrastructure":{"instanceType":"m5.large"}}`},
		"nothing but the image and the version to go forward with": {fields: "kubernetesVersion: v1.35.2, machineImage: ami-new",
			image: gone, code: plan.CheckImageExists, severity: plan.Block},
		"the image is deprecated": {fields: fields, image: func(i *plan.ImageInfo) { i.Deprecated, i.DeprecatedNow = "2026-01-01", true },
			code: plan.CheckImageExists, severity: plan.Warn, says: []string{"mend it by another upgrade"}},
		"nobody could be asked": {fields: fields, image: func(i *plan.ImageInfo) { *i = plan.ImageInfo{Unverified: "no credentials"} },
			code: plan.CheckImageExists, severity: plan.NotVerified, says: []string{"not verified: no credentials"}},
		"the type is gone": {fields: mixed, size: func(i *plan.InstanceTypeInfo) { *i = plan.InstanceTypeInfo{Missing: true} },
			code: plan.CheckInstanceType, severity: plan.Block, says: []string{"the instance type m5.large does not exist"},
			forward: `{"infrastructure":{"ami":{"id":"ami-0123456789abcdef0"},"rootVolume":{"size":50}},"kubernetesVersion":"v1.35.0"}`},
		"image and type do not go together": {fields: mixed, image: func(i *plan.ImageInfo) { i.Architecture = "arm64" },
			code: plan.CheckImageType, severity: plan.Block, forward: `{"infrastructure":{"rootVolume":{"size":50}}}`},
		"no room for one more": {fields: fields, size: func(i *plan.InstanceTypeInfo) { i.Quota = &plan.Quota{Limit: 20, Used: 20} },
			code: plan.CheckQuota, severity: plan.Warn},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, forth := wentForth(t, test.fields)
			snap := observeBack(t, w, forth)
			ask := plan.AskBack(forth, snap)
			image := []plan.ImageQuery{{Provider: "AWSCluster", Region: "eu-central-1", Image: "ami-0123456789abcdef0"}}
			if d := cmp.Diff(image, ask.Images); d != "" {
				t.Errorf("images (-want +got):\n%s", d)
			}
			without, err := plan.Invert(forth, snap)
			if err != nil {
				t.Fatal(err)
			}
			snap = replied(ask, snap, test.image, test.size)
			back, err := plan.Invert(forth, snap)
			if err != nil {
				t.Fatal(err)
			}
			if back.Digest != without.Digest || back.Blocked != (test.severity == plan.Block) {
				t.Errorf("blocked is %t, digest %s, without answers %s", back.Blocked, back.Digest, without.Digest)
			}
			f := findingOf(t, back, test.code, awsPool)
			if f.Severity != test.severity {
				t.Errorf("%+v", f)
			}
			mustContain(t, f.Message+"\n"+f.Remedy, test.says...)
			got := ""
			if offer, ok := plan.Forward(forth, back, snap); ok {
				got = offered(offer.Spec.Pools[0])
			}
			if d := cmp.Diff(test.forward, got); d != "" {
				t.Errorf("offered (-want +got):\n%s", d)
			}
			// A saved inverse is held to the same.
			again, err := apply.ObserveRecheck(t.Context(), w.Open(nil), back)
			if err != nil {
				t.Fatal(err)
			}
			now, err := plan.Recheck(back, replied(plan.AskRecheck(back, again), again, test.image, test.size))
			if err != nil {
				t.Fatal(err)
			}
			if now.Blocked != back.Blocked {
				t.Errorf("rechecked it is blocked: %t", now.Blocked)
			}
		})
	}
}

// TestInvertAsksForWhatIsMade: of machines that are all still there nobody is
// asked, and the quota is asked for by how much the pool grows.
func TestInvertAsksForWhatIsMade(t *testing.T) {
	t.Parallel()
	types := func(w *clustertest.World, forth plan.Plan) []plan.InstanceTypeQuery {
		return plan.AskBack(forth, observeBack(t, w, forth)).Types
	}
	const fields = "kubernetesVersion: v1.35.2, machineImage: ami-new, instanceType: m5.xlarge"
	w, _, forth := wentForth(t, fields)
	size := plan.InstanceTypeQuery{Provider: "AWSCluster", Region: "eu-central-1", Type: "m5.large", Growth: 1}
	replaced := size
	replaced.Type, replaced.Growth = "m5.xlarge", 0
	if d := cmp.Diff([]plan.InstanceTypeQuery{size, replaced}, types(w, forth)); d != "" {
		t.Errorf("after a rollout (-want +got):\n%s", d)
	}
	w = clustertest.AWSExample(clustertest.PoolVersion(awsPool, "v1.35.0"))
	up := onePool(t, fields)
	forth = compile(t, w, up)
	w.Break(awsRef, clustertest.Fault{Provider: "InvalidAMIID.NotFound"})
	begin(t, w, up, forth)
	w.Settle()
	ask := plan.AskBack(forth, observeBack(t, w, forth))
	if d := cmp.Diff(plan.Questions{}, ask); d != "" {
		t.Errorf("of a rollout that is stuck at its first machine (-want +got):\n%s", d)
	}
	// An old machine less: one is made in the room of the one that failed.
	for _, o := range w.List(capi.Group, "MachineSet", "default") {
		if capi.StringAt(o, "spec", "template", "spec", "infrastructureRef", "name") == awsPool {
			edit(capi.RefOf(o), int64(2), "spec", "replicas")(w)
		}
	}
	if d := cmp.Diff([]plan.InstanceTypeQuery{size, replaced}, types(w, forth)); d != "" {
		t.Errorf("with an old machine less (-want +got):\n%s", d)
	}
}

// TestInvertLooksAtTheWorkload: the machines that go are those of the new
// template. A budget that lets none go warns: the way back is the way out.
func TestInvertLooksAtTheWorkload(t *testing.T) {
	t.Parallel()
	w, _, forth := wentForth(t, "kubernetesVersion: v1.35.2, machineImage: ami-new")
	snap := observeBack(t, w, forth)
	q := plan.AskBack(forth, snap).Workload
	if q == nil || len(q.Nodes) != 3 {
		t.Fatalf("%+v", q)
	}
	for _, n := range q.Nodes {
		if n.Version != "v1.35.2" {
			t.Errorf("%+v", n)
		}
	}
	nodes := slices.Sorted(maps.Keys(q.Nodes))
	what := workload{nodes: nodes, pods: []plan.PodSeen{shop(nodes[0])}, budgets: []plan.BudgetSeen{cart(tight)}}
	back, err := plan.Invert(forth, snap.WithWorkload(what.look(*q)))
	if err != nil {
		t.Fatal(err)
	}
	if f := findingOf(t, back, plan.CheckWorkloadBudgets, awsPool); f.Severity != plan.Warn || back.Blocked {
		t.Errorf("%+v", f)
	}
	if back.Digest != invert(t, w, forth).Digest {
		t.Error("what was looked at is signed")
	}
}
