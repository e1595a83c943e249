package render

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nodepool/plan"
)

// section is what the plan does to one pool, or, with several members, to
// each of some pools that change the same fields.
type section struct {
	members [][]slot
	text    string // empty where it depends on how many members there are
}

// slot is a name or a value of one pool, where another pool of the same
// section has another: for a name role says what it is, a value has a number.
type slot struct {
	role, value string
	// numbered tells a value, which is written as scalar does, from a name.
	numbered bool
}

// stands reports whether the slot stands for n.
func (s slot) stands(n node) bool {
	if s.numbered {
		return n.isSlot() && scalar(n) == s.value
	}
	return n.kind == text && n.text == s.value
}

// The slots of one pool, names first. What plays two roles keeps the first.
func (s *sheet) slots(pool string) []slot {
	var out []slot
	add := func(role, value string) {
		known := func(n slot) bool { return n.value == value || n.role == role }
		if value != "" && !slices.ContainsFunc(out, known) {
			out = append(out, slot{role: role, value: value})
		}
	}
	add("pool", pool)
	for _, i := range s.stepsOf(pool) {
		switch step := s.Steps[i]; {
		case step.Create != nil && isBootstrap(step.Create.Ref):
			add("new bootstrap template", step.Create.Ref.Name)
			add("old bootstrap template", step.Create.BasedOn.Ref.Name)
		case step.Create != nil:
			add("new template", step.Create.Ref.Name)
			add("old template", step.Create.BasedOn.Ref.Name)
		case step.Patch != nil:
			// A pool that is patched more than once has more than one run mark.
			role := strings.TrimPrefix(strings.TrimPrefix(step.ID, pool+"/"), "patch")
			add("run"+role, step.Patch.Run.After)
			add("run before"+role, step.Patch.Run.Before)
		case step.Wait != nil && len(step.Wait.Propagated) > 0:
			// Its templates are the old ones, which go by the name that they
			// have in the steps behind it.
		case step.Wait != nil:
			add("template", step.Wait.Template)
			add("bootstrap template", step.Wait.BootstrapTemplate)
		}
	}
	if s.bare {
		return out
	}
	names := len(out)
	var walk func(node)
	walk = func(n node) {
		if _, ok := n.sealed(); ok {
			return
		}
		if n.isSlot() && !slices.ContainsFunc(out, func(s slot) bool { return s.stands(n) }) {
			out = append(out, slot{strconv.Itoa(len(out) - names + 1), scalar(n), true})
		}
		for _, item := range n.items {
			walk(item)
		}
	}
	for _, i := range s.stepsOf(pool) {
		step := s.Steps[i]
		var changes []plan.Change
		if step.Create != nil {
			changes = step.Create.Changes
		}
		if step.Patch != nil {
			changes = append(changes[:len(changes):len(changes)], step.Patch.Changes...)
		}
		for _, c := range changes {
			for _, raw := range []json.RawMessage{c.Before, c.After} {
				if n, ok := value(raw); ok {
					walk(n)
				}
			}
		}
	}
	return out
}

// isSlot reports whether a value is short enough for the cell of a table and
// tells enough to have one.
func (n node) isSlot() bool {
	switch n.kind {
	case text:
		return n.inline() && Columns(n.text) <= 60
	case literal:
		return n.text != "true" && n.text != "false" && n.text != "null"
	}
	return false
}

// differing leaves the slots of which the members hold different values.
func differing(members [][]slot) [][]slot {
	out := make([][]slot, len(members))
	number := 0
	for i, first := range members[0] {
		if !slices.ContainsFunc(members, func(m []slot) bool { return m[i].value != first.value }) {
			continue
		}
		if first.numbered {
			number++
			first.role = strconv.Itoa(number)
		}
		for j, m := range members {
			out[j] = append(out[j], slot{first.role, m[i].value, first.numbered})
		}
	}
	return out
}

// writer writes the changes of one pool. With slots, it puts ‹role› where
// their value stands as a whole; a value of the cluster that looks like that
// stands in quotes.
type writer struct {
	*sheet
	holes []slot
	lines []string
}

// name gives the role of a name where it has one.
func (w *writer) name(s string) string {
	if i := slices.IndexFunc(w.holes, func(hole slot) bool { return hole.stands(node{kind: text, text: s}) }); i >= 0 {
		return "‹" + w.holes[i].role + "›"
	}
	return s
}

