package apply

import (
	"context"

	"nodepool/plan"
	"nodepool/schema"
)

// Inquirer finds out what no selector asks for: it looks outside of the
// management cluster, within a time budget of its own.
type Inquirer interface {
	// Inquire gives snap, which Observe gathered for up, with what it found out.
	// It never fails: what could not be found out is an answer that says why.
	Inquire(ctx context.Context, up schema.Upgrade, snap plan.Snapshot) plan.Snapshot
}
