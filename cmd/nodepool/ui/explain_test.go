package ui_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"nodepool/apply"
	"nodepool/cmd/nodepool/ui"
	"nodepool/plan"
	"nodepool/plan/capi"
	"nodepool/plan/render"
	"nodepool/schema"
)

func TestExplain(t *testing.T) {
	sealed := `{"passwd":{"$sealed":"hmac-sha256:` + strings.Repeat("a", 64) + `","length":24}}`
	drift := &apply.DriftError{Step: "md-0/patch", Differences: []plan.Difference{
		{Object: md0, Path: "/spec/template/spec/version", Reviewed: "v1.34.3", Found: "v1.34.5\x1b[1A", Because: "it is to be changed to v1.35.2"},
		{Object: md0, Path: "/spec/x", Reviewed: sealed, Found: "(absent)"}}}
	written := &apply.DriftError{Step: "md-0/wait", Written: true, Differences: []plan.Difference{{Object: md0, Reviewed: "(present)", Found: "(absent)"}}}
	waiting := rollout(3, old(1), old(2), ready(1))
	waiting.Waiting = "Machine new-2: bootstrap data"
	settings := capi.Rollout{InPlace: true, Desired: 3, New: 3, NewReady: 1, Waiting: "Machine old-2 has nodeDrainTimeoutSeconds absent, 600 is wanted"}
	blocked := &apply.BlockedError{Findings: []plan.Finding{
		{Code: "kubeadm-skew", Object: md0, Message: "the control plane is older", Remedy: "upgrade it first"},
		{Code: "pause", Pool: "md-0\n", Message: "paused"}}}
	secret := errors.New("the whole object with its password")

	var all strings.Builder
	for _, tt := range []struct {
		name string
		err  error
		code int
	}{
		{"nil", nil, 0},
		{"drift", drift, 4},
		{"drift after writes", fmt.Errorf("wrapped: %w", written), 4},
		{"blocked", blocked, 3},
		{"stall", &apply.StallError{Step: wait0, Rollout: waiting, Stall: &drain, After: 15 * time.Minute}, 5},
		{"stall unexplained", &apply.StallError{Step: wait0, Rollout: waiting, After: 90 * time.Minute}, 5},
		{"stall of settings", &apply.StallError{Step: wait0, Rollout: settings, After: 15 * time.Minute}, 5},
		{"journal locked", &apply.JournalLockedError{Path: "/state/x.jsonl"}, 6},
		{"locked", &apply.LockedError{Pool: md0, Holder: apply.Holder{Actor: "alice@there\x1b[1A", Host: "there", Process: 4711, Upgrade: "up", Plan: "sha256:aaaaaaaaaaaaaaaa",
			Ticket: "CHG-1", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Renewed: time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC)}}, 6},
		{"locked by somebody", &apply.LockedError{Pool: md0, Holder: apply.Holder{Actor: "x"}}, 6},
		{"lost", &apply.LockLostError{Pools: []plan.Ref{md0}}, 6},
		{"lost after writes", &apply.LockLostError{Pools: []plan.Ref{md0}, Written: true}, 6},
		{"no rights for the journal", errors.Join(&apply.ForbiddenError{Verb: "create", Resource: "configmaps", Namespace: "default"},
			&apply.ForbiddenError{Verb: "create", Group: "coordination.k8s.io", Resource: "leases", Namespace: "default"}), 1},
		{"interrupted", fmt.Errorf("%w: %w", apply.ErrInterrupted, context.Canceled), 130},
		{"interrupted, not begun", fmt.Errorf("%w: %w: %w", apply.ErrNotBegun, apply.ErrInterrupted, context.Canceled), 130},
		{"interrupted, unrecorded", errors.Join(fmt.Errorf("%w: %w", apply.ErrInterrupted, context.Canceled), &apply.RecordError{Err: errors.New("connection refused")}), 130},
		{"interrupted before", fmt.Errorf("read: %w", context.Canceled), 130},
		{"rejected", &apply.RejectedError{Step: patch, Words: "admission webhook \"x\" denied the request:\nno\x07"}, 1},
		{"unfinished", &apply.UnfinishedError{Unfinished: "sha256:aaaaaaaaaaaaaaaa", Wanted: "sha256:bbbbbbbbbbbbbbbb"}, 1},
		{"unfinished rollback", &apply.UnfinishedError{Unfinished: "sha256:aaaaaaaaaaaaaaaa", Wanted: "sha256:bbbbbbbbbbbbbbbb", TakesBack: true}, 1},
		{"changed since", &plan.ChangedError{Plan: "sha256:aaaaaaaaaaaaaaaa", Differences: drift.Differences}, 4},
		{"unreachable", &apply.UnreachableError{Step: patch, Err: errors.New("connection refused")}, 1},
		{"forbidden", &apply.ForbiddenError{Verb: "list", Group: "cluster.x-k8s.io", Resource: "machines", Namespace: "default"}, 1},
		{"forbidden everywhere", &apply.ForbiddenError{Verb: "get", Resource: "secrets", Name: "x"}, 1},
		{"forbidden thrice", errors.Join(
			errors.Join(&apply.ForbiddenError{Verb: "get", Group: "cluster.x-k8s.io", Resource: "machinedeployments", Namespace: "default", Name: "a"},
				&apply.ForbiddenError{Verb: "get", Group: "cluster.x-k8s.io", Resource: "machinedeployments", Namespace: "default", Name: "b"}),
			&apply.ForbiddenError{Verb: "list", Resource: "nodes"}, errors.New("the disk is full"),
			&apply.ForbiddenError{Verb: "patch", Group: "cluster.x-k8s.io", Resource: "machinedeployments", Namespace: "def\x1bault"}), 1},
		{"invalid", &schema.InvalidError{File: "upgrade.yaml", Problems: []schema.Problem{
			{Path: "spec.pools[0].machineImage", Message: "is empty", Remedy: "name an image", Position: schema.Position{Line: 7, Column: 21}},
			{Path: "spec.cluster", Message: "is not there\u202e"}}}, 1},
		{"write unknown", &apply.WriteError{Outcome: apply.Unknown, Words: "timeout", Err: secret}, 1},
		{"write refused", &apply.WriteError{Outcome: apply.Refused, Words: "invalid", Err: secret}, 1},
		{"any", errors.New("read upgrade.yaml: no such file\x1b[2J"), 1},
		{"joined", errors.Join(errors.New("write the journal: disk full"), errors.Join(drift)), 4},
	} {
		message, code := ui.Explain(tt.err)
		if code != tt.code {
			t.Errorf("%s: exit code %d, want %d", tt.name, code, tt.code)
		}
		if strings.Contains(message, secret.Error()) || strings.Contains(message, "hmac-sha256") {
			t.Errorf("%s says too much:\n%s", tt.name, message)
		}
		for _, l := range strings.Split(message, "\n") {
			if render.Escape(l) != l {
				t.Errorf("%s is not safe to show: %q", tt.name, l)
			}
		}
		fmt.Fprintf(&all, "== %s: %d\n%s\n", tt.name, code, message)
	}
	golden(t, "explain.txt", all.String())

	// With commands that can be copied.
	next := ui.Commands{Again: ui.Shell("nodepool", "apply", "-f", "my file.yaml"), Rollback: "nodepool rollback -f 'my file.yaml' --context prod"}
	for _, err := range []error{&apply.StallError{Step: wait0, Rollout: waiting, Stall: &drain, After: time.Minute}, apply.ErrInterrupted,
		&apply.UnreachableError{Step: wait0, Err: errors.New("connection refused")}, &apply.LockLostError{Pools: []plan.Ref{md0}}} {
		message, _ := next.Explain(err)
		stalled := errors.As(err, new(*apply.StallError))
		if !strings.Contains(message, "\n    nodepool apply -f 'my file.yaml'") || strings.Contains(message, "\n    "+next.Rollback+"\n") != stalled {
			t.Errorf("not the whole commands:\n%s", message)
		}
	}
	two := errors.Join(&apply.StallError{Step: wait0}, &apply.StallError{Step: wait1})
	if message, _ := next.Explain(two); strings.Count(message, "nodepool rollback") != 1 {
		t.Errorf("what can be done is said of each stall:\n%s", message)
	}
	back := ui.Commands{Again: "nodepool rollback one/1", Back: true}
	if message, _ := back.Explain(&apply.StallError{Step: wait0, Rollout: waiting}); strings.Contains(message, "go back") || !strings.Contains(message, "1/3 old ready, 2 new left") {
		t.Errorf("of a rollback:\n%s", message)
	}
}
