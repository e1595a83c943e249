package journal_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/apply/journal/journaltest"
	"nodepool/plan"
)

var owner = journal.Cluster{APIVersion: "cluster.x-k8s.io/v1beta2", Namespace: "default", Name: "c", UID: "uid-of-c"}

func poolNamed(name string) plan.Ref {
	return plan.Ref{Group: "cluster.x-k8s.io", Kind: "MachineDeployment", Namespace: "default", Name: name}
}

var (
	poolA, poolB, poolC = poolNamed("a"), poolNamed("b"), poolNamed("c")

	alice = apply.Holder{Actor: "alice@there", Host: "there", Process: 1, Upgrade: "up", Plan: "sha256:aa", Ticket: "CHG-1"}
	bob   = apply.Holder{Actor: "bob@here", Host: "here", Process: 2, Upgrade: "up", Plan: "sha256:bb"}
)

func inCluster(client *fake.Clientset) *journal.InCluster {
	return journal.New(client.CoreV1(), client.CoordinationV1(), owner)
}

// elsewhere makes the Lease of a pool one of a runner on another host.
func elsewhere(t *testing.T, client *fake.Clientset, pool plan.Ref) {
	t.Helper()
	l := leaseOf(t, client, pool)
	raw, err := json.Marshal(map[string]any{"actor": "alice@there", "host": "there", "pid": 1, "place": "another boot", "began": "1"})
	if err != nil {
		t.Fatal(err)
	}
	l.Annotations["nodepool/holder"] = string(raw)
	if _, err := client.CoordinationV1().Leases(l.Namespace).Update(t.Context(), l, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func leaseOf(t *testing.T, client *fake.Clientset, pool plan.Ref) *coordinationv1.Lease {
	t.Helper()
	l, err := client.CoordinationV1().Leases(pool.Namespace).Get(t.Context(), journal.LeaseName(pool), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return l.DeepCopy()
}

func acquire(t *testing.T, s *journal.InCluster, h apply.Holder, pools ...plan.Ref) apply.Held {
	t.Helper()
	held, err := s.Lock(journal.DefaultLockTimeout, nil).Acquire(t.Context(), pools, h)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// requests counts requests on Leases by verb.
func requests(client *fake.Clientset, verb string) int {
	n := 0
	for _, a := range client.Actions() {
		if a.GetResource().Resource == "leases" && a.GetVerb() == verb {
			n++
		}
	}
	return n
}

func isLost(held apply.Held) bool {
	select {
	case <-held.Lost():
		return true
	default:
		return false
	}
}

func TestLeaseShowsItsHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		held := acquire(t, inCluster(client), alice, poolA)
		l := leaseOf(t, client, poolA)
		if diff := cmp.Diff([]metav1.OwnerReference{{APIVersion: owner.APIVersion, Kind: "Cluster", Name: "c", UID: owner.UID}}, l.OwnerReferences); diff != "" {
			t.Errorf("owner (-want +got):\n%s", diff)
		}
		if *l.Spec.LeaseDurationSeconds != 30 || l.Labels["cluster.x-k8s.io/cluster-name"] != "c" {
			t.Errorf("lease: %+v", l)
		}
		locked, err := inCluster(client).Holders(t.Context(), []plan.Ref{poolA, poolB})
		if err != nil || len(locked) != 1 {
			t.Fatalf("%d are locked, %v; want one", len(locked), err)
		}
		want := alice
		want.Since, want.Renewed = time.Now(), time.Now()
		if diff := cmp.Diff(want, locked[0].Holder); diff != "" {
			t.Errorf("holder (-want +got):\n%s", diff)
		}
		for range 2 {
			if err := held.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := requests(client, "delete"); n != 1 {
			t.Errorf("%d deletes, want one", n)
		}
	})
}

// The holder is alive and renews; the other waits for the whole timeout, says
// so at once, and gives up.
func TestHeldByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		held := acquire(t, inCluster(client), alice, poolB)
		began := time.Now()
		var told []string
		lock := inCluster(client).Lock(45*time.Second, func(pool plan.Ref, h apply.Holder) {
			if time.Since(began) > 0 {
				t.Errorf("told after %s", time.Since(began))
			}
			told = append(told, pool.Name+" "+h.Actor)
		})
		_, err := lock.Acquire(t.Context(), []plan.Ref{poolC, poolB, poolA}, bob)
		var locked *apply.LockedError
		if !errors.As(err, &locked) || locked.Pool != poolB || locked.Holder.Actor != "alice@there" || locked.Holder.Ticket != "CHG-1" {
			t.Fatalf("got %v, want a LockedError of alice", err)
		}
		if waited := time.Since(began); waited != 45*time.Second {
			t.Errorf("waited %s, want 45s", waited)
		}
		if diff := cmp.Diff([]string{"b alice@there"}, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		// All or none.
		left, err := inCluster(client).Holders(t.Context(), []plan.Ref{poolA, poolB, poolC})
		if err != nil || len(left) != 1 || left[0].Pool != poolB {
			t.Errorf("locked are %v, %v; want only what alice holds", left, err)
		}
		if isLost(held) || held.Check(t.Context(), poolB) != nil {
			t.Error("alice lost her lock")
		}
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		held = acquire(t, inCluster(client), bob, poolA, poolB, poolC)
		_ = held.Release(t.Context())
	})
}

