package render

import (
	"encoding/json"
	"fmt"
	"strings"

	"nodepool/plan"
)

func (v *view) changes(changes []plan.Change) {
	if len(changes) == 0 {
		v.put(faint, body, 0, "no field changes")
	}
	for _, c := range changes {
		v.change(c)
	}
}

// change writes one change:
//
//	~ path: before → after
//	+ path: after
//	- path: before
//
// with a value of several lines below its path, marked line by line.
//
// What a hold notes for its end is told in words, but in full.
func (v *view) change(c plan.Change) {
	if c.Path == plan.PointerTo("metadata", "annotations", plan.HoldAnnotation) && !v.o.Full {
		what := "notes what the hold has changed, for its end (--full shows it)"
		if len(c.After) == 0 {
			what = "removed"
		}
		v.put(faint, body, 4, "· "+plan.HoldAnnotation+": "+what+" (bookkeeping)")
		return
	}
	path := c.Path.Dotted()
	if path == "" {
		path = "(the whole object)"
	}
	before, hadBefore := value(c.Before)
	after, hasAfter := value(c.After)
	switch {
	case hadBefore && hasAfter:
		v.replaced(path, before, after)
	case hasAfter:
		v.single('+', path, after)
	case hadBefore:
		v.single('-', path, before)
	default:
		v.put(yellow, body, 4, "~ "+path+": absent before and after")
	}
}

// value reads a value of the plan; false means absent. What is no JSON, and
// so no value of a plan, is shown as the text it is.
func value(raw json.RawMessage) (node, bool) {
	if len(raw) == 0 {
		return node{}, false
	}
	n, ok := parse(raw)
	if !ok {
		return node{kind: text, text: "no JSON: " + string(raw)}, true
	}
	return n, true
}

func lines(n node) []line {
	pr := printer{display: true}
	pr.emit("", 0, false, n)
	return pr.lines
}

// Value gives a JSON value in one escaped line, secrets told by their length
// alone. What is no JSON is shown as the text it is.
func Value(raw json.RawMessage) string {
	n, ok := parse(raw)
	if !ok {
		return Escape(string(raw))
	}
	return Escape(oneLine(n))
}

// oneLine gives a value in one line.
func oneLine(n node) string {
	if s, ok := n.sealed(); ok {
		return s.String()
	}
	if len(n.items) == 0 {
		return scalar(n)
	}
	items := make([]string, len(n.items))
	for i, item := range n.items {
		items[i] = oneLine(item)
		if n.kind == object {
			items[i] = quoted(n.keys[i]) + ": " + items[i]
		}
	}
	if n.kind == object {
		return "{" + strings.Join(items, ", ") + "}"
	}
	return "[" + strings.Join(items, ", ") + "]"
}

var markStyle = map[byte]style{'+': green, '-': red, '~': yellow, ' ': faint}

func (v *view) single(mark byte, path string, n node) {
	s := markStyle[mark]
	ls := lines(n)
	if n.inline() {
		v.put(s, body, 4, string(mark)+" "+path+": "+ls[0].String())
		return
	}
	head := string(mark) + " " + path + ":"
	if n.kind == text { // its first line is the mark of the block
		head += " " + ls[0].text
		ls = ls[1:]
	}
	v.put(s, body, 4, head)
	for _, l := range ls {
		v.marked(mark, l.String())
	}
}

// marked writes one line of a value, below the line with its path.
func (v *view) marked(mark byte, text string) {
	inner := len(text) - len(strings.TrimLeft(text, " "))
	v.put(markStyle[mark], body+2, min(inner, 40)+4, strings.TrimRight(string(mark)+" "+text, " "))
}

func (v *view) replaced(path string, before, after node) {
	const s = yellow
	if a, ok := before.sealed(); ok {
		if b, ok := after.sealed(); ok {
			v.put(s, body, 4, "~ "+path+": "+resealed(a, b))
			return
		}
	}
	was, is := lines(before), lines(after)
	if before.inline() && after.inline() {
		head := "~ " + path + ":"
		change := was[0].String() + " → " + is[0].String()
		if v.o.Width <= 0 || body+Columns(Escape(head+" "+change)) <= v.o.Width {
			v.put(s, body, 4, head+" "+change)
			return
		}
		// Below each other, long values are easier to compare.
		v.put(s, body, 4, head)
		v.marked('-', was[0].String())
		v.marked('+', is[0].String())
		return
	}
	v.put(s, body, 4, "~ "+path+":")
	edits := diff(was, is)
	for i := 0; i < len(edits); i++ {
		if skip := v.unchanged(edits, i); skip > 0 {
			v.put(faint, body+2, 0, fmt.Sprintf("  … %d unchanged lines", skip))
			i += skip - 1
			continue
		}
		v.marked(edits[i].mark, edits[i].text)
	}
}

// context is how many unchanged lines stand around a change.
const context = 3

// unchanged tells how many lines from i on are left out: those of a long
// stretch of unchanged lines that are not next to a change.
func (v *view) unchanged(edits []edit, i int) int {
	if v.o.Full {
		return 0
	}
	near := func(i int) bool {
		for j := max(i-context, 0); j <= min(i+context, len(edits)-1); j++ {
			if edits[j].mark != ' ' {
				return true
			}
		}
		return false
	}
	n := 0
	for i+n < len(edits) && !near(i+n) {
		n++
	}
	if n < 2 { // the note would take as much room
		return 0
	}
	return n
}
