package ui

import (
	_ "embed" // for the schema
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
)

// jsonLines writes one object a line for each event; see JSONLines.
type jsonLines struct {
	mu       sync.Mutex
	w        io.Writer
	aside    io.Writer // for people, nil for nobody
	commands Commands
	now      func() time.Time
	// paces are those of the steps that wait, by their IDs.
	paces map[string]*pace
}

// Line is one line of the progress as JSON: one event of a run.
type Line struct {
	// Time is when it was told.
	Time time.Time `json:"time"`
	Type LineType  `json:"type"`
	// Upgrade, Cluster (namespace/name), Steps and Resumed (how many steps there
	// are, and were found done) come with runStarted.
	Upgrade string      `json:"upgrade,omitempty"`
	Cluster string      `json:"cluster,omitempty"`
	Plan    plan.Digest `json:"plan,omitempty"`
	Steps   *int        `json:"steps,omitempty"`
	Resumed *int        `json:"resumed,omitempty"`
	// Step is the ID of the step that the event is about, Action and Object
	// (Kind namespace/name) what it does to what.
	Step   string `json:"step,omitempty"`
	Pool   string `json:"pool,omitempty"`
	Action string `json:"action,omitempty"`
	Object string `json:"object,omitempty"`
	// Seconds is how long the step took (stepDone), has been waiting (rolling),
	// waits until the next try (retrying), or the run took (runEnded).
	Seconds *json.Number `json:"seconds,omitempty"`
	// SecondsLeft is an estimate from the machines replaced so far.
	SecondsLeft *json.Number `json:"secondsLeft,omitempty"`
	// SecondsIdle is how long there was no progress (rolling).
	SecondsIdle *json.Number `json:"secondsIdle,omitempty"`
	Rollout     *LineRollout `json:"rollout,omitempty"`
	Stall       *LineStall   `json:"stall,omitempty"`
	// Machine and News are what became of a machine that has to prove itself,
	// with Output a line that its command printed (canary); News is also what it
	// has shown in the end (stepDone).
	Machine string `json:"machine,omitempty"`
	News    string `json:"news,omitempty"`
	Output  bool   `json:"output,omitempty"`
	// Why says what failed and is tried again.
	Why string `json:"why,omitempty"`
	// ExitCode is that of the program, Error what a user is told.
	ExitCode *int   `json:"exitCode,omitempty"`
	Error    string `json:"error,omitempty"`
}

// LineType is the type of an event: runStarted, stepStarted, stepSkipped (it
// was found done), stepDone, rolling, canary, stalled, retrying, runEnded.
type LineType string

// LineRollout is how far a rollout is.
type LineRollout struct {
	Complete bool `json:"complete"`
	// Waiting is the first thing that is missing to be complete.
	Waiting string `json:"waiting,omitempty"`
	// Desired is the number of replicas, New and NewReady how many new machines
	// there are and are ready, Old how many old ones are left. While a step
	// waits for settings that come before the rollout, Desired and New are how
	// many machines are to have them and NewReady how many do; Machines is empty.
	Desired  int           `json:"desired"`
	New      int           `json:"new"`
	NewReady int           `json:"newReady"`
	Old      int           `json:"old"`
	Machines []LineMachine `json:"machines"`
}

// LineMachine is one machine of a rollout.
type LineMachine struct {
	Namespace      string `json:"namespace"`
	Name           string `json:"name"`
	Node           string `json:"node,omitempty"`
	Set            string `json:"set,omitempty"`
	Version        string `json:"version,omitempty"`
	KubeletVersion string `json:"kubeletVersion,omitempty"`
	Image          string `json:"image,omitempty"`
	Phase          string `json:"phase,omitempty"`
	Old            bool   `json:"old"`
	Ready          bool   `json:"ready"`
	Deleting       bool   `json:"deleting"`
	Waiting        string `json:"waiting,omitempty"`
	Created        string `json:"created,omitempty"`
}

// LineStall is what visibly holds up a rollout: the cause, the object that
// says so, its words, and what to do next.
type LineStall struct {
	Cause       capi.StallCause `json:"cause"`
	Kind        string          `json:"kind,omitempty"`
	Namespace   string          `json:"namespace,omitempty"`
	Name        string          `json:"name,omitempty"`
	Condition   string          `json:"condition,omitempty"`
	Message     string          `json:"message,omitempty"`
	Explanation string          `json:"explanation,omitempty"`
	Next        string          `json:"next,omitempty"`
}

