//go:build sandbox_manifests

package main

import _ "embed"

// manifestBundle is made by gen. The build tag keeps plain go build,
// go vet and go test working before it was made.
//
//go:embed .build/manifests.json.gz
var manifestBundle []byte
