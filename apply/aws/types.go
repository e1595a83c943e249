package aws

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	quotatypes "github.com/aws/aws-sdk-go-v2/service/servicequotas/types"

	"nodepool/plan"
)

// findTypes looks instance types up by a filter, for the reason that findImages
// does.
func (r *region) findTypes(ctx context.Context, sizes []string) (out answer[plan.InstanceTypeInfo]) {
	out.by = map[string]plan.InstanceTypeInfo{}
	for part := range slices.Chunk(sizes, batch) {
		in := &ec2.DescribeInstanceTypesInput{Filters: []types.Filter{filter("instance-type", part...)}}
		for more := true; more; {
			page, err := r.ec2.DescribeInstanceTypes(ctx, in)
			if err != nil {
				out.why = reason(ctx, "ec2:DescribeInstanceTypes", err)
				return out
			}
			for _, t := range page.InstanceTypes {
				out.by[string(t.InstanceType)] = typeInfo(t)
			}
			more = turn(&in.NextToken, page.NextToken)
		}
	}
	return out
}

func typeInfo(t types.InstanceTypeInfo) plan.InstanceTypeInfo {
	out := plan.InstanceTypeInfo{QuotaName: quotaOf(string(t.InstanceType)).name}
	if t.ProcessorInfo != nil {
		for _, a := range t.ProcessorInfo.SupportedArchitectures {
			out.Architectures = append(out.Architectures, architecture(string(a)))
		}
	}
	if t.VCpuInfo != nil {
		out.VCPUs = int(aws.ToInt32(t.VCpuInfo.DefaultVCpus))
	}
	if t.NetworkInfo != nil && t.NetworkInfo.EnaSupport == types.EnaSupportRequired {
		out.Requires = append(out.Requires, ena)
	}
	if t.EbsInfo != nil && t.EbsInfo.NvmeSupport == types.EbsNvmeSupportRequired {
		out.Requires = append(out.Requires, "NVMe")
	}
	return out
}

// findOfferings gives the zones that offer each type.
func (r *region) findOfferings(ctx context.Context, sizes []string) (out answer[[]string]) {
	out.by = map[string][]string{}
	for part := range slices.Chunk(sizes, batch) {
		in := &ec2.DescribeInstanceTypeOfferingsInput{
			LocationType: types.LocationTypeAvailabilityZone, Filters: []types.Filter{filter("instance-type", part...)}}
		for more := true; more; {
			page, err := r.ec2.DescribeInstanceTypeOfferings(ctx, in)
			if err != nil {
				out.why = reason(ctx, "ec2:DescribeInstanceTypeOfferings", err)
				return out
			}
			for _, o := range page.InstanceTypeOfferings {
				size := string(o.InstanceType)
				out.by[size] = append(out.by[size], aws.ToString(o.Location))
			}
			more = turn(&in.NextToken, page.NextToken)
		}
	}
	return out
}

// without gives the zones of q that do not offer its type.
func (r *region) without(q plan.InstanceTypeQuery) (zones []string, why string) {
	if r.offered.why != "" {
		return nil, r.offered.why
	}
	for _, z := range strings.Split(q.Zones, ",") {
		if !slices.Contains(r.offered.by[q.Type], z) {
			zones = append(zones, z)
		}
	}
	return zones, ""
}

// quota is one of EC2's On-Demand quotas, which count vCPUs
// (docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html).
type quota struct {
	code, name string
	// families are what a type's name begins with, before its first digit.
	families []string
}

var quotas = []quota{
	{"L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", []string{"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"}},
	{"L-DB2E81BA", "Running On-Demand G and VT instances", []string{"g", "gr", "vt"}},
	{"L-417A185B", "Running On-Demand P instances", []string{"p"}},
	{"L-74FC7D96", "Running On-Demand F instances", []string{"f"}},
	{"L-1945791B", "Running On-Demand Inf instances", []string{"inf"}},
	{"L-2C3B7624", "Running On-Demand Trn instances", []string{"trn"}},
	{"L-6E869C2A", "Running On-Demand DL instances", []string{"dl"}},
	{"L-7295265B", "Running On-Demand X instances", []string{"x"}},
	{"L-43DA4232", "Running On-Demand High Memory instances", []string{"u", "u-"}},
	{"L-F7808C92", "Running On-Demand HPC instances", []string{"hpc"}},
}

// quotaOf gives the quota that an instance type counts for; zero where none is
// known.
func quotaOf(size string) quota {
	family := size
	if n := strings.IndexAny(size, "0123456789"); n >= 0 {
		family = size[:n]
	}
	for _, q := range quotas {
		if slices.Contains(q.families, family) {
			return q
		}
	}
	return quota{}
}

// findQuotas gives by name the quotas of the types that a pool grows by, and
// how much of each is used.
func (r *region) findQuotas(ctx context.Context) (out answer[plan.Quota]) {
	out.by = map[string]plan.Quota{}
	var wanted []quota
	for _, q := range r.types {
		info := r.sizes.by[q.Type]
		if of := quotaOf(q.Type); q.Growth > 0 && info.VCPUs > 0 && of.code != "" &&
			!slices.ContainsFunc(wanted, func(o quota) bool { return o.code == of.code }) {
			wanted = append(wanted, of)
		}
	}
	limits := map[string]int{}
	for _, q := range wanted {
		got, err := r.quotas.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("ec2"), QuotaCode: aws.String(q.code)})
		var unknown *quotatypes.NoSuchResourceException
		switch {
		case errors.As(err, &unknown):
		case err != nil:
			out.why = reason(ctx, "servicequotas:GetServiceQuota", err)
			return out
		case got.Quota != nil && got.Quota.Value != nil:
			limits[q.name] = int(*got.Quota.Value)
		}
	}
	if len(limits) == 0 {
		return out
	}
	used, err := r.used(ctx)
	if err != nil {
		out.why = reason(ctx, "ec2:DescribeInstances", err)
		return out
	}
	for name, limit := range limits {
		out.by[name] = plan.Quota{Limit: limit, Used: used[name]}
	}
	return out
}

// used counts the vCPUs of the account's pending and running On-Demand
// instances, by the name of their quota. Those of dedicated hosts count for
// none.
func (r *region) used(ctx context.Context) (map[string]int, error) {
	out := map[string]int{}
	in := &ec2.DescribeInstancesInput{
		Filters: []types.Filter{filter("instance-state-name", "pending", "running")}, MaxResults: aws.Int32(1000)}
	for more := true; more; {
		page, err := r.ec2.DescribeInstances(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, reservation := range page.Reservations {
			for _, i := range reservation.Instances {
				host := i.Placement != nil && i.Placement.Tenancy == types.TenancyHost
				if i.InstanceLifecycle == "" && i.CpuOptions != nil && !host {
					out[quotaOf(string(i.InstanceType)).name] += int(aws.ToInt32(i.CpuOptions.CoreCount) * aws.ToInt32(i.CpuOptions.ThreadsPerCore))
				}
			}
		}
		more = turn(&in.NextToken, page.NextToken)
	}
	return out, nil
}
