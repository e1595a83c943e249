package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/render"
	"nodepool/schema"
)

func (p *program) applyCommand() *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "do what the plan says, or carry on with it",
		UsageText: "nodepool apply -f upgrade.yaml [options]\nnodepool apply --plan FILE [-f upgrade.yaml] [options]\nnodepool apply RUN [-f upgrade.yaml] [options]",
		Description: "Shows the plan, asks, and carries it out step by step. Every step is recorded before and after it acts.\n" +
			"With -f the plan is compiled now; --expect goes on only if it is the reviewed one. With --plan a saved plan is\n" +
			"carried out as it was reviewed, or not at all; where it holds secrets it needs its upgrade file too. With RUN, such\n" +
			"as aws-example-1-35/3, the recorded plan of a run that is not finished is carried on with, in the same way.\n\n" +
			"It locks the pools, so that two runs cannot work on one; the record and the lock are kept in the management\n" +
			"cluster, for any machine to carry on, or with --journal file:PATH on this one.\n\n" +
			"Run again after it was killed or interrupted, it carries on with the same plan and repeats nothing.\n" +
			"It returns when the last old machine is gone and every new one is proved to be as wanted.\n\n" +
			"Exit codes: 0 done, or nothing to do; 1 error; 3 blocked by a preflight check; 4 the cluster is not as it\n" +
			"was reviewed; 5 a rollout stalled (run again to carry on); 6 another run is at work; 130 interrupted\n" +
			"(run again to carry on).",
		Flags: runFlags(
			&cli.StringFlag{Name: "plan", Usage: "carry out the plan saved in `FILE`"},
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "look for RUN in `NAMESPACE` (default: that of the kubeconfig context)"}, workloadFlag, noProviderFlag()),
		OnUsageError: usageError,
		Action:       p.apply,
	}
}

// runFlags are the options of every command that carries out a plan.
func runFlags(own ...cli.Flag) []cli.Flag {
	return slices.Concat([]cli.Flag{fileFlag, poolFlag}, own, []cli.Flag{
		&cli.StringFlag{Name: "expect", Usage: "go on only if the plan has this `DIGEST` (sha256:…), or there is nothing to do"},
		&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask; needed where there is no terminal"},
		&cli.BoolFlag{Name: "abandon", Usage: "give up an unfinished run of this upgrade and begin the new plan"},
		&cli.StringFlag{Name: "progress", Value: "auto", Usage: "the `FORM` of the progress: auto, plain or json"},
		&cli.StringFlag{Name: "ticket", Usage: "the `ID` of the change-review ticket, for the lock, the journal and the Events"},
		journalFlag, lockFlag, noColorFlag}, kubeFlags)
}

func (p *program) apply(c *cli.Context) error {
	progress, err := p.begin(c)
	if err != nil {
		return err
	}
	cluster, todo, err := p.prepare(c)
	if err != nil {
		return err
	}
	return p.carryOut(c, cluster, todo, progress)
}

// begin checks the options that runFlags are about.
func (p *program) begin(c *cli.Context) (ui.Options, error) {
	progress, err := p.progressOptions(c)
	if err != nil {
		return progress, err
	}
	if err := checkTicket(c.String("ticket")); err != nil {
		return progress, err
	}
	if _, _, err := inFile(c); err != nil {
		return progress, err
	}
	if expect := c.String("expect"); expect != "" && !plan.Digest(expect).Valid() {
		return progress, fmt.Errorf("--expect %s: this is no digest; give the sha256:… that the plan ends with", render.Escape(expect))
	}
	return progress, nil
}

