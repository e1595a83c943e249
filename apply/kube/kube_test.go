package kube_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/kube"
	"nodepool/plan"
	"nodepool/plan/capi"
)

const infra = "infrastructure.cluster.x-k8s.io"

var core = served{"cluster.x-k8s.io/v1beta2", []string{"Cluster", "MachineDeployment", "Machine"}}

func machine(name string) map[string]any {
	return map[string]any{
		"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
		"metadata": map[string]any{
			"name": name, "namespace": "default", "uid": "u-" + name, "resourceVersion": "7",
			"managedFields": []any{map[string]any{"manager": "capi", "operation": "Update", "apiVersion": "cluster.x-k8s.io/v1beta2"}},
		},
	}
}

func machineList(next string, machines ...any) map[string]any {
	return map[string]any{
		"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineList",
		"metadata": map[string]any{"resourceVersion": "10", "continue": next}, "items": machines,
	}
}

func ref(group, kind, name string) plan.Ref {
	return plan.Ref{Group: group, Kind: kind, Namespace: "default", Name: name}
}

var (
	one      = plan.Selector{Ref: ref(capi.Group, "Machine", "m")}
	machines = plan.Selector{Ref: ref(capi.Group, "Machine", ""), Label: "pool", LabelValue: "a"}
)

const (
	onePath  = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines/m"
	listPath = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines"
)

func TestFetchRepeatsReads(t *testing.T) {
	tests := map[string]struct {
		answer   func(w http.ResponseWriter, n int)
		requests int
		err      string
		min, max time.Duration
	}{
		"a lost connection": {
			answer: func(w http.ResponseWriter, n int) {
				if n < 3 {
					lose(w)
				} else {
					reply(w, 200, machine("m"))
				}
			}, requests: 3, max: 2 * time.Second,
		},
		"unavailable": {
			answer: func(w http.ResponseWriter, n int) {
				if n < 4 {
					fail(w, 503, metav1.StatusReasonServiceUnavailable, "down")
				} else {
					reply(w, 200, machine("m"))
				}
			}, requests: 4, max: 5 * time.Second,
		},
		"Retry-After is kept": {
			answer: func(w http.ResponseWriter, n int) {
				if n == 1 {
					w.Header().Set("Retry-After", "7")
					fail(w, 429, metav1.StatusReasonTooManyRequests, "slow down")
				} else {
					reply(w, 200, machine("m"))
				}
			}, requests: 2, min: 7 * time.Second, max: 8 * time.Second,
		},
		"a Retry-After beyond patience": {
			answer: func(w http.ResponseWriter, _ int) {
				w.Header().Set("Retry-After", "600")
				fail(w, 429, metav1.StatusReasonTooManyRequests, "slow down")
			}, requests: 1, err: "slow down", max: time.Second,
		},
		"always unavailable": {
			answer: func(w http.ResponseWriter, _ int) {
				fail(w, 503, metav1.StatusReasonServiceUnavailable, "down for good")
			}, requests: -1, err: "down for good", min: 10 * time.Second, max: 21 * time.Second,
		},
		"a bad request is final": {
			answer: func(w http.ResponseWriter, _ int) {
				fail(w, 400, metav1.StatusReasonBadRequest, "nonsense")
			}, requests: 1, err: "nonsense", max: time.Second,
		},
		"no credentials": {
			answer: func(w http.ResponseWriter, _ int) {
				fail(w, 401, metav1.StatusReasonUnauthorized, "Unauthorized")
			}, requests: 1, err: "log in again", max: time.Second,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{t: t, served: []served{core}}
				s.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
					if r.URL.Path == onePath {
						test.answer(w, n)
					}
					return r.URL.Path == onePath
				}
				c := s.client()
				began := time.Now()
				snapshot, err := c.Fetch(t.Context(), []plan.Selector{one})
				took := time.Since(began)
				if took < test.min || took > test.max {
					t.Errorf("took %v, want %v to %v", took, test.min, test.max)
				}
				if n := len(s.asked(onePath)); test.requests >= 0 && n != test.requests {
					t.Errorf("%d requests, want %d", n, test.requests)
				}
				if test.err == "" {
					if err != nil {
						t.Fatal(err)
					}
					if _, found := snapshot.Object(one.Ref); !found {
						t.Error("the object is missing")
					}
				} else if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "Machine") && name != "no credentials" {
					t.Errorf("got %v, want %q and the object in it", err, test.err)
				}
			})
		})
	}
}

