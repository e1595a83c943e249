package aws_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The credentials of the tests. The server repeats them in its errors, and no
// byte of them may come out again.
const (
	accessKey = "AKIDOFTHETESTS"
	secretKey = "5ecretOfTheTests"
	session   = "t0kenOfTheTests"
)

// Things of EC2, as far as they are asked for.
type (
	tag struct {
		Key   string `xml:"key"`
		Value string `xml:"value"`
	}
	image struct {
		ID           string `xml:"imageId"`
		State        string `xml:"imageState"`
		Owner        string `xml:"imageOwnerId"`
		Architecture string `xml:"architecture"`
		Virtual      string `xml:"virtualizationType"`
		Name         string `xml:"name"`
		Created      string `xml:"creationDate"`
		Deprecation  string `xml:"deprecationTime,omitempty"`
		ENA          bool   `xml:"enaSupport,omitempty"`
		Tags         []tag  `xml:"tagSet>item"`
	}
	size struct {
		Type          string   `xml:"instanceType"`
		Architectures []string `xml:"processorInfo>supportedArchitectures>item"`
		VCPUs         int      `xml:"vCpuInfo>defaultVCpus"`
		ENA           string   `xml:"networkInfo>enaSupport"`
		NVMe          string   `xml:"ebsInfo>nvmeSupport"`
		zones         []string
	}
	offering struct {
		Type string `xml:"instanceType"`
		Kind string `xml:"locationType"`
		Zone string `xml:"location"`
	}
	network struct {
		ID string `xml:"vpcId"`
	}
	instance struct {
		Type      string `xml:"instanceType"`
		State     string `xml:"instanceState>name"`
		Cores     int    `xml:"cpuOptions>coreCount"`
		Threads   int    `xml:"cpuOptions>threadsPerCore"`
		Lifecycle string `xml:"instanceLifecycle,omitempty"`
		Tenancy   string `xml:"placement>tenancy"`
	}
	reservation struct {
		Instances []instance `xml:"instancesSet>item"`
	}
	page struct {
		XMLName   xml.Name
		RequestID string        `xml:"requestId"`
		Images    []image       `xml:"imagesSet>item,omitempty"`
		Sizes     []size        `xml:"instanceTypeSet>item,omitempty"`
		Offerings []offering    `xml:"instanceTypeOfferingSet>item,omitempty"`
		Networks  []network     `xml:"vpcSet>item,omitempty"`
		Instances []reservation `xml:"reservationSet>item,omitempty"`
		Next      string        `xml:"nextToken,omitempty"`
	}
)

// cloud speaks the Query API of EC2 (docs.aws.amazon.com/AWSEC2/latest/
// APIReference: query requests, filters with wildcards, pages, errors) and the
// JSON of Service Quotas, of one account in one region.
type cloud struct {
	t         *testing.T
	images    []image
	sizes     []size
	networks  []network
	instances []instance
	limits    map[string]float64 // by quota code
	// perPage is how many items a page holds, 0 for all.
	perPage int
	// fail, where it gives a code, refuses the nth request for an action.
	fail func(action string, nth int) (code string, status int)
	// hang keeps an action waiting until its caller gives up.
	hang string

	url  string
	done chan struct{}
	mu   sync.Mutex
	seen []string // the actions asked for
}

// open starts the server; the environment points at it and has credentials.
func (c *cloud) open(t *testing.T) *cloud {
	t.Helper()
	clean(t)
	c.t, c.done = t, make(chan struct{})
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(c.done) })
	c.url = server.URL
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_SESSION_TOKEN", session)
	return c
}

