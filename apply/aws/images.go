package aws

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/schema"
)

// batch is how many names go into one request: a filter takes 200 values.
const batch = 100

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// turn sets a request to the next page, and reports whether there is one.
//
// The paginators of the SDK would do that too. They take the client as an
// interface, and in a program that looks methods up by name (text/template
// does) the linker then keeps all of its hundreds of operations: 28 MiB.
func turn(token **string, next *string) bool {
	*token = next
	return aws.ToString(next) != ""
}

// findNetworks tells of each network whether it is there.
func (r *region) findNetworks(ctx context.Context, ids []string) (out answer[bool]) {
	out.by = map[string]bool{}
	for part := range slices.Chunk(ids, batch) {
		in := &ec2.DescribeVpcsInput{Filters: []types.Filter{filter("vpc-id", part...)}}
		for more := true; more; {
			page, err := r.ec2.DescribeVpcs(ctx, in)
			if err != nil {
				out.why = reason(ctx, "ec2:DescribeVpcs", err)
				return out
			}
			for _, v := range page.Vpcs {
				out.by[aws.ToString(v.VpcId)] = true
			}
			more = turn(&in.NextToken, page.NextToken)
		}
	}
	return out
}

// findImages looks images up by a filter, which leaves out what is not there: a
// request that lists their IDs fails as a whole for one that is not.
func (r *region) findImages(ctx context.Context, ids []string) (out answer[plan.ImageInfo]) {
	out.by = map[string]plan.ImageInfo{}
	for part := range slices.Chunk(ids, batch) {
		in := &ec2.DescribeImagesInput{
			Filters: []types.Filter{filter("image-id", part...)},
			// Else they are shown to their owner alone.
			IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true),
		}
		for more := true; more; {
			page, err := r.ec2.DescribeImages(ctx, in)
			if err != nil {
				out.why = reason(ctx, "ec2:DescribeImages", err)
				return out
			}
			for _, i := range page.Images {
				out.by[aws.ToString(i.ImageId)] = r.infoOf(i)
			}
			more = turn(&in.NextToken, page.NextToken)
		}
	}
	return out
}

// infoOf reads an image. The tag is image-builder's
// (images/capi/packer/ami/packer.json); tags are told to the owner's account
// alone, so that of an image of others the name has to do.
func (r *region) infoOf(i types.Image) plan.ImageInfo {
	out := plan.ImageInfo{Image: aws.ToString(i.ImageId), Name: aws.ToString(i.Name), Architecture: architecture(string(i.Architecture))}
	if i.State != types.ImageStateAvailable {
		out.State = string(i.State)
	}
	tags := map[string]string{}
	for _, t := range i.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	if v, ok := versionTag(tags["kubernetes_version"]); ok {
		out.KubernetesVersion, out.VersionFrom = v, "its tag kubernetes_version"
	} else if v, ok := versionIn(out.Name); ok {
		out.KubernetesVersion, out.VersionFrom, out.Guessed = v, "its name", true
	}
	out.OS = strings.TrimSpace(tags["distribution"] + " " + tags["distribution_version"])
	if at, err := time.Parse(time.RFC3339, aws.ToString(i.DeprecationTime)); err == nil {
		out.Deprecated, out.DeprecatedNow = at.UTC().Format(time.DateOnly), !at.After(r.now)
	}
	if !aws.ToBool(i.EnaSupport) {
		out.Lacks = []string{ena}
	}
	return out
}

const ena = "ENA"

// architecture gives AWS's word in schema's.
func architecture(of string) string {
	switch of {
	case "x86_64":
		return string(schema.AMD64)
	case "arm64":
		return string(schema.ARM64)
	}
	return of
}

