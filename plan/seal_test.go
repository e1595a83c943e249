package plan_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/apply"
	"nodepool/apply/clustertest"
	"nodepool/plan"
)

// canary is a secret that must be seen nowhere.
const canary = "can4ry"

// secretSpec is a bootstrap template's spec with a canary wherever a secret
// may stand; n tells two such specs apart.
func secretSpec(n int) map[string]any {
	c := func(what string) string { return fmt.Sprintf("%s-%s-%d", canary, what, n) }
	key := "-----BEGIN OPENSSH PRIVATE KEY-----\n" + c("key") + "\n-----END OPENSSH PRIVATE KEY-----"
	return map[string]any{
		"files": []any{
			map[string]any{"path": "/etc/a", "owner": "root:root", "content": c("content")},
			map[string]any{"path": "/etc/b", "contentFrom": map[string]any{"secret": map[string]any{"name": "visible-name", "key": "value"}}},
		},
		"users": []any{map[string]any{"name": "admin", "passwd": c("passwd"), "sshAuthorizedKeys": []any{c("ssh"), "second " + c("ssh")},
			"passwdFrom": map[string]any{"secret": map[string]any{"name": "visible-name"}}}},
		"joinConfiguration": map[string]any{
			"discovery": map[string]any{
				"bootstrapToken":    map[string]any{"token": c("token"), "apiServerEndpoint": "visible-host"},
				"tlsBootstrapToken": c("tls"),
				"file":              map[string]any{"kubeConfig": map[string]any{"user": map[string]any{"exec": map[string]any{"command": c("kubeconfig")}}}},
			},
		},
		"preKubeadmCommands": []any{
			"echo visible-command",
			"cat <<EOF\n" + key + "\nEOF",
			fmt.Sprintf("kubeadm join --token abcde%d.can4ry0123456789", n),
		},
		"ignition": map[string]any{"containerLinuxConfig": map[string]any{"additionalConfig": c("ignition"), "strict": true}},
	}
}

// secretMachine is the same for an infrastructure template.
func secretMachine(n int) map[string]any {
	c := func(what string) string { return fmt.Sprintf("%s-%s-%d", canary, what, n) }
	return map[string]any{
		"userData": c("userdata"), "uncompressedUserData": c("uncompressed"), "customData": c("custom"),
		"cloudInit": map[string]any{"secretPrefix": c("prefix")}, "privateKey": c("private"), "password": c("password"),
		"contents": c("contents"), "passwords": []any{c("passwords")}, "token": c("token"), "certificateKey": c("certificate"),
		"apiKey": c("api"), "credentials": map[string]any{"user": c("user")}, "additionalUserDataFiles": []any{c("additional")},
		"clientSecret": c("client"), "accessKey": c("access"), "secretKey": c("secret"),
	}
}

// secretWorld has canaries in both templates of the AWS pool.
func secretWorld(adjust ...clustertest.Adjust) *clustertest.World {
	w := clustertest.AWSExample(adjust...)
	for ref, spec := range map[plan.Ref]map[string]any{awsBootstrapRef: secretSpec(1), awsTemplateRef: secretMachine(1)} {
		w.Edit(ref, func(o *object) {
			for k, v := range spec {
				put(o, v, "spec", "template", "spec", k)
			}
		})
	}
	return w
}

func withSecrets(t *testing.T, bootstrap, infrastructure map[string]any) string {
	t.Helper()
	return fmt.Sprintf("pools: [{name: %s, kubernetesVersion: v1.35.2, bootstrap: %s, infrastructure: %s}]",
		awsPool, canonical(bootstrap), canonical(infrastructure))
}

func leaks(t *testing.T, what, text string) {
	t.Helper()
	if i := strings.Index(text, canary); i >= 0 {
		t.Errorf("%s holds a secret: …%s…", what, text[max(0, i-60):min(len(text), i+40)])
	}
}

