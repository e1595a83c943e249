package main

import (
	"errors"
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
	// Files of another plan beside these would be applied with them.
	if there, err := os.ReadDir(dir); err != nil || len(there) > 0 {
		return errors.Join(err, fmt.Errorf("export the plan: %s is not empty, and was left as it is; name a new folder", dir))
	}
	for _, m := range manifests {
		file := filepath.Join(dir, m.Name)
		mode := os.FileMode(0o644)
		if reveal && len(m.Left) > 0 {
			mode = 0o600
		}
		if err := renameio.WriteFile(file, m.Content, mode, renameio.WithStaticPermissions(mode)); err != nil {
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
