package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/plan"
	"nodepool/schema"
)

func (p *program) pruneCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "prune",
		Usage:     "delete the templates that nodepool made and nothing refers to any more",
		UsageText: "nodepool prune -f upgrade.yaml [options]\nnodepool prune --cluster NAME [--namespace NS] [options]",
		Description: "Looks at everything in the cluster's namespace that can refer to a template, shows which templates nothing\n" +
			"refers to, with the proof for each, asks, and deletes them. Only templates that nodepool made are deleted, and\n" +
			"of these it keeps what an unfinished run names, what the last run of each pool changed from (the target of a\n" +
			"rollback), and the newest ones. With -f only those of the file's pools; otherwise those of pools that are gone\n" +
			"as well. What is not in the cluster is not seen: manifests in a repository that name a template.\n\n" +
			"Everything is looked at again right before each delete, which names the UID and the resource version that were\n" +
			"seen. With --out the plan is saved to be reviewed, and carried out by nodepool apply --plan.\n\n" +
			"Exit codes: 0 done, or nothing to delete; 1 error; 3 blocked; 4 a template is in use again, or changed; 6 another\n" +
			"run is at work; 130 interrupted (run again to carry on).",
		Flags: runFlags(
			&cli.StringFlag{Name: "cluster", Usage: "the cluster `NAME` whose templates to look at"},
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Value: "default", Usage: "the `NAMESPACE` of the cluster"},
			&cli.IntFlag{Name: "keep", Value: 2, Usage: "keep the newest `N` unused templates of each pool and kind"},
			&cli.StringFlag{Name: "out", Usage: "save the plan to `FILE` and do nothing else"}),
		Action: p.prune,
	})
}

func (p *program) prune(c *cli.Context) error {
	cluster, o, err := p.pruneOptions(c)
	if err != nil {
		return err
	}
	out := c.String("out")
	if out != "" {
		_, todo, _, err := p.unused(c, cluster, o)
		if err != nil {
			return err
		}
		if err := p.text(c)(p.stdout, todo.plan); err != nil {
			return err
		}
		if err := p.save(out, todo.plan); err != nil {
			return err
		}
		if todo.plan.Blocked {
			return errShown
		}
		return nil
	}
	progress, err := p.begin(c)
	if err != nil {
		return err
	}
	conn, todo, rights, err := p.unused(c, cluster, o)
	if err != nil {
		return err
	}
	if err := p.checkRights(c, conn, todo.plan, todo.snap, rights); err != nil {
		return err // before anything is written
	}
	return p.carryOut(c, conn, todo, progress)
}

// pruneOptions reads what is to be pruned: the pools of -f, or those of
// --cluster.
func (p *program) pruneOptions(c *cli.Context) (cluster schema.ClusterRef, o plan.PruneOptions, err error) {
	if o.Keep = c.Int("keep"); o.Keep < 0 {
		return cluster, o, fmt.Errorf("--keep %d: give 0 or more", o.Keep)
	}
	switch {
	case c.IsSet("file") == c.IsSet("cluster"):
		return cluster, o, errors.New("whose templates? Give either -f FILE, for the pools of an upgrade file, or --cluster NAME")
	case c.IsSet("file") && c.IsSet("namespace"):
		return cluster, o, errors.New("--namespace goes with --cluster; the upgrade file names its own")
	case c.IsSet("file"):
		up, err := p.readUpgrade(c)
		if err != nil {
			return cluster, o, err
		}
		for _, pool := range up.Spec.Pools {
			o.Pools = append(o.Pools, pool.Name)
		}
		return up.Spec.Cluster, o, nil
	}
	o.Pools = c.StringSlice("pool")
	return schema.ClusterRef{Name: c.String("cluster"), Namespace: c.String("namespace")}, o, nil
}

// unused compiles the plan that deletes what nothing refers to. Rights holds an
// error for each delete that the caller may not make.
func (p *program) unused(c *cli.Context, of schema.ClusterRef, o plan.PruneOptions) (_ apply.Cluster, t task, rights, err error) {
	cluster, err := p.open(c)
	if err != nil {
		return nil, t, nil, err
	}
	past, err := p.pastOf(c, cluster, of)
	if err != nil {
		return nil, t, nil, err
	}
	if t.snap, t.plan, err = apply.Prune(c.Context, cluster, of, o, past...); err != nil {
		return nil, t, nil, err
	}
	t.plan, rights = validate(c.Context, cluster, t.plan, t.snap, t.secrets)
	return cluster, t, rights, nil
}

// recheckPrune gives a saved prune plan with what is known of its templates now.
func (p *program) recheckPrune(c *cli.Context, saved plan.Plan) (apply.Cluster, task, error) {
	of, o, err := plan.PruneOf(saved)
	if err != nil {
		return nil, task{}, err
	}
	cluster, t, rights, err := p.unused(c, of, o)
	if err != nil {
		return nil, task{}, err
	}
	now := t.plan.StillBlocked(saved, false)
	saved.Blocked, saved.Findings = now.Blocked, now.Findings
	t.plan, t.saved = saved, true
	return cluster, t, p.checkRights(c, cluster, saved, t.snap, rights)
}

// pastOf gives all that is recorded of runs on a cluster, of whatever upgrade:
// what stands beside it, and the file of --journal. He who may not look at the
// former must keep his records elsewhere.
func (p *program) pastOf(c *cli.Context, cluster apply.Reader, of schema.ClusterRef) (past []apply.Past, err error) {
	path, ok, err := inFile(c)
	if err != nil {
		return nil, err
	}
	store, err := p.beside(c.Context, cluster, plan.UpgradeRef{Cluster: of}, plan.Snapshot{})
	if err != nil {
		return nil, err
	}
	if !ok {
		return []apply.Past{store}, nil
	}
	j, err := journal.ReadFile(path)
	if err != nil {
		return nil, err
	}
	past = append(past, j)
	var forbidden *apply.ForbiddenError
	switch _, err := store.Runs(c.Context); {
	case err == nil:
		past = append(past, store)
	case !errors.As(err, &forbidden):
		return nil, err
	}
	return past, nil
}
