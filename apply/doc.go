// Package apply executes a plan step by step against a cluster.
//
// The executor knows no kinds of plan: all that differs was decided when the
// plan was compiled. What the world looks like is asked of the world, through
// the narrow seam of Cluster; the journal is a record and a hint, never the
// truth.
package apply
