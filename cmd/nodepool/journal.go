package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/apply/kube"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
)

var (
	journalFlag = &cli.StringFlag{Name: "journal", Value: "cluster", Usage: "keep the record of the run and its lock `WHERE`: cluster, for all to see in the management cluster, or file:PATH, " +
		"which needs no right and locks on this machine alone"}
	lockFlag = &cli.DurationFlag{Name: "lock-timeout", Value: journal.DefaultLockTimeout, Usage: "wait for `TIME` at most for another run to end, or for the lock of a dead one to expire"}
)

// inFile gives the path of --journal file:PATH; ok is false for the journal in
// the cluster.
func inFile(c *cli.Context) (path string, ok bool, err error) {
	asked := c.String("journal")
	if asked == "cluster" || asked == "" {
		return "", false, nil
	}
	if path, ok = strings.CutPrefix(asked, "file:"); !ok || path == "" {
		return "", false, fmt.Errorf("--journal %s: write cluster, or file:PATH", render.Escape(asked))
	}
	return path, true, nil
}

// keeping is where a run is recorded, and what keeps others off its pools.
type keeping struct {
	apply.Journal
	lock  apply.Lock
	store *journal.InCluster // nil for a file
	close func() error
}

// keep opens the journal of an upgrade.
func (p *program) keep(c *cli.Context, me apply.Holder, cluster apply.Reader, up plan.UpgradeRef, snap plan.Snapshot) (keeping, error) {
	path, ok, err := inFile(c)
	if err != nil {
		return keeping{}, err
	}
	if ok {
		j, err := journal.OpenFile(path)
		if err != nil {
			return keeping{}, err
		}
		me.Upgrade = up.Name
		if err := j.Sign(me); err != nil {
			return keeping{}, errors.Join(err, j.Close())
		}
		return keeping{Journal: j, lock: j, close: j.Close}, nil
	}
	store, err := p.beside(c.Context, cluster, up, snap)
	if err != nil {
		return keeping{}, err
	}
	timeout := c.Duration("lock-timeout")
	lock := store.Lock(timeout, func(pool plan.Ref, h apply.Holder) {
		if timeout > 0 {
			fmt.Fprintln(p.stderr, ui.Fit(ui.Waiting(pool, h, timeout), width(p.stderr)))
		}
	})
	return keeping{Journal: store.Journal(up.Name), lock: lock, store: store, close: func() error { return nil }}, nil
}

// beside gives the bookkeeping beside the Cluster of an upgrade. Where there is
// no such Cluster nothing is recorded of it, and the plan says so.
func (p *program) beside(ctx context.Context, cluster apply.Reader, up plan.UpgradeRef, snap plan.Snapshot) (*journal.InCluster, error) {
	ref := plan.Ref{Group: capi.Group, Kind: "Cluster", Namespace: up.Cluster.Namespace, Name: up.Cluster.Name}
	of := journal.Cluster{Namespace: ref.Namespace, Name: ref.Name}
	object, ok := snap.Object(ref)
	if !ok {
		looked, err := cluster.Fetch(ctx, []plan.Selector{{Ref: ref}})
		if err != nil {
			return nil, err
		}
		object, ok = looked.Object(ref)
	}
	if ok {
		of.APIVersion, of.UID = object.GetAPIVersion(), object.GetUID()
	}
	return p.connect(cluster, of)
}

// connectCluster gives the bookkeeping beside a Cluster object of a live
// management cluster.
func connectCluster(cluster apply.Reader, of journal.Cluster) (*journal.InCluster, error) {
	live, ok := cluster.(*kube.Cluster)
	if !ok {
		return nil, errors.New("there is no management cluster to keep a journal in")
	}
	return journal.Connect(live.Config(), of)
}

// runsOf gives the runs of one upgrade, and where they are recorded.
func (p *program) runsOf(c *cli.Context, cluster apply.Reader, up plan.UpgradeRef) (runs []apply.Run, where string, err error) {
	path, ok, err := inFile(c)
	switch {
	case err != nil:
		return nil, "", err
	case ok:
		where = path
		runs, err = readRuns(c.Context, path)
	default:
		where = fmt.Sprintf("of cluster %s/%s", up.Cluster.Namespace, up.Cluster.Name)
		var store *journal.InCluster
		if store, err = p.beside(c.Context, cluster, up, plan.Snapshot{}); err == nil {
			runs, err = store.Journal(up.Name).Runs(c.Context)
		}
	}
	return slices.DeleteFunc(runs, func(r apply.Run) bool {
		return r.Upgrade != up.Name || r.Plan.Upgrade.Cluster != up.Cluster
	}), where, err
}

