package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"nodepool/plan"
)

// Options say how a plan is written as text. The zero Options give plain text
// without line breaks of their own, as a ticket wants it.
type Options struct {
	// Color adds ANSI colours. Nothing is told by colour alone.
	Color bool
	// Width is the number of columns to wrap at; 0 wraps nothing.
	Width int
	// Full adds what was checked and found good, what each step relies on,
	// and the unchanged lines of a value that changed.
	Full bool
	// Previews are what plan.Plan.Previews gives, where the caller has the
	// snapshot; with Full, the objects are written whole.
	Previews map[string]plan.Preview
}

// Text writes p for the person who reviews it: what stands in its way, then
// what it does to each pool, then every step with its changes. The error is
// that of w.
func Text(w io.Writer, p plan.Plan, o Options) error {
	v := &view{page: page{o: o}, Plan: p, index: &index{}}
	v.write()
	_, err := w.Write(v.Bytes())
	return err
}

type view struct {
	page
	plan.Plan
	*index
}

// index finds parts of a plan, which may be of 1,000 pools, once they were asked
// for: pooled and patched are the numbers of the steps by their pool and by the
// object that they patch, fated those of the impacts by their pool, picked the
// findings by the severity that they are told with.
type index struct {
	pooled, fated map[string][]int
	patched       map[plan.Ref][]int
	picked        map[plan.Severity][]plan.Finding
}

// stepsOf gives the numbers of the steps of a pool.
func (v *view) stepsOf(pool string) []int {
	if v.pooled == nil {
		v.pooled = map[string][]int{}
		for i, s := range v.Steps {
			v.pooled[s.Pool] = append(v.pooled[s.Pool], i)
		}
	}
	return v.pooled[pool]
}

// impactsOf gives the numbers of the impacts on a pool.
func (v *view) impactsOf(pool string) []int {
	if v.fated == nil {
		v.fated = map[string][]int{}
		for i, impact := range v.Impact {
			v.fated[impact.Pool] = append(v.fated[impact.Pool], i)
		}
	}
	return v.fated[pool]
}

// patchesOf gives the numbers of the steps that patch an object.
func (v *view) patchesOf(target plan.Ref) []int {
	if v.patched == nil {
		v.patched = map[plan.Ref][]int{}
		for i, s := range v.Steps {
			if s.Patch != nil {
				v.patched[s.Patch.Target] = append(v.patched[s.Patch.Target], i)
			}
		}
	}
	return v.patched[target]
}

func (v *view) write() {
	title := v.heading(func(name string) string { return name })
	if short := v.Digest.Short(); short != "" {
		title += ", plan " + short
	}
	v.put(bold, 0, 2, title)
	if v.Upgrade.Rollback != "" {
		v.whole(none, 0, "Takes back: "+string(v.Upgrade.Rollback))
	}
	v.blank()
	v.findings()
	if !v.IsEmpty() {
		if v.Upgrade.Purpose != plan.ForPrune {
			v.pools()
		}
		v.steps()
	}
	v.kept()
	v.tally()
	if v.Digest != "" {
		v.whole(none, 0, "Digest: "+string(v.Digest))
	}
	v.previews()
}

// pools writes one line per pool: what changes, and what that does to its
// machines.
func (v *view) pools() {
	names := v.poolNames()
	if len(names) == 0 {
		return
	}
	v.put(bold, 0, 2, "Pools")
	for _, name := range names {
		var parts []string
		if c := v.changesOf(name); len(c) > 0 {
			parts = append(parts, strings.Join(c, ", "))
		}
		for _, i := range v.impactsOf(name) {
			parts = append(parts, impact(v.Impact[i]))
		}
		line := name + ": " + strings.Join(parts, "; ")
		if len(parts) == 0 {
			line = name + ": nothing is predicted"
		}
		v.put(none, 2, 2, line)
	}
	v.blank()
}

// poolNames gives the pools in the order of the plan.
func (v *view) poolNames() []string {
	var names []string
	seen := map[string]bool{"": true}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, i := range v.Impact {
		add(i.Pool)
	}
	for _, s := range v.Steps {
		add(s.Pool)
	}
	return names
}

// manual reports whether Cluster API replaces none of the machines by itself,
// as with the strategy OnDelete: then there are no waves.
func manual(i plan.PoolImpact) bool {
	return i.Action == plan.Replace && i.Machines > 0 && i.Waves == 0
}

