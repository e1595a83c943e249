package plan_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

var awsClusterRef = infrastructure("AWSCluster", "aws-example")

// zones gives the AWSCluster private subnets in these zones, and subnets that
// no worker comes to.
func zones(zones ...string) func(*clustertest.World) {
	subnets := []any{
		map[string]any{"id": "subnet-public", "availabilityZone": "eu-central-1z", "isPublic": true},
		map[string]any{"id": "subnet-pods", "availabilityZone": "eu-central-1y",
			"tags": map[string]any{"sigs.k8s.io/cluster-api-provider-aws/association": "secondary"}},
		map[string]any{"id": "subnet-edge", "availabilityZone": "eu-central-1-ham-1a", "zoneType": "local-zone"},
	}
	for _, z := range zones {
		subnets = append(subnets, map[string]any{"id": "subnet-" + z, "availabilityZone": z})
	}
	return edit(awsClusterRef, subnets, "spec", "network", "subnets")
}

func failureDomain(zone string) func(*clustertest.World) {
	return edit(awsRef, zone, "spec", "template", "spec", "failureDomain")
}

func inTemplate(value any, path ...string) func(*clustertest.World) {
	return edit(awsTemplateRef, value, append([]string{"spec", "template", "spec"}, path...)...)
}

// unpinned has the provider look the image up.
func unpinned() func(*clustertest.World) { return inTemplate(nil, "ami") }

// answered gives snap with good answers to all that up asks of providers,
// changed by the functions that are not nil.
func answered(up schema.Upgrade, snap plan.Snapshot, image func(*plan.ImageInfo), size func(*plan.InstanceTypeInfo)) plan.Snapshot {
	return replied(plan.Ask(up, snap), snap, image, size)
}

// replied is answered for questions of any kind.
func replied(ask plan.Questions, snap plan.Snapshot, image func(*plan.ImageInfo), size func(*plan.InstanceTypeInfo)) plan.Snapshot {
	for _, q := range ask.Images {
		info := plan.ImageInfo{Image: q.Image, Name: "golden", Architecture: "amd64",
			KubernetesVersion: "v1.35.2", VersionFrom: "its tag kubernetes_version"}
		if q.Image == "" {
			info.Image = "ami-found"
		}
		if image != nil {
			image(&info)
		}
		snap = snap.WithImages(map[plan.ImageQuery]plan.ImageInfo{q: info})
	}
	for i, q := range ask.Types {
		info := plan.InstanceTypeInfo{Architectures: []string{"amd64"}, VCPUs: 4, Requires: []string{"ENA"},
			QuotaName: "Standard", Quota: &plan.Quota{Limit: 100, Used: 20}}
		if size != nil && i == 0 { // the second is of the size that is replaced
			size(&info)
		}
		snap = snap.WithInstanceTypes(map[plan.InstanceTypeQuery]plan.InstanceTypeInfo{q: info})
	}
	return snap
}

