// Package component runs one process of a sandbox: etcd, kube-apiserver,
// kube-controller-manager, the Cluster API controllers or the infrastructure
// provider. The sandbox binary executes itself for each of them, so that each
// can crash and be stopped on its own.
package component

import (
	"context"
	"fmt"

	"nodepool/sandbox/state"
)

// The processes of a sandbox.
const (
	Etcd        = "etcd"
	APIServer   = "apiserver"
	GC          = "gc"
	Controllers = "controllers"
	Provider    = "provider"
)

// All lists the processes in the order in which they start.
var All = []string{Etcd, APIServer, GC, Provider, Controllers}

// Config is what a process needs to know.
type Config struct {
	Dir   state.Dir
	Ports state.Ports
}

// Run runs the component of that name until ctx ends or it fails.
func Run(ctx context.Context, name string, c Config) error {
	switch name {
	case Etcd:
		return runEtcd(ctx, c)
	case APIServer:
		return runAPIServer(ctx, c)
	case GC:
		return runGC(ctx, c)
	case Controllers:
		return runControllers(ctx, c)
	case Provider:
		return runProvider(ctx, c)
	}
	return fmt.Errorf("unknown component %q: one of %v", name, All)
}
