package kube_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodepool/apply"
)

const reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

// TestDenied answers reviews by the words "verb resource name".
func TestDenied(t *testing.T) {
	right := func(verb, kind, name string) apply.Right {
		return apply.Right{Verb: verb, Group: "cluster.x-k8s.io", Kind: kind, Namespace: "default", Name: name}
	}
	var mu sync.Mutex
	asked := map[string]int{}
	s := &server{t: t, served: []served{core, {infra + "/v1beta2", []string{"AWSMachineTemplate"}}, {infra + "/v1beta1", []string{"AWSMachineTemplate"}}}}
	s.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if strings.Contains(r.URL.Path, "customresourcedefinitions") {
			fail(w, 403, metav1.StatusReasonForbidden, "no")
			return true
		}
		if r.Method+r.URL.Path != "POST"+reviews {
			return false
		}
		var review struct {
			Kind string
			Spec struct {
				ResourceAttributes struct{ Verb, Group, Resource, Namespace, Name string }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Kind != "SelfSubjectAccessReview" {
			t.Errorf("%v in %+v", err, review)
		}
		a := review.Spec.ResourceAttributes
		words := strings.TrimSpace(fmt.Sprintf("%s %s.%s %s %s", a.Verb, a.Resource, a.Group, a.Namespace, a.Name))
		mu.Lock()
		asked[words]++
		first := asked[words] == 1
		mu.Unlock()
		if first && strings.HasPrefix(words, "watch") {
			fail(w, 500, metav1.StatusReasonInternalError, "not now")
			return true
		}
		allowed := a.Verb == "watch" || a.Verb == "patch" && a.Name == "mine"
		reply(w, 201, map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
			"status": map[string]any{"allowed": allowed}})
		return true
	}
	denied, err := s.client().Denied(t.Context(), []apply.Right{
		right("list", "Machine", ""),
		right("watch", "Machine", ""),
		right("patch", "MachineDeployment", "mine"),
		right("patch", "MachineDeployment", "theirs"),
		right("get", "MachineDeployment", "a"),
		right("get", "MachineDeployment", "b"),
		{Verb: "get", Group: infra, Kind: "AWSMachineTemplate", Namespace: "default"},
		{Verb: "get", Group: infra, Kind: "Unheard", Namespace: "default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range denied {
		got = append(got, d.What()+" "+d.Name)
	}
	want := []string{
		"list machines.cluster.x-k8s.io in namespace default ",
		"patch machinedeployments.cluster.x-k8s.io in namespace default theirs",
		"get machinedeployments.cluster.x-k8s.io in namespace default ",
		"get customresourcedefinitions.apiextensions.k8s.io in the whole cluster awsmachinetemplates." + infra,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := asked["watch machines.cluster.x-k8s.io default"]; n != 2 {
		t.Errorf("a question that failed was asked %d times, want twice", n)
	}
}

// TestDeniedByRules is about a server that tells all that the caller may do: only
// what this does not show is asked for by itself.
func TestDeniedByRules(t *testing.T) {
	rule := func(verbs, resources string, names ...string) map[string]any {
		return map[string]any{"verbs": strings.Fields(verbs), "apiGroups": []string{"cluster.x-k8s.io"}, "resources": strings.Fields(resources), "resourceNames": names}
	}
	rules := []any{rule("list watch", "machines"), rule("patch", "*", "mine"), rule("*", "machinedeployments/status"),
		map[string]any{"verbs": []string{"get"}, "apiGroups": []string{""}, "resources": []string{"configmaps"}},
		map[string]any{"verbs": []string{"*"}, "apiGroups": []string{"*"}, "resources": []string{"leases"}}}
	right := func(verb, group, kind string) apply.Right {
		return apply.Right{Verb: verb, Group: group, Kind: kind, Namespace: "default"}
	}
	covered := []apply.Right{right("list", "cluster.x-k8s.io", "Machine"), right("watch", "cluster.x-k8s.io", "Machine"),
		right("get", "", "ConfigMap"), right("delete", "coordination.k8s.io", "Lease")}
	others := []apply.Right{right("patch", "cluster.x-k8s.io", "MachineDeployment"), right("get", "cluster.x-k8s.io", "MachineDeployment"),
		right("update", "", "ConfigMap"), right("get", "", "Secret")}
	for name, test := range map[string]struct {
		status map[string]any
		asked  int
	}{
		"all that is allowed": {map[string]any{"incomplete": false, "resourceRules": rules}, len(others)},
		"not all":             {map[string]any{"incomplete": true, "resourceRules": rules}, len(others) + len(covered)},
		"nothing":             {map[string]any{}, len(others) + len(covered)},
		"no answer":           {nil, len(others) + len(covered)},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{t: t, served: []served{core}}
			s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				switch {
				case strings.HasSuffix(r.URL.Path, "/selfsubjectrulesreviews") && test.status != nil:
					reply(w, 201, map[string]any{"status": test.status})
				case r.URL.Path == reviews:
					reply(w, 201, map[string]any{"status": map[string]any{"allowed": false}})
				default:
					return false
				}
				return true
			}
			c := s.client()
			denied, err := c.Denied(t.Context(), slices.Concat(covered, others))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(s.asked(reviews)); n != test.asked || len(denied) != test.asked {
				t.Errorf("%d rights were asked for and %d denied, want %d: %v", n, len(denied), test.asked, denied)
			}
			if _, err := c.Denied(t.Context(), covered); err != nil {
				t.Error(err)
			}
			if n := len(s.asked("/selfsubjectrulesreviews")); n != 1 {
				t.Errorf("the rules were asked for %d times", n)
			}
		})
	}
}

// TestDeniedCannotBeAsked is about servers that do not answer the question.
func TestDeniedCannotBeAsked(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"forbidden": func(w http.ResponseWriter) { fail(w, 403, metav1.StatusReasonForbidden, "no") },
		"unheard":   func(w http.ResponseWriter) { fail(w, 404, metav1.StatusReasonNotFound, "no") },
		"no answer": func(w http.ResponseWriter) {
			reply(w, 201, map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{t: t, served: []served{core}}
			s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.URL.Path == reviews {
					answer(w)
				}
				return r.URL.Path == reviews
			}
			denied, err := s.client().Denied(t.Context(), []apply.Right{{Verb: "list", Group: "cluster.x-k8s.io", Kind: "Machine", Namespace: "default"}})
			if err == nil || len(denied) > 0 {
				t.Errorf("got %v, %v, want an error alone", denied, err)
			}
		})
	}
}
