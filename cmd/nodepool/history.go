package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

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
		return p.listRuns(c, form, runs)
	}
	i := slices.IndexFunc(runs, func(r apply.Run) bool { return r.Name() == name })
	if i < 0 {
		return errors.Join(fmt.Errorf("there is no run %s here; nodepool history lists those that there are", render.Escape(name)), err)
	}
	if same := slices.IndexFunc(runs[i+1:], func(r apply.Run) bool { return r.Name() == name }); same >= 0 {
		return fmt.Errorf("several clusters have a run %s; narrow it by -f, or by --namespace", render.Escape(name))
	}
	report := p.reportOf(c, runs[i])
	switch form {
	case "json":
		return p.encode(report)
	case "markdown":
		return ui.ReportMarkdown(p.stdout, report)
	}
	return ui.Report(p.stdout, report)
}

// begun gives when a run began. One without a record has just begun.
func begun(r apply.Run) time.Time {
	if len(r.Records) == 0 {
		return time.Now()
	}
	return r.Records[0].At
}

// reportOf gives the report of a run, and of one that is not closed whether it
// is at work, by its lock. Where that cannot be read, nothing is said of it.
func (p *program) reportOf(c *cli.Context, run apply.Run) apply.Report {
	report := apply.ReportOf(run)
	if run.Closed() {
		return report
	}
	holders, err := p.holdersOf(c, run)
	if err != nil {
		return report
	}
	for _, h := range holders {
		if h.Plan == run.Plan.Digest {
			return report.HeldBy(&h)
		}
	}
	return report.HeldBy(nil)
}

// holdersOf gives who holds the locks of a run's pools.
func (p *program) holdersOf(c *cli.Context, run apply.Run) (out []apply.Holder, err error) {
	if path, ok, err := inFile(c); ok || err != nil {
		if err != nil {
			return nil, err
		}
		h, held, err := journal.FileHolder(path)
		if held {
			out = append(out, h)
		}
		return out, err
	}
	cluster, err := p.open(c)
	if err != nil {
		return nil, err
	}
	store, err := p.connect(cluster, journal.Cluster{Namespace: run.Plan.Upgrade.Cluster.Namespace})
	if err != nil {
		return nil, err
	}
	var pools []plan.Ref
	for _, s := range run.Plan.Steps {
		if target, ok := s.Target(); ok && !slices.Contains(pools, target) {
			pools = append(pools, target)
		}
	}
	locked, err := store.Holders(c.Context, pools)
	for _, l := range locked {
		if l.AtWork() {
			out = append(out, l.Holder)
		}
	}
	return out, err
}

func (p *program) listRuns(c *cli.Context, form string, runs []apply.Run) error {
	slices.SortStableFunc(runs, func(a, b apply.Run) int { return begun(a).Compare(begun(b)) })
	reports := []apply.Report{}
	for _, r := range runs {
		reports = append(reports, p.reportOf(c, r))
	}
	if form == "json" {
		return p.encode(reports)
	}
	if len(runs) == 0 {
		_, err := fmt.Fprintln(p.stdout, "No run is recorded here.")
		return err
	}
	return ui.Runs(p.stdout, reports)
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
