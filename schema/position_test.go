package schema_test

import (
	"strings"
	"testing"

	"nodepool/schema"
)

// TestLocate marks what a path must find by what stands there in the file.
func TestLocate(t *testing.T) {
	const data = `apiVersion: nodepool/v1alpha1
kind: NodePoolUpgrade
metadata:
  name: up
spec:
  cluster: {name: c}
  defaults:
    kubernetesVersion: v1.35.2
    infrastructure:
      rootVolume: {type: gp3}
      tags: [def-a, def-b]
      gone: {x: 5}
  pools:
    - name: md-0
      machineImage: ami-1
      infrastructure:
        rootVolume: {size: 100}
        metadata: {"a.b/c": dotted, "q\"]": quoted}
        tags: [own-a]
        gone: null
    - name: md-1
      machineImage: ami-2
`
	_, positions := read(t, data)
	for path, want := range map[string]string{
		"":                                "apiVersion: nodepool",
		"apiVersion":                      "nodepool/v1alpha1",
		"metadata":                        "metadata:",
		"metadata.name":                   "up\n",
		"metadata.nothing.here":           "metadata:",
		"spec.cluster.name":               "c}",
		"spec.cluster.namespace":          "cluster: {",
		"spec.order":                      "spec:",
		"spec.pools":                      "pools:\n",
		"spec.pools[0]":                   "name: md-0",
		"spec.pools[0].machineImage":      "ami-1",
		"spec.pools[1].machineImage":      "ami-2",
		"spec.pools[7].machineImage":      "pools:\n",
		"spec.pools[x]":                   "pools:\n",
		"spec.pools[0].wait.stallAfter":   "name: md-0",
		"spec.pools[0].infrastructure":    "infrastructure:\n        rootVolume: {size",
		"spec.pools[1].infrastructure":    "infrastructure:\n      rootVolume: {type",
		"spec.pools[0].kubernetesVersion": "v1.35.2",
		"spec.pools[0].infrastructure.rootVolume.size":   "100",
		"spec.pools[0].infrastructure.rootVolume.type":   "gp3",
		"spec.pools[1].infrastructure.rootVolume.size":   "rootVolume: {type",
		"spec.pools[0].infrastructure.tags[0]":           "own-a",
		"spec.pools[0].infrastructure.tags[1]":           "tags: [own-a",
		"spec.pools[1].infrastructure.tags[1]":           "def-b",
		"spec.pools[0].infrastructure.gone.x":            "null",
		"spec.defaults.infrastructure.gone.x":            "5}",
		`spec.pools[0].infrastructure.metadata["a.b/c"]`: "dotted",
		`spec.pools[0].infrastructure.metadata["q\"]"]`:  "quoted",
		`spec.pools[0].infrastructure.metadata["a.b/c`:   "metadata: {",
		`spec["pools"][0]["machineImage"]`:               "ami-1",
		positions.Pool("md-1") + ".machineImage":         "ami-2",
		positions.Pool("md-7") + ".machineImage":         "pools:\n",
	} {
		offset := strings.Index(data, want)
		before := data[:offset]
		line := strings.Count(before, "\n") + 1
		column := offset - strings.LastIndex(before, "\n")
		if got := positions.Locate(path); got != (schema.Position{Line: line, Column: column}) {
			t.Errorf("Locate(%q) = %s, want %d:%d, at %q", path, got, line, column, want)
		}
	}
	if got := (schema.Positions{}).Locate("spec"); got != (schema.Position{}) {
		t.Errorf("positions of no file locate %s", got)
	}
}

// TestPoolAfterSelect is why Pool exists: a selection counts anew.
func TestPoolAfterSelect(t *testing.T) {
	u, positions := read(t, head+"  pools:\n    - {name: a, machineImage: i}\n    - {name: b, machineImage: j}\n")
	u, err := u.Select("b")
	if err != nil {
		t.Fatal(err)
	}
	got := positions.Locate(positions.Pool(u.Spec.Pools[0].Name) + ".machineImage")
	if want := (schema.Position{Line: 8, Column: 31}); got != want {
		t.Errorf("the pool's image is at %s, want %s", got, want)
	}
}

// TestLocateInInvalid: positions serve also beside an error.
func TestLocateInInvalid(t *testing.T) {
	_, positions, err := schema.Read("u.yaml", []byte(head+"  pools:\n    - {name: a, machineImag: i}\n"))
	if err == nil {
		t.Fatal("Read took it")
	}
	if got, want := positions.Locate("spec.pools[0].name"), (schema.Position{Line: 7, Column: 14}); got != want {
		t.Errorf("the name is at %s, want %s", got, want)
	}
}
