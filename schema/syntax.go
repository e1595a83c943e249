package schema

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml/goyaml.v3"
)

// stumble is how the YAML parser words one kind of syntax error, where in its
// line it stands, and what usually helps.
type stumble struct {
	words  string // the beginning of the parser's words
	column string // an expression whose last group is the place; empty: the first character of the line
	remedy string
}

const checkLayout = "check the indentation, the quotes and the brackets here and just above"

var stumbles = []stumble{
	{"mapping values are not allowed", `:[ \t].*?(:)(?:[ \t\r]|$)`, `put a value that holds ": " in quotes, and align the fields of a mapping`},
	{"found a tab character", `(\t)`, "indent with spaces"},
	{"found character that cannot start any token", "(?:^|[ \t:,\\[{-])([@`%\t])", "indent with spaces, and put a value that begins with @, ` or % in quotes"},
	{"found unexpected end of stream", `(?:^|[ \t:,\[{-])(["'])`, "close the quotes that are opened here"},
	{"did not find expected ',' or ']'", `.*(\[)`, "close the brackets that are opened here, and separate the items by commas"},
	{"did not find expected ',' or '}'", `.*(\{)`, "close the braces that are opened here, and separate the fields by commas"},
	{"found unknown escape character", `(\\)[^0abtnvfre "/\\N_LPxuU\t]`, "double the backslash, or use single quotes"},
	{"unknown anchor", `(?:^|[ \t:,\[{-])(\*)`, "put a value that begins with * in quotes"},
	{"did not find expected node content", `(?:^|[ \t:,\[{-])([\]},])`, "write a value, or put what begins with a bracket in quotes"},
	{"did not find expected alphabetic", `(?:^|[ \t:,\[{-])([*&])`, "put a value that begins with * or & in quotes"},
	{"found unknown directive", "", "remove the line"},
	{"found incompatible YAML document", "", "remove the line that begins with %YAML"},
	{"could not find expected ':'", "", "write KEY: VALUE, with a space after the colon"},
	{"did not find expected key", "", "align the fields of a mapping"},
	{"did not find expected '-' indicator", "", "align the items of a list"},
}

var parserLine = regexp.MustCompile(`^yaml: (line [0-9]+: )?`)

// syntax says where and on what the YAML parser stumbled. The parser names a
// line only at times, at times that of the enclosing mapping, and never a
// column. So the line is sought: it is the last line of the shortest
// beginning of the file that fails in the same way.
func syntax(data []byte, err error) (pos Position, message, remedy string) {
	words := problemWords(err)
	lines := bytes.SplitAfter(data, []byte("\n"))
	n := sort.Search(len(lines)-1, func(i int) bool {
		return problemWords(firstError(bytes.Join(lines[:i+1], nil))) == words
	})
	pos = Position{Line: n + 1}
	line := strings.TrimRight(string(lines[n]), "\r\n")

	column := len(line) - len(strings.TrimLeft(line, " \t"))
	remedy = checkLayout
	for _, s := range stumbles {
		if !strings.HasPrefix(words, s.words) {
			continue
		}
		remedy = s.remedy
		if s.column == "" {
			break
		}
		if m := regexp.MustCompile(s.column).FindStringSubmatchIndex(line); m != nil {
			column = m[len(m)-2]
		}
		break
	}
	pos.Column = utf8.RuneCountInString(line[:column]) + 1
	if strings.HasPrefix(words, "unknown anchor") {
		words = "unknown anchor" // without its name, which may be half a password
	}
	return pos, "not valid YAML: " + words, remedy
}

// problemWords is the parser's message without its line, or "".
func problemWords(err error) string {
	if err == nil {
		return ""
	}
	return parserLine.ReplaceAllString(err.Error(), "")
}

// firstError parses all documents of data.
func firstError(data []byte) error {
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := documents.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
