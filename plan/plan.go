package plan

import (
	"cmp"
	"encoding/json"
	"slices"

	"nodepool/schema"
)

// APIVersion and Kind head every plan file.
const (
	APIVersion = schema.APIVersion
	Kind       = "Plan"
)

// Plan is the whole of what apply will do, in order. It has no unknowns: the
// name of a template that does not exist yet is already final, and so is the
// digest of its content.
//
// Digest covers APIVersion, Kind, Upgrade and Steps. Blocked, Findings and
// Impact are what was seen when the plan was made; they are for people and
// must not drive what apply does. They are not signed, since they may differ
// with the rights of who looks; encoded, they bear a digest of their own
// ("seen"), by which Read tells that they were edited.
type Plan struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Digest     Digest       `json:"digest"`
	Upgrade    UpgradeRef   `json:"upgrade"`
	Steps      []Step       `json:"steps"`
	Blocked    bool         `json:"blocked"`
	Findings   []Finding    `json:"findings,omitempty"`
	Impact     []PoolImpact `json:"impact,omitempty"`
}

// Purpose says what a plan is for, to people and to the command that reads it
// again. What it does stands in its steps alone.
type Purpose string

// The purposes. A plan for an upgrade names none.
const (
	ForUpgrade  Purpose = ""
	ForRollback Purpose = "rollback"
	ForPrune    Purpose = "prune"
	// ForAbandon ends the holds of a run that is given up.
	ForAbandon Purpose = "abandon"
)

// UpgradeRef says what the plan was compiled from.
type UpgradeRef struct {
	Name string `json:"name"`
	// Purpose says how to read Content: the upgrade's spec, or the
	// PruneOptions; empty for an upgrade.
	Purpose Purpose `json:"purpose,omitempty"`
	// Spec is the digest of Content.
	Spec    Digest            `json:"spec"`
	Cluster schema.ClusterRef `json:"cluster"`
	// Content is the upgrade's spec after defaults, sealed, so that a plan
	// can be checked again without its upgrade file.
	Content json.RawMessage `json:"content,omitempty"`
	// Rollback is the digest of the plan that this one takes back; empty when
	// it goes forward. Content is then the upgrade of that plan.
	Rollback Digest `json:"rollback,omitempty"`
}

// SameTask reports whether two plans are to reach the same: the same spec, or
// the way back from the same plan.
func (u UpgradeRef) SameTask(v UpgradeRef) bool {
	return u.Name == v.Name && u.Purpose == v.Purpose && u.Spec == v.Spec && u.Rollback == v.Rollback
}

// Step is one thing to do. Exactly one of Preflight, Create, Patch, Wait and
// Delete is set.
type Step struct {
	// ID is unique in the plan and stable between compilations: it is the
	// journal's key.
	ID string `json:"id"`
	// Pool is the MachineDeployment's name; empty for a step of the cluster.
	Pool string `json:"pool,omitempty"`
	// Note is for people. Apply must not read it.
	Note string `json:"note,omitempty"`
	// Facts are what this step relies on and does not write. They are
	// checked while the step is Pending, and never after.
	Facts []Fact `json:"facts,omitempty"`

	Preflight *Preflight `json:"preflight,omitempty"`
	Create    *Create    `json:"create,omitempty"`
	Patch     *Patch     `json:"patch,omitempty"`
	Wait      *Wait      `json:"wait,omitempty"`
	Delete    *Delete    `json:"delete,omitempty"`
}

// Fact is something relied on. Exactly one of Equals and Digest is used: the
// value at Path is Equals (canonical JSON; empty means absent, and absent,
// null and false count as the same), or the sealed form of {"value": …} has
// that Digest.
type Fact struct {
	Object  Ref             `json:"object"`
	Path    Pointer         `json:"path"`
	Equals  json.RawMessage `json:"equals,omitempty"`
	Digest  Digest          `json:"digest,omitempty"`
	Because string          `json:"because"`
}

// Preflight names the checks that were made before anything else.
type Preflight struct {
	Checks []string `json:"checks"`
}

