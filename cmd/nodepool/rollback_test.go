package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/apply/journal"
	"nodepool/apply/journal/journaltest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// site is an operator's folder and a world.
type site struct {
	*testing.T
	world *clustertest.World
	// objects hold the journals and the locks.
	objects *fake.Clientset
	// fuse, when set, is for the next command.
	fuse *clustertest.Fuse
	// meanwhile, when set, is done before each command, in its time, and what
	// it gives behind it.
	meanwhile func(context.Context) func()
}

func newSite(t *testing.T, files map[string]string, adjust ...clustertest.Adjust) *site {
	t.Helper()
	runIn(t, files, "") // into an empty folder
	w := clustertest.AWSExample(adjust...)
	w.AutoStep(1)
	return &site{T: t, world: w, objects: journaltest.NewClientset()}
}

// do runs a command against the world, in virtual time, and wants an exit code.
func (s *site) do(want int, stdin string, args ...string) (stdout, stderr string) {
	s.Helper()
	synctest.Test(s.T, func(t *testing.T) {
		var out, errs bytes.Buffer
		p := &program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs,
			open:    func(*cli.Context) (apply.Cluster, error) { return s.world.Open(s.fuse), nil },
			connect: func(_ apply.Reader, of journal.Cluster) (*journal.InCluster, error) { return s.beside(of), nil }}
		if s.meanwhile != nil {
			defer s.meanwhile(t.Context())()
		}
		code := p.run(context.Background(), append([]string{"nodepool"}, args...))
		stdout, stderr = out.String(), errs.String()
		if code != want {
			t.Fatalf("nodepool %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, stdout, stderr)
		}
	})
	return stdout, stderr
}

func (s *site) says(text string, parts ...string) {
	s.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.Errorf("%q is not said in:\n%s", part, text)
		}
	}
}

// template gives the infrastructure template that a pool names.
func (s *site) template(pool string) string {
	return capi.StringAt(s.world.Get(clustertest.MachineDeployment(pool)), "spec", "template", "spec", "infrastructureRef", "name")
}

func (s *site) beside(of journal.Cluster) *journal.InCluster {
	return journal.New(s.objects.CoreV1(), s.objects.CoordinationV1(), of)
}

// notes gives what closed the runs of all journals, in order.
func (s *site) notes() []string {
	s.Helper()
	runs, err := s.beside(journal.Cluster{Namespace: "default"}).Runs(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var out []string
	for _, r := range runs {
		note := "unfinished"
		if r.Closed() {
			note, _, _ = strings.Cut("closed: "+r.Records[len(r.Records)-1].Note, " by the plan")
		}
		out = append(out, r.Name()+" "+string(r.Plan.Upgrade.Purpose)+" "+note)
	}
	return out
}

func (s *site) patches() (n int) {
	for _, w := range s.world.Writes() {
		if strings.HasPrefix(w.String(), "patch MachineDeployment") {
			n++
		}
	}
	return n
}

const (
	pool0      = "aws-example-md-0"
	badUpgrade = `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: one}
spec:
  cluster: {name: aws-example}
  pools:
    - {name: aws-example-md-0, kubernetesVersion: v1.35.2, machineImage: ami-bad}
`
)

// secondPatch blows at the patch of a run: the first is its dry run.
func secondPatch(mode clustertest.Mode) *clustertest.Fuse {
	return &clustertest.Fuse{At: 2, Ops: []clustertest.Op{clustertest.Patch}, Mode: mode}
}

// set gives a change of one field.
func set(value any, path ...string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
			panic(err)
		}
	}
}

var bad = clustertest.Fault{Provider: "InvalidAMIID.NotFound"}

