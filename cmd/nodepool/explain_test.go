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

func TestValidateTellsWaivers(t *testing.T) {
	files := map[string]string{"u.yaml": strings.Replace(goodUpgrade, "v1.35.2}", "v1.35.2, waive: [{check: version-screw, reason: r}]}", 1)}
	code, stdout, stderr := runIn(t, files, "", "validate", "-f", "u.yaml")
	if code != 1 || !strings.Contains(stderr, `u.yaml:`) || !strings.Contains(stderr, `waive[0].check: there is no check "version-screw"; did you mean version-skew?`) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
