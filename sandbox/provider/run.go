// Package provider runs the infrastructure of a sandbox: Cluster API's dev
// provider with its in-memory backend, and a stand-in for the machine
// controller of the AWS provider. Both put their nodes into the same in-memory
// workload clusters. The workload clusters live as long as this process.
package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	"sigs.k8s.io/cluster-api/test/infrastructure/container"
	devv1beta1 "sigs.k8s.io/cluster-api/test/infrastructure/docker/api/v1beta1"
	devv1 "sigs.k8s.io/cluster-api/test/infrastructure/docker/api/v1beta2"
	dev "sigs.k8s.io/cluster-api/test/infrastructure/docker/controllers"
	devwebhooks "sigs.k8s.io/cluster-api/test/infrastructure/docker/webhooks"
	cloudv1 "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/cloud/api/v1alpha1"
	inmemory "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime"
	"sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/server"

	"nodepool/sandbox/capi"
	"nodepool/sandbox/faults"
)

// Options says where the provider serves.
type Options struct {
	Manager             capi.ManagerOptions
	DebugPort           int
	FirstPort, LastPort int
}

var concurrency = controller.Options{MaxConcurrentReconciles: 10}

// noContainers stands for the container runtime that the dev controllers want
// even if every machine is in memory. Its methods are never called.
type noContainers struct{ container.Runtime }

func newScheme(add ...func(*runtime.Scheme) error) (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, f := range add {
		if err := f(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run runs the provider until ctx ends.
func Run(ctx context.Context, cfg *rest.Config, o Options) error {
	scheme, err := newScheme(clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme,
		devv1beta1.AddToScheme, devv1.AddToScheme, clusterv1.AddToScheme)
	if err != nil {
		return err
	}
	cloudScheme, err := newScheme(cloudv1.AddToScheme, corev1.AddToScheme, appsv1.AddToScheme, rbacv1.AddToScheme,
		storagev1.AddToScheme, apiextensionsv1.AddToScheme, policyv1.AddToScheme)
	if err != nil {
		return err
	}
	cloud := inmemory.NewManager(cloudScheme)
	if err := cloud.Start(ctx); err != nil {
		return err
	}
	mux, err := server.NewWorkloadClustersMux(cloud, "127.0.0.1",
		server.CustomPorts{MinPort: int32(o.FirstPort), MaxPort: int32(o.LastPort), DebugPort: int32(o.DebugPort)})
	if err != nil {
		return err
	}
	mgr, err := capi.NewManager(cfg, scheme, o.Manager, func(options *ctrl.Options) {
		// Of the ConfigMaps only the fault table is of interest.
		options.Cache.ByObject[&corev1.ConfigMap{}] = cache.ByObject{Namespaces: map[string]cache.Config{faults.Namespace: {}}}
	})
	if err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("restored", restoredCheck(mgr.GetClient(), cloud)); err != nil {
		return err
	}
	secrets, err := capi.SecretClient(mgr)
	if err != nil {
		return err
	}
	cc, err := clustercache.SetupWithManager(ctx, mgr, capi.ClusterCacheOptions(secrets, "sandbox-provider"), concurrency)
	if err != nil {
		return fmt.Errorf("cluster cache: %w", err)
	}
	if err := capi.RetryConnectionsQuickly(cc); err != nil {
		return err
	}
	c := mgr.GetClient()
	// The controllers of templates and of machine pools are left out: they talk
	// to a container runtime even for machines in memory.
	if err := (&dev.DevClusterReconciler{Client: c, ContainerRuntime: noContainers{}, InMemoryManager: cloud, APIServerMux: mux}).
		SetupWithManager(ctx, mgr, concurrency); err != nil {
		return fmt.Errorf("set up DevCluster: %w", err)
	}
	if err := (&dev.DevMachineReconciler{Client: c, ContainerRuntime: noContainers{}, ClusterCache: cc, InMemoryManager: cloud, APIServerMux: mux}).
		SetupWithManager(ctx, mgr, concurrency); err != nil {
		return fmt.Errorf("set up DevMachine: %w", err)
	}
	if err := (&awsMachines{client: c, cloud: cloud}).setup(mgr); err != nil {
		return fmt.Errorf("set up AWSMachine: %w", err)
	}
	for name, setup := range map[string]func(ctrl.Manager) error{
		"DevCluster":            (&devwebhooks.DevCluster{}).SetupWebhookWithManager,
		"DevClusterTemplate":    (&devwebhooks.DevClusterTemplate{}).SetupWebhookWithManager,
		"DevMachine":            (&devwebhooks.DevMachine{}).SetupWebhookWithManager,
		"DevMachineTemplate":    (&devwebhooks.DevMachineTemplate{}).SetupWebhookWithManager,
		"DockerCluster":         (&devwebhooks.DockerCluster{}).SetupWebhookWithManager,
		"DockerClusterTemplate": (&devwebhooks.DockerClusterTemplate{}).SetupWebhookWithManager,
		"DockerMachine":         (&devwebhooks.DockerMachine{}).SetupWebhookWithManager,
		"DockerMachineTemplate": (&devwebhooks.DockerMachineTemplate{}).SetupWebhookWithManager,
	} {
		if err := setup(mgr); err != nil {
			return fmt.Errorf("set up webhook %s: %w", name, err)
		}
	}
	return mgr.Start(ctx)
}

// restoredCheck is true once the nodes of all machines that had one are back
// after a restart. Cluster API starts after that, so that it never sees a
// workload cluster that has lost its nodes.
func restoredCheck(c client.Client, cloud inmemory.Manager) func(*http.Request) error {
	var restored atomic.Bool
	return func(r *http.Request) error {
		if restored.Load() {
			return nil
		}
		var machines clusterv1.MachineList
		if err := c.List(r.Context(), &machines); err != nil {
			return err
		}
		for _, m := range machines.Items {
			if !m.DeletionTimestamp.IsZero() || !m.Status.NodeRef.IsDefined() {
				continue
			}
			nodes := cloud.GetResourceGroup(resourceGroup(m.Namespace, m.Spec.ClusterName)).GetClient()
			if err := nodes.Get(r.Context(), types.NamespacedName{Name: m.Status.NodeRef.Name}, &corev1.Node{}); err != nil {
				return errors.Join(fmt.Errorf("node %s is not back", m.Status.NodeRef.Name), err)
			}
		}
		restored.Store(true)
		return nil
	}
}

// resourceGroup is where the dev provider keeps the objects of a cluster.
func resourceGroup(namespace, cluster string) string { return namespace + "/" + cluster }
