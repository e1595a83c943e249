//go:build e2e

package e2e_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFaultsOnTheWay applies an upgrade of a pool of one machine behind a proxy that
// does something to one request, or from one request on: each kind of fault at
// each request of the writing phase, and at a sample of those before and after
// it. However that run ends, it says so truthfully, and the next one carries
// on: one template, one patch, one rollout, nothing that the plan did not name,
// and nothing left to do. Writes are counted by the server.
//
// Each worker has a namespace of its own, in which it carries its cases out
// one after the other; each is one more upgrade of the same pool, with an image
// of its own.
func TestFaultsOnTheWay(t *testing.T) {
	t.Parallel()
	rec := recordApply(t)
	cases := rec.cases(t)
	report(t, "requests", rec.String())
	queue := make(chan faultCase, len(cases))
	for _, c := range cases {
		queue <- c
	}
	close(queue)
	out := newOutcomes(t, "proxy")
	for i := range faultWorkers {
		t.Run(fmt.Sprintf("%c", 'a'+i), func(t *testing.T) {
			t.Parallel()
			var bench *faultBench
			for c := range queue {
				if bench == nil {
					bench = newFaultBench(t, fmt.Sprintf("faults-%c%d", 'a'+i, len(queue)))
				}
				if !t.Run(c.name(), func(t *testing.T) { bench.try(t, c, out) }) {
					bench = nil // what the next one would find there, nobody knows
				}
			}
		})
	}
}

// faultCase is one kind of fault at one request.
type faultCase struct {
	proxyFault
	at place
}

func (c faultCase) name() string {
	return strings.ReplaceAll(fmt.Sprintf("%s/%s-%02d %s", c.proxyFault.name, c.at.phase, c.at.n, c.at.request), " ", "_")
}

// recording is what a run without faults asked the server for.
type recording struct{ requests []request }

// recordApply applies an upgrade without a fault.
func recordApply(t *testing.T) recording {
	t.Helper()
	b := newFaultBench(t, "faults-record")
	up := b.upgrade(t, "3m")
	m := &meddler{}
	n := b.cli
	n.kubeconfig = m.proxy().serve(t)
	n.run(t, "apply", "-f", up.file, "--auto-approve").exits(t, 0)
	b.check(t, up, b.audited(t))
	return recording{m.seen()}
}

func (r recording) of(p phase, ofFault func(request) bool) []request {
	return slices.DeleteFunc(slices.Clone(r.requests), func(q request) bool { return q.phase != p || !ofFault(q) })
}

// String counts the requests by phase and purpose, as a Markdown table.
func (r recording) String() string {
	var b strings.Builder
	b.WriteString("| phase | requests | for | by verb |\n|---|---|---|---|\n")
	sum := 0
	for p := planning; p <= waiting; p++ {
		verbs := map[string]map[string]int{}
		for _, q := range r.of(p, anyRequest) {
			if verbs[q.purpose()] == nil {
				verbs[q.purpose()] = map[string]int{}
			}
			verbs[q.purpose()][q.kind()]++
		}
		for _, purpose := range slices.Sorted(maps.Keys(verbs)) {
			n := 0
			var each []string
			for _, verb := range slices.Sorted(maps.Keys(verbs[purpose])) {
				each = append(each, fmt.Sprintf("%d %s", verbs[purpose][verb], verb))
				n += verbs[purpose][verb]
			}
			fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", p, n, purpose, strings.Join(each, ", "))
			sum += n
		}
	}
	fmt.Fprintf(&b, "| all | %d | | |\n", sum)
	return b.String()
}

