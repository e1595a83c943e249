package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"nodepool/plan"
)

// JSON writes the plan itself, indented. Runes that Escape would not show as
// they are stand as \uXXXX, so that the values are the same and the terminal
// is safe.
func JSON(w io.Writer, p plan.Plan) error {
	raw, err := p.MarshalJSON() // an Encoder would read through it once more
	if err != nil {
		return fmt.Errorf("write plan as JSON: %w", err)
	}
	_, err = w.Write(append(indent(raw), '\n'))
	return err
}

// indent gives compact JSON in the layout of json.Indent, with two spaces for a
// level, and as safe for a terminal as EscapeJSON makes it, all in one pass.
func indent(src []byte) []byte {
	out := make([]byte, 0, 2*len(src)) // to grow by steps is to copy it several times
	depth := 0
	line := func() {
		out = append(out, '\n')
		for range depth {
			out = append(out, "  "...)
		}
	}
	for i := 0; i < len(src); i++ {
		switch c := src[i]; c {
		case '"':
			start := i
			for i++; src[i] != '"'; i++ {
				if src[i] == '\\' {
					i++
				}
			}
			out = appendEscaped(out, src[start:i+1])
		case '{', '[':
			out = append(out, c)
			if end := src[i+1]; end == '}' || end == ']' {
				out = append(out, end)
				i++
				continue
			}
			depth++
			line()
		case '}', ']':
			depth--
			line()
			out = append(out, c)
		case ',':
			out = append(out, c)
			line()
		case ':':
			out = append(out, ": "...)
		default:
			out = append(out, c)
		}
	}
	return out
}

// YAML writes the plan itself with its fields in the order of the contract.
// It reads back to what JSON writes.
func YAML(w io.Writer, p plan.Plan) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write plan as YAML: %w", err)
	}
	n, ok := parse(raw)
	if !ok {
		return fmt.Errorf("write plan as YAML: a value of the plan is no JSON")
	}
	pr := printer{}
	pr.emit("", 0, false, n)
	var b bytes.Buffer
	for _, l := range pr.lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	_, err = w.Write(b.Bytes())
	return err
}
