package plan_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// lines gives the changes of a step as text: path, before, after.
func lines(changes []plan.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s: %s -> %s", c.Path, c.Before, c.After)))
	}
	return out
}

// names replaces what a digest decides, which the golden files pin down.
func names(p plan.Plan, text []string) []string {
	for _, s := range p.Steps {
		if s.Create != nil {
			for i := range text {
				text[i] = strings.ReplaceAll(text[i], s.Create.Ref.Name, "NEW-"+s.Create.Ref.Kind)
			}
		}
	}
	return text
}

const (
	version = `/spec/template/spec/version: "v1.34.3" -> "v1.35.2"`
	image   = `/spec/template/spec/ami/id: "ami-0123456789abcdef0" -> "ami-new"`
	size    = `/spec/template/spec/instanceType: "m5.large" -> "m5.xlarge"`
	rename  = `/spec/template/spec/infrastructureRef/name: "aws-example-md-0" -> "NEW-AWSMachineTemplate"`
	reboot  = `/spec/template/spec/bootstrap/configRef/name: "aws-example-md-0" -> "NEW-KubeadmConfigTemplate"`
)

// TestCompileOnePool goes through what the manual procedure can do, and what
// it cannot.
func TestCompileOnePool(t *testing.T) {
	t.Parallel()
	// A kubeadm pool that is a minor behind could not be replaced.
	atTarget := []clustertest.Adjust{clustertest.PoolVersion(awsPool, "v1.35.2")}
	before112 := []clustertest.Adjust{clustertest.Before112()}
	tests := []struct {
		name      string
		adjust    []clustertest.Adjust
		pool      string   // fields of the upgrade
		golden    bool     // hold the whole plan to a golden file
		first     []string // of the patch before the rollout
		infra     []string
		bootstrap []string
		patch     []string
	}{
		{name: "version", golden: true, pool: "kubernetesVersion: v1.35.2", patch: []string{version}},
		{name: "image", adjust: atTarget, pool: "machineImage: ami-new", infra: []string{image}, patch: []string{rename}},
		{name: "type", adjust: atTarget, pool: "instanceType: m5.xlarge", infra: []string{size}, patch: []string{rename}},
		{name: "version-image", pool: "kubernetesVersion: v1.35.2, machineImage: ami-new",
			infra: []string{image}, patch: []string{rename, version}},
		{name: "version-type", pool: "kubernetesVersion: v1.35.2, instanceType: m5.xlarge",
			infra: []string{size}, patch: []string{rename, version}},
		{name: "image-type", adjust: atTarget, pool: "machineImage: ami-new, instanceType: m5.xlarge",
			infra: []string{image, size}, patch: []string{rename}},
		{name: "version-image-type", golden: true, pool: "kubernetesVersion: v1.35.2, machineImage: ami-new, instanceType: m5.xlarge",
			infra: []string{image, size}, patch: []string{rename, version}},
		{name: "bootstrap", adjust: atTarget, pool: `bootstrap: {joinConfiguration: {nodeRegistration: {kubeletExtraArgs: [{name: v, value: "4"}], taints: []}}, ntp: {enabled: true}}`,
			bootstrap: []string{
				`/spec/template/spec/joinConfiguration/nodeRegistration/kubeletExtraArgs/0/name: "cloud-provider" -> "v"`,
				`/spec/template/spec/joinConfiguration/nodeRegistration/kubeletExtraArgs/0/value: "external" -> "4"`,
				`/spec/template/spec/joinConfiguration/nodeRegistration/taints:  -> []`,
				`/spec/template/spec/ntp:  -> {"enabled":true}`,
			},
			patch: []string{reboot}},
		{name: "infrastructure-null", golden: true, adjust: atTarget, pool: `infrastructure: {sshKeyName: null, rootVolume: {size: 100}, cpuOptions: {a: {b: 1}}}`,
			infra: []string{
				`/spec/template/spec/cpuOptions:  -> {"a":{"b":1}}`,
				`/spec/template/spec/rootVolume/size: 50 -> 100`,
				`/spec/template/spec/sshKeyName: "default" ->`,
			},
			patch: []string{rename}},
		{name: "all", golden: true, pool: `kubernetesVersion: v1.35.2, machineImage: ami-new, bootstrap: {preKubeadmCommands: [echo]}, strategy: {maxSurge: "50%"}`,
			infra: []string{image}, bootstrap: []string{`/spec/template/spec/preKubeadmCommands:  -> ["echo"]`},
			patch: []string{`/spec/rollout/strategy/rollingUpdate/maxSurge: 1 -> "50%"`, reboot, rename, version}},
		{name: "strategy", pool: "strategy: {maxSurge: 0, maxUnavailable: 1}",
			patch: []string{`/spec/rollout/strategy/rollingUpdate/maxSurge: 1 -> 0`, `/spec/rollout/strategy/rollingUpdate/maxUnavailable: 0 -> 1`}},
		{name: "drain", pool: "drain: {nodeDrainTimeout: 10m, nodeDeletionTimeout: 90s, nodeVolumeDetachTimeout: 0s}",
			patch: []string{`/spec/template/spec/deletion:  -> {"nodeDeletionTimeoutSeconds":90,"nodeDrainTimeoutSeconds":600,"nodeVolumeDetachTimeoutSeconds":0}`}},
		{name: "v1beta1", golden: true, adjust: []clustertest.Adjust{clustertest.V1Beta1Only()},
			pool:  "kubernetesVersion: v1.35.2, machineImage: ami-new, strategy: {maxSurge: 2}, drain: {nodeDrainTimeout: 10m}",
			first: []string{`/spec/template/spec/nodeDrainTimeout:  -> "10m0s"`},
			infra: []string{image},
			patch: []string{`/spec/strategy/rollingUpdate/maxSurge: 1 -> 2`, rename, version}},
		{name: "v1.11", adjust: before112, pool: "kubernetesVersion: v1.35.2, drain: {nodeDrainTimeout: 10m, nodeVolumeDetachTimeout: 0s}",
			first: []string{`/spec/template/spec/deletion:  -> {"nodeDrainTimeoutSeconds":600,"nodeVolumeDetachTimeoutSeconds":0}`},
			patch: []string{version}},
		{name: "v1.11, no machines", adjust: append(before112, clustertest.AdjustPool(awsPool, func(p *clustertest.ExamplePool) { p.Replicas = 0 })),
			pool:  "kubernetesVersion: v1.35.2, drain: {nodeDrainTimeout: 10m}",
			first: []string{`/spec/template/spec/deletion:  -> {"nodeDrainTimeoutSeconds":600}`},
			patch: []string{version}},
		{name: "v1.11, nothing that rolls", adjust: before112, pool: "strategy: {maxSurge: 2}, drain: {nodeDrainTimeout: 10m}",
			patch: []string{`/spec/rollout/strategy/rollingUpdate/maxSurge: 1 -> 2`, `/spec/template/spec/deletion:  -> {"nodeDrainTimeoutSeconds":600}`}},
		{name: "v1.11, nothing in place", adjust: before112, pool: "kubernetesVersion: v1.35.2, strategy: {maxSurge: 2}",
			patch: []string{`/spec/rollout/strategy/rollingUpdate/maxSurge: 1 -> 2`, version}},
		{name: "v1.12", pool: "kubernetesVersion: v1.35.2, drain: {nodeDrainTimeout: 10m}",
			patch: []string{`/spec/template/spec/deletion:  -> {"nodeDrainTimeoutSeconds":600}`, version}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample(test.adjust...)
			up := onePool(t, test.pool)
			p := compile(t, w, up)
			if test.golden {
				golden(t, filepath.Join("plans", test.name+".json"), encode(t, p))
			}
			want := []string{"preflight"}
			if test.first != nil {
				id := awsPool + "/patch-in-place"
				if d := cmp.Diff(test.first, lines(step(t, p, id).Patch.Changes)); d != "" {
					t.Errorf("%s (-want +got):\n%s", id, d)
				}
				want = append(want, id, awsPool+"/wait-in-place")
			}
			for _, create := range []struct {
				id      string
				changes []string
			}{{"/create-infrastructure-template", test.infra}, {"/create-bootstrap-template", test.bootstrap}} {
				if create.changes == nil {
					continue
				}
				id := awsPool + create.id
				if d := cmp.Diff(create.changes, lines(step(t, p, id).Create.Changes)); d != "" {
					t.Errorf("%s (-want +got):\n%s", id, d)
				}
				want = append(want, id)
			}
			want = append(want, awsPool+"/patch", awsPool+"/wait")
			if d := cmp.Diff(want, stepsOf(p)); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
			if d := cmp.Diff(test.patch, names(p, lines(step(t, p, awsPool+"/patch").Patch.Changes))); d != "" {
				t.Errorf("patch (-want +got):\n%s", d)
			}
			carryOut(t, w, up, p)
			if again := compile(t, w, up); len(again.Steps) != 0 || again.Blocked {
				t.Errorf("after it was carried out: blocked %t, steps %q", again.Blocked, stepsOf(again))
			}
		})
	}
}

