package render

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape gives s as one line that shows every rune it holds. What a terminal
// or a browser would act on, hide or reorder stands in a visible form: \n, \r,
// \t, \x1b for ASCII controls and bytes that are no UTF-8, \u{202e} for the
// rest (C1 controls, format characters such as bidi overrides and zero-width
// spaces, separators other than the space, combining marks, blank letters).
// Letters of right-to-left scripts are escaped too: two of them around an
// arrow make a browser swap before and after.
//
// A backslash stands as it is, so Escape(Escape(s)) == Escape(s).
func Escape(s string) string {
	start := 0
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if broken := r == utf8.RuneError && n == 1; broken || !plain(r) {
			b.WriteString(s[start:i])
			if broken {
				fmt.Fprintf(&b, `\x%02x`, s[i])
			} else {
				b.WriteString(escapeRune(r))
			}
			start = i + n
		}
		i += n
	}
	if start == 0 {
		return s
	}
	b.WriteString(s[start:])
	return b.String()
}

func escapeRune(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r)
	}
	return fmt.Sprintf(`\u{%x}`, r)
}

// plain reports whether r is visible by itself, in one or two columns, and
// leaves the runes around it where they are.
func plain(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r < 0x7f
	}
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Mn, unicode.Me,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, deceptive)
}

// deceptive holds runes that count as letters or symbols and yet show nothing
// (Braille blank), join the rune before them (Hangul vowels and finals), or are
// written from right to left (the ranges that Unicode's DerivedBidiClass.txt
// gives to R and AL, assigned or not).
var deceptive = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x0590, Hi: 0x08ff, Stride: 1},
		{Lo: 0x1160, Hi: 0x11ff, Stride: 1},
		{Lo: 0x2800, Hi: 0x2800, Stride: 1},
		{Lo: 0xd7b0, Hi: 0xd7ff, Stride: 1},
		{Lo: 0xfb1d, Hi: 0xfdff, Stride: 1},
		{Lo: 0xfe70, Hi: 0xfeff, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x10800, Hi: 0x10fff, Stride: 1},
		{Lo: 0x1e800, Hi: 0x1efff, Stride: 1},
	},
}

// EscapeJSON gives the JSON text b with every rune that Escape would show in
// another form written as \uXXXX, which stands for the same value. White space
// between values stays. Bytes that are no UTF-8 become U+FFFD, as
// encoding/json reads them.
func EscapeJSON(b []byte) []byte {
	return appendEscaped(make([]byte, 0, len(b)+len(b)/64), b)
}

func appendEscaped(out, b []byte) []byte {
	for i := 0; i < len(b); {
		start := i
		for i < len(b) && (b[i] >= ' ' && b[i] < 0x7f || b[i] == '\n') {
			i++ // most of it, at once
		}
		if out = append(out, b[start:i]...); i == len(b) {
			break
		}
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r == '\n' || plain(r) && (r != utf8.RuneError || n > 1):
			out = append(out, b[i:i+n]...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += n
	}
	return out
}
