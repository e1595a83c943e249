package schema

import (
	"regexp"
	"strconv"
	"strings"
)

var syntaxLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

// syntax says where and what the YAML parser stumbled over.
func syntax(data []byte, err error) (pos Position, message, remedy string) {
	pos = Position{Line: 1, Column: 1}
	message = err.Error()
	if m := syntaxLine.FindStringSubmatch(message); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			pos.Line = n
		}
		message = m[2]
	}
	lines := strings.Split(string(data), "\n")
	if pos.Line <= len(lines) {
		line := lines[pos.Line-1]
		pos.Column = len(line) - len(strings.TrimLeft(line, " \t")) + 1
	}
	return pos, "this is not YAML: " + message, "check the indentation, the quotes and the brackets"
}