func (w *writer) ref(r plan.Ref) string { return r.Kind + " " + slashed(r.Namespace, w.name(r.Name)) }

// anonymous puts roles for names and values in a value.
func (w *writer) anonymous(n node) node {
	if _, ok := n.sealed(); ok {
		return n
	}
	if i := slices.IndexFunc(w.holes, func(hole slot) bool { return hole.stands(n) }); i >= 0 {
		return node{text: "‹" + w.holes[i].role + "›"}
	}
	n.items = slices.Clone(n.items)
	for i := range n.items {
		n.items[i] = w.anonymous(n.items[i])
	}
	return n
}

// sections writes the steps, one collapsed section per pool.
func (s *sheet) sections() string {
	pools := s.stepPools()
	head := "### Changes\n\n"
	if s.blocked() {
		head = "### Changes\n\nFor review: none is made while the plan is blocked.\n\n"
	}
	var all []section
	if slices.ContainsFunc(s.Steps, func(step plan.Step) bool { return step.Pool == "" && step.Preflight == nil }) {
		all = append(all, section{text: s.section("", nil)})
	}
	at := map[string]int{}
	size := 0
	for _, pool := range pools {
		if size > 2*limit && !s.tooLong {
			s.abandoned = true
			return ""
		}
		own := s.slots(pool)
		if !s.terse {
			text := s.section(pool, nil)
			size += len(text)
			all = append(all, section{members: [][]slot{own}, text: text})
			continue
		}
		key := s.section(pool, own)
		for _, n := range own {
			key += "\n" + n.role
		}
		i, ok := at[key]
		if !ok {
			i = len(all)
			at[key] = i
			size += len(key)
			all = append(all, section{})
		}
		all[i].members = append(all[i].members, own)
	}
	if len(all) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(head)
	for _, sec := range all {
		b.WriteString("<details>\n<summary>")
		switch len(sec.members) {
		case 0:
			b.WriteString("The cluster</summary>\n\n" + sec.text)
		case 1:
			pool := sec.members[0][0].value
			if sec.text == "" {
				sec.text = s.section(pool, nil)
			}
			b.WriteString("Pool " + summaryCode(pool) + "</summary>\n\n" + sec.text)
		default:
			first, second, more := sec.members[0][0].value, sec.members[1][0].value, len(sec.members)-2
			names := summaryCode(first) + " and " + summaryCode(second)
			if more > 0 {
				names = fmt.Sprintf("%s, %s and %d more", summaryCode(first), summaryCode(second), more)
			}
			fmt.Fprintf(&b, "<b>%d pools</b> with changes of the same fields: %s</summary>\n\n", len(sec.members), names)
			holes := differing(sec.members)
			b.WriteString(s.section(sec.members[0][0].value, holes[0]) + "\nWhat stands for `‹…›` in each pool:\n\n" + slotTable(holes))
		}
		b.WriteString("\n</details>\n\n")
		if !s.o.Full {
			continue
		}
		pool := "" // with Full every pool has a section of its own
		if len(sec.members) > 0 {
			pool = sec.members[0][0].value
		}
		for _, i := range s.stepsOf(pool) {
			if s.Steps[i].Preflight == nil {
				b.WriteString(s.whole(i))
			}
		}
	}
	return b.String()
}

// slotTable lists the names and values of the pools of one section in columns,
// as a code block: a long row of a table would be broken at every hyphen.
// What changes stands before what only has another name.
func slotTable(members [][]slot) string {
	for i, m := range members {
		rank := func(n slot) int {
			switch {
			case n.role == "pool":
				return 0
			case n.numbered:
				return 1
			}
			return 2
		}
		members[i] = slices.Clone(m)
		slices.SortStableFunc(members[i], func(a, b slot) int { return rank(a) - rank(b) })
	}
	width := make([]int, len(members[0]))
	row := func(slots []slot, cell func(slot) string) []string {
		out := make([]string, len(slots))
		for i, n := range slots {
			out[i] = Escape(cell(n))
			width[i] = max(width[i], Columns(out[i]))
		}
		return out
	}
	rows := [][]string{row(members[0], func(n slot) string { return "‹" + n.role + "›" })}
	for _, m := range members {
		rows = append(rows, row(m, func(n slot) string {
			if strings.ContainsAny(n.value, " ‹") && !n.numbered { // must not look like two
				return quote(n.value)
			}
			return n.value
		}))
	}
	var ls []string
	for _, r := range rows {
		line := ""
		for i, cell := range r {
			line += cell + strings.Repeat(" ", width[i]-Columns(cell)+2)
		}
		ls = append(ls, strings.TrimRight(line, " "))
	}
	return fenced("", ls)
}

