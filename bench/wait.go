package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
)

var (
	awsMachines    = schema.GroupVersionResource{Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta2", Resource: "awsmachines"}
	kubeadmConfigs = schema.GroupVersionResource{Group: "bootstrap.cluster.x-k8s.io", Version: "v1beta2", Resource: "kubeadmconfigs"}
)

const (
	core    = "core-percent" // of one core
	changes = "changes/s"

	// The wait of 50 pools of 100 machines each.
	waitPools, waitMachines = 50, 5000
	newVersion              = "v1.35.2"
	// seedPoll is how often the seed's procedure looks at a pool, with two
	// requests each time.
	seedPoll = 30 * time.Second
)

// In a recording of a real rollout (rollout-1, see docs/rollout-judgement.md) each
// Machine that is replaced brings these changes, in 31 bursts. Of infrastructure
// machines and bootstrap configs there is no recording; 10 and 4 are guesses.
const bursts, perMachine = 31, 25 + 24 + 18 + 10 + 4

var kindsOfChange = []struct {
	resource schema.GroupVersionResource
	changes  float64
}{{machines, 25}, {machineSets, 24}, {machineDeployments, 18}, {awsMachines, 10}, {kubeadmConfigs, 4}}

// paces are the rates of change at which the wait is measured, each for a time of
// its own.
var paces = []struct {
	name, words string
	perSecond   float64
}{
	{"50", "50 changes a second", 50},
	{"hour", "all machines replaced within an hour", perMachine * waitMachines / 3600.},
}

func paceWords() string {
	var out []string
	for _, p := range paces {
		out = append(out, p.words)
	}
	return strings.Join(out, ", and ")
}

// waits measures what apply costs while it waits: its requests, for one pool in
// which nothing moves and for 50 in which everything does, and its processor time
// and memory. No controller looks into the namespace: what controllers would
// change is changed by this program.
func waits(ctx context.Context, e *Env) (Section, error) {
	const one, fifty = "lone", "wait"
	if err := e.Box.Populate(ctx, one, 1, 3); err != nil {
		return Section{}, err
	}
	client, err := dynamic.NewForConfig(rest.CopyConfig(e.Box.config))
	if err != nil {
		return Section{}, err
	}
	w := &world{client: client, random: rand.New(rand.NewPCG(1, 2))}

	lone, err := e.wait(ctx, one, 1, func(p *waiting) error {
		if err := p.part(); err != nil {
			return err
		}
		// This takes minutes, which is what the wait is measured for; the audit
		// log holds nothing of it.
		if err := e.Box.Populate(ctx, fifty, waitPools, waitMachines); err != nil {
			return err
		}
		return p.part()
	})
	if err != nil {
		return Section{}, err
	}

	measured := make([]Series, len(paces))
	many, err := e.wait(ctx, fifty, waitPools, func(p *waiting) error {
		if err := w.halfway(ctx, fifty); err != nil {
			return err
		}
		if err := p.says(waitPools, fmt.Sprintf(" %d/%d new ready, %[1]d old left", waitMachines/waitPools/2, waitMachines/waitPools)); err != nil {
			return err
		}
		for i, pace := range paces {
			if err := p.part(); err != nil {
				return err
			}
			sample, err := p.cost(func() (int, error) { return w.change(ctx, pace.perSecond, e.Window) })
			if err != nil {
				return err
			}
			measured[i] = Series{Name: "Wait/pools=50/pace=" + pace.name, Samples: []Sample{sample}}
		}
		return p.part()
	})
	if err != nil {
		return Section{}, err
	}

	var reached []string
	for _, m := range measured {
		reached = append(reached, number(math.Round(m.Median(changes))))
	}
	out := Section{
		Title: "The wait",
		Text: fmt.Sprintf("apply, after its last patch, in the namespace that no controller looks into. "+
			"One pool of three machines, in which nothing changes, was waited for during %s; 50 pools of %d machines together during %s, half of the machines old. "+
			"Of those, Machines, MachineSets, MachineDeployments, infrastructure machines and bootstrap configs were changed through the API server, for %s at each of these rates: %s (reached: %s a second). "+
			"%d machines replaced within an hour make %.0f changes a second, if each brings as many as in a recorded rollout.\n\n"+
			"Requests are counted by the audit log, a watch when it begins, and Lease, journal and Events apart. client-go has the server end a watch after 5 to 10 minutes and begins it anew, so in a wait of ten minutes each comes once more at most, which is not counted.\n\n%s\n%s\n\n"+
			"The seed's procedure asks twice for each pool every %s. "+
			"Processor time and memory are those of the process of apply by the kernel's account: the share of one core, and the largest resident memory, while the changes came.",
			lone.took.Round(time.Second), waitMachines, many.took.Round(time.Second), e.Window, paceWords(), strings.Join(reached, " and "),
			waitMachines, paces[1].perSecond, lone.tell("One pool"), many.tell("50 pools"), seedPoll),
	}
	for _, c := range []struct {
		work  string
		pools int
		limit float64
		got   counted
	}{{"requests of a wait, a watch counted once, one pool", 1, 10, lone}, {"requests of a wait, a watch counted once, 50 pools", waitPools, 20, many}} {
		n, poll := float64(len(c.got.requests)), float64(2*c.pools*int(10*time.Minute/seedPoll))
		row := atMost(c.work, requests, n, c.limit)
		row.Against, row.Base, row.Ratio = "the seed's poll in ten minutes", number(poll), fmt.Sprintf("%.3f", n/poll)
		out.Rows = append(out.Rows, row)
		out.Series = append(out.Series, Series{Name: fmt.Sprintf("WaitRequests/pools=%d", c.pools), Samples: []Sample{{requests: n}}})
	}
	for i, pace := range paces {
		work := fmt.Sprintf("wait for 50 pools and %d machines, %s", waitMachines, pace.words)
		share := measured[i].Median(core)
		out.Rows = append(out.Rows,
			Row{Work: work + ", share of a core", Got: fmt.Sprintf("%.1f %%", share), Aim: "under 5 %", Met: share < 5},
			atMost(work+", peak memory", peak, measured[i].Median(peak), 150<<20))
	}
	out.Series = append(out.Series, measured...)
	return out, nil
}

// counted are the requests of a wait, bookkeeping left out of requests.
type counted struct {
	took        time.Duration
	parts       []string // of requests, bookkeeping included, by the parts of the time
	requests    []Request
	bookkeeping []Request
}

// waiting is an apply that waits.
type waiting struct {
	ctx   context.Context
	box   *Box
	pid   int
	log   string // what it says
	ended <-chan struct{}
	marks []int64 // places in the audit log
}

// part ends a part of the time that is counted, and begins the next.
func (p *waiting) part() error {
	at, err := p.box.mark(p.ctx)
	p.marks = append(p.marks, at)
	return err
}

// wait runs apply of a cluster's pools, does something once it waits for all of
// them, and interrupts it. It counts the requests from when the journal holds that
// the last pool is patched: then apply begins to wait.
func (e *Env) wait(ctx context.Context, cluster string, pools int, during func(*waiting) error) (counted, error) {
	file, err := e.upgradeFile(cluster, 0, pools, "  order: parallel\n")
	if err != nil {
		return counted{}, err
	}
	log, err := os.Create(filepath.Join(e.Dir, cluster+".log"))
	if err != nil {
		return counted{}, err
	}
	defer log.Close()
	said := func() []byte {
		text, _ := os.ReadFile(log.Name())
		return tail(text)
	}
	from, err := e.Box.mark(ctx)
	if err != nil {
		return counted{}, err
	}
	cmd := exec.CommandContext(ctx, e.Nodepool, "apply", "-f", file, "--progress", "plain", "--auto-approve")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), e.Box.Env()...), log, log
	if err := cmd.Start(); err != nil {
		return counted{}, err
	}
	ended := make(chan struct{})
	var exited error
	go func() { exited = cmd.Wait(); close(ended) }()
	p := &waiting{ctx: ctx, box: e.Box, pid: cmd.Process.Pid, log: log.Name(), ended: ended}
	err = p.says(pools, " new ready, ") // which it says when the wait has begun
	began := time.Now()
	if err == nil {
		err = during(p)
	}
	took := time.Since(began)
	_ = cmd.Process.Signal(syscall.SIGINT)
	<-ended
	var exit *exec.ExitError
	if err != nil || !errors.As(exited, &exit) || exit.ExitCode() != 130 {
		return counted{}, errors.Join(fmt.Errorf("apply of %s:\n%s", cluster, said()), err, exited)
	}

	out := counted{took: took}
	to := p.marks[len(p.marks)-1]
	all, err := e.Box.between(from, to)
	if err != nil {
		return out, err
	}
	first := 0 // of the wait
	for i, r := range all {
		if r.Verb == "patch" && r.ObjectRef.Resource == "machinedeployments" && !r.DryRun() {
			first = i
		}
	}
	for ; first < len(all) && (all[first].Verb != "update" || all[first].ObjectRef.Resource != "configmaps"); first++ {
	}
	watched := map[string]bool{}
	for _, r := range all[first:] {
		switch {
		case r.bookkeeping():
			out.bookkeeping = append(out.bookkeeping, r)
		case r.Verb == "watch" && watched[r.ObjectRef.Resource]: // begun anew
		default:
			watched[r.ObjectRef.Resource] = watched[r.ObjectRef.Resource] || r.Verb == "watch"
			out.requests = append(out.requests, r)
		}
	}
	for i := range p.marks[1:] {
		some, err := e.Box.between(p.marks[i], p.marks[i+1])
		if err != nil {
			return out, err
		}
		some = slices.DeleteFunc(some, Request.bookkeeping)
		out.parts = append(out.parts, number(float64(len(some))))
	}
	return out, nil
}