// TestProviderChecks: what a provider and the catalogue say of what new machines
// are made from.
func TestProviderChecks(t *testing.T) {
	t.Parallel()
	missing := func(i *plan.ImageInfo) { *i = plan.ImageInfo{Missing: true} }
	unverified := func(i *plan.ImageInfo) { *i = plan.ImageInfo{Unverified: "no AWS credentials"} }
	left := func(vcpus int) func(*plan.InstanceTypeInfo) {
		return func(i *plan.InstanceTypeInfo) { i.Quota.Used = i.Quota.Limit - vcpus }
	}
	tests := []struct {
		name   string
		edit   func(*clustertest.World)
		pool   string // fields; toBoth when empty
		images string // the catalogue, in YAML's flow style

		image func(*plan.ImageInfo)
		size  func(*plan.InstanceTypeInfo)

		code     string
		severity plan.Severity
		words    []string
	}{
		{name: "the tag agrees", code: plan.CheckImage, severity: plan.Pass, words: []string{"ami-new (golden) carries v1.35.2, by its tag kubernetes_version"}},
		{name: "the image stays and was built for the version", pool: toVersion, code: plan.CheckImage, severity: plan.Pass, words: []string{"ami-0123456789abcdef0 (golden) carries v1.35.2"}},
		{name: "a build of the same release", image: func(i *plan.ImageInfo) { i.KubernetesVersion = "v1.35.2+build.7" }, code: plan.CheckImage, severity: plan.Pass},
		{name: "the tag differs", image: func(i *plan.ImageInfo) { i.KubernetesVersion = "v1.34.3" },
			code: plan.CheckImage, severity: plan.Block, words: []string{"ami-new (golden) carries v1.34.3, by its tag kubernetes_version", "is to have v1.35.2", "set machineImage to an image built for v1.35.2"}},
		{name: "the name differs", image: func(i *plan.ImageInfo) {
			i.KubernetesVersion, i.VersionFrom, i.Guessed = "v1.34.3", "its name", true
		}, code: plan.CheckImage, severity: plan.Warn, words: []string{"carries v1.34.3, by its name", "spec.images"}},
		{name: "the catalogue differs", images: "{image: ami-new, kubernetesVersion: v1.34.3}", image: unverified,
			code: plan.CheckImage, severity: plan.Block, words: []string{"ami-new carries v1.34.3, by the catalogue of images"}},
		{name: "the catalogue agrees", images: "{image: ami-new, kubernetesVersion: v1.35.2}", image: unverified,
			code: plan.CheckImage, severity: plan.Pass, words: []string{"ami-new carries v1.35.2, by the catalogue of images"}},
		{name: "the catalogue wins over the tag", images: "{image: ami-new, kubernetesVersion: v1.35.2}", image: func(i *plan.ImageInfo) { i.KubernetesVersion = "v1.34.3" },
			code: plan.CheckImage, severity: plan.Warn, words: []string{"the catalogue of images says that ami-new carries v1.35.2", "its tag kubernetes_version says v1.34.3", "the catalogue counts", "correct spec.images"}},
		{name: "the catalogue wins over a good tag", images: "{image: ami-new, kubernetesVersion: v1.33.0}",
			code: plan.CheckImage, severity: plan.Block, words: []string{"carries v1.33.0, by the catalogue", "its tag kubernetes_version says v1.35.2"}},
		{name: "the catalogue has others", images: "{image: ami-other, kubernetesVersion: v1.33.0}", image: unverified,
			code: plan.CheckImage, severity: plan.Warn, words: []string{"nobody reports which version the image ami-new carries (no AWS credentials)", "spec.images", "let nodepool ask the provider"}},
		{name: "nobody tells the version of the new image", image: func(i *plan.ImageInfo) { i.KubernetesVersion = "" },
			code: plan.CheckImage, severity: plan.Warn, words: []string{"nobody reports which version the image ami-new (golden) carries; unless it is built for v1.35.2", "list it with its kubernetesVersion under spec.images; then plan again"}},
		{name: "the image is not there", image: missing, code: plan.CheckImage, severity: plan.NotVerified, words: []string{"not verified: no image was found", "image-exists"}},
		{name: "nobody tells the version", pool: toVersion, image: func(i *plan.ImageInfo) { i.KubernetesVersion = "" },
			code: plan.CheckImage, severity: plan.Warn, words: []string{"the image stays"}},
		{name: "looked up", edit: unpinned(), pool: toVersion,
			code: plan.CheckImage, severity: plan.Warn, words: []string{"pins no image", "now it finds ami-found (golden)", "machineImage"}},
		{name: "looked up, and of another version", edit: unpinned(), pool: toVersion, image: func(i *plan.ImageInfo) { i.KubernetesVersion = "v1.34.3" },
			code: plan.CheckImage, severity: plan.Block, words: []string{"ami-found (golden) carries v1.34.3", "pin an image built for v1.35.2"}},

		{name: "there", code: plan.CheckImageExists, severity: plan.Pass, words: []string{"ami-new (golden) is in eu-central-1 and available"}},
		{name: "not there", image: missing,
			code: plan.CheckImageExists, severity: plan.Block, words: []string{"ami-new was not seen in eu-central-1 by the account that nodepool asks with", "or it is not shared with that account", "the rollout stalls at its first one",
				"with the cluster's own credentials", "copy the image to eu-central-1", "waive this check"}},
		{name: "not available", image: func(i *plan.ImageInfo) { i.State = "pending" },
			code: plan.CheckImageExists, severity: plan.Block, words: []string{"ami-new (golden) is pending in eu-central-1", "wait until it is available"}},
		{name: "deprecated", image: func(i *plan.ImageInfo) { i.Deprecated, i.DeprecatedNow = "2026-01-31", true },
			code: plan.CheckImageExists, severity: plan.Warn, words: []string{"deprecated since 2026-01-31", "newer image soon"}},
		{name: "deprecated some day", image: func(i *plan.ImageInfo) { i.Deprecated = "2028-01-31" },
			code: plan.CheckImageExists, severity: plan.Pass, words: []string{"it will be deprecated from 2028-01-31"}},
		{name: "lookup finds one", edit: unpinned(), pool: toVersion,
			code: plan.CheckImageExists, severity: plan.Pass, words: []string{"the provider's lookup finds ami-found (golden) in eu-central-1"}},
		{name: "lookup finds none", edit: all(unpinned(), inTemplate("own-{{.K8sVersion}}", "imageLookupFormat"), edit(awsClusterRef, "123456789012", "spec", "imageLookupOrg")),
			pool: toVersion, image: missing, code: plan.CheckImageExists, severity: plan.Block,
			words: []string{"pins no image", "finds none in eu-central-1", "Kubernetes v1.35.2, format own-{{.K8sVersion}}, owner 123456789012", "machineImage"}},
		{name: "no credentials", image: unverified, code: plan.CheckImageExists, severity: plan.NotVerified, words: []string{"not verified: no AWS credentials"}},
		{name: "no region", edit: edit(awsClusterRef, nil, "spec", "region"), code: plan.CheckImageExists, severity: plan.NotVerified, words: []string{"not verified: AWSCluster default/aws-example reports no region"}},
		{name: "no object that tells the region", edit: func(w *clustertest.World) { w.Delete(awsClusterRef) },
			code: plan.CheckImageExists, severity: plan.NotVerified, words: []string{"not verified: AWSCluster default/aws-example, which would tell the region, does not exist"}},

		{name: "go together", code: plan.CheckImageType, severity: plan.Pass, words: []string{"ami-new (golden) and m5.large go together: amd64", "requires ENA"}},
		{name: "other architecture", size: func(i *plan.InstanceTypeInfo) { i.Architectures = []string{"arm64"} }, pool: "instanceType: m7g.large, " + toBoth,
			code: plan.CheckImageType, severity: plan.Block, words: []string{"ami-new (golden) is built for amd64, by the provider, and the instance type m7g.large has arm64", "set machineImage to an image for arm64"}},
		{name: "other architecture by the catalogue", images: "{image: ami-new, architecture: arm64}", image: unverified,
			code: plan.CheckImageType, severity: plan.Block, words: []string{"ami-new is built for arm64, by the catalogue of images, and the instance type m5.large has amd64"}},
		{name: "architecture by the catalogue against the provider's", images: "{image: ami-new, architecture: amd64}", image: func(i *plan.ImageInfo) { i.Architecture = "arm64" },
			code: plan.CheckImageType, severity: plan.Warn, words: []string{"the catalogue of images says that ami-new is built for amd64", "the provider says arm64"}},
		{name: "without ENA", image: func(i *plan.ImageInfo) { i.Lacks = []string{"ENA"} },
			code: plan.CheckImageType, severity: plan.Block, words: []string{"m5.large requires ENA, which the image ami-new (golden) does not support"}},
		{name: "without ENA, where it is not required", image: func(i *plan.ImageInfo) { i.Lacks = []string{"ENA"} }, size: func(i *plan.InstanceTypeInfo) { i.Requires = nil },
			code: plan.CheckImageType, severity: plan.Pass},
		{name: "architecture not told", image: func(i *plan.ImageInfo) { i.Architecture = "" }, code: plan.CheckImageType, severity: plan.NotVerified, words: []string{"not verified: nobody reports the architecture"}},
		{name: "image not there to go with the type", image: missing, code: plan.CheckImageType, severity: plan.NotVerified, words: []string{"not verified: the image or the instance type was not found"}},

		{name: "offered", edit: zones("eu-central-1b", "eu-central-1a"), code: plan.CheckInstanceType, severity: plan.Pass, words: []string{"m5.large is offered in eu-central-1a, eu-central-1b"}},
		{name: "zones not known", code: plan.CheckInstanceType, severity: plan.Pass, words: []string{"zones are not known"}},
		{name: "zones not told", edit: zones("eu-central-1a"), size: func(i *plan.InstanceTypeInfo) { i.ZonesUnverified = "AWS throttles" },
			code: plan.CheckInstanceType, severity: plan.Pass, words: []string{"its zones are not verified: AWS throttles"}},
		{name: "no such type", size: func(i *plan.InstanceTypeInfo) { *i = plan.InstanceTypeInfo{Missing: true} }, pool: "instanceType: m5.xlagre, " + toBoth,
			code: plan.CheckInstanceType, severity: plan.Block, words: []string{"the instance type m5.xlagre does not exist in eu-central-1", "correct instanceType"}},
		{name: "not in the pool's zone", edit: all(zones("eu-central-1a", "eu-central-1c"), failureDomain("eu-central-1c")),
			size: func(i *plan.InstanceTypeInfo) { i.MissingZones = []string{"eu-central-1c"} },
			code: plan.CheckInstanceType, severity: plan.Block, words: []string{"the instance type m5.large is not offered in eu-central-1c, where the pool's machines are placed", "then plan again"}},
		{name: "not in one of the zones", edit: zones("eu-central-1a", "eu-central-1c"),
			size: func(i *plan.InstanceTypeInfo) { i.MissingZones = []string{"eu-central-1c"} },
			code: plan.CheckInstanceType, severity: plan.Warn, words: []string{"m5.large is not offered in eu-central-1c, where machines of the pool may be placed", "the rollout stalls at it", "failureDomain"}},
		{name: "type not verified", size: func(i *plan.InstanceTypeInfo) { *i = plan.InstanceTypeInfo{Unverified: "no AWS credentials"} },
			code: plan.CheckInstanceType, severity: plan.NotVerified, words: []string{"not verified: no AWS credentials"}},

		{name: "room", code: plan.CheckQuota, severity: plan.Pass, words: []string{`the quota "Standard" leaves 80 of 100 vCPUs in eu-central-1, and the rollout takes up to 4 more`}},
		{name: "no room for one", size: left(3),
			code: plan.CheckQuota, severity: plan.Block, words: []string{"leaves 3 of 100 vCPUs", "one machine of type m5.large takes 4", "maxUnavailable is 0", "raised"}},
		{name: "over the quota already", size: left(-8), code: plan.CheckQuota, severity: plan.Block, words: []string{"leaves 0 of 100"}},
		{name: "no room for one, and old ones go first", pool: toBoth + ", strategy: {maxUnavailable: 1}", size: left(3),
			code: plan.CheckQuota, severity: plan.Warn, words: []string{"leaves 3 of 100", "takes up to 4 vCPUs more", "maxSurge"}},
		{name: "room for one of two", pool: toBoth + ", strategy: {maxSurge: 2}", size: left(7),
			code: plan.CheckQuota, severity: plan.Warn, words: []string{"leaves 7 of 100", "takes up to 8 vCPUs more"}},
		{name: "larger machines", pool: toBoth + ", instanceType: m5.2xlarge", size: func(i *plan.InstanceTypeInfo) { i.VCPUs, i.Quota.Used = 8, 81 },
			code: plan.CheckQuota, severity: plan.Warn, words: []string{"leaves 19 of 100", "takes up to 20 vCPUs more"}}, // 8, and 3 times 8-4
		{name: "machines of another quota", pool: toBoth + ", instanceType: p5.large", size: func(i *plan.InstanceTypeInfo) { i.QuotaName, i.Quota.Used = "P", 85 },
			code: plan.CheckQuota, severity: plan.Warn, words: []string{`the quota "P" leaves 15 of 100`, "takes up to 16 vCPUs more"}}, // 4 times 4
		{name: "smaller machines", pool: toBoth + ", instanceType: m5.small", size: func(i *plan.InstanceTypeInfo) { i.VCPUs, i.Quota.Used = 2, 98 },
			code: plan.CheckQuota, severity: plan.Pass, words: []string{"takes up to 2 more"}},
		{name: "quota not told", size: func(i *plan.InstanceTypeInfo) {
			i.Quota, i.QuotaUnverified = nil, "it may not servicequotas:GetServiceQuota"
		},
			code: plan.CheckQuota, severity: plan.NotVerified, words: []string{"not verified: it may not servicequotas:GetServiceQuota"}},
		{name: "spot", edit: inTemplate(map[string]any{}, "spotMarketOptions"), code: plan.CheckQuota, severity: plan.NotVerified, words: []string{"not verified: spot machines"}},
		{name: "spot by its market", edit: inTemplate("Spot", "marketType"), code: plan.CheckQuota, severity: plan.NotVerified, words: []string{"not verified: spot machines"}},
		{name: "no growth", pool: toBoth + ", strategy: {maxSurge: 0, maxUnavailable: 1}", size: left(0), code: plan.CheckQuota, severity: plan.Pass, words: []string{"does not grow"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := clustertest.AWSExample()
			if test.edit != nil {
				test.edit(w)
			}
			fields := test.pool
			if fields == "" {
				fields = toBoth
			}
			spec := "pools: [{name: " + awsPool + ", " + fields + "}]"
			if test.images != "" {
				spec = "images: [" + test.images + "]\n" + spec
			}
			up := upgrade(t, spec)
			p, err := plan.Compile(up, answered(up, observe(t, w, up), test.image, test.size))
			if err != nil {
				t.Fatal(err)
			}
			found := finding(t, p, test.code, test.severity)
			if test.severity != plan.Pass && test.severity != plan.NotVerified && (found.Remedy == "" || found.Object.IsZero()) {
				t.Errorf("no remedy or no object: %+v", found)
			}
			mustContain(t, found.Message+"; "+found.Remedy, test.words...)
			if p.Blocked != slices.ContainsFunc(p.Findings, func(f plan.Finding) bool { return f.Severity == plan.Block }) {
				t.Errorf("blocked is %t", p.Blocked)
			}
		})
	}
}

