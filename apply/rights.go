package apply

import (
	"context"
	"errors"
	"slices"
	"strings"

	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// Right is a verb on the objects of a kind in a namespace, or on the one
// object that Name names: what roles of Kubernetes allow.
type Right struct {
	Verb, Group, Kind, Namespace, Name string
	// Optional marks what only makes a message better; see plan.Selector.
	Optional bool
}

// Guard is a Reader that can be asked what its caller may do.
type Guard interface {
	// Denied gives those rights that the caller does not have, in their order,
	// each once for all names of one kind where none of them is allowed. The
	// error says that it could not be asked, and nothing of rights.
	Denied(ctx context.Context, rights []Right) ([]*ForbiddenError, error)
}

// BookkeepingRights gives the rights to what is written beside a plan when the
// journal is kept in the cluster, in the namespace of the Cluster; pools tells
// whether the plan has any, to be locked. It holds all of docs/bookkeeping.md
// that makes requests of its own.
func BookkeepingRights(namespace string, pools bool) []Right {
	var out []Right
	for _, verb := range []string{"get", "create", "update"} {
		out = append(out, Right{Verb: verb, Kind: "ConfigMap", Namespace: namespace})
	}
	if !pools {
		return out
	}
	for _, verb := range []string{"get", "create", "update", "delete"} {
		out = append(out, Right{Verb: verb, Group: "coordination.k8s.io", Kind: "Lease", Namespace: namespace})
	}
	return append(out, Right{Verb: "create", Kind: "Event", Namespace: namespace, Optional: true})
}

// ReadRights gives what looking at the objects of steps takes.
func ReadRights(steps []plan.Step) []Right {
	var out []Right
	for _, s := range steps {
		for _, sel := range s.Reads() {
			verb := "get"
			if sel.IsList() {
				verb = "list"
			}
			out = append(out, rightTo(verb, sel))
		}
	}
	return out
}

// ApplyRights gives what carrying steps out takes, all but the reads that
// compiling has made already: creates, patches, deletes, and the watches of
// waits (which begin with a list, of single objects too).
func ApplyRights(steps []plan.Step) []Right {
	var out []Right
	for _, s := range steps {
		switch {
		case s.Create != nil:
			ref := s.Create.Ref
			out = append(out, Right{Verb: "create", Group: ref.Group, Kind: ref.Kind, Namespace: ref.Namespace})
		case s.Patch != nil:
			out = append(out, rightTo("patch", plan.Selector{Ref: s.Patch.Target}))
		case s.Delete != nil:
			out = append(out, rightTo("delete", plan.Selector{Ref: s.Delete.Ref}))
		case s.Wait != nil:
			if s.Wait.Pause != nil {
				out = append(out, rightTo("patch", plan.Selector{Ref: s.Wait.Pause.Target}))
			}
			for _, sel := range s.Follows() {
				out = append(out, rightTo("list", sel), rightTo("watch", sel))
			}
		}
	}
	return out
}

func rightTo(verb string, s plan.Selector) Right {
	return Right{Verb: verb, Group: s.Group, Kind: s.Kind, Namespace: s.Namespace, Name: s.Name, Optional: s.Optional}
}

// ToDo gives the steps of p that are still to be carried out by what snap
// holds; waits always are.
func ToDo(p plan.Plan, snap plan.Snapshot) []plan.Step {
	var out []plan.Step
	for i, s := range p.Steps {
		if s.Wait != nil || p.Assess(i, snap).Verdict == plan.Pending {
			out = append(out, s)
		}
	}
	return out
}

// Expected gives the steps that a plan of up will have, as far as snap can
// tell where it is not enough to compile one. They serve to ask for rights
// and for nothing else.
func Expected(up schema.Upgrade, snap plan.Snapshot) []plan.Step {
	cluster := plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: up.Spec.Cluster.Namespace, Name: up.Spec.Cluster.Name}
	var out []plan.Step
	create := func(template plan.Ref) {
		out = append(out, plan.Step{Create: &plan.Create{Ref: template, Owner: plan.Owner{Ref: cluster}, BasedOn: plan.Source{Ref: template}}})
	}
	read := func(ref plan.Ref) {
		out = append(out, plan.Step{Facts: []plan.Fact{{Object: ref}}})
	}
	for _, p := range up.Spec.Pools {
		ref := plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: cluster.Namespace, Name: p.Name}
		wait := &plan.Wait{MachineDeployment: ref, Cluster: cluster}
		if md, ok := snap.Object(ref); ok {
			fields, err := capi.FieldsOf(md)
			if err != nil {
				continue
			}
			if infra, ok := capi.ReferenceAt(md, fields.InfrastructureRef...); ok {
				read(infra)
				if p.MachineImage != "" || p.InstanceType != "" || len(p.Infrastructure) > 0 {
					create(infra)
				}
				wait.InfraMachine = infra
				wait.InfraMachine.Kind = capi.ClonedKind(infra.Kind)
			}
			if bootstrap, ok := capi.ReferenceAt(md, fields.BootstrapRef...); ok {
				read(bootstrap)
				if len(p.Bootstrap) > 0 {
					create(bootstrap)
				}
				wait.BootstrapConfig = bootstrap
				wait.BootstrapConfig.Kind = capi.ClonedKind(bootstrap.Kind)
			}
		}
		out = append(out, plan.Step{Patch: &plan.Patch{Target: ref, Cluster: cluster}}, plan.Step{Wait: wait})
	}
	return out
}

