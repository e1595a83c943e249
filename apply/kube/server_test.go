package kube_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"nodepool/apply/kube"
)

// server is an API server that answers without a network, so that a test can
// run in a bubble where time passes by itself.
type server struct {
	t testing.TB
	// groups: "infrastructure.cluster.x-k8s.io/v1beta2" → kinds; the first
	// version of a group is its preferred one.
	served []served
	// crds: name of a CRD → its labels.
	crds map[string]map[string]string
	// answer, when set, sees every other request first, with the number of
	// its coming for that method and path; it reports whether it answered.
	answer func(w http.ResponseWriter, r *http.Request, n int) bool
	// broken, when set, gives what the network says of a request in place of an
	// answer; nil when it arrives.
	broken func(r *http.Request, n int) error
	// silent is a server that takes the request to stream the first content, and
	// then sends nothing.
	silent bool
	// watches holds the open watches by path.
	mu       sync.Mutex
	watches  map[string][]*io.PipeWriter
	requests []string
	counts   map[string]int
}

type served struct {
	groupVersion string
	kinds        []string
}

// client gives a Cluster that talks to s.
func (s *server) client() *kube.Cluster {
	s.t.Helper()
	s.counts = map[string]int{}
	s.watches = map[string][]*io.PipeWriter{}
	c, err := kube.New(&rest.Config{Host: "http://management.test", Transport: s})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// errLost is what a transport says of a connection that broke.
var errLost = io.EOF

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	key := r.Method + " " + r.URL.Path
	s.mu.Lock()
	s.requests = append(s.requests, key+query(r))
	s.counts[key]++
	n := s.counts[key]
	s.mu.Unlock()
	if s.broken != nil {
		if err := s.broken(r, n); err != nil {
			return nil, err
		}
	}
	if r.URL.Query().Get("watch") != "" {
		return s.watch(r, n)
	}
	recorder := httptest.NewRecorder()
	s.serve(recorder, r, n)
	if recorder.Code == 0 || recorder.Header().Get("Test-Lost") != "" {
		return nil, errLost
	}
	return recorder.Result(), nil
}

func query(r *http.Request) string {
	q := r.URL.Query()
	for k := range q {
		if !slices.Contains([]string{"limit", "continue", "labelSelector", "fieldSelector", "dryRun", "fieldValidation", "fieldManager", "watch"}, k) {
			q.Del(k)
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// asked gives the requests so far whose text holds part.
func (s *server) asked(part string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.requests {
		if strings.Contains(r, part) {
			out = append(out, r)
		}
	}
	return out
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, n int) {
	if s.answer != nil && s.answer(w, r, n) {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/apis/")
	if name, ok := strings.CutPrefix(path, "apiextensions.k8s.io/v1/customresourcedefinitions/"); ok {
		if labels, ok := s.crds[name]; ok {
			reply(w, 200, metav1.PartialObjectMetadata{
				TypeMeta:   metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			})
			return
		}
		fail(w, 404, metav1.StatusReasonNotFound, "no such definition")
		return
	}
	group := metav1.APIGroup{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroup"}, Name: path}
	for _, sv := range s.served {
		g, v, _ := strings.Cut(sv.groupVersion, "/")
		if path == sv.groupVersion {
			list := metav1.APIResourceList{GroupVersion: sv.groupVersion}
			for _, k := range sv.kinds {
				list.APIResources = append(list.APIResources,
					metav1.APIResource{Name: strings.ToLower(k) + "s", Kind: k, Namespaced: true},
					metav1.APIResource{Name: strings.ToLower(k) + "s/status", Kind: k, Namespaced: true})
			}
			reply(w, 200, list)
			return
		}
		if path == g {
			d := metav1.GroupVersionForDiscovery{GroupVersion: sv.groupVersion, Version: v}
			if len(group.Versions) == 0 {
				group.PreferredVersion = d
			}
			group.Versions = append(group.Versions, d)
		}
	}
	if len(group.Versions) > 0 {
		reply(w, 200, group)
		return
	}
	fail(w, 404, metav1.StatusReasonNotFound, "the server could not find the requested resource")
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	}
	if seconds, err := strconv.Atoi(w.Header().Get("Retry-After")); err == nil {
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: int32(seconds)}
	}
	reply(w, code, status)
}

func lose(w http.ResponseWriter) { w.Header().Set("Test-Lost", "yes") }

// watch holds a watch open until the request ends. Streaming of the first
// content is refused, as by a server that does not know it, unless s is silent.
func (s *server) watch(r *http.Request, n int) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	if s.answer != nil && s.answer(recorder, r, n) {
		return recorder.Result(), nil
	}
	if r.URL.Query().Get("sendInitialEvents") != "" && !s.silent {
		fail(recorder, 422, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch")
		return recorder.Result(), nil
	}
	reader, writer := io.Pipe()
	s.mu.Lock()
	s.watches[r.URL.Path] = append(s.watches[r.URL.Path], writer)
	s.mu.Unlock()
	go func() {
		<-r.Context().Done()
		writer.CloseWithError(r.Context().Err())
	}()
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: reader, Request: r,
	}, nil
}

// send sends an event to every open watch of a path.
func (s *server) send(path, kind string, object any) {
	s.mu.Lock()
	writers := slices.Clone(s.watches[path])
	s.mu.Unlock()
	for _, w := range writers {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": object})
	}
}

// drop ends every open watch of a path.
func (s *server) drop(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches[path] {
		w.Close()
	}
	delete(s.watches, path)
}
