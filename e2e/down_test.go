//go:build e2e

package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// downs are stalls for which a part of the sandbox is stopped.
var downs = []stall{
	{name: "controllers that are down", cause: "controllers-silent", kind: "MachineDeployment", suspected: "", says: []string{"has not acted on generation"}},
	{name: "a provider that is down", cause: "infrastructure-not-ready", kind: "AWSMachine", says: []string{"no controller seems to take care of it"}},
}

// TestControllersDown stops what all other tests need, so it does not run beside
// them.
func TestControllersDown(t *testing.T) {
	c := newCluster(t, "down", "--pools", "aws:1,aws:1,aws:1")
	table := newStallTable(t)
	start := func(t *testing.T) {
		t.Helper()
		sandboxCommand(t, "start", "--dir", box.dir, "controllers")
	}
	write := func(t *testing.T, n int) *scene {
		at := &scene{cluster: c, pool: c.pool(n), ami: image(c.pool(n))}
		at.file = c.upgrade(t, at.pool, pool{"name": at.pool, "kubernetesVersion": newVersion, "machineImage": at.ami, "wait": map[string]any{"stallAfter": "10s"}})
		return at
	}
	once := func(t *testing.T, at *scene) {
		t.Helper()
		if w := c.writesOf(t, at.pool); len(w) != 2 {
			t.Errorf("writes %v, want one template and one patch", w)
		}
	}

	t.Run("a webhook that is down is waited for", func(t *testing.T) {
		at, n := write(t, 0), newCLI(t)
		var refused int
		var mu sync.Mutex
		n.kubeconfig = proxy{
			request: func(r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if !isWrite(r, http.MethodPatch, "machinedeployments") {
					return true
				}
				switch refused {
				case 0:
					sandboxCommand(t, "stop", "--dir", box.dir, "controllers")
				case 2:
					start(t)
				}
				refused++
				return true
			},
		}.serve(t)
		r := carryOn(t, n, at.file).exits(t, 0)
		if !strings.Contains(r.Stdout, "failed calling webhook") || refused < 3 {
			t.Errorf("%d tries, and it did not say that a webhook fails\n%s", refused, r)
		}
		once(t, at)
	})

	t.Run(downs[0].name, func(t *testing.T) {
		at, n := write(t, 1), newCLI(t)
		restore := withoutWebhooks(t, "machinedeployment")
		sandboxCommand(t, "stop", "--dir", box.dir, "controllers")
		r := n.run(t, "apply", "-f", at.file, "--auto-approve", "--progress", "plain")
		start(t)
		restore()
		r.exits(t, 5)
		explainDown(t, downs[0], r)
		if !t.Failed() {
			table.add(t, downs[0].name, at, r)
		}
		carryOn(t, n, at.file).exits(t, 0)
		once(t, at)
	})

	t.Run(downs[1].name, func(t *testing.T) {
		at, n := write(t, 2), newCLI(t)
		sandboxCommand(t, "fault", "set", "--dir", box.dir, "provider-down")
		r := n.run(t, "apply", "-f", at.file, "--auto-approve", "--progress", "plain")
		sandboxCommand(t, "fault", "clear", "--dir", box.dir, "provider-down")
		r.exits(t, 5)
		explainDown(t, downs[1], r)
		if !t.Failed() {
			table.add(t, downs[1].name, at, r)
		}
		carryOn(t, n, at.file).exits(t, 0)
		once(t, at)
		if diff := cmp.Diff([]machine{{Version: newVersion, Template: c.template(t, at.pool), Image: at.ami, Type: "m5.large"}}, c.machines(t, at.pool)); diff != "" {
			t.Errorf("machines (-want +got):\n%s", diff)
		}
	})
}

// withoutWebhooks lets writes of one kind pass while their webhooks are down.
func withoutWebhooks(t *testing.T, kind string) (restore func()) {
	t.Helper()
	set := func(policy string) {
		for _, resource := range []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"} {
			of := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource}
			for _, o := range box.list(t, of, "", "") {
				hooks, _, err := unstructured.NestedSlice(o.Object, "webhooks")
				if err != nil {
					t.Fatal(err)
				}
				changed := false
				for _, h := range hooks {
					if h := h.(map[string]any); strings.Contains(h["name"].(string), "."+kind+".") {
						h["failurePolicy"], changed = policy, true
					}
				}
				if !changed {
					continue
				}
				o.Object["webhooks"] = hooks
				if _, err := box.client.Resource(of).Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	set("Ignore")
	return func() { set("Fail") }
}

// explainDown checks what was said; there was nothing to say before the time was
// up but what is waited for.
func explainDown(t *testing.T, s stall, r result) {
	t.Helper()
	s.suspected = map[string]string{"controllers-silent": "", "infrastructure-not-ready": "infrastructure"}[s.cause]
	if s.suspected == "" {
		if !strings.Contains(r.Stdout, "has not acted on generation") {
			t.Errorf("it did not say what it waits for\n%s", r)
		}
		for _, want := range []string{s.cause + ": ", "  Next: ", "run the same command again"} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("it does not say %q\n%s", want, r)
			}
		}
		return
	}
	s.explained(t, r)
}