// carryOut shows the plan, or the begun one that it carries on, asks, and
// carries it out.
func (p *program) carryOut(c *cli.Context, cluster apply.Cluster, todo task, progress ui.Options) (err error) {
	me := p.holder(c, cluster)
	j, err := p.keep(c, me, cluster, todo.plan.Upgrade, todo.snap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()

	e := &apply.Executor{Cluster: cluster, Journal: j, Secrets: todo.secrets, Lock: j.lock, Holder: me,
		Command: runCommand(c.String("kubeconfig")), Preflight: todo.preflight(time.Now())}
	made, giveUp, abandoned, err := p.abandon(c, e, todo)
	if err == nil && !abandoned {
		made, giveUp, err = p.choose(c, e, j, todo)
	}
	if err == nil && giveUp.Plan != "" {
		err = j.runAtWork(c.Context, giveUp.Plan)
	}
	if err == nil {
		e.Displace, err = p.displace(c, e, j, made)
	}
	if unfinished := (*apply.UnfinishedError)(nil); errors.As(err, &unfinished) {
		// Is it at work? Then there is nothing to choose yet.
		if h, ok := j.atWork(c.Context, poolRefs(todo.plan)); ok && h.Holder.Plan == unfinished.Unfinished {
			return &apply.LockedError{Pool: h.Pool, Holder: h.Holder, InTheWay: true}
		}
		if locked := j.runAtWork(c.Context, unfinished.Unfinished); locked != nil {
			return locked
		}
	}
	if err != nil {
		return err
	}
	// Where all is done already, as by a run whose end nobody has heard of, the
	// reviewed plan cannot be compiled again, and there is nothing to refuse.
	if expect := plan.Digest(c.String("expect")); expect != "" && expect != made.Digest && !made.IsEmpty() {
		return &apply.StaleError{Reviewed: expect, Found: made.Digest}
	}
	if ahead, ok := j.Journal.(interface{ Prepare(plan.Plan) }); ok && !made.Blocked && !made.IsEmpty() {
		ahead.Prepare(made)
	}
	// Where progress is for a program, the plan goes to the people's side.
	stdout := p.stdout
	if progress.Mode == ui.JSONLines {
		stdout = p.stderr
	}
	if err := p.text(c)(stdout, made); err != nil {
		return err
	}
	if made.Blocked {
		if err := todo.offer(stdout, c.String("forward-out")); err != nil {
			return err
		}
		return p.sayBlocked(made)
	}
	if made.IsEmpty() {
		closed, err := closeFoundDone(c.Context, e, made, todo.snap)
		if err != nil || closed == nil {
			return err
		}
		fmt.Fprintln(stdout, "\nThe run that was begun and not finished has nothing left to do, and is closed.")
		p.sayClosing(c, cluster, j, *closed, nil, stdout)
		return nil
	}
	if err := sayDone(stdout, made, todo.snap); err != nil {
		return err
	}
	e.Before = apply.LookBefore(made, todo.snap)
	if !c.Bool("auto-approve") {
		if !isTerminal(p.stdin) {
			return fmt.Errorf("nothing was written: %[1]s asks before it acts, and there is no terminal to ask on; look at the plan with nodepool %[2]s, then give --auto-approve",
				c.Command.Name, map[string]string{"apply": "plan", "rollback": "rollback --out FILE", "prune": "prune --out FILE"}[c.Command.Name])
		}
		if h, ok := j.atWork(c.Context, poolRefs(made)); ok {
			fmt.Fprintln(stdout, "\n"+ui.Fit(ui.Locked(h.Pool, h.Holder), width(stdout))+"\nIf that run has not ended by then, nothing is done.")
		}
		yes, err := p.confirm(c.Context, stdout, "\n"+question(made.Upgrade.Purpose)+" Only \"yes\" is taken for yes: ")
		if err != nil {
			return err
		}
		if !yes {
			return errors.New("not applied; nothing was written")
		}
	}
	e.GiveUp = giveUp
	fmt.Fprintln(stdout)
	p.next = p.commands(c, made)
	progress.Interrupted, progress.Aside, progress.Commands = c.Context.Done(), p.stderr, p.next
	out := ui.NewProgress(p.stdout, progress)
	defer func() { out.Close() }()
	e.Notify = func(event apply.Event) { out.Event(event) }
	if j.store != nil {
		events := j.store.Events(todo.snap, e.Holder)
		defer events.Close()
		e.Notify = func(event apply.Event) {
			out.Event(event)
			events.Event(event)
		}
	}
	e.Notify = p.garbage.leanWaits(e.Notify)
	err = e.Run(c.Context, made)
	for _, stall := range apply.Stalls(err) {
		if stall.Step.Wait == nil || !stall.Step.Wait.Rollback {
			continue
		}
		if c.Context.Err() != nil {
			stall.Then = strings.TrimSpace(stall.Then + " The pool was to be taken back, and is not: the run was interrupted. nodepool rollback --pool " + stall.Step.Pool + " does it.")
			continue
		}
		out.Close()
		out = ui.NewProgress(p.stdout, progress)
		p.takeBack(c, e, made, stall, p.showInverse(c, made))
	}
	sayNext(c.Context, e, made, apply.Stalls(err))
	if err == nil && made.Upgrade.Purpose == plan.ForRollback {
		err = markTakenBack(c.Context, j, made.Upgrade.Rollback, made, e.Holder.Actor)
	}
	out.Close()
	sayPaused := func() {}
	if err == nil && made.Upgrade.Purpose != plan.ForPrune {
		sayPaused = p.lookPaused(c.Context, cluster, made)
	}
	p.sayClosing(c, cluster, j, made, err, stdout)
	sayPaused()
	return err
}

// sayBlocked says in a line what the plan has said at length, for those who see
// the one stream and not the other.
func (p *program) sayBlocked(made plan.Plan) error {
	var codes []string
	for _, f := range blocks(made) {
		if !slices.Contains(codes, f.Code) {
			codes = append(codes, f.Code)
		}
	}
	by := ""
	if len(codes) > 0 {
		by = " by " + strings.Join(codes, ", ")
	}
	fmt.Fprintf(p.stderr, "The plan is blocked%s. Nothing was written.\n", render.Escape(by))
	return errShown
}

// task is a plan with what it takes to carry it out.
type task struct {
	plan    plan.Plan
	snap    plan.Snapshot
	secrets plan.Secrets
	// saved tells that the plan was not compiled now, and wasBlocked that it was
	// blocked when it was saved.
	saved, wasBlocked bool
	// of is the plan that is taken back, for a rollback.
	of plan.Plan
	// again makes the plan's checks again; nil where there are none that could
	// answer otherwise than when the plan was made.
	again func(context.Context) (plan.Plan, error)
}

// fresh is how old the checks of a plan may be when its first step begins.
const fresh = 30 * time.Second

// preflight makes the checks again where somebody was asked, or another run
// was waited for, since they were made.
func (t task) preflight(made time.Time) func(context.Context) ([]plan.Finding, error) {
	again := t.again // alone: the run would keep the snapshot of t for as long as it lasts
	if again == nil {
		return nil
	}
	return func(ctx context.Context) ([]plan.Finding, error) {
		if time.Since(made) < fresh {
			return nil, nil
		}
		now, err := again(ctx)
		return blocks(now), err
	}
}

// prepare compiles the plan of -f, or reads the one of --plan and compiles
// its upgrade again, to see what stands in its way now.
func (p *program) prepare(c *cli.Context) (apply.Cluster, task, error) {
	var saved plan.Plan
	var err error
	if (c.IsSet("plan") || c.Args().Present()) && c.IsSet("pool") {
		return nil, task{}, errors.New("--pool narrows an upgrade file, and a saved plan is carried out whole; make a plan of those pools with nodepool plan --pool NAME --out FILE")
	}
	if err := checkRunArgument(c); err != nil {
		return nil, task{}, err
	}
	source := c.String("plan")
	if name := c.Args().First(); name != "" {
		source = "the run " + render.Escape(name)
		if saved, err = p.unfinishedByName(c, name); err != nil {
			return nil, task{}, err
		}
	}
	if c.IsSet("plan") {
		if saved, err = readPlan(c.String("plan")); err != nil {
			return nil, task{}, err
		}
	}
	if source != "" {
		switch saved.Upgrade.Purpose {
		case plan.ForUpgrade, plan.ForAbandon:
		case plan.ForRollback:
			return p.recheck(c, saved)
		case plan.ForPrune:
			return p.recheckPrune(c, saved)
		}
	}
	var up upgrade
	if source != "" && !c.IsSet("file") {
		up.file = source
		if up.Upgrade, err = plan.UpgradeOf(saved); err != nil {
			return nil, task{}, err
		}
	} else if up, err = p.readUpgrade(c); err != nil {
		return nil, task{}, err
	}
	cluster, err := p.open(c)
	if err != nil {
		return nil, task{}, err
	}
	asked := inquirers(c, cluster, up.Upgrade, saved)
	prepare(c.Context, cluster, up.Spec.Cluster)
	snap, made, rights, err := compile(c.Context, cluster, up, asked)
	var forbidden *apply.ForbiddenError
	switch {
	case errors.As(err, &forbidden):
		missing, _ := apply.CheckRights(c.Context, cluster, append(apply.ApplyRights(apply.Expected(up.Upgrade, snap)), bookkeeping(c, up.Spec.Cluster, true)...))
		return nil, task{}, errors.Join(err, missing)
	case err != nil:
		return nil, task{}, err
	}
	made = made.StillBlocked(saved, c.Bool("no-provider"))
	if err := p.checkRights(c, cluster, made, snap, rights); err != nil {
		return nil, task{}, err // before anything is written
	}
	t := task{plan: made, snap: snap, secrets: plan.SecretsOf(up.Upgrade, snap)}
	t.again = func(ctx context.Context) (plan.Plan, error) {
		now, err := observe(ctx, cluster, up.Upgrade, asked)
		if err != nil {
			return plan.Plan{}, err
		}
		return plan.Compile(up.Upgrade, now)
	}
	if source != "" {
		if up.Metadata.Name != saved.Upgrade.Name || up.Spec.Cluster != saved.Upgrade.Cluster {
			return nil, task{}, fmt.Errorf("%s is the upgrade %s of %s/%s, and the plan is of %s of %s/%s; give the file that the plan was made from",
				up.file, up.Metadata.Name, up.Spec.Cluster.Namespace, up.Spec.Cluster.Name,
				saved.Upgrade.Name, saved.Upgrade.Cluster.Namespace, saved.Upgrade.Cluster.Name)
		}
		if made.Upgrade.Spec != saved.Upgrade.Spec {
			return nil, task{}, &apply.StaleError{Reviewed: saved.Digest, Found: made.Digest}
		}
		// What stood in the way is old; what does now, and what nobody has looked
		// at again, stands in the new plan.
		t.wasBlocked = saved.Blocked
		saved.Blocked, saved.Findings, saved.Impact = made.Blocked, made.Findings, made.Impact
		t.plan, t.saved = saved, true
	}
	return cluster, t, nil
}

// checkRights gives all rights that carrying made out takes and that are
// missing, among them those that a dry run has found. Of rights without which
// all is done but less is told it says so.
func (p *program) checkRights(c *cli.Context, cluster apply.Reader, made plan.Plan, snap plan.Snapshot, found error) error {
	if made.Blocked {
		return nil // which is told first
	}
	todo := apply.ApplyRights(apply.ToDo(made, snap))
	if !made.IsEmpty() {
		todo = append(todo, bookkeeping(c, made.Upgrade.Cluster, made.Upgrade.Purpose != plan.ForPrune)...)
	}
	missing, lesser := apply.CheckRights(c.Context, cluster, todo)
	if err := errors.Join(found, missing); err != nil {
		return err
	}
	if lesser != nil {
		fmt.Fprintln(p.stderr, ui.Fit(ui.WithoutRights(lesser), width(p.stderr)))
	}
	return nil
}

// bookkeeping gives the rights to what is written beside the plan: none where
// the journal is a file.
func bookkeeping(c *cli.Context, of schema.ClusterRef, pools bool) []apply.Right {
	if _, ok, _ := inFile(c); ok {
		return nil
	}
	return apply.BookkeepingRights(of.Namespace, pools)
}

// checkRunArgument refuses a RUN that does not go with the options.
func checkRunArgument(c *cli.Context) error {
	if !c.Args().Present() {
		return nil
	}
	if c.NArg() > 1 || c.IsSet("plan") {
		return errors.New("one plan at a time: a RUN such as aws-example-1-35/3, or --plan FILE")
	}
	if _, _, err := runNamed(c.Args().First()); err != nil {
		return fmt.Errorf("%w; the upgrade file goes behind -f", err)
	}
	return nil
}

func readPlan(file string) (plan.Plan, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("read the plan: %w", err)
	}
	return plan.Read(data)
}

