package workload

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	policyclient "k8s.io/client-go/kubernetes/typed/policy/v1"
	"k8s.io/client-go/tools/pager"

	"nodepool/plan"
)

// pageSize is what is asked for at a time, and held.
const pageSize = 500

// overdue is how long after its time a pod that is being deleted is taken for
// one that does not go.
const overdue = 5 * time.Minute

// read adds all that there is to tally, the pods last. A kind that may not be
// listed, or is not there, is noted; that the cluster cannot be talked to at all
// is an error.
func (c *client) read(ctx context.Context, tally *plan.WorkloadTally) error {
	core, err := coreclient.NewForConfigAndClient(c.config, c.http)
	if err != nil {
		return err
	}
	apps, err := appsclient.NewForConfigAndClient(c.config, c.http)
	if err != nil {
		return err
	}
	policy, err := policyclient.NewForConfigAndClient(c.config, c.http)
	if err != nil {
		return err
	}
	now := metav1.Now()
	for _, kind := range []struct {
		name  string
		asked bool
		page  func(context.Context, metav1.ListOptions) (runtime.Object, error)
		add   func(runtime.Object)
	}{
		{"Nodes", true, page(core.Nodes().List), func(o runtime.Object) { tally.Node(nodeSeen(o.(*corev1.Node))) }},
		{"Namespaces", tally.NeedsNamespaces(), page(core.Namespaces().List), func(o runtime.Object) {
			n := o.(*corev1.Namespace)
			tally.Namespace(n.Name, n.Labels)
		}},
		{"DaemonSets", true, page(apps.DaemonSets("").List), func(o runtime.Object) {
			d := o.(*appsv1.DaemonSet)
			tally.DaemonSet(d.Namespace, d.Name)
		}},
		{"PersistentVolumes", true, page(core.PersistentVolumes().List), func(o runtime.Object) {
			tally.Volume(volumeSeen(o.(*corev1.PersistentVolume)))
		}},
		{"PodDisruptionBudgets", true, page(policy.PodDisruptionBudgets("").List), func(o runtime.Object) {
			tally.Budget(budgetSeen(o.(*policyv1.PodDisruptionBudget)))
		}},
		{"Pods", true, page(core.Pods("").List), func(o runtime.Object) {
			// A drain removes pods that have ended, and nothing is lost by it.
			if p := o.(*corev1.Pod); p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				tally.Pod(podSeen(p, now))
			}
		}},
	} {
		if !kind.asked {
			continue
		}
		// Not by a ListPager's list in one piece when a page expires: that would
		// not be bounded.
		pages := pager.ListPager{PageSize: pageSize, PageFn: kind.page, PageBufferSize: 0}
		err := pages.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
			kind.add(o)
			return nil
		})
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return err
		case answered(err):
			tally.Unread(kind.name, words(err))
		default:
			return &refusal{why: "its API server cannot be talked to: " + words(err),
				remedy: "make sure that the address and the certificates in the cluster's kubeconfig are good from where nodepool runs, then plan again; or leave the look out"}
		}
	}
	return nil
}

// page makes a typed list one of the pager.
func page[L runtime.Object](list func(context.Context, metav1.ListOptions) (L, error)) func(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return list(ctx, options)
	}
}

// answered tells an answer of the API server from none.
func answered(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsUnauthorized(err)
}

// words says what went wrong by its kind. The error's own text may hold the
// server's address and names of the certificate, which are the Secret's.
func words(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		dns      *net.DNSError
		network  net.Error
	)
	switch {
	case apierrors.IsForbidden(err):
		return "the user of its kubeconfig may not list them"
	case apierrors.IsUnauthorized(err):
		return "it does not accept the credentials of the kubeconfig"
	case apierrors.IsNotFound(err):
		return "it does not serve them"
	case apierrors.IsResourceExpired(err):
		return "they changed too fast to be read"
	case answered(err):
		var status apierrors.APIStatus
		errors.As(err, &status)
		return fmt.Sprintf("it answered with the status %d", status.Status().Code)
	case errors.Is(err, errTooLarge):
		return "an answer is too large"
	case errors.Is(err, errNotAllowed):
		return "it sends requests on to somewhere else"
	case errors.As(err, &unknown), errors.As(err, &hostname), errors.As(err, &invalid):
		return "its certificate is not trusted"
	case errors.As(err, &dns):
		return "the name of its server is not known"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused"
	case errors.As(err, &network) && network.Timeout():
		return "it does not answer in time"
	}
	return "the request failed"
}

