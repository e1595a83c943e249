package apply_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

func TestValidateAsksTheServer(t *testing.T) {
	refuse := func(w *clustertest.World) {
		w.Schema(func(o *unstructured.Unstructured) error {
			if o.GetKind() == "AWSMachineTemplate" {
				return errors.New(`unknown field "spec.template.spec.instanceTyp"`)
			}
			return nil
		})
	}
	for name, tc := range map[string]struct {
		world func(*clustertest.World)
		// severities of the create and of the patch
		want  [2]plan.Severity
		words string
		// forbidden tells that a right is missing
		forbidden bool
	}{
		"accepted": {func(*clustertest.World) {}, [2]plan.Severity{plan.Pass, plan.Pass}, "accepts", false},
		"refused":  {refuse, [2]plan.Severity{plan.Block, plan.Pass}, `unknown field "spec.template.spec.instanceTyp"`, false},
		"no right to create": {func(w *clustertest.World) {
			w.Forbid("create", clustertest.InfrastructureGroup, "AWSMachineTemplate")
		}, [2]plan.Severity{plan.Warn, plan.Pass}, "not validated", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			tc.world(w)
			c := w.Open(nil)
			up := read(t, upgradeOne)
			snap, err := apply.Observe(t.Context(), c, up)
			if err != nil {
				t.Fatal(err)
			}
			p, err := plan.Compile(up, snap)
			if err != nil {
				t.Fatal(err)
			}
			findings, err := apply.Validate(t.Context(), c, p, snap, plan.SecretsOf(up, snap))
			var missing *apply.ForbiddenError
			if errors.As(err, &missing) != tc.forbidden {
				t.Errorf("missing rights: %v, want some: %t", err, tc.forbidden)
			}
			if tc.forbidden && (missing.Verb != "create" || missing.Resource != "awsmachinetemplates" || missing.Namespace != "default") {
				t.Errorf("the missing right is told as %q", missing)
			}
			if len(findings) != 2 {
				t.Fatalf("%d findings, want one for each of the two writes: %+v", len(findings), findings)
			}
			for i, f := range findings {
				if f.Severity != tc.want[i] {
					t.Errorf("finding %d is of severity %s, want %s: %s", i, f.Severity, tc.want[i], f.Message)
				}
			}
			if !strings.Contains(findings[0].Message, tc.words) {
				t.Errorf("the finding does not tell %q: %s", tc.words, findings[0].Message)
			}
			if got := writes(w); len(got) > 0 {
				t.Errorf("a dry run wrote %v", got)
			}
			with := p.WithFindings(findings...)
			if with.Digest != with.Sum() {
				t.Error("findings changed the digest")
			}
			if with.Blocked != (tc.want[0] == plan.Block) {
				t.Errorf("blocked: %v", with.Blocked)
			}
		})
	}
}

