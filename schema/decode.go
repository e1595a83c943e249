package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// The fields of each part of the file, in the order of the documentation.
var (
	upgradeFields   = []string{"apiVersion", "kind", "metadata", "spec"}
	metadataFields  = []string{"name"}
	specFields      = []string{"cluster", "order", "preflight", "images", "imagesFrom", "defaults", "pools"}
	preflightFields = []string{"workload"}
	clusterFields   = []string{"name", "namespace"}
	defaultsFields  = []string{"kubernetesVersion", "machineImage", "instanceType", "infrastructure", "bootstrap", "strategy", "drain", "wait", "onStall", "canary", "waive"}
	poolFields      = append([]string{"name"}, defaultsFields...)
	strategyFields  = []string{"maxSurge", "maxUnavailable"}
	drainFields     = []string{"nodeDrainTimeout", "nodeVolumeDetachTimeout", "nodeDeletionTimeout"}
	waitFields      = []string{"stallAfter"}
	canaryFields    = []string{"machines", "soak", "command"}
	waiverFields    = []string{"check", "reason"}
	imageFields     = []string{"image", "kubernetesVersion", "architecture", "os"}

	// requiredFields are those that have no default, wherever they stand.
	requiredFields = []string{"apiVersion", "kind", "metadata", "spec", "cluster", "pools", "name", "check", "reason", "image"}

	// deeper are fields that are looked for right in a pool.
	deeper = []string{
		"strategy.maxSurge", "strategy.maxUnavailable",
		"drain.nodeDrainTimeout", "drain.nodeVolumeDetachTimeout", "drain.nodeDeletionTimeout",
		"wait.stallAfter", "canary.machines", "canary.soak", "canary.command",
	}
)

// decoder reads values into the types of this package. What it returns is of
// use only when it has found no problem.
type decoder struct{ *problems }

// mapping checks that v is a mapping of known fields and calls field for each
// known one that has a value.
func (d decoder) mapping(v *value, known []string, field func(key string, v *value)) {
	switch v.shape {
	case broken:
		return
	case mapping:
	default:
		d.notMapping(v, "write its fields below it: "+strings.Join(known, ", "))
		return
	}
	inPool := slices.Contains(known, "machineImage")
	for _, child := range v.children {
		key := child.step.key
		switch {
		case slices.Contains(known, key) && child.shape == null:
			remedy := "remove the line instead"
			if slices.Contains(requiredFields, key) {
				remedy = "give it one"
			}
			d.at(child, "has no value", remedy)
		case slices.Contains(known, key):
			field(key, child)
		default:
			d.unknown(child, known, inPool)
		}
	}
}

func (d decoder) unknown(v *value, known []string, inPool bool) {
	key, remedy := v.step.key, ""
	candidates := known
	if inPool {
		candidates = slices.Concat(known, deeper)
	}
	switch near := nearest(key, candidates); {
	case key == "name" && inPool:
		remedy = "defaults hold for every pool, so they have no name; "
	case near != "":
		remedy = "did you mean " + near + "? "
	}
	d.add(v.path(), v.keyPos, "unknown field", remedy+"allowed here: "+strings.Join(known, ", "))
}

func (d decoder) wrongType(v *value, want, remedy string) {
	if v.shape == broken {
		return
	}
	d.at(v, "want "+want+", found "+v.found(), remedy)
}

func (d decoder) notMapping(v *value, remedy string) {
	if v.shape != broken {
		d.at(v, "want a mapping, found "+v.kind(), remedy)
	}
}

// missing reports a required field that v does not have.
func (d decoder) missing(v *value, key, remedy string) {
	if v.shape == mapping && v.byKey[key] == nil {
		d.add(v.under(key), v.pos, "is missing", remedy)
	}
}

