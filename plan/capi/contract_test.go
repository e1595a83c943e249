package capi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"nodepool/plan/capi"
)

// parse reads an object from YAML.
func parse(t *testing.T, text string) *object {
	t.Helper()
	o := &object{}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "apiVersion") {
		t.Fatal("no apiVersion")
	}
	if err := o.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return o
}

func machineDeployment(t *testing.T, apiVersion string) *object {
	t.Helper()
	return parse(t, "{apiVersion: "+apiVersion+", kind: MachineDeployment, metadata: {name: md, namespace: team}}")
}

func TestFieldsOf(t *testing.T) {
	paths := func(f capi.Fields) map[string]string {
		out := map[string]string{}
		for name, path := range map[string][]string{
			"version": f.Version, "infra": f.InfrastructureRef, "bootstrap": f.BootstrapRef, "secret": f.DataSecretName,
			"domain": f.FailureDomain, "paused": f.Paused, "strategy": f.StrategyType, "surge": f.MaxSurge, "unavailable": f.MaxUnavailable,
			"replicas": f.Replicas, "drain": f.NodeDrainTimeout, "detach": f.NodeVolumeDetachTimeout, "deletion": f.NodeDeletionTimeout,
		} {
			out[name] = strings.Join(path, ".")
		}
		return out
	}
	want := map[string]string{
		"version": "spec.template.spec.version", "infra": "spec.template.spec.infrastructureRef",
		"bootstrap": "spec.template.spec.bootstrap.configRef", "secret": "spec.template.spec.bootstrap.dataSecretName",
		"domain": "spec.template.spec.failureDomain", "paused": "spec.paused", "replicas": "spec.replicas",
		"strategy": "spec.rollout.strategy.type", "surge": "spec.rollout.strategy.rollingUpdate.maxSurge",
		"unavailable": "spec.rollout.strategy.rollingUpdate.maxUnavailable",
		"drain":       "spec.template.spec.deletion.nodeDrainTimeoutSeconds",
		"detach":      "spec.template.spec.deletion.nodeVolumeDetachTimeoutSeconds",
		"deletion":    "spec.template.spec.deletion.nodeDeletionTimeoutSeconds",
	}
	f, err := capi.FieldsOf(machineDeployment(t, "cluster.x-k8s.io/v1beta2"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, paths(f)); d != "" {
		t.Errorf("v1beta2 (-want +got):\n%s", d)
	}
	old, err := capi.FieldsOf(machineDeployment(t, "cluster.x-k8s.io/v1beta1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"strategy": "spec.strategy.type", "surge": "spec.strategy.rollingUpdate.maxSurge", "unavailable": "spec.strategy.rollingUpdate.maxUnavailable",
		"drain": "spec.template.spec.nodeDrainTimeout", "detach": "spec.template.spec.nodeVolumeDetachTimeout", "deletion": "spec.template.spec.nodeDeletionTimeout",
	} {
		want[name] = path
	}
	if d := cmp.Diff(want, paths(old)); d != "" {
		t.Errorf("v1beta1 (-want +got):\n%s", d)
	}
	if f.APIVersion != "cluster.x-k8s.io/v1beta2" || old.APIVersion != "cluster.x-k8s.io/v1beta1" {
		t.Errorf("the API versions are %s and %s", f.APIVersion, old.APIVersion)
	}
	for d, want := range map[time.Duration][2]any{
		10 * time.Minute:                  {int64(600), "10m0s"},
		0:                                 {int64(0), "0s"},
		90*time.Second + time.Millisecond: {int64(91), "1m31s"},
	} {
		if got := [2]any{f.Timeout(d), old.Timeout(d)}; got != want {
			t.Errorf("%s is stored as %v, want %v", d, got, want)
		}
	}
	for _, version := range []string{"cluster.x-k8s.io/v1alpha4", "cluster.x-k8s.io/v1", "v1beta1", "other.x-k8s.io/v1beta1"} {
		_, err := capi.FieldsOf(machineDeployment(t, version))
		if err == nil {
			t.Errorf("%s is known", version)
			continue
		}
		for _, word := range []string{"MachineDeployment team/md", version, "cluster.x-k8s.io/v1beta2", "cluster.x-k8s.io/v1beta1"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q is not said in %v", word, err)
			}
		}
	}
}

func TestValuesAt(t *testing.T) {
	o := parse(t, `{apiVersion: v1, kind: A, spec: {text: t, number: 7, flag: true, list: [1]}}`)
	set(o, 7.0, "spec", "whole")
	set(o, 7.5, "spec", "fraction")
	if got := [3]string{capi.StringAt(o, "spec", "text"), capi.StringAt(o, "spec", "number"), capi.StringAt(o, "spec", "text", "below")}; got != [3]string{"t", "", ""} {
		t.Errorf("strings %q", got)
	}
	if !capi.BoolAt(o, "spec", "flag") || capi.BoolAt(o, "spec", "text") || capi.BoolAt(o, "spec", "none") {
		t.Error("booleans")
	}
	for path, want := range map[string]bool{"number": true, "whole": true, "fraction": false, "text": false, "none": false} {
		n, ok := capi.Int64At(o, "spec", path)
		if ok != want || (ok && n != 7) {
			t.Errorf("%s is %d, %t", path, n, ok)
		}
	}
}

func TestReferenceAt(t *testing.T) {
	aws := capi.Ref{Group: "infrastructure.cluster.x-k8s.io", Kind: "AWSMachineTemplate", Namespace: "team", Name: "a"}
	tests := []struct {
		name, ref string
		want      capi.Ref
		ok        bool
	}{
		{"v1beta2", "{apiGroup: infrastructure.cluster.x-k8s.io, kind: AWSMachineTemplate, name: a}", aws, true},
		{"v1beta1", "{apiVersion: infrastructure.cluster.x-k8s.io/v1beta2, kind: AWSMachineTemplate, name: a, namespace: team}", aws, true},
		{"the namespace is the owner's", "{apiVersion: infrastructure.cluster.x-k8s.io/v1beta2, kind: AWSMachineTemplate, name: a, namespace: elsewhere}", aws, true},
		{"a core kind", "{apiVersion: v1, kind: Secret, name: a}", capi.Ref{Kind: "Secret", Namespace: "team", Name: "a"}, true},
		{"no name", "{apiGroup: a, kind: B}", capi.Ref{}, false},
		{"no kind", "{apiGroup: a, name: b}", capi.Ref{}, false},
		{"none", "null", capi.Ref{}, false},
		{"no object", "word", capi.Ref{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := capi.ReferenceAt(parse(t, "{apiVersion: v1, kind: A, metadata: {namespace: team, name: n}, spec: {ref: "+test.ref+"}}"), "spec", "ref")
			if ok != test.ok || (ok && got != test.want) {
				t.Errorf("%+v, %t", got, ok)
			}
		})
	}
	if got := capi.RefOf(machineDeployment(t, "cluster.x-k8s.io/v1beta1")); got != capi.RefOf(machineDeployment(t, "cluster.x-k8s.io/v1beta2")) || got.String() != "MachineDeployment team/md" {
		t.Errorf("the identity depends on the API version: %+v", got)
	}
	if got := (capi.Ref{Kind: "Namespace", Name: "a"}).String(); got != "Namespace a" || !(capi.Ref{}).IsZero() || aws.IsZero() {
		t.Errorf("%q", got)
	}
}

// TestProviders writes image and size on templates of all providers.
func TestProviders(t *testing.T) {
	tests := []struct {
		name, kind, spec string
		image, size      string // read before; "-" where there is no such field
		want             string // the spec after both are set to NEW
	}{
		{"AWS", "AWSMachineTemplate", "{ami: {id: a}, instanceType: s, x: 1}", "a", "s", "{ami: {id: NEW}, instanceType: NEW, x: 1}"},
		{"AWS by lookup", "AWSMachineTemplate", "{ami: {eksLookupType: b}, instanceType: s}", "", "s", "{ami: {id: NEW}, instanceType: NEW}"},
		{"AWS without an image", "AWSMachineTemplate", "{}", "", "", "{ami: {id: NEW}, instanceType: NEW}"},
		{"Azure", "AzureMachineTemplate", "{image: {marketplace: {offer: o}}, vmSize: s}", "", "s", "{image: {id: NEW}, vmSize: NEW}"},
		{"Azure by ID", "AzureMachineTemplate", "{image: {id: a}, vmSize: s}", "a", "s", "{image: {id: NEW}, vmSize: NEW}"},
		{"GCP", "GCPMachineTemplate", "{imageFamily: f, instanceType: s}", "", "s", "{image: NEW, instanceType: NEW}"},
		{"vSphere", "VSphereMachineTemplate", "{template: a, snapshot: b, numCPUs: 2}", "a", "-", "{template: NEW, numCPUs: 2}"},
		{"Docker", "DockerMachineTemplate", "{customImage: a}", "a", "-", "{customImage: NEW}"},
		{"Dev on Docker", "DevMachineTemplate", "{backend: {docker: {customImage: a}}}", "a", "-", "{backend: {docker: {customImage: NEW}}}"},
		{"Dev in memory", "DevMachineTemplate", "{backend: {inMemory: {}}}", "-", "-", "{backend: {inMemory: {}}}"},
		{"unknown", "OddMachineTemplate", "{image: a}", "-", "-", "{image: a}"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			template := parse(t, "{apiVersion: infrastructure.cluster.x-k8s.io/v1, kind: "+test.kind+", spec: {template: {spec: "+test.spec+"}}}")
			spec := template.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
			for _, of := range []struct {
				what string
				find func(*object) (capi.Field, bool)
				read string
			}{{"image", capi.ImageField, test.image}, {"size", capi.SizeField, test.size}} {
				f, ok := of.find(template)
				if ok != (of.read != "-") {
					t.Fatalf("%s: known is %t", of.what, ok)
				}
				if !ok {
					continue
				}
				if got := f.Read(template); got != of.read {
					t.Errorf("%s is %q, want %q", of.what, got, of.read)
				}
				if err := f.Write(spec, "NEW"); err != nil {
					t.Error(err)
				}
				if got := f.Read(template); got != "NEW" {
					t.Errorf("%s is %q after it was written", of.what, got)
				}
			}
			want := parse(t, "{apiVersion: v1, kind: A, spec: "+test.want+"}").Object["spec"]
			if d := cmp.Diff(want, any(spec)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	for kind, want := range map[string]bool{"AWSMachineTemplate": true, "DevMachineTemplate": true, "OddMachineTemplate": false} {
		if got := capi.KnowsImages(kind); got != want {
			t.Errorf("images of %s are known: %t", kind, got)
		}
	}
	for template, want := range map[string]string{"AWSMachineTemplate": "AWSMachine", "KubeadmConfigTemplate": "KubeadmConfig", "Odd": "Odd"} {
		if got := capi.ClonedKind(template); got != want {
			t.Errorf("machines of %s are %s", template, got)
		}
	}
}

func TestSkewOf(t *testing.T) {
	tests := []struct {
		pool, controlPlane string
		kubeadm            bool
		want               capi.Skew
	}{
		{"v1.35.2", "v1.35.2", true, capi.NoSkew},
		{"v1.35.1", "v1.35.2", true, capi.NoSkew},
		{"v1.35.3", "v1.35.2", true, capi.NewerPatch},
		{"v1.35.3", "v1.35.2", false, capi.NewerPatch},
		{"v1.36.0", "v1.35.9", false, capi.NewerMinor},
		{"v2.0.0", "v1.35.9", false, capi.NewerMinor},
		{"v1.35.9", "v2.0.0", false, capi.TooOld},
		{"v1.34.9", "v1.35.2", true, capi.KubeadmMinor},
		{"v1.34.9", "v1.35.2", false, capi.NoSkew},
		{"v1.32.0", "v1.35.2", false, capi.NoSkew},
		{"v1.32.0", "v1.35.2", true, capi.KubeadmMinor},
		{"v1.31.9", "v1.35.2", false, capi.TooOld},
		{"v1.31.9", "v1.35.2", true, capi.TooOld},
		{"v1.24.0", "v1.27.0", false, capi.OldKubelet},
		{"v1.24.0", "v1.27.0", true, capi.KubeadmMinor},
		{"v1.23.0", "v1.27.0", false, capi.TooOld},
		{"v1.25.0", "v1.28.0", false, capi.NoSkew},
		{"v1.35.2+rke2r1", "v1.35.2+rke2r2", false, capi.NoSkew},
		{"v1.35.4", "v1.35", false, capi.NoSkew},
		{"v1.36.0", "1.35", false, capi.NewerMinor},
		{"v1.35.4-eks-abc", "v1.35", false, capi.NoSkew},
	}
	for _, test := range tests {
		got, err := capi.SkewOf(test.pool, test.controlPlane, test.kubeadm)
		if err != nil || got != test.want {
			t.Errorf("%s under %s, kubeadm %t: %q, %v; want %q", test.pool, test.controlPlane, test.kubeadm, got, err, test.want)
		}
	}
	for _, bad := range [][2]string{{"", "v1.35.2"}, {"latest", "v1.35.2"}, {"v1.35", "v1.35.2"}, {"v1.35.2", ""}, {"v1.35.2", "new"}} {
		if _, err := capi.SkewOf(bad[0], bad[1], false); err == nil {
			t.Errorf("%q has no error", bad)
		}
	}
	for skew, want := range map[capi.Skew][2]string{
		capi.NoSkew: {"", ""}, capi.NewerPatch: {"", ""}, capi.OldKubelet: {"", ""},
		capi.KubeadmMinor: {"KubeadmVersionSkew", "KubeadmVersionSkew"},
		capi.NewerMinor:   {"KubernetesVersionSkew", "KubernetesVersionSkew KubeadmVersionSkew"},
		capi.TooOld:       {"KubernetesVersionSkew", "KubernetesVersionSkew KubeadmVersionSkew"},
	} {
		got := [2]string{strings.Join(skew.PreflightChecks(false), " "), strings.Join(skew.PreflightChecks(true), " ")}
		if got != want {
			t.Errorf("%q is enforced by %q, want %q", skew, got, want)
		}
	}
}

func TestSkipsPreflight(t *testing.T) {
	for _, test := range []struct {
		annotation, check string
		want              bool
	}{
		{"", "A", false}, {"A", "A", true}, {"B, A", "A", true}, {"All", "A", true}, {"B", "A", false}, {"AB", "A", false}, {"", "", false}, {"all", "A", false},
	} {
		if got := capi.SkipsPreflight(test.annotation, test.check); got != test.want {
			t.Errorf("%q skips %q: %t", test.annotation, test.check, got)
		}
	}
}

func TestSameKubernetes(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"v1.35.2", "v1.35.2", true}, {"v1.35.2", "1.35.2", true}, {"v1.35.2", "v1.35.2-eks-1a2b3c4", true}, {"v1.35.2+rke2r1", "v1.35.2", true},
		{"v1.35.2", "v1.35.3", false}, {"v1.35.2", "v1.34.2", false}, {"v1.35.2", "v2.35.2", false}, {"", "", false}, {"v1.35.2", "", false},
	} {
		if got := capi.SameKubernetes(test.a, test.b); got != test.want {
			t.Errorf("%q and %q: %t", test.a, test.b, got)
		}
	}
}

func TestControlPlaneOf(t *testing.T) {
	tests := []struct {
		name, object string
		running      string
		unsettled    string // a part of it; "" when it is settled
	}{
		{"kubeadm", "spec: {version: v1.35.2, replicas: 3}, status: {version: v1.35.2, replicas: 3, readyReplicas: 3, upToDateReplicas: 3}", "v1.35.2", ""},
		{"on its way", "spec: {version: v1.35.2, replicas: 3}, status: {version: v1.34.3, replicas: 3, readyReplicas: 3}", "v1.34.3", "still runs v1.34.3, and v1.35.2 is wanted"},
		{"one more than there should be", "spec: {version: v1.35.2, replicas: 3}, status: {version: v1.35.2, replicas: 4, readyReplicas: 3}", "v1.35.2", "4 machines are there in place of 3"},
		{"one not ready", "spec: {version: v1.35.2, replicas: 3}, status: {version: v1.35.2, replicas: 3, readyReplicas: 2}", "v1.35.2", "2 of its 3 machines are ready"},
		{"one to be removed", "spec: {version: v1.35.2, replicas: 1}, status: {version: v1.35.2, replicas: 2, readyReplicas: 2, upToDateReplicas: 1}", "v1.35.2", "2 machines are there in place of 1, 2 machines are ready in place of 1"},
		{"all that does not match", "spec: {version: v1.35.2, replicas: 3}, status: {version: v1.35.2, replicas: 4, readyReplicas: 2, upToDateReplicas: 1, updatedReplicas: 1}", "v1.35.2",
			"4 machines are there in place of 3, 2 of its 3 machines are ready, 1 of its 3 machines are up to date"},
		{"no counts yet", "spec: {version: v1.35.2, replicas: 3}, status: {version: v1.35.2}", "v1.35.2", "0 of its 3 machines are ready"},
		{"one not up to date", "spec: {version: v1.35.2, replicas: 3}, status: {version: v1.35.2, replicas: 3, readyReplicas: 3, upToDateReplicas: 2}", "v1.35.2", "2 of its 3 machines are up to date"},
		{"one not updated", "spec: {version: v1.35.2, replicas: 3}, status: {version: v1.35.2, replicas: 3, readyReplicas: 3, updatedReplicas: 2}", "v1.35.2", "2 of its 3 machines are up to date"},
		{"no replicas in its contract", "spec: {version: v1.35.2}, status: {version: v1.35.2, readyReplicas: 0}", "v1.35.2", ""},
		{"nothing runs", "spec: {version: v1.35.2}", "", "reports no running version yet"},
		{"no version", "spec: {replicas: 3}, status: {version: v1.35.2}", "v1.35.2", ""},
		{"versions", "spec: {version: v1.35.2}, status: {versions: [{version: v1.35.2, replicas: 3}]}", "v1.35.2", ""},
		{"versions, an older minor", "spec: {version: v1.35.2}, status: {versions: [{version: v1.35.2}, {version: v1.34.3}]}", "v1.34.3", "still runs v1.34.3"},
		{"versions, an older patch behind", "spec: {version: v1.35.2}, status: {versions: [{version: v1.35.2}, {version: v1.35.1}]}", "v1.35.1", "still runs v1.35.1"},
		{"versions, an older patch before", "spec: {version: v1.35.2}, status: {versions: [{version: v1.35.1}, {version: v1.35.2}]}", "v1.35.1", "still runs v1.35.1"},
		{"versions, far apart", "spec: {version: v1.35.2}, status: {versions: [{version: v1.35.2}, {version: v1.9.9}, {}, word, {version: odd}]}", "v1.9.9", "still runs v1.9.9"},
		{"EKS: minors alone", "spec: {version: v1.35}, status: {version: '1.35'}", "1.35", ""},
		{"EKS: a patch asked for", "spec: {version: v1.35.0}, status: {version: v1.35}", "v1.35", ""},
		{"EKS: a later patch asked for", "spec: {version: v1.35.2}, status: {version: v1.35}", "v1.35", "still runs v1.35"},
		{"EKS: a minor asked for", "spec: {version: v1.35}, status: {version: v1.35.2}", "v1.35.2", ""},
		{"EKS on its way", "spec: {version: v1.35}, status: {version: '1.34'}", "1.34", "still runs 1.34"},
		{"RKE2: another build", "spec: {version: v1.35.2+rke2r2}, status: {version: v1.35.2+rke2r1}", "v1.35.2+rke2r1", "still runs v1.35.2+rke2r1"},
		{"a newer build", "spec: {version: v1.35.2+2}, status: {version: v1.35.2+1}", "v1.35.2+1", "still runs v1.35.2+1"},
		{"a longer build", "spec: {version: v1.35.2+1.1}, status: {version: v1.35.2+1}", "v1.35.2+1", "still runs v1.35.2+1"},
		{"a word after a number", "spec: {version: v1.35.2+1.a}, status: {version: v1.35.2+1.1}", "v1.35.2+1.1", "still runs v1.35.2+1.1"},
		{"a release after its candidate", "spec: {version: v1.35.2}, status: {version: v1.35.2-gke.1}", "v1.35.2-gke.1", "still runs v1.35.2-gke.1"},
		{"unreadable", "spec: {version: v1.35.2}, status: {version: soon}", "soon", "still runs soon"},
		{"unreadable and the same", "spec: {version: latest}, status: {version: latest}", "latest", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cp := capi.ControlPlaneOf(parse(t, "{apiVersion: controlplane.cluster.x-k8s.io/v1beta2, kind: A, "+test.object+"}"))
			if cp.Running != test.running {
				t.Errorf("runs %q, want %q", cp.Running, test.running)
			}
			if strings.Count(cp.Unsettled, "up to date") > 1 {
				t.Errorf("told twice: %q", cp.Unsettled)
			}
			if (cp.Unsettled == "") != (test.unsettled == "") || !strings.Contains(cp.Unsettled, test.unsettled) {
				t.Errorf("unsettled: %q, want %q", cp.Unsettled, test.unsettled)
			}
			// It is for a version that Cluster API makes no machine, not for a count.
			if want := strings.Contains(test.unsettled, "still runs") || strings.Contains(test.unsettled, "no running version"); cp.Unstable != want {
				t.Errorf("unstable: %t, want %t", cp.Unstable, want)
			}
		})
	}
}

// TestControlPlaneOnItsWayBack: the version that is wanted is older than the one
// that runs, which does not keep Cluster API from making machines.
func TestControlPlaneOnItsWayBack(t *testing.T) {
	for wanted, running := range map[string]string{
		"v1.35.1": "v1.35.2", "v1.34.3": "v1.35.2", "v1.35.2+1": "v1.35.2+2", "v1.35.2+1.1": "v1.35.2+1.a", "v1.35.2": "v1.35.2+1", "v1.35.2-gke.1": "v1.35.2",
	} {
		cp := capi.ControlPlaneOf(parse(t, fmt.Sprintf("{apiVersion: controlplane.cluster.x-k8s.io/v1beta2, kind: A, spec: {version: %s}, status: {version: %s}}", wanted, running)))
		if cp.Unstable || !strings.Contains(cp.Unsettled, "newer than the "+wanted) {
			t.Errorf("%s wanted, %s runs: unstable %t, %q", wanted, running, cp.Unstable, cp.Unsettled)
		}
	}
}

func TestJoinsByKubeadm(t *testing.T) {
	for ref, want := range map[capi.Ref]bool{
		{Group: "bootstrap.cluster.x-k8s.io", Kind: "KubeadmConfigTemplate"}: true,
		{Group: "bootstrap.cluster.x-k8s.io", Kind: "KubeadmConfig"}:         false,
		{Group: "bootstrap.example.com", Kind: "KubeadmConfigTemplate"}:      false,
		{}: false,
	} {
		if got := capi.JoinsByKubeadm(ref); got != want {
			t.Errorf("%+v: %t", ref, got)
		}
	}
}

func TestOwnerOf(t *testing.T) {
	for meta, want := range map[string]string{
		"{}": "",
		"{labels: {topology.cluster.x-k8s.io/owned: '', topology.cluster.x-k8s.io/deployment-name: md-0}}": "topology",
		"{annotations: {argocd.argoproj.io/tracking-id: a}}":                                               "Argo CD",
		"{labels: {argocd.argoproj.io/instance: a}}":                                                       "Argo CD",
		"{labels: {kustomize.toolkit.fluxcd.io/name: a}}":                                                  "Flux",
		"{labels: {helm.toolkit.fluxcd.io/name: a}}":                                                       "Flux",
		"{annotations: {meta.helm.sh/release-name: a}}":                                                    "Helm",
		"{labels: {kapp.k14s.io/app: a}}":                                                                  "kapp",
		"{labels: {argocd.argoproj.io/tracking-id: a}, annotations: {kapp.k14s.io/app: a}}":                "",
		"{annotations: {kubectl.kubernetes.io/last-applied-configuration: a}}":                             "",
		"{labels: {topology.cluster.x-k8s.io/owned: '', kapp.k14s.io/app: a}}":                             "topology",
	} {
		o := parse(t, "{apiVersion: v1, kind: A, metadata: "+meta+"}")
		if got := capi.OwnerOf(o); got != want {
			t.Errorf("%s is managed by %q, want %q", meta, got, want)
		}
		entry, owned := capi.TopologyOwned(o)
		if owned != (want == "topology") || (entry == "md-0") != strings.Contains(meta, "md-0") {
			t.Errorf("%s is owned by a topology: %t, entry %q", meta, owned, entry)
		}
	}
}
