package workload

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

var _ apply.Inquirer = Inquirer{}

// DefaultPatience is how long a look takes at most.
const DefaultPatience = 10 * time.Second

// Inquirer looks at the workload cluster of an upgrade.
type Inquirer struct {
	// Management is the management cluster, which has the Secret.
	Management apply.Reader
	// UserAgent names this program to the workload cluster.
	UserAgent string
	// Patience bounds the look as a whole; zero is DefaultPatience.
	Patience time.Duration
}

// Inquire gives snap with a plan.WorkloadReport, or as it is when no machine
// will be replaced whose node there would be to look at.
func (i Inquirer) Inquire(ctx context.Context, ask plan.Questions, snap plan.Snapshot) plan.Snapshot {
	if ask.Workload == nil {
		return snap
	}
	patience := i.Patience
	if patience == 0 {
		patience = DefaultPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	report, err := i.look(ctx, *ask.Workload)
	if ctx.Err() != nil {
		// Whatever the error says is a consequence.
		err = &refusal{why: fmt.Sprintf("it took longer than %s", patience),
			remedy: "make sure that the workload cluster's API server can be reached from here and answers in time, then plan again"}
	}
	if err != nil {
		report = plan.WorkloadReport{NotVerified: "the look failed", Remedy: "plan again"}
		var r *refusal
		if errors.As(err, &r) {
			report.NotVerified, report.Remedy = r.why, r.remedy
		}
	}
	return snap.WithWorkload(report)
}

// refusal says why nothing was found out, and what to do.
type refusal struct{ why, remedy string }

func (r *refusal) Error() string { return r.why }

func (i Inquirer) look(ctx context.Context, q plan.WorkloadQuery) (plan.WorkloadReport, error) {
	data, rules, unread, err := i.ask(ctx, q.Cluster)
	if err != nil {
		return plan.WorkloadReport{}, err
	}
	secret := secretOf(q.Cluster)
	config, err := parse(data)
	if err != nil {
		return plan.WorkloadReport{}, &refusal{why: fmt.Sprintf("the kubeconfig in %s is not used: %s", secret, err),
			remedy: "nodepool uses a kubeconfig as Cluster API writes it: an https server, and in itself a certificate authority and a client certificate or a token"}
	}
	config.UserAgent = i.UserAgent
	c, err := connect(config)
	if err != nil {
		return plan.WorkloadReport{}, &refusal{why: fmt.Sprintf("the kubeconfig in %s is not used: its certificates or its key cannot be read", secret),
			remedy: "correct the Secret, then plan again; the provider of the control plane makes it anew when it is deleted"}
	}
	defer c.close()
	tally := plan.NewWorkloadTally(q, rules)
	if unread != "" {
		tally.Unread("MachineDrainRules", unread)
	}
	if err := c.read(ctx, tally); err != nil {
		return plan.WorkloadReport{}, err
	}
	return tally.Report(), nil
}

func secretOf(cluster plan.Ref) plan.Ref {
	return plan.Ref{Kind: "Secret", Namespace: cluster.Namespace, Name: cluster.Name + "-kubeconfig"}
}

// ask gets the kubeconfig and the MachineDrainRules from the management cluster;
// unread says why these could not be read, where they could not.
func (i Inquirer) ask(ctx context.Context, cluster plan.Ref) (kubeconfig []byte, rules []*unstructured.Unstructured, unread string, err error) {
	ref := secretOf(cluster)
	secret := plan.Selector{Ref: ref}
	got, err := i.Management.Fetch(ctx, []plan.Selector{secret})
	var forbidden *apply.ForbiddenError
	switch {
	case errors.As(err, &forbidden):
		return nil, nil, "", &refusal{why: fmt.Sprintf("you may not %s, which holds the kubeconfig of the workload cluster (%s)", forbidden.What(), ref),
			remedy: "ask for that right (role nodepool-workload in deploy/rbac.yaml; such a kubeconfig is often one of a cluster-admin), then plan again; or leave the look out"}
	case err != nil:
		return nil, nil, "", &refusal{why: fmt.Sprintf("%s could not be read from the management cluster", ref), remedy: "plan again"}
	}
	o, ok := got.Object(ref)
	encoded := ""
	if ok {
		encoded, _, _ = unstructured.NestedString(o.Object, "data", "value")
	}
	kubeconfig, err = base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(kubeconfig) == 0 {
		return nil, nil, "", &refusal{why: fmt.Sprintf("there is no %s with a kubeconfig in its key value", ref),
			remedy: "make sure that the control plane has been made, for its provider makes the Secret; then plan again"}
	}
	rules, unread = i.drainRules(ctx, cluster)
	return kubeconfig, rules, unread, nil
}

// drainRules gives the MachineDrainRules of the Cluster's namespace, or why they
// could not be read. Cluster API before v1.9 has none.
func (i Inquirer) drainRules(ctx context.Context, cluster plan.Ref) (rules []*unstructured.Unstructured, unread string) {
	all := plan.Selector{Ref: plan.Ref{Group: capi.Group, Kind: "MachineDrainRule", Namespace: cluster.Namespace}}
	got, err := i.Management.Fetch(ctx, []plan.Selector{all})
	var forbidden *apply.ForbiddenError
	switch {
	case err == nil:
		return got.List(all), ""
	case errors.As(err, &forbidden):
		return nil, "you may not " + forbidden.What()
	}
	all.Optional = true // which bears a kind that is not there
	if _, err := i.Management.Fetch(ctx, []plan.Selector{all}); err != nil {
		return nil, "the management cluster does not answer"
	}
	return nil, ""
}

// client reads a workload cluster.
type client struct {
	http   *http.Client
	config *rest.Config
}

// connect makes a client that can list and do nothing else. It sends no request.
func connect(config *rest.Config) (*client, error) {
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NoWarnings{}
	config.QPS = -1 // one request follows the other
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return readOnly{server: server, next: next} })
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &client{http: h, config: config}, nil
}

func (c *client) close() { utilnet.CloseIdleConnectionsFor(c.http.Transport) }
