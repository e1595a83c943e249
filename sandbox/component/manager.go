package component

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/cluster-api/controllers/remote"
	ctrl "sigs.k8s.io/controller-runtime"

	"nodepool/sandbox/capi"
	"nodepool/sandbox/pki"
	"nodepool/sandbox/provider"
)

func runControllers(ctx context.Context, c Config) error {
	cfg, err := restConfig(c, pki.Controllers, "cluster-api-controller-manager")
	if err != nil {
		return err
	}
	return capi.Run(ctx, cfg, managerOptions(c, c.Ports.Webhooks(), c.Ports.Health()))
}

func runProvider(ctx context.Context, c Config) error {
	cfg, err := restConfig(c, pki.Provider, "cluster-api-docker-controller-manager")
	if err != nil {
		return err
	}
	return provider.Run(ctx, cfg, provider.Options{
		Manager:   managerOptions(c, c.Ports.ProviderWebhooks(), c.Ports.ProviderHealth()),
		DebugPort: c.Ports.Debug(),
		FirstPort: c.Ports.Workload(),
		LastPort:  c.Ports.Last(),
	})
}

// restConfig is the connection of a user. The agent is upstream's: field
// managers are named after it, and tools under test look at field managers.
func restConfig(c Config, user, agent string) (*rest.Config, error) {
	ctrl.SetLogger(klog.Background())
	cfg, err := clientcmd.BuildConfigFromFlags("", pki.Kubeconfig(c.Dir.PKI(), user))
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of %s: %w", user, err)
	}
	cfg.QPS, cfg.Burst = 500, 1000
	cfg.UserAgent = remote.DefaultClusterAPIUserAgent(agent)
	return cfg, nil
}

func managerOptions(c Config, webhookPort, healthPort int) capi.ManagerOptions {
	return capi.ManagerOptions{CertDir: c.Dir.PKI(), WebhookPort: webhookPort, HealthPort: healthPort}
}
