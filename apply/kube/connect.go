package kube

import (
	"net/http"
	"net/http/httptrace"
	"sync"
)

// first lets one request go ahead and has others wait until it has a connection
// or has failed: over HTTP/2 they then share it, where each would make one of its
// own, with a handshake that takes longer than the request.
type first struct {
	once sync.Once
	gone chan struct{} // closed once the others may go
	open func()
}

func newFirst() *first {
	f := &first{gone: make(chan struct{})}
	f.open = sync.OnceFunc(func() { close(f.gone) })
	return f
}

// wrap is a transport.WrapperFunc. Several transports of one configuration, which
// share their connections, share f.
func (f *first) wrap(next http.RoundTripper) http.RoundTripper { return &following{f, next} }

type following struct {
	*first
	next http.RoundTripper
}

// WrappedRoundTripper lets client-go find the transport below.
func (t *following) WrappedRoundTripper() http.RoundTripper { return t.next }

func (t *following) RoundTrip(r *http.Request) (*http.Response, error) {
	ahead := false
	t.once.Do(func() { ahead = true })
	if ahead {
		defer t.open()
		// When it is written, the connection can be found by others.
		trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { t.open() }}
		return t.next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	}
	select {
	case <-t.gone:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return t.next.RoundTrip(r)
}
