package capi

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.uber.org/zap/zapcore"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/version"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	addonsv1beta1 "sigs.k8s.io/cluster-api/api/addons/v1beta1"
	addonsv1 "sigs.k8s.io/cluster-api/api/addons/v1beta2"
	bootstrapv1beta1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta1"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1beta1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta1"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1beta1 "sigs.k8s.io/cluster-api/api/core/v1beta1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/api/core/v1beta2/index"
	ipamv1alpha1 "sigs.k8s.io/cluster-api/api/ipam/v1alpha1"
	ipamv1beta1 "sigs.k8s.io/cluster-api/api/ipam/v1beta1"
	ipamv1 "sigs.k8s.io/cluster-api/api/ipam/v1beta2"
	runtimev1alpha1 "sigs.k8s.io/cluster-api/api/runtime/v1alpha1"
	runtimev1 "sigs.k8s.io/cluster-api/api/runtime/v1beta2"
	bootstrap "sigs.k8s.io/cluster-api/bootstrap/kubeadm/controllers"
	bootstrapwebhooks "sigs.k8s.io/cluster-api/bootstrap/kubeadm/webhooks"
	"sigs.k8s.io/cluster-api/controllers"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	controlplane "sigs.k8s.io/cluster-api/controlplane/kubeadm/controllers"
	controlplanewebhooks "sigs.k8s.io/cluster-api/controlplane/kubeadm/webhooks"
	"sigs.k8s.io/cluster-api/util/contract"
	"sigs.k8s.io/cluster-api/webhooks"
)

// concurrency of each controller: a sandbox has a handful of clusters and two
// cores.
var concurrency = controller.Options{MaxConcurrentReconciles: 10}

const gracePeriod = 50 * time.Second

func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme,
		clusterv1beta1.AddToScheme, clusterv1.AddToScheme,
		addonsv1beta1.AddToScheme, addonsv1.AddToScheme,
		runtimev1alpha1.AddToScheme, runtimev1.AddToScheme,
		ipamv1alpha1.AddToScheme, ipamv1beta1.AddToScheme, ipamv1.AddToScheme,
		bootstrapv1beta1.AddToScheme, bootstrapv1.AddToScheme,
		controlplanev1beta1.AddToScheme, controlplanev1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run runs the controllers and their webhooks until ctx ends.
