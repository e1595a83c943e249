package apply_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/apply"
	"nodepool/apply/clustertest"
)

// TestInFlight stops a run at each of its events and asks how far it is.
func TestInFlight(t *testing.T) {
	var seen []string
	for stop := 1; ; stop++ {
		ended := false
		synctest.Test(t, func(t *testing.T) {
			w := clustertest.AWSExample(clustertest.AdjustPool("aws-example-md-0", one), clustertest.AdjustPool("aws-example-md-1", one))
			w.AutoStep(1)
			c := w.Open(nil)
			p, secrets := compile(t, c, read(t, upgradeBoth))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := 0
			err := (&apply.Executor{Cluster: c, Journal: &memory{}, Secrets: secrets, Notify: func(ev apply.Event) {
				if _, ok := ev.(apply.StepDone); ok {
					if done++; done == stop {
						cancel()
					}
				}
			}}).Run(ctx, p)
			ended = err == nil
			flight, err := apply.InFlight(t.Context(), c, apply.Run{Upgrade: "to-1-35", Number: 3, Plan: p})
			if err != nil {
				t.Fatal(err)
			}
			line := ""
			for _, pool := range []string{"aws-example-md-0", "aws-example-md-1"} {
				s := flight[clustertest.MachineDeployment(pool)]
				if s.Run != "to-1-35/3" || s.Steps != len(p.Steps) || (s.Step != "" && p.Steps[s.Number-1].ID != s.Step) {
					t.Errorf("%+v", s)
				}
				line += s.Step + ";"
			}
			seen = append(seen, line)
		})
		if ended {
			break
		}
	}
	want := []string{
		"aws-example-md-0/create-infrastructure-template;aws-example-md-1/patch;",
		"aws-example-md-0/patch;aws-example-md-1/patch;",
		"aws-example-md-0/wait;aws-example-md-1/patch;",
		";aws-example-md-1/patch;",
		";aws-example-md-1/wait;",
		";;",
	}
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("first step that is left, of each pool (-want +got):\n%s", d)
	}
}

func TestInFlightDrifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clustertest.AWSExample()
		c := w.Open(nil)
		p, _ := compile(t, c, read(t, upgradeOne))
		pool := clustertest.MachineDeployment("aws-example-md-0")
		w.Edit(pool, func(o *unstructured.Unstructured) { _ = unstructured.SetNestedField(o.Object, true, "spec", "paused") })
		flight, err := apply.InFlight(t.Context(), c, apply.Run{Plan: p, Number: 1})
		if err != nil {
			t.Fatal(err)
		}
		want := "MachineDeployment default/aws-example-md-0 spec.paused: reviewed (absent), found true"
		if s := flight[pool]; s.Step != "aws-example-md-0/create-infrastructure-template" || s.Drift != want {
			t.Errorf("%+v, want the drift of the patch", s)
		}
	})
}
