// Package render turns a plan into something that a person reviews: text for
// a terminal or a ticket, and the plan itself as JSON or YAML.
//
// Everything here is pure. Text that came from a cluster or an upgrade file
// is shown so that it can neither move the cursor, nor colour, hide or reorder
// what stands around it; see Escape. A sealed value is shown as its length.
package render
