package plan

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// Scope narrows a survey: a namespace, or all of them when it is empty; one
// cluster, or all of them when it is empty.
type Scope struct{ Namespace, Cluster string }

// PoolStatus is one MachineDeployment as it stands.
type PoolStatus struct {
	Namespace           string `json:"namespace"`
	Cluster             string `json:"cluster"`
	Name                string `json:"name"`
	Version             string `json:"version"`
	ControlPlane        Ref    `json:"controlPlane,omitzero"`
	ControlPlaneVersion string `json:"controlPlaneVersion,omitempty"`
	Template            Ref    `json:"template"`
	BootstrapTemplate   Ref    `json:"bootstrapTemplate,omitzero"`
	MachineImage        string `json:"machineImage,omitempty"`
	InstanceType        string `json:"instanceType,omitempty"`
	// HasImage and HasSize tell that the template's kind has such a field,
	// set or not.
	HasImage bool `json:"-"`
	HasSize  bool `json:"-"`
	Replicas int  `json:"replicas"`
	// UpToDate counts the machines that are as the MachineDeployment wants
	// them and available.
	UpToDate int `json:"upToDate"`
	// Old counts the machines that are still to go.
	Old int `json:"old"`
	// Complete tells that no rollout is under way; Waiting says what one
	// waits for.
	Complete bool   `json:"complete"`
	Waiting  string `json:"waiting,omitempty"`
	// Stall is what visibly holds the rollout up, zero when nothing does.
	Stall  Stall `json:"stall,omitzero"`
	Paused bool  `json:"paused"`
	// Hold is canary while a run holds the rollout at its first new machines,
	// and pause where one has paused the pool after a stall. Proved counts the
	// new machines that are as wanted and ready, ProvedSince tells since when the
	// latest of them is.
	Hold        string `json:"hold,omitempty"`
	Proved      int    `json:"proved,omitempty"`
	ProvedSince string `json:"provedSince,omitempty"`
	// Owner is the tool that manages the MachineDeployment, if it left a mark.
	Owner string `json:"owner,omitempty"`
}

// Stall is a capi.Stall as programs read it.
type Stall struct {
	// Cause is a stable code: see docs/stalls.md.
	Cause capi.StallCause `json:"cause"`
	// Kind, Namespace and Name are those of the object that says so, Condition
	// the type of the condition that it says it in, Message its own words.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Condition string `json:"condition,omitempty"`
	Message   string `json:"message,omitempty"`
	// Explanation is the cause in plain words, Next what to do about it.
	Explanation string `json:"explanation"`
	Next        string `json:"next,omitempty"`
}

// StallOf gives s as programs read it.
func StallOf(s capi.Stall) Stall {
	return Stall{s.Cause, s.Kind, s.Namespace, s.Name, s.Condition, s.Message, s.Explanation, s.Next}
}

func (s Scope) list(kind string) Selector {
	sel := Selector{Ref: Ref{Group: capi.Group, Kind: kind, Namespace: s.Namespace}, Slim: kind == "Machine"}
	if s.Cluster != "" {
		sel.Label, sel.LabelValue = capi.ClusterNameLabel, s.Cluster
	}
	return sel
}

// clusters selects the scope's clusters: one by name where that is possible.
func (s Scope) clusters() Selector {
	ref := Ref{Group: capi.Group, Kind: "Cluster", Namespace: s.Namespace}
	if s.Cluster != "" && s.Namespace != "" {
		ref.Name = s.Cluster
	}
	return Selector{Ref: ref}
}

