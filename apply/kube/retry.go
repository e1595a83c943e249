package kube

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
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
	var network net.Error
	var stream http2.StreamError
	var away http2.GoAwayError
	return errors.As(err, &stream) || errors.As(err, &away) || errors.Is(err, io.ErrUnexpectedEOF) || utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) ||
		utilnet.IsHTTP2ConnectionLost(err) || errors.Is(err, context.DeadlineExceeded) ||
		(errors.As(err, &network) && network.Timeout())
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

// bare takes the method and the address off the error of a request.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
