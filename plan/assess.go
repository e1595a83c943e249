package plan

import (
	"bytes"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"nodepool/plan/capi"
)

// Verdict is where a step stands.
type Verdict int

const (
	// Pending: the step is still to do, and may be done.
	Pending Verdict = iota
	// Satisfied: the cluster is as the step leaves it.
	Satisfied
	// Drifted: the cluster is not what was reviewed; the step must not be done.
	Drifted
)

func (v Verdict) String() string { return [...]string{"pending", "satisfied", "drifted"}[v] }

// Difference is a field that is not as it was reviewed. Reviewed and Found
// are values for people, "(absent)" when there is none, and never a secret.
type Difference struct {
	Object   Ref
	Path     Pointer
	Reviewed string
	Found    string
	Because  string
}

// Assessment is the answer of Assess. Differences are set when it is Drifted,
// Rollout when the step waits.
type Assessment struct {
	Verdict     Verdict
	Differences []Difference
	Rollout     capi.Rollout
}

const absentValue = "(absent)"

// Reads says what a snapshot must hold for Assess.
func (s Step) Reads() []Selector {
	var out []Selector
	seen := map[Selector]bool{}
	read := func(sels ...Selector) {
		for _, sel := range sels {
			if !seen[sel] {
				seen[sel] = true
				out = append(out, sel)
			}
		}
	}
	for _, f := range s.Facts {
		read(f.selector(s.cluster()))
	}
	switch {
	case s.Create != nil:
		read(Selector{Ref: s.Create.Owner.Ref}, Selector{Ref: s.Create.BasedOn.Ref}, Selector{Ref: s.Create.Ref})
	case s.Patch != nil:
		read(Selector{Ref: s.Patch.Cluster}, Selector{Ref: s.Patch.Target})
	case s.Wait != nil:
		read(Selector{Ref: s.Wait.Cluster}, Selector{Ref: s.Wait.MachineDeployment})
		read(rolloutSelectors(s.Wait.Cluster, s.Wait.InfraMachine, s.Wait.BootstrapConfig)...)
	case s.Delete != nil:
		read(Selector{Ref: s.Delete.Cluster}, Selector{Ref: s.Delete.Ref})
		for _, kind := range s.Delete.UnusedBy {
			read(Selector{Ref: kind})
		}
	}
	return out
}

// Follows says what to watch while s, a step that waits, is waited for. It is what
// s reads, but as lists that the waits for other pools of the cluster share; the
// MachineDeployment is listed with the others.
func (s Step) Follows() []Selector {
	var out []Selector
	for _, sel := range s.Reads() {
		if s.Wait != nil && sel.Ref == s.Wait.MachineDeployment {
			sel = machineDeploymentsOf(s.Wait.Cluster)
			sel.Optional = false
		}
		if s.Wait != nil && sel.IsList() {
			sel.Pool = s.Wait.MachineDeployment
		}
		out = append(out, sel)
	}
	return out
}

// Assess judges one step against a snapshot that answers s.Reads. It is the
// only thing in the program that decides whether a step is still to do.
//
// A preflight step is always Satisfied: what must still hold stands as facts
// with the steps that rely on it. Facts count only while a step is Pending.
func Assess(s Step, snap Snapshot) Assessment {
	var a Assessment
	switch {
	case s.Create != nil:
		a = s.Create.assess(snap)
	case s.Patch != nil:
		a = s.Patch.assess(snap)
	case s.Wait != nil:
		a = s.Wait.assess(snap)
		if a.Verdict != Pending {
			return a
		}
		relies := s.relies(snap)
		relies.Rollout = a.Rollout
		return relies
	case s.Delete != nil:
		a = s.Delete.assess(snap)
	default:
		return Assessment{Verdict: Satisfied}
	}
	if a.Verdict != Pending {
		return a
	}
	return s.relies(snap)
}

