// Package schema is the upgrade file: its types, its defaults, and the one
// strict way to read it. [Read] turns the bytes of a file into an [Upgrade]
// in which nothing is left to be guessed, or into an [InvalidError] that
// lists every problem of the file at once, each with its line, its column
// and what to write instead. What can only be judged against a cluster (which
// field of a template a machine image goes to, whether a version is allowed
// beside its control plane) is not judged here.
package schema
