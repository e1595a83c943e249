package render

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

type nodeKind int

const (
	literal nodeKind = iota // null, true, false or a number, as it is written
	text
	object
	array
)

// node is a JSON value that keeps the order of its keys and the digits of its
// numbers.
type node struct {
	kind  nodeKind
	text  string
	keys  []string // of an object, next to items
	items []node
}

// parse reads one JSON value.
func parse(raw json.RawMessage) (node, bool) {
	if !json.Valid(raw) { // bounds the depth too
		return node{}, false
	}
	n, _ := next(bytes.TrimSpace(raw))
	return n, true
}

// next reads the value that raw begins with, which json.Valid has passed, and
// gives what stands behind it. A json.Decoder takes five times as long for the
// many short values of a plan.
func next(raw []byte) (n node, rest []byte) {
	switch raw[0] {
	case '{', '[':
		n.kind = array
		if raw[0] == '{' {
			n.kind = object
		}
		for raw = skip(raw[1:]); raw[0] != '}' && raw[0] != ']'; {
			var item node
			if n.kind == object {
				item, raw = next(raw)
				n.keys = append(n.keys, item.text)
				raw = skip(raw)
			}
			item, raw = next(raw)
			n.items = append(n.items, item)
			raw = skip(raw)
		}
		return n, raw[1:]
	case '"':
		end := 1
		for ; raw[end] != '"'; end++ {
			if raw[end] == '\\' {
				end++
			}
		}
		n.kind, n.text = text, string(raw[1:end])
		if strings.Contains(n.text, `\`) || !utf8.ValidString(n.text) {
			_ = json.Unmarshal(raw[:end+1], &n.text)
		}
		return n, raw[end+1:]
	}
	end := bytes.IndexAny(raw, ",]} \t\r\n")
	if end < 0 {
		end = len(raw)
	}
	return node{text: string(raw[:end])}, raw[end:]
}

// skip leaves out what stands between two values.
func skip(raw []byte) []byte { return bytes.TrimLeft(raw, ",: \t\r\n") }

// seal is what stands for a secret: its keyed hash and its length in bytes.
type seal struct{ hash, length string }

// sealed reports whether n is the sealed form of a value:
// {"$sealed": "hmac-sha256:…", "length": N}.
func (n node) sealed() (seal, bool) {
	if n.kind != object || len(n.keys) != 2 {
		return seal{}, false
	}
	var s seal
	for i, k := range n.keys {
		switch v := n.items[i]; {
		case k == "$sealed" && v.kind == text && strings.HasPrefix(v.text, "hmac-sha256:"):
			s.hash = v.text
		case k == "length" && v.kind == literal && strings.Trim(v.text, "0123456789") == "":
			s.length = v.text
		}
	}
	return s, s.hash != "" && s.length != ""
}

// inline reports whether n is written on one line.
func (n node) inline() bool {
	if _, ok := n.sealed(); ok {
		return true
	}
	if n.kind == text {
		return !strings.Contains(n.text, "\n")
	}
	return len(n.items) == 0
}
