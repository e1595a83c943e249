package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// Clone gives a world of its own that holds what w holds now: objects, rights
// and faults, and neither handles nor feeds nor a record of calls and writes.
func (w *World) Clone() *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &World{
		kinds:   maps.Clone(w.kinds),
		objects: maps.Clone(w.objects),
		denied:  maps.Clone(w.denied),
		schemas: w.schemas,
		faults:  maps.Clone(w.faults),
		ticks:   w.ticks,
		made:    w.made,
		feeds:   map[*feed]bool{},
		perLook: w.perLook,
		derived: maps.Clone(w.derived),
		lenient: w.lenient,
	}
	for gk, objects := range out.objects {
		out.objects[gk] = maps.Clone(objects) // a stored object is never changed
	}
	return out
}

// version moves with every change of the world.
func (w *World) version() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ticks
}

// Program is what one process of a Race does with its handle.
type Program struct {
	Name string
	// Alike, when set, is the same for programs that do the same.
	Alike string
	// Run must make one call at a time, and be determined by the replies.
	Run func(context.Context, Hand) error
}

// Hand is what a process works with. Its lock is granted to everybody at once,
// as if each had just taken it over from the others: what holds without a lock
// holds with one.
type Hand struct {
	Process string
	Cluster apply.Cluster
	Lock    apply.Lock
	// Forget says that from here on the program does not depend on any reply
	// that it got before.
	Forget func()
}

// Strike is a fault that strikes at one call.
type Strike string

// The strikes.
const (
	NoStrike Strike = ""
	// The call does not arrive, or its reply does not.
	LostRequest Strike = "the request is lost"
	LostReply   Strike = "the reply is lost"
	// The process dies before the call, or after it.
	DiesBefore Strike = "the process dies before it"
	DiesAfter  Strike = "the process dies after it"
	// The call is made, and meanwhile the lock goes to somebody else: the
	// process is told, or, as one that was frozen, finds out when it checks.
	LostLock   Strike = "the lock is lost meanwhile"
	StolenLock Strike = "the lock is lost meanwhile, unnoticed"
)

// OfLock tells that the strike takes the lock away.
func (s Strike) OfLock() bool { return s == LostLock || s == StolenLock }

func (s Strike) deadly() bool { return s == DiesBefore || s == DiesAfter }

func (s Strike) before() bool { return s == DiesBefore || s == LostRequest }

// Race is several programs at once on one world, and what must hold.
type Race struct {
	World    *World
	Programs []Program
	// Server, when set, stands between the programs and the world: a server
	// that is broken on purpose.
	Server func(apply.Cluster) apply.Cluster
	// The judges, whose error is a violation. Made is asked after every call,
	// Ended when a process is over, Over when all are. The last two are given
	// the world as the controllers will leave it, not to be changed.
	Made  func(Turn) error
	Ended func(e End, settled *World) error
	Over  func(settled *World) error
}

// Turn is a call that was made, and what became of it.
type Turn struct {
	Process string
	Op      Op
	// Ref is set for Create, Patch and Delete.
	Ref    plan.Ref
	Strike Strike
	// Arrived tells that the call reached the server; Reply is what the server
	// answered, whether or not the process learnt of it.
	Arrived bool
	Reply   error
	// Changed tells that the world is another since.
	Changed bool
}

func (t Turn) String() string {
	s := t.Process + " " + t.call()
	switch {
	case t.Reply != nil:
		s += ", which is refused"
	case t.Changed:
		s += ", which changes the world"
	}
	return s
}

func (t Turn) call() string {
	if t.Strike != NoStrike {
		return fmt.Sprintf("%s (%s)", t.Op, t.Strike)
	}
	return string(t.Op)
}

// End is how a process ended.
type End struct {
	Process string
	Err     error
	// Strike is the last that struck it. A process that died has no end that
	// anybody hears of.
	Strike Strike
}

