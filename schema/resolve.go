package schema

import (
	"fmt"

	"sigs.k8s.io/yaml/goyaml.v3"
)

// The bounds of a file. Each is far above what an upgrade needs and low
// enough that a hostile file costs neither time nor memory.
const (
	maxBytes    = 1 << 20
	maxDepth    = 100
	maxKey      = 1024    // bytes of one key
	maxExpanded = 10_000  // values that come in through aliases
	maxWeight   = 2 << 20 // of all pools together with their defaults
)

// resolver turns YAML nodes into values. It refuses what makes a file mean
// something else than it shows: duplicate keys, merge keys, tags, keys that
// are not strings, aliases without end.
type resolver struct {
	*problems
	open     map[*yaml.Node]bool // the nodes that are being resolved
	expanded int                 // how many values came in through aliases,
	text     int                 // and with how many bytes of text
	full     bool                // that was too much, and is said
}

func place(n *yaml.Node) Position { return Position{Line: n.Line, Column: n.Column} }

// resolve fills v from n. The position of v is already set where n has a key.
func (r *resolver) resolve(v *value, n *yaml.Node, depth int, aliased bool) {
	if v.pos == (Position{}) || n.Kind == yaml.ScalarNode || n.Kind == yaml.AliasNode {
		v.pos = place(n)
	}
	if n.Kind == yaml.AliasNode {
		if r.open[n.Alias] {
			r.at(v, fmt.Sprintf("the alias *%s stands inside its own anchor", shorten(n.Value)), "write the value out")
			return
		}
		n = n.Alias // v keeps the place of the alias: that is where it is used
		aliased = true
	}
	if aliased {
		r.expanded++
		r.text += len(n.Value)
		if r.expanded > maxExpanded || r.text > maxBytes {
			if !r.full {
				r.at(v, fmt.Sprintf("the aliases of this file expand to more than %d values or 1 MiB", maxExpanded), "put what pools share in spec.defaults")
			}
			r.full = true
			return
		}
	}
	if depth > maxDepth {
		r.at(v, fmt.Sprintf("is nested more than %d levels deep", maxDepth), "no field of an upgrade is that deep: check the indentation and the brackets")
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		// Without its name: it may be a password that was left without quotes.
		r.at(v, "has a YAML tag, a word that begins with !", "tags are not supported: remove it, or put the value in quotes")
		return
	}
	if r.open == nil {
		r.open = map[*yaml.Node]bool{}
	}
	r.open[n] = true
	defer delete(r.open, n)

	switch n.Kind {
	case yaml.MappingNode:
		v.shape, v.byKey = mapping, map[string]*value{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			r.entry(v, n.Content[i], n.Content[i+1], depth, aliased)
		}
	case yaml.SequenceNode:
		v.shape = list
		for i, item := range n.Content {
			child := &value{step: step{index: i, inList: true}}
			v.add(child)
			r.resolve(child, item, depth+1, aliased)
		}
	case yaml.ScalarNode:
		v.text, v.plain = n.Value, plain(n)
		v.shape = scalarShape(n)
	}
}

// entry resolves one key and its value into the mapping v.
func (r *resolver) entry(v *value, key, val *yaml.Node, depth int, aliased bool) {
	refuse := func(message, remedy string) { r.add(v.path(), place(key), message, remedy) }
	switch {
	case key.Kind == yaml.AliasNode:
		refuse(fmt.Sprintf("the alias *%s stands for a key", shorten(key.Value)), "write the key out")
		return
	case key.Kind != yaml.ScalarNode:
		refuse("a key is a "+map[yaml.Kind]string{yaml.MappingNode: "mapping", yaml.SequenceNode: "list"}[key.Kind], "keys are strings: check the brackets, and that templates ({{ }}) are rendered")
		return
	case key.Style&yaml.TaggedStyle != 0:
		refuse("a key has a YAML tag, a word that begins with !", "tags are not supported: remove it, or put the key in quotes")
		return
	case key.Tag == "!!merge":
		refuse("the YAML merge key << is not supported", "put what pools share in spec.defaults, or write it out")
		return
	case scalarShape(key) != text || key.Tag == "!!timestamp":
		refuse(fmt.Sprintf("the key %s is not a string", shorten(key.Value)), fmt.Sprintf("keys are strings: write %s", quote(key.Value)))
		return
	case len(key.Value) > maxKey:
		refuse(fmt.Sprintf("the key %s is longer than %d bytes", quote(key.Value), maxKey), "check the quotes")
		return
	}
	if first := v.byKey[key.Value]; first != nil {
		r.add(v.under(key.Value), place(key), fmt.Sprintf("is a duplicate: the first one is at %s", first.keyPos), "keep one of them")
		return
	}
	child := &value{step: step{key: key.Value}, keyPos: place(key), keyPlain: plain(key), pos: place(key)}
	v.add(child)
	r.resolve(child, val, depth+1, aliased)
}

// plain is a scalar without quotes.
func plain(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

func scalarShape(n *yaml.Node) shape {
	switch n.Tag {
	case "!!null":
		return null
	case "!!bool":
		return boolean
	case "!!int":
		return integer
	case "!!float":
		return float
	}
	// Timestamps are strings to JSON, and so they are here.
	return text
}