// A runner on another host is dead for all that can be known once its Leases
// have not changed for 30 s; all of them expire together.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		pools := []plan.Ref{poolA, poolB, poolC}
		held := acquire(t, inCluster(client), alice, pools...)
		freeze(t, client, held, pools...)
		// What its clock said is of no account.
		for _, skew := range []time.Duration{-time.Hour, time.Hour} {
			l := leaseOf(t, client, poolA)
			l.Spec.RenewTime = &metav1.MicroTime{Time: time.Now().Add(skew)}
			if _, err := client.CoordinationV1().Leases(l.Namespace).Update(t.Context(), l, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		held2 := acquire(t, inCluster(client), bob, pools...)
		if waited := time.Since(began); waited != 30*time.Second {
			t.Errorf("took over after %s, want 30s", waited)
		}
		if n := *leaseOf(t, client, poolA).Spec.LeaseTransitions; n != 1 {
			t.Errorf("%d transitions, want 1", n)
		}
		_ = held2.Release(t.Context())
	})
}

// freeze ends the renewals of held without giving it back, as SIGSTOP or
// another host's power failure do.
func freeze(t *testing.T, client *fake.Clientset, held apply.Held, pools ...plan.Ref) {
	t.Helper()
	var saved []*coordinationv1.Lease
	for _, pool := range pools {
		elsewhere(t, client, pool)
		saved = append(saved, leaseOf(t, client, pool))
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, l := range saved {
		l.ResourceVersion = ""
		if _, err := client.CoordinationV1().Leases(l.Namespace).Create(t.Context(), l, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A process of this host that is known to be dead is not waited for; one that
// lives is, and so is one that has the number of a dead one elsewhere.
func TestDeadOnThisHost(t *testing.T) {
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	client := journaltest.NewClientset()
	held := acquire(t, inCluster(client), alice, poolA)
	var sign map[string]any
	if err := json.Unmarshal([]byte(leaseOf(t, client, poolA).Annotations["nodepool/holder"]), &sign); err != nil {
		t.Fatal(err)
	}
	_ = held.Release(t.Context())
	if sign["place"] == nil {
		return // this system does not tell
	}
	own := sign["began"]
	lock := func(pid int, place, began any) func(t *testing.T) error {
		return func(t *testing.T) error {
			client := journaltest.NewClientset()
			raw, err := json.Marshal(map[string]any{"actor": "alice@here", "pid": pid, "place": place, "began": began})
			if err != nil {
				t.Fatal(err)
			}
			who, now := "alice", metav1.NowMicro()
			_, err = client.CoordinationV1().Leases("default").Create(t.Context(), &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: journal.LeaseName(poolA), Annotations: map[string]string{"nodepool/holder": string(raw)}},
				Spec:       coordinationv1.LeaseSpec{HolderIdentity: &who, RenewTime: &now},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			held, err := inCluster(client).Lock(0, nil).Acquire(t.Context(), []plan.Ref{poolA}, bob)
			if err == nil {
				_ = held.Release(t.Context())
			}
			return err
		}
	}
	alive := lock(os.Getpid(), sign["place"], own)
	reused := lock(os.Getpid(), sign["place"], "1")
	if err := alive(t); err == nil {
		t.Error("a living process was taken for dead")
	}
	if err := reused(t); err != nil {
		t.Errorf("another process has its number: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if err := lock(child.Process.Pid, sign["place"], "1")(t); err != nil {
		t.Errorf("a dead process holds the lock: %v", err)
	}
	if err := lock(child.Process.Pid, "another boot", "1")(t); err == nil {
		t.Error("a process of another host was taken for dead")
	}
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		var pools []plan.Ref
		for i := range 50 {
			pools = append(pools, poolNamed(string(rune('a'+i%26))+string(rune('a'+i/26))))
		}
		held := acquire(t, inCluster(client), alice, pools...)
		client.ClearActions()
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		if n, all := requests(client, "update"), len(client.Actions()); n != 50*8 || all != n {
			t.Errorf("%d updates and %d requests in 2 minutes, want 400: one for each pool every 15 s", n, all)
		}
		if isLost(held) {
			t.Error("it is lost")
		}
		_ = held.Release(t.Context())
	})
}

// A server that does not answer loses nobody the lock: it gives it to nobody
// else either.
func TestRenewalIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		var away atomic.Bool
		client.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return away.Load(), nil, errors.New("connection refused")
		})
		held := acquire(t, inCluster(client), alice, poolA)
		away.Store(true)
		time.Sleep(5 * time.Minute)
		var we *apply.WriteError
		if err := held.Check(t.Context(), poolA); !errors.As(err, &we) || we.Outcome != apply.Unknown {
			t.Errorf("got %v, want a WriteError of unknown outcome", err)
		}
		away.Store(false)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if isLost(held) || held.Check(t.Context(), poolA) != nil {
			t.Error("it is lost")
		}
		if age := time.Since(leaseOf(t, client, poolA).Spec.RenewTime.Time); age > 3*time.Second {
			t.Errorf("renewed %s ago", age)
		}
		// Nor does giving it back wait for ever.
		away.Store(true)
		began := time.Now()
		if err := held.Release(t.Context()); err != nil || time.Since(began) > 30*time.Second {
			t.Errorf("released with %v after %s", err, time.Since(began))
		}
	})
}

