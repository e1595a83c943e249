package journal_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"nodepool/apply"
	"nodepool/apply/journal"
	"nodepool/apply/journal/journaltest"
	"nodepool/plan"
	"nodepool/plan/capi"
)

func configMaps(t *testing.T, client *fake.Clientset) []corev1.ConfigMap {
	t.Helper()
	all, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return all.Items
}

func TestConfigMapIsOwned(t *testing.T) {
	client := journaltest.NewClientset()
	mustOpen(t, inCluster(client).Journal("up"), planNamed("one"), 1)
	// After clusterctl move the Cluster has another UID.
	moved := owner
	moved.UID = "moved"
	j := journal.New(client.CoreV1(), client.CoordinationV1(), moved).Journal("up")
	appendAll(t, j, record(planNamed("one"), "", apply.Opened, 1))
	all := configMaps(t, client)
	if len(all) != 1 {
		t.Fatalf("%d ConfigMaps, want one", len(all))
	}
	want := []metav1.OwnerReference{{APIVersion: owner.APIVersion, Kind: "Cluster", Name: "c", UID: "moved"}}
	if diff := cmp.Diff(want, all[0].OwnerReferences); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"cluster.x-k8s.io/cluster-name": "c", "nodepool/journal": "v1"}, all[0].Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// The journals of upgrades whose names run together are not the same, however
// long they are.
func TestConfigMapNames(t *testing.T) {
	client := journaltest.NewClientset()
	long := strings.Repeat("a", 62)
	for i, names := range [][2]string{{"a-b", "c"}, {"a", "b-c"}, {"a.b", "c"}, {long + "a", strings.Repeat("b.", 126) + "x"}, {long + "a", strings.Repeat("b.", 126) + "y"}} {
		of := owner
		of.Name = names[0]
		mustOpen(t, journal.New(client.CoreV1(), client.CoordinationV1(), of).Journal(names[1]), planNamed(fmt.Sprint(i)), 1)
		all := configMaps(t, client)
		if len(all) != i+1 {
			t.Fatalf("%q shares a ConfigMap with another", names)
		}
		for _, cm := range all {
			if len(cm.Name) > 253 || strings.Contains(cm.Name, ".-") {
				t.Errorf("name %s", cm.Name)
			}
		}
	}
	runs, err := inCluster(client).Runs(t.Context())
	if err != nil || len(runs) > 0 {
		t.Errorf("cluster c has the runs %v, %v; want none of the others'", runs, err)
	}
	if runs, err = journal.New(client.CoreV1(), client.CoordinationV1(), journal.Cluster{Namespace: "default"}).Runs(t.Context()); err != nil || len(runs) != 5 {
		t.Errorf("the namespace has %d runs, %v; want all", len(runs), err)
	}
}

func TestConfigMapDamage(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(cm *corev1.ConfigMap)
		says   []string
		newer  bool
	}{
		"plan no gzip":       {damage: func(cm *corev1.ConfigMap) { cm.BinaryData["plan-1"] = []byte("rubbish") }, says: []string{"plan-1", "kubectl delete configmap -n default nodepool-c-up-"}},
		"record no JSON":     {damage: func(cm *corev1.ConfigMap) { cm.Data["records-1"] += "{" }, says: []string{"records-1, record 2"}},
		"unknown field":      {damage: func(cm *corev1.ConfigMap) { cm.Data["records-1"] = `{"stpe":"x"}` }, says: []string{"stpe"}},
		"no format":          {damage: func(cm *corev1.ConfigMap) { delete(cm.Data, "format") }, says: []string{"format"}},
		"another upgrade's":  {damage: func(cm *corev1.ConfigMap) { cm.Data["upgrade"] = "other" }, says: []string{`"other"`}},
		"no number of a run": {damage: func(cm *corev1.ConfigMap) { cm.BinaryData["plan-x"] = cm.BinaryData["plan-1"] }, says: []string{"plan-x"}},
		"a newer format":     {damage: func(cm *corev1.ConfigMap) { cm.Data["format"] = "2" }, says: []string{`"2"`, "newer nodepool", "--journal file:PATH"}, newer: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := journaltest.NewClientset()
				one := planNamed("one")
				j := inCluster(client).Journal("up")
				mustOpen(t, j, one, 1)
				appendAll(t, j, record(one, "", apply.Opened, 1))
				cm := configMaps(t, client)[0].DeepCopy()
				tt.damage(cm)
				if _, err := client.CoreV1().ConfigMaps("default").Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				before := configMaps(t, client)[0]
				began := time.Now()
				_, err := inCluster(client).Journal("up").Open(t.Context(), one)
				var corrupt *journal.CorruptError
				var newer *journal.FormatError
				if tt.newer != errors.As(err, &newer) || tt.newer == errors.As(err, &corrupt) {
					t.Fatalf("got %v", err)
				}
				for _, part := range tt.says {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q is not said: %v", part, err)
					}
				}
				if time.Since(began) > 0 {
					t.Errorf("it was tried for %s", time.Since(began))
				}
				if diff := cmp.Diff(before, configMaps(t, client)[0]); diff != "" {
					t.Errorf("the damaged journal was changed:\n%s", diff)
				}
			})
		})
	}
}

