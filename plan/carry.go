package plan

import (
	"slices"
	"strings"
)

// LookedAtWorkload reports whether p's findings tell of the workload cluster, so
// that whoever carries p out looks at it as well.
func (p Plan) LookedAtWorkload() bool {
	return slices.ContainsFunc(p.Findings, func(f Finding) bool { return slices.Contains(workloadCodes, f.Code) })
}

// The checks whose answers come from elsewhere than the management cluster's
// objects, so that a fresh preflight may lack them.
var (
	workloadCodes = []string{CheckWorkload, CheckWorkloadNodes, CheckWorkloadBudgets, CheckWorkloadPods, CheckWorkloadData, CheckWorkloadPending}
	providerCodes = []string{CheckImage, CheckImageExists, CheckImageType, CheckInstanceType, CheckQuota}
	askedCodes    = slices.Concat(workloadCodes, providerCodes, []string{CheckContract, CheckServer})
)

// StillBlocked gives p, a plan whose checks were made now, with what blocked it
// when it was saved and was not looked at again: a block ends by an answer, and
// not by nobody asking. NoProvider tells that somebody wants the provider not to
// be asked, which is the way past an answer of it that is wrong: then what it
// said only warns.
func (p Plan) StillBlocked(saved Plan, noProvider bool) Plan {
	p.Findings = slices.Clone(p.Findings)
	now := p.Findings
	for _, f := range saved.Findings {
		if !f.blocks() || !slices.Contains(askedCodes, f.Code) || !p.touches(f) {
			continue
		}
		again, why := answered(f, now)
		if again {
			continue
		}
		f.Message = strings.TrimSuffix(f.Message, ".") + ". This was found when the plan was saved, and nobody has looked again: " + why
		switch {
		case noProvider && slices.Contains(providerCodes, f.Code):
			f.Severity = Warn
			f.Remedy = "go on only if what the provider said then was wrong: with --no-provider it does not block"
		case slices.Contains(workloadCodes, f.Code):
			f.Remedy = "make the plan again with the look at the workload cluster (--workload), once what it found is mended"
		default:
			f.Remedy = "make the plan again where this can be looked at, once it is mended"
		}
		p.Blocked = p.Blocked || f.blocks()
		p.Findings = append(p.Findings, f)
	}
	p.Findings = inOrder(p.Findings)
	return p
}

// SpareWaiver is a waiver of which a plan had no need.
type SpareWaiver struct{ Pool, Check, Reason string }

// SpareWaivers gives the waivers of p's upgrade that no finding of p needed, in
// the order of the upgrade. They stay good: the same check may find something
// when it is made again.
func (p Plan) SpareWaivers() []SpareWaiver {
	up, err := UpgradeOf(p)
	if err != nil || p.Upgrade.Purpose != ForUpgrade {
		return nil
	}
	needed := map[[2]string]bool{}
	for _, f := range p.Findings {
		if f.Severity != Pass {
			needed[[2]string{f.Pool, f.Code}] = true
		}
	}
	var out []SpareWaiver
	for _, pool := range up.Spec.Pools {
		for _, w := range pool.Waive {
			if !needed[[2]string{pool.Name, w.Check}] && !needed[[2]string{"", w.Check}] {
				out = append(out, SpareWaiver{Pool: pool.Name, Check: w.Check, Reason: w.Reason})
			}
		}
	}
	return out
}

// touches reports whether p does something that a finding is about.
func (p Plan) touches(f Finding) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return f.Pool == "" || s.Pool == f.Pool })
}

// answered reports whether findings made now answer what f did; why says what
// stands in place of an answer.
func answered(f Finding, now []Finding) (again bool, why string) {
	of := func(code string) func(Finding) bool {
		return func(g Finding) bool {
			return g.Code == code && g.Pool == f.Pool && (code != CheckServer || g.Object == f.Object)
		}
	}
	why = "the check was not made"
	if i := slices.IndexFunc(now, func(g Finding) bool { return g.Code == CheckWorkload && g.Severity == Warn }); i >= 0 && slices.Contains(workloadCodes, f.Code) {
		why = now[i].Message
	}
	unverified := func(codes ...string) bool {
		return slices.ContainsFunc(codes, func(code string) bool {
			i := slices.IndexFunc(now, func(g Finding) bool { return of(code)(g) && g.NotVerified })
			if i >= 0 {
				why = strings.TrimPrefix(now[i].Message, "not verified: ")
			}
			return i >= 0
		})
	}
	if unverified(f.Code) {
		return false, why
	}
	if f.Code == CheckServer { // what is said of many writes at once answers for none of them
		var untried []string
		for _, g := range now {
			if g.Code == CheckServer && g.Pool == "" && (g.Severity == Warn || g.NotVerified) {
				untried = append(untried, strings.TrimPrefix(g.Message, "not verified: "))
			}
		}
		if len(untried) > 0 {
			why = strings.Join(untried, "; ")
		}
	}
	i := slices.IndexFunc(now, of(f.Code))
	switch {
	case i < 0:
		return false, why
	case now[i].Severity != Warn:
		return true, ""
	case f.Code == CheckServer: // it warns of what was not tried
		return false, now[i].Message
	case f.Code == CheckImage: // it warns where nobody reports what the image carries
		return !unverified(CheckImageExists), why
	}
	return true, ""
}
