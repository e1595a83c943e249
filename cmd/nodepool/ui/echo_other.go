//go:build !unix

package ui

import "os"

// silence would have the terminal show no keys that are typed.
func silence(*os.File) (restore func()) { return func() {} }
