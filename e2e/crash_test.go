//go:build e2e

package e2e_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var errLost = errors.New("the reply is lost")

// ending is how and when a run is ended by a signal.
type ending struct {
	name   string
	signal syscall.Signal
	// proxy, when it is set, strikes by itself. event says at which line of
	// the progress the test strikes; without both it strikes at once.
	proxy func(strike func()) proxy
	event func(event) bool
	// written is how many writes the server has carried out by then; -1 when
	// that is left to chance.
	written int
	// forgets tells that the journal is lost in between.
	forgets bool
}

// on makes a proxy that strikes when a write arrives; forward says whether the
// server gets the write.
func on(method, resource string, forward bool) func(func()) proxy {
	return func(strike func()) proxy {
		return proxy{request: func(r *http.Request) bool {
			if !isWrite(r, method, resource) {
				return true
			}
			strike()
			return forward
		}}
	}
}

// after makes a proxy that strikes when the server has carried a write out and
// then loses the reply.
func after(method, resource string) func(func()) proxy {
	return func(strike func()) proxy {
		return proxy{reply: func(r *http.Response) error {
			// A write that lost to another writer's was not carried out, and is tried again.
			if !isWrite(r.Request, method, resource) || r.StatusCode/100 != 2 {
				return nil
			}
			strike()
			return errLost
		}}
	}
}

// However a run ends, the next one carries on: one template, one patch, and
// nothing left to do.
func TestRunsThatDieAreCarriedOn(t *testing.T) {
	t.Parallel()
	waiting := func(e event) bool { return e.Type == "rolling" && e.Rollout.New == 1 }
	replaced := func(e event) bool { return e.Type == "rolling" && e.Rollout.NewReady == 1 && e.Rollout.Old == 1 }
	const create, patch = "awsmachinetemplates", "machinedeployments"
	endings := []ending{
		{name: "killed at its start", signal: syscall.SIGKILL},
		{name: "killed when its journal is open", signal: syscall.SIGKILL, written: -1,
			event: func(e event) bool { return e.Type == "runStarted" }},
		{name: "killed with the create under way", signal: syscall.SIGKILL, proxy: on(http.MethodPost, create, false)},
		{name: "killed behind the create", signal: syscall.SIGKILL, proxy: after(http.MethodPost, create), written: 1},
		{name: "killed behind the create, journal lost", signal: syscall.SIGKILL, proxy: after(http.MethodPost, create), written: 1, forgets: true},
		{name: "killed with the patch under way", signal: syscall.SIGKILL, proxy: on(http.MethodPatch, patch, false), written: 1},
		{name: "killed behind the patch", signal: syscall.SIGKILL, proxy: after(http.MethodPatch, patch), written: 2},
		{name: "killed behind the patch, journal lost", signal: syscall.SIGKILL, proxy: after(http.MethodPatch, patch), written: 2, forgets: true},
		{name: "killed with a new machine on its way", signal: syscall.SIGKILL, event: waiting, written: 2},
		{name: "killed with a new machine ready, journal lost", signal: syscall.SIGKILL, event: replaced, written: 2, forgets: true},
		{name: "interrupted with the create under way", signal: syscall.SIGINT, proxy: on(http.MethodPost, create, true), written: 1},
		{name: "interrupted with a new machine on its way", signal: syscall.SIGINT, event: waiting, written: 2},
		{name: "terminated with the patch under way", signal: syscall.SIGTERM, proxy: on(http.MethodPatch, patch, true), written: 2},
	}
	c := newCluster(t, "dying", "--pools", strings.TrimSuffix(strings.Repeat("aws:1,", len(endings)), ","))
	for i, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			name := c.pool(i)
			file := c.upgrade(t, name, pool{"name": name, "kubernetesVersion": newVersion, "machineImage": newImage, "instanceType": "m5.xlarge"})
			n := newCLI(t)
			template := n.plan(t, file).template(t)

			first := e.endRun(t, n, file)
			wantCode := 130
			if e.signal == syscall.SIGKILL {
				wantCode = -1
			}
			first.exits(t, wantCode)
			if wantCode == 130 && !strings.Contains(first.Stderr, "Run the same command again to carry on") {
				t.Errorf("it does not say how to go on\n%s", first)
			}
			if w := c.writesOf(t, name); e.written >= 0 && len(w) != e.written {
				t.Errorf("it wrote %v by then, want %d writes", w, e.written)
			}
			if e.forgets {
				forget(t, c, name)
			}

			n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 0)
			want := []write{{"create", create, template}, {"patch", patch, name}}
			got := c.writesOf(t, name)
			if e.written < 0 && !slices.Contains(got, want[0]) && c.abandoned(t, want[0]) {
				got = slices.Insert(got, 0, want[0])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("writes of both runs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]machine{{Version: newVersion, Template: template, Image: newImage, Type: "m5.xlarge"}}, c.machines(t, name)); diff != "" {
				t.Errorf("machines (-want +got):\n%s", diff)
			}
			n.nothingToDo(t, file)
		})
	}
}

// abandoned reports whether a write of the product was answered with an error of
// the server since its client had gone: it may have been carried out all the same
// (finishRequest of k8s.io/apiserver gives up on it and does not end it).
func (c cluster) abandoned(t *testing.T, w write) bool {
	t.Helper()
	return slices.ContainsFunc(c.audited(t), func(a audited) bool {
		return a.write == w && a.product && !a.dryRun && a.code >= http.StatusInternalServerError
	})
}

// endRun starts an apply and ends it as e says.
func (e ending) endRun(t *testing.T, n cli, file string) result {
	t.Helper()
	args := []string{"apply", "-f", file, "--auto-approve", "--progress", "json"}
	if e.proxy == nil {
		p := n.start(t, args...)
		if e.event != nil {
			p.until(t, "the signal could be sent", e.event)
		}
		p.signal(t, e.signal)
		return p.wait(t)
	}
	started := make(chan *process, 1)
	strike := sync.OnceFunc(func() {
		p := <-started
		if err := p.cmd.Process.Signal(e.signal); err != nil {
			t.Error(err)
		}
	})
	n.kubeconfig = e.proxy(strike).serve(t)
	p := n.start(t, args...)
	started <- p
	return p.wait(t)
}

// forget deletes the journal of an upgrade, of which there must be one.
func forget(t *testing.T, c cluster, upgrade string) {
	t.Helper()
	j := c.journal(t, upgrade)
	if err := box.client.Resource(configMaps).Namespace(c.namespace).Delete(t.Context(), j.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// journal gives the ConfigMap of an upgrade's journal.
func (c cluster) journal(t *testing.T, upgrade string) *unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, o := range box.list(t, configMaps, c.namespace, "nodepool/journal,cluster.x-k8s.io/cluster-name="+c.name) {
		if text(o, "data", "upgrade") == upgrade {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d journals of the upgrade %s, want one", len(found), upgrade)
	}
	return found[0]
}
