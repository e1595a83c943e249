package main

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"all", []string{"explain"}, 0, []string{"version-skew", "block", "nodepool explain CODE tells more"}},
		{"one", []string{"explain", "version-skew"}, 0, []string{"version-skew\n", "KubeadmVersionSkew", "waive: [{check: version-skew, reason: WHY}]"}},
		{"one that is firm", []string{"explain", "templates"}, 0, []string{"cannot be waived: machines cannot be made without a template"}},
		{"misspelt", []string{"explain", "version-screw"}, 1, []string{`there is no check "version-screw"; did you mean version-skew? nodepool explain lists all checks`}},
		{"the beginning of one", []string{"explain", "Topology"}, 1, []string{`there is no check "Topology"; did you mean topology-owned? nodepool explain lists all checks`}},
		{"the beginning of several", []string{"explain", "instance"}, 1, []string{`did you mean instance-type or instance-quota?`}},
		{"like none", []string{"explain", "zzzzzzzzzz"}, 1, []string{`there is no check "zzzzzzzzzz"; nodepool explain lists all checks`}},
		{"two", []string{"explain", "cluster", "templates"}, 1, []string{"takes one code"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := call(t, "", test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("does not say %q:\n%s%s", want, stdout, stderr)
				}
			}
		})
	}
}

// TestWaiverMistakes: every mistake in waivers is told at once, with the other
// mistakes of the file and its place there, and before a cluster is asked.
func TestWaiverMistakes(t *testing.T) {
	const upgrade = `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: up}
spec:
  cluster: {name: c}
  defaults:
    waive: [{check: versoin-skew, reason: of all}]
  pools:
    - name: nothing
    - name: a
      kubernetesVersion: 1.35.2
      waive:
        - {check: autoscalr, reason: r}
        - {check: topology-owned}
        -
        - {check: topology-owned, reason: again}
        - {check: templates, reason: r}
        - {reason: of nothing}
        - {check: infrastructure-template, reason: r}
        - {check: version-skew, reason: r}
    - {kubernetesVersion: v1.35.2, waive: [{check: paused, reason: r}]}
`
	want := []string{
		`u.yaml has 12 problems; nothing was done.`,
		`u.yaml:7:21: spec.pools[0].waive[0].check: there is no check "versoin-skew"; did you mean version-skew? nodepool explain lists the checks`,
		`u.yaml:9:7: spec.pools[0]: the pool changes nothing`,
		`u.yaml:11:26: spec.pools[1].kubernetesVersion: `,
		`u.yaml:13:19: spec.pools[1].waive[1].check: there is no check "autoscalr"; did you mean autoscaler?`,
		`u.yaml:14:11: spec.pools[1].waive[1].reason: is missing; write why`,
		`u.yaml:15:10: spec.pools[1].waive[2]: is an empty item`,
		`u.yaml:16:19: spec.pools[1].waive[3].check: the check topology-owned is already waived at 14:11`,
		`u.yaml:17:19: spec.pools[1].waive[5].check: the check templates cannot be waived: machines cannot be made without a template; remove this waiver`,
		`u.yaml:18:11: spec.pools[1].waive[5].check: is missing`,
		`u.yaml:19:19: spec.pools[1].waive[7].check: the check infrastructure-template cannot be waived: it never blocks`,
		`u.yaml:21:7: spec.pools[2].name: is missing`,
		`u.yaml:21:52: spec.pools[2].waive[1].check: there is no check "paused"`,
	}
	for _, command := range []string{"validate", "plan", "apply"} {
		code, stdout, stderr := runIn(t, map[string]string{"u.yaml": upgrade}, "", command, "-f", "u.yaml")
		if code != 1 || stdout != "" {
			t.Errorf("%s: exit code %d\n%s", command, code, stdout)
		}
		said := strings.Split(strings.TrimPrefix(stderr, "error: "), "\n")
		for i, line := range want {
			if i >= len(said) || !strings.HasPrefix(said[i], line) {
				t.Fatalf("%s: line %d is not %q\n%s", command, i+1, line, stderr)
			}
		}
	}
}
