package render

import (
	"bytes"
	"encoding/json"
	"strings"
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
	if len(raw) > 1 && raw[0] == '"' { // most values: no need of a Decoder, which begins with a buffer
		var s string
		err := json.Unmarshal(raw, &s)
		return node{kind: text, text: s}, err == nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return next(dec), true
}

// next reads a value that json.Valid has passed, so no token is an error.
func next(dec *json.Decoder) node {
	token, _ := dec.Token()
	switch t := token.(type) {
	case json.Delim:
		n := node{kind: array}
		if t == '{' {
			n.kind = object
		}
		for dec.More() {
			if n.kind == object {
				key, _ := dec.Token()
				k, _ := key.(string)
				n.keys = append(n.keys, k)
			}
			n.items = append(n.items, next(dec))
		}
		_, _ = dec.Token()
		return n
	case string:
		return node{kind: text, text: t}
	case json.Number:
		return node{text: t.String()}
	case bool:
		if t {
			return node{text: "true"}
		}
		return node{text: "false"}
	}
	return node{text: "null"}
}

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
