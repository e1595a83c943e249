package kube_test

import (
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestUser asks once who the caller is, and takes no for an answer.
func TestUser(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
		fails  bool
	}{
		"known": {func(w http.ResponseWriter) {
			reply(w, 201, map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
				"status": map[string]any{"userInfo": map[string]any{"username": "bob"}}})
		}, "bob", false},
		"too old": {func(w http.ResponseWriter) { fail(w, 404, metav1.StatusReasonNotFound, "no") }, "", true},
		"away":    {func(w http.ResponseWriter) { fail(w, 500, metav1.StatusReasonInternalError, "no") }, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			s := &server{t: t, served: []served{core}}
			s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.URL.Path != "/apis/authentication.k8s.io/v1/selfsubjectreviews" {
					return false
				}
				asked++
				tc.answer(w)
				return true
			}
			got, err := s.client().User(t.Context())
			if got != tc.want || (err != nil) != tc.fails || asked != 1 {
				t.Errorf("%q, %v, after %d questions", got, err, asked)
			}
		})
	}
}
