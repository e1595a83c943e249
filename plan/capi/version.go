package capi

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// Skew names a rule of versions that a pool breaks.
type Skew string

// The rules. NewerMinor, TooOld and KubeadmMinor are those of Cluster API's
// MachineSet preflight checks (KubernetesVersionSkew, KubeadmVersionSkew in
// api/core/v1beta2/machineset_types.go): a pool that breaks one can never
// make a machine. OldKubelet and NewerPatch break only the Kubernetes policy
// (kubernetes.io/releases/version-skew-policy: a kubelet must not be newer
// than the API server, and before v1.25 at most two minors older). OtherVersion
// is ControlPlaneVersionSkew, of clusters with a topology alone.
const (
	NoSkew       Skew = ""
	NewerMinor   Skew = "newer-minor"
	TooOld       Skew = "too-old"
	KubeadmMinor Skew = "kubeadm-minor"
	OldKubelet   Skew = "old-kubelet"
	NewerPatch   Skew = "newer-patch"
	OtherVersion Skew = "other-version"
)

// The MachineSet preflight checks of Cluster API that look at versions
// (MachineSetPreflightCheck in api/core/v1beta2/machineset_types.go).
const (
	ControlPlaneIsStable    = string(clusterv1.MachineSetPreflightCheckControlPlaneIsStable)
	kubernetesVersionSkew   = string(clusterv1.MachineSetPreflightCheckKubernetesVersionSkew)
	kubeadmVersionSkew      = string(clusterv1.MachineSetPreflightCheckKubeadmVersionSkew)
	controlPlaneVersionSkew = string(clusterv1.MachineSetPreflightCheckControlPlaneVersionSkew)
)

// PreflightChecks gives the names of the Cluster API preflight checks that
// enforce s, none when none does. A pool that joins by kubeadm must have the
// control plane's minor, so that one outside the bounds of
// KubernetesVersionSkew breaks KubeadmVersionSkew too.
func (s Skew) PreflightChecks(kubeadm bool) []string {
	switch {
	case s == KubeadmMinor:
		return []string{kubeadmVersionSkew}
	case (s == NewerMinor || s == TooOld) && kubeadm:
		return []string{kubernetesVersionSkew, kubeadmVersionSkew}
	case s == NewerMinor, s == TooOld:
		return []string{kubernetesVersionSkew}
	case s == OtherVersion:
		return []string{controlPlaneVersionSkew}
	}
	return nil
}

// InTopology adds what holds in a cluster with a topology, be the pool the
// topology's or not: its machines have the very version of the control plane
// (controlPlaneVersionPreflightCheck). It gives the skew that the pool's version
// is then, and the checks that enforce it.
func (s Skew) InTopology(cluster *unstructured.Unstructured, pool, controlPlane string, kubeadm bool) (Skew, []string) {
	checks := s.PreflightChecks(kubeadm)
	if StringAt(cluster, "spec", "topology", "version") == "" || pool == controlPlane {
		return s, checks
	}
	if len(checks) == 0 {
		s = OtherVersion
	}
	return s, append(checks, controlPlaneVersionSkew)
}

// JoinsByKubeadm reports whether machines with this bootstrap template join by
// kubeadm, as Cluster API tells it (kubeadmVersionPreflightCheck): by kind and
// group, so that other kinds with such a name do not count.
func JoinsByKubeadm(bootstrapTemplate Ref) bool {
	return bootstrapTemplate.Kind == "KubeadmConfigTemplate" && bootstrapTemplate.Group == "bootstrap.cluster.x-k8s.io"
}

// SkewOf compares the version of a pool's machines, as "v1.35.2", with that of
// its control plane. Kubeadm tells that the pool joins by kubeadm, whose minor
// must equal the control plane's. A managed control plane may tell its minor
// alone ("1.35"); any patch release goes with that. An unreadable version is
// a *VersionError.
func SkewOf(pool, controlPlane string, kubeadm bool) (Skew, error) {
	p, err := version.ParseSemantic(pool)
	if err != nil {
		return NoSkew, &VersionError{Version: pool, Err: err}
	}
	c, err := version.ParseGeneric(controlPlane)
	if err != nil {
		return NoSkew, &VersionError{Version: controlPlane, OfControlPlane: true, Err: err}
	}
	minors := int(p.Minor()) - int(c.Minor()) + 1000*(int(p.Major())-int(c.Major()))
	switch {
	case minors > 0:
		return NewerMinor, nil
	case minors < -3:
		return TooOld, nil
	case minors < 0 && kubeadm:
		return KubeadmMinor, nil
	case minors < -2 && p.Minor() < 25:
		return OldKubelet, nil
	case minors == 0 && len(c.Components()) > 2 && p.Patch() > c.Patch():
		return NewerPatch, nil
	}
	return NoSkew, nil
}

// SkipPreflightAnnotation on a MachineDeployment, MachineSet or bootstrap
// template switches preflight checks of Cluster API off, by name or "All". A
// MachineSet has that of its MachineDeployment; the bootstrap template's is
// read from v1.14 on, and where the MachineSet has none.
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

