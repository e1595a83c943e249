package workload

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxResponse bounds one answer, unpacked: a page of 500 large pods is a tenth
// of it.
const maxResponse = 64 << 20

// The errors of a request that does not go out, and of an answer that is not
// read to its end.
var (
	errNotAllowed = errors.New("only lists are read from a workload cluster")
	errTooLarge   = errors.New("the answer is too large")
)

// lists are the paths that are read, and all that are.
var lists = map[string]bool{
	"/api/v1/nodes":                        true,
	"/api/v1/namespaces":                   true,
	"/api/v1/persistentvolumes":            true,
	"/api/v1/pods":                         true,
	"/apis/apps/v1/daemonsets":             true,
	"/apis/policy/v1/poddisruptionbudgets": true,
}

// readOnly lets through the lists of one server and nothing else: no other verb,
// no watch, no subresource, no redirect to elsewhere.
type readOnly struct {
	server *url.URL
	next   http.RoundTripper
}

// WrappedRoundTripper gives what it stands before, to close its connections.
func (t readOnly) WrappedRoundTripper() http.RoundTripper { return t.next }

func (t readOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	path, below := strings.CutPrefix(r.URL.Path, strings.TrimSuffix(t.server.Path, "/"))
	if r.Method != http.MethodGet || r.Body != nil || !below || !lists[path] || r.URL.Query().Has("watch") ||
		r.Header.Get("Upgrade") != "" || r.URL.Scheme != t.server.Scheme || r.URL.Host != t.server.Host {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errNotAllowed
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxResponse}
	return resp, nil
}

// bounded is a body that ends in an error when it is too large.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
