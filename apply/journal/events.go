package journal

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
)

// The reasons of Events on a MachineDeployment.
const (
	reasonStarted = "UpgradeStarted"
	reasonDone    = "UpgradeDone"
	reasonHeldUp  = "UpgradeHeldUp"
	reasonStalled = "UpgradeStalled"
)

const (
	// maxMessage is the server's limit of an Event's message
	// (NoteLengthLimit in pkg/apis/core/validation of Kubernetes).
	maxMessage = 1024
	// maxQueue bounds the Events that are waiting to be sent; more are dropped.
	maxQueue = 200
	// eventTimeout bounds one request, closeTimeout the wait for all of them
	// at the end.
	eventTimeout = 5 * time.Second
	closeTimeout = 5 * time.Second
)

// Events writes Kubernetes Events on the MachineDeployments of a plan, for those
// who look there: when the upgrade of a pool starts, is held up, stalls, and is
// done. They are a courtesy: one that cannot be written is dropped without a
// word, and nothing waits for them but Close, a little.
//
// The event recorders of client-go serve programs that go on running: theirs
// cannot be waited for at the end.
type Events struct {
	store  *InCluster
	about  map[plan.Ref]corev1.ObjectReference // the MachineDeployments
	holder apply.Holder

	mu      sync.Mutex
	upgrade string
	started map[plan.Ref]bool
	closed  bool
	queue   chan *corev1.Event
	cancel  context.CancelFunc
	done    chan struct{}
}

// Events gives a writer of Events about the MachineDeployments that snap holds.
// It must be closed.
func (s *InCluster) Events(snap plan.Snapshot, h apply.Holder) *Events {
	ctx, cancel := context.WithCancel(context.Background())
	about := map[plan.Ref]corev1.ObjectReference{}
	for _, o := range snap.List(plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "MachineDeployment"}}) {
		about[capi.RefOf(o)] = corev1.ObjectReference{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(),
			Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}
	}
	e := &Events{store: s, about: about, holder: h, started: map[plan.Ref]bool{}, queue: make(chan *corev1.Event, maxQueue), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		for event := range e.queue {
			ctx, stop := context.WithTimeout(ctx, eventTimeout)
			_, _ = s.core.Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{FieldManager: manager})
			stop()
		}
	}()
	return e
}

// Close waits a little until what is queued is written. It may be called twice.
func (e *Events) Close() {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.queue)
	}
	e.mu.Unlock()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-e.done:
	case <-timer.C:
	}
	e.cancel()
}

// Event takes an event of a run; it is made for Executor.Notify and does not
// block.
func (e *Events) Event(event apply.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch event := event.(type) {
	case apply.RunStarted:
		e.upgrade = event.Plan.Upgrade.Name + ", plan " + event.Plan.Digest.Short()
	case apply.StepStarted:
		if pool, ok := event.Step.Target(); ok && !e.started[pool] {
			e.started[pool] = true
			by := e.holder.Actor
			if e.holder.Ticket != "" {
				by += ", ticket " + e.holder.Ticket
			}
			e.send(pool, corev1.EventTypeNormal, reasonStarted, fmt.Sprintf("%s, started by %s", e.upgrade, by))
		}
	case apply.StepDone:
		if event.Step.Wait != nil {
			e.send(event.Step.Wait.MachineDeployment, corev1.EventTypeNormal, reasonDone,
				fmt.Sprintf("%s, done: all machines were replaced and proved, in %s", e.upgrade, event.Took.Round(time.Second)))
		}
	case apply.Stalled:
		if pool, ok := event.Step.Target(); ok {
			e.send(pool, corev1.EventTypeWarning, reasonHeldUp, e.upgrade+", held up by "+seen(event.Stall))
		}
	case apply.RunEnded:
		for _, stall := range apply.Stalls(event.Err) {
			pool, ok := stall.Step.Target()
			if !ok {
				continue
			}
			what := "the canary failed"
			if stall.After > 0 {
				what = "no progress for " + stall.After.String()
			}
			switch {
			case stall.Stall != nil:
				what += ", by " + seen(*stall.Stall)
			case stall.Rollout.Waiting != "":
				what += "; it waits for " + render.Escape(stall.Rollout.Waiting)
			}
			e.send(pool, corev1.EventTypeWarning, reasonStalled, e.upgrade+", "+what+"; nodepool stopped waiting and can be run again")
		}
	case apply.StepSkipped, apply.Rolling, apply.Retrying, apply.Canary:
	}
}

// maxSaid bounds what an object says of itself in an Event's message, in bytes.
const maxSaid = 400

// seen says what a stall is seen by: its cause, the object that says so, and
// its words, which a provider may have filled with anything. What the command of
// a canary printed is no condition of an object, and is left out.
func seen(s capi.Stall) string {
	out := fmt.Sprintf("%s; seen on %s %s/%s", s.Cause, s.Kind, s.Namespace, s.Name)
	if s.Cause == capi.StallCanaryFailed {
		return out
	}
	said := render.Escape(strings.TrimSpace(s.Message))
	if len(said) > maxSaid {
		said = strings.ToValidUTF8(said[:maxSaid], "") + "…"
	}
	if said != "" {
		out += ": " + said
	}
	return out
}

// send queues an Event about pool, or drops it.
func (e *Events) send(pool plan.Ref, kind, reason, message string) {
	object, ok := e.about[pool]
	if !ok || e.closed {
		return
	}
	now := metav1.Now()
	message = strings.ToValidUTF8(message[:min(len(message), maxMessage)], "")
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pool.Namespace, Name: pool.Name + "." + strconv.FormatInt(now.UnixNano(), 16)},
		InvolvedObject: object,
		Type:           kind, Reason: reason, Message: message,
		Source:         corev1.EventSource{Component: manager},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: manager,
	}
	select {
	case e.queue <- event:
	default:
	}
}