// Exploration says how much of a race is explored.
type Exploration struct {
	// Faults is how many faults may strike in one interleaving.
	Faults int
	// Whole carries every interleaving out, also those of which Explore knows
	// that they are equal.
	Whole bool
	// Limit ends the exploration after so many executions; 0 is no limit. Pick
	// then says which of n open choices is explored next; nil takes the last.
	Limit int
	Pick  func(n int) int
}

// Explored says what Explore did.
type Explored struct {
	// Interleavings is the number of different orders of calls and faults, from
	// the first call to the last, that were explored. Executions is how many of
	// them were carried out, in whole or up to a state that was known already;
	// States is the number of different states in which there was a choice.
	Interleavings uint64
	Executions    int
	States        int
}

// Violation is an interleaving in which something does not hold.
type Violation struct {
	Turns []Turn
	Err   error
}

func (v *Violation) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n  in this order:", v.Err)
	for _, t := range v.Turns {
		b.WriteString("\n    " + t.String())
	}
	return b.String()
}

// Unwrap gives what does not hold.
func (v *Violation) Unwrap() error { return v.Err }

// Explore carries a race out again and again, each time from the start and in
// another order of the calls of its processes, until it has seen every order,
// or until something does not hold, which is a *Violation. begin gives the
// race anew each time. Only one process moves at a time, from one call to the
// next. It must be called in a bubble of testing/synctest, where the executor's
// pauses take no time.
//
// At every call, up to Exploration.Faults times in one interleaving, a fault
// may strike: the reply of a read is lost; the request or the reply of a write
// is lost; the process dies before or after a write, or while it waits at a
// feed; the lock is lost. Death at a read is left out: it leaves the same world
// as the lost reply. A process that died, or that a lost read has ended, is
// followed by a successor that runs the same program, in all orders with the
// others.
//
// Rollouts are not explored: opening a feed is no call of its own, since it
// neither changes the world nor tells of it, and a look at a feed shows a copy
// of the world in which the controllers have done all that there was to do. In
// the world itself no machine moves.
//
// Two interleavings are equal when each process made the same calls, and each
// call found the objects that it reads or writes after the same changes: then
// all replies were the same but for UIDs, resource versions and times of what
// was made in the race, and so is all that a process can do next. In other
// words, calls commute when neither changes what the other reads or writes. What
// comes after a state does not depend on what the processes did that are over
// by then, nor on which of two programs that do the same is which. Of equal
// interleavings one is carried out, and all are counted. So a judge must not
// ask for more: not in which order calls came that commute.
func Explore(ctx context.Context, how Exploration, begin func() Race) (Explored, error) {
	x := &explorer{Exploration: how, states: map[string]int{}, changes: map[string]int{}, settled: map[string]*World{}}
	open := [][]int{nil}
	for len(open) > 0 && (how.Limit == 0 || x.executions < how.Limit) {
		i := len(open) - 1
		if how.Pick != nil {
			i = how.Pick(len(open))
		}
		prefix := open[i]
		open[i] = open[len(open)-1]
		more, err := x.execute(ctx, begin(), prefix)
		if err != nil {
			return Explored{}, err
		}
		open = append(open[:len(open)-1], more...)
	}
	return Explored{Interleavings: x.count(), Executions: x.executions, States: len(x.next)}, nil
}

type explorer struct {
	Exploration
	executions int
	// The graph of states: next[state][choice] is a state, or one of the below.
	states map[string]int
	next   [][]int
	// changes numbers the writes that took effect, by their content.
	changes map[string]int
	// settled are worlds after their rollouts, by what was written before.
	settled map[string]*World
}

const (
	unexplored = -1
	over       = -2
)

// choice is one thing that can happen next.
type choice struct {
	process int
	strike  Strike
}

