// Package clustertest is a management cluster in memory, for tests.
//
// A World stores objects with the semantics of an API server: UIDs, resource
// versions, generations, names that are taken, JSON Patches whose test
// operations are a compare-and-swap, immutable templates, dry runs. Open gives
// a handle to it, an apply.Cluster, on which a Fuse can blow at the Nth call:
// before the call, after it, or as a crash of the caller; the world outlives
// the handle, so that the next one goes on. Step moves a simulated rollout by
// one machine, with the objects and conditions that Cluster API writes.
//
// Nothing in a World depends on a clock, on randomness or on goroutines of its
// own: the same calls give the same world. It can be used in a bubble of
// testing/synctest if it was made there.
//
// Explore carries several programs out against each other on one world, in
// every order of their calls and with faults (docs/interleavings.md).
//
// Conformance is the suite that both a World and apply/kube on a real API
// server pass: what the executor relies on is what a server does.
package clustertest
