package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// NotServedError says that the management cluster does not serve a kind, or
// not in the API version asked for.
type NotServedError struct {
	Group, Kind string
	// APIVersion is set when the kind is there, but not in this version.
	APIVersion string
}

func (e *NotServedError) Error() string {
	name := schema.GroupKind{Group: e.Group, Kind: e.Kind}.String()
	if e.APIVersion != "" {
		return fmt.Sprintf("the management cluster does not serve %s in API version %s", name, e.APIVersion)
	}
	return fmt.Sprintf("the kind %s is not installed in the management cluster; install its provider, or use another kubeconfig context", name)
}

// kind is a kind in one API version, as the server serves it.
type kind struct {
	resource   schema.GroupVersionResource
	namespaced bool
}

// path gives the URL path of a kind's objects, or of one when name is set.
func (k kind) path(namespace, name string) []string {
	out := []string{"apis", k.resource.Group, k.resource.Version}
	if k.resource.Group == "" {
		out = []string{"api", k.resource.Version}
	}
	if k.namespaced && namespace != "" {
		out = append(out, "namespaces", namespace)
	}
	out = append(out, k.resource.Resource)
	if name != "" {
		out = append(out, name)
	}
	return out
}

// kinds finds out what the server serves, group by group as it is asked for.
// Only what is served is remembered: what is not may be installed later.
type kinds struct {
	cluster *Cluster

	mu       sync.Mutex
	groups   map[string]*metav1.APIGroup
	versions map[schema.GroupVersion]*metav1.APIResourceList
	chosen   map[schema.GroupKind]string
	// read are kinds that were read without having asked for them first.
	read map[schema.GroupVersionKind]kind
	// marks are the labels of definitions, by their names.
	marks map[string]map[string]string
	// asking holds a lock for each question under way, so that it is asked once.
	asking map[string]*sync.Mutex
}

func (k *kinds) init(c *Cluster) {
	k.cluster = c
	k.groups = map[string]*metav1.APIGroup{}
	k.versions = map[schema.GroupVersion]*metav1.APIResourceList{}
	k.chosen = map[schema.GroupKind]string{}
	k.read = map[schema.GroupVersionKind]kind{}
	k.marks = map[string]map[string]string{}
	k.asking = map[string]*sync.Mutex{}
}

// builtin are the kinds of Kubernetes itself that nodepool reads and writes,
// which every server serves so.
var builtin = map[schema.GroupKind]kind{
	{Kind: "ConfigMap"}: {schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, true},
	{Kind: "Event"}:     {schema.GroupVersionResource{Version: "v1", Resource: "events"}, true},
	{Kind: "Secret"}:    {schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, true},
	{Group: "coordination.k8s.io", Kind: "Lease"}: {schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}, true},
}

// own are the resources of the kinds of Cluster API's core.
var own = map[string]string{
	"Cluster": "clusters", "MachineDeployment": "machinedeployments", "MachineSet": "machinesets",
	"Machine": "machines", "MachineHealthCheck": "machinehealthchecks", "MachinePool": "machinepools",
}

