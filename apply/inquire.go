package apply

import (
	"context"

	"nodepool/plan"
)

// Inquirer finds out what no selector asks for: it looks outside of the
// management cluster, within a time budget of its own.
type Inquirer interface {
	// Inquire gives snap with answers to what it can find out of ask.
	// It never fails: what could not be found out is an answer that says why.
	Inquire(ctx context.Context, ask plan.Questions, snap plan.Snapshot) plan.Snapshot
}
