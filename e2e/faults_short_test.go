//go:build e2e && !faults

package e2e_test

// The short form of the faults, which is part of all end-to-end tests: a
// seeded sample.
const (
	faultsShort  = true
	faultWorkers = 3
)