func nodeSeen(n *corev1.Node) plan.NodeSeen {
	out := plan.NodeSeen{Name: n.Name, Hostname: n.Labels[corev1.LabelHostname], Cordoned: n.Spec.Unschedulable,
		KubeletVersion: n.Status.NodeInfo.KubeletVersion}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready, out.Unreachable = c.Status == corev1.ConditionTrue, c.Status == corev1.ConditionUnknown
		}
	}
	return out
}

func volumeSeen(v *corev1.PersistentVolume) plan.VolumeSeen {
	out := plan.VolumeSeen{Name: v.Name}
	if claim := v.Spec.ClaimRef; claim != nil {
		out.Claim = claim.Namespace + "/" + claim.Name
	}
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return out
	}
	for _, term := range v.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range slices.Concat(term.MatchExpressions, term.MatchFields) {
			if e.Operator == corev1.NodeSelectorOpIn && len(e.Values) == 1 {
				out.Nodes = append(out.Nodes, e.Values[0])
			}
		}
	}
	return out
}

func budgetSeen(b *policyv1.PodDisruptionBudget) plan.BudgetSeen {
	out := plan.BudgetSeen{Namespace: b.Namespace, Name: b.Name, Selector: labels.Nothing(),
		Allowed: int(b.Status.DisruptionsAllowed), Healthy: int(b.Status.CurrentHealthy),
		Desired: int(b.Status.DesiredHealthy), Expected: int(b.Status.ExpectedPods),
		Current:     b.Status.ObservedGeneration >= b.Generation,
		AlwaysAllow: b.Spec.UnhealthyPodEvictionPolicy != nil && *b.Spec.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow,
	}
	if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil {
		out.Selector = selector
	}
	for _, c := range b.Status.Conditions {
		if c.Type == policyv1.DisruptionAllowedCondition && c.Reason == policyv1.SyncFailedReason {
			out.Failed = true
		}
	}
	return out
}

func podSeen(p *corev1.Pod, now metav1.Time) plan.PodSeen {
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	out := plan.PodSeen{Namespace: p.Namespace, Name: p.Name, Node: p.Spec.NodeName, Labels: p.Labels, Mirror: mirror,
		Pending: p.Status.Phase == corev1.PodPending}
	if controller := metav1.GetControllerOf(p); controller != nil {
		out.ControllerKind, out.ControllerName = controller.Kind, controller.Name
	}
	if p.DeletionTimestamp != nil {
		// It holds the time at which the pod was to be gone, its grace over.
		out.Deleting, out.Overdue = true, now.Sub(p.DeletionTimestamp.Time) > overdue
	}
	for _, c := range p.Status.Conditions {
		switch c.Type {
		case corev1.PodReady:
			out.Ready = c.Status == corev1.ConditionTrue
		case corev1.PodScheduled:
			out.Unschedulable = c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
		default:
		}
	}
	for _, t := range p.Spec.Tolerations {
		keyed := t.Key == "" && t.Operator == corev1.TolerationOpExists || t.Key == corev1.TaintNodeUnschedulable
		if keyed && (t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule) {
			out.ToleratesCordon = true
		}
	}
	for _, v := range p.Spec.Volumes {
		switch {
		case v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumMemory:
			out.EmptyDir = true
		case v.HostPath != nil && directory(v.HostPath) && writes(p, v.Name):
			out.HostPath = true
		}
	}
	return out
}

// directory tells what may hold data from sockets and devices.
func directory(v *corev1.HostPathVolumeSource) bool {
	if v.Type == nil {
		return true
	}
	switch *v.Type {
	case corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev:
		return false
	default:
		return true
	}
}

// writes reports whether a container of p mounts a volume other than to read.
func writes(p *corev1.Pod, volume string) bool {
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range containers {
			for _, m := range c.VolumeMounts {
				if m.Name == volume && !m.ReadOnly {
					return true
				}
			}
		}
	}
	return false
}
