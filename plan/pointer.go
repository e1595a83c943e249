package plan

import (
	"strconv"
	"strings"
)

// Pointer is a JSON pointer (RFC 6901), the address of a value in an object.
type Pointer string

var (
	escapeToken   = strings.NewReplacer("~", "~0", "/", "~1")
	unescapeToken = strings.NewReplacer("~1", "/", "~0", "~")
)

// PointerTo joins unescaped tokens to a pointer.
func PointerTo(tokens ...string) Pointer {
	var p Pointer
	return p.Append(tokens...)
}

// Append gives the pointer that leads on from p by the unescaped tokens.
func (p Pointer) Append(tokens ...string) Pointer {
	n := len(p)
	for _, t := range tokens {
		n += 1 + len(t)
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteString(string(p))
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(escapeToken.Replace(t))
	}
	return Pointer(b.String())
}

// Tokens splits p into its unescaped tokens; the empty pointer has none.
func (p Pointer) Tokens() []string {
	if p == "" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(string(p), "/"), "/")
	for i, t := range parts {
		if strings.Contains(t, "~") {
			parts[i] = unescapeToken.Replace(t)
		}
	}
	return parts
}

// Dotted gives p as people write field paths: spec.template.spec.ami.id,
// spec.files[0], metadata.annotations["nodepool/run"].
func (p Pointer) Dotted() string {
	var b strings.Builder
	for _, t := range p.Tokens() {
		switch {
		case isIndex(t):
			b.WriteString("[" + t + "]")
		case strings.ContainsAny(t, "./[]\" "):
			b.WriteString("[" + strconv.Quote(t) + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(t)
		}
	}
	return b.String()
}

// isIndex reports whether a token is a number. Most are not, and an error of
// Atoi takes longer than the rest of Dotted.
func isIndex(token string) bool {
	if token == "" || !strings.Contains("+-0123456789", token[:1]) {
		return false
	}
	_, err := strconv.Atoi(token)
	return err == nil
}

// Within reports whether p is q or lies below it.
func (p Pointer) Within(q Pointer) bool {
	return p == q || strings.HasPrefix(string(p), string(q)+"/")
}

// in finds the value at p in a tree of map[string]any, []any and scalars.
func (p Pointer) in(tree any) (any, bool) {
	at := tree
	for _, t := range p.Tokens() {
		switch node := at.(type) {
		case map[string]any:
			v, ok := node[t]
			if !ok {
				return nil, false
			}
			at = v
		case []any:
			i, err := strconv.Atoi(t)
			if err != nil || i < 0 || i >= len(node) || strconv.Itoa(i) != t {
				return nil, false
			}
			at = node[i]
		default:
			return nil, false
		}
	}
	return at, true
}
