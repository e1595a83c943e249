package schema

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// patch reads an RFC 7386 merge patch. An empty one changes nothing and is
// returned as nil.
func (d decoder) patch(v *value) map[string]any {
	if v.shape != mapping {
		d.notMapping(v, "write the fields to change below it, as a merge patch over spec.template.spec")
		return nil
	}
	if len(v.children) == 0 {
		return nil
	}
	m, _ := d.tree(v).(map[string]any)
	return m
}

var (
	digits       = regexp.MustCompile(`^[-+]?[0-9_]+$`)
	decimal      = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	decimalFloat = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?$`)
)

// yaml11 are words that are booleans to YAML 1.1, and so to kubectl, and
// strings to YAML 1.2. A manifest means one thing here and another there, so
// neither is taken.
var yaml11 = []string{"y", "n", "yes", "no", "on", "off"}

func ambiguous(v string, plain bool) bool {
	return plain && len(v) <= 3 && slices.Contains(yaml11, strings.ToLower(v))
}

// tree turns a value of a patch into what encoding/json would make of it,
// save that integers are int64. Its messages never repeat a value: bootstrap
// data hold passwords and keys.
func (d decoder) tree(v *value) any {
	switch v.shape {
	case null:
		if v.text == "" {
			d.at(v, "has no value", "write null to remove the field, or give it a value")
		}
		return nil
	case boolean:
		return strings.EqualFold(v.text, "true")
	case integer:
		return d.integer(v)
	case float:
		return d.float(v)
	case text:
		if ambiguous(v.text, v.plain) {
			d.at(v, "this word without quotes is a boolean to some readers of YAML and a string to others", "write true or false, or put it in quotes")
		}
		return v.text
	case list:
		items := make([]any, len(v.children))
		for i, child := range v.children {
			items[i] = d.tree(child)
		}
		return items
	case mapping:
		fields := make(map[string]any, len(v.children))
		for _, child := range v.children {
			if ambiguous(child.step.key, child.keyPlain) {
				d.add(child.path(), child.keyPos, "this key without quotes is a boolean to some readers of YAML and a string to others", "put it in quotes")
			}
			fields[child.step.key] = d.tree(child)
		}
		return fields
	}
	return nil
}

// integer takes decimal numbers alone: to YAML 1.1 0644 is 420 and 1_000 is
// 1000, and an account or a file mode written so would silently become
// another one.
func (d decoder) integer(v *value) any {
	if !decimal.MatchString(v.text) {
		d.at(v, "this number is not in decimal (a leading 0 makes it octal)", "write it in decimal, or in quotes for a string")
		return nil
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		d.at(v, "this number does not fit in 64 bits", "put it in quotes for a string")
		return nil
	}
	return n
}

func (d decoder) float(v *value) any {
	f, err := strconv.ParseFloat(v.text, 64)
	switch {
	case digits.MatchString(v.text):
		// Integers beyond 64 bits come as floats and would be rounded, and
		// so do those with a leading 0 that are no octal numbers.
		return d.integer(v)
	case err != nil || math.IsInf(f, 0) || math.IsNaN(f) || !decimalFloat.MatchString(v.text):
		d.at(v, "JSON has no such number", "write a finite decimal number, or put it in quotes for a string")
		return nil
	case f == 0:
		return 0.0 // not -0, which has other bytes in JSON
	}
	return f
}