// nothingExercises is said of a rollout of no machines.
const nothingExercises = "nothing exercises the new template"

func impact(i plan.PoolImpact) string {
	var s string
	switch {
	case i.Action == plan.Replace && i.Machines == 0:
		s = "no machines to replace"
		if i.Note == "" {
			i.Note = nothingExercises
		}
	case manual(i):
		s = count(i.Machines, "machine") + " to replace, each once someone deletes it"
	case i.Action == plan.Replace:
		s = fmt.Sprintf("%s replaced in %s, %d at peak, never fewer than %d",
			count(i.Machines, "machine"), count(i.Waves, "wave"), i.Peak, i.Floor)
	case i.Action == plan.InPlace:
		s = "changed in place, no machine is replaced"
	case i.Action == plan.None:
		s = "no machine is touched"
	default:
		s = string(i.Action)
	}
	if i.Note != "" {
		s += " (" + i.Note + ")"
	}
	return s
}

func (v *view) steps() {
	head := "Steps"
	if v.blocked() {
		head = "Steps (for review; none is applied while the plan is blocked)"
	}
	v.put(bold, 0, 2, head)
	pool := ""
	begun := map[string]bool{}
	for i, s := range v.Steps {
		if s.Pool != pool {
			pool = s.Pool
			switch {
			case pool == "":
				v.put(bold, 2, 2, "the cluster")
			case begun[pool]:
				v.put(bold, 2, 2, "pool "+pool+", continued")
			default:
				v.put(bold, 2, 2, "pool "+pool)
			}
			begun[pool] = true
		}
		v.step(i, s)
	}
	v.blank()
}

// body is the indentation of what stands below a step's title.
const body = 7

func (v *view) step(i int, s plan.Step) {
	title := func(text string) {
		v.put(none, 2, body-2, fmt.Sprintf("%2d. %s", i+1, text))
	}
	switch {
	case s.Preflight != nil:
		title("preflight: " + v.checks(*s.Preflight))
		if v.o.Full {
			v.passed(*s.Preflight)
		}
	case s.Create != nil:
		title(Title(s) + " (copy of " + s.Create.BasedOn.Ref.Name + ")" + v.again(s))
		v.changes(s.Create.Changes)
	case s.Patch != nil:
		title(Title(s))
		v.changes(s.Patch.Changes)
		before := s.Patch.Run.Before
		if before == "" {
			before = "(none)"
		}
		v.put(faint, body, 4, "· nodepool/run: "+before+" → "+s.Patch.Run.After+" (bookkeeping)")
	case s.Wait != nil:
		title(v.waiting(i, *s.Wait))
		for _, text := range consequences(*s.Wait, func(s string) string { return s }) {
			v.put(none, body, 2, text)
		}
	case s.Delete != nil:
		title(Title(s))
		v.put(none, body, 2, v.proof(*s.Delete))
	default:
		title(Title(s))
	}
	if s.Note != "" {
		v.put(none, body, 6, "Note: "+s.Note)
	}
	v.facts(s.Facts)
}

func (v *view) waiting(i int, w plan.Wait) string {
	t := "wait until every machine of "
	if w.Canary != nil {
		t = "hold until " + count(w.Canary.Machines, "new machine") + " of "
	}
	t += w.MachineDeployment.String()
	if len(w.Propagated) > 0 {
		return t + " has " + list(settings(w)) + v.withOthers(i) + "; stalled after " + span(w.StallAfter) + " without progress"
	}
	switch {
	case w.Version != "" && w.Canary != nil && w.Canary.Machines > 1:
		t += " run " + w.Version
	case w.Version != "":
		t += " runs " + w.Version
	default:
		t += " is made"
	}
	t += " from template " + w.Template
	if w.BootstrapTemplate != "" {
		t += " and bootstrap template " + w.BootstrapTemplate
	}
	if w.Canary != nil {
		t += ", ready for " + span(w.Canary.Soak) + " without a break"
	}
	return t + v.withOthers(i) + "; stalled after " + span(w.StallAfter) + " without progress"
}

// settings gives the fields that a wait is for with their values.
func settings(w plan.Wait) []string {
	var out []string
	for _, f := range w.Propagated {
		v, _ := value(f.Value)
		out = append(out, lastOf(f.Path)+" "+oneLine(v))
	}
	return out
}