// failing answers requests on ConfigMaps with an error while it lasts; the
// write itself may have happened.
func failing(client *fake.Clientset, verb string, until time.Duration, happens bool, err error) {
	began := time.Now()
	client.PrependReactor(verb, "configmaps", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if time.Since(began) >= until {
			return false, nil, nil
		}
		if u, ok := a.(clienttesting.UpdateActionImpl); ok && happens {
			happens = false
			o := u.GetObject().DeepCopyObject().(*corev1.ConfigMap)
			o.ResourceVersion += "1"
			if err := client.Tracker().Update(a.GetResource(), o, a.GetNamespace()); err != nil {
				return true, nil, err
			}
		}
		return true, nil, err
	})
}

func TestAppendIsPatient(t *testing.T) {
	refused := errors.New("dial tcp: connection refused")
	busy := apierrors.NewGenericServerResponse(http.StatusServiceUnavailable, "update", corev1.Resource("configmaps"), "x", "busy", 0, true)
	for name, tt := range map[string]struct {
		verb    string
		away    time.Duration
		err     error
		happens bool
		fails   bool
	}{
		"away for a minute":    {verb: "*", away: time.Minute, err: refused},
		"busy for a minute":    {verb: "update", away: time.Minute, err: busy},
		"the reply is lost":    {verb: "update", away: time.Second, err: refused, happens: true},
		"away for ten minutes": {verb: "*", away: 10 * time.Minute, err: refused, fails: true},
		"forbidden":            {verb: "update", away: time.Minute, err: apierrors.NewForbidden(corev1.Resource("configmaps"), "x", nil), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := journaltest.NewClientset()
				one := planNamed("one")
				j := inCluster(client).Journal("up")
				mustOpen(t, j, one, 1)
				failing(client, tt.verb, tt.away, tt.happens, tt.err)
				began := time.Now()
				err := j.Append(t.Context(), record(one, "", apply.Opened, 1))
				took := time.Since(began)
				if (err != nil) != tt.fails {
					t.Fatalf("got %v", err)
				}
				if tt.fails {
					if took > 5*time.Minute {
						t.Errorf("it took %s", took)
					}
					return
				}
				if took > tt.away+20*time.Second {
					t.Errorf("it took %s", took)
				}
				if got := recordsOf(t, j); len(got) != 1 {
					t.Errorf("records: %+v, want one", got)
				}
			})
		})
	}
}

