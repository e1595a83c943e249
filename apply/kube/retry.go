package kube

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// read runs one request of a read, and again while what fails is the server or
// the way to it. The last error is given when patience ends.
func (c *Cluster) read(ctx context.Context, request func(context.Context) error) error {
	began := time.Now()
	backoff := c.patience.backoff
	for {
		try, cancel := context.WithTimeout(ctx, c.patience.try)
		err := request(try)
		cancel()
		if err == nil || ctx.Err() != nil || !passing(err) {
			return err
		}
		pause := backoff.Step()
		if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
			pause = max(pause, time.Duration(seconds)*time.Second)
		}
		if time.Since(began)+pause > c.patience.total {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// passing reports whether a read that failed with err may succeed when it is
// sent again.
func passing(err error) bool {
	if status, ok := statusOf(err); ok {
		return status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout || status.Code >= 500
	}
	return lost(err) || utilnet.IsProbableEOF(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}

// lost reports whether err is of a connection that was not made or broke, and
// not of one whose other end is not the one that was meant.
func lost(err error) bool {
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return true
	}
	var name *net.DNSError
	if errors.As(err, &name) {
		return !name.IsNotFound
	}
	// Errors of TLS come as operations of the network, too.
	var operation *net.OpError
	if errors.As(err, &operation) {
		return operation.Op == "dial" || operation.Op == "read" || operation.Op == "write"
	}
	// What HTTP/2 says of one stream has a type, and of a connection mostly none.
	var stream http2.StreamError
	if errors.As(err, &stream) {
		return true
	}
	// client-go wraps what breaks off in the middle of an answer.
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.HasPrefix(err.Error(), "http2: ") {
			return true
		}
	}
	return false
}

// reading words the failure of a read for a person.
func reading(what string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &readError{what: what, err: err}
}

type readError struct {
	what string
	err  error
}

func (e *readError) Error() string {
	return "read " + e.what + " from the management cluster: " + words(e.err)
}

func (e *readError) Unwrap() error { return e.err }

// Passes reports whether the same read may go well later; see apply.Passes.
func (e *readError) Passes() bool { return passing(e.err) }

// bare takes the method and the address off the error of a request.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