// What the network says of a read tells whether it is sent again.
func TestFetchOverABadNetwork(t *testing.T) {
	tests := map[string]struct {
		err   error
		again bool
	}{
		"refused":          {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		"broken pipe":      {&net.OpError{Op: "write", Err: syscall.EPIPE}, true},
		"reset":            {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		"stream reset":     {http2.StreamError{StreamID: 7, Code: http2.ErrCodeInternal}, true},
		"going away":       {http2.GoAwayError{LastStreamID: 7}, true},
		"closed under it":  {errors.New("http2: client connection force closed via ClientConn.Close"), true},
		"closed midway":    {fmt.Errorf("unexpected error when reading response body. Please retry. Original error: %w", errors.New("http2: client connection force closed via ClientConn.Close")), true},
		"name for a while": {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}}, true},
		"no such name":     {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, false},
		"not trusted":      {&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, false},
		"unknown issuer":   {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, false},
		"no credentials":   {errors.New("getting credentials: exec: no such file"), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{t: t, served: []served{core}}
				s.broken = func(r *http.Request, n int) error {
					if r.URL.Path == onePath && n == 1 {
						return test.err
					}
					return nil
				}
				s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
					if r.URL.Path == onePath {
						reply(w, 200, machine("m"))
					}
					return r.URL.Path == onePath
				}
				c := s.client()
				_, err := c.Fetch(t.Context(), []plan.Selector{one})
				if again := err == nil; again != test.again {
					t.Errorf("sent again: %v, want %v (%v)", again, test.again, err)
				}
			})
		})
	}
}

// A server that takes a request and never answers is given up after some time.
func TestFetchGivesUpSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, served: []served{core}}
		s.answer = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
			if r.URL.Path == onePath {
				<-r.Context().Done()
				return true
			}
			return false
		}
		began := time.Now()
		_, err := s.client().Fetch(t.Context(), []plan.Selector{one})
		if err == nil || time.Since(began) > time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestFetchEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, served: []served{core}}
		s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.URL.Path == onePath {
				fail(w, 503, metav1.StatusReasonServiceUnavailable, "down")
				return true
			}
			return false
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err := s.client().Fetch(ctx, []plan.Selector{one})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestFetchPages(t *testing.T) {
	s := &server{t: t, served: []served{core}}
	expired := false
	s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.URL.Path != listPath {
			return false
		}
		switch r.URL.Query().Get("continue") {
		case "":
			if r.URL.Query().Get("limit") == "" {
				reply(w, 200, machineList("", machine("a"), machine("b"), machine("c"), machine("d")))
			} else {
				reply(w, 200, machineList("two", machine("a"), machine("b")))
			}
		case "two":
			if expired {
				fail(w, 410, metav1.StatusReasonExpired, "the token expired")
			} else {
				reply(w, 200, machineList("", machine("c")))
			}
		}
		return true
	}
	c := s.client()
	list := plan.Selector{Ref: machines.Ref}
	for _, want := range []int{3, 4} {
		snapshot, err := c.Fetch(t.Context(), []plan.Selector{list})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(snapshot.List(list)); got != want {
			t.Errorf("%d machines, want %d", got, want)
		}
		expired = true
	}
	want := []string{
		"GET " + listPath + "?limit=500", "GET " + listPath + "?continue=two&limit=500",
		"GET " + listPath + "?limit=500", "GET " + listPath + "?continue=two&limit=500", "GET " + listPath,
	}
	if diff := cmp.Diff(want, s.asked(listPath)); diff != "" {
		t.Error(diff)
	}
	if got := s.asked("/apis?"); len(got) > 0 || len(s.asked("/api")) != 5 {
		t.Errorf("discovery was asked for a kind that can be read at once: %v", s.asked("/api"))
	}
}

