package kube_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

// TestInquireContracts reads what the definitions say of the contract.
func TestInquireContracts(t *testing.T) {
	const infrastructure, bootstrap = clustertest.InfrastructureGroup, clustertest.BootstrapGroup
	world := clustertest.AWSExample()
	up, _, err := schema.Read("u.yaml", []byte(`
apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: u}
spec: {cluster: {name: aws-example}, pools: [{name: aws-example-md-0, kubernetesVersion: v1.35.2}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := apply.Observe(context.Background(), world.Open(nil), up)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, served: []served{
		{"cluster.x-k8s.io/v1beta2", []string{"MachineDeployment"}},
		{infrastructure + "/v1beta2", []string{"AWSMachineTemplate"}},
		{infrastructure + "/v1beta1", []string{"AWSMachineTemplate"}},
		{bootstrap + "/v1beta2", []string{"KubeadmConfigTemplate"}},
	}, crds: map[string]map[string]string{
		"awsmachinetemplates." + infrastructure: {"cluster.x-k8s.io/v1beta1": "v1beta1_v1beta2"},
	}}
	s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if strings.HasSuffix(r.URL.Path, "/kubeadmconfigtemplates."+bootstrap) {
			fail(w, 403, metav1.StatusReasonForbidden, "no")
			return true
		}
		return false
	}
	// What it found shows in what the check says.
	made, err := plan.Compile(up, s.client().Inquire(t.Context(), plan.Ask(up, snap), snap))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range made.Findings {
		if f.Code == plan.CheckContract {
			got = append(got, string(f.Severity)+" "+f.Message)
		}
	}
	want := []string{
		"notVerified not verified: you may not get customresourcedefinitions.apiextensions.k8s.io in the whole cluster; ask for that right, or use another kubeconfig context",
		"pass Cluster API reaches AWSMachineTemplate." + infrastructure + " in v1beta2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
