package render_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"nodepool/plan"
	"nodepool/plan/render"
)

// githubLimit is how long a plan may get as Markdown: GitHub takes 65,536
// characters in a comment.
const githubLimit = 60000

// fleet is a plan over n pools as they are in the field: every pool has its own
// names, image, sizes and risks.
func fleet(n int) plan.Plan {
	p := upgrade(preflight("cluster", "cluster-paused", "field-managers", "control-plane-updated", "version-skew", "image", "autoscaler", "rollout", "schema"))
	for i := range n {
		pool := fmt.Sprintf("aws-example-eu-central-1-md-%02d", i)
		template, bootstrap := fmt.Sprintf("%s-%08x", pool, 0x1a2b3c4d+i), fmt.Sprintf("%s-%08x", pool, 0x5e6f7a8b+i)
		c := create(pool, awsTemplate(template), awsTemplate(pool),
			replace("/spec/template/spec/ami/id", fmt.Sprintf(`"ami-%017x"`, 0x123456789+i), fmt.Sprintf(`"ami-%017x"`, 0xfedcba9876+i)),
			replace("/spec/template/spec/instanceType", `"m5.large"`, `"m5.xlarge"`),
			plan.Change{Path: "/spec/template/spec/rootVolume", After: raw(fmt.Sprintf(`{"encrypted":true,"size":%d,"type":"gp3"}`, 100+i))})
		b := create(pool, bootstrapTemplate(bootstrap), bootstrapTemplate(pool),
			replace("/spec/template/spec/joinConfiguration/nodeRegistration/kubeletExtraArgs", `[{"name":"v","value":"2"}]`, `[{"name":"v","value":"4"},{"name":"max-pods","value":"110"}]`),
			replace("/spec/template/spec/users/0/passwd", sealed("e", "24"), sealed("f", "31")))
		c.Note, b.Note = "Creating a template changes no machine.", "Creating a template changes no machine."
		w := patch(pool, infraRef(pool, template), replace("/spec/template/spec/bootstrap/configRef/name", `"`+pool+`"`, `"`+bootstrap+`"`), version)
		w.Patch.Run.After = fmt.Sprintf("aws-example-1-35-%012x", 0x1a2b3c4d5e6f+i)
		w.Note = "This write starts the rollout."
		p.Steps = append(p.Steps, c, b, w, wait(pool, template, bootstrap))
		p.Impact = append(p.Impact, rolled(pool, 3+i))
		for _, code := range []string{"cluster-paused", "field-managers", "version-skew", "image", "rollout", "schema"} {
			p.Findings = append(p.Findings, plan.Finding{Code: code, Severity: plan.Pass, Pool: pool, Object: deployment(pool),
				Message: deployment(pool).String() + " is as it should be, and nothing is in the way"})
		}
		p.Findings = append(p.Findings, plan.Finding{Code: "autoscaler", Severity: plan.Warn, Pool: pool, Object: deployment(pool),
			Message: fmt.Sprintf("the cluster autoscaler scales this pool between %d and %d: a scale-down during the rollout may remove new machines first", 1, 10+i),
			Remedy:  "take the annotations away for the time of the upgrade, or upgrade while the load is steady"})
	}
	return p
}

// sameFleet is a plan over n pools that differ in their names alone.
func sameFleet(n int) plan.Plan {
	p := upgrade(preflight("cluster-paused"))
	for i := range n {
		pool := fmt.Sprintf("md-%02d", i)
		template := pool + "-1a2b3c4d"
		p.Steps = append(p.Steps,
			create(pool, awsTemplate(template), awsTemplate(pool), replace("/spec/template/spec/ami/id", `"ami-0123456789abcdef0"`, `"ami-0fedcba9876543210"`),
				plan.Change{Path: "/spec/template/spec/userData", After: text(strings.Repeat("a line of the script\n", 100))}),
			patch(pool, infraRef(pool, template), version), wait(pool, template, pool))
		p.Impact = append(p.Impact, rolled(pool, 3))
	}
	return p
}

// scripts is a plan over n pools of which each gets a long script of its own.
func scripts(n int) plan.Plan {
	p := upgrade(preflight("cluster-paused"))
	for i := range n {
		pool := fmt.Sprintf("md-%02d", i)
		var before, after strings.Builder
		for l := range 60 {
			fmt.Fprintf(&before, "echo %d of pool %d\n", l, i)
			fmt.Fprintf(&after, "printf '%%s' %d of pool %d %s\n", l, i, strings.Repeat("x", l))
		}
		p.Steps = append(p.Steps, patch(pool, version,
			plan.Change{Path: "/spec/template/spec/script", Before: text(before.String()), After: text(after.String())},
			plan.Change{Path: "/spec/template/spec/line", Before: text(strings.Repeat("b", 5000) + "1"), After: text(strings.Repeat("b", 5000) + "2")}),
			wait(pool, pool, pool))
		p.Impact = append(p.Impact, rolled(pool, 3))
		p.Findings = append(p.Findings, plan.Finding{Code: fmt.Sprintf("code-%02d", i), Severity: plan.Warn, Pool: pool, Message: strings.Repeat("a long answer of a webhook, ", 200)})
	}
	return p
}

// TestSizes is the table of the sizes of the forms; -v shows it.
func TestSizes(t *testing.T) {
	forms := []struct {
		name  string
		write func(io.Writer, plan.Plan) error
	}{
		{"text", func(w io.Writer, p plan.Plan) error { return render.Text(w, p, render.Options{Width: 100}) }},
		{"markdown", func(w io.Writer, p plan.Plan) error { return render.Markdown(w, p, render.Options{}) }},
		{"json", render.JSON},
		{"yaml", render.YAML},
	}
	for _, kind := range []struct {
		name string
		made func(int) plan.Plan
	}{{"each its own", fleet}, {"all the same", sameFleet}, {"long scripts", scripts}} {
		for _, n := range []int{1, 10, 50} {
			row := fmt.Sprintf("%s, %2d pools:", kind.name, n)
			for _, f := range forms {
				var b strings.Builder
				if err := f.write(&b, kind.made(n)); err != nil {
					t.Fatal(err)
				}
				row += fmt.Sprintf("  %s %d", f.name, b.Len())
				if f.name == "markdown" && b.Len() >= githubLimit {
					t.Errorf("%s, %d pools: %d bytes of Markdown", kind.name, n, b.Len())
				}
			}
			t.Log(row)
		}
	}
}

// A prune of many templates names every one of them.
func TestMarkdownOfLongPrune(t *testing.T) {
	for _, n := range []int{200, 400} {
		p := pruned(n)
		var b strings.Builder
		if err := render.Markdown(&b, p, render.Options{}); err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(b.String(), "too long for a comment"); said != (b.Len() >= githubLimit) || said != (n == 400) {
			t.Errorf("%d deletes take %d bytes; too long: %v", n, b.Len(), said)
		}
		for _, s := range p.Steps {
			if !strings.Contains(b.String(), s.Delete.Ref.Name) {
				t.Fatalf("%s is not named", s.Delete.Ref.Name)
			}
		}
	}
}
