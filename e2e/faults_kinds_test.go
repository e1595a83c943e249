//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// phase is a part of an apply.
type phase int

const (
	planning phase = iota // up to the approval
	writing               // from there to the first watch: lock, journal, create, patch
	waiting               // to the end
)

func (p phase) String() string { return [...]string{"planning", "writing", "waiting"}[p] }

// request is a request of the product.
type request struct {
	phase         phase
	method        string
	resource      string // or the path, of what is no resource
	watch, dryRun bool
}

func (q request) String() string {
	return strings.ReplaceAll(q.kind()+" "+q.resource, "/", ".")
}

// kind is the verb, as it is counted.
func (q request) kind() string {
	switch {
	case q.watch:
		return "WATCH"
	case q.dryRun:
		return "dry-run " + q.method
	}
	return q.method
}

// purpose is what it is made for, as it is counted.
func (q request) purpose() string {
	switch {
	case q.resource == "configmaps":
		return "bookkeeping: the journal"
	case q.resource == "leases":
		return "bookkeeping: the lock"
	case q.resource == "events":
		return "bookkeeping: Events"
	case q.resource == "selfsubjectaccessreviews" || q.resource == "selfsubjectrulesreviews":
		return "asking for rights"
	case q.resource == "selfsubjectreviews":
		return "asking for the user's name"
	case q.watch:
		return "watches"
	case q.dryRun:
		return "dry runs"
	case strings.HasPrefix(q.resource, "/"):
		return "discovery"
	case q.method == http.MethodGet:
		return "looks"
	}
	return "the writes of the plan"
}

// place is the n-th request like another one, from 1. A slow run makes more of
// them than a quick one, since it looks again at what is older than a second.
type place struct {
	request
	n int
}

// isAt reports whether q may be at the place. The writing phase ends with the first
// watch, which writes of the journal and looks may come before or behind.
func (p place) isAt(q request) bool {
	return q.String() == p.String() && (q.phase == p.phase || p.phase == writing && q.phase == waiting)
}

// isCertain reports whether every run makes the request, quick or slow.
func (p place) isCertain() bool {
	return p.phase == writing && !p.watch && p.method != http.MethodGet && !(p.resource == "leases" && p.method == http.MethodPut)
}

func describe(r *http.Request) request {
	q := request{method: r.Method, resource: r.URL.Path, watch: r.URL.Query().Get("watch") != "", dryRun: r.URL.Query().Get("dryRun") != ""}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return q // discovery
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	q.resource = parts[0]
	return q
}

// proxyFault is something that happens to a request.
type proxyFault struct {
	name string
	// strikes tells which requests it can strike.
	strikes func(request) bool
	do      func(s *stroke)
	// lasts is how long all requests after it are cut.
	lasts time.Duration
	// codes are the exit codes that the run it strikes may end with.
	codes func(faultCase) []int
	// sample is at how many requests of each phase but the writing one it is
	// tried, short at how many of all in the short form.
	sample, short int
	stallAfter    string
}

// stroke is a fault that strikes.
type stroke struct {
	m       *meddler
	w       http.ResponseWriter
	r       *http.Request
	forward http.Handler
	cut     func()
}

func anyRequest(request) bool              { return true }
func anyWatch(q request) bool              { return q.watch }
func noWatch(q request) bool               { return !q.watch }
func done(faultCase) []int                 { return []int{0} }
func killed(faultCase) []int               { return []int{-1} }
func (s *stroke) pass()                    { s.forward.ServeHTTP(s.w, s.r) }
func (s *stroke) kill()                    { s.m.signal(syscall.SIGKILL) }
func abort()                               { panic(http.ErrAbortHandler) }
func (s *stroke) context() context.Context { return s.r.Context() }

// after waits, unless the client leaves first.
func (s *stroke) after(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.context().Done():
	}
}

// losing has the server carry the request out and loses the answer; then is
// called in between.
func (s *stroke) losing(then func()) {
	s.forward.ServeHTTP(discard{http.Header{}}, s.r)
	then()
	abort()
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// status answers in the server's place.
func (s *stroke) status(code int, reason metav1.StatusReason) {
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		s.w.Header().Set("Retry-After", "1")
	}
	s.w.Header().Set("Content-Type", "application/json")
	s.w.WriteHeader(code)
	_ = json.NewEncoder(s.w).Encode(aStatus(code, reason))
}

func aStatus(code int, reason metav1.StatusReason) metav1.Status {
	return metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: fmt.Sprintf("the proxy says %d", code)}
}

func answers(code int, reason metav1.StatusReason) func(*stroke) {
	return func(s *stroke) { s.status(code, reason) }
}

// conflicts is what a 409 may lead to: one on a write is looked into; on a
// request that no server answers so, it is an error that is told.
func conflicts(c faultCase) []int {
	if strings.HasPrefix(c.at.method, "P") && !strings.Contains(c.at.resource, "review") {
		return []int{0}
	}
	return []int{0, 1}
}

