package ui

import (
	"bytes"
	"io"
	"strings"
	"text/tabwriter"

	"nodepool/plan/render"
)

// Table writes rows below a header, in columns. Cells are escaped. The error
// is that of w.
func Table(w io.Writer, header []string, rows [][]string) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = render.Escape(c)
		}
		_, _ = io.WriteString(t, strings.Join(cells, "\t")+"\n") // a buffer takes all
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}
