package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"nodepool/plan"
)

// limit is how many bytes a plan takes as Markdown where that can be had:
// GitHub accepts 65,536 characters in a comment, and who files the ticket has
// something to say as well.
const limit = 60000

// brevity says what a long plan leaves out. The zero brevity leaves nothing out; no
// limit where a number is 0. Whatever is cut, every pool, every risk and the
// path of every change is there.
type brevity struct {
	// terse counts the checks that passed instead of quoting them, and tells
	// pools of the same changes in one section.
	terse bool
	// rows bounds a value, columns a line of it, words the message of a
	// finding, counted in columns.
	rows, columns, words int
	// bare leaves the values out.
	bare bool
	// tooLong says so at the top: nothing more can be left out.
	tooLong bool
}

var brevities = []brevity{
	{},
	{terse: true},
	{terse: true, rows: 300, columns: 2000, words: 2000},
	{terse: true, rows: 100, columns: 500, words: 1000},
	{terse: true, rows: 40, columns: 250, words: 1000},
	{terse: true, rows: 12, columns: 160, words: 400},
	{terse: true, rows: 4, columns: 80, words: 200},
	{terse: true, rows: 2, columns: 40, words: 200},
	{terse: true, bare: true, words: 120},
	{terse: true, bare: true, words: 120, tooLong: true},
}