// SurveyNeeds says what must be looked up next for Survey; empty means that
// snap is enough.
func SurveyNeeds(scope Scope, snap Snapshot) []Selector {
	var missing []Selector
	seen := map[Selector]bool{}
	need := func(sel Selector) {
		if !snap.Asked(sel) && !seen[sel] {
			seen[sel] = true
			missing = append(missing, sel)
		}
	}
	need(scope.clusters())
	for _, kind := range []string{"MachineDeployment", "MachineSet", "Machine"} {
		need(scope.list(kind))
	}
	if len(missing) > 0 {
		return missing
	}
	for _, c := range snap.List(scope.clusters()) {
		if ref, ok := capi.ReferenceAt(c, "spec", "controlPlaneRef"); ok && scope.takes(c) {
			need(Selector{Ref: ref, Optional: true})
		}
	}
	for _, md := range snap.List(scope.list("MachineDeployment")) {
		fields, err := capi.FieldsOf(md)
		if err != nil {
			continue
		}
		if ref, ok := capi.ReferenceAt(md, fields.InfrastructureRef...); ok {
			need(Selector{Ref: ref, Optional: true})
		}
	}
	return missing
}

func (s Scope) takes(cluster *unstructured.Unstructured) bool {
	return s.Cluster == "" || cluster.GetName() == s.Cluster
}

// HasCluster reports whether snap, which answers SurveyNeeds, holds a cluster
// of the scope.
func HasCluster(scope Scope, snap Snapshot) bool {
	return slices.ContainsFunc(snap.List(scope.clusters()), scope.takes)
}

// Survey tells how every MachineDeployment in scope stands, ordered by
// namespace, cluster and name.
func Survey(scope Scope, snap Snapshot) []PoolStatus {
	var out []PoolStatus
	machineSets, kept := snap.List(scope.list("MachineSet")), &capi.Kept{Machines: snap.kept(scope.list("Machine"))}
	for _, md := range snap.List(scope.list("MachineDeployment")) {
		fields, err := capi.FieldsOf(md)
		if err != nil {
			continue
		}
		st := PoolStatus{
			Namespace: md.GetNamespace(),
			Cluster:   capi.StringAt(md, "spec", "clusterName"),
			Name:      md.GetName(),
			Version:   capi.StringAt(md, fields.Version...),
			Owner:     capi.OwnerOf(md),
		}
		cluster, _ := snap.Object(Ref{Group: capi.Group, Kind: "Cluster", Namespace: st.Namespace, Name: st.Cluster})
		_, annotated := md.GetAnnotations()[capi.PausedAnnotation]
		st.Paused = annotated || capi.BoolAt(md, fields.Paused...)
		if cluster != nil {
			st.Paused = st.Paused || capi.BoolAt(cluster, "spec", "paused")
			if ref, ok := capi.ReferenceAt(cluster, "spec", "controlPlaneRef"); ok {
				st.ControlPlane = ref
				if cp, ok := snap.Object(ref); ok {
					st.ControlPlaneVersion = capi.ControlPlaneOf(cp).Version
				}
			}
		}
		st.Template, _ = capi.ReferenceAt(md, fields.InfrastructureRef...)
		st.BootstrapTemplate, _ = capi.ReferenceAt(md, fields.BootstrapRef...)
		if t, ok := snap.Object(st.Template); ok {
			var f capi.Field
			if f, st.HasImage = capi.ImageField(t); st.HasImage {
				st.MachineImage = f.Read(t)
			}
			if f, st.HasSize = capi.SizeField(t); st.HasSize {
				st.InstanceType = f.Read(t)
			}
		}
		rollout := capi.Judge(capi.Observed{MachineDeployment: md, MachineSets: machineSets, Kept: kept, Cluster: cluster})
		st.Replicas, st.UpToDate = rollout.Desired, rollout.NewReady
		st.Complete, st.Waiting, st.Old = rollout.Complete, rollout.Waiting, rollout.Old
		hold := holdOn(md, fields)
		if _, ok := hold[heldPaused]; ok {
			st.Hold = "pause"
		} else if _, ok := hold[heldMinReady]; ok {
			st.Hold = "canary"
			for _, m := range rollout.Machines {
				if m.Proved {
					st.Proved++
					st.ProvedSince = max(st.ProvedSince, m.ProvedSince)
				}
			}
		}
		if len(rollout.Stalls) > 0 {
			st.Stall = StallOf(rollout.Stalls[0])
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b PoolStatus) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
	return out
}
