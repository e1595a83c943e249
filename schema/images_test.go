package schema_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/schema"
)

const catalogue = `apiVersion: nodepool/v1alpha1
kind: ImageCatalogue
images:
  - {image: ami-new, kubernetesVersion: v1.35.2, architecture: arm64, os: Flatcar 4152}
  - {image: ami-patched, kubernetesVersion: v1.35.2}
  - {image: ami-own, kubernetesVersion: v1.35.2+build.7, architecture: amd64}
  - {image: ami-of-another-team, kubernetesVersion: v1.33.1}
`

// TestWithImages: of a catalogue an upgrade takes over what it names; what it
// says itself wins, and the catalogue adds to it.
func TestWithImages(t *testing.T) {
	images, err := schema.ReadImages("images.yaml", []byte(catalogue), schema.OwnImages{})
	if err != nil {
		t.Fatal(err)
	}
	u, _, err := schema.Read("upgrade.yaml", []byte(`apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: u}
spec:
  cluster: {name: c}
  imagesFrom: images.yaml
  images: [{image: ami-own, kubernetesVersion: v1.35.2}]
  pools:
    - {name: a, machineImage: ami-new}
    - {name: b, machineImage: ami-own}
    - {name: c, infrastructure: {disks: [{from: {image: ami-patched}}]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	own := schema.Image{Image: "ami-own", KubernetesVersion: "v1.35.2"}
	got := u.WithImages(images)
	want := []schema.Image{{Image: "ami-own", KubernetesVersion: "v1.35.2", Architecture: schema.AMD64},
		{Image: "ami-new", KubernetesVersion: "v1.35.2", Architecture: schema.ARM64, OS: "Flatcar 4152"},
		{Image: "ami-patched", KubernetesVersion: "v1.35.2"}}
	if d := cmp.Diff(want, got.Spec.Images); d != "" {
		t.Errorf("images (-want +got):\n%s", d)
	}
	if got.Spec.ImagesFrom != "" {
		t.Errorf("it still names %s", got.Spec.ImagesFrom)
	}
	if d := cmp.Diff([]schema.Image{own}, u.Spec.Images); d != "" {
		t.Errorf("the upgrade was changed (-want +got):\n%s", d)
	}
	if i, ok := got.Image("ami-new"); !ok || i.OS != "Flatcar 4152" {
		t.Errorf("Image gives %+v, %t", i, ok)
	}
	if i, ok := got.Image("ami-of-another-team"); ok {
		t.Errorf("Image gives %+v", i)
	}
}

func TestReadImagesInvalid(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"empty": {"", "images.yaml:1:1: the file is empty; write a catalogue of images: apiVersion: nodepool/v1alpha1, kind: ImageCatalogue"},
		"a list": {"- {image: ami-1}\n",
			"images.yaml:1:1: want a mapping at the top of the file, found a list; write a catalogue of images: apiVersion: nodepool/v1alpha1, kind: ImageCatalogue"},
		"an upgrade": {"apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\n",
			"images.yaml:1:1: images: is missing; list the images\n" +
				"images.yaml:2:7: kind: \"NodePoolUpgrade\" is not known; the only one known to this nodepool is ImageCatalogue"},
		"mistakes": {"apiVersion: nodepool/v1alpha1\nkind: ImageCatalogue\nimages:\n  - {image: ami-1, kubernetesVersion: '1.35.2'}\n  - {imag: ami-2}\n",
			"images.yaml:4:39: images[0].kubernetesVersion: the version \"1.35.2\" lacks the leading v; write v1.35.2\n" +
				"images.yaml:5:5: images[1].image: is missing; write the image as the provider names it\n" +
				"images.yaml:5:6: images[1].imag: unknown field; did you mean image? allowed here: image, kubernetesVersion, architecture, os"},
		"no YAML": {"a: [", "images.yaml:1:1: not valid YAML: did not find expected node content; write a value, or put what begins with a bracket in quotes"},
	} {
		t.Run(name, func(t *testing.T) {
			images, err := schema.ReadImages("images.yaml", []byte(test.data), schema.OwnImages{})
			if err == nil {
				t.Fatalf("it is taken: %+v", images)
			}
			if d := cmp.Diff(test.want, err.Error()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestContradictions: what an upgrade and its catalogue say differently of an
// image is told with the places of both, beside the other mistakes.
func TestContradictions(t *testing.T) {
	const file = `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata: {name: u}
spec:
  cluster: {name: c}
  imagesFrom: images.yaml
  images:
    - {image: ami-1, kubernetesVersion: v1.35.2, architecture: amd64, os: Ubuntu 24.04}
    - {image: ami-2, architecture: arm64}
    - image: ami-3
      kubernetesVersion: v1.35.2
  pools: [{name: a, machineImage: ami-1}]
`
	u, positions, err := schema.Read("upgrade.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ images, want string }{
		"the same":      {"{image: ami-1, kubernetesVersion: v1.35.2, architecture: amd64}", ""},
		"more":          {"{image: ami-2, kubernetesVersion: v1.34.3}", ""},
		"another build": {"{image: ami-3, kubernetesVersion: v1.35.2+rke2r1}", ""},
		"another OS":    {"{image: ami-1, os: ubuntu-24.04}", ""},
		"version and architecture": {"{image: ami-1, kubernetesVersion: v1.34.3, architecture: arm64}",
			`images.yaml:3:44: images[0].kubernetesVersion: "ami-1" is said to have v1.34.3 here and v1.35.2 at upgrade.yaml:8:41 (spec.images[0].kubernetesVersion); correct the one that is wrong` + "\n" +
				`images.yaml:3:67: images[0].architecture: "ami-1" is said to have arm64 here and amd64 at upgrade.yaml:8:64 (spec.images[0].architecture); correct the one that is wrong`},
		"all problems at once": {"{image: ami-3, kubernetesVersion: v1.35.1}, {image: ami-3}, {image: ami-4, kubernetesVersion: '1.35.2'}",
			`images.yaml:3:44: images[0].kubernetesVersion: "ami-3" is said to have v1.35.1 here and v1.35.2 at upgrade.yaml:11:26 (spec.images[2].kubernetesVersion); correct the one that is wrong` + "\n" +
				`images.yaml:3:54: images[1]: says nothing of the image; add kubernetesVersion, architecture or os` + "\n" +
				`images.yaml:3:62: images[1].image: the image "ami-3" is already listed at 3:10; write each image once` + "\n" +
				`images.yaml:3:104: images[2].kubernetesVersion: the version "1.35.2" lacks the leading v; write v1.35.2`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.ReadImages("images.yaml", []byte("apiVersion: nodepool/v1alpha1\nkind: ImageCatalogue\nimages: ["+test.images+"]\n"),
				schema.OwnImages{Images: u.Spec.Images, File: "upgrade.yaml", Positions: positions})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