// withOthers names the steps that are waited for together with step i.
func (v *view) withOthers(i int) string {
	first, last := v.together(i)
	switch last - first {
	case 0:
		return ""
	case 1:
		return ", together with step " + strconv.Itoa(first+last-i+1)
	}
	return fmt.Sprintf(", together with the others of steps %d to %d", first+1, last+1)
}

// together gives the first and the last of the steps that are waited for at the
// same time as step i: those that wait and stand next to it without a gap.
func (v *view) together(i int) (first, last int) {
	first, last = i, i
	for first > 0 && v.Steps[first-1].Wait != nil {
		first--
	}
	for last+1 < len(v.Steps) && v.Steps[last+1].Wait != nil {
		last++
	}
	return first, last
}

func (v *view) facts(facts []plan.Fact) {
	if len(facts) == 0 {
		return
	}
	if !v.o.Full {
		v.put(faint, body, 2, "relies on "+count(len(facts), "fact")+", checked again before the step")
		return
	}
	v.put(faint, body, 2, "relies on:")
	for _, f := range facts {
		line := factLine(f)
		if f.Because != "" {
			line += " (" + f.Because + ")"
		}
		v.put(faint, body+2, 2, line)
	}
}

// totals is the plan in numbers.
type totals struct {
	creates, reused, waits, deletes int
	// patches counts MachineDeployments: one may be patched more than once.
	patches int
	// machines are all to replace; manual, those of them that someone has to
	// delete first.
	machines, manual int
}

func (v *view) totals() totals {
	var t totals
	patched, waited := map[plan.Ref]bool{}, map[plan.Ref]bool{}
	for _, s := range v.Steps {
		switch {
		case s.Create != nil:
			if v.reused(s) {
				t.reused++
			} else {
				t.creates++
			}
		case s.Patch != nil:
			patched[s.Patch.Target] = true
		case s.Wait != nil:
			waited[s.Wait.MachineDeployment] = true
		case s.Delete != nil:
			t.deletes++
		}
	}
	t.patches, t.waits = len(patched), len(waited)
	for _, i := range v.Impact {
		if i.Action == plan.Replace {
			t.machines += i.Machines
			if manual(i) {
				t.manual += i.Machines
			}
		}
	}
	return t
}

// tally sums the plan up, like terraform's last line.
func (v *view) tally() {
	t := v.totals()
	var todo []string
	if t.creates > 0 {
		todo = append(todo, count(t.creates, "template")+" to create")
	}
	if t.reused > 0 {
		todo = append(todo, count(t.reused, "template")+" to use again")
	}
	if t.patches > 0 {
		todo = append(todo, count(t.patches, "MachineDeployment")+" to patch")
	}
	if t.deletes > 0 {
		todo = append(todo, count(t.deletes, "template")+" to delete")
	}
	if len(todo) == 0 && t.waits > 0 {
		todo = append(todo, "nothing to write", count(t.waits, "rollout")+" to wait for")
	}
	switch {
	case t.machines > 0:
		todo = append(todo, count(t.machines, "machine")+" to replace")
	case t.deletes == 0:
		todo = append(todo, "no machines to replace")
	}
	switch sum := strings.Join(todo, ", "); {
	case v.blocked():
		line := "Plan: BLOCKED by " + count(len(v.blocks()), "problem") + ", nothing can be applied."
		if !v.IsEmpty() {
			without := " Without them: "
			if len(v.blocks()) == 1 {
				without = " Without it: "
			}
			line += without + sum + "."
		}
		v.put(alarm, 0, 2, line)
	case v.IsEmpty() && v.Upgrade.Purpose == plan.ForPrune:
		v.put(bold, 0, 2, "Nothing to delete. "+nothingUnused)
	case v.IsEmpty():
		names := v.poolNames()
		line := "No changes. Everything is up to date with upgrade " + v.Upgrade.Name + "."
		switch {
		case len(names) == 1:
			line = "No changes. Pool " + names[0] + " is up to date with upgrade " + v.Upgrade.Name + "."
		case len(names) > 1:
			line = "No changes. Pools " + strings.Join(names, ", ") + " are up to date with upgrade " + v.Upgrade.Name + "."
		}
		if v.Upgrade.Rollback != "" {
			line = "No changes. Nothing that the plan " + v.Upgrade.Rollback.Short() + " changed is left to take back."
		}
		v.put(bold, 0, 2, line)
	default:
		v.put(bold, 0, 2, "Plan: "+sum+".")
	}
}
