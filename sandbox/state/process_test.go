package state

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestParseStat(t *testing.T) {
	const after = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for name, tc := range map[string]struct {
		line string
		want uint64
		ok   bool
	}{
		"plain":              {"12 (sandbox)" + after, 4711, true},
		"brackets in name":   {"12 (a) b (c)" + after, 4711, true},
		"zombie":             {"12 (sandbox) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711", 0, false},
		"cut short":          {"12 (sandbox) S 1", 0, false},
		"nothing":            {"", 0, false},
		"no closing bracket": {"12 (sandbox", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat(tc.line)
			if (err == nil) != tc.ok || got != tc.want {
				t.Errorf("parseStat = %d, %v", got, err)
			}
		})
	}
}

func TestProcessIsMoreThanAPid(t *testing.T) {
	self, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.Alive() {
		t.Error("this process is not alive")
	}
	other := Process{PID: self.PID, Start: self.Start + 1}
	if other.Alive() {
		t.Error("a pid that was given out again counts as the same process")
	}
	if err := other.Signal(syscall.SIGTERM); err == nil {
		t.Error("a signal went to a process that only has the same pid")
	}
}

func TestEndedProcessIsNotAlive(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	p, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if p.Alive() {
		t.Error("alive after it ended")
	}
}
