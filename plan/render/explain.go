package render

import (
	"fmt"
	"io"
	"strings"

	"nodepool/plan"
)

// part is one heading and one text of the description of a check.
type part struct{ name, text string }

func partsOf(c plan.Check) []part {
	all := []part{
		{"Asks", c.Asks},
		{"Means", c.Means},
		{"Why", c.Why},
		{"Source", c.Source},
		{"Fix", c.Fix},
		{"Severity", severityOf(c)},
	}
	var out []part
	for _, p := range all {
		if p.text != "" {
			out = append(out, p)
		}
	}
	return out
}

// severityOf says what an answer of the check can do to an upgrade.
func severityOf(c plan.Check) string {
	switch {
	case c.Worst == plan.Pass:
		return "It only informs."
	case c.OfPrune:
		return "It warns, and never blocks."
	case c.Worst == plan.Warn:
		return "It warns, and never blocks. A waiver puts your reason beside the warning."
	case c.OfCluster:
		return fmt.Sprintf("It can block. It is about the whole cluster, so every pool of the upgrade must waive it: spec.defaults.waive: [{check: %s, reason: WHY}].", c.Code)
	case c.FirmIn != "":
		return fmt.Sprintf("It can block. The pool can waive it: waive: [{check: %s, reason: WHY}]. It cannot be waived %s.", c.Code, c.FirmIn)
	case c.Waivable():
		return fmt.Sprintf("It can block. The pool can waive it: waive: [{check: %s, reason: WHY}].", c.Code)
	}
	return "It can block, and cannot be waived: " + c.Firm + "."
}

// Explain writes what one check is about. The error is that of w.
func Explain(w io.Writer, c plan.Check, o Options) error {
	p := page{o: o}
	p.put(bold, 0, 2, c.Code)
	for _, part := range partsOf(c) {
		p.put(none, 2, 10, fmt.Sprintf("%-10s", part.name+":")+part.text)
	}
	_, err := io.WriteString(w, p.String())
	return err
}

// ExplainAll writes one line for each check. The error is that of w.
func ExplainAll(w io.Writer, checks []plan.Check, o Options) error {
	p := page{o: o}
	longest := 0
	for _, c := range checks {
		longest = max(longest, len(c.Code))
	}
	for _, c := range checks {
		p.put(none, 0, longest+9, fmt.Sprintf("%-*s  %-5s  %s", longest, c.Code, c.Worst, c.Asks))
	}
	p.blank()
	p.put(faint, 0, 0, "The word behind the code is the gravest answer that a check can give. nodepool explain CODE tells more.")
	_, err := io.WriteString(w, p.String())
	return err
}

// ExplainMarkdown writes all checks as one page. The error is that of w.
func ExplainMarkdown(w io.Writer, checks []plan.Check) error {
	var b strings.Builder
	b.WriteString("# Preflight checks\n\n")
	b.WriteString("What `nodepool plan` looks at before anything is written, and `nodepool apply` again as its first step. `nodepool explain CODE` prints the same texts. " +
		"A check passes, warns or blocks, or is not verified; one that finds nothing to look at in any pool says \"nothing to check\". Neither of these is counted as passed. A plan that is blocked is shown and saved, and is not applied as long as what blocks it stands (exit code 3). " +
		"Where a check can be waived, a pool does so with a reason, which stands in the plan and is signed with it. One about the whole cluster must be waived by every pool, in spec.defaults for instance. A waiver lets nodepool write; it does not change what Cluster API or the provider will do. " +
		"In JSON and YAML a waived block stays of severity `block` and has `waived` beside it: what blocks is `.findings[] | select(.severity == \"block\" and (has(\"waived\") | not))`, and whether anything does is `.blocked`.\n\n" +
		"```yaml\npools:\n  - name: aws-example-md-0\n    waive: [{check: field-managers, reason: \"auto-sync is off until Monday, CHG-4711\"}]\n```\n\n")
	b.WriteString("| check | asks | can at worst | can be waived |\n|---|---|---|---|\n")
	for _, c := range checks {
		waive := "yes"
		switch {
		case c.Worst == plan.Pass, c.OfPrune:
			waive = ""
		case !c.Waivable():
			waive = "no"
		case c.FirmIn != "":
			waive = "in part"
		}
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s |\n", c.Code, c.Code, c.Asks, c.Worst, waive)
	}
	for _, c := range checks {
		fmt.Fprintf(&b, "\n## %s\n\n", c.Code)
		for _, part := range partsOf(c) {
			fmt.Fprintf(&b, "**%s.** %s\n\n", part.name, strings.ReplaceAll(part.text, "<", "&lt;"))
		}
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}
