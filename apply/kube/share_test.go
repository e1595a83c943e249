package kube_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nodepool/apply"
	"nodepool/plan"
)

// requests counts the requests for objects of a kind so far: lists, and watches
// that were not refused.
func (h *herd) requestsFor(resource string) (lists, watches int) {
	for _, r := range h.asked("/" + resource + "?") {
		if strings.Contains(r, "watch=") {
			watches++
		} else {
			lists++
		}
	}
	return lists, watches / 2 // each is first asked for as a stream, which is refused
}

func follow(t *testing.T, h *herd, c apply.Cluster, pool int) apply.Feed {
	t.Helper()
	feed, err := c.Watch(t.Context(), h.step(pool).Follows())
	if err != nil {
		t.Fatal(err)
	}
	judgeNext(t, h, feed, pool)
	return feed
}

// judgeNext judges the next snapshot of a feed, which must hold the whole pool and
// nothing else.
func judgeNext(t *testing.T, h *herd, feed apply.Feed, pool int) plan.Snapshot {
	t.Helper()
	snap, err := feed.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := h.step(pool)
	if a := plan.Assess(s, snap); a.Verdict != plan.Pending || len(a.Rollout.Machines) != 100 || a.Rollout.Old != 50 {
		t.Fatalf("pool %d: %s %v, %d machines, %d of them old", pool, a.Verdict, a.Differences, len(a.Rollout.Machines), a.Rollout.Old)
	}
	for _, sel := range s.Follows() {
		if n := len(snap.List(sel)); sel.Kind == "Machine" && n != 100 {
			t.Fatalf("%d machines are given, and 100 are the pool's", n)
		}
	}
	return snap
}

func (h *herd) sendChange(random *rand.Rand, resource string, pool int) {
	path, event := h.change(random, resource, pool)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.watches[path] {
		_, _ = w.Write(event)
	}
}

// TestWaitsShareWatches: waits for pools of one cluster that begin together watch
// each kind once, and each is told what is its own.
func TestWaitsShareWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pools = 4
		h := newHerd(t, pools)
		c := h.client()
		var feeds []apply.Feed
		for p := range pools {
			feeds = append(feeds, follow(t, h, c, p))
			defer feeds[p].Stop()
		}
		for resource := range resources {
			lists, watches := h.requestsFor(resource)
			if pages := (len(h.objects[resource]) + 499) / 500; lists != pages || watches != 1 {
				t.Errorf("%s: %d lists of %d pages, %d watches; want each once", resource, lists, pages, watches)
			}
		}
		random := rand.New(rand.NewPCG(1, 2))
		for resource, to := range map[string][]int{"machines": {2}, "awsmachines": {2}, "kubeadmconfigs": {2}, "machinesets": {2}, "machinedeployments": {2}} {
			h.sendChange(random, resource, 2)
			for p, feed := range feeds {
				if len(to) == 1 && to[0] == p {
					judgeNext(t, h, feed, p)
					continue
				}
				soon, cancel := context.WithTimeout(t.Context(), time.Second)
				if _, err := feed.Next(soon); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a change of %s of pool 2 is told to pool %d: %v", resource, p, err)
				}
				cancel()
			}
		}
	})
}

// TestChangesAreGathered: a feed that gathers gives what changes within that time
// as one, no later, and the end of its caller's time ends the gathering.
func TestChangesAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHerd(t, 1)
		feed := follow(t, h, h.client(), 0)
		defer feed.Stop()
		random := rand.New(rand.NewPCG(1, 2))
		nothing := func(within time.Duration) {
			soon, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if _, err := feed.Next(soon); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("something more is told: %v", err)
			}
		}
		feed.Gather(time.Second)
		began := time.Now()
		h.sendChange(random, "machines", 0)
		time.AfterFunc(900*time.Millisecond, func() { h.sendChange(random, "awsmachines", 0) })
		judgeNext(t, h, feed, 0)
		if took := time.Since(began); took != time.Second {
			t.Errorf("the changes are told after %s", took)
		}
		nothing(time.Minute)

		began = time.Now()
		soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		h.sendChange(random, "machines", 0)
		if _, err := feed.Next(soon); err != nil || time.Since(began) != 100*time.Millisecond {
			t.Errorf("at the end of its time, after %s, Next gave %v", time.Since(began), err)
		}
		feed.Gather(0)
		began = time.Now()
		h.sendChange(random, "machines", 0)
		judgeNext(t, h, feed, 0)
		if took := time.Since(began); took > 0 {
			t.Errorf("a change is told after %s", took)
		}
	})
}

