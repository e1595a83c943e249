package capi

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// Skew names a rule of versions that a pool breaks.
type Skew string

// The rules. NewerMinor, TooOld and KubeadmMinor are those of Cluster API's
// MachineSet preflight checks (KubernetesVersionSkew, KubeadmVersionSkew in
// api/core/v1beta2/machineset_types.go): a pool that breaks one can never
// make a machine. NewerPatch breaks only the Kubernetes policy
// (kubernetes.io/releases/version-skew-policy: a kubelet must not be newer
// than the API server).
const (
	NoSkew       Skew = ""
	NewerMinor   Skew = "newer-minor"
	TooOld       Skew = "too-old"
	KubeadmMinor Skew = "kubeadm-minor"
	NewerPatch   Skew = "newer-patch"
)

// PreflightChecks gives the names of the Cluster API preflight checks that
// enforce s, none when none does. A pool that joins by kubeadm must have the
// control plane's minor, so that one outside the bounds of
// KubernetesVersionSkew breaks KubeadmVersionSkew too.
func (s Skew) PreflightChecks(kubeadm bool) []string {
	switch {
	case s == KubeadmMinor:
		return []string{"KubeadmVersionSkew"}
	case (s == NewerMinor || s == TooOld) && kubeadm:
		return []string{"KubernetesVersionSkew", "KubeadmVersionSkew"}
	case s == NewerMinor, s == TooOld:
		return []string{"KubernetesVersionSkew"}
	}
	return nil
}

// SkewOf compares the version of a pool's machines, as "v1.35.2", with that of
// its control plane. Kubeadm tells that the pool joins by kubeadm, whose minor
// must equal the control plane's. A managed control plane may tell its minor
// alone ("1.35"); any patch release goes with that. An unreadable version is
// an error.
func SkewOf(pool, controlPlane string, kubeadm bool) (Skew, error) {
	p, err := version.ParseSemantic(pool)
	if err != nil {
		return NoSkew, fmt.Errorf("version %q: %w", pool, err)
	}
	c, err := version.ParseGeneric(controlPlane)
	if err != nil {
		return NoSkew, fmt.Errorf("control plane version %q: %w", controlPlane, err)
	}
	minors := int(p.Minor()) - int(c.Minor()) + 1000*(int(p.Major())-int(c.Major()))
	switch {
	case minors > 0:
		return NewerMinor, nil
	case minors < -3, minors < -2 && p.Minor() < 25:
		return TooOld, nil
	case minors < 0 && kubeadm:
		return KubeadmMinor, nil
	case minors == 0 && len(c.Components()) > 2 && p.Patch() > c.Patch():
		return NewerPatch, nil
	}
	return NoSkew, nil
}

// SkipPreflightAnnotation on a MachineDeployment, MachineSet or bootstrap
// template switches preflight checks of Cluster API off, by name or "All".
const SkipPreflightAnnotation = "machineset.cluster.x-k8s.io/skip-preflight-checks"

// SkipsPreflight reports whether the value of SkipPreflightAnnotation
// switches check off.
func SkipsPreflight(annotation, check string) bool {
	for _, s := range strings.Split(annotation, ",") {
		if s = strings.TrimSpace(s); s == "All" || (s == check && check != "") {
			return true
		}
	}
	return false
}

// SameKubernetes reports whether two versions name the same Kubernetes
// release, build suffixes such as "+rke2r1" or "-eks-1a2b3c4" aside.
func SameKubernetes(a, b string) bool {
	pa, errA := version.ParseGeneric(a)
	pb, errB := version.ParseGeneric(b)
	return errA == nil && errB == nil &&
		pa.Major() == pb.Major() && pa.Minor() == pb.Minor() && pa.Patch() == pb.Patch()
}

// sameVersion reports whether a control plane that wants one version and
// tells another has arrived. The leading v is of no matter, and one that tells
// its minor alone has no patch to compare; build suffixes count, since they
// name other builds.
func sameVersion(a, b string) bool {
	if strings.TrimPrefix(a, "v") == strings.TrimPrefix(b, "v") {
		return true
	}
	pa, errA := version.ParseGeneric(a)
	pb, errB := version.ParseGeneric(b)
	return errA == nil && errB == nil && min(len(pa.Components()), len(pb.Components())) == 2 &&
		pa.Major() == pb.Major() && pa.Minor() == pb.Minor()
}

// older reports whether version a is readable and lower than b, or b is not
// readable at all.
func older(a, b string) bool {
	pa, errA := version.ParseGeneric(a)
	pb, errB := version.ParseGeneric(b)
	return errA == nil && (errB != nil || pa.LessThan(pb))
}