// Assess judges step i of p as Assess does, with what the other steps of the
// plan say of it. Where a MachineDeployment is patched more than once, as for a
// hold and its release, each patch starts from the run mark of the one before.
// So the mark tells that the plan is past a step, though a later patch changed
// again what that step had changed; and a patch is Pending until the one that
// it starts from is done, though its values stand there already: of such a one
// only the facts are looked at.
func (p Plan) Assess(i int, snap Snapshot) Assessment {
	s := p.Steps[i]
	a := Assess(s, snap)
	target, ok := s.Target()
	if !ok {
		return a
	}
	live, ok := snap.Object(target)
	if !ok {
		return a
	}
	mark := live.GetAnnotations()[RunAnnotation]
	if d, paused := s.Paused(snap); paused {
		return Assessment{Verdict: Drifted, Rollout: a.Rollout, Differences: []Difference{d}}
	}
	for _, w := range p.Steps {
		if _, paused := w.Paused(snap); paused && w.Wait.MachineDeployment == target {
			mark = w.Wait.Pause.Run.Before // which it stood at
		}
	}
	for _, later := range p.Steps[i+1:] {
		if later.Patch != nil && later.Patch.Target == target && later.Patch.Run.After == mark {
			return Assessment{Verdict: Satisfied, Rollout: a.Rollout}
		}
	}
	if s.Patch == nil || string(live.GetUID()) != s.Patch.UID {
		return a
	}
	before := s.Patch.Run.Before
	for j := i - 1; j >= 0 && before != mark; j-- {
		earlier := p.Steps[j]
		if earlier.Patch == nil || earlier.Patch.Target != target || earlier.Patch.Run.After != before {
			continue
		}
		before = earlier.Patch.Run.Before
		if before == mark && Assess(earlier, snap).Verdict != Satisfied {
			return s.relies(snap)
		}
	}
	return a
}

// Resume gives the step that ends the pause of the pool of a wait, where its own
// plan made that when the rollout stalled: the pause backwards, mark of the run
// included, so that the plan can be carried on with, and pause again. A field
// that has its value of before already is left alone.
func (s Step) Resume(snap Snapshot) (Step, bool) {
	if _, paused := s.Paused(snap); !paused {
		return Step{}, false
	}
	live, _ := snap.Object(s.Wait.MachineDeployment)
	back := *s.Wait.Pause
	back.Run = Run{Before: back.Run.After, After: back.Run.Before}
	back.Changes = nil
	for _, c := range s.Wait.Pause.Changes {
		if found, _ := c.Path.in(live.Object); !bytes.Equal(rawOf(found), c.Before) {
			back.Changes = append(back.Changes, Change{Path: c.Path, Before: c.After, After: c.Before})
		}
	}
	return Step{ID: s.ID + "/resume", Pool: s.Pool, Patch: &back}, true
}

// Paused tells that the pool of a wait was paused by its own plan, when it
// stalled. Whoever carries the plan on ends the pause first: see Resume.
func (s Step) Paused(snap Snapshot) (Difference, bool) {
	if s.Wait == nil || s.Wait.Pause == nil {
		return Difference{}, false
	}
	live, ok := snap.Object(s.Wait.MachineDeployment)
	if !ok || live.GetAnnotations()[RunAnnotation] != s.Wait.Pause.Run.After {
		return Difference{}, false
	}
	return Difference{Object: s.Wait.MachineDeployment, Path: PointerTo("metadata", "annotations", HoldAnnotation),
		Reviewed: absentValue, Found: live.GetAnnotations()[HoldAnnotation],
		Because: "another run of this plan paused the pool when its rollout stalled; to run it again ends the pause"}, true
}

// relies gives Pending when the facts of s hold, and Drifted when not.
func (s Step) relies(snap Snapshot) Assessment {
	var a Assessment
	for _, f := range s.Facts {
		if d, ok := f.check(snap, s.cluster()); !ok {
			a.Verdict = Drifted
			a.Differences = append(a.Differences, d)
		}
	}
	return a
}

// Target gives the MachineDeployment that s patches or waits for, or whose
// template it deletes.
func (s Step) Target() (Ref, bool) {
	switch {
	case s.Patch != nil:
		return s.Patch.Target, true
	case s.Wait != nil:
		return s.Wait.MachineDeployment, true
	case s.Delete != nil:
		return Ref{Group: capi.Group, Kind: "MachineDeployment", Namespace: s.Delete.Ref.Namespace, Name: s.Pool}, true
	}
	return Ref{}, false
}

// Writes gives the object that s creates or patches.
func (s Step) Writes() (Ref, bool) {
	switch {
	case s.Create != nil:
		return s.Create.Ref, true
	case s.Patch != nil:
		return s.Patch.Target, true
	}
	return Ref{}, false
}

func (s Step) cluster() Ref {
	switch {
	case s.Create != nil:
		return s.Create.Owner.Ref
	case s.Patch != nil:
		return s.Patch.Cluster
	case s.Wait != nil:
		return s.Wait.Cluster
	case s.Delete != nil:
		return s.Delete.Cluster
	}
	return Ref{}
}

func drifted(d ...Difference) Assessment { return Assessment{Verdict: Drifted, Differences: d} }

func gone(ref Ref, because string) Difference {
	return Difference{Object: ref, Reviewed: "(present)", Found: absentValue, Because: because}
}

