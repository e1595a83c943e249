package faults

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSetThenParse(t *testing.T) {
	table := &Table{}
	for _, args := range [][]string{
		{KeyMissing, "ami-b"}, {KeyMissing, "ami-a"}, {KeyMissing, "ami-a"},
		{KeyNeverJoin, "ami-c"}, {KeyNotReady, "ami-d"},
		{KeyErrors, "ami-e", "InsufficientInstanceCapacity: no m5.large: try later"},
		{KeyImages, "ami-f", "v1.34.3"}, {KeyBootDelay, "ami-g", "90s"}, {KeyProviderDown},
	} {
		if err := table.Set(args[0], args[1:]...); err != nil {
			t.Fatalf("Set(%q): %v", args, err)
		}
	}
	got, err := Parse(table.Data())
	if err != nil {
		t.Fatal(err)
	}
	want := &Table{
		Missing: []string{"ami-a", "ami-b"}, NeverJoin: []string{"ami-c"}, NotReady: []string{"ami-d"},
		Errors:    map[string]string{"ami-e": "InsufficientInstanceCapacity: no m5.large: try later"},
		Images:    map[string]string{"ami-f": "v1.34.3"},
		BootDelay: map[string]time.Duration{"ami-g": 90 * time.Second}, ProviderDown: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Parse(Data()) = %+v, want %+v", got, want)
	}
}

func TestWhatATableSays(t *testing.T) {
	table, err := Parse(map[string]string{
		KeyMissing: "[ami-gone]", KeyNeverJoin: "- ami-lost\n", KeyNotReady: "[ami-sick]",
		KeyErrors: "ami-full: InsufficientInstanceCapacity", KeyImages: "{ami-old: v1.33.0}",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := table.RunError("ami-gone"); !strings.Contains(got, "InvalidAMIID.NotFound") || !strings.Contains(got, "ami-gone") {
		t.Errorf("RunError of a missing image = %q", got)
	}
	if got := table.RunError("ami-full"); got != "InsufficientInstanceCapacity" {
		t.Errorf("RunError = %q", got)
	}
	if got := table.RunError("ami-fine"); got != "" {
		t.Errorf("RunError of a good image = %q", got)
	}
	if table.Joins("ami-lost") || !table.Joins("ami-fine") {
		t.Error("Joins is wrong")
	}
	if table.NodeReady("ami-sick") || !table.NodeReady("ami-fine") {
		t.Error("NodeReady is wrong")
	}
	if got := table.Kubelet("ami-old", "v1.35.2"); got != "v1.33.0" {
		t.Errorf("Kubelet of a pinned image = %q", got)
	}
	if got := table.Kubelet("ami-fine", "v1.35.2"); got != "v1.35.2" {
		t.Errorf("Kubelet follows the machine: got %q", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, data := range map[string]map[string]string{
		"an unknown key": {"mising": "[ami-a]"},
		"a wrong type":   {KeyMissing: "{a: b}"},
		"no duration":    {KeyBootDelay: "{ami-a: soon}"},
	} {
		if _, err := Parse(data); err == nil || !strings.Contains(err.Error(), Namespace+"/"+Name) {
			t.Errorf("%s: Parse = %v, want an error that names the ConfigMap", name, err)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense", "ami-a"}, {KeyMissing}, {KeyMissing, "a", "b"}, {KeyImages, "ami-a"}, {KeyBootDelay, "ami-a", "soon"}, {KeyProviderDown, "x"},
	} {
		if err := (&Table{}).Set(args[0], args[1:]...); err == nil {
			t.Errorf("Set(%q) succeeded", args)
		}
	}
}

func TestClear(t *testing.T) {
	fresh := func() *Table {
		return &Table{Missing: []string{"a", "b"}, Images: map[string]string{"a": "v1", "b": "v2"},
			BootDelay: map[string]time.Duration{"a": time.Second}, ProviderDown: true}
	}
	for _, tc := range []struct {
		key, image string
		left       map[string]string
	}{
		{KeyMissing, "a", map[string]string{KeyMissing: "- b\n", KeyImages: "a: v1\nb: v2\n", KeyBootDelay: "a: 1s\n", KeyProviderDown: "true\n"}},
		{KeyImages, "", map[string]string{KeyMissing: "- a\n- b\n", KeyBootDelay: "a: 1s\n", KeyProviderDown: "true\n"}},
		{KeyBootDelay, "a", map[string]string{KeyMissing: "- a\n- b\n", KeyImages: "a: v1\nb: v2\n", KeyProviderDown: "true\n"}},
		{KeyProviderDown, "", map[string]string{KeyMissing: "- a\n- b\n", KeyImages: "a: v1\nb: v2\n", KeyBootDelay: "a: 1s\n"}},
	} {
		table := fresh()
		if err := table.Clear(tc.key, tc.image); err != nil {
			t.Fatal(err)
		}
		if got := table.Data(); !reflect.DeepEqual(got, tc.left) {
			t.Errorf("Clear(%s, %q) left %v, want %v", tc.key, tc.image, got, tc.left)
		}
	}
	if err := fresh().Clear("nonsense", ""); err == nil {
		t.Error("Clear of an unknown fault succeeded")
	}
}
