package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// Validate sends every write of p that is still to do as a dry run, which
// passes admission and validation on the server and is thrown away, and gives
// what the server said of each. A refusal is a finding of severity Block with
// the server's words, and so is a null in whose place the server would put a
// default. Where the caller may not write, or a webhook does not
// support dry runs, or the server does not answer, the finding is a warning
// that says what was not validated; of writes for which one right is missing,
// one finding tells. The plan itself does not change: findings are not signed.
//
// The error holds a *ForbiddenError for every write that the caller has no
// right to; who only plans can pass it over.
func Validate(ctx context.Context, c Cluster, p plan.Plan, snap plan.Snapshot, secrets plan.Secrets) ([]plan.Finding, error) {
	said := make([][]plan.Finding, len(p.Steps))
	missing := make([]*ForbiddenError, len(p.Steps))
	// A few writes are tried two at a time, many several.
	places := make(chan struct{}, 2+min(len(p.Steps)/stepsInTurn, dryRunsAtOnce-2))
	var under sync.WaitGroup
	for i := range p.Steps {
		places <- struct{}{}
		under.Go(func() {
			said[i], missing[i] = try(ctx, c, p, i, snap, secrets)
			<-places
		})
	}
	under.Wait()
	// What the server refuses stays with its object, for plan.StillBlocked too.
	var errs []error
	var lacking []string
	writes := map[string][]plan.Step{}
	for i, m := range missing {
		if m == nil {
			continue
		}
		errs = append(errs, m)
		right := m.What()
		if writes[right] == nil {
			lacking = append(lacking, right)
		}
		writes[right] = append(writes[right], p.Steps[i])
	}
	var findings []plan.Finding
	for _, right := range lacking {
		findings = append(findings, withoutRight(p, right, writes[right]))
	}
	return append(findings, slices.Concat(said...)...), errors.Join(errs...)
}

// withoutRight is the finding for writes that nobody could validate, since the
// right to make them is missing.
func withoutRight(p plan.Plan, right string, writes []plan.Step) plan.Finding {
	why := "whoever plans may not " + right + ", not even as a dry run"
	f := Unvalidated(writes[0], why)
	if len(writes) > 1 {
		var pools []string
		for _, s := range writes {
			if s.Pool != "" && !slices.Contains(pools, s.Pool) {
				pools = append(pools, s.Pool)
			}
		}
		f.Pool, f.Object = "", clusterOf(p)
		f.Message = fmt.Sprintf("%d writes were not validated by the server: %s", len(writes), why)
		switch len(pools) {
		case 0:
		case 1:
			f.Message += " (pool " + pools[0] + ")"
		default:
			f.Message += " (pools " + plan.SomeOf(pools) + ")"
		}
	}
	f.Remedy = "plan again with that right (" + roles + "), or have somebody plan who has it; otherwise what the server would refuse shows at the write"
	return f
}

func clusterOf(p plan.Plan) plan.Ref {
	return plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: p.Upgrade.Cluster.Namespace, Name: p.Upgrade.Cluster.Name}
}

const (
	// dryRunsAtOnce bounds the dry runs that are under way together: it is what
	// a server with few cores answers without getting slower for others.
	dryRunsAtOnce = 8
	// stepsInTurn is for how many steps of a plan one more may be.
	stepsInTurn = 32
)

// try sends the write of step i of p as a dry run, where there is one that is
// still to do. A missing right is told in place of a finding.
func try(ctx context.Context, c Cluster, p plan.Plan, i int, snap plan.Snapshot, secrets plan.Secrets) ([]plan.Finding, *ForbiddenError) {
	s := p.Steps[i]
	var target plan.Ref
	var verb string
	var putBack []plan.Pointer
	var err error
	switch {
	case s.Create == nil && s.Patch == nil && s.Delete == nil, p.Assess(i, snap).Verdict != plan.Pending:
		return nil, nil
	case s.Create != nil:
		target, verb = s.Create.Ref, "create"
		body, berr := s.Create.Body(snap, secrets)
		if berr != nil {
			return []plan.Finding{Unvalidated(s, "the new template cannot be made up here: "+berr.Error())}, nil //nolint:nilerr // the finding tells
		}
		if err = c.Create(ctx, body, DryRun); err == nil {
			putBack = p.PutBack(s, body)
		}
	case s.Patch != nil:
		target, verb = s.Patch.Target, "patch"
		patch, perr := p.DryRunPatch(i, snap)
		if perr != nil {
			return []plan.Finding{Unvalidated(s, perr.Error())}, nil
		}
		err = c.Patch(ctx, target, s.Patch.APIVersion, patch, DryRun)
	case s.Delete != nil:
		target, verb = s.Delete.Ref, "delete"
		live, _ := snap.Object(target)
		err = c.Delete(ctx, target, s.Delete.APIVersion, s.Delete.UID, live.GetResourceVersion(), DryRun)
	}
	switch {
	case len(putBack) > 0:
		return []plan.Finding{PutBack(s, putBack)}, nil
	case isMissingRight(err):
		return nil, forbidden(verb, target, err)
	}
	return []plan.Finding{validated(s, target, err)}, nil
}