// choose decides between the plan at hand and one that was begun and not
// finished. A saved plan counts as it is, and is first held to the facts that
// it relies on. Otherwise the begun one is carried on when it comes from the
// same spec, or takes back the same plan, and still goes with the cluster; if
// not, the new one counts, which the user is about to see and approve. A begun
// one that is to be taken back needs no other word to be given up.
//
// GiveUp says which begun one is given up once the new one is approved, and
// why; it is empty when there is none to give up.
func (p *program) choose(c *cli.Context, e *apply.Executor, j keeping, todo task) (made plan.Plan, giveUp apply.GiveUp, err error) {
	made = todo.plan
	verify := func(p plan.Plan) error {
		return errors.Join(e.Verify(c.Context, p), apply.Confirm(p, todo.plan))
	}
	runs, err := e.Journal.Runs(c.Context)
	if err != nil {
		return made, apply.GiveUp{}, err
	}
	begun := apply.Unfinished(runs)
	if begun != nil && begun.Plan.Digest == made.Digest {
		made.Steps = begun.ToDo().Steps
	}
	// What blocked the plan already when it was saved is no drift: it is told below.
	if todo.saved && !(todo.wasBlocked && made.Blocked) {
		if err := verify(made); err != nil {
			return made, apply.GiveUp{}, err
		}
	}
	if begun == nil || begun.Plan.Digest == made.Digest || made.IsEmpty() {
		return made, apply.GiveUp{}, nil
	}
	short := begun.Plan.Digest.Short()
	retry := made.Upgrade.Purpose == plan.ForRollback && begun.Plan.Upgrade.Purpose == plan.ForUpgrade && begun.Plan.OnlyReleases()
	if begun.Plan.Digest == made.Upgrade.Rollback || retry { // of a retry the run before it is taken back
		if beside, err := leavesOthers(c.Context, e, begun.Plan.Digest, made); beside || err != nil {
			return made, apply.GiveUp{}, err
		}
		return made, apply.GiveUp{Plan: begun.Plan.Digest, Why: "rolled back by the plan " + made.Digest.Short()}, nil
	}
	if todo.saved || !begun.Plan.Upgrade.SameTask(made.Upgrade) {
		if !c.Bool("abandon") {
			return made, apply.GiveUp{}, apply.UnfinishedRun(*begun, made.Digest)
		}
		fmt.Fprintf(p.stderr, "The plan %s, which was begun and not finished, is given up when this one is approved.\n\n", short)
		return made, apply.GiveUp{Plan: begun.Plan.Digest, Why: "abandoned"}, nil
	}
	var drift *apply.DriftError
	carried := begun.ToDo()
	switch err := verify(carried); {
	case err == nil:
		if h, ok := j.atWork(c.Context, poolRefs(carried)); ok && h.Holder.Plan == carried.Digest {
			fmt.Fprintf(p.stderr, "The plan %s is being carried out now by %s. If that run ends before the time to wait for its lock is up, this one carries on with it.\n", short, render.Escape(h.Holder.Actor))
		} else {
			fmt.Fprintf(p.stderr, "Carrying on with the plan %s, which was begun and not finished.\n", short)
		}
		if without := begun.TakenBack(); len(without) > 0 {
			fmt.Fprintf(p.stderr, "It leaves out what was taken back: %s.\n", render.Escape(strings.Join(without, ", ")))
		}
		fmt.Fprintln(p.stderr)
		carried.Blocked, carried.Findings, carried.Impact = made.Blocked, made.Findings, made.Impact
		return carried, apply.GiveUp{}, nil
	case errors.As(err, &drift):
		fmt.Fprintf(p.stderr, "The plan %s, which was begun and not finished, no longer goes with the cluster; this is a new one.\n\n", short)
		return made, apply.GiveUp{Plan: begun.Plan.Digest, Why: "superseded: " + err.Error()}, nil
	default:
		return made, apply.GiveUp{}, err
	}
}

