// Package journal keeps what a run leaves for others to find: the record of
// what it did, the lock on the pools that it works on, and Events. It is kept
// in the management cluster, beside the Cluster object and owned by it, or in a
// local file for those who may not write there. Both journals hold the same and
// pass the same tests.
package journal