// Change is one field before and after. Values are canonical JSON, compared
// as bytes; empty means absent. A secret stands in sealed form.
type Change struct {
	Path   Pointer         `json:"path"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Create says: copy BasedOn, make these changes, and the result has the
// digest Result. The plan holds no body, so no secret of the source enters it.
type Create struct {
	Ref        Ref      `json:"ref"`
	APIVersion string   `json:"apiVersion"`
	BasedOn    Source   `json:"basedOn"`
	Owner      Owner    `json:"owner"`
	Changes    []Change `json:"changes"`
	// Result is the digest of what is sent, sealed, without its name and
	// without the annotation that carries this digest. Not of what the
	// server makes of it: defaulting and admission may add to that.
	Result Digest `json:"result"`
}

// Source is the object that a Create copies, held to what it was by UID and
// by the digest of all that is copied.
type Source struct {
	Ref    Ref    `json:"ref"`
	UID    string `json:"uid"`
	Digest Digest `json:"digest"`
}

// Owner is the Cluster that a new template belongs to. Its UID is not in the
// plan: it is the key that seals secrets.
type Owner struct {
	Ref        Ref    `json:"ref"`
	APIVersion string `json:"apiVersion"`
}

// Patch is one write to a MachineDeployment. It goes out as a JSON Patch whose
// test operations are UID, every Before, and Run.Before. Of two patches of one
// MachineDeployment the later one starts from the run mark of the earlier.
type Patch struct {
	Target     Ref      `json:"target"`
	Cluster    Ref      `json:"cluster"`
	APIVersion string   `json:"apiVersion"`
	UID        string   `json:"uid"`
	Run        Run      `json:"run"`
	Changes    []Change `json:"changes"`
}

// Run is the change of the annotation nodepool/run: it fences off a runner
// who was frozen while others changed the pool forth and back.
type Run struct {
	Before string `json:"before,omitempty"`
	After  string `json:"after"`
}

// Wait is over when the MachineDeployment's machines are all of the wanted
// kind and no other is left; or, with Propagated, when its machines have these
// fields. Steps that wait and stand next to each other in a plan are waited for
// together.
type Wait struct {
	MachineDeployment Ref    `json:"machineDeployment"`
	UID               string `json:"uid"`
	Cluster           Ref    `json:"cluster"`
	// Template and BootstrapTemplate are the names that the
	// MachineDeployment must go on naming; InfraMachine and BootstrapConfig
	// are the kinds that are cloned from them.
	Template          string `json:"template"`
	BootstrapTemplate string `json:"bootstrapTemplate,omitempty"`
	InfraMachine      Ref    `json:"infraMachine"`
	BootstrapConfig   Ref    `json:"bootstrapConfig,omitzero"`
	Version           string `json:"version,omitempty"`
	// Propagated, when there are any, are the fields that Cluster API is to
	// give to the machines in place before the rollout begins; the rollout
	// itself is not waited for.
	Propagated []Field `json:"propagated,omitempty"`
	// StallAfter is a Go duration: how long no progress is borne.
	StallAfter string `json:"stallAfter"`
	// Canary, when set, makes the wait one for the first new machines alone.
	Canary *Canary `json:"canary,omitempty"`
	// Pause, when set, is the patch to send once the rollout has stalled. It is
	// sent backwards when the plan is carried on with.
	Pause *Patch `json:"pause,omitempty"`
	// Rollback says that the pool is taken back once its rollout has stalled,
	// by a plan that is compiled then: the inverse of this one for the pool.
	Rollback bool `json:"rollback,omitempty"`
}

// Canary is proved once so many new machines have been ready, with the kubelet
// and the templates that are wanted, for Soak without a break, and Command has
// exited with 0 for each of them.
type Canary struct {
	Machines int `json:"machines"`
	// Soak is a Go duration.
	Soak string `json:"soak"`
	// Command is a program and its arguments. It runs on the machine of whoever
	// applies the plan, with that person's rights, and not in a shell.
	Command []string `json:"command,omitempty"`
}

// Delete says: this template goes, if it is still the one that was reviewed and
// nothing refers to it.
type Delete struct {
	Ref        Ref    `json:"ref"`
	APIVersion string `json:"apiVersion"`
	UID        string `json:"uid"`
	// Cluster is the one that it was made for.
	Cluster Ref `json:"cluster"`
	// Content is the digest of all that a copy of it would take over.
	Content Digest `json:"content"`
	// UnusedBy are the kinds, each with its namespace and without a name, whose
	// objects must not refer to it. All of them are looked at again right
	// before the delete.
	UnusedBy []Ref `json:"unusedBy"`
}

// Field is a field of a MachineDeployment's spec.template.spec, by its path in
// the MachineDeployment, and its value in canonical JSON.
type Field struct {
	Path  Pointer         `json:"path"`
	Value json.RawMessage `json:"value"`
}

// Severity ranks a finding.
type Severity string

// The severities: Pass is shown as done, NotVerified is neither done nor to
// weigh, since the check could not find out, Warn is for the reviewer to weigh,
// Block stops apply before it writes.
const (
	Pass        Severity = "pass"
	NotVerified Severity = "notVerified"
	Warn        Severity = "warn"
	Block       Severity = "block"
)

// Finding is the answer of one preflight check about one pool or the cluster.
type Finding struct {
	Code string `json:"code"`
	// Severity is what the check found, and stays block where it is waived: what
	// blocks is a finding of severity block that has no waived, and whether any
	// does is blocked of the plan.
	Severity Severity `json:"severity"`
	Pool     string   `json:"pool,omitempty"`
	Object   Ref      `json:"object,omitzero"`
	// NotVerified goes with the severity of that name; Message says why. In older
	// plans it is set beside the severity Pass.
	NotVerified bool `json:"notVerified,omitempty"`
	// Message is one line, but for CheckRights, of which each missing right has
	// one below the first. Of a check that had nothing to look at in any pool it is
	// "nothing to check", with the severity pass.
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	// Waived is the reason for which the upgrade lets the pool go on all the
	// same; a finding that has one does not block, whatever its severity is.
	Waived string `json:"waived,omitempty"`
}

func (f Finding) blocks() bool { return f.Severity == Block && f.Waived == "" }

// inOrder sorts findings by severity, the gravest first, and then by pool, those
// of the whole cluster first. What is alike stays in the order of
// the checks, and what was asked of the server comes after them.
func inOrder(findings []Finding) []Finding {
	rank := func(f Finding) int {
		switch {
		case f.blocks():
			return 0
		case f.Severity == Block:
			return 1
		case f.Severity == Warn:
			return 2
		case f.NotVerified:
			return 3
		}
		return 4
	}
	late := func(f Finding) int { return slices.Index([]string{CheckRights, CheckServer}, f.Code) }
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Pool, b.Pool), cmp.Compare(late(a), late(b)))
	})
	return findings
}

// nothingToCheck is the message of a check that found nothing to look at.
const nothingToCheck = "nothing to check"

// Idle reports whether the check had nothing to look at in any pool: there is
// nothing against the plan, and it is no check that was made and passed.
func (f Finding) Idle() bool { return f.Severity == Pass && f.Message == nothingToCheck }

// answerAll gives findings in order, and one more for each check that found
// nothing to look at, so that every check that is counted has an answer.
func answerAll(codes []string, findings []Finding) []Finding {
	for _, code := range codes {
		if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Code == code }) {
			findings = append(findings, Finding{Code: code, Severity: Pass, Message: nothingToCheck})
		}
	}
	return inOrder(findings)
}

// Action is what happens to the machines of a pool.
type Action string

// The actions.
const (
	Replace Action = "replace"
	InPlace Action = "inPlace"
	None    Action = "none"
)

// PoolImpact predicts what happens to the machines of one pool. Machines is
// how many are replaced, Waves in how many rounds, Peak and Floor the most
// and the fewest machines on the way.
type PoolImpact struct {
	Pool     string `json:"pool"`
	Action   Action `json:"action"`
	Machines int    `json:"machines"`
	Waves    int    `json:"waves"`
	Peak     int    `json:"peak"`
	Floor    int    `json:"floor"`
	Note     string `json:"note,omitempty"`
	// Reuses names the templates of the plan's creates that are there already,
	// with the very content: they are used again.
	Reuses []string `json:"reuses,omitempty"`
}

// WithFindings gives p with more findings; one that blocks makes p blocked.
// The digest stays: findings are not signed. The waivers of p's upgrade hold
// for them too.
func (p Plan) WithFindings(more ...Finding) Plan {
	c := checker{blocked: p.Blocked, findings: slices.Clone(p.Findings)}
	if up, err := UpgradeOf(p); err == nil {
		c.upgrade = up.Spec.Pools
	}
	for _, f := range more {
		c.pool = f.Pool
		c.add(f)
	}
	p.Findings, p.Blocked = inOrder(c.findings), c.blocked
	return p
}

// HoldsSecrets reports whether p cannot be carried out without the upgrade file
// that it was made from: some of what it writes stands in it sealed.
func (p Plan) HoldsSecrets() bool {
	for _, s := range p.Steps {
		var changes []Change
		switch {
		case s.Create != nil:
			changes = s.Create.Changes
		case s.Patch != nil:
			changes = s.Patch.Changes
		}
		for _, c := range changes {
			if v, err := decodeValue(append(json.RawMessage{}, orNull(c.After)...)); err == nil {
				if _, sealed := sealedAt("", v); sealed {
					return true
				}
			}
		}
	}
	return false
}

// Without gives p without the steps of some pools, as it is carried out once
// those were taken back. Its digest stays that of the whole plan.
func (p Plan) Without(pools ...string) Plan {
	if len(pools) > 0 {
		p.Steps = slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.Pool != "" && slices.Contains(pools, s.Pool) })
	}
	return p
}

// OnlyReleases reports whether all that p changes is to end what an earlier run
// holds or has paused: what that run changed is not p's to take back.
func (p Plan) OnlyReleases() bool {
	any := false
	for _, s := range p.Steps {
		switch {
		case s.Create != nil, s.Delete != nil, s.Patch != nil && !s.releases():
			return false
		}
		any = any || s.Patch != nil
	}
	return any
}

// IsEmpty reports whether there is nothing to do.
func (p Plan) IsEmpty() bool { return len(p.Steps) == 0 }
