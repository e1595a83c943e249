package offline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/plan"
)

// Validate holds every write of p that is still to do against the schemas of
// its kind in the manifests, as apply.Validate has a server do. What does not
// fit is a finding of severity Block that names the fields and no values. A
// kind whose schema the manifests do not hold is a warning. Webhooks and rules
// in CEL are a server's to ask, so a plan that writes has a warning always.
func (c *Cluster) Validate(p plan.Plan, snap plan.Snapshot, secrets plan.Secrets) []plan.Finding {
	var out []plan.Finding
	var without []string
	for i, s := range p.Steps {
		ref, writes := s.Writes()
		if !writes || p.Assess(i, snap).Verdict != plan.Pending {
			continue
		}
		f, err := c.validate(p, s, snap, secrets)
		var none *errNoSchema
		switch {
		case !errors.As(err, &none):
			if err != nil {
				f = apply.Unvalidated(s, err.Error())
			}
			out = append(out, f)
		case !slices.Contains(without, none.why):
			without = append(without, none.why)
			out = append(out, plan.Finding{Code: plan.CheckServer, Severity: plan.Warn,
				Message: "writes of the kind " + ref.Kind + " were not validated: " + none.why,
				Remedy:  "make the manifests with nodepool snapshot, or add what kubectl get crd -o yaml " + resource(ref) + " prints"})
		}
	}
	if len(p.Steps) > 0 {
		out = append(out, plan.Finding{Code: plan.CheckServer, Severity: plan.Warn,
			Message: "no write was validated by a server, since this plan was made from manifests: what the server or a webhook would refuse shows only at the write",
			Remedy:  "plan on the live cluster before the review, which gives the same digest as long as the manifests match the cluster"})
	}
	return out
}

func (c *Cluster) validate(p plan.Plan, s plan.Step, snap plan.Snapshot, secrets plan.Secrets) (plan.Finding, error) {
	var problems []problem
	var putBack []plan.Pointer
	if s.Create != nil {
		k, err := c.schemaFor(s.Create.Ref, s.Create.APIVersion)
		if err != nil {
			return plan.Finding{}, err
		}
		body, sealed, err := s.Create.Outline(snap, secrets)
		if err != nil {
			return plan.Finding{}, err
		}
		var made *unstructured.Unstructured
		made, problems = k.check(body, sealed)
		putBack = p.PutBack(s, made)
	} else {
		k, err := c.schemaFor(s.Patch.Target, s.Patch.APIVersion)
		if err != nil {
			return plan.Finding{}, err
		}
		live, _ := snap.Object(s.Patch.Target)
		wanted, err := s.Patch.Result(live)
		if err != nil {
			return plan.Finding{}, err
		}
		// What was wrong before the write does not stand in its way
		// (CRDValidationRatcheting), and the snapshot seals parts of it.
		_, before := k.check(live, nil)
		_, problems = k.check(wanted, nil)
		problems = slices.DeleteFunc(problems, func(p problem) bool { return slices.Contains(before, p) })
	}
	ref, _ := s.Writes()
	switch {
	case len(problems) > 0:
		words := make([]string, len(problems))
		for i, problem := range problems {
			words[i] = problem.String()
		}
		return plan.Finding{Code: plan.CheckServer, Severity: plan.Block, Pool: s.Pool, Object: ref,
			Message: fmt.Sprintf("the server would refuse the write to %s, by its schema in the manifests: %s", ref, strings.Join(words, "; ")),
			Remedy:  "correct the field in the upgrade file, then plan again"}, nil
	case len(putBack) > 0:
		return apply.PutBack(s, putBack), nil
	}
	return plan.Finding{Code: plan.CheckServer, Severity: plan.Pass, Pool: s.Pool, Object: ref,
		Message: fmt.Sprintf("the write to %s fits its schema in the manifests", ref)}, nil
}