// text reads a string without white space, as every string of the format is.
func (d decoder) text(v *value, example string) (string, bool) {
	switch {
	case v.shape == boolean || v.shape == integer || v.shape == float:
		d.wrongType(v, "a string", "put it in quotes: "+quote(v.text))
	case v.shape != text:
		d.wrongType(v, "a string", "write one such as "+example)
	case v.text == "":
		d.at(v, "is an empty string", "remove the line instead, or write a value such as "+example)
	case strings.IndexFunc(v.text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) >= 0:
		d.at(v, quote(v.text)+" has white space or control characters in it", "write a value such as "+example)
	default:
		return v.text, true
	}
	return "", false
}

// upgrade reads the whole file save the pools, which it checks as they are
// written; effective returns them with their defaults.
func (d decoder) upgrade(root *value) Upgrade {
	var u Upgrade
	if foreign(root) {
		// The fields of another kind of file would be reported one by one,
		// and none of it would help.
		d.constant(root.field("apiVersion"), APIVersion)
		d.constant(root.field("kind"), Kind)
		return u
	}
	d.mapping(root, upgradeFields, func(key string, v *value) {
		switch key {
		case "apiVersion":
			u.APIVersion = d.constant(v, APIVersion)
		case "kind":
			u.Kind = d.constant(v, Kind)
		case "metadata":
			u.Metadata = d.metadata(v)
		case "spec":
			u.Spec = d.spec(v)
		}
	})
	d.missing(root, "apiVersion", "write apiVersion: "+APIVersion)
	d.missing(root, "kind", "write kind: "+Kind)
	d.missing(root, "metadata", "write metadata: {name: NAME}, which names the upgrade")
	d.missing(root, "spec", "write spec with cluster and pools")
	return u
}

// foreign is a file of another kind, such as a manifest of a cluster, and not
// an upgrade whose first lines are misspelt.
func foreign(root *value) bool {
	other := func(field, want string) bool {
		v := root.field(field)
		return v != nil && v.shape == text && !like(v.text, want)
	}
	return other("apiVersion", APIVersion) && other("kind", Kind)
}

// like reports whether word is want, give or take a few letters.
func like(word, want string) bool {
	return len(word) < 2*len(want) && Distance(strings.ToLower(word), strings.ToLower(want)) <= len(want)/3
}

func (d decoder) constant(v *value, want string) string {
	switch {
	case v.shape != text:
		d.wrongType(v, "a string", "write "+want)
	case v.text != want:
		d.at(v, quote(v.text)+" is not known", "the only one known to this nodepool is "+want)
	}
	return want
}

func (d decoder) metadata(v *value) Metadata {
	var m Metadata
	d.mapping(v, metadataFields, func(_ string, v *value) { m.Name = d.name(v, subdomain) })
	d.missing(v, "name", "it names the upgrade and its journal: write name: aws-example-1-35, or the like")
	return m
}

func (d decoder) spec(v *value) Spec {
	spec := Spec{Order: DefaultOrder}
	d.mapping(v, specFields, func(key string, v *value) {
		switch key {
		case "cluster":
			spec.Cluster = d.cluster(v)
		case "order":
			spec.Order = d.order(v)
		case "preflight":
			spec.Preflight = d.preflight(v)
		case "images":
			spec.Images = d.images(v, OwnImages{})
		case "imagesFrom":
			spec.ImagesFrom = d.words(v, "images.yaml")
		case "defaults":
			d.pool(v, defaultsFields)
		case "pools":
			d.pools(v)
		}
	})
	d.missing(v, "cluster", "write cluster: {name: NAME}, the Cluster that the pools belong to")
	d.missing(v, "pools", "list at least one pool")
	return spec
}

func (d decoder) preflight(v *value) Preflight {
	var p Preflight
	d.mapping(v, preflightFields, func(_ string, v *value) {
		if v.shape != boolean {
			d.wrongType(v, "true or false", "write true to have the workload cluster looked at")
			return
		}
		p.Workload = strings.EqualFold(v.text, "true")
	})
	return p
}

