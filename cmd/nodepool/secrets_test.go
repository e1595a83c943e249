package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodepool/apply/clustertest"
	"nodepool/apply/journal"
	"nodepool/apply/journal/journaltest"
)

// TestNoSecretGetsOutOfARun is TestNoSecretGetsOut for the commands that need
// a server: a run that stalls, is carried on, taken back, looked at and tidied
// up, with all that is kept in the cluster.
func TestNoSecretGetsOutOfARun(t *testing.T) {
	upgrade := func(name, n string) string {
		return "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: " + name + "}\nspec:\n  cluster: {name: aws-example}\n  pools:\n" +
			"    - {name: aws-example-md-0, kubernetesVersion: v1.35.2, bootstrap: " + toJSON(t, secretBootstrap(n)) + ", infrastructure: " + toJSON(t, secretInfrastructure(n)) + "}\n"
	}
	runIn(t, nil, "") // into an empty folder
	inputs := t.TempDir()
	good, other := filepath.Join(inputs, "good.yaml"), filepath.Join(inputs, "other.yaml")
	for file, text := range map[string]string{good: upgrade("one", "-new"), other: upgrade("two", "-newer")} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &site{T: t, world: secretWorld(), objects: journaltest.NewClientset()}
	s.world.AutoStep(1)
	var said strings.Builder
	do := func(want int, args ...string) {
		t.Helper()
		stdout, stderr := s.do(want, "", args...)
		leak(t, "nodepool "+strings.Join(args, " "), stdout+stderr)
		said.WriteString(stdout)
	}
	md := clustertest.MachineDeployment(pool0)
	for _, form := range []string{"text", "markdown", "json", "yaml"} {
		do(0, "plan", "-f", good, "-o", form, "--full")
	}
	do(0, "plan", "-f", good, "--out", "good.plan")
	do(0, "show", "good.plan", "--full", "-o", "markdown")
	do(0, "list")
	do(0, "init", "--cluster", "aws-example", "--out", "init.yaml")
	s.world.Break(md, bad)
	do(1, "apply", "--plan", "good.plan", "--auto-approve") // without its upgrade file
	do(5, "apply", "--plan", "good.plan", "-f", good, "--auto-approve", "--progress", "json")
	do(1, "apply", "-f", other, "--auto-approve", "--journal", "file:"+filepath.Join("no", "\x00"))
	for _, form := range []string{"text", "json"} {
		do(0, "status", "-f", good, "-o", form)
	}
	do(0, "rollback", "-f", good, "--auto-approve", "--progress", "plain")
	s.world.Break(md, clustertest.Fault{})
	do(0, "apply", "-f", good, "--auto-approve", "--journal", "file:run.jsonl")
	do(0, "apply", "-f", other, "--auto-approve", "--ticket", "CHG-1")
	do(0, "history")
	for _, form := range []string{"text", "markdown", "json"} {
		do(0, "history", "two/1", "-o", form)
	}
	do(0, "rollback", "two/1", "--auto-approve")
	do(0, "prune", "--cluster", "aws-example", "--keep", "0", "--auto-approve")
	do(0, "unlock", "-f", good, "--auto-approve")
	if !strings.Contains(said.String(), "(sealed, ") {
		t.Error("nothing that was said holds a sealed value")
	}

	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		leak(t, path, string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// What is kept in the cluster: as it stands there, and unpacked.
	kept := 0
	for _, list := range []func() (any, error){
		func() (any, error) {
			l, err := s.objects.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{})
			kept += len(l.Items)
			return l, err
		},
		func() (any, error) {
			l, err := s.objects.CoordinationV1().Leases("").List(t.Context(), metav1.ListOptions{})
			return l, err
		},
		func() (any, error) {
			l, err := s.objects.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
			kept += len(l.Items)
			return l, err
		},
		func() (any, error) { return s.beside(journal.Cluster{Namespace: "default"}).Runs(t.Context()) },
	} {
		objects, err := list()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(objects)
		if err != nil {
			t.Fatal(err)
		}
		leak(t, "the cluster's bookkeeping", string(raw))
	}
	if kept < 4 {
		t.Errorf("only %d ConfigMaps and Events were looked through", kept)
	}
}