// TestRollbackOfAStall: a rollout that is stuck is taken back, once; the run is
// closed as rolled back, and the same upgrade applied again is another run.
func TestRollbackOfAStall(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	md := clustertest.MachineDeployment(pool0)
	s.world.Break(md, bad)
	said, stderr := s.do(5, "", "apply", "-f", "u.yaml", "--auto-approve", "--abandon")
	s.says(stderr, "InvalidAMIID.NotFound", "\n    nodepool apply -f u.yaml --auto-approve\n", "\n    nodepool rollback -f u.yaml\n")
	s.says(said, "Run one/1, ", "\n    nodepool history one/1 -o markdown\n")
	before := s.patches()

	stdout, _ := s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
	s.says(stdout, "Rollback of upgrade one of cluster default/aws-example", "Takes back: sha256:", "version-skew",
		"the old 3 machines at v1.34.3 are all still there", "rolling back one",
		"3/3 old ready, 0 new left", "nodepool history one/2 -o markdown")
	if n := s.patches() - before; n != 1 || s.template(pool0) != pool0 {
		t.Errorf("%d patches, and the template is %s", n, s.template(pool0))
	}
	if d := cmp.Diff([]string{"one/1  closed: rolled back", "one/2 rollback closed: "}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
	// Again: nothing is left to take back, by any name of it.
	for _, args := range [][]string{{"-f", "u.yaml"}, {"one/1"}} {
		stdout, _ = s.do(0, "", append([]string{"rollback", "--auto-approve"}, args...)...)
		s.says(stdout, "No changes. Nothing that the plan")
	}
	s.world.Break(md, clustertest.Fault{})
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	if d := cmp.Diff([]string{"one/1  closed: rolled back", "one/2 rollback closed: ", "one/3  closed: "}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
	// Now it is complete, and kubeadm's machines of the old minor cannot be made.
	stdout, _ = s.do(3, "", "rollback", "-f", "u.yaml", "--auto-approve", "--forward-out", "saved.yaml")
	s.says(stdout, "BLOCKED", "there is no way back to v1.34.3", "go forward with the content of the old template", "Possible instead: forward", "name: one-forward", "ami-0123456789abcdef0")
	if n := s.patches() - before; n != 2 {
		t.Errorf("%d patches after the refusal", n)
	}
	// What it offers is an upgrade file.
	_, offer, _ := strings.Cut(stdout, "machines cannot join:\n\n")
	if saved, err := os.ReadFile("saved.yaml"); err != nil || string(saved) != offer {
		t.Errorf("%v; what is saved is not what is shown:\n%s", err, saved)
	}
	s.do(2, "", "plan", "-f", "saved.yaml", "--detailed-exitcode")
}

// TestRollbackOfARollback goes forward again, and by -f it carries a rollback
// on rather than taking it back.
func TestRollbackOfARollback(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade}, clustertest.PoolVersion(pool0, "v1.35.0"))
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	forward := s.template(pool0)

	// The rollback breaks off after its patch.
	s.fuse = secondPatch(clustertest.CrashAfter)
	s.do(1, "", "rollback", "one/1", "--auto-approve")
	s.fuse = nil
	patches := s.patches()
	_, stderr := s.do(1, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "a rollback of this upgrade", "nodepool apply one/2", "--abandon")
	stdout, stderr := s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "Carrying on with the plan")
	s.says(stdout, "Of these steps, done already: step 2.")
	if s.template(pool0) != pool0 || s.patches() != patches {
		t.Errorf("template %s, %d patches", s.template(pool0), s.patches()-patches)
	}
	s.do(0, "", "rollback", "one/2", "--auto-approve")
	if s.template(pool0) != forward {
		t.Errorf("template %s, want %s", s.template(pool0), forward)
	}
}

// TestRollbackSaved: the inverse saved is carried out as it was reviewed, or not
// at all.
func TestRollbackSaved(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade}, clustertest.PoolVersion(pool0, "v1.35.0"))
	md := clustertest.MachineDeployment(pool0)
	s.do(0, "", "plan", "-f", "u.yaml", "--out", "forth.plan")
	s.do(0, "", "apply", "--plan", "forth.plan", "--auto-approve")
	writes := len(s.world.Writes())
	stdout, stderr := s.do(0, "", "rollback", "--plan", "forth.plan", "--out", "back.plan")
	s.says(stdout+stderr, "Rollback of upgrade one", "nodepool apply --plan back.plan")
	shown, _ := s.do(0, "", "show", "back.plan")
	s.says(shown, "Takes back: sha256:")
	markdown, _ := s.do(0, "", "show", "back.plan", "-o", "markdown")
	s.says(markdown, "## Rollback of upgrade", "Takes back:", "nodepool rollback -f FILE --expect")
	if len(s.world.Writes()) != writes {
		t.Error("saving it wrote")
	}
	// Somebody scales the surge: a fact of the plan no longer holds.
	s.world.Edit(md, set(int64(2), "spec", "rollout", "strategy", "rollingUpdate", "maxSurge"))
	_, stderr = s.do(4, "", "apply", "--plan", "back.plan", "--auto-approve")
	s.says(stderr, "maxSurge")
	s.world.Edit(md, set(int64(1), "spec", "rollout", "strategy", "rollingUpdate", "maxSurge"))
	// So does a pause of the cluster, and the annotation of that name, which pauses
	// the Cluster object alone, does not.
	s.world.Edit(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}, set("true", "metadata", "annotations", capi.PausedAnnotation))
	s.world.Edit(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}, set(true, "spec", "paused"))
	s.do(4, "", "apply", "--plan", "back.plan", "--auto-approve")
	s.world.Edit(plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: "default", Name: "aws-example"}, set(false, "spec", "paused"))
	s.do(0, "", "apply", "--plan", "back.plan", "--auto-approve")
	if s.template(pool0) != pool0 {
		t.Errorf("template %s", s.template(pool0))
	}
	// The forward plan is of another state now, and says so.
	s.do(4, "", "apply", "--plan", "forth.plan", "--auto-approve")
	// The compiled one is as the saved one.
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.do(0, "", "rollback", "-f", "u.yaml", "--out", "again.plan")
	back, err := readPlan("again.plan")
	if err != nil {
		t.Fatal(err)
	}
	s.do(4, "", "rollback", "-f", "u.yaml", "--auto-approve", "--expect", "sha256:"+strings.Repeat("0", 64))
	s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve", "--expect", string(back.Digest))
}

