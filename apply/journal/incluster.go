package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"nodepool/apply"
)

// The labels of what stands in the cluster. The first is Cluster API's own.
const (
	clusterLabel = "cluster.x-k8s.io/cluster-name"
	journalLabel = "nodepool/journal" // "v1" on each journal
	lockLabel    = "nodepool/lock"    // "v1" on each lock
)

// Cluster is the Cluster object that bookkeeping stands beside, and that owns
// it: it is deleted with it, and clusterctl move takes the journal along, since
// it moves every ConfigMap that a Cluster owns (cmd/clusterctl/client/cluster/
// objectgraph.go of Cluster API v1.13). Leases do not move.
type Cluster struct {
	APIVersion, Namespace, Name string
	UID                         types.UID
}

func (c Cluster) owner() metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: c.APIVersion, Kind: "Cluster", Name: c.Name, UID: c.UID}
}

// own makes the Cluster the owner of o, beside others; it replaces a reference
// to a Cluster of the same name that is no more.
func (c Cluster) own(o metav1.Object) {
	owners := []metav1.OwnerReference{c.owner()}
	for _, other := range o.GetOwnerReferences() {
		if other.Kind != "Cluster" || other.Name != c.Name {
			owners = append(owners, other)
		}
	}
	o.SetOwnerReferences(owners)
}

func (c Cluster) label(o metav1.Object, mark string) {
	all := o.GetLabels()
	if all == nil {
		all = map[string]string{}
	}
	all[clusterLabel], all[mark] = c.Name, "v1"
	o.SetLabels(all)
}

// InCluster is the bookkeeping in the management cluster beside one Cluster
// object.
type InCluster struct {
	cluster Cluster
	core    corev1client.CoreV1Interface
	leases  coordinationv1client.LeasesGetter
	plans   plans
	// Patience is how long a server that does not answer is waited for, as
	// the executor does around the writes of a plan; 0 means five minutes.
	Patience time.Duration
}

// Connect gives the bookkeeping beside a Cluster object. It sends no request.
func Connect(config *rest.Config, cluster Cluster) (*InCluster, error) {
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	leases, err := coordinationv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig: %w", err)
	}
	return New(core, leases, cluster), nil
}

// New gives the bookkeeping beside a Cluster object over given clients.
func New(core corev1client.CoreV1Interface, leases coordinationv1client.LeasesGetter, cluster Cluster) *InCluster {
	return &InCluster{cluster: cluster, core: core, leases: leases}
}

// Runs gives the runs of all upgrades of the Cluster that its journals hold,
// and for a Cluster without a name those of all in its namespace. Of a journal that is damaged it tells in the error, and gives
// those of the others.
func (s *InCluster) Runs(ctx context.Context) ([]apply.Run, error) {
	set := labels.Set{journalLabel: "v1"}
	if s.cluster.Name != "" {
		set[clusterLabel] = s.cluster.Name
	}
	selector := labels.SelectorFromSet(set).String()
	var all *corev1.ConfigMapList
	err := s.insist(ctx, readPatience, func(ctx context.Context) (err error) {
		all, err = s.core.ConfigMaps(s.cluster.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		return err
	})
	if err != nil {
		return nil, s.said("list", "configmaps", "", err)
	}
	var out []apply.Run
	var errs []error
	for i := range all.Items {
		b, err := s.read(&all.Items[i], s.cluster.Name, "")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, b.runs...)
	}
	return out, errors.Join(errs...)
}

const (
	defaultPatience = 5 * time.Minute
	// readPatience is how long a look is tried, as apply/kube does with reads.
	readPatience = 20 * time.Second
	// tryTimeout bounds one request.
	tryTimeout = 15 * time.Second
)

func (s *InCluster) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return defaultPatience
}

// insist sends a request, and again while the server or the way to it fails,
// until patience ends; the last error is given. It must be one that may be sent
// twice.
func (s *InCluster) insist(ctx context.Context, patience time.Duration, request func(context.Context) error) error {
	began := time.Now()
	delay := 500 * time.Millisecond
	for {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		err := request(try)
		cancel()
		if err == nil || ctx.Err() != nil || answered(err) || time.Since(began)+delay > patience {
			return err
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		delay = min(2*delay, 15*time.Second)
	}
}

// answered reports whether err is an answer that will not be another next
// time: a 4xx of the server, save a time-out and an overload, or an error of
// our own.
func answered(err error) bool {
	var own *CorruptError
	var newer *FormatError
	var other *apply.UnfinishedError
	var large *SizeError
	if errors.As(err, &own) || errors.As(err, &newer) || errors.As(err, &other) || errors.As(err, &large) {
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= 400 && code < 500 && code != 408 && code != 429
}

// said words the error of a request.
func (s *InCluster) said(verb, resource, name string, err error) error {
	if apierrors.IsForbidden(err) {
		group := ""
		if resource == "leases" {
			group = "coordination.k8s.io"
		}
		return &apply.ForbiddenError{Verb: verb, Group: group, Resource: resource, Namespace: s.cluster.Namespace, Name: name}
	}
	if name != "" {
		resource += " " + s.cluster.Namespace + "/" + name
	}
	return fmt.Errorf("%s %s: %w", verb, resource, err)
}
