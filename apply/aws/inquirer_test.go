package aws_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/aws"
	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/schema"
)

var _ apply.Inquirer = aws.Inquirer{}

// clean gives the test an environment in which nothing of AWS is set up.
func clean(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	t.Setenv("NO_PROXY", "*")
}

// today is a day of the tests.
func today() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }

var awsCluster = plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSCluster", Namespace: "default", Name: "aws-example"}

func set(w *clustertest.World, ref plan.Ref, value any, path ...string) {
	o := w.Get(ref)
	if value == nil {
		unstructured.RemoveNestedField(o.Object, path...)
	} else if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		panic(err)
	}
	w.Put(o)
}

// example is the world of the tests: a cluster in two zones of eu-central-1.
func example(adjust ...clustertest.Adjust) *clustertest.World {
	w := clustertest.AWSExample(adjust...)
	set(w, awsCluster, "vpc-1", "spec", "network", "vpc", "id")
	set(w, awsCluster, []any{map[string]any{"id": "subnet-1", "availabilityZone": "eu-central-1a"},
		map[string]any{"id": "subnet-2", "availabilityZone": "eu-central-1b"}}, "spec", "network", "subnets")
	return w
}

// unpinned has the first pool's image looked up, by these fields.
func unpinned(w *clustertest.World, fields map[string]any) *clustertest.World {
	ref := plan.Ref{Group: clustertest.InfrastructureGroup, Kind: "AWSMachineTemplate", Namespace: "default", Name: "aws-example-md-0"}
	set(w, ref, nil, "spec", "template", "spec", "ami")
	for k, v := range fields {
		set(w, ref, v, "spec", "template", "spec", k)
	}
	return w
}

