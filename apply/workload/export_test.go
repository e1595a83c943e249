package workload

import (
	"net/http"

	"k8s.io/client-go/rest"
)

// Config gives the client configuration of a kubeconfig, or why it is not used.
func Config(data []byte) (*rest.Config, error) { return parse(data) }

// Client gives the HTTP client that a kubeconfig leads to.
func Client(data []byte) (*http.Client, error) {
	config, err := parse(data)
	if err != nil {
		return nil, err
	}
	c, err := connect(config)
	if err != nil {
		return nil, err
	}
	return c.http, nil
}
