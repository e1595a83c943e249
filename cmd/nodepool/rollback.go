package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/render"
	"nodepool/schema"
)

func (p *program) rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "take back what an apply has changed",
		UsageText: "nodepool rollback -f upgrade.yaml [options]\nnodepool rollback RUN [options]\nnodepool rollback --plan FILE [options]",
		Description: "Makes the inverse of a plan that was applied, wholly or in part, shows it, asks, and carries it out: every\n" +
			"MachineDeployment that the plan changed goes back to the values before, in one patch, the last one first. The\n" +
			"plan is that of the last run of the upgrade (-f; the file only says which upgrade), of RUN (as aws-example-1-35/3),\n" +
			"or one saved in FILE. No template is created or deleted: the old one is named again.\n\n" +
			"The inverse is compiled against the cluster as it is now, and where machines have to be made again the provider\n" +
			"is asked for their image and instance type. Where there is no way back it says why, and what is possible\n" +
			"instead. With --out it is saved to be reviewed, and carried out by nodepool apply --plan.\n\n" +
			"Exit codes: 0 done, or nothing to take back; 1 error; 3 there is no way back, or another preflight check blocks;\n" +
			"4 somebody else has changed the pools since; 5 a rollout stalled (run again to carry on); 6 another run is at\n" +
			"work; 130 interrupted (run again to carry on).",
		Flags: runFlags(
			&cli.StringFlag{Name: "plan", Usage: "take back the plan saved in `FILE`"},
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "look for RUN in `NAMESPACE` (default: that of the kubeconfig context)"},
			&cli.StringFlag{Name: "out", Usage: "save the inverse to `FILE` and do nothing else"},
			&cli.StringFlag{Name: "forward-out", Usage: "where there is no way back, save the upgrade that is possible instead to `FILE`"}, workloadFlag, noProviderFlag()),
		OnUsageError: usageError,
		Action:       p.rollback,
	}
}

func (p *program) rollback(c *cli.Context) error {
	sources := c.NArg()
	for _, flag := range []string{"file", "plan"} {
		if c.IsSet(flag) {
			sources++
		}
	}
	if sources != 1 {
		return errors.New("what is to be taken back? Give one of: -f FILE for the last run of that upgrade, a RUN such as aws-example-1-35/3, or --plan FILE for a saved plan")
	}
	if out := c.String("out"); out != "" {
		return p.saveInverse(c, out)
	}
	progress, err := p.begin(c)
	if err != nil {
		return err
	}
	cluster, todo, rights, err := p.inverse(c)
	if err != nil {
		return err
	}
	if err := p.checkRights(c, cluster, todo.plan, todo.snap, rights); err != nil {
		return err // before anything is written
	}
	return p.carryOut(c, cluster, todo, progress)
}

// saveInverse saves the plan that would be carried out.
func (p *program) saveInverse(c *cli.Context, file string) error {
	_, todo, _, err := p.inverse(c)
	if err != nil {
		return err
	}
	if err := p.text(c)(p.stdout, todo.plan); err != nil {
		return err
	}
	if todo.plan.Blocked {
		if err := todo.offer(p.stdout, c.String("forward-out")); err != nil {
			return err
		}
	}
	if err := p.save(file, todo.plan); err != nil {
		return err
	}
	if todo.plan.Blocked {
		return errShown
	}
	return nil
}

