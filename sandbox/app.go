package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"nodepool/sandbox/capi"
	"nodepool/sandbox/component"
	"nodepool/sandbox/faults"
	"nodepool/sandbox/manifests"
	"nodepool/sandbox/seed"
	"nodepool/sandbox/state"
	"nodepool/sandbox/supervisor"
)

func newApp(out, errOut io.Writer) *cli.App {
	// cli would print an error itself and end the process.
	cli.OsExiter = func(int) {}
	return &cli.App{
		Name:            "sandbox",
		Usage:           "a Cluster API management cluster without containers",
		Version:         clusterAPIVersion(),
		Writer:          out,
		ErrWriter:       errOut,
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		Commands: []*cli.Command{
			{
				Name:  "up",
				Usage: "start the sandbox, or resume it, and make the example",
				Flags: []cli.Flag{
					dirFlag(),
					clusterAPIFlag(),
					&cli.BoolFlag{Name: "seed", Value: true, Usage: "make the example cluster aws-example"},
					timeoutFlag(3 * time.Minute),
				},
				Action: func(c *cli.Context) error {
					if err := noArgs(c); err != nil {
						return err
					}
					return up(c.Context, out, dirOf(c), c.Bool("seed"), c.Duration("timeout"))
				},
				Before: checkClusterAPI,
			},
			{
				Name:   "down",
				Usage:  "stop the sandbox and keep its state",
				Flags:  []cli.Flag{dirFlag(), clusterAPIFlag()},
				Before: checkClusterAPI,
				Action: func(c *cli.Context) error {
					if err := noArgs(c); err != nil {
						return err
					}
					return down(c.Context, out, dirOf(c))
				},
			},
			{
				Name:   "reset",
				Usage:  "stop the sandbox and delete its state",
				Flags:  []cli.Flag{dirFlag(), clusterAPIFlag()},
				Before: checkClusterAPI,
				Action: func(c *cli.Context) error {
					if err := noArgs(c); err != nil {
						return err
					}
					return reset(c.Context, out, dirOf(c))
				},
			},
			{
				Name:  "status",
				Usage: "show what runs",
				Flags: []cli.Flag{dirFlag(), clusterAPIFlag(),
					&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "text or json"}},
				Before: checkClusterAPI,
				Action: func(c *cli.Context) error {
					if err := noArgs(c); err != nil {
						return err
					}
					return showStatus(out, dirOf(c), c.String("output"))
				},
			},
			clusterCommand(out),
			poolCommand(out),
			populateCommand(out),
			faultCommand(out),
			processCommand(out, "kill", "kill a process as a crash would (SIGKILL); the supervisor starts it again", kill),
			processCommand(out, "stop", "stop a process until `sandbox start`", stop),
			processCommand(out, "start", "start a stopped process", start),
			{
				Name:   "supervise",
				Hidden: true,
				Flags:  []cli.Flag{dirFlag()},
				Action: func(c *cli.Context) error {
					bundle, err := manifests.Read(manifestBundle)
					if err != nil {
						return err
					}
					return supervisor.Run(c.Context, dirOf(c), clusterAPIVersion(), bundle)
				},
			},
			{
				Name:   "internal",
				Hidden: true,
				// The flags come after the component's name.
				SkipFlagParsing: true,
				Action: func(c *cli.Context) error {
					args := c.Args().Slice()
					if len(args) != 5 {
						return fmt.Errorf("internal: %q is not COMPONENT --dir DIR --port-base PORT", args)
					}
					var base int
					if _, err := fmt.Sscan(args[4], &base); err != nil {
						return fmt.Errorf("internal: port base %q: %w", args[4], err)
					}
					return component.Run(c.Context, args[0], component.Config{Dir: state.Dir(args[2]), Ports: state.Ports{Base: base}})
				},
			},
		},
	}
}

func dirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", Usage: "state of the sandbox", Value: state.DefaultDir(), EnvVars: []string{"NODEPOOL_SANDBOX_DIR"}}
}

func clusterAPIFlag() cli.Flag {
	return &cli.StringFlag{Name: "cluster-api", Usage: "release of Cluster API; only the built-in one", Value: clusterAPIVersion()}
}

func timeoutFlag(d time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: "how long to wait", Value: d}
}

func dirOf(c *cli.Context) state.Dir {
	dir, err := filepath.Abs(c.String("dir"))
	if err != nil {
		dir = c.String("dir")
	}
	return state.Dir(dir)
}

func noArgs(c *cli.Context) error {
	if c.NArg() > 0 {
		return fmt.Errorf("%s takes no arguments, got %q (flags come first)", c.Command.Name, c.Args().Slice())
	}
	return nil
}

// checkClusterAPI refuses releases that are not built in.
func checkClusterAPI(c *cli.Context) error {
	want, have := c.String("cluster-api"), clusterAPIVersion()
	if "v"+strings.TrimPrefix(want, "v") != have {
		return fmt.Errorf("--cluster-api %s: this binary has Cluster API %s built in and no other; "+
			"another release needs another build (change sigs.k8s.io/cluster-api in sandbox/go.mod, then `make -C sandbox`)", want, have)
	}
	return nil
}

