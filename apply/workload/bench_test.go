package workload_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodepool/apply/workload"
	"nodepool/plan"
)

// BenchmarkLook looks at a cluster of 1,000 nodes, 10,000 pods and 500 budgets.
// live-MiB is the most that is alive at once, looked at all the time in a look of
// its own; kept-MiB is what it leaves behind. The server is in the same process,
// and both are beyond what it holds. Objects are of the size of real ones: a node has 50 images, a
// pod's spec and status come to some kilobytes.
func BenchmarkLook(b *testing.B) {
	for _, pods := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("pods=%d", pods), func(b *testing.B) { benchmarkLook(b, pods) })
	}
}

func benchmarkLook(b *testing.B, pods int) {
	s := newServer(b)
	w, up := management(s.kubeconfig()), upgrade(b)
	snap := observe(b, w, up)
	for _, n := range goingNodes(b, w, up) {
		s.nodes = append(s.nodes, largeNode(n))
	}
	for i := len(s.nodes); i < 1000; i++ {
		s.nodes = append(s.nodes, largeNode(named("node", i)))
	}
	for i := range 500 {
		app := named("app", i)
		s.budgets = append(s.budgets, policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: app},
			Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}})
	}
	for i := range pods {
		s.pods = append(s.pods, largePod(named("app", i%500), named("pod", i), s.nodes[i%len(s.nodes)].Name))
	}
	inquirer := workload.Inquirer{Management: w.Open(nil), Patience: time.Minute}
	inquirer.Inquire(b.Context(), plan.Ask(up, snap), snap) // the server encodes its pages
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	peak, stop, watched := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
				peak = max(peak, live())
			}
		}
	}()
	inquirer.Inquire(b.Context(), plan.Ask(up, snap), snap)
	close(stop)
	<-watched
	after := live()

	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		r, _ := inquirer.Inquire(b.Context(), plan.Ask(up, snap), snap).Workload()
		if r.Pods != pods || r.Nodes != 1000 {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric((float64(peak)-float64(before))/(1<<20), "live-MiB")
	b.ReportMetric((float64(after)-float64(before))/(1<<20), "kept-MiB")
}

func largeNode(name string) corev1.Node {
	n := readyNode(name)
	for i := range 50 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{SizeBytes: 1 << 20,
			Names: []string{fmt.Sprintf("registry.example.com/team/image-%02d@sha256:%064d", i, i), fmt.Sprintf("registry.example.com/team/image-%02d:v1.2.3", i)}})
	}
	return n
}

func largePod(app, name, node string) corev1.Pod {
	p := runningPod("shop", name, node)
	p.Labels = map[string]string{"app": app, "app.kubernetes.io/name": app, "app.kubernetes.io/instance": name, "pod-template-hash": "5d8f9c7b6"}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", Operation: "Update", FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(fmt.Sprintf(`{"f:status":{"f:note":"%01500d"}}`, 1))}}
	for i := range 40 {
		p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%02d", i), Value: "some value of a usual length"})
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	return p
}