var proxyFaults = []proxyFault{
	{name: "connection cut before the server has it", strikes: anyRequest, codes: done, sample: 8, short: 3,
		do: func(s *stroke) { s.cut(); abort() }},
	{name: "request reset before the server has it", strikes: anyRequest, codes: done, sample: 8, short: 2,
		do: func(*stroke) { abort() }},
	{name: "reply lost", strikes: noWatch, codes: done, sample: 8, short: 3,
		do: func(s *stroke) { s.losing(func() {}) }},
	{name: "connection cut with the reply", strikes: noWatch, codes: done, sample: 8, short: 2,
		do: func(s *stroke) { s.losing(s.cut) }},
	{name: "reply late by 3s", strikes: anyRequest, codes: done, sample: 4, short: 1,
		do: func(s *stroke) { s.after(3 * time.Second); s.pass() }},
	{name: "429", strikes: anyRequest, codes: done, sample: 6, short: 1, do: answers(429, metav1.StatusReasonTooManyRequests)},
	{name: "500", strikes: anyRequest, codes: done, sample: 6, short: 2, do: answers(500, metav1.StatusReasonInternalError)},
	{name: "503", strikes: anyRequest, codes: done, sample: 6, short: 1, do: answers(503, metav1.StatusReasonServiceUnavailable)},
	{name: "409", strikes: anyRequest, codes: conflicts, sample: 6, short: 2,
		do: func(s *stroke) {
			if s.r.Method == http.MethodPost {
				s.status(409, metav1.StatusReasonAlreadyExists)
			} else {
				s.status(409, metav1.StatusReasonConflict)
			}
		}},
	{name: "all cut for 4s", strikes: anyRequest, codes: done, sample: 6, short: 2, lasts: 4 * time.Second,
		do: func(s *stroke) { s.cut(); abort() }},
	{name: "watch answers 410", strikes: anyWatch, codes: done, sample: 12, short: 1,
		do: func(s *stroke) {
			s.w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(s.w).Encode(map[string]any{"type": "ERROR", "object": aStatus(410, metav1.StatusReasonExpired)})
		}},
	{name: "watch closed", strikes: anyWatch, codes: done, sample: 12, short: 1,
		do: func(s *stroke) {
			ctx, cancel := context.WithTimeout(s.context(), time.Second)
			defer cancel()
			s.forward.ServeHTTP(s.w, s.r.WithContext(ctx))
		}},
	{name: "watch silent", strikes: anyWatch, codes: done, sample: 12, short: 1, stallAfter: "20s",
		do: func(s *stroke) {
			s.w.Header().Set("Content-Type", "application/json")
			s.w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(s.w).Flush()
			<-s.context().Done()
		}},
	{name: "SIGKILL before the server has it", strikes: anyRequest, codes: killed, sample: 8, short: 3,
		do: func(s *stroke) { s.kill(); abort() }},
	{name: "SIGKILL behind the server's answer", strikes: noWatch, codes: killed, sample: 8, short: 3,
		do: func(s *stroke) { s.losing(s.kill) }},
}

// meddler counts the requests of one run by phase and has a fault strike one
// of them. Without a fault it counts.
type meddler struct {
	fault   proxyFault
	at      func(request) bool // of these, the n-th
	n       int
	process chan *process

	mu   sync.Mutex
	now  phase
	all  []request
	left time.Time // until when everything is cut
	hit  bool
}

func (m *meddler) seen() []request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]request(nil), m.all...)
}

func (m *meddler) struck() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hit
}

// signal sends a signal to the run.
func (m *meddler) signal(s syscall.Signal) {
	p := <-m.process
	m.process <- p
	_ = p.cmd.Process.Signal(s) // it may have ended, which its exit code tells
}

// take counts a request in and tells what is to become of it.
func (m *meddler) take(r *http.Request) (strike, down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := describe(r)
	switch {
	case m.now == planning && q.resource == "leases":
		m.now = writing
	case m.now == writing && q.watch:
		m.now = waiting
	}
	q.phase = m.now
	m.all = append(m.all, q)
	if m.hit || m.fault.do == nil {
		return false, time.Now().Before(m.left)
	}
	n := 0
	for _, q := range m.all {
		if m.at(q) {
			n++
		}
	}
	if m.at(q) && n == m.n {
		m.hit, m.left = true, time.Now().Add(m.fault.lasts)
		return true, false
	}
	return false, false
}

func (m *meddler) proxy() proxy {
	return proxy{handle: func(w http.ResponseWriter, r *http.Request, forward http.Handler, cut func()) {
		strike, down := m.take(r)
		switch {
		case strike:
			m.fault.do(&stroke{m: m, w: w, r: r, forward: forward, cut: cut})
		case down:
			_, _ = io.Copy(io.Discard, r.Body)
			abort()
		default:
			forward.ServeHTTP(w, r)
		}
	}}
}
