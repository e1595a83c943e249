package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// procedure is what a user does by hand with kubectl, as a script: it names the
// resources, copies the template with the new image, and makes up the patch.
//
//go:embed procedure.sh
var procedure string

// upgradeFile writes an upgrade file for the first pools of a cluster that was
// generated, with more lines of its spec, and gives its path.
func (e *Env) upgradeFile(cluster string, first, pools int, more ...string) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: %s-%d-%d}\nspec:\n", cluster, first, pools)
	fmt.Fprintf(&text, "  cluster: {name: %s, namespace: %s}\n  defaults: {kubernetesVersion: v1.35.2, machineImage: ami-new}\n%s  pools:\n", cluster, Unwatched, strings.Join(more, ""))
	for i := range pools {
		fmt.Fprintf(&text, "    - name: %s\n", poolName(cluster, first+i))
	}
	path := filepath.Join(e.Dir, fmt.Sprintf("%s-%d-%d.yaml", cluster, first, pools))
	return path, os.WriteFile(path, []byte(text.String()), 0o600)
}

func poolName(cluster string, i int) string { return fmt.Sprintf("%s-md-%03d", cluster, i) }

// nodepool gives a contender that runs nodepool with args.
func (e *Env) nodepool(ctx context.Context, name string, args ...string) contender {
	return contender{name, func() (Sample, error) {
		s, _, err := process(ctx, e.Box.Env(), e.Nodepool, args...)
		return s, err
	}}
}

// script gives a contender that runs a bash script with kubectl as $KUBECTL.
func (e *Env) script(ctx context.Context, name, text string, args ...string) contender {
	return contender{name, func() (Sample, error) {
		env := append(e.Box.Env(), "KUBECTL="+e.Kubectl)
		s, _, err := process(ctx, env, "bash", append([]string{"-c", text, "procedure"}, args...)...)
		return s, err
	}}
}

// floor gives a contender that makes the reads among made and nothing else.
func (e *Env) floor(ctx context.Context, name string, made []Request) (contender, error) {
	var paths []string
	for _, r := range made {
		if (r.Verb == "get" || r.Verb == "list") && !strings.Contains(r.RequestURI, "continue=") && r.ResponseStatus.Code == 200 {
			paths = append(paths, r.RequestURI)
		}
	}
	file := filepath.Join(e.Dir, strings.ReplaceAll(name, "/", "-")+".paths")
	if err := os.WriteFile(file, []byte(strings.Join(paths, "\n")+"\n"), 0o600); err != nil {
		return contender{}, err
	}
	return e.script(ctx, name, `exec "$1" <"$2"`, e.Floor, file), nil
}

