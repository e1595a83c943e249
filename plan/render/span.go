package render

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// code gives s as a code span of GitHub-flavoured Markdown, escaped. A code
// span is the one place in a line where neither Markdown nor what GitHub does
// afterwards (mentions, references to issues and commits, emoji, addresses
// made links) looks at the text; entities hide nothing from the latter, which
// works on the text that they stand for. The fence is longer than any run of
// backticks in s.
//
// A pipe stands as an escape: it ends a cell of a table even within a code
// span, and renderers differ in how a backslash before it is read.
func code(s string) string {
	s = strings.ReplaceAll(Escape(s), "|", `\u{7c}`)
	if strings.Trim(s, " ") == "" {
		s = `"` + s + `"` // a code span must not be empty
	}
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if first, last := s[0], s[len(s)-1]; first == '`' || last == '`' || first == ' ' && last == ' ' {
		s = " " + s + " " // the renderer takes these two away
	}
	return fence + s + fence
}

// Code gives s as a code span of Markdown, which nothing in it can end; it may
// stand in a cell of a table.
func Code(s string) string { return code(s) }

// Prose gives a sentence as inline Markdown in which nothing acts: all but
// plain words stands in code spans. It must not stand at the beginning of a line.
func Prose(s string) string { return prose(s) }

func codes(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = code(n)
	}
	return out
}

// longestRun gives the length of the longest run of c in s.
func longestRun(s string, c byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != c {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// The punctuation that may stand around a word of prose. None of it means
// anything to Markdown or GitHub where it stands between words.
const (
	opening = `("'“‘`
	closing = `.,;:!?)"'”’…`
)

var (
	word   = regexp.MustCompile(`^(\pL+(['’-]\pL+)*|[0-9]{1,6}|[-–—→·])$`)
	commit = regexp.MustCompile(`(?i)\b[0-9a-f]{7,}\b`)
)

// prose gives a sentence as inline Markdown: words of letters and small
// numbers stand as they are, everything else (versions, names, paths, and all
// that Markdown, HTML or GitHub could act on) in a code span. It must not
// stand at the beginning of a line, where "1." begins a list.
func prose(s string) string {
	words := strings.FieldsFunc(Escape(s), func(r rune) bool { return r == ' ' })
	for i, w := range words {
		core := strings.TrimLeft(w, opening)
		before := w[:len(w)-len(core)]
		core = strings.TrimRight(core, closing)
		after := w[len(before)+len(core):]
		// GitHub makes a link of what begins with "www.".
		if core != "" && !simple(core) && (!word.MatchString(core) || commit.MatchString(core) || strings.EqualFold(core, "www")) {
			core = code(core)
		}
		words[i] = before + core + after
	}
	return strings.Join(words, " ")
}

// simple reports of most words, and quicker than the expressions, that they
// hold nothing but ASCII letters, one of them beyond the hexadecimal digits and
// the w of "www".
func simple(s string) bool {
	told := false
	for i := range len(s) {
		c := s[i] | 0x20
		if c < 'a' || c > 'z' {
			return false
		}
		told = told || c > 'f' && c != 'w'
	}
	return told
}

// summaryCode gives s as code for a line of HTML, in which Markdown is not
// read. Signs of Markdown stand as entities all the same, for renderers that
// read it there.
func summaryCode(s string) string {
	var b strings.Builder
	b.WriteString("<code>")
	for _, r := range Escape(s) {
		if r < utf8.RuneSelf && (unicode.IsPunct(r) || unicode.IsSymbol(r)) && r != '-' && r != '.' && r != '/' {
			b.WriteString("&#" + strconv.Itoa(int(r)) + ";")
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteString("</code>")
	return b.String()
}

// fenced gives lines as a fenced code block that none of them can end.
func fenced(info string, lines []string) string {
	body := strings.Join(lines, "\n")
	fence := strings.Repeat("`", max(3, longestRun(body, '`')+1))
	return fence + info + "\n" + body + "\n" + fence + "\n"
}