// section writes what the steps of a pool change, and then what is waited for.
func (s *sheet) section(pool string, holes []slot) string {
	w := &writer{sheet: s, holes: holes}
	var after []string
	facts := 0
	for _, i := range s.stepsOf(pool) {
		step := s.Steps[i]
		if step.Preflight != nil {
			continue
		}
		switch {
		case step.Create != nil:
			w.hunk("create "+w.ref(step.Create.Ref)+" (copy of "+w.name(step.Create.BasedOn.Ref.Name)+")"+s.again(step), step)
			w.all(step.Create.Changes)
		case step.Patch != nil:
			w.hunk("patch "+w.ref(step.Patch.Target), step)
			w.all(step.Patch.Changes)
			before := "(none)"
			if step.Patch.Run.Before != "" {
				before = w.name(step.Patch.Run.Before)
			}
			w.line('#', 0, "nodepool/run: "+before+" → "+w.name(step.Patch.Run.After)+" (bookkeeping)")
		case step.Wait != nil && len(step.Wait.Propagated) > 0:
			var names []string
			for _, f := range step.Wait.Propagated {
				names = append(names, lastOf(f.Path))
			}
			w.hunk("wait until every machine has "+list(names), step)
		case step.Wait != nil:
			after = append(after, w.waiting(*step.Wait))
			after = append(after, consequences(*step.Wait, code)...)
			if step.Note != "" {
				after = append(after, "Note: "+s.said(step.Note))
			}
		default:
			w.hunk(step.ID, step)
		}
		facts += len(step.Facts)
	}
	if facts > 0 {
		after = append(after, "Relies on "+count(facts, "fact")+", checked again before anything is written.")
	}
	var b strings.Builder
	if len(w.lines) > 0 {
		b.WriteString(fenced("diff", w.lines))
	}
	for _, p := range after {
		b.WriteString("\n" + p + "\n")
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// whole gives what Full adds to a step, collapsed: its facts, and the object
// that it writes. Their summaries hold no text of the cluster: the step goes
// by its number, as in the text form.
func (s *sheet) whole(i int) string {
	var b strings.Builder
	step, number := s.Steps[i], strconv.Itoa(i+1)
	if len(step.Facts) > 0 {
		var ls []string
		for _, f := range step.Facts {
			line := factLine(f)
			if f.Because != "" {
				line += " (" + f.Because + ")"
			}
			ls = append(ls, Escape(line))
		}
		b.WriteString("<details>\n<summary>Step " + number + " relies on " + count(len(step.Facts), "fact") + "</summary>\n\n" +
			fenced("", ls) + "\n</details>\n\n")
	}
	if title, metadata, body, ok := s.previewOf(step); ok {
		b.WriteString("<details>\n<summary>Step " + number + ": the object in full</summary>\n\n" +
			fenced("", append([]string{title}, metadata...)) + "\n")
		b.WriteString(fenced("yaml", body) + "\n</details>\n\n")
	}
	return b.String()
}

func (w *writer) waiting(wait plan.Wait) string {
	t := "Then waits until every machine of "
	if wait.Canary != nil {
		t = "Then holds until " + count(wait.Canary.Machines, "new machine") + " of "
	}
	t += prose(wait.MachineDeployment.Kind) + " " +
		code(slashed(wait.MachineDeployment.Namespace, w.name(wait.MachineDeployment.Name)))
	if wait.Version != "" {
		t += " runs " + code(w.name(wait.Version))
	} else {
		t += " is made"
	}
	t += " from template " + code(w.name(wait.Template))
	if wait.BootstrapTemplate != "" {
		t += " and bootstrap template " + code(w.name(wait.BootstrapTemplate))
	}
	if wait.Canary != nil {
		t += ", ready for " + code(span(wait.Canary.Soak)) + " without a break"
	}
	return t + "; stalled after " + code(span(wait.StallAfter)) + " without progress."
}
