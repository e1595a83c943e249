package render

// edit is one line of a difference: '+' added, '-' removed, ' ' the same in
// both, '~' a sealed value that changed.
type edit struct {
	mark byte
	text string
}

// largest is how many pairs of lines are compared before giving up on finding
// what two values share.
const largest = 4 << 20

// diff gives the lines of before and after as edits, what is common only once.
// Two sealed lines that differ in nothing but the secret are paired: written
// with their lengths alone they could look the same.
func diff(before, after []line) []edit {
	if len(before)*len(after) > largest {
		return append(all('-', before), all('+', after)...)
	}
	same := func(a, b line) bool { return a.text == b.text && a.isSealed() == b.isSealed() }

	// common[i][j] is the length of the longest common part of before[i:] and after[j:].
	common := make([][]int32, len(before)+1)
	for i := range common {
		common[i] = make([]int32, len(after)+1)
	}
	for i := len(before) - 1; i >= 0; i-- {
		for j := len(after) - 1; j >= 0; j-- {
			if same(before[i], after[j]) {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []edit
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case i < len(before) && j < len(after) && same(before[i], after[j]):
			if a, b := before[i].seal, after[j].seal; a != b {
				out = append(out, edit{'~', before[i].text + resealed(a, b)})
			} else {
				out = append(out, edit{' ', after[j].String()})
			}
			i++
			j++
		case j == len(after) || i < len(before) && common[i+1][j] >= common[i][j+1]:
			out = append(out, edit{'-', before[i].String()})
			i++
		default:
			out = append(out, edit{'+', after[j].String()})
			j++
		}
	}
	return out
}

func all(mark byte, lines []line) []edit {
	out := make([]edit, len(lines))
	for i, l := range lines {
		out[i] = edit{mark, l.String()}
	}
	return out
}

func resealed(before, after seal) string {
	if before == after {
		return "unchanged " + after.String()
	}
	return "changed (sealed, " + before.length + " → " + after.length + " bytes)"
}
