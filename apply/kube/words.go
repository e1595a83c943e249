package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// maxWords bounds what is quoted of a server, in runes.
const maxWords = 600

func statusOf(err error) (metav1.Status, bool) {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status(), true
	}
	return metav1.Status{}, false
}

// words gives what went wrong in one line for a person, without the values that
// a server or a webhook quotes, and without what could move a cursor.
func words(err error) string { return wordsWithout(err, nil) }

// wordsWithout is words without the strings in sent, the tree of what was
// written. A template's files, users and tokens are secrets, and a webhook may
// quote them in any way that it likes.
func wordsWithout(err error, sent any) string {
	secrets := leaves(sent)
	// Once before blanks are joined, once after: a quote may span lines.
	said := oneLine(withhold(rawWords(err), secrets))
	return bounded(withhold(said, secrets))
}

func rawWords(err error) string {
	status, ok := statusOf(err)
	if !ok {
		return transportWords(err)
	}
	var parts []string
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			text := withoutValues(cause.Message)
			if cause.Field != "" && cause.Field != "<nil>" {
				// Some causes repeat their field in the message.
				text = cause.Field + ": " + strings.TrimPrefix(text, cause.Field+": ")
			}
			if cause.Type != "" {
				text += " (" + string(cause.Type) + ")"
			}
			if !slices.Contains(parts, text) {
				parts = append(parts, text)
			}
		}
	}
	said := withoutValues(status.Message)
	if strings.HasPrefix(said, unfit) {
		// A JSON Patch that does not apply; the server keeps the reason to itself.
		said = "the patch does not fit the object as it is now"
	}
	if len(parts) > 0 {
		said = strings.Join(parts, "; ")
		if by := deniedBy().FindString(status.Message); by != "" {
			said = by + ": " + said
		}
	}
	if status.Reason != "" && status.Reason != metav1.StatusReasonUnknown {
		said = string(status.Reason) + ": " + said
	}
	if said == "" {
		said = "status " + strconv.Itoa(int(status.Code))
	}
	return said
}

// lazily gives an expression that is compiled when it is needed: most runs meet no
// error, and to compile these takes half a millisecond of every start.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// unfit is all that a server says of a patch that does not apply, a failed test
// operation for one (NewGenericServerResponse of apimachinery).
const unfit = "the server rejected our request due to an error in our request"

var deniedBy = lazily(`^admission webhook "[^"\n]{1,253}" denied the request`)

// transportWords words an error that is not the server's.
func transportWords(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the server did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the request was ended"
	case utilnet.IsConnectionRefused(err):
		at := ""
		if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Addr != nil {
			at = " at " + dial.Addr.String()
		}
		return "the server" + at + " refuses connections (connection refused)"
	case utilnet.IsConnectionReset(err), utilnet.IsProbableEOF(err), utilnet.IsHTTP2ConnectionLost(err):
		return "the connection to the server was lost"
	}
	return withoutValues(bare(err).Error())
}

// quoting finds the openings after which field errors quote a value
// (apimachinery, pkg/util/validation/field): "Invalid value: ", and the like.
var quoting = lazily(`(Invalid|Unsupported|Duplicate) value: |Not found: |Too many: |Too few: `)

// dump finds a whole object or the difference of two, printed as Go does.
var dump = lazily(`(?i:\bdiff\b)[^:]{0,40}:|[&*]?\b[a-z]\w*\.[A-Z]\w*\{|\bmap\[string\]`)

const cut = "…"

// withoutValues takes the quoted values of field errors out of text. What comes
// after a value whose end is not certain is taken out as well.
func withoutValues(text string) string {
	// Some webhooks show the difference of two objects (Cluster API's
	// DevMachineTemplate: "Diff: v1beta2.DevMachineSpec{…").
	if at := dump().FindStringIndex(text); at != nil && !quoting().MatchString(text[:at[0]]) {
		text = text[:at[0]] + cut
	}
	var out strings.Builder
	for {
		at := quoting().FindStringIndex(text)
		if at == nil {
			out.WriteString(text)
			return out.String()
		}
		opening := strings.TrimSuffix(text[at[0]:at[1]], ": ")
		out.WriteString(text[:at[0]])
		rest := text[at[1]:]
		value, tail, ok := cutValue(rest)
		if !ok {
			out.WriteString(opening + " " + cut)
			return out.String()
		}
		// "Invalid value: 3: must be less" becomes "must be less".
		detail, has := strings.CutPrefix(tail, ": ")
		if !has {
			out.WriteString(opening)
		}
		// The detail may say the value again.
		if len(value) > 1 {
			detail = strings.ReplaceAll(detail, value, cut)
		}
		if at := dump().FindStringIndex(detail); at != nil && !quoting().MatchString(detail[:at[0]]) {
			detail = detail[:at[0]] + cut
		}
		text = detail
	}
}