// TestMissingRightsAtOnce: of fifty pools, one finding tells of each right that
// is missing; what the server refuses is told for each object.
func TestMissingRightsAtOnce(t *testing.T) {
	w := clustertest.AWSExample(clustertest.ExtraPools(50, 1))
	text := "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: many}\nspec:\n  cluster: {name: aws-example}\n  pools:\n"
	for i := range 50 {
		text += fmt.Sprintf("    - {name: aws-example-extra-%03d, kubernetesVersion: v1.35.2, machineImage: ami-0fedcba9876543210}\n", i)
	}
	up := read(t, text)
	validate := func() (all, lacking []plan.Finding, missing error) {
		c := w.Open(nil)
		p, secrets := compile(t, c, up)
		snap, err := apply.Observe(t.Context(), c, up)
		if err != nil {
			t.Fatal(err)
		}
		all, missing = apply.Validate(t.Context(), c, p, snap, secrets)
		for _, f := range all {
			if f.Severity == plan.Warn {
				lacking = append(lacking, f)
			}
		}
		return all, lacking, missing
	}
	cluster := plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}
	lack := func(right string) plan.Finding {
		return plan.Finding{Code: plan.CheckServer, Severity: plan.Warn, Object: cluster,
			Message: "50 writes were not validated by the server: whoever plans may not " + right + " in namespace default, not even as a dry run (pools aws-example-extra-000, aws-example-extra-001, aws-example-extra-002, aws-example-extra-003, aws-example-extra-004 and 45 more)",
			Remedy:  "plan again with that right (deploy/rbac.yaml; put the kinds of your providers there, in place of those of AWS and kubeadm), or have somebody plan who has it; otherwise what the server would refuse shows at the write"}
	}
	create, patch := lack("create awsmachinetemplates.infrastructure.cluster.x-k8s.io"), lack("patch machinedeployments.cluster.x-k8s.io")

	w.Forbid("create", clustertest.InfrastructureGroup, "AWSMachineTemplate")
	all, lacking, missing := validate()
	if diff := cmp.Diff([]plan.Finding{create}, lacking); diff != "" || len(all) != 51 {
		t.Errorf("%d findings, want one, and the answers to 50 patches (-want +got):\n%s", len(all), diff)
	}
	if missing == nil {
		t.Error("no error tells whoever applies")
	}

	w.Schema(func(o *unstructured.Unstructured) error {
		if o.GetKind() == "MachineDeployment" {
			return errors.New("no such version")
		}
		return nil
	})
	all, lacking, _ = validate()
	if diff := cmp.Diff([]plan.Finding{create}, lacking); diff != "" {
		t.Errorf("beside refusals (-want +got):\n%s", diff)
	}
	refused := map[string]bool{}
	for _, f := range all {
		if f.Severity == plan.Block {
			refused[f.Pool+" "+f.Object.Name] = true
		}
	}
	if len(refused) != 50 || len(all) != 51 {
		t.Errorf("%d objects are refused in %d findings, want each of 50 by itself", len(refused), len(all))
	}
	w.Schema(nil)

	w.Forbid("patch", capi.Group, "MachineDeployment")
	if all, _, _ = validate(); cmp.Diff([]plan.Finding{create, patch}, all) != "" {
		t.Errorf("(-want +got):\n%s", cmp.Diff([]plan.Finding{create, patch}, all))
	}

	// A refusal that was saved is not answered by them.
	p, _ := compile(t, w.Open(nil), up)
	saved := p.WithFindings(plan.Finding{Code: plan.CheckServer, Severity: plan.Block, Pool: "aws-example-extra-007",
		Object: clustertest.MachineDeployment("aws-example-extra-007"), Message: "the server would refuse the write"})
	if now := p.WithFindings(all...).StillBlocked(saved, false); !now.Blocked || !strings.Contains(now.Findings[0].Message, "nobody has looked again: 50 writes were not validated") {
		t.Errorf("blocked is %t: %+v", now.Blocked, now.Findings[0])
	}
}

// TestValidatePassesOverWhatIsDone compiles once more between create and patch.
func TestValidatePassesOverWhatIsDone(t *testing.T) {
	w := clustertest.AWSExample()
	c := w.Open(nil)
	up := read(t, upgradeOne)
	p, secrets := compile(t, c, up)
	first := w.Open(&clustertest.Fuse{At: 1, Ops: []clustertest.Op{clustertest.Patch}, Mode: clustertest.CrashBefore})
	if err := (&apply.Executor{Cluster: first, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p); err == nil {
		t.Fatal("the crashed run says that all is well")
	}
	snap, err := apply.Observe(t.Context(), c, up)
	if err != nil {
		t.Fatal(err)
	}
	findings, err := apply.Validate(t.Context(), c, p, snap, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || findings[0].Object.Kind != "MachineDeployment" {
		t.Errorf("got %+v, want the answer to the patch alone", findings)
	}
}

// TestValidateSeesDefaultsPutBack: a null is not what was reviewed when the
// server puts a default in its place, whether or not the field was there.
func TestValidateSeesDefaultsPutBack(t *testing.T) {
	for name, tc := range map[string]struct {
		fields, filled string
		want           []plan.Severity
	}{
		"a field that is there":     {"sshKeyName: null", "sshKeyName", []plan.Severity{plan.Block, plan.Pass}},
		"a field that is not there": {"sshKeyName: other, tenancy: null", "tenancy", []plan.Severity{plan.Block, plan.Pass}},
		"another field":             {"sshKeyName: null", "tenancy", []plan.Severity{plan.Pass, plan.Pass}},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			w.Defaults(func(o *unstructured.Unstructured) {
				if err := unstructured.SetNestedField(o.Object, "default", "spec", "template", "spec", tc.filled); err != nil {
					t.Error(err)
				}
			})
			c := w.Open(nil)
			up := read(t, strings.TrimSuffix(upgradeOne, "\n")+"\n      infrastructure: {"+tc.fields+"}\n")
			snap, err := apply.Observe(t.Context(), c, up)
			if err != nil {
				t.Fatal(err)
			}
			p, err := plan.Compile(up, snap)
			if err != nil {
				t.Fatal(err)
			}
			findings, err := apply.Validate(t.Context(), c, p, snap, plan.SecretsOf(up, snap))
			if err != nil {
				t.Fatal(err)
			}
			var got []plan.Severity
			for _, f := range findings {
				got = append(got, f.Severity)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("severities (-want +got):\n%s\n%+v", d, findings)
			}
			if field := "spec.template.spec." + tc.filled; tc.want[0] == plan.Block && !strings.Contains(findings[0].Message, field) {
				t.Errorf("the finding does not tell %s: %s", field, findings[0].Message)
			}
		})
	}
}

