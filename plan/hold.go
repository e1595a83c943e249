package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// HoldAnnotation is on a MachineDeployment that a run holds or has paused. It
// records each field that the hold took, with the value it has while held and
// the one it had before, so that whoever comes next can end the hold though no
// journal is left. Fields go by a name that is the same in every API version.
const HoldAnnotation = "nodepool/hold"

// holdSeconds is the minReadySeconds of a held MachineDeployment: ten years, so
// that no new machine becomes available, and so no old one is deleted, until
// the hold is released, whatever becomes of the runner.
const holdSeconds = 315_360_000

// The fields that a hold or a pause may take.
const (
	heldSurge       = "maxSurge"
	heldUnavailable = "maxUnavailable"
	heldMinReady    = "minReadySeconds"
	heldPaused      = "paused"
)

func heldPath(f capi.Fields, name string) []string {
	switch name {
	case heldSurge:
		return f.MaxSurge
	case heldUnavailable:
		return f.MaxUnavailable
	case heldMinReady:
		return f.MinReadySeconds
	case heldPaused:
		return f.Paused
	}
	return nil
}

// heldField is one field of a hold: its value while held and before, empty when
// it was absent.
type heldField struct {
	Held json.RawMessage `json:"held"`
	Was  json.RawMessage `json:"was,omitempty"`
}

// holdOn reads what a run holds on md. Fields that others have changed since
// are left out: they are no longer the hold's. An annotation that cannot be
// read is none.
func holdOn(md *unstructured.Unstructured, f capi.Fields) map[string]heldField {
	var all map[string]heldField
	if json.Unmarshal([]byte(md.GetAnnotations()[HoldAnnotation]), &all) != nil {
		return nil
	}
	maps.DeleteFunc(all, func(name string, h heldField) bool {
		path := heldPath(f, name)
		return path == nil || !bytes.Equal(valueAt(md.Object, PointerTo(path...)), h.Held)
	})
	return all
}

// unheld gives md without the hold that is on it: each field that is still as
// the hold left it gets back its value from before.
func unheld(md *unstructured.Unstructured, f capi.Fields, hold map[string]heldField) *unstructured.Unstructured {
	out := md.Object
	for name, h := range hold {
		path := heldPath(f, name)
		was, err := decodeValue(h.Was)
		if len(h.Was) == 0 || err != nil {
			out = without(out, path...)
			continue
		}
		out = with(out, was, path...)
	}
	return &unstructured.Unstructured{Object: without(out, "metadata", "annotations", HoldAnnotation)}
}

// holding gives md with fields of a hold set, and the annotation that records
// what base has in their places.
func holding(md, base *unstructured.Unstructured, f capi.Fields, values map[string]any) *unstructured.Unstructured {
	out := md.Object
	record := map[string]heldField{}
	for name, v := range values {
		path := heldPath(f, name)
		record[name] = heldField{Held: mustCanonical(v), Was: valueAt(base.Object, PointerTo(path...))}
		out = with(out, v, path...)
	}
	out = with(out, string(mustCanonical(record)), "metadata", "annotations", HoldAnnotation)
	return &unstructured.Unstructured{Object: out}
}

// canary says how the pool's first new machines are to prove themselves; nil
// when none is to: no machine is made, or Cluster API replaces none by itself.
func (p *pool) canary() *schema.Canary {
	_, held := p.hold[heldMinReady]
	if p.strategyType() == "OnDelete" || !p.rolls() && !held {
		return nil
	}
	return p.spec.Canary
}

// held gives the MachineDeployment as the upgrade wants it, held at so many new
// machines. With maxUnavailable 0 and no new machine available, Cluster API
// makes no more than maxSurge new ones and deletes no old one (docs/canary.md).
func (p *pool) held(machines int) *unstructured.Unstructured {
	return holding(p.wanted, p.base, p.fields, map[string]any{
		heldSurge: int64(machines), heldUnavailable: int64(0), heldMinReady: int64(holdSeconds),
	})
}

// pause gives the patch that pauses the pool once its last change has stood for
// too long without progress. Run is the mark that the MachineDeployment bears
// then.
func (p *pool) pause(marks marker, run string) *Patch {
	paused := holding(p.wanted, p.base, p.fields, map[string]any{heldPaused: true})
	return p.patch(marks, p.changes(p.wanted, paused), run)
}

// holdFacts are what the wait for a canary relies on: that the hold is in place.
func (p *pool) holdFacts(held *unstructured.Unstructured) []Fact {
	var out []Fact
	for _, name := range []string{heldSurge, heldUnavailable, heldMinReady} {
		at := PointerTo(heldPath(p.fields, name)...)
		out = append(out, Fact{Object: p.ref, Path: at, Equals: valueAt(held.Object, at), Because: "it holds the rollout until the canary is proved"})
	}
	return out
}

// PauseMakes gives how many machines Cluster API would make by itself once the
// pool of w, as snap shows it, were paused; negative is how many it would
// delete. See capi.PauseMakes.
func (w Wait) PauseMakes(snap Snapshot) int {
	live, ok := snap.Object(w.MachineDeployment)
	if !ok {
		return 0
	}
	return capi.PauseMakes(observed(snap, live, w.Cluster, w.InfraMachine, w.BootstrapConfig))
}

// releases reports whether the pool's change does nothing but end a hold.
func (p *pool) releases() bool {
	return p.hold != nil && len(changesBetween("", p.base.Object, p.wanted.Object)) == 0
}

// release names the step that ends a hold.
const release = "release"

// releases reports whether s ends a hold.
func (s Step) releases() bool { return s.Patch != nil && s.ID == s.Pool+"/"+release }

// holdWords says in words what is held.
func holdWords(hold map[string]heldField) string {
	names := slices.Sorted(maps.Keys(hold))
	if len(names) == 0 {
		return "nothing any more"
	}
	return strings.Join(names, ", ")
}

// Abandon gives the plan that ends the holds which a run of up has left, without
// doing what up asks for; empty when there are none. The rollout of a pool
// that was held goes on by itself then.
func Abandon(up schema.Upgrade, snap Snapshot) (Plan, error) {
	full, err := Compile(up, snap)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{APIVersion: APIVersion, Kind: Kind, Upgrade: full.Upgrade, Steps: []Step{}}
	p.Upgrade.Purpose = ForAbandon
	pools, _, _ := look(up, snap)
	marks := markerOf(p.Upgrade)
	for _, pl := range pools {
		if pl.md == nil || pl.hold == nil {
			continue
		}
		pl.wanted = pl.base
		patch := pl.patch(marks, pl.changes(pl.md, pl.base), pl.md.GetAnnotations()[RunAnnotation])
		p.Steps = append(p.Steps, Step{
			ID: pl.spec.Name + "/" + release, Pool: pl.spec.Name,
			Note:  "This ends the hold that a run left; Cluster API then goes on replacing machines by itself.",
			Facts: pl.facts(pl.md, patch.Changes),
			Patch: patch,
		})
		p.Findings = append(p.Findings, Finding{Code: CheckHold, Severity: Warn, Pool: pl.spec.Name, Object: pl.ref,
			Message: fmt.Sprintf("%s names %s, and ending the hold lets Cluster API replace all machines by it", pl.ref, pl.infra.ref.Name),
			Remedy:  "to go back instead, apply an upgrade to what was before: it ends the hold in the same write"})
	}
	p.Findings = inOrder(p.Findings)
	p.Digest = p.Sum()
	return p, nil
}