func Run(ctx context.Context, cfg *rest.Config, o ManagerOptions) error {
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	mgr, err := NewManager(cfg, scheme, o, func(options *ctrl.Options) {
		// They have no namespace, so that none can be left out.
		options.Cache.ByObject[&runtimev1.ExtensionConfig{}] = cache.ByObject{Field: fields.Everything()}
	})
	if err != nil {
		return err
	}
	if err := index.AddDefaultIndexes(ctx, mgr); err != nil {
		return err
	}
	secrets, err := SecretClient(mgr)
	if err != nil {
		return err
	}
	// One cluster cache for all: controller names are unique in a process.
	cc, err := clustercache.SetupWithManager(ctx, mgr, ClusterCacheOptions(secrets, "sandbox-controllers"), concurrency)
	if err != nil {
		return fmt.Errorf("cluster cache: %w", err)
	}
	if err := RetryConnectionsQuickly(cc); err != nil {
		return err
	}
	if err := setupControllers(ctx, mgr, cc, secrets); err != nil {
		return err
	}
	if err := setupWebhooks(ctx, mgr, cc); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func setupControllers(ctx context.Context, mgr ctrl.Manager, cc clustercache.ClusterCache, secrets client.Client) error {
	secretMetadata, err := secretMetadataCache(mgr)
	if err != nil {
		return err
	}
	etcdLogger, err := logutil.CreateDefaultZapLogger(zapcore.WarnLevel)
	if err != nil {
		return err
	}
	c, r := mgr.GetClient(), mgr.GetAPIReader()
	controlPlaneOptions := concurrency
	// It talks to every etcd member in turn and may wait for each.
	controlPlaneOptions.ReconciliationTimeout = 3 * time.Minute

	return setupAll(map[string]func() error{
		"Cluster": func() error {
			return (&controllers.ClusterReconciler{Client: c, APIReader: r, ClusterCache: cc, RemoteConnectionGracePeriod: gracePeriod}).
				SetupWithManager(ctx, mgr, concurrency)
		},
		"Machine": func() error {
			return (&controllers.MachineReconciler{Client: c, APIReader: r, ClusterCache: cc, RemoteConditionsGracePeriod: 5 * time.Minute}).
				SetupWithManager(ctx, mgr, concurrency)
		},
		"MachineSet": func() error {
			return (&controllers.MachineSetReconciler{Client: c, APIReader: r, ClusterCache: cc,
				PreflightChecks: sets.New(clusterv1.MachineSetPreflightCheckAll)}).SetupWithManager(ctx, mgr, concurrency)
		},
		"MachineDeployment": func() error {
			return (&controllers.MachineDeploymentReconciler{Client: c, APIReader: r}).SetupWithManager(ctx, mgr, concurrency)
		},
		"MachinePool": func() error {
			return (&controllers.MachinePoolReconciler{Client: c, APIReader: r, ClusterCache: cc}).SetupWithManager(ctx, mgr, concurrency)
		},
		"MachineHealthCheck": func() error {
			return (&controllers.MachineHealthCheckReconciler{Client: c, ClusterCache: cc}).SetupWithManager(ctx, mgr, concurrency)
		},
		"ClusterClass": func() error {
			return (&controllers.ClusterClassReconciler{Client: c}).SetupWithManager(ctx, mgr, concurrency)
		},
		"ClusterTopology": func() error {
			return (&controllers.ClusterTopologyReconciler{Client: c, APIReader: r, ClusterCache: cc}).SetupWithManager(ctx, mgr, concurrency)
		},
		"MachineDeploymentTopology": func() error {
			return (&controllers.MachineDeploymentTopologyReconciler{Client: c, APIReader: r}).SetupWithManager(ctx, mgr, concurrency)
		},
		"MachineSetTopology": func() error {
			return (&controllers.MachineSetTopologyReconciler{Client: c, APIReader: r}).SetupWithManager(ctx, mgr, concurrency)
		},
		"ClusterResourceSet": func() error {
			return (&controllers.ClusterResourceSetReconciler{Client: c, ClusterCache: cc}).SetupWithManager(ctx, mgr, concurrency, secretMetadata)
		},
		"ClusterResourceSetBinding": func() error {
			return (&controllers.ClusterResourceSetBindingReconciler{Client: c}).SetupWithManager(ctx, mgr, concurrency)
		},
		"KubeadmConfig": func() error {
			return (&bootstrap.KubeadmConfigReconciler{Client: c, SecretCachingClient: secrets, ClusterCache: cc,
				TokenTTL: bootstrap.DefaultTokenTTL}).SetupWithManager(ctx, mgr, concurrency)
		},
		"KubeadmControlPlane": func() error {
			return (&controlplane.KubeadmControlPlaneReconciler{Client: c, APIReader: r, SecretCachingClient: secrets, ClusterCache: cc,
				EtcdDialTimeout: 10 * time.Second, EtcdCallTimeout: 15 * time.Second, EtcdLogger: etcdLogger,
				RemoteConditionsGracePeriod: 5 * time.Minute}).SetupWithManager(ctx, mgr, controlPlaneOptions)
		},
	})
}

func setupWebhooks(ctx context.Context, mgr ctrl.Manager, cc clustercache.ClusterCache) error {
	// Converting to v1beta1 needs the version of a reference that v1beta2 does
	// not store; upstream's lookup is internal, this one follows the contract.
	apiVersion := func(gk schema.GroupKind) (string, error) { return contractAPIVersion(ctx, mgr.GetClient(), gk) }
	clusterv1beta1.SetAPIVersionGetter(apiVersion)
	controlplanev1beta1.SetAPIVersionGetter(apiVersion)

	c, r := mgr.GetClient(), mgr.GetAPIReader()
	return setupAll(map[string]func() error{
		"ClusterClass": func() error { return (&webhooks.ClusterClass{Client: c}).SetupWebhookWithManager(mgr) },
		"Cluster": func() error {
			return (&webhooks.Cluster{Client: c, ClusterCacheReader: cc}).SetupWebhookWithManager(mgr)
		},
		"Machine":           func() error { return (&webhooks.Machine{}).SetupWebhookWithManager(mgr) },
		"MachineSet":        func() error { return (&webhooks.MachineSet{}).SetupWebhookWithManager(mgr) },
		"MachineDeployment": func() error { return (&webhooks.MachineDeployment{}).SetupWebhookWithManager(mgr) },
		"MachineDrainRule":  func() error { return (&webhooks.MachineDrainRule{}).SetupWebhookWithManager(mgr) },
		"MachinePool":       func() error { return (&webhooks.MachinePool{}).SetupWebhookWithManager(mgr) },
		"MachineHealthCheck": func() error {
			return (&webhooks.MachineHealthCheck{}).SetupWebhookWithManager(mgr)
		},
		"ClusterResourceSet": func() error { return (&webhooks.ClusterResourceSet{}).SetupWebhookWithManager(mgr) },
		"ClusterResourceSetBinding": func() error {
			return (&webhooks.ClusterResourceSetBinding{}).SetupWebhookWithManager(mgr)
		},
		"ExtensionConfig": func() error { return (&webhooks.ExtensionConfig{}).SetupWebhookWithManager(mgr) },
		"IPAddress":       func() error { return (&webhooks.IPAddress{Client: r}).SetupWebhookWithManager(mgr) },
		"IPAddressClaim":  func() error { return (&webhooks.IPAddressClaim{}).SetupWebhookWithManager(mgr) },
		"KubeadmConfig":   func() error { return (&bootstrapwebhooks.KubeadmConfig{}).SetupWebhookWithManager(mgr) },
		"KubeadmConfigTemplate": func() error {
			return (&bootstrapwebhooks.KubeadmConfigTemplate{}).SetupWebhookWithManager(mgr)
		},
		"KubeadmControlPlane": func() error {
			return (&controlplanewebhooks.KubeadmControlPlane{}).SetupWebhookWithManager(mgr)
		},
		"KubeadmControlPlane scale": func() error {
			return (&controlplanewebhooks.ScaleValidator{Client: c}).SetupWebhookWithManager(mgr)
		},
		"KubeadmControlPlaneTemplate": func() error {
			return (&controlplanewebhooks.KubeadmControlPlaneTemplate{}).SetupWebhookWithManager(mgr)
		},
	})
}

func setupAll(steps map[string]func() error) error {
	for name, setup := range steps {
		if err := setup(); err != nil {
			return fmt.Errorf("set up %s: %w", name, err)
		}
	}
	return nil
}

// secretMetadataCache caches the metadata of all Secrets, also of those that
// belong to no cluster: ClusterResourceSets may name any.
func secretMetadataCache(mgr ctrl.Manager) (cache.Cache, error) {
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme:           mgr.GetScheme(),
		Mapper:           mgr.GetRESTMapper(),
		HTTPClient:       mgr.GetHTTPClient(),
		DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, err
	}
	return c, mgr.Add(c)
}

// contractAPIVersion returns the newest API version of a kind that serves the
// newest contract Cluster API v1beta2 understands.
func contractAPIVersion(ctx context.Context, c client.Reader, gk schema.GroupKind) (string, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	name := contract.CalculateCRDName(gk.Group, gk.Kind)
	if err := c.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
		return "", fmt.Errorf("find the API version of %s: %w", gk, err)
	}
	v, ok := newestForContract(crd.Labels)
	if !ok {
		return "", fmt.Errorf("find the API version of %s: definition %s has no contract label", gk, name)
	}
	return schema.GroupVersion{Group: gk.Group, Version: v}.String(), nil
}

func newestForContract(labels map[string]string) (string, bool) {
	for _, contract := range []string{"v1beta2", "v1beta1"} {
		value := labels[clusterv1.GroupVersion.Group+"/"+contract]
		if value == "" {
			continue
		}
		versions := strings.Split(value, "_")
		sort.Slice(versions, func(i, j int) bool { return version.CompareKubeAwareVersionStrings(versions[i], versions[j]) > 0 })
		return versions[0], true
	}
	return "", false
}
