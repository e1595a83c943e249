package render

import (
	"fmt"
	"slices"
	"strings"

	"nodepool/plan"
)

// risks writes what the reviewer must weigh: blocks, then warnings.
func (s *sheet) risks() string {
	var b strings.Builder
	if blocks := s.blocks(); len(blocks) > 0 {
		fmt.Fprintf(&b, "### ⛔ Blocked: %s to solve first\n\n", count(len(blocks), "problem"))
		s.findingList(&b, blocks)
	} else if s.Blocked {
		b.WriteString("### ⛔ Blocked\n\nThe plan does not say why; make it again.\n\n")
	}
	if warnings := s.pick(plan.Warn); len(warnings) > 0 {
		fmt.Fprintf(&b, "### ⚠️ %s to weigh\n\n", count(len(warnings), "warning"))
		s.findingList(&b, warnings)
	}
	return b.String()
}

// findingList writes findings as a list; what several pools share is said
// once.
func (s *sheet) findingList(b *strings.Builder, findings []plan.Finding) {
	for _, g := range s.shared(findings, s.terse) {
		message, items := linesOf(g.Finding)
		fmt.Fprintf(b, "- **%s**%s: %s\n", code(g.Code), g.where(), s.said(message))
		for _, item := range items {
			b.WriteString("  - " + s.said(item) + "\n")
		}
		if g.Remedy != "" {
			b.WriteString("  - **Remedy:** " + s.said(g.Remedy) + "\n")
		}
		if g.Waived != "" {
			word := "Waived"
			if g.Severity == plan.Block {
				word = "Blocks, but is waived"
			}
			b.WriteString("  - **" + word + ":** " + s.said(g.Waived) + "\n")
		}
		if c, known := plan.CheckOf(g.Code); known && g.Severity == plan.Block && g.Waived == "" {
			more := "  - **More:** " + code("nodepool explain "+g.Code)
			if !c.Waivable() {
				more += ". It cannot be waived"
			}
			b.WriteString(more + "\n")
		}
	}
	b.WriteByte('\n')
}

// said gives a message as prose, cut where the plan is too long.
func (s *sheet) said(message string) string {
	if message = Escape(message); s.words > 0 && Columns(message) > s.words {
		s.wasCut = true
		message = Truncate(message, s.words)
	}
	if strings.Trim(message, " ") == "" {
		return "(no words)"
	}
	return prose(message)
}

// common is a finding that one or more pools share.
type common struct {
	plan.Finding
	pools []string
}

// where names the object and the pools of a finding.
func (c common) where() string {
	var out []string
	switch pools := codes(c.pools); {
	case len(pools) > 1:
		out = append(out, "pools "+list(pools))
	case len(pools) == 1 && c.pools[0] != c.Object.Name:
		out = append(out, "pool "+pools[0])
	}
	if !c.Object.IsZero() {
		out = append(out, prose(c.Object.Kind)+" "+code(slashed(c.Object.Namespace, c.Object.Name)))
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// thisPool stands for the name of each of several pools.
const thisPool = "‹pool›"

// shared puts findings of one content together. With alike, findings that
// differ in nothing but the name of their pool are of one content.
func (s *sheet) shared(findings []plan.Finding, alike bool) []common {
	// The pool of a finding is often told by its object alone.
	poolOf := func(f plan.Finding) string {
		if f.Pool == "" && f.Object.Kind == "MachineDeployment" {
			return f.Object.Name
		}
		return f.Pool
	}
	generic := func(f plan.Finding) plan.Finding {
		if pool := poolOf(f); alike && pool != "" {
			f.Message, f.Remedy = replaceName(f.Message, pool), replaceName(f.Remedy, pool)
			if f.Object.Name == pool {
				f.Object.Name = thisPool
			}
		}
		f.Pool = ""
		return f
	}
	var out []common
	at := map[plan.Finding]int{}
	for _, f := range findings {
		g := generic(f)
		i, ok := at[g]
		if !ok {
			i = len(out)
			at[g] = i
			out = append(out, common{Finding: f})
		}
		if pool := poolOf(f); pool != "" && !slices.Contains(out[i].pools, pool) {
			out[i].pools = append(out[i].pools, pool)
		}
		if len(out[i].pools) > 1 {
			out[i].Finding = g
		}
	}
	return out
}

// replaceName puts thisPool for name wherever name stands as a whole word.
func replaceName(s, name string) string {
	part := func(b byte) bool {
		return b == '-' || b == '.' || b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
	}
	var b strings.Builder
	for from := 0; ; {
		i := strings.Index(s[from:], name)
		if i < 0 {
			b.WriteString(s[from:])
			return b.String()
		}
		i += from
		end := i + len(name)
		b.WriteString(s[from:i])
		rest := strings.TrimPrefix(s[end:], ".")
		stop := rest == "" || rest[0] == ' ' // the name ends the sentence
		if i > 0 && part(s[i-1]) || !stop && part(s[end]) {
			b.WriteString(name)
		} else {
			b.WriteString(thisPool)
		}
		from = end
	}
}

// passedChecks writes the checks that passed, collapsed.
func (s *sheet) passedChecks() string {
	var checks []string
	for _, step := range s.Steps {
		if step.Preflight != nil {
			checks = append(checks, step.Preflight.Checks...)
		}
	}
	passed := s.pick(plan.Pass)
	if len(checks)+len(passed) == 0 {
		return ""
	}
	said := map[string]bool{}
	for _, f := range s.Findings {
		said[f.Code] = true
	}
	var b strings.Builder
	head := "Checks that passed"
	if len(checks) > 0 {
		head = s.passedOf(s.asked(checks))
	}
	b.WriteString("<details>\n<summary>" + head + "</summary>\n\n")
	if s.terse {
		pools := map[string]int{}
		var order []string
		for _, f := range passed {
			if f.Idle() {
				said[f.Code] = false // told below
				continue
			}
			if pools[f.Code]++; pools[f.Code] == 1 {
				order = append(order, f.Code)
			}
		}
		for _, c := range order {
			b.WriteString("- " + code(c) + ": " + count(pools[c], "time") + "\n")
		}
	} else {
		for _, g := range s.shared(passed, true) {
			b.WriteString("- " + code(g.Code) + g.where())
			if g.Message != "" {
				b.WriteString(": " + s.said(g.Message))
			}
			b.WriteByte('\n')
		}
	}
	for _, c := range checks {
		if !said[c] {
			b.WriteString("- " + code(c) + ": nothing to check\n")
		}
	}
	for _, w := range s.SpareWaivers() {
		b.WriteString("- " + code(w.Check) + ": waived by pool " + code(w.Pool) + ", not needed: " + s.said(w.Reason) + "\n")
	}
	b.WriteString("\n</details>\n")
	return b.String()
}
