//go:build e2e

package e2e_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A run that holds the lock is frozen right before its patch, past its lease,
// while others go forth and back: the pool is as it was reviewed, to the last
// value, and the patch must all the same not be carried out.
func TestFaultsThawedHolder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "thawed", "--pools", "aws:1,aws:1", "--pool-version", newVersion)
	out := newOutcomes(t, "thawed")
	for i, name := range []string{
		// The patch is on its way, and no look of the holder's own can help it.
		"its patch arrives late",
		// The holder has looked at its lock, which was still its own.
		"it has looked at its lock",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &faultBench{cluster: c, pool: c.pool(i), cli: newCLI(t)}
			up := b.upgrade(t, "3m")
			freeze := make(chan *process, 1)
			frozen, thawed, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
			replied := sync.OnceFunc(func() { close(answered) })
			stop := sync.OnceFunc(func() {
				p := <-freeze
				p.signal(t, syscall.SIGSTOP)
				close(frozen)
			})
			looks := 0
			first := b.cli
			first.kubeconfig = proxy{
				request: func(r *http.Request) bool {
					if i == 0 && isWrite(r, http.MethodPatch, "machinedeployments") {
						stop()
						<-thawed
					}
					return true
				},
				reply: func(r *http.Response) error {
					if i == 0 && isWrite(r.Request, http.MethodPatch, "machinedeployments") {
						replied()
					}
					if i == 1 && r.Request.Method == http.MethodGet && strings.Contains(r.Request.URL.Path, "/leases/") {
						// It looks before the create, and before the patch.
						if looks++; looks == 2 {
							stop()
						}
					}
					return nil
				},
			}.serve(t)
			p := first.start(t, "apply", "-f", up.file, "--auto-approve")
			freeze <- p
			<-frozen
			before := b.template(t, b.pool)
			second := newCLI(t)
			forth := second.run(t, "apply", "-f", up.file, "--auto-approve").exits(t, 0)
			if !strings.Contains(forth.Stderr, "waiting up to 45s") {
				t.Errorf("the lock was not held\n%s", forth)
			}
			b.check(t, up, b.audited(t))
			second.run(t, "rollback", "-f", up.file, "--auto-approve").exits(t, 0)
			back := b.deployment(t, b.pool).Object["spec"]
			close(thawed)
			if i == 0 {
				// Awake, it would take its request back.
				<-answered
			}
			p.signal(t, syscall.SIGCONT)
			r := p.wait(t)
			out.ran(name+" @ forth and back", r.Code, true)
			// Which of the two it finds out first is left to chance: that its lock is
			// lost, or that the patch was refused since the run is not the one before.
			if !slices.Contains([]int{4, 6}, r.Code) || strings.Contains(r.Stderr, "Nothing was written") {
				t.Errorf("exit code %d, want 4 or 6, and what it wrote before\n%s", r.Code, r)
			}
			if diff := cmp.Diff(back, b.deployment(t, b.pool).Object["spec"]); diff != "" || b.template(t, b.pool) != before {
				t.Errorf("the thawed run wrote (-before +after):\n%s", diff)
			}
			if i == 0 && !slices.ContainsFunc(b.audited(t)[up.before:], func(a audited) bool {
				return a.product && a.Verb == "patch" && a.Name == b.pool && a.code/100 == 4
			}) {
				t.Errorf("the server has no record of the patch that it refused, only of %+v", b.audited(t)[up.before:])
			}
			md := write{"patch", "machinedeployments", b.pool}
			if diff := cmp.Diff([]write{{"create", "awsmachinetemplates", up.template}, md, md}, up.written(b.audited(t))); diff != "" {
				t.Errorf("writes of all three (-want +got):\n%s", diff)
			}

			again := len(b.audited(t))
			b.cli.run(t, "apply", "-f", up.file, "--auto-approve").exits(t, 0)
			up.before = again
			if diff := cmp.Diff([]write{md}, up.written(b.audited(t))); diff != "" {
				t.Errorf("writes of the run afterwards (-want +got):\n%s", diff)
			}
			b.cli.nothingToDo(t, up.file)
			if !t.Failed() {
				out.survived(name+" @ forth and back", true)
			}
		})
	}
}

// meeting lets writes pass when as many as meet have arrived.
type meeting struct {
	arrived sync.WaitGroup
}

func newMeeting(of int) *meeting {
	m := &meeting{}
	m.arrived.Add(of)
	return m
}

func (m *meeting) wait() { m.arrived.Done(); m.arrived.Wait() }