// bookkeeping tells what is counted apart: Lease, journal and Events.
func (r Request) bookkeeping() bool {
	return slices.Contains([]string{"leases", "configmaps", "events"}, r.ObjectRef.Resource)
}

// tell tells the requests by verb and resource.
func (c counted) tell(who string) string {
	return fmt.Sprintf("* %s: %s. Of these, once all pools were waited for: %s. Apart: %s.",
		who, kinds(c.requests), strings.Join(c.parts, ", then "), kinds(c.bookkeeping))
}

// says waits until apply has said this of each of its pools, in its line of
// progress.
func (p *waiting) says(pools int, words string) error {
	ctx, cancel := context.WithTimeout(p.ctx, 15*time.Minute)
	defer cancel()
	for {
		said, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		of := map[string]bool{}
		for line := range strings.Lines(string(said)) {
			// Such as "4s  wait-md-007: 0/100 new ready, 100 old left; …".
			if all := strings.Fields(line); len(all) > 1 && strings.Contains(line, words) {
				of[all[1]] = true
			}
		}
		if len(of) == pools {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-p.ended:
			return errors.New("it ended by itself")
		case <-ctx.Done():
			return fmt.Errorf("it said %q of %d pools, not of %d: %w", words, len(of), pools, ctx.Err())
		}
	}
}

