package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"nodepool/plan/capi"
)

// system tells of an image that is new to the pool, with another operating system than the pool's nodes
// report: what the bootstrap template writes and runs was made for theirs.
func (c *checker) system(p *pool, k known) {
	if k.os == "" {
		return
	}
	var others []string
	told := len(p.rollout.Machines) == 0 // then there is nothing to be held against
	for _, m := range p.rollout.Machines {
		o, ok := c.snap.Object(machineRef(m))
		if !ok {
			continue
		}
		reported := capi.StringAt(o, "status", "nodeInfo", "osImage")
		told = told || reported != ""
		if reported != "" && !sameSystem(k.os, reported) && !slices.Contains(others, reported) {
			others = append(others, reported)
		}
	}
	if !told {
		c.notVerified(CheckImage, p.infra.ref, fmt.Sprintf("whether the operating system changes: %s has %s, by %s, and no node of the pool reports its own", k.image, k.os, k.osFrom))
	}
	if len(others) == 0 {
		return
	}
	slices.Sort(others)
	f := Finding{Code: CheckImage, Severity: Warn, Object: p.infra.ref,
		Message: fmt.Sprintf("the operating system changes: nodes of the pool report %s, and %s has %s, by %s. Files, commands and kubelet settings of the bootstrap template that were made for the one may not suit the other, and then machines cannot join",
			SomeOf(others), k.image, k.os, k.osFrom),
		Remedy: "go on if that is meant and was tried elsewhere; a canary shows it at one machine"}
	if k.osFrom == fromCatalogue {
		f.Remedy += ". If both are the same, write os under spec.images as the nodes report it"
	}
	c.add(f)
}

// sameSystem reports whether an image's operating system, as somebody wrote it,
// may be the one that a node reports: ubuntu-24.04 is Ubuntu 24.04.3 LTS, and
// rhel9 is Red Hat Enterprise Linux 9.4 (Plow). Names go by their letters or by
// the initials, releases by their first number; what is not told is no
// difference.
func sameSystem(image, node string) bool {
	name, release := nameAndRelease(image)
	reported, its := nameAndRelease(node)
	initials := ""
	for _, word := range reported {
		initials += word[:1]
	}
	a, b := strings.Join(name, ""), strings.Join(reported, "")
	named := strings.Contains(a, b) || strings.Contains(b, a) || strings.HasPrefix(initials, a)
	return named && (release == "" || its == "" || release == its)
}

// systemForm is a name, and the first number behind it.
var systemForm = regexp.MustCompile(`^([^0-9]*)([0-9]*)`)

// nameAndRelease gives the words of a system's name, in small letters, and the
// first number of its release.
func nameAndRelease(system string) (name []string, release string) {
	parts := systemForm.FindStringSubmatch(strings.ToLower(system))
	return strings.FieldsFunc(parts[1], func(r rune) bool { return r < 'a' || r > 'z' }), parts[2]
}
