package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// TestCloneMetadata: a copy keeps what is listed and nothing that another tool
// left on the source.
func TestCloneMetadata(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	w.Edit(awsBootstrapRef, func(o *object) {
		put(o, map[string]any{
			"cluster.x-k8s.io/cluster-name": "aws-example", "clusterctl.cluster.x-k8s.io/move": "", "app.kubernetes.io/managed-by": "Helm",
			"kustomize.toolkit.fluxcd.io/name": "x", "kapp.k14s.io/app": "1", "topology.cluster.x-k8s.io/owned": "",
		}, "metadata", "labels")
		put(o, map[string]any{
			"machineset.cluster.x-k8s.io/skip-preflight-checks": "KubeadmVersionSkew", "cluster.x-k8s.io/conversion-data": "{}",
			"kubectl.kubernetes.io/last-applied-configuration": "{}", "argocd.argoproj.io/tracking-id": "x", "meta.helm.sh/release-name": "x",
			"cluster.x-k8s.io/cloned-from-name": "x", plan.ContentAnnotation: "sha256:0",
		}, "metadata", "annotations")
		put(o, []any{"example.com/keep"}, "metadata", "finalizers")
		put(o, map[string]any{"capacity": map[string]any{"cpu": "4"}}, "status")
	})
	p := compile(t, w, onePool(t, "kubernetesVersion: v1.35.2, bootstrap: {ntp: {enabled: true}}"))
	s := step(t, p, awsPool+"/create-bootstrap-template")
	body, err := s.Create.Body(fetch(t, w, s), plan.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"name": s.Create.Ref.Name, "namespace": "default",
		"labels": map[string]any{"cluster.x-k8s.io/cluster-name": "aws-example", "clusterctl.cluster.x-k8s.io/move": ""},
		"annotations": map[string]any{
			"machineset.cluster.x-k8s.io/skip-preflight-checks": "KubeadmVersionSkew",
			plan.ContentAnnotation:                              string(s.Create.Result),
		},
		"ownerReferences": []any{map[string]any{
			"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "aws-example", "uid": string(w.Get(clusterRef).GetUID()),
		}},
	}
	if d := cmp.Diff(want, body.Object["metadata"]); d != "" {
		t.Errorf("metadata (-want +sent):\n%s", d)
	}
	if _, ok := body.Object["status"]; ok {
		t.Error("the status is copied")
	}
}

// TestBodyIsAsReviewed: what is sent is what was reviewed, or nothing.
func TestBodyIsAsReviewed(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	for name, change := range map[string]func(*plan.Create){
		"another value": func(c *plan.Create) { c.Changes[0].After = []byte(`"ami-other"`) },
		"one change more": func(c *plan.Create) {
			c.Changes = append(c.Changes, plan.Change{Path: "/spec/template/spec/x", After: []byte("1")})
		},
		"one change less":   func(c *plan.Create) { c.Changes = nil },
		"another result":    func(c *plan.Create) { c.Result = c.BasedOn.Digest },
		"another source":    func(c *plan.Create) { c.BasedOn.Digest = c.Result },
		"a source gone":     func(c *plan.Create) { c.BasedOn.Ref.Name = "gone" },
		"no cluster":        func(c *plan.Create) { c.Owner.Ref.Name = "gone" },
		"no parent":         func(c *plan.Create) { c.Changes[0].Path = "/spec/none/x" },
		"below a scalar":    func(c *plan.Create) { c.Changes[0].Path = "/spec/template/spec/instanceType/x" },
		"the whole object":  func(c *plan.Create) { c.Changes[0].Path = "" },
		"no value anywhere": func(c *plan.Create) { c.Changes[0].After = []byte("{") },
	} {
		t.Run(name, func(t *testing.T) {
			s := step(t, compile(t, w, onePool(t, toBoth)), createStep)
			snap := fetch(t, w, s)
			if _, err := s.Create.Body(snap, plan.Secrets{}); err != nil {
				t.Fatal(err)
			}
			change(s.Create)
			if body, err := s.Create.Body(snap, plan.Secrets{}); err == nil {
				t.Errorf("it would be made: %s", canonical(body.Object))
			}
		})
	}
}
