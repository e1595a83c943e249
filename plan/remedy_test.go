package plan_test

import (
	"strings"
	"testing"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

func gone(ref plan.Ref) func(*clustertest.World) {
	return func(w *clustertest.World) { w.Delete(ref) }
}

// TestNoWaitForWhatDoesNotEnd: nobody is told to wait for a rollout whose
// template is gone.
func TestNoWaitForWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	for _, ref := range []plan.Ref{awsTemplateRef, awsBootstrapRef} {
		w := clustertest.AWSExample()
		all(rolling("v1.35.1"), gone(ref))(w)
		p := compile(t, w, onePool(t, toBoth))
		for _, f := range p.Findings {
			if strings.Contains(f.Remedy, "wait until it is done") {
				t.Errorf("without %s: %+v", ref, f)
			}
		}
	}
}

// TestVersionOfTheImage: the version that an image carries is offered for the
// pool where version-skew has nothing against it.
func TestVersionOfTheImage(t *testing.T) {
	t.Parallel()
	other := managed(version2("v1.35.2"), version2("v1.35.2"))
	for name, test := range map[string]struct {
		edit    func(*clustertest.World)
		carries string
		offered bool
	}{
		"another patch of the control plane's minor": {carries: "v1.35.1", offered: true},
		"a minor that cannot join by kubeadm":        {carries: "v1.34.3"},
		"one that the skipped check would refuse":    {carries: "v1.34.3", edit: skip("All")},
		"a newer patch than the control plane":       {carries: "v1.35.3"},
		"a newer minor than the control plane":       {carries: "v1.36.0"},
		"the pool's own, that joins otherwise":       {carries: "v1.34.3", edit: other, offered: true},
		"an older one than the pool's":               {carries: "v1.34.2", edit: other},
		"another than the topology's":                {carries: "v1.35.1", edit: topology("v1.35.2", "")},
		"nothing to hold it against":                 {carries: "v1.35.1", edit: edit(clusterRef, nil, "spec", "controlPlaneRef"), offered: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			if test.edit != nil {
				test.edit(w)
			}
			up := upgrade(t, "images: [{image: ami-new, kubernetesVersion: "+test.carries+"}]\npools: [{name: "+awsPool+", "+toBoth+"}]")
			f := finding(t, compile(t, w, up), plan.CheckImage, plan.Block)
			mustContain(t, f.Remedy, "set machineImage to an image built for v1.35.2")
			if got := strings.Contains(f.Remedy, "or kubernetesVersion to "+test.carries); got != test.offered {
				t.Errorf("offered is %t: %s", got, f.Remedy)
			}
		})
	}
}