// TestNoSecretInPlan changes every secret there is, and takes some away.
func TestNoSecretInPlan(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]string{
		"all changed": withSecrets(t, secretSpec(2), secretMachine(2)),
		"one changed": withSecrets(t, map[string]any{"ignition": map[string]any{"containerLinuxConfig": map[string]any{"additionalConfig": canary}}}, map[string]any{"userData": canary}),
		"removed": withSecrets(t, map[string]any{"files": nil, "users": nil, "ignition": nil, "joinConfiguration": nil, "preKubeadmCommands": []any{}},
			map[string]any{"userData": nil, "cloudInit": map[string]any{"secretPrefix": nil}, "password": nil}),
		"beside them": withSecrets(t, map[string]any{"ntp": map[string]any{"enabled": true}}, map[string]any{"instanceType": "m5.xlarge"}),
	} {
		t.Run(name, func(t *testing.T) {
			w := secretWorld()
			up := upgrade(t, spec)
			p := compile(t, w, up)
			text := string(encode(t, p))
			leaks(t, "the plan", text)
			mustContain(t, fmt.Sprintf("%+v", stepsOf(p)), "create-bootstrap-template", "create-infrastructure-template")
			if (name != "beside them") != strings.Contains(text, plan.SealedKey) {
				t.Error("what was changed is not shown, sealed")
			}

			// Whatever is told of it later holds no secret either.
			for _, s := range p.Steps {
				leaks(t, s.ID, fmt.Sprintf("%+v", assess(t, w, s)))
			}
			moved := secretWorld()
			edit(awsBootstrapRef, canary+" other", "spec", "template", "spec", "joinConfiguration", "discovery", "tlsBootstrapToken")(moved)
			edit(awsTemplateRef, canary+" other", "spec", "template", "spec", "userData")(moved)
			for _, s := range p.Steps {
				snap := fetch(t, moved, s)
				a := plan.Assess(s, snap)
				leaks(t, s.ID+" of a moved world", fmt.Sprintf("%+v", a))
				if s.Create != nil {
					if a.Verdict != plan.Drifted {
						t.Errorf("%s: the source's secret changed, and it is %s", s.ID, a.Verdict)
					}
					_, err := s.Create.Body(snap, plan.SecretsOf(up, snap))
					if err == nil {
						t.Errorf("%s: the source's secret changed, and it is copied", s.ID)
					}
					leaks(t, "the error", fmt.Sprint(err))
				}
			}
			carryOut(t, w, up, p)
			if again := compile(t, w, up); !again.IsEmpty() {
				t.Errorf("after it was carried out: %q", stepsOf(again))
			}
		})
	}
}

// TestWhatIsNoSecretIsShown: a reviewer must see all else.
func TestWhatIsNoSecretIsShown(t *testing.T) {
	t.Parallel()
	p := compile(t, clustertest.AWSExample(), upgrade(t, withSecrets(t, secretSpec(2), secretMachine(2))))
	mustContain(t, string(encode(t, p)), "visible-name", "visible-host", "visible-command", "/etc/a", "root:root", "admin")
}

// TestBodyHasSecrets: what is sent has the true values.
func TestBodyHasSecrets(t *testing.T) {
	t.Parallel()
	w := secretWorld()
	up := upgrade(t, withSecrets(t, secretSpec(2), secretMachine(2)))
	p := compile(t, w, up)
	for id, want := range map[string]map[string]any{"create-bootstrap-template": secretSpec(2), "create-infrastructure-template": secretMachine(2)} {
		s := step(t, p, awsPool+"/"+id)
		snap := fetch(t, w, s)
		body, err := s.Create.Body(snap, plan.SecretsOf(up, snap))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range want {
			if d := cmp.Diff(v, valueAt(body.Object, plan.PointerTo("spec", "template", "spec", k))); d != "" {
				t.Errorf("%s %s (-spec +body):\n%s", id, k, d)
			}
		}
		if strings.Contains(string(canonical(body.Object)), plan.SealedKey) {
			t.Errorf("%s: something is sent sealed", id)
		}
	}
}