// Markdown writes p as GitHub-flavoured Markdown for a ticket of a change
// review: what it does in one paragraph, what stands in its way, one table over
// all pools, and collapsed, the changes of each pool and the checks that
// passed. Of the Options, Full and Previews count: each step's facts and the
// objects that are written follow then, collapsed.
//
// Text of the cluster and of the upgrade can make no markup and stands where
// GitHub makes no link, mention or reference of it. The result stays below
// 60,000 bytes: a longer plan has pools of the same changes told together, and
// then long values cut, which it says. A plan that is too long even without
// its values says that, and is written whole, and with Full nothing is left out
// or told together. The error is that of w.
func Markdown(w io.Writer, p plan.Plan, o Options) error {
	var text string
	attempts := brevities
	if o.Full {
		attempts = []brevity{{}, {tooLong: true}}
	}
	found := &index{}
	fits := func(c brevity) bool {
		s := &sheet{view: view{page: page{o: o}, Plan: p, index: found}, brevity: c}
		text = s.document()
		return len(text) < limit && !s.abandoned
	}
	for i, c := range attempts {
		last := len(attempts) - 1
		if i == 1 && i < last && !fits(attempts[last-1]) {
			fits(attempts[last]) // nor does what is between them
			break
		}
		if fits(c) {
			break
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

// sheet is one attempt at a plan in Markdown.
type sheet struct {
	view
	brevity
	wasCut bool
	// abandoned says that the sections alone are far too long, so that the
	// rest of them was not written.
	abandoned bool
}

// document puts the parts together. The parts that may be cut are written
// first: the note that says so stands above them.
func (s *sheet) document() string {
	sections, passed := "", ""
	switch {
	case s.Upgrade.Purpose == plan.ForPrune:
		sections, passed = s.deletions(), s.keptList()
	case s.IsEmpty():
		passed = s.passedChecks()
	default:
		sections, passed = s.sections(), s.passedChecks()
	}
	if s.abandoned {
		return ""
	}
	risks := s.risks()
	var b strings.Builder
	part := func(text string) {
		if text != "" {
			b.WriteString(strings.TrimRight(text, "\n") + "\n\n")
		}
	}
	part("## " + s.heading(code))
	if s.Digest != "" {
		part("Digest: " + code(string(s.Digest)))
	}
	if s.Upgrade.Rollback != "" {
		part("Takes back: " + code(string(s.Upgrade.Rollback)))
	}
	if s.Upgrade.Purpose == plan.ForPrune {
		part(s.pruned())
	} else {
		part(s.summary())
	}
	if s.wasCut {
		part("Long text is cut here, marked by `…`. To read all of it: `nodepool show -o json FILE`")
	}
	if s.tooLong {
		part("**This plan is too long for a comment on GitHub: attach it as a file.**")
	}
	part(risks)
	if !s.IsEmpty() && s.Upgrade.Purpose != plan.ForPrune {
		part(s.table())
	}
	part(sections)
	part(passed)
	if !s.IsEmpty() && !s.blocked() && s.Digest != "" {
		command := "apply -f FILE"
		switch s.Upgrade.Purpose {
		case plan.ForUpgrade:
		case plan.ForAbandon:
			command += " --abandon"
		case plan.ForRollback:
			command = "rollback -f FILE"
		case plan.ForPrune:
			command = "apply --plan FILE"
		}
		part("To apply this plan and no other:\n\n" + fenced("", []string{"nodepool " + command + " --expect " + Escape(string(s.Digest))}))
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// summary says in one paragraph what the plan does.
func (s *sheet) summary() string {
	what := s.deeds()
	switch n := len(s.blocks()); {
	case s.blocked() && s.IsEmpty():
		return "⛔ **Blocked: nothing can be applied.**"
	case n > 0:
		return fmt.Sprintf("⛔ **Blocked by %s: nothing can be applied.** Without %s, the plan %s.",
			count(n, "problem"), map[bool]string{true: "it", false: "them"}[n == 1], what)
	case s.blocked():
		return "⛔ **Blocked: nothing can be applied.** Otherwise, the plan " + what + "."
	case s.IsEmpty() && s.Upgrade.Rollback != "":
		return "**No changes.** Nothing that the plan " + code(s.Upgrade.Rollback.Short()) + " changed is left to take back."
	case s.IsEmpty():
		line := "**No changes.** "
		switch names := s.poolNames(); len(names) {
		case 0:
			line += "Everything is"
		case 1:
			line += "Pool " + code(names[0]) + " is"
		default:
			line += "Pools " + list(codes(names)) + " are"
		}
		return line + " up to date with upgrade " + code(s.Upgrade.Name) + "."
	}
	what = "This plan " + what + "."
	if n := len(s.pick(plan.Warn)); n > 0 {
		return what + " ⚠️ **" + count(n, "warning") + " to weigh.**"
	}
	return what + " No check blocks it, and none warns."
}

// deeds gives what the plan does as the end of a sentence: "takes 2 pools from
// v1.34.3 to v1.35.2, one after the other, and replaces 23 machines; …".
func (s *sheet) deeds() string {
	t := s.totals()
	machines := "**no machine**"
	if t.machines > 0 {
		machines = "**" + count(t.machines, "machine") + "**"
	}
	if t.manual > 0 {
		machines += fmt.Sprintf(", %d of them only once someone deletes them", t.manual)
	}
	if t.creates+t.reused+t.patches == 0 {
		return "writes nothing: it waits for " + count(t.waits, "rollout") + " that began before, to replace " + machines
	}
	pools := count(len(s.stepPools()), "pool")
	var line string
	switch from, to := s.versions(); {
	case to == "":
		line = "changes **" + pools + "**"
	case from == "":
		line = "takes **" + pools + "** to " + code(to)
	default:
		line = "takes **" + pools + "** from " + code(from) + " to " + code(to)
	}
	if order := s.order(); order != "" {
		line += ", " + order + ","
	}
	line += " and replaces " + machines
	var writes []string
	if t.creates > 0 {
		writes = append(writes, "creates "+count(t.creates, "template"))
	}
	if t.reused > 0 {
		writes = append(writes, "uses "+count(t.reused, "template")+" again")
	}
	if t.patches > 0 {
		writes = append(writes, "patches "+count(t.patches, "MachineDeployment"))
	}
	return line + "; it " + list(writes)
}

// versions gives the Kubernetes version that every pool with steps goes to,
// and the one that they come from; empty when they differ.
func (s *sheet) versions() (from, to string) {
	seen := map[string]bool{}
	for _, step := range s.Steps {
		if step.Patch == nil {
			continue
		}
		for _, c := range step.Patch.Changes {
			before, _ := value(c.Before)
			after, _ := value(c.After)
			switch {
			case c.Path != templateSpec+"/version":
				continue
			case after.kind != text || to != "" && after.text != to:
				return "", ""
			case len(seen) > 0 && before.text != from, before.kind != text:
				before.text = ""
			}
			from, to = before.text, after.text
			seen[step.Pool] = true
		}
	}
	if len(seen) < len(s.stepPools()) || !brief(node{kind: text, text: to}, true) || !brief(node{kind: text, text: from}, true) {
		return "", ""
	}
	return from, to
}

// stepPools gives the pools that have steps, in the order of the plan.
func (s *sheet) stepPools() []string {
	var out []string
	seen := map[string]bool{"": true}
	for _, step := range s.Steps {
		if !seen[step.Pool] {
			seen[step.Pool] = true
			out = append(out, step.Pool)
		}
	}
	return out
}

// order says which pools go together: those whose rollouts are waited for next to
// each other.
func (s *sheet) order() string {
	waits, rounds := 0, 0
	rollout := func(i int) bool {
		return s.Steps[i].Wait != nil && len(s.Steps[i].Wait.Propagated) == 0 && s.Steps[i].Wait.Canary == nil
	}
	for i := range s.Steps {
		if rollout(i) {
			waits++
			if i == 0 || !rollout(i-1) {
				rounds++
			}
		}
	}
	switch {
	case waits < 2:
		return ""
	case rounds == 1:
		return "all at once"
	case rounds == waits:
		return "one after the other"
	}
	return "in " + count(rounds, "round")
}

// few is how many changes of a pool the table tells when the plan is long.
const few = 5

// table writes one line per pool.
func (s *sheet) table() string {
	names := s.poolNames()
	if len(names) == 0 {
		return ""
	}
	risk := map[string]string{}
	mark := func(sign string, findings []plan.Finding) {
		for _, f := range findings {
			risk[f.Pool] = sign
			if f.Pool == "" && f.Object.Kind == "MachineDeployment" {
				risk[f.Object.Name] = sign
			}
		}
	}
	mark("⚠️ ", s.pick(plan.Warn))
	mark("⛔ ", s.blocks())
	var b strings.Builder
	b.WriteString("### Pools\n\n| Pool | Change | Machines | Waves | Peak | Floor |\n|:--|:--|:--|--:|--:|--:|\n")
	for _, name := range names {
		changes := s.changesOf(name)
		switch more := len(changes) - few; {
		case len(changes) == 0:
			changes = []string{"none"}
		case s.columns+s.words > 0 && more > 1: // each stands below, with its path
			changes = append(changes[:few:few], fmt.Sprintf("and %d more", more))
		}
		machines, waves, peak, floor := s.fate(name)
		fmt.Fprintf(&b, "| %s%s | %s | %s | %s | %s | %s |\n", risk[name], code(name), prose(strings.Join(changes, ", ")), machines, waves, peak, floor)
	}
	b.WriteString("\nPeak and floor: the most and the fewest machines of the pool on the way.\n")
	return b.String()
}

// fate gives the cells about the machines of a pool.
func (s *sheet) fate(pool string) (machines, waves, peak, floor string) {
	const none = "–"
	machines, waves, peak, floor = "not predicted", none, none, none
	for _, number := range s.impactsOf(pool) {
		i := s.Impact[number]
		note := i.Note
		switch {
		case i.Action == plan.Replace && i.Machines == 0:
			machines = "**none to replace**"
			if note == "" {
				note = nothingExercises
			}
		case manual(i):
			machines = "**" + strconv.Itoa(i.Machines) + " to replace**"
		case i.Action == plan.Replace:
			machines = "**" + strconv.Itoa(i.Machines) + " replaced**"
			waves, peak, floor = strconv.Itoa(i.Waves), strconv.Itoa(i.Peak), strconv.Itoa(i.Floor)
		case i.Action == plan.InPlace:
			machines = "changed in place"
			peak, floor = strconv.Itoa(i.Peak), strconv.Itoa(i.Floor)
		case i.Action == plan.None:
			machines = "untouched"
			peak, floor = strconv.Itoa(i.Peak), strconv.Itoa(i.Floor)
		default:
			machines = code(string(i.Action))
		}
		if note != "" {
			machines += ": " + prose(note)
		}
	}
	return machines, waves, peak, floor
}
