package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/aws"
	"nodepool/apply/kube"
	"nodepool/apply/offline"
	"nodepool/apply/workload"
	"nodepool/plan"
	"nodepool/plan/render"
	"nodepool/schema"
)

func (p *program) planCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "plan",
		Usage:     "show what apply would do, without doing it",
		UsageText: "nodepool plan -f upgrade.yaml [options]",
		Description: "Reads the upgrade file and the cluster (with --from, manifests instead) and prints the plan: the preflight\n" +
			"checks, and for each pool the template to create, the patch of the MachineDeployment, and the wait. Changes\n" +
			"nothing in the cluster: each write is only tried as a dry run, where the caller may make it (not with --no-dry-run).\n\n" +
			"Exit codes: 0 a plan was made; with --detailed-exitcode 0 means nothing to do and 2 changes pending;\n" +
			"3 a preflight check blocks the plan; 1 error.",
		Flags: append([]cli.Flag{fileFlag, poolFlag, outputFlag("text, markdown, json or yaml"),
			&cli.StringFlag{Name: "out", Usage: "save the plan to `FILE`, for nodepool show, diff and apply --plan"},
			&cli.BoolFlag{Name: "full", Usage: "show passed checks, facts, and every new template and resulting MachineDeployment whole (text and markdown)"},
			&cli.StringFlag{Name: "export", Usage: "write the changes as manifests for a Git repository into the folder `DIR`"},
			&cli.BoolFlag{Name: "reveal", Usage: "let --export write secrets in clear (mode 0600)"},
			&cli.BoolFlag{Name: "detailed-exitcode", Usage: "exit 2 when there is something to do"}, workloadFlag, noProviderFlag(),
			&cli.BoolFlag{Name: "no-dry-run", Usage: "do not have the server validate the writes, which takes two requests for each pool"}, noColorFlag, fromFlag}, kubeFlags...),
		Action: p.plan,
	})
}

func (p *program) plan(c *cli.Context) error {
	show, err := p.planRenderer(c)
	if err != nil {
		return err
	}
	if c.Bool("reveal") && !c.IsSet("export") {
		return errors.New("--reveal lets --export write secrets; give --export DIR too, or leave it out")
	}
	up, err := p.readUpgrade(c)
	if err != nil {
		return err
	}
	reader, err := p.reader(c)
	if err != nil {
		return err
	}
	if c.Bool("workload") && c.IsSet("from") {
		return errors.New("--workload looks at the workload cluster as it is now, and --from plans from manifests; leave one of them out")
	}
	prepare(c.Context, reader, up.Spec.Cluster)
	runs := p.lookForRuns(c, reader, up.Spec.Cluster)
	snap, made, err := inspect(c.Context, reader, up, inquirers(c, reader, up.Upgrade, plan.Plan{}))
	if err != nil {
		return err
	}
	// Rights and journals are asked for beside the dry runs, which have no bearing
	// on them.
	var rights, unfinished []plan.Finding
	var beside sync.WaitGroup
	compiled := made
	beside.Go(func() {
		rights = apply.ReviewRights(c.Context, reader, compiled, snap, bookkeeping(c, compiled.Upgrade.Cluster, true))
	})
	beside.Go(func() { unfinished = p.unfinished(c, reader, compiled, runs) })
	if c.Bool("no-dry-run") {
		made = made.WithFindings(apply.NotTried(made, "--no-dry-run was given")...)
	} else {
		made, _ = validate(c.Context, reader, made, snap, plan.SecretsOf(up.Upgrade, snap))
	}
	beside.Wait()
	made = made.WithFindings(append(unfinished, rights...)...)
	var previews map[string]plan.Preview
	if c.Bool("full") {
		if previews, err = made.Previews(snap); err != nil {
			return err
		}
	}
	dir := c.String("export")
	if dir == "" {
		snap = plan.Snapshot{} // nothing below asks for it, and what is shown of many pools takes room
	}
	if err := show(p.stdout, made, previews); err != nil {
		return err
	}
	if dir != "" {
		if err := p.export(dir, made, snap, plan.SecretsOf(up.Upgrade, snap), c.Bool("reveal")); err != nil {
			return err
		}
	}
	if out := c.String("out"); out != "" {
		if err := p.save(out, made); err != nil {
			return err
		}
	}
	switch {
	case made.Blocked && c.String("output") == "text":
		return errShown
	case made.Blocked:
		return &apply.BlockedError{Findings: blocks(made)}
	case c.Bool("detailed-exitcode") && !made.IsEmpty():
		return errChanges
	}
	return nil
}

