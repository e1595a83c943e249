//go:build sandbox_manifests

package provider

import "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/server/api"

// Extend exists only in the patched copy of upstream that gen makes.
func init() { api.Extend = addEviction }