// planOne measures the plan of one pool against what a user would do instead.
func planOne(ctx context.Context, e *Env) (Section, error) {
	const cluster = "one"
	if err := e.Box.Populate(ctx, cluster, 1, 3); err != nil {
		return Section{}, err
	}
	file, err := e.upgradeFile(cluster, 0, 1)
	if err != nil {
		return Section{}, err
	}
	plain, validated := []string{"plan", "-f", file, "--no-dry-run"}, []string{"plan", "-f", file}
	made, err := e.requestsOf(ctx, plain)
	if err != nil {
		return Section{}, err
	}
	more, err := e.requestsOf(ctx, validated)
	if err != nil {
		return Section{}, err
	}
	floor, err := e.floor(ctx, "PlanOne/floor", made)
	if err != nil {
		return Section{}, err
	}
	series, err := rounds(e.Runs,
		e.nodepool(ctx, "PlanOne/nodepool", plain...),
		e.nodepool(ctx, "PlanOneValidated/nodepool", validated...),
		e.script(ctx, "PlanOne/kubectl", procedure, cluster, Unwatched, ""),
		e.script(ctx, "PlanOneValidated/kubectl", procedure, cluster, Unwatched, "server"),
		e.script(ctx, "GetOne/kubectl", `"$KUBECTL" get machinedeployment "$1" -n "$2" -o yaml`, poolName(cluster, 0), Unwatched),
		floor)
	if err != nil {
		return Section{}, err
	}
	count(&series[0], made)
	count(&series[1], more)
	const work, server = "plan of one pool", "plan of one pool, validated by the server"
	return Section{
		Title: "Plan of one pool",
		Text: "The whole process, from its start to its end, in a cluster of one pool of three machines. " +
			"The procedure is the one by hand with kubectl up to its patch, which it does not send; with the server's validation it sends both writes as dry runs. " +
			"The floor is a Go program with client-go that makes the same reads over one connection, eight at once, decodes them whole, and does nothing with them; a plan passes over half of what it reads, managed fields above all, and can be quicker.",
		Rows: []Row{
			within(work, "the procedure with kubectl", nanoseconds, series[0], series[2], 0.1),
			within(server, "the procedure with kubectl, validated", nanoseconds, series[1], series[3], 0.1),
			within(work, "one kubectl get machinedeployment -o yaml", nanoseconds, series[0], series[4], 1),
			within(server, "one kubectl get machinedeployment -o yaml", nanoseconds, series[1], series[4], 1),
			within(work, "the floor", nanoseconds, series[0], series[5], 3),
			told(within(server, "the floor", nanoseconds, series[1], series[5], 3)),
		},
		Series: series,
	}, nil
}

func told(r Row) Row {
	r.NoAim, r.Aim = true, ""
	return r
}

// requestsOf runs nodepool and gives the requests that it made.
func (e *Env) requestsOf(ctx context.Context, args []string) ([]Request, error) {
	return e.Box.During(ctx, func() error {
		_, _, err := process(ctx, e.Box.Env(), e.Nodepool, args...)
		return err
	})
}

// count adds the number of requests to every sample of s: it is the same for
// all.
func count(s *Series, made []Request) {
	for _, sample := range s.Samples {
		sample[requests] = float64(len(made))
	}
}

// preflight measures the plan of 50 pools of 20 machines, with all that a
// reviewer waits for, and tells its requests by kind.
func preflight(ctx context.Context, e *Env) (Section, error) {
	const cluster, pools, machines = "fifty", 50, 1000
	if err := e.Box.Populate(ctx, cluster, pools, machines); err != nil {
		return Section{}, err
	}
	file, err := e.upgradeFile(cluster, 0, pools)
	if err != nil {
		return Section{}, err
	}
	args := []string{"plan", "-f", file}
	made, err := e.requestsOf(ctx, args)
	if err != nil {
		return Section{}, err
	}
	floor, err := e.floor(ctx, "Preflight/floor", made)
	if err != nil {
		return Section{}, err
	}
	series, err := rounds(max(3, e.Runs/4), e.nodepool(ctx, "Preflight/nodepool", args...), floor)
	if err != nil {
		return Section{}, err
	}
	count(&series[0], made)
	const work = "plan of 50 pools of 20 machines, validated by the server"
	return Section{
		Title: "Preflight of 50 pools",
		Text: fmt.Sprintf("All pools to another version and image, with every check, a dry run of each write, and the questions for the rights to apply. It makes %d requests: %s.",
			len(made), kinds(made)),
		Rows: []Row{told(within(work, "the floor", nanoseconds, series[0], series[1], 2)),
			atMost(work+", peak memory", peak, series[0].Worst(peak), 200<<20)},
		Series: series,
	}, nil
}

// once counts requests, the pages of a list as one.
func once(made []Request) float64 {
	n := 0
	for _, r := range made {
		if !strings.Contains(r.RequestURI, "continue=") {
			n++
		}
	}
	return float64(n)
}

