package schema

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// inherit lays the pools of the tree over spec.defaults and keeps the result
// in the tree, where Positions finds it. It is false when that is too much.
func inherit(ps *problems, root *value) (Positions, bool) {
	positions := Positions{root: root, pools: map[string]int{}}
	defaults := root.field("spec").field("defaults")
	pools := poolItems(root)

	// Thousands of pools, each with its copy of large defaults, or aliases to
	// one large text, would fill the memory from a small file.
	weight := 0
	for _, item := range pools {
		weight += item.weight()
	}
	if defaults != nil {
		weight += len(pools) * defaults.weight()
	}
	if weight > maxWeight {
		ps.add("spec.pools", root.field("spec").field("pools").pos, fmt.Sprintf("the pools with their defaults come to more than %d MiB", maxWeight>>20), "put fewer pools into one upgrade, or less into defaults")
		return positions, false
	}
	for i, item := range pools {
		pools[i] = merge(defaults, item)
		if all := addUp(defaults.field("waive"), item.field("waive")); all != nil {
			pools[i].replace("waive", all)
		}
		name := item.field("name")
		if name == nil || name.shape != text {
			continue
		}
		if _, twice := positions.pools[name.text]; !twice {
			positions.pools[name.text] = i
		}
	}
	return positions, true
}

// addUp gives the waivers of defaults and of a pool together, where both have
// some. The pool's word for a check counts.
func addUp(defaults, own *value) *value {
	if defaults == nil || own == nil || defaults.shape != list || own.shape != list {
		return nil
	}
	waives := func(check *value) bool {
		return slices.ContainsFunc(own.children, func(v *value) bool {
			c := v.field("check")
			return c != nil && check != nil && c.text == check.text
		})
	}
	all := *own
	all.children = nil
	for _, v := range defaults.children {
		if !waives(v.field("check")) {
			all.children = append(all.children, v)
		}
	}
	all.children = append(all.children, own.children...)
	return &all
}

func poolItems(root *value) []*value {
	pools := root.field("spec").field("pools")
	if pools == nil || pools.shape != list {
		return nil
	}
	return pools.children
}

// effective reads the pools after inherit, fills in what is still empty, and
// checks what only a whole pool shows.
func effective(ps *problems, root *value) []Pool {
	var pools []Pool
	silent := decoder{&problems{}} // all of it was read before, where it was written
	for _, item := range poolItems(root) {
		if item.shape != mapping {
			continue
		}
		p := silent.pool(item, poolFields)
		if p.Wait.StallAfter == 0 {
			p.Wait.StallAfter = DefaultStallAfter
		}
		if p.OnStall == Stop {
			p.OnStall = ""
		}
		if c := p.Canary; c != nil {
			if c.Machines == -1 {
				c.Machines = DefaultMachines
			}
			if c.Soak == -1 {
				c.Soak = DefaultSoak
			}
			if c.Machines == 0 {
				p.Canary = nil // a pool's way out of a canary in defaults
			}
		}
		pools = append(pools, p)
		if changesNothing(item) {
			ps.at(item, "the pool changes nothing", "give it something to change, such as kubernetesVersion or machineImage, or remove it")
		}
		if s := p.Strategy; s != nil && zero(s.MaxSurge) && zero(s.MaxUnavailable) {
			// Said where the later of the two is written: in defaults when
			// both come from there, and then once for all pools.
			strategy := item.field("strategy")
			blame, surge := strategy.field("maxUnavailable"), strategy.field("maxSurge")
			if after(surge.pos, blame.pos) {
				blame = surge
			}
			ps.add(blame.parent.path(), blame.pos, "maxSurge and maxUnavailable are both zero, so no machine could ever be replaced", "let one of them be above zero")
		}
	}
	return pools
}

// changesNothing looks at what is written, so that a field with a mistake in
// it counts as a change: the mistake is reported already.
func changesNothing(pool *value) bool {
	for _, child := range pool.children {
		empty := child.shape == mapping && len(child.children) == 0
		if key := child.step.key; !slices.Contains([]string{"name", "wait", "onStall", "canary", "waive"}, key) && !empty {
			return false
		}
	}
	return true
}

func zero(v *intstr.IntOrString) bool {
	if v == nil {
		return false
	}
	return v.Type == intstr.Int && v.IntVal == 0 || percent(*v) == 0
}

func after(a, b Position) bool {
	return a.Line > b.Line || a.Line == b.Line && a.Column > b.Column
}
