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

// PreflightCheck gives the name of the Cluster API preflight check that
// enforces s, "" when none does.
func (s Skew) PreflightCheck() string {
	switch s {
	case NewerMinor, TooOld:
		return "KubernetesVersionSkew"
	case KubeadmMinor:
		return "KubeadmVersionSkew"
	}
	return ""
}

// SkewOf compares the version of a pool's machines with that of its control
// plane, both as "v1.35.2". Kubeadm tells that the pool joins by kubeadm,
// whose minor must equal the control plane's. An unreadable version is an error.
func SkewOf(pool, controlPlane string, kubeadm bool) (Skew, error) {
	p, err := version.ParseSemantic(pool)
	if err != nil {
		return NoSkew, fmt.Errorf("version %q: %w", pool, err)
	}
	c, err := version.ParseSemantic(controlPlane)
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
	case minors == 0 && p.Patch() > c.Patch():
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
