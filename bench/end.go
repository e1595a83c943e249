package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

var (
	machineSets = schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "machinesets"}
	machines    = schema.GroupVersionResource{Group: "cluster.x-k8s.io", Version: "v1beta2", Resource: "machines"}
)

const (
	poolLabel = "cluster.x-k8s.io/deployment-name"
	afterEnd  = "ns-after-last-machine" // from the end of the last old Machine
)

// endOfRollout measures how soon apply returns after a rollout has ended: real
// rollouts of a pool of one machine, by the controllers.
func endOfRollout(ctx context.Context, e *Env) (Section, error) {
	const cluster, pool = "end", "end-md-0"
	if err := e.Box.Command(ctx, "cluster", "--name", cluster, "--namespace", cluster, "--pools", "aws:1"); err != nil {
		return Section{}, err
	}
	client, err := dynamic.NewForConfig(rest.CopyConfig(e.Box.config))
	if err != nil {
		return Section{}, err
	}
	next := 0
	series, err := rounds(e.Runs, contender{"End/nodepool", func() (Sample, error) {
		next++
		file := filepath.Join(e.Dir, fmt.Sprintf("%s-%d.yaml", cluster, next))
		// A disk of another size each time, so that each rollout has a template of its own.
		text := fmt.Sprintf("apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: end-%d}\nspec:\n  cluster: {name: %s, namespace: %s}\n"+
			"  pools:\n    - {name: %s, kubernetesVersion: v1.35.2, infrastructure: {rootVolume: {size: %d}}}\n", next, cluster, cluster, pool, 100+next)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		o, err := observe(ctx, client, cluster, pool)
		if err != nil {
			return nil, err
		}
		if _, _, err := process(ctx, e.Box.Env(), e.Nodepool, "apply", "-f", file, "--progress", "plain", "--auto-approve"); err != nil {
			return nil, err
		}
		returned := time.Now()
		complete, gone, err := o.end(ctx)
		if err != nil {
			return nil, err
		}
		// What nodepool was told before this program was counts as no time.
		return Sample{nanoseconds: max(0, float64(returned.Sub(complete))), afterEnd: float64(returned.Sub(gone))}, nil
	}})
	if err != nil {
		return Section{}, err
	}
	const work = "from the last event of a rollout to apply's return"
	n := len(series[0].Samples)
	return Section{
		Title: "The end of a rollout",
		Text: fmt.Sprintf("%d rollouts of a pool of one machine, one after the other, carried out by the real controllers. "+
			"The last event is the one with which the rollout became complete as [rollout-judgement.md](rollout-judgement.md) has it: the last old Machine is gone, each new one is available, and the counters of the MachineSets agree. "+
			"Its time is that at which a watch of this program's own got it; the return is the end of the process, with its last two records, the Event, and the lock given back. "+
			"From the end of the last old Machine, after which the controllers still count, it is %s in the median and %s at worst.",
			n, show(nanoseconds, series[0].Median(afterEnd)), show(nanoseconds, series[0].Worst(afterEnd))),
		Rows: []Row{
			atMost(work+", median", nanoseconds, series[0].Median(nanoseconds), 50e6),
			atMost(work+", worst", nanoseconds, series[0].Worst(nanoseconds), 250e6),
		},
		Series: series,
	}, nil
}

// observer watches a pool with a client of its own.
type observer struct {
	pool    string
	changed chan struct{} // holds one token when something has changed

	mu      sync.Mutex
	objects map[types.UID]*unstructured.Unstructured
	old     map[types.UID]bool // the Machines at the beginning
	from    string             // the template at the beginning
	// complete is when the rollout became complete, gone when the last old Machine
	// went; zero before.
	complete, gone time.Time
	err            error
}

// observe begins to watch a pool, until ctx ends.
func observe(ctx context.Context, client dynamic.Interface, namespace, pool string) (*observer, error) {
	o := &observer{pool: pool, changed: make(chan struct{}, 1), objects: map[types.UID]*unstructured.Unstructured{}, old: map[types.UID]bool{}}
	for resource, selected := range map[schema.GroupVersionResource]metav1.ListOptions{
		machineDeployments: {FieldSelector: "metadata.name=" + pool},
		machineSets:        {LabelSelector: poolLabel + "=" + pool},
		machines:           {LabelSelector: poolLabel + "=" + pool},
	} {
		list, err := client.Resource(resource).Namespace(namespace).List(ctx, selected)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			u := &list.Items[i]
			o.objects[u.GetUID()] = u
			switch resource {
			case machines:
				o.old[u.GetUID()] = true
			case machineDeployments:
				o.from = templateOf(u)
			}
		}
		selected.ResourceVersion = list.GetResourceVersion()
		w, err := client.Resource(resource).Namespace(namespace).Watch(ctx, selected)
		if err != nil {
			return nil, err
		}
		go o.follow(ctx, w)
	}
	return o, nil
}