func (d decoder) cluster(v *value) ClusterRef {
	c := ClusterRef{Namespace: DefaultNamespace}
	d.mapping(v, clusterFields, func(key string, v *value) {
		switch key {
		case "name":
			c.Name = d.name(v, labelValue)
		case "namespace":
			c.Namespace = d.name(v, label)
		}
	})
	d.missing(v, "name", "write the name of the Cluster that the pools belong to")
	return c
}

func (d decoder) order(v *value) Order {
	if o := Order(v.text); v.shape != text || o != Sequential && o != Parallel {
		d.wrongType(v, "an order", fmt.Sprintf("write %s (in the order of the file) or %s (all at once)", Sequential, Parallel))
		return ""
	}
	return Order(v.text)
}

// pools checks the pools as they are written; effective returns them.
func (d decoder) pools(v *value) {
	if v.shape != list {
		d.wrongType(v, "a list of pools", "write each pool as an item: - name: NAME")
		return
	}
	if len(v.children) == 0 {
		d.at(v, "is an empty list", "list at least one pool")
	}
	first := map[string]*value{}
	for _, item := range v.children {
		if item.shape == null {
			d.at(item, "is an empty item", "write a pool: - name: NAME")
			continue
		}
		pool := d.pool(item, poolFields)
		d.missing(item, "name", "write the name of the MachineDeployment")
		if pool.Name == "" {
			continue
		}
		if other := first[pool.Name]; other != nil {
			d.at(item.field("name"), fmt.Sprintf("the pool %s is already listed at %s", pool.Name, other.pos), "write each MachineDeployment once")
			continue
		}
		first[pool.Name] = item
	}
}

// pool reads a pool, or what defaults hold of one.
func (d decoder) pool(v *value, known []string) Pool {
	var p Pool
	d.mapping(v, known, func(key string, v *value) {
		switch key {
		case "name":
			p.Name = d.name(v, labelValue)
		case "kubernetesVersion":
			p.KubernetesVersion = d.version(v)
		case "machineImage":
			p.MachineImage, _ = d.text(v, "ami-0fedcba9876543210")
		case "instanceType":
			p.InstanceType, _ = d.text(v, "m5.xlarge")
		case "infrastructure":
			p.Infrastructure = d.patch(v)
		case "bootstrap":
			p.Bootstrap = d.patch(v)
		case "strategy":
			p.Strategy = d.strategy(v)
		case "drain":
			p.Drain = d.drain(v)
		case "wait":
			p.Wait = d.wait(v)
		case "onStall":
			p.OnStall = d.onStall(v)
		case "canary":
			p.Canary = d.canary(v)
		case "waive":
			p.Waive = d.waive(v)
		}
	})
	return p
}

