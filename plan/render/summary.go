package render

import (
	"slices"
	"strings"

	"nodepool/plan"
)

// What a field below spec.template.spec of an infrastructure template is to a
// reviewer. Names of the common providers: CAPA, CAPZ, CAPG, CAPV, CAPD. An
// unknown field is counted; its change stands below in full.
var (
	imageField = map[string]bool{"ami": true, "imageLookupFormat": true, "imageLookupOrg": true, "imageLookupBaseOS": true,
		"image": true, "imageFamily": true, "template": true, "snapshot": true, "customImage": true}
	typeField = map[string]bool{"instanceType": true, "vmSize": true}
)

const templateSpec = plan.Pointer("/spec/template/spec")

// reused reports whether the template of a create is there already.
func (v *view) reused(s plan.Step) bool {
	return s.Create != nil && slices.ContainsFunc(v.impactsOf(s.Pool), func(i int) bool {
		return slices.Contains(v.Impact[i].Reuses, s.Create.Ref.Name)
	})
}

// again says that a template is there already.
func (v *view) again(s plan.Step) string {
	if v.reused(s) {
		return ": there already with this content, and used again"
	}
	return ""
}

// changesOf says in a few words what changes for a pool: the version, the
// image, the type, and how many other fields of what.
func (v *view) changesOf(pool string) []string {
	var version, image, size, patched, counted []string
	creates, ok := false, false
	for _, i := range v.stepsOf(pool) {
		creates = creates || v.Steps[i].Create != nil
	}
	for _, i := range v.stepsOf(pool) {
		switch s := v.Steps[i]; {
		case s.Create != nil:
			others := 0
			newImage := false
			for _, c := range s.Create.Changes {
				switch field := fieldOf(c.Path); {
				case isBootstrap(s.Create.Ref):
					others++
				case imageField[field]:
					newImage = true
				case typeField[field]:
					size = append(size, "type "+transition(c))
				default:
					others++
				}
			}
			if newImage {
				image = append(image, "image")
			}
			what := "template"
			if isBootstrap(s.Create.Ref) {
				what = "bootstrap template"
			}
			if others > 0 {
				counted = append(counted, count(others, "field")+" of the "+what)
			}
		case s.Patch != nil:
			for _, c := range s.Patch.Changes {
				if c, ok = v.net(s, c); !ok {
					continue
				}
				switch {
				case c.Path == templateSpec+"/version":
					version = append(version, "version "+transition(c))
				case isReference(c.Path) && creates: // told by what is created
				case c.Path == templateSpec+"/infrastructureRef/name":
					patched = append(patched, "template "+transition(c))
				case c.Path == templateSpec+"/bootstrap/configRef/name":
					patched = append(patched, "bootstrap template "+transition(c))
				default:
					patched = append(patched, transitionOf(c))
				}
			}
		}
	}
	return append(append(append(append(version, image...), size...), counted...), patched...)
}

func isBootstrap(r plan.Ref) bool { return strings.HasPrefix(r.Group, "bootstrap.") }

func isReference(p plan.Pointer) bool {
	return p.Within(templateSpec+"/infrastructureRef") || p.Within(templateSpec+"/bootstrap")
}

// fieldOf gives the first name below spec.template.spec; customImage of the
// dev provider stands deeper (spec.template.spec.backend.docker.customImage).
func fieldOf(p plan.Pointer) string {
	t := p.Tokens()
	if len(t) > 0 && t[len(t)-1] == "customImage" {
		return "customImage"
	}
	if p.Within(templateSpec) && len(t) > 3 {
		return t[3]
	}
	return ""
}

func lastOf(p plan.Pointer) string {
	t := p.Tokens()
	if len(t) == 0 {
		return "the whole object"
	}
	return t[len(t)-1]
}

// net gives a change of a patch as it stands in the end, told with the first
// patch that makes it: a hold and its release change the same fields. It is
// false where another patch tells it, or where nothing has changed in the end.
func (v *view) net(of plan.Step, c plan.Change) (plan.Change, bool) {
	if c.Path.Within(plan.PointerTo("metadata", "annotations")) {
		return c, false // bookkeeping
	}
	seen := false
	for _, i := range v.patchesOf(of.Patch.Target) {
		s := &v.Steps[i]
		for _, other := range s.Patch.Changes {
			switch {
			case other.Path != c.Path:
			case s.ID == of.ID:
				seen = true
			case !seen:
				return c, false
			default:
				c.After = other.After
			}
		}
	}
	return c, string(c.Before) != string(c.After)
}

// transitionOf names the field that changes, too. An object that is added for
// the sake of one field stands for that field.
func transitionOf(c plan.Change) string {
	name := lastOf(c.Path)
	if n, ok := value(c.After); ok && len(c.Before) == 0 {
		for n.kind == object && len(n.items) == 1 {
			name, n = n.keys[0], n.items[0]
		}
		if brief(n, true) {
			return name + " → " + scalar(n)
		}
	}
	return name + " " + transition(c)
}

// transition gives "v1.34.3 → v1.35.2" for short values and the bare fact of
// a change for others.
func transition(c plan.Change) string {
	before, had := value(c.Before)
	after, has := value(c.After)
	if !brief(before, had) || !brief(after, has) {
		return "changes"
	}
	switch {
	case !had:
		return "→ " + scalar(after) + " (was not set)"
	case !has:
		return scalar(before) + " removed"
	}
	return scalar(before) + " → " + scalar(after)
}

func brief(n node, there bool) bool {
	return !there || n.inline() && n.kind != object && n.kind != array && len(n.text) <= 40
}