// The reply to an opening may be lost, and not the write: it is one attempt all
// the same.
func TestOpenWithLostReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		one := planNamed("one")
		mustOpen(t, inCluster(client).Journal("up"), one, 1)
		j := inCluster(client).Journal("up")
		failing(client, "update", time.Second, true, errors.New("dial tcp: connection refused"))
		first := []apply.Record{record(one, "", apply.Opened, 0), record(one, "preflight", apply.Done, 0)}
		if attempt, err := j.Open(t.Context(), one, first...); attempt != 1 || err != nil {
			t.Fatalf("attempt %d, %v; want the first", attempt, err)
		}
		if got := recordsOf(t, j); len(got) != 2 {
			t.Errorf("records: %+v, want two", got)
		}
	})
}

// One write opens a run, and each record is one more.
func TestJournalRequests(t *testing.T) {
	client := journaltest.NewClientset()
	one := planNamed("one")
	j := inCluster(client).Journal("up")
	if _, err := j.Open(t.Context(), one, record(one, "", apply.Opened, 0), record(one, "preflight", apply.Done, 0)); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, record(one, "md/patch", apply.Started, 1), record(one, "md/patch", apply.Done, 1))
	var got []string
	for _, a := range client.Actions() {
		got = append(got, a.GetVerb())
	}
	if diff := cmp.Diff([]string{"get", "create", "update", "update"}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// A note holds nothing up, and is not lost.
func TestNotesAreWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		one := planNamed("one")
		j := inCluster(client).Journal("up")
		mustOpen(t, j, one, 1)
		failing(client, "*", time.Minute, false, errors.New("connection refused"))
		began := time.Now()
		for _, step := range []string{"a", "b"} {
			if err := j.Append(t.Context(), record(one, step, apply.Noted, 1)); err == nil {
				t.Error("the server is away, and it says that the note is written")
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it held up for %s", took)
		}
		appendAll(t, j, record(one, "c", apply.Done, 1))
		var got []string
		for _, r := range recordsOf(t, j) {
			got = append(got, r.Step)
		}
		if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	})
}

// A journal that somebody deletes in the middle of a run loses nothing that the
// run knows.
func TestJournalIsDeleted(t *testing.T) {
	client := journaltest.NewClientset()
	one := planNamed("one")
	j := inCluster(client).Journal("up")
	mustOpen(t, j, one, 1)
	appendAll(t, j, record(one, "", apply.Opened, 1))
	if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), configMaps(t, client)[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, record(one, "preflight", apply.Done, 1))
	if got := recordsOf(t, inCluster(client).Journal("up")); len(got) != 2 {
		t.Errorf("records: %+v, want both", got)
	}
}

// However much a run has to tell, the ConfigMap stays within what the server
// takes, and what was done stays told.
func TestConfigMapIsBounded(t *testing.T) {
	client := journaltest.NewClientset()
	j := inCluster(client).Journal("up")
	largest := 0
	measure := func() {
		size := 0
		for _, cm := range configMaps(t, client) {
			for _, v := range cm.Data {
				size += len(v)
			}
			for _, v := range cm.BinaryData {
				size += len(v)
			}
		}
		largest = max(largest, size)
		if size > 1<<20 {
			t.Fatalf("the ConfigMap has %d bytes", size)
		}
	}
	for n := range 2 {
		p := planNamed(fmt.Sprint(n))
		mustOpen(t, j, p, 1)
		for attempt := 1; attempt <= 14; attempt++ {
			appendAll(t, j, record(p, "", apply.Opened, attempt))
			noisy := record(p, "md/wait", apply.Noted, attempt)
			noisy.Note = strings.Repeat(fmt.Sprintf("note %d of run %d; ", attempt, n), 4000)
			machines := record(p, "md/patch", apply.Started, attempt)
			for i := range 500 {
				machines.Machines = append(machines.Machines, apply.Machine{Name: fmt.Sprintf("md-%x-%x", i*7919, i*104729), Node: fmt.Sprintf("node-%x", i*15485863),
					Version: "v1.35.2", Image: "ami-0fedcba9876543210", Created: "2026-01-02T03:04:05Z", Ready: "2026-01-02T03:05:05Z"})
			}
			appendAll(t, j, noisy, machines, record(p, "md/patch", apply.Done, attempt))
			measure()
		}
		appendAll(t, j, record(p, "", apply.Closed, 14))
		measure()
	}
	t.Logf("the largest was %d KiB", largest>>10)
	runs := allRuns(t, inCluster(client).Journal("up"))
	last := runs[len(runs)-1]
	if last.Number != 2 || !last.Closed() || last.Attempts() != 14 || last.Records[0].Phase != apply.Opened || last.Records[0].Attempt != 1 {
		t.Errorf("the last run is number %d with %d attempts, its first record %+v", last.Number, last.Attempts(), last.Records[0])
	}
	done, left := false, ""
	for _, r := range last.Records {
		done = done || (r.Phase == apply.Done && r.Step == "md/patch")
		if strings.Contains(r.Note, "left out here") {
			left += r.Note
		}
	}
	if !done || strings.Count(left, "records left out here") != 1 {
		t.Errorf("done is told: %v; left out: %q", done, left)
	}
}

func TestPlanTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := planNamed("large")
		// What does not compress.
		digest := string(p.Digest)
		var b strings.Builder
		for i := range 60000 {
			fmt.Fprintf(&b, "%x", uint64(i+1)*0x9e3779b97f4a7c15)
		}
		p.Steps = append(p.Steps, plan.Step{ID: "x", Note: digest + b.String() + b.String()[1:] + b.String()[3:], Preflight: &plan.Preflight{Checks: []string{"x"}}})
		for i := range 3 {
			p.Steps = append(p.Steps, plan.Step{ID: fmt.Sprint(i), Note: b.String()[i*7:], Preflight: &plan.Preflight{Checks: []string{"x"}}})
		}
		p.Digest = p.Sum()
		_, err := inCluster(journaltest.NewClientset()).Journal("up").Open(t.Context(), p)
		var size *journal.SizeError
		if !errors.As(err, &size) || !strings.Contains(err.Error(), "--journal file:PATH") {
			t.Errorf("got %v, want a SizeError", err)
		}
	})
}

func TestEvents(t *testing.T) {
	md := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
		"metadata": map[string]any{"namespace": "default", "name": "a", "uid": "uid-of-a"}}}
	snap := plan.Snapshot{}.With(plan.Selector{Ref: poolA}, md)
	other := md.DeepCopy()
	other.SetName("b")
	snap = snap.With(plan.Selector{Ref: poolB}, other)
	p := planNamed("one")
	patch := plan.Step{ID: "a/patch", Pool: "a", Patch: &plan.Patch{Target: poolA}}
	wait := plan.Step{ID: "a/wait", Pool: "a", Wait: &plan.Wait{MachineDeployment: poolA}}
	waitB := plan.Step{ID: "b/wait", Pool: "b", Wait: &plan.Wait{MachineDeployment: poolB}}
	stall := capi.Stall{Cause: "drain-blocked", Kind: "Machine", Namespace: "default", Name: "m", Message: "budget\x1b[2J says no"}
	canary := capi.Stall{Cause: capi.StallCanaryFailed, Kind: "Machine", Namespace: "default", Name: "m", Message: "the token is s3cr3t"}
	loud := capi.Stall{Cause: "provider-error", Kind: "Machine", Namespace: "default", Name: "m", Message: strings.Repeat("long ", 1000)}
	all := []apply.Event{apply.RunStarted{Plan: p}, apply.StepStarted{Step: patch}, apply.StepDone{Step: patch}, apply.StepStarted{Step: wait},
		apply.Stalled{Step: wait, Stall: stall}, apply.StepDone{Step: wait, Took: time.Minute},
		apply.RunEnded{Plan: p, Err: &apply.StallError{Step: wait, Stall: &stall, After: 15 * time.Minute}}}
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		e := inCluster(client).Events(snap, apply.Holder{Actor: "alice@there", Ticket: "CHG-1"})
		for _, event := range all {
			e.Event(event)
			time.Sleep(time.Nanosecond) // their names hold the time
		}
		// Of several pools that have stalled, each is told.
		time.Sleep(time.Nanosecond)
		e.Event(apply.RunEnded{Plan: p, Err: errors.Join(&apply.StallError{Step: wait, Stall: &canary}, &apply.StallError{Step: waitB, Stall: &loud, After: time.Hour})})
		e.Close()
		e.Close()
		list, err := client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, event := range list.Items {
			got[event.Reason] += event.Type + ": " + event.Message + "\n"
			if event.InvolvedObject.UID != "uid-of-a" || event.InvolvedObject.Kind != "MachineDeployment" {
				t.Errorf("it is about %v", event.InvolvedObject)
			}
			if strings.Contains(event.Message, "s3cr3t") {
				t.Errorf("it tells a secret: %s", event.Message)
			}
		}
		for reason := range got {
			all := strings.Split(strings.TrimSuffix(got[reason], "\n"), "\n")
			slices.Sort(all)
			got[reason] = strings.Join(all, "\n")
		}
		about := "up, plan " + p.Digest.Short()
		want := map[string]string{
			"UpgradeStarted": "Normal: " + about + ", started by alice@there, ticket CHG-1",
			"UpgradeHeldUp":  "Warning: " + about + ", held up by drain-blocked; seen on Machine default/m: budget\\x1b[2J says no",
			"UpgradeDone":    "Normal: " + about + ", done: all machines were replaced and proved, in 1m0s",
			"UpgradeStalled": "Warning: " + about + ", no progress for 15m0s, by drain-blocked; seen on Machine default/m: budget\\x1b[2J says no; nodepool stopped waiting and can be run again\n" +
				"Warning: " + about + ", no progress for 1h0m0s, by provider-error; seen on Machine default/m: " + strings.Repeat("long ", 80) + "…; nodepool stopped waiting and can be run again\n" +
				"Warning: " + about + ", the canary failed, by canary-failed; seen on Machine default/m; nodepool stopped waiting and can be run again",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Events (-want +got):\n%s", diff)
		}
	})
	// A server that does not answer holds nothing up.
	synctest.Test(t, func(t *testing.T) {
		client := journaltest.NewClientset()
		client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(5 * time.Second)
			return true, nil, errors.New("no")
		})
		e := inCluster(client).Events(snap, apply.Holder{})
		began := time.Now()
		for range 100 {
			for _, event := range all {
				e.Event(event)
			}
		}
		if time.Since(began) > 0 {
			t.Errorf("it held up for %s", time.Since(began))
		}
		e.Close()
		if time.Since(began) > 5*time.Second {
			t.Errorf("it was waited for %s", time.Since(began))
		}
		time.Sleep(time.Hour) // what was queued is still being dropped
	})
}

