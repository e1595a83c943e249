package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"nodepool/cmd/nodepool/ui"
	"nodepool/schema/jsonschema"
)

func (p *program) schemaCommand() *cli.Command {
	return &cli.Command{
		Name:      "schema",
		Usage:     "print the JSON Schema of upgrade files, plans or progress",
		UsageText: "nodepool schema upgrade|plan|progress",
		Description: "The schemas are of draft 2020-12. Save the one of upgrade files beside them, and editors check and complete them:\n\n" +
			"  nodepool schema upgrade > upgrade.schema.json\n\n" +
			"with this as the first line of upgrade.yaml:\n\n" +
			"  # yaml-language-server: $schema=upgrade.schema.json\n\n" +
			"A schema knows less than nodepool does: nodepool validate tells all mistakes.",
		OnUsageError: usageError,
		Action:       p.schema,
	}
}

func (p *program) schema(c *cli.Context) error {
	var doc []byte
	switch what := c.Args().First(); {
	case c.Args().Len() != 1:
		return fmt.Errorf("which schema? There are three: nodepool schema upgrade, plan and progress (a line of apply --progress json)")
	case what == "upgrade":
		doc = jsonschema.Upgrade()
	case what == "plan":
		doc = jsonschema.Plan()
	case what == "progress":
		doc = ui.LineSchema()
	default:
		return fmt.Errorf("there is no schema of %q; there are upgrade, plan and progress", what)
	}
	_, err := p.stdout.Write(doc)
	return err
}
