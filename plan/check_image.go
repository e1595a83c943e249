package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"nodepool/plan/capi"
)

// known is what the catalogue of the upgrade and the provider say of the image
// of a pool's new machines. The catalogue counts where they differ: tags are
// seen in the owner's account alone, and anybody there may set them.
type known struct {
	// image is for messages: ami-1 (its name).
	image  string
	pinned bool
	// version, architecture and os are empty where nobody tells them; From says who
	// does.
	version, versionFrom           string
	architecture, architectureFrom string
	os, osFrom                     string
	// guessed tells that the version is no more than a part of a name.
	guessed bool
	// conflict and architectureConflict tell of what the two say differently.
	conflict, architectureConflict string
	// info is the provider's answer; why says why there is none.
	info ImageInfo
	why  string
}

func (c *checker) known(p *pool) known {
	m, ok := p.machine()
	if !ok {
		return known{why: "no machine is made"}
	}
	k := known{image: m.image, pinned: m.image != ""}
	q, why := m.imageQuery()
	k.why = why
	if why == "" {
		var asked bool
		k.info, asked = c.snap.Image(q)
		switch {
		case !asked:
			k.why = notAsked
		case k.info.Unverified != "":
			k.why = k.info.Unverified
		case k.info.Missing:
		default:
			k.image = cmp.Or(k.info.Image, m.image)
			k.version, k.versionFrom, k.guessed = k.info.KubernetesVersion, k.info.VersionFrom, k.info.Guessed
			k.architecture, k.architectureFrom = k.info.Architecture, "the provider"
			k.os, k.osFrom = k.info.OS, "the provider"
		}
	}
	k.catalogued(c)
	if k.info.Name != "" {
		k.image += " (" + k.info.Name + ")"
	}
	return k
}

const (
	notAsked      = "the provider was not asked"
	fromCatalogue = "the catalogue of images"
)

// catalogued lays what the catalogue says over what the provider does.
func (k *known) catalogued(c *checker) {
	if c.catalogue == nil || k.image == "" {
		return
	}
	entry, ok := c.catalogue(k.image)
	if !ok {
		return
	}
	differ := func(what, ours, theirs, from string) string {
		return fmt.Sprintf("the catalogue of images says that %s %s %s, and %s says %s: the catalogue counts", k.image, what, ours, from, theirs)
	}
	if v := entry.KubernetesVersion; v != "" {
		if k.version != "" && !capi.SameKubernetes(v, k.version) {
			k.conflict = differ("carries", v, k.version, k.versionFrom)
		}
		k.version, k.versionFrom, k.guessed = v, fromCatalogue, false
	}
	if a := string(entry.Architecture); a != "" {
		if k.architecture != "" && a != k.architecture {
			k.architectureConflict = differ("is built for", a, k.architecture, k.architectureFrom)
		}
		k.architecture, k.architectureFrom = a, fromCatalogue
	}
	if entry.OS != "" {
		k.os, k.osFrom = entry.OS, fromCatalogue
	}
}

// now tells which image a lookup would find.
func (k known) now() string {
	if k.image == "" || k.pinned {
		return ""
	}
	return "; now it finds " + k.image
}

// tell says how it becomes known which version the image carries.
func (k known) tell(p *pool, to string) string {
	remedy := fmt.Sprintf("check that the image is built for %s, and list it with its kubernetesVersion under spec.images", to)
	if k.why != "" && !p.place.ref.IsZero() {
		remedy += "; or let nodepool ask the provider (a plan on the live cluster, with the provider's credentials, without --no-provider)"
	}
	return remedy + "; then plan again"
}

// because says why the provider does not report something.
func (k known) because() string {
	if k.why == "" {
		return ""
	}
	return " (" + k.why + ")"
}