// NotTried is what stands in place of Validate's findings where nobody asked the
// server, with the reason: one finding for all writes of p, none where there is
// nothing to write.
func NotTried(p plan.Plan, why string) []plan.Finding {
	if !slices.ContainsFunc(p.Steps, func(s plan.Step) bool { _, writes := s.Writes(); return writes }) {
		return nil
	}
	return []plan.Finding{{Code: plan.CheckServer, Severity: plan.Pass, NotVerified: true, Message: "not verified: " + why,
		Object: clusterOf(p)}}
}

// isMissingRight tells a missing right from the refusal of an admission
// webhook, which is Forbidden too (apiserver, admission plugin/webhook/errors,
// ToStatusErr: "admission webhook … denied the request").
func isMissingRight(err error) bool {
	return apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "denied the request")
}

func forbidden(verb string, target plan.Ref, err error) *ForbiddenError {
	out := &ForbiddenError{Verb: verb, Group: target.Group, Resource: strings.ToLower(target.Kind) + "s",
		Namespace: target.Namespace, Name: target.Name}
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind != "" {
		out.Resource = status.Status().Details.Kind // of a Forbidden, the resource
	}
	return out
}

func validated(s plan.Step, target plan.Ref, err error) plan.Finding {
	var we *WriteError
	switch {
	case err == nil:
		return plan.Finding{Code: plan.CheckServer, Severity: plan.Pass, Pool: s.Pool, Object: target,
			Message: fmt.Sprintf("the server accepts the write to %s (dry run)", target)}
	case !errors.As(err, &we):
		return Unvalidated(s, err.Error())
	case strings.Contains(we.Words, "does not support dry run"):
		f := Unvalidated(s, we.Words)
		f.Remedy = "ask the owner of the webhook whether it takes this write: if it refuses, that shows at the write, when earlier pools may have rolled"
		return f
	case we.Outcome == Unknown:
		f := Unvalidated(s, we.Words)
		f.Remedy = "wait until the API server answers, then plan again"
		return f
	}
	return plan.Finding{Code: plan.CheckServer, Severity: plan.Block, Pool: s.Pool, Object: target,
		Message: fmt.Sprintf("the server would refuse the write to %s: %s", target, we.Words),
		Remedy:  "correct the value in the upgrade file, or the policy that refuses it; then plan again"}
}

// PutBack is the finding for a create that removes fields in which the server
// puts a default again: the new template would not be what was reviewed.
func PutBack(s plan.Step, fields []plan.Pointer) plan.Finding {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Dotted()
	}
	return plan.Finding{Code: plan.CheckServer, Severity: plan.Block, Pool: s.Pool, Object: s.Create.Ref,
		Message: fmt.Sprintf("the server would put a default back into %s, in place of the null that the upgrade asks for: %s", s.Create.Ref, strings.Join(names, ", ")),
		Remedy:  "write the value that is wanted in place of null into the upgrade file, or leave the field out; then plan again"}
}

// Unvalidated is the finding for a write of s that nobody could validate.
func Unvalidated(s plan.Step, why string) plan.Finding {
	target, _ := s.Writes()
	return plan.Finding{Code: plan.CheckServer, Severity: plan.Warn, Pool: s.Pool, Object: target,
		Message: fmt.Sprintf("the write to %s was not validated by the server: %s", target, why),
		Remedy:  "plan again with the rights to create and patch (" + roles + "), or have somebody plan who has them; otherwise what the server would refuse shows at the write"}
}
