package capi

// StallCause is a stable code for what holds up a rollout.
type StallCause string

// The causes that Judge and Suspect name.
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
	StallNodeNotHealthy         StallCause = "node-not-healthy"         // the node has joined and is not healthy
	StallMachineNotReady        StallCause = "machine-not-ready"        // another condition holds the Machine back
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
	StallControllersSilent      StallCause = "controllers-silent"       // no controller has taken note of the last change
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
// the first of the Stalls, or else what the Machines wait for, which is no fault
// until it lasts. It is nil when the rollout is complete.
func (r Rollout) Suspect() *Stall {
	return nil
}
