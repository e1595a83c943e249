package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with an upgrade file.
type Problem struct {
	// Path is where it is in the file's structure, such as
	// spec.pools[0].machineImage, and empty for the file as a whole.
	Path string
	// Message says what is wrong, Remedy what to do about it.
	Message, Remedy string
	Position        Position
}

// InvalidError holds all problems of an upgrade file, sorted by position.
type InvalidError struct {
	// File is the name that was given to Read.
	File     string
	Problems []Problem
}

// Error prints a line per problem: file:line:column: path: message; remedy.
func (e *InvalidError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.File)
		if p.Position.Line > 0 {
			fmt.Fprintf(&b, ":%s", p.Position)
		}
		b.WriteString(": ")
		if p.Path != "" {
			b.WriteString(p.Path + ": ")
		}
		b.WriteString(p.Message)
		if p.Remedy != "" {
			b.WriteString("; " + p.Remedy)
		}
	}
	return b.String()
}

// maxProblems bounds what is listed: a file with more problems is no upgrade
// file, and a hostile one must not make an error that fills the memory.
const maxProblems = 1000

// problems collects what is found in one pass.
type problems struct {
	list []Problem
	seen map[Problem]bool
}

func (ps *problems) add(path string, pos Position, message, remedy string) {
	// The same place is visited again where an alias or a default brings it
	// into several pools. It is one problem: the path it was found under
	// first is kept.
	key := Problem{Message: message, Remedy: remedy, Position: pos}
	if len(ps.list) >= maxProblems || ps.seen[key] {
		return
	}
	if ps.seen == nil {
		ps.seen = map[Problem]bool{}
	}
	ps.seen[key] = true
	ps.list = append(ps.list, Problem{Path: path, Message: message, Remedy: remedy, Position: pos})
}

// at adds a problem with a value, where the value stands.
func (ps *problems) at(v *value, message, remedy string) {
	ps.add(v.path(), v.pos, message, remedy)
}

// err is nil without problems, else an InvalidError.
func (ps *problems) err(file string) error {
	if len(ps.list) == 0 {
		return nil
	}
	slices.SortStableFunc(ps.list, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Position.Line, b.Position.Line),
			cmp.Compare(a.Position.Column, b.Position.Column),
			cmp.Compare(a.Path, b.Path))
	})
	return &InvalidError{File: file, Problems: ps.list}
}

// maxQuoted is how much of a value a message repeats, in bytes.
const maxQuoted = 64

// quote shows a piece of the file in a message: on one line, in quotes, and
// shortened.
func quote(s string) string {
	if len(s) <= maxQuoted {
		return strconv.Quote(s)
	}
	cut := maxQuoted
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "…"
}
