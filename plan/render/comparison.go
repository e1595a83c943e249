package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"nodepool/plan"
)

// Comparison writes what differs between two plans for people: what is
// signed, step by step, then what was merely seen: the machines, and the
// findings but for those that pass. Revisions are those that plan.Compare gives
// for the two. The error is that of w.
func Comparison(w io.Writer, older, newer plan.Plan, revisions []plan.Revision, o Options) error {
	v := &comparison{view: view{page: page{o: o}, Plan: newer, index: &index{}}, old: older}
	v.write(revisions)
	_, err := io.WriteString(w, v.String())
	return err
}

// ComparisonJSON writes the same as JSON: the two digests, whether they are
// the same, and the revisions.
func ComparisonJSON(w io.Writer, older, newer plan.Plan, revisions []plan.Revision) error {
	if revisions == nil {
		revisions = []plan.Revision{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Old        plan.Digest     `json:"old"`
		New        plan.Digest     `json:"new"`
		SameDigest bool            `json:"sameDigest"`
		Revisions  []plan.Revision `json:"revisions"`
	}{older.Digest, newer.Digest, older.Digest == newer.Digest, revisions})
	if err != nil {
		return fmt.Errorf("write comparison as JSON: %w", err)
	}
	_, err = w.Write(EscapeJSON(b.Bytes()))
	return err
}

// comparison is a view of the newer plan beside the older one.
type comparison struct {
	view
	old plan.Plan
}

func (v *comparison) write(revisions []plan.Revision) {
	same := v.old.Digest == v.Digest && len(signed(revisions)) == 0
	switch {
	case same && len(revisions) == 0:
		v.put(bold, 0, 2, "The plans are the same.")
	case same:
		v.put(bold, 0, 2, "The same plan: apply does the same for both. What was seen when they were made differs.")
	default:
		v.put(bold, 0, 2, "The plans differ: "+count(len(signed(revisions)), "difference")+" in what is reviewed and applied.")
	}
	v.whole(none, 0, "old: "+string(v.old.Digest))
	v.whole(none, 0, "new: "+string(v.Digest))

	v.section("Upgrade", revisions, plan.PartUpgrade)
	v.section("Steps", revisions, plan.PartStep, plan.PartOrder, plan.PartChange, plan.PartFact, plan.PartDetail)
	seen := slices.DeleteFunc(slices.Clone(revisions), func(r plan.Revision) bool { return r.Part.Signed() || passedOnly(r) })
	slices.SortStableFunc(seen, func(a, b plan.Revision) int { // machines first
		return strings.Compare(string(b.Part), string(a.Part))
	})
	v.section("Seen when the plan was made", seen, plan.PartImpact, plan.PartFinding)
	if len(seen) == 0 && len(revisions) > len(signed(revisions)) {
		v.blank()
		v.put(faint, 0, 2, "Of what was seen when they were made, only checks that passed differ: -o json tells them.")
	}
}

// passedOnly reports whether r is about a check that passes or is not verified, in each plan that
// has it: the machine counts would drown in these.
func passedOnly(r plan.Revision) bool {
	if r.Part != plan.PartFinding {
		return false
	}
	older, had := decode[plan.Finding](r.Old)
	newer, has := decode[plan.Finding](r.New)
	fine := func(f plan.Finding) bool { return f.Severity == plan.Pass || f.Severity == plan.NotVerified }
	return (!had || fine(older)) && (!has || fine(newer))
}

func signed(revisions []plan.Revision) []plan.Revision {
	return slices.DeleteFunc(slices.Clone(revisions), func(r plan.Revision) bool { return !r.Part.Signed() })
}

func (v *comparison) section(title string, revisions []plan.Revision, parts ...plan.Part) {
	step := ""
	begun := false
	for _, r := range revisions {
		if !slices.Contains(parts, r.Part) {
			continue
		}
		if !begun {
			begun = true
			v.blank()
			v.put(bold, 0, 2, title)
		}
		switch r.Part {
		case plan.PartUpgrade:
			v.values(r.Path.Dotted(), r)
			continue
		case plan.PartStep:
			v.step(r)
			continue
		case plan.PartOrder:
			v.order(r)
			continue
		case plan.PartFinding:
			v.findingOf(r)
			continue
		case plan.PartImpact:
			v.impactOf(r)
			continue
		case plan.PartChange, plan.PartFact, plan.PartDetail: // parts of a step, below
		}
		if r.Step != step {
			step = r.Step
			v.put(none, 2, 2, "in both, "+v.titleOf(step)+":")
		}
		switch r.Part {
		case plan.PartChange:
			v.changeOf(r)
		case plan.PartFact:
			v.factOf(r)
		default:
			v.values(detail(r.Path), r)
		}
	}
}

// titleOf gives the title of a step that both plans have.
func (v *comparison) titleOf(id string) string {
	for _, s := range v.Steps {
		if s.ID == id {
			return id + " (" + Title(s) + ")"
		}
	}
	return id
}

// detail names a value of a step by its place in the plan, without the name
// of the action.
func detail(p plan.Pointer) string {
	tokens := p.Tokens()
	if len(tokens) > 1 {
		return strings.Join(tokens[1:], ".")
	}
	return p.Dotted()
}

// values writes one value of each plan, as a change is written.
func (v *comparison) values(path string, r plan.Revision) {
	if path == "" {
		path = "all of it"
	}
	older, had := value(r.Old)
	newer, has := value(r.New)
	switch {
	case had && has:
		v.replaced(path, older, newer)
	case has:
		v.single('+', path, newer)
	default:
		v.single('-', path, older)
	}
}