// TestAskOfProviders: what is asked, of whom, and when nobody is.
func TestAskOfProviders(t *testing.T) {
	t.Parallel()
	image := plan.ImageQuery{Provider: "AWSCluster", Region: "eu-central-1", Image: "ami-new"}
	size := plan.InstanceTypeQuery{Provider: "AWSCluster", Region: "eu-central-1", Type: "m5.large", Growth: 1}
	changed := func(change func(*plan.ImageQuery, *plan.InstanceTypeQuery)) ([]plan.ImageQuery, []plan.InstanceTypeQuery) {
		i, s := image, size
		change(&i, &s)
		return []plan.ImageQuery{i}, []plan.InstanceTypeQuery{s}
	}
	vpc := edit(awsClusterRef, "vpc-1", "spec", "network", "vpc", "id")
	inVPC, typeInVPC := changed(func(i *plan.ImageQuery, s *plan.InstanceTypeQuery) {
		i.Network, s.Network, s.Zones = "vpc-1", "vpc-1", "eu-central-1a,eu-central-1b"
	})
	lookedUp, _ := changed(func(i *plan.ImageQuery, _ *plan.InstanceTypeQuery) {
		i.Image, i.Lookup = "", plan.ImageLookup{Format: "of the template", Org: "of the cluster", KubernetesVersion: "v1.35.2", InstanceType: "m5.large"}
	})
	_, public := changed(func(_ *plan.ImageQuery, s *plan.InstanceTypeQuery) { s.Zones = "eu-central-1z" })
	_, larger := changed(func(_ *plan.ImageQuery, s *plan.InstanceTypeQuery) { s.Type = "m5.xlarge" })
	older := size
	older.Growth = 0
	merged, _ := changed(func(i *plan.ImageQuery, _ *plan.InstanceTypeQuery) { i.Image = "ami-merged" })
	two := "pools: [{name: " + awsPool + ", " + toBoth + "}, {name: aws-example-extra-000, " + toBoth + "}]"
	eks := func(w *clustertest.World) {
		managed(map[string]any{"version": "v1.35.2", "region": "us-east-1"}, version2("v1.35.2"))(w)
	}
	eksImage, eksType := changed(func(i *plan.ImageQuery, s *plan.InstanceTypeQuery) {
		i.Provider, s.Provider, i.Region, s.Region = "AWSManagedControlPlane", "AWSManagedControlPlane", "us-east-1", "us-east-1"
	})
	for name, test := range map[string]struct {
		edit   func(*clustertest.World)
		spec   string // the pool, or all; toBoth when empty
		images []plan.ImageQuery
		types  []plan.InstanceTypeQuery
	}{
		"image and version":   {images: []plan.ImageQuery{image}, types: []plan.InstanceTypeQuery{size}},
		"network and zones":   {edit: all(vpc, zones("eu-central-1b", "eu-central-1a", "eu-central-1b")), images: inVPC, types: typeInVPC},
		"public addresses":    {edit: all(zones("eu-central-1a"), inTemplate(true, "publicIP")), images: []plan.ImageQuery{image}, types: public},
		"a subnet of its own": {edit: all(zones("eu-central-1a"), inTemplate(map[string]any{"id": "subnet-1"}, "subnet")), images: []plan.ImageQuery{image}, types: []plan.InstanceTypeQuery{size}},
		"looked up": {edit: all(unpinned(), inTemplate("of the template", "imageLookupFormat"), edit(awsClusterRef, "of the cluster", "spec", "imageLookupOrg"),
			edit(awsClusterRef, "not this one", "spec", "imageLookupFormat")), spec: toVersion, images: lookedUp, types: []plan.InstanceTypeQuery{size}},
		"a larger type asks of the old one too": {spec: toBoth + ", instanceType: m5.xlarge", images: []plan.ImageQuery{image}, types: append(larger, older)},
		"an image in a merge patch":             {spec: "kubernetesVersion: v1.35.2, infrastructure: {ami: {id: ami-merged}}", images: merged, types: []plan.InstanceTypeQuery{size}},
		"two pools alike":                       {spec: two, images: []plan.ImageQuery{image}, types: []plan.InstanceTypeQuery{size}},
		"nothing rolls":                         {spec: "drain: {nodeDrainTimeout: 1m}"},
		"no machines of a cloud":                {spec: "pools: [{name: " + devPool + ", kubernetesVersion: v1.35.2}]"},
		"a managed control plane":               {edit: eks, images: eksImage, types: eksType},
		"images of a managed control plane":     {edit: all(eks, unpinned()), spec: toVersion, types: eksType},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample(clustertest.ExtraPools(1, 3))
			if test.edit != nil {
				test.edit(w)
			}
			spec := test.spec
			switch {
			case spec == "":
				spec = toBoth
				fallthrough
			case !strings.HasPrefix(spec, "pools:"):
				spec = "pools: [{name: " + awsPool + ", " + spec + "}]"
			}
			up := upgrade(t, spec)
			ask := plan.Ask(up, observe(t, w, up))
			if d := gocmp.Diff(test.images, ask.Images); d != "" {
				t.Errorf("images (-want +got):\n%s", d)
			}
			if d := gocmp.Diff(test.types, ask.Types); d != "" {
				t.Errorf("types (-want +got):\n%s", d)
			}
		})
	}
}