// TestRollbackChanged: what somebody else did after the upgrade is not undone.
func TestRollbackChanged(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade}, clustertest.PoolVersion(pool0, "v1.35.0"))
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.world.Edit(clustertest.MachineDeployment(pool0), set("v1.35.1", "spec", "template", "spec", "version"))
	writes := len(s.world.Writes())
	_, stderr := s.do(4, "", "rollback", "-f", "u.yaml", "--auto-approve")
	s.says(stderr, "spec.template.spec.version", "left at:  v1.35.2", "found:    v1.35.1", "Nothing was written")
	if len(s.world.Writes()) != writes {
		t.Error("it wrote")
	}
}

// TestRollbackUsage is about what is asked wrongly, and about runs that are not
// there.
func TestRollbackUsage(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade}, clustertest.PoolVersion(pool0, "v1.35.0"))
	for _, tc := range []struct {
		args []string
		says []string
	}{
		{nil, []string{"-f FILE", "RUN", "--plan FILE"}},
		{[]string{"one/1", "-f", "u.yaml"}, []string{"one of"}},
		{[]string{"-f", "u.yaml"}, []string{"holds no run of the upgrade one", "--journal"}},
		{[]string{"one/1"}, []string{"no run of the upgrade one", "namespace default", "--plan FILE"}},
		{[]string{"one"}, []string{"no name of a run", "aws-example-1-35/3"}},
		{[]string{"one/x"}, []string{"no name of a run"}},
		{[]string{"--plan", "gone.plan"}, []string{"gone.plan"}},
		{[]string{"--plan", "u.yaml"}, []string{"NodePoolUpgrade"}},
	} {
		_, stderr := s.do(1, "", append([]string{"rollback", "--auto-approve"}, tc.args...)...)
		s.says(stderr, tc.says...)
	}
	_, stderr := s.do(1, "", "rollback", "-f", "u.yaml")
	s.says(stderr, "holds no run of the upgrade one")
	s.do(0, "", "apply", "-f", "u.yaml", "--auto-approve", "--journal", "file:own.jsonl")
	_, stderr = s.do(1, "", "rollback", "one/1", "--journal", "file:own.jsonl")
	s.says(stderr, "nothing was written", "--auto-approve", "terminal", "--out FILE")
	_, stderr = s.do(1, "", "rollback", "one/2", "--auto-approve", "--journal", "file:own.jsonl")
	s.says(stderr, "there is no run one/2; there are one/1")
	_, stderr = s.do(1, "", "rollback", "one/1", "--auto-approve", "--journal", "file:own.jsonl", "--pool", "aws-example-md-7")
	s.says(stderr, "aws-example-md-7")
	s.do(0, "", "rollback", "one/1", "--auto-approve", "--journal", "file:own.jsonl", "--pool", pool0)
	if s.template(pool0) != pool0 {
		t.Errorf("template %s", s.template(pool0))
	}
}

// TestRollbackBeforeThePatch: a run that only made its template has nothing to
// take back, and is closed.
func TestRollbackBeforeThePatch(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": badUpgrade})
	s.fuse = secondPatch(clustertest.CrashBefore)
	s.do(1, "", "apply", "-f", "u.yaml", "--auto-approve")
	s.fuse = nil
	stdout, _ := s.do(0, "", "rollback", "-f", "u.yaml", "--auto-approve")
	s.says(stdout, "No changes.")
	if d := cmp.Diff([]string{"one/1  closed: rolled back: nothing that it changed was left to take back"}, s.notes()); d != "" {
		t.Errorf("journal (-want +got):\n%s", d)
	}
	if n := s.patches(); n != 0 {
		t.Errorf("%d patches", n)
	}
}
