package kube_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodepool/plan"
)

// TestFetchTogether reads many objects of one kind by a list, where that takes
// fewer requests, and answers as if each had been read by itself.
func TestFetchTogether(t *testing.T) {
	many := int64(5000)
	tests := map[string]struct {
		ask, there  int
		left        *int64 // what the server says remains behind the first page
		forbidden   bool
		lists, gets int
	}{
		"few":                   {ask: 8, there: 8, gets: 8},
		"many":                  {ask: 9, there: 9, lists: 1},
		"some are not there":    {ask: 20, there: 5, lists: 1},
		"none is there":         {ask: 20, lists: 1},
		"too many others":       {ask: 10, there: 10, left: &many, lists: 1, gets: 10},
		"no right to list them": {ask: 20, there: 20, forbidden: true, lists: 1, gets: 20},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			const path = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines"
			s := &server{t: t, served: []served{core}}
			s.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				one, single := strings.CutPrefix(r.URL.Path, path+"/m")
				switch {
				case single:
					var n int
					if _, err := fmt.Sscan(one, &n); err != nil || n >= test.there {
						fail(w, 404, metav1.StatusReasonNotFound, "no such machine")
					} else {
						reply(w, 200, machine("m"+one))
					}
				case r.URL.Path == path && test.forbidden:
					fail(w, 403, metav1.StatusReasonForbidden, "no")
				case r.URL.Path == path:
					items := []any{machine("stranger")}
					for i := range test.there {
						items = append(items, machine(fmt.Sprintf("m%d", i)))
					}
					meta := map[string]any{}
					if test.left != nil {
						meta = map[string]any{"remainingItemCount": *test.left, "continue": "more"}
					}
					reply(w, 200, map[string]any{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineList", "metadata": meta, "items": items})
				default:
					return false
				}
				return true
			}
			c := s.client()
			var asked []plan.Selector
			for i := range test.ask {
				asked = append(asked, plan.Selector{Ref: plan.Ref{Group: "cluster.x-k8s.io", Kind: "Machine", Namespace: "default", Name: fmt.Sprintf("m%d", i)}})
			}
			snap, err := c.Fetch(t.Context(), asked)
			if err != nil {
				t.Fatal(err)
			}
			for i, sel := range asked {
				if _, there := snap.Object(sel.Ref); there != (i < test.there) || !snap.Asked(sel) {
					t.Errorf("%s: there %v, asked %v", sel.Name, there, snap.Asked(sel))
				}
			}
			if _, there := snap.Object(plan.Ref{Group: "cluster.x-k8s.io", Kind: "Machine", Namespace: "default", Name: "stranger"}); there {
				t.Error("an object that nobody asked for is in the snapshot")
			}
			gets := len(s.asked("GET " + path + "/"))
			if lists := len(s.asked("GET "+path)) - gets; lists != test.lists || gets != test.gets {
				t.Errorf("%d lists and %d gets, want %d and %d", lists, gets, test.lists, test.gets)
			}
		})
	}
}