// Two applies at once: with the lock one waits, or is told who is at work;
// without it, which is with journals in different files, the server lets one
// of them through.
func TestFaultsTwoApplies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "twice", "--pools", "aws:1,aws:1,aws:1,aws:1", "--pool-version", newVersion)
	out := newOutcomes(t, "two-applies")
	both := func(t *testing.T, files [2]string, flags [2][]string, meet bool) (r [2]result) {
		t.Helper()
		create, patch := newMeeting(2), newMeeting(2)
		var ps [2]*process
		for i := range ps {
			n := newCLI(t)
			if meet {
				one, two := sync.OnceFunc(create.wait), sync.OnceFunc(patch.wait)
				n.kubeconfig = proxy{request: func(r *http.Request) bool {
					switch {
					case isWrite(r, http.MethodPost, "awsmachinetemplates"):
						one()
					case isWrite(r, http.MethodPatch, "machinedeployments"):
						two()
					}
					return true
				}}.serve(t)
			}
			ps[i] = n.start(t, slices.Concat([]string{"apply", "-f", files[i], "--auto-approve"}, flags[i])...)
		}
		for i := range ps {
			r[i] = ps[i].wait(t)
		}
		return r
	}
	for i, s := range []struct {
		name  string
		flags [2][]string
		meet  bool
		codes []int // sorted
	}{
		// The rollout may take longer than the time for which a run waits unless it is told to.
		{name: "one waits for the other", flags: [2][]string{{"--lock-timeout", "10m"}, {"--lock-timeout", "10m"}}, codes: []int{0, 0}},
		{name: "one does not wait", flags: [2][]string{{"--lock-timeout", "0s"}, {"--lock-timeout", "0s"}}, codes: []int{0, 6}},
		{name: "without a lock", flags: [2][]string{{"--journal", "file:one.jsonl"}, {"--journal", "file:two.jsonl"}}, meet: true, codes: []int{0, 0}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := &faultBench{cluster: c, pool: c.pool(i), cli: newCLI(t)}
			up := b.upgrade(t, "3m")
			r := both(t, [2]string{up.file, up.file}, s.flags, s.meet)
			codes := []int{r[0].Code, r[1].Code}
			out.ran(s.name+" @ one plan", r[0].Code, true)
			out.ran(s.name+" @ one plan", r[1].Code, true)
			slices.Sort(codes)
			if diff := cmp.Diff(s.codes, codes); diff != "" {
				t.Errorf("exit codes (-want +got):\n%s\n%s\n%s", diff, r[0], r[1])
			}
			for _, r := range r {
				if r.Code == 6 && (!strings.Contains(r.Stderr, "another run works on pool "+b.pool) || !strings.Contains(r.Stderr, "Nothing was written")) {
					t.Errorf("it does not say who is at work\n%s", r)
				}
			}
			b.cli.run(t, "apply", "-f", up.file, "--auto-approve").exits(t, 0)
			b.check(t, up, b.audited(t))
			if !t.Failed() {
				out.survived(s.name+" @ one plan", true)
				out.survived(s.name+" @ one plan", true)
			}
		})
	}
	t.Run("two plans without a lock", func(t *testing.T) {
		t.Parallel()
		b := &faultBench{cluster: c, pool: c.pool(3), cli: newCLI(t)}
		other := b.upgrade(t, "3m")
		up := b.upgrade(t, "3m")
		r := both(t, [2]string{up.file, other.file}, [2][]string{{"--journal", "file:one.jsonl"}, {"--journal", "file:two.jsonl"}}, true)
		won, lost := r[0], r[1]
		if won.Code != 0 {
			up, other, won, lost = other, up, lost, won
		}
		out.ran("without a lock @ two plans", lost.Code, true)
		won.exits(t, 0)
		if lost.exits(t, 4); !strings.Contains(lost.Stderr, "What this run wrote before stays as it is") {
			t.Errorf("it does not say what it wrote\n%s", lost)
		}
		got := up.written(b.audited(t))
		slices.SortFunc(got[:min(len(got), 2)], func(x, y write) int { return strings.Compare(x.Name, y.Name) })
		want := []write{{"create", "awsmachinetemplates", up.template}, {"create", "awsmachinetemplates", other.template}, {"patch", "machinedeployments", b.pool}}
		slices.SortFunc(want[:2], func(x, y write) int { return strings.Compare(x.Name, y.Name) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("writes of both (-want +got):\n%s", diff)
		}
		b.checkRollout(t, up, b.audited(t))
		if got := b.template(t, b.pool); got != up.template {
			t.Errorf("the template is %s, want %s of the run that went through", got, up.template)
		}
		b.cli.nothingToDo(t, up.file)
		if !t.Failed() {
			out.survived("without a lock @ two plans", true)
		}
	})
}

// The clocks of two machines need not agree: how long a lock was not renewed is
// measured here. One of an hour ago is not taken at once, and one of an hour
// ahead not never.
func TestFaultsClocks(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "clocks", "--pools", "aws:1,aws:1")
	out := newOutcomes(t, "clocks")
	for i, off := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			s := newLockScene(t, c, i)
			p := s.hang(t, newCLI(t))
			p.signal(t, syscall.SIGKILL)
			p.wait(t).exits(t, -1)
			s.elsewhere(t)
			stamp, err := json.Marshal(time.Now().Add(off).UTC().Format(metav1.RFC3339Micro))
			if err != nil {
				t.Fatal(err)
			}
			box.merge(t, leases, s.namespace, "nodepool-"+s.pool, `{"spec":{"renewTime":`+string(stamp)+`,"acquireTime":`+string(stamp)+`}}`)
			s.clear(t)
			n := newCLI(t)
			began := time.Now()
			r := n.run(t, "apply", "-f", s.file, "--auto-approve").exits(t, 0)
			out.ran("the lock's clock is off by "+off.String()+" @ lock", r.Code, true)
			if took := time.Since(began); took < 25*time.Second {
				t.Errorf("the lock was taken after %s, before it could be known to have expired\n%s", took, r)
			}
			s.done(t, n)
			if !t.Failed() {
				out.survived("the lock's clock is off by "+off.String()+" @ lock", true)
			}
		})
	}
}
