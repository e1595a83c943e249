package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
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

func (p *program) statusCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "status",
		Usage:     "show how far each pool is, and who is at work on it",
		UsageText: "nodepool status [-f upgrade.yaml] [--cluster NAME] [--namespace NS] [options]",
		Description: "One line a pool: its version, whether a rollout is under way or held up and by what, counted on the machines\n" +
			"themselves; the unfinished run that works on it with the step that is next; and who holds its lock. With -f,\n" +
			"the pools of the upgrade file and how many of their fields it would change. Where the journal or the locks\n" +
			"cannot be read, that is said and the rest is shown. --watch goes on: on a terminal it redraws, elsewhere it tells\n" +
			"each pool that has changed.",
		Flags: append([]cli.Flag{fileFlag, poolFlag,
			&cli.StringFlag{Name: "cluster", Usage: "only the pools of the cluster `NAME`"},
			namespaceFlag, journalFlag,
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it anew at each change, until interrupted"},
			outputFlag("text or json")}, kubeFlags...),
		Action: p.status,
	})
}

func (p *program) status(c *cli.Context) error {
	form := c.String("output")
	if form != "text" && form != "json" {
		return fmt.Errorf("-o %s: there is no such form of a status; there are text and json", render.Escape(form))
	}
	look := looker{program: p, c: c}
	if c.IsSet("file") {
		if c.IsSet("cluster") || c.IsSet("namespace") {
			return errors.New("-f names the cluster and its namespace itself; leave --cluster and --namespace out")
		}
		up, err := p.readUpgrade(c)
		if err != nil {
			return err
		}
		look.up = &up
		look.scope = plan.Scope{Namespace: up.Spec.Cluster.Namespace, Cluster: up.Spec.Cluster.Name}
	}
	var err error
	if look.cluster, err = p.open(c); err != nil {
		return err
	}
	if look.up == nil {
		look.scope = plan.Scope{Namespace: namespaceOf(c, look.cluster), Cluster: c.String("cluster")}
	}
	show := func(pools []apply.PoolState) error {
		switch {
		case form == "json":
			return p.encode(pools)
		case len(pools) == 0:
			_, err := fmt.Fprintf(p.stdout, "There are no MachineDeployments in namespace %s; --namespace names another one.\n", render.Escape(look.scope.Namespace))
			return err
		}
		return ui.States(p.stdout, pools, width(p.stdout))
	}
	pools, err := look.survey(c.Context)
	if err != nil {
		return err
	}
	if !c.Bool("watch") {
		states, err := look.around(c.Context, pools)
		if err != nil {
			return err
		}
		return show(states)
	}
	switch {
	case form == "json":
		return look.watch(show)
	case isTerminal(p.stdout) && os.Getenv("TERM") != "dumb":
		var screen *ui.Screen
		defer func() {
			if screen != nil {
				screen.Close()
			}
		}()
		return look.watch(func(pools []apply.PoolState) error {
			if screen == nil { // what could not be read has been said by now
				screen = ui.NewScreen(p.stdout, width(p.stdout), 0)
			}
			screen.Show(func(w io.Writer, columns int) error { return ui.States(w, pools, columns) })
			return nil
		})
	}
	var last []apply.PoolState
	return look.watch(func(pools []apply.PoolState) error {
		before := last
		if last = pools; before == nil {
			return show(pools)
		}
		return ui.Changed(p.stdout, before, pools, time.Now())
	})
}

// looker gathers what status shows.
type looker struct {
	*program
	c       *cli.Context
	cluster apply.Cluster
	scope   plan.Scope
	up      *upgrade
	// told holds what was said to be missing, so that it is said once.
	told map[string]bool
}

// survey asks the cluster how the pools stand.
func (l *looker) survey(ctx context.Context) ([]plan.PoolStatus, error) {
	snap, pools, err := apply.Survey(ctx, l.cluster, l.scope)
	if err != nil {
		return nil, err
	}
	if l.up == nil && l.scope.Cluster != "" && len(pools) == 0 && !plan.HasCluster(l.scope, snap) {
		return nil, fmt.Errorf("there is no cluster %s in namespace %s; nodepool list shows all that have pools",
			render.Escape(l.scope.Cluster), render.Escape(l.scope.Namespace))
	}
	if l.up == nil && len(l.c.StringSlice("pool")) > 0 {
		var known []string
		for _, p := range pools {
			known = append(known, p.Name)
		}
		whose := "namespace " + l.scope.Namespace
		if l.scope.Cluster != "" {
			whose = "cluster " + l.scope.Cluster
		}
		if err := schema.KnownPools(whose, l.c.StringSlice("pool"), known); err != nil {
			return nil, err
		}
	}
	l.sayUnread(pools, snap)
	return pools, nil
}