// assess looks at the result first and at the source only when there is no
// result: a source deleted after our create is no drift.
func (c Create) assess(snap Snapshot) Assessment {
	cluster, ok := snap.Object(c.Owner.Ref)
	if !ok {
		return drifted(gone(c.Owner.Ref, "the new template belongs to it"))
	}
	s := sealerOf(cluster)
	if live, ok := snap.Object(c.Ref); ok {
		ours, why := isOurs(live, c.Result, s, cluster)
		if ours {
			return Assessment{Verdict: Satisfied}
		}
		return drifted(Difference{Object: c.Ref, Path: PointerTo("metadata", "annotations", ContentAnnotation),
			Reviewed: string(c.Result), Found: text(valueAt(live.Object, PointerTo("metadata", "annotations", ContentAnnotation))),
			Because: "this name was free or held the reviewed content, and now " + why})
	}
	source, ok := snap.Object(c.BasedOn.Ref)
	if !ok {
		return drifted(gone(c.BasedOn.Ref, "the new template is a copy of it"))
	}
	if uid := string(source.GetUID()); uid != c.BasedOn.UID {
		return drifted(Difference{Object: c.BasedOn.Ref, Path: "/metadata/uid", Reviewed: c.BasedOn.UID, Found: uid,
			Because: "the new template is a copy of it, and it was deleted and made anew"})
	}
	if version := source.GetAPIVersion(); version != c.APIVersion {
		return drifted(Difference{Object: c.BasedOn.Ref, Path: "/apiVersion", Reviewed: c.APIVersion, Found: version,
			Because: "the cluster now serves its kind in another API version"})
	}
	if d := sourceDigest(source, s); d != c.BasedOn.Digest {
		return drifted(Difference{Object: c.BasedOn.Ref, Reviewed: "content " + c.BasedOn.Digest.Short(),
			Found: "content " + d.Short(), Because: "the new template is a copy of it"})
	}
	return Assessment{Verdict: Pending}
}

func (p Patch) assess(snap Snapshot) Assessment {
	live, ok := snap.Object(p.Target)
	if !ok {
		return drifted(gone(p.Target, "it is to be changed"))
	}
	if uid := string(live.GetUID()); uid != p.UID {
		return drifted(Difference{Object: p.Target, Path: "/metadata/uid", Reviewed: p.UID, Found: uid,
			Because: "it was deleted and made anew"})
	}
	if version := live.GetAPIVersion(); version != p.APIVersion {
		return drifted(Difference{Object: p.Target, Path: "/apiVersion", Reviewed: p.APIVersion, Found: version,
			Because: "the cluster now serves its kind in another API version"})
	}
	var s sealer
	if cluster, ok := snap.Object(p.Cluster); ok {
		s = sealerOf(cluster)
	}
	tree, _ := s.seal(live.Object).(map[string]any)
	done, left := true, true
	var differences []Difference
	for _, c := range p.Changes {
		found, _ := c.Path.in(tree)
		after := c.isAfter(found)
		before := bytes.Equal(rawOf(found), c.Before)
		done, left = done && after, left && before
		if !before {
			differences = append(differences, Difference{Object: p.Target, Path: c.Path,
				Reviewed: text(c.Before), Found: text(rawOf(found)), Because: "it is to be changed to " + text(c.After)})
		}
	}
	if done {
		return Assessment{Verdict: Satisfied}
	}
	run := live.GetAnnotations()[RunAnnotation]
	if run == p.Run.After && run != p.Run.Before {
		// The patch was made: what it left as it is now is no difference, but what
		// somebody has changed again.
		differences = nil
		for _, c := range p.Changes {
			if found, _ := c.Path.in(tree); !c.isAfter(found) {
				differences = append(differences, Difference{Object: p.Target, Path: c.Path,
					Reviewed: text(c.After), Found: text(rawOf(found)), Because: changedSince(live, c.Path)})
			}
		}
		return drifted(differences...)
	}
	if run != p.Run.Before {
		differences = append(differences, Difference{Object: p.Target, Path: PointerTo("metadata", "annotations", RunAnnotation),
			Reviewed: orAbsent(p.Run.Before), Found: orAbsent(run), Because: "another run has changed this pool since"})
		left = false
	}
	if left {
		return Assessment{Verdict: Pending}
	}
	return drifted(differences...)
}

func rawOf(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	return mustCanonical(v)
}

// isAfter reports whether the value found is the change's result.
func (c Change) isAfter(found any) bool {
	if len(c.After) == 0 {
		return found == nil
	}
	want, err := decodeValue(c.After)
	return err == nil && found != nil && holds(found, want)
}