// TestBodyKeepsSecrets: secrets of the source that nobody changes are copied
// as they are, without the upgrade file.
func TestBodyKeepsSecrets(t *testing.T) {
	t.Parallel()
	w := secretWorld()
	p := compile(t, w, onePool(t, "kubernetesVersion: v1.35.2, bootstrap: {ntp: {enabled: true}}"))
	s := step(t, p, awsPool+"/create-bootstrap-template")
	body, err := s.Create.Body(fetch(t, w, s), plan.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range secretSpec(1) {
		if k == "joinConfiguration" {
			continue // stands beside what the example has there
		}
		if d := cmp.Diff(v, valueAt(body.Object, plan.PointerTo("spec", "template", "spec", k))); d != "" {
			t.Errorf("%s (-source +body):\n%s", k, d)
		}
	}
}

func TestBodyWithoutSecrets(t *testing.T) {
	t.Parallel()
	w := secretWorld()
	up := onePool(t, "kubernetesVersion: v1.35.2, bootstrap: {joinConfiguration: {discovery: {tlsBootstrapToken: can4ry-new}}}")
	s := step(t, compile(t, w, up), awsPool+"/create-bootstrap-template")
	snap := fetch(t, w, s)
	for name, secrets := range map[string]plan.Secrets{
		"none":                  {},
		"of an edited upgrade":  plan.SecretsOf(onePool(t, "kubernetesVersion: v1.35.2, bootstrap: {joinConfiguration: {discovery: {tlsBootstrapToken: can4ry-odd}}}"), snap),
		"of another cluster":    plan.SecretsOf(up, plan.Snapshot{}),
		"of the upgrade at all": plan.SecretsOf(up, snap),
	} {
		t.Run(name, func(t *testing.T) {
			body, err := s.Create.Body(snap, secrets)
			if name == "of the upgrade at all" {
				if err != nil || valueAt(body.Object, "/spec/template/spec/joinConfiguration/discovery/tlsBootstrapToken") != "can4ry-new" {
					t.Fatalf("%v", err)
				}
				return
			}
			var missing *plan.SecretError
			if !errors.As(err, &missing) {
				t.Fatalf("the error is %v", err)
			}
			mustContain(t, err.Error(), "spec.template.spec.joinConfiguration.discovery.tlsBootstrapToken", "only as a hash", "give the upgrade file")
			leaks(t, "the error", err.Error())
			if body != nil {
				t.Error("a body in spite of the error")
			}
		})
	}
}

// TestSecretsFromPlanAlone: an upgrade that comes from the plan has the plan's
// steps, and no secrets.
func TestSecretsFromPlanAlone(t *testing.T) {
	t.Parallel()
	w := secretWorld()
	p := compile(t, w, upgrade(t, withSecrets(t, secretSpec(2), secretMachine(2))))
	up, err := plan.UpgradeOf(p)
	if err != nil {
		t.Fatal(err)
	}
	again := compile(t, w, up)
	if again.Digest != p.Digest {
		t.Errorf("the digest is %s, want %s:\n%s", again.Digest, p.Digest, cmp.Diff(string(encode(t, p)), string(encode(t, again))))
	}
	s := step(t, p, awsPool+"/create-bootstrap-template")
	snap := fetch(t, w, s)
	var missing *plan.SecretError
	if _, err := s.Create.Body(snap, plan.SecretsOf(up, snap)); !errors.As(err, &missing) {
		t.Errorf("the error is %v", err)
	}
}

// sealed gives a scalar's sealed form, as the documentation of SealedKey has it.
func sealed(uid string, v any) map[string]any {
	text := canonical(v)
	mac := hmac.New(sha256.New, []byte("nodepool/seal/v1 "+uid))
	mac.Write(text)
	return map[string]any{plan.SealedKey: "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil)), "length": int64(len(text))}
}

// seal seals every string of tree that holds the canary, and what stands
// below a key that seals all of it.
func seal(uid string, tree any, below bool) any {
	switch node := tree.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range node {
			out[k] = seal(uid, v, below || slices.Contains([]string{"ignition", "kubeConfig", "cloudInit", "credentials"}, k))
		}
		return out
	case []any:
		out := []any{}
		for _, v := range node {
			out = append(out, seal(uid, v, below))
		}
		return out
	case string:
		if below || strings.Contains(node, canary) {
			return sealed(uid, node)
		}
	case bool, int64:
		if below {
			return sealed(uid, node)
		}
	}
	return tree
}

// TestSealedSnapshot: a snapshot whose secrets were sealed gives the plan that
// the live cluster gives, and nothing is ever made from it.
func TestSealedSnapshot(t *testing.T) {
	t.Parallel()
	w := secretWorld()
	uid := string(w.Get(clusterRef).GetUID())
	for name, up := range map[string]string{
		"secrets changed": withSecrets(t, secretSpec(2), secretMachine(2)),
		"beside them":     withSecrets(t, map[string]any{"ntp": map[string]any{"enabled": true}}, map[string]any{"instanceType": "m5.xlarge"}),
	} {
		t.Run(name, func(t *testing.T) {
			up := upgrade(t, up)
			snap, err := apply.Observe(t.Context(), lens{Reader: w.Open(nil), change: func(o *object) {
				if strings.HasSuffix(o.GetKind(), "Template") {
					o.Object["spec"] = seal(uid, o.Object["spec"], false)
				}
			}}, up)
			if err != nil {
				t.Fatal(err)
			}
			source, _ := snap.Object(awsBootstrapRef)
			leaks(t, "the sealed snapshot", string(canonical(source.Object)))
			p, err := plan.Compile(up, snap)
			if err != nil {
				t.Fatal(err)
			}
			sameBytes(t, "the plan", encode(t, compile(t, w, up)), encode(t, p))
			for _, s := range p.Steps {
				if s.Create == nil {
					continue
				}
				if a := plan.Assess(s, snap); a.Verdict != plan.Pending {
					t.Errorf("%s is %s", s.ID, a.Verdict)
				}
				if _, err := s.Create.Body(snap, plan.SecretsOf(up, snap)); s.Create.BasedOn.Ref == awsBootstrapRef || name == "beside them" {
					if err == nil {
						t.Fatalf("%s: a sealed secret would be sent", s.ID)
					}
					mustContain(t, err.Error(), s.Create.BasedOn.Ref.String(), "secrets sealed", "read from the cluster")
				}
			}
		})
	}
}

// TestSealIsKeyed: the same secret in two clusters, and a short one, cannot be
// found again by its hash.
func TestSealIsKeyed(t *testing.T) {
	t.Parallel()
	hash := func(change func(*clustertest.World)) string {
		w := clustertest.AWSExample()
		change(w)
		for _, c := range step(t, compile(t, w, onePool(t, "kubernetesVersion: v1.35.2, bootstrap: {ntp: {password: can4ry}}")), awsPool+"/create-bootstrap-template").Create.Changes {
			var v map[string]map[string]any
			if json.Unmarshal(c.After, &v) == nil && v["password"] != nil {
				return v["password"][plan.SealedKey].(string)
			}
		}
		t.Fatal("the change is not in the plan")
		return ""
	}
	here := hash(func(*clustertest.World) {})
	there := hash(func(w *clustertest.World) {
		o := w.Get(clusterRef)
		w.Delete(clusterRef)
		put(o, "another", "metadata", "uid")
		w.Put(o)
	})
	if here == there {
		t.Error("two clusters give one hash")
	}
	plain := sha256.Sum256([]byte(`"can4ry"`))
	if strings.Contains(here, hex.EncodeToString(plain[:])) {
		t.Error("the hash has no key")
	}
	w := clustertest.AWSExample()
	p := compile(t, w, onePool(t, "kubernetesVersion: v1.35.2, bootstrap: {ntp: {password: can4ry}}"))
	if uid := string(w.Get(clusterRef).GetUID()); strings.Contains(string(encode(t, p)), `"`+uid+`"`) {
		t.Error("the plan holds the key: the cluster's UID")
	}
}

func TestEmptyIsNoSecret(t *testing.T) {
	t.Parallel()
	p := compile(t, clustertest.AWSExample(), onePool(t, `kubernetesVersion: v1.35.2, bootstrap: {files: [{path: /a, content: ""}], users: [{name: a, sshAuthorizedKeys: []}]}`))
	if text := string(encode(t, p)); strings.Contains(text, plan.SealedKey) {
		t.Errorf("something empty is sealed:\n%s", text)
	}
}