func TestFetchTellsAllMissingRights(t *testing.T) {
	s := &server{t: t, served: []served{core, {infra + "/v1beta2", []string{"AWSMachineTemplate"}}}}
	s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if strings.Contains(r.URL.Path, "/namespaces/") && !strings.HasSuffix(r.URL.Path, "/machines/m") {
			fail(w, 403, metav1.StatusReasonForbidden, `User "CANARY" cannot`)
			return true
		}
		if r.URL.Path == onePath {
			reply(w, 200, machine("m"))
			return true
		}
		return false
	}
	c := s.client()
	selectors := []plan.Selector{
		one,
		machines,
		{Ref: ref(infra, "AWSMachineTemplate", "a")},
		{Ref: ref(infra, "AWSMachineTemplate", "b")},
		{Ref: ref(infra, "Unheard", "x")},
		{Ref: ref("other.example", "Unheard", "x")},
	}
	_, err := c.Fetch(t.Context(), selectors)
	if err == nil {
		t.Fatal("there was no error")
	}
	want := []string{
		"you may not list machines.cluster.x-k8s.io in namespace default; ask for that right, or use another kubeconfig context",
		"you may not get awsmachinetemplates.infrastructure.cluster.x-k8s.io in namespace default; ask for that right, or use another kubeconfig context",
		"the kind Unheard.infrastructure.cluster.x-k8s.io is not installed in the management cluster; install its provider, or use another kubeconfig context",
		"the kind Unheard.other.example is not installed in the management cluster; install its provider, or use another kubeconfig context",
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	var forbidden *apply.ForbiddenError
	if !errors.As(err, &forbidden) {
		t.Error("no *ForbiddenError is in the chain")
	}
	for i := range selectors {
		selectors[i].Optional = i > 0
	}
	snapshot, err := c.Fetch(t.Context(), selectors)
	if err != nil {
		t.Fatal(err)
	}
	for i, selector := range selectors {
		if _, unread := snapshot.Unread(selector); unread != (i > 0) {
			t.Errorf("%v: unread is %v", selector, unread)
		}
	}
}

