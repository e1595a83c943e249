package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"nodepool/plan"
	"nodepool/plan/render"
)

func (p *program) diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "tell what differs between two saved plans",
		UsageText: "nodepool diff OLD NEW [options]",
		Description: "Compares two plans that nodepool plan --out saved: the upgrade, the steps with their changes and the facts that\n" +
			"they rely on, and what was seen when they were made.\n\n" +
			"Exit codes: 0 the plans are the same; 2 they differ; 1 error.",
		Flags:        []cli.Flag{outputFlag("text or json"), noColorFlag},
		OnUsageError: usageError,
		Action:       p.diff,
	}
}

func (p *program) diff(c *cli.Context) error {
	if c.Args().Len() != 2 {
		return errors.New("which plans? Give two files that nodepool plan --out wrote: nodepool diff OLD NEW [options]")
	}
	form := c.String("output")
	if form != "text" && form != "json" {
		return fmt.Errorf("-o %s: there is no such form of a comparison; there are text and json", form)
	}
	var plans [2]plan.Plan
	var problems []error
	for i := range plans {
		var err error
		if plans[i], err = readPlan(c.Args().Get(i)); err != nil {
			// Explain would tell of a plan.FileError alone, and not which of
			// the two files it is about: so the text, and not the error.
			problems = append(problems, errors.New(c.Args().Get(i)+": "+err.Error()))
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	older, newer := plans[0], plans[1]
	revisions := plan.Compare(older, newer)
	var err error
	if form == "json" {
		err = render.ComparisonJSON(p.stdout, older, newer, revisions)
	} else {
		err = render.Comparison(p.stdout, older, newer, revisions, render.Options{Color: p.color(c, p.stdout), Width: width(p.stdout)})
	}
	switch {
	case err != nil:
		return err
	case len(revisions) > 0:
		return errChanges // 2, as for pending changes; the output has told all
	}
	return nil
}
