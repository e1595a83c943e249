// Package kube is the management cluster behind the seam of apply, over
// client-go.
//
// It asks discovery for the groups that a selector names and no others, reads
// with consistent gets and paged lists, follows changes with informers, and
// writes with strict field validation. Reads are repeated for a while when the
// server or the way to it fails; a write is sent once, whatever comes back, and
// its error says whether it may have happened. The server's words are given on
// without the values that it quotes: they may be secrets. Nothing is logged.
package kube
