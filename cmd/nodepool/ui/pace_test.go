package ui_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
)

// TestEstimate takes the estimate from the machines made since the look began.
func TestEstimate(t *testing.T) {
	at := func(seconds, ready int) moment {
		r := rollout(4)
		r.NewReady = ready
		return moment{0, apply.Rolling{Step: wait0, Elapsed: time.Duration(seconds) * time.Second, Rollout: r}}
	}
	var b bytes.Buffer
	tell(ui.Options{Mode: ui.JSONLines}, &b, []moment{
		at(0, 1),   // made by an earlier attempt
		at(50, 1),  // nothing to go by
		at(60, 2),  // a minute each, two to go
		at(90, 2),  // half of that has passed
		at(170, 2), // nearly twice the usual time: none is left of one of the two
		at(181, 2), // too long: no word
		at(200, 3), // 100 s each, one to go
		at(300, 4), // done
	})
	var got []float64
	for dec := json.NewDecoder(&b); dec.More(); {
		var l struct{ SecondsLeft *float64 }
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if l.SecondsLeft == nil {
			got = append(got, -1)
		} else {
			got = append(got, *l.SecondsLeft)
		}
	}
	if d := cmp.Diff([]float64{-1, -1, 120, 90, 10, -1, 100, -1}, got); d != "" {
		t.Errorf("seconds left, -1 for no word (-want +got):\n%s", d)
	}
}
