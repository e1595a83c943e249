package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"nodepool/apply"
	"nodepool/cmd/nodepool/early"
)

// The garbage collector's targets, in percent of what is kept
// (debug.SetGCPercent). Where GOGC says how it is to be, it is left alone.
const (
	// startGC has the first collection come late: a command on a small cluster
	// ends before it.
	startGC = early.StartGC
	usualGC = 100
)

// collector is the garbage collector, where its target is ours to set.
type collector struct{}

// lateCollector puts the first collection off, which then brings the usual
// target back. It is nil where GOGC is set.
func lateCollector() *collector {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	debug.SetGCPercent(startGC)
	// An object that nothing refers to is found by the first collection.
	runtime.AddCleanup(new([]byte), func(target int) { debug.SetGCPercent(target) }, usualGC)
	return &collector{}
}

// leanWaits gives notify, which gives back to the system what planning took
// before the first wait begins, and what the first lists took once all pools that
// are waited for have been judged.
func (c *collector) leanWaits(notify func(apply.Event)) func(apply.Event) {
	if c == nil {
		return notify
	}
	once := sync.OnceFunc(debug.FreeOSMemory)
	blind := map[string]bool{} // waits that have not been judged yet
	return func(event apply.Event) {
		if started, ok := event.(apply.StepStarted); ok && started.Step.Wait != nil {
			once()
			blind[started.Step.ID] = true
		}
		if rolling, ok := event.(apply.Rolling); ok && blind[rolling.Step.ID] {
			if delete(blind, rolling.Step.ID); len(blind) == 0 {
				go debug.FreeOSMemory() // which takes a while, and nothing waits for it
			}
		}
		notify(event)
	}
}