// TestValidateTwoPatches: the second patch starts from what the first one leaves,
// and is tried behind it.
func TestValidateTwoPatches(t *testing.T) {
	for name, annotations := range map[string]map[string]string{
		"annotated": {"team": "x"}, "not annotated": nil, "changed before": {plan.RunAnnotation: "before"},
	} {
		t.Run(name, func(t *testing.T) { validateTwoPatches(t, annotations) })
	}
}

func validateTwoPatches(t *testing.T, annotations map[string]string) {
	w := clustertest.AWSExample(clustertest.Before112())
	w.Edit(clustertest.MachineDeployment("aws-example-md-0"), func(o *unstructured.Unstructured) { o.SetAnnotations(annotations) })
	c := w.Open(nil)
	validate := func() (plan.Plan, []string) {
		t.Helper()
		up := read(t, upgradeDrain)
		snap, err := apply.Observe(t.Context(), c, up)
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Compile(up, snap)
		if err != nil {
			t.Fatal(err)
		}
		findings, err := apply.Validate(t.Context(), c, p, snap, plan.SecretsOf(up, snap))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range findings {
			out = append(out, string(f.Severity)+" "+f.Object.Kind)
			if f.Severity != plan.Pass {
				t.Log(f.Message)
			}
		}
		return p, out
	}
	p, got := validate()
	if diff := cmp.Diff([]string{"pass MachineDeployment", "pass AWSMachineTemplate", "pass MachineDeployment"}, got); diff != "" {
		t.Errorf("before the first patch (-want +got):\n%s", diff)
	}
	// What the server refuses of the second patch is told of the second alone.
	w.Schema(func(o *unstructured.Unstructured) error {
		if o.GetKind() == "MachineDeployment" && o.GetAnnotations()[plan.RunAnnotation] == p.Steps[len(p.Steps)-2].Patch.Run.After {
			return errors.New("no such version")
		}
		return nil
	})
	if _, got = validate(); cmp.Diff([]string{"pass MachineDeployment", "pass AWSMachineTemplate", "block MachineDeployment"}, got) != "" {
		t.Errorf("a second patch that is refused: %q", got)
	}
	w.Schema(nil)
	first := w.Open(&clustertest.Fuse{At: 1, Ops: []clustertest.Op{clustertest.Watch}, Mode: clustertest.CrashBefore})
	if err := (&apply.Executor{Cluster: first, Journal: &memory{}}).Run(t.Context(), p); err == nil {
		t.Fatal("the crashed run says that all is well")
	}
	if _, got = validate(); cmp.Diff([]string{"pass AWSMachineTemplate", "pass MachineDeployment"}, got) != "" {
		t.Errorf("after the first patch: %q", got)
	}
}
