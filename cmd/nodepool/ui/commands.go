package ui

import (
	"strings"
	"time"

	"nodepool/apply"
	"nodepool/plan/render"
)

// Commands are what a user can type next, whole, to be copied. Those that are
// not known are empty, and are then spoken of in general.
type Commands struct {
	// Again carries the run on, Rollback takes it back.
	Again, Rollback string
	// Back tells that the run takes a plan back itself.
	Back bool
}

// Shell writes a command line that a shell takes apart into words again.
func Shell(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		if out[i] = w; w == "" || strings.ContainsFunc(w, unsafe) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// unsafe reports whether a rune can mean something to a shell.
func unsafe(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:=@%+,", r)
}

// line gives a command on a line of its own, with the line break before it.
func line(command string) string { return "\n    " + render.Escape(command) }

// again says in a sentence to carry on, when or why: "to carry on".
func (c Commands) again(when, then string) string {
	s := "Run the same command again"
	if when != "" {
		s += " " + when
	}
	if then != "" {
		s += ": " + then
	}
	if c.Again == "" {
		return s + "."
	}
	return s + ":" + line(c.Again)
}

// Closing says under which name a run is recorded, how long it took from its
// first attempt on, and the command that gives its closing document.
func Closing(r apply.Run, history string) string {
	report := apply.ReportOf(r)
	return render.Escape("Run "+r.Name()+", "+clock(report.Ended.Sub(report.Began).Round(time.Second))+". Its closing document, for the ticket:") + line(history)
}
