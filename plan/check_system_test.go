package plan_test

import (
	"slices"
	"strings"
	"testing"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// TestOperatingSystem: a new image with another operating system than the nodes
// report is a warning, by whoever knows it; another spelling of it is none.
func TestOperatingSystem(t *testing.T) {
	t.Parallel()
	const ubuntu = "Ubuntu 22.04.5 LTS"
	for name, test := range map[string]struct {
		node, pool string // what nodes report, and the pool; toBoth when empty
		catalogue  string
		provider   string
		by         string // who is named in the warning; none when empty
	}{
		"a newer release":              {node: ubuntu, catalogue: "ubuntu-24.04", by: "ubuntu-24.04, by the catalogue of images"},
		"another distribution":         {node: ubuntu, catalogue: "Flatcar Container Linux 3815", by: "by the catalogue"},
		"as the provider says":         {node: ubuntu, provider: "Ubuntu 24.04", by: "Ubuntu 24.04, by the provider"},
		"the catalogue counts":         {node: ubuntu, catalogue: "ubuntu-22.04", provider: "Ubuntu 24.04"},
		"the same":                     {node: ubuntu, catalogue: ubuntu},
		"the same, shorter":            {node: ubuntu, catalogue: "ubuntu-22.04"},
		"no release":                   {node: ubuntu, catalogue: "Ubuntu"},
		"longer than the node's":       {node: "Ubuntu 22.04", catalogue: "Ubuntu Linux 22.04.5"},
		"by its initials":              {node: "Red Hat Enterprise Linux 9.4 (Plow)", catalogue: "rhel9"},
		"another release, by initials": {node: "Red Hat Enterprise Linux 8.10 (Ootpa)", catalogue: "rhel-9", by: "rhel-9"},
		"Amazon Linux":                 {node: "Amazon Linux 2023.6.20241010", catalogue: "al2023"},
		"the other Amazon Linux":       {node: "Amazon Linux 2", catalogue: "al2023", by: "al2023"},
		"Windows":                      {node: "Windows Server 2022 Datacenter", catalogue: "windows-2022"},
		"nobody says":                  {node: ubuntu},
		"nodes say nothing":            {node: "", catalogue: "ubuntu-24.04"},
		"the image stays":              {node: ubuntu, pool: toVersion, catalogue: "ubuntu-24.04"},
	} {
		t.Run(name, func(t *testing.T) {
			w := clustertest.AWSExample()
			for _, m := range w.List("cluster.x-k8s.io", "Machine", "default") {
				edit(plan.Ref{Group: "cluster.x-k8s.io", Kind: "Machine", Namespace: "default", Name: m.GetName()}, test.node, "status", "nodeInfo", "osImage")(w)
			}
			pool := test.pool
			if pool == "" {
				pool = toBoth
			}
			os := ""
			if test.catalogue != "" {
				os = `, os: "` + test.catalogue + `"`
			}
			up := upgrade(t, "images:\n- {image: ami-new, kubernetesVersion: v1.35.2"+os+"}\n- {image: ami-0123456789abcdef0, kubernetesVersion: v1.35.2"+os+"}\npools: [{name: "+awsPool+", "+pool+"}]")
			snap := answered(up, observe(t, w, up), func(i *plan.ImageInfo) { i.OS = test.provider }, nil)
			made, err := plan.Compile(up, snap)
			if err != nil {
				t.Fatal(err)
			}
			open := slices.ContainsFunc(made.Findings, func(f plan.Finding) bool {
				return f.Code == plan.CheckImage && f.NotVerified && strings.Contains(f.Message, "no node of the pool reports its own")
			})
			if want := test.node == ""; open != want {
				t.Errorf("it is told as not verified: %t, want %t", open, want)
			}
			at := slices.IndexFunc(made.Findings, func(f plan.Finding) bool {
				return f.Severity == plan.Warn && strings.Contains(f.Message, "operating system")
			})
			if (at >= 0) != (test.by != "") {
				t.Fatalf("a warning: %t, want %t", at >= 0, test.by != "")
			}
			if at < 0 {
				return
			}
			f := made.Findings[at]
			if f.Code != plan.CheckImage || f.Severity != plan.Warn {
				t.Errorf("%s is %s", f.Code, f.Severity)
			}
			mustContain(t, f.Message, "nodes of the pool report "+test.node+", and ami-new", test.by)
			if spelled := strings.Contains(f.Remedy, "write os under spec.images"); spelled != (test.catalogue != "") {
				t.Errorf("it says where to write it: %t", spelled)
			}
		})
	}
}