func TestVersion(t *testing.T) {
	const kind = "AWSMachineTemplate"
	crd := "awsmachinetemplates." + infra
	v1beta2Core := core
	v1beta1Core := served{"cluster.x-k8s.io/v1beta1", core.kinds}
	both := []served{{infra + "/v1beta1", []string{kind}}, {infra + "/v1beta2", []string{kind}}}
	tests := map[string]struct {
		served []served
		labels map[string]string
		deny   bool // and so, when there is a choice, a ForbiddenError
		group  string
		kind   string
		want   string
		sole   bool // no choice: the answer is not waited for
	}{
		"core in v1beta2":               {served: []served{v1beta1Core, v1beta2Core}, group: capi.Group, kind: "Machine", want: "v1beta2"},
		"core in v1beta1 alone":         {served: []served{v1beta1Core}, group: capi.Group, kind: "Machine", want: "v1beta1"},
		"CAPA":                          {served: append(both, v1beta2Core), labels: map[string]string{"cluster.x-k8s.io/v1beta1": "v1beta1_v1beta2"}, want: "v1beta2"},
		"contract v1beta2 first":        {served: append(both, v1beta2Core), labels: map[string]string{"cluster.x-k8s.io/v1beta1": "v1beta2", "cluster.x-k8s.io/v1beta2": "v1beta1"}, want: "v1beta1"},
		"an old core keeps to its own":  {served: append(both, v1beta1Core), labels: map[string]string{"cluster.x-k8s.io/v1beta1": "v1beta1", "cluster.x-k8s.io/v1beta2": "v1beta2"}, want: "v1beta1"},
		"a version that is not served":  {served: append(both, v1beta2Core), labels: map[string]string{"cluster.x-k8s.io/v1beta2": "v1beta2_v1beta3"}, want: "v1beta2"},
		"priority, not alphabet":        {served: []served{{infra + "/v1beta9", []string{kind}}, {infra + "/v1beta10", []string{kind}}, v1beta2Core}, labels: map[string]string{"cluster.x-k8s.io/v1beta2": "v1beta9_v1beta10"}, want: "v1beta10"},
		"no label: the preferred":       {served: append(both, v1beta2Core), labels: map[string]string{}, want: "v1beta1"},
		"no right to read it":           {served: append(both, v1beta2Core), deny: true, want: ""},
		"no right, and no choice":       {served: []served{both[0], v1beta2Core}, deny: true, want: "v1beta1", sole: true},
		"no definition":                 {served: append(both, v1beta2Core), want: "v1beta1"},
		"not in the preferred version":  {served: []served{{infra + "/v1", []string{"Other"}}, {infra + "/v1beta1", []string{kind}}, {infra + "/v1beta2", []string{kind}}, v1beta2Core}, want: "v1beta2"},
		"another group is not asked of": {served: []served{{"apps/v1", []string{"Deployment"}}}, group: "apps", kind: "Deployment", want: "v1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &server{t: t, served: test.served}
			if test.labels != nil {
				s.crds = map[string]map[string]string{crd: test.labels}
			}
			got := ""
			s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if test.deny && strings.Contains(r.URL.Path, "customresourcedefinitions") {
					fail(w, 403, metav1.StatusReasonForbidden, "no")
					return true
				}
				if strings.Contains(r.URL.Path, "customresourcedefinitions") && r.URL.Query().Get("resourceVersion") != "0" {
					t.Error("a definition is not read from the server's cache")
				}
				if strings.Contains(r.URL.Path, "/namespaces/") {
					got = strings.Split(r.URL.Path, "/")[3]
					fail(w, 404, metav1.StatusReasonNotFound, "not there")
					return true
				}
				return false
			}
			group, kind := test.group, test.kind
			if group == "" {
				group, kind = infra, "AWSMachineTemplate"
			}
			c := s.client()
			for range 2 {
				_, err := c.Fetch(t.Context(), []plan.Selector{{Ref: ref(group, kind, "x")}})
				var missing *apply.ForbiddenError
				if test.want == "" && errors.As(err, &missing) && missing.Resource == "customresourcedefinitions" {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got != test.want {
				t.Errorf("read in %s, want %s", got, test.want)
			}
			seen := map[string]bool{}
			for _, r := range s.asked("") {
				if seen[r] && !strings.Contains(r, "/namespaces/") {
					t.Errorf("asked twice: %s", r)
				}
				seen[r] = true
			}
			if n := len(s.asked("customresourcedefinitions")); !test.sole && (group == infra) != (n > 0) {
				t.Errorf("%d questions for definitions", n)
			}
		})
	}
}