// cost gives what the process costs while f runs, which tells how much it changed.
func (p *waiting) cost(f func() (int, error)) (Sample, error) {
	// Forgets the peak of before.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0); err != nil {
		return nil, err
	}
	spent, err := spentBy(p.pid)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	n, err := f()
	if err != nil {
		return nil, err
	}
	now, err := spentBy(p.pid)
	elapsed := time.Since(began)
	if err != nil {
		return nil, err
	}
	kib, err := strconv.ParseFloat(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", p.pid), "VmHWM"), " kB"), 64)
	if err != nil {
		return nil, err
	}
	return Sample{core: 100 * float64(now-spent) / float64(elapsed), changes: float64(n) / elapsed.Seconds(), peak: kib * 1024}, nil
}

// spentBy gives the processor time of a process, as the kernel accounts it.
func spentBy(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100, nil // USER_HZ is 100 on every Linux that Go runs on
}

// world is a generated cluster that this program changes in the controllers' place.
type world struct {
	client  dynamic.Interface
	random  *rand.Rand
	objects map[string]map[string][]*unstructured.Unstructured // by resource and pool
	changed int
}

// halfway brings each pool into the middle of its rollout: its MachineSet of the
// new template is there, and half of its Machines are of that.
func (w *world) halfway(ctx context.Context, cluster string) error {
	if err := w.read(ctx, cluster); err != nil {
		return err
	}
	pools := slices.Sorted(maps.Keys(w.objects[machineDeployments.Resource]))
	if err := each(ctx, len(pools), func(i int) error { return w.roll(ctx, pools[i]) }); err != nil {
		return err
	}
	return w.read(ctx, cluster)
}

// read lists all objects of the cluster that change.
func (w *world) read(ctx context.Context, cluster string) error {
	w.objects = map[string]map[string][]*unstructured.Unstructured{}
	for _, k := range kindsOfChange {
		list, err := w.client.Resource(k.resource).Namespace(Unwatched).List(ctx, metav1.ListOptions{LabelSelector: "cluster.x-k8s.io/cluster-name=" + cluster})
		if err != nil {
			return err
		}
		of := map[string][]*unstructured.Unstructured{}
		for i := range list.Items {
			u := &list.Items[i]
			pool := u.GetLabels()[poolLabel]
			if k.resource == machineDeployments {
				pool = u.GetName()
			}
			of[pool] = append(of[pool], u)
		}
		w.objects[k.resource.Resource] = of
	}
	return nil
}