// Whoever takes the lock away, its holder finds out at its next renewal, and
// before it writes.
func TestLosingIt(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, client *fake.Clientset){
		"evicted": func(t *testing.T, client *fake.Clientset) {
			locked, err := inCluster(client).Holders(t.Context(), []plan.Ref{poolA})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second) // it was renewed since it was shown
			if err := inCluster(client).Evict(t.Context(), locked[0]); err != nil {
				t.Fatal(err)
			}
		},
		"taken over": func(t *testing.T, client *fake.Clientset) {
			l := leaseOf(t, client, poolA)
			who := "bob"
			l.Spec.HolderIdentity = &who
			if _, err := client.CoordinationV1().Leases("default").Update(t.Context(), l, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := journaltest.NewClientset()
				held, other := acquire(t, inCluster(client), alice, poolA, poolB), acquire(t, inCluster(client), alice, poolC)
				take(t, client)
				var lost *apply.LockLostError
				if err := other.Check(t.Context(), poolC); err != nil {
					t.Errorf("another run lost its lock too: %v", err)
				}
				time.Sleep(15 * time.Second)
				synctest.Wait()
				if !isLost(held) {
					t.Error("it is not known after a renewal")
				}
				if err := held.Check(t.Context(), poolB); !errors.As(err, &lost) {
					t.Errorf("got %v, want a LockLostError for the other pool too", err)
				}
				was, _ := client.CoordinationV1().Leases("default").Get(t.Context(), journal.LeaseName(poolA), metav1.GetOptions{})
				if err := held.Release(t.Context()); err != nil {
					t.Error(err)
				}
				is, _ := client.CoordinationV1().Leases("default").Get(t.Context(), journal.LeaseName(poolA), metav1.GetOptions{})
				if diff := cmp.Diff(was, is); diff != "" {
					t.Errorf("releasing what was lost changed it (-was +is):\n%s", diff)
				}
				_ = other.Release(t.Context())
			})
			// Without waiting for a renewal.
			synctest.Test(t, func(t *testing.T) {
				client := journaltest.NewClientset()
				held := acquire(t, inCluster(client), alice, poolA)
				take(t, client)
				var lost *apply.LockLostError
				if err := held.Check(t.Context(), poolA); !errors.As(err, &lost) || !isLost(held) {
					t.Errorf("got %v, want a LockLostError", err)
				}
				_ = held.Release(t.Context())
			})
		})
	}
}