func TestWrites(t *testing.T) {
	type want struct {
		Outcome apply.Outcome
		Words   string
	}
	tests := map[string]struct {
		answer func(http.ResponseWriter)
		want   *want
	}{
		"done": {answer: func(w http.ResponseWriter) { reply(w, 201, machine("m")) }},
		"conflict": {
			answer: func(w http.ResponseWriter) { fail(w, 409, metav1.StatusReasonConflict, "modified") },
			want:   &want{apply.Refused, "Conflict: modified"},
		},
		"exists": {
			answer: func(w http.ResponseWriter) { fail(w, 409, metav1.StatusReasonAlreadyExists, "there") },
			want:   &want{apply.Refused, "AlreadyExists: there"},
		},
		"forbidden": {
			answer: func(w http.ResponseWriter) { fail(w, 403, metav1.StatusReasonForbidden, "no") },
			want:   &want{apply.Refused, "Forbidden: no"},
		},
		"method": {
			answer: func(w http.ResponseWriter) { fail(w, 405, metav1.StatusReasonMethodNotAllowed, "no") },
			want:   &want{apply.Refused, "MethodNotAllowed: no"},
		},
		"overload": {
			answer: func(w http.ResponseWriter) {
				w.Header().Set("Retry-After", "1")
				fail(w, 429, metav1.StatusReasonTooManyRequests, "slow down")
			},
			want: &want{apply.Unknown, "TooManyRequests: slow down"},
		},
		"unavailable with Retry-After": {
			answer: func(w http.ResponseWriter) {
				w.Header().Set("Retry-After", "1")
				fail(w, 503, metav1.StatusReasonServiceUnavailable, "down")
			},
			want: &want{apply.Unknown, "ServiceUnavailable: down"},
		},
		"webhook away": {
			answer: func(w http.ResponseWriter) {
				fail(w, 500, metav1.StatusReasonInternalError, "failed calling webhook")
			},
			want: &want{apply.Unknown, "InternalError: failed calling webhook"},
		},
		"time-out": {
			answer: func(w http.ResponseWriter) { fail(w, 504, metav1.StatusReasonTimeout, "late") },
			want:   &want{apply.Unknown, "Timeout: late"},
		},
		"a proxy's page": {
			answer: func(w http.ResponseWriter) { w.WriteHeader(502); fmt.Fprint(w, "<html>bad gateway</html>") },
			want:   &want{apply.Unknown, ""},
		},
		"lost": {
			answer: func(w http.ResponseWriter) { lose(w) },
			want:   &want{apply.Unknown, "the connection to the server was lost"},
		},
	}
	object := func() *unstructured.Unstructured { return &unstructured.Unstructured{Object: machine("m")} }
	for name, test := range tests {
		for _, mode := range []apply.Mode{apply.Commit, apply.DryRun} {
			t.Run(fmt.Sprintf("%s, mode %d", name, mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &server{t: t, served: []served{core}}
					s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
						if r.Method == http.MethodGet {
							return false
						}
						test.answer(w)
						return true
					}
					c := s.client()
					writes := map[string]error{
						"POST " + listPath:  c.Create(t.Context(), object(), mode),
						"PATCH " + onePath:  c.Patch(t.Context(), one.Ref, "cluster.x-k8s.io/v1beta2", []byte(`[]`), mode),
						"DELETE " + onePath: c.Delete(t.Context(), one.Ref, "cluster.x-k8s.io/v1beta2", "the-uid", "7", mode),
					}
					for path, err := range writes {
						query := "?fieldManager=nodepool&fieldValidation=Strict"
						if mode == apply.DryRun {
							query = "?dryRun=All&fieldManager=nodepool&fieldValidation=Strict"
						}
						if strings.HasPrefix(path, "DELETE ") {
							query = "" // all of it is in the body
						}
						if diff := cmp.Diff([]string{path + query}, s.asked(strings.Fields(path)[0])); diff != "" {
							t.Error(diff)
						}
						if test.want == nil {
							if err != nil {
								t.Errorf("%s: %v", path, err)
							}
							continue
						}
						var failure *apply.WriteError
						if !errors.As(err, &failure) {
							t.Fatalf("%s: got %v, want a *WriteError", path, err)
						}
						got := want{failure.Outcome, failure.Words}
						if test.want.Words == "" {
							got.Words = ""
						}
						if diff := cmp.Diff(*test.want, got); diff != "" {
							t.Errorf("%s: %s", path, diff)
						}
					}
				})
			})
		}
	}
}

// A delete carries its preconditions and the dry run in its body.
func TestDeletePreconditions(t *testing.T) {
	for mode, dryRun := range map[apply.Mode][]string{apply.Commit: nil, apply.DryRun: {"All"}} {
		s := &server{t: t, served: []served{core}}
		var got metav1.DeleteOptions
		s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.Method == http.MethodGet {
				return false
			}
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
			reply(w, 200, metav1.Status{Status: metav1.StatusSuccess})
			return true
		}
		if err := s.client().Delete(t.Context(), one.Ref, "cluster.x-k8s.io/v1beta2", "the-uid", "7", mode); err != nil {
			t.Fatal(err)
		}
		version := "7"
		want := metav1.NewUIDPreconditions("the-uid")
		want.ResourceVersion = &version
		if diff := cmp.Diff(want, got.Preconditions); diff != "" {
			t.Errorf("preconditions (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(dryRun, got.DryRun); diff != "" {
			t.Errorf("dry run (-want +got):\n%s", diff)
		}
	}
}

