package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in a file, both numbers from 1; the column counts
// characters. The zero value is "the file as a whole".
type Position struct{ Line, Column int }

// String is line:column.
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }

// Positions knows where in its file each part of an [Upgrade] was written. A
// scalar is located at its value, a mapping or a list at its key, an item of
// a list at its beginning. The zero value locates nothing.
type Positions struct {
	root  *value
	pools map[string]int
}

// Locate finds the place of a path such as spec.pools[0].machineImage, or of
// its nearest ancestor that the file has. A key that is no plain word is
// written in brackets and quotes, metadata.labels["a.b/c"]. What a pool took
// from spec.defaults is located there.
//
// The number of a pool is the one it has in the file; after
// [Upgrade.Select] use [Positions.Pool] to make the path.
func (p Positions) Locate(path string) Position {
	v := p.root
	if v == nil {
		return Position{}
	}
	for _, step := range steps(path) {
		next := v.child(step)
		if next == nil {
			break
		}
		v = next
	}
	return v.pos
}

// Pool is the path of a pool by its name, such as spec.pools[2], and
// spec.pools for a name that the file does not have.
func (p Positions) Pool(name string) string {
	i, ok := p.pools[name]
	if !ok {
		return "spec.pools"
	}
	return fmt.Sprintf("spec.pools[%d]", i)
}

// Place gives p, a problem by its path in u, its path and position in the file:
// the number of a pool differs where u holds some of the pools alone.
func (p Positions) Place(u Upgrade, problem Problem) Problem {
	if path := steps(problem.Path); len(path) > 2 && path[0].key == "spec" && path[1].key == "pools" && path[2].inList && path[2].index < len(u.Spec.Pools) {
		_, rest, _ := strings.Cut(problem.Path, "]")
		if name := u.Spec.Pools[path[2].index].Name; name != "" {
			problem.Path = p.Pool(name) + rest
		}
	}
	problem.Position = p.Locate(problem.Path)
	return problem
}

// step is one part of a path: a key, or the number of a list item.
type step struct {
	key    string
	index  int
	inList bool
}

// steps takes a path apart. What does not look like a path becomes a key that
// no file has.
func steps(path string) []step {
	var list []step
	for path != "" {
		switch {
		case path[0] == '.':
			path = path[1:]
		case strings.HasPrefix(path, `["`):
			quoted, err := strconv.QuotedPrefix(path[1:])
			if err != nil || !strings.HasPrefix(path[1+len(quoted):], "]") {
				return append(list, step{key: path})
			}
			key, _ := strconv.Unquote(quoted)
			list = append(list, step{key: key})
			path = path[len(quoted)+2:]
		case path[0] == '[':
			number, rest, _ := strings.Cut(path[1:], "]")
			index, err := strconv.Atoi(number)
			if err != nil {
				return append(list, step{key: path})
			}
			list = append(list, step{index: index, inList: true})
			path = rest
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			list = append(list, step{key: path[:end]})
			path = path[end:]
		}
	}
	return list
}

// appendStep adds a step to a path, as Locate reads it.
func appendStep(path string, s step) string {
	switch {
	case s.inList:
		return fmt.Sprintf("%s[%d]", path, s.index)
	case !plainKey(s.key):
		return fmt.Sprintf("%s[%s]", path, strconv.Quote(s.key))
	case path == "":
		return s.key
	}
	return path + "." + s.key
}

func plainKey(key string) bool {
	for _, r := range key {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
		default:
			return false
		}
	}
	return key != ""
}
