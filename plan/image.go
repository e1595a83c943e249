package plan

import (
	"fmt"
	"maps"
	"strings"

	"nodepool/plan/capi"
)

// ImageQuery asks a provider of the image that new machines are made from. It
// is the key of its answer in a Snapshot.
type ImageQuery struct {
	// Provider is the kind of the object that tells the region, such as
	// AWSCluster; Region and Network are what it tells. Network may be empty:
	// it serves to see whether the asker's account is the cluster's.
	Provider, Region, Network string
	// Image is the one that is pinned; empty where Lookup finds one.
	Image  string
	Lookup ImageLookup
}

// ImageLookup is by what a provider finds an image for each machine that it
// makes. Empty fields have the provider's defaults.
type ImageLookup struct {
	Format, Org, BaseOS string
	// KubernetesVersion has a leading v. InstanceType decides the architecture.
	KubernetesVersion, InstanceType string
}

// ImageInfo is what a provider says of an image. What is empty it does not tell.
type ImageInfo struct {
	// Unverified says why nothing is known; then all else is empty.
	Unverified string
	// Missing: there is none, or none that the asker may see.
	Missing bool
	// Image is the one that was asked for, or that the lookup found; Name is
	// for people.
	Image, Name string
	// State is empty where machines can be made from the image, and else the
	// provider's word for why not.
	State string
	// Architecture is one of schema's, or the provider's word for another.
	Architecture string
	// KubernetesVersion is what the image carries, by VersionFrom: the
	// provider's words for where that stands. Guessed tells that this is no
	// more than a name.
	KubernetesVersion, VersionFrom string
	Guessed                        bool
	OS                             string
	// Deprecated is the day from which the image is (2026-12-31), and
	// DeprecatedNow that it has come.
	Deprecated    string
	DeprecatedNow bool
	// Lacks names what the image does not support of what instance types may
	// require.
	Lacks []string
}

// InstanceTypeQuery asks a provider of a size of machines. It is the key of its
// answer in a Snapshot.
type InstanceTypeQuery struct {
	Provider, Region, Network string
	Type                      string
	// Zones are those that machines may come to, separated by commas; empty
	// where that is not known.
	Zones string
	// Growth is by how many machines the pool grows on the way; the quota is
	// asked for where it is above zero.
	Growth int
}

// InstanceTypeInfo is what a provider says of a size of machines. What is empty
// it does not tell.
type InstanceTypeInfo struct {
	// Unverified says why nothing is known; then all else is empty.
	Unverified string
	// Missing: the region has no such type.
	Missing bool
	// MissingZones are those of the query that do not have it;
	// ZonesUnverified says why that is not known.
	MissingZones    []string
	ZonesUnverified string
	// Architectures are schema's, or the provider's words for others.
	Architectures []string
	VCPUs         int
	// Requires names what an image must support.
	Requires []string
	// QuotaName is the provider's name for what bounds the vCPUs of this type
	// and of others like it.
	QuotaName string
	// Quota is nil where it is not known; QuotaUnverified says why.
	Quota           *Quota
	QuotaUnverified string
}

// Quota bounds vCPUs.
type Quota struct{ Limit, Used int }

// Image gives the answer to q, if there is one.
func (s Snapshot) Image(q ImageQuery) (ImageInfo, bool) {
	info, ok := s.images[q]
	return info, ok
}

// WithImages gives s plus answers.
func (s Snapshot) WithImages(answers map[ImageQuery]ImageInfo) Snapshot {
	out := s.clone()
	maps.Copy(out.images, answers)
	return out
}

// InstanceType gives the answer to q, if there is one.
func (s Snapshot) InstanceType(q InstanceTypeQuery) (InstanceTypeInfo, bool) {
	info, ok := s.types[q]
	return info, ok
}

// WithInstanceTypes gives s plus answers.
func (s Snapshot) WithInstanceTypes(answers map[InstanceTypeQuery]InstanceTypeInfo) Snapshot {
	out := s.clone()
	maps.Copy(out.types, answers)
	return out
}

// machine is what the rollout of a pool makes new machines from.
type machine struct {
	pool *pool
	// spec is the spec.template.spec of the wanted infrastructure template.
	spec map[string]any
	// image, size and version are empty where there is none.
	image, size, version string
	// before is the size of the machines that are replaced.
	before string
	// named tells that nodepool knows where its image stands.
	named bool
}