func TestWriteOfKindNotServed(t *testing.T) {
	s := &server{t: t, served: []served{core}}
	err := s.client().Patch(t.Context(), ref(infra, "AWSMachineTemplate", "a"), infra+"/v1beta2", []byte(`[]`), apply.Commit)
	var failure *apply.WriteError
	if !errors.As(err, &failure) || failure.Outcome != apply.Refused {
		t.Errorf("got %v, want a refusal", err)
	}
}

// What was sent does not come back in the words, whatever a webhook does.
func TestWordsWithholdWhatWasSent(t *testing.T) {
	s := &server{t: t, served: []served{{"bootstrap.cluster.x-k8s.io/v1beta2", []string{"KubeadmConfigTemplate"}}}}
	s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodGet {
			return false
		}
		fail(w, 403, metav1.StatusReasonForbidden, "admission webhook \"x\" denied the request: file holds\n  hunter2-hunter2\nwhich is weak")
		return true
	}
	c := s.client()
	writes := []error{
		c.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfigTemplate",
			"metadata": map[string]any{"name": "a", "namespace": "default"},
			"spec":     map[string]any{"files": []any{map[string]any{"content": "#!/bin/sh\nhunter2-hunter2\n"}}},
		}}, apply.Commit),
		c.Patch(t.Context(), ref("bootstrap.cluster.x-k8s.io", "KubeadmConfigTemplate", "a"), "bootstrap.cluster.x-k8s.io/v1beta2",
			[]byte(`[{"op":"add","path":"/spec/x","value":"hunter2-hunter2"}]`), apply.Commit),
	}
	for _, err := range writes {
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "which is weak") {
			t.Errorf("got %v", err)
		}
	}
}

func TestWarnings(t *testing.T) {
	s := &server{t: t, served: []served{core}}
	s.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if r.URL.Path != onePath {
			return false
		}
		w.Header().Add("Warning", `299 - "v1beta1 is deprecated"`)
		w.Header().Add("Warning", `299 - "number `+strconv.Itoa(n)+`"`)
		reply(w, 200, machine("m"))
		return true
	}
	c := s.client()
	for range 2 {
		if _, err := c.Fetch(t.Context(), []plan.Selector{one}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"v1beta1 is deprecated", "number 1", "number 2"}, c.Warnings()); diff != "" {
		t.Error(diff)
	}
}

func TestWatchFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, served: []served{core}}
		var down atomic.Bool
		s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.URL.Path != listPath {
				return false
			}
			if down.Load() {
				fail(w, 503, metav1.StatusReasonServiceUnavailable, "down")
				return true
			}
			if r.URL.Query().Get("watch") != "" {
				return false
			}
			if v := r.URL.Query().Get("resourceVersion"); v == "0" {
				t.Error("a list from the server's cache was asked for")
			}
			reply(w, 200, machineList("", machine("a")))
			return true
		}
		c := s.client()
		feed, err := c.Watch(t.Context(), []plan.Selector{machines})
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Stop()
		names := func() string {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			snapshot, err := feed.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			// Match by kind alone: the test's machines have no labels.
			for _, o := range snapshot.List(plan.Selector{Ref: machines.Ref}) {
				if o.GetManagedFields() != nil {
					t.Error("managed fields are held")
				}
				out = append(out, o.GetName()+"@"+o.GetResourceVersion())
			}
			return strings.Join(out, " ")
		}
		if got := names(); got != "a@7" {
			t.Errorf("first %s", got)
		}
		b := machine("b")
		b["metadata"].(map[string]any)["resourceVersion"] = "11"
		s.send(listPath, "ADDED", b)
		if got := names(); got != "a@7 b@11" {
			t.Errorf("then %s", got)
		}

		// The server goes away and comes back: the feed bears it, and says why
		// nothing comes.
		down.Store(true)
		s.drop(listPath)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		if _, err := feed.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while the server is away Next gives %v", err)
		}
		cancel()
		trouble := feed.(*kube.Feed).Trouble()
		if trouble == nil || !strings.Contains(trouble.Error(), "down") {
			t.Errorf("the trouble is %v", trouble)
		}
		down.Store(false)
		time.Sleep(2 * time.Minute) // in the bubble: the reflector's backoff ends
		synctest.Wait()
		if trouble := feed.(*kube.Feed).Trouble(); trouble != nil {
			t.Errorf("once it is back the trouble is %v", trouble)
		}
		s.send(listPath, "DELETED", b)
		if got := names(); got != "a@7" {
			t.Errorf("at last %s", got)
		}
		feed.Stop()
		if _, err := feed.Next(t.Context()); !errors.Is(err, kube.ErrStopped) {
			t.Errorf("a stopped feed gives %v", err)
		}
	})
}

