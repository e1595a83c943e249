package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Manifest is a file of an export.
type Manifest struct {
	Name    string
	Content []byte
	// Left names the fields that are sealed and were left out, or, when the
	// export reveals, that the file holds in clear.
	Left []string
}

// Export gives the writes of p as manifests for a repository that a GitOps
// tool applies: the new templates whole, each MachineDeployment as a JSON6902
// patch, and a kustomization that lists both. The owner of a template is left
// out, which Cluster API sets. A whole template bears the digest of its
// content, by which nodepool knows it again; without reveal, sealed fields are
// left out, named, and the digest with them.
// A source that is gone or changed is an error, and so is a revealed field
// whose value secrets does not hold.
func Export(p Plan, snap Snapshot, secrets Secrets, reveal bool) ([]Manifest, error) {
	var out []Manifest
	var resources []string
	var patches []struct {
		file   string
		target Ref
	}
	for _, s := range p.Steps {
		if s.Wait != nil && s.Wait.Canary != nil {
			return nil, fmt.Errorf("pool %s has a canary, which holds its rollout until it is proved, and a GitOps tool applies all at once: take canary out of the upgrade to export it", s.Pool)
		}
		switch {
		case s.Create != nil:
			m, err := s.Create.manifest(snap, secrets, reveal)
			if err != nil {
				return nil, err
			}
			resources = append(resources, m.Name)
			out = append(out, m)
		case s.Patch != nil:
			m, err := s.Patch.manifest()
			if err != nil {
				return nil, err
			}
			if s.ID != s.Pool+"/patch" {
				// Another patch of this MachineDeployment comes after it.
				m.Name = "machinedeployment-" + s.Patch.Target.Name + "." + strings.TrimPrefix(s.ID, s.Pool+"/") + ".yaml"
				m.Content = append([]byte("# Goes before the other patch of this MachineDeployment, in a commit of its own: the\n"+
					"# next one may follow when the machines have these values.\n"), m.Content...)
			}
			patches = append(patches, struct {
				file   string
				target Ref
			}{m.Name, s.Patch.Target})
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	kustomization := map[string]any{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
	if len(resources) > 0 {
		kustomization["resources"] = resources
	}
	var targets []any
	for _, p := range patches {
		t := p.target
		targets = append(targets, map[string]any{"path": p.file,
			"target": map[string]any{"group": t.Group, "kind": t.Kind, "name": t.Name, "namespace": t.Namespace}})
	}
	if len(targets) > 0 {
		kustomization["patches"] = targets
	}
	raw, err := yaml.Marshal(kustomization)
	if err != nil {
		return nil, err
	}
	note := "# Made by nodepool of the plan " + string(p.Digest) + ".\n# Add the MachineDeployments' own manifests to resources.\n"
	return append(out, Manifest{Name: "kustomization.yaml", Content: append([]byte(note), raw...)}), nil
}

func (c Create) manifest(snap Snapshot, secrets Secrets, reveal bool) (Manifest, error) {
	m := Manifest{Name: strings.ToLower(c.Ref.Kind) + "-" + c.Ref.Name + ".yaml"}
	preview, err := c.Preview(snap)
	if err != nil {
		return m, err
	}
	object := preview.Object
	sealedFields("", object, func(at Pointer) { m.Left = append(m.Left, at.Dotted()) })
	slices.Sort(m.Left)
	if reveal {
		body, err := c.Body(snap, secrets)
		if err != nil {
			return m, err
		}
		object = body.Object
	}
	object, _ = withoutSealed(object).(map[string]any)
	metadata, _ := object["metadata"].(map[string]any)
	delete(metadata, "ownerReferences")
	missing := len(m.Left) > 0 && !reveal
	if annotations, ok := metadata["annotations"].(map[string]any); ok && missing {
		// It would no longer be true.
		delete(annotations, ContentAnnotation)
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
	if m.Content, err = yaml.Marshal(object); err != nil {
		return m, fmt.Errorf("encode %s: %w", c.Ref, err)
	}
	if missing {
		note := "# INCOMPLETE: secrets were left out. Fill in:\n"
		for _, field := range m.Left {
			note += "#   " + field + "\n"
		}
		m.Content = append([]byte(note), m.Content...)
	}
	return m, nil
}

func sealedFields(at Pointer, tree any, report func(Pointer)) {
	switch node := tree.(type) {
	case map[string]any:
		if isSealed(node) {
			report(at)
			return
		}
		for k, v := range node {
			sealedFields(at.Append(k), v, report)
		}
	case []any:
		for i, v := range node {
			sealedFields(at.Append(fmt.Sprint(i)), v, report)
		}
	}
}

// withoutSealed gives a copy of tree without its sealed values. A list item
// that is sealed whole goes; one that holds a sealed field loses the field.
func withoutSealed(tree any) any {
	switch node := tree.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range node {
			if m, ok := v.(map[string]any); ok && isSealed(m) {
				continue
			}
			out[k] = withoutSealed(v)
		}
		return out
	case []any:
		out := []any{}
		for _, v := range node {
			if m, ok := v.(map[string]any); ok && isSealed(m) {
				continue
			}
			out = append(out, withoutSealed(v))
		}
		return out
	}
	return tree
}

// manifest gives the changes as a JSON6902 patch. It tests nothing: what a
// repository holds is not what the cluster holds, defaults and all.
func (p Patch) manifest() (Manifest, error) {
	m := Manifest{Name: "machinedeployment-" + p.Target.Name + ".patch.yaml"}
	var ops []any
	for _, c := range p.Changes {
		op := map[string]any{"op": "add", "path": string(c.Path)}
		if len(c.After) == 0 {
			op["op"] = "remove"
		} else {
			var value any
			if err := json.Unmarshal(c.After, &value); err != nil {
				return m, fmt.Errorf("%s: %w", c.Path.Dotted(), err)
			}
			op["value"] = value
		}
		ops = append(ops, op)
	}
	raw, err := yaml.Marshal(ops)
	if err != nil {
		return m, fmt.Errorf("encode the patch of %s: %w", p.Target, err)
	}
	m.Content = append([]byte("# For a manifest in "+p.APIVersion+".\n"), raw...)
	return m, nil
}
