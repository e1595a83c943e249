// Package capi composes the Cluster API controllers: core, kubeadm bootstrap
// and kubeadm control plane in one manager. Upstream's own binaries cannot be
// told to serve their webhooks on loopback only.
package capi

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	"sigs.k8s.io/cluster-api/controllers/remote"
	"sigs.k8s.io/cluster-api/feature"
)

// ManagerOptions says where a manager serves and with which certificate.
type ManagerOptions struct {
	CertDir     string
	WebhookPort int
	HealthPort  int
}

// Unwatched is a namespace that no controller looks into. Objects can be
// written there as if there were machines behind them, with webhooks and all,
// and nobody changes them.
const Unwatched = "unwatched"

// connectionRetry is how soon a refused connection to a workload cluster is
// tried again. Upstream waits 30 seconds, which every new cluster would lose,
// because the first try always comes before its API server.
const connectionRetry = 500 * time.Millisecond

// NewManager returns a manager set up as Cluster API's own, on loopback and
// without leader election.
func NewManager(cfg *rest.Config, scheme *runtime.Scheme, o ManagerOptions, adjust ...func(*ctrl.Options)) (ctrl.Manager, error) {
	// One reconcile a second for each object is meant for clouds that bill
	// requests; here it makes everything three times slower. Topologies are off
	// upstream unless asked for, and are what clusterctl turns on for ClusterClasses.
	if err := feature.MutableGates.Set("ReconcilerRateLimiting=false,ClusterTopology=true"); err != nil {
		return nil, err
	}
	ofCluster, err := labels.NewRequirement(clusterv1.ClusterNameLabel, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	priority := feature.Gates.Enabled(feature.PriorityQueue)
	resync := 10 * time.Minute
	options := ctrl.Options{
		Scheme:                 scheme,
		HealthProbeBindAddress: fmt.Sprintf("127.0.0.1:%d", o.HealthPort),
		Metrics:                server.Options{BindAddress: "0"},
		Controller:             config.Controller{UsePriorityQueue: &priority, CacheSyncTimeout: 2 * time.Minute},
		Cache: cache.Options{
			SyncPeriod: &resync,
			// Custom resources can be selected by name and namespace, and all
			// other kinds too.
			DefaultFieldSelector: fields.OneTermNotEqualSelector("metadata.namespace", Unwatched),
			ByObject: map[client.Object]cache.ByObject{
				// All purposes are kept: the one caching client serves core,
				// which reads kubeconfigs, and kubeadm, which reads the rest.
				&corev1.Secret{}: {Label: labels.NewSelector().Add(*ofCluster), Transform: cache.TransformStripManagedFields()},
			},
		},
		Client: client.Options{Cache: &client.CacheOptions{
			DisableFor:   []client.Object{&corev1.ConfigMap{}, &corev1.Secret{}},
			Unstructured: true,
		}},
		WebhookServer: webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: o.WebhookPort, CertDir: o.CertDir}),
	}
	for _, f := range adjust {
		f(&options)
	}
	mgr, err := ctrl.NewManager(cfg, options)
	if err != nil {
		return nil, err
	}
	if err := mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker()); err != nil {
		return nil, err
	}
	return mgr, nil
}

// SecretClient reads Secrets from the manager's cache.
func SecretClient(mgr ctrl.Manager) (client.Client, error) {
	return client.New(mgr.GetConfig(), client.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Cache:      &client.CacheOptions{Reader: mgr.GetCache()},
	})
}

// ClusterCacheOptions are the options of the connections to workload clusters.
func ClusterCacheOptions(secrets client.Client, name string) clustercache.Options {
	return clustercache.Options{
		SecretClient: secrets,
		Cache: clustercache.CacheOptions{
			Indexes:  []clustercache.CacheOptionsIndex{clustercache.NodeProviderIDIndex},
			ByObject: map[client.Object]cache.ByObject{&corev1.Node{}: {Transform: cache.TransformStripManagedFields()}},
		},
		Client: clustercache.ClientOptions{
			QPS:       100,
			Burst:     200,
			UserAgent: remote.DefaultClusterAPIUserAgent(name),
			Cache: clustercache.ClientCacheOptions{DisableFor: []client.Object{
				&corev1.ConfigMap{}, &corev1.Secret{},
				// Read during drain and volume detach; the in-memory API server
				// does not have to serve watches of them.
				&corev1.Pod{}, &appsv1.DaemonSet{}, &storagev1.VolumeAttachment{}, &corev1.PersistentVolume{},
			}},
		},
	}
}

// RetryConnectionsQuickly makes a cluster cache retry refused connections
// after half a second.
func RetryConnectionsQuickly(cc clustercache.ClusterCache) error {
	// Upstream keeps the setter out of the interface because it is for tests.
	s, ok := cc.(interface {
		SetConnectionCreationRetryInterval(time.Duration)
	})
	if !ok {
		return fmt.Errorf("%T has no SetConnectionCreationRetryInterval any more", cc)
	}
	s.SetConnectionCreationRetryInterval(connectionRetry)
	return nil
}