// An API server that cannot fill its cache of a kind either refuses each watch of
// it or takes it and sends nothing. Either way the feed says so.
func TestWatchWithoutFirstContent(t *testing.T) {
	for name, test := range map[string]struct {
		silent bool
		says   string
	}{
		"the server sends nothing":       {silent: true, says: "the server took a watch and sends nothing of machines.cluster.x-k8s.io in v1beta2; its log"},
		"the server refuses for a while": {says: "storage is (re)initializing"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var well atomic.Bool
				s := &server{t: t, served: []served{core}, silent: test.silent}
				s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
					query := r.URL.Query()
					switch {
					case r.URL.Path != listPath:
						return false
					case query.Get("watch") == "":
						reply(w, 200, machineList("", machine("a")))
					case query.Get("sendInitialEvents") != "" && !test.silent && !well.Load():
						fail(w, 429, metav1.StatusReasonTooManyRequests, "storage is (re)initializing")
					default:
						return false
					}
					return true
				}
				began := time.Now()
				feed, err := s.client().Watch(t.Context(), []plan.Selector{machines})
				if err != nil {
					t.Fatal(err)
				}
				defer feed.Stop()
				if took := time.Since(began); took > time.Minute {
					t.Errorf("the watch took %s to begin", took)
				}
				next := func(patience time.Duration) error {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					_, err := feed.Next(ctx)
					return err
				}
				if err := next(5 * time.Second); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("without content Next gives %v", err)
				}
				if trouble := feed.(*kube.Feed).Trouble(); trouble == nil || !strings.Contains(trouble.Error(), test.says) {
					t.Errorf("the trouble is %v, want %q", trouble, test.says)
				}
				if test.silent {
					return
				}
				well.Store(true)
				if err := next(2 * time.Minute); err != nil {
					t.Errorf("once the server is well Next gives %v", err)
				}
				if trouble := feed.(*kube.Feed).Trouble(); trouble != nil {
					t.Errorf("once it is well the trouble is %v", trouble)
				}
			})
		})
	}
}

func TestWatchMissingRights(t *testing.T) {
	for _, verb := range []string{"list", "watch"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{t: t, served: []served{core}}
				s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
					if r.URL.Path != listPath {
						return false
					}
					watches := r.URL.Query().Get("watch") != ""
					if watches == (verb == "watch") {
						fail(w, 403, metav1.StatusReasonForbidden, "no")
						return true
					}
					if watches {
						return false
					}
					reply(w, 200, machineList("", machine("a")))
					return true
				}
				c := s.client()
				_, err := c.Watch(t.Context(), []plan.Selector{machines})
				var forbidden *apply.ForbiddenError
				if !errors.As(err, &forbidden) || forbidden.Verb != verb {
					t.Errorf("got %v, want that the right to %s is missing", err, verb)
				}
				optional := machines
				optional.Optional = true
				feed, err := c.Watch(t.Context(), []plan.Selector{optional})
				if err != nil {
					t.Fatal(err)
				}
				defer feed.Stop()
				snapshot, err := feed.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if why, unread := snapshot.Unread(optional); !unread || !strings.Contains(why, verb) {
					t.Errorf("unread %v: %q", unread, why)
				}
			})
		})
	}
}

