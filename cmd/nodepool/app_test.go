package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodUpgrade = `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: one}
spec:
  cluster: {name: aws-example}
  pools:
    - {name: aws-example-md-0, kubernetesVersion: v1.35.2}
`

// runIn runs the program in an empty folder, with no kubeconfig anywhere.
func runIn(t *testing.T, files map[string]string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	t.Setenv("KUBECONFIG", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"nodepool"}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// TestUsage is about all that goes wrong before a cluster is asked.
func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args  []string
		files map[string]string
		stdin string
		want  []string
	}{
		"no file":          {args: []string{"plan"}, want: []string{"-f FILE", "nodepool init"}},
		"no such file":     {args: []string{"plan", "-f", "gone.yaml"}, want: []string{"gone.yaml", "no such file"}},
		"unknown option":   {args: []string{"plan", "--frobnicate"}, want: []string{"frobnicate", "nodepool plan --help"}},
		"unknown command":  {args: []string{"destroy"}, want: []string{`"destroy"`, "nodepool --help"}},
		"an argument":      {args: []string{"plan", "upgrade.yaml"}, want: []string{`"upgrade.yaml"`, "-f"}},
		"unknown form":     {args: []string{"plan", "-f", "u.yaml", "-o", "xml"}, files: map[string]string{"u.yaml": goodUpgrade}, want: []string{"xml", "text, markdown, json and yaml"}},
		"unknown pool":     {args: []string{"plan", "-f", "u.yaml", "--pool", "aws-example-md-9"}, files: map[string]string{"u.yaml": goodUpgrade}, want: []string{"aws-example-md-9", "aws-example-md-0"}},
		"unknown progress": {args: []string{"apply", "-f", "u.yaml", "--auto-approve", "--progress", "loud"}, files: map[string]string{"u.yaml": goodUpgrade}, want: []string{"loud", "auto, plain and json"}},
		"no cluster":       {args: []string{"init"}, want: []string{"--cluster NAME", "nodepool list"}},
		"no kubeconfig":    {args: []string{"plan", "-f", "-"}, stdin: goodUpgrade, want: []string{"kubeconfig"}},
		"bad upgrade": {args: []string{"plan", "-f", "u.yaml"},
			files: map[string]string{"u.yaml": strings.Replace(goodUpgrade, "kubernetesVersion: v1.35.2", "kubernetesVersoin: v1.35.2", 1)},
			want:  []string{"u.yaml:7:", "kubernetesVersoin", "kubernetesVersion"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runIn(t, tc.files, tc.stdin, tc.args...)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if stdout != "" {
				t.Errorf("an error printed on standard output:\n%s", stdout)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("the message does not tell %q:\n%s", want, stderr)
				}
			}
		})
	}
}

func TestVersionCommandAndOption(t *testing.T) {
	var said []string
	for _, arg := range []string{"version", "--version"} {
		code, stdout, stderr := runIn(t, nil, "", arg)
		if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "nodepool version ") {
			t.Errorf("%s: exit code %d\n%s%s", arg, code, stdout, stderr)
		}
		said = append(said, stdout)
	}
	if said[0] != said[1] {
		t.Errorf("the command says %q, the option %q", said[0], said[1])
	}
}

func TestHelpNamesEveryCommandAndCode(t *testing.T) {
	code, stdout, _ := runIn(t, nil, "", "--help")
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, want := range []string{"plan", "apply", "init", "list", "130 interrupted", "5 a rollout stalled"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("--help does not tell %q", want)
		}
	}
	for _, command := range []string{"plan", "apply", "init", "list"} {
		code, stdout, _ := runIn(t, nil, "", command, "--help")
		if code != 0 || !strings.Contains(stdout, "--kubeconfig") {
			t.Errorf("%s --help: exit code %d, and its options are not all told:\n%s", command, code, stdout)
		}
	}
}
