// Package offline reads a cluster from manifests instead of an API server:
// from what kubectl get -o yaml prints, or from a snapshot that Write made.
// An object that the manifests do not hold does not exist, and the API version that
// they are in is the representation that a plan speaks. A plan compiled from
// them has the digest of one compiled from the cluster itself, and its writes
// are held against the schemas that a snapshot holds.
package offline
