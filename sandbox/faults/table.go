// Package faults is the table of what shall go wrong with the machines of the
// AWS stand-in. It lives in a ConfigMap, so that a test can change it while
// machines boot.
package faults

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// The ConfigMap that holds the table.
const (
	Namespace = "sandbox-system"
	Name      = "sandbox-faults"
)

// The keys of the ConfigMap. Each value is YAML: a list of images, or a map
// from an image.
const (
	KeyMissing      = "missing"       // [ami]: the image does not exist
	KeyNeverJoin    = "never-join"    // [ami]: the instance runs, no node appears
	KeyNotReady     = "not-ready"     // [ami]: the node joins and stays NotReady
	KeyErrors       = "errors"        // {ami: message}: the provider refuses with this message
	KeyImages       = "images"        // {ami: version}: the kubelet in the image
	KeyBootDelay    = "boot-delay"    // {ami: duration}: from the instance running to the node
	KeyProviderDown = "provider-down" // true: nobody works on AWSMachines
)

// Keys lists the keys in the order in which they are shown.
var Keys = []string{KeyMissing, KeyNeverJoin, KeyNotReady, KeyErrors, KeyImages, KeyBootDelay, KeyProviderDown}

// Table says what goes wrong, by image.
type Table struct {
	Missing      []string
	NeverJoin    []string
	NotReady     []string
	Errors       map[string]string
	Images       map[string]string
	BootDelay    map[string]time.Duration
	ProviderDown bool
}

// Parse reads the data of the ConfigMap. An unknown key is an error: a misspelt
// fault would otherwise make a test pass for nothing.
func Parse(data map[string]string) (*Table, error) {
	t := &Table{}
	delays := map[string]string{}
	into := map[string]any{
		KeyMissing: &t.Missing, KeyNeverJoin: &t.NeverJoin, KeyNotReady: &t.NotReady,
		KeyErrors: &t.Errors, KeyImages: &t.Images, KeyBootDelay: &delays, KeyProviderDown: &t.ProviderDown,
	}
	for key, value := range data {
		target, ok := into[key]
		if !ok {
			return nil, fmt.Errorf("ConfigMap %s/%s: unknown key %q, the keys are %s", Namespace, Name, key, strings.Join(Keys, ", "))
		}
		if err := yaml.Unmarshal([]byte(value), target); err != nil {
			return nil, fmt.Errorf("ConfigMap %s/%s, key %s: %w", Namespace, Name, key, err)
		}
	}
	for image, s := range delays {
		d, err := time.ParseDuration(s)
		if err != nil {
			return nil, fmt.Errorf("ConfigMap %s/%s, key %s, image %s: %w", Namespace, Name, KeyBootDelay, image, err)
		}
		if t.BootDelay == nil {
			t.BootDelay = map[string]time.Duration{}
		}
		t.BootDelay[image] = d
	}
	return t, nil
}

// Data is the inverse of Parse. Empty parts are left out.
func (t *Table) Data() map[string]string {
	data := map[string]string{}
	put := func(key string, v any, empty bool) {
		if empty {
			return
		}
		// Strings, lists and maps of strings cannot fail to marshal.
		out, _ := yaml.Marshal(v)
		data[key] = string(out)
	}
	delays := map[string]string{}
	for image, d := range t.BootDelay {
		delays[image] = d.String()
	}
	put(KeyMissing, t.Missing, len(t.Missing) == 0)
	put(KeyNeverJoin, t.NeverJoin, len(t.NeverJoin) == 0)
	put(KeyNotReady, t.NotReady, len(t.NotReady) == 0)
	put(KeyErrors, t.Errors, len(t.Errors) == 0)
	put(KeyImages, t.Images, len(t.Images) == 0)
	put(KeyBootDelay, delays, len(delays) == 0)
	put(KeyProviderDown, t.ProviderDown, !t.ProviderDown)
	return data
}

// Set adds one fault. args are what the key needs: an image, or an image and a
// value.
func (t *Table) Set(key string, args ...string) error {
	need := func(n int, usage string) error {
		if len(args) != n {
			return fmt.Errorf("fault set %s needs %s, got %q", key, usage, args)
		}
		return nil
	}
	switch key {
	case KeyMissing, KeyNeverJoin, KeyNotReady:
		if err := need(1, "AMI"); err != nil {
			return err
		}
		list := t.list(key)
		*list = with(*list, args[0])
	case KeyErrors, KeyImages:
		if err := need(2, map[string]string{KeyErrors: "AMI MESSAGE", KeyImages: "AMI VERSION"}[key]); err != nil {
			return err
		}
		m := t.stringMap(key)
		if *m == nil {
			*m = map[string]string{}
		}
		(*m)[args[0]] = args[1]
	case KeyBootDelay:
		if err := need(2, "AMI DURATION"); err != nil {
			return err
		}
		d, err := time.ParseDuration(args[1])
		if err != nil {
			return fmt.Errorf("fault set %s: %w", key, err)
		}
		if t.BootDelay == nil {
			t.BootDelay = map[string]time.Duration{}
		}
		t.BootDelay[args[0]] = d
	case KeyProviderDown:
		if err := need(0, "nothing more"); err != nil {
			return err
		}
		t.ProviderDown = true
	default:
		return unknown(key)
	}
	return nil
}

// Clear removes one fault: of all images, or of one.
func (t *Table) Clear(key, image string) error {
	switch key {
	case KeyMissing, KeyNeverJoin, KeyNotReady:
		list := t.list(key)
		if image == "" {
			*list = nil
		} else {
			*list = without(*list, image)
		}
	case KeyErrors, KeyImages:
		m := t.stringMap(key)
		if image == "" {
			*m = nil
		} else {
			delete(*m, image)
		}
	case KeyBootDelay:
		if image == "" {
			t.BootDelay = nil
		} else {
			delete(t.BootDelay, image)
		}
	case KeyProviderDown:
		t.ProviderDown = false
	default:
		return unknown(key)
	}
	return nil
}

// RunError is why an instance of this image cannot be started, or "".
func (t *Table) RunError(image string) string {
	if contains(t.Missing, image) {
		return fmt.Sprintf("InvalidAMIID.NotFound: The image id '[%s]' does not exist", image)
	}
	return t.Errors[image]
}

// Joins says whether an instance of this image ever becomes a node.
func (t *Table) Joins(image string) bool { return !contains(t.NeverJoin, image) }

// NodeReady says whether the node of an instance of this image becomes ready.
func (t *Table) NodeReady(image string) bool { return !contains(t.NotReady, image) }

// Kubelet is the version of the kubelet on an instance of this image: by
// default the image fits the machine.
func (t *Table) Kubelet(image, machineVersion string) string {
	if v, ok := t.Images[image]; ok {
		return v
	}
	return machineVersion
}

func (t *Table) list(key string) *[]string {
	switch key {
	case KeyMissing:
		return &t.Missing
	case KeyNeverJoin:
		return &t.NeverJoin
	default:
		return &t.NotReady
	}
}

func (t *Table) stringMap(key string) *map[string]string {
	if key == KeyErrors {
		return &t.Errors
	}
	return &t.Images
}

func unknown(key string) error {
	return fmt.Errorf("unknown fault %q: one of %s", key, strings.Join(Keys, ", "))
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func with(list []string, s string) []string {
	if contains(list, s) {
		return list
	}
	list = append(list, s)
	sort.Strings(list)
	return list
}

func without(list []string, s string) []string {
	var out []string
	for _, x := range list {
		if x != s {
			out = append(out, x)
		}
	}
	return out
}