// abandon gives the plan that ends what a run of this upgrade holds, where
// --abandon is to give that run up and the plan at hand would not end it: it is
// of the same upgrade, and so would carry the run on, or leaves a pool out that
// the run holds. It is false where there is no such thing.
func (p *program) abandon(c *cli.Context, e *apply.Executor, todo task) (plan.Plan, apply.GiveUp, bool, error) {
	none := func(err error) (plan.Plan, apply.GiveUp, bool, error) { return plan.Plan{}, apply.GiveUp{}, false, err }
	if !c.Bool("abandon") || todo.plan.Upgrade.Purpose != plan.ForUpgrade {
		return none(nil)
	}
	begun, unfinished, err := e.Journal.Unfinished(c.Context)
	if err != nil {
		return none(err)
	}
	if !unfinished || begun.Upgrade.Purpose != plan.ForUpgrade {
		begun = todo.plan // the journal may be lost: the pools tell
	}
	up, err := plan.UpgradeOf(begun)
	if err != nil {
		return none(err)
	}
	snap, err := apply.Observe(c.Context, e.Cluster, up)
	if err != nil {
		return none(err)
	}
	release, err := plan.Abandon(up, snap)
	if err != nil || release.IsEmpty() {
		return none(err)
	}
	left := slices.ContainsFunc(release.Steps, func(s plan.Step) bool {
		return !slices.ContainsFunc(todo.plan.Steps, func(o plan.Step) bool { return o.Pool == s.Pool })
	})
	if !begun.Upgrade.SameTask(todo.plan.Upgrade) && !left {
		return none(nil) // the new plan takes over what is held
	}
	fmt.Fprintln(p.stderr, "The run that was begun and not finished holds a rollout. To give it up is to end the hold, by this plan; apply again for another one.")
	fmt.Fprintln(p.stderr)
	giveUp := apply.GiveUp{}
	if unfinished {
		giveUp = apply.GiveUp{Plan: begun.Digest, Why: "abandoned"}
	}
	return release, giveUp, true, nil
}

// confirm asks, and gives up asking when ctx is done: a terminal's read cannot
// be interrupted.
func (p *program) confirm(ctx context.Context, out io.Writer, question string) (bool, error) {
	type answer struct {
		yes bool
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		yes, err := ui.Confirm(p.stdin, out, question)
		answered <- answer{yes, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(out)
		return false, fmt.Errorf("not applied; nothing was written: %w", ctx.Err())
	case a := <-answered:
		if ctx.Err() != nil {
			return false, fmt.Errorf("not applied; nothing was written: %w", ctx.Err())
		}
		return a.yes, a.err
	}
}

// progressOptions reads --progress.
func (p *program) progressOptions(c *cli.Context) (ui.Options, error) {
	o := ui.Options{Color: p.color(c, p.stdout)}
	switch form := c.String("progress"); form {
	case "auto":
		if isTerminal(p.stdout) {
			o.Mode = ui.Live
		}
	case "plain":
	case "json":
		o.Mode = ui.JSONLines
	default:
		return o, fmt.Errorf("--progress %s: there is no such form; there are auto, plain and json", form)
	}
	return o, nil
}