// TestAnswersSignNothing: what a provider says changes findings alone, and what
// the catalogue says is a part of what is signed.
func TestAnswersSignNothing(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	up := onePool(t, toBoth)
	snap := observe(t, w, up)
	without, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	with, err := plan.Compile(up, answered(up, snap, func(i *plan.ImageInfo) { i.Missing = true }, nil))
	if err != nil {
		t.Fatal(err)
	}
	if !with.Blocked || with.Digest != without.Digest {
		t.Errorf("blocked %t, and the digest is %s instead of %s", with.Blocked, with.Digest, without.Digest)
	}
	up.Spec.Images = []schema.Image{{Image: "ami-new", KubernetesVersion: "v1.35.2"}}
	listed, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	if listed.Digest == without.Digest {
		t.Error("the catalogue is not signed")
	}
	back, err := plan.UpgradeOf(listed)
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(up, back); d != "" {
		t.Errorf("the plan's upgrade (-want +got):\n%s", d)
	}
}

// TestRegionWithoutRight: who may not read the object that tells the region is
// told so, and has the same plan.
func TestRegionWithoutRight(t *testing.T) {
	t.Parallel()
	up := onePool(t, toBoth)
	snap := observe(t, clustertest.AWSExample(), up)
	p, err := plan.Compile(up, snap)
	if err != nil {
		t.Fatal(err)
	}
	var lesser plan.Snapshot
	for _, sel := range plan.Needs(up, lesser) {
		lesser = lesser.With(sel, snap.List(sel)...)
	}
	for needs := plan.Needs(up, lesser); len(needs) > 0; needs = plan.Needs(up, lesser) {
		for _, sel := range needs {
			if sel.Ref == awsClusterRef {
				if !sel.Optional {
					t.Fatal("the region's object is needed")
				}
				lesser = lesser.Without(sel, "you may not get awsclusters")
				continue
			}
			lesser = lesser.With(sel, snap.List(sel)...)
		}
	}
	got, err := plan.Compile(up, lesser)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != p.Digest {
		t.Error("another digest")
	}
	mustContain(t, finding(t, got, plan.CheckImageExists, plan.NotVerified).Message,
		"not verified: AWSCluster default/aws-example, which tells the region, could not be read: you may not get awsclusters")
}