// likely gives one of Cluster API's own kinds in v1beta2, as long as nobody
// knows in which version it is served. That it can be read so answers the
// question, and saves asking it first.
func (k *kinds) likely(s plan.Selector) (kind, bool) {
	resource, ok := own[s.Kind]
	if !ok || s.Group != capi.Group || s.APIVersion != "" {
		return kind{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, chosen := k.chosen[groupKind(s)]
	_, asked := k.groups[capi.Group]
	return kind{schema.GroupVersionResource{Group: capi.Group, Version: "v1beta2", Resource: resource}, true}, !chosen && !asked
}

// wasRead takes note that a likely kind was read.
func (k *kinds) wasRead(gk schema.GroupKind, as kind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.read[gk.WithVersion(as.resource.Version)] = as
	k.chosen[gk] = as.resource.Version
}

// providers are the groups in which nearly all providers have their kinds.
var providers = []string{"infrastructure." + capi.Group, "bootstrap." + capi.Group, "controlplane." + capi.Group}

// Prepare asks ahead what making a plan for a cluster in namespace leads to,
// while the caller goes on: what providers there are, in which versions they are
// to be read, and what the caller may do. It returns at once. What fails is asked
// again when it is needed.
func (c *Cluster) Prepare(ctx context.Context, namespace string) {
	for _, group := range providers {
		go c.kinds.prepare(ctx, group)
	}
	go c.rules.of(ctx, c, namespace)
}

// prepare asks for the versions of a provider's group, and of the kinds that
// pools and their clusters refer to for the labels that choose among several.
func (k *kinds) prepare(ctx context.Context, group string) {
	g, err := k.group(ctx, group)
	if err != nil {
		return
	}
	lists := make([]*metav1.APIResourceList, len(g.Versions))
	var all sync.WaitGroup
	for i, v := range g.Versions {
		all.Go(func() { lists[i], _ = k.resources(ctx, schema.GroupVersion{Group: group, Version: v.Version}) })
	}
	all.Wait()
	var several []string // resources that are served in more than one version
	seen := map[string]bool{}
	for _, list := range lists {
		if list == nil {
			return
		}
		for _, r := range list.APIResources {
			if isReferredTo(r.Kind) && !strings.Contains(r.Name, "/") {
				if seen[r.Name] && !slices.Contains(several, r.Name) {
					several = append(several, r.Name)
				}
				seen[r.Name] = true
			}
		}
	}
	// More than a kind and its template are of several providers, of which a
	// cluster uses one.
	if len(several) > 2 {
		return
	}
	for _, name := range several {
		go func() { _, _ = k.labels(ctx, name+"."+group) }()
	}
}

// isReferredTo tells the providers' kinds that pools and their clusters refer to,
// by how Cluster API's contracts have them named.
func isReferredTo(kind string) bool {
	return slices.ContainsFunc([]string{"Machine", "MachineTemplate", "Config", "ConfigTemplate", "ControlPlane"},
		func(end string) bool { return strings.HasSuffix(kind, end) })
}

// once runs find for a key, unless have gives the answer already.
func once[T any](k *kinds, key string, have func() (T, bool), find func() (T, error)) (T, error) {
	k.mu.Lock()
	if v, ok := have(); ok {
		k.mu.Unlock()
		return v, nil
	}
	lock := k.asking[key]
	if lock == nil {
		lock = &sync.Mutex{}
		k.asking[key] = lock
	}
	k.mu.Unlock()

	lock.Lock()
	defer lock.Unlock()
	k.mu.Lock()
	v, ok := have()
	k.mu.Unlock()
	if ok {
		return v, nil
	}
	return find()
}

// group gives the versions of a group; NotFound when it has none.
func (k *kinds) group(ctx context.Context, name string) (*metav1.APIGroup, error) {
	if name == "" {
		v := metav1.GroupVersionForDiscovery{GroupVersion: "v1", Version: "v1"}
		return &metav1.APIGroup{Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v}, nil
	}
	return once(k, "group "+name, func() (*metav1.APIGroup, bool) {
		g, ok := k.groups[name]
		return g, ok
	}, func() (*metav1.APIGroup, error) {
		g := &metav1.APIGroup{}
		if err := k.get(ctx, g, "apis", name); err != nil {
			return nil, err
		}
		k.mu.Lock()
		k.groups[name] = g
		k.mu.Unlock()
		return g, nil
	})
}

// resources gives what a group serves in one version; NotFound when it does
// not serve that version.
func (k *kinds) resources(ctx context.Context, gv schema.GroupVersion) (*metav1.APIResourceList, error) {
	return once(k, "version "+gv.String(), func() (*metav1.APIResourceList, bool) {
		l, ok := k.versions[gv]
		return l, ok
	}, func() (*metav1.APIResourceList, error) {
		l := &metav1.APIResourceList{}
		path := []string{"apis", gv.Group, gv.Version}
		if gv.Group == "" {
			path = []string{"api", gv.Version}
		}
		if err := k.get(ctx, l, path...); err != nil {
			return nil, err
		}
		k.mu.Lock()
		k.versions[gv] = l
		k.mu.Unlock()
		return l, nil
	})
}

func (k *kinds) get(ctx context.Context, into any, path ...string) error {
	return k.cluster.read(ctx, func(ctx context.Context) error {
		body, err := k.cluster.requests.Get().AbsPath(path...).MaxRetries(0).Do(ctx).Raw()
		if err != nil {
			return err
		}
		return json.Unmarshal(body, into)
	})
}

// find gives a kind in the version asked for, or in the one that fits best
// when apiVersion is empty. A kind that is not served is a *NotServedError.
func (k *kinds) find(ctx context.Context, gk schema.GroupKind, apiVersion string) (kind, error) {
	if apiVersion != "" {
		gv, err := schema.ParseGroupVersion(apiVersion)
		if err != nil {
			return kind{}, err
		}
		out, err := k.in(ctx, gk, gv.Version)
		if notServed(err) && gv.Group == gk.Group {
			if _, other := k.find(ctx, gk, ""); other == nil {
				return kind{}, &NotServedError{Group: gk.Group, Kind: gk.Kind, APIVersion: apiVersion}
			}
		}
		return out, err
	}
	if out, ok := builtin[gk]; ok {
		return out, nil
	}
	v, err := once(k, "choice "+gk.String(), func() (string, bool) {
		v, ok := k.chosen[gk]
		return v, ok
	}, func() (string, error) {
		v, err := k.choose(ctx, gk)
		if err == nil {
			k.mu.Lock()
			k.chosen[gk] = v
			k.mu.Unlock()
		}
		return v, err
	})
	if err != nil {
		return kind{}, err
	}
	return k.in(ctx, gk, v)
}

// in gives a kind in one version of its group.
func (k *kinds) in(ctx context.Context, gk schema.GroupKind, v string) (kind, error) {
	k.mu.Lock()
	out, read := k.read[gk.WithVersion(v)]
	k.mu.Unlock()
	if read {
		return out, nil
	}
	gv := schema.GroupVersion{Group: gk.Group, Version: v}
	list, err := k.resources(ctx, gv)
	switch {
	case apierrors.IsNotFound(err):
		return kind{}, &NotServedError{Group: gk.Group, Kind: gk.Kind}
	case err != nil:
		return kind{}, k.failed(gk, err)
	}
	for _, r := range list.APIResources {
		if r.Kind == gk.Kind && !strings.Contains(r.Name, "/") {
			return kind{resource: gv.WithResource(r.Name), namespaced: r.Namespaced}, nil
		}
	}
	return kind{}, &NotServedError{Group: gk.Group, Kind: gk.Kind}
}

func (k *kinds) failed(gk schema.GroupKind, err error) error {
	return reading("the API of "+gk.String(), err)
}

func notServed(err error) bool {
	var missing *NotServedError
	return errors.As(err, &missing)
}

// choose gives the version to read a kind in. Cluster API's own kinds are read
// in v1beta2, or in v1beta1 where that is all there is. A provider's kinds are
// read in the version that their CRD gives for the contract that the core keeps
// to: API version and contract version are different things (Cluster API,
// internal/contract/version.go). All others are read in the preferred version.
func (k *kinds) choose(ctx context.Context, gk schema.GroupKind) (string, error) {
	group, err := k.group(ctx, gk.Group)
	switch {
	case apierrors.IsNotFound(err):
		return "", &NotServedError{Group: gk.Group, Kind: gk.Kind}
	case err != nil:
		return "", k.failed(gk, err)
	}
	served := make([]string, 0, len(group.Versions))
	for _, v := range group.Versions {
		served = append(served, v.Version)
	}
	if gk.Group == capi.Group {
		for _, v := range []string{"v1beta2", "v1beta1"} {
			if slices.Contains(served, v) {
				return v, nil
			}
		}
		return "", fmt.Errorf("the management cluster serves %s in %s; nodepool reads v1beta2 and v1beta1",
			gk, strings.Join(served, ", "))
	}
	// The preferred version first, then the others, newest first: a kind may be
	// missing in some.
	slices.SortFunc(served, newestFirst)
	preferred := group.PreferredVersion.Version
	candidates := append([]string{preferred}, slices.DeleteFunc(slices.Clone(served), func(v string) bool { return v == preferred })...)
	fallback, plural, holding := "", "", 0
	for _, v := range candidates {
		found, err := k.in(ctx, gk, v)
		if notServed(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		if holding++; fallback == "" {
			fallback, plural = v, found.resource.Resource
		}
	}
	if fallback == "" {
		return "", &NotServedError{Group: gk.Group, Kind: gk.Kind}
	}
	if !strings.HasSuffix(gk.Group, "."+capi.Group) {
		return fallback, nil
	}
	if holding == 1 { // there is nothing to choose
		if strings.HasSuffix(gk.Kind, "Template") { // which Inquire asks about
			go func() { _, _ = k.labels(context.WithoutCancel(ctx), plural+"."+gk.Group) }()
		}
		return fallback, nil
	}
	labels, err := k.labels(ctx, plural+"."+gk.Group)
	if leavesOut(err) {
		return "", err
	}
	if err != nil {
		return "", k.failed(gk, err)
	}
	for _, contract := range k.contracts(ctx) {
		// A list of versions, joined by underscores.
		listed := strings.Split(labels[capi.Group+"/"+contract], "_")
		slices.SortFunc(listed, newestFirst)
		for _, v := range listed {
			if !slices.Contains(served, v) {
				continue
			}
			if _, err := k.in(ctx, gk, v); err == nil {
				return v, nil
			} else if !notServed(err) {
				return "", err
			}
		}
	}
	return fallback, nil
}

// contracts gives the contract versions that the core keeps to, best first: one
// that serves v1beta2 takes providers of both, an older one only v1beta1.
func (k *kinds) contracts(ctx context.Context) []string {
	k.mu.Lock()
	read := len(k.read) > 0 // in v1beta2
	k.mu.Unlock()
	if read {
		return []string{"v1beta2", "v1beta1"}
	}
	core, err := k.group(ctx, capi.Group)
	if err == nil && !slices.ContainsFunc(core.Versions, func(v metav1.GroupVersionForDiscovery) bool { return v.Version == "v1beta2" }) {
		return []string{"v1beta1"}
	}
	return []string{"v1beta2", "v1beta1"}
}

// labels gives the labels of a CRD; none when the kind comes from an aggregated
// API server. A missing right is an *apply.ForbiddenError: which version is read
// decides what a plan says, and must not hang on who plans.
func (k *kinds) labels(ctx context.Context, crd string) (map[string]string, error) {
	return once(k, "labels "+crd, func() (map[string]string, bool) {
		labels, ok := k.marks[crd]
		return labels, ok
	}, func() (map[string]string, error) {
		labels, err := k.readLabels(ctx, crd)
		if err == nil {
			k.mu.Lock()
			k.marks[crd] = labels
			k.mu.Unlock()
		}
		return labels, err
	})
}

func (k *kinds) readLabels(ctx context.Context, crd string) (map[string]string, error) {
	var labels map[string]string
	err := k.cluster.read(ctx, func(ctx context.Context) error {
		// The metadata alone, from the server's cache, as all discovery: a CRD's
		// schema can be half a megabyte, and takes long to read from etcd.
		o, err := k.cluster.metadata.Resource(schema.GroupVersionResource{
			Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
		}).Get(ctx, crd, metav1.GetOptions{ResourceVersion: "0"})
		if err == nil {
			labels = o.Labels
		}
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case apierrors.IsForbidden(err):
		return nil, &apply.ForbiddenError{Verb: "get", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions", Name: crd}
	}
	return labels, err
}

// newestFirst orders by the priority of Kubernetes versions: v2, v1, v1beta2,
// v1beta1, v1alpha1, others.
func newestFirst(a, b string) int {
	return cmp.Compare(0, version.CompareKubeAwareVersionStrings(a, b))
}

// forbidden gives the missing right as an apply.ForbiddenError.
func forbidden(s plan.Selector, verb string, k kind) *apply.ForbiddenError {
	namespace := s.Namespace
	if !k.namespaced {
		namespace = ""
	}
	return &apply.ForbiddenError{Verb: verb, Group: s.Group, Resource: k.resource.Resource, Namespace: namespace, Name: s.Name}
}

func groupKind(s plan.Selector) schema.GroupKind {
	return schema.GroupKind{Group: s.Group, Kind: s.Kind}
}