//go:embed progress.json
var lineSchema []byte

// LineSchema gives the JSON Schema (draft 2020-12) of a Line.
func LineSchema() []byte { return append([]byte(nil), lineSchema...) }

func (j *jsonLines) Close()   {}
func (j *jsonLines) restore() {}

func (j *jsonLines) interrupting() {
	if j.aside != nil {
		fmt.Fprintln(j.aside, interrupting)
	}
}

func (j *jsonLines) Event(e apply.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var o Line
	switch e := e.(type) {
	case apply.RunStarted:
		steps := len(e.Plan.Steps)
		o = Line{Type: "runStarted", Upgrade: e.Plan.Upgrade.Name, Plan: e.Plan.Digest, Steps: &steps, Resumed: &e.Resumed,
			Cluster: e.Plan.Upgrade.Cluster.Namespace + "/" + e.Plan.Upgrade.Cluster.Name}
	case apply.StepStarted:
		o = about("stepStarted", e.Step)
	case apply.StepSkipped:
		o = about("stepSkipped", e.Step)
	case apply.StepDone:
		o = about("stepDone", e.Step)
		o.Seconds, o.News = seconds(e.Took), e.Outcome
	case apply.Rolling:
		o = about("rolling", e.Step)
		o.Seconds, o.SecondsIdle = seconds(e.Elapsed), seconds(e.Idle)
		o.Rollout = rolloutOf(e.Rollout)
		if j.paces[e.Step.ID] == nil {
			if j.paces == nil {
				j.paces = map[string]*pace{}
			}
			j.paces[e.Step.ID] = &pace{}
		}
		j.paces[e.Step.ID].take(e)
		if left, ok := j.paces[e.Step.ID].remaining(e.Elapsed); ok {
			o.SecondsLeft = seconds(left)
		}
	case apply.Canary:
		o = about("canary", e.Step)
		o.Machine, o.News, o.Output = e.Machine, e.News, e.Output
	case apply.Stalled:
		o = about("stalled", e.Step)
		s := e.Stall
		o.Stall = &LineStall{s.Cause, s.Kind, s.Namespace, s.Name, s.Condition, s.Message, s.Explanation, s.Next}
	case apply.Retrying:
		o = about("retrying", e.Step)
		o.Why, o.Seconds = e.Why, seconds(e.In)
	case apply.RunEnded:
		message, code := j.commands.Explain(e.Err)
		o = Line{Type: "runEnded", Plan: e.Plan.Digest, Seconds: seconds(e.Took), ExitCode: &code, Error: strings.TrimPrefix(message, errorPrefix)}
	}
	o.Time = j.now().UTC()
	line, err := json.Marshal(o)
	if err != nil {
		return // strings, numbers and flags: there is nothing that could fail
	}
	_, _ = j.w.Write(append(render.EscapeJSON(line), '\n'))
}

func about(kind LineType, s plan.Step) Line {
	o := Line{Type: kind, Step: s.ID, Pool: s.Pool}
	switch {
	case s.Preflight != nil:
		o.Action = "preflight"
	case s.Create != nil:
		o.Action, o.Object = "create", s.Create.Ref.String()
	case s.Patch != nil:
		o.Action, o.Object = "patch", s.Patch.Target.String()
	case s.Wait != nil:
		o.Action, o.Object = "wait", s.Wait.MachineDeployment.String()
	case s.Delete != nil:
		o.Action, o.Object = "delete", s.Delete.Ref.String()
	}
	return o
}

func rolloutOf(r capi.Rollout) *LineRollout {
	out := &LineRollout{r.Complete, r.Waiting, r.Desired, r.New, r.NewReady, r.Old, []LineMachine{}}
	for _, m := range r.Machines {
		out.Machines = append(out.Machines, LineMachine{m.Namespace, m.Name, m.Node, m.Set, m.Version, m.KubeletVersion, m.Image, m.Phase,
			m.Old, m.Ready, m.Deleting, m.Waiting, m.Created})
	}
	return out
}

// seconds writes a duration in seconds, to the millisecond.
func seconds(d time.Duration) *json.Number {
	n := json.Number(strconv.FormatFloat(d.Round(time.Millisecond).Seconds(), 'f', -1, 64))
	return &n
}
