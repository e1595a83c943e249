package kube

import (
	"context"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

var _ apply.Inquirer = (*Cluster)(nil)

// Inquire reads the labels of the definitions of the kinds that machines are
// made from: whether Cluster API reaches them. One small request for each kind,
// once: where there are versions to choose from, the labels are known.
func (c *Cluster) Inquire(ctx context.Context, ask plan.Questions, snap plan.Snapshot) plan.Snapshot {
	contracts := make([]plan.Contract, len(ask.Kinds))
	var under sync.WaitGroup
	for i, ref := range ask.Kinds {
		under.Go(func() {
			var err error
			if contracts[i], err = c.kinds.contract(ctx, schema.GroupKind{Group: ref.Group, Kind: ref.Kind}); err != nil {
				contracts[i].Unverified = err.Error()
			}
		})
	}
	under.Wait()
	found := map[plan.Ref]plan.Contract{}
	for i, ref := range ask.Kinds {
		found[ref] = contracts[i]
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