func (c *cloud) asked(action string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(c.seen), func(a string) bool { return a != action }))
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	service, action := "ec2", form.Get("Action")
	if target, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "ServiceQuotasV20190624."); ok {
		service, action = "servicequotas", target
	}
	scope := "/eu-central-1/" + service + "/aws4_request"
	if auth := r.Header.Get("Authorization"); !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential="+accessKey+"/") || !strings.Contains(auth, scope) ||
		r.Header.Get("X-Amz-Security-Token") != session {
		c.t.Errorf("%s is not signed for %s: %q", action, scope, auth)
	}
	c.mu.Lock()
	c.seen = append(c.seen, action)
	hang := c.hang
	c.mu.Unlock()
	if action == hang {
		select {
		case <-r.Context().Done():
		case <-c.done:
		}
		return
	}
	if c.fail != nil {
		if code, status := c.fail(action, c.asked(action)); code != "" {
			c.refuse(w, service, code, status)
			return
		}
	}
	if service == "servicequotas" {
		c.quota(w, body)
		return
	}
	out := page{XMLName: xml.Name{Local: action + "Response"}, RequestID: "59dbff89-35bd-4eac-99ed-be587EXAMPLE"}
	f := filters(form)
	switch action {
	case "DescribeImages":
		deprecated := form.Get("IncludeDeprecated") == "true"
		out.Images = some(c, form, &out, c.images, func(i image) bool {
			old := i.Deprecation != "" && i.Deprecation < "2026-06-01"
			return f.match("image-id", i.ID) && f.match("owner-id", i.Owner) && f.match("name", i.Name) && f.match("architecture", i.Architecture) &&
				f.match("state", i.State) && f.match("virtualization-type", i.Virtual) && (deprecated || !old)
		})
	case "DescribeInstanceTypes":
		out.Sizes = some(c, form, &out, c.sizes, func(s size) bool { return f.match("instance-type", s.Type) })
	case "DescribeInstanceTypeOfferings":
		var all []offering
		for _, s := range c.sizes {
			for _, z := range s.zones {
				all = append(all, offering{s.Type, form.Get("LocationType"), z})
			}
		}
		out.Offerings = some(c, form, &out, all, func(o offering) bool { return f.match("instance-type", o.Type) })
	case "DescribeVpcs":
		out.Networks = some(c, form, &out, c.networks, func(n network) bool { return f.match("vpc-id", n.ID) })
	case "DescribeInstances":
		for _, i := range some(c, form, &out, c.instances, func(i instance) bool { return f.match("instance-state-name", i.State) }) {
			out.Instances = append(out.Instances, reservation{[]instance{i}})
		}
	default:
		c.t.Errorf("%s is asked for", action)
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	if err := xml.NewEncoder(w).Encode(out); err != nil {
		c.t.Error(err)
	}
}

func (c *cloud) refuse(w http.ResponseWriter, service, code string, status int) {
	message := fmt.Sprintf("no, %s with %s and %s", accessKey, secretKey, session)
	w.WriteHeader(status)
	if service == "servicequotas" {
		fmt.Fprintf(w, `{"__type": %q, "message": %q}`, code, message)
		return
	}
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>",
		code, message)
}

func (c *cloud) quota(w http.ResponseWriter, body []byte) {
	var in struct{ ServiceCode, QuotaCode string }
	_ = json.Unmarshal(body, &in)
	limit, ok := c.limits[in.QuotaCode]
	if !ok || in.ServiceCode != "ec2" {
		c.refuse(w, "servicequotas", "NoSuchResourceException", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(map[string]any{"Quota": map[string]any{"ServiceCode": "ec2", "QuotaCode": in.QuotaCode, "Value": limit, "Unit": "None"}})
}

type filterSet map[string][]string

// filters reads Filter.1.Name, Filter.1.Value.1 and so on.
func filters(form url.Values) filterSet {
	out := filterSet{}
	for n := 1; ; n++ {
		at := fmt.Sprintf("Filter.%d.", n)
		name := form.Get(at + "Name")
		if name == "" {
			return out
		}
		for v := 1; form.Has(fmt.Sprintf("%sValue.%d", at, v)); v++ {
			out[name] = append(out[name], form.Get(fmt.Sprintf("%sValue.%d", at, v)))
		}
	}
}

func (f filterSet) match(name, value string) bool {
	values, set := f[name]
	return !set || slices.ContainsFunc(values, func(pattern string) bool {
		ok, err := path.Match(pattern, value)
		return ok && err == nil
	})
}

// some gives a page of what is selected; its token says where it goes on.
func some[T any](c *cloud, form url.Values, out *page, all []T, selected func(T) bool) []T {
	all = slices.DeleteFunc(slices.Clone(all), func(v T) bool { return !selected(v) })
	from, _ := strconv.Atoi(form.Get("NextToken"))
	all = all[min(from, len(all)):]
	if c.perPage > 0 && len(all) > c.perPage {
		out.Next = strconv.Itoa(from + c.perPage)
		all = all[:c.perPage]
	}
	return all
}