// CheckRights asks r for rights and gives a *ForbiddenError for each that is
// missing; in lesser for those that are Optional. Where r cannot be asked, both
// are nil: then the requests themselves tell.
func CheckRights(ctx context.Context, r Reader, rights []Right) (missing, lesser error) {
	guard, ok := r.(Guard)
	if !ok {
		return nil, nil
	}
	ask := func(optional bool) error {
		asked := slices.DeleteFunc(slices.Clone(rights), func(r Right) bool { return r.Optional != optional })
		denied, err := guard.Denied(ctx, asked)
		if err != nil {
			return nil //nolint:nilerr // the requests themselves tell
		}
		var out []error
		for _, d := range denied {
			out = append(out, d)
		}
		return errors.Join(out...)
	}
	return ask(false), ask(true)
}

// ReviewRights asks r for the rights that carrying p out takes, where r can be
// asked, and gives the answer of the check CheckRights: all that are missing in
// one finding on the Cluster, a line of its message each. It gives none where
// there is nothing to do or nobody to ask. What is missing keeps nobody from planning.
func ReviewRights(ctx context.Context, r Reader, p plan.Plan, snap plan.Snapshot, beside []Right) []plan.Finding {
	guard, ok := r.(Guard)
	if !ok || p.IsEmpty() {
		return nil
	}
	rights := slices.DeleteFunc(append(ApplyRights(ToDo(p, snap)), beside...), func(r Right) bool { return r.Optional })
	f := plan.Finding{Code: plan.CheckRights, Severity: plan.Pass, Message: "you may do all that apply takes",
		Object: clusterOf(p)}
	denied, err := guard.Denied(ctx, rights)
	var missing []string
	names := map[string][]string{} // where the right is there for others of the kind
	for _, d := range denied {
		right := d.What()
		if !slices.Contains(missing, right) {
			missing = append(missing, right)
		}
		if d.Name != "" {
			names[right] = append(names[right], d.Name)
		}
	}
	for i, right := range missing {
		if of := names[right]; len(of) > 0 {
			missing[i] += ": " + plan.SomeOf(of)
		}
	}
	switch {
	case err != nil:
		f.Message, f.NotVerified = "not verified: "+err.Error(), true
	case len(missing) > 0:
		f.Severity = plan.Warn
		f.Message = "whoever made this plan may not apply it, which takes the right to:\n" + strings.Join(missing, "\n")
		f.Remedy = "have somebody apply who has them, or ask for them (" + roles + ")"
	}
	return []plan.Finding{f}
}

// forbiddenAlone gives the missing rights that err joins; none when it holds
// anything else.
func forbiddenAlone(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			part := forbiddenAlone(e)
			if part == nil {
				return nil
			}
			out = append(out, part...)
		}
		return out
	}
	var forbidden *ForbiddenError
	if errors.As(err, &forbidden) {
		return []error{forbidden}
	}
	return nil
}

// roles says where the rights stand, and what to change there.
const roles = "deploy/rbac.yaml; put the kinds of your providers there, in place of those of AWS and kubeadm"