// TestTenMinutesOfWaiting: in ten minutes nothing is asked for but what begins the
// wait, and each watch once more when the server has ended it, as it is asked to
// after five to ten minutes; for eight pools it is the same as for one.
func TestTenMinutesOfWaiting(t *testing.T) {
	for _, pools := range []int{1, 8} {
		t.Run(fmt.Sprintf("pools=%d", pools), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHerd(t, pools)
				answer := h.answer
				h.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
					if q := r.URL.Query(); q.Get("watch") != "" && q.Get("sendInitialEvents") == "" {
						seconds, err := strconv.Atoi(q.Get("timeoutSeconds"))
						if err != nil || seconds < 300 || seconds > 600 {
							t.Errorf("a watch asks to be ended after %q seconds", q.Get("timeoutSeconds"))
						}
						time.AfterFunc(time.Duration(seconds)*time.Second, func() { h.drop(r.URL.Path) })
					}
					return answer(w, r, n)
				}
				c := h.client()
				for p := range pools {
					defer follow(t, h, c, p).Stop()
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				anew := 0
				for resource := range resources {
					lists, _ := h.requestsFor(resource)
					watches := len(h.asked("/"+resource+"?")) - lists - 1 // the first is asked for as a stream, which is refused
					if pages := (len(h.objects[resource]) + 499) / 500; lists != pages || watches < 1 || watches > 2 {
						t.Errorf("%s: %d lists of %d pages, %d watches; want it listed once and watched twice at most", resource, lists, pages, watches)
					}
					anew += watches - 1
				}
				if anew == 0 {
					t.Error("no watch was ended and begun anew")
				}
			})
		})
	}
}

// TestLookAnewTakesOthersAlong: one that looks anew has the cluster listed again,
// and the others go on with what it watches; the watch that told nothing ends.
func TestLookAnewTakesOthersAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHerd(t, 2)
		c := h.client()
		first, second := follow(t, h, c, 0), follow(t, h, c, 1)
		time.Sleep(time.Minute)
		random := rand.New(rand.NewPCG(1, 2))
		path, _ := h.change(random, "machines", 1) // which no watch tells
		h.mu.Lock()
		silent := h.watches[path]
		h.watches[path] = nil
		h.mu.Unlock()
		anew := follow(t, h, c, 0)
		first.Stop()
		judgeNext(t, h, second, 1) // what had changed
		h.sendChange(random, "machines", 1)
		judgeNext(t, h, second, 1)
		if lists, watches := h.requestsFor("machines"); lists != 2 || watches != 2 {
			t.Errorf("%d lists, %d watches", lists, watches)
		}
		synctest.Wait()
		if _, err := silent[0].Write([]byte("{}")); err == nil {
			t.Error("the watch that told nothing is still open")
		}
		anew.Stop()
		h.sendChange(random, "machines", 1)
		judgeNext(t, h, second, 1)
		second.Stop()
	})
}

// TestMachinesComeAndGo: what is gone and what is new is told, too.
func TestMachinesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHerd(t, 2)
		feed := follow(t, h, h.client(), 1)
		defer feed.Stop()
		m := h.objects["machines"][150]
		path := "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines"
		count := func() int {
			snap, err := feed.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return len(plan.Assess(h.step(1), snap).Rollout.Machines)
		}
		tell := func(kind string) {
			h.version++
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, w := range h.watches[path] {
				_, _ = w.Write([]byte(`{"type":"` + kind + `","object":` + string(h.object("machines", m)) + "}\n"))
			}
		}
		tell("DELETED")
		if n := count(); n != 99 {
			t.Errorf("%d machines after one is gone", n)
		}
		m.uid, m.name = "another", m.name+"-again"
		tell("ADDED")
		if n := count(); n != 100 {
			t.Errorf("%d machines after one has come", n)
		}
	})
}
