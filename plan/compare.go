package plan

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Part says what of a plan a Revision is about.
type Part string

// The parts. Those up to PartDetail are signed; findings and impact are what
// was seen when a plan was made.
const (
	// PartUpgrade is a value of the upgrade: its name, its cluster, or its
	// spec, whose pools go by their names.
	PartUpgrade Part = "upgrade"
	// PartStep is a step that only one plan has.
	PartStep Part = "step"
	// PartOrder is the order of the steps that both plans have.
	PartOrder Part = "order"
	// PartChange is a change of one field that a step makes.
	PartChange Part = "change"
	// PartFact is a fact that a step relies on.
	PartFact Part = "fact"
	// PartDetail is any other value of a step.
	PartDetail Part = "detail"
	// PartFinding is a finding of a preflight check.
	PartFinding Part = "finding"
	// PartImpact is what is predicted for the machines of a pool.
	PartImpact Part = "impact"
)

// Signed reports whether the digest covers the part.
func (p Part) Signed() bool { return p != PartFinding && p != PartImpact }

// Revision is one thing that two plans say differently. Old and New are
// canonical JSON, and empty in the plan that does not have it: a Step, a
// Change, a Fact, a Finding or a PoolImpact by its part, the IDs of steps for
// PartOrder, and the value at Path for PartUpgrade and PartDetail.
type Revision struct {
	Part Part            `json:"part"`
	Pool string          `json:"pool,omitempty"`
	Step string          `json:"step,omitempty"`
	Path Pointer         `json:"path,omitempty"`
	Old  json.RawMessage `json:"old,omitempty"`
	New  json.RawMessage `json:"new,omitempty"`
}

// Compare gives all that differs between two plans: the upgrade first, then
// step by step, then what was seen. Plans of one digest differ in findings
// and impact only; none of them is a difference in what apply would do.
func Compare(older, newer Plan) []Revision {
	var out []Revision
	for _, c := range changesBetween("", upgradeTree(older.Upgrade), upgradeTree(newer.Upgrade)) {
		out = append(out, Revision{Part: PartUpgrade, Path: c.Path, Old: c.Before, New: c.After})
	}
	out = append(out, compareSteps(older.Steps, newer.Steps)...)
	out = append(out, keyed(PartFinding, shown(older.Findings), shown(newer.Findings),
		func(f Finding) string { return f.Pool + "\x00" + f.Code },
		func(f Finding) Revision { return Revision{Pool: f.Pool} })...)
	out = append(out, keyed(PartImpact, older.Impact, newer.Impact,
		func(i PoolImpact) string { return i.Pool },
		func(i PoolImpact) Revision { return Revision{Pool: i.Pool} })...)
	return out
}

// shown gives findings without the objects of those that pass: they are named
// in the message, or are new templates, whose names say nothing here.
func shown(findings []Finding) []Finding {
	out := slices.Clone(findings)
	for i := range out {
		if out[i].Severity == Pass {
			out[i].Object = Ref{}
		}
	}
	return out
}

// upgradeTree gives what the upgrade says, its pools by name. The digest of
// the spec stands in for a spec that the plan does not hold.
func upgradeTree(up UpgradeRef) any {
	tree := treeOf(up).(map[string]any)
	spec, ok := tree["content"].(map[string]any)
	if !ok {
		return tree
	}
	delete(tree, "content")
	delete(tree, "cluster") // the spec has it
	tree["spec"] = spec
	pools, ok := spec["pools"].([]any)
	if !ok {
		return tree
	}
	byName := map[string]any{}
	for _, p := range pools {
		pool, ok := p.(map[string]any)
		if !ok {
			return tree
		}
		name, ok := pool["name"].(string)
		if _, twice := byName[name]; !ok || twice {
			return tree
		}
		byName[name] = pool
	}
	spec["pools"] = byName
	return tree
}

// treeOf gives a value of a plan as a tree.
func treeOf(v any) any {
	tree, err := decodeValue(mustCanonical(v))
	if err != nil {
		panic(err) // canonical JSON of our own always decodes
	}
	return tree
}

func compareSteps(older, newer []Step) []Revision {
	before, after := byID(older), byID(newer)
	var out []Revision
	var oldOrder, newOrder []string
	for _, s := range older {
		if _, kept := after[s.ID]; kept {
			oldOrder = append(oldOrder, s.ID)
		} else {
			out = append(out, Revision{Part: PartStep, Pool: s.Pool, Step: s.ID, Old: mustCanonical(s)})
		}
	}
	for _, s := range newer {
		old, kept := before[s.ID]
		if !kept {
			out = append(out, Revision{Part: PartStep, Pool: s.Pool, Step: s.ID, New: mustCanonical(s)})
			continue
		}
		newOrder = append(newOrder, s.ID)
		out = append(out, compareStep(old, s)...)
	}
	if !slices.Equal(oldOrder, newOrder) {
		out = append(out, Revision{Part: PartOrder, Old: mustCanonical(oldOrder), New: mustCanonical(newOrder)})
	}
	return out
}

func byID(steps []Step) map[string]Step {
	out := make(map[string]Step, len(steps))
	for _, s := range steps {
		out[s.ID] = s
	}
	return out
}

func compareStep(older, newer Step) []Revision {
	of := Revision{Pool: newer.Pool, Step: newer.ID}
	out := keyed(PartChange, changesOf(older), changesOf(newer),
		func(c Change) string { return string(c.Path) },
		func(c Change) Revision { r := of; r.Path = c.Path; return r })
	out = append(out, keyed(PartFact, older.Facts, newer.Facts,
		func(f Fact) string { return f.Object.String() + "\x00" + string(f.Path) },
		func(f Fact) Revision { r := of; r.Path = f.Path; return r })...)
	for _, c := range changesBetween("", withoutLists(older), withoutLists(newer)) {
		r := of
		r.Part, r.Path, r.Old, r.New = PartDetail, c.Path, c.Before, c.After
		out = append(out, r)
	}
	return out
}

func changesOf(s Step) []Change {
	switch {
	case s.Create != nil:
		return s.Create.Changes
	case s.Patch != nil:
		return s.Patch.Changes
	}
	return nil
}

// withoutLists gives a step without what is compared item by item.
func withoutLists(s Step) any {
	s.Facts = nil
	if s.Create != nil {
		c := *s.Create
		c.Changes = nil
		s.Create = &c
	}
	if s.Patch != nil {
		p := *s.Patch
		p.Changes = nil
		s.Patch = &p
	}
	return treeOf(s)
}

// keyed compares two lists item by item, each found by its key: what is only
// in the older one and what differs in its order, then what is only in the
// newer one. Items of one key are compared in turn.
func keyed[T any](part Part, older, newer []T, key func(T) string, about func(T) Revision) []Revision {
	left := map[string][]T{}
	for _, v := range newer {
		left[key(v)] = append(left[key(v)], v)
	}
	var out []Revision
	for _, v := range older {
		r := about(v)
		r.Part, r.Old = part, mustCanonical(v)
		if same := left[key(v)]; len(same) > 0 {
			r.New = mustCanonical(same[0])
			left[key(v)] = same[1:]
		}
		if !bytes.Equal(r.Old, r.New) {
			out = append(out, r)
		}
	}
	for _, v := range newer {
		if rest := left[key(v)]; len(rest) > 0 {
			r := about(rest[0])
			r.Part, r.New = part, mustCanonical(rest[0])
			left[key(v)] = rest[1:]
			out = append(out, r)
		}
	}
	return out
}
