// Nodepool upgrades the worker node pools of Cluster API clusters by a plan
// that can be reviewed.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"nodepool/cmd/nodepool/ui"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go obey(signals, cancel, os.Stderr, os.Exit)
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// obey has the first signal end the program in good order, and a second one
// end it at once: whatever was done with the signal where the program was
// started, such as a script that has its jobs ignore the interrupt.
func obey(signals <-chan os.Signal, cancel func(), stderr io.Writer, exit func(int)) {
	<-signals
	cancel()
	<-signals
	const code = 130
	// A terminal that is held (Ctrl-S) takes no words.
	time.AfterFunc(time.Second, func() { exit(code) })
	fmt.Fprintln(stderr, ui.Fit(ui.Stop(), width(stderr)))
	exit(code)
}
