package schema

import "fmt"

// shape is what YAML makes of a piece of text.
type shape int

const (
	broken shape = iota // a problem with it is already known
	null
	boolean
	integer
	float
	text
	list
	mapping
)

// value is the file as a tree without aliases: what decoding reads and what
// Positions keeps. Paths are not stored, as those of a hostile file would
// need far more room than the file.
type value struct {
	parent *value
	step   step // how the parent names it
	pos    Position

	keyPos   Position // of the key, in a mapping
	keyPlain bool     // a key without quotes

	shape shape
	text  string // of a scalar
	plain bool   // a scalar without quotes

	children []*value // in the order of the file
	byKey    map[string]*value
}

// path is where the value was written, which for what a pool took from
// spec.defaults is there.
func (v *value) path() string {
	if v.parent == nil {
		return ""
	}
	return appendStep(v.parent.path(), v.step)
}

// under is the path of a field of v, whether or not v has it.
func (v *value) under(key string) string { return appendStep(v.path(), step{key: key}) }

// child is nil where there is none.
func (v *value) child(s step) *value {
	switch {
	case !s.inList:
		return v.byKey[s.key]
	case v.shape == list && s.index >= 0 && s.index < len(v.children):
		return v.children[s.index]
	}
	return nil
}

// field is nil where there is none, and on a nil value.
func (v *value) field(key string) *value {
	if v == nil {
		return nil
	}
	return v.byKey[key]
}

func (v *value) add(child *value) {
	child.parent = v
	v.children = append(v.children, child)
	if v.shape == mapping {
		v.byKey[child.step.key] = child
	}
}

// weight is roughly how many bytes it takes to write v. The text of aliases
// counts each time.
func (v *value) weight() int {
	w := 1 + len(v.text) + len(v.step.key)
	for _, child := range v.children {
		w += child.weight()
	}
	return w
}

// kind says what a value is, without the value: what stands in the place of
// a mapping or inside a merge patch may be a secret.
func (v *value) kind() string {
	switch v.shape {
	case null:
		return "nothing"
	case boolean:
		return "a boolean"
	case integer, float:
		return "a number"
	case text:
		return "a string"
	case list:
		return "a list"
	case mapping:
		return "a mapping"
	}
	return fmt.Sprintf("shape %d", v.shape)
}

// found is kind with the value, where that is short and no secret.
func (v *value) found() string {
	switch v.shape {
	case boolean:
		return "the boolean " + v.text
	case integer, float:
		return "the number " + shorten(v.text)
	case text:
		return "the string " + quote(v.text)
	}
	return v.kind()
}

// shorten is quote without the quotes, for text that needs none.
func shorten(s string) string {
	if len(s) > maxQuoted {
		return s[:maxQuoted] + "…"
	}
	return s
}

// merge lays own over def: scalars and lists replace, mappings merge deeply.
// The result shares its parts, which keep the places where they were written.
func merge(def, own *value) *value {
	if def == nil || def.shape != mapping || own.shape != mapping {
		return own
	}
	merged := *own
	merged.children = nil
	merged.byKey = make(map[string]*value, len(own.byKey)+len(def.byKey))
	keep := func(key string, v *value) {
		merged.children = append(merged.children, v)
		merged.byKey[key] = v
	}
	for _, child := range own.children {
		keep(child.step.key, merge(def.byKey[child.step.key], child))
	}
	for _, child := range def.children {
		if _, overridden := own.byKey[child.step.key]; !overridden {
			keep(child.step.key, child)
		}
	}
	return &merged
}

// replace puts v in the place of the child of that key.
func (v *value) replace(key string, with *value) {
	for i, child := range v.children {
		if child == v.byKey[key] {
			v.children[i] = with
		}
	}
	v.byKey[key] = with
}
