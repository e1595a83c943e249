// Package plan compiles an upgrade and a snapshot of a cluster into a plan,
// and judges each step of a plan against a later snapshot.
//
// Everything here is a pure function: no context, no clock, no network, no
// randomness. The same upgrade and the same cluster state give the same
// bytes on any machine and for any reviewer. Needs says what must be looked
// up, Compile makes the plan, Assess alone decides whether a step is still
// to do; plan, apply, resume and status all ask it.
package plan
