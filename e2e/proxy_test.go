//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// proxy stands between one run of the product and the API server. It is how a
// test acts at an exact instant of a run.
type proxy struct {
	// request is called with each request that has arrived, to the end of its
	// body, before the server has it; false drops the connection and the server
	// never hears of it.
	request func(*http.Request) bool
	// reply is called with each answer before it is passed on; an error drops
	// the connection and the answer is lost.
	reply func(*http.Response) error
	// handle, when it is set, has each request in its hands: it passes it on, or
	// answers in the server's place, or panics with http.ErrAbortHandler, which
	// ends the request without an answer. cut closes all connections of the run.
	handle func(w http.ResponseWriter, r *http.Request, forward http.Handler, cut func())
}

// isWrite tells a write of one kind.
func isWrite(r *http.Request, method, resource string) bool {
	return r.Method == method && strings.Contains(r.URL.Path, "/"+resource) && r.URL.Query().Get("dryRun") == ""
}

// serve starts the proxy and gives a kubeconfig that leads to it. It speaks
// HTTP/2 over TLS, as an API server does.
func (p proxy) serve(t *testing.T) (kubeconfig string) {
	t.Helper()
	transport, err := rest.TransportFor(box.config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(box.config.Host)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1, // watches
		ModifyResponse: p.reply,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	var server *httptest.Server
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.request != nil {
			// A run that is stopped here may not have sent its body yet, and the
			// server would wait for the rest of it.
			body, err := io.ReadAll(r.Body)
			if err != nil || !p.request(r) {
				panic(http.ErrAbortHandler)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		if p.handle != nil {
			p.handle(w, r, forward, server.CloseClientConnections)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // what it says of connections that were cut
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(api.Config{
		Clusters: map[string]*api.Cluster{"proxy": {
			Server:                   server.URL,
			CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		}},
		AuthInfos:      map[string]*api.AuthInfo{"nobody": {}},
		Contexts:       map[string]*api.Context{"proxy": {Cluster: "proxy", AuthInfo: "nobody"}},
		CurrentContext: "proxy",
	}, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// onlyV1beta1 is a proxy that hides v1beta2 of Cluster API's own group, as a
// management cluster has it before Cluster API v1.11. The server behind it
// is a real one, and converts.
func onlyV1beta1() proxy {
	const group = "/apis/cluster.x-k8s.io"
	return proxy{
		request: func(r *http.Request) bool {
			// Plain discovery, which is easy to edit.
			if r.URL.Path == "/apis" || r.URL.Path == group {
				r.Header.Set("Accept", "application/json")
				r.Header.Del("Accept-Encoding")
			}
			if strings.HasPrefix(r.URL.Path, group+"/v1beta2") {
				r.URL.Path = group + "/hidden" // not found
			}
			return true
		},
		reply: func(r *http.Response) error {
			switch r.Request.URL.Path {
			case "/apis":
				return edit(r, func(body map[string]any) {
					groups, _ := body["groups"].([]any)
					for _, g := range groups {
						hideV1beta2(g.(map[string]any))
					}
				})
			case group:
				return edit(r, hideV1beta2)
			}
			return nil
		},
	}
}

// hideV1beta2 edits an APIGroup, if it is Cluster API's own.
func hideV1beta2(group map[string]any) {
	if group["name"] != "cluster.x-k8s.io" {
		return
	}
	v := map[string]any{"groupVersion": "cluster.x-k8s.io/v1beta1", "version": "v1beta1"}
	group["versions"], group["preferredVersion"] = []any{v}, v
}

func edit(r *http.Response, change func(map[string]any)) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body.Close()
	var body map[string]any
	if err := json.Unmarshal(raw, &body); err != nil {
		return err
	}
	change(body)
	if raw, err = json.Marshal(body); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	r.ContentLength = int64(len(raw))
	r.Header.Set("Content-Length", strconv.Itoa(len(raw)))
	return nil
}
