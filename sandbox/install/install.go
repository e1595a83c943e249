// Package install puts the upstream definitions and webhook configurations, and
// the sandbox's own objects, into the management cluster.
package install

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"nodepool/sandbox/manifests"
	"nodepool/sandbox/state"
)

// own.yaml holds the namespace of the fault table and what stands in for the
// admission webhook of the AWS provider.
//
//go:embed own.yaml
var own string

var resources = map[string]schema.GroupVersionResource{
	"CustomResourceDefinition":         {Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	"MutatingWebhookConfiguration":     {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
	"ValidatingWebhookConfiguration":   {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"},
	"ValidatingAdmissionPolicy":        {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
	"ValidatingAdmissionPolicyBinding": {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
	"Namespace":                        {Version: "v1", Resource: "namespaces"},
}

// workers apply definitions at the same time; the API server is the bottleneck.
const workers = 4

// Apply installs everything and waits until the definitions are served.
func Apply(ctx context.Context, cfg *rest.Config, bundle *manifests.Bundle, ca []byte, ports state.Ports) error {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = 500, 1000
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return err
	}
	definitions, others, err := Objects(bundle, ca, ports)
	if err != nil {
		return err
	}
	if err := applyAll(ctx, client, definitions); err != nil {
		return err
	}
	if err := waitServed(ctx, disco, definitions); err != nil {
		return err
	}
	return applyAll(ctx, client, others)
}

// Objects returns what Apply installs: first the definitions, then the rest.
func Objects(bundle *manifests.Bundle, ca []byte, ports state.Ports) (definitions, others []*unstructured.Unstructured, err error) {
	for _, c := range bundle.Components {
		endpoint := Endpoint{CA: ca, Port: ports.Webhooks()}
		if c.Name == manifests.Dev {
			endpoint.Port = ports.ProviderWebhooks()
		}
		for _, raw := range c.CRDs {
			u := copyOf(raw)
			if len(c.Webhooks) > 0 {
				if err := endpoint.convert(u); err != nil {
					return nil, nil, fmt.Errorf("%s: %w", u.GetName(), err)
				}
			}
			definitions = append(definitions, u)
		}
		for _, raw := range c.Webhooks {
			u := copyOf(raw)
			if err := endpoint.serve(u); err != nil {
				return nil, nil, fmt.Errorf("%s of %s: %w", u.GetName(), c.Name, err)
			}
			// The components use the same names and would overwrite each other.
			u.SetName(c.Name + "-" + u.GetName())
			others = append(others, u)
		}
	}
	for _, doc := range strings.Split(own, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			return nil, nil, fmt.Errorf("own.yaml: %w", err)
		}
		others = append(others, u)
	}
	return definitions, others, nil
}

func copyOf(raw map[string]any) *unstructured.Unstructured {
	return (&unstructured.Unstructured{Object: raw}).DeepCopy()
}

// Endpoint is where a component serves its webhooks.
type Endpoint struct {
	CA   []byte
	Port int
}

func (e Endpoint) clientConfig(path string) map[string]any {
	return map[string]any{
		"url":      fmt.Sprintf("https://127.0.0.1:%d%s", e.Port, path),
		"caBundle": base64.StdEncoding.EncodeToString(e.CA),
	}
}

// convert makes a definition of several versions ask the component to convert.
func (e Endpoint) convert(crd *unstructured.Unstructured) error {
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if err != nil || len(versions) < 2 {
		return err
	}
	return unstructured.SetNestedField(crd.Object, map[string]any{
		"strategy": "Webhook",
		"webhook": map[string]any{
			"conversionReviewVersions": []any{"v1"},
			"clientConfig":             e.clientConfig("/convert"),
		},
	}, "spec", "conversion")
}

// serve turns references to a Service, of which there is none, into URLs.
func (e Endpoint) serve(configuration *unstructured.Unstructured) error {
	hooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	if err != nil {
		return err
	}
	for _, h := range hooks {
		hook, ok := h.(map[string]any)
		if !ok {
			return errors.New("a webhook is not an object")
		}
		path, found, err := unstructured.NestedString(hook, "clientConfig", "service", "path")
		if err != nil || !found {
			return fmt.Errorf("webhook %v has no service path", hook["name"])
		}
		hook["clientConfig"] = e.clientConfig(path)
	}
	return unstructured.SetNestedSlice(configuration.Object, hooks, "webhooks")
}

func applyAll(ctx context.Context, client dynamic.Interface, objects []*unstructured.Unstructured) error {
	queue := make(chan *unstructured.Unstructured, len(objects))
	for _, u := range objects {
		queue <- u
	}
	close(queue)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for u := range queue {
				if err := apply(ctx, client, u); err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("install %s %s: %w", u.GetKind(), u.GetName(), err))
					mu.Unlock()
				}
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

func apply(ctx context.Context, client dynamic.Interface, u *unstructured.Unstructured) error {
	resource, ok := resources[u.GetKind()]
	if !ok {
		return fmt.Errorf("no resource known for kind %s", u.GetKind())
	}
	// Creating is much cheaper than applying, and the usual case.
	_, err := client.Resource(resource).Create(ctx, u, metav1.CreateOptions{FieldManager: "sandbox"})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	data, err := json.Marshal(u)
	if err != nil {
		return err
	}
	force := true
	_, err = client.Resource(resource).Patch(ctx, u.GetName(), types.ApplyPatchType, data,
		metav1.PatchOptions{FieldManager: "sandbox", Force: &force})
	return err
}

// waitServed waits until the API server serves every version of every
// definition. Discovery tells it in a few kilobytes; the definitions themselves
// are megabytes.
func waitServed(ctx context.Context, client discovery.DiscoveryInterface, definitions []*unstructured.Unstructured) error {
	missing, err := servedResources(definitions)
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		for gv, want := range missing {
			// Not found until the first definition of the group is served.
			list, err := client.ServerResourcesForGroupVersion(gv)
			if err != nil {
				continue
			}
			for _, r := range list.APIResources {
				delete(want, r.Name)
			}
			if len(want) == 0 {
				delete(missing, gv)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("custom resources of %d API versions are not served yet: %w", len(missing), ctx.Err())
		case <-tick.C:
		}
	}
}

// servedResources returns the plural names by group and version.
func servedResources(definitions []*unstructured.Unstructured) (map[string]map[string]bool, error) {
	out := map[string]map[string]bool{}
	for _, u := range definitions {
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
		versions, _, err := unstructured.NestedSlice(u.Object, "spec", "versions")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.GetName(), err)
		}
		for _, v := range versions {
			m, _ := v.(map[string]any)
			if served, _ := m["served"].(bool); !served {
				continue
			}
			name, _ := m["name"].(string)
			gv := schema.GroupVersion{Group: group, Version: name}.String()
			if out[gv] == nil {
				out[gv] = map[string]bool{}
			}
			out[gv][plural] = true
		}
	}
	return out, nil
}
