package ui

import (
	"strings"

	"nodepool/plan/render"
)

// Fit breaks the lines of text, which went through Explain, at words so that
// they fit a terminal of so many columns; what goes on is indented under where
// its line began. 0 columns leave the text as it is.
func Fit(text string, columns int) string {
	const narrowest = 20
	if columns < narrowest {
		return text
	}
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		bare := strings.TrimLeft(line, " ")
		indent := len(line) - len(bare)
		command := indent > 0 && strings.HasPrefix(bare, "nodepool ") // to be copied whole
		if render.Columns(line) <= columns || indent+narrowest > columns || command {
			out = append(out, line)
			continue
		}
		// What goes on stands two columns further in.
		first := render.Wrap(bare, columns-indent)
		out = append(out, strings.Repeat(" ", indent)+first[0])
		rest := strings.TrimPrefix(strings.TrimPrefix(bare, first[0]), " ")
		for _, more := range render.Wrap(rest, columns-indent-2) {
			out = append(out, strings.Repeat(" ", indent+2)+more)
		}
	}
	return strings.Join(out, "\n")
}

// hanging breaks a line at words for so many columns, and indents what goes on.
// 0 columns leave it as it is.
func hanging(line string, columns, indent int) string {
	const narrowest = 20
	if columns-indent < narrowest || render.Columns(line) <= columns {
		return line
	}
	first := render.Wrap(line, columns)[0]
	rest := strings.TrimPrefix(strings.TrimPrefix(line, first), " ")
	return first + "\n" + strings.Repeat(" ", indent) + strings.Join(render.Wrap(rest, columns-indent), "\n"+strings.Repeat(" ", indent))
}
