package plan

import (
	"slices"

	"nodepool/plan/capi"
	"nodepool/schema"
)

// Questions are what the checks of a plan would know of beyond the objects of
// the management cluster. Compile and Invert can do without the answers, which
// change findings alone: no step, no fact, not the digest.
type Questions struct {
	// Images and Types are for the provider of the machines that are to be made,
	// each once.
	Images []ImageQuery
	Types  []InstanceTypeQuery
	// Kinds are those of the templates that machines are to be made from, by group
	// and kind, whose definitions are held against the contract.
	Kinds []Ref
	// Workload is about the machines that go; it is nil where none goes that has
	// a node.
	Workload *WorkloadQuery
}

// Ask gives the questions for Compile, once Needs asks no more.
func Ask(up schema.Upgrade, snap Snapshot) Questions {
	pools, missing, problems := look(up, snap)
	if len(missing)+len(problems) > 0 {
		return Questions{}
	}
	return questions(pools, snap)
}

// AskBack gives the questions for Invert, once InvertNeeds asks no more.
func AskBack(p Plan, snap Snapshot) Questions { return askBack(p, snap, takeOff) }

// AskRecheck gives the questions for Recheck, once RecheckNeeds asks no more.
func AskRecheck(p Plan, snap Snapshot) Questions { return askBack(p, snap, putOn) }

func askBack(p Plan, snap Snapshot, to direction) Questions {
	pools, missing := lookBack(p, snap, to)
	if len(missing) > 0 {
		return Questions{}
	}
	return questions(pools, snap)
}

func questions(pools []*pool, snap Snapshot) (q Questions) {
	for _, p := range pools {
		if m, ok := p.machine(); ok {
			if image, unasked := m.imageQuery(); unasked == "" && !slices.Contains(q.Images, image) {
				q.Images = append(q.Images, image)
			}
			for _, size := range m.typeQueries() {
				if !slices.Contains(q.Types, size) {
					q.Types = append(q.Types, size)
				}
			}
		}
		for _, kind := range p.contracted() {
			if !slices.Contains(q.Kinds, kind) {
				q.Kinds = append(q.Kinds, kind)
			}
		}
		for _, m := range p.leaving() {
			if q.Workload == nil {
				q.Workload = &WorkloadQuery{Cluster: capi.RefOf(p.cluster), ClusterLabels: p.cluster.GetLabels(), Nodes: map[string]WorkloadNode{}}
			}
			n := WorkloadNode{Pool: p.spec.Name, Version: m.Version}
			if o, ok := snap.Object(Ref{Group: capi.Group, Kind: "Machine", Namespace: m.Namespace, Name: m.Name}); ok {
				n.Labels, n.NotDrained = o.GetLabels(), capi.NotDrained(o)
			}
			q.Workload.Nodes[m.Node] = n
		}
	}
	return q
}