func (w *world) roll(ctx context.Context, pool string) error {
	md, from := w.objects[machineDeployments.Resource][pool][0], w.objects[machineSets.Resource][pool][0]
	hash := from.GetLabels()["machine-template-hash"]
	raw, err := from.MarshalJSON()
	if err != nil {
		return err
	}
	var set unstructured.Unstructured
	if err := set.UnmarshalJSON(bytes.ReplaceAll(raw, []byte(`"`+hash+`"`), []byte(`"new-`+hash+`"`))); err != nil {
		return err
	}
	status := set.Object["status"]
	delete(set.Object, "status")
	set.SetName(pool + "-new")
	set.SetResourceVersion("")
	set.SetUID("")
	set.SetManagedFields(nil)
	spec, _, err := unstructured.NestedMap(md.Object, "spec", "template", "spec")
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedMap(set.Object, spec, "spec", "template", "spec"); err != nil {
		return err
	}
	made, err := w.client.Resource(machineSets).Namespace(Unwatched).Create(ctx, &set, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Object["status"] = status
	if _, err := w.client.Resource(machineSets).Namespace(Unwatched).UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := w.patch(ctx, machineDeployments, pool, map[string]any{"status": map[string]any{"observedGeneration": md.GetGeneration()}}, "status"); err != nil {
		return err
	}
	all := w.objects[machines.Resource][pool]
	for _, m := range all[:len(all)/2] {
		version := map[string]any{"kubeletVersion": newVersion}
		for _, p := range []struct {
			resource  schema.GroupVersionResource
			patch     map[string]any
			ofSubject []string
		}{
			{awsMachines, map[string]any{"metadata": map[string]any{"annotations": map[string]any{"cluster.x-k8s.io/cloned-from-name": templateOf(md)}}}, nil},
			{machines, map[string]any{"spec": map[string]any{"version": newVersion}, "metadata": map[string]any{
				"labels": map[string]any{"machine-template-hash": "new-" + hash, "cluster.x-k8s.io/set-name": made.GetName()},
				"ownerReferences": []any{map[string]any{"apiVersion": made.GetAPIVersion(), "kind": "MachineSet", "name": made.GetName(), "uid": string(made.GetUID()),
					"controller": true, "blockOwnerDeletion": true}}}}, nil},
			{machines, map[string]any{"status": map[string]any{"nodeInfo": version}}, []string{"status"}},
		} {
			if err := w.patch(ctx, p.resource, m.GetName(), p.patch, p.ofSubject...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) patch(ctx context.Context, resource schema.GroupVersionResource, name string, patch map[string]any, subresource ...string) error {
	raw, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	if _, err := w.client.Resource(resource).Namespace(Unwatched).Patch(ctx, name, types.MergePatchType, raw, metav1.PatchOptions{}, subresource...); err != nil {
		return fmt.Errorf("patch %s %s: %w", resource.Resource, name, err)
	}
	return nil
}

// change changes objects of pools that are drawn, so many a second in bursts, for
// a time, and gives how many it changed.
func (w *world) change(ctx context.Context, perSecond float64, lasts time.Duration) (int, error) {
	pools := slices.Sorted(maps.Keys(w.objects[machineDeployments.Resource]))
	gap := time.Duration(float64(time.Second) * perMachine / bursts / perSecond)
	type job struct {
		resource schema.GroupVersionResource
		object   *unstructured.Unstructured
		n        int
	}
	jobs := make(chan job, 1000)
	var done atomic.Int64
	result := make(chan error, 1)
	go func() {
		const writers = 4
		result <- each(ctx, writers, func(int) error {
			var failed error
			for j := range jobs {
				if failed == nil {
					failed = w.turn(ctx, j.resource, j.object, j.n)
					done.Add(1)
				}
			}
			return failed
		})
	}()
	until := time.Now().Add(lasts)
	for next := time.Now(); next.Before(until) && ctx.Err() == nil; next = next.Add(gap) {
		time.Sleep(time.Until(next))
		of := pools[w.random.IntN(len(pools))]
		for _, k := range kindsOfChange {
			if w.random.Float64() > k.changes/bursts {
				continue
			}
			all := w.objects[k.resource.Resource][of]
			w.changed++
			jobs <- job{k.resource, all[w.random.IntN(len(all))], w.changed}
		}
	}
	close(jobs)
	err := <-result
	return int(done.Load()), errors.Join(err, ctx.Err())
}

// turn writes the status of an object with another reason in its first condition.
func (w *world) turn(ctx context.Context, resource schema.GroupVersionResource, u *unstructured.Unstructured, n int) error {
	conditions, _, err := unstructured.NestedSlice(u.Object, "status", "conditions")
	if err != nil || len(conditions) == 0 {
		return fmt.Errorf("%s %s has no conditions: %w", resource.Resource, u.GetName(), err)
	}
	conditions[0].(map[string]any)["reason"] = fmt.Sprintf("Reason%d", n)
	return w.patch(ctx, resource, u.GetName(), map[string]any{"status": map[string]any{"conditions": conditions}}, "status")
}

// each calls f for the numbers up to n, several at once, and gives the first error.
func each(ctx context.Context, n int, f func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workqueue.ParallelizeUntil(ctx, min(n, 16), n, func(i int) {
		if err := f(i); err != nil {
			cancel(err)
		}
	})
	return context.Cause(ctx)
}

func versionOf(u *unstructured.Unstructured) string {
	v, _, _ := unstructured.NestedString(u.Object, "spec", "template", "spec", "version")
	return v
}
