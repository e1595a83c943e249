package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/schema"
)

// version is set by the linker.
var version = "dev"

// errChanges ends plan --detailed-exitcode when there is something to do; it
// has nothing to say.
var errChanges = errors.New("changes are pending")

// errShown ends a command whose output has said already why the plan is
// blocked.
var errShown = errors.New("the plan is blocked")

// The exit codes of errChanges and errShown.
const (
	exitChanges = 2
	exitBlocked = 3
)

// program is what the commands share: the streams and the way to the cluster,
// and nothing else.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	open           func(*cli.Context) (apply.Cluster, error)
	connect        func(apply.Reader, journal.Cluster) (*journal.InCluster, error)
	// words is the command line, next what can be typed once a run has ended.
	words []string
	next  ui.Commands
	// garbage is the garbage collector's target.
	garbage *collector
}

// run is the whole program: it gives the exit code, which Run's error alone
// decides.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, open: openCluster, connect: connectCluster, garbage: lateCollector()}
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	p.words = args
	app := p.app()
	err := app.RunContext(ctx, permute(app, args))
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errChanges):
		return exitChanges
	case errors.Is(err, errShown):
		return exitBlocked
	}
	message, code := p.next.Explain(err)
	if message != "" {
		fmt.Fprintln(p.stderr, ui.Fit(message, width(p.stderr)))
	}
	return code
}

func (p *program) app() *cli.App {
	return &cli.App{
		Name:      "nodepool",
		Usage:     "upgrade the worker node pools of Cluster API clusters by a plan that can be reviewed",
		UsageText: "nodepool COMMAND [options]",
		Description: strings.TrimSpace(`
Write what the pools should be into an upgrade file (nodepool init starts one
from the live cluster), look at what would happen (nodepool plan), and have it
done (nodepool apply). Apply does what the plan says and nothing else. Killed
at any instant, it goes on where it stopped when it is run again.

Exit codes: 0 done, or nothing to do; 1 error; 2 changes pending (only plan
--detailed-exitcode); 3 blocked by a preflight check; 4 the cluster is not as
it was reviewed; 5 a rollout stalled; 6 locked by another run; 130 interrupted.
After 5 and 130, running the same command again carries on; nodepool rollback
goes back.`),
		Version:                version,
		HideHelpCommand:        true,
		Suggest:                true,
		UseShortOptionHandling: false,
		Writer:                 p.stdout,
		ErrWriter:              p.stderr,
		ExitErrHandler:         func(*cli.Context, error) {},
		OnUsageError:           usageError,
		CommandNotFound:        nil,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("there is no command %q; nodepool --help lists the commands", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{p.planCommand(), p.applyCommand(), p.rollbackCommand(), p.statusCommand(), p.historyCommand(), p.unlockCommand(), p.pruneCommand(), p.showCommand(), p.diffCommand(), p.initCommand(), p.listCommand(), p.validateCommand(), p.explainCommand(), p.schemaCommand(), p.snapshotCommand(), versionCommand()},
	}
}

// versionCommand prints what --version does: both are asked for.
func versionCommand() *cli.Command {
	return command(&cli.Command{
		Name:      "version",
		Usage:     "print the version",
		UsageText: "nodepool version",
		Action: func(c *cli.Context) error {
			cli.ShowVersion(c)
			return nil
		},
	})
}

func usageError(c *cli.Context, err error, _ bool) error {
	name := c.Command.Name
	if name == "" || name == "nodepool" {
		return fmt.Errorf("%w; nodepool --help lists the commands and options", err)
	}
	return fmt.Errorf("%w; nodepool %s --help lists its options", err, name)
}

// command fills in what all commands share.
func command(c *cli.Command) *cli.Command {
	c.OnUsageError = usageError
	action := c.Action
	c.Action = func(ctx *cli.Context) error {
		if ctx.Args().Present() {
			return fmt.Errorf("nodepool %s takes no argument, and %q was given; the upgrade file goes behind -f",
				c.Name, ctx.Args().First())
		}
		return action(ctx)
	}
	return c
}

// The flags that several commands share.
var (
	fileFlag  = &cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "the upgrade `FILE`; - reads it from standard input"}
	poolFlag  = &cli.StringSliceFlag{Name: "pool", Usage: "narrow the upgrade to the pool `NAME` of the file; repeatable"}
	kubeFlags = []cli.Flag{
		&cli.StringFlag{Name: "kubeconfig", Usage: "the kubeconfig `FILE` of the management cluster (default: as kubectl: KUBECONFIG, ~/.kube/config, in-cluster)"},
		&cli.StringFlag{Name: "context", Usage: "the `NAME` of the kubeconfig context to use"},
	}
	workloadFlag = &cli.BoolFlag{Name: "workload", Usage: "look at the workload cluster, too, by the kubeconfig that Cluster API keeps of it: nodes, budgets, pods (as spec.preflight.workload does)"}
	noColorFlag  = &cli.BoolFlag{Name: "no-color", Usage: "no colour, even on a terminal (NO_COLOR does the same)"}
)

