package render

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// line is one line of a value. When seal is set, the line ends in a sealed
// value and text is what stands before it.
type line struct {
	text string
	seal seal
}

func (l line) isSealed() bool { return l.seal != seal{} }

func (l line) String() string {
	if l.isSealed() {
		return l.text + l.seal.String()
	}
	return l.text
}

func (s seal) String() string { return "(sealed, " + s.length + " bytes)" }

// printer writes values as YAML. For display, sealed values are told by their
// length and the lines of a block may hold escapes; otherwise the result is
// YAML that reads back to the same value.
type printer struct {
	display bool
	lines   []line
}

func (p *printer) add(s string) {
	p.lines = append(p.lines, line{text: strings.TrimRight(s, " ")})
}

// emit writes n after head, which holds the first line up to the value. at is
// the column of the key that n belongs to when under is set, and else the
// column where n begins.
func (p *printer) emit(head string, at int, under bool, n node) {
	if p.display {
		if s, ok := n.sealed(); ok {
			p.lines = append(p.lines, line{text: head, seal: s})
			return
		}
	}
	switch {
	case n.kind == text && strings.Contains(n.text, "\n"):
		if under {
			at += 2
		}
		p.block(head, at, n.text)
	case len(n.items) == 0:
		p.lines = append(p.lines, line{text: head + scalar(n)})
	default:
		if under {
			if n.kind == object {
				at += 2
			}
			p.add(head)
			head = strings.Repeat(" ", at)
		}
		for i, item := range n.items {
			if i > 0 {
				head = strings.Repeat(" ", at)
			}
			if n.kind == object {
				p.emit(head+quoted(n.keys[i])+": ", at, true, item)
			} else {
				p.emit(head+"- ", at+2, false, item)
			}
		}
	}
}

// block writes a string of several lines as a literal block, or quoted where
// a block could not be read back.
func (p *printer) block(head string, at int, s string) {
	body, mark := strings.TrimRight(s, "\n"), "|"
	switch ends := len(s) - len(body); {
	case ends == 0:
		mark = "|-"
	case ends > 1:
		mark = "|+"
	}
	shown := escapeLines(s)
	if !p.display && (body == "" || body[0] == ' ' || body[0] == '\n' || body[0] == '\t' || shown != s) {
		p.lines = append(p.lines, line{text: head + quote(s)})
		return
	}
	if shown != s {
		mark += " (some characters are shown as escapes)"
	}
	p.lines = append(p.lines, line{text: head + mark})
	for _, l := range strings.Split(strings.TrimSuffix(shown, "\n"), "\n") {
		if l != "" {
			l = strings.Repeat(" ", at) + l
		}
		p.lines = append(p.lines, line{text: l})
	}
}

// escapeLines is Escape for each line of s.
func escapeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Escape(lines[i])
	}
	return strings.Join(lines, "\n")
}

// scalar writes a value that takes one line, for YAML and for display.
func scalar(n node) string {
	switch n.kind {
	case text:
		return quoted(n.text)
	case object:
		return "{}"
	case array:
		return "[]"
	}
	return n.text
}

// other matches the bare strings that YAML reads as something but a string.
var other = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n|~|[-+.]?[0-9][-+0-9._:exobtzabcdf ]*|[-+]?\.(inf|nan)|[0-9]{4}-.*|[.]+)$`)

// isBare reports whether s needs no quotes, in YAML and in a line of ours: words
// of a few signs with one space between them, and nothing that could be read as
// an arrow, a sealed value, a comment, another value's end, the end of a key or
// the beginning of a document.
func isBare(s string) bool {
	if strings.HasPrefix(s, "...") || strings.HasSuffix(s, ":") || strings.Contains(s, ": ") {
		return false
	}
	word := false // a word goes on
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '/':
			word = true
		case c == '=' || c == '+' || c == '-':
			if i == 0 {
				return false
			}
			word = true
		case word && (c == ':' || c == '@' || c == '%'):
		case word && c == ' ':
			word = false
		default:
			return false
		}
	}
	return word && (!strings.Contains("TtFfNnYyOo.0123456789", s[:1]) || !other.MatchString(s))
}

func quoted(s string) string {
	if isBare(s) {
		return s
	}
	return quote(s)
}

// quote writes s in double quotes, with the escapes of YAML 1.1; printable
// runes stay as they are.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s { // broken bytes are U+FFFD already: encoding/json saw to that
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case plain(r):
			b.WriteRune(r)
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteString(escapeRune(r))
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
