package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// changesBetween lists the leaf changes that turn before into after, ordered
// by path. A value whose parent is absent comes as one change of the deepest
// parent that is there, so that every path of the list can be written on the
// object as it is. Lists of one length are compared item by item, others are
// replaced whole.
func changesBetween(at Pointer, before, after any) []Change {
	return changesSealed(at, before, after, nil)
}

// changesBetween is that of before and after sealed. What both share, which is most
// of them, is not looked at.
func (s sealer) changesBetween(before, after any) []Change {
	return changesSealed("", before, after, &s)
}

// changesSealed lists the changes between values, sealed by s unless that is nil.
func changesSealed(at Pointer, before, after any, s *sealer) []Change {
	if one(before, after) {
		return nil
	}
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		if !ok || isSealed(a) || isSealed(b) {
			break
		}
		keys := make([]string, 0, len(b))
		for k := range b {
			keys = append(keys, k)
		}
		for k := range a {
			if _, had := b[k]; !had {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		var out []Change
		for _, k := range keys {
			bv, had := b[k]
			av, has := a[k]
			if one(bv, av) {
				continue
			}
			p := at.Append(k)
			switch {
			case !had:
				if av != nil {
					out = append(out, Change{Path: p, After: mustCanonical(s.sealUnder(k, av))})
				}
			case !has:
				if bv != nil {
					out = append(out, Change{Path: p, Before: mustCanonical(s.sealUnder(k, bv))})
				}
			case s != nil && isSecretKey(k):
				out = append(out, changesSealed(p, s.sealValue(bv), s.sealValue(av), s)...)
			default:
				out = append(out, changesSealed(p, bv, av, s)...)
			}
		}
		return out
	case []any:
		a, ok := after.([]any)
		if !ok || len(a) != len(b) {
			break
		}
		var out []Change
		for i := range b {
			out = append(out, changesSealed(at.Append(strconv.Itoa(i)), b[i], a[i], s)...)
		}
		return out
	}
	bRaw, aRaw := rawOf(s.sealUnder("", before)), rawOf(s.sealUnder("", after))
	if bytes.Equal(bRaw, aRaw) {
		return nil
	}
	return []Change{{Path: at, Before: bRaw, After: aRaw}}
}

// one reports whether two values are the same without a look into them: lists and
// maps are when they are the very same.
func one(a, b any) bool {
	switch a.(type) {
	case string, bool, int64:
		return a == b
	case map[string]any:
		_, ok := b.(map[string]any)
		return ok && reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
	case []any:
		x, y := reflect.ValueOf(a), reflect.ValueOf(b)
		return x.Kind() == y.Kind() && x.Len() == y.Len() && x.Pointer() == y.Pointer()
	}
	return false
}

// write makes the change on tree, whose parents at c.Path must be there, with
// the true values of what is sealed.
func (c Change) write(tree map[string]any, opened map[string]any) error {
	var value any
	if len(c.After) > 0 {
		sealed, err := decodeValue(c.After)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Path.Dotted(), err)
		}
		var missing []string
		if value, missing = unseal(sealed, opened); len(missing) > 0 {
			return &SecretError{Path: c.Path}
		}
	}
	return c.put(tree, value)
}

// writeSealed makes the change on a sealed tree and leaves it sealed.
func (c Change) writeSealed(tree map[string]any) error {
	var value any
	if len(c.After) > 0 {
		var err error
		if value, err = decodeValue(c.After); err != nil {
			return fmt.Errorf("%s: %w", c.Path.Dotted(), err)
		}
	}
	return c.put(tree, value)
}

// put sets the field at c.Path to value, or removes it when there is no After.
func (c Change) put(tree map[string]any, value any) error {
	tokens := c.Path.Tokens()
	if len(tokens) == 0 {
		return fmt.Errorf("change of the whole object")
	}
	parent, ok := PointerTo(tokens[:len(tokens)-1]...).in(tree)
	if !ok {
		return fmt.Errorf("%s: its parent is not there", c.Path.Dotted())
	}
	last := tokens[len(tokens)-1]
	switch p := parent.(type) {
	case map[string]any:
		if len(c.After) == 0 {
			delete(p, last)
		} else {
			p[last] = value
		}
	case []any:
		i, err := strconv.Atoi(last)
		if err != nil || i < 0 || i >= len(p) || len(c.After) == 0 {
			return fmt.Errorf("%s: no such list item", c.Path.Dotted())
		}
		p[i] = value
	default:
		return fmt.Errorf("%s: its parent holds no fields", c.Path.Dotted())
	}
	return nil
}

// SecretError says that a plan's sealed change cannot be written because the
// value is not at hand: the plan was given without its upgrade file, or the
// file now holds another value.
type SecretError struct{ Path Pointer }

func (e *SecretError) Error() string {
	return fmt.Sprintf("the plan holds the secret %s only as a hash, and no value of that hash is at hand; "+
		"give the upgrade file that the plan was made from with -f", e.Path.Dotted())
}

// holds reports whether live is as want says: equal, or, where want is an
// object, holding at least what want holds. The API server may add defaults
// to an object that we add, so equality would be too much to ask.
func holds(live, want any) bool {
	w, ok := want.(map[string]any)
	if !ok || isSealed(w) {
		return bytes.Equal(mustCanonical(live), mustCanonical(want))
	}
	l, ok := live.(map[string]any)
	if !ok {
		return false
	}
	for k, v := range w {
		lv, has := l[k]
		if !has || !holds(lv, v) {
			return false
		}
	}
	return true
}

// valueAt gives the value at p of an object in canonical JSON, empty when it
// is absent or null.
func valueAt(tree map[string]any, p Pointer) json.RawMessage {
	v, ok := p.in(tree)
	if !ok || v == nil {
		return nil
	}
	return mustCanonical(v)
}