// otherVersion tells of an image that carries another version than the pool is
// to have.
func (c *checker) otherVersion(p *pool, k known, to string) {
	f := Finding{Code: CheckImage, Severity: Block, Object: p.infra.ref,
		Message: fmt.Sprintf("%s carries %s, by %s, and the pool is to have %s: machines cannot join, or run another kubelet than was asked for",
			k.image, k.version, k.versionFrom, to),
		Remedy: fmt.Sprintf("set machineImage to an image built for %s", to)}
	if p.mayHave(k.version) {
		f.Remedy += ", or kubernetesVersion to " + k.version
	}
	if !k.pinned {
		f.Remedy = fmt.Sprintf("pin an image built for %s with machineImage", to)
	}
	if k.conflict != "" {
		f.Message += "; " + k.conflict
	}
	if k.guessed {
		f.Severity = Warn
		f.Remedy += "; if the name misleads, put the image under spec.images"
	}
	c.add(f)
}

// provider checks what new machines are made from against what the provider and
// the catalogue of the upgrade say.
func (c *checker) provider(p *pool) {
	m, ok := p.machine()
	unknown := !m.named && !capi.KnowsImages(p.infra.ref.Kind)
	switch {
	case p.infra.obj == nil && p.rolls() && p.makes():
		c.notVerifiedAll(p.infra.ref, "the infrastructure template was not found", CheckImageExists, CheckImageType, CheckInstanceType, CheckQuota)
		return
	case !ok || (!m.named && !unknown):
		return
	}
	k := c.known(p)
	c.imageExists(m, k)
	if m.size == "" {
		if unknown { // a kind that has none is known to
			c.notVerifiedAll(p.infra.ref, k.why, CheckImageType, CheckInstanceType, CheckQuota)
		}
		return
	}
	q, why := m.typeQuery()
	var info InstanceTypeInfo
	if why == "" {
		var asked bool
		if info, asked = c.snap.InstanceType(q); !asked {
			info.Unverified = notAsked
		}
		why = info.Unverified
	}
	c.imageType(m, k, info, why)
	c.instanceType(m, q, info, why)
	c.quota(m, q, info, why)
}

// notVerified tells that a check could not find out, which is no pass and
// nothing to weigh.
func (c *checker) notVerified(code string, obj Ref, why string) {
	c.add(Finding{Code: code, Severity: NotVerified, NotVerified: true, Object: obj, Message: "not verified: " + why})
}

func (c *checker) notVerifiedAll(obj Ref, why string, codes ...string) {
	for _, code := range codes {
		c.notVerified(code, obj, why)
	}
}

func (c *checker) imageExists(m machine, k known) {
	ref := m.pool.infra.ref
	if k.why != "" {
		c.notVerified(CheckImageExists, ref, k.why)
		return
	}
	q, _ := m.imageQuery()
	switch info := k.info; {
	case info.Missing && k.pinned:
		c.add(Finding{Code: CheckImageExists, Severity: Block, Object: ref,
			Message: fmt.Sprintf("the image %s was not seen in %s by the account that nodepool asks with: it is not there, or it is not shared with that account, which the provider does not tell apart. "+
				"If the cluster's account does not see it either, no machine can be made from it, and the rollout stalls at its first one", k.image, q.Region),
			Remedy: fmt.Sprintf("look for it in %s with the cluster's own credentials. If it is not seen there either, correct machineImage, copy the image to %s or have it shared with the cluster's account; "+
				"if it is, plan again with those credentials, or waive this check", q.Region, q.Region)})
	case info.Missing:
		c.add(Finding{Code: CheckImageExists, Severity: Block, Object: ref,
			Message: fmt.Sprintf("%s pins no image, and the provider's lookup finds none in %s with the account that nodepool asks with (%s). If it finds none with the cluster's account either, no machine can be made", ref, q.Region, q.Lookup),
			Remedy:  "pin an image with machineImage, or publish one that the lookup finds, then plan again; if the cluster's own account sees one, plan again with its credentials"})
	case info.State != "":
		c.add(Finding{Code: CheckImageExists, Severity: Block, Object: ref,
			Message: fmt.Sprintf("the image %s is %s in %s, and not available: no machine can be made from it, and the rollout stalls at its first one", k.image, info.State, q.Region),
			Remedy:  "wait until it is available, or set machineImage to another image; then plan again"})
	case info.DeprecatedNow:
		c.add(Finding{Code: CheckImageExists, Severity: Warn, Object: ref,
			Message: fmt.Sprintf("the image %s has been deprecated since %s: machines can still be made from it, and once its owner removes it none can, not even to replace one that fails", k.image, info.Deprecated),
			Remedy:  "set machineImage to a newer image soon; this upgrade may go on with this one"})
	default:
		message := fmt.Sprintf("%s is in %s and available", k.image, q.Region)
		if !k.pinned {
			message = fmt.Sprintf("the provider's lookup finds %s in %s", k.image, q.Region)
		}
		if info.Deprecated != "" {
			message += "; it will be deprecated from " + info.Deprecated
		}
		c.pass(CheckImageExists, ref, message)
	}
}

