package component

import (
	"context"
	"fmt"
	"path/filepath"

	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"

	"nodepool/sandbox/pki"
)

func runAPIServer(ctx context.Context, c Config) error {
	policy := filepath.Join(c.Dir.PKI(), "audit-policy.yaml")
	if err := writeAuditPolicy(policy); err != nil {
		return err
	}
	cmd := apiserver.NewAPIServerCommand()
	cmd.SetArgs(apiServerArgs(c, policy))
	cmd.SilenceUsage = true
	return cmd.ExecuteContext(ctx)
}

func apiServerArgs(c Config, auditPolicy string) []string {
	cert, key := pki.Serving(c.Dir.PKI())
	ca, sa := pki.CA(c.Dir.PKI()), pki.ServiceAccountKey(c.Dir.PKI())
	return []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", c.Ports.EtcdClient()),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.Ports.APIServer()),
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--authorization-mode=RBAC",
		"--anonymous-auth=false",
		"--allow-privileged",
		"--disable-admission-plugins=ServiceAccount",
		"--profiling=false",
		"--tls-cert-file=" + cert,
		"--tls-private-key-file=" + key,
		"--client-ca-file=" + ca,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + sa,
		"--service-account-signing-key-file=" + sa,
		"--audit-policy-file=" + auditPolicy,
		"--audit-log-path=" + c.Dir.AuditLog(),
		"--audit-log-mode=blocking",
		// Otherwise a stop waits a minute for the watches to end.
		"--shutdown-send-retry-after=true",
		"--shutdown-watch-termination-grace-period=1s",
	}
}
