package render

import (
	"fmt"
	"slices"
	"strings"

	"nodepool/plan"
)

// blocks gives the findings that stop apply. A waived one does not.
func (v *view) blocks() []plan.Finding { return v.pick(plan.Block) }

// blocked holds also when only one of the two says so: neither is signed, and
// an approver must not be shown the friendlier one.
func (v *view) blocked() bool { return v.Blocked || len(v.blocks()) > 0 }

// pick gives the findings of a severity. A waived block counts as a warning.
func (v *view) pick(severity plan.Severity) []plan.Finding {
	if v.picked == nil {
		v.picked = map[plan.Severity][]plan.Finding{}
		for _, f := range v.Findings {
			s := f.Severity
			switch {
			case s == plan.Block && f.Waived != "":
				s = plan.Warn
			case s == plan.NotVerified: // listed among those that passed, with another mark
				s = plan.Pass
			}
			v.picked[s] = append(v.picked[s], f)
		}
	}
	return v.picked[severity]
}

// findings writes what the reviewer must know first: blocks, then warnings.
func (v *view) findings() {
	blocks, warnings := v.blocks(), v.pick(plan.Warn)
	switch {
	case len(blocks) == 1:
		v.put(alarm, 0, 2, "BLOCKED: nothing can be applied until this problem is solved.")
	case len(blocks) > 1:
		v.put(alarm, 0, 2, fmt.Sprintf("BLOCKED: nothing can be applied until these %d problems are solved.", len(blocks)))
	case v.Blocked:
		v.put(alarm, 0, 2, "BLOCKED: nothing can be applied. The plan does not say why; make it again.")
	}
	for _, f := range blocks {
		v.finding(red, "✗", f)
	}
	if v.blocked() {
		v.blank()
	}
	if len(warnings) > 0 {
		v.put(bold, 0, 2, count(len(warnings), "warning")+" to weigh")
		for _, f := range warnings {
			v.finding(yellow, "!", f)
		}
		v.blank()
	}
}

func (v *view) finding(s style, symbol string, f plan.Finding) {
	head := symbol + " " + f.Code
	switch {
	case !f.Object.IsZero() && f.Pool != "" && f.Pool != f.Object.Name:
		head += " (pool " + f.Pool + ", " + f.Object.String() + ")"
	case !f.Object.IsZero():
		head += " (" + f.Object.String() + ")"
	case f.Pool != "":
		head += " (pool " + f.Pool + ")"
	}
	v.put(s, 2, 4, head)
	message, items := linesOf(f)
	v.put(none, 4, 0, message)
	for _, item := range items {
		v.put(none, 6, 2, "- "+item)
	}
	if f.Remedy != "" {
		v.put(none, 4, 8, "Remedy: "+f.Remedy)
	}
	if f.Waived != "" {
		v.put(none, 4, 8, waived(f))
	}
	if c, known := plan.CheckOf(f.Code); known && f.Severity == plan.Block && f.Waived == "" {
		more := "More: nodepool explain " + f.Code
		if !c.Waivable() {
			more += ". It cannot be waived"
		}
		v.put(faint, 4, 8, more)
	}
}

// linesOf gives the message of a finding, and what it lists below. The words of
// other checks may come from a cluster, and break no line.
func linesOf(f plan.Finding) (message string, items []string) {
	if f.Code != plan.CheckRights {
		return f.Message, nil
	}
	lines := strings.Split(f.Message, "\n")
	return lines[0], lines[1:]
}

// inOneLine is the message with what it lists.
func inOneLine(f plan.Finding) string {
	message, items := linesOf(f)
	if len(items) == 0 {
		return message
	}
	return message + " " + strings.Join(items, "; ")
}

// waived tells for which reason a finding is let pass, and what it would do.
func waived(f plan.Finding) string {
	if f.Severity == plan.Block {
		return "Blocks, but is waived: " + f.Waived
	}
	return "Waived: " + f.Waived
}

