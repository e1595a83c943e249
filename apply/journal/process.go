package journal

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// process tells one process from all others, so that one that is dead can be
// known to be.
type process struct {
	// PID is its number within Place; 0 when Place is empty.
	PID int `json:"pid,omitempty"`
	// Place is where PID means something: one boot of one kernel and, since
	// containers count for themselves, one PID namespace of it. It is empty
	// where that cannot be told, and then nobody is taken for dead.
	Place string `json:"place,omitempty"`
	// Began tells it from a later process of the same number: the clock ticks
	// from boot to its beginning.
	Began string `json:"began,omitempty"`
}

// self gives this process.
func self() process {
	p := process{PID: os.Getpid(), Place: place()}
	began, running := began(p.PID)
	if p.Place == "" || !running {
		return process{}
	}
	p.Began = began
	return p
}

// dead reports whether p is known to have ended. One on another host, or in
// another container, is not.
func (p process) dead() bool {
	if p.Place == "" || p.PID <= 0 || p.Place != place() {
		return false
	}
	if running, err := os.FindProcess(p.PID); err == nil && errors.Is(running.Signal(syscall.Signal(0)), os.ErrProcessDone) {
		return true
	}
	began, running := began(p.PID)
	return !running || (began != "" && began != p.Began)
}

// place names the boot of the kernel and the PID namespace, as Linux tells
// them (random(4), namespaces(7)); other systems do not.
func place() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + namespace
}

// began reads /proc/PID/stat (proc_pid_stat(5)): field 3 is the state, field
// 22 the beginning. A zombie has ended. What cannot be read, such as the
// process of another user, is taken to run.
func began(pid int) (ticks string, running bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", true
	}
	// Field 2 is the name in brackets, which may hold anything.
	text := string(raw)
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	if len(fields) < 20 {
		return "", true
	}
	return fields[19], fields[0] != "Z" && fields[0] != "X"
}
