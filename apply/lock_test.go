package apply_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// fakeLock is free, or held by another, and is lost when its channel is closed.
type fakeLock struct {
	other    *apply.Holder
	lost     chan struct{}
	pools    []plan.Ref
	holder   apply.Holder
	released bool
	// checks counts the checks; at check number gone the lock is found lost,
	// and at number away the cluster does not answer.
	checks, gone, away int
}

func (l *fakeLock) Acquire(_ context.Context, pools []plan.Ref, h apply.Holder) (apply.Held, error) {
	l.pools, l.holder = pools, h
	if l.other != nil {
		return nil, &apply.LockedError{Pool: pools[0], Holder: *l.other}
	}
	return l, nil
}

// waiting is a lock that another holds for as long as one likes to wait.
type waiting struct{ fakeLock }

func (*waiting) Acquire(ctx context.Context, _ []plan.Ref, _ apply.Holder) (apply.Held, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestInterruptedBeforeItBegan: who waits for a lock has written nothing.
func TestInterruptedBeforeItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.AWSExample().Open(nil)
		p, secrets := compile(t, c, read(t, upgradeBoth))
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		e := &apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets, Lock: &waiting{}}
		if err := e.Run(ctx, p); !errors.Is(err, apply.ErrInterrupted) || !errors.Is(err, apply.ErrNotBegun) {
			t.Errorf("got %v", err)
		}
	})
}

func (l *fakeLock) Lost() <-chan struct{} { return l.lost }
func (l *fakeLock) Check(context.Context, plan.Ref) error {
	l.checks++
	select {
	case <-l.lost:
		return &apply.LockLostError{}
	default:
	}
	if l.checks == l.away {
		return &apply.WriteError{Words: "connection refused"}
	}
	if l.checks == l.gone {
		return &apply.LockLostError{}
	}
	return nil
}
func (l *fakeLock) Release(ctx context.Context) error { l.released = true; return ctx.Err() }

func TestLockedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeBoth))
		lock := &fakeLock{other: &apply.Holder{Actor: "eve@there"}}
		j := &memory{}
		e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets, Lock: lock, Holder: apply.Holder{Actor: "bob@here", Ticket: "CHG-1"}}
		var locked *apply.LockedError
		if err := e.Run(t.Context(), p); !errors.As(err, &locked) || locked.Holder.Actor != "eve@there" {
			t.Fatalf("got %v, want a LockedError of eve", err)
		}
		if len(w.Writes()) > 0 || j.opened {
			t.Errorf("locked, and yet wrote %v, journal opened %v", w.Writes(), j.opened)
		}
		if d := cmp.Diff(apply.Holder{Actor: "bob@here", Ticket: "CHG-1", Upgrade: p.Upgrade.Name, Plan: p.Digest}, lock.holder); d != "" {
			t.Errorf("holder (-want +got):\n%s", d)
		}
		if len(lock.pools) != 2 {
			t.Errorf("locked %v, want each pool once", lock.pools)
		}
	})
}

func TestHeldWhileAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", one))
		w.AutoStep(1)
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeOne))
		lock, j := &fakeLock{}, &memory{}
		e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets, Lock: lock, Holder: apply.Holder{Actor: "bob@here", Ticket: "CHG-1"}}
		if err := e.Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if !lock.released {
			t.Error("the lock was not given back")
		}
		if first := j.records[0]; first.Phase != apply.Opened || first.Ticket != "CHG-1" || first.Actor != "bob@here" {
			t.Errorf("the first record is %+v", first)
		}
	})
}