// inverse finds the plan to take back and inverts it. Rights holds an error for
// each write that the caller may not make.
func (p *program) inverse(c *cli.Context) (_ apply.Cluster, t task, rights, err error) {
	// What needs no cluster first.
	var up upgrade
	switch {
	case c.IsSet("plan"):
		t.of, err = readPlan(c.String("plan"))
	case c.IsSet("file"):
		up, err = p.readUpgrade(c)
	default:
		_, _, err = runNamed(c.Args().First())
	}
	if err != nil {
		return nil, t, nil, err
	}
	cluster, err := p.open(c)
	if err != nil {
		return nil, t, nil, err
	}
	switch {
	case c.IsSet("plan"):
	case c.IsSet("file"):
		t.of, err = p.lastRun(c, cluster, up)
	default:
		var run apply.Run
		run, err = p.runByName(c, cluster, c.Args().First())
		t.of = run.Plan
	}
	if err != nil {
		return nil, t, nil, err
	}
	if t.of.Upgrade.Purpose == plan.ForPrune {
		return nil, t, nil, fmt.Errorf("the plan %s deletes templates, and what is deleted cannot be taken back", t.of.Digest.Short())
	}
	if t.of, err = t.of.Select(c.StringSlice("pool")...); err != nil {
		return nil, t, nil, err
	}
	of := t.of
	look := func(ctx context.Context) (snap plan.Snapshot, back plan.Plan, err error) {
		return p.invert(ctx, c, cluster, of)
	}
	if t.snap, t.plan, err = look(c.Context); err != nil {
		return nil, t, nil, err
	}
	t.plan, rights = validate(c.Context, cluster, t.plan, t.snap, t.secrets)
	t.again = func(ctx context.Context) (plan.Plan, error) {
		_, back, err := look(ctx)
		return back, err
	}
	return cluster, t, rights, nil
}

// invert looks at the cluster, and beyond it as for a plan, and compiles the
// inverse of a plan.
func (p *program) invert(ctx context.Context, c *cli.Context, cluster apply.Cluster, of plan.Plan) (snap plan.Snapshot, back plan.Plan, err error) {
	up, err := plan.UpgradeOf(of)
	if err != nil {
		return snap, back, err
	}
	if snap, err = apply.ObserveInverse(ctx, cluster, of); err != nil {
		return snap, back, err
	}
	snap = inquire(ctx, plan.AskBack(of, snap), snap, inquirers(c, cluster, up, plan.Plan{}))
	back, err = plan.Invert(of, snap)
	return snap, back, err
}

// recheck gives a saved inverse with what stands in its way now.
func (p *program) recheck(c *cli.Context, saved plan.Plan) (apply.Cluster, task, error) {
	cluster, err := p.open(c)
	if err != nil {
		return nil, task{}, err
	}
	up, err := plan.UpgradeOf(saved)
	if err != nil {
		return nil, task{}, err
	}
	asked := inquirers(c, cluster, up, saved)
	look := func(ctx context.Context) (snap plan.Snapshot, now plan.Plan, err error) {
		if snap, err = apply.ObserveRecheck(ctx, cluster, saved); err != nil {
			return snap, now, err
		}
		snap = inquire(ctx, plan.AskRecheck(saved, snap), snap, asked)
		now, err = plan.Recheck(saved, snap)
		return snap, now, err
	}
	t := task{saved: true}
	if t.snap, t.plan, err = look(c.Context); err != nil {
		return nil, task{}, err
	}
	t.again = func(ctx context.Context) (plan.Plan, error) {
		_, now, err := look(ctx)
		return now, err
	}
	var rights error
	t.plan, rights = validate(c.Context, cluster, t.plan, t.snap, t.secrets)
	t.plan = t.plan.StillBlocked(saved, c.Bool("no-provider"))
	return cluster, t, p.checkRights(c, cluster, t.plan, t.snap, rights)
}

