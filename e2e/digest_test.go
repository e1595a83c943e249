//go:build e2e

package e2e_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// finding is what a plan says of a check.
type finding struct {
	Code, Severity, Pool, Message, Remedy string
	Object                                struct{ Group, Kind, Namespace, Name string }
}

// TestOneDigest compiles one upgrade of one cluster as different users, live
// and from the snapshots of each, and on what might be another machine.
func TestOneDigest(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "digest", "--pools", "aws:1,dev:1")
	file := c.upgrade(t, "digest",
		pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage, "instanceType": "m5.xlarge",
			"bootstrap": map[string]any{"files": []any{map[string]any{"path": "/etc/x", "content": "a secret"}}}},
		pool{"name": c.pool(1), "kubernetesVersion": newVersion})
	admin := newCLI(t)
	// A user who may read what the plan relies on and nothing else.
	dev := right{"infrastructure.cluster.x-k8s.io", "devmachinetemplates", "get"}
	var least []right
	for _, r := range rightsOf(t, "nodepool-reader") {
		if !slices.Contains([]string{"awsmachines", "kubeadmconfigs", "machinepools", "machinehealthchecks"}, r.Resource) {
			least = append(least, r)
		}
	}
	everywhere := rightsOf(t, definitions)
	users := map[string]cli{
		"admin":        admin,
		"reader":       c.userWith(t, "digest-reader", append(rightsOf(t, "nodepool-reader"), dev), everywhere),
		"least reader": c.userWith(t, "digest-least", append(least, dev), everywhere),
		"operator": c.userWith(t, "digest-operator",
			append(rightsOf(t, "nodepool-operator"), dev, right{dev.Group, dev.Resource, "create"}), everywhere),
	}
	elsewhere := func(t *testing.T, n cli) cli {
		n.env = []string{"HOME=" + t.TempDir(), "TZ=Pacific/Chatham", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "USER=somebody", "HOSTNAME=elsewhere"}
		return n
	}
	type seen struct {
		digest, whole string
		rest, checked []finding
	}
	look := func(t *testing.T, n cli, flags ...string) seen {
		t.Helper()
		r := n.run(t, append([]string{"plan", "-f", file, "-o", "json"}, flags...)...).exits(t, 0)
		made := decode[struct {
			Digest   string
			Findings []finding
		}](t, r.Stdout)
		out := seen{digest: made.Digest, whole: r.Stdout}
		for _, f := range made.Findings {
			switch f.Code {
			case "server-validation":
				out.checked = append(out.checked, f)
			case "rights", "contract", "unfinished-run": // the reader's own; what only a live cluster tells
			default:
				out.rest = append(out.rest, f)
			}
		}
		return out
	}
	first := look(t, admin)
	if len(first.rest) == 0 || len(first.checked) == 0 {
		t.Fatalf("the plan has no findings to compare:\n%s", first.whole)
	}
	plans := 1
	same := func(t *testing.T, got seen, validated string, unread ...string) {
		t.Helper()
		want := slices.DeleteFunc(slices.Clone(first.rest), func(f finding) bool { return slices.Contains(unread, f.Code) })
		plans++
		if got.digest != first.digest {
			t.Errorf("the digest is %s, want %s:\n%s", got.digest, first.digest, cmp.Diff(first.whole, got.whole))
		}
		got.rest = slices.DeleteFunc(got.rest, func(f finding) bool {
			return slices.Contains(unread, f.Code) && (f.Severity == "warn" || f.Code == "machine-health-checks")
		})
		if diff := cmp.Diff(want, got.rest); diff != "" {
			t.Errorf("the findings differ in more than what was validated (-admin +here):\n%s", diff)
		}
		for _, f := range got.checked {
			// From a snapshot, a finding of no object says that no server was asked.
			if f.Severity != validated && f.Object.Kind != "" {
				t.Errorf("a write is told as %s, want %s: %s", f.Severity, validated, f.Message)
			}
		}
	}
	for name, n := range users {
		t.Run(name, func(t *testing.T) {
			validated := map[bool]string{true: "pass", false: "warn"}[name == "admin" || name == "operator"]
			var unread []string
			if name == "least reader" {
				// What needs a look at the machines' bootstrap configs, and at what
				// checks their health.
				unread = []string{"bootstrap-template-edited", "machine-health-checks"}
			}
			same(t, look(t, n), validated, unread...)
			same(t, look(t, elsewhere(t, n)), validated, unread...)
			for _, form := range []string{"folder", "one.yaml", "one.json"} {
				snapshot := filepath.Join(t.TempDir(), form)
				n.run(t, "snapshot", "-f", file, "--out", snapshot).exits(t, 0)
				same(t, look(t, elsewhere(t, cli{home: t.TempDir()}), "--from", snapshot), "pass", unread...)
			}
		})
	}
	t.Logf("%d plans, one digest: %s", plans, first.digest)
}
