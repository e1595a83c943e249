// Package manifests holds the format in which the upstream manifests travel
// from the module cache, where the build finds them, into the binary.
package manifests

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bundle is everything that is installed from upstream manifests.
type Bundle struct {
	Components []Component `json:"components"`
	// Digest identifies the content of the bundle.
	Digest string `json:"-"`
}

// Component is what one upstream component brings.
type Component struct {
	// Name prefixes the names of the webhook configurations, which are the same
	// in every component.
	Name     string           `json:"name"`
	CRDs     []map[string]any `json:"crds"`
	Webhooks []map[string]any `json:"webhooks,omitempty"`
}

// The components, named as upstream names their namespaces.
const (
	Core         = "capi"
	Bootstrap    = "capi-kubeadm-bootstrap"
	ControlPlane = "capi-kubeadm-control-plane"
	Dev          = "capd"
	AWS          = "capa"
)

// ErrNone is returned by Read for a binary that was built without manifests.
var ErrNone = errors.New("this binary was built without the Cluster API manifests: build it with `make -C sandbox`, not with a plain `go build`")

// Read unpacks what Write packed.
func Read(data []byte) (*Bundle, error) {
	if len(data) == 0 {
		return nil, ErrNone
	}
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read the built-in manifests: %w", err)
	}
	raw, err := io.ReadAll(zr)
	if err != nil {
		return nil, fmt.Errorf("read the built-in manifests: %w", err)
	}
	b := &Bundle{}
	if err := json.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("read the built-in manifests: %w", err)
	}
	sum := sha256.Sum256(raw)
	b.Digest = "sha256:" + hex.EncodeToString(sum[:])
	return b, nil
}

// Write packs b.
func Write(b *Bundle) ([]byte, error) {
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	if _, err := zw.Write(raw); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
