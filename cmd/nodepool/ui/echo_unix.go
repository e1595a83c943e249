//go:build unix

package ui

import (
	"os"
	"syscall"

	"github.com/charmbracelet/x/term"
	"golang.org/x/sys/unix"
)

// silence has the terminal show no keys that are typed: they would stand in the
// middle of the view. Interrupts work as before, and what is typed is there for
// the shell to read. The function that it gives takes that back, once; a shell
// does so too for a program that was killed.
//
// From the background it changes nothing, where a change stops the process.
func silence(f *os.File) (restore func()) {
	as, err := term.GetState(f.Fd())
	if err != nil || !inForeground(f) {
		return func() {}
	}
	quiet := *as
	quiet.Lflag &^= syscall.ECHO
	if term.Restore(f.Fd(), &quiet) != nil {
		return func() {}
	}
	return func() {
		if inForeground(f) {
			_ = term.Restore(f.Fd(), as) // a terminal that is gone shows no keys
		}
	}
}

func inForeground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
