package clustertest

import "slices"

// outage is a time in which calls do not arrive.
type outage struct {
	words string
	ops   []Op
}

// Outage makes calls fail from now on without being carried out, as when the
// API server refuses connections, or, with ops, a webhook that calls of these
// kinds go through. Feeds see nothing meanwhile and say so, when ops is empty or
// holds Next; the world itself goes on. Empty words end it.
func (w *World) Outage(words string, ops ...Op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outage = outage{words: words, ops: ops}
	for f := range w.feeds {
		f.wake()
	}
}

func (w *World) away(op Op) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.outage.words == "" || len(w.outage.ops) > 0 && !slices.Contains(w.outage.ops, op) {
		return nil
	}
	return unanswered(w.outage.words)
}

// unanswered is the error of a read that an outage keeps from being answered.
type unanswered string

func (e unanswered) Error() string { return string(e) }

// Passes tells that the read may go well later; see apply.Passes.
func (e unanswered) Passes() bool { return true }
