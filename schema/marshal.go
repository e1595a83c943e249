package schema

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml/goyaml.v3"
)

// Marshal writes an upgrade as canonical YAML: the same upgrade gives the same
// bytes. What Read returned, with its defaults filled in, reads back as the
// same upgrade, unless it has grown past the size that Read takes because
// many pools share large defaults.
//
// The error is for an upgrade made by other means, with a value in a merge
// patch that JSON does not have or that Read never returns.
func Marshal(u Upgrade) ([]byte, error) {
	pools := &yaml.Node{Kind: yaml.SequenceNode}
	for i, p := range u.Spec.Pools {
		n, err := poolNode(p)
		if err != nil {
			return nil, fmt.Errorf("spec.pools[%d].%w", i, err)
		}
		pools.Content = append(pools.Content, n)
	}
	var root, metadata, cluster, spec fields
	root.text("apiVersion", u.APIVersion)
	root.text("kind", u.Kind)
	metadata.text("name", u.Metadata.Name)
	root.node("metadata", metadata.mapping())
	cluster.text("name", u.Spec.Cluster.Name)
	cluster.text("namespace", u.Spec.Cluster.Namespace)
	spec.node("cluster", cluster.mapping())
	spec.text("order", string(u.Spec.Order))
	if u.Spec.Preflight.Workload {
		var preflight fields
		preflight.node("workload", plainNode("!!bool", "true"))
		spec.node("preflight", preflight.mapping())
	}
	if len(u.Spec.Images) > 0 {
		images := &yaml.Node{Kind: yaml.SequenceNode}
		for _, i := range u.Spec.Images {
			var f fields
			f.text("image", i.Image)
			f.text("kubernetesVersion", i.KubernetesVersion)
			f.text("architecture", string(i.Architecture))
			f.text("os", i.OS)
			images.Content = append(images.Content, f.mapping())
		}
		spec.node("images", images)
	}
	spec.text("imagesFrom", u.Spec.ImagesFrom)
	spec.node("pools", pools)
	root.node("spec", spec.mapping())

	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root.mapping()); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func poolNode(p Pool) (*yaml.Node, error) {
	var pool fields
	pool.text("name", p.Name)
	pool.text("kubernetesVersion", p.KubernetesVersion)
	pool.text("machineImage", p.MachineImage)
	pool.text("instanceType", p.InstanceType)
	for _, patch := range []struct {
		name string
		tree map[string]any
	}{{"infrastructure", p.Infrastructure}, {"bootstrap", p.Bootstrap}} {
		if patch.tree == nil {
			continue
		}
		n, err := treeNode(patch.name, patch.tree)
		if err != nil {
			return nil, err
		}
		pool.node(patch.name, n)
	}
	if s := p.Strategy; s != nil {
		var f fields
		f.countOrPercent("maxSurge", s.MaxSurge)
		f.countOrPercent("maxUnavailable", s.MaxUnavailable)
		pool.node("strategy", f.mapping())
	}
	if d := p.Drain; d != nil {
		var f fields
		f.duration("nodeDrainTimeout", d.NodeDrainTimeout)
		f.duration("nodeVolumeDetachTimeout", d.NodeVolumeDetachTimeout)
		f.duration("nodeDeletionTimeout", d.NodeDeletionTimeout)
		pool.node("drain", f.mapping())
	}
	if p.Wait.StallAfter != 0 {
		var f fields
		f.duration("stallAfter", &p.Wait.StallAfter)
		pool.node("wait", f.mapping())
	}
	pool.text("onStall", string(p.OnStall))
	if c := p.Canary; c != nil {
		var f fields
		f.node("machines", plainNode("!!int", strconv.Itoa(c.Machines)))
		f.duration("soak", &c.Soak)
		if len(c.Command) > 0 {
			words := &yaml.Node{Kind: yaml.SequenceNode}
			for _, word := range c.Command {
				words.Content = append(words.Content, textNode(word))
			}
			f.node("command", words)
		}
		pool.node("canary", f.mapping())
	}
	if len(p.Waive) > 0 {
		waivers := &yaml.Node{Kind: yaml.SequenceNode}
		for _, w := range p.Waive {
			var f fields
			f.text("check", w.Check)
			f.text("reason", w.Reason)
			waivers.Content = append(waivers.Content, f.mapping())
		}
		pool.node("waive", waivers)
	}
	return pool.mapping(), nil
}

// fields are the keys and values of a mapping in the making.
type fields []*yaml.Node

func (f *fields) node(key string, n *yaml.Node) { *f = append(*f, textNode(key), n) }

// text leaves out what is empty.
func (f *fields) text(key, s string) {
	if s != "" {
		f.node(key, textNode(s))
	}
}

func (f *fields) duration(key string, d *Duration) {
	if d != nil {
		f.text(key, d.String())
	}
}

func (f *fields) countOrPercent(key string, v *intstr.IntOrString) {
	switch {
	case v == nil:
	case v.Type == intstr.Int:
		f.node(key, plainNode("!!int", strconv.Itoa(int(v.IntVal))))
	default:
		f.text(key, v.StrVal)
	}
}

func (f *fields) mapping() *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: *f}
}

// treeNode is a value of a merge patch, its keys sorted.
func treeNode(path string, v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case nil:
		return plainNode("!!null", "null"), nil
	case bool:
		return plainNode("!!bool", strconv.FormatBool(v)), nil
	case int64:
		return plainNode("!!int", strconv.FormatInt(v, 10)), nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, fmt.Errorf("%s: %v is not a number of JSON", path, v)
		}
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0" // or it would be read back as an integer
		}
		return plainNode("!!float", s), nil
	case string:
		return textNode(v), nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i, item := range v {
			child, err := treeNode(appendStep(path, step{index: i, inList: true}), item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		return n, nil
	case map[string]any:
		var f fields
		for _, key := range slices.Sorted(maps.Keys(v)) {
			child, err := treeNode(appendStep(path, step{key: key}), v[key])
			if err != nil {
				return nil, err
			}
			f.node(key, child)
		}
		return f.mapping(), nil
	}
	return nil, fmt.Errorf("%s: a merge patch holds no %T", path, v)
}

func plainNode(tag, s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: s}
}

var (
	// plainWord is text that no reader of YAML takes for anything else, save
	// for the words of notText.
	plainWord = regexp.MustCompile(`^([A-Za-z/][A-Za-z0-9_./-]*|([0-9]+h)?([0-9]+m)?[0-9]+s)$`)
	notText   = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)
	// block is text of several lines, without anything at its beginning or
	// at the ends of its lines that a block would show badly.
	block = regexp.MustCompile(`^[!-~]([ -~]*[!-~])?(\n( *[!-~]([ -~]*[!-~])?)?)+$`)
)

func textNode(s string) *yaml.Node {
	n := plainNode("!!str", s)
	switch {
	case plainWord.MatchString(s) && !notText.MatchString(s):
	case block.MatchString(s):
		n.Style = yaml.LiteralStyle
	default:
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
