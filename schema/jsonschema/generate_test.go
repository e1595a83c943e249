package jsonschema_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	generator "github.com/invopop/jsonschema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodepool/plan"
	"nodepool/schema"
)

// Patterns of what schema.Read takes. They are a little wider where a pattern
// cannot say it all, and narrower only for -0s.
const (
	subdomain  = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	label      = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	word       = `^\S+$`
	notBlank   = `^[^\n\r\t]*[^\s][^\n\r\t]*$`
	percentage = `^(0|[1-9][0-9]{0,6})%$`
	atMost100  = `^(0|[1-9][0-9]?|100)%$`
	duration   = `^\+?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
	noTime     = `^[^1-9]*$` // no digit above zero
	version    = `^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`
	digest     = `^sha256:[0-9a-f]{64}$`
	pointer    = `^(/([^/~]|~[01])*)*$`
)

// told says what the doc comments of the types do not, or say to programmers
// only.
var told = map[string]string{
	"Upgrade.apiVersion":            "The version of the format.",
	"Upgrade.kind":                  "The kind of the file.",
	"Upgrade.metadata":              "Identifies the upgrade.",
	"Upgrade.spec":                  "What the upgrade is to reach.",
	"Spec.cluster":                  "The Cluster that the pools belong to.",
	"Spec.order":                    "sequential takes the pools in the order of the file, and a stall or a failure stops the later ones; parallel starts all at once.",
	"Spec.preflight":                "Checks that are not made by themselves.",
	"Preflight":                     "Checks that are not made by themselves.",
	"Preflight.workload":            "Look at the workload cluster, by the kubeconfig in the Secret CLUSTER-kubeconfig: its nodes, disruption budgets and pods. It is only read.",
	"Spec.images":                   "The catalogue of machine images: what each carries. It serves checks alone, and wins over what a provider says.",
	"Spec.imagesFrom":               "A file with more of the catalogue, relative to this one: apiVersion nodepool/v1alpha1, kind ImageCatalogue, images. What it says of images that this upgrade names becomes part of the plan.",
	"Image":                         "What a machine image carries.",
	"Image.image":                   "The image as the provider names it, as in machineImage.",
	"Image.kubernetesVersion":       "The Kubernetes version that it carries, with its leading v and the patch release.",
	"Image.architecture":            "The architecture that it is built for.",
	"Image.os":                      "Its operating system and its release, as nodes report it (status.nodeInfo.osImage) or shorter. A new image with another one than the pool's nodes report is a warning.",
	"Spec.defaults":                 "What holds for every pool that does not say otherwise: a pool's scalars and lists replace it, mappings merge.",
	"Spec.pools":                    "The pools to upgrade.",
	"ClusterRef.name":               "The name of the Cluster object in the management cluster.",
	"ClusterRef.namespace":          "The namespace of the Cluster and of everything that belongs to it.",
	"Metadata.name":                 "Names the run, its journal and the holder of its lock.",
	"Pool.name":                     "The name of the MachineDeployment.",
	"Pool.kubernetesVersion":        "The Kubernetes version, with its leading v and the patch release: v1.35.2.",
	"Pool.machineImage":             "The image that machines are made from; the kind of the infrastructure template decides which field it sets.",
	"Pool.instanceType":             "The size of a machine; the kind of the infrastructure template decides which field it sets.",
	"Pool.infrastructure":           "A JSON merge patch (RFC 7386) over spec.template.spec of a copy of the current infrastructure template. null removes a field, a list replaces the whole list.",
	"Pool.bootstrap":                "A JSON merge patch (RFC 7386) over spec.template.spec of a copy of the current bootstrap template.",
	"Pool.strategy":                 "Bounds of the rolling update, changed in place; left alone when absent.",
	"Pool.drain":                    "Bounds of the deletion of a machine, changed in place; left alone when absent.",
	"Pool.wait":                     "How the rollout is waited for.",
	"Pool.onStall":                  "What is done to the pool when its rollout has stalled: stop leaves it as it is; pause also sets spec.paused, so that it does not go on by itself; rollback takes the pool back to what it was before the run, where there is a way back.",
	"Pool.canary":                   "Lets the first new machines prove themselves before the others are replaced.",
	"Canary":                        "The first new machines of a rollout, which prove themselves before it goes on.",
	"Canary.machines":               "How many machines; 0 means no canary.",
	"Canary.soak":                   "How long they must stay ready without a break.",
	"Canary.command":                "A program and its arguments, without a shell, that is run once for each of them where nodepool apply runs, and must exit with 0.",
	"Pool.waive":                    "Preflight checks that may block the pool and are let pass, each with the reason, which the plan shows. Those of defaults add up with the pool's.",
	"Waiver":                        "Lets the pool go on although a check blocks it.",
	"Waiver.check":                  "The code of the check, as the plan shows it; nodepool explain lists those that can be waived.",
	"Waiver.reason":                 "Why the check does not count here, in one line for the reviewer.",
	"Strategy":                      "Bounds of a rolling update. Not both can be zero.",
	"Strategy.maxSurge":             "How many machines may be there beyond the replicas: a count, or a percentage of the replicas.",
	"Strategy.maxUnavailable":       "How many machines may be missing from the replicas: a count, or a percentage of the replicas.",
	"Drain":                         "Bounds of how long the deletion of a machine may take. 0s means no limit.",
	"Drain.nodeDrainTimeout":        "How long the drain of a node may take.",
	"Drain.nodeVolumeDetachTimeout": "How long the detaching of a node's volumes may take.",
	"Drain.nodeDeletionTimeout":     "How long the deletion of a node may take.",
	"Wait.stallAfter":               "How long a rollout may go without progress before it counts as stalled.",
}

// required are the fields of an upgrade file that have no default.
var required = map[string][]string{
	"Upgrade":    {"apiVersion", "kind", "metadata", "spec"},
	"Metadata":   {"name"},
	"Spec":       {"cluster", "pools"},
	"ClusterRef": {"name"},
	"Pool":       {"name"},
	"Waiver":     {"check", "reason"},
	"Image":      {"image"},
}

func reflector(t *testing.T, folders ...string) *generator.Reflector {
	t.Helper()
	r := &generator.Reflector{Anonymous: true, ExpandedStruct: true, Mapper: mapped}
	for _, folder := range folders {
		if err := r.AddGoComments("nodepool/schema/jsonschema", folder, generator.WithFullComment()); err != nil {
			t.Fatal(err)
		}
	}
	for key, text := range r.CommentMap {
		r.CommentMap[key] = forPeople(text)
	}
	return r
}

var brackets = regexp.MustCompile(`\[([A-Za-z.]+)\]`)

// forPeople gives a doc comment in one line, without links.
func forPeople(comment string) string {
	return brackets.ReplaceAllString(strings.Join(strings.Fields(comment), " "), "$1")
}

// mapped gives the schemas of types that write themselves.
func mapped(t reflect.Type) *generator.Schema {
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return &generator.Schema{}
	case reflect.TypeFor[schema.Duration]():
		return &generator.Schema{Type: "string", Pattern: duration, Examples: []any{"90s", "10m", "1h30m"}}
	case reflect.TypeFor[intstr.IntOrString]():
		return &generator.Schema{AnyOf: []*generator.Schema{
			{Type: "integer", Minimum: "0", Maximum: "2147483647"},
			{Type: "string", Pattern: percentage, Examples: []any{"25%"}},
		}}
	case reflect.TypeFor[schema.Order]():
		return &generator.Schema{Type: "string", Enum: []any{schema.Sequential, schema.Parallel}}
	case reflect.TypeFor[schema.OnStall]():
		return &generator.Schema{Type: "string", Enum: []any{schema.Stop, schema.Pause, schema.Rollback}}
	case reflect.TypeFor[schema.Architecture]():
		return &generator.Schema{Type: "string", Enum: []any{schema.AMD64, schema.ARM64}}
	case reflect.TypeFor[plan.Digest]():
		return &generator.Schema{Type: "string", Pattern: digest}
	case reflect.TypeFor[plan.Pointer]():
		return &generator.Schema{Type: "string", Pattern: pointer}
	case reflect.TypeFor[plan.Severity]():
		return &generator.Schema{Type: "string", Enum: []any{plan.Pass, plan.NotVerified, plan.Warn, plan.Block}}
	case reflect.TypeFor[plan.Purpose]():
		return &generator.Schema{Type: "string", Enum: []any{plan.ForRollback, plan.ForPrune, plan.ForAbandon}}
	case reflect.TypeFor[plan.Action]():
		return &generator.Schema{Type: "string", Enum: []any{plan.Replace, plan.InPlace, plan.None}}
	}
	return nil
}

// part gives a definition by its name, or the whole schema by the root's.
func part(root *generator.Schema, rootName, name string) *generator.Schema {
	if name == rootName {
		return root
	}
	return root.Definitions[name]
}

// field gives the schema of "Pool.name"; a name that is not there ends the
// test: the types and this file have parted.
func field(t *testing.T, root *generator.Schema, rootName, path string) *generator.Schema {
	t.Helper()
	owner, name, isField := strings.Cut(path, ".")
	s := part(root, rootName, owner)
	if s != nil && isField {
		s, _ = s.Properties.Get(name)
	}
	if s == nil {
		t.Fatalf("the types have no %s any more; bring this file in line", path)
	}
	return s
}

func upgradeSchema(t *testing.T) []byte {
	t.Helper()
	root := reflector(t, "../../schema").Reflect(schema.Upgrade{})
	root.ID = generator.ID(schema.APIVersion + "/upgrade.json")
	root.Title = "An upgrade file of nodepool"
	at := func(path string) *generator.Schema { return field(t, root, "Upgrade", path) }

	at("Upgrade.apiVersion").Const = schema.APIVersion
	at("Upgrade.kind").Const = schema.Kind
	name := func(path, pattern string, longest uint64) {
		s := at(path)
		s.Pattern, s.MaxLength = pattern, &longest
	}
	// Cluster API keeps the names of Clusters and MachineDeployments in labels.
	name("Metadata.name", subdomain, 253)
	name("ClusterRef.name", subdomain, 63)
	name("ClusterRef.namespace", label, 63)
	name("Pool.name", subdomain, 63)
	at("ClusterRef.namespace").Default = schema.DefaultNamespace
	at("Spec.order").Default = schema.DefaultOrder
	at("Spec.pools").MinItems = pointerTo(uint64(1))
	at("Pool.kubernetesVersion").Pattern = version
	at("Pool.kubernetesVersion").Examples = []any{"v1.35.2"}
	at("Pool.machineImage").Pattern = word
	at("Pool.instanceType").Pattern = word
	at("Strategy.maxUnavailable").AnyOf[1].Pattern = atMost100
	at("Strategy").Not = &generator.Schema{
		Required:   []string{"maxSurge", "maxUnavailable"},
		Properties: generator.NewProperties(),
	}
	for _, f := range []string{"maxSurge", "maxUnavailable"} {
		at("Strategy").Not.Properties.Set(f, &generator.Schema{Enum: []any{0, "0%"}})
	}
	for _, f := range []string{"Drain.nodeDrainTimeout", "Drain.nodeVolumeDetachTimeout", "Drain.nodeDeletionTimeout", "Canary.soak"} {
		zeroToo := *at(f)
		*at(f) = generator.Schema{AnyOf: []*generator.Schema{
			{Type: zeroToo.Type, Pattern: zeroToo.Pattern, Examples: zeroToo.Examples}, {Const: 0},
		}}
	}
	at("Wait.stallAfter").Not = &generator.Schema{Pattern: noTime}
	at("Wait.stallAfter").Default = shortest(schema.DefaultStallAfter.String())
	at("Pool.onStall").Default = schema.Stop
	at("Canary.machines").Default = schema.DefaultMachines
	at("Canary.machines").Minimum = "0"
	at("Canary.machines").Maximum = "2147483647"
	at("Canary.soak").Default = shortest(schema.DefaultSoak.String())
	at("Canary.command").MinItems = pointerTo(uint64(1))
	at("Spec.images").MinItems = pointerTo(uint64(1))
	at("Spec.imagesFrom").Pattern = notBlank
	at("Image.image").Pattern = word
	at("Image.kubernetesVersion").Pattern = version
	at("Image.os").Pattern = notBlank
	at("Image").MinProperties = pointerTo(uint64(2))
	at("Waiver.check").Pattern = word
	at("Waiver.reason").Pattern = notBlank
	at("Waiver.reason").MaxLength = pointerTo(uint64(500))

	for path, text := range told {
		if path != "Spec.defaults" {
			at(path).Description = text
		}
	}
	for _, name := range append([]string{"Upgrade"}, names(root)...) {
		part(root, "Upgrade", name).Required = required[name]
	}
	root.Description = "What worker node pools of Cluster API are to become. nodepool plan shows what that takes, nodepool apply does it."
	at("Pool").Description = "What one MachineDeployment is to become. A field that is absent is left as it is."

	// Defaults are a pool without a name. They have no type of their own:
	// schema.Read lays them over the pools.
	defaults := *at("Pool")
	defaults.Properties = generator.NewProperties()
	for p := at("Pool").Properties.Oldest(); p != nil; p = p.Next() {
		if p.Key != "name" {
			defaults.Properties.Set(p.Key, p.Value)
		}
	}
	defaults.Required = nil
	defaults.Description = "A pool without its name: what holds for all pools."
	root.Definitions["Defaults"] = &defaults
	at("Spec").Properties.Set("defaults", &generator.Schema{Ref: "#/$defs/Defaults", Description: told["Spec.defaults"]})
	if err := at("Spec").Properties.MoveBefore("defaults", "pools"); err != nil {
		t.Fatal(err)
	}
	return encode(t, root)
}

func planSchema(t *testing.T) []byte {
	t.Helper()
	root := reflector(t, "../../plan", "../../schema").Reflect(plan.Plan{})
	root.ID = generator.ID(plan.APIVersion + "/plan.json")
	root.Title = "A plan of nodepool"
	at := func(path string) *generator.Schema { return field(t, root, "Plan", path) }
	at("Plan.apiVersion").Const = plan.APIVersion
	at("Plan.kind").Const = plan.Kind
	at("Plan.digest").Description = "Covers apiVersion, kind, upgrade and steps: what is reviewed and signed."
	// Plan.MarshalJSON adds it.
	root.Properties.Set("seen", &generator.Schema{Type: "string", Pattern: digest,
		Description: "The digest of blocked, findings and impact: what was seen when the plan was made, which is not signed."})
	root.Required = append(root.Required, "seen")
	at("Wait.stallAfter").Pattern = duration
	at("Canary.soak").Pattern = duration
	at("UpgradeRef.content").Type = "object"

	// encoding/json leaves these out when they are zero.
	for name, typ := range types(reflect.TypeFor[plan.Plan](), map[string]reflect.Type{}) {
		def := part(root, "Plan", name)
		if def == nil || typ.Kind() != reflect.Struct {
			continue
		}
		for i := range typ.NumField() {
			tag := strings.Split(typ.Field(i).Tag.Get("json"), ",")
			if slices.Contains(tag, "omitzero") {
				def.Required = slices.DeleteFunc(def.Required, func(f string) bool { return f == tag[0] })
			}
		}
	}
	for _, action := range []string{"preflight", "create", "patch", "wait", "delete"} {
		field(t, root, "Plan", "Step."+action)
		at("Step").OneOf = append(at("Step").OneOf, &generator.Schema{Required: []string{action}})
	}
	at("Fact").Not = &generator.Schema{Required: []string{"equals", "digest"}}
	return encode(t, root)
}

// types finds the structs below t.
func types(t reflect.Type, found map[string]reflect.Type) map[string]reflect.Type {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return types(t.Elem(), found)
	case reflect.Struct:
		if _, ok := found[t.Name()]; !ok {
			found[t.Name()] = t
			for i := range t.NumField() {
				types(t.Field(i).Type, found)
			}
		}
	default: // no type of ours below it
	}
	return found
}

func names(root *generator.Schema) []string {
	var out []string
	for name := range root.Definitions {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func pointerTo[T any](v T) *T { return &v }

// shortest gives 15m for 15m0s.
func shortest(d string) string { return strings.TrimSuffix(d, "0s") }

func encode(t *testing.T, s *generator.Schema) []byte {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return unescape(b.Bytes())
}

// unescape takes HTML's escapes out, which encoding/json puts in.
func unescape(b []byte) []byte {
	return []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(b)))
}
