package ui

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/render"
	"nodepool/schema"
)

// The exit codes that an error can mean. 0 is success, 2 (changes pending) is
// no error.
const (
	exitError       = 1
	exitBlocked     = 3
	exitStale       = 4
	exitStalled     = 5
	exitLocked      = 6
	exitInterrupted = 130
)

// errorPrefix begins what is said of every error, as kubectl's does: so it can
// be told from a plan, a progress and a note on the same terminal.
const errorPrefix = "error: "

// Explain gives what a user is told about err (what happened, where, why, and
// what to do next, in lines without one at the end, the first of which begins
// with "error: ") and the exit code:
// 0 for nil, 1 error, 3 blocked by preflight, 4 stale, 5 stalled, 6 locked by
// another run, 130 interrupted. Of joined errors each is told; the code is
// that of the first that has one of its own.
func Explain(err error) (message string, exitCode int) { return Commands{}.Explain(err) }

// Explain is the function Explain with commands to be copied.
func (c Commands) Explain(err error) (message string, exitCode int) {
	if err == nil {
		return "", 0
	}
	exitCode = exitError
	var said []string
	rights := rightsIn(err)
	all := parts(err)
	for _, part := range all {
		text, code := c.explain(part, err)
		if text == "" {
			continue // told with another
		}
		if _, ok := part.(*apply.ForbiddenError); ok { //nolint:errorlint // the parts are what is wrapped
			if rights == nil {
				continue // told with the first
			}
			text, rights = explainForbidden(rights), nil
		}
		if exitCode == exitError {
			exitCode = code
		}
		said = append(said, errorPrefix+text)
	}
	if carriesOn(apply.Stalls(err)) {
		said[len(said)-1] += "\n" + c.afterStall()
	}
	return strings.Join(said, "\n\n"), exitCode
}

// parts takes errors.Join's errors apart. An error that wraps several in a
// sentence of its own stays whole.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var texts []string
	var out []error
	for _, e := range joined.Unwrap() {
		texts = append(texts, e.Error())
		out = append(out, parts(e)...)
	}
	if err.Error() != strings.Join(texts, "\n") {
		return []error{err}
	}
	return out
}

