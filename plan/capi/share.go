package capi

import (
	"hash/maphash"
	"math/bits"
	"reflect"
	"slices"
)

// store keeps once what many objects hold in common. Its zero value is ready for
// use, by one goroutine.
type store struct {
	seed       maphash.Seed // decides where what is kept is looked for, and nothing else
	texts      map[string]any
	conditions map[condition]map[string]any
	// trees are the maps and lists that are kept once, by their hash, and hashes
	// tells these from others by their address.
	trees  map[uint64][]any
	hashes map[uintptr]uint64
	// packer begins anew with them, since what it knows is bounded as well.
	packer packer
}

// What a store keeps to compare with is bounded; beyond that, it begins anew. The
// names of a large cluster's Machines are among the texts: what they refer to often
// has the same.
const maxTexts, maxTrees = 1 << 15, 1 << 14

// begin is called before each object.
func (s *store) begin() {
	if s.texts == nil {
		s.seed = maphash.MakeSeed()
	} else if len(s.texts) < maxTexts && len(s.conditions) < maxTrees && len(s.hashes) < maxTrees && len(s.packer.texts) < maxTexts {
		return
	}
	s.texts, s.conditions = map[string]any{}, map[condition]map[string]any{}
	s.trees, s.hashes = map[uint64][]any{}, map[uintptr]uint64{}
	s.packer = packer{common: &common{}, keys: map[string]uint64{}, texts: map[string]uint64{}, trees: map[uintptr]uint64{}}
}

// text gives a text that may stand in many objects, as a value.
func (s *store) text(t string) any {
	if known, ok := s.texts[t]; ok {
		return known
	}
	s.texts[t] = t
	return s.texts[t]
}

// key gives a text that may stand in many objects.
func (s *store) key(t string) string {
	k, _ := s.text(t).(string)
	return k
}

// once keeps a value, and each part of it, once. Nobody may change these.
func (s *store) once(v any) any {
	v, _ = s.tree(v)
	return v
}

// copied gives a value that is an object's own, of which the texts alone are kept
// once.
func (s *store) copied(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) <= maxText {
			return s.text(v)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[s.key(key)] = s.copied(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = s.copied(v[i])
		}
		return out
	}
	return v
}

// maxText bounds the texts that are kept once, in bytes: longer ones are mostly
// messages, of which no two are the same.
const maxText = 64

// tree keeps a value with all that is in it, each part once, and gives its hash.
// It writes to no map or list that it has given before: others may read these.
func (s *store) tree(v any) (any, uint64) {
	var hash uint64
	switch v := v.(type) {
	case string:
		hash = maphash.String(s.seed, v)
		if len(v) <= maxText {
			return s.text(v), hash
		}
		return v, hash
	case map[string]any:
		if hash, known := s.hashes[address(v)]; known {
			return v, hash
		}
		for key, value := range v {
			child, h := s.tree(value)
			v[key] = child
			hash += mix(maphash.String(s.seed, key), h) // in any order
		}
	case []any:
		if hash, known := s.hashes[address(v)]; known {
			return v, hash
		}
		for i, value := range v {
			child, h := s.tree(value)
			v[i] = child
			hash = mix(hash, h)
		}
	default:
		return v, maphash.Comparable(s.seed, v)
	}
	return s.node(v, hash), hash
}

// node gives what is kept of a map or list whose parts are kept already.
func (s *store) node(v any, hash uint64) any {
	for _, known := range s.trees[hash] {
		if alike(known, v) {
			return known
		}
	}
	switch from := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(from))
		for key, value := range from {
			out[s.key(key)] = value
		}
		v = out
	case []any:
		v = slices.Clip(slices.Clone(from))
	}
	s.trees[hash] = append(s.trees[hash], v)
	s.hashes[address(v)] = hash
	return v
}

// mix gives a hash of two, which tells their order.
func mix(a, b uint64) uint64 {
	a = (a ^ bits.RotateLeft64(b, 32)) * 0x9e3779b97f4a7c15
	return a ^ a>>29
}

// address tells maps and lists apart.
func address(v any) uintptr { return reflect.ValueOf(v).Pointer() }

// alike reports whether two maps or two lists hold the same parts, each of which
// is kept once.
func alike(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key, x := range a {
			if y, ok := b[key]; !ok || !one(x, y) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, one)
	}
	return false
}

// one reports whether a and b are one value.
func one(a, b any) bool {
	switch a.(type) {
	case map[string]any:
		_, ok := b.(map[string]any)
		return ok && address(a) == address(b)
	case []any:
		_, ok := b.([]any)
		return ok && address(a) == address(b)
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}
