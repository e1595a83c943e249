package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nodepool/schema"
)

// Check describes a preflight check to people: what nodepool explain prints and
// docs/checks.md holds.
type Check struct {
	// Code names the check in plans, waivers and pipelines. It is stable.
	Code string
	// Asks is the question that the check answers, in one line.
	Asks string
	// Worst is the gravest answer that it can give.
	Worst Severity
	// Means says what an answer other than a pass means.
	Means string
	// Why says why the check exists.
	Why string
	// Source is where the rule comes from, in Kubernetes, Cluster API or
	// elsewhere; empty where it is nodepool's own.
	Source string
	// Fix says what to do.
	Fix string
	// Firm says why the check cannot be waived; empty where it can, and where
	// it blocks nothing.
	Firm string
	// FirmIn names the case in which a check that can be waived cannot, and why;
	// empty where there is none.
	FirmIn string
	// OfCluster says that the check is about the cluster and no single pool, so
	// that every pool of an upgrade must waive it.
	OfCluster bool
	// OfPrune says that it is one of nodepool prune, which has no waivers.
	OfPrune bool
}

// Waivable reports whether an upgrade may waive the check. Waiving one that
// only warns acknowledges its warning.
func (c Check) Waivable() bool { return c.Firm == "" && c.Worst != Pass && !c.OfPrune }

// Checks gives every check, in the order in which they are made and shown.
func Checks() []Check { return slices.Clone(catalogue) }

// CheckOf gives the check of that code.
func CheckOf(code string) (Check, bool) {
	i := slices.IndexFunc(catalogue, func(c Check) bool { return c.Code == code })
	if i < 0 {
		return Check{}, false
	}
	return catalogue[i], true
}

// NearestCheck gives the codes that begin with code, joined by "or", otherwise
// the code most like it, or nothing when none is.
func NearestCheck(code string) string {
	var longer []string
	for _, c := range catalogue {
		if len(code) >= 3 && strings.HasPrefix(c.Code, code) {
			longer = append(longer, c.Code)
		}
	}
	if len(longer) > 0 {
		return strings.Join(longer, " or ")
	}
	best, distance := "", len(code)/2+1
	for _, c := range catalogue {
		if d := schema.Distance(code, c.Code); d < distance {
			best, distance = c.Code, d
		}
	}
	return best
}

// waives gives the reason for which the pool waives a check, empty when it
// does not. Only what can be waived is.
func waives(spec schema.Pool, code string) string {
	if c, ok := CheckOf(code); !ok || !c.Waivable() {
		return ""
	}
	for _, w := range spec.Waive {
		if w.Check == code {
			return w.Reason
		}
	}
	return ""
}

// WaiverProblems tells which waivers of up name no check, or one that cannot be
// waived. It needs no cluster; Compile tells the same.
func WaiverProblems(up schema.Upgrade) []schema.Problem {
	var problems []schema.Problem
	for i, spec := range up.Spec.Pools {
		p := pool{spec: spec, path: "spec.pools[" + strconv.Itoa(i) + "]"}
		problems = append(problems, p.waivers()...)
	}
	return problems
}

// waivers gives what is wrong with the pool's waivers.
func (p *pool) waivers() []schema.Problem {
	var out []schema.Problem
	for i, w := range p.spec.Waive {
		at := fmt.Sprintf("%s.waive[%d].check", p.path, i)
		c, ok := CheckOf(w.Check)
		switch {
		case w.Check == "": // which schema.Read tells
		case !ok:
			remedy := "nodepool explain lists the checks"
			if near := NearestCheck(w.Check); near != "" {
				remedy = "did you mean " + near + "? " + remedy
			}
			out = append(out, schema.Problem{Path: at, Message: fmt.Sprintf("there is no check %q", w.Check), Remedy: remedy})
		case !c.Waivable():
			why := c.Firm
			switch {
			case c.OfPrune:
				why = "it is one of nodepool prune"
			case why == "":
				why = "it never blocks, nor does it warn"
			}
			out = append(out, schema.Problem{Path: at, Message: fmt.Sprintf("the check %s cannot be waived: %s", w.Check, why),
				Remedy: "remove this waiver; nodepool explain " + w.Check + " says what to do instead"})
		}
	}
	return out
}

// nothingToDo is why checks of what must be there cannot be waived.
const nothingToDo = "without it there is nothing that could be carried out"

// What fixes that name fields of an upgrade file say of nodepool rollback.
const (
	fieldsWayBack  = " Of nodepool rollback, which reads no upgrade file: change the field of the MachineDeployment that its remedy names, once it is rolling back."
	sourcesWayBack = " Of nodepool rollback, which reads no upgrade file: roll back again once the provider has what it lacks, or go forward by an upgrade with an image and an instance type that machines can be made of."
)