// explain tells of err, one of whole.
func (c Commands) explain(err, whole error) (string, int) {
	var (
		drift       *apply.DriftError
		blocked     *apply.BlockedError
		stalled     *apply.StallError
		inFile      *apply.JournalLockedError
		locked      *apply.LockedError
		lost        *apply.LockLostError
		rejected    *apply.RejectedError
		unfinished  *apply.UnfinishedError
		unreachable *apply.UnreachableError
		forbidden   *apply.ForbiddenError
		write       *apply.WriteError
		invalid     *schema.InvalidError
		stale       *apply.StaleError
		changed     *plan.ChangedError
		secret      *plan.SecretError
		file        *plan.FileError
		unrecorded  *apply.RecordError
	)
	switch {
	case errors.Is(err, apply.ErrNotBegun):
		return "interrupted before it began; nothing was written.", exitInterrupted
	case errors.Is(err, apply.ErrInterrupted):
		said := "interrupted. What was done so far is recorded, and a rollout that has begun goes on in the cluster."
		if errors.As(whole, &unrecorded) {
			said = "interrupted. The steps before are recorded, and that it ended is not, for the journal could not be written. A rollout that has begun goes on in the cluster.\n" +
				strings.TrimSuffix(field("It says", unrecorded.Err.Error()), "\n")
		}
		return said + "\n" + c.again("to carry on", ""), exitInterrupted
	case errors.As(err, &unrecorded) && errors.Is(whole, apply.ErrInterrupted):
		return "", exitError
	case errors.As(err, &drift):
		return explainDrift(drift), exitStale
	case errors.As(err, &blocked):
		return explainBlocked(blocked), exitBlocked
	case errors.As(err, &stalled):
		return c.explainStall(stalled), exitStalled
	case errors.As(err, &inFile):
		return "locked: " + lines(inFile.Error()) + strings.TrimSuffix("\n"+known(inFile.Holder), "\n"), exitLocked
	case errors.As(err, &locked):
		return c.explainLocked(locked), exitLocked
	case errors.As(err, &lost):
		return c.explainLost(lost), exitLocked
	case errors.As(err, &rejected):
		return "the server refused " + step(rejected.Step) + ", though the cluster is as it was reviewed.\n" +
			field("It says", rejected.Words) +
			"The refused step wrote nothing; earlier steps stay as they are.\n" +
			"Correct the value in the upgrade file, or the policy that refuses it, and run nodepool plan again.", exitError
	case errors.As(err, &unfinished):
		return explainUnfinished(unfinished), exitError
	case errors.As(err, &unreachable) && unreachable.Step.Wait != nil:
		return "the cluster did not answer during " + step(unreachable.Step) + ", and it was waited for in vain.\n" +
			field("It says", unreachable.Err.Error()) +
			"The rollout goes on in the cluster. " + c.again("once the cluster answers", "it goes on waiting where it stopped and repeats nothing"), exitError
	case errors.As(err, &unreachable):
		return "the cluster did not answer during " + step(unreachable.Step) + ", and it was waited for in vain.\n" +
			field("It says", unreachable.Err.Error()) +
			"The write may or may not have arrived. " + c.again("once the cluster answers", "it looks first and repeats nothing"), exitError
	case errors.As(err, &forbidden):
		return explainForbidden([]*apply.ForbiddenError{forbidden}), exitError
	case errors.As(err, &stale):
		return "the plan is no longer the one that was reviewed; nothing was written.\n" +
			field("reviewed", string(stale.Reviewed)) + field("now", string(stale.Found)) +
			"Run nodepool plan again and have the new plan reviewed. Where both were saved, nodepool diff shows what differs.", exitStale
	case errors.As(err, &changed):
		return explainChanged(changed), exitStale
	case errors.As(err, &secret):
		return "nothing was written: " + lines(secret.Error()) + ".", exitError
	case errors.As(err, &file):
		return "this plan cannot be used: " + lines(file.Error()) + ".", exitError
	case errors.As(err, &invalid):
		// The problems stand at the beginning of their lines, where editors look
		// for file:line:column.
		return render.Escape(fmt.Sprintf("%s has %s; nothing was done.", invalid.File, count(len(invalid.Problems), "problem"))) + "\n" + lines(invalid.Error()), exitError
	case errors.As(err, &write):
		if write.Outcome == apply.Unknown {
			return "a write may or may not have arrived.\n" + field("It says", write.Words) +
				c.again("", "it looks first and repeats nothing"), exitError
		}
		return "the server refused a write; it wrote nothing.\n" + field("It says", write.Words) +
			"Correct what it names and run nodepool plan again.", exitError
	case errors.Is(err, context.Canceled):
		return "interrupted; nothing was written.", exitInterrupted
	}
	return lines(err.Error()), exitError
}

// Begun says who began a run that is not finished, when, and for which ticket.
func Begun(e *apply.UnfinishedError) string {
	var known []string
	if e.Run != "" {
		known = append(known, "run "+e.Run)
	}
	if e.Actor != "" {
		known = append(known, "by "+e.Actor)
	}
	if !e.Since.IsZero() {
		known = append(known, "begun at "+e.Since.UTC().Format(time.RFC3339))
	}
	if e.Ticket != "" {
		known = append(known, "ticket "+e.Ticket)
	}
	out := e.Unfinished.Short()
	if len(known) > 0 {
		out += " (" + strings.Join(known, ", ") + ")"
	}
	return render.Escape(out)
}

func explainUnfinished(e *apply.UnfinishedError) string {
	name := func(with string) string {
		if e.Run != "" {
			return render.Escape(e.Run)
		}
		return with
	}
	const file = "with the same upgrade file"
	if e.TakesBack && !e.Other {
		return "a rollback of this upgrade, " + Begun(e) + ", was begun and is not finished; this plan is " + e.Wanted.Short() + ".\n" +
			"Nothing was written. To carry on with the rollback: nodepool " + map[bool]string{true: "apply ", false: "rollback "}[e.Run != ""] + name(file) + "\n" +
			"To give it up where it stands and begin the new plan, add --abandon."
	}
	what := "another plan of this upgrade, "
	if e.Other {
		what = "a plan of the upgrade " + render.Escape(e.Upgrade) + " on " + render.Escape(strings.Join(e.Pools, ", ")) + ", "
	}
	text := what + Begun(e) + ", was begun and is not finished; this one is " + e.Wanted.Short() + ".\n" +
		"Nothing was written. To carry on with the begun plan: nodepool apply " + name("with the upgrade file that it was made from") + "\n" +
		"To take it back:                     nodepool rollback " + name("with that file") + "\n" +
		"To give it up and begin the new one, add --abandon, which is recorded."
	if e.Other {
		text += " Pools of it that are not in the new plan stay as they are."
	}
	return text
}

