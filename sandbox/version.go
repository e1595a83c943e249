package main

import "runtime/debug"

// clusterAPIVersion is the release of Cluster API in this binary.
func clusterAPIVersion() string { return moduleVersion("sigs.k8s.io/cluster-api") }

// builtIn lists the releases of what the sandbox is made of.
func builtIn() map[string]string {
	return map[string]string{
		"clusterAPI": clusterAPIVersion(),
		"kubernetes": moduleVersion("k8s.io/kubernetes"),
		"etcd":       moduleVersion("go.etcd.io/etcd/server/v3"),
	}
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