// machine gives what new machines are made from; false when the pool's rollout
// makes none, or its template is not there.
func (p *pool) machine() (machine, bool) {
	if p.md == nil || p.wanted == nil || p.infra.obj == nil || !p.rolls() || !p.makes() {
		return machine{}, false
	}
	m := machine{pool: p, spec: templateSpec(p.infra.obj), version: capi.StringAt(p.wanted, p.fields.Version...)}
	if p.infra.create != nil {
		m.spec = p.infra.spec
	}
	if f, ok := capi.ImageField(p.infra.obj); ok {
		m.image, m.named = f.ReadSpec(m.spec), true
	}
	if f, ok := capi.SizeField(p.infra.obj); ok {
		m.size, m.before = f.ReadSpec(m.spec), f.Read(p.infra.obj)
	}
	if p.back != nil {
		m.before = p.back.size
	}
	return m, true
}

// location gives where the machine comes; why says why that is not known.
func (m machine) location() (at capi.Location, why string) {
	p := m.pool
	switch {
	case p.place.obj != nil:
	case p.place.ref.IsZero():
		return at, p.nowhere()
	case p.place.unread != "":
		return at, fmt.Sprintf("%s, which tells the region, could not be read: %s", p.place.ref, p.place.unread)
	default:
		return at, fmt.Sprintf("%s, which would tell the region, does not exist", p.place.ref)
	}
	at = capi.LocationOf(p.place.obj, m.spec, capi.StringAt(p.wanted, p.fields.FailureDomain...))
	if at.Region == "" {
		return at, fmt.Sprintf("%s reports no region", p.place.ref)
	}
	return at, ""
}

// nowhere says why no object is known to tell where the pool's machines are made.
func (p *pool) nowhere() string {
	kind, cluster := p.infra.ref.Kind, capi.RefOf(p.cluster)
	if !capi.HasProvider(kind) {
		return "nodepool asks no provider about " + kind
	}
	if ref, ok := capi.ReferenceAt(p.cluster, "spec", "infrastructureRef"); ok {
		return fmt.Sprintf("the infrastructure of %s is of kind %s, which names no region for machines of %s", cluster, ref.Kind, kind)
	}
	return fmt.Sprintf("%s names no infrastructure (spec.infrastructureRef), which would tell the region", cluster)
}

// imageQuery gives the question; why says why there is none to ask.
func (m machine) imageQuery() (q ImageQuery, why string) {
	at, why := m.location()
	if why != "" {
		return q, why
	}
	q = ImageQuery{Provider: at.Object.Kind, Region: at.Region, Network: at.Network, Image: m.image}
	if m.image != "" {
		return q, ""
	}
	lookup, own := capi.LookupOf(m.pool.place.obj, m.spec)
	switch {
	case own:
		return q, "the provider takes an image of its managed control plane's"
	case m.version == "":
		return q, "the pool has no version to look an image up for"
	}
	q.Lookup = ImageLookup{Format: lookup.Format, Org: lookup.Org, BaseOS: lookup.BaseOS,
		KubernetesVersion: m.version, InstanceType: m.size}
	return q, ""
}

// typeQuery gives the question; why says why there is none to ask.
func (m machine) typeQuery() (q InstanceTypeQuery, why string) {
	at, why := m.location()
	switch {
	case why != "":
		return q, why
	case m.size == "":
		return q, "the infrastructure template names no instance type"
	}
	q = InstanceTypeQuery{Provider: at.Object.Kind, Region: at.Region, Network: at.Network, Type: m.size, Zones: strings.Join(at.Zones, ",")}
	if !capi.Interruptible(m.spec) {
		q.Growth = m.growth()
	}
	return q, ""
}

// beforeQuery asks of the size that is replaced, to compare it; false where it
// stays.
func (m machine) beforeQuery() (InstanceTypeQuery, bool) {
	q, why := m.typeQuery()
	if why != "" || q.Growth == 0 || m.before == "" || m.before == m.size {
		return q, false
	}
	q.Type, q.Zones, q.Growth = m.before, "", 0
	return q, true
}

func (m machine) typeQueries() []InstanceTypeQuery {
	var out []InstanceTypeQuery
	if q, why := m.typeQuery(); why == "" {
		out = append(out, q)
	}
	if q, ok := m.beforeQuery(); ok {
		out = append(out, q)
	}
	return out
}

// growth is by how many machines the pool grows while it rolls.
func (m machine) growth() int {
	p := m.pool
	replicas := p.rollout.Desired
	if replicas == 0 || p.strategyType() == "OnDelete" {
		return 0
	}
	_, peak, _ := p.waves(replicas, replicas)
	if p.back != nil {
		return max(0, min(p.back.make, peak-p.back.stays-len(p.back.goes)))
	}
	return peak - replicas
}