// TestLostLock loses the lock at every call; no write follows.
func TestLostLock(t *testing.T) {
	for n := 1; ; n++ {
		lostAt := -1
		synctest.Test(t, func(t *testing.T) {
			w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", one))
			w.AutoStep(1)
			p, secrets := compile(t, w.Open(nil), read(t, upgradeOne))
			c := w.Open(nil)
			lock := &fakeLock{lost: make(chan struct{})}
			c.Before(n, func(w *clustertest.World) {
				close(lock.lost)
				lostAt = len(w.Writes())
			})
			e := &apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets, Lock: lock}
			err := e.Run(t.Context(), p)
			var lost *apply.LockLostError
			switch {
			case lostAt < 0:
				if err != nil {
					t.Errorf("call %d never came, and Run gave %v", n, err)
				}
				return
			case err != nil && !errors.As(err, &lost):
				t.Errorf("lost at call %d: got %v, want a LockLostError", n, err)
			}
			// The write in hand when the lock goes is finished.
			if more := len(w.Writes()) - lostAt; more > 1 {
				t.Errorf("lost at call %d: %d writes followed", n, more)
			}
		})
		if lostAt < 0 {
			if n < 8 {
				t.Fatalf("only %d calls were tried", n-1)
			}
			return
		}
	}
}

// TestCheckedBeforeEveryWrite finds the lock lost at each check, without a word
// on the channel: a process that was frozen has missed that too.
func TestCheckedBeforeEveryWrite(t *testing.T) {
	for gone := 1; gone <= 2; gone++ {
		synctest.Test(t, func(t *testing.T) {
			w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", one))
			w.AutoStep(1)
			c := w.Open(nil)
			p, secrets := compile(t, c, read(t, upgradeOne))
			lock, j := &fakeLock{gone: gone}, &memory{}
			err := (&apply.Executor{Cluster: c, Journal: j, Secrets: secrets, Lock: lock}).Run(t.Context(), p)
			var lost *apply.LockLostError
			if !errors.As(err, &lost) || len(w.Writes()) != gone-1 {
				t.Fatalf("lost at check %d: got %v and %d writes", gone, err, len(w.Writes()))
			}
			if lost.Written != (gone > 1) {
				t.Errorf("lost at check %d: written is %v", gone, lost.Written)
			}
			if last := j.records[len(j.records)-1]; last.Phase != apply.Failed {
				t.Errorf("the last record is %+v", last)
			}
		})
	}
}

// A lock that cannot be asked for is waited for like a write.
func TestCheckIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", one))
		w.AutoStep(1)
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, upgradeOne))
		lock := &fakeLock{away: 1}
		if err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets, Lock: lock}).Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if lock.checks != 3 || len(w.Writes()) != 2 {
			t.Errorf("%d checks and %d writes, want 3 and 2", lock.checks, len(w.Writes()))
		}
	})
}

// Another plan is given up once the lock is held, and only the one that the
// user was asked about.
func TestGiveUp(t *testing.T) {
	for name, tt := range map[string]struct {
		giveUp   plan.Digest
		locked   bool
		wantDone bool
	}{
		"the one asked about": {giveUp: "sha256:old", wantDone: true},
		"another one":         {giveUp: "sha256:older"},
		"locked":              {giveUp: "sha256:old", locked: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", one))
				w.AutoStep(1)
				c := w.Open(nil)
				p, secrets := compile(t, c, read(t, upgradeOne))
				lock, j := &fakeLock{}, &memory{plan: plan.Plan{Digest: "sha256:old"}, opened: true}
				if tt.locked {
					lock.other = &apply.Holder{}
				}
				e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets, Lock: lock, GiveUp: apply.GiveUp{Plan: tt.giveUp, Why: "abandoned"}}
				err := e.Run(t.Context(), p)
				if (err == nil) != tt.wantDone {
					t.Fatalf("Run gave %v", err)
				}
				if !tt.wantDone {
					if len(j.records) > 0 || len(w.Writes()) > 0 {
						t.Errorf("refused, and yet wrote %v and recorded %v", w.Writes(), j.records)
					}
					return
				}
				if first := j.records[0]; first.Plan != "sha256:old" || first.Phase != apply.Closed || first.Note != "abandoned" {
					t.Errorf("the first record is %+v", first)
				}
			})
		})
	}
}
