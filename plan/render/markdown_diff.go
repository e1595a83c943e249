package render

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"nodepool/plan"
)

// line writes one line of a diff. The first character is its mark:
//
//   - removed
//   - added
//     !  changed, on one line; or the path of what changed below
//     #  told, not changed
//     @  the head of a step
//
// and a space where nothing changed.
func (w *writer) line(mark byte, indent int, s string) {
	w.lines = append(w.lines, string(mark)+" "+strings.Repeat(" ", indent)+Escape(s))
}

// hunk begins a step.
func (w *writer) hunk(title string, step plan.Step) {
	w.lines = append(w.lines, "@@ "+Escape(title)+" @@")
	if step.Note != "" {
		w.line('#', 0, w.clip(step.Note, w.words))
	}
}

func (w *writer) all(changes []plan.Change) {
	if len(changes) == 0 {
		w.line('#', 0, "no field changes")
	}
	for _, c := range changes {
		w.change(c)
	}
}

func (w *writer) change(c plan.Change) {
	path := c.Path.Dotted()
	if path == "" {
		path = "(the whole object)"
	}
	read := func(raw json.RawMessage) node {
		n, _ := value(raw)
		return w.anonymous(n)
	}
	hadBefore, hasAfter := len(c.Before) > 0, len(c.After) > 0
	switch {
	case !hadBefore && !hasAfter:
		w.line('!', 0, path+": absent before and after")
	case w.bare && hadBefore && hasAfter:
		w.bareLine('!', path)
	case w.bare && hasAfter:
		w.bareLine('+', path)
	case w.bare:
		w.bareLine('-', path)
	case hadBefore && hasAfter:
		w.between(path, read(c.Before), read(c.After))
	case hasAfter:
		w.one('+', path, read(c.After))
	default:
		w.one('-', path, read(c.Before))
	}
}

func (w *writer) bareLine(mark byte, path string) {
	w.wasCut = true
	w.line(mark, 0, path+": …")
}

// one writes a value that is only added or only removed.
func (w *writer) one(mark byte, path string, n node) {
	ls := lines(n)
	if n.inline() {
		w.line(mark, 0, path+": "+w.clip(ls[0].String(), w.columns))
		return
	}
	head := path + ":"
	if n.kind == text { // its first line is the mark of the block
		head += " " + ls[0].text
		ls = ls[1:]
	}
	w.line(mark, 0, head)
	w.edits(all(mark, ls))
}

// comfortable is the width up to which a change stands on one line: more than
// that must be scrolled on GitHub.
const comfortable = 100

func (w *writer) between(path string, before, after node) {
	a, hadSeal := before.sealed()
	b, hasSeal := after.sealed()
	if hadSeal && hasSeal {
		w.line('!', 0, path+": "+resealed(a, b))
		return
	}
	was, is := lines(before), lines(after)
	if before.inline() && after.inline() {
		if change := path + ": " + was[0].String() + " → " + is[0].String(); Columns(Escape(change)) <= comfortable {
			w.line('!', 0, change)
			return
		}
		// Below each other, long values are easier to compare.
		w.line('!', 0, path+":")
		w.edits([]edit{{'-', was[0].String()}, {'+', is[0].String()}})
		return
	}
	w.line('!', 0, path+":")
	w.edits(diff(was, is))
}

// edits writes the lines of a value, below the line with its path. Unchanged
// ones far from a change are left out. Where the plan is too long, the lines of
// each mark have half of the room: what is added shows also behind much that is
// removed.
func (w *writer) edits(edits []edit) {
	shown := map[byte]int{}
	more := 0
	for i := 0; i < len(edits); i++ {
		if skip := w.unchanged(edits, i); skip > 0 {
			if more == 0 {
				w.line(' ', 2, fmt.Sprintf("… %d unchanged lines", skip))
			}
			i += skip - 1
			continue
		}
		e := edits[i]
		if shown[e.mark]++; w.rows > 0 && shown[e.mark] > max(w.rows/2, 1) {
			if e.mark != ' ' {
				more++
			}
			continue
		}
		mark := e.mark
		if mark == '~' {
			mark = '!'
		}
		// A space at the end would not be seen.
		text := strings.TrimRight(e.text, " ")
		text += strings.Repeat(`\x20`, len(e.text)-len(text))
		w.line(mark, 2, w.clip(text, w.columns))
	}
	if more > 0 {
		w.wasCut = true
		w.line('!', 2, "… "+count(more, "changed line")+" more")
	}
}

// clip cuts s to so many columns, 0 for no limit. What it cuts off stands as
// its length and a checksum, so that two texts that differ still do.
func (w *writer) clip(s string, columns int) string {
	s = Escape(s)
	if columns == 0 || Columns(s) <= columns+40 { // the note takes room, too
		return s
	}
	w.wasCut = true
	return fmt.Sprintf("%s (%s in all, checksum %.4x)", Truncate(s, columns), count(len([]rune(s)), "character"), sha256.Sum256([]byte(s)))
}