// cases gives what is to be tried: all of the writing phase and a seeded
// sample of the others, or a seeded sample of all that.
func (r recording) cases(t *testing.T) []faultCase {
	seed := uint64(1)
	if s := os.Getenv("NODEPOOL_FAULTS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	var out []faultCase
	for _, f := range proxyFaults {
		var all []faultCase
		for _, p := range []phase{writing, waiting, planning} {
			var here []faultCase
			alike := map[string]int{}
			for _, q := range r.of(p, f.strikes) {
				alike[q.String()]++
				here = append(here, faultCase{f, place{q, alike[q.String()]}})
			}
			if p != writing {
				random.Shuffle(len(here), func(i, j int) { here[i], here[j] = here[j], here[i] })
				here = here[:min(len(here), f.sample)]
			}
			all = append(all, here...)
		}
		if faultsShort {
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			all = all[:min(len(all), f.short)]
		}
		out = append(out, all...)
	}
	// The slow kinds would otherwise be the last ones.
	random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	if s := os.Getenv("NODEPOOL_FAULTS_PART"); s != "" {
		var part, of int
		if _, err := fmt.Sscanf(s, "%d/%d", &part, &of); err != nil || part < 1 || part > of {
			t.Fatalf("NODEPOOL_FAULTS_PART=%s: write it as 2/5", s)
		}
		i := -1
		out = slices.DeleteFunc(out, func(faultCase) bool { i++; return i%of != part-1 })
	}
	return out
}

// faultBench is a pool of one machine that is upgraded again and again.
type faultBench struct {
	cluster
	pool string
	cli  cli
	n    int
}

func newFaultBench(t *testing.T, name string) *faultBench {
	t.Helper()
	// The pool is at the version of its control plane, so that it can be rolled
	// any number of times.
	c := newCluster(t, name, "--pools", "aws:1", "--pool-version", newVersion)
	return &faultBench{cluster: c, pool: c.pool(0), cli: newCLI(t)}
}

// upgradeCase is one upgrade of the pool, and what was there before.
type upgradeCase struct {
	pool, name, file, image, template string
	templates                         []string
	before                            int // lines of the server's record
	serverKilled                      bool
}

func (b *faultBench) upgrade(t *testing.T, stallAfter string) upgradeCase {
	t.Helper()
	b.n++
	up := upgradeCase{pool: b.pool, name: fmt.Sprintf("%s-%d", b.pool, b.n), image: image(fmt.Sprintf("%s-%d", b.pool, b.n))}
	up.file = b.cluster.upgrade(t, up.name, pool{"name": b.pool, "machineImage": up.image, "wait": map[string]any{"stallAfter": stallAfter}})
	up.template = b.cli.plan(t, up.file).template(t)
	up.templates = b.templates(t)
	up.before = len(b.audited(t))
	return up
}

func (b *faultBench) templates(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, o := range box.list(t, awsMachineTemplates, b.namespace, "") {
		if o.GetName() == b.pool || strings.HasPrefix(o.GetName(), b.pool+"-") {
			out = append(out, o.GetName())
		}
	}
	return out
}

// written gives what the product wrote besides its books since an upgrade
// began, but to other pools, which others upgrade.
func (up upgradeCase) written(all []audited) []write {
	pools := up.pool[:strings.LastIndexByte(up.pool, '-')+1]
	return slices.DeleteFunc(written(all[up.before:]), func(w write) bool {
		otherPool := strings.HasPrefix(w.Name, pools) && w.Name != up.pool && !strings.HasPrefix(w.Name, up.pool+"-")
		return w.isBookkeeping() || otherPool
	})
}

// check holds the world against what must be once an upgrade is done, and the
// server's record against what its plan named.
func (b *faultBench) check(t *testing.T, up upgradeCase, all []audited) {
	t.Helper()
	want := []write{{"create", "awsmachinetemplates", up.template}, {"patch", "machinedeployments", b.pool}}
	if diff := cmp.Diff(want, up.written(all)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	b.checkRollout(t, up, all)
	if diff := cmp.Diff([]machine{{Version: newVersion, Template: up.template, Image: up.image, Type: "m5.large"}}, b.machines(t, b.pool)); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
	templates := append([]string{up.template}, up.templates...)
	slices.Sort(templates)
	if diff := cmp.Diff(templates, b.templates(t)); diff != "" {
		t.Errorf("templates (-want +got):\n%s", diff)
	}
	b.cli.nothingToDo(t, up.file)
}

// checkRollout wants one rollout: one MachineSet and one Machine made. Behind a
// killed API server the controllers of Cluster API may make some twice: they
// wait ten seconds for a new one to show in their caches, whose watches come
// back later than that, and make another.
func (b *faultBench) checkRollout(t *testing.T, up upgradeCase, all []audited) {
	t.Helper()
	made := map[string]int{}
	for _, a := range all[up.before:] {
		// Controllers make them by server-side apply.
		if a.code == http.StatusCreated && a.carriedOut() && strings.HasPrefix(a.Name, b.pool+"-") && (a.Resource == "machinesets" || a.Resource == "machines") {
			made[a.Resource]++
		}
	}
	if up.serverKilled && made["machinesets"] >= 1 && made["machines"] >= 1 {
		if made["machinesets"] > 1 || made["machines"] > 1 {
			t.Logf("Cluster API made %d MachineSets and %d Machines", made["machinesets"], made["machines"])
		}
		return
	}
	if diff := cmp.Diff(map[string]int{"machinesets": 1, "machines": 1}, made); diff != "" {
		t.Errorf("one rollout makes one MachineSet and one Machine (-want +got):\n%s", diff)
	}
}

// try carries one case out.
func (b *faultBench) try(t *testing.T, c faultCase, out *outcomes) {
	stallAfter := "3m"
	if c.stallAfter != "" {
		stallAfter = c.stallAfter
	}
	up := b.upgrade(t, stallAfter)
	m := &meddler{fault: c.proxyFault, at: c.at.isAt, n: c.at.n, process: make(chan *process, 1)}
	n := b.cli
	n.kubeconfig = m.proxy().serve(t)
	p := n.start(t, "apply", "-f", up.file, "--auto-approve")
	m.process <- p
	first := p.wait(t)
	struck := m.struck()
	row := c.proxyFault.name + " @ " + c.at.phase.String()
	out.ran(row, first.Code, struck)
	if c.at.isCertain() && !struck {
		t.Errorf("the request was not made, so the fault did not strike\n%s", first)
	}
	b.truthful(t, up, first, b.audited(t))
	if struck && !slices.Contains(c.codes(c), first.Code) {
		t.Errorf("exit code %d, want one of %v\n%s", first.Code, c.codes(c), first)
	}
	second := b.cli.run(t, "apply", "-f", up.file, "--auto-approve")
	second.exits(t, 0)
	b.check(t, up, b.audited(t))
	if !t.Failed() {
		out.survived(row, struck)
	}
}

// truthful holds what a run says of itself against the world.
func (b *faultBench) truthful(t *testing.T, up upgradeCase, r result, all []audited) {
	t.Helper()
	written := up.written(all)
	says := func(text string) bool { return strings.Contains(strings.Join(strings.Fields(r.Stderr), " "), text) }
	if says("othing was written.") && len(written) > 0 {
		t.Errorf("it says that nothing was written, and wrote %v\n%s", written, r)
	}
	switch r.Code {
	case 0:
		if ms := b.machines(t, b.pool); len(written) != 2 || len(ms) != 1 || ms[0].Image != up.image {
			t.Errorf("it says that all is done; it wrote %v, and the machines are %+v\n%s", written, ms, r)
		}
	case -1:
	default:
		if !strings.Contains(r.Stderr, "error: ") {
			t.Errorf("it does not say why it failed\n%s", r)
		}
	}
}
