// Package main is a placeholder.
package main

import (
	_ "github.com/urfave/cli/v2"
	_ "go.etcd.io/etcd/server/v3/embed"
	_ "k8s.io/kubernetes/cmd/kube-apiserver/app"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	_ "sigs.k8s.io/cluster-api/bootstrap/kubeadm/controllers"
	_ "sigs.k8s.io/cluster-api/bootstrap/kubeadm/webhooks"
	_ "sigs.k8s.io/cluster-api/controllers"
	_ "sigs.k8s.io/cluster-api/controlplane/kubeadm/controllers"
	_ "sigs.k8s.io/cluster-api/controlplane/kubeadm/webhooks"
	_ "sigs.k8s.io/cluster-api/test/infrastructure/docker/controllers"
	_ "sigs.k8s.io/cluster-api/test/infrastructure/docker/webhooks"
	_ "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime"
	_ "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/server"
	_ "sigs.k8s.io/cluster-api/webhooks"
)

func main() {}
