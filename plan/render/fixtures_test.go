package render_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"nodepool/plan"
	"nodepool/schema"
)

const (
	digest = plan.Digest("sha256:1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809")
	result = plan.Digest("sha256:9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0")
)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// text gives the canonical JSON of a string without HTML's signs.
func text(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

func sealed(digit, length string) string {
	return `{"$sealed":"hmac-sha256:` + strings.Repeat(digit, 64) + `","length":` + length + `}`
}

func ref(group, kind, name string) plan.Ref {
	return plan.Ref{Group: group, Kind: kind, Namespace: "default", Name: name}
}

func deployment(name string) plan.Ref { return ref("cluster.x-k8s.io", "MachineDeployment", name) }

func awsTemplate(name string) plan.Ref {
	return ref("infrastructure.cluster.x-k8s.io", "AWSMachineTemplate", name)
}

func bootstrapTemplate(name string) plan.Ref {
	return ref("bootstrap.cluster.x-k8s.io", "KubeadmConfigTemplate", name)
}

// upgrade is a plan without steps.
func upgrade(steps ...plan.Step) plan.Plan {
	if steps == nil {
		steps = []plan.Step{}
	}
	return plan.Plan{
		APIVersion: plan.APIVersion, Kind: plan.Kind, Digest: digest,
		Upgrade: plan.UpgradeRef{Name: "aws-example-1-35", Spec: result, Cluster: schema.ClusterRef{Namespace: "default", Name: "aws-example"}},
		Steps:   steps,
	}
}

func preflight(checks ...string) plan.Step {
	return plan.Step{ID: "preflight", Preflight: &plan.Preflight{Checks: checks}}
}

func create(pool string, target, source plan.Ref, changes ...plan.Change) plan.Step {
	id := "/create-infrastructure-template"
	if strings.HasPrefix(target.Group, "bootstrap") {
		id = "/create-bootstrap-template"
	}
	return plan.Step{
		ID: pool + id, Pool: pool,
		Facts: []plan.Fact{
			{Object: deployment(pool), Path: "/spec/template/spec/infrastructureRef/name", Equals: text(source.Name), Because: "the copy is made from the template in use"},
			{Object: source, Digest: result, Because: "what is copied must be what was reviewed"},
			{Object: deployment(pool), Path: "/spec/template/metadata", Equals: raw(`{"labels":{"a/b":"1"},"x":[` + sealed("9", "7") + `,true,[]]}`), Because: "copied"},
			{Object: deployment(pool), Path: "/spec/paused", Because: "a paused pool does not roll"},
		},
		Create: &plan.Create{
			Ref: target, APIVersion: target.Group + "/v1beta2",
			BasedOn: plan.Source{Ref: source, UID: "5f0c7a52-53b5-4a3a-8a34-0c6e0b4a2d11", Digest: result},
			Owner:   plan.Owner{Ref: ref("cluster.x-k8s.io", "Cluster", "aws-example"), APIVersion: "cluster.x-k8s.io/v1beta2"},
			Changes: changes, Result: result,
		},
	}
}

func patch(pool string, changes ...plan.Change) plan.Step {
	return plan.Step{
		ID: pool + "/patch", Pool: pool,
		Patch: &plan.Patch{
			Target: deployment(pool), APIVersion: "cluster.x-k8s.io/v1beta2", UID: "0a3f6a8e-9f5a-4c0e-b6dc-1b9c9b0e6a77",
			Cluster: ref("cluster.x-k8s.io", "Cluster", "aws-example"),
			Run:     plan.Run{After: "aws-example-1-35/1a2b3c4d5e6f"}, Changes: changes,
		},
	}
}

func wait(pool, template, bootstrap string) plan.Step {
	return plan.Step{
		ID: pool + "/wait", Pool: pool,
		Wait: &plan.Wait{
			MachineDeployment: deployment(pool), UID: "0a3f6a8e-9f5a-4c0e-b6dc-1b9c9b0e6a77",
			Cluster: ref("cluster.x-k8s.io", "Cluster", "aws-example"), Template: template, BootstrapTemplate: bootstrap,
			InfraMachine: plan.Ref{Group: "infrastructure.cluster.x-k8s.io", Kind: "AWSMachine"},
			Version:      "v1.35.2", StallAfter: "15m0s",
		},
	}
}

func replace(path, before, after string) plan.Change {
	return plan.Change{Path: plan.Pointer(path), Before: raw(before), After: raw(after)}
}

func rolled(pool string, machines int) plan.PoolImpact {
	return plan.PoolImpact{Pool: pool, Action: plan.Replace, Machines: machines, Waves: machines, Peak: machines + 1, Floor: machines}
}

func passes(codes ...string) []plan.Finding {
	var out []plan.Finding
	for _, c := range codes {
		out = append(out, plan.Finding{Code: c, Severity: plan.Pass, Message: "as it should be"})
	}
	return out
}

var version = replace("/spec/template/spec/version", `"v1.34.3"`, `"v1.35.2"`)

func infraRef(from, to string) plan.Change {
	return replace("/spec/template/spec/infrastructureRef/name", `"`+from+`"`, `"`+to+`"`)
}

// plans are the cases of the golden files, by file name.
func plans() map[string]plan.Plan {
	const md0, md1 = "aws-example-md-0", "aws-example-md-1"
	out := map[string]plan.Plan{}

	p := upgrade(preflight("control-plane-updated", "cluster-paused", "field-managers"), patch(md0, version), wait(md0, "aws-example-md-0", "aws-example-md-0"))
	p.Findings = passes("control-plane-updated", "cluster-paused", "field-managers")
	p.Impact = []plan.PoolImpact{rolled(md0, 3)}
	out["version"] = p

	new0 := md0 + "-1a2b3c4d"
	p = upgrade(
		preflight("control-plane-updated", "cluster-paused", "field-managers", "workload-budgets"),
		create(md0, awsTemplate(new0), awsTemplate(md0),
			replace("/spec/template/spec/ami/id", `"ami-0123456789abcdef0"`, `"ami-0fedcba9876543210"`),
			replace("/spec/template/spec/instanceType", `"m5.large"`, `"m5.xlarge"`),
			plan.Change{Path: "/spec/template/spec/rootVolume", After: raw(`{"encrypted":true,"size":100,"type":"gp3"}`)},
			plan.Change{Path: "/spec/template/spec/sshKeyName", Before: raw(`"old-key"`)}),
		patch(md0, infraRef(md0, new0), version),
		wait(md0, new0, md0))
	p.Steps[2].Note = "one patch for version and template, so that there is one rollout"
	p.Findings = append(passes("control-plane-updated", "cluster-paused", "field-managers"), plan.Finding{
		Code: "workload-budgets", Severity: plan.Warn, Pool: md0, Object: ref("policy", "PodDisruptionBudget", "checkout"),
		Message: "the budget allows no disruption now (3 of 3 pods are needed), so draining a node will wait until it does",
		Remedy:  "scale checkout to 4 replicas before the upgrade, or set drain.nodeDrainTimeout",
	})
	p.Impact = []plan.PoolImpact{rolled(md0, 3)}
	out["image-type-version"] = p

	newB := md0 + "-9f8e7d6c"
	p = upgrade(
		preflight("control-plane-updated"),
		create(md0, bootstrapTemplate(newB), bootstrapTemplate(md0),
			replace("/spec/template/spec/files",
				`[{"content":`+sealed("a", "24")+`,"owner":"root:root","path":"/etc/kubernetes/audit.yaml"},{"content":`+sealed("b", "24")+`,"path":"/etc/motd","permissions":"0644"}]`,
				`[{"content":`+sealed("a", "24")+`,"owner":"root:root","path":"/etc/kubernetes/audit.yaml"},{"content":`+sealed("c", "24")+`,"path":"/etc/motd","permissions":"0600"},{"content":`+sealed("d", "310")+`,"path":"/etc/proxy.conf"}]`),
			replace("/spec/template/spec/joinConfiguration/nodeRegistration/kubeletExtraArgs", `[{"name":"v","value":"2"}]`, `[{"name":"v","value":"4"},{"name":"max-pods","value":"110"}]`),
			replace("/spec/template/spec/preKubeadmCommands/0", `"set -e\nswapoff -a\nmodprobe br_netfilter\n"`, `"set -eu\nswapoff -a\nmodprobe br_netfilter\nsysctl --system\n"`),
			replace("/spec/template/spec/users/0/passwd", sealed("e", "24"), sealed("f", "31")),
			plan.Change{Path: "/spec/template/spec/users/1", After: raw(`{"name":"ops","passwd":` + sealed("1", "34") + `}`)}),
		patch(md0, replace("/spec/template/spec/bootstrap/configRef/name", `"`+md0+`"`, `"`+newB+`"`), version),
		wait(md0, md0, newB))
	p.Findings = passes("control-plane-updated")
	p.Impact = []plan.PoolImpact{rolled(md0, 3)}
	out["bootstrap-sealed"] = p

	new1 := md1 + "-5e6f7a8b"
	image := replace("/spec/template/spec/ami/id", `"ami-0123456789abcdef0"`, `"ami-0fedcba9876543210"`)
	p = upgrade(
		preflight("control-plane-updated", "cluster-paused"),
		create(md0, awsTemplate(new0), awsTemplate(md0), image), patch(md0, infraRef(md0, new0), version), wait(md0, new0, md0),
		create(md1, awsTemplate(new1), awsTemplate(md1), image), patch(md1, infraRef(md1, new1), version), wait(md1, new1, md1))
	p.Findings = passes("control-plane-updated", "cluster-paused")
	p.Impact = []plan.PoolImpact{rolled(md0, 3), {Pool: md1, Action: plan.Replace, Machines: 20, Waves: 4, Peak: 25, Floor: 18}}
	out["two-pools"] = p

	p = upgrade(
		preflight("control-plane-updated"),
		patch(md0, version), patch(md1, version), wait(md0, md0, md0), wait(md1, md1, md1))
	p.Impact = []plan.PoolImpact{rolled(md0, 3), rolled(md1, 1)}
	out["parallel"] = p

	p = upgrade(preflight("control-plane-updated", "version-skew", "cluster-paused"), patch(md0, version), wait(md0, md0, md0))
	p.Blocked = true
	p.Findings = []plan.Finding{
		{Code: "version-skew", Severity: plan.Block, Pool: md0, Object: deployment(md0),
			Message: "v1.35.2 is newer than the control plane KubeadmControlPlane default/aws-example-control-plane, which is at v1.34.3: workers must not be ahead. Cluster API would make no machine (its preflight checks KubernetesVersionSkew and KubeadmVersionSkew)",
			Remedy:  "upgrade the control plane to v1.35.2 first, or set kubernetesVersion to v1.34.3"},
		{Code: "cluster-paused", Severity: plan.Block, Object: ref("cluster.x-k8s.io", "Cluster", "aws-example"),
			Message: "spec.paused is true, so no controller acts on the pool", Remedy: "set spec.paused to false"},
		{Code: "field-managers", Severity: plan.Block, Pool: md0, Message: "Argo CD writes spec.template.spec.version and would revert the patch",
			Remedy: "change the version in Argo CD's repository instead", Waived: "auto-sync is off until Monday, CHG-4711"},
		{Code: "control-plane-updated", Severity: plan.Pass, Message: "v1.34.3"},
	}
	p.Impact = []plan.PoolImpact{rolled(md0, 3)}
	out["blocked"] = p

	p = upgrade()
	p.Impact = []plan.PoolImpact{{Pool: md0, Action: plan.None}, {Pool: md1, Action: plan.None}}
	out["up-to-date"] = p

	p = upgrade(preflight("cluster-paused"), wait(md0, new0, md0))
	p.Impact = []plan.PoolImpact{{Pool: md0, Action: plan.Replace, Machines: 2, Waves: 2, Peak: 4, Floor: 3, Note: "the rollout is under way"}}
	p.Findings = passes("cluster-paused")
	out["wait-only"] = p

	p = upgrade(preflight("cluster-paused"),
		patch(md0,
			replace("/spec/rollout/strategy/rollingUpdate/maxSurge", `1`, `"25%"`),
			plan.Change{Path: "/spec/template/spec/deletion", After: raw(`{"nodeDrainTimeoutSeconds":600}`)}),
		wait(md0, md0, md0))
	p.Steps[1].Patch.Run.Before = "aws-example-1-34/0f0e0d0c0b0a"
	p.Impact = []plan.PoolImpact{{Pool: md0, Action: plan.InPlace, Peak: 3, Floor: 3}}
	p.Findings = passes("cluster-paused")
	out["in-place"] = p

	p = upgrade(preflight("cluster-paused"), create(md0, awsTemplate(new0), awsTemplate(md0), image), patch(md0, infraRef(md0, new0), version), wait(md0, new0, md0))
	p.Impact = []plan.PoolImpact{{Pool: md0, Action: plan.Replace}}
	p.Findings = passes("cluster-paused")
	out["no-machines"] = p

	p = upgrade(preflight("cluster-paused"), patch(md0, version), wait(md0, md0, md0))
	p.Steps[1].Note = "The strategy is OnDelete: no machine is replaced until someone deletes it."
	p.Impact = []plan.PoolImpact{{Pool: md0, Action: plan.Replace, Machines: 3, Note: "strategy OnDelete: nothing moves until machines are deleted"}, {Pool: md1, Action: plan.None, Peak: 2, Floor: 2}}
	p.Findings = passes("cluster-paused")
	out["on-delete"] = p

	before := func(pool string) []plan.Step {
		drain := plan.Change{Path: "/spec/template/spec/deletion", After: raw(`{"nodeDeletionTimeoutSeconds":90,"nodeDrainTimeoutSeconds":600}`)}
		first, settled := patch(pool, drain), wait(pool, pool, pool)
		first.ID, settled.ID = pool+"/patch-in-place", pool+"/wait-in-place"
		first.Patch.Run.After = "aws-example-1-35/0f0e0d0c0b0a"
		first.Note = "Written before the rollout, for this Cluster API (v1.11 or older) would give it to new machines alone."
		settled.Wait.Version = "v1.34.3"
		settled.Wait.Propagated = []plan.Field{
			{Path: "/spec/template/spec/deletion/nodeDrainTimeoutSeconds", Value: raw("600")},
			{Path: "/spec/template/spec/deletion/nodeDeletionTimeoutSeconds", Value: raw("90")},
		}
		return []plan.Step{first, settled}
	}
	after := func(pool, template string) []plan.Step {
		out := []plan.Step{create(pool, awsTemplate(template), awsTemplate(pool), image), patch(pool, infraRef(pool, template), version), wait(pool, template, pool)}
		out[1].Patch.Run.Before = "aws-example-1-35/0f0e0d0c0b0a"
		return out
	}
	p = upgrade(slices.Concat([]plan.Step{preflight("in-place-fields")}, before(md0), after(md0, new0))...)
	p.Impact = []plan.PoolImpact{rolled(md0, 3)}
	out["in-place-first"] = p
	p = upgrade(slices.Concat([]plan.Step{preflight("in-place-fields")}, before(md0), after(md0, new0), before(md1), after(md1, new1))...)
	p.Impact = []plan.PoolImpact{rolled(md0, 3), rolled(md1, 3)}
	out["in-place-first-pools"] = p

	const surge, unavailable = "/spec/rollout/strategy/rollingUpdate/maxSurge", "/spec/rollout/strategy/rollingUpdate/maxUnavailable"
	const ready, hold = "/spec/template/spec/minReadySeconds", "/metadata/annotations/nodepool~1hold"
	held := text(`{"maxSurge":{"held":1,"was":"25%"},"maxUnavailable":{"held":0,"was":1},"minReadySeconds":{"held":315360000}}`)
	proving, release, paused := wait(md0, md0, md0), patch(md0), patch(md0)
	proving.ID = md0 + "/wait-canary"
	proving.Wait.Canary = &plan.Canary{Machines: 1, Soak: "10m0s", Command: []string{"./smoke-test.sh", "--for", "new machines"}}
	proving.Facts = []plan.Fact{{Object: deployment(md0), Path: ready, Equals: raw("315360000"), Because: "it holds the rollout until the canary is proved"}}
	release.ID, release.Note = md0+"/release", "This ends the hold: the rollout goes on with the reviewed values."
	release.Patch.Run = plan.Run{Before: "aws-example-1-35/1a2b3c4d5e6f", After: "aws-example-1-35/2b3c4d5e6f70"}
	release.Patch.Changes = []plan.Change{{Path: hold, Before: held}, replace(surge, "1", `"50%"`), replace(unavailable, "0", "1"), {Path: ready, Before: raw("315360000")}}
	paused.Patch.Changes = []plan.Change{{Path: hold, After: text(`{"paused":{"held":true}}`)}, {Path: "/spec/paused", After: raw("true")}}
	last := wait(md0, md0, md0)
	last.Wait.Pause = paused.Patch
	p = upgrade(preflight("canary"), patch(md0, plan.Change{Path: hold, After: held}, replace(surge, `"25%"`, "1"), replace(unavailable, "1", "0"),
		plan.Change{Path: ready, After: raw("315360000")}, version), proving, release, last)
	p.Impact = []plan.PoolImpact{{Pool: md0, Action: plan.Replace, Machines: 8, Waves: 3, Peak: 12, Floor: 7, Note: "1 new machine first, to stay ready for 10m0s"}}
	out["canary"] = p

	const evil = "md\x1b[2J\u202e\u200b\nPlan: 0 templates"
	p = upgrade(preflight("cluster-paused\r"),
		create(evil, awsTemplate("x\u009b31m"), awsTemplate("y\u2028z"),
			replace("/spec/template/spec/ami/id", `"ami-1 → ami-2"`, `"ami-3\u001b]0;title\u0007"`),
			replace("/spec/template/spec/a~1b\n", `"(sealed, 24 bytes)"`, `{"$sealed":"no hash","length":24}`),
			plan.Change{Path: "/spec/template/spec/script", After: raw(`"echo 1\n\tcurl \u001b[1A\n+ fake\nDigest: sha256:0000\n"`)},
			plan.Change{Path: "/spec/template/spec/user\u202egnp", Before: raw(`{"\u001b[31mkey":"a: b # c","hebrew":"שלום","n":"4","t":"true"}`)}),
		patch(evil, replace("/spec/template/spec/version", `"v1.34.3"`, "\"v1.35.2\u200b\"")))
	p.Upgrade.Name = "up\x1b[31mgrade"
	p.Steps[1].Note = "note\x07\nsecond line"
	p.Findings = []plan.Finding{{Code: "c\x1b[0m", Severity: plan.Warn, Pool: "p\n", Message: "server said:\r\nDigest: sha256:0000 \xff\xfe", Remedy: "r\u2066"}}
	p.Impact = []plan.PoolImpact{{Pool: evil, Action: "\x1b[5m", Note: "\u0085"}}
	out["hostile"] = p
	out["prune"] = pruned(3)
	out["prune-nothing"] = pruned(0)
	return out
}

// pruned is a plan that deletes n templates, and says of others why they stay.
func pruned(n int) plan.Plan {
	const pool = "aws-example-md-0"
	p := upgrade()
	p.Upgrade.Name, p.Upgrade.Purpose = "aws-example-prune", plan.ForPrune
	p.Findings = []plan.Finding{
		{Code: plan.CheckForeign, Severity: plan.Pass, Object: ref("cluster.x-k8s.io", "Cluster", "aws-example"),
			Message: "5 templates in namespace default were not made by nodepool for this cluster, and are left alone"},
		{Code: plan.CheckRollbackTarget, Severity: plan.Warn, Pool: pool,
			Message: "the run one-1a2b3c4d5e6f, which changed this pool last, stands in no journal that was looked at: what it changed from, the target of a rollback, is not known",
			Remedy:  "the newest unused templates are kept, one at least; raise --keep, or prune where the journal of that run is"},
		{Code: plan.CheckKept, Severity: plan.Pass, Pool: pool, Object: awsTemplate(pool + "-cccccccc"),
			Message: "5 objects refer to it, among them MachineDeployment default/aws-example-md-0 (spec.template.spec.infrastructureRef)"},
		{Code: plan.CheckKept, Severity: plan.Pass, Pool: pool, Object: awsTemplate(pool + "-bbbbbbbb"),
			Message: "nothing refers to it; it is one of the newest 2 that stay for each pool and kind"},
	}
	for i := range n {
		template := awsTemplate(fmt.Sprintf("%s-%08x", pool, 0x1a2b3c4d+i))
		p.Steps = append(p.Steps, plan.Step{ID: fmt.Sprintf("%s/delete-awsmachinetemplate-%s", pool, template.Name), Pool: pool, Delete: &plan.Delete{
			Ref: template, APIVersion: "infrastructure.cluster.x-k8s.io/v1beta2", UID: "00000000-0000-4000-8000-000000000042",
			Cluster: ref("cluster.x-k8s.io", "Cluster", "aws-example"), Content: "sha256:" + plan.Digest(strings.Repeat("4", 64)),
			UnusedBy: []plan.Ref{ref("cluster.x-k8s.io", "MachineDeployment", ""), ref("cluster.x-k8s.io", "MachineSet", "")},
		}})
		if i == 2 {
			continue // deleted already, so nothing is said of it any more
		}
		p.Findings = append(p.Findings, plan.Finding{Code: plan.CheckUnused, Severity: plan.Pass, Pool: pool, Object: template,
			Message: "nothing in namespace default refers to it, looked at: Cluster (1), MachineDeployment (2), MachineSet (3), Machine (9), MachinePool (0), ClusterClass (0), KubeadmControlPlane (1), AWSMachine (9); " +
				"no unfinished run names it, and it is no rollback target, looked at: runs (4); made 2026-08-01 10:00:00"})
	}
	return p
}
