package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"sigs.k8s.io/yaml/goyaml.v3"
)

// Read reads an upgrade file, strictly: whatever it does not know, it refuses.
// The result has every default filled in, and spec.defaults merged into the
// pools: scalars and lists of a pool replace those of defaults, mappings merge
// deeply. file is only for messages.
//
// The error is an [*InvalidError] with all problems of the file; after a
// syntax error, which hides what follows, with that one alone. The positions
// are of use also with an error, as far as the file could be read.
//
// Each of more finds problems that this package cannot know, by the paths of the
// upgrade that it is given, in which fields with problems may be empty. They are
// told with the others.
func Read(file string, data []byte, more ...func(Upgrade) []Problem) (Upgrade, Positions, error) {
	ps := &problems{}
	root := parse(ps, data, "an upgrade", Kind)
	if root == nil {
		return Upgrade{}, Positions{}, ps.err(file)
	}
	u := decoder{ps}.upgrade(root)
	positions, ok := inherit(ps, root)
	if ok && !foreign(root) {
		u.Spec.Pools = effective(ps, root)
		for _, find := range more {
			for _, p := range find(u) {
				p = positions.Place(u, p)
				ps.add(p.Path, p.Position, p.Message, p.Remedy)
			}
		}
	}
	if err := ps.err(file); err != nil {
		return Upgrade{}, positions, err
	}
	return u, positions, nil
}

// parse is a file of that kind as a tree, or nil when it is none.
func parse(ps *problems, data []byte, what, kind string) *value {
	start := Position{Line: 1, Column: 1}
	if len(data) > maxBytes {
		ps.add("", Position{}, fmt.Sprintf("the file has %d bytes", len(data)), fmt.Sprintf("%s file has at most %d (1 MiB)", what, maxBytes))
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if pos, message := unreadable(data); message != "" {
		ps.add("", pos, message, "save the file as UTF-8 text")
		return nil
	}
	write := "write " + what + ": apiVersion: " + APIVersion + ", kind: " + kind
	documents := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	switch err := documents.Decode(&first); {
	case errors.Is(err, io.EOF):
		ps.add("", start, "the file is empty", write)
		return nil
	case err != nil:
		pos, message, remedy := syntax(data, err)
		ps.add("", pos, message, remedy)
		return nil
	}
	switch err := documents.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		pos, message, remedy := syntax(data, err)
		ps.add("", pos, message, remedy)
		return nil
	default:
		ps.add("", place(&second), "a second document begins here", "put each in a file of its own, and remove a --- at the end")
		return nil
	}
	root := &value{}
	r := resolver{problems: ps}
	r.resolve(root, first.Content[0], 0, false)
	switch root.shape {
	case mapping:
		return root
	case null:
		ps.add("", start, "the file is empty", write)
	case broken:
	default:
		ps.add("", root.pos, "want a mapping at the top of the file, found "+root.kind(), write)
	}
	return nil
}

// unreadable finds the first place that is not UTF-8 or that YAML does not
// allow (section 5.1 of its specification), which its parser would report
// without a place.
func unreadable(data []byte) (Position, string) {
	pos := Position{Line: 1, Column: 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return pos, fmt.Sprintf("the byte 0x%02x is not UTF-8", data[0])
		case r == '\n':
			pos = Position{Line: pos.Line + 1, Column: 0}
		case r == '\t' || r == '\r' || r == 0x85:
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff:
			return pos, fmt.Sprintf("the control character %U is not allowed in YAML", r)
		}
		pos.Column++
		data = data[size:]
	}
	return pos, ""
}
