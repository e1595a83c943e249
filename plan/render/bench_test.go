package render_test

import (
	"io"
	"testing"

	"nodepool/plan"
	"nodepool/plan/render"
)

// BenchmarkRender writes the plan of 1,000 pools in each of its forms.
func BenchmarkRender(b *testing.B) {
	p := fleet(1000)
	for _, form := range []struct {
		name  string
		write func(io.Writer, plan.Plan) error
	}{
		{"text", func(w io.Writer, p plan.Plan) error { return render.Text(w, p, render.Options{}) }},
		{"markdown", func(w io.Writer, p plan.Plan) error { return render.Markdown(w, p, render.Options{}) }},
		{"json", render.JSON},
		{"yaml", render.YAML},
	} {
		b.Run("form="+form.name+"/pools=1000", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := form.write(io.Discard, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
