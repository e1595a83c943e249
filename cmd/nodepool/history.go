package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/render"
)

// namespaceFlag narrows a look at what stands beside clusters.
var namespaceFlag = &cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "the `NAMESPACE` of the clusters (default: that of the kubeconfig context)"}

func (p *program) historyCommand() *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "list the runs, or tell all of one run",
		UsageText: "nodepool history [-f upgrade.yaml] [options]\nnodepool history RUN [-o text|markdown|json] [options]",
		Description: "Without RUN, one line for each run that the journals beside the clusters hold, the oldest first. With RUN,\n" +
			"such as aws-example-1-35/3, the closing document for the ticket: what was done when and by whom, the machines\n" +
			"before and after, how long each took, and what went wrong on the way. A journal is bounded: old runs go.",
		Flags: append([]cli.Flag{fileFlag, namespaceFlag, journalFlag,
			outputFlag("text, markdown or json")}, kubeFlags...),
		OnUsageError: usageError,
		Action:       p.history,
	}
}

func (p *program) history(c *cli.Context) error {
	form, name := c.String("output"), c.Args().First()
	switch {
	case form != "text" && form != "json" && (form != "markdown" || name == ""):
		return fmt.Errorf("-o %s: there is no such form; there are text and json, and markdown for one run", render.Escape(form))
	case c.Args().Len() > 1:
		return errors.New("one run at a time: nodepool history RUN")
	}
	runs, err := p.recorded(c)
	if err != nil && (name == "" || len(runs) == 0) {
		return err
	}
	if name == "" {
		return p.listRuns(form, runs)
	}
	i := slices.IndexFunc(runs, func(r apply.Run) bool { return r.Name() == name })
	if i < 0 {
		return errors.Join(fmt.Errorf("there is no run %s here; nodepool history lists those that there are", render.Escape(name)), err)
	}
	if same := slices.IndexFunc(runs[i+1:], func(r apply.Run) bool { return r.Name() == name }); same >= 0 {
		return fmt.Errorf("several clusters have a run %s; narrow it by -f, or by --namespace", render.Escape(name))
	}
	report := apply.ReportOf(runs[i])
	switch form {
	case "json":
		return p.encode(report)
	case "markdown":
		return ui.ReportMarkdown(p.stdout, report)
	}
	return ui.Report(p.stdout, report)
}

func (p *program) listRuns(form string, runs []apply.Run) error {
	if form == "json" {
		reports := []apply.Report{}
		for _, r := range runs {
			reports = append(reports, apply.ReportOf(r))
		}
		return p.encode(reports)
	}
	if len(runs) == 0 {
		_, err := fmt.Fprintln(p.stdout, "No run is recorded here.")
		return err
	}
	return ui.Runs(p.stdout, runs)
}

func (p *program) encode(v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(append(render.EscapeJSON(raw), '\n'))
	return err
}

// recorded gives the runs of the upgrade of -f, or all that the file of
// --journal or the journals of a namespace hold. Where a journal is damaged it
// tells that in the error and gives the others.
func (p *program) recorded(c *cli.Context) ([]apply.Run, error) {
	var upgrade *plan.UpgradeRef
	if c.IsSet("file") {
		up, err := p.readUpgrade(c)
		if err != nil {
			return nil, err
		}
		upgrade = &plan.UpgradeRef{Name: up.Metadata.Name, Cluster: up.Spec.Cluster}
	}
	if path, ok, err := inFile(c); err != nil || ok {
		if err != nil {
			return nil, err
		}
		return readRuns(c.Context, path)
	}
	cluster, err := p.open(c)
	if err != nil {
		return nil, err
	}
	if upgrade != nil {
		runs, _, err := p.runsOf(c, cluster, *upgrade)
		return runs, err
	}
	store, err := p.connect(cluster, journal.Cluster{Namespace: namespaceOf(c, cluster)})
	if err != nil {
		return nil, err
	}
	return store.Runs(c.Context)
}