// String says what is looked for.
func (l ImageLookup) String() string {
	said := "Kubernetes " + l.KubernetesVersion
	for _, f := range []struct{ name, value string }{
		{"format", l.Format}, {"owner", l.Org}, {"base OS", l.BaseOS}, {"instance type", l.InstanceType}} {
		if f.value != "" {
			said += ", " + f.name + " " + f.value
		}
	}
	return said
}

// imageType holds the image against the instance type.
func (c *checker) imageType(m machine, k known, info InstanceTypeInfo, why string) {
	ref := m.pool.infra.ref
	lacks := slices.DeleteFunc(slices.Clone(info.Requires), func(r string) bool { return !slices.Contains(k.info.Lacks, r) })
	switch {
	case info.Missing || k.info.Missing:
		c.notVerified(CheckImageType, ref, "the image or the instance type was not found")
	case why != "":
		c.notVerified(CheckImageType, ref, why)
	case k.architecture == "" || len(info.Architectures) == 0:
		c.notVerified(CheckImageType, ref, cmp.Or(k.why, "nobody reports the architecture"))
	case !slices.Contains(info.Architectures, k.architecture):
		f := Finding{Code: CheckImageType, Severity: Block, Object: ref,
			Message: fmt.Sprintf("the image %s is built for %s, by %s, and the instance type %s has %s: the provider makes no such machine, and the rollout stalls at its first one",
				k.image, k.architecture, k.architectureFrom, m.size, strings.Join(info.Architectures, " and ")),
			Remedy: fmt.Sprintf("set machineImage to an image for %s, or instanceType to a type with %s", info.Architectures[0], k.architecture)}
		if k.architectureConflict != "" {
			f.Message += "; " + k.architectureConflict
		}
		c.add(f)
	case len(lacks) > 0:
		c.add(Finding{Code: CheckImageType, Severity: Block, Object: ref,
			Message: fmt.Sprintf("the instance type %s requires %s, which the image %s does not support: the provider makes no such machine, and the rollout stalls at its first one", m.size, strings.Join(lacks, " and "), k.image),
			Remedy:  fmt.Sprintf("set machineImage to an image that supports %s, or instanceType to a type that does not require it", strings.Join(lacks, " and "))})
	case k.architectureConflict != "":
		c.add(Finding{Code: CheckImageType, Severity: Warn, Object: ref, Message: k.architectureConflict,
			Remedy: "find out which of the two is right, and correct spec.images or what the provider says of the image; then plan again"})
	default:
		message := fmt.Sprintf("%s and %s go together: %s", k.image, m.size, k.architecture)
		if len(info.Requires) > 0 {
			message += fmt.Sprintf("; %s requires %s, and the image is not known to lack that", m.size, strings.Join(info.Requires, " and "))
		}
		c.pass(CheckImageType, ref, message)
	}
}

