// Package journaltest is a management cluster in memory for tests of what is
// kept beside a Cluster object.
package journaltest

import (
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// NewClientset gives client-go's fake clientset, made to keep resource versions
// and preconditions as an API server does; by itself it does neither.
func NewClientset() *fake.Clientset {
	client := fake.NewClientset()
	var mu sync.Mutex
	last := 100
	next := func() string {
		last++
		return strconv.Itoa(last)
	}
	react := func(a clienttesting.Action) (handled bool, out runtime.Object, err error) {
		mu.Lock()
		defer mu.Unlock()
		group := schema.GroupResource{Group: a.GetResource().Group, Resource: a.GetResource().Resource}
		stored := func(name string) (metav1.Object, error) {
			o, err := client.Tracker().Get(a.GetResource(), a.GetNamespace(), name)
			if err != nil {
				return nil, err
			}
			return meta.Accessor(o)
		}
		switch a := a.(type) {
		case clienttesting.DeleteActionImpl:
			o, err := stored(a.Name)
			if err != nil {
				return true, nil, err
			}
			if p := a.DeleteOptions.Preconditions; p != nil &&
				(p.UID != nil && *p.UID != o.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion()) {
				return true, nil, apierrors.NewConflict(group, a.Name, nil)
			}
			return true, nil, client.Tracker().Delete(a.GetResource(), a.GetNamespace(), a.Name)
		case clienttesting.UpdateActionImpl:
			o := a.GetObject().DeepCopyObject()
			sent, err := meta.Accessor(o)
			if err != nil {
				return true, nil, err
			}
			was, err := stored(sent.GetName())
			if err != nil {
				return true, nil, err
			}
			if v := sent.GetResourceVersion(); v != "" && v != was.GetResourceVersion() {
				return true, nil, apierrors.NewConflict(group, sent.GetName(), nil)
			}
			sent.SetResourceVersion(next())
			return true, o, client.Tracker().Update(a.GetResource(), o, a.GetNamespace())
		case clienttesting.CreateActionImpl:
			o := a.GetObject().DeepCopyObject()
			sent, err := meta.Accessor(o)
			if err != nil {
				return true, nil, err
			}
			sent.SetResourceVersion(next())
			sent.SetUID(types.UID("uid-" + sent.GetResourceVersion()))
			return true, o, client.Tracker().Create(a.GetResource(), o, a.GetNamespace())
		}
		return false, nil, nil
	}
	client.PrependReactor("*", "*", react)
	return client
}
