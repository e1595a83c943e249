//go:build e2e

package e2e_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	leases = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	events = schema.GroupVersionResource{Version: "v1", Resource: "events"}
)

// lockScene is a pool whose rollout hangs until its image is found.
type lockScene struct {
	cluster
	pool, file string
	clear      func(t *testing.T)
}

func newLockScene(t *testing.T, c cluster, n int) lockScene {
	t.Helper()
	s := lockScene{cluster: c, pool: c.pool(n)}
	ami := image("lock" + s.pool)
	fault(t, "missing", ami)
	s.clear = func(t *testing.T) {
		t.Helper()
		sandboxCommand(t, "fault", "clear", "--dir", box.dir, "missing", ami)
	}
	s.file = c.upgrade(t, s.pool, pool{"name": s.pool, "kubernetesVersion": newVersion, "machineImage": ami})
	return s
}

// hang starts an apply and waits until it waits for its rollout.
func (s lockScene) hang(t *testing.T, n cli, flags ...string) *process {
	t.Helper()
	p := n.start(t, slices.Concat([]string{"apply", "-f", s.file, "--auto-approve", "--progress", "json"}, flags)...)
	p.until(t, "it waited", func(e event) bool { return e.Type == "rolling" })
	return p
}

func (s lockScene) lease(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	return box.find(t, leases, s.namespace, "nodepool-"+s.pool)
}

// done checks that the pool was upgraded once, and that nobody holds it.
func (s lockScene) done(t *testing.T, n cli) {
	t.Helper()
	template := s.template(t, s.pool)
	want := []write{{"create", "awsmachinetemplates", template}, {"patch", "machinedeployments", s.pool}}
	if diff := cmp.Diff(want, s.writesOf(t, s.pool)); diff != "" {
		t.Errorf("writes of all runs (-want +got):\n%s", diff)
	}
	n.nothingToDo(t, s.file)
	if l := s.lease(t); l != nil {
		t.Errorf("the lock is left behind: %v", l)
	}
}

