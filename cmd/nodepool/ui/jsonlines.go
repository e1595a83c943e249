package ui

import (
	"encoding/json"
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
	mu  sync.Mutex
	w   io.Writer
	now func() time.Time
}

type object struct {
	Time     string       `json:"time"`
	Type     string       `json:"type"`
	Upgrade  string       `json:"upgrade,omitempty"`
	Cluster  string       `json:"cluster,omitempty"`
	Plan     plan.Digest  `json:"plan,omitempty"`
	Steps    *int         `json:"steps,omitempty"`
	Resumed  *int         `json:"resumed,omitempty"`
	Step     string       `json:"step,omitempty"`
	Pool     string       `json:"pool,omitempty"`
	Action   string       `json:"action,omitempty"`
	Object   string       `json:"object,omitempty"`
	Seconds  *json.Number `json:"seconds,omitempty"`
	Rollout  *rollout     `json:"rollout,omitempty"`
	Stall    *stall       `json:"stall,omitempty"`
	Why      string       `json:"why,omitempty"`
	ExitCode *int         `json:"exitCode,omitempty"`
	Error    string       `json:"error,omitempty"`
}

type rollout struct {
	Complete bool      `json:"complete"`
	Waiting  string    `json:"waiting,omitempty"`
	Desired  int       `json:"desired"`
	New      int       `json:"new"`
	NewReady int       `json:"newReady"`
	Old      int       `json:"old"`
	Machines []machine `json:"machines"`
}

type machine struct {
	Namespace      string `json:"namespace"`
	Name           string `json:"name"`
	Node           string `json:"node,omitempty"`
	Set            string `json:"set,omitempty"`
	Version        string `json:"version,omitempty"`
	KubeletVersion string `json:"kubeletVersion,omitempty"`
	Phase          string `json:"phase,omitempty"`
	Old            bool   `json:"old"`
	Ready          bool   `json:"ready"`
	Deleting       bool   `json:"deleting"`
	Waiting        string `json:"waiting,omitempty"`
	Created        string `json:"created,omitempty"`
}

type stall struct {
	Cause       capi.StallCause `json:"cause"`
	Kind        string          `json:"kind,omitempty"`
	Namespace   string          `json:"namespace,omitempty"`
	Name        string          `json:"name,omitempty"`
	Condition   string          `json:"condition,omitempty"`
	Message     string          `json:"message,omitempty"`
	Explanation string          `json:"explanation,omitempty"`
	Next        string          `json:"next,omitempty"`
}

func (j *jsonLines) Close() {}

func (j *jsonLines) Event(e apply.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var o object
	switch e := e.(type) {
	case apply.RunStarted:
		steps := len(e.Plan.Steps)
		o = object{Type: "runStarted", Upgrade: e.Plan.Upgrade.Name, Plan: e.Plan.Digest, Steps: &steps, Resumed: &e.Resumed,
			Cluster: e.Plan.Upgrade.Cluster.Namespace + "/" + e.Plan.Upgrade.Cluster.Name}
	case apply.StepStarted:
		o = about("stepStarted", e.Step)
	case apply.StepSkipped:
		o = about("stepSkipped", e.Step)
	case apply.StepDone:
		o = about("stepDone", e.Step)
		o.Seconds = seconds(e.Took)
	case apply.Rolling:
		o = about("rolling", e.Step)
		o.Seconds = seconds(e.Elapsed)
		o.Rollout = rolloutOf(e.Rollout)
	case apply.Stalled:
		o = about("stalled", e.Step)
		s := e.Stall
		o.Stall = &stall{s.Cause, s.Kind, s.Namespace, s.Name, s.Condition, s.Message, s.Explanation, s.Next}
	case apply.Retrying:
		o = about("retrying", e.Step)
		o.Why, o.Seconds = e.Why, seconds(e.In)
	case apply.RunEnded:
		message, code := Explain(e.Err)
		o = object{Type: "runEnded", Plan: e.Plan.Digest, Seconds: seconds(e.Took), ExitCode: &code, Error: strings.TrimPrefix(message, errorPrefix)}
	}
	o.Time = j.now().UTC().Format(time.RFC3339Nano)
	line, err := json.Marshal(o)
	if err != nil {
		return // strings, numbers and flags: there is nothing that could fail
	}
	_, _ = j.w.Write(append(render.EscapeJSON(line), '\n'))
}

func about(kind string, s plan.Step) object {
	o := object{Type: kind, Step: s.ID, Pool: s.Pool}
	switch {
	case s.Preflight != nil:
		o.Action = "preflight"
	case s.Create != nil:
		o.Action, o.Object = "create", s.Create.Ref.String()
	case s.Patch != nil:
		o.Action, o.Object = "patch", s.Patch.Target.String()
	case s.Wait != nil:
		o.Action, o.Object = "wait", s.Wait.MachineDeployment.String()
	}
	return o
}

func rolloutOf(r capi.Rollout) *rollout {
	out := &rollout{r.Complete, r.Waiting, r.Desired, r.New, r.NewReady, r.Old, []machine{}}
	for _, m := range r.Machines {
		out.Machines = append(out.Machines, machine{m.Namespace, m.Name, m.Node, m.Set, m.Version, m.KubeletVersion, m.Phase,
			m.Old, m.Ready, m.Deleting, m.Waiting, m.Created})
	}
	return out
}

// seconds writes a duration in seconds, to the millisecond.
func seconds(d time.Duration) *json.Number {
	n := json.Number(strconv.FormatFloat(d.Round(time.Millisecond).Seconds(), 'f', -1, 64))
	return &n
}
