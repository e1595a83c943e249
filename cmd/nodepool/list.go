package main

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/render"
)

func (p *program) listCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "list",
		Usage:     "show the worker node pools of the management cluster",
		UsageText: "nodepool list [--cluster NAME] [--namespace NS] [options]",
		Description: "One line a MachineDeployment: its version against the control plane's, what its machines are made from,\n" +
			"and how many of them are up to date, counted on the machines themselves.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "cluster", Usage: "only the pools of the cluster `NAME`"},
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "only the `NAMESPACE` (default: all)"},
			outputFlag("text, json or yaml")}, kubeFlags...),
		Action: p.list,
	})
}

func (p *program) list(c *cli.Context) error {
	form := c.String("output")
	if form != "text" && form != "json" && form != "yaml" {
		return fmt.Errorf("-o %s: there is no such form of a list; there are text, json and yaml", form)
	}
	cluster, err := p.open(c)
	if err != nil {
		return err
	}
	scope := plan.Scope{Namespace: c.String("namespace"), Cluster: c.String("cluster")}
	snap, pools, err := apply.Survey(c.Context, cluster, scope)
	if err != nil {
		return err
	}
	if scope.Cluster != "" && len(pools) == 0 && !plan.HasCluster(scope, snap) {
		return fmt.Errorf("there is no cluster %s here; nodepool list without --cluster and --namespace shows all that have pools", scope.Cluster)
	}
	p.sayUnread(pools, snap)
	switch form {
	case "json":
		if pools == nil {
			pools = []plan.PoolStatus{}
		}
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(pools)
	case "yaml":
		raw, err := yaml.Marshal(pools)
		if err != nil {
			return err
		}
		_, err = p.stdout.Write(raw)
		return err
	}
	if len(pools) == 0 {
		_, err := fmt.Fprintln(p.stdout, "There are no MachineDeployments here.")
		return err
	}
	header := []string{"NAMESPACE", "CLUSTER", "POOL", "VERSION", "CONTROL PLANE", "TEMPLATE", "IMAGE", "TYPE", "REPLICAS", "UP TO DATE", "PAUSED", "OWNER"}
	rows := make([][]string, len(pools))
	for i, s := range pools {
		upToDate := strconv.Itoa(s.UpToDate)
		if !s.Complete {
			upToDate += " (rolling)"
		}
		rows[i] = []string{s.Namespace, s.Cluster, s.Name, dash(s.Version), dash(s.ControlPlaneVersion),
			s.Template.Kind + "/" + s.Template.Name, dash(s.MachineImage), dash(s.InstanceType),
			strconv.Itoa(s.Replicas), upToDate, yesNo(s.Paused), dash(s.Owner)}
	}
	return ui.Table(p.stdout, header, rows)
}

// sayUnread tells what a survey could not read of control planes and
// templates, once for each reason.
func (p *program) sayUnread(pools []plan.PoolStatus, snap plan.Snapshot) {
	said := map[string]bool{}
	for _, s := range pools {
		for _, ref := range []plan.Ref{s.ControlPlane, s.Template} {
			why, unread := snap.Unread(plan.Selector{Ref: ref, Optional: true})
			if line := ref.Kind + "s could not be read: " + why; unread && !said[line] {
				said[line] = true
				fmt.Fprintln(p.stderr, render.Escape(line))
			}
		}
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