func (c *checker) instanceType(m machine, q InstanceTypeQuery, info InstanceTypeInfo, why string) {
	ref := m.pool.infra.ref
	zones := strings.Split(q.Zones, ",")
	switch {
	case why != "":
		c.notVerified(CheckInstanceType, ref, why)
	case info.Missing:
		c.add(Finding{Code: CheckInstanceType, Severity: Block, Object: ref,
			Message: fmt.Sprintf("the instance type %s does not exist in %s: no machine can be made, and the rollout stalls at its first one", m.size, q.Region),
			Remedy:  "correct instanceType, or set it to a type that the region has"})
	case len(info.MissingZones) > 0 && len(info.MissingZones) == len(zones):
		c.add(Finding{Code: CheckInstanceType, Severity: Block, Object: ref,
			Message: fmt.Sprintf("the instance type %s is not offered in %s, where the pool's machines are placed: none can be made, and the rollout stalls at its first one", m.size, strings.Join(zones, ", ")),
			Remedy:  "set instanceType to a type that is offered there; or place the machines in another zone (spec.template.spec.failureDomain of the MachineDeployment, or subnets of the cluster), then plan again"})
	case len(info.MissingZones) > 0:
		c.add(Finding{Code: CheckInstanceType, Severity: Warn, Object: ref,
			Message: fmt.Sprintf("the instance type %s is not offered in %s, where machines of the pool may be placed since it names no failure domain: a machine that is placed there is never made, and the rollout stalls at it",
				m.size, strings.Join(info.MissingZones, ", ")),
			Remedy: "set spec.template.spec.failureDomain of the MachineDeployment to a zone that offers it, then plan again; or set instanceType to another type"})
	case info.ZonesUnverified != "":
		c.pass(CheckInstanceType, ref, fmt.Sprintf("the instance type %s exists in %s; its zones are not verified: %s", m.size, q.Region, info.ZonesUnverified))
	case q.Zones != "":
		c.pass(CheckInstanceType, ref, fmt.Sprintf("the instance type %s is offered in %s", m.size, strings.Join(zones, ", ")))
	default:
		c.pass(CheckInstanceType, ref, fmt.Sprintf("the instance type %s exists in %s; the machines' zones are not known", m.size, q.Region))
	}
}

// quota holds the vCPUs that the rollout takes on top of what is there against
// what the quota leaves: the machines that the pool grows by, and what new
// machines take more than those that they replace.
func (c *checker) quota(m machine, q InstanceTypeQuery, info InstanceTypeInfo, why string) {
	p := m.pool
	ref := p.infra.ref
	switch {
	case why != "":
		c.notVerified(CheckQuota, ref, why)
		return
	case capi.Interruptible(m.spec):
		c.notVerified(CheckQuota, ref, "spot machines have quotas of their own")
		return
	case q.Growth == 0:
		c.pass(CheckQuota, ref, "the pool does not grow while it rolls")
		return
	case info.Quota == nil || info.VCPUs == 0:
		c.notVerified(CheckQuota, ref, cmp.Or(info.QuotaUnverified, "the provider reports no quota"))
		return
	}
	need := q.Growth * info.VCPUs
	if bq, ok := m.beforeQuery(); ok {
		before, _ := c.snap.InstanceType(bq)
		if before.QuotaName != info.QuotaName {
			before.VCPUs = 0 // it gives nothing back to this quota
		}
		replaced := p.rollout.Desired
		if p.back != nil {
			replaced = min(p.back.make, len(p.back.goes))
		}
		need += max(0, replaced*(info.VCPUs-before.VCPUs))
	}
	left := info.Quota.Limit - info.Quota.Used
	_, unavailable := p.fenceposts(p.wanted, p.rollout.Desired)
	leaves := fmt.Sprintf("the quota %q leaves %d of %d vCPUs in %s", info.QuotaName, max(0, left), info.Quota.Limit, q.Region)
	switch {
	case left < info.VCPUs && unavailable == 0 && p.back == nil: // on the way back machines that failed go first
		c.add(Finding{Code: CheckQuota, Severity: Block, Object: ref,
			Message: fmt.Sprintf("%s, and one machine of type %s takes %d: no new machine can be made, and none is removed before that (maxUnavailable is 0), so the rollout stalls at its first machine", leaves, m.size, info.VCPUs),
			Remedy:  "have the quota raised or free vCPUs, then plan again; or set strategy.maxUnavailable to 1, so that a machine is removed first"})
	case left < need:
		c.add(Finding{Code: CheckQuota, Severity: Warn, Object: ref,
			Message: fmt.Sprintf("%s, and the rollout takes up to %d vCPUs more than are used now: new machines may have to wait until old ones are removed, and the rollout may stall", leaves, need),
			Remedy:  "have the quota raised or free vCPUs, then plan again; or lower strategy.maxSurge"})
	default:
		c.pass(CheckQuota, ref, fmt.Sprintf("%s, and the rollout takes up to %d more than are used now", leaves, need))
	}
}
