package apply_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// diary is a cluster, a journal and a lock that write down what is asked of them.
type diary struct {
	apply.Cluster
	memory
	slow time.Duration // what each write of the journal takes

	mu    sync.Mutex
	lines []string
	// checks are the looks at the lock since the last write.
	checks int
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) Fetch(ctx context.Context, needs []plan.Selector) (plan.Snapshot, error) {
	d.note("look")
	return d.Cluster.Fetch(ctx, needs)
}

func (d *diary) wrote(what string) {
	d.mu.Lock()
	checks := d.checks
	d.checks = 0
	d.mu.Unlock()
	d.note("%s, the lock looked at %d×", what, checks)
}

func (d *diary) Create(ctx context.Context, o *unstructured.Unstructured, mode apply.Mode) error {
	d.wrote("create")
	return d.Cluster.Create(ctx, o, mode)
}

func (d *diary) Patch(ctx context.Context, target plan.Ref, version string, patch []byte, mode apply.Mode) error {
	d.wrote("patch")
	return d.Cluster.Patch(ctx, target, version, patch, mode)
}

func (d *diary) record(how string, all []apply.Record) {
	var phases []string
	for _, r := range all {
		phases = append(phases, strings.TrimSpace(string(r.Phase)+" "+r.Step[strings.LastIndex(r.Step, "/")+1:]))
	}
	d.note("%s: %s", how, strings.Join(phases, ", "))
	time.Sleep(d.slow) // virtual
}

func (d *diary) Open(ctx context.Context, p plan.Plan, first ...apply.Record) (int, error) {
	d.record("open", first)
	return d.memory.Open(ctx, p, first...)
}

func (d *diary) Append(ctx context.Context, all ...apply.Record) error {
	d.record("record", all)
	return d.memory.Append(ctx, all...)
}

func (d *diary) Acquire(context.Context, []plan.Ref, apply.Holder) (apply.Held, error) {
	d.note("lock")
	return d, nil
}

func (d *diary) Lost() <-chan struct{}         { return nil }
func (d *diary) Release(context.Context) error { return nil }
func (d *diary) Check(context.Context, plan.Ref) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.checks++
	return nil
}

// TestTurns is about what waits for what between approval and patch: nothing is
// looked at twice without a write in between, and the lock is looked at beside
// the journal. Where the journal takes long, both are looked at again.
func TestTurns(t *testing.T) {
	const create, again = "create-infrastructure-template", "look"
	quick := []string{
		"lock",
		"look",
		"open: opened, done preflight, started " + create,
		"create, the lock looked at 1×",
		"look",
		"record: done " + create + ", started patch",
		"patch, the lock looked at 1×",
		"look",
		"record: done patch",
	}
	slow := []string{
		"lock",
		"look",
		"open: opened, done preflight, started " + create,
		again,
		"create, the lock looked at 2×",
		"look",
		"record: done " + create + ", started patch",
		"patch, the lock looked at 2×",
		"look",
		"record: done patch",
	}
	for name, tc := range map[string]struct {
		slow time.Duration
		want []string
	}{
		"a journal that answers":      {0, quick},
		"a journal that takes longer": {2 * time.Second, slow},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", one))
				w.AutoStep(1)
				c := w.Open(nil)
				p, secrets := compile(t, c, read(t, upgradeOne))
				d := &diary{Cluster: c, slow: tc.slow}
				var done []string
				e := &apply.Executor{Cluster: d, Journal: d, Secrets: secrets, Lock: d, Notify: func(ev apply.Event) {
					if s, ok := ev.(apply.StepDone); ok {
						done = append(done, s.Step.ID)
					}
				}}
				if err := e.Run(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, d.lines[:min(len(d.lines), len(tc.want))]); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if len(done) != len(p.Steps) {
					t.Errorf("told of %v, and the plan has %d steps", done, len(p.Steps))
				}
			})
		})
	}
}
