package capi_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"nodepool/plan/capi"
)

// event is one line of a recording: one watch event of a real rollout.
type event struct {
	T      *float64                   `json:"t"` // seconds after the patch; nil: the state before
	W      string                     `json:"w"` // md1, md2, ms, m
	Type   string                     `json:"type"`
	Object *unstructured.Unstructured `json:"object"`
}

func (e event) String() string {
	at := "before"
	if e.T != nil {
		at = fmt.Sprintf("%.3f s", *e.T)
	}
	return fmt.Sprintf("%s %s %s/%s", at, e.Type, e.Object.GetKind(), e.Object.GetName())
}

// open unpacks a file of a recording.
func open(t testing.TB, recording, file string) io.Reader {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "recordings", recording, file+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return unpacked
}

func events(t testing.TB, recording string) []event {
	t.Helper()
	var all []event
	lines := bufio.NewReader(open(t, recording, "events.jsonl"))
	for {
		line, err := lines.ReadBytes('\n')
		if len(strings.TrimSpace(string(line))) > 0 {
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// manifests reads a YAML file of one object or of a list.
func manifests(t testing.TB, recording, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := io.ReadAll(open(t, recording, file))
	if err != nil {
		t.Fatal(err)
	}
	var object unstructured.Unstructured
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := object.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	if !object.IsList() {
		return []*unstructured.Unstructured{&object}
	}
	list, err := object.ToList()
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all
}

// store is what a watcher of the management cluster holds.
type store struct {
	deployment     *unstructured.Unstructured
	sets, machines []*unstructured.Unstructured
}

func (s *store) take(e event) {
	key := func(u *unstructured.Unstructured) string { return u.GetNamespace() + "/" + u.GetName() }
	update := func(list []*unstructured.Unstructured) []*unstructured.Unstructured {
		var next []*unstructured.Unstructured
		for _, u := range list {
			if key(u) != key(e.Object) {
				next = append(next, u)
			}
		}
		if e.Type != "DELETED" {
			next = append(next, e.Object)
		}
		return next
	}
	switch e.W {
	case "ms":
		s.sets = update(s.sets)
	case "m":
		s.machines = update(s.machines)
	default:
		s.deployment = e.Object
	}
}

func (s *store) observed() capi.Observed {
	return capi.Observed{MachineDeployment: s.deployment, MachineSets: s.sets, Machines: s.machines}
}

// replay judges a recording after each of its events, with the
// MachineDeployment as one of its two watches gave it, and with all
// objects of the other version left out.
func replay(t testing.TB, recording, watch string, visit func(e event, r capi.Rollout, s *store)) {
	t.Helper()
	var s store
	for _, e := range events(t, recording) {
		if strings.HasPrefix(e.W, "md") && e.W != watch {
			continue
		}
		s.take(e)
		visit(e, judge(s.observed()), &s)
	}
}

func recordings(t testing.TB) []string {
	t.Helper()
	found, err := fs.Glob(os.DirFS("testdata/recordings"), "*/events.jsonl.gz")
	if err != nil || len(found) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return found
}

func causes(list []capi.Stall) string {
	var all []string
	for _, s := range list {
		all = append(all, fmt.Sprintf("%s %s/%s", s.Cause, s.Kind, s.Name))
	}
	return strings.Join(all, ", ")
}

// TestRecordings replays every event of the recorded rollouts, through both
// versions of the API. Complete may first be said between the moment the last
// old Machine is gone and the moment the MachineDeployment's counters agree,
// is never taken back, and is never said of a rollout that failed.
func TestRecordings(t *testing.T) {
	never := -1.0
	tests := []struct {
		recording        string
		gone, said, both float64 // seconds: last old Machine gone, complete said, counters agree
	}{
		{"rollout-1", 46.870, 47.852, 48.807},
		{"rollout-2-dev-to-aws", 42.720, 43.675, 44.672},
		{"rollback-1", 4.117, 5.071, 6.094},
		{"fail-1-provider-error", never, never, never},
		{"fail-3-missing-template", never, never, never},
		{"fail-4-aws-no-controller", never, never, never},
		{"fail-6-version-too-new", never, never, never},
	}
	if len(tests) != len(recordings(t)) {
		t.Errorf("%d recordings, %d tests", len(recordings(t)), len(tests))
	}
	for _, test := range tests {
		for _, watch := range []string{"md2", "md1"} {
			t.Run(test.recording+"/"+watch, func(t *testing.T) {
				gone, said, both := never, never, never
				replay(t, test.recording, watch, func(e event, r capi.Rollout, s *store) {
					if r.Complete != (r.Waiting == "") {
						t.Errorf("%s: Complete %t, Waiting %q", e, r.Complete, r.Waiting)
					}
					if r.Old+r.New != len(r.Machines) {
						t.Errorf("%s: %d old and %d new of %d Machines", e, r.Old, r.New, len(r.Machines))
					}
					if e.T == nil {
						return
					}
					if r.Old == 0 && r.New == r.Desired && gone == never {
						gone = *e.T
					}
					if both == never && countersAgree(s.deployment) && said != never {
						both = *e.T
					}
					switch {
					case r.Complete && said == never:
						said = *e.T
					case !r.Complete && said != never:
						t.Errorf("%s: complete taken back: %s", e, r.Waiting)
					}
				})
				// The two watches of the MachineDeployment are a few milliseconds apart.
				if gone != test.gone || said != test.said || math.Abs(both-test.both) > 0.03 {
					t.Errorf("old Machines gone at %.3f s, complete said at %.3f s, counters agree at %.3f s; want %.3f, %.3f, %.3f",
						gone, said, both, test.gone, test.said, test.both)
				}
				if said < gone || said > both {
					t.Errorf("complete said at %.3f s, not within %.3f s and %.3f s", said, gone, both)
				}
			})
		}
	}
}

// countersAgree is what the MachineDeployment itself shows; the judge does not
// look there.
func countersAgree(md *unstructured.Unstructured) bool {
	if md == nil {
		return false
	}
	at := func(path ...string) int64 {
		n, ok, _ := unstructured.NestedInt64(md.Object, path...)
		if !ok {
			return -1
		}
		return n
	}
	updated := at("status", "updatedReplicas")
	if strings.HasSuffix(md.GetAPIVersion(), "v1beta2") {
		updated = at("status", "deprecated", "v1beta1", "updatedReplicas")
	}
	want := at("spec", "replicas")
	return at("status", "observedGeneration") >= md.GetGeneration() &&
		at("status", "replicas") == want && at("status", "availableReplicas") == want && updated == want
}

// TestRecordedStalls names the cause of each rollout that failed, and states
// none in one that succeeded.
func TestRecordedStalls(t *testing.T) {
	tests := []struct {
		recording   string
		stated      string  // cause and object, empty: none at any event
		from        float64 // seconds at which it is first stated, to the end
		suspect     string  // at the end
		condition   string
		explanation string
	}{
		{"rollout-1", "", 0, "", "", ""},
		{"rollout-2-dev-to-aws", "", 0, "", "", ""},
		{"rollback-1", "", 0, "", "", ""},
		{
			"fail-1-provider-error", "provider-error Machine/demo-md-0-rtwxk-xksqs", 7.207, "provider-error Machine/demo-md-0-rtwxk-xksqs", "InfrastructureReady",
			"The infrastructure provider cannot make the machine of Machine demo-md-0-rtwxk-xksqs: VMProvisioned: Please check controller logs for errors.",
		},
		{
			"fail-3-missing-template", "template-missing MachineDeployment/demo-md-0", 0.683, "template-missing MachineDeployment/demo-md-0", "ScalingUp",
			"DevMachineTemplate does-not-exist, which MachineDeployment demo-md-0 names, does not exist, so no machine can be made from it.",
		},
		{
			"fail-4-aws-no-controller", "", 0, "infrastructure-not-ready Machine/demo-md-0-zfsnm-nzzvn", "InfrastructureReady",
			"AWSMachine demo-md-0-zfsnm-nzzvn is not provisioned and reports nothing: perhaps no controller takes care of it.",
		},
		{
			"fail-6-version-too-new", "machineset-preflight MachineSet/demo-md-0-t5zvp", 2.082, "machineset-preflight MachineSet/demo-md-0-t5zvp", "ScalingUp",
			"MachineSet demo-md-0-t5zvp may not create machines: the pool's version is too far from the control plane's, or above it, and kubeadm joins only with the control plane's own minor version.",
		},
	}
	for _, test := range tests {
		for _, watch := range []string{"md2", "md1"} {
			t.Run(test.recording+"/"+watch, func(t *testing.T) {
				from := 0.0
				var last capi.Rollout
				replay(t, test.recording, watch, func(e event, r capi.Rollout, _ *store) {
					last = r
					got := causes(r.Stalls)
					if got != "" && got != test.stated {
						t.Errorf("%s: stated %s", e, got)
					}
					if got != "" && from == 0 {
						from = *e.T
					}
					if got == "" && from != 0 {
						t.Errorf("%s: %s taken back", e, test.stated)
					}
				})
				if math.Abs(from-test.from) > 0.03 {
					t.Errorf("first stated at %.3f s, want %.3f s", from, test.from)
				}
				if test.suspect == "" {
					if last.Suspect() != nil {
						t.Errorf("suspected at the end: %+v", last.Suspect())
					}
					return
				}
				s := last.Suspect()
				if got := causes([]capi.Stall{*s}); got != test.suspect || s.Condition != test.condition || s.Explanation != test.explanation {
					t.Errorf("suspected %s in %s: %s", got, s.Condition, s.Explanation)
				}
			})
		}
	}
}

// TestProviderErrorInItsOwnWords adds the infrastructure machines to the stuck
// rollout of fail-1: the cause is named where the provider wrote it.
func TestProviderErrorInItsOwnWords(t *testing.T) {
	var last *store
	replay(t, "fail-1-provider-error", "md2", func(_ event, _ capi.Rollout, s *store) { last = s })
	o := last.observed()
	o.InfraMachines = manifests(t, "fail-1-provider-error", "devmachines.stuck.yaml")
	s := judge(o).Suspect()
	want := capi.Stall{
		Cause: capi.StallProviderError, Kind: "DevMachine", Namespace: "default", Name: "demo-md-0-rtwxk-xksqs",
		Condition:   "VMProvisioned",
		Message:     "Please check controller logs for errors",
		Explanation: "The infrastructure provider cannot make the machine of Machine demo-md-0-rtwxk-xksqs: InternalError: Please check controller logs for errors.",
		Next:        "Look at DevMachine demo-md-0-rtwxk-xksqs and the logs of its provider; if the template is wrong, go back to the old one or name a corrected one.",
	}
	if diff := cmp.Diff(&want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPreflightBlocked is a new pool one minor behind its control plane, of
// which no machine is ever made.
func TestPreflightBlocked(t *testing.T) {
	for _, file := range []string{"md.v1beta1.yaml", "md.v1beta2.yaml"} {
		t.Run(file, func(t *testing.T) {
			o := capi.Observed{
				MachineDeployment: manifests(t, "preflight-blocked", file)[0],
				MachineSets:       manifests(t, "preflight-blocked", "ms.v1beta2.yaml"),
			}
			r := judge(o)
			if got, want := causes(r.Stalls), "machineset-preflight MachineSet/demo-md-0-42fnl"; got != want || r.Complete {
				t.Errorf("complete %t, stated %q, want %q", r.Complete, got, want)
			}
			if s := r.Suspect(); !strings.Contains(s.Next, "Give the pool a version of the control plane's minor.") {
				t.Errorf("Next %q", s.Next)
			}
			o.MachineSets = nil
			if got, want := causes(judge(o).Stalls), "machineset-preflight MachineDeployment/demo-md-0"; got != want {
				t.Errorf("without MachineSets: stated %q, want %q", got, want)
			}
		})
	}
}

// TestPatchResponseLooksComplete judges the answer to the patch itself: its
// counters are all right and its generation is not observed.
func TestPatchResponseLooksComplete(t *testing.T) {
	var before store
	for _, e := range events(t, "rollout-1") {
		if e.T == nil {
			before.take(e)
		}
	}
	before.deployment = manifests(t, "rollout-1", "md.before.v1beta2.yaml")[0]
	if r := judge(before.observed()); !r.Complete {
		t.Errorf("before the patch: not complete: %s", r.Waiting)
	}
	before.deployment = manifests(t, "rollout-1", "md.patch-response.v1beta2.yaml")[0]
	if !strings.Contains(fmt.Sprint(before.deployment.Object["status"]), "phase:Running") {
		t.Fatal("not the recorded response")
	}
	if r := judge(before.observed()); r.Complete || !strings.Contains(r.Waiting, "generation 2") {
		t.Errorf("after the patch: %+v", r)
	}
}