var (
	semver = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)` +
		`(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
		`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)
	minor = regexp.MustCompile(`^[vV]?([1-9][0-9]*)\.([0-9]+)$`)
)

// version reads a Kubernetes version. The leading v is required because the
// MachineDeployment webhook of Cluster API prepends it where it is missing,
// and the plan would then differ from what is stored.
func (d decoder) version(v *value) string {
	example := "v1.35.2"
	if m := minor.FindStringSubmatch(v.text); m != nil {
		example = "v" + m[1] + "." + m[2] + ".0"
	}
	switch {
	case v.shape == integer || v.shape == float:
		d.wrongType(v, "a version", "write it whole, with a leading v and the patch release, such as "+example)
		return ""
	case v.shape != text:
		d.wrongType(v, "a version", "write one such as "+example)
		return ""
	}
	switch s := v.text; {
	case semver.MatchString(s):
		return s
	case semver.MatchString("v" + s):
		d.at(v, "the version "+quote(s)+" lacks the leading v", "write v"+s)
	case len(s) > 1 && semver.MatchString("v"+s[1:]):
		d.at(v, "the version "+quote(s)+" lacks the leading v", "write v"+s[1:])
	case minor.MatchString(s):
		d.at(v, "the version "+quote(s)+" lacks the patch release", "write it whole, such as "+example)
	default:
		d.at(v, quote(s)+" is not a semantic version", "write one such as "+example)
	}
	return ""
}

func (d decoder) strategy(v *value) *Strategy {
	var s Strategy
	d.mapping(v, strategyFields, func(key string, v *value) {
		switch key {
		case "maxSurge":
			s.MaxSurge = d.countOrPercent(v)
		case "maxUnavailable":
			s.MaxUnavailable = d.countOrPercent(v)
			// As in the validation of Deployments by Kubernetes; Cluster API
			// would take it for all machines.
			if s.MaxUnavailable != nil && percent(*s.MaxUnavailable) > 100 {
				d.at(v, quote(v.text)+" is more than all machines", `write at most "100%"`)
			}
		}
	})
	if s == (Strategy{}) {
		return nil
	}
	return &s
}

// percentage is what Cluster API reads (intstr of Kubernetes), without
// leading zeros and small enough for its arithmetic.
var percentage = regexp.MustCompile(`^(0|[1-9][0-9]{0,6})%$`)

func (d decoder) countOrPercent(v *value) *intstr.IntOrString {
	const want, remedy = "a count or a percentage", "write a count such as 1, or a percentage such as 25%"
	switch v.shape {
	case integer:
		n, err := strconv.ParseInt(v.text, 10, 32)
		switch {
		case err != nil || !decimal.MatchString(v.text):
			d.wrongType(v, want, remedy)
		case n < 0:
			d.at(v, v.text+" is negative", remedy)
		default:
			count := intstr.FromInt32(int32(n))
			return &count
		}
	case text:
		switch {
		case percentage.MatchString(v.text):
			percent := intstr.FromString(v.text)
			return &percent
		case decimal.MatchString(v.text):
			d.wrongType(v, want, "remove the quotes of a count, or add % to a percentage")
		default:
			d.wrongType(v, want, remedy)
		}
	default:
		d.wrongType(v, want, remedy)
	}
	return nil
}

// percent is -1 for a count.
func percent(v intstr.IntOrString) int {
	if v.Type != intstr.String {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	if err != nil {
		return -1
	}
	return n
}

func (d decoder) drain(v *value) *Drain {
	var drain Drain
	d.mapping(v, drainFields, func(key string, v *value) {
		switch key {
		case "nodeDrainTimeout":
			drain.NodeDrainTimeout = d.duration(v)
		case "nodeVolumeDetachTimeout":
			drain.NodeVolumeDetachTimeout = d.duration(v)
		case "nodeDeletionTimeout":
			drain.NodeDeletionTimeout = d.duration(v)
		}
	})
	if drain == (Drain{}) {
		return nil
	}
	return &drain
}

func (d decoder) wait(v *value) Wait {
	var w Wait
	d.mapping(v, waitFields, func(_ string, v *value) {
		stallAfter := d.duration(v)
		switch {
		case stallAfter == nil:
		case *stallAfter == 0:
			d.at(v, quote(v.text)+" would call every rollout stalled", "write a duration above zero, such as 15m")
		default:
			w.StallAfter = *stallAfter
		}
	})
	return w
}

func (d decoder) onStall(v *value) OnStall {
	const remedy = "write stop (the default), pause or rollback"
	switch o := OnStall(v.text); {
	case v.shape != text:
		d.wrongType(v, "what to do on a stall", remedy)
	case o != Stop && o != Pause && o != Rollback:
		d.at(v, quote(v.text)+" is nothing that can be done on a stall", remedy)
	default:
		return o
	}
	return ""
}

// canary reads what is written; effective fills in the rest. Machines is -1
// where it is not written.
func (d decoder) canary(v *value) *Canary {
	c := Canary{Machines: -1, Soak: -1}
	d.mapping(v, canaryFields, func(key string, v *value) {
		switch key {
		case "machines":
			n, err := strconv.ParseInt(v.text, 10, 32)
			switch {
			case v.shape != integer || err != nil || !decimal.MatchString(v.text):
				d.wrongType(v, "a count of machines", "write a count such as 1, or 0 for no canary")
			case n < 0:
				d.at(v, v.text+" is negative", "write a count such as 1, or 0 for no canary")
			default:
				c.Machines = int(n)
			}
		case "soak":
			if soak := d.duration(v); soak != nil {
				c.Soak = *soak
			}
		case "command":
			c.Command = d.command(v)
		}
	})
	return &c
}

// waive reads the waivers that stand together in one list.
func (d decoder) waive(v *value) []Waiver {
	const remedy = "write each as {check: CODE, reason: why}"
	if v.shape != list {
		d.wrongType(v, "a list of waivers", remedy)
		return nil
	}
	var out []Waiver
	first := map[string]*value{}
	for _, item := range v.children {
		if item.shape == null {
			d.at(item, "is an empty item", remedy)
			out = append(out, Waiver{}) // so that the others keep their number
			continue
		}
		var w Waiver
		d.mapping(item, waiverFields, func(key string, v *value) {
			switch key {
			case "check":
				w.Check, _ = d.text(v, "version-skew")
			case "reason":
				w.Reason = d.reason(v)
			}
		})
		d.missing(item, "check", "write the code of the check, as the plan shows it")
		d.missing(item, "reason", "write why the check does not count here; it stands in the plan for the reviewer")
		if other := first[w.Check]; other != nil && w.Check != "" {
			d.at(item.field("check"), fmt.Sprintf("the check %s is already waived at %s", w.Check, other.pos), "write each check once")
		} else {
			first[w.Check] = item
		}
		out = append(out, w)
	}
	return out
}

// maxReason keeps a reason to what a reviewer reads.
const maxReason = 500

func (d decoder) reason(v *value) string {
	const remedy = "write one line for the reviewer, such as \"auto-sync is off until Monday\""
	switch s := strings.TrimSpace(v.text); {
	case v.shape != text:
		d.wrongType(v, "a reason", remedy)
	case s == "":
		d.at(v, "is an empty reason", remedy)
	case strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0:
		d.at(v, "has line breaks or control characters in it", remedy)
	case len(s) > maxReason:
		d.at(v, fmt.Sprintf("the reason has %d bytes, and %d are allowed", len(s), maxReason), "write what the reviewer must know, and name a ticket for the rest")
	default:
		return s
	}
	return ""
}

// command reads a program and its arguments.
func (d decoder) command(v *value) []string {
	const remedy = "write the program and its arguments as a list, such as [./smoke-test.sh, --quick]; there is no shell"
	if v.shape != list {
		d.wrongType(v, "a list of words", remedy)
		return nil
	}
	if len(v.children) == 0 {
		d.at(v, "is an empty list", "remove the line instead, or "+remedy)
	}
	var words []string
	for i, item := range v.children {
		switch {
		case item.shape != text:
			d.wrongType(item, "a string", "put it in quotes, or "+remedy)
		case i == 0 && strings.TrimSpace(item.text) == "":
			d.at(item, "the program is empty", remedy)
		case strings.ContainsRune(item.text, 0):
			d.at(item, "holds a NUL character", "remove it: no program can be given one")
		default:
			words = append(words, item.text)
		}
	}
	return words
}

func (d decoder) duration(v *value) *Duration {
	const want = "a duration"
	switch v.shape {
	case text:
		parsed, err := ParseDuration(v.text)
		if err == nil {
			return &parsed
		}
		d.at(v, err.Error(), "write a duration such as 90s, 10m or 1h30m")
	case integer:
		if v.text == "0" {
			return new(Duration)
		}
		d.wrongType(v, want, fmt.Sprintf("add the unit, such as %ss or %[1]sm", shorten(v.text)))
	default:
		d.wrongType(v, want, "write one such as 90s, 10m or 1h30m")
	}
	return nil
}