func explainDrift(e *apply.DriftError) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the cluster is not as it was reviewed, so step %s must not be done.\n", render.Escape(e.Step))
	b.WriteString(differences("reviewed:", e.Differences))
	if e.Written {
		b.WriteString("What this run wrote before stays as it is; nothing was written after this was found.\n" +
			"Run nodepool plan again, which shows what is left, and have the new plan reviewed.")
	} else {
		b.WriteString("Nothing was written. Run nodepool plan again and have the new plan reviewed.")
	}
	return b.String()
}

func differences(reviewed string, all []plan.Difference) string {
	var b strings.Builder
	for _, d := range all {
		where := d.Object.String()
		if d.Path != "" {
			where += ", " + d.Path.Dotted()
		}
		b.WriteString("  " + render.Escape(where) + "\n")
		b.WriteString("    " + reviewed + " " + shown(d.Reviewed) + "\n")
		b.WriteString("    found:    " + shown(d.Found) + "\n")
		if d.Because != "" {
			b.WriteString("    why:      " + render.Escape(d.Because) + "\n")
		}
	}
	return b.String()
}

func explainChanged(e *plan.ChangedError) string {
	return render.Escape("the cluster is not as the plan "+e.Plan.Short()+" left it: going back would undo what somebody else did after it.") + "\n" +
		differences("left at: ", e.Differences) +
		"Nothing was written. Have the other change taken back first, or take back the other pools alone, with --pool NAME; " +
		"or write what the pools should be into an upgrade file and run nodepool plan."
}

// shown writes a value of a difference, which may be JSON.
func shown(value string) string {
	if strings.HasPrefix(value, "{") || strings.HasPrefix(value, "[") {
		return render.Value(json.RawMessage(value))
	}
	return render.Escape(value)
}

func explainBlocked(e *apply.BlockedError) string {
	var b strings.Builder
	fmt.Fprintf(&b, "blocked by %s; nothing was written.\n", count(len(e.Findings), "problem"))
	for _, f := range e.Findings {
		where := ""
		switch {
		case f.Object != plan.Ref{}:
			where = " (" + f.Object.String() + ")"
		case f.Pool != "":
			where = " (pool " + f.Pool + ")"
		}
		b.WriteString("  ✗ " + render.Escape(f.Code+where+": "+f.Message) + "\n")
		if f.Remedy != "" {
			b.WriteString("    Remedy: " + render.Escape(f.Remedy) + "\n")
		}
	}
	b.WriteString("Solve this and run nodepool plan again.")
	return b.String()
}

func (c Commands) explainStall(e *apply.StallError) string {
	var b strings.Builder
	pool, id := render.Escape(e.Step.Pool), render.Escape(e.Step.ID)
	switch {
	case e.Rollout.InPlace:
		fmt.Fprintf(&b, "the new settings of pool %s reached no further machine for %s, and its rollout has not begun (step %s).\n",
			pool, span(e.After), id)
	case e.After == 0:
		fmt.Fprintf(&b, "the canary of pool %s has failed (step %s).\n", pool, id)
	default:
		fmt.Fprintf(&b, "the rollout of pool %s made no progress for %s (step %s).\n", pool, span(e.After), id)
	}
	b.WriteString("  Stands at: " + tally(e.Rollout, c.Back))
	switch s := e.Stall; {
	case s != nil:
		cause, _, _ := evidence(*s)
		b.WriteString("\n  Cause:     " + cause)
		b.WriteString("\n  Seen on:   " + render.Escape(place(*s)))
		if !tells(*s) {
			b.WriteString("\n  It says:\n" + strings.TrimSuffix(indented(s.Message), "\n"))
		}
		if s.Next != "" {
			b.WriteString("\n  Next:      " + render.Escape(s.Next))
		}
	case e.Rollout.Waiting != "":
		b.WriteString("\n  Waits for: " + oneLine(e.Rollout.Waiting))
	}
	if e.Then != "" {
		b.WriteString("\n  Now:       " + oneLine(e.Then))
	}
	return b.String()
}