var catalogue = []Check{
	{
		Code: CheckCluster, Asks: "Is the Cluster there, and does it stay?", Worst: Block,
		Means:  "The Cluster that spec.cluster names does not exist or is being deleted.",
		Why:    "Pools are looked up in the namespace of their Cluster, and new templates belong to it, so that they are deleted and moved with it. While a Cluster is being deleted its machines are, too.",
		Source: "Cluster API book, \"Cluster API objects must have an owner\"; Kubernetes garbage collection by ownerReferences",
		Fix:    "Correct spec.cluster.name and spec.cluster.namespace; nodepool list shows all clusters. Check that the kubeconfig is the management cluster's and not the workload cluster's.",
		Firm:   nothingToDo,
	},
	{
		Code: CheckClusterPaused, OfCluster: true, Asks: "Is the Cluster paused?", Worst: Block,
		Means:  "spec.paused of the Cluster is true. No controller of Cluster API does anything in it, so the patch would wait there until somebody ends the pause, and then roll when nobody expects it. As a warning: the Cluster has the annotation cluster.x-k8s.io/paused, which pauses that object alone; its pools roll.",
		Why:    "Somebody paused the Cluster for a reason: a move to another management cluster, an incident, manual work.",
		Source: "Cluster API, util/annotations.IsPaused, and ClusterSpec.Paused (api/core/v1beta2/cluster_types.go)",
		Fix:    "Find out who paused it and why; once it may move again, set spec.paused to false and plan again. Waive it to write the change now and have it roll once the pause ends; apply waits meanwhile and reports the pause as the cause.",
	},
	{
		Code: CheckClusterAvailable, OfCluster: true, Asks: "Are the Cluster's infrastructure and control plane available?", Worst: Block,
		Means:  "The Cluster's infrastructure was never provisioned, or its control plane never initialized: providers make no worker machine before both are. As a warning: both were, and a condition of the Cluster says that one of them is not well now.",
		Why:    "A rollout would begin and wait, with machines that say no more than that they wait. Without a control plane that answers, no node joins and none is drained.",
		Source: "ClusterStatus.Initialization, conditions InfrastructureReady and ControlPlaneAvailable (api/core/v1beta2/cluster_types.go; v1beta1: infrastructureReady, ControlPlaneInitialized, ControlPlaneReady); the kubeadm bootstrap provider waits for both (bootstrap/kubeadm, kubeadmconfig_controller.go)",
		Fix:    "Look at the objects that Cluster.spec.infrastructureRef and controlPlaneRef name, and at what their conditions say. Wait until they are ready, then plan again. Going on with a warning may leave the rollout standing at its first machine.",
	},
	{
		Code: CheckMachineDeployment, Asks: "Is the MachineDeployment there, and does it belong to the Cluster?", Worst: Block,
		Means:  "No MachineDeployment has the pool's name, or it belongs to another Cluster or is being deleted; or the name is that of a MachinePool, or no label value (at most 63 characters). As a warning, of nodepool rollback: somebody else has changed a pool that the plan had left alone.",
		Why:    "nodepool upgrades MachineDeployments. A MachinePool has no templates to rotate: its provider replaces the machines by means of its own. Cluster API labels machines with the name of their MachineDeployment, so it refuses every change of one whose name is no label value.",
		Source: "MachineDeploymentSpec.ClusterName, which is immutable (api/core/v1beta2/machinedeployment_types.go); webhook of MachineDeployments: the name must be a label value",
		Fix:    "Correct the pool's name; the message lists the ones that there are. Change a MachinePool's version and its infrastructure object directly. A name that is too long cannot be changed: make a MachineDeployment with a shorter one.",
		Firm:   nothingToDo,
	},
	{
		Code: CheckPaused, Asks: "Is the MachineDeployment paused?", Worst: Block,
		Means:  "spec.paused of the MachineDeployment is true, so it scales and does not roll; or it has the annotation cluster.x-k8s.io/paused, so nothing happens to it.",
		Why:    "The change would take effect when somebody ends the pause, and not when it was approved.",
		Source: "internal/controllers/machinedeployment (sync with spec.paused scales only); util/annotations.HasPaused",
		Fix:    "Find out who paused it and why; once it may roll again, set spec.paused to false, or remove the annotation, and plan again. A pause that an earlier run of nodepool left is ended by the plan itself.",
	},
	{
		Code: CheckTopology, Asks: "Does a ClusterClass topology own the MachineDeployment?", Worst: Block,
		Means:  "The label topology.cluster.x-k8s.io/owned says that the MachineDeployment is made from Cluster.spec.topology. The topology controller puts back what the topology or its ClusterClass sets: where machines are replaced, a rollout forth and one back. What they do not set, often the strategy and the drain settings, stays as it was written. A version other than the topology's gets no machines (Cluster API's preflight check ControlPlaneVersionSkew). A template that it did not make stops it: it does nothing more for any part of the cluster (condition TopologyReconciled: \"is not topology owned\"), and the old template is deleted with its last machine.",
		Why:    "What owns an object must be changed, not the object.",
		Source: "internal/controllers/topology/cluster (current_state.go; server-side apply of the desired state), internal/controllers/topology/machineset",
		Fix:    "Change the Cluster and remove the pool from the upgrade: spec.topology.version; of the pool's entry in spec.topology.workers.machineDeployments, rollout.strategy (v1beta1: strategy) and deletion (v1beta1: nodeDrainTimeout and the like); for image, instance type and all else of a template, a variable of the ClusterClass that sets it, in spec.topology.variables or in variables.overrides of the entry. Where the class has no such variable, make another template and name it in the ClusterClass, for all its clusters. A waiver writes a change without a new template all the same, with these consequences. To mend a topology that a foreign template has stopped, name a template with the label topology.cluster.x-k8s.io/owned in the MachineDeployment again.",
		FirmIn: "where the change needs a new template, since that stops the topology of the whole cluster and leaves no way back",
	},
	{
		Code: CheckTemplates, Asks: "Are the templates there that the MachineDeployment names, and is the new name free?", Worst: Block,
		Means:  "A template that the MachineDeployment names (of nodepool rollback: the old one) is gone or going, or was changed or made anew since, so there is nothing to copy and no machine can be made; or the new template's name would be too long. As a warning: the name is taken by other content, and the new template gets a number behind its name; or a template is gone or going, and the pool is up to date all the same, since nothing is asked of that template.",
		Why:    "Cluster API accepts a MachineDeployment whose template is missing, and then says so only in the message of the condition ScalingUp.",
		Source: "internal/controllers/machineset (template lookup); names are RFC 1123 subdomains of at most 253 characters",
		Fix:    "Restore the template, or point the MachineDeployment at one that exists, then plan again. With the warning of a taken name go on: the template of that name is left alone.",
		Firm:   "machines cannot be made without a template",
	},
	{
		Code: CheckContract, Asks: "Does Cluster API reach the kinds of the templates?", Worst: Block,
		Means:  "The CustomResourceDefinition of a template's kind has no label for a contract that this Cluster API knows (such as cluster.x-k8s.io/v1beta2), or the label names an API version that is not served.",
		Why:    "References in Cluster API hold a group, a kind and a name. It finds the API version by these labels, and without one of them it makes no machine and says so in a condition alone. This comes of definitions that were installed by hand, or of a provider that is too old for Cluster API or too new.",
		Source: "Cluster API, internal/contract/version.go (GetAPIVersion); provider contracts, \"API version labels\"",
		Fix:    "Install a release of the provider that goes with this Cluster API, with its definitions; clusterctl upgrade plan lists them. Then plan again.",
	},
	{
		Code: CheckControlPlane, Asks: "Is the control plane wholly at its version?", Worst: Block,
		Means:  "The control plane is being upgraded or made: Cluster API makes no worker machine meanwhile. As a warning: some of its machines are not ready, or it is on its way to an older version, where Cluster API goes on; there is no control plane object, or it reports no version; or no machine has to be made for the change.",
		Why:    "A kubelet that joins while the API servers disagree about their version may be newer than one of them.",
		Source: "MachineSet preflight check ControlPlaneIsStable (internal/controllers/machineset/machineset_preflight.go), on by default; control plane contract (spec.version, status.version); docs/preflight-matrix.md",
		Fix:    "Wait until the control plane has finished, or repair it; then plan again. The annotation machineset.cluster.x-k8s.io/skip-preflight-checks on the MachineDeployment makes Cluster API skip its check. So does turning off its feature gate MachineSetPreflightChecks, which is on by default since v1.9 and which nodepool cannot see: where it is off, waive this check and version-skew.",
	},
	{
		Code: CheckVersion, Asks: "Does the wanted version go with the control plane's?", Worst: Block,
		Means:  "The pool's version is newer than the control plane's, or too far behind, or, for machines that join by kubeadm, not of the same minor, or, in a cluster with a topology, not the very same, or one of the two cannot be read: Cluster API would accept the change and never make a machine. This holds for every rollout, also when only the image or the type changes. As a warning: what only the Kubernetes policy forbids, such as a newer patch release; a version that is older than the pool's present one; a pool that skips Cluster API's check; a pool without machines.",
		Why:    "A kubelet must not be newer than its API server and at most three minors older (two before v1.25). kubeadm join works with the minor of its control plane alone. An older version lacks fixes and features that workloads may count on: Kubernetes tests and documents upgrades, and not the way back to an older minor. As machines are replaced, and no kubelet is downgraded in place, that is all that is lost.",
		Source: "kubernetes.io/releases/version-skew-policy, which orders upgrades and knows no way back (kubernetes/website issue 12327); MachineSet preflight checks KubernetesVersionSkew, KubeadmVersionSkew and ControlPlaneVersionSkew (internal/controllers/machineset/machineset_preflight.go), held against the controllers in docs/preflight-matrix.md",
		Fix:    "Upgrade the control plane first (with kubeadm one minor version at a time), or set kubernetesVersion to what the remedy says, with an image that carries it. A waiver lets nodepool write, and Cluster API goes on refusing until the versions agree; only the annotation machineset.cluster.x-k8s.io/skip-preflight-checks on the MachineDeployment lifts its check. A downgrade that is meant may go on; to take an earlier run back, use nodepool rollback, which does not warn of it. Of nodepool rollback: where machines of the old version would have to be made again and Cluster API makes none, there is no way back.",
	},
	{
		Code: CheckImage, Asks: "Does the image carry the wanted version?", Worst: Block,
		Means:  "The catalogue of the upgrade (spec.images, spec.imagesFrom), or the provider, says that the image carries another Kubernetes than the pool is to have. As a warning: only the image's name says so; or catalogue and provider differ, and then the catalogue counts; or image or version change and nobody reports what the image carries; or nodepool does not know how the template's kind names its image; or the provider looks an image up by itself when it makes a machine. Also as a warning: the new image has another operating system, by the catalogue (os) or the provider, than the pool's nodes report (Machine.status.nodeInfo.osImage), by name or by the first number of its release; that is all that os is held against.",
		Why:    "A machine whose image carries another Kubernetes than the pool asks for boots and never joins, or joins with another kubelet. Cluster API up to v1.13 counts the latter as up to date. What the bootstrap template writes and runs was made for one operating system, and may fail on another.",
		Source: "image-builder tags its AMIs with kubernetes_version; tags are seen in the owner's account alone (Amazon EC2, DescribeImages), where the name tells. Machine condition UpToDate compares the kubelet since Cluster API v1.14",
		Fix:    "Set machineImage to an image built for kubernetesVersion. Where nodepool cannot know what an image carries, check it and list it under spec.images, or have nodepool ask the provider; for a kind whose image field it does not know, look at the template and go on, or waive the check with what you found. Where the operating system changes, go on if that is meant and was tried elsewhere; write os as the nodes report it where both are the same.",
	},
	{
		Code: CheckImageExists, Asks: "Is the image there, and available?", Worst: Block,
		Means:  "The account that nodepool asks with does not see the image in the cluster's region: it is not there, or it is not shared with that account, which EC2 does not tell apart; or the image is not available; or none is pinned and the provider's own lookup would find none for the wanted version. As a warning: the image is deprecated.",
		Why:    "Cluster API takes any image. The provider's controller fails to make the machine, again and again, and the rollout stands.",
		Source: "Amazon EC2, DescribeImages and InvalidAMIID.NotFound; the lookup is that of CAPA v2.13 (pkg/cloud/services/ec2/ami.go, DefaultAMILookup)",
		Fix:    "Look for the image with the credentials of the cluster's own account: aws ec2 describe-images --region REGION --image-ids AMI. If it is not seen there either, correct machineImage, copy the image to the region, or share it with that account. If it is, plan again with those credentials, waive the check, or ask no provider with --no-provider." + sourcesWayBack,
	},
	{
		Code: CheckImageType, Asks: "Do image and instance type go together?", Worst: Block,
		Means:  "The image is built for another architecture than the instance type has, or does not support what the type requires, such as ENA. As a warning: catalogue and provider say different architectures, and the catalogue counts.",
		Why:    "The provider refuses to make such a machine. A change of the type alone, from Intel to Graviton, is the usual way to get there.",
		Source: "Amazon EC2, RunInstances (InvalidParameterValue, InvalidParameterCombination); DescribeInstanceTypes, processorInfo and networkInfo.enaSupport",
		Fix:    "Set machineImage to an image for the type's architecture, or instanceType to a type for the image's. Whether an image has drivers for NVMe disks is not looked at: no provider reports it." + sourcesWayBack,
	},
	{
		Code: CheckInstanceType, Asks: "Is the instance type offered where the pool's machines are placed?", Worst: Block,
		Means:  "The region has no such instance type, or none of the zones that the pool's machines may be placed in offers it. As a warning: some of these zones do not offer it.",
		Why:    "Many types are offered in some zones of a region alone, and a typing error shows only when the first machine is made. The provider then fails to make the machine, again and again, and the rollout stands.",
		Source: "Amazon EC2, DescribeInstanceTypes and DescribeInstanceTypeOfferings; the zones are the MachineDeployment's failureDomain, or those of the subnets that CAPA v2.13 chooses from (pkg/cloud/services/ec2/instances.go, findSubnet)",
		Fix:    "Correct instanceType, or set spec.template.spec.failureDomain of the MachineDeployment to a zone that offers it and plan again." + sourcesWayBack,
	},
	{
		Code: CheckQuota, Asks: "Does the quota of vCPUs have room for the rollout?", Worst: Block,
		Means:  "The quota has no room for one more machine, and maxUnavailable is 0, so none is removed before. As a warning: it has no room for all the vCPUs that the rollout takes on top of what is used now.",
		Why:    "New machines come before the old ones are removed. Without room for them the rollout stands, and so does every scale-up of others who share the quota.",
		Source: "Amazon EC2 On-Demand Instance quotas (Service Quotas, ec2); used is what pending and running instances of the account take",
		Fix:    "Have the quota raised or free vCPUs, then plan again; or lower strategy.maxSurge, or set strategy.maxUnavailable to 1 or more." + sourcesWayBack,
	},
	{
		Code: CheckInfrastructureReuse, Asks: "Where are the new machines made from?", Worst: Pass,
		Means: "It never warns: it says whether a changed copy of the infrastructure template is made, or one that is there is used again.",
		Why:   "Infrastructure templates are immutable, so a change of one is a copy.",
		Fix:   "Nothing has to be done.",
	},
	{
		Code: CheckRollout, Asks: "Is a rollout under way?", Worst: Block,
		Means: "Machines of the pool are being replaced for a change that was made before, and this upgrade would start the next rollout on top of it. " +
			"It only warns where that rollout is stuck or its template is gone, where an earlier run of this same upgrade began it, where machines wait to be deleted by somebody (OnDelete), and where this upgrade replaces no machine. " +
			"A rollout towards what this upgrade asks for is not on top of anything: it is waited for.",
		Why:    "Two rollouts at once replace machines twice, and whoever began the first one has not seen its end. But a stuck rollout is best ended by a correct one on top.",
		Source: "nodepool's own judgement on MachineSets and Machines (docs/rollout-judgement.md)",
		Fix:    "Wait until the rollout is done and plan again; nodepool status shows how far it is. Waive it if this upgrade is meant to supersede that rollout.",
	},
	{
		Code: CheckStrategy, Asks: "Does the rollout move by itself?", Worst: Warn,
		Means:  "The strategy is OnDelete: nothing is replaced until somebody deletes machines.",
		Why:    "apply would wait for somebody who does not know that others wait for them.",
		Source: "MachineDeploymentRolloutStrategy (api/core/v1beta2/machinedeployment_types.go)",
		Fix:    "Have someone delete the old machines while apply runs, and raise wait.stallAfter to what that takes; or set the strategy to RollingUpdate on the MachineDeployment, which an upgrade file cannot do. Of nodepool rollback: have someone delete the machines of the new template, and give the same command again where it has stopped meanwhile.",
	},
	{
		Code: CheckReplicas, Asks: "Are there machines that exercise the new template?", Worst: Warn,
		Means: "The pool has no replicas, so a mistake in the new template shows only when it is scaled up.",
		Why:   "A pool that scales from zero is upgraded in a second, and that proves nothing.",
		Fix:   "Scale up by one afterwards to see whether its machines join.",
	},
	{
		Code: CheckAutoscaler, Asks: "Does the cluster autoscaler move the replicas?", Worst: Warn,
		Means:  "The annotations of the cluster autoscaler are on the MachineDeployment. As a warning: a pool at its maximum lends machines to the rollout, which are not made up for; the rollout makes more machines than the maximum; or the bounds cannot be read, or the minimum is above the maximum: then the autoscaler scales no pool at all. Where they are in nobody's way the check passes, and says what they are.",
		Why:    "Where the minimum allows one, a scale-down in the middle of a rollout may take the new machines first, and the number of machines to replace moves. A pool at its maximum is not scaled up, so pods of machines that are away may wait.",
		Source: "cluster-autoscaler, cloudprovider/clusterapi; kubernetes/autoscaler issue 8494",
		Fix:    "nodepool never writes replicas, and the rollout follows them. At the maximum, raise the maximum meanwhile, or go on if there is quota for the machines of the surge. Correct bounds that cannot be read, or that are the wrong way round.",
	},
	{
		Code: CheckRoom, Asks: "Do strategy and replicas leave the rollout room to move?", Worst: Block,
		Means:  "maxSurge and maxUnavailable are both 0, which Cluster API refuses. As a warning: both are percentages that come to 0, and a machine is taken away after all; or all machines of the pool may be away at once.",
		Why:    "A rollout adds a machine before it takes one away, or takes one away before it adds one; the strategy says how many of each.",
		Source: "webhook of MachineDeployments (validateRolloutStrategy); internal/controllers/machinedeployment/mdutil, ResolveFenceposts: surge rounds up, unavailable rounds down, and 1 when both come to 0",
		Fix:    "Set strategy.maxSurge to 1 or more, with maxUnavailable 0, where one machine more can be afforded; otherwise make sure that the pool can do with fewer." + fieldsWayBack,
	},
	{
		Code: CheckUnhealthy, Asks: "Are all machines of the pool healthy before the rollout begins?", Worst: Warn,
		Means:  "Machines of the pool are not ready now, or are being deleted and still there. The message names the oldest one and what it waits for.",
		Why:    "What ails them may ail the new machines as well. Cluster API tries to delete unhealthy old machines first; they count among those that may be away (maxUnavailable), and none of them is repaired while the rollout runs.",
		Source: "internal/controllers/machinedeployment (cleanupUnhealthyReplicas, reconcileDeadlockBreaker)",
		Fix:    "Find out why they are not ready (nodepool status, kubectl describe machine), mend it and plan again. Go on if the upgrade is what mends them.",
	},
	{
		Code: CheckHealth, Asks: "Do MachineHealthChecks leave new machines the time that they take?", Worst: Warn,
		Means: "A MachineHealthCheck selects the pool's machines and gives a new one less time to its node than the present ones have taken, or its limit of unhealthy machines is passed by those that the rollout has on the way, so that it replaces none meanwhile.",
		Why: "A machine that has no node in time is deleted and made again, for ever, and the rollout never ends. A limit that is passed keeps a new machine that does not come up, and others that fail. " +
			"The default limit, 100 %, is never passed. Machines of the old template are not replaced during a rollout in any case.",
		Source: "internal/controllers/machinehealthcheck (nodeChecks, healthCheckTargets, isAllowedRemediation): the time counts from when the machine's infrastructure is ready, 10 minutes by default, and a machine without a node does not count as healthy; internal/controllers/machinedeployment (reconcileDeadlockBreaker)",
		Fix:    "Raise nodeStartupTimeoutSeconds (v1beta1: nodeStartupTimeout), or the limit unhealthyLessThanOrEqualTo (maxUnhealthy), for the time of the rollout, then plan again; or lower strategy.maxSurge and maxUnavailable, where more than one machine is on the way at once." + fieldsWayBack,
	},
	{
		Code: CheckBootstrapEdited, Asks: "Was the bootstrap template edited since the machines were made?", Worst: Warn,
		Means:  "New machines will be made from a bootstrap template that differs from what the present machines were made from, in fields that this upgrade does not name. The message names the fields; their values are in the template and in the machines' bootstrap configs.",
		Why:    "Bootstrap templates of kubeadm are mutable, and an edit rolls nothing: it waits for the next rollout, whatever that is for.",
		Source: "KubeadmConfigTemplate has no webhook against updates (bootstrap/kubeadm)",
		Fix:    "Find out who edited these fields and have the edit reviewed as part of this change; go on if it is meant to ship. Otherwise set them back to what the bootstrap configs of the machines say, and plan again.",
	},
	{
		Code: CheckImagesDiffer, Asks: "Do all machines of the pool run one image?", Worst: Warn,
		Means: "Machines of one template run different images, and which one new machines get is not pinned.",
		Why:   "A provider that looks images up does so for each machine anew, so new machines may run yet another image than those that were tried.",
		Fix:   "Set machineImage, so that all new machines run the image that was reviewed. Of nodepool rollback: do so by another upgrade afterwards.",
	},
	{
		Code: CheckInPlace, Asks: "Do drain settings that change in place reach the machines that are replaced?", Worst: Warn,
		Means:  "Cluster API takes drain settings over without replacing machines. Up to v1.11 it gives them to the machines of the present template alone, so the plan writes them first and begins the rollout once the machines have them. As a warning: an earlier rollout is still replacing machines, and these keep their old drain settings, whatever this upgrade sets.",
		Why:    "A drain time-out that the machines which are replaced do not have does not bound their drains: one pod that cannot be evicted may hold the rollout up for ever.",
		Source: "internal/controllers/machinedeployment (computeDesiredOldMS, syncMachines) in v1.10 to v1.13",
		Fix:    "Go on if the old settings will do for the machines of the earlier rollout. Otherwise wait until it is complete (nodepool status) and plan again.",
	},
	{
		Code: CheckFieldManagers, Asks: "Does another tool write the fields that change?", Worst: Block,
		Means: "managedFields of the MachineDeployment names a tool that applies again what it owns: Argo CD, Flux, Helm, kapp, or any other user of server-side apply. " +
			"It blocks for what makes machines roll: version, infrastructureRef, bootstrap. As a warning: other fields; a topology; kubectl apply, which may or may not be run again; marks of a tool on the object while managedFields does not name it; and any of these on the way back.",
		Why:    "The tool would put its own value back: a second rollout, back to where the pool came from.",
		Source: "Kubernetes server-side apply, metadata.managedFields: a write by anybody takes a field over, until its applier applies again",
		Fix:    "Make the change where the tool takes it from, in place of here: nodepool plan --export DIR writes it as manifests. Or have the tool leave these fields alone (Argo CD: ignoreDifferences) and plan again. Or waive it, when the tool is switched off until the change has reached its source.",
	},
	{
		Code: CheckHold, Asks: "Does an earlier run hold the pool?", Worst: Warn,
		Means: "The annotation nodepool/hold on the MachineDeployment says what a canary or a pause of an earlier run has changed and still holds. This plan ends the hold, and machines are replaced again.",
		Why:   "The hold has to be ended, or the pool keeps settings that nobody asked for. But it stands there for a reason: a canary that was not proved, or a rollout that stalled.",
		Fix:   "Find out why the earlier run stopped (nodepool history). Go on if its reason is gone or this upgrade cures it; otherwise take that run back (nodepool rollback) and plan again.",
	},
	{
		Code: CheckCanary, Asks: "Can the canary prove anything?", Worst: Warn,
		Means: "There is no canary, for want of replicas or of a rolling update; or it is as large as the pool, or needs more machines than maxSurge allows at other times.",
		Why:   "A canary holds the rollout at its first new machines (docs/canary.md), which takes room for them.",
		Fix:   "Set canary.machines to fewer than the replicas, and check that there are room and quota for them.",
	},
	{
		Code: CheckUnfinished, OfCluster: true, Asks: "Is a run that was begun on these pools finished?", Worst: Warn,
		Means: "Of plan: a run of this upgrade or of another one on these pools was begun and is not finished, by the journals beside the Cluster. nodepool apply refuses the plan as long as that is so, or carries on with that run in its place, where both are for the same.",
		Why:   "Two upgrades of one pool at once replace its machines twice, and what the first one was to reach is then reached by nobody.",
		Fix:   "Look at the run (nodepool history RUN). Carry on with it (nodepool apply RUN), take it back (nodepool rollback RUN), or give it up for this plan (nodepool apply --abandon).",
	},
	{
		Code: CheckRights, Asks: "May who plans apply as well?", Worst: Warn,
		Means:  "Of plan: carrying the plan out takes rights that you do not have; each has a line of its own. That is as it should be for those who only review. For apply a missing right is an error, before anything is written.",
		Why:    "A right that is missed in the middle of a run leaves a pool half done.",
		Source: "Kubernetes SelfSubjectAccessReview (authorization.k8s.io/v1), which every user who is logged in may post",
		Fix:    "Have somebody apply who has the rights, or ask for them; deploy/rbac.yaml holds a role with all of them and no others. It names the kinds of AWS and kubeadm: put those of your providers in their place.",
	},
	{
		Code: CheckServer, Asks: "Would the API server take the writes?", Worst: Block,
		Means:  "A dry run of a create or patch was refused by the API server, a webhook or a policy; its words are quoted. As a warning: the writes were not tried, and why, so what the server would refuse shows at the write; for each missing right one warning tells of all writes that take it. The check rights lists all missing rights at once.",
		Why:    "What the server refuses now it refuses later, after other steps have been done.",
		Source: "Kubernetes dry run (dryRun=All) and field validation (fieldValidation=Strict)",
		Fix:    "Correct the field that the message names, then plan again. Where the writes were not tried, plan with the rights to make them, against the management cluster; deploy/rbac.yaml holds them for the kinds of AWS and kubeadm: put those of your providers in their place.",
		Firm:   "the API server would refuse the write all the same",
	},
	{
		Code: CheckWorkload, OfCluster: true, Asks: "Could the workload cluster be looked at?", Worst: Warn,
		Means:  "The upgrade asks for a look at the workload cluster (spec.preflight.workload, or --workload), and it, or a part of it, could not be had: no right to the Secret of its kubeconfig, a kubeconfig that is refused, no answer in time, or kinds that may not be listed there. What it would have shown is not known.",
		Why:    "Nodes, budgets and data are in the workload cluster, and nothing in the management cluster tells of them. The look only gets and lists, and uses no kubeconfig that runs a program, reads a file, goes through a proxy or does without TLS.",
		Source: "Cluster API, Secret CLUSTER-kubeconfig with the key value (util/secret)",
		Fix:    "Do what the remedy says: the role nodepool-workload in deploy/rbac.yaml has the rights. Or leave the look out of the upgrade, and look at drains by hand.",
	},
	{
		Code: CheckWorkloadNodes, Asks: "Are the nodes to be replaced as they should be?", Worst: Warn,
		Means:  "Nodes of machines that will be replaced are missing, unreachable, not ready or cordoned, run another kubelet than their Machine asks for, or are deleted without a drain.",
		Why:    "A rollout counts on the machines that it has not reached yet: maxUnavailable is worked out from those that are ready. From a node that is not there nothing is drained; on one that is unreachable each pod is given a second to end.",
		Source: "internal/controllers/machine/machine_controller.go (drainNode, isNodeDrainAllowed) of Cluster API v1.13",
		Fix:    "Find out what is the matter with the nodes and mend it, or uncordon those whose room is needed; then plan again. Going on may leave evicted pods without room.",
	},
	{
		Code: CheckWorkloadBudgets, Asks: "Can the pods on the nodes to be replaced be evicted?", Worst: Block,
		Means:  "PodDisruptionBudgets forbid the eviction of pods on nodes to be replaced. It blocks where a budget allows nothing as things stand (it wants as many healthy pods as there are, cannot be worked out, or two budgets select one pod) and the drain has no limit. As a warning: the budget is exhausted at the moment only, or nodeDrainTimeout ends the drain, and then the pods are killed with their machine.",
		Why:    "Cluster API evicts pods by the eviction API, which keeps to the budgets, and tries again every 20 seconds. nodeDrainTimeout is 0 by default, which means no limit: one pod that cannot be evicted stops the rollout for ever, without an error.",
		Source: "internal/controllers/machine/drain (EvictPods) and machine_controller.go (nodeDrainTimeoutExceeded) of Cluster API v1.13; pkg/registry/core/pod/storage/eviction.go and pkg/controller/disruption of Kubernetes v1.35",
		Fix:    "Let the workload lose a pod (more replicas, a looser budget, one budget for each pod) and plan again. Or set drain.nodeDrainTimeout, and accept that the pods are killed when it is over. Waive it where an operator moves the pod when its node is cordoned." + fieldsWayBack,
	},
	{
		Code: CheckWorkloadPods, Asks: "Does a drain do with the pods what one expects?", Worst: Warn,
		Means:  "On nodes to be replaced are pods that no controller makes again, pods of an apps/v1 DaemonSet that is gone, pods that tolerate the cordon and may come back to the node, pods that are waited for until they complete, or pods that are being deleted and do not go.",
		Why:    "The drain of Cluster API is not that of kubectl: it evicts pods without a controller and pods with an emptyDir without asking. It leaves out static pods, pods of DaemonSets that exist, and pods that a label or a MachineDrainRule names; these end with their machine. It is over when all other pods are gone.",
		Source: "internal/controllers/machine/drain/filters.go of Cluster API v1.13; docs/proposals/20240930-machine-drain-rules.md",
		Fix:    "Move what must not be lost, or give it a controller, and plan again. Leave out of the drain what cannot be drained: label cluster.x-k8s.io/drain: skip on the pod, or a MachineDrainRule in the management cluster; it ends with its machine.",
	},
	{
		Code: CheckWorkloadData, Asks: "Is there data on the nodes to be replaced, and nowhere else?", Worst: Block,
		Means:  "A persistent volume is on a node to be replaced (local, hostPath, or of a driver whose volumes are on one node), or a pod without a controller keeps data on its node (nobody makes that pod again): the data is lost with the machine. As a warning: pods may write to directories of their node (hostPath).",
		Why:    "A replaced machine takes its disks along. A claim that is bound to a volume of it keeps its pods from starting anywhere else, and their budget then stops the drain of the next node.",
		Source: "Kubernetes PersistentVolume.spec.nodeAffinity and the scheduler's VolumeBinding; Cluster API warns of local storage in its own log alone (drain/filters.go, localStorageFilter)",
		Fix:    "Move the data, then delete the claim or the pod, and plan again. Where the application keeps another copy elsewhere, as replicated databases do, delete the claim of one node after the other and let it copy again. With the warning, go on if what the pods write to their node may be lost.",
		Firm:   "data that is lost does not come back, and a reason in a file does not move it",
	},
	{
		Code: CheckWorkloadPending, OfCluster: true, Asks: "Do all pods of the workload cluster find a node now?", Worst: Warn,
		Means:  "The scheduler finds no node for some pods already.",
		Why:    "Every node that is drained sends its pods to the others. Where room is short before the rollout it will be shorter during it; evicted pods then wait, and budgets stop the next drain.",
		Source: "Kubernetes pod condition PodScheduled, reason Unschedulable",
		Fix:    "See what the pods wait for (kubectl describe pod), make room or raise strategy.maxSurge, and plan again. Go on if the pods that are evicted do not need what these lack. Of nodepool rollback: make room, then roll back again.",
	},
	{
		Code: CheckRollbackValue, Asks: "Is every value of before known?", Worst: Block,
		Means:  "Of nodepool rollback: a field that goes back held a secret before. The recorded plan holds its hash and not its value, so there is nothing to write.",
		Why:    "No plan, record or output of nodepool holds a secret; the value stood in the upgrade file or on the object alone.",
		Source: "nodepool's own rule (docs/adr/0004-sealed-values.md)",
		Fix:    "Write an upgrade that sets the field, with the other values of before, and apply that. Take the other pools back alone, with --pool NAME.",
		Firm:   "the value is not known, so it cannot be written",
	},
	{
		Code: CheckUnused, OfPrune: true, Asks: "Does anything refer to the template?", Worst: Pass,
		Means: "Of nodepool prune: the template is unused, and the plan lists what was looked at.",
		Why:   "A template that a MachineSet still needs must stay: without it the MachineSet makes no machine.",
		Fix:   "Nothing has to be done.",
	},
	{
		Code: CheckKept, OfPrune: true, Asks: "Why is the template kept?", Worst: Pass,
		Means: "Of nodepool prune: something refers to the template, or it is one of the last that are kept.",
		Why:   "The newest unused templates are the way back.",
		Fix:   "Nothing has to be done.",
	},
	{
		Code: CheckForeign, OfPrune: true, Asks: "Are there templates that nodepool did not make?", Worst: Pass,
		Means: "Of nodepool prune: they are counted and left alone.",
		Why:   "What others made may be in use in ways that cannot be seen.",
		Fix:   "Nothing has to be done.",
	},
	{
		Code: CheckRollbackTarget, OfPrune: true, Asks: "Is a way back still there?", Worst: Warn,
		Means: "Of nodepool prune: another run changed the pool last, and its record is not in the journal that was read, so the template that a rollback would need is not known.",
		Why:   "A rollback names the old template again.",
		Fix:   "The newest unused template stays in any case. Prune with the journal of that run, or raise --keep.",
	},
}