// runsNamed gives the runs of every upgrade of that name: those in the file of
// --journal, or those beside the clusters of the kubeconfig context's
// namespace.
func (p *program) runsNamed(c *cli.Context, cluster apply.Reader, upgrade string) (runs []apply.Run, err error) {
	path, ok, err := inFile(c)
	switch {
	case err != nil:
		return nil, err
	case ok:
		runs, err = readRuns(c.Context, path)
	default:
		var store *journal.InCluster
		if store, err = p.connect(cluster, journal.Cluster{Namespace: namespaceOf(c, cluster)}); err == nil {
			runs, err = store.Runs(c.Context)
		}
	}
	return slices.DeleteFunc(runs, func(r apply.Run) bool { return r.Upgrade != upgrade }), err
}

// namespaceOf gives the namespace that is asked for, or that of the kubeconfig
// context.
func namespaceOf(c *cli.Context, cluster apply.Reader) string {
	if asked := c.String("namespace"); asked != "" {
		return asked
	}
	if live, ok := cluster.(*kube.Cluster); ok {
		return live.Namespace()
	}
	return "default"
}

func readRuns(ctx context.Context, path string) ([]apply.Run, error) {
	j, err := journal.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return j.Runs(ctx)
}

// holder says who runs this process, where, and as whom the cluster knows them,
// where it tells that.
func (p *program) holder(c *cli.Context, cluster apply.Reader) apply.Holder {
	h := apply.Holder{Actor: "unknown", Process: os.Getpid(), Ticket: c.String("ticket")}
	if u, err := user.Current(); err == nil {
		h.Actor = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		h.Host = host
		h.Actor += "@" + host
	}
	if known, ok := cluster.(interface {
		User(context.Context) (string, error)
	}); ok {
		if name, err := known.User(c.Context); err == nil && name != "" {
			h.Actor += " as " + name
		}
	}
	return h
}

// maxTicket is the length of the longest ticket, in characters.
const maxTicket = 64

func checkTicket(ticket string) error {
	if n := utf8.RuneCountInString(ticket); n > maxTicket {
		return fmt.Errorf("--ticket: it has %d characters, and %d is the most; give its number alone", n, maxTicket)
	}
	if !utf8.ValidString(ticket) || strings.ContainsFunc(ticket, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("--ticket %s: it holds characters that cannot be printed; give its number alone", render.Escape(ticket))
	}
	return nil
}

// closeFoundDone closes the run that was begun and not finished where made, in
// which there is nothing to do, shows it to be done or taken back, and records
// the machines that there are now, as snap shows them. It gives the plan of the
// run that it has closed, nil when there is none.
func closeFoundDone(ctx context.Context, e *apply.Executor, made plan.Plan, snap plan.Snapshot) (*plan.Plan, error) {
	begun, unfinished, err := e.Journal.Unfinished(ctx)
	if err != nil || !unfinished {
		return nil, err
	}
	up := made.Upgrade
	note := "found done"
	switch {
	case begun.Digest == up.Rollback && begun.OnlyReleases():
		return nil, nil // what it carries on with is that of the run before it
	case begun.Digest == up.Rollback:
		if others, err := leavesOthers(ctx, e, up.Rollback, made); others || err != nil {
			return nil, errors.Join(err, markTakenBack(ctx, e.Journal, up.Rollback, made, e.Holder.Actor))
		}
		note = "rolled back: nothing that it changed was left to take back"
	case begun.Upgrade.Purpose != up.Purpose, begun.Upgrade.Rollback != up.Rollback:
		return nil, nil
	}
	phase := apply.Done
	if note != "found done" {
		phase = apply.Seen
	}
	for _, s := range begun.Steps {
		if machines, more := apply.MachinesOf(s, snap); len(machines) > 0 {
			err := e.Journal.Append(ctx, apply.Record{Plan: begun.Digest, Step: s.ID, Phase: phase, At: time.Now().UTC(), Actor: e.Holder.Actor, Note: note, Machines: machines, More: more})
			if err != nil {
				return nil, err
			}
		}
	}
	return &begun, e.Journal.Append(ctx, apply.Record{Plan: begun.Digest, Phase: apply.Closed, At: time.Now().UTC(), Actor: e.Holder.Actor, Note: note})
}