// TestOtherProviders: the catalogue serves any provider, and of one that cannot
// be asked it is said.
func TestOtherProviders(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample()
	w.Serve(clustertest.Kind{Group: clustertest.InfrastructureGroup, Kind: "VSphereMachineTemplate", Version: "v1beta1"},
		clustertest.Kind{Group: clustertest.InfrastructureGroup, Kind: "VSphereMachine", Version: "v1beta1"})
	w.Put(&object{Object: map[string]any{"apiVersion": clustertest.InfrastructureGroup + "/v1beta1", "kind": "VSphereMachineTemplate",
		"metadata": map[string]any{"namespace": "default", "name": "vsphere"},
		"spec":     map[string]any{"template": map[string]any{"spec": map[string]any{"template": "ubuntu-1.34"}}}}})
	edit(awsRef, map[string]any{"apiGroup": clustertest.InfrastructureGroup, "kind": "VSphereMachineTemplate", "name": "vsphere"},
		"spec", "template", "spec", "infrastructureRef")(w)
	up := upgrade(t, "images: [{image: ubuntu-new, kubernetesVersion: v1.34.3}]\npools: [{name: "+awsPool+", kubernetesVersion: v1.35.2, machineImage: ubuntu-new}]")
	p := compile(t, w, up)
	mustContain(t, finding(t, p, plan.CheckImage, plan.Block).Message, "ubuntu-new carries v1.34.3, by the catalogue of images")
	mustContain(t, finding(t, p, plan.CheckImageExists, plan.NotVerified).Message, "not verified: nodepool asks no provider about VSphereMachineTemplate")
	if got := finding(t, p, plan.CheckInstanceType, plan.Pass).Message; got != "nothing to check" {
		t.Errorf("it tells of instance types that there are none of: %q", got)
	}
}