// ReadsTemplateSkips reports whether the Cluster API that runs reads
// SkipPreflightAnnotation on bootstrap templates: v1.14 does
// (core/reconcilers/machineset/machineset_preflight.go, skippedPreflightChecks),
// older ones do not, whatever the documentation says. It is told by
// status.versions of the MachineDeployment, which v1.14 brought; one without
// machines has none.
func ReadsTemplateSkips(machineDeployment *unstructured.Unstructured) bool {
	list, _, _ := unstructured.NestedSlice(machineDeployment.Object, "status", "versions")
	return len(list) > 0
}

// SameKubernetes reports whether two versions name the same Kubernetes
// release, build suffixes such as "+rke2r1" or "-eks-1a2b3c4" aside.
func SameKubernetes(a, b string) bool {
	pa, errA := version.ParseGeneric(a)
	pb, errB := version.ParseGeneric(b)
	return errA == nil && errB == nil &&
		pa.Major() == pb.Major() && pa.Minor() == pb.Minor() && pa.Patch() == pb.Patch()
}

// upgrading reports whether a control plane that wants one version and runs
// another is being upgraded, as Cluster API tells it: the one that is wanted is
// newer, or another build of the same that is not known to be older. A control
// plane on its way to an older version is not being upgraded. An unreadable
// version is an error.
// Source: internal/contract/controlplane.go, IsUpgrading, and util/version,
// Compare with WithBuildTags, of Cluster API v1.13.4.
func upgrading(wanted, running string) (bool, error) {
	w, err := tolerant(wanted)
	if err != nil {
		return false, err
	}
	r, err := tolerant(running)
	if err != nil {
		return false, err
	}
	if r.LessThan(w) || w.LessThan(r) {
		return r.LessThan(w), nil
	}
	return newerBuild(w.BuildMetadata(), r.BuildMetadata()), nil
}

// tolerant reads a version with or without v, and one that lacks its patch as
// patch 0 (semver.ParseTolerant).
func tolerant(s string) (*version.Version, error) {
	bare := strings.TrimPrefix(strings.TrimSpace(s), "v")
	if !strings.ContainsAny(bare, "-+") {
		bare += strings.Repeat(".0", max(0, 2-strings.Count(bare, ".")))
	}
	v, err := version.ParseSemantic(bare)
	if err != nil {
		return nil, fmt.Errorf("version %q: %w", s, err)
	}
	return v, nil
}

// newerBuild reports whether build a is newer than b, or differs from it in a
// way that has no order: a number is lower than a word, and words have none.
func newerBuild(a, b string) bool {
	as, bs := buildParts(a), buildParts(b)
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.ParseUint(as[i], 10, 64)
		y, errY := strconv.ParseUint(bs[i], 10, 64)
		switch {
		case as[i] == bs[i], errX == nil && errY == nil && x == y:
		case errX == nil && errY == nil:
			return x > y
		default:
			return errX != nil
		}
	}
	return len(as) > len(bs)
}

func buildParts(build string) []string {
	if build == "" {
		return nil
	}
	return strings.Split(build, ".")
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

// VersionError says that a version cannot be read.
type VersionError struct {
	Version string
	// OfControlPlane tells that it is the control plane's, and not the pool's.
	OfControlPlane bool
	Err            error
}

func (e *VersionError) Error() string {
	whose := ""
	if e.OfControlPlane {
		whose = "control plane "
	}
	return fmt.Sprintf("%sversion %q: %v", whose, e.Version, e.Err)
}

func (e *VersionError) Unwrap() error { return e.Err }

// Older reports whether release a is older than release b, build suffixes such
// as "+rke2r1" or "-eks-1a2b3c4" aside. It is false where one cannot be read.
func Older(a, b string) bool {
	_, err := version.ParseGeneric(b)
	return err == nil && older(a, b)
}

// IsMinor reports whether a version names a minor alone, as "v1.35" does.
func IsMinor(v string) bool {
	parsed, err := version.ParseGeneric(v)
	return err == nil && len(parsed.Components()) == 2
}

// MinorOf gives the minor of a version, as v1.35; v itself when it cannot be
// read.
func MinorOf(v string) string {
	parsed, err := version.ParseGeneric(v)
	if err != nil {
		return v
	}
	return fmt.Sprintf("v%d.%d", parsed.Major(), parsed.Minor())
}

// MinorsAhead gives by how many minors version a is newer than b. It reports
// false where they are of different majors or cannot be read.
func MinorsAhead(a, b string) (int, bool) {
	pa, errA := version.ParseGeneric(a)
	pb, errB := version.ParseGeneric(b)
	if errA != nil || errB != nil || pa.Major() != pb.Major() {
		return 0, false
	}
	return int(pa.Minor()) - int(pb.Minor()), true
}

// older reports whether version a is readable and lower than b, or b is not
// readable at all.
func older(a, b string) bool {
	pa, errA := version.ParseGeneric(a)
	pb, errB := version.ParseGeneric(b)
	return errA == nil && (errB != nil || pa.LessThan(pb))
}