// noProviderFlag is made anew for each command: the library writes into a flag
// what its environment variable says.
func noProviderFlag() cli.Flag {
	return &cli.BoolFlag{Name: "no-provider", EnvVars: []string{"NODEPOOL_NO_PROVIDER"},
		Usage: "ask no cloud about images and instance types; AWS is asked where credentials for it are found"}
}

func outputFlag(forms string) cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "the `FORM` of the output: " + forms}
}

// upgrade is an upgrade file as it was read.
type upgrade struct {
	schema.Upgrade
	file      string
	positions schema.Positions
}

// readUpgrade reads the file that -f names, narrowed to the pools of --pool.
func (p *program) readUpgrade(c *cli.Context) (upgrade, error) {
	file := c.String("file")
	var data []byte
	var err error
	switch file {
	case "":
		return upgrade{}, fmt.Errorf("which upgrade? Give its file with -f FILE; nodepool init writes one from the live cluster")
	case "-":
		if c.String("from") == "-" {
			return upgrade{}, errors.New("-f - and --from - both read standard input; give a file for one of them")
		}
		file = "standard input"
		data, err = io.ReadAll(p.stdin)
	default:
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return upgrade{}, fmt.Errorf("read the upgrade file: %w", err)
	}
	up, positions, err := schema.Read(file, data, plan.WaiverProblems)
	if err != nil {
		return upgrade{}, err
	}
	if names := c.StringSlice("pool"); len(names) > 0 {
		if up, err = up.Select(names...); err != nil {
			return upgrade{}, err
		}
	}
	out := upgrade{Upgrade: up, file: file, positions: positions}
	if up.Spec.ImagesFrom != "" {
		images, err := readImages(c.String("file"), up.Spec.ImagesFrom, schema.OwnImages{Images: up.Spec.Images, File: file, Positions: positions})
		if err != nil {
			return upgrade{}, out.locate(err)
		}
		out.Upgrade = up.WithImages(images)
	}
	return out, nil
}

// readImages reads the catalogue that an upgrade file names, by its place
// beside that file. An upgrade from standard input stands in the working folder.
func readImages(upgradeFile, file string, own schema.OwnImages) ([]schema.Image, error) {
	if !filepath.IsAbs(file) {
		file = filepath.Join(filepath.Dir(upgradeFile), file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, &schema.InvalidError{Problems: []schema.Problem{{Path: "spec.imagesFrom",
			Message: "the catalogue of images cannot be read: " + err.Error(),
			Remedy:  "write its path relative to this file, or put the images under spec.images"}}}
	}
	return schema.ReadImages(file, data, own)
}

// locate gives the problems that compiling found their places in the file.
func (u upgrade) locate(err error) error {
	var invalid *schema.InvalidError
	if !errors.As(err, &invalid) || invalid.File != "" {
		return err // that has its places already
	}
	out := &schema.InvalidError{File: u.file}
	for _, problem := range invalid.Problems {
		out.Problems = append(out.Problems, u.positions.Place(u.Upgrade, problem))
	}
	return out
}

// color reports whether w is to be coloured.
func (p *program) color(c *cli.Context, w io.Writer) bool {
	return isTerminal(w) && !c.Bool("no-color") && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width gives the columns of the terminal behind w, 0 when there is none.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}
