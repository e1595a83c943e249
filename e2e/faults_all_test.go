//go:build e2e && faults

package e2e_test

// All faults: "make faults".
const (
	faultsShort  = false
	faultWorkers = 8
)
