package render

import (
	"strings"
	"unicode"
)

// wide holds the runes that terminals draw in two columns (Unicode's
// EastAsianWidth.txt, classes W and F, with gaps closed: a column too many
// wraps early, one too few would break the layout).
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1},
		{Lo: 0x231a, Hi: 0x231b, Stride: 1},
		{Lo: 0x2329, Hi: 0x232a, Stride: 1},
		{Lo: 0x23e9, Hi: 0x23f3, Stride: 1},
		{Lo: 0x25fd, Hi: 0x25fe, Stride: 1},
		{Lo: 0x2614, Hi: 0x26fd, Stride: 1},
		{Lo: 0x2705, Hi: 0x2705, Stride: 1},
		{Lo: 0x270a, Hi: 0x270b, Stride: 1},
		{Lo: 0x2728, Hi: 0x2728, Stride: 1},
		{Lo: 0x274c, Hi: 0x2757, Stride: 1},
		{Lo: 0x2795, Hi: 0x27bf, Stride: 1},
		{Lo: 0x2b1b, Hi: 0x2b55, Stride: 1},
		{Lo: 0x2e80, Hi: 0xa4cf, Stride: 1},
		{Lo: 0xa960, Hi: 0xa97f, Stride: 1},
		{Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1},
		{Lo: 0xfe10, Hi: 0xfe6f, Stride: 1},
		{Lo: 0xff01, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x16fe0, Hi: 0x1b2ff, Stride: 1},
		{Lo: 0x1f000, Hi: 0x1faff, Stride: 1},
		{Lo: 0x20000, Hi: 0x3fffd, Stride: 1},
	},
}

func runeColumns(r rune) int {
	if r >= 0x1100 && unicode.Is(wide, r) {
		return 2
	}
	return 1
}

// Columns gives how many columns of a terminal s takes. It expects a string
// that went through Escape.
func Columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// Truncate shortens s to at most columns columns; what is cut off is replaced
// by "…". It expects a string that went through Escape.
func Truncate(s string, columns int) string {
	if Columns(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	head, _ := cut(s, columns-1)
	return s[:head] + "…"
}

// cut gives how many bytes of s fit into columns, and how many columns they
// take.
func cut(s string, columns int) (bytes, used int) {
	for i, r := range s {
		c := runeColumns(r)
		if used+c > columns {
			return i, used
		}
		used += c
	}
	return len(s), used
}

// Wrap breaks s into lines of at most columns columns: at the last space that
// fits, and within a word only when the word alone is too long. The one space
// at a break is dropped, nothing else is. No limit for columns < 1.
// It expects a string that went through Escape.
func Wrap(s string, columns int) []string {
	var lines []string
	for columns > 0 {
		fits, _ := cut(s, columns)
		if fits == len(s) {
			break
		}
		if fits == 0 { // a rune wider than the line
			for i := range s {
				if fits = i; i > 0 {
					break
				}
			}
			if fits == 0 {
				break
			}
		}
		// A space right behind the limit is a good place as well.
		at := strings.LastIndexByte(s[:fits+1], ' ')
		if at <= 0 || strings.TrimLeft(s[:at], " ") == "" {
			lines = append(lines, s[:fits])
			s = s[fits:]
			continue
		}
		lines = append(lines, s[:at])
		s = s[at+1:]
	}
	return append(lines, s)
}