// TestNobodyToAsk: a check that nobody could answer is not verified, for the
// true reason, and is not counted as one that had nothing to check.
func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	ofProvider := []string{plan.CheckImageExists, plan.CheckImageType, plan.CheckInstanceType, plan.CheckQuota}
	other := func(kind string, spec map[string]any) func(*clustertest.World) {
		return func(w *clustertest.World) {
			w.Serve(clustertest.Kind{Group: clustertest.InfrastructureGroup, Kind: kind + "Template", Version: "v1beta1"},
				clustertest.Kind{Group: clustertest.InfrastructureGroup, Kind: kind, Version: "v1beta1"})
			w.Put(&object{Object: map[string]any{"apiVersion": clustertest.InfrastructureGroup + "/v1beta1", "kind": kind + "Template",
				"metadata": map[string]any{"namespace": "default", "name": "other"},
				"spec":     map[string]any{"template": map[string]any{"spec": spec}}}})
			edit(awsRef, map[string]any{"apiGroup": clustertest.InfrastructureGroup, "kind": kind + "Template", "name": "other"},
				"spec", "template", "spec", "infrastructureRef")(w)
		}
	}
	dev := map[string]any{"apiGroup": clustertest.InfrastructureGroup, "kind": "DevCluster", "name": "aws-example"}
	for name, test := range map[string]struct {
		edit    func(*clustertest.World)
		pool    string
		why     string
		checked []string // what there is to look at; ofProvider when nil
	}{
		"the infrastructure of another provider": {edit: edit(clusterRef, dev, "spec", "infrastructureRef"), pool: "instanceType: m5.xlarge",
			why: "not verified: the infrastructure of Cluster default/aws-example is of kind DevCluster, which names no region for machines of AWSMachineTemplate"},
		"no infrastructure": {edit: edit(clusterRef, nil, "spec", "infrastructureRef"), pool: "instanceType: m5.xlarge",
			why: "not verified: Cluster default/aws-example names no infrastructure (spec.infrastructureRef), which would tell the region"},
		"a provider that nobody asks": {edit: other("AzureMachine", map[string]any{"vmSize": "Standard_D4s_v5"}), pool: "instanceType: Standard_D8s_v5",
			why: "not verified: nodepool asks no provider about AzureMachineTemplate"},
		"one without instance types": {edit: other("VSphereMachine", map[string]any{"template": "ubuntu"}), pool: toVersion,
			why: "not verified: nodepool asks no provider about VSphereMachineTemplate", checked: []string{plan.CheckImageExists}},
		"a kind that is not known": {edit: other("MoonMachine", map[string]any{"size": "large"}), pool: toVersion,
			why: "not verified: nodepool asks no provider about MoonMachineTemplate"},
		"no machine is made": {edit: func(*clustertest.World) {}, pool: "drain: {nodeDrainTimeout: 1m}", checked: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			test.edit(w)
			p := compile(t, w, onePool(t, test.pool))
			if test.checked == nil {
				test.checked = ofProvider
			}
			for _, code := range ofProvider {
				if slices.Contains(test.checked, code) {
					if got := finding(t, p, code, plan.NotVerified); got.Message != test.why || !got.NotVerified {
						t.Errorf("%s: %+v", code, got)
					}
				} else if got := finding(t, p, code, plan.Pass); got.Message != "nothing to check" || got.NotVerified {
					t.Errorf("%s: %+v", code, got)
				}
			}
			for _, code := range p.Steps[0].Preflight.Checks {
				if !slices.ContainsFunc(p.Findings, func(f plan.Finding) bool { return f.Code == code }) {
					t.Errorf("%s is counted and has no finding", code)
				}
			}
		})
	}
}