func TestCompileGoldenFilesAreAll(t *testing.T) {
	files, err := filepath.Glob("testdata/plans/*.json")
	if err != nil {
		t.Fatal(err)
	}
	const cases = 5 + 2 // TestCompileOnePool and TestCompileOrder
	if len(files) != cases {
		t.Errorf("%d golden files for %d cases: %q", len(files), cases, files)
	}
}

func TestCompileOrder(t *testing.T) {
	t.Parallel()
	const pools = `
pools:
- {name: aws-example-md-1, kubernetesVersion: v1.35.2}
- {name: aws-example-md-0, kubernetesVersion: v1.35.2, instanceType: m5.xlarge}`
	for order, want := range map[string][]string{
		"sequential": {"preflight", "aws-example-md-1/patch", "aws-example-md-1/wait",
			"aws-example-md-0/create-infrastructure-template", "aws-example-md-0/patch", "aws-example-md-0/wait"},
		"parallel": {"preflight", "aws-example-md-1/patch", "aws-example-md-0/create-infrastructure-template",
			"aws-example-md-0/patch", "aws-example-md-1/wait", "aws-example-md-0/wait"},
	} {
		t.Run(order, func(t *testing.T) {
			w := clustertest.AWSExample()
			up := upgrade(t, "order: "+order+pools)
			p := compile(t, w, up)
			golden(t, filepath.Join("plans", order+".json"), encode(t, p))
			if d := cmp.Diff(want, stepsOf(p)); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
			carryOut(t, w, up, p)
			if again := compile(t, w, up); !again.IsEmpty() {
				t.Errorf("after it was carried out: %q", stepsOf(again))
			}
		})
	}
}

