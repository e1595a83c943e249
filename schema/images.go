package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// ImagesKind is the kind of a file that holds a catalogue of machine images.
const ImagesKind = "ImageCatalogue"

var catalogueFields = []string{"apiVersion", "kind", "images"}

// OwnImages are the images that an upgrade lists itself (spec.images), and where.
type OwnImages struct {
	Images []Image
	// File is the upgrade's, as for [Read].
	File      string
	Positions Positions
}

// ReadImages reads the file that an upgrade's spec.imagesFrom names, as strictly
// as [Read] reads an upgrade: apiVersion, kind ([ImagesKind]) and images, in the
// form of spec.images. What own lists the file must not contradict. file is only
// for messages. The error is an [*InvalidError] with all problems of the file.
func ReadImages(file string, data []byte, own OwnImages) ([]Image, error) {
	ps := &problems{}
	root := parse(ps, data, "a catalogue of images", ImagesKind)
	if root == nil {
		return nil, ps.err(file)
	}
	d := decoder{ps}
	var out []Image
	d.mapping(root, catalogueFields, func(key string, v *value) {
		switch key {
		case "apiVersion":
			d.constant(v, APIVersion)
		case "kind":
			d.constant(v, ImagesKind)
		case "images":
			out = d.images(v, own)
		}
	})
	d.missing(root, "apiVersion", "write apiVersion: "+APIVersion)
	d.missing(root, "kind", "write kind: "+ImagesKind)
	d.missing(root, "images", "list the images")
	if err := ps.err(file); err != nil {
		return nil, err
	}
	return out, nil
}

// WithImages gives u with those entries of a catalogue that it names, as the
// machineImage of a pool or anywhere in an infrastructure patch, and without
// ImagesFrom: what is reviewed is what the catalogue says of these images, and
// neither the rest of it nor its place. What u itself says of an image wins, and
// the catalogue adds what that leaves out.
func (u Upgrade) WithImages(catalogue []Image) Upgrade {
	u.Spec.ImagesFrom = ""
	u.Spec.Images = slices.Clone(u.Spec.Images)
	for _, i := range catalogue {
		own := slices.IndexFunc(u.Spec.Images, func(o Image) bool { return o.Image == i.Image })
		switch {
		case own >= 0:
			o := &u.Spec.Images[own]
			o.KubernetesVersion, o.Architecture, o.OS = cmp.Or(o.KubernetesVersion, i.KubernetesVersion), cmp.Or(o.Architecture, i.Architecture), cmp.Or(o.OS, i.OS)
		case u.names(i.Image):
			u.Spec.Images = append(u.Spec.Images, i)
		}
	}
	return u
}

// Image gives what the catalogue of u says of an image.
func (u Upgrade) Image(image string) (Image, bool) {
	i := slices.IndexFunc(u.Spec.Images, func(i Image) bool { return i.Image == image })
	if i < 0 {
		return Image{}, false
	}
	return u.Spec.Images[i], true
}

func (u Upgrade) names(image string) bool {
	return slices.ContainsFunc(u.Spec.Pools, func(p Pool) bool {
		return p.MachineImage == image || mentions(p.Infrastructure, image)
	})
}

// mentions reports whether a value of a merge patch is text, or holds it.
func mentions(v any, text string) bool {
	switch v := v.(type) {
	case string:
		return v == text
	case []any:
		return slices.ContainsFunc(v, func(v any) bool { return mentions(v, text) })
	case map[string]any:
		for _, v := range v {
			if mentions(v, text) {
				return true
			}
		}
	}
	return false
}

func (d decoder) images(v *value, own OwnImages) []Image {
	const remedy = "write each as {image: NAME, kubernetesVersion: v1.35.2}"
	if v.shape != list {
		d.wrongType(v, "a list of images", remedy)
		return nil
	}
	if len(v.children) == 0 {
		d.at(v, "is an empty list", "remove the line instead, or list an image")
	}
	var out []Image
	first := map[string]*value{}
	for _, item := range v.children {
		if item.shape == null {
			d.at(item, "is an empty item", remedy)
			continue
		}
		var i Image
		d.mapping(item, imageFields, func(key string, v *value) {
			switch key {
			case "image":
				i.Image, _ = d.text(v, "ami-0fedcba9876543210")
			case "kubernetesVersion":
				i.KubernetesVersion = d.version(v)
			case "architecture":
				i.Architecture = d.architecture(v)
			case "os":
				i.OS = d.words(v, "ubuntu-24.04")
			}
		})
		d.missing(item, "image", "write the image as the provider names it")
		if item.shape == mapping && len(item.children) == 1 && item.field("image") != nil {
			d.at(item, "says nothing of the image", "add kubernetesVersion, architecture or os")
		}
		if other := first[i.Image]; other != nil && i.Image != "" {
			d.at(item.field("image"), fmt.Sprintf("the image %s is already listed at %s", quote(i.Image), other.pos), "write each image once")
			continue
		}
		d.contradictions(item, i, own)
		first[i.Image] = item
		out = append(out, i)
	}
	return out
}

// contradictions tells of what item, read as image, says otherwise than own. The
// OS has many spellings.
func (d decoder) contradictions(item *value, image Image, own OwnImages) {
	i := slices.IndexFunc(own.Images, func(o Image) bool { return o.Image == image.Image })
	if i < 0 {
		return
	}
	for _, f := range []struct{ field, here, there string }{
		{"kubernetesVersion", image.KubernetesVersion, own.Images[i].KubernetesVersion},
		{"architecture", string(image.Architecture), string(own.Images[i].Architecture)},
	} {
		release, _, _ := strings.Cut(f.here, "+") // builds of one release do not contradict each other
		other, _, _ := strings.Cut(f.there, "+")
		if f.here == "" || f.there == "" || release == other {
			continue
		}
		path := fmt.Sprintf("spec.images[%d].%s", i, f.field)
		d.at(item.field(f.field), fmt.Sprintf("%s is said to have %s here and %s at %s:%s (%s)",
			quote(image.Image), f.here, f.there, own.File, own.Positions.Locate(path), path), "correct the one that is wrong")
	}
}

// otherNames are what others call the architectures.
var otherNames = map[string]Architecture{"x86_64": AMD64, "x86-64": AMD64, "x64": AMD64, "aarch64": ARM64}

func (d decoder) architecture(v *value) Architecture {
	const remedy = "write amd64 or arm64"
	switch a := Architecture(v.text); {
	case v.shape != text:
		d.wrongType(v, "an architecture", remedy)
	case a == AMD64 || a == ARM64:
		return a
	case otherNames[strings.ToLower(v.text)] != "":
		d.at(v, quote(v.text)+" is another name of "+string(otherNames[strings.ToLower(v.text)]), "write "+string(otherNames[strings.ToLower(v.text)]))
	default:
		d.at(v, quote(v.text)+" is no architecture that is known", remedy)
	}
	return ""
}

// words reads a string of one line, which may have spaces in it.
func (d decoder) words(v *value, example string) string {
	switch {
	case v.shape == boolean || v.shape == integer || v.shape == float:
		d.wrongType(v, "a string", "put it in quotes: "+quote(v.text))
	case v.shape != text:
		d.wrongType(v, "a string", "write one such as "+example)
	case strings.TrimSpace(v.text) == "":
		d.at(v, "is an empty string", "remove the line instead, or write a value such as "+example)
	case strings.IndexFunc(v.text, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0:
		d.at(v, "has line breaks or control characters in it", "write a value such as "+example)
	default:
		return v.text
	}
	return ""
}
