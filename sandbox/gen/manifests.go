package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"nodepool/sandbox/manifests"
)

// source is where one component keeps its manifests.
type source struct {
	name     string
	module   string
	config   string
	webhooks bool
}

var sources = []source{
	{manifests.Core, apiModule, "config", true},
	{manifests.Bootstrap, apiModule, "bootstrap/kubeadm/config", true},
	{manifests.ControlPlane, apiModule, "controlplane/kubeadm/config", true},
	{manifests.Dev, testModule, "infrastructure/docker/config", true},
	// Only the definitions: nobody here serves this provider's webhooks.
	{manifests.AWS, awsModule, "config", false},
}

func collectManifests(mods map[string]string) (*manifests.Bundle, error) {
	b := &manifests.Bundle{}
	for _, s := range sources {
		c, err := collect(s, filepath.Join(mods[s.module], filepath.FromSlash(s.config)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		b.Components = append(b.Components, *c)
	}
	return b, nil
}

func collect(s source, config string) (*manifests.Component, error) {
	// Contract versions are labels that kustomize adds; without them Cluster
	// API refuses every reference to these kinds.
	labels := map[string]string{}
	for _, dir := range []string{"crd", "default"} {
		data, err := os.ReadFile(filepath.Join(config, dir, "kustomization.yaml"))
		if err != nil {
			return nil, err
		}
		more, err := kustomizeLabels(data)
		if err != nil {
			return nil, fmt.Errorf("%s/kustomization.yaml: %w", dir, err)
		}
		for k, v := range more {
			labels[k] = v
		}
	}
	c := &manifests.Component{Name: s.name}
	bases, err := filepath.Glob(filepath.Join(config, "crd", "bases", "*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, base := range bases {
		docs, err := readDocuments(base)
		if err != nil {
			return nil, err
		}
		for _, crd := range docs {
			addLabels(crd, labels)
			c.CRDs = append(c.CRDs, crd)
		}
	}
	if len(c.CRDs) == 0 {
		return nil, fmt.Errorf("no definitions in %s", filepath.Join(config, "crd", "bases"))
	}
	if s.webhooks {
		c.Webhooks, err = readDocuments(filepath.Join(config, "webhook", "manifests.yaml"))
	}
	return c, err
}

// kustomizeLabels returns the labels that a kustomization puts on everything,
// in the old and the new spelling.
func kustomizeLabels(data []byte) (map[string]string, error) {
	var k struct {
		CommonLabels map[string]string `json:"commonLabels"`
		Labels       []struct {
			Pairs map[string]string `json:"pairs"`
		} `json:"labels"`
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for key, v := range k.CommonLabels {
		out[key] = v
	}
	for _, l := range k.Labels {
		for key, v := range l.Pairs {
			out[key] = v
		}
	}
	return out, nil
}

func addLabels(obj map[string]any, labels map[string]string) {
	meta, _ := obj["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		obj["metadata"] = meta
	}
	have, _ := meta["labels"].(map[string]any)
	if have == nil {
		have = map[string]any{}
	}
	for k, v := range labels {
		have[k] = v
	}
	if len(have) > 0 {
		meta["labels"] = have
	}
}

func readDocuments(path string) ([]map[string]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var docs []map[string]any
	for _, part := range strings.Split("\n"+string(data), "\n---") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		var doc map[string]any
		if err := yaml.Unmarshal([]byte(part), &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if doc != nil {
			docs = append(docs, doc)
		}
	}
	return docs, nil
}

func writeBundle(path string, b *manifests.Bundle) error {
	data, err := manifests.Write(b)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
