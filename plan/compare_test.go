package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// about gives the revisions in short: part, step and path, with + and - for
// what only the newer and only the older plan has.
func about(revisions []plan.Revision) []string {
	var out []string
	for _, r := range revisions {
		mark := "~"
		switch {
		case len(r.Old) == 0:
			mark = "+"
		case len(r.New) == 0:
			mark = "-"
		}
		name := r.Step
		if name == "" && !r.Part.Signed() {
			name = r.Pool
		}
		out = append(out, strings.Join(strings.Fields(mark+" "+string(r.Part)+" "+name+" "+string(r.Path)), " "))
	}
	return out
}

// TestCompare compares plans of the example, before and after a change of the
// upgrade or of the cluster.
func TestCompare(t *testing.T) {
	const version = "pools: [{name: aws-example-md-0, kubernetesVersion: v1.35.2}]"
	for name, tc := range map[string]struct {
		older, newer string
		change       func(*clustertest.World)
		want         []string
	}{
		"the same": {older: version, newer: version},
		"an image more": {
			older: version,
			newer: "pools: [{name: aws-example-md-0, kubernetesVersion: v1.35.2, machineImage: ami-9}]",
			want: []string{
				"+ upgrade /spec/pools/aws-example-md-0/machineImage",
				"+ step aws-example-md-0/create-infrastructure-template",
				"+ change aws-example-md-0/patch /spec/template/spec/infrastructureRef/name",
				"- fact aws-example-md-0/patch /spec/template/spec/infrastructureRef/name",
				"- fact aws-example-md-0/patch /spec",
				"~ detail aws-example-md-0/patch /note",
				"~ detail aws-example-md-0/patch /patch/run/after",
				"~ detail aws-example-md-0/wait /wait/template",
				"~ finding aws-example-md-0",
				"~ finding aws-example-md-0",
			},
		},
		"the order": {
			older: "order: sequential\npools: [{name: aws-example-md-0, kubernetesVersion: v1.35.2}, {name: aws-example-md-1, kubernetesVersion: v1.35.2}]",
			newer: "order: parallel\npools: [{name: aws-example-md-0, kubernetesVersion: v1.35.2}, {name: aws-example-md-1, kubernetesVersion: v1.35.2}]",
			want: []string{
				"~ upgrade /spec/order",
				"~ detail aws-example-md-0/patch /patch/run/after",
				"~ detail aws-example-md-1/patch /patch/run/after",
				"~ order",
			},
		},
		"a pool less": {
			older: "pools: [{name: aws-example-md-0, kubernetesVersion: v1.35.2}, {name: aws-example-md-1, kubernetesVersion: v1.35.2}]",
			newer: version,
			want: []string{
				"- upgrade /spec/pools/aws-example-md-1",
				"- step aws-example-md-1/patch",
				"- step aws-example-md-1/wait",
				"~ detail aws-example-md-0/patch /patch/run/after",
				"- impact aws-example-md-1",
			},
		},
		"the control plane moved": {
			older: version, newer: version,
			change: func(w *clustertest.World) {
				w.Edit(plan.Ref{Group: "controlplane.cluster.x-k8s.io", Kind: "KubeadmControlPlane", Namespace: "default", Name: "aws-example-control-plane"},
					func(o *object) { put(o, "v1.35.9", "spec", "version"); put(o, "v1.35.9", "status", "version") })
			},
			want: []string{
				"~ fact aws-example-md-0/patch /spec/version",
				"~ fact aws-example-md-0/patch /status/version",
				"~ finding aws-example-md-0",
				"~ finding aws-example-md-0",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			older := compile(t, w, upgrade(t, tc.older))
			if tc.change != nil {
				tc.change(w)
			}
			newer := compile(t, w, upgrade(t, tc.newer))
			revisions := plan.Compare(older, newer)
			got := slices.DeleteFunc(about(revisions), func(s string) bool { return s == "- finding aws-example-md-1" })
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("revisions (-want +got):\n%s", d)
			}
			signed := slices.ContainsFunc(revisions, func(r plan.Revision) bool { return r.Part.Signed() })
			if signed != (older.Digest != newer.Digest) {
				t.Errorf("signed revisions: %v, and the digests differ: %v", signed, older.Digest != newer.Digest)
			}
			back := plan.Compare(newer, older)
			if len(back) != len(revisions) {
				t.Errorf("%d revisions there and %d back", len(revisions), len(back))
			}
		})
	}
}
