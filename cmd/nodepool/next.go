package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/kube"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
)

// commands are what can be typed after a run of made: its own command line
// without what is done by then, and what takes it back.
func (p *program) commands(c *cli.Context, made plan.Plan) ui.Commands {
	again := []string{"nodepool"}
	for _, w := range p.words[min(1, len(p.words)):] {
		if w != "--abandon" && w != "-abandon" {
			again = append(again, w)
		}
	}
	next := ui.Commands{Again: ui.Shell(again...), Back: made.Upgrade.Purpose == plan.ForRollback}
	if made.Upgrade.Purpose == plan.ForUpgrade {
		back := []string{"nodepool", "rollback"}
		if file := c.String("plan"); file != "" {
			back = append(back, "--plan", file)
		} else {
			back = append(back, "-f", c.String("file"))
		}
		for _, pool := range c.StringSlice("pool") {
			back = append(back, "--pool", pool)
		}
		next.Rollback = ui.Shell(append(back, where(c)...)...)
	}
	return next
}

// where gives the options that name the cluster and the journal, as they were
// given.
func where(c *cli.Context) (out []string) {
	for _, name := range []string{"kubeconfig", "context", "journal"} {
		if c.IsSet(name) {
			out = append(out, "--"+name, c.String(name))
		}
	}
	return out
}

// question is what is asked before a plan is carried out.
func question(of plan.Purpose) string {
	switch of {
	case plan.ForRollback:
		return "Roll back by this plan?"
	case plan.ForPrune:
		return "Delete these templates?"
	case plan.ForUpgrade, plan.ForAbandon:
	}
	return "Apply this plan?"
}

// sayClosing tells under which name the run of made is recorded and how to get
// its closing document, where that can be read without waiting.
func (p *program) sayClosing(c *cli.Context, cluster apply.Reader, j keeping, made plan.Plan, err error, w io.Writer) {
	var unrecorded *apply.RecordError
	var away *apply.UnreachableError
	var locked *apply.LockedError // a run of the same plan may be there, and is another's
	if errors.As(err, &unrecorded) || errors.As(err, &away) || errors.As(err, &locked) || errors.Is(err, apply.ErrNotBegun) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), 5*time.Second)
	defer cancel()
	runs, rerr := j.Runs(ctx)
	if rerr != nil {
		return // it is there all the same
	}
	for _, r := range slices.Backward(runs) {
		if r.Upgrade != made.Upgrade.Name || r.Plan.Digest != made.Digest {
			continue
		}
		words := []string{"nodepool", "history", r.Name(), "-o", "markdown"}
		if live, ok := cluster.(*kube.Cluster); ok && !c.IsSet("journal") && live.Namespace() != made.Upgrade.Cluster.Namespace {
			words = append(words, "-n", made.Upgrade.Cluster.Namespace)
		}
		fmt.Fprintln(w, ui.Fit(ui.Closing(r, ui.Shell(append(words, where(c)...)...)), width(w)))
		return
	}
}

// sayDone tells which of the steps are done already, as in a run that is
// carried on: the plan itself shows them all.
func sayDone(w io.Writer, made plan.Plan, snap plan.Snapshot) error {
	var done []string
	for i, s := range made.Steps {
		if s.Preflight == nil && s.Wait == nil && made.Assess(i, snap).Verdict == plan.Satisfied {
			done = append(done, strconv.Itoa(i+1))
		}
	}
	if len(done) == 0 {
		return nil
	}
	steps := "step"
	if len(done) > 1 {
		steps = "steps"
	}
	_, err := fmt.Fprintf(w, "Of these steps, done already: %s %s. They are not done again.\n", steps, strings.Join(done, ", "))
	return err
}
