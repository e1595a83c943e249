package kube

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

var _ apply.Inquirer = (*Cluster)(nil)

// Inquire reads the labels of the definitions of the kinds that machines are
// made from: whether Cluster API reaches them. One small request for each kind.
func (c *Cluster) Inquire(ctx context.Context, ask plan.Questions, snap plan.Snapshot) plan.Snapshot {
	found := map[plan.Ref]plan.Contract{}
	for _, ref := range ask.Kinds {
		contract, err := c.kinds.contract(ctx, schema.GroupKind{Group: ref.Group, Kind: ref.Kind})
		if err != nil {
			contract.Unverified = err.Error()
		}
		found[ref] = contract
	}
	return snap.WithContracts(found)
}

// contract gives what the definition of a kind says of the contract.
func (k *kinds) contract(ctx context.Context, gk schema.GroupKind) (plan.Contract, error) {
	group, err := k.group(ctx, gk.Group)
	if err != nil {
		return plan.Contract{}, k.failed(gk, err)
	}
	found, err := k.find(ctx, gk, "")
	if err != nil {
		return plan.Contract{}, err
	}
	labels, err := k.labels(ctx, found.resource.Resource+"."+gk.Group)
	if err != nil {
		return plan.Contract{}, err
	}
	out := plan.Contract{Core: k.contracts(ctx), Versions: map[string][]string{}}
	for _, v := range group.Versions {
		if _, err := k.in(ctx, gk, v.Version); err == nil {
			out.Served = append(out.Served, v.Version)
		}
	}
	slices.SortFunc(out.Served, newestFirst)
	for _, contract := range out.Core {
		if listed := labels[capi.Group+"/"+contract]; listed != "" {
			out.Versions[contract] = strings.Split(listed, "_")
			slices.SortFunc(out.Versions[contract], newestFirst)
		}
	}
	return out, nil
}
