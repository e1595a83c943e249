package render

import (
	"bytes"
	"strings"
)

// style is an ANSI attribute; the empty style is plain text.
type style string

const (
	none   style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	alarm  style = "1;31"
)

// page collects lines. Whatever is put on it is escaped and wrapped, so that
// no caller can forget to.
type page struct {
	bytes.Buffer
	o Options
}

// put writes one line, indented; what does not fit into the width goes on
// below, indented by hang more.
func (p *page) put(s style, indent, hang int, line string) {
	line = Escape(line)
	if p.o.Width > 0 {
		// A page narrower than this could not be read anyhow.
		first := max(p.o.Width-indent, 20)
		if parts := Wrap(line, first); len(parts) > 1 {
			p.write(s, indent, parts[0])
			rest := strings.TrimPrefix(line[len(parts[0]):], " ")
			for _, part := range Wrap(rest, max(first-hang, 20)) {
				p.write(s, indent+hang, part)
			}
			return
		}
	}
	p.write(s, indent, line)
}

// whole writes one line that must not be broken, such as a digest that people
// copy.
func (p *page) whole(s style, indent int, line string) { p.write(s, indent, Escape(line)) }

func (p *page) write(s style, indent int, escaped string) {
	for range indent {
		p.WriteByte(' ')
	}
	if p.o.Color && s != none && escaped != "" {
		p.WriteString("\x1b[" + string(s) + "m" + escaped + "\x1b[0m")
	} else {
		p.WriteString(escaped)
	}
	p.WriteByte('\n')
}

func (p *page) blank() { p.WriteByte('\n') }
