package capi_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// TestPackRecordings: of each object of each recording, what comes out of a Packed
// is what SlimForPlan leaves, or Slim for a judge, as often as it is asked for.
func TestPackRecordings(t *testing.T) {
	t.Run("plan", func(t *testing.T) { packRecordings(t, (*capi.Slimmer).SlimForPlan, (*capi.Slimmer).Pack) })
	t.Run("judge", func(t *testing.T) { packRecordings(t, (*capi.Slimmer).Slim, (*capi.Slimmer).PackForJudge) })
}

func packRecordings(t *testing.T, slim func(*capi.Slimmer, *object) *object, pack func(*capi.Slimmer, *object) *capi.Packed) {
	for _, recording := range recordings(t) {
		var slimmer, packing capi.Slimmer
		var kept []*capi.Packed
		var want []*object
		for _, e := range events(t, recording) {
			if e.Object == nil || e.Object.Object == nil {
				continue
			}
			want = append(want, slim(&slimmer, e.Object.DeepCopy()))
			kept = append(kept, pack(&packing, e.Object.DeepCopy()))
		}
		for i, w := range want {
			for range 2 {
				if diff := cmp.Diff(w, kept[i].Object()); diff != "" {
					t.Fatalf("%s, event %d (-slim +packed):\n%s", recording, i, diff)
				}
			}
			labels, _, _ := unstructured.NestedFieldNoCopy(w.Object, "metadata", "labels")
			if labels == nil {
				labels = map[string]any(nil)
			}
			if diff := cmp.Diff(labels, any(kept[i].Labels())); diff != "" || kept[i].Ref() != capi.RefOf(w) || kept[i].Version() != w.GetResourceVersion() {
				t.Errorf("%s, event %d: identity %v, want %v; labels (-want +got):\n%s", recording, i, kept[i].Ref(), capi.RefOf(w), diff)
			}
		}
	}
}

// anything gives a random value, which another call may give again.
func anything(random *rand.Rand, depth int) any {
	switch n := random.IntN(10); {
	case n < 2 && depth > 0:
		out := map[string]any{}
		for range random.IntN(10) {
			out[fmt.Sprint("key-", random.IntN(400))] = anything(random, depth-1)
		}
		return out
	case n < 4 && depth > 0:
		out := make([]any, random.IntN(4))
		for i := range out {
			out[i] = anything(random, depth-1)
		}
		return out
	case n == 4:
		return []any{nil, true, false, "", map[string]any{}, []any{}}[random.IntN(6)]
	case n == 5:
		return []any{int64(0), int64(-1), int64(math.MinInt64), int64(math.MaxInt64), random.Int64() - random.Int64()}[random.IntN(5)]
	case n == 6:
		return []any{0.5, math.Copysign(0, -1), math.MaxFloat64, random.NormFloat64()}[random.IntN(4)]
	case n == 7:
		return strings.Repeat("ä", random.IntN(200))
	}
	return fmt.Sprint("text-", random.IntN(100000))
}

// TestPackRandom packs and reads at once, and so many objects that what they hold
// in common is begun anew several times.
func TestPackRandom(t *testing.T) {
	var slimmer capi.Slimmer
	var readers sync.WaitGroup
	for worker := range 2 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			var kept []*capi.Packed
			var want []any
			for i := range 4000 {
				spec := map[string]any{"any": anything(random, 4), "more": anything(random, 3)}
				o := &object{Object: map[string]any{"apiVersion": "infrastructure.cluster.x-k8s.io/v1", "kind": "AnyMachine", "metadata": map[string]any{"name": fmt.Sprint("m-", worker, "-", i)}, "spec": spec}}
				want = append(want, o.DeepCopy().Object["spec"])
				kept = append(kept, slimmer.Pack(o))
				at := random.IntN(len(kept))
				for _, at := range []int{i, at} {
					got := kept[at].Object()
					if diff := cmp.Diff(want[at], got.Object["spec"]); diff != "" || got.GetName() != fmt.Sprint("m-", worker, "-", at) {
						t.Errorf("%s (-want +got):\n%s", got.GetName(), diff)
						return
					}
				}
			}
		})
	}
	readers.Wait()
}

// TestPackLeavesFewAsTheyAre: what is not there by the thousand stays whole.
func TestPackLeavesFewAsTheyAre(t *testing.T) {
	var slimmer capi.Slimmer
	w := midway("v1beta2")
	kept := slimmer.Pack(w.md.DeepCopy())
	first, second := kept.Object(), kept.Object()
	if diff := cmp.Diff(w.md, first); diff != "" || first != second {
		t.Errorf("a MachineDeployment is not kept as it is (-want +got):\n%s", diff)
	}
}

// BenchmarkPack packs a Machine like many others and makes it anew; it reports the
// bytes that are packed of one, its share of what is common left out.
func BenchmarkPack(b *testing.B) {
	whole := midway("v1beta2").old[0]
	b.Run("pack", func(b *testing.B) {
		var slimmer capi.Slimmer
		b.ReportAllocs()
		for b.Loop() {
			slimmer.Pack(whole.DeepCopy())
		}
	})
	b.Run("object", func(b *testing.B) {
		var slimmer capi.Slimmer
		slimmer.Pack(whole.DeepCopy())
		kept := slimmer.Pack(whole.DeepCopy())
		b.ReportAllocs()
		for b.Loop() {
			kept.Object()
		}
	})
}