func TestCompileOneAmongMany(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.ExtraPools(12, 1))
	p := compile(t, w, upgrade(t, "pools: [{name: aws-example-extra-007, kubernetesVersion: v1.35.2}]"))
	if d := cmp.Diff([]string{"preflight", "aws-example-extra-007/patch", "aws-example-extra-007/wait"}, stepsOf(p)); d != "" {
		t.Error(d)
	}
	if target := step(t, p, "aws-example-extra-007/patch").Patch.Target; target != clustertest.MachineDeployment("aws-example-extra-007") {
		t.Errorf("the target is %s", target)
	}
}

func TestCompileOtherNamespace(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.InNamespace("team-a"))
	up := upgradeOf(t, "team-a", "pools: [{name: aws-example-md-0, kubernetesVersion: v1.35.2, machineImage: ami-new}]")
	p := compile(t, w, up)
	for _, s := range p.Steps {
		for _, sel := range s.Reads() {
			if sel.Namespace != "team-a" {
				t.Errorf("%s reads %s", s.ID, sel.Ref)
			}
		}
	}
	carryOut(t, w, up, p)
	if again := compile(t, w, up); !again.IsEmpty() {
		t.Errorf("after it was carried out: %q", stepsOf(again))
	}
}

func TestCompileUpToDate(t *testing.T) {
	t.Parallel()
	for name, fields := range map[string]string{
		"what is there":         "kubernetesVersion: v1.34.3, machineImage: ami-0123456789abcdef0, instanceType: m5.large, strategy: {maxSurge: 1}",
		"a patch that is no-op": "infrastructure: {rootVolume: {size: 50}, notThere: null}, bootstrap: {joinConfiguration: {nodeRegistration: {kubeletExtraArgs: [{name: cloud-provider, value: external}]}}}",
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(t, clustertest.AWSExample(), onePool(t, fields))
			if len(p.Steps) != 0 || p.Steps == nil || p.Blocked {
				t.Errorf("blocked %t, steps %q", p.Blocked, stepsOf(p))
			}
			if d := cmp.Diff([]plan.PoolImpact{{Pool: awsPool, Action: plan.None, Peak: 3, Floor: 3}}, p.Impact); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestCompileStillRolling: at the target but not done yet is a wait, and
// never "nothing to do".
func TestCompileStillRolling(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := onePool(t, "kubernetesVersion: v1.35.2, machineImage: ami-new")
	first := compile(t, w, up)
	for _, s := range first.Steps[:len(first.Steps)-1] {
		carry(t, w, up, s)
	}
	waits := 0
	for {
		p := compile(t, w, up)
		if p.IsEmpty() {
			break
		}
		waits++
		if d := cmp.Diff([]string{"preflight", awsPool + "/wait"}, stepsOf(p)); d != "" {
			t.Fatalf("after %d steps of the rollout (-want +got):\n%s", waits, d)
		}
		if d := cmp.Diff(step(t, first, awsPool+"/wait"), step(t, p, awsPool+"/wait")); d != "" {
			t.Fatalf("another wait (-first +now):\n%s", d)
		}
		if !w.Step() {
			t.Fatal("the world has settled and the plan is not empty")
		}
	}
	if waits < 10 {
		t.Errorf("the rollout of three machines took %d steps", waits)
	}
}

func TestCompileInvalid(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		pool string
		edit func(*clustertest.World)
		want [][]string // words of each problem
	}{
		{name: "no such shorthand", pool: "name: aws-example-md-1, machineImage: ami-new, instanceType: m5.xlarge",
			want: [][]string{
				{"spec.pools[0].machineImage", "DevMachineTemplate default/aws-example-md-1", "under infrastructure", "spec.template.spec"},
				{"spec.pools[0].instanceType", "DevMachineTemplate default/aws-example-md-1", "under infrastructure"},
			}},
		{name: "shorthand and patch collide", pool: "name: aws-example-md-0, machineImage: ami-new, instanceType: m5.xlarge, infrastructure: {ami: {id: ami-other}, instanceType: null}",
			want: [][]string{
				{"spec.pools[0].machineImage", "infrastructure.ami", "set the same field", "keep one"},
				{"spec.pools[0].instanceType", "infrastructure.instanceType", "set the same field", "keep one"},
			}},
		{name: "shorthand and a patch of the one-of", pool: "name: aws-example-md-0, machineImage: ami-new, infrastructure: {ami: {eksLookupType: AmazonLinux}}",
			want: [][]string{{"spec.pools[0].machineImage", "infrastructure.ami", "set the same field"}}},
		{name: "no bootstrap template", pool: "name: aws-example-md-0, bootstrap: {ntp: {enabled: true}}",
			edit: func(w *clustertest.World) {
				w.Edit(awsRef, func(o *object) {
					put(o, map[string]any{"dataSecretName": "join"}, "spec", "template", "spec", "bootstrap")
				})
			},
			want: [][]string{{"spec.pools[0].bootstrap", "MachineDeployment default/aws-example-md-0", "names no bootstrap template", "remove bootstrap"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			if test.edit != nil {
				test.edit(w)
			}
			up := upgrade(t, "pools: [{"+test.pool+"}]")
			_, err := plan.Compile(up, observe(t, w, up))
			var invalid *schema.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("the error is %v", err)
			}
			if len(invalid.Problems) != len(test.want) {
				t.Fatalf("%d problems, want %d: %v", len(invalid.Problems), len(test.want), err)
			}
			for i, words := range test.want {
				pr := invalid.Problems[i]
				mustContain(t, pr.Path+": "+pr.Message+"; "+pr.Remedy, words...)
			}
		})
	}
}

func TestCompileUnknownAPIVersion(t *testing.T) {
	t.Parallel()
	up := onePool(t, "kubernetesVersion: v1.35.2")
	snap := observe(t, clustertest.AWSExample(), up)
	md, _ := snap.Object(awsRef)
	md = md.DeepCopy()
	md.SetAPIVersion("cluster.x-k8s.io/v1beta7")
	_, err := plan.Compile(up, snap.With(plan.Selector{Ref: awsRef}, md))
	if err == nil {
		t.Fatal("no error")
	}
	mustContain(t, err.Error(), "spec.pools[0].name", "cluster.x-k8s.io/v1beta7", "v1beta2", "v1beta1", "release of nodepool")
}

// TestCompileIncomplete leaves one answer out at a time.
func TestCompileIncomplete(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := onePool(t, "kubernetesVersion: v1.35.2, machineImage: ami-new")
	var snap plan.Snapshot
	for round := 0; ; round++ {
		needs := plan.Needs(up, snap)
		if len(needs) == 0 {
			if round < 3 {
				t.Errorf("only %d rounds of questions", round)
			}
			break
		}
		if _, err := plan.Compile(up, snap); !errors.Is(err, plan.ErrIncomplete) {
			t.Errorf("round %d: the error is %v", round, err)
		}
		got, err := w.Open(nil).Fetch(t.Context(), needs)
		if err != nil {
			t.Fatal(err)
		}
		snap = snap.Merge(got)
	}
	if _, err := plan.Compile(up, snap); err != nil {
		t.Error(err)
	}
}

func TestNeedsAsksOnce(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.ExtraPools(3, 1))
	up := upgrade(t, `
pools:
- {name: aws-example-extra-000, kubernetesVersion: v1.35.2, machineImage: ami-new}
- {name: aws-example-extra-001, kubernetesVersion: v1.35.2, machineImage: ami-new}
- {name: aws-example-extra-002, kubernetesVersion: v1.35.2, machineImage: ami-new}`)
	seen := map[plan.Selector]bool{}
	var snap plan.Snapshot
	for round := 1; ; round++ {
		needs := plan.Needs(up, snap)
		if len(needs) == 0 {
			break
		}
		// The large lists do not wait for what the pools are like.
		early := func(s plan.Selector) bool { return s.Group == capi.Group && s.IsList() }
		if slices.ContainsFunc(needs, early) != (round == 1) {
			t.Errorf("round %d asks for %+v", round, needs)
		}
		for _, sel := range needs {
			if seen[sel] {
				t.Errorf("asked for twice: %+v", sel)
			}
			seen[sel] = true
		}
		got, err := w.Open(nil).Fetch(t.Context(), needs)
		if err != nil {
			t.Fatal(err)
		}
		snap = snap.Merge(got)
	}
}

// TestCompileReuse tells that a template is there already, and changes nothing
// else by it: the digest is that of before.
func TestCompileReuse(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := onePool(t, toBoth)
	before := compile(t, w, up)
	if got := before.Impact[0].Reuses; got != nil {
		t.Errorf("reuses %v before anything is there", got)
	}
	s := step(t, before, createStep)
	carry(t, w, up, s)
	after := compile(t, w, up)
	if d := cmp.Diff([]string{s.Create.Ref.Name}, after.Impact[0].Reuses); d != "" {
		t.Errorf("reuses (-want +got):\n%s", d)
	}
	if after.Digest != before.Digest {
		t.Error("the digest changed by it")
	}
}

func TestHoldsSecrets(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	for fields, want := range map[string]bool{
		toBoth: false,
		"bootstrap: {files: [{path: /a, content: x}]}":                               true,
		"bootstrap: {files: [{path: /a, contentFrom: {secret: {name: s, key: k}}}]}": false,
	} {
		if got := compile(t, w, onePool(t, fields)).HoldsSecrets(); got != want {
			t.Errorf("%s: %t", fields, got)
		}
	}
}