// execute runs the race once: first the choices of prefix, then the first one
// of each state that is new. It gives the prefixes of what is left to choose.
func (x *explorer) execute(ctx context.Context, race Race, prefix []int) (more [][]int, err error) {
	x.executions++
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	e := &execution{Race: race, explorer: x, changes: map[plan.Ref]string{}}
	defer e.abandon()
	for i := range race.Programs {
		if err := e.start(ctx, i, race.Programs[i].Name); err != nil {
			return nil, err
		}
	}
	var taken []int
	edge := func(int) {} // notes where the last choice led
	for {
		choices := e.choices(e.faults < x.Faults)
		if len(choices) == 0 {
			edge(over)
			if err := e.Over(e.settled()); err != nil {
				return nil, e.violation(err)
			}
			return more, nil
		}
		state, known := x.state(e, len(choices))
		edge(state)
		take := 0
		switch {
		case len(taken) < len(prefix):
			take = prefix[len(taken)]
		case known:
			return more, nil
		default:
			for c := len(choices) - 1; c > 0; c-- {
				more = append(more, append(slices.Clone(taken), c))
			}
		}
		taken = append(taken, take)
		edge = func(to int) { x.next[state][take] = to }
		if choices[take].strike != NoStrike {
			e.faults++
		}
		if err := e.turn(ctx, choices[take]); err != nil {
			return nil, err
		}
	}
}

// state gives the number of the state that e is in, and whether it was known.
func (x *explorer) state(e *execution, choices int) (n int, known bool) {
	key := e.key()
	if x.Whole {
		key = fmt.Sprint(e.turns)
	}
	n, known = x.states[key]
	if !known {
		n = len(x.next)
		x.states[key] = n
		x.next = append(x.next, slices.Repeat([]int{unexplored}, choices))
	}
	return n, known
}

// count gives the number of ways from the first state to the end.
func (x *explorer) count() uint64 {
	ways := make([]uint64, len(x.next))
	var from func(state int) uint64
	from = func(state int) uint64 {
		switch {
		case state == over:
			return 1
		case state == unexplored:
			return 0
		case ways[state] == 0:
			for _, to := range x.next[state] {
				ways[state] += from(to)
			}
		}
		return ways[state]
	}
	return from(0)
}

// execution is one execution of a race.
type execution struct {
	Race
	explorer  *explorer
	processes []*process
	turns     []Turn
	faults    int
	changes   map[plan.Ref]string // by object, what it went through
}

// process is one program that runs. It and the scheduler never run at once.
type process struct {
	name    string
	program int
	arrive  chan arrival
	resume  chan order

	at      arrival // the call that it stands before, or its end
	dead    bool    // it died, or the execution was abandoned
	strike  Strike  // the last
	history []string
	stage   int   // how often it forgot its history
	forgets bool  // as soon as the call is over
	held    *held // the lock that it holds; nil without one
	// What became of the last call.
	arrived bool
	reply   error
}

// forget comes from between two calls, when the last of them is not yet in the
// history.
func (p *process) forget() { p.forgets = true }

type arrival struct {
	op    Op
	ref   plan.Ref
	reads []plan.Selector
	body  string // of a write
	ended bool
	err   error
}

type order struct {
	choice
	abandon bool
}

// start has a process run up to its first call.
func (e *execution) start(ctx context.Context, program int, name string) error {
	p := &process{name: name, program: program, arrive: make(chan arrival), resume: make(chan order)}
	e.processes = append(e.processes, p)
	var server apply.Cluster = e.World.Open(nil)
	if e.Server != nil {
		server = e.Server(server)
	}
	go func() {
		err := e.Programs[program].Run(ctx, Hand{name, &gate{p, e, server}, lock{p}, p.forget})
		p.arrive <- arrival{ended: true, err: err}
	}()
	return e.arrived(ctx, p, <-p.arrive)
}

// arrived takes note of where p stands now, and starts the successor of a
// process that a fault has ended.
func (e *execution) arrived(ctx context.Context, p *process, at arrival) error {
	p.at = at
	if !at.ended {
		return nil
	}
	struck := p.dead || errors.Is(at.err, ErrLost)
	if !p.dead {
		if err := e.Ended(End{Process: p.name, Err: at.err, Strike: p.strike}, e.settled()); err != nil {
			return e.violation(err)
		}
	}
	if struck {
		return e.start(ctx, p.program, p.name+"'")
	}
	return nil
}

