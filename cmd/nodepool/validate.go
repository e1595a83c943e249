package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"nodepool/plan/render"
)

func (p *program) validateCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "validate",
		Usage:     "check an upgrade file, without a cluster",
		UsageText: "nodepool validate -f upgrade.yaml",
		Description: "Tells every mistake that can be seen in the file alone, with line and column. Whether the pools are there and\n" +
			"what their templates hold is told by nodepool plan.\n\n" +
			"Exit codes: 0 the file is valid; 1 it is not, or cannot be read.",
		Flags:  []cli.Flag{fileFlag, poolFlag},
		Action: p.validate,
	})
}

func (p *program) validate(c *cli.Context) error {
	up, err := p.readUpgrade(c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: valid: %s\n", render.Escape(up.file), counted(len(up.Spec.Pools), "pool"))
	return err
}
