// Package early does what the program needs before its libraries are initialised.
// Go initialises packages in the order of their import paths, each once those that
// it imports are, and this one imports little: the types of Kubernetes come behind
// it, since they need packages that do.
package early

import (
	"os"
	"runtime/debug"
)

// StartGC is the garbage collector's target at the start, in percent of what is
// kept (debug.SetGCPercent): the first collection comes at 32 MiB in place of Go's
// 4, which the libraries reach before main begins.
const StartGC = 800

func init() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(StartGC)
	}
}