// choices lists what can happen next, in an order that depends on nothing else.
func (e *execution) choices(faults bool) []choice {
	var out []choice
	for i, p := range e.processes {
		if !p.at.ended {
			out = append(out, choice{process: i})
		}
	}
	if !faults {
		return out
	}
	for i, p := range e.processes {
		if p.at.ended {
			continue
		}
		var strikes []Strike
		switch p.at.op {
		case Fetch:
			strikes = []Strike{LostReply}
		case Create, Patch, Delete:
			strikes = []Strike{LostRequest, LostReply, DiesBefore, DiesAfter}
		case Next:
			strikes = []Strike{DiesBefore}
		case Watch:
		}
		if p.held != nil {
			strikes = append(strikes, LostLock, StolenLock)
		}
		for _, s := range strikes {
			out = append(out, choice{i, s})
		}
	}
	return out
}

// turn lets one process make its call and go on to the next.
func (e *execution) turn(ctx context.Context, c choice) error {
	p := e.processes[c.process]
	t := Turn{Process: p.name, Op: p.at.op, Ref: p.at.ref, Strike: c.strike}
	if c.strike != NoStrike {
		p.strike = c.strike
	}
	body, found, before := p.at.body, e.found(p.at), e.World.version()
	p.resume <- order{choice: c}
	// The process changes the world by calls alone, so that the judges see the
	// world as this call has left it, although p has gone on since.
	p.at = <-p.arrive
	t.Arrived, t.Reply, t.Changed = p.arrived, p.reply, e.World.version() != before
	if t.Changed {
		n, ok := e.explorer.changes[body]
		if !ok {
			n = len(e.explorer.changes) + 1
			e.explorer.changes[body] = n
		}
		e.changes[t.Ref] += fmt.Sprintf(".%d", n)
	}
	e.turns = append(e.turns, t)
	p.history = append(p.history, fmt.Sprintf("%s%s", t.call(), found))
	if p.forgets {
		p.history, p.forgets, p.stage = nil, false, p.stage+1
	}
	if err := e.Made(t); err != nil {
		return e.violation(err)
	}
	return e.arrived(ctx, p, p.at)
}

func (e *execution) violation(err error) error { return &Violation{Turns: e.turns, Err: err} }

// key tells states apart: by what every object went through, and by what each
// process that is not over did and found.
func (e *execution) key() string {
	out := []string{e.found(arrival{op: Next})}
	for _, p := range e.processes {
		alike := e.Programs[p.program].Alike
		if alike == "" {
			alike = fmt.Sprint(p.program)
		}
		switch {
		case !p.at.ended:
			out = append(out, fmt.Sprint(alike, p.stage, p.history))
		case p.strike.OfLock(): // whose work nobody goes on with
			out = append(out, string(p.strike))
		}
	}
	slices.Sort(out)
	return fmt.Sprint(e.faults, strings.Join(out, "\n"))
}