func TestOpen(t *testing.T) {
	write := func(t *testing.T, name, context, namespace string) string {
		path := filepath.Join(t.TempDir(), name)
		text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %s
clusters: [{name: c, cluster: {server: https://%s.example:6443}}]
users: [{name: u, user: {token: t}}]
contexts:
- {name: %s, context: {cluster: c, user: u, namespace: %s}}
- {name: other, context: {cluster: c, user: u}}
`, context, name, context, namespace)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	type where struct{ Host, Context, Namespace string }
	tests := map[string]struct {
		config  func(t *testing.T) kube.Config
		want    where
		problem string
	}{
		"KUBECONFIG": {
			config: func(t *testing.T) kube.Config {
				t.Setenv("KUBECONFIG", write(t, "env", "one", "team"))
				return kube.Config{}
			},
			want: where{"https://env.example:6443", "one", "team"},
		},
		"a file goes before": {
			config: func(t *testing.T) kube.Config {
				t.Setenv("KUBECONFIG", write(t, "env", "one", "team"))
				return kube.Config{Kubeconfig: write(t, "flag", "two", "x")}
			},
			want: where{"https://flag.example:6443", "two", "x"},
		},
		"a context": {
			config: func(t *testing.T) kube.Config {
				t.Setenv("KUBECONFIG", write(t, "env", "one", "team"))
				return kube.Config{Context: "other"}
			},
			want: where{"https://env.example:6443", "other", "default"},
		},
		"a context that is not there": {
			config: func(t *testing.T) kube.Config {
				t.Setenv("KUBECONFIG", write(t, "env", "one", "team"))
				return kube.Config{Context: "gone"}
			},
			problem: "gone",
		},
		"a file that is not there": {
			config: func(t *testing.T) kube.Config {
				return kube.Config{Kubeconfig: filepath.Join(t.TempDir(), "gone")}
			},
			problem: "gone",
		},
		"nothing": {
			config: func(t *testing.T) kube.Config {
				t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "gone"))
				t.Setenv("KUBERNETES_SERVICE_HOST", "")
				return kube.Config{}
			},
			problem: "no kubeconfig was found",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := kube.Open(test.config(t))
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Errorf("got %v, want %q in it", err, test.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, where{c.Host(), c.Context(), c.Namespace()}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWatchKeepsNoMoreThanIsAskedFor holds what a feed keeps of each object:
// there are thousands of them.
func TestWatchKeepsNoMoreThanIsAskedFor(t *testing.T) {
	const group = "bootstrap.cluster.x-k8s.io"
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, served: []served{{group + "/v1beta2", []string{"KubeadmConfig", "KubeadmConfigTemplate"}}}}
		s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.URL.Query().Get("watch") != "" || !strings.Contains(r.URL.Path, "/namespaces/") {
				return false
			}
			kind := "KubeadmConfig"
			if strings.HasSuffix(r.URL.Path, "templates") {
				kind += "Template"
			}
			reply(w, 200, map[string]any{"kind": kind + "List", "apiVersion": group + "/v1beta2", "metadata": map[string]any{"resourceVersion": "7"},
				"items": []any{map[string]any{"kind": kind, "apiVersion": group + "/v1beta2",
					"metadata": map[string]any{"name": "a", "namespace": "default", "resourceVersion": "6", "managedFields": []any{map[string]any{"manager": "m"}}},
					"spec":     map[string]any{"files": []any{map[string]any{"content": "secret"}}}, "status": map[string]any{"ready": true}}}})
			return true
		}
		config := plan.Selector{Ref: plan.Ref{Group: group, Kind: "KubeadmConfig", Namespace: "default"}}
		template := plan.Selector{Ref: plan.Ref{Group: group, Kind: "KubeadmConfigTemplate", Namespace: "default"}}
		feed, err := s.client().Watch(t.Context(), []plan.Selector{config, template})
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Stop()
		snap, err := feed.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		kept := func(sel plan.Selector) []string {
			var out []string
			for _, o := range snap.List(sel) {
				for k := range o.Object {
					out = append(out, k)
				}
				if o.GetManagedFields() != nil {
					out = append(out, "managedFields")
				}
			}
			slices.Sort(out)
			return out
		}
		if diff := cmp.Diff([]string{"apiVersion", "kind", "metadata", "status"}, kept(config)); diff != "" {
			t.Errorf("of a bootstrap config (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"apiVersion", "kind", "metadata", "spec", "status"}, kept(template)); diff != "" {
			t.Errorf("of a bootstrap template (-want +got):\n%s", diff)
		}
	})
}