// simple are values that are printed bare: numbers, booleans and nil.
var simple = lazily(`^(-?[0-9][0-9.e+\-]*|true|false|null|<nil>|nil)`)

// goSyntax opens a value printed with %#v, whose strings are quoted. What
// generated String methods print looks like it but has no package, and its
// strings stand bare.
var goSyntax = lazily(`^&?(map\[[\w.*]+\]|\[\])*(\*)?([a-z]\w*\.[A-Z]\w*|interface \{\}|string|any)\{`)

// cutValue takes the value off that text begins with. ok is false when it is
// not certain where it ends.
func cutValue(text string) (value, tail string, ok bool) {
	switch {
	case text == "":
		return "", "", true
	case text[0] == '"':
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", "", false
		}
		value, err = strconv.Unquote(quoted)
		if err != nil {
			return "", "", false
		}
		tail = text[len(quoted):]
	case text[0] == '{' || text[0] == '[':
		d := json.NewDecoder(strings.NewReader(text))
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return "", "", false
		}
		value, tail = string(raw), text[d.InputOffset():]
	case goSyntax().MatchString(text):
		end, balanced := closing(text, strings.IndexByte(text, '{'))
		if opening := goSyntax().FindString(text); strings.HasSuffix(opening, "interface {}{") {
			end, balanced = closing(text, len(opening)-1)
		}
		if !balanced {
			return "", "", false
		}
		value, tail = text[:end], text[end:]
	default:
		value = simple().FindString(text)
		if value == "" {
			return "", "", false
		}
		tail = text[len(value):]
	}
	// A field error goes on with its detail, or with the next of a list.
	if tail != "" && !strings.HasPrefix(tail, ": ") && !strings.HasPrefix(tail, ", ") && !strings.HasPrefix(tail, "]") {
		return "", "", false
	}
	return value, tail, true
}

// closing gives the end of the bracket that opens at from, past quoted strings.
func closing(text string, from int) (end int, ok bool) {
	depth := 0
	for i := from; i < len(text); i++ {
		switch text[i] {
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			if depth--; depth == 0 {
				return i + 1, true
			}
		case '"', '`':
			quoted, err := strconv.QuotedPrefix(text[i:])
			if err != nil {
				return 0, false
			}
			i += len(quoted) - 1
		}
	}
	return 0, false
}

// minSecret is the length from which a string that was sent is withheld wherever
// it stands.
const minSecret = 8

// leaves gives the strings in a tree in the forms in which they are withheld,
// the longest first: each line of a longer text by itself, as it is, in one line,
// and as it stands between quotes. A string that is shorter than minSecret
// stands with its quotes, since it may be part of other words.
func leaves(tree any) []string {
	found := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, child := range v {
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		case string:
			for line := range strings.Lines(v) {
				line = strings.TrimSpace(line)
				quoted := strconv.Quote(line)
				if len(line) < minSecret {
					if line != "" {
						found[quoted] = true
					}
					continue
				}
				for _, form := range []string{line, oneLine(line), quoted[1 : len(quoted)-1]} {
					if len(form) >= minSecret {
						found[form] = true
					}
				}
			}
		}
	}
	walk(tree)
	return slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
}

func withhold(said string, secrets []string) string {
	for _, secret := range secrets {
		said = strings.ReplaceAll(said, secret, cut)
	}
	return said
}

// escapes are terminal control sequences: CSI, OSC and the like.
var escapes = lazily(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_](?s:.*?)(\x07|\x1b\\)|\x1b.`)

// printable gives text in one line of bounded length, without control
// characters, without marks that reorder what is shown, and without terminal
// sequences.
func printable(text string) string { return bounded(oneLine(text)) }

func oneLine(text string) string {
	text = escapes().ReplaceAllString(text, "")
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

func bounded(text string) string {
	if runes := []rune(text); len(runes) > maxWords {
		return string(runes[:maxWords-1]) + cut
	}
	return text
}
