// Package seed makes example clusters: a control plane that was upgraded
// already, and worker pools that still wait for it.
package seed

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The versions and the image of the example.
const (
	OldVersion = "v1.34.3"
	NewVersion = "v1.35.2"
	OldAMI     = "ami-0123456789abcdef0"
)

// The kinds of pools.
const (
	AWS = "aws"
	Dev = "dev"
)

//go:embed cluster.yaml
var clusterYAML string

//go:embed topology.yaml
var topologyYAML string

//go:embed pool.yaml
var poolYAML string

// Cluster is one workload cluster.
type Cluster struct {
	Name      string
	Namespace string
	Version   string // of the control plane
	Replicas  int    // of the control plane
	Pools     []Pool
	// Topology has Cluster API make control plane and pools from a ClusterClass
	// of the cluster's name. The pools then have the cluster's version.
	Topology bool
}

// Pool is one worker pool.
type Pool struct {
	Name      string
	Cluster   string
	Namespace string
	Kind      string // AWS or Dev
	Version   string
	Replicas  int
	AMI       string
}

// Example is the cluster that `sandbox up` makes.
func Example() Cluster {
	c := Cluster{Name: "aws-example", Namespace: "default", Version: NewVersion, Replicas: 1}
	c.Pools, _ = ParsePools("aws:3,dev:2", c, OldVersion) // a constant that parses
	return c
}

// ParsePools reads a list such as aws:3,dev:2. The pools are named after the
// cluster and numbered.
func ParsePools(list string, c Cluster, version string) ([]Pool, error) {
	var pools []Pool
	for i, item := range strings.Split(list, ",") {
		kind, count, ok := strings.Cut(strings.TrimSpace(item), ":")
		n, err := strconv.Atoi(count)
		if !ok || err != nil || n < 0 || kind != AWS && kind != Dev {
			return nil, fmt.Errorf("--pools %q: %q is not KIND:REPLICAS with KIND aws or dev, as in aws:3,dev:2", list, item)
		}
		pools = append(pools, Pool{
			Name: fmt.Sprintf("%s-md-%d", c.Name, i), Cluster: c.Name, Namespace: c.Namespace,
			Kind: kind, Version: version, Replicas: n, AMI: OldAMI,
		})
	}
	return pools, nil
}

// Objects returns the objects of the cluster without its pools; of one with a
// topology, with what its pools are made from.
func (c Cluster) Objects() ([]*unstructured.Unstructured, error) {
	if !c.Topology {
		return render(clusterYAML, c)
	}
	objects, err := render(topologyYAML, c)
	for _, p := range c.Pools {
		of, perr := p.Objects()
		err = errors.Join(err, perr)
		for _, o := range of {
			if o.GetKind() != "MachineDeployment" {
				objects = slices.Insert(objects, 1, o) // behind the Namespace
			}
		}
	}
	return objects, err
}

// Objects returns the objects of the pool. Until the machines run, they skip
// the checks that would refuse machines older than the control plane.
func (p Pool) Objects() ([]*unstructured.Unstructured, error) {
	if p.Kind != AWS && p.Kind != Dev {
		return nil, fmt.Errorf("pool %s: kind %q is neither aws nor dev", p.Name, p.Kind)
	}
	return render(poolYAML, p)
}

func render(text string, data any) ([]*unstructured.Unstructured, error) {
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, doc := range strings.Split(out.String(), "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		data, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(data); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
		objects = append(objects, u)
	}
	return objects, nil
}