// found tells what the objects that a call reads or writes have gone through.
func (e *execution) found(a arrival) string {
	var out []string
	for ref, changes := range e.changes {
		reads := func(s plan.Selector) bool {
			return s.Group == ref.Group && s.Kind == ref.Kind && (s.IsList() || s.Ref == ref)
		}
		if a.op == Next || ref == a.ref || slices.ContainsFunc(a.reads, reads) {
			out = append(out, ref.Kind+"/"+ref.Name+changes)
		}
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

// settled gives the world after all rollouts, and leaves the world as it is.
func (e *execution) settled() *World {
	key := e.found(arrival{op: Next})
	w, ok := e.explorer.settled[key]
	if !ok {
		w = e.World.Clone()
		w.Settle()
		e.explorer.settled[key] = w
	}
	return w
}

// abandon ends the processes that have not ended by themselves.
func (e *execution) abandon() {
	for _, p := range e.processes {
		if !p.at.ended {
			p.resume <- order{abandon: true}
			<-p.arrive
		}
	}
}

// gate is the handle of a process: each call waits until it is let through.
type gate struct {
	process   *process
	execution *execution
	server    apply.Cluster
}

func (g *gate) call(at arrival, do func() error) error {
	p := g.process
	if p.dead {
		return ErrCrashed
	}
	p.arrive <- at
	o := <-p.resume
	p.arrived, p.reply = false, nil
	if !o.abandon && !o.strike.before() {
		p.arrived, p.reply = true, do()
	}
	switch {
	case o.abandon, o.strike.deadly():
		p.dead = true
		return ErrCrashed
	case o.strike == LostRequest, o.strike == LostReply:
		return ErrLost
	case o.strike.OfLock():
		p.held.gone = true
		if o.strike == LostLock {
			close(p.held.lost)
			synctest.Wait() // until the process has taken note
		}
	}
	return p.reply
}

func (g *gate) Fetch(ctx context.Context, selectors []plan.Selector) (out plan.Snapshot, err error) {
	err = g.call(arrival{op: Fetch, reads: selectors}, func() (err error) {
		out, err = g.server.Fetch(ctx, selectors)
		return err
	})
	if err != nil {
		return plan.Snapshot{}, err
	}
	return out, nil
}

func (g *gate) Create(ctx context.Context, obj *unstructured.Unstructured, mode apply.Mode) error {
	body, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	return g.write(arrival{op: Create, ref: capi.RefOf(obj), body: string(body)}, func() error { return g.server.Create(ctx, obj, mode) })
}

func (g *gate) Patch(ctx context.Context, target plan.Ref, apiVersion string, jsonPatch []byte, mode apply.Mode) error {
	return g.write(arrival{op: Patch, ref: target, body: string(jsonPatch)}, func() error { return g.server.Patch(ctx, target, apiVersion, jsonPatch, mode) })
}

func (g *gate) Delete(ctx context.Context, target plan.Ref, apiVersion, uid, resourceVersion string, mode apply.Mode) error {
	return g.write(arrival{op: Delete, ref: target, body: "delete"}, func() error {
		return g.server.Delete(ctx, target, apiVersion, uid, resourceVersion, mode)
	})
}

func (g *gate) write(at arrival, do func() error) error {
	err := g.call(at, do)
	if errors.Is(err, ErrLost) {
		return writeLost(err)
	}
	return err
}

func (g *gate) Watch(_ context.Context, selectors []plan.Selector) (apply.Feed, error) {
	if g.process.dead {
		return nil, ErrCrashed
	}
	return &look{gate: g, selectors: selectors}, nil
}

// lock is the lock of a process. It is always free.
type lock struct{ process *process }

func (l lock) Acquire(context.Context, []plan.Ref, apply.Holder) (apply.Held, error) {
	l.process.held = &held{process: l.process, lost: make(chan struct{})}
	return l.process.held, nil
}

type held struct {
	process *process
	lost    chan struct{}
	gone    bool
}

func (h *held) Lost() <-chan struct{} { return h.lost }

func (h *held) Check(_ context.Context, pool plan.Ref) error {
	if h.gone {
		return &apply.LockLostError{Pools: []plan.Ref{pool}}
	}
	return nil
}

func (h *held) Release(context.Context) error {
	h.process.held = nil
	return nil
}

// look is a feed, each look at which is a call.
type look struct {
	gate      *gate
	selectors []plan.Selector
	given     bool
}

func (l *look) Next(ctx context.Context) (out plan.Snapshot, err error) {
	if l.given { // nothing more comes of a world that has settled
		<-ctx.Done()
		return plan.Snapshot{}, ctx.Err()
	}
	l.given = true
	err = l.gate.call(arrival{op: Next}, func() (err error) {
		out, err = l.gate.execution.settled().Open(nil).Fetch(ctx, l.selectors)
		return err
	})
	return out, err
}

func (l *look) Gather(time.Duration) {}

func (l *look) Stop() {}