var (
	version  = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+)([-+].*)?$`)
	released = regexp.MustCompile(`(^|[^0-9.])(1\.[2-9][0-9]\.[0-9]{1,3})($|[^0-9.])`)
)

func versionTag(tag string) (string, bool) {
	m := version.FindStringSubmatch(tag)
	if m == nil {
		return "", false
	}
	return "v" + m[1] + m[2], true
}

// versionIn finds a Kubernetes release in a name, where it is the only one.
func versionIn(name string) (string, bool) {
	all := released.FindAllStringSubmatch(name, -1)
	if len(all) == 0 || slices.ContainsFunc(all, func(m []string) bool { return !capi.SameKubernetes(m[2], all[0][2]) }) {
		return "", false
	}
	return "v" + all[0][2], true
}

// The defaults of CAPA's lookup (v2.13.0, pkg/cloud/services/ec2/ami.go).
const (
	defaultFormat = "capa-ami-{{.BaseOS}}-?{{.K8sVersion}}-*"
	defaultOwner  = "819546954734"
	defaultBaseOS = "ubuntu-24.04"
)

// lookUp finds the images that CAPA would, some at a time.
func (r *region) lookUp(ctx context.Context, lookups []plan.ImageLookup) map[plan.ImageLookup]found {
	out := map[plan.ImageLookup]found{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	free := make(chan struct{}, 4)
	for _, l := range lookups {
		asked.Go(func() {
			free <- struct{}{}
			f := r.lookUpOne(ctx, l)
			<-free
			mu.Lock()
			out[l] = f
			mu.Unlock()
		})
	}
	asked.Wait()
	return out
}

// lookUpOne does as CAPA's DefaultAMILookup: the newest by its date of creation.
func (r *region) lookUpOne(ctx context.Context, l plan.ImageLookup) found {
	of, why := r.architectureOf(l.InstanceType)
	if why != "" {
		return found{why: why}
	}
	name, ok := lookupName(l)
	if !ok {
		return found{why: "the lookup's name format is more than nodepool reads"}
	}
	owner := l.Org
	if owner == "" {
		owner = defaultOwner
	}
	var newest types.Image
	in := &ec2.DescribeImagesInput{Filters: []types.Filter{
		filter("owner-id", owner), filter("name", name), filter("architecture", of),
		filter("state", "available"), filter("virtualization-type", "hvm")}}
	for more := true; more; {
		page, err := r.ec2.DescribeImages(ctx, in)
		if err != nil {
			return found{why: reason(ctx, "ec2:DescribeImages", err)}
		}
		for _, i := range page.Images {
			// RFC 3339 in UTC, so the order of the text is that of time.
			if newest.ImageId == nil || aws.ToString(i.CreationDate) > aws.ToString(newest.CreationDate) {
				newest = i
			}
		}
		more = turn(&in.NextToken, page.NextToken)
	}
	if newest.ImageId == nil {
		return found{info: plan.ImageInfo{Missing: true}}
	}
	return found{info: r.infoOf(newest)}
}

// architectureOf gives AWS's word for the architecture that CAPA looks for: the
// first that it knows of those that the type has, and x86_64 where it may not
// ask (pickArchitectureForInstanceType).
func (r *region) architectureOf(size string) (of, why string) {
	info, ok := r.sizes.by[size]
	switch {
	case !ok && r.sizes.why != "":
		return "", r.sizes.why
	case !ok:
		return "", "the instance type that decides the image's architecture does not exist"
	}
	for _, a := range info.Architectures {
		switch a {
		case string(schema.AMD64):
			return "x86_64", ""
		case string(schema.ARM64):
			return "arm64", ""
		}
	}
	return "", "the instance type has no architecture that the lookup knows"
}

// lookupName fills in the format, which CAPA takes for a Go template; what
// nodepool reads of it are the two fields that CAPA documents.
func lookupName(l plan.ImageLookup) (string, bool) {
	format, base := l.Format, l.BaseOS
	if format == "" {
		format = defaultFormat
	}
	if base == "" {
		base = defaultBaseOS
	}
	for _, f := range []struct {
		at    *regexp.Regexp
		value string
	}{{baseOS, base}, {k8sVersion, strings.TrimPrefix(l.KubernetesVersion, "v")}} {
		format = f.at.ReplaceAllLiteralString(format, f.value)
	}
	return format, !strings.Contains(format, "{{")
}

var (
	baseOS     = regexp.MustCompile(`\{\{\s*\.BaseOS\s*\}\}`)
	k8sVersion = regexp.MustCompile(`\{\{\s*\.K8sVersion\s*\}\}`)
)
