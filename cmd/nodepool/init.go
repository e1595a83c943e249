package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

func (p *program) initCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "init",
		Usage:     "write an upgrade file from the live cluster",
		UsageText: "nodepool init --cluster NAME [--namespace NS] [--out FILE] [options]",
		Description: "The file holds every pool with the values it has now, and in comments what they could be raised to.\n" +
			"As it is written it asks for nothing.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "cluster", Usage: "the `NAME` of the cluster"},
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Value: "default", Usage: "the cluster's `NAMESPACE`"},
			&cli.StringFlag{Name: "out", Usage: "write to `FILE`, which must not exist yet (default: standard output)"},
		}, kubeFlags...),
		Action: p.init,
	})
}

func (p *program) init(c *cli.Context) (err error) {
	name, namespace := c.String("cluster"), c.String("namespace")
	if name == "" {
		return errors.New("which cluster? Give --cluster NAME; nodepool list shows the clusters that have pools")
	}
	cluster, err := p.open(c)
	if err != nil {
		return err
	}
	snap, pools, err := apply.Survey(c.Context, cluster, plan.Scope{Namespace: namespace, Cluster: name})
	if err != nil {
		return err
	}
	ref := capi.Ref{Group: capi.Group, Kind: "Cluster", Namespace: namespace, Name: name}
	if _, ok := snap.Object(ref); !ok {
		return fmt.Errorf("%s does not exist; nodepool list shows the clusters that have pools, --namespace names another namespace", ref)
	}
	if len(pools) == 0 {
		return fmt.Errorf("%s has no MachineDeployments, so there is nothing to upgrade", ref)
	}
	p.sayUnread(pools, snap)
	draft := plan.Draft(schema.ClusterRef{Name: name, Namespace: namespace}, pools)
	out := c.String("out")
	if out == "" {
		_, err := fmt.Fprint(p.stdout, draft)
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already and was left as it is; give another name with --out", out)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(draft); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Wrote %s. Change what should change, then run: nodepool plan -f %s\n", out, out)
	return nil
}
