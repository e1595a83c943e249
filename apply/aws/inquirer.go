package aws

import (
	"cmp"
	"context"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/smithy-go/logging"

	"nodepool/plan"
)

// DefaultTimeout bounds all that is asked for one plan.
const DefaultTimeout = 5 * time.Second

// Inquirer is an apply.Inquirer of the images and instance types of pools in
// AWS. Its zero value is ready for use.
type Inquirer struct {
	// Timeout is DefaultTimeout when it is zero.
	Timeout time.Duration
	// Now is time.Now when it is nil; it tells what is deprecated.
	Now func() time.Time
}

// providers are the kinds of the objects that tell a region of AWS.
var providers = []string{"AWSCluster", "AWSManagedControlPlane"}

// Inquire gives snap with answers to what is asked of AWS. Where it asks
// nothing, neither credentials nor settings are looked at.
func (i Inquirer) Inquire(ctx context.Context, ask plan.Questions, snap plan.Snapshot) plan.Snapshot {
	images := slices.DeleteFunc(slices.Clone(ask.Images), func(q plan.ImageQuery) bool { return !slices.Contains(providers, q.Provider) })
	types := slices.DeleteFunc(slices.Clone(ask.Types), func(q plan.InstanceTypeQuery) bool { return !slices.Contains(providers, q.Provider) })
	if len(images)+len(types) == 0 {
		return snap
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(i.Timeout, DefaultTimeout))
	defer cancel()
	cfg, why := load(ctx)

	regions := map[string]*region{}
	at := func(name string) *region {
		r, ok := regions[name]
		if !ok {
			r = &region{name: name, why: why, now: i.now()}
			if why == "" {
				r.open(cfg)
			}
			regions[name] = r
		}
		return r
	}
	for _, q := range images {
		at(q.Region).images = append(at(q.Region).images, q)
	}
	for _, q := range types {
		at(q.Region).types = append(at(q.Region).types, q)
	}
	var asked sync.WaitGroup
	for _, r := range regions {
		asked.Go(func() { r.ask(ctx) })
	}
	asked.Wait()
	infos, sizes := map[plan.ImageQuery]plan.ImageInfo{}, map[plan.InstanceTypeQuery]plan.InstanceTypeInfo{}
	for _, q := range images {
		infos[q] = regions[q.Region].image(q)
	}
	for _, q := range types {
		sizes[q] = regions[q.Region].instanceType(q)
	}
	return snap.WithImages(infos).WithInstanceTypes(sizes)
}

func (i Inquirer) now() time.Time {
	if i.Now != nil {
		return i.Now()
	}
	return time.Now()
}

// attempts and backoff keep retries within the time budget: throttling is over
// within a second or not at all.
const (
	attempts = 3
	backoff  = 500 * time.Millisecond
)

// load finds settings and credentials; why says why there are none.
//
// Instance roles are looked for only where AWS_EC2_METADATA_DISABLED is set to
// false: away from Amazon's machines the metadata service is an address that
// nobody answers at, and whoever has no credentials would wait for it each time.
func load(ctx context.Context) (cfg aws.Config, why string) {
	metadata := imds.ClientDisabled
	if os.Getenv("AWS_EC2_METADATA_DISABLED") == "false" {
		metadata = imds.ClientEnabled
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithEC2IMDSClientEnableState(metadata),
		config.WithLogger(logging.Nop{}),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, backoff })
		}))
	if err != nil {
		return cfg, "the AWS settings cannot be read; aws sts get-caller-identity tells more"
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		// The last resort of the chain is the role of the instance.
		if aws.IsCredentialsProvider(cfg.Credentials, (*ec2rolecreds.Provider)(nil)) {
			return cfg, "no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
		}
		return cfg, unavailable(ctx, "the AWS credentials cannot be had", err)
	}
	return cfg, ""
}

// regionName is what a region of AWS is called. It becomes a part of the host
// that requests go to, with the session token in them.
var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)

// region holds what is asked in a region, and the answers.
type region struct {
	name   string
	why    string // why nothing can be asked
	now    time.Time
	ec2    *ec2.Client
	quotas *servicequotas.Client
	images []plan.ImageQuery
	types  []plan.InstanceTypeQuery

	account answer[bool] // by network: is it there
	pinned  answer[plan.ImageInfo]
	looked  map[plan.ImageLookup]found
	sizes   answer[plan.InstanceTypeInfo]
	offered answer[[]string] // by type: the zones
	limits  answer[plan.Quota]
}

