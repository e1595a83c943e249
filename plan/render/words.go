package render

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"nodepool/plan"
)

// count gives "1 wave", "3 waves".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// list gives "a", "a and b", "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// span shortens a Go duration: 15m0s is 15m, 1h0m0s is 1h.
func span(d string) string {
	if s, ok := strings.CutSuffix(d, "m0s"); ok {
		d = s + "m"
	}
	if s, ok := strings.CutSuffix(d, "h0m"); ok {
		d = s + "h"
	}
	return d
}

func slashed(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// Title says in one line what a step does: "create AWSMachineTemplate
// default/md-0-1a2b3c4d". It is escaped.
func Title(s plan.Step) string {
	switch {
	case s.Preflight != nil:
		return "preflight"
	case s.Create != nil:
		return Escape("create " + s.Create.Ref.String())
	case s.Patch != nil:
		return Escape("patch " + s.Patch.Target.String())
	case s.Wait != nil && len(s.Wait.Propagated) > 0:
		return Escape("wait for the settings of " + s.Wait.MachineDeployment.String())
	case s.Wait != nil:
		if s.Wait.Canary != nil {
			return Escape("wait for the canary of " + s.Wait.MachineDeployment.String())
		}
		return Escape("wait for " + s.Wait.MachineDeployment.String())
	case s.Delete != nil:
		return Escape("delete " + s.Delete.Ref.String())
	}
	return Escape(s.ID)
}

// plainWord needs no quotes in a command.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

// consequences says what a wait does beside waiting: the command that it runs,
// and the patch that it sends on a stall. Code marks what is a value.
func consequences(w plan.Wait, code func(string) string) []string {
	var out []string
	if w.Canary != nil && len(w.Canary.Command) > 0 {
		words := make([]string, len(w.Canary.Command))
		for i, word := range w.Canary.Command {
			words[i] = word
			if !plainWord.MatchString(word) {
				words[i] = strconv.Quote(word)
			}
		}
		out = append(out, "Then a command runs for each of them on the machine of whoever applies this plan, with their rights, and must exit with 0: "+
			code(strings.Join(words, " ")))
	}
	if w.Canary != nil && !w.Rollback {
		out = append(out, "On a stall or a failure the rollout stays held: no old machine is deleted for it.")
	}
	if w.Rollback {
		out = append(out, "On a stall the pool is taken back to what it was, without another question, where there is a way back then.")
	}
	if w.Pause != nil {
		out = append(out, "On a stall the pool is paused ("+code("spec.paused")+"), so that the rollout does not go on by itself.")
	}
	return out
}
