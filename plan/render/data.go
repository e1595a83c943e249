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
	var b bytes.Buffer
	b.Grow(2 * len(raw)) // to grow by steps is to copy it several times
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return fmt.Errorf("write plan as JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err = w.Write(EscapeJSON(b.Bytes()))
	return err
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
