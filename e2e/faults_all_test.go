//go:build e2e && faults

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// All faults: "make faults".
const (
	faultsShort  = false
	faultWorkers = 8
)

// TestFaultsTenMinutes counts the requests of a wait in which nothing moves for
// ten minutes: it follows watches and asks for nothing again and again; only the
// lock is renewed.
func TestFaultsTenMinutes(t *testing.T) {
	t.Parallel()
	b := newFaultBench(t, "tenminutes")
	ami := image(b.pool)
	fault(t, "missing", ami)
	file := b.cluster.upgrade(t, b.pool, pool{"name": b.pool, "machineImage": ami, "wait": map[string]any{"stallAfter": "10m"}})
	m := &meddler{}
	n := b.cli
	n.kubeconfig, n.patience = m.proxy().serve(t), 15*time.Minute
	n.run(t, "apply", "-f", file, "--auto-approve").exits(t, 5)
	rec := recording{m.seen()}
	report(t, "ten-minutes", rec.String())
	lists := rec.of(waiting, func(q request) bool { return q.purpose() == "looks" })
	if len(lists) > 0 {
		t.Errorf("it listed while the watches were whole: %v", lists)
	}
	// A watch is asked for anew when its time is up, which client-go sets to five
	// to ten minutes, and once before the stall is told.
	kinds := map[string]int{}
	for _, q := range rec.of(waiting, anyWatch) {
		kinds[q.resource]++
	}
	for kind, n := range kinds {
		if n > 4 {
			t.Errorf("%d watches of %s", n, kind)
		}
	}
	if renewals := len(rec.of(waiting, func(q request) bool { return q.resource == "leases" && q.method == "PUT" })); renewals > 45 {
		t.Errorf("the lock was renewed %d times, want at most once in 15 seconds", renewals)
	}
}

// jumping is the function of the time package that tells the time, and with it
// a wall clock that jumps each second: two hours ahead, two hours back, and
// right again. The monotonic clock goes on, as the kernel's does when somebody
// sets the time.
const (
	rightTime = "\tif mono == 0 {\n\t\treturn Time{uint64(nsec), sec + unixToInternal, Local}\n\t}\n\tmono -= startNano\n\tsec += unixToInternal - minWall\n"
	jumping   = "\tsec += [...]int64{0, 7200, -7200}[uint64(mono)/1e9%3]\n"
)

// TestFaultsJumpingClock runs a product whose wall clock jumps every second.
func TestFaultsJumpingClock(t *testing.T) {
	t.Parallel()
	b := newFaultBench(t, "jumping")
	out := newOutcomes(t, "jumping-clock")
	folder := t.TempDir()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(source), rightTime) != 1 {
		t.Fatalf("%s has another Now than this test knows", path)
	}
	changed, overlay, program := filepath.Join(folder, "time.go"), filepath.Join(folder, "overlay.json"), filepath.Join(folder, "nodepool")
	for file, text := range map[string]string{
		changed: strings.Replace(string(source), rightTime, jumping+rightTime, 1),
		overlay: `{"Replace":{"` + path + `":"` + changed + `"}}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, "./cmd/nodepool")
	build.Dir = ".."
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}

	up := b.upgrade(t, "3m")
	n := b.cli
	n.program = program
	n.kubeconfig = proxy{}.serve(t) // whose certificate is good at any time
	r := n.run(t, "apply", "-f", up.file, "--auto-approve")
	out.ran("wall clock jumps by hours each second @ whole run", r.Code, true)
	r.exits(t, 0)
	b.truthful(t, up, r, b.audited(t))
	b.cli.run(t, "apply", "-f", up.file, "--auto-approve").exits(t, 0)
	b.check(t, up, b.audited(t))
	times := map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSpace(text(b.journal(t, up.name), "data", "records-1")), "\n") {
		times[decode[struct{ At time.Time }](t, line).At.Format("15")] = true
	}
	if diff := cmp.Diff(true, len(times) > 1); diff != "" {
		t.Errorf("the clock did not jump: the records are of the hours %v", times)
	}
	if !t.Failed() {
		out.survived("wall clock jumps by hours each second @ whole run", true)
	}
}
