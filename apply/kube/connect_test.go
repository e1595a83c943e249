package kube_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"nodepool/apply/kube"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// TestOneConnection has many requests begin at once, before there is a connection.
func TestOneConnection(t *testing.T) {
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
			"metadata": map[string]any{"namespace": "default", "name": name}})
	}))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	defer s.Close()
	c, err := kube.New(&rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	c.Prepare(t.Context(), "default")
	var selectors []plan.Selector
	for _, name := range strings.Fields("a b c d e f g h") {
		selectors = append(selectors, plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "Machine", Namespace: "default", Name: name}})
	}
	if _, err := c.Fetch(t.Context(), selectors); err != nil {
		t.Fatal(err)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for requests that go together, want 1", n)
	}
}

// TestFirstRequestFails is about the requests that wait for the first one.
func TestFirstRequestFails(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	s := &server{t: t, served: []served{core}}
	s.broken = func(r *http.Request, _ int) error {
		if strings.HasSuffix(r.URL.Path, "/first") {
			begin()
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return errLost
		}
		return nil
	}
	s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		reply(w, 200, machine("second"))
		return true
	}
	c := s.client()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := c.Fetch(ctx, []plan.Selector{{Ref: ref(capi.Group, "Machine", "first")}})
		ended <- err
	}()
	<-begun
	waited, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	second := []plan.Selector{{Ref: ref(capi.Group, "Machine", "second")}}
	if _, err := c.Fetch(waited, second); err == nil || len(s.asked("/second")) > 0 {
		t.Errorf("a request did not wait for the first one: %v, %v", err, s.asked("/second"))
	}
	close(release)
	if _, err := c.Fetch(t.Context(), second); err != nil {
		t.Errorf("behind the first one: %v", err)
	}
	cancel()
	<-ended
}

// TestPrepareAsksForLabels: of a kind that is served in several versions the labels
// of its definition choose, and they are asked for before anybody waits for them;
// not where the group is that of several providers.
func TestPrepareAsksForLabels(t *testing.T) {
	const control, bootstrap, infra = "controlplane." + capi.Group, "bootstrap." + capi.Group, "infrastructure." + capi.Group
	kinds := strings.Fields("AMachine AMachineTemplate ACluster BMachine BMachineTemplate")
	for name, test := range map[string]struct {
		infra []string
		want  []string
	}{
		"one provider":  {kinds[:3], []string{"amachines." + infra, "amachinetemplates." + infra}},
		"two providers": {kinds, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{t: t, served: []served{{control + "/v1beta2", []string{"AControlPlane"}}, {control + "/v1beta1", []string{"AControlPlane"}},
					{bootstrap + "/v1beta2", []string{"AConfig"}}, {bootstrap + "/v1beta1", nil},
					{infra + "/v1beta2", test.infra}, {infra + "/v1beta1", test.infra}}}
				s.client().Prepare(t.Context(), "default")
				synctest.Wait()
				var got []string
				for _, asked := range s.asked("customresourcedefinitions") {
					got = append(got, asked[strings.LastIndex(asked, "/")+1:])
				}
				slices.Sort(got)
				want := append([]string{"acontrolplanes." + control}, test.want...)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}