// renderer writes a plan. Previews are needed with --full alone, and are nil
// where no cluster was looked at.
type renderer func(w io.Writer, made plan.Plan, previews map[string]plan.Preview) error

// planRenderer gives the renderer that -o asks for.
func (p *program) planRenderer(c *cli.Context) (renderer, error) {
	switch form := c.String("output"); form {
	case "text":
		return func(w io.Writer, made plan.Plan, previews map[string]plan.Preview) error {
			return render.Text(w, made, p.options(c, w, previews))
		}, nil
	case "markdown":
		return func(w io.Writer, made plan.Plan, previews map[string]plan.Preview) error {
			return render.Markdown(w, made, p.options(c, w, previews))
		}, nil
	case "json":
		return func(w io.Writer, made plan.Plan, _ map[string]plan.Preview) error { return render.JSON(w, made) }, nil
	case "yaml":
		return func(w io.Writer, made plan.Plan, _ map[string]plan.Preview) error { return render.YAML(w, made) }, nil
	default:
		return nil, fmt.Errorf("-o %s: there is no such form of a plan; there are text, markdown, json and yaml", form)
	}
}

// text renders a plan for people, for the terminal that it is written to.
func (p *program) text(c *cli.Context) func(io.Writer, plan.Plan) error {
	return func(w io.Writer, made plan.Plan) error { return render.Text(w, made, p.options(c, w, nil)) }
}

func (p *program) options(c *cli.Context, w io.Writer, previews map[string]plan.Preview) render.Options {
	return render.Options{Color: p.color(c, w), Width: width(w), Full: c.Bool("full"), Previews: previews}
}

// save saves made and says what can be done with it.
func (p *program) save(file string, made plan.Plan) error {
	if err := savePlan(file, made); err != nil {
		return err
	}
	next := "To carry out exactly this plan: nodepool apply --plan " + file
	if made.HoldsSecrets() {
		next += ", with -f and the upgrade file: the plan holds its secrets as hashes only"
	}
	if made.Blocked {
		next = "It is blocked: it can be shown, and apply refuses it as long as what blocks it stands."
	}
	fmt.Fprintf(p.stderr, "Saved to %s. %s\n", file, next)
	return nil
}

// savePlan writes the plan whole or not at all, for its owner alone.
func savePlan(file string, made plan.Plan) error {
	data, err := plan.Write(made)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(file); err == nil && len(old) > 0 {
		var foreign *plan.FileError
		if _, err := plan.Read(old); errors.As(err, &foreign) && !strings.Contains(string(old), plan.APIVersion) {
			return fmt.Errorf("save the plan: %s exists and is no plan; give another name to --out, or remove it first", render.Escape(file))
		}
	}
	if err := renameio.WriteFile(file, data, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("save the plan: %w", err)
	}
	return nil
}

func openCluster(c *cli.Context) (apply.Cluster, error) {
	return kube.Open(kube.Config{
		Kubeconfig: c.String("kubeconfig"),
		Context:    c.String("context"),
		UserAgent:  "nodepool/" + version,
	})
}

// prepare has reader ask ahead for what a plan for a cluster leads to, where it can.
func prepare(ctx context.Context, reader apply.Reader, of schema.ClusterRef) {
	if ahead, ok := reader.(interface {
		Prepare(ctx context.Context, namespace string)
	}); ok {
		ahead.Prepare(ctx, of.Namespace)
	}
}

// inquirers gives what looks outside of the management cluster for a plan of up:
// it answers only why nobody is asked where there are only manifests. Saved is the plan that is carried out,
// where there is one: what it was checked by is looked at again.
func inquirers(c *cli.Context, reader apply.Reader, up schema.Upgrade, saved plan.Plan) []apply.Inquirer {
	if _, live := reader.(apply.Cluster); !live {
		return []apply.Inquirer{unasked("a plan from manifests asks no provider")}
	}
	var out []apply.Inquirer
	if own, ok := reader.(apply.Inquirer); ok {
		out = append(out, own)
	}
	if c.Bool("no-provider") {
		out = append(out, unasked("--no-provider was given"))
	} else {
		out = append(out, aws.Inquirer{})
	}
	if c.Bool("workload") || up.Spec.Preflight.Workload || saved.LookedAtWorkload() && !c.IsSet("workload") {
		out = append(out, workload.Inquirer{Management: reader, UserAgent: "nodepool/" + version})
	}
	return out
}

