package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/offline"
	"nodepool/plan/capi"
)

// fromFlag has a command read manifests instead of a cluster.
var fromFlag = &cli.StringFlag{Name: "from", Usage: "read manifests at `PATH` instead of a cluster: a file, a folder, or - for standard input, as nodepool snapshot or kubectl get -o yaml writes them"}

func (p *program) snapshotCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "snapshot",
		Usage:     "save what plan reads of the cluster, without its secrets",
		UsageText: "nodepool snapshot -f upgrade.yaml --out PATH [options]",
		Description: "Saves every object that nodepool plan reads for this upgrade, and the schemas of the kinds that the plan writes,\n" +
			"so that nodepool plan --from PATH makes the same plan, with the same digest, where there is no cluster, and\n" +
			"holds each write against its schema. PATH is one file when it ends in .yaml or .json, - for standard output,\n" +
			"and otherwise a new folder. Secrets stand in it as keyed hashes; the key is in it too, so treat it as what it\n" +
			"is: a read-only look at the cluster.",
		Flags: append([]cli.Flag{fileFlag, poolFlag,
			&cli.StringFlag{Name: "out", Usage: "save to `PATH`"}, fromFlag}, kubeFlags...),
		Action: p.snapshot,
	})
}

func (p *program) snapshot(c *cli.Context) error {
	out := c.String("out")
	if out == "" {
		return errors.New("where to? Give --out PATH: a file that ends in .yaml or .json, a new folder, or - for standard output")
	}
	up, err := p.readUpgrade(c)
	if err != nil {
		return err
	}
	reader, err := p.reader(c)
	if err != nil {
		return err
	}
	snap, err := apply.Observe(c.Context, reader, up.Upgrade)
	if err != nil {
		return err
	}
	sealed := snap.Sealed(capi.Ref{Group: capi.Group, Kind: "Cluster",
		Namespace: up.Spec.Cluster.Namespace, Name: up.Spec.Cluster.Name})
	sealed, missing, err := offline.Schemas(c.Context, reader, sealed)
	if err != nil {
		return err
	}
	for _, m := range missing {
		fmt.Fprintf(p.stderr, "Left out the definition of %s. A plan from this snapshot does not validate writes of this kind.\n", m)
	}
	if out == "-" {
		return offline.WriteTo(p.stdout, sealed)
	}
	if err := offline.Write(out, sealed); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Saved %s to %s, secrets sealed. To plan from it: nodepool plan -f %s --from %s\n",
		counted(len(sealed.Objects()), "object"), filepath.Clean(out), c.String("file"), filepath.Clean(out))
	return nil
}

// reader gives what --from names, or the cluster.
func (p *program) reader(c *cli.Context) (apply.Reader, error) {
	from := c.String("from")
	switch {
	case !c.IsSet("from"):
		return p.open(c)
	case from == "":
		return nil, errors.New("--from names no manifests; give a file, a folder, or - for standard input")
	case c.IsSet("kubeconfig") || c.IsSet("context"):
		return nil, errors.New("--from reads manifests and no cluster, so --kubeconfig and --context do not go with it; leave one of them out")
	}
	return offline.Open(from, p.stdin)
}

// counted gives "1 pool", "2 pools".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
