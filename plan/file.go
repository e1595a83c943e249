package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
	goyaml "sigs.k8s.io/yaml/goyaml.v3"
)

// Write encodes p as it is stored: indented JSON with a newline at its end.
func Write(p Plan) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return b.Bytes(), nil
}

// planFields is a Plan without its way of writing itself.
type planFields Plan

// MarshalJSON writes p with the digest of what is not signed. It has no
// counterpart: Read alone reads a plan, strictly.
func (p Plan) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		planFields
		Seen Digest `json:"seen"`
	}{planFields(p), p.seen()})
}

// seen is the digest of what was seen when the plan was made, as it is read
// again and encoded with sorted keys: bytes that are no UTF-8 are lost as it is
// written, and the rune in their place is not escaped a second time.
func (p Plan) seen() Digest {
	raw := mustCanonical(struct {
		Blocked  bool         `json:"blocked"`
		Findings []Finding    `json:"findings,omitempty"`
		Impact   []PoolImpact `json:"impact,omitempty"`
	}{p.Blocked, p.Findings, p.Impact})
	if bytes.Contains(raw, []byte(`\ufffd`)) {
		raw = []byte(strings.NewReplacer(`\\`, `\\`, `\ufffd`, "\ufffd").Replace(string(raw)))
	}
	sum := sha256.Sum256(sortKeys(make([]byte, 0, len(raw)), raw))
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// sortKeys appends the JSON value src to dst with the keys of its objects in
// order. Src is as canonical writes a struct whose fields have letters for names.
// To decode it and to encode the tree gives the same in four times the time.
func sortKeys(dst, src []byte) []byte {
	if len(src) == 0 {
		return dst // what an empty object holds
	}
	switch src[0] {
	case '[':
		for rest := src; len(rest) > 1; {
			var item []byte
			dst = append(dst, rest[0]) // a bracket or a comma
			item, rest = cutItem(rest[1:])
			dst = sortKeys(dst, item)
		}
		return append(dst, ']')
	case '{':
		var members [][]byte
		for rest := src; len(rest) > 1; {
			var item []byte
			item, rest = cutItem(rest[1:])
			members = append(members, item)
		}
		slices.SortFunc(members, bytes.Compare)
		for i, m := range members {
			dst = append(dst, "{,"[min(i, 1)])
			value := bytes.IndexByte(m, ':') + 1
			dst = sortKeys(append(dst, m[:value]...), m[value:])
		}
		return append(dst, '}')
	}
	return append(dst, src...)
}

// cutItem gives what an object or an array holds at the head of src, and the rest,
// which begins with a comma or a bracket.
func cutItem(src []byte) (item, rest []byte) {
	for i, depth := 0, 0; ; i++ {
		switch c := src[i]; {
		case c == '"':
			for i++; src[i] != '"'; i++ {
				if src[i] == '\\' {
					i++
				}
			}
		case depth == 0 && (c == ',' || c == '}' || c == ']'):
			return src[:i], src[i:]
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
}

// sameTree reports whether a document, YAML or JSON, holds what a JSON one does.
func sameTree(data, encoded []byte) bool {
	converted, err := yaml.YAMLToJSON(data)
	if err != nil {
		return false
	}
	x, errX := decodeValue(converted)
	y, errY := decodeValue(encoded)
	return errX == nil && errY == nil && bytes.Equal(mustCanonical(x), mustCanonical(y))
}

// FileError says why something is no plan that can be used.
type FileError struct{ Why, Remedy string }

func (e *FileError) Error() string { return e.Why + "; " + e.Remedy }

// Read decodes a stored plan, JSON or YAML, and holds it to its digest. A
// plan of the same content in another layout is the same plan. The error is
// a *FileError.
func Read(data []byte) (Plan, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return Plan{}, &FileError{"the plan is empty", "make it again with nodepool plan"}
	}
	if !utf8.Valid(data) || bytes.HasPrefix(data, []byte("\ufeff")) {
		return Plan{}, &FileError{"this file was re-encoded: a plan is UTF-8 without a byte order mark", "give the file as nodepool plan wrote it"}
	}
	p, seen, written := asWritten(data)
	if !written {
		var err error
		if p, seen, err = decodeStored(data); err != nil {
			return Plan{}, err
		}
	}
	if got := p.Sum(); got != p.Digest {
		return Plan{}, &FileError{fmt.Sprintf("this plan was edited or cut: its content has the digest %s, and it says %s", got.Short(), p.Digest.Short()),
			"make it again with nodepool plan and have it reviewed"}
	}
	if p.seen() != seen {
		return Plan{}, &FileError{"what this plan says of machines and checks (impact, findings, blocked) was edited", "make it again with nodepool plan and have it reviewed"}
	}
	// Keys are read whatever their case is; one that is not as it was written
	// tells of another hand.
	if !written {
		if again, err := json.Marshal(p); err != nil || !sameTree(data, again) {
			return Plan{}, &FileError{"this plan was edited or re-encoded: it is not what nodepool wrote", "make it again with nodepool plan"}
		}
	}
	if len(p.Upgrade.Content) > 0 && digestOf(p.Upgrade.Content) != p.Upgrade.Spec {
		return Plan{}, &FileError{"this plan does not go with the upgrade that it holds", "make it again with nodepool plan"}
	}
	for _, s := range p.Steps {
		if err := s.valid(); err != nil {
			return Plan{}, &FileError{"this plan cannot be used: " + err.Error(), "make it again with nodepool plan"}
		}
	}
	return p, nil
}

// storedPlan is a plan as it is written down.
type storedPlan struct {
	*planFields
	Seen Digest `json:"seen"`
}

// asWritten decodes a plan whose bytes are those that json.Marshal gives for it:
// so it is in the journal, and there is nothing more in it than the plan. Of any
// other it is false.
func asWritten(data []byte) (p Plan, seen Digest, ok bool) {
	stored := storedPlan{planFields: &planFields{}}
	if data[0] != '{' || json.Unmarshal(data, &stored) != nil {
		return Plan{}, "", false
	}
	p = Plan(*stored.planFields)
	if p.Kind != Kind || p.APIVersion != APIVersion || p.normalise() != nil {
		return Plan{}, "", false
	}
	again, err := json.Marshal(p)
	return p, stored.Seen, err == nil && bytes.Equal(data, again)
}

// decodeStored decodes a plan in any layout, JSON or YAML.
func decodeStored(data []byte) (Plan, Digest, error) {
	var head map[string]any
	if err := yaml.Unmarshal(data, &head); err != nil {
		return Plan{}, "", &FileError{"this is neither JSON nor YAML, or it is cut off", "give a file that nodepool plan --out, -o json or -o yaml wrote; text and Markdown are for people"}
	}
	kind, _ := head["kind"].(string)
	version, _ := head["apiVersion"].(string)
	if kind != Kind {
		return Plan{}, "", &FileError{fmt.Sprintf("this is of kind %q, not a %s", kind, Kind), "give a file that nodepool plan wrote"}
	}
	if version != APIVersion {
		return Plan{}, "", &FileError{fmt.Sprintf("this plan is in the format %q, and this release reads %s", version, APIVersion),
			"use the release of nodepool that wrote it, or plan again"}
	}
	if !alone(data) {
		return Plan{}, "", &FileError{"there is more than one document in this file, and a plan is one", "give the file as nodepool plan wrote it"}
	}
	stored := storedPlan{planFields: &planFields{}}
	if err := yaml.UnmarshalStrict(data, &stored); err != nil {
		return Plan{}, "", &FileError{"this plan cannot be read: " + oneLine(err), "make it again with nodepool plan"}
	}
	p := Plan(*stored.planFields)
	if err := p.normalise(); err != nil {
		return Plan{}, "", &FileError{"this plan cannot be read: " + oneLine(err), "make it again with nodepool plan"}
	}
	return p, stored.Seen, nil
}

// alone reports whether nothing stands behind the first document of data: the
// decoder would pass over it in silence.
func alone(data []byte) bool {
	documents := goyaml.NewDecoder(bytes.NewReader(data))
	var node goyaml.Node
	return documents.Decode(&node) == nil && errors.Is(documents.Decode(&node), io.EOF)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// normalise brings all raw values back to canonical form, which decoding
// from YAML or from indented JSON does not keep.
func (p *Plan) normalise() error {
	if p.Steps == nil {
		p.Steps = []Step{}
	}
	if err := recanonise(&p.Upgrade.Content); err != nil {
		return err
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		for j := range s.Facts {
			if err := recanonise(&s.Facts[j].Equals); err != nil {
				return err
			}
		}
		if s.Wait != nil {
			for j := range s.Wait.Propagated {
				if err := recanonise(&s.Wait.Propagated[j].Value); err != nil {
					return err
				}
			}
		}
		var changes []Change
		switch {
		case s.Create != nil:
			changes = s.Create.Changes
		case s.Patch != nil:
			changes = s.Patch.Changes
		case s.Wait != nil && s.Wait.Pause != nil:
			changes = s.Wait.Pause.Changes
		}
		for j := range changes {
			if err := recanonise(&changes[j].Before); err != nil {
				return err
			}
			if err := recanonise(&changes[j].After); err != nil {
				return err
			}
		}
	}
	return nil
}

func recanonise(raw *json.RawMessage) error {
	if len(*raw) == 0 {
		*raw = nil
		return nil
	}
	v, err := decodeValue(*raw)
	if err != nil {
		return err
	}
	*raw = mustCanonical(v)
	return nil
}

func (s Step) valid() error {
	set := 0
	for _, is := range []bool{s.Preflight != nil, s.Create != nil, s.Patch != nil, s.Wait != nil, s.Delete != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("step %q does %d things, and must do one", s.ID, set)
	}
	if s.Wait != nil && s.Wait.Canary != nil && s.Wait.Canary.Machines < 1 {
		return fmt.Errorf("step %q waits for a canary of %d machines", s.ID, s.Wait.Canary.Machines)
	}
	if s.Wait != nil {
		for _, f := range s.Wait.Propagated {
			if !f.Path.Within("/spec/template/spec") || f.Path == "/spec/template/spec" {
				return fmt.Errorf("step %q waits for %s, which machines do not have", s.ID, f.Path.Dotted())
			}
		}
	}
	return nil
}