// TestPrepare holds a journal whose plan was prepared to one whose plan was not;
// of another plan than the one that is opened nothing is kept.
func TestPrepare(t *testing.T) {
	one := planNamed("one")
	kept := func(prepare ...plan.Plan) map[string][]byte {
		client := journaltest.NewClientset()
		j := inCluster(client).Journal("up")
		for _, p := range prepare {
			j.Prepare(p)
		}
		mustOpen(t, j, one, 1)
		appendAll(t, j, record(one, "", apply.Opened, 1))
		runs, err := j.Runs(t.Context())
		if err != nil || len(runs) != 1 || len(runs[0].Records) != 1 || runs[0].Plan.Digest != one.Digest {
			t.Errorf("prepared %d plans: the journal holds %v, %v", len(prepare), runs, err)
		}
		return configMaps(t, client)[0].BinaryData
	}
	want := kept()
	if diff := cmp.Diff(want, kept(one)); diff != "" {
		t.Errorf("prepared (-want +got):\n%s", diff)
	}
	later := one
	later.Findings = []plan.Finding{{Code: plan.CheckRights, Severity: plan.Pass, Message: "more"}}
	for _, other := range []plan.Plan{planNamed("two"), later} {
		if diff := cmp.Diff(want, kept(other)); diff != "" {
			t.Errorf("another one prepared (-want +got):\n%s", diff)
		}
	}
}