// Only the holder that was shown is evicted.
func TestEvictAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		held := acquire(t, inCluster(client), alice, poolA)
		shown, err := inCluster(client).Holders(t.Context(), []plan.Ref{poolA})
		if err != nil {
			t.Fatal(err)
		}
		_ = held.Release(t.Context())
		held = acquire(t, inCluster(client), bob, poolA)
		var locked *apply.LockedError
		if err := inCluster(client).Evict(t.Context(), shown[0]); !errors.As(err, &locked) || locked.Holder.Actor != "bob@here" {
			t.Errorf("got %v, want a LockedError of bob", err)
		}
		if held.Check(t.Context(), poolA) != nil {
			t.Error("bob was evicted")
		}
		_ = held.Release(t.Context())
		if err := inCluster(client).Evict(t.Context(), shown[0]); err != nil {
			t.Errorf("evicting one who has left: %v", err)
		}
	})
}

// Two runners that want the same pools in different orders both get them.
func TestNoDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		done := make(chan error, 2)
		for i, h := range []apply.Holder{alice, bob} {
			pools := []plan.Ref{poolA, poolB, poolC}
			if i == 1 {
				slices.Reverse(pools)
			}
			go func() {
				held, err := inCluster(client).Lock(time.Minute, nil).Acquire(t.Context(), pools, h)
				if err == nil {
					time.Sleep(20 * time.Second)
					err = held.Release(t.Context())
				}
				done <- err
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAcquireFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		client.PrependReactor("create", "leases", func(a clienttesting.Action) (bool, runtime.Object, error) {
			return a.(clienttesting.CreateAction).GetObject().(*coordinationv1.Lease).Name == journal.LeaseName(poolB), nil,
				apierrors.NewForbidden(coordinationv1.Resource("leases"), "x", errors.New("no"))
		})
		_, err := inCluster(client).Lock(time.Minute, nil).Acquire(t.Context(), []plan.Ref{poolA, poolB}, alice)
		var forbidden *apply.ForbiddenError
		if !errors.As(err, &forbidden) || forbidden.Verb != "create" || forbidden.Resource != "leases" {
			t.Errorf("got %v, want a ForbiddenError", err)
		}
		if left, _ := inCluster(client).Holders(t.Context(), []plan.Ref{poolA, poolB}); len(left) > 0 {
			t.Errorf("%v is left behind", left)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		held := acquire(t, inCluster(client), alice, poolB)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := inCluster(client).Lock(time.Minute, nil).Acquire(ctx, []plan.Ref{poolA, poolB}, bob); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		if left, _ := inCluster(client).Holders(t.Context(), []plan.Ref{poolA}); len(left) > 0 {
			t.Errorf("%v is left behind", left)
		}
		_ = held.Release(t.Context())
	})
	// The reply to the create is lost: it is ours all the same.
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		lost := false
		client.PrependReactor("create", "leases", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if lost {
				return false, nil, nil
			}
			lost = true
			o := a.(clienttesting.CreateAction).GetObject().DeepCopyObject().(*coordinationv1.Lease)
			o.ResourceVersion = "1"
			return true, nil, errors.Join(client.Tracker().Create(a.GetResource(), o, a.GetNamespace()),
				apierrors.NewGenericServerResponse(http.StatusInternalServerError, "create", coordinationv1.Resource("leases"), "x", "lost", 0, true))
		})
		began := time.Now()
		held := acquire(t, inCluster(client), alice, poolA)
		if time.Since(began) > 5*time.Second {
			t.Errorf("it took %s", time.Since(began))
		}
		_ = held.Release(t.Context())
	})
}
