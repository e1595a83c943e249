package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Select narrows an upgrade to some of its pools, in the order of the file.
// Without names it is the whole upgrade. Names that the upgrade does not have
// are an error that lists those it has. u is left as it is.
func (u Upgrade) Select(names ...string) (Upgrade, error) {
	if len(names) == 0 {
		return u, nil
	}
	var known []string
	for _, p := range u.Spec.Pools {
		known = append(known, p.Name)
	}
	if err := KnownPools("the upgrade "+u.Metadata.Name, names, known); err != nil {
		return Upgrade{}, err
	}
	selected := u
	selected.Spec.Pools = nil
	for _, p := range u.Spec.Pools {
		if slices.Contains(names, p.Name) {
			selected.Spec.Pools = append(selected.Spec.Pools, p)
		}
	}
	return selected, nil
}

// KnownPools gives an error for names that are not among known, with the one
// that was perhaps meant; whose says what has the pools.
func KnownPools(whose string, names, known []string) error {
	var unknown []string
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		complaint := fmt.Sprintf("%s has no pool %s", whose, quote(name))
		if near := nearest(name, known); near != "" {
			complaint += "; did you mean " + near + "?"
		}
		unknown = append(unknown, complaint)
	}
	if len(unknown) == 0 {
		return nil
	}
	return fmt.Errorf("%s\nits pools: %s", strings.Join(unknown, "\n"), strings.Join(known, ", "))
}
