// Package capi holds what nodepool knows of the Cluster API contract: where
// a field stands in each served API version, how references are written, who
// owns or pauses an object, which versions may meet, and when a rollout is
// complete or stuck and why.
//
// Every function is pure: objects in, facts out. Nothing here reaches for a
// cluster, a clock or a file.
package capi
