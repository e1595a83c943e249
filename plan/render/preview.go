package render

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"nodepool/plan"
)

// Preview writes the whole template that a create makes, as YAML with secrets
// told by their length, and which metadata of its source the copy keeps.
func Preview(w io.Writer, ref plan.Ref, source plan.Ref, p plan.Preview) error {
	raw, err := json.Marshal(p.Object)
	if err != nil {
		return fmt.Errorf("encode %s: %w", ref, err)
	}
	n, ok := parse(raw)
	if !ok {
		return fmt.Errorf("encode %s: not an object", ref)
	}
	out := &printer{display: true}
	out.emit("", 0, false, n)
	var b strings.Builder
	fmt.Fprintf(&b, "%s in full (a copy of %s)\n", Escape(ref.String()), Escape(source.Name))
	for _, list := range []struct {
		what  string
		names []string
	}{{"kept of the source's metadata", p.Kept}, {"not copied", p.Stripped}} {
		names := "nothing"
		if len(list.names) > 0 {
			names = Escape(strings.Join(list.names, ", "))
		}
		fmt.Fprintf(&b, "  %s: %s\n", list.what, names)
	}
	for _, l := range out.lines {
		b.WriteString("    " + l.String() + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}
