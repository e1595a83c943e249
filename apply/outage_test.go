package apply_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

const (
	refuses = "the server refuses connections (connection refused)"
	webhook = `InternalError: failed calling webhook "validation.machinedeployment.cluster.x-k8s.io": connect: connection refused`
)

// TestOutagesAreWaitedOut takes the cluster away at each kind of call, as a
// self-managed cluster does that drains its own controllers.
func TestOutagesAreWaitedOut(t *testing.T) {
	outages := []struct {
		name  string
		at    clustertest.Op // the call before which it begins
		nth   int
		words string
		ops   []clustertest.Op // which calls fail; none for all
		lasts time.Duration
	}{
		{"before the create", clustertest.Create, 1, refuses, nil, time.Minute},
		{"before the patch", clustertest.Patch, 1, refuses, nil, time.Minute},
		{"behind the patch", clustertest.Fetch, 3, refuses, nil, time.Minute},
		{"behind the create, for looks alone", clustertest.Fetch, 2, refuses, []clustertest.Op{clustertest.Fetch}, time.Minute},
		{"the webhook of a create", clustertest.Create, 1, webhook, []clustertest.Op{clustertest.Create}, 4 * time.Minute},
		{"the webhook of a patch", clustertest.Patch, 1, webhook, []clustertest.Op{clustertest.Patch}, 4 * time.Minute},
		{"as the wait begins", clustertest.Watch, 1, refuses, nil, 3 * time.Minute},
		{"while it waits", clustertest.Next, 3, refuses, nil, 3 * time.Minute},
		{"longer than a stall while it waits", clustertest.Next, 3, refuses, nil, 14 * time.Minute},
	}
	for _, o := range outages {
		run(t, o.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			w.AutoStep(1)
			c := w.Open(nil)
			p, secrets := compile(t, c, read(t, upgradeOne))
			began := false
			c.Before(o.nth, func(w *clustertest.World) {
				began = true
				w.Outage(o.words, o.ops...)
				time.AfterFunc(o.lasts, func() { w.Outage("") })
			}, o.at)
			var said []string
			j := &memory{}
			e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets, Notify: func(ev apply.Event) {
				if r, ok := ev.(apply.Retrying); ok {
					said = append(said, r.Why)
				}
			}}
			if err := e.Run(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if !began {
				t.Fatal("the call that it begins at never came")
			}
			if diff := cmp.Diff(planned(p), writes(w)); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			if len(said) == 0 || !strings.Contains(said[0], o.words) {
				t.Errorf("it said %q, want the server's words", said)
			}
			noted := 0
			for _, r := range j.records {
				if r.Phase == apply.Noted && strings.Contains(r.Note, o.words) {
					noted++
				}
			}
			if noted != 1 {
				t.Errorf("%d records of it, want 1:\n%+v", noted, j.records)
			}
		})
	}
}

// TestOutagesEnd: a cluster that stays away ends the run, and the next one
// carries on.
func TestOutagesEnd(t *testing.T) {
	tests := []struct {
		name  string
		at    clustertest.Op
		ops   []clustertest.Op
		words string
		lasts time.Duration
		wants func(error) bool
	}{
		{"around the patch", clustertest.Patch, nil, refuses, 5 * time.Minute, isUnreachable},
		{"webhook", clustertest.Patch, []clustertest.Op{clustertest.Patch}, webhook, 5 * time.Minute, isUnreachable},
		{"as the wait begins", clustertest.Watch, nil, refuses, 5 * time.Minute, isUnreachable},
		{"while it waits", clustertest.Next, nil, refuses, 15 * time.Minute, func(err error) bool {
			var s *apply.StallError
			return errors.As(err, &s) && s.Stall != nil && s.Stall.Cause == capi.StallClusterUnreachable && strings.Contains(s.Stall.Message, refuses)
		}},
	}
	for _, test := range tests {
		run(t, test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			w.AutoStep(1)
			c := w.Open(nil)
			p, secrets := compile(t, c, read(t, upgradeOne))
			c.Before(1, func(w *clustertest.World) { w.Outage(test.words, test.ops...) }, test.at)
			j := &memory{}
			began := time.Now()
			err := (&apply.Executor{Cluster: c, Journal: j, Secrets: secrets}).Run(t.Context(), p)
			if !test.wants(err) {
				t.Fatalf("got %v", err)
			}
			if took := time.Since(began); took < test.lasts || took > test.lasts+time.Minute {
				t.Errorf("it gave up after %s, want %s", took, test.lasts)
			}
			w.Outage("")
			if err := (&apply.Executor{Cluster: w.Open(nil), Journal: j, Secrets: secrets}).Run(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(planned(p), writes(w)); diff != "" {
				t.Errorf("writes of both runs (-want +got):\n%s", diff)
			}
		})
	}
}

func isUnreachable(err error) bool {
	var u *apply.UnreachableError
	return errors.As(err, &u)
}

// TestUnseenTimeIsNoStall: what was seen before an outage and after it is held
// against the rollout, the outage is not.
func TestUnseenTimeIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		w.AutoStep(1)
		w.Break(clustertest.MachineDeployment("aws-example-md-0"), clustertest.Fault{NoJoin: true})
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeOne))
		began := time.Now()
		time.AfterFunc(10*time.Minute, func() { w.Outage(refuses) })
		time.AfterFunc(20*time.Minute, func() { w.Outage("") })
		err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p)
		var stall *apply.StallError
		if !errors.As(err, &stall) || stall.Stall == nil || stall.Stall.Cause != capi.StallNodeNotJoined {
			t.Fatalf("got %v, want a stall by a machine that does not join", err)
		}
		// That it cannot be seen is noticed a few seconds late.
		if took := time.Since(began); took < 25*time.Minute-10*time.Second || took > 26*time.Minute {
			t.Errorf("it gave up after %s, want the 15m without progress and the 10m in which nothing could be seen", took)
		}
	})
}

// TestWhoUndidTheChange: another writer who takes our change back while its
// rollout is waited for is named.
func TestWhoUndidTheChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		w.AutoStep(1)
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeOne))
		c.Before(3, func(w *clustertest.World) {
			w.Edit(clustertest.MachineDeployment("aws-example-md-0"), func(o *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(o.Object, "v1.34.3", "spec", "template", "spec", "version")
				o.SetManagedFields([]metav1.ManagedFieldsEntry{
					{Manager: "manager", Subresource: "status", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:status":{}}`)},
					{Manager: "nodepool", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:template":{"f:spec":{"f:infrastructureRef":{"f:name":{}}}}}}`)},
					{Manager: "argocd-controller", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:template":{"f:spec":{"f:version":{}}}}}`)},
				})
			})
		}, clustertest.Next)
		err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets}).Run(t.Context(), p)
		var drift *apply.DriftError
		if !errors.As(err, &drift) {
			t.Fatalf("got %v, want drift", err)
		}
		want := []plan.Difference{{Object: clustertest.MachineDeployment("aws-example-md-0"), Path: "/spec/template/spec/version",
			Reviewed: "v1.35.2", Found: "v1.34.3",
			Because: "another writer (Argo CD, field manager argocd-controller) changed it after this run did"}}
		if diff := cmp.Diff(want, drift.Differences); diff != "" {
			t.Errorf("differences (-want +got):\n%s", diff)
		}
	})
}