// elsewhere makes the holder of the pool's lock one of another host.
func (s lockScene) elsewhere(t *testing.T) {
	t.Helper()
	l := s.lease(t)
	var sign map[string]any
	if err := json.Unmarshal([]byte(l.GetAnnotations()["nodepool/holder"]), &sign); err != nil {
		t.Fatal(err)
	}
	sign["place"] = "another boot"
	raw, err := json.Marshal(sign)
	if err != nil {
		t.Fatal(err)
	}
	l.SetAnnotations(map[string]string{"nodepool/holder": string(raw)})
	if _, err := box.client.Resource(leases).Namespace(s.namespace).Update(t.Context(), l, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "locks", "--pools", "aws:1,aws:1,aws:1,aws:1")

	t.Run("another machine is told who is at work, and takes over a dead process at once", func(t *testing.T) {
		t.Parallel()
		s := newLockScene(t, c, 0)
		first, second := newCLI(t), newCLI(t)
		p := s.hang(t, first, "--ticket", "CHG-4711")
		l := s.lease(t)
		if owners := l.GetOwnerReferences(); len(owners) != 1 || owners[0].Kind != "Cluster" || owners[0].Name != c.name {
			t.Errorf("the lock is owned by %v, want the Cluster", owners)
		}
		j := s.journal(t, s.pool)
		if owners := j.GetOwnerReferences(); len(owners) != 1 || owners[0].Kind != "Cluster" || owners[0].UID != box.get(t, clusters, c.namespace, c.name).GetUID() {
			t.Errorf("the journal is owned by %v, want the Cluster", owners)
		}
		r := second.run(t, "apply", "-f", s.file, "--auto-approve", "--lock-timeout", "3s").exits(t, 6)
		for _, part := range []string{"waiting up to 3s", "locked: another run works on pool " + s.pool, "CHG-4711", "sha256:", "nodepool unlock"} {
			if !strings.Contains(r.Stderr, part) {
				t.Errorf("%q is not said\n%s", part, r)
			}
		}
		p.signal(t, syscall.SIGKILL)
		p.wait(t).exits(t, -1)
		s.clear(t)
		second.run(t, "apply", "-f", s.file, "--auto-approve", "--lock-timeout", "0s").exits(t, 0)
		s.done(t, second)
		// Resumed on another machine: one run, in two attempts.
		var attempts []int
		for line := range strings.SplitSeq(strings.TrimSpace(text(s.journal(t, s.pool), "data", "records-1")), "\n") {
			if rec := decode[struct {
				Phase   string
				Attempt int
			}](t, line); rec.Phase == "opened" {
				attempts = append(attempts, rec.Attempt)
			}
		}
		if diff := cmp.Diff([]int{1, 2}, attempts); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
		reasons := map[string]int{}
		for _, e := range box.list(t, events, c.namespace, "") {
			if text(e, "involvedObject", "name") == s.pool && text(e, "source", "component") == "nodepool" {
				reasons[text(e, "reason")]++
			}
		}
		for _, reason := range []string{"UpgradeStarted", "UpgradeDone"} {
			if reasons[reason] == 0 {
				t.Errorf("there is no Event %s: %v", reason, reasons)
			}
		}
	})

	t.Run("the lock of another host expires", func(t *testing.T) {
		t.Parallel()
		s := newLockScene(t, c, 1)
		first, second := newCLI(t), newCLI(t)
		p := s.hang(t, first)
		p.signal(t, syscall.SIGKILL)
		p.wait(t).exits(t, -1)
		s.elsewhere(t)
		s.clear(t)
		began := time.Now()
		r := second.run(t, "apply", "-f", s.file, "--auto-approve").exits(t, 0)
		if time.Since(began) < 25*time.Second || !strings.Contains(r.Stderr, "waiting up to 45s") {
			t.Errorf("after %s\n%s", time.Since(began), r)
		}
		s.done(t, second)
	})

	t.Run("a run that was frozen past its lock writes no more", func(t *testing.T) {
		t.Parallel()
		s := newLockScene(t, c, 2)
		s.clear(t)
		first, second := newCLI(t), newCLI(t)
		started := make(chan *process, 1)
		frozen := make(chan struct{})
		first.kubeconfig = proxy{reply: func(r *http.Response) error {
			if isWrite(r.Request, http.MethodPost, "awsmachinetemplates") {
				if err := (<-started).cmd.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Error(err)
				}
				close(frozen)
			}
			return nil
		}}.serve(t)
		p := first.start(t, "apply", "-f", s.file, "--auto-approve", "--progress", "json")
		started <- p
		<-frozen
		second.run(t, "apply", "-f", s.file, "--auto-approve").exits(t, 0)
		p.signal(t, syscall.SIGCONT)
		r := p.wait(t)
		// What it finds out first is left to chance: that its lock is lost, that
		// all is done, or that a read took too long.
		if !slices.Contains([]int{6, 0, 1}, r.Code) {
			t.Errorf("exit code %d\n%s", r.Code, r)
		}
		s.done(t, second)
	})

	t.Run("unlock evicts", func(t *testing.T) {
		t.Parallel()
		s := newLockScene(t, c, 3)
		first, second := newCLI(t), newCLI(t)
		p := s.hang(t, first, "--ticket", "CHG-1")
		second.run(t, "unlock", "-f", s.file).exits(t, 1)
		if s.lease(t) == nil {
			t.Fatal("it was unlocked without a yes")
		}
		r := second.run(t, "unlock", "-f", s.file, "--auto-approve").exits(t, 0)
		if !strings.Contains(r.Stdout, "Pool "+s.pool+" is locked by ") || !strings.Contains(r.Stdout, "CHG-1") {
			t.Errorf("it does not say whom it evicts\n%s", r)
		}
		r = p.wait(t).exits(t, 6)
		if !strings.Contains(r.Stderr, "was lost") {
			t.Errorf("it does not say why\n%s", r)
		}
		s.clear(t)
		second.run(t, "apply", "-f", s.file, "--auto-approve", "--lock-timeout", "0s").exits(t, 0)
		s.done(t, second)
		r = second.run(t, "unlock", "--pool", s.pool, "--namespace", s.namespace, "--auto-approve").exits(t, 0)
		if r.Stdout != "Nothing is locked.\n" {
			t.Errorf("it says otherwise\n%s", r)
		}
	})
}

// Without the rights to bookkeeping, apply names them all and the way out,
// writes nothing, and goes that way when it is told to.
func TestJournalInAFile(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "filed", "--pools", "aws:1")
	n := c.userWith(t, "filed", slices.DeleteFunc(rightsOf(t, "nodepool-operator"), func(r right) bool {
		return slices.Contains([]string{"configmaps", "leases", "events"}, r.Resource)
	}), rightsOf(t, definitions))
	file := c.upgrade(t, "filed", pool{"name": c.pool(0), "kubernetesVersion": newVersion, "machineImage": newImage})
	r := n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 1)
	for _, part := range []string{"create configmaps", "update configmaps", "create leases.coordination.k8s.io", "delete leases.coordination.k8s.io", "--journal file:PATH"} {
		if !strings.Contains(r.Stderr, part) {
			t.Errorf("%q is not said\n%s", part, r)
		}
	}
	if w := c.allWrites(t); len(w) > 0 {
		t.Errorf("it wrote %v", w)
	}
	n.run(t, "apply", "-f", file, "--auto-approve", "--journal", "file:run.jsonl").exits(t, 0)
	if w := c.bookkeeping(t); len(w) > 0 {
		t.Errorf("it kept books in the cluster: %v", w)
	}
	n.nothingToDo(t, file)
}
