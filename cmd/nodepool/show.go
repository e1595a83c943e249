package main

import (
	"errors"

	"github.com/urfave/cli/v2"
)

func (p *program) showCommand() *cli.Command {
	c := &cli.Command{
		Name:      "show",
		Usage:     "render a saved plan, whatever the cluster looks like now",
		UsageText: "nodepool show FILE [options]",
		Description: "Renders what nodepool plan --out saved. A plan that was edited, cut off or written in another format is\n" +
			"refused with the reason.",
		Flags:        []cli.Flag{outputFlag("text, markdown, json or yaml"), noColorFlag},
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
	saved, err := readPlan(c.Args().First())
	if err != nil {
		return err
	}
	return show(p.stdout, saved)
}
