package render

import (
	"fmt"
	"strings"

	"nodepool/plan"
)

// heading names what the plan is for.
func (v *view) heading(name func(string) string) string {
	cluster := name(slashed(v.Upgrade.Cluster.Namespace, v.Upgrade.Cluster.Name))
	what := "Upgrade " + name(v.Upgrade.Name)
	switch {
	case v.Upgrade.Purpose == plan.ForPrune:
		what = "Prune"
	case v.Upgrade.Purpose == plan.ForAbandon:
		what = "Abandon the run of upgrade " + name(v.Upgrade.Name)
	case v.Upgrade.Rollback != "":
		what = "Rollback of upgrade " + name(v.Upgrade.Name)
	}
	return what + " of cluster " + cluster
}

// proof gives the finding that says why a template can go.
func (v *view) proof(d plan.Delete) string {
	for _, f := range v.Findings {
		if f.Code == plan.CheckUnused && f.Object == d.Ref {
			return f.Message
		}
	}
	var kinds []string
	for _, kind := range d.UnusedBy {
		kinds = append(kinds, kind.Kind)
	}
	return "goes if no " + strings.Join(kinds, ", ") + " refers to it"
}

// stays gives the findings about what is not deleted.
func (v *view) stays() []plan.Finding {
	var out []plan.Finding
	for _, f := range v.Findings {
		if f.Code == plan.CheckKept || f.Code == plan.CheckForeign {
			out = append(out, f)
		}
	}
	return out
}

// kept writes which templates stay, and why.
func (v *view) kept() {
	stays := v.stays()
	if len(stays) == 0 {
		return
	}
	v.put(bold, 0, 2, "Kept")
	for _, f := range stays {
		line := f.Message
		if f.Code == plan.CheckKept {
			line = f.Object.String() + " (pool " + f.Pool + "): " + f.Message
		}
		v.put(none, 2, 4, line)
	}
	v.blank()
}

// pruned says in one paragraph what a prune plan does.
func (s *sheet) pruned() string {
	switch {
	case s.blocked():
		return "⛔ **Blocked: nothing can be applied.**"
	case s.IsEmpty():
		return "**Nothing to delete.** " + nothingUnused
	}
	return fmt.Sprintf("This plan deletes **%s** that nodepool made and nothing refers to any more. No machine is touched.",
		count(s.totals().deletes, "template"))
}

const nothingUnused = "Every template that nodepool made for this cluster is in use or kept."

// deletions lists what a prune plan deletes, with the proof of each.
func (s *sheet) deletions() string {
	if s.IsEmpty() {
		return ""
	}
	var b strings.Builder
	b.WriteString("### To delete\n\n")
	for _, step := range s.Steps {
		if step.Delete != nil {
			fmt.Fprintf(&b, "- %s %s (pool %s): %s\n", prose(step.Delete.Ref.Kind),
				code(slashed(step.Delete.Ref.Namespace, step.Delete.Ref.Name)), code(step.Pool), s.said(s.proof(*step.Delete)))
		}
	}
	b.WriteString("\nEach of these kinds is looked at again right before the delete, which names the template's UID and resource version.\n")
	return b.String()
}

// keptList lists what stays, collapsed.
func (s *sheet) keptList() string {
	stays := s.stays()
	if len(stays) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("<details>\n<summary>Kept</summary>\n\n")
	for _, f := range stays {
		if f.Code == plan.CheckKept {
			fmt.Fprintf(&b, "- %s %s (pool %s): %s\n", prose(f.Object.Kind), code(slashed(f.Object.Namespace, f.Object.Name)), code(f.Pool), s.said(f.Message))
		} else {
			b.WriteString("- " + s.said(f.Message) + "\n")
		}
	}
	b.WriteString("\n</details>\n")
	return b.String()
}
