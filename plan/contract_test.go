package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// TestContract holds the definitions of the templates' kinds against what
// Cluster API needs of them.
func TestContract(t *testing.T) {
	infra := plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSMachineTemplate"}
	bootstrap := plan.Ref{Group: clustertest.BootstrapGroup, Kind: "KubeadmConfigTemplate"}
	good := plan.Contract{Core: []string{"v1beta2", "v1beta1"}, Served: []string{"v1beta2", "v1beta1"},
		Versions: map[string][]string{"v1beta1": {"v1beta2", "v1beta1"}}}
	for name, tc := range map[string]struct {
		of       plan.Contract
		severity plan.Severity
		words    []string
	}{
		"reached by the older contract": {good, plan.Pass, []string{"Cluster API reaches AWSMachineTemplate", "in v1beta2"}},
		"no label at all": {plan.Contract{Core: []string{"v1beta2", "v1beta1"}, Served: []string{"v1"}}, plan.Block,
			[]string{"AWSMachineTemplate." + clustertest.InfrastructureGroup, "has no label cluster.x-k8s.io/v1beta2 or cluster.x-k8s.io/v1beta1", "served (v1)", "makes no machine", "clusterctl"}},
		"a label that names what is not served": {plan.Contract{Core: []string{"v1beta2"}, Served: []string{"v1"}, Versions: map[string][]string{"v1beta2": {"v2"}}},
			plan.Block, []string{"has no label cluster.x-k8s.io/v1beta2 that names"}},
		"a contract that the core does not keep to": {plan.Contract{Core: []string{"v1beta1"}, Served: []string{"v1"}, Versions: map[string][]string{"v1beta2": {"v1"}}},
			plan.Block, []string{"has no label cluster.x-k8s.io/v1beta1 that names"}},
		"not to be read": {plan.Contract{Unverified: "you may not get customresourcedefinitions"}, plan.NotVerified, []string{"not verified: you may not get"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			up := onePool(t, toBoth)
			snap := observe(t, w, up)
			if diff := cmp.Diff([]plan.Ref{infra, bootstrap}, plan.Ask(up, snap).Kinds); diff != "" {
				t.Errorf("kinds to look at (-want +got):\n%s", diff)
			}
			without, err := plan.Compile(up, snap)
			if err != nil {
				t.Fatal(err)
			}
			made, err := plan.Compile(up, snap.WithContracts(map[plan.Ref]plan.Contract{infra: tc.of, bootstrap: good}))
			if err != nil {
				t.Fatal(err)
			}
			if made.Digest != without.Digest {
				t.Error("the digest hangs on what the definitions say")
			}
			found := finding(t, made, plan.CheckContract, tc.severity)
			mustContain(t, found.Message+"; "+found.Remedy, tc.words...)
			if found.NotVerified != (tc.of.Unverified != "") {
				t.Errorf("not verified: %t", found.NotVerified)
			}
		})
	}
	idle := onePool(t, "drain: {nodeDrainTimeout: 1m}")
	if got := plan.Ask(idle, observe(t, clustertest.AWSExample(), idle)).Kinds; len(got) > 0 {
		t.Errorf("asks for %v where no machine is made", got)
	}
}