// carriesOn reports whether one of the stalls is to be carried on with.
func carriesOn(stalls []*apply.StallError) bool {
	return slices.ContainsFunc(stalls, func(e *apply.StallError) bool { return !e.Final })
}

// afterStall says what can be done about stalls, once.
func (c Commands) afterStall() string {
	s := "The change stays in the cluster, and its controllers go on trying. Once the cause is gone, run the same command again: it goes on waiting where it stopped and repeats nothing"
	if c.Again != "" {
		s += ":" + line(c.Again)
	} else {
		s += "."
	}
	switch {
	case c.Back:
	case c.Rollback != "":
		s += "\nTo go back instead:" + line(c.Rollback)
	default:
		s += " To go back instead: nodepool rollback."
	}
	return s + "\nAn upgrade file that was changed, be it only wait.stallAfter, is another plan: add --abandon to give this one up for it."
}

// rightsIn gives the missing rights of joined errors, each once, by resource.
func rightsIn(err error) []*apply.ForbiddenError {
	var out []*apply.ForbiddenError
	said := map[string]bool{}
	for _, part := range parts(err) {
		if r, ok := part.(*apply.ForbiddenError); ok && !said[r.What()] { //nolint:errorlint // the parts are what is wrapped
			said[r.What()] = true
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *apply.ForbiddenError) int { return cmp.Compare(a.Kind(), b.Kind()) })
	return out
}

// explainForbidden tells of rights that are missing, a line each.
func explainForbidden(rights []*apply.ForbiddenError) string {
	var b strings.Builder
	toCheck := "To check: "
	if len(rights) == 1 {
		b.WriteString("you may not " + render.Escape(rights[0].What()) + ".\nAsk for that right, or use")
	} else {
		fmt.Fprintf(&b, "%d rights are missing.\n", len(rights))
		for _, r := range rights {
			b.WriteString("  you may not " + render.Escape(r.What()) + "\n")
		}
		b.WriteString("Ask for them, or use")
		toCheck = "To check the first: "
	}
	r := rights[0]
	check := "kubectl auth can-i " + r.Verb + " " + r.Kind()
	switch {
	case r.Name != "":
		check += "/" + r.Name
	case r.Namespace == "":
		check += " --all-namespaces"
	}
	if r.Namespace != "" {
		check += " -n " + r.Namespace
	}
	b.WriteString(" another kubeconfig context (--context); deploy/rbac.yaml holds all rights that nodepool needs: " +
		"put the kinds of your providers there, in place of those of AWS and kubeadm.\n")
	b.WriteString(render.Escape(toCheck + check))
	if slices.ContainsFunc(rights, isBookkeeping) {
		b.WriteString("\nThose to configmaps and leases serve the record of the run and its lock. To do without them, keep the record in a " +
			"file on this machine: --journal file:PATH.")
	}
	return b.String()
}

// isBookkeeping reports whether a right serves the journal or the lock.
func isBookkeeping(r *apply.ForbiddenError) bool {
	return (r.Group == "" && r.Resource == "configmaps") || (r.Group == "coordination.k8s.io" && r.Resource == "leases")
}

// WithoutRights tells of missing rights without which a run goes well and
// less is told.
func WithoutRights(err error) string {
	var said []string
	for _, r := range rightsIn(err) {
		less := "causes of a stall are told less precisely"
		if r.Resource == "events" {
			less = "writes no Events"
		}
		said = append(said, "note: you may not "+render.Escape(r.What())+"; the run goes on, and "+less+".")
	}
	return strings.Join(said, "\n")
}

// step names a step in a sentence.
func step(s plan.Step) string {
	return render.Escape("step " + s.ID + " (" + render.Title(s) + ")")
}

// field writes words of a server below a name.
func field(name, words string) string {
	return "  " + name + ":\n" + indented(words)
}

func indented(words string) string {
	return "    " + strings.ReplaceAll(lines(strings.TrimSpace(words)), "\n", "\n    ") + "\n"
}

// lines escapes each line of s.
func lines(s string) string {
	all := strings.Split(s, "\n")
	for i := range all {
		all[i] = render.Escape(all[i])
	}
	return strings.Join(all, "\n")
}

// span writes a duration without its empty units: 15m, 1h30m.
func span(d time.Duration) string {
	s := d.String()
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}
