package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"nodepool/plan"
	"nodepool/plan/render"
)

func (p *program) explainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "say what a preflight check means and how to fix it",
		UsageText: "nodepool explain [CODE]",
		Description: "Prints what a check asks, what its answer means, why it exists, where the rule comes from, how to fix what it\n" +
			"found, and whether it can be waived. Without a code, lists all checks. docs/checks.md holds the same texts.",
		Flags:        []cli.Flag{noColorFlag},
		OnUsageError: usageError,
		Action:       p.explain,
	}
}

func (p *program) explain(c *cli.Context) error {
	o := render.Options{Color: p.color(c, p.stdout), Width: width(p.stdout)}
	code := c.Args().First()
	switch {
	case c.Args().Len() > 1:
		return fmt.Errorf("nodepool explain takes one code; there are %d words", c.Args().Len())
	case code == "":
		return render.ExplainAll(p.stdout, plan.Checks(), o)
	}
	check, ok := plan.CheckOf(strings.ToLower(code))
	if !ok {
		near := ""
		if codes := plan.NearestCheck(strings.ToLower(code)); codes != "" {
			near = "did you mean " + codes + "? "
		}
		return fmt.Errorf("there is no check %q; %snodepool explain lists all checks", code, near)
	}
	return render.Explain(p.stdout, check, o)
}
