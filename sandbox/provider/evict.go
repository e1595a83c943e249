package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/emicklei/go-restful/v3"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	inmemory "sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/runtime"
	"sigs.k8s.io/cluster-api/test/infrastructure/inmemory/pkg/server/api"
)

// addEviction makes the in-memory API servers evict pods as a real one does.
// Upstream's answer "not found", which a drain takes for a pod that has gone,
// so that no drain ever waits.
func addEviction(ws *restful.WebService, cloud inmemory.Manager, resolve api.ResourceGroupResolver) {
	evict := func(req *restful.Request, resp *restful.Response) {
		group, err := resolve(req.Request.Host)
		if err == nil {
			pod := types.NamespacedName{Namespace: req.PathParameter("namespace"), Name: req.PathParameter("name")}
			err = evictPod(req.Request.Context(), cloud.GetResourceGroup(group).GetClient(), pod)
		}
		status := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess, Code: http.StatusCreated}
		if err != nil {
			status = apierrors.NewInternalError(err).ErrStatus
			var known apierrors.APIStatus
			if errors.As(err, &known) {
				status = known.Status()
			}
			status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		}
		// The connection is gone when this fails; there is nobody to tell.
		_ = resp.WriteHeaderAndEntity(int(status.Code), status)
	}
	ws.Route(ws.POST("/api/v1/namespaces/{namespace}/pods/{name}/eviction").Consumes("*/*").To(evict))
}

// store is what evictPod needs of a workload cluster.
type store interface {
	Get(ctx context.Context, key client.ObjectKey, obj client.Object) error
	List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error
	Delete(ctx context.Context, obj client.Object) error
}

func evictPod(ctx context.Context, cluster store, key types.NamespacedName) error {
	pod := &corev1.Pod{}
	if err := cluster.Get(ctx, key, pod); err != nil {
		return err
	}
	var budgets policyv1.PodDisruptionBudgetList
	if err := cluster.List(ctx, &budgets, client.InNamespace(key.Namespace)); err != nil {
		return err
	}
	var pods corev1.PodList
	if err := cluster.List(ctx, &pods, client.InNamespace(key.Namespace)); err != nil {
		return err
	}
	if err := permitted(pod, pods.Items, budgets.Items); err != nil {
		return err
	}
	return cluster.Delete(ctx, pod)
}

// permitted says whether the budgets allow one disruption of pod. There are no
// kubelets, so every pod that is there counts as healthy.
func permitted(pod *corev1.Pod, pods []corev1.Pod, budgets []policyv1.PodDisruptionBudget) error {
	for _, b := range budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			return fmt.Errorf("selector of PodDisruptionBudget %s: %w", b.Name, err)
		}
		if !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		healthy := 0
		for _, p := range pods {
			if p.DeletionTimestamp.IsZero() && selector.Matches(labels.Set(p.Labels)) {
				healthy++
			}
		}
		needed, err := neededPods(b.Spec, healthy)
		if err != nil {
			return fmt.Errorf("PodDisruptionBudget %s: %w", b.Name, err)
		}
		if healthy-1 >= needed {
			continue
		}
		refusal := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		refusal.ErrStatus.Details.Causes = append(refusal.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    policyv1.DisruptionBudgetCause,
			Message: fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, needed, healthy),
		})
		return refusal
	}
	return nil
}

func neededPods(spec policyv1.PodDisruptionBudgetSpec, pods int) (int, error) {
	switch {
	case spec.MinAvailable != nil:
		return intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, pods, true)
	case spec.MaxUnavailable != nil:
		unavailable, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, pods, true)
		return pods - unavailable, err
	}
	return 0, nil
}