// around adds what is being done to the pools. What the journal and the locks
// would add is left out where they cannot be read.
func (l *looker) around(ctx context.Context, pools []plan.PoolStatus) (_ []apply.PoolState, err error) {
	changes := map[string]int{}
	if l.up != nil {
		if changes, err = l.changes(ctx); err != nil {
			return nil, err
		}
		pools = slices.DeleteFunc(pools, func(s plan.PoolStatus) bool { _, asked := changes[s.Name]; return !asked })
	} else if only := l.c.StringSlice("pool"); len(only) > 0 {
		pools = slices.DeleteFunc(pools, func(s plan.PoolStatus) bool { return !slices.Contains(only, s.Name) })
	}
	out := []apply.PoolState{}
	refs := make([]plan.Ref, len(pools))
	for i, s := range pools {
		state := apply.PoolState{PoolStatus: s}
		if n, ok := changes[s.Name]; ok {
			state.Changes = &n
		}
		out = append(out, state)
		refs[i] = plan.Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: s.Namespace, Name: s.Name}
	}
	flight, err := l.inFlight(ctx)
	l.without("The runs", err)
	holders, lerr := l.holders(ctx, refs, flight)
	l.without("The locks", lerr)
	for i := range out {
		if h, ok := holders[refs[i]]; ok {
			out[i].Holder = &h
		}
		run, ok := flight[refs[i]]
		if !ok {
			continue
		}
		run.Idle = lerr == nil && !slices.ContainsFunc(slices.Collect(maps.Values(holders)), func(h apply.Holder) bool { return h.Plan == run.Plan })
		if run.Step == "" && !out[i].Complete {
			// The pool was looked at a moment before its run was.
			run.Finished = false
		}
		out[i].Run = &run
	}
	return out, nil
}

// changes counts for each pool of the upgrade file what it would change.
func (l *looker) changes(ctx context.Context) (map[string]int, error) {
	snap, err := apply.Observe(ctx, l.cluster, l.up.Upgrade)
	if err != nil {
		return nil, err
	}
	made, err := plan.Compile(l.up.Upgrade, snap)
	if err != nil {
		return nil, l.up.locate(err)
	}
	out := map[string]int{}
	for _, pool := range l.up.Spec.Pools {
		out[pool.Name] = 0
	}
	for _, s := range made.Steps {
		switch {
		case s.Create != nil:
			out[s.Pool] += len(s.Create.Changes)
		case s.Patch != nil:
			out[s.Pool] += len(s.Patch.Changes)
		}
	}
	return out, nil
}

// inFlight gives how far the unfinished runs are with each pool.
func (l *looker) inFlight(ctx context.Context) (map[plan.Ref]apply.RunState, error) {
	var runs []apply.Run
	path, ok, err := inFile(l.c)
	switch {
	case err != nil:
		return nil, err
	case ok:
		runs, err = readRuns(ctx, path)
	default:
		var store *journal.InCluster
		if store, err = l.connect(l.cluster, journal.Cluster{Namespace: l.scope.Namespace, Name: l.scope.Cluster}); err == nil {
			runs, err = store.Runs(ctx)
		}
	}
	out := map[plan.Ref]apply.RunState{}
	for _, run := range runs {
		if run.Closed() {
			continue
		}
		flight, ferr := apply.InFlight(ctx, l.cluster, run, runs...)
		err = errors.Join(err, ferr)
		for pool, state := range flight {
			out[pool] = state
		}
	}
	return out, err
}

// holders gives who holds the lock of each pool. The lock of a file is one for
// all pools of the plan that its holder is at.
func (l *looker) holders(ctx context.Context, pools []plan.Ref, flight map[plan.Ref]apply.RunState) (map[plan.Ref]apply.Holder, error) {
	if path, ok, err := inFile(l.c); ok || err != nil || len(pools) == 0 {
		if !ok || err != nil {
			return nil, err
		}
		h, held, err := journal.FileHolder(path)
		out := map[plan.Ref]apply.Holder{}
		for _, pool := range pools {
			if held && flight[pool].Plan == h.Plan && h.Plan != "" {
				out[pool] = h
			}
		}
		return out, err
	}
	store, err := l.connect(l.cluster, journal.Cluster{Namespace: l.scope.Namespace, Name: l.scope.Cluster})
	if err != nil {
		return nil, err
	}
	locked, err := store.Holders(ctx, pools)
	out := map[plan.Ref]apply.Holder{}
	for _, h := range locked {
		if h.AtWork() {
			out[h.Pool] = h.Holder
		}
	}
	return out, err
}

// without says once that a part is left out, and why.
func (l *looker) without(part string, err error) {
	if err == nil {
		return
	}
	message, _ := ui.Explain(err)
	line := part + " are left out: " + strings.TrimPrefix(message, "error: ")
	if !l.told[line] {
		if l.told == nil {
			l.told = map[string]bool{}
		}
		l.told[line] = true
		fmt.Fprintln(l.stderr, ui.Fit(line, width(l.stderr)))
	}
}

// watch shows the pools each time that one of them has changed. It follows the
// machines by a watch, and reads runs and locks again when it shows.
func (l *looker) watch(show func([]apply.PoolState) error) error {
	ctx := l.c.Context
	selectors := plan.SurveyNeeds(l.scope, plan.Snapshot{})
	snap, err := l.cluster.Fetch(ctx, selectors)
	if err != nil {
		return err
	}
	// The control planes and templates that the pools name now: a template that
	// is named later is left out of what is shown.
	feed, err := l.cluster.Watch(ctx, append(selectors, plan.SurveyNeeds(l.scope, snap)...))
	if err != nil {
		return err
	}
	defer feed.Stop()
	var last []plan.PoolStatus
	for first := true; ; first = false {
		snap, err := feed.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		pools := plan.Survey(l.scope, snap)
		if !first && slices.Equal(pools, last) {
			continue
		}
		last = pools
		states, err := l.around(ctx, slices.Clone(pools))
		if err != nil {
			return err
		}
		if err := show(states); err != nil {
			return err
		}
	}
}
