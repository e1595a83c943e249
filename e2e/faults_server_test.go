//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// serverMoment is a point of an apply: the first request of a phase that is as
// wanted.
type serverMoment struct {
	name  string
	phase phase
	at    func(request) bool
}

func is(method, resource string) func(request) bool {
	return func(q request) bool { return q.method == method && q.resource == resource && !q.dryRun }
}

// A moment in the middle of every kind of step, and before and after them.
var serverMoments = []serverMoment{
	{"the look for the plan", planning, is(http.MethodGet, "machinedeployments")},
	{"taking the lock", writing, is(http.MethodPost, "leases")},
	{"opening the journal", writing, is(http.MethodPost, "configmaps")},
	{"the create", writing, is(http.MethodPost, "awsmachinetemplates")},
	{"the patch", writing, is(http.MethodPatch, "machinedeployments")},
	{"the first watch", waiting, anyWatch},
	{"closing the journal", waiting, is(http.MethodPut, "configmaps")},
	{"giving the lock back", waiting, is(http.MethodDelete, "leases")},
}

// The API server, or its store, is killed in the middle of every kind of step
// and started again. All other tests wait meanwhile: they share the sandbox, and
// this test is not parallel.
func TestFaultsServersDie(t *testing.T) {
	b := newFaultBench(t, "servers")
	out := newOutcomes(t, "servers")
	for _, at := range serverMoments {
		for _, process := range []string{"apiserver", "etcd"} {
			for _, when := range []string{"before", "behind"} {
				short := at.name == "the patch" && when == "behind"
				if faultsShort && !short || when == "behind" && at.name == "the first watch" { // a watch has no end to be lost
					continue
				}
				t.Run(fmt.Sprintf("%s killed %s %s", process, when, at.name), func(t *testing.T) {
					up := b.upgrade(t, "3m")
					up.serverKilled = process == "apiserver"
					kill := func() {
						// It returns when there is another process, which is not yet ready.
						if text, err := exec.CommandContext(t.Context(), box.program, "kill", "--dir", box.dir, process).CombinedOutput(); err != nil {
							t.Errorf("kill %s: %v\n%s", process, err, text)
						}
					}
					strikes := func(q request) bool { return q.phase == at.phase && at.at(q) }
					m := &meddler{at: strikes, n: 1, fault: proxyFault{do: func(s *stroke) {
						if when == "behind" {
							s.losing(kill)
						}
						kill()
						s.pass()
					}}}
					n := b.cli
					n.kubeconfig = m.proxy().serve(t)
					first := n.run(t, "apply", "-f", up.file, "--auto-approve")
					struck := m.struck()
					row := process + " killed " + when + " @ " + at.name
					out.ran(row, first.Code, struck)
					if !struck {
						t.Errorf("the moment did not come\n%s", first)
					}
					// A server that takes long to come back is told as what it is.
					if !slices.Contains([]int{0, 1}, first.Code) {
						t.Errorf("exit code %d\n%s", first.Code, first)
					}
					awaitServer(t)
					b.truthful(t, up, first, b.auditedAfterCrash(t, up))
					b.cli.run(t, "apply", "-f", up.file, "--auto-approve").exits(t, 0)
					b.check(t, up, b.auditedAfterCrash(t, up))
					if !t.Failed() {
						out.survived(row, struck)
					}
				})
			}
		}
	}
}

// awaitServer waits until the sandbox is ready again. What it told of itself
// may be of the process that was killed, so the server is asked, too.
func awaitServer(t *testing.T) {
	t.Helper()
	sandboxCommand(t, "up", "--dir", box.dir, "--seed=false", "--timeout", patience.String())
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		_, err := box.client.Resource(configMaps).Namespace("default").List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	})
	if err != nil {
		t.Fatal("the API server does not come back: ", err)
	}
}

// auditedAfterCrash is audited where the server may have been killed between a
// write and its line in the record: what is missing there, and is to be seen in
// the cluster, is put in its place.
func (b *faultBench) auditedAfterCrash(t *testing.T, up upgradeCase) []audited {
	t.Helper()
	all := b.audited(t)
	got := up.written(all)
	create, patch := write{"create", "awsmachinetemplates", up.template}, write{"patch", "machinedeployments", b.pool}
	missing := func(w write) audited { return audited{write: w, product: true, code: http.StatusOK} }
	if !slices.Contains(got, create) && slices.Contains(b.templates(t), up.template) {
		all = slices.Insert(all, up.before, missing(create))
		t.Logf("the server was killed before it had recorded the create")
	}
	if !slices.Contains(got, patch) && b.template(t, b.pool) == up.template {
		all = append(all, missing(patch))
		t.Logf("the server was killed before it had recorded the patch")
	}
	return all
}