func (w Wait) assess(snap Snapshot) Assessment {
	live, ok := snap.Object(w.MachineDeployment)
	if !ok {
		return drifted(gone(w.MachineDeployment, "its rollout is waited for"))
	}
	if uid := string(live.GetUID()); uid != w.UID {
		return drifted(Difference{Object: w.MachineDeployment, Path: "/metadata/uid", Reviewed: w.UID, Found: uid,
			Because: "it was deleted and made anew"})
	}
	fields, err := capi.FieldsOf(live)
	if err != nil {
		return drifted(Difference{Object: w.MachineDeployment, Path: "/apiVersion", Reviewed: "v1beta2 or v1beta1",
			Found: live.GetAPIVersion(), Because: "its rollout is waited for"})
	}
	var differences []Difference
	for _, f := range []struct {
		path []string
		want string
	}{
		{append(clipped(fields.InfrastructureRef), "name"), w.Template},
		{append(clipped(fields.BootstrapRef), "name"), w.BootstrapTemplate},
		{fields.Version, w.Version},
	} {
		if found := capi.StringAt(live, f.path...); found != f.want {
			differences = append(differences, Difference{Object: w.MachineDeployment, Path: PointerTo(f.path...),
				Reviewed: orAbsent(f.want), Found: orAbsent(found), Because: changedSince(live, PointerTo(f.path...))})
		}
	}
	for _, f := range w.Propagated {
		if found := valueAt(live.Object, f.Path); !bytes.Equal(found, f.Value) {
			differences = append(differences, Difference{Object: w.MachineDeployment, Path: f.Path,
				Reviewed: text(f.Value), Found: text(found), Because: changedSince(live, f.Path)})
		}
	}
	if len(differences) > 0 {
		return drifted(differences...)
	}
	a := Assessment{Rollout: w.judge(snap, live)}
	if a.Rollout.Complete {
		a.Verdict = Satisfied
	}
	return a
}

// changedSince tells who changed a field behind our back, as far as the object's
// managed fields tell.
func changedSince(live *unstructured.Unstructured, path Pointer) string {
	who := ""
	for _, m := range live.GetManagedFields() {
		if m.FieldsV1 == nil || m.Subresource != "" {
			continue
		}
		tree, err := decodeValue(m.FieldsV1.GetRawBytes())
		if err != nil || !owns(tree, path.Tokens()) {
			continue
		}
		who = " (field manager " + m.Manager + ")"
		if owner, _ := applierOf(m.Manager, string(m.Operation)); owner != "" {
			who = " (" + owner + ", field manager " + m.Manager + ")"
		}
		break
	}
	return "another writer" + who + " changed it after this run did"
}

// Rollout judges the pool's machines whatever the MachineDeployment asks for at
// the moment; false when it is not in snap.
func (w Wait) Rollout(snap Snapshot) (capi.Rollout, bool) {
	live, ok := snap.Object(w.MachineDeployment)
	if !ok {
		return capi.Rollout{}, false
	}
	return capi.Judge(observed(snap, live, w.Cluster, w.InfraMachine, w.BootstrapConfig)), true
}

func (w Wait) judge(snap Snapshot, live *unstructured.Unstructured) capi.Rollout {
	seen := observed(snap, live, w.Cluster, w.InfraMachine, w.BootstrapConfig)
	if len(w.Propagated) == 0 {
		return capi.Judge(seen)
	}
	var fields []capi.InPlaceField
	for _, f := range w.Propagated {
		fields = append(fields, capi.InPlaceField{Path: f.Path.Tokens(), Value: f.Value})
	}
	return capi.JudgeInPlace(seen, fields)
}

// selector says how the object of the fact is looked up. MachineSets are
// listed, as the judge of a rollout needs them: to get one is another right.
func (f Fact) selector(cluster Ref) Selector {
	if f.Object.Group == capi.Group && f.Object.Kind == "MachineSet" {
		return rolloutSelectors(cluster, Ref{}, Ref{})[0]
	}
	return Selector{Ref: f.Object}
}

