package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"nodepool/plan"
)

func (p *program) showCommand() *cli.Command {
	c := &cli.Command{
		Name:      "show",
		Usage:     "render a saved plan, whatever the cluster looks like now",
		UsageText: "nodepool show FILE [options]",
		Description: "Renders what nodepool plan --out saved. A plan that was edited, cut off or written in another format is\n" +
			"refused with the reason. FILE may be -, for standard input. New templates and resulting MachineDeployments as a\n" +
			"whole are not in a plan: nodepool plan --full makes them of what is in the cluster.",
		Flags: []cli.Flag{outputFlag("text, markdown, json or yaml"),
			&cli.BoolFlag{Name: "full", Usage: "show passed checks, facts, and values whole (text and markdown)"}, noColorFlag},
		OnUsageError: usageError,
		Action:       p.show,
	}
	return c
}

func (p *program) show(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return errors.New("which plan? Give the one file that nodepool plan --out wrote: nodepool show FILE [options]")
	}
	show, err := p.planRenderer(c)
	if err != nil {
		return err
	}
	var saved plan.Plan
	if file := c.Args().First(); file == "-" {
		data, err := io.ReadAll(p.stdin)
		if err != nil {
			return fmt.Errorf("read the plan from standard input: %w", err)
		}
		if saved, err = plan.Read(data); err != nil {
			return err
		}
	} else if saved, err = readPlan(file); err != nil {
		return err
	}
	if err := show(p.stdout, saved, nil); err != nil {
		return err
	}
	if form := c.String("output"); c.Bool("full") && !saved.IsEmpty() && (form == "text" || form == "markdown") {
		fmt.Fprintln(p.stderr, "The objects that are written are not in a plan as a whole: nodepool plan --full shows them.")
	}
	return nil
}
