package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
	"nodepool/schema"
)

func (p *program) unlockCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "unlock",
		Usage:     "take the lock of pools away from a run",
		UsageText: "nodepool unlock -f upgrade.yaml [--pool NAME] [options]\nnodepool unlock --pool NAME [--namespace NS] [options]",
		Description: "Shows who holds the lock of each pool, asks, and takes it away from them and from nobody else. A run that\n" +
			"loses its lock stops before its next write; the rollout that it waited for goes on. A lock whose holder died\n" +
			"needs no unlock: it expires within half a minute, and at once on the host of the dead process.\n\n" +
			"Exit codes: 0 done, or nothing is locked; 1 error; 6 the lock went to another run meanwhile.",
		Flags: append([]cli.Flag{fileFlag, poolFlag,
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "the `NAMESPACE` of the pools, without -f (default: that of the kubeconfig context)"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask; needed where there is no terminal"}}, kubeFlags...),
		Action: p.unlock,
	})
}

func (p *program) unlock(c *cli.Context) error {
	var names []string
	namespace := ""
	switch {
	case c.IsSet("file"):
		if c.IsSet("namespace") {
			return errors.New("--namespace goes with --pool alone; -f names the namespace itself")
		}
		up, err := p.readUpgrade(c)
		if err != nil {
			return err
		}
		namespace = up.Spec.Cluster.Namespace
		for _, pool := range up.Spec.Pools {
			names = append(names, pool.Name)
		}
	case c.IsSet("pool"):
		names = c.StringSlice("pool")
	default:
		return errors.New("which pools? Give their upgrade file with -f FILE, or --pool NAME")
	}
	cluster, err := p.open(c)
	if err != nil {
		return err
	}
	if namespace == "" {
		namespace = namespaceOf(c, cluster)
	}
	store, err := p.connect(cluster, journal.Cluster{Namespace: namespace})
	if err != nil {
		return err
	}
	var pools []plan.Ref
	for _, name := range names {
		pools = append(pools, plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: namespace, Name: name})
	}
	locked, err := store.Holders(c.Context, pools)
	if err != nil {
		return err
	}
	if !c.IsSet("file") {
		if err := knownOrLocked(c.Context, cluster, namespace, names, locked); err != nil {
			return err
		}
	}
	if len(locked) == 0 {
		fmt.Fprintln(p.stdout, "Nothing is locked.")
		return nil
	}
	for _, l := range locked {
		fmt.Fprintln(p.stdout, ui.Locked(l.Pool, l.Holder))
		if l.Dead {
			fmt.Fprintln(p.stdout, "  That process has ended: the next run takes over at once, without unlock.")
		}
	}
	if !c.Bool("auto-approve") && !isTerminal(p.stdin) {
		return errors.New("unlock asks before it takes a lock away, and there is no terminal to ask on; give --auto-approve")
	}
	if !c.Bool("auto-approve") {
		yes, err := p.confirm(c.Context, p.stdout, "\nTake the lock away from "+ui.Holders(holdersOf(locked))+"? A run that still works stops before its next write.\nOnly \"yes\" is taken for yes: ")
		if err != nil {
			return err
		}
		if !yes {
			return errors.New("nothing was taken away")
		}
	}
	var errs []error
	var evicted []journal.Locked
	for _, l := range locked {
		if err := store.Evict(c.Context, l); err != nil {
			errs = append(errs, err)
			continue
		}
		evicted = append(evicted, l)
		fmt.Fprintf(p.stdout, "%s: unlocked\n", l.Pool.Name)
	}
	if err := p.recordEviction(c, cluster, store, evicted); err != nil {
		fmt.Fprintln(p.stderr, ui.Fit(render.Escape("note: this is not in the journal of the run: "+err.Error()), width(p.stderr)))
	}
	return errors.Join(errs...)
}

// knownOrLocked gives an error for names of which there is neither a pool nor a
// lock.
func knownOrLocked(ctx context.Context, cluster apply.Cluster, namespace string, names []string, locked []journal.Locked) error {
	all := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: namespace}}
	snap, err := cluster.Fetch(ctx, []plan.Selector{all})
	if err != nil {
		return err
	}
	var known []string
	for _, md := range snap.List(all) {
		known = append(known, md.GetName())
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(locked, func(l journal.Locked) bool { return l.Pool.Name == name })
	})
	return schema.KnownPools("namespace "+namespace, names, known)
}

// recordEviction notes in the journals of the runs that were evicted who took
// which locks away from whom.
func (p *program) recordEviction(c *cli.Context, cluster apply.Cluster, store *journal.InCluster, evicted []journal.Locked) error {
	if len(evicted) == 0 {
		return nil
	}
	runs, err := store.Runs(c.Context)
	me := p.holder(c, cluster)
	for _, run := range slices.Backward(runs) {
		if run.Closed() {
			continue
		}
		var pools []string
		var from apply.Holder
		evicted = slices.DeleteFunc(evicted, func(l journal.Locked) bool {
			if l.Holder.Plan != run.Plan.Digest || l.Holder.Upgrade != run.Upgrade {
				return false
			}
			pools, from = append(pools, l.Pool.Name), l.Holder
			return true
		})
		if len(pools) == 0 {
			continue
		}
		of, oerr := p.beside(c.Context, cluster, run.Plan.Upgrade, plan.Snapshot{})
		if oerr == nil {
			oerr = of.Journal(run.Upgrade).Append(c.Context, apply.Record{Plan: run.Plan.Digest, Phase: apply.Noted, At: time.Now().UTC(), Attempt: run.Attempts(), Actor: me.Actor,
				Note: fmt.Sprintf("%s took the lock of %s away from %s (nodepool unlock)", me.Actor, strings.Join(pools, ", "), from.Actor)})
		}
		err = errors.Join(err, oerr)
	}
	if err == nil && len(evicted) > 0 {
		return errors.New("there is none of this run")
	}
	return err
}

func holdersOf(locked []journal.Locked) []apply.Holder {
	var out []apply.Holder
	for _, l := range locked {
		out = append(out, l.Holder)
	}
	return out
}
