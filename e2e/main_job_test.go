//go:build e2e

package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// planned is what a pipeline reads of a plan.
type planned struct {
	APIVersion, Kind, Digest string
	Blocked                  bool
	Steps                    []struct {
		ID     string
		Pool   string
		Create *struct {
			Ref struct{ Kind, Namespace, Name string }
		}
		Patch *struct {
			Target struct{ Kind, Namespace, Name string }
		}
		Wait *struct{ Template, Version string }
	}
}

func (p planned) ids() []string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, s.ID)
	}
	return out
}

// template gives the name of the one template that the plan creates.
func (p planned) template(t testing.TB) string {
	t.Helper()
	var names []string
	for _, s := range p.Steps {
		if s.Create != nil {
			names = append(names, s.Create.Ref.Name)
		}
	}
	if len(names) != 1 {
		t.Fatalf("the plan creates %q, want one template", names)
	}
	return names[0]
}

// plan gives the plan of an upgrade file as JSON has it.
func (c cli) plan(t testing.TB, file string, flags ...string) planned {
	t.Helper()
	r := c.run(t, slices.Concat([]string{"plan", "-f", file, "-o", "json"}, flags)...).exits(t, 0)
	return decode[planned](t, r.Stdout)
}

// nothingToDo checks that a plan is empty.
func (c cli) nothingToDo(t testing.TB, file string) {
	t.Helper()
	if r := c.run(t, "plan", "-f", file, "--detailed-exitcode").exits(t, 0); !strings.Contains(r.Stdout, "No changes.") {
		t.Errorf("the plan does not say that there is nothing to do\n%s", r)
	}
}

func TestMainJob(t *testing.T) {
	t.Parallel()
	c, n := newCluster(t, "main", "--pools", "aws:2,dev:1"), newCLI(t)
	file := c.upgrade(t, "main-1-35",
		pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage, "instanceType": "m5.xlarge"},
		pool{"name": c.pool(1), "kubernetesVersion": newVersion})

	n.run(t, "plan", "-f", file, "--detailed-exitcode").exits(t, 2)
	reviewed := n.plan(t, file)
	raw, err := yaml.YAMLToJSON([]byte(n.run(t, "plan", "-f", file, "-o", "yaml").exits(t, 0).Stdout))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reviewed, decode[planned](t, string(raw))); diff != "" {
		t.Errorf("JSON and YAML hold different plans (-json +yaml):\n%s", diff)
	}
	if reviewed.Kind != "Plan" || reviewed.Blocked || !strings.HasPrefix(reviewed.Digest, "sha256:") {
		t.Errorf("kind %q, blocked %v, digest %q", reviewed.Kind, reviewed.Blocked, reviewed.Digest)
	}
	wantSteps := []string{"preflight",
		c.pool(0) + "/create-infrastructure-template", c.pool(0) + "/patch", c.pool(0) + "/wait",
		c.pool(1) + "/patch", c.pool(1) + "/wait"}
	if diff := cmp.Diff(wantSteps, reviewed.ids()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if text := n.run(t, "plan", "-f", file).exits(t, 0).Stdout; !strings.Contains(text, reviewed.Digest) {
		t.Errorf("the text lacks the digest %s:\n%s", reviewed.Digest, text)
	}
	if diff := cmp.Diff([]string{"preflight", c.pool(1) + "/patch", c.pool(1) + "/wait"}, n.plan(t, file, "--pool", c.pool(1)).ids()); diff != "" {
		t.Errorf("steps with --pool (-want +got):\n%s", diff)
	}
	if w := c.writes(t); len(w) > 0 {
		t.Errorf("plan wrote %v", w)
	}

	n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
	template := reviewed.template(t)
	if got := c.template(t, c.pool(0)); got != template {
		t.Errorf("the MachineDeployment names the template %s, the plan said %s", got, template)
	}
	want := map[string][]machine{
		c.pool(0): {
			{Version: newVersion, Template: template, Image: newImage, Type: "m5.xlarge"},
			{Version: newVersion, Template: template, Image: newImage, Type: "m5.xlarge"},
		},
		c.pool(1): {{Version: newVersion, Template: c.pool(1)}},
	}
	got := map[string][]machine{c.pool(0): c.machines(t, c.pool(0)), c.pool(1): c.machines(t, c.pool(1))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
	wantWrites := []write{
		{"create", "awsmachinetemplates", template},
		{"patch", "machinedeployments", c.pool(0)},
		{"patch", "machinedeployments", c.pool(1)},
	}
	if diff := cmp.Diff(wantWrites, c.writes(t)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}

	n.nothingToDo(t, file)
	if left := n.plan(t, file); len(left.Steps) > 0 {
		t.Errorf("steps are left: %q", left.ids())
	}
	n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
	if diff := cmp.Diff(wantWrites, c.writes(t)); diff != "" {
		t.Errorf("writes after a second apply (-want +got):\n%s", diff)
	}
}
