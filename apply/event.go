package apply

import (
	"time"

	"nodepool/plan"
	"nodepool/plan/capi"
)

// Event is something that happened in a run, for people and logs to see. The
// set is closed: RunStarted, StepStarted, StepSkipped, StepDone, Rolling,
// Canary, Stalled, Retrying, RunEnded. No event decides anything; Run's error does.
//
//sumtype:decl
type Event interface{ event() }

// RunStarted opens a run. Resumed counts the steps that were found done.
type RunStarted struct {
	Plan    plan.Plan
	Resumed int
}

// StepStarted says that a step is about to act or to wait.
type StepStarted struct{ Step plan.Step }

// StepSkipped says that a step was found done before it began.
type StepSkipped struct{ Step plan.Step }

// StepDone says that a step acted or waited and was then found done.
type StepDone struct {
	Step plan.Step
	Took time.Duration
	// Outcome is what a canary has shown, in words; empty for other steps.
	Outcome string
}

// Rolling is a new look at the machines of a waiting step. It comes when
// something changed, not at intervals.
type Rolling struct {
	Step    plan.Step
	Rollout capi.Rollout
	// Elapsed is the time since the step began to wait.
	Elapsed time.Duration
	// Idle is how long there was no progress: at the step's stallAfter the
	// rollout has stalled. Time in which the cluster cannot be seen is no part
	// of it.
	Idle time.Duration
	// Proof is how far a canary is; nil for other waits.
	Proof *Proof
}

// Proof is how far the machines of a canary are.
type Proof struct {
	// Machines is how many must prove themselves, Ready how many are ready.
	Machines, Ready int
	// Soaked is how long that many have been ready without a break, and Soak how
	// long they must be.
	Soaked, Soak time.Duration
}

// Canary is news of one machine that has to prove itself: what became of it,
// or, with Output, a line that its command printed.
type Canary struct {
	Step    plan.Step
	Machine string
	News    string
	Output  bool
}

// Stalled says what visibly holds up a waiting step. It comes once for each
// cause, the moment it is seen; the run goes on until stallAfter has passed
// without progress.
type Stalled struct {
	Step  plan.Step
	Stall capi.Stall
}

// Retrying says that a write is tried again, or that the cluster does not
// answer and is waited for.
type Retrying struct {
	Step plan.Step
	Why  string
	In   time.Duration
}

// RunEnded closes a run. Err is what Run returns.
type RunEnded struct {
	Plan plan.Plan
	Err  error
	Took time.Duration
}

func (RunStarted) event()  {}
func (StepStarted) event() {}
func (StepSkipped) event() {}
func (StepDone) event()    {}
func (Rolling) event()     {}
func (Canary) event()      {}
func (Stalled) event()     {}
func (Retrying) event()    {}
func (RunEnded) event()    {}