func clusterCommand(out io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "make another cluster like the example and wait until its machines run",
		Flags: []cli.Flag{dirFlag(),
			&cli.StringFlag{Name: "name", Required: true},
			&cli.StringFlag{Name: "namespace", Value: "default"},
			&cli.StringFlag{Name: "pools", Value: "aws:3,dev:2", Usage: "worker pools as KIND:REPLICAS, named NAME-md-0, NAME-md-1, …"},
			&cli.StringFlag{Name: "version", Value: seed.NewVersion, Usage: "of the control plane"},
			&cli.StringFlag{Name: "pool-version", Value: seed.OldVersion},
			&cli.BoolFlag{Name: "topology", Usage: "have Cluster API make control plane and pools from a ClusterClass; all at --version"},
			timeoutFlag(2 * time.Minute)},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			cluster := seed.Cluster{Name: c.String("name"), Namespace: c.String("namespace"), Version: c.String("version"), Replicas: 1, Topology: c.Bool("topology")}
			if list := c.String("pools"); list != "" {
				var err error
				version := c.String("pool-version")
				if cluster.Topology {
					version = cluster.Version
				}
				if cluster.Pools, err = seed.ParsePools(list, cluster, version); err != nil {
					return err
				}
			}
			return makeCluster(c.Context, out, dirOf(c), cluster, c.Duration("timeout"))
		},
	}
}

func poolCommand(out io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "pool",
		Usage: "add a worker pool to a cluster and wait until its machines run",
		Flags: []cli.Flag{dirFlag(),
			&cli.StringFlag{Name: "name", Required: true},
			&cli.StringFlag{Name: "cluster", Value: "aws-example"},
			&cli.StringFlag{Name: "namespace", Value: "default"},
			&cli.IntFlag{Name: "replicas", Value: 1},
			&cli.StringFlag{Name: "kind", Value: seed.AWS, Usage: "aws or dev"},
			&cli.StringFlag{Name: "version", Value: seed.OldVersion},
			&cli.StringFlag{Name: "ami", Value: seed.OldAMI, Usage: "image of an aws pool"},
			timeoutFlag(2 * time.Minute)},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return makePool(c.Context, out, dirOf(c), seed.Pool{
				Name: c.String("name"), Cluster: c.String("cluster"), Namespace: c.String("namespace"), Kind: c.String("kind"),
				Version: c.String("version"), Replicas: c.Int("replicas"), AMI: c.String("ami"),
			}, c.Duration("timeout"))
		},
	}
}

func populateCommand(out io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "populate",
		Usage: "write a large cluster without machines behind it into the namespace " + capi.Unwatched + ", which no controller looks into",
		Flags: []cli.Flag{dirFlag(),
			&cli.StringFlag{Name: "name", Value: "large", Usage: "of the Cluster; its pools are NAME-md-000, NAME-md-001, …"},
			&cli.IntFlag{Name: "pools", Value: 50},
			&cli.IntFlag{Name: "machines", Value: 1000, Usage: "of all pools together"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the names and contents that are drawn"},
			timeoutFlag(20 * time.Minute)},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return populateCluster(c.Context, out, dirOf(c), seed.Population{
				Name: c.String("name"), Pools: c.Int("pools"), Machines: c.Int("machines"), Seed: c.Uint64("seed"),
			}, c.Duration("timeout"))
		},
	}
}

func faultCommand(out io.Writer) *cli.Command {
	names := strings.Join(faults.Keys, ", ")
	return &cli.Command{
		Name:  "fault",
		Usage: "make machines of the AWS stand-in fail: " + names,
		Subcommands: []*cli.Command{
			{
				Name:      "set",
				Usage:     "add a fault",
				ArgsUsage: "missing|never-join|not-ready AMI · errors AMI MESSAGE · images AMI VERSION · boot-delay AMI DURATION · provider-down",
				Flags:     []cli.Flag{dirFlag()},
				Action: func(c *cli.Context) error {
					if c.NArg() == 0 {
						return fmt.Errorf("fault set needs a fault: one of %s", names)
					}
					return changeFaults(c.Context, out, dirOf(c), func(t *faults.Table) error {
						return t.Set(c.Args().First(), c.Args().Tail()...)
					})
				},
			},
			{
				Name:      "clear",
				Usage:     "remove all faults, one fault, or one fault of one image",
				ArgsUsage: "[FAULT [AMI]]",
				Flags:     []cli.Flag{dirFlag()},
				Action: func(c *cli.Context) error {
					return changeFaults(c.Context, out, dirOf(c), func(t *faults.Table) error {
						if c.NArg() == 0 {
							*t = faults.Table{}
							return nil
						}
						return t.Clear(c.Args().First(), c.Args().Get(1))
					})
				},
			},
			{
				Name:   "list",
				Usage:  "show the faults",
				Flags:  []cli.Flag{dirFlag()},
				Action: func(c *cli.Context) error { return listFaults(c.Context, out, dirOf(c)) },
			},
		},
	}
}

func processCommand(out io.Writer, name, usage string, run func(io.Writer, state.Dir, string) error) *cli.Command {
	return &cli.Command{
		Name:      name,
		Usage:     usage,
		ArgsUsage: strings.Join(component.All, "|"),
		Flags:     []cli.Flag{dirFlag()},
		Action: func(c *cli.Context) error {
			process := c.Args().First()
			if c.NArg() != 1 || !slices.Contains(component.All, process) {
				return fmt.Errorf("%s needs one of %s (flags come first), got %q", name, strings.Join(component.All, ", "), c.Args().Slice())
			}
			return run(out, dirOf(c), process)
		},
	}
}