// decode reads a part of a plan, which Compare encoded; false when it is absent.
func decode[T any](raw json.RawMessage) (T, bool) {
	var out T
	if len(raw) == 0 || json.Unmarshal(raw, &out) != nil {
		return out, false
	}
	return out, true
}

func (v *comparison) step(r plan.Revision) {
	if s, ok := decode[plan.Step](r.Old); ok {
		v.put(red, 2, 4, "- no longer: "+s.ID+" ("+Title(s)+")")
	}
	s, ok := decode[plan.Step](r.New)
	if !ok {
		return
	}
	v.put(green, 2, 4, "+ now also: "+s.ID+" ("+Title(s)+")")
	switch {
	case s.Create != nil:
		v.changes(s.Create.Changes)
	case s.Patch != nil:
		v.changes(s.Patch.Changes)
	}
}

func (v *comparison) order(r plan.Revision) {
	older, _ := decode[[]string](r.Old)
	newer, _ := decode[[]string](r.New)
	v.put(yellow, 2, 4, "~ the steps come in another order")
	v.put(none, 4, 4, "old: "+strings.Join(older, ", "))
	v.put(none, 4, 4, "new: "+strings.Join(newer, ", "))
}

// changeOf writes how the change of one field differs: in what it comes from,
// in what it leads to, or in that only one plan makes it.
func (v *comparison) changeOf(r plan.Revision) {
	older, had := decode[plan.Change](r.Old)
	newer, has := decode[plan.Change](r.New)
	switch {
	case !has:
		v.put(red, body, 4, "- no longer changes "+older.Path.Dotted())
	case !had:
		v.put(green, body, 4, "+ now also changes")
		v.change(newer)
	default:
		if path := newer.Path.Dotted(); !bytes.Equal(older.Before, newer.Before) {
			v.values(path+", as it is", plan.Revision{Old: older.Before, New: newer.Before})
		}
		if path := newer.Path.Dotted(); !bytes.Equal(older.After, newer.After) {
			v.values(path+", as it becomes", plan.Revision{Old: older.After, New: newer.After})
		}
	}
}

func (v *comparison) factOf(r plan.Revision) {
	older, had := decode[plan.Fact](r.Old)
	newer, has := decode[plan.Fact](r.New)
	switch {
	case !has:
		v.put(red, body, 4, "- no longer relies on "+factLine(older))
	case !had:
		v.put(green, body, 4, "+ now also relies on "+factLine(newer))
	default:
		v.put(yellow, body, 4, "~ relied on "+factLine(older)+", and now on "+factValue(newer))
	}
}

func factLine(f plan.Fact) string {
	line := f.Object.String()
	if f.Path != "" {
		line += " " + f.Path.Dotted()
	}
	return line + ": " + factValue(f)
}

func factValue(f plan.Fact) string {
	switch {
	case f.Digest != "":
		return "content " + f.Digest.Short()
	case len(f.Equals) > 0:
		n, _ := value(f.Equals)
		return oneLine(n)
	}
	return "absent"
}

func (v *comparison) findingOf(r plan.Revision) {
	older, had := decode[plan.Finding](r.Old)
	newer, has := decode[plan.Finding](r.New)
	switch {
	case !has:
		v.put(none, 2, 4, "- no longer: "+severity(older)+" "+findingLine(older))
	case !had:
		v.put(worse(newer), 2, 4, "+ now: "+severity(newer)+" "+findingLine(newer))
	case older.Severity == newer.Severity && older.Waived == newer.Waived:
		v.put(none, 2, 4, "~ "+severity(newer)+" "+findingLine(newer))
		v.put(faint, 4, 4, "before: "+inOneLine(older))
	default:
		v.put(worse(newer), 2, 4, "~ "+severity(older)+" before, now "+severity(newer)+" "+findingLine(newer))
		v.put(faint, 4, 4, "before: "+inOneLine(older))
	}
}

func severity(f plan.Finding) string {
	switch {
	case f.Severity == plan.Block && f.Waived != "":
		return "waived"
	case f.Severity == plan.Block:
		return "blocking"
	case f.Severity == plan.Warn:
		return "warning"
	case f.NotVerified:
		return "not verified"
	case f.Idle():
		return "idle"
	case f.Severity == plan.Pass:
		return "passed"
	}
	return string(f.Severity)
}

func worse(f plan.Finding) style {
	switch severity(f) {
	case "blocking":
		return red
	case "warning", "waived":
		return yellow
	}
	return none
}

func findingLine(f plan.Finding) string {
	line := f.Code
	if f.Pool != "" {
		line += " (pool " + f.Pool + ")"
	}
	return line + ": " + inOneLine(f)
}

func (v *comparison) impactOf(r plan.Revision) {
	older, had := decode[plan.PoolImpact](r.Old)
	newer, has := decode[plan.PoolImpact](r.New)
	switch {
	case !has:
		v.put(none, 2, 4, "- pool "+older.Pool+", no longer: "+impact(older))
	case !had:
		v.put(none, 2, 4, "+ pool "+newer.Pool+": "+impact(newer))
	default:
		v.put(none, 2, 4, "~ pool "+newer.Pool+": "+impact(newer))
		v.put(faint, 4, 4, "before: "+impact(older))
	}
}
