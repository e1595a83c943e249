package apply_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
)

// batches is a journal that tells what was written together, and that may lose
// the write that closes a run.
type batches struct {
	memory
	written [][]apply.Phase
	// arrive is how many records of the write that closes arrive before it fails;
	// below 0 it does not fail.
	arrive int
}

func (b *batches) Append(ctx context.Context, all ...apply.Record) error {
	var phases []apply.Phase
	for _, r := range all {
		phases = append(phases, r.Phase)
	}
	b.written = append(b.written, phases)
	if all[len(all)-1].Phase != apply.Closed || b.arrive < 0 {
		return b.memory.Append(ctx, all...)
	}
	if all = all[:b.arrive]; len(all) > 0 {
		_ = b.memory.Append(ctx, all...)
	}
	b.arrive = -1
	return errors.New("the journal is away")
}

// TestTheLastPoolClosesTheRun: waits that begin together are recorded in one write,
// and with the last of them to be done the run is closed in another, not before.
func TestTheLastPoolClosesTheRun(t *testing.T) {
	run(t, "two pools", func(t *testing.T) {
		w := clustertest.AWSExample()
		w.AutoStep(1)
		c := w.Open(nil)
		p, secrets := compile(t, c, read(t, parallelUpgrade("", "")))
		j := &batches{arrive: -1}
		if err := (&apply.Executor{Cluster: c, Journal: j, Secrets: secrets}).Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		n := len(j.written)
		want := [][]apply.Phase{{apply.Started, apply.Started}, {apply.Done}, {apply.Done, apply.Closed}}
		if diff := cmp.Diff(want, j.written[n-3:]); diff != "" {
			t.Errorf("the last writes (-want +got):\n%s", diff)
		}
		if j.opened {
			t.Error("the run is not closed")
		}
	})
}

// TestTheWriteThatClosesIsLost: a run that cannot tell whether its last write has
// arrived says so, and the next one ends where this one would have.
func TestTheWriteThatClosesIsLost(t *testing.T) {
	for name, arrive := range map[string]int{"nothing arrives": 0, "half of it arrives": 1, "the reply is lost": 2} {
		run(t, name, func(t *testing.T) {
			w := clustertest.AWSExample()
			w.AutoStep(1)
			c := w.Open(nil)
			up := read(t, parallelUpgrade("", ""))
			p, secrets := compile(t, c, up)
			j := &batches{arrive: arrive}
			e := &apply.Executor{Cluster: c, Journal: j, Secrets: secrets}
			var unrecorded *apply.RecordError
			if err := e.Run(t.Context(), p); !errors.As(err, &unrecorded) {
				t.Fatalf("got %v, want a RecordError", err)
			}
			if closed := !j.opened; closed != (arrive == 2) {
				t.Errorf("closed: %t, after %d records have arrived", closed, arrive)
			}
			if j.opened { // as apply does, which carries on with it
				if err := e.Run(t.Context(), p); err != nil {
					t.Fatalf("the second run: %v", err)
				}
			}
			if diff := cmp.Diff(planned(p), writes(w)); diff != "" {
				t.Errorf("writes of both runs (-want +got):\n%s", diff)
			}
			if left, _ := compile(t, c, up); !left.IsEmpty() || j.opened {
				t.Errorf("the next plan has %d steps, want none; open: %t", len(left.Steps), j.opened)
			}
		})
	}
}
