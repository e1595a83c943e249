package render

import (
	"encoding/json"
	"strings"

	"nodepool/plan"
)

// previewOf gives the object that a step writes, as the plan leaves it: a
// title, for a template which metadata of its source the copy keeps, and the
// whole object as YAML with secrets told by their length. All of it is escaped;
// false when there is none.
func (v *view) previewOf(s plan.Step) (title string, metadata, body []string, ok bool) {
	p, ok := v.o.Previews[s.ID]
	if !ok || !v.o.Full {
		return "", nil, nil, false
	}
	raw, err := json.Marshal(p.Object)
	if err != nil {
		return "", nil, nil, false // what the plan made of JSON is JSON
	}
	n, ok := parse(raw)
	if !ok {
		return "", nil, nil, false
	}
	for _, l := range lines(n) {
		body = append(body, l.String())
	}
	if s.Create == nil {
		return Escape(s.Patch.Target.String()) + " in full (as this plan leaves it)", nil, body, true
	}
	for _, list := range []struct {
		what  string
		names []string
	}{{"kept of the source's metadata", p.Kept}, {"not copied", p.Stripped}} {
		names := "nothing"
		if len(list.names) > 0 {
			names = Escape(strings.Join(list.names, ", "))
		}
		metadata = append(metadata, list.what+": "+names)
	}
	return Escape(s.Create.Ref.String()) + " in full (a copy of " + Escape(s.Create.BasedOn.Ref.Name) + ")", metadata, body, true
}

// previews writes all of them, below the plan. Nothing is wrapped, so that it
// can be copied.
func (v *view) previews() {
	for _, s := range v.Steps {
		title, metadata, body, ok := v.previewOf(s)
		if !ok {
			continue
		}
		v.blank()
		v.WriteString(title + "\n")
		for _, l := range metadata {
			v.WriteString("  " + l + "\n")
		}
		for _, l := range body {
			v.WriteString("    " + l + "\n")
		}
	}
}
