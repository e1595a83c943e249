// Package jsonschema holds the JSON Schemas (draft 2020-12) of upgrade files
// and of plans. They are generated from the Go types, their doc comments and
// the rules of package schema, and are checked in: what is shipped needs no
// generator. A schema knows less than schema.Read and plan.Read do; what it
// refuses, they refuse too.
package jsonschema

import _ "embed"

//go:generate go test . -run TestGenerated -update

var (
	//go:embed upgrade.json
	upgrade []byte
	//go:embed plan.json
	plan []byte
)

// Upgrade gives the schema of an upgrade file, as JSON with a newline at its
// end. It describes the file as it is written, before defaults.
func Upgrade() []byte { return append([]byte(nil), upgrade...) }

// Plan gives the schema of a plan as nodepool plan --out and -o json write it.
func Plan() []byte { return append([]byte(nil), plan...) }