func upgrade(t *testing.T, pools ...string) schema.Upgrade {
	t.Helper()
	up, _, err := schema.Read("upgrade.yaml", []byte("apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: u}\n"+
		"spec: {cluster: {name: aws-example}, pools: ["+strings.Join(pools, ", ")+"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return up
}

const (
	pinned   = "{name: aws-example-md-0, kubernetesVersion: v1.35.2, machineImage: ami-1, instanceType: m5.large}"
	lookedUp = "{name: aws-example-md-0, kubernetesVersion: v1.35.2, instanceType: m5.large}"
)

// inquire asks as i does and gives the answers about the first image and the
// first type. No byte of the credentials may be in them.
func inquire(t *testing.T, i aws.Inquirer, w *clustertest.World, up schema.Upgrade) (plan.ImageInfo, plan.InstanceTypeInfo) {
	t.Helper()
	snap, err := apply.Observe(t.Context(), w.Open(nil), up)
	if err != nil {
		t.Fatal(err)
	}
	i.Now = today
	ask := plan.Ask(up, snap)
	images, types := ask.Images, ask.Types
	snap = i.Inquire(t.Context(), ask, snap)
	if len(images) == 0 || len(types) == 0 {
		t.Fatal("nothing is asked")
	}
	image, ok := snap.Image(images[0])
	size, ok2 := snap.InstanceType(types[0])
	if !ok || !ok2 {
		t.Fatal("a question was not answered")
	}
	for _, secret := range []string{accessKey, secretKey, session} {
		if said := fmt.Sprintf("%+v %+v", image, size); strings.Contains(said, secret) {
			t.Errorf("an answer holds credentials: %s", said)
		}
	}
	return image, size
}

const standard = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"

// good is an account in which all is there.
func good() *cloud {
	return &cloud{
		images: []image{{ID: "ami-1", State: "available", Owner: "1", Architecture: "x86_64", Virtual: "hvm", Name: "ours",
			Created: "2026-05-01T00:00:00.000Z", Deprecation: "2028-05-01T00:00:00.000Z", ENA: true,
			Tags: []tag{{"kubernetes_version", "v1.35.2"}, {"distribution", "Ubuntu"}, {"distribution_version", "24.04"}}}},
		sizes: []size{
			{Type: "m5.large", Architectures: []string{"x86_64"}, VCPUs: 2, ENA: "required", NVMe: "required", zones: []string{"eu-central-1a", "eu-central-1b"}},
			{Type: "m7g.large", Architectures: []string{"arm64"}, VCPUs: 2, ENA: "required", NVMe: "required", zones: []string{"eu-central-1a"}},
		},
		networks: []network{{"vpc-1"}},
		instances: []instance{
			{Type: "m5.xlarge", State: "running", Cores: 2, Threads: 2, Tenancy: "default"},
			{Type: "t3.large", State: "pending", Cores: 1, Threads: 2, Tenancy: "default"},
			{Type: "c5.large", State: "stopped", Cores: 1, Threads: 2, Tenancy: "default"},
			{Type: "r5.large", State: "running", Cores: 1, Threads: 2, Tenancy: "default", Lifecycle: "spot"},
			{Type: "m5.large", State: "running", Cores: 1, Threads: 2, Tenancy: "host"},
			{Type: "p4d.24xlarge", State: "running", Cores: 48, Threads: 2, Tenancy: "default"},
		},
		limits: map[string]float64{"L-1216C47A": 64},
	}
}

func goodImage() plan.ImageInfo {
	return plan.ImageInfo{Image: "ami-1", Name: "ours", Architecture: "amd64", KubernetesVersion: "v1.35.2",
		VersionFrom: "its tag kubernetes_version", OS: "Ubuntu 24.04", Deprecated: "2028-05-01"}
}

func goodSize() plan.InstanceTypeInfo {
	return plan.InstanceTypeInfo{Architectures: []string{"amd64"}, VCPUs: 2, Requires: []string{"ENA", "NVMe"},
		QuotaName: standard, Quota: &plan.Quota{Limit: 64, Used: 6}}
}

// TestFound: what AWS says, whole and page by page.
func TestFound(t *testing.T) {
	for _, perPage := range []int{0, 1} {
		t.Run(fmt.Sprintf("%d items a page", perPage), func(t *testing.T) {
			c := good()
			c.perPage = perPage
			c.open(t)
			image, size := inquire(t, aws.Inquirer{}, example(), upgrade(t, pinned))
			if d := cmp.Diff(goodImage(), image); d != "" {
				t.Errorf("image (-want +got):\n%s", d)
			}
			if d := cmp.Diff(goodSize(), size); d != "" {
				t.Errorf("type (-want +got):\n%s", d)
			}
			if pages := c.asked("DescribeInstances"); pages != 1 && perPage == 0 || pages != 5 && perPage == 1 {
				t.Errorf("instances were listed in %d pages", pages)
			}
		})
	}
}

// TestAnswers goes through what else AWS may say.
func TestAnswers(t *testing.T) {
	refuse := func(code string, status int, actions ...string) func(*cloud) {
		return func(c *cloud) {
			c.fail = func(action string, _ int) (string, int) {
				for _, a := range actions {
					if a == action {
						return code, status
					}
				}
				return "", 0
			}
		}
	}
	everything := []string{"DescribeImages", "DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "DescribeVpcs", "DescribeInstances", "GetServiceQuota"}
	for name, test := range map[string]struct {
		change func(*cloud)
		pool   string
		image  func(*plan.ImageInfo) // from the good one
		size   func(*plan.InstanceTypeInfo)
	}{
		"no such image":            {change: func(c *cloud) { c.images = nil }, image: func(i *plan.ImageInfo) { *i = plan.ImageInfo{Missing: true} }},
		"no such type":             {pool: strings.Replace(pinned, "m5.large", "m5.lagre", 1), size: func(s *plan.InstanceTypeInfo) { *s = plan.InstanceTypeInfo{Missing: true} }},
		"pending":                  {change: func(c *cloud) { c.images[0].State = "pending" }, image: func(i *plan.ImageInfo) { i.State = "pending" }},
		"deprecated":               {change: func(c *cloud) { c.images[0].Deprecation = "2026-05-31T12:00:00.000Z" }, image: func(i *plan.ImageInfo) { i.Deprecated, i.DeprecatedNow = "2026-05-31", true }},
		"no deprecation":           {change: func(c *cloud) { c.images[0].Deprecation = "" }, image: func(i *plan.ImageInfo) { i.Deprecated = "" }},
		"without ENA":              {change: func(c *cloud) { c.images[0].ENA = false }, image: func(i *plan.ImageInfo) { i.Lacks = []string{"ENA"} }},
		"of arm64":                 {change: func(c *cloud) { c.images[0].Architecture = "arm64" }, image: func(i *plan.ImageInfo) { i.Architecture = "arm64" }},
		"a tag without v":          {change: func(c *cloud) { c.images[0].Tags[0].Value = "1.35.1" }, image: func(i *plan.ImageInfo) { i.KubernetesVersion = "v1.35.1" }},
		"a tag that is no version": {change: func(c *cloud) { c.images[0].Tags[0].Value = "latest" }, image: func(i *plan.ImageInfo) { i.KubernetesVersion, i.VersionFrom = "", "" }},
		"another's image, whose tags are not told": {change: func(c *cloud) { c.images[0].Tags, c.images[0].Name = nil, "capa-ami-ubuntu-24.04-v1.34.3-1760000000" },
			image: func(i *plan.ImageInfo) {
				i.Name, i.OS = "capa-ami-ubuntu-24.04-v1.34.3-1760000000", ""
				i.KubernetesVersion, i.VersionFrom, i.Guessed = "v1.34.3", "its name", true
			}},
		"a name with other numbers": {change: func(c *cloud) {
			c.images[0].Tags, c.images[0].Name = nil, "flatcar-stable-4152.2.0-containerd-1.7.24-kube-v1.35.2"
		},
			image: func(i *plan.ImageInfo) {
				i.Name, i.OS = "flatcar-stable-4152.2.0-containerd-1.7.24-kube-v1.35.2", ""
				i.VersionFrom, i.Guessed = "its name", true
			}},
		"a name with two versions": {change: func(c *cloud) { c.images[0].Tags, c.images[0].Name = nil, "kubelet-1.35.2-kubectl-1.34.0" },
			image: func(i *plan.ImageInfo) {
				i.Name, i.OS, i.KubernetesVersion, i.VersionFrom = "kubelet-1.35.2-kubectl-1.34.0", "", "", ""
			}},
		"not in one zone": {change: func(c *cloud) { c.sizes[0].zones = []string{"eu-central-1b"} }, size: func(s *plan.InstanceTypeInfo) { s.MissingZones = []string{"eu-central-1a"} }},
		"an old type": {change: func(c *cloud) {
			c.sizes[0].ENA, c.sizes[0].NVMe, c.sizes[0].Architectures = "supported", "unsupported", []string{"i386", "x86_64"}
		}, size: func(s *plan.InstanceTypeInfo) { s.Requires, s.Architectures = nil, []string{"i386", "amd64"} }},
		"no quota of that code": {change: func(c *cloud) { c.limits = nil }, size: func(s *plan.InstanceTypeInfo) { s.Quota, s.QuotaUnverified = nil, "AWS reports no such quota" }},

		"images denied": {change: refuse("UnauthorizedOperation", 403, "DescribeImages"),
			image: func(i *plan.ImageInfo) {
				*i = plan.ImageInfo{Unverified: "the AWS credentials may not ec2:DescribeImages"}
			}},
		"types denied": {change: refuse("UnauthorizedOperation", 403, "DescribeInstanceTypes"),
			size: func(s *plan.InstanceTypeInfo) {
				*s = plan.InstanceTypeInfo{Unverified: "the AWS credentials may not ec2:DescribeInstanceTypes"}
			}},
		"offerings denied": {change: refuse("UnauthorizedOperation", 403, "DescribeInstanceTypeOfferings"),
			size: func(s *plan.InstanceTypeInfo) {
				s.ZonesUnverified = "the AWS credentials may not ec2:DescribeInstanceTypeOfferings"
			}},
		"networks denied": {change: refuse("UnauthorizedOperation", 403, "DescribeVpcs")},
		"quotas denied": {change: refuse("AccessDeniedException", 400, "GetServiceQuota"),
			size: func(s *plan.InstanceTypeInfo) {
				s.Quota, s.QuotaUnverified = nil, "the AWS credentials may not servicequotas:GetServiceQuota"
			}},
		"instances denied": {change: refuse("UnauthorizedOperation", 403, "DescribeInstances"),
			size: func(s *plan.InstanceTypeInfo) {
				s.Quota, s.QuotaUnverified = nil, "the AWS credentials may not ec2:DescribeInstances"
			}},
		"throttled once": {change: func(c *cloud) {
			c.fail = func(action string, nth int) (string, int) {
				switch {
				case nth > 1:
					return "", 0
				case action == "GetServiceQuota":
					return "TooManyRequestsException", 429
				}
				return "RequestLimitExceeded", 503
			}
		}},
		"throttled for ever": {change: refuse("RequestLimitExceeded", 503, everything...),
			image: func(i *plan.ImageInfo) {
				*i = plan.ImageInfo{Unverified: "AWS throttles the requests (RequestLimitExceeded)"}
			},
			size: func(s *plan.InstanceTypeInfo) {
				*s = plan.InstanceTypeInfo{Unverified: "AWS throttles the requests (RequestLimitExceeded)"}
			}},
		"expired": {change: refuse("RequestExpired", 400, everything...),
			image: func(i *plan.ImageInfo) {
				*i = plan.ImageInfo{Unverified: "AWS refuses the credentials (RequestExpired); they may have expired"}
			},
			size: func(s *plan.InstanceTypeInfo) {
				*s = plan.InstanceTypeInfo{Unverified: "AWS refuses the credentials (RequestExpired); they may have expired"}
			}},
		"no account's": {change: refuse("AuthFailure", 401, "DescribeImages"),
			image: func(i *plan.ImageInfo) {
				*i = plan.ImageInfo{Unverified: "AWS refuses the credentials (AuthFailure); they may have expired"}
			}},
		"another code": {change: refuse("UnknownParameter", 400, "DescribeImages"),
			image: func(i *plan.ImageInfo) {
				*i = plan.ImageInfo{Unverified: "AWS answers ec2:DescribeImages with UnknownParameter"}
			}},
		"a code that is none": {change: refuse("no &lt;code&gt; "+secretKey, 400, "DescribeImages"),
			image: func(i *plan.ImageInfo) { *i = plan.ImageInfo{Unverified: "AWS cannot be reached"} }},
		"another account": {change: func(c *cloud) { c.networks, c.images = nil, nil },
			image: func(i *plan.ImageInfo) {
				*i = plan.ImageInfo{Unverified: "the AWS credentials are of another account than the cluster's: they do not see its network vpc-1"}
			},
			size: func(s *plan.InstanceTypeInfo) {
				*s = plan.InstanceTypeInfo{Unverified: "the AWS credentials are of another account than the cluster's: they do not see its network vpc-1"}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			if test.change != nil {
				test.change(c)
			}
			c.open(t)
			if test.pool == "" {
				test.pool = pinned
			}
			wantImage, wantSize := goodImage(), goodSize()
			if test.image != nil {
				test.image(&wantImage)
			}
			if test.size != nil {
				test.size(&wantSize)
			}
			image, size := inquire(t, aws.Inquirer{}, example(), upgrade(t, test.pool))
			if d := cmp.Diff(wantImage, image); d != "" {
				t.Errorf("image (-want +got):\n%s", d)
			}
			if d := cmp.Diff(wantSize, size); d != "" {
				t.Errorf("type (-want +got):\n%s", d)
			}
		})
	}
}

// TestLookup: the image that CAPA would find.
func TestLookup(t *testing.T) {
	of := func(id, owner, name, created string) image {
		return image{ID: id, State: "available", Owner: owner, Architecture: "x86_64", Virtual: "hvm", Name: name, Created: created, ENA: true}
	}
	const capa = "819546954734"
	images := []image{
		of("ami-old", capa, "capa-ami-ubuntu-24.04-v1.35.2-1", "2026-01-01T00:00:00.000Z"),
		of("ami-new", capa, "capa-ami-ubuntu-24.04-v1.35.2-2", "2026-03-01T00:00:00.000Z"),
		of("ami-other-version", capa, "capa-ami-ubuntu-24.04-v1.35.1-3", "2026-04-01T00:00:00.000Z"),
		of("ami-other-os", capa, "capa-ami-flatcar-stable-v1.35.2-3", "2026-04-01T00:00:00.000Z"),
		of("ami-of-others", "2", "capa-ami-ubuntu-24.04-v1.35.2-4", "2026-05-01T00:00:00.000Z"),
		of("ami-pending", capa, "capa-ami-ubuntu-24.04-v1.35.2-5", "2026-05-01T00:00:00.000Z"),
		of("ami-arm", capa, "capa-ami-ubuntu-24.04-v1.35.2-6", "2026-02-01T00:00:00.000Z"),
		of("ami-deprecated", capa, "capa-ami-ubuntu-24.04-v1.35.2-7", "2026-05-01T00:00:00.000Z"),
		of("ami-own", "3", "own/1.35.2", "2026-05-01T00:00:00.000Z"),
	}
	images[5].State, images[6].Architecture, images[7].Deprecation = "pending", "arm64", "2026-05-02T00:00:00.000Z"
	for name, test := range map[string]struct {
		fields map[string]any // of the template
		pool   string
		want   string // "" for none
		why    string
	}{
		"defaults":             {want: "ami-new"},
		"another OS":           {fields: map[string]any{"imageLookupBaseOS": "flatcar-stable"}, want: "ami-other-os"},
		"another owner":        {fields: map[string]any{"imageLookupOrg": "2"}, want: "ami-of-others"},
		"a format":             {fields: map[string]any{"imageLookupOrg": "3", "imageLookupFormat": "own/{{ .K8sVersion }}"}, want: "ami-own"},
		"another architecture": {pool: strings.Replace(lookedUp, "m5", "m7g", 1), want: "ami-arm"},
		"none":                 {fields: map[string]any{"imageLookupBaseOS": "centos-7"}},
		"a format that is a program": {fields: map[string]any{"imageLookupFormat": `{{printf "%900000000d" 1}}`},
			why: "the lookup's name format is more than nodepool reads"},
		"no such type": {pool: strings.Replace(lookedUp, "m5", "m0", 1), why: "the instance type that decides the image's architecture does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			c.images, c.perPage = images, 2
			c.open(t)
			pool := test.pool
			if pool == "" {
				pool = lookedUp
			}
			got, _ := inquire(t, aws.Inquirer{}, unpinned(example(), test.fields), upgrade(t, pool))
			if got.Image != test.want || got.Unverified != test.why || got.Missing != (test.want == "" && test.why == "") {
				t.Errorf("it found %+v, want %q, %q", got, test.want, test.why)
			}
		})
	}
}

// TestNobodyToAsk: without credentials, or a region, nobody is asked.
func TestNobodyToAsk(t *testing.T) {
	for name, test := range map[string]struct {
		env    map[string]string
		config string
		region string
		why    string
	}{
		"no credentials": {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, why: "no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"},
		"a process that gives none": {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
			config: "[default]\ncredential_process = /bin/sh -c \"echo " + secretKey + "; exit 3\"\n",
			why:    "the AWS credentials cannot be had"},
		"no such profile":         {env: map[string]string{"AWS_PROFILE": "gone"}, why: "the AWS settings cannot be read; aws sts get-caller-identity tells more"},
		"a region that is a host": {region: "eu-central-1.example.com/#", why: "its region is none of AWS"},
	} {
		t.Run(name, func(t *testing.T) {
			c := good().open(t)
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			if test.config != "" {
				if err := os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), []byte(test.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w := example()
			if test.region != "" {
				set(w, awsCluster, test.region, "spec", "region")
			}
			image, size := inquire(t, aws.Inquirer{}, w, upgrade(t, pinned))
			if image.Unverified != test.why || size.Unverified != test.why {
				t.Errorf("image: %q, type: %q, want %q", image.Unverified, size.Unverified, test.why)
			}
			if len(c.seen) > 0 {
				t.Errorf("it asked for %q", c.seen)
			}
		})
	}
}

// TestTimeOut: what does not answer costs no more than the time budget, and
// what does is told.
func TestTimeOut(t *testing.T) {
	c := good()
	c.hang = "DescribeImages"
	c.open(t)
	image, size := inquire(t, aws.Inquirer{Timeout: 2 * time.Second}, example(), upgrade(t, pinned))
	if image.Unverified != "AWS did not answer in time" {
		t.Errorf("image: %+v", image)
	}
	if d := cmp.Diff(goodSize(), size); d != "" {
		t.Errorf("type (-want +got):\n%s", d)
	}
	c.mu.Lock()
	c.hang = "DescribeInstanceTypes"
	c.mu.Unlock()
	if image, size = inquire(t, aws.Inquirer{Timeout: 2 * time.Second}, example(), upgrade(t, pinned)); image.Unverified != "" || size.Unverified != "AWS did not answer in time" {
		t.Errorf("image: %+v, type: %+v", image, size)
	}
}

// TestUnreachable: nobody listens.
func TestUnreachable(t *testing.T) {
	good().open(t)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	image, size := inquire(t, aws.Inquirer{}, example(), upgrade(t, pinned))
	if image.Unverified != "AWS cannot be reached" || size.Unverified != "AWS cannot be reached" {
		t.Errorf("image: %q, type: %q", image.Unverified, size.Unverified)
	}
}

// TestRequests: pools share their questions, and a cluster without machines of
// AWS asks none, not even for credentials.
func TestRequests(t *testing.T) {
	c := good().open(t)
	var pools []string
	for n := range 110 {
		pools = append(pools, fmt.Sprintf("{name: aws-example-extra-%03d, kubernetesVersion: v1.35.2, machineImage: ami-%d, instanceType: m5.large}", n, n))
	}
	inquire(t, aws.Inquirer{}, example(clustertest.ExtraPools(110, 1)), upgrade(t, pools...))
	want := map[string]int{"DescribeImages": 2, "DescribeInstanceTypes": 1, "DescribeInstanceTypeOfferings": 1, "DescribeVpcs": 1, "DescribeInstances": 1, "GetServiceQuota": 1}
	got := map[string]int{}
	for _, a := range c.seen {
		got[a]++
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("requests for 110 pools (-want +got):\n%s", d)
	}

	c.seen = nil
	t.Setenv("AWS_PROFILE", "gone") // what would not be told, since it is not looked at
	up := upgrade(t, "{name: aws-example-md-1, kubernetesVersion: v1.35.2}")
	snap, err := apply.Observe(t.Context(), example().Open(nil), up)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(up, aws.Inquirer{}.Inquire(t.Context(), plan.Ask(up, snap), snap))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range p.Findings {
		if strings.Contains(f.Message, "AWS") {
			t.Errorf("%+v", f)
		}
	}
	if len(c.seen) > 0 {
		t.Errorf("it asked for %q", c.seen)
	}
}
