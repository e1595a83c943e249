package schema

import "strings"

// nearest is the candidate that was most likely meant, or "" when none is
// near. A candidate with dots, such as strategy.maxSurge, is also compared by
// its last part, for a field that stands a level too high.
func nearest(word string, candidates []string) string {
	const longest = 64 // no field is that long, and the comparison is quadratic
	if word == "" || len(word) > longest {
		return ""
	}
	lower := strings.ToLower(word)
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		last := strings.ToLower(c[strings.LastIndexByte(c, '.')+1:])
		d := min(Distance(lower, last), Distance(lower, strings.ToLower(c)))
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best != "" || len(word) < 4 {
		return best
	}
	for _, c := range candidates {
		if strings.Contains(strings.ToLower(c), lower) {
			return c
		}
	}
	return ""
}

// Distance counts the insertions, deletions, replacements and swaps of
// neighbours that lead from a to b (optimal string alignment).
func Distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	var before []int
	last := make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row := make([]int, len(t)+1)
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(t)]
}
