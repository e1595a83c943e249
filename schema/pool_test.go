package schema_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodepool/schema"
)

const head = "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: up}\nspec:\n  cluster: {name: c}\n"

func read(t *testing.T, data string) (schema.Upgrade, schema.Positions) {
	t.Helper()
	u, positions, err := schema.Read("upgrade.yaml", []byte(data))
	if err != nil {
		t.Fatalf("Read: %v\nof\n%s", err, data)
	}
	return u, positions
}

// TestDefaults has the defaults of a file, one pool, and the pool that both
// make.
func TestDefaults(t *testing.T) {
	wait := schema.Wait{StallAfter: schema.Duration(15 * time.Minute)}
	tests := []struct {
		name, defaults, pool string
		want                 schema.Pool
	}{
		{"nothing to inherit", "{}", "{name: a, instanceType: m5.large}",
			schema.Pool{Name: "a", InstanceType: "m5.large", Wait: wait}},
		{"all from defaults", "{kubernetesVersion: v1.35.2, machineImage: i, instanceType: t}", "{name: a}",
			schema.Pool{Name: "a", KubernetesVersion: "v1.35.2", MachineImage: "i", InstanceType: "t", Wait: wait}},
		{"a scalar replaces", "{machineImage: i}", "{name: a, machineImage: j}",
			schema.Pool{Name: "a", MachineImage: "j", Wait: wait}},
		{"a wait replaces", "{wait: {stallAfter: 5m}}", "{name: a, machineImage: j, wait: {stallAfter: 6m}}",
			schema.Pool{Name: "a", MachineImage: "j", Wait: schema.Wait{StallAfter: schema.Duration(6 * time.Minute)}}},
		{"an empty wait inherits", "{wait: {stallAfter: 5m}}", "{name: a, machineImage: j, wait: {}}",
			schema.Pool{Name: "a", MachineImage: "j", Wait: schema.Wait{StallAfter: schema.Duration(5 * time.Minute)}}},
		{"maps merge deeply", "{infrastructure: {a: {b: 1, c: 2}, d: 3}}", "{name: a, infrastructure: {a: {b: 4, e: 5}}}",
			schema.Pool{Name: "a", Wait: wait, Infrastructure: map[string]any{
				"a": map[string]any{"b": int64(4), "c": int64(2), "e": int64(5)}, "d": int64(3)}}},
		{"lists replace", "{bootstrap: {a: [1, 2, 3]}}", "{name: a, bootstrap: {a: [4]}}",
			schema.Pool{Name: "a", Wait: wait, Bootstrap: map[string]any{"a": []any{int64(4)}}}},
		{"a null removes what defaults would set", "{infrastructure: {a: {b: 1}}}", "{name: a, infrastructure: {a: null}}",
			schema.Pool{Name: "a", Wait: wait, Infrastructure: map[string]any{"a": nil}}},
		{"a null of defaults is inherited", "{infrastructure: {a: {b: ~}}}", "{name: a, infrastructure: {a: {c: 1}}}",
			schema.Pool{Name: "a", Wait: wait, Infrastructure: map[string]any{"a": map[string]any{"b": nil, "c": int64(1)}}}},
		{"a map replaces a null", "{infrastructure: {a: null}}", "{name: a, infrastructure: {a: {c: null}}}",
			schema.Pool{Name: "a", Wait: wait, Infrastructure: map[string]any{"a": map[string]any{"c": nil}}}},
		{"a map replaces a scalar, a scalar a map", "{infrastructure: {a: 1, b: {c: 1}}}", "{name: a, infrastructure: {a: {}, b: x}}",
			schema.Pool{Name: "a", Wait: wait, Infrastructure: map[string]any{"a": map[string]any{}, "b": "x"}}},
		{"strategy and drain merge", "{strategy: {maxSurge: 1}, drain: {nodeDrainTimeout: 1m, nodeDeletionTimeout: 2m}}",
			"{name: a, strategy: {maxUnavailable: 10%}, drain: {nodeDrainTimeout: 0s}}",
			schema.Pool{Name: "a", Wait: wait,
				Strategy: &schema.Strategy{MaxSurge: ptr(intstr.FromInt32(1)), MaxUnavailable: ptr(intstr.FromString("10%"))},
				Drain:    &schema.Drain{NodeDrainTimeout: ptr(schema.Duration(0)), NodeDeletionTimeout: ptr(schema.Duration(2 * time.Minute))}}},
		{"zero surge alone is for the cluster to judge", "{}", "{name: a, strategy: {maxSurge: 0}}",
			schema.Pool{Name: "a", Wait: wait, Strategy: &schema.Strategy{MaxSurge: ptr(intstr.FromInt32(0))}}},
		{"empty parts are as good as none", "{strategy: {}, bootstrap: {}}", "{name: a, machineImage: i, infrastructure: {}, drain: {}}",
			schema.Pool{Name: "a", MachineImage: "i", Wait: wait}},
		{"a canary of nothing is one machine for ten minutes", "{}", "{name: a, machineImage: i, canary: {}}",
			schema.Pool{Name: "a", MachineImage: "i", Wait: wait, Canary: &schema.Canary{Machines: 1, Soak: schema.Duration(10 * time.Minute)}}},
		{"a canary merges, its command replaces", "{canary: {machines: 2, soak: 1h, command: [a, b]}}", "{name: a, machineImage: i, canary: {soak: 0s, command: [./c, '--d e']}}",
			schema.Pool{Name: "a", MachineImage: "i", Wait: wait, Canary: &schema.Canary{Machines: 2, Command: []string{"./c", "--d e"}}}},
		{"no machines are no canary", "{canary: {machines: 2}}", "{name: a, machineImage: i, canary: {machines: 0}}",
			schema.Pool{Name: "a", MachineImage: "i", Wait: wait}},
		{"waivers add up, and the pool's word for a check counts",
			"{waive: [{check: topology-owned, reason: ours}, {check: version-skew, reason: of all}]}",
			"{name: a, machineImage: i, waive: [{check: version-skew, reason: '  of this one '}, {check: rollout-under-way, reason: r}]}",
			schema.Pool{Name: "a", MachineImage: "i", Wait: wait, Waive: []schema.Waiver{
				{Check: "topology-owned", Reason: "ours"}, {Check: "version-skew", Reason: "of this one"}, {Check: "rollout-under-way", Reason: "r"}}}},
		{"waivers of defaults hold", "{waive: [{check: topology-owned, reason: ours}]}", "{name: a, machineImage: i}",
			schema.Pool{Name: "a", MachineImage: "i", Wait: wait, Waive: []schema.Waiver{{Check: "topology-owned", Reason: "ours"}}}},
		{"waive is a word like others in a merge patch", "{infrastructure: {waive: [1]}}", "{name: a, infrastructure: {waive: [2]}}",
			schema.Pool{Name: "a", Wait: wait, Infrastructure: map[string]any{"waive": []any{int64(2)}}}},
		{"a pool pauses", "{onStall: stop}", "{name: a, machineImage: i, onStall: pause}",
			schema.Pool{Name: "a", MachineImage: "i", Wait: wait, OnStall: schema.Pause}},
		{"stop is as good as nothing", "{onStall: pause}", "{name: a, machineImage: i, onStall: stop}",
			schema.Pool{Name: "a", MachineImage: "i", Wait: wait}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, _ := read(t, head+"  defaults: "+tt.defaults+"\n  pools: ["+tt.pool+"]\n")
			if diff := cmp.Diff([]schema.Pool{tt.want}, u.Spec.Pools); diff != "" {
				t.Errorf("pools (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPoolsShareNothing guards callers who change one pool's patch.
func TestPoolsShareNothing(t *testing.T) {
	u, _ := read(t, head+"  defaults: {infrastructure: {a: {b: 1}}}\n  pools: [{name: a}, {name: b}]\n")
	u.Spec.Pools[0].Infrastructure["a"].(map[string]any)["b"] = "changed"
	want := map[string]any{"a": map[string]any{"b": int64(1)}}
	if diff := cmp.Diff(want, u.Spec.Pools[1].Infrastructure); diff != "" {
		t.Errorf("the other pool (-want +got):\n%s", diff)
	}
}

func TestPatchValues(t *testing.T) {
	const data = head + `  pools:
    - name: a
      bootstrap:
        int: 9223372036854775807
        negative: -12
        zero: 0
        float: 1.5
        exponent: 1e3
        wholeFloat: 2.0
        string: "4"
        digits: "0644"
        date: 2026-01-02
        time: 2026-01-02T03:04:05Z
        version: 1.35.2
        booleans: [true, False, "yes", 'no', "null"]
        nulls: [~, null]
        "": empty key
        empty: {list: [], map: {}, string: ""}
        "yes": quoted
        "<<": {"no": "merge key, being quoted"}
        a.b/c: dotted
        script: |
          #!/bin/sh
          	echo a
        anchored: &x {k: v}
        alias: *x
`
	u, _ := read(t, data)
	want := map[string]any{
		"int":        int64(9223372036854775807),
		"negative":   int64(-12),
		"zero":       int64(0),
		"float":      1.5,
		"exponent":   1000.0,
		"wholeFloat": 2.0,
		"string":     "4",
		"digits":     "0644",
		"date":       "2026-01-02",
		"time":       "2026-01-02T03:04:05Z",
		"version":    "1.35.2",
		"booleans":   []any{true, false, "yes", "no", "null"},
		"nulls":      []any{nil, nil},
		"":           "empty key",
		"empty":      map[string]any{"list": []any{}, "map": map[string]any{}, "string": ""},
		"yes":        "quoted",
		"<<":         map[string]any{"no": "merge key, being quoted"},
		"a.b/c":      "dotted",
		"script":     "#!/bin/sh\n\techo a\n",
		"anchored":   map[string]any{"k": "v"},
		"alias":      map[string]any{"k": "v"},
	}
	if diff := cmp.Diff(want, u.Spec.Pools[0].Bootstrap); diff != "" {
		t.Errorf("bootstrap (-want +got):\n%s", diff)
	}
}

// TestValid has what must not be refused.
func TestValid(t *testing.T) {
	longest := strings.Repeat("a", 63)
	for name, data := range map[string]string{
		"versions": head + `  pools:
    - {name: a, kubernetesVersion: v1.35.2}
    - {name: b, kubernetesVersion: v1.36.0-rc.1}
    - {name: c, kubernetesVersion: v1.30.1+rke2r1}
    - {name: d, kubernetesVersion: v1.35.0-alpha.0.15+0a1b2c}
`,
		"strategy":                  head + "  pools: [{name: a, strategy: {maxSurge: 150%, maxUnavailable: 100%}}, {name: b, strategy: {maxSurge: 0%, maxUnavailable: 1}}]\n",
		"names":                     head + "  pools: [{name: " + longest + ", instanceType: t}, {name: a.b, instanceType: t}]\n",
		"JSON":                      `{"apiVersion": "nodepool/v1alpha1", "kind": "NodePoolUpgrade", "metadata": {"name": "up"}, "spec": {"cluster": {"name": "c"}, "pools": [{"name": "a", "instanceType": "t"}]}}`,
		"Windows line ends":         strings.ReplaceAll(head+"  pools:\n    - name: a\n      instanceType: t\n", "\n", "\r\n"),
		"byte order mark":           "\ufeff" + head + "  pools: [{name: a, instanceType: t}]\n",
		"begin and end mark":        "---\n" + head + "  pools: [{name: a, instanceType: t}]\n...\n",
		"an alias of a pool's part": head + "  pools: [{name: a, drain: &d {nodeDrainTimeout: 1m}}, {name: b, drain: *d}]\n",
	} {
		t.Run(name, func(t *testing.T) { read(t, data) })
	}
}

func TestFilledIn(t *testing.T) {
	u, _ := read(t, head+"  pools: [{name: a, instanceType: t}]\n")
	want := schema.Spec{
		Cluster: schema.ClusterRef{Name: "c", Namespace: "default"},
		Order:   schema.Sequential,
		Pools:   []schema.Pool{{Name: "a", InstanceType: "t", Wait: schema.Wait{StallAfter: schema.Duration(15 * time.Minute)}}},
	}
	if diff := cmp.Diff(want, u.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestSelect(t *testing.T) {
	u, _ := read(t, head+"  pools: [{name: md-0, instanceType: t}, {name: md-1, instanceType: t}, {name: workers, instanceType: t}]\n")
	tests := []struct {
		name  string
		names []string
		want  []string
		err   string
	}{
		{"none is all", nil, []string{"md-0", "md-1", "workers"}, ""},
		{"one", []string{"md-1"}, []string{"md-1"}, ""},
		{"the order of the file", []string{"workers", "md-0", "workers"}, []string{"md-0", "workers"}, ""},
		{"unknown", []string{"md-0", "wokers", "xyz"}, nil,
			"the upgrade up has no pool \"wokers\"; did you mean workers?\nthe upgrade up has no pool \"xyz\"\nits pools: md-0, md-1, workers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			selected, err := u.Select(tt.names...)
			var message string
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff(tt.err, message); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			var got []string
			for _, p := range selected.Spec.Pools {
				got = append(got, p.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("pools (-want +got):\n%s", diff)
			}
			if len(u.Spec.Pools) != 3 {
				t.Errorf("Select changed the upgrade it was asked of: %v", u.Spec.Pools)
			}
		})
	}
}
