package capi

import (
	"cmp"
	"slices"
)

// StallCause is a stable code for what holds up a rollout.
type StallCause string

// The causes that Judge and Suspect name, save one that says so.
const (
	StallPaused                 StallCause = "paused"                   // one of the three pauses is set
	StallTemplateMissing        StallCause = "template-missing"         // a template that the MachineDeployment or MachineSet names does not exist
	StallMachineSetPreflight    StallCause = "machineset-preflight"     // a preflight check of the MachineSet refuses to create machines
	StallMachineCreation        StallCause = "machine-creation"         // the MachineSet cannot create a Machine
	StallProviderError          StallCause = "provider-error"           // the infrastructure provider reports an error
	StallInfrastructureNotReady StallCause = "infrastructure-not-ready" // nothing wrong is said, the infrastructure is just not there (Suspect)
	StallBootstrapError         StallCause = "bootstrap-error"          // the bootstrap provider reports an error
	StallBootstrapNotReady      StallCause = "bootstrap-not-ready"      // nothing wrong is said, the bootstrap data is just not there (Suspect)
	StallNodeNotJoined          StallCause = "node-not-joined"          // the infrastructure is there, no node has joined (Suspect)
	StallNodeNotHealthy         StallCause = "node-not-healthy"         // the node has joined and is not healthy (Suspect), or was deleted
	StallWorkloadUnreachable    StallCause = "workload-unreachable"     // the API server of the workload cluster does not answer
	StallMachineNotReady        StallCause = "machine-not-ready"        // another condition holds the Machine back (Suspect)
	StallWrongKubeletVersion    StallCause = "wrong-kubelet-version"    // the image runs another kubelet than the version asked for
	StallWrongTemplate          StallCause = "wrong-template"           // the machine was made from another template
	StallInPlaceUpdateFailed    StallCause = "in-place-update-failed"   // an update extension failed on a Machine
	StallDrainBlocked           StallCause = "drain-blocked"            // pods cannot be evicted
	StallPreDrainHook           StallCause = "pre-drain-hook"           // a hook holds the Machine before the drain
	StallVolumeDetach           StallCause = "volume-detach"            // volumes are still attached to the node
	StallPreTerminateHook       StallCause = "pre-terminate-hook"       // a hook holds the Machine before its infrastructure is deleted
	StallInfrastructureDeletion StallCause = "infrastructure-deletion"  // the infrastructure does not go away
	StallMachineDeletion        StallCause = "machine-deletion"         // something else, a finalizer for one, keeps the Machine
	StallHealthCheckChurn       StallCause = "health-check-churn"       // a MachineHealthCheck deletes the new machines
	StallOnDeleteStrategy       StallCause = "on-delete-strategy"       // somebody must delete the old Machines
	StallPoolDeleting           StallCause = "pool-deleting"            // the MachineDeployment itself is being deleted
	StallControllersSilent      StallCause = "controllers-silent"       // no controller has taken note of the last change (Suspect)
	StallCanaryFailed           StallCause = "canary-failed"            // a canary did not stay ready, or its command failed (told by apply)
	StallClusterUnreachable     StallCause = "cluster-unreachable"      // the API server of the management cluster does not answer (told by apply)
	StallNoProgress             StallCause = "no-progress"              // no better explanation (Suspect)
)

// Stall is a cause that holds up a rollout, and the object that says so.
type Stall struct {
	Cause StallCause
	// Kind, Namespace and Name are those of the object that says so.
	Kind, Namespace, Name string
	// Condition is the type of the condition it is said in; empty when it is
	// said elsewhere.
	Condition string
	// Message holds the controllers' own words, as they are.
	Message string
	// Explanation is the cause in plain words, one line.
	Explanation string
	// Next is what to do about it.
	Next string
}

// Suspect is the best explanation to print when time ran out without progress:
// the first of the Stalls, or else the first of the Suspicions, which are waits
// that are no fault until they last. It is nil when the rollout is complete.
func (r Rollout) Suspect() *Stall {
	for _, list := range [][]Stall{r.Stalls, r.Suspicions} {
		if len(list) > 0 {
			first := list[0]
			return &first
		}
	}
	return nil
}

// stallOrder ranks the causes: what explains the others comes first. What stops
// all controllers is before what stops the making of machines, that before what
// ails one machine, and that before what holds up a deletion, since with
// maxUnavailable 0 no old Machine goes before a new one is ready.
var stallOrder = []StallCause{
	StallPoolDeleting, StallPaused, StallTemplateMissing, StallMachineSetPreflight, StallMachineCreation,
	StallProviderError, StallBootstrapError, StallWrongKubeletVersion, StallWrongTemplate, StallInPlaceUpdateFailed,
	StallWorkloadUnreachable, StallNodeNotHealthy, StallHealthCheckChurn, StallOnDeleteStrategy,
	StallPreDrainHook, StallDrainBlocked, StallVolumeDetach, StallPreTerminateHook, StallInfrastructureDeletion, StallMachineDeletion,
	StallControllersSilent, StallBootstrapNotReady, StallInfrastructureNotReady, StallNodeNotJoined, StallMachineNotReady, StallNoProgress,
}

// stalls are the causes that the controllers state, and the suspicions: what
// would explain a standstill although nobody calls it an error.
func (p *pool) stalls(unmet string) (stated, suspected []Stall) {
	if p.deployment == nil {
		return nil, nil
	}
	stated = slices.Concat(p.poolStalls(), p.pauses(), p.templateStalls(), p.creationStalls(), p.remediationStalls())
	suspected = p.silences()
	for _, m := range p.machines {
		for _, h := range m.judged.holds {
			if h.stuck {
				stated = append(stated, h.Stall)
			} else {
				suspected = append(suspected, h.Stall)
			}
		}
	}
	if len(stated)+len(suspected) == 0 {
		suspected = append(suspected, p.deployment.stall(StallNoProgress, rolloutCondition{}).saying(
			"Nothing moves and no object says why: "+unmet+".", "Read the logs of the Cluster API controllers."))
	}
	for _, list := range [][]Stall{stated, suspected} {
		slices.SortStableFunc(list, func(a, b Stall) int {
			return cmp.Or(cmp.Compare(slices.Index(stallOrder, a.Cause), slices.Index(stallOrder, b.Cause)),
				cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Condition, b.Condition))
		})
	}
	return stated, suspected
}
