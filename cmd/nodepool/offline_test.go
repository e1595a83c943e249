package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply/clustertest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// dump gives a world as kubectl get -o json does.
func dump(t *testing.T, w *clustertest.World) string {
	t.Helper()
	items := []any{}
	for _, k := range clustertest.Kinds(false) {
		for _, o := range w.List(k.Group, k.Kind, "") {
			items = append(items, o.Object)
		}
	}
	raw, err := json.MarshalIndent(map[string]any{"apiVersion": "v1", "kind": "List", "items": items}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// call runs the program in the current folder.
func call(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"nodepool"}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs the program and wants an exit code.
func must(t *testing.T, want int, stdin string, args ...string) string {
	t.Helper()
	code, stdout, stderr := call(t, stdin, args...)
	if code != want {
		t.Fatalf("nodepool %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, stdout, stderr)
	}
	return stdout
}

func digestIn(t *testing.T, planJSON string) string {
	t.Helper()
	p, err := plan.Read([]byte(planJSON))
	if err != nil {
		t.Fatal(err)
	}
	return string(p.Digest)
}

// TestOffline goes through the commands that need no cluster.
func TestOffline(t *testing.T) {
	files := map[string]string{
		"u.yaml": goodUpgrade,
		"v.yaml": strings.Replace(goodUpgrade, "v1.35.2}", "v1.35.2, machineImage: ami-9}", 1),
		"w.json": dump(t, clustertest.AWSExample()),
	}
	if code, stdout, stderr := runIn(t, files, "", "validate", "-f", "u.yaml"); code != 0 || stdout != "u.yaml: valid: 1 pool\n" || stderr != "" {
		t.Errorf("validate: exit code %d, %q, %q", code, stdout, stderr)
	}
	live := digestIn(t, must(t, 0, "", "plan", "-f", "u.yaml", "--from", "w.json", "-o", "json"))
	must(t, 0, "", "snapshot", "-f", "u.yaml", "--from", "w.json", "--out", "folder")
	must(t, 0, "", "snapshot", "-f", "u.yaml", "--from", "w.json", "--out", "one.yaml")
	piped := must(t, 0, "", "snapshot", "-f", "u.yaml", "--from", "w.json", "--out", "-")
	for _, from := range []string{"folder", "one.yaml", "-"} {
		if got := digestIn(t, must(t, 0, piped, "plan", "-f", "u.yaml", "--from", from, "-o", "json")); got != live {
			t.Errorf("--from %s: digest %s, want %s", from, got, live)
		}
	}
	must(t, 0, "", "plan", "-f", "u.yaml", "--from", "folder", "--out", "a.plan")
	must(t, 0, "", "plan", "-f", "v.yaml", "--from", "folder", "--out", "b.plan")
	if out := must(t, 0, "", "diff", "a.plan", "a.plan"); !strings.HasPrefix(out, "The plans are the same.") {
		t.Errorf("diff of one plan with itself:\n%s", out)
	}
	if out := must(t, 2, "", "diff", "a.plan", "b.plan"); !strings.Contains(out, "+ spec.pools.aws-example-md-0.machineImage: ami-9") {
		t.Errorf("diff does not tell of the image:\n%s", out)
	}
	if out := must(t, 2, "", "diff", "-o", "json", "a.plan", "b.plan"); !json.Valid([]byte(out)) {
		t.Errorf("diff -o json is no JSON:\n%s", out)
	}
	for _, what := range []string{"upgrade", "plan", "progress"} {
		if out := must(t, 0, "", "schema", what); !strings.Contains(out, `"$id": "nodepool/v1alpha1/`+what+`.json"`) {
			t.Errorf("schema %s:\n%s", what, out)
		}
	}
}

// TestOfflineUsage is about what goes wrong.
func TestOfflineUsage(t *testing.T) {
	files := map[string]string{
		"u.yaml":    goodUpgrade,
		"bad.yaml":  strings.Replace(goodUpgrade, "v1.35.2", "1.35.2", 1),
		"w.yaml":    "apiVersion: v1\nkind: List\nitems: []\n",
		"snap.yaml": "apiVersion: nodepool/v1alpha1\nkind: Snapshot\nkinds: [Cluster.cluster.x-k8s.io, MachineDeployment.cluster.x-k8s.io]\n",
		"a.plan":    "no plan",
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"a bad file":         {[]string{"validate", "-f", "bad.yaml"}, 1, []string{"bad.yaml:7:", "leading v"}},
		"no file":            {[]string{"validate"}, 1, []string{"-f FILE"}},
		"both from stdin":    {[]string{"plan", "-f", "-", "--from", "-"}, 1, []string{"both read standard input"}},
		"a cluster as well":  {[]string{"plan", "-f", "u.yaml", "--from", "w.yaml", "--context", "x"}, 1, []string{"--from", "--context"}},
		"no manifests":       {[]string{"plan", "-f", "u.yaml", "--from", "gone"}, 1, []string{"gone", "no such file"}},
		"no place":           {[]string{"snapshot", "-f", "u.yaml", "--from", "w.yaml"}, 1, []string{"--out PATH"}},
		"one plan":           {[]string{"diff", "a.plan"}, 1, []string{"nodepool diff OLD NEW"}},
		"not a plan":         {[]string{"diff", "a.plan", "u.yaml"}, 1, []string{"a.plan", "u.yaml"}},
		"a form of diff":     {[]string{"diff", "-o", "xml", "a.plan", "a.plan"}, 1, []string{"text and json"}},
		"no schema":          {[]string{"schema"}, 1, []string{"schema upgrade, plan and progress"}},
		"an unknown schema":  {[]string{"schema", "cluster"}, 1, []string{`"cluster"`, "upgrade, plan and progress"}},
		"the cluster absent": {[]string{"plan", "-f", "u.yaml", "--from", "snap.yaml", "-o", "json"}, 3, []string{"does not exist"}},
		"the kinds left out": {[]string{"plan", "-f", "u.yaml", "--from", "w.yaml", "-o", "json"}, 1, []string{"w.yaml holds no Cluster", "kubectl get"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := runIn(t, files, "", tc.args...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("the message does not tell %q:\n%s", want, stderr)
				}
			}
		})
	}
}

// canary stands in every secret of TestNoSecretGetsOut. A token of kubeadm
// has its own form.
const (
	canary      = "can4ry"
	canaryToken = "can4ry.0123456789abcdef"
)

func privateKey(n string) string {
	return "cat >/k <<E\n-----BEGIN RSA PRIVATE KEY-----\n" + canary + n + "\n-----END RSA PRIVATE KEY-----\nE"
}

// secretBootstrap is the spec of a bootstrap template with a canary in every
// field that may hold a secret.
func secretBootstrap(n string) map[string]any {
	return map[string]any{
		"files": []any{map[string]any{"path": "/etc/a", "content": canary + n}},
		"users": []any{map[string]any{"name": "admin", "passwd": canary + n, "sshAuthorizedKeys": []any{canary + n}}},
		"joinConfiguration": map[string]any{"discovery": map[string]any{
			"tlsBootstrapToken": canary + n,
			"bootstrapToken":    map[string]any{"token": canaryToken, "apiServerEndpoint": "10.0.0.1:6443"},
			"file":              map[string]any{"kubeConfigPath": "/x", "kubeConfig": map[string]any{"user": map[string]any{"exec": map[string]any{"command": canary + n}}}},
		}},
		"preKubeadmCommands":  []any{privateKey(n), "kubeadm join --token " + canaryToken + n[:0]},
		"postKubeadmCommands": []any{"true"},
		"ignition":            map[string]any{"containerLinuxConfig": map[string]any{"additionalConfig": canary + n}},
	}
}

// secretInfrastructure is the same for an infrastructure template.
func secretInfrastructure(n string) map[string]any {
	out := map[string]any{}
	for _, k := range []string{"userData", "customData", "uncompressedUserData", "password", "privateKey", "clientSecret", "secretKey", "accessKey", "apiKey", "credentials", "token"} {
		out[k] = canary + n
	}
	return out
}

// secretWorld has a canary in every secret of templates, of what is cloned
// from them and of the control plane, and in metadata that repeats objects.
func secretWorld() *clustertest.World {
	w := clustertest.AWSExample()
	fill := func(o *unstructured.Unstructured, values map[string]any, path ...string) {
		spec, _, _ := unstructured.NestedMap(o.Object, path...)
		if spec == nil {
			spec = map[string]any{}
		}
		for k, v := range values {
			spec[k] = v
		}
		if err := unstructured.SetNestedMap(o.Object, spec, path...); err != nil {
			panic(err)
		}
	}
	for _, k := range clustertest.Kinds(false) {
		for _, o := range w.List(k.Group, k.Kind, "") {
			w.Edit(capi.RefOf(o), func(o *unstructured.Unstructured) {
				switch {
				case strings.HasPrefix(o.GetKind(), "KubeadmConfigTemplate"):
					fill(o, secretBootstrap("-old"), "spec", "template", "spec")
				case o.GetKind() == "KubeadmConfig":
					fill(o, secretBootstrap("-old"), "spec")
				case strings.HasSuffix(o.GetKind(), "MachineTemplate"):
					fill(o, secretInfrastructure("-old"), "spec", "template", "spec")
				case strings.HasPrefix(o.GetKind(), "AWSMachine"), strings.HasPrefix(o.GetKind(), "DevMachine"):
					fill(o, secretInfrastructure("-old"), "spec")
				case o.GetKind() == "Cluster":
					fill(o, map[string]any{"variables": []any{map[string]any{"name": "proxy", "value": canary}}}, "spec", "topology")
				case o.GetKind() == "KubeadmControlPlane":
					fill(o, secretBootstrap("-old"), "spec", "kubeadmConfigSpec")
				}
				annotations := o.GetAnnotations()
				if annotations == nil {
					annotations = map[string]string{}
				}
				annotations["kubectl.kubernetes.io/last-applied-configuration"] = `{"content":"` + canary + `"}`
				annotations["cluster.x-k8s.io/conversion-data"] = `{"content":"` + canary + `"}`
				annotations["example.com/password"] = canary
				annotations["example.com/joined-with"] = canaryToken
				annotations["example.com/note"] = "the key is " + canary
				o.SetAnnotations(annotations)
				_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"manager": "argocd", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{
					`v:"` + canary + `"`: map[string]any{}, "f:spec": map[string]any{`k:{"name":"` + canary + `"}`: map[string]any{}}}}}, "metadata", "managedFields")
			})
		}
	}
	return w
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestNoSecretGetsOut plants canaries in every secret of an upgrade and of a
// cluster, runs every command that needs no server in every form, and looks
// for them in all that comes out and all that is written.
func TestNoSecretGetsOut(t *testing.T) {
	const head = "apiVersion: nodepool/v1alpha1\nkind: NodePoolUpgrade\nmetadata: {name: one}\nspec:\n  cluster: {name: aws-example}\n  pools:\n" +
		"    - {name: aws-example-md-0, kubernetesVersion: v1.35.2"
	secret := func(n string) string {
		return head + ", bootstrap: " + toJSON(t, secretBootstrap(n)) + ", infrastructure: " + toJSON(t, secretInfrastructure(n)) + "}\n"
	}
	runIn(t, nil, "") // into an empty folder
	inputs := t.TempDir()
	in := func(name, text string) string {
		path := filepath.Join(inputs, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	world := in("world.json", dump(t, secretWorld()))
	good, other := in("good.yaml", secret("-new")), in("other.yaml", secret("-newer"))
	none := in("none.yaml", head+"}\n")
	removed := in("removed.yaml", head+`, bootstrap: {files: null, users: null, ignition: null, preKubeadmCommands: [`+toJSON(t, privateKey("-k"))+`]}, infrastructure: {userData: null}}`+"\n")
	bad := map[string]string{
		"type":   in("type.yaml", strings.Replace(secret("-new"), `"userData":`, `"userData": &a `+canary+`, "more": *b, "x":`, 1)),
		"syntax": in("syntax.yaml", strings.Replace(secret("-new"), `"users":`, `"users"`, 1)),
		"number": in("number.yaml", strings.Replace(secret("-new"), `"`+canary+`-new"`, "012345_"+canary+": 1", 1)),
		"twice":  in("twice.yaml", secret("-new")+"    - {name: aws-example-md-0, bootstrap: "+toJSON(t, secretBootstrap("-2"))+"}\n"),
		"place":  in("place.yaml", strings.Replace(secret("-new"), "bootstrap: {", "strategy: "+toJSON(t, secretBootstrap("-3"))+", bootstrap: {", 1)),
	}

	var said bytes.Buffer
	ran := 0
	do := func(args ...string) (code int) {
		t.Helper()
		code, stdout, stderr := call(t, "", args...)
		ran++
		for _, out := range []string{stdout, stderr} {
			leak(t, "nodepool "+strings.Join(args, " "), out)
			said.WriteString(out)
		}
		return code
	}
	want := func(code int, args ...string) {
		t.Helper()
		if got := do(args...); got != code {
			t.Errorf("nodepool %s: exit code %d, want %d", strings.Join(args, " "), got, code)
		}
	}
	for name, file := range map[string]string{"good": good, "other": other, "none": none, "removed": removed} {
		want(0, "validate", "-f", file)
		for _, form := range []string{"text", "markdown", "json", "yaml"} {
			want(0, "plan", "-f", file, "--from", world, "-o", form, "--out", name+".plan")
			want(0, "show", "-o", form, name+".plan")
		}
		want(0, "plan", "-f", file, "--from", world, "--full", "--no-color")
		want(0, "plan", "-f", file, "--from", world, "--export", name+"-export")
		want(0, "snapshot", "-f", file, "--from", world, "--out", name)
		want(0, "snapshot", "-f", file, "--from", world, "--out", name+".yaml")
		want(0, "snapshot", "-f", file, "--from", world, "--out", name+".json")
		want(0, "snapshot", "-f", file, "--from", world, "--out", "-")
		want(0, "plan", "-f", file, "--from", name)
	}
	for _, newer := range []string{"other.plan", "none.plan", "removed.plan"} {
		want(2, "diff", "good.plan", newer)
		want(2, "diff", "-o", "json", newer, "good.plan")
	}
	for _, file := range bad {
		want(1, "validate", "-f", file)
		want(1, "plan", "-f", file, "--from", world)
		want(1, "snapshot", "-f", file, "--from", world, "--out", "never")
	}
	want(1, "plan", "-f", good, "--from", bad["syntax"])
	want(1, "plan", "-f", good, "--from", in("cut.json", dump(t, secretWorld())[:20000]))
	want(1, "show", good)
	want(1, "diff", good, world)
	want(0, "schema", "upgrade")
	want(0, "schema", "plan")

	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		leak(t, path, string(data))
		if strings.Contains(path, "-export") {
			return err // for a Git repository, which has modes of its own
		}
		if info, err := entry.Info(); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v, want 0600", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{"(sealed, ", plan.SealedKey} {
		if !strings.Contains(said.String(), shown) {
			t.Errorf("%d commands ran, and nothing they said holds %q", ran, shown)
		}
	}
}

func leak(t *testing.T, where, text string) {
	t.Helper()
	if i := strings.Index(text, canary); i >= 0 {
		t.Errorf("%s: a secret got out: …%s…", where, text[max(0, i-80):min(len(text), i+40)])
	}
}

// TestDump: what kubectl get leaves out is no answer.
func TestDump(t *testing.T) {
	more := "" // pools
	from := func(w *clustertest.World, objects string) string {
		runIn(t, map[string]string{"u.yaml": goodUpgrade + more, "w.json": strings.Replace(dump(t, w), `"items": [`, `"items": [`+objects, 1)}, "", "validate", "-f", "u.yaml")
		return must(t, 0, "", "plan", "-f", "u.yaml", "--from", "w.json", "--full")
	}
	w := clustertest.AWSExample()
	said := from(w, "")
	for _, want := range []string{"? field-managers", "--show-managed-fields", "? machine-health-checks", "holds no MachineHealthCheck", "does not tell an empty list from a missing one", "make the manifests with nodepool snapshot", "machinehealthchecks", "not verified: a plan from manifests asks no provider"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in:\n%s", want, said)
		}
	}
	if strings.Contains(said, "warning: bootstrap-template-edited") {
		t.Errorf("what is there is told as missing:\n%s", said)
	}
	// A snapshot knows what was asked.
	snapped := func(out string) string {
		must(t, 0, "", "snapshot", "-f", "u.yaml", "--from", "w.json", "--out", out)
		must(t, 0, "", "snapshot", "-f", "u.yaml", "--from", out, "--out", "again-"+out)
		said := must(t, 0, "", "plan", "-f", "u.yaml", "--from", "again-"+out, "--full")
		if once := must(t, 0, "", "plan", "-f", "u.yaml", "--from", out, "--full"); strings.ReplaceAll(said, "again-"+out, out) != once {
			t.Errorf("a snapshot of a snapshot says something else:\n%s\n%s", said, once)
		}
		return said
	}
	for _, out := range []string{"folder", "snap.yaml", "snap.json"} {
		said = snapped(out)
		for _, want := range []string{"? machine-health-checks", "? field-managers", out + " holds no metadata.managedFields"} {
			if !strings.Contains(said, want) {
				t.Errorf("a snapshot (%s) of such a dump knows more than the dump: %q is not said in:\n%s", out, want, said)
			}
		}
	}
	for _, o := range w.List(capi.Group, "MachineDeployment", "") {
		w.Edit(capi.RefOf(o), set([]any{map[string]any{"manager": "kubectl-edit", "operation": "Update"}}, "metadata", "managedFields"))
	}
	said = from(w, `{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck", "spec": {"clusterName": "other"},
		"metadata": {"name": "other", "namespace": "default", "uid": "u-other", "labels": {"cluster.x-k8s.io/cluster-name": "other"}}},`)
	for _, want := range []string{"✓ field-managers", "✓ machine-health-checks"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in:\n%s", want, said)
		}
	}
	if said = snapped("with-fields"); !strings.Contains(said, "✓ field-managers") {
		t.Errorf("a snapshot of a dump with managed fields says that it has none:\n%s", said)
	}
	// One pool of a dump has its managed fields, the other has not.
	w.Edit(clustertest.MachineDeployment("aws-example-md-1"), func(o *unstructured.Unstructured) { o.SetManagedFields(nil) })
	more = "    - {name: aws-example-md-1, kubernetesVersion: v1.35.2}\n"
	from(w, "")
	said = snapped("mixed")
	for _, want := range []string{"✓ field-managers (pool aws-example-md-0)", "? field-managers (pool aws-example-md-1)"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in:\n%s", want, said)
		}
	}
}
