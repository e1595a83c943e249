package component

import (
	"context"
	"fmt"

	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"nodepool/sandbox/pki"
)

// runGC runs kube-controller-manager for the two controllers without which
// deleting a cluster or a namespace leaves things behind.
func runGC(ctx context.Context, c Config) error {
	cmd := kcm.NewControllerManagerCommand()
	cmd.SetArgs([]string{
		"--kubeconfig=" + pki.Kubeconfig(c.Dir.PKI(), pki.GC),
		"--controllers=garbage-collector-controller,namespace-controller",
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.Ports.GC()),
		"--authentication-skip-lookup=true",
		"--profiling=false",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
	})
	cmd.SilenceUsage = true
	return cmd.ExecuteContext(ctx)
}
