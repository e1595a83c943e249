package plan

import (
	"fmt"
	"slices"
	"strings"

	"nodepool/plan/capi"
)

// CheckContract is answered where the definitions of the pools' templates were
// looked at, which is in a live cluster.
const CheckContract = "contract"

// Contract is what the definition of a provider's kind says of the contract of
// Cluster API: by which API versions the core reaches it.
type Contract struct {
	// Core are the contract versions that the core keeps to, best first.
	Core []string
	// Served are the API versions in which the kind is served.
	Served []string
	// Versions are the API versions that the labels of the definition name, by
	// contract version.
	Versions map[string][]string
	// Unverified says why nothing is known; empty when all is.
	Unverified string
}

// reached gives the API version by which the core reaches the kind.
func (c Contract) reached() (string, bool) {
	for _, contract := range c.Core {
		for _, v := range c.Versions[contract] {
			if slices.Contains(c.Served, v) {
				return v, true
			}
		}
	}
	return "", false
}

// contracted gives the kinds of the templates that machines are to be made from.
func (p *pool) contracted() []Ref {
	if p.md == nil || p.wanted == nil || !p.rolls() || !p.makes() {
		return nil
	}
	var out []Ref
	for _, t := range []template{p.infra, p.bootstrap} {
		if !t.ref.IsZero() {
			out = append(out, Ref{Group: t.ref.Group, Kind: t.ref.Kind})
		}
	}
	return out
}

// WithContracts gives s with what the definitions of kinds say.
func (s Snapshot) WithContracts(found map[Ref]Contract) Snapshot {
	out := s.clone()
	out.contracts = found
	return out
}

// contract checks that Cluster API can follow the references of the pool to its
// templates. It finds their API version by the definition's labels
// cluster.x-k8s.io/CONTRACT (internal/contract/version.go, GetAPIVersion).
func (c *checker) contract(p *pool) {
	for _, kind := range p.contracted() {
		found, asked := c.snap.contracts[kind]
		name := kind.Kind + "." + kind.Group
		switch v, ok := found.reached(); {
		case !asked:
		case found.Unverified != "":
			c.notVerified(CheckContract, p.ref, found.Unverified)
		case ok:
			c.pass(CheckContract, p.ref, fmt.Sprintf("Cluster API reaches %s in %s", name, v))
		default:
			var labels []string
			for _, contract := range found.Core {
				labels = append(labels, capi.Group+"/"+contract)
			}
			c.add(Finding{Code: CheckContract, Severity: Block, Object: p.ref,
				Message: fmt.Sprintf("the definition of %s, of which the pool's machines are made, has no label %s that names a version which is served (%s): Cluster API cannot follow the reference to it, and makes no machine",
					name, strings.Join(labels, " or "), strings.Join(found.Served, ", ")),
				Remedy: "install a release of the provider that goes with this Cluster API, with its definitions (clusterctl upgrade plan lists them); then plan again"})
		}
	}
}