func (o *observer) follow(ctx context.Context, w watch.Interface) {
	defer w.Stop()
	for event := range w.ResultChan() {
		at := time.Now()
		u, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			o.fail(fmt.Errorf("watch of %s: %v", o.pool, event.Object))
			return
		}
		o.take(at, event.Type, u)
	}
	if ctx.Err() == nil {
		o.fail(fmt.Errorf("watch of %s: it ended", o.pool))
	}
}

func (o *observer) fail(err error) {
	o.mu.Lock()
	o.err = err
	o.mu.Unlock()
	o.wake()
}

func (o *observer) wake() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func (o *observer) take(at time.Time, kind watch.EventType, u *unstructured.Unstructured) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if kind == watch.Deleted {
		delete(o.objects, u.GetUID())
		if delete(o.old, u.GetUID()); o.gone.IsZero() && len(o.old) == 0 {
			o.gone = at
		}
	} else {
		o.objects[u.GetUID()] = u
	}
	switch done := o.done(); {
	case !done:
		o.complete = time.Time{}
	case o.complete.IsZero():
		o.complete = at
		o.wake()
	}
}

// done reports whether the pool has been rolled to another template: the rules of
// docs/rollout-judgement.md, as far as they are about MachineDeployment,
// MachineSets and Machines.
func (o *observer) done() bool {
	var md, set *unstructured.Unstructured
	var sets, all []*unstructured.Unstructured
	for _, u := range o.objects {
		switch u.GetKind() {
		case "MachineDeployment":
			md = u
		case "MachineSet":
			sets = append(sets, u)
		case "Machine":
			all = append(all, u)
		}
	}
	if md == nil || templateOf(md) == o.from || len(o.old) > 0 || number64(md, "status", "observedGeneration") < md.GetGeneration() {
		return false
	}
	desired := number64(md, "spec", "replicas")
	for _, s := range sets {
		if templateOf(s) == templateOf(md) {
			set = s
		} else if number64(s, "spec", "replicas") > 0 || number64(s, "status", "replicas") > 0 {
			return false
		}
	}
	if set == nil || int64(len(all)) != desired {
		return false
	}
	for _, counter := range [][]string{{"spec", "replicas"}, {"status", "replicas"}, {"status", "readyReplicas"}, {"status", "availableReplicas"}} {
		if number64(set, counter...) != desired {
			return false
		}
	}
	for _, m := range all {
		owner := metav1.GetControllerOf(m)
		node, _, _ := unstructured.NestedString(m.Object, "status", "nodeRef", "name")
		if owner == nil || owner.UID != set.GetUID() || node == "" || !holds(m, "Available") {
			return false
		}
	}
	return true
}

// end waits until the rollout is complete, and gives when it became so and when
// the last old Machine went.
func (o *observer) end(ctx context.Context) (complete, gone time.Time, err error) {
	for {
		o.mu.Lock()
		complete, gone, err = o.complete, o.gone, o.err
		o.mu.Unlock()
		if err != nil || !complete.IsZero() {
			return complete, gone, err
		}
		select {
		case <-o.changed:
		case <-ctx.Done():
			return complete, gone, errors.Join(errors.New("apply has ended and the rollout is not complete"), ctx.Err())
		}
	}
}

func templateOf(u *unstructured.Unstructured) string {
	name, _, _ := unstructured.NestedString(u.Object, "spec", "template", "spec", "infrastructureRef", "name")
	return name
}

func number64(u *unstructured.Unstructured, path ...string) int64 {
	n, _, _ := unstructured.NestedInt64(u.Object, path...)
	return n
}

// holds reports whether a condition is true.
func holds(u *unstructured.Unstructured, condition string) bool {
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range all {
		if c, ok := c.(map[string]any); ok && c["type"] == condition {
			return c["status"] == "True"
		}
	}
	return false
}
