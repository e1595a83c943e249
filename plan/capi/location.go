package capi

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Location is where a provider makes the machines of a pool, as far as the
// objects of its cluster tell.
type Location struct {
	// Object tells it. Its kind stands for the provider.
	Object Ref
	// Region is empty where it is not told.
	Region string
	// Network is the one that the machines are in, by the provider's name. It
	// exists in the cluster's account alone; empty where it is not told.
	Network string
	// Zones are those that a machine may come to, sorted; none where that is
	// not known.
	Zones []string
}

// location says where an object of a provider keeps what Location holds, and
// the lookup of images for templates that say nothing of it.
type location struct {
	// template is the kind of the infrastructure template of machines there.
	template                 string
	region, network, subnets []string
	// ownImages tells that a lookup for which nothing is set finds images of
	// the provider's own, by other means.
	ownImages bool
}

// locations maps the kind that a cluster's infrastructureRef or controlPlaneRef
// names to its fields, from CAPA's api/v1beta2 AWSClusterSpec and NetworkSpec
// and controlplane/eks/api/v1beta2 AWSManagedControlPlaneSpec. Of a cluster
// with an AWSManagedCluster the control plane tells.
var locations = map[string]location{
	"AWSCluster":             {"AWSMachineTemplate", dotted("spec.region"), dotted("spec.network.vpc.id"), dotted("spec.network.subnets"), false},
	"AWSManagedControlPlane": {"AWSMachineTemplate", dotted("spec.region"), dotted("spec.network.vpc.id"), dotted("spec.network.subnets"), true},
}

// TellsLocation reports whether nodepool knows how an object of this kind tells
// where machines are made from an infrastructure template of that kind.
func TellsLocation(kind, template string) bool {
	at, ok := locations[kind]
	return ok && at.template == template
}

// HasProvider reports whether there is a provider to ask about machines of an
// infrastructure template of this kind, where an object of their cluster tells
// the region.
func HasProvider(template string) bool {
	for _, at := range locations {
		if at.template == template {
			return true
		}
	}
	return false
}

// LocationOf gives where machines come whose infrastructure template has spec
// as its spec.template.spec. The failure domain is that of their
// MachineDeployment; from is an object of a kind that TellsLocation.
func LocationOf(from *unstructured.Unstructured, spec map[string]any, failureDomain string) Location {
	at := locations[from.GetKind()]
	out := Location{Object: RefOf(from), Region: StringAt(from, at.region...), Network: StringAt(from, at.network...)}
	_, subnet := spec["subnet"]
	switch {
	case failureDomain != "":
		out.Zones = []string{failureDomain}
	case !subnet:
		out.Zones = zonesOf(from, at.subnets, spec["publicIP"] == true)
	}
	return out
}

// zonesOf gives the zones of the subnets that a machine without failure domain
// may come to. CAPA takes the first of these (v2.13.0,
// pkg/cloud/services/ec2/instances.go, findSubnet: FilterPrivate or
// FilterPublic, FilterNonCni); which one is first may change with the next
// look at the cloud.
func zonesOf(from *unstructured.Unstructured, path []string, public bool) []string {
	subnets, _, _ := unstructured.NestedSlice(from.Object, path...)
	var out []string
	for _, s := range subnets {
		subnet, _ := s.(map[string]any)
		tags, _ := subnet["tags"].(map[string]any)
		zone, _ := subnet["availabilityZone"].(string)
		isPublic := subnet["isPublic"] == true
		edge := subnet["zoneType"] == "local-zone" || subnet["zoneType"] == "wavelength-zone"
		pods := tags["sigs.k8s.io/cluster-api-provider-aws/association"] == "secondary"
		if zone != "" && isPublic == public && !edge && !pods && !slices.Contains(out, zone) {
			out = append(out, zone)
		}
	}
	slices.Sort(out)
	return out
}

// Lookup is by what a provider looks an image up for a template that pins none.
// Empty fields have the provider's defaults.
type Lookup struct{ Format, Org, BaseOS string }

// LookupOf gives the lookup of machines whose infrastructure template has spec
// as its spec.template.spec: each field is the template's, or the one of the
// object that tells the location (CAPA, pkg/cloud/services/ec2/instances.go,
// CreateInstance: both have the fields by the same names). Own tells that the
// provider finds images of its own instead, by means that are not looked into:
// CAPA takes those of EKS where nothing is set.
func LookupOf(from *unstructured.Unstructured, spec map[string]any) (lookup Lookup, own bool) {
	pick := func(name string) string {
		if s, _ := spec[name].(string); s != "" {
			return s
		}
		return StringAt(from, "spec", name)
	}
	lookup = Lookup{Format: pick("imageLookupFormat"), Org: pick("imageLookupOrg"), BaseOS: pick("imageLookupBaseOS")}
	return lookup, locations[from.GetKind()].ownImages && lookup == Lookup{}
}

// Interruptible reports whether machines whose infrastructure template has spec
// as its spec.template.spec are spot instances, which have quotas of their own
// (CAPA api/v1beta2 AWSMachineSpec: spotMarketOptions, marketType).
func Interruptible(spec map[string]any) bool {
	_, spot := spec["spotMarketOptions"].(map[string]any)
	return spot || spec["marketType"] == "Spot"
}
