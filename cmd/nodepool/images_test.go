package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nodepool/apply/clustertest"
	"nodepool/plan"
)

const catalogueFile = `apiVersion: nodepool/v1alpha1
kind: ImageCatalogue
images:
  - {image: ami-9, kubernetesVersion: v1.34.3}
  - {image: ami-8, kubernetesVersion: v1.33.1}
`

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// findingOf gives what the plan says of a check, for its first pool.
func findingOf(p plan.Plan, code string) plan.Finding {
	for _, f := range p.Findings {
		if f.Code == code {
			return f
		}
	}
	return plan.Finding{}
}

// TestImagesFrom: a catalogue is found beside its upgrade file, what it says of
// the upgrade's images is signed, and its mistakes are told with their places.
func TestImagesFrom(t *testing.T) {
	from := strings.Replace(goodUpgrade, "  pools:", "  imagesFrom: images/all.yaml\n  pools:", 1)
	from = strings.Replace(from, "v1.35.2}", "v1.35.2, machineImage: ami-9}", 1)
	written := strings.Replace(from, "imagesFrom: images/all.yaml", "images: [{image: ami-9, kubernetesVersion: v1.34.3}]", 1)
	code, _, stderr := runIn(t, map[string]string{"u.yaml": from, "v.yaml": written, "w.json": dump(t, clustertest.AWSExample())}, "",
		"validate", "-f", "u.yaml")
	if want := "u.yaml:6:15: spec.imagesFrom: the catalogue of images cannot be read: open " + filepath.Join("images", "all.yaml") +
		": no such file or directory; write its path relative to this file"; code != 1 || !strings.Contains(strings.Join(strings.Fields(stderr), " "), want) {
		t.Errorf("without the file: exit code %d\n%s\nwant %s", code, stderr, want)
	}
	write(t, "images/all.yaml", catalogueFile)
	made := func(file string) plan.Plan {
		p, err := plan.Read([]byte(must(t, 3, "", "plan", "-f", file, "--from", "w.json", "-o", "json")))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := made("u.yaml")
	if f := findingOf(p, plan.CheckImage); !strings.Contains(f.Message, "ami-9 carries v1.34.3, by the catalogue of images") {
		t.Errorf("findings: %+v", p.Findings)
	}
	if content := string(p.Upgrade.Content); strings.Contains(content, "ami-8") || strings.Contains(content, "all.yaml") {
		t.Errorf("more of the catalogue is signed than the upgrade names: %s", content)
	}
	if other := made("v.yaml"); other.Digest != p.Digest {
		t.Errorf("the same entry beside the upgrade and in it: %s and %s", p.Digest, other.Digest)
	}
	write(t, "w.yaml", strings.Replace(from, "  pools:", "  images: [{image: ami-9, kubernetesVersion: v1.35.2}]\n  pools:", 1))
	code, _, stderr = call(t, "", "plan", "-f", "w.yaml", "--from", "w.json")
	if told := strings.Join(strings.Fields(stderr), " "); code != 1 || !strings.Contains(told, filepath.Join("images", "all.yaml")+":4:39: images[0].kubernetesVersion") ||
		!strings.Contains(told, "v1.34.3 here and v1.35.2 at w.yaml:7:46 (spec.images[0].kubernetesVersion)") {
		t.Errorf("with a contradiction: exit code %d\n%s", code, stderr)
	}
	write(t, "images/all.yaml", strings.Replace(catalogueFile, "v1.33.1", "1.33.1", 1))
	code, _, stderr = call(t, "", "plan", "-f", "u.yaml", "--from", "w.json")
	if code != 1 || !strings.Contains(stderr, filepath.Join("images", "all.yaml")+":5:39: images[1].kubernetesVersion") {
		t.Errorf("with a mistake: exit code %d\n%s", code, stderr)
	}
}