// check reports whether the fact still holds.
func (f Fact) check(snap Snapshot, cluster Ref) (Difference, bool) {
	d := Difference{Object: f.Object, Path: f.Path, Because: f.Because}
	live, ok := snap.Object(f.Object)
	if !ok {
		d.Path, d.Reviewed, d.Found = "", "(present)", absentValue
		return d, false
	}
	if f.Digest != "" {
		var owner *unstructured.Unstructured
		if owner, ok = snap.Object(cluster); !ok {
			return gone(cluster, f.Because), false
		}
		v, _ := f.Path.in(live.Object)
		found := digestOf(sealerOf(owner).seal(map[string]any{"value": v}))
		d.Reviewed, d.Found = "content "+f.Digest.Short(), "content "+found.Short()
		return d, found == f.Digest
	}
	v, _ := f.Path.in(live.Object)
	found := rawOf(v)
	d.Reviewed, d.Found = text(f.Equals), text(found)
	return d, bytes.Equal(plain(found), plain(f.Equals))
}

// plain takes absent, null and false for one.
func plain(raw json.RawMessage) json.RawMessage {
	if s := string(raw); s == "null" || s == "false" {
		return nil
	}
	return raw
}

// text shows a value to people: strings without quotes, the rest as JSON.
func text(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return absentValue
	}
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" {
		return s
	}
	return string(raw)
}

func orAbsent(s string) string {
	if s == "" {
		return absentValue
	}
	return s
}

// JSONPatch gives the one write of p as an RFC 6902 patch for live, the
// MachineDeployment as it was just seen: first tests of the UID, of every old
// value, of the facts that stand on the MachineDeployment itself and of the
// run before, then the changes and the new run. So the API server refuses
// anything but the reviewed transition, however the object moved since it was
// seen. A test of null passes on an absent field, and fails on an absent
// parent (RFC 6902 as evanphx/json-patch, which the API server uses, reads it).
func (p Patch) JSONPatch(live *unstructured.Unstructured, facts []Fact) ([]byte, error) {
	type operation struct {
		Op    string          `json:"op"`
		Path  Pointer         `json:"path"`
		Value json.RawMessage `json:"value,omitempty"`
	}
	null := json.RawMessage("null")
	var tests, writes []operation
	annotations := PointerTo("metadata", "annotations")
	_, annotated := annotations.in(live.Object)
	test := func(at Pointer, value json.RawMessage) {
		if len(value) == 0 {
			value = null
		}
		tests = append(tests, operation{"test", at, value})
	}
	test("/metadata/uid", mustCanonical(p.UID))
	for _, c := range p.Changes {
		if _, err := decodeValue(append(json.RawMessage{}, orNull(c.After)...)); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path.Dotted(), err)
		}
		if annotated || !c.Path.Within(annotations) { // a test fails on an absent parent
			test(c.Path, c.Before)
		}
		switch {
		case len(c.After) == 0:
			writes = append(writes, operation{Op: "remove", Path: c.Path})
		case len(c.Before) > 0: // add would insert into a list
			writes = append(writes, operation{"replace", c.Path, c.After})
		default:
			writes = append(writes, operation{"add", c.Path, c.After})
		}
	}
	for _, f := range facts {
		if f.Object != p.Target || f.Digest != "" {
			continue
		}
		tokens := f.Path.Tokens()
		if _, parent := PointerTo(tokens[:len(tokens)-1]...).in(live.Object); parent {
			test(f.Path, valueAt(live.Object, f.Path))
		}
	}
	run := annotations.Append(RunAnnotation)
	if annotated {
		var before json.RawMessage
		if p.Run.Before != "" {
			before = mustCanonical(p.Run.Before)
		}
		test(run, before)
	} else {
		test(annotations, nil)
		writes = append([]operation{{"add", annotations, json.RawMessage("{}")}}, writes...)
	}
	writes = append(writes, operation{"add", run, mustCanonical(p.Run.After)})
	return json.Marshal(append(tests, writes...))
}

// DryRunPatch gives the JSON Patch of step i, which is to be tried on the cluster
// as snap shows it. A patch that starts from another one, which is still to be
// made, has that one's operations before its own: a JSON Patch is carried out in
// their order.
func (p Plan) DryRunPatch(i int, snap Snapshot) ([]byte, error) {
	target := p.Steps[i].Patch.Target
	live, ok := snap.Object(target)
	if !ok {
		return nil, fmt.Errorf("%s is not there", target)
	}
	var operations []json.RawMessage
	for j, s := range p.Steps[:i+1] {
		if s.Patch == nil || s.Patch.Target != target || j < i && p.Assess(j, snap).Verdict != Pending {
			continue
		}
		body, err := s.Patch.JSONPatch(live, s.Facts)
		if err != nil {
			return nil, err
		}
		var own []json.RawMessage
		if err := json.Unmarshal(body, &own); err != nil {
			return nil, err
		}
		operations = append(operations, own...)
		if live, err = s.Patch.Result(live); err != nil {
			return nil, err
		}
	}
	return json.Marshal(operations)
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