// worst gives the gravest answer of every check that did not pass.
func (v *view) worst() map[string]plan.Severity {
	worst := map[string]plan.Severity{}
	for _, f := range v.pick(plan.Warn) {
		worst[f.Code] = plan.Warn
	}
	for _, f := range v.blocks() {
		worst[f.Code] = plan.Block
	}
	return worst
}

// passedOf counts the checks that passed and those that had nothing to look at,
// and names those that could not find out: nobody is to sign for a check that was
// not made.
func (v *view) passedOf(checks []string) string {
	worst := v.worst()
	var unverified []string
	looked := map[string]bool{}
	for _, f := range v.Findings {
		if f.NotVerified && worst[f.Code] == "" && !slices.Contains(unverified, f.Code) {
			unverified = append(unverified, f.Code)
		}
		looked[f.Code] = looked[f.Code] || !f.Idle()
	}
	passed, idle := 0, 0
	for _, c := range checks {
		switch {
		case !looked[c]: // plans of older releases have no finding for it
			idle++
		case worst[c] == "" && !slices.Contains(unverified, c):
			passed++
		}
	}
	s := fmt.Sprintf("%d of %s passed", passed, count(len(checks), "check"))
	if idle > 0 {
		s += fmt.Sprintf(", %d had nothing to check", idle)
	}
	if len(unverified) > 0 {
		s += "; not verified: " + list(unverified)
	}
	return s
}

// asked gives the codes of all checks: those of the plan, and those that were
// answered beside it, as the server's dry runs are.
func (v *view) asked(checks []string) []string {
	all := slices.Clone(checks)
	for _, f := range v.Findings {
		if !slices.Contains(all, f.Code) {
			all = append(all, f.Code)
		}
	}
	return all
}

// checks counts the answers of the checks that the step names. A check that
// answered for one pool with a warning and for another with a pass has not
// passed.
func (v *view) checks(p plan.Preflight) string {
	worst := v.worst()
	s := v.passedOf(v.asked(p.Checks))
	for _, f := range []struct {
		severity plan.Severity
		word     string
	}{{plan.Block, "blocking"}, {plan.Warn, "warning"}} {
		var codes []string
		seen := map[string]bool{}
		for _, found := range v.Findings {
			if worst[found.Code] == f.severity && !seen[found.Code] {
				seen[found.Code] = true
				codes = append(codes, found.Code)
			}
		}
		if len(codes) > 0 {
			s += "; " + f.word + ": " + list(codes)
		}
	}
	var spare []string
	for _, w := range v.SpareWaivers() {
		if !slices.Contains(spare, w.Check) {
			spare = append(spare, w.Check)
		}
	}
	if len(spare) > 0 {
		s += "; waived, not needed: " + list(spare)
	}
	return s
}

// verdict is the mark of a finding that passed, is not verified, or had nothing
// to look at.
func verdict(f plan.Finding) string {
	switch {
	case f.NotVerified:
		return "?"
	case f.Idle():
		return "·"
	}
	return "✓"
}

// passed lists the checks that passed or could not find out, with what they said.
func (v *view) passed(p plan.Preflight) {
	said := map[string]bool{}
	for _, f := range v.pick(plan.Pass) {
		said[f.Code] = true
		line := verdict(f) + " " + f.Code
		if f.Pool != "" {
			line += " (pool " + f.Pool + ")"
		}
		if f.Message != "" {
			line += ": " + f.Message
		}
		v.put(faint, body, 4, line)
	}
	for _, f := range v.Findings {
		said[f.Code] = true
	}
	for _, c := range p.Checks {
		if !said[c] {
			v.put(faint, body, 4, "· "+c+": nothing to check")
		}
	}
	for _, w := range v.SpareWaivers() {
		v.put(faint, body, 4, "· "+w.Check+": waived by pool "+w.Pool+", not needed: "+w.Reason)
	}
}
