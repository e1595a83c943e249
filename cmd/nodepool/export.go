package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"nodepool/plan"
	"nodepool/plan/render"
)

// export writes the plan's changes as manifests into dir, for those whose
// repository owns the objects.
func (p *program) export(dir string, made plan.Plan, snap plan.Snapshot, secrets plan.Secrets, reveal bool) error {
	manifests, err := plan.Export(made, snap, secrets, reveal)
	if err != nil {
		return fmt.Errorf("export the plan: %w", err)
	}
	if len(manifests) == 0 {
		_, err := fmt.Fprintln(p.stderr, "Nothing to export: the plan writes nothing.")
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("export the plan: %w", err)
	}
	for _, m := range manifests {
		file := filepath.Join(dir, m.Name)
		mode := os.FileMode(0o644)
		if reveal && len(m.Left) > 0 {
			mode = 0o600
		}
		if err := renameio.WriteFile(file, m.Content, mode); err != nil {
			return fmt.Errorf("export the plan: %w", err)
		}
		fmt.Fprintf(p.stderr, "Wrote %s\n", file)
		switch names := render.Escape(strings.Join(m.Left, ", ")); {
		case names == "":
		case reveal:
			fmt.Fprintf(p.stderr, "  It holds secrets in clear: %s. Encrypt it before it goes into a repository.\n", names)
		default:
			fmt.Fprintf(p.stderr, "  Secrets were left out: %s. Fill them in, or export with --reveal.\n", names)
		}
	}
	return nil
}