// answer holds what one kind of question gave, by name; why says why it gave
// nothing.
type answer[T any] struct {
	by  map[string]T
	why string
}

type found struct {
	info plan.ImageInfo
	why  string
}

func (r *region) open(cfg aws.Config) {
	if !regionName.MatchString(r.name) {
		r.why = "its region is none of AWS"
		return
	}
	r.ec2 = ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.Region = r.name })
	r.quotas = servicequotas.NewFromConfig(cfg, func(o *servicequotas.Options) { o.Region = r.name })
}

// ask asks all there is to ask: at once, but for the lookups and quotas, which
// go by the instance types.
func (r *region) ask(ctx context.Context) {
	if r.why != "" {
		return
	}
	var networks, pinned, sizes, zoned []string
	var lookups []plan.ImageLookup
	for _, q := range r.images {
		networks = append(networks, q.Network)
		pinned = append(pinned, q.Image)
		sizes = append(sizes, q.Lookup.InstanceType)
		if q.Image == "" && !slices.Contains(lookups, q.Lookup) {
			lookups = append(lookups, q.Lookup)
		}
	}
	for _, q := range r.types {
		networks = append(networks, q.Network)
		sizes = append(sizes, q.Type)
		if q.Zones != "" {
			zoned = append(zoned, q.Type)
		}
	}
	var asked sync.WaitGroup
	asked.Go(func() { r.account = r.findNetworks(ctx, names(networks)) })
	asked.Go(func() { r.pinned = r.findImages(ctx, names(pinned)) })
	asked.Go(func() { r.offered = r.findOfferings(ctx, names(zoned)) })
	asked.Go(func() {
		r.sizes = r.findTypes(ctx, names(sizes))
		var then sync.WaitGroup
		then.Go(func() { r.limits = r.findQuotas(ctx) })
		r.looked = r.lookUp(ctx, lookups)
		then.Wait()
	})
	asked.Wait()
}

// names gives each name once, sorted, without the empty one.
func names(all []string) []string {
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	slices.Sort(all)
	return slices.Compact(all)
}

// stranger says that the credentials are of another account than the cluster's.
// Then nothing that is found, or not, says anything of its machines.
func (r *region) stranger(network string) string {
	if network == "" || r.account.why != "" || r.account.by[network] {
		return ""
	}
	return "the AWS credentials are of another account than the cluster's: they do not see its network " + network
}

func (r *region) image(q plan.ImageQuery) plan.ImageInfo {
	if why := cmp.Or(r.why, r.stranger(q.Network)); why != "" {
		return plan.ImageInfo{Unverified: why}
	}
	if q.Image == "" {
		f := r.looked[q.Lookup]
		if f.why != "" {
			return plan.ImageInfo{Unverified: f.why}
		}
		return f.info
	}
	info, ok := r.pinned.by[q.Image]
	switch {
	case ok:
		return info
	case r.pinned.why != "":
		return plan.ImageInfo{Unverified: r.pinned.why}
	}
	return plan.ImageInfo{Missing: true}
}

func (r *region) instanceType(q plan.InstanceTypeQuery) plan.InstanceTypeInfo {
	if why := cmp.Or(r.why, r.stranger(q.Network)); why != "" {
		return plan.InstanceTypeInfo{Unverified: why}
	}
	info, ok := r.sizes.by[q.Type]
	switch {
	case !ok && r.sizes.why != "":
		return plan.InstanceTypeInfo{Unverified: r.sizes.why}
	case !ok:
		return plan.InstanceTypeInfo{Missing: true}
	}
	if q.Zones != "" {
		info.MissingZones, info.ZonesUnverified = r.without(q)
	}
	if q.Growth > 0 {
		quota, told := r.limits.by[info.QuotaName]
		switch {
		case told:
			info.Quota = &quota
		case info.QuotaName == "":
			info.QuotaUnverified = "no quota of vCPUs is known for " + q.Type
		default:
			info.QuotaUnverified = cmp.Or(r.limits.why, "AWS reports no such quota")
		}
	}
	return info
}
