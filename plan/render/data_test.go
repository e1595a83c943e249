package render_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/plan"
	"nodepool/plan/render"
)

// What JSON and YAML write is a plan file: it reads back, strictly and under
// its own digest.
func TestDataIsAPlanFile(t *testing.T) {
	for name, p := range plans() {
		p.Digest = p.Sum()
		var asJSON, asYAML bytes.Buffer
		if err := render.JSON(&asJSON, p); err != nil {
			t.Fatal(err)
		}
		if err := render.YAML(&asYAML, p); err != nil {
			t.Fatal(err)
		}
		fromJSON, err := plan.Read(asJSON.Bytes())
		if err != nil {
			t.Errorf("%s as JSON: %v", name, err)
			continue
		}
		fromYAML, err := plan.Read(asYAML.Bytes())
		if err != nil {
			t.Errorf("%s as YAML: %v", name, err)
			continue
		}
		if d := cmp.Diff(fromJSON, fromYAML); d != "" {
			t.Errorf("%s differs from JSON to YAML:\n%s", name, d)
		}
	}
}