// offer writes the upgrade that is possible where there is no way back, and
// saves it to a file if one is named.
func (t task) offer(w io.Writer, file string) error {
	if t.plan.Upgrade.Purpose != plan.ForRollback || t.saved {
		return nil
	}
	up, ok := plan.Forward(t.of, t.plan, t.snap)
	if !ok {
		return nil
	}
	text, err := schema.Marshal(up)
	if err != nil {
		return err
	}
	var b strings.Builder
	if file != "" {
		if err := renameio.WriteFile(file, text, 0o600); err != nil {
			return fmt.Errorf("save the upgrade: %w", err)
		}
		fmt.Fprintf(&b, "\nThe upgrade below is saved: %s\n", ui.Shell("nodepool", "plan", "-f", file))
	}
	b.WriteString("\nPossible instead: forward, with the content of the old template. Save this (--forward-out FILE) and run nodepool plan -f on it;\n" +
		"where it sets an image, that must be one built for the pool's version, or machines cannot join:\n\n")
	for line := range strings.Lines(string(text)) {
		b.WriteString(render.Escape(strings.TrimSuffix(line, "\n")) + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// lastRun gives the plan of the last run of an upgrade that was not itself a
// rollback: after a rollback, there is nothing to take back.
func (p *program) lastRun(c *cli.Context, cluster apply.Reader, up upgrade) (plan.Plan, error) {
	runs, where, err := p.runsOf(c, cluster, plan.UpgradeRef{Name: up.Metadata.Name, Cluster: up.Spec.Cluster})
	if err != nil {
		return plan.Plan{}, err
	}
	if p, ok := lastChange(runs); ok {
		return p, nil
	}
	return plan.Plan{}, fmt.Errorf("the journal %s holds no run of the upgrade %s, so it is not known what to take back; "+
		"give the journal of the run with --journal file:PATH, or a saved plan with --plan FILE", where, up.Metadata.Name)
}

// lastChange gives the plan of the last run that went forward and changed
// something: not one that did nothing but end a pause or a hold of the run
// before it.
func lastChange(runs []apply.Run) (plan.Plan, bool) {
	var last *plan.Plan
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Plan.Upgrade.Purpose != plan.ForUpgrade {
			continue
		}
		if !runs[i].Plan.OnlyReleases() {
			return runs[i].Plan, true
		}
		if last == nil {
			last = &runs[i].Plan
		}
	}
	if last == nil {
		return plan.Plan{}, false
	}
	return *last, true // the run before it is no longer recorded
}

// runNamed takes the name of a run apart: "aws-example-1-35/3".
func runNamed(name string) (upgrade string, number int, err error) {
	upgrade, rest, ok := strings.Cut(name, "/")
	if _, serr := fmt.Sscanf(rest, "%d", &number); !ok || upgrade == "" || serr != nil || fmt.Sprint(number) != rest {
		return "", 0, fmt.Errorf("%s is no name of a run; write the name of its upgrade and its number, as in aws-example-1-35/3", render.Escape(name))
	}
	return upgrade, number, nil
}

// unfinishedByName gives the plan of a run that is not finished.
func (p *program) unfinishedByName(c *cli.Context, name string) (plan.Plan, error) {
	cluster, err := p.open(c)
	if err != nil {
		return plan.Plan{}, err
	}
	run, err := p.runByName(c, cluster, name)
	if err == nil && run.Closed() {
		err = fmt.Errorf("the run %s has ended: %s; there is nothing to carry on with. nodepool history %[1]s tells all of it", run.Name(), apply.ReportOf(run).Outcome)
	}
	return run.Plan, err
}

// runByName gives a run by its name, from the journal of its upgrade.
func (p *program) runByName(c *cli.Context, cluster apply.Reader, name string) (apply.Run, error) {
	upgrade, number, err := runNamed(name)
	if err != nil {
		return apply.Run{}, err
	}
	runs, err := p.runsNamed(c, cluster, upgrade)
	if err != nil {
		return apply.Run{}, err
	}
	var found []apply.Run
	var known []string
	for _, r := range runs {
		known = append(known, r.Name())
		if r.Number == number {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return apply.Run{}, fmt.Errorf("there are %d runs named %s, of several clusters; name the upgrade file with -f, which names the cluster", len(found), name)
	case len(known) > 0:
		return apply.Run{}, fmt.Errorf("there is no run %s; there are %s", name, strings.Join(known, ", "))
	}
	return apply.Run{}, fmt.Errorf("no run of the upgrade %s is known in namespace %s (--namespace); name its upgrade file with -f, its journal with --journal file:PATH, or a saved plan with --plan FILE", upgrade, namespaceOf(c, cluster))
}