// kinds tells how many requests there were of each kind, in the order of their
// coming.
func kinds(made []Request) string {
	count := map[string]int{}
	var order []string
	for _, r := range made {
		kind := r.Verb + " " + r.ObjectRef.Resource
		switch {
		case r.ObjectRef.Resource == "":
			kind = "discovery"
		case r.DryRun():
			kind += " (dry run)"
		}
		if count[kind]++; count[kind] == 1 {
			order = append(order, kind)
		}
	}
	for i, kind := range order {
		order[i] = fmt.Sprintf("%s %d×", kind, count[kind])
	}
	return strings.Join(order, ", ")
}

// planMany measures plans of many pools of one large cluster against the bare
// reads.
func planMany(ctx context.Context, e *Env) (Section, error) {
	const cluster = "large"
	if err := e.Box.Populate(ctx, cluster, e.Pools, e.Machines); err != nil {
		return Section{}, err
	}
	out := Section{
		Title: "Plans of many pools",
		Text: fmt.Sprintf("One upgrade file for the first pools of a generated cluster of %d MachineDeployments and %d Machines. "+
			"Without the server's validation, which is two dry runs for each pool, in the rows of their own. "+
			"The floor makes the same reads as the plan, so that of few pools it reads the Machines of these alone; it decodes whole what a plan passes over, and can be slower. "+
			"Of requests a list is one in the table, however many pages of 500 objects it has; here each page counts.", e.Pools, e.Machines),
	}
	var smallest float64
	var took []Series
	for _, pools := range []int{10, 100, 1000} {
		if pools > e.Pools {
			break
		}
		file, err := e.upgradeFile(cluster, 0, pools)
		if err != nil {
			return out, err
		}
		args := []string{"plan", "-f", file, "--no-dry-run"}
		made, err := e.requestsOf(ctx, args)
		if err != nil {
			return out, err
		}
		name := fmt.Sprintf("PlanMany/pools=%d", pools)
		floor, err := e.floor(ctx, name+"/floor", made)
		if err != nil {
			return out, err
		}
		series, err := rounds(3, e.nodepool(ctx, name+"/nodepool", args...), floor)
		if err != nil {
			return out, err
		}
		count(&series[0], made)
		took = append(took, series[0])
		work := fmt.Sprintf("plan of %d pools", pools)
		out.Series = append(out.Series, series...)
		if smallest == 0 {
			smallest = once(made)
		}
		out.Rows = append(out.Rows,
			within(work, "the floor", nanoseconds, series[0], series[1], 2),
			atMost(work+", peak memory", peak, series[0].Worst(peak), 200<<20),
			Row{Work: work + ", requests, a list counted once", Got: number(once(made)), Against: "plan of 10 pools", Base: number(smallest),
				Ratio: fmt.Sprintf("%.2f", once(made)/smallest), Aim: "no more", Met: once(made) <= smallest})
		out.Text += fmt.Sprintf(" For %d pools they are %d.", pools, len(made))

		// Once: thousands of dry runs take long, and their number is what counts.
		validated := e.nodepool(ctx, fmt.Sprintf("PlanManyValidated/pools=%d/nodepool", pools), "plan", "-f", file)
		var with []Series
		made, err = e.Box.During(ctx, func() (err error) {
			with, err = rounds(1, validated)
			return err
		})
		if err != nil {
			return out, err
		}
		count(&with[0], made)
		out.Series = append(out.Series, with...)
		out.Rows = append(out.Rows, told(within(work+", validated by the server", "the floor", nanoseconds, with[0], series[1], 2)))
	}
	if len(took) == 3 {
		each := func(i, pools int) float64 { return took[i].Median(nanoseconds) / float64(pools) }
		few, many := each(1, 100), each(2, 1000)
		out.Rows = append(out.Rows, Row{Work: "plan of 1000 pools, time for each pool", Got: show(nanoseconds, many), Against: "plan of 100 pools", Base: show(nanoseconds, few),
			Ratio: fmt.Sprintf("%.2f", many/few), Aim: "no more: linear", Met: many <= few})
	}
	return out, nil
}