// unasked is why no provider is asked: the answer to all questions to one.
type unasked string

func (u unasked) Inquire(_ context.Context, ask plan.Questions, snap plan.Snapshot) plan.Snapshot {
	images, types := map[plan.ImageQuery]plan.ImageInfo{}, map[plan.InstanceTypeQuery]plan.InstanceTypeInfo{}
	for _, q := range ask.Images {
		images[q] = plan.ImageInfo{Unverified: string(u)}
	}
	for _, q := range ask.Types {
		types[q] = plan.InstanceTypeInfo{Unverified: string(u)}
	}
	return snap.WithImages(images).WithInstanceTypes(types)
}

// observe gathers what compiling up needs, and what inquirers find out.
func observe(ctx context.Context, reader apply.Reader, up schema.Upgrade, inquirers []apply.Inquirer) (plan.Snapshot, error) {
	snap, err := apply.Observe(ctx, reader, up)
	if err != nil {
		return snap, err
	}
	return inquire(ctx, plan.Ask(up, snap), snap, inquirers), nil
}

// inquire gives snap with answers to what is asked.
func inquire(ctx context.Context, ask plan.Questions, snap plan.Snapshot, inquirers []apply.Inquirer) plan.Snapshot {
	for _, i := range inquirers {
		snap = i.Inquire(ctx, ask, snap)
	}
	return snap
}

// inspect looks at the cluster and compiles up.
func inspect(ctx context.Context, reader apply.Reader, up upgrade, inquirers []apply.Inquirer) (snap plan.Snapshot, made plan.Plan, err error) {
	if snap, err = observe(ctx, reader, up.Upgrade, inquirers); err != nil {
		return snap, made, errors.Join(err, unread(ctx, reader, up.Upgrade, snap, err))
	}
	made, err = plan.Compile(up.Upgrade, snap)
	return snap, made, up.locate(err)
}

// compile looks at the cluster and compiles up. Where the cluster can be
// written to, it asks the server what it would say of each write; rights holds
// an error for each write that the caller may not make.
func compile(ctx context.Context, reader apply.Reader, up upgrade, inquirers []apply.Inquirer) (snap plan.Snapshot, made plan.Plan, rights, err error) {
	if snap, made, err = inspect(ctx, reader, up, inquirers); err != nil {
		return snap, made, nil, err
	}
	made, rights = validate(ctx, reader, made, snap, plan.SecretsOf(up.Upgrade, snap))
	return snap, made, rights, nil
}

// validate gives made with what the server would say of each of its writes,
// where reader is a cluster that can be asked, or what the schemas in its
// manifests say.
func validate(ctx context.Context, reader apply.Reader, made plan.Plan, snap plan.Snapshot, secrets plan.Secrets) (_ plan.Plan, rights error) {
	if made.Blocked {
		return made.WithFindings(apply.NotTried(made, "the plan is blocked; once nothing blocks it, the server is asked what it would say of each write")...), nil
	}
	var said []plan.Finding
	switch r := reader.(type) {
	case apply.Cluster:
		said, rights = apply.Validate(ctx, r, made, snap, secrets)
	case *offline.Cluster:
		said = r.Validate(made, snap, secrets)
	}
	return made.WithFindings(said...), rights
}

// unread gives the rights to read that are missing too, where err tells of
// missing rights: what one of them would show was not asked for.
func unread(ctx context.Context, reader apply.Reader, up schema.Upgrade, snap plan.Snapshot, err error) error {
	var forbidden *apply.ForbiddenError
	if !errors.As(err, &forbidden) {
		return nil
	}
	missing, _ := apply.CheckRights(ctx, reader, apply.ReadRights(apply.Expected(up, snap)))
	return missing
}

func blocks(made plan.Plan) []plan.Finding {
	var out []plan.Finding
	for _, f := range made.Findings {
		if f.Severity == plan.Block && f.Waived == "" {
			out = append(out, f)
		}
	}
	return out
}
