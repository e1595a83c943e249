package state

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Process names a process beyond its pid: the kernel gives pids out again, but
// not together with the same start time.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks after boot
}

// Identify returns the identity of the process that has this pid now.
func Identify(pid int) (Process, error) {
	start, err := startTime(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, Start: start}, nil
}

// Alive says whether this very process still runs.
func (p Process) Alive() bool {
	if p.PID <= 0 {
		return false
	}
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// Signal sends sig to the process, never to another one that got its pid.
func (p Process) Signal(sig syscall.Signal) error {
	if !p.Alive() {
		return fmt.Errorf("process %d is gone (the pid is free or belongs to somebody else)", p.PID)
	}
	return syscall.Kill(p.PID, sig)
}

// startTime reads field 22 of /proc/PID/stat. A zombie counts as gone.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(data))
}

func parseStat(stat string) (uint64, error) {
	// The command name is in brackets and may itself hold spaces and brackets.
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, fmt.Errorf("unexpected stat line %q", stat)
	}
	fields := strings.Fields(stat[end+1:])
	const state, start = 0, 19
	if len(fields) <= start {
		return 0, fmt.Errorf("unexpected stat line %q", stat)
	}
	if fields[state] == "Z" || fields[state] == "X" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(fields[start], 10, 64)
}