// TestFindingsInOrder: the gravest first, those of the cluster before those of
// the pools, and so after more have come.
func TestFindingsInOrder(t *testing.T) {
	t.Parallel()
	w := clustertest.AWSExample(clustertest.ExtraPools(1, 3))
	edit(awsRef, true, "spec", "paused")(w)
	up := upgrade(t, "pools: [{name: aws-example-extra-000, kubernetesVersion: v1.35.2, waive: [{check: image-matches-version, reason: seen}]}, {name: "+awsPool+", kubernetesVersion: v1.35.2}]")
	p := compile(t, w, up).WithFindings(plan.Finding{Code: plan.CheckServer, Severity: plan.Pass, NotVerified: true, Message: "not verified: no answer"})
	rank := func(f plan.Finding) int {
		return slices.Index([]plan.Severity{plan.Block, plan.Warn, plan.NotVerified, plan.Pass}, f.Severity)
	}
	if !slices.IsSortedFunc(p.Findings, func(a, b plan.Finding) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a.Pool, b.Pool)) }) {
		t.Errorf("not in order: %+v", p.Findings)
	}
	if p.Findings[0].Severity != plan.Block || finding(t, p, plan.CheckServer, plan.NotVerified).Pool != "" {
		t.Errorf("the first is %+v", p.Findings[0])
	}
}
