package ui

import (
	"fmt"
	"time"

	"nodepool/apply"
)

// pace estimates how long a rollout still takes, from how long the machines
// took that it has replaced so far.
type pace struct {
	// first is when the first machine was ready, and how many were by then:
	// those that an earlier attempt has made tell nothing of the pace.
	begun          bool
	before         int
	at             time.Duration
	ready, desired int
}

func (p *pace) take(e apply.Rolling) {
	if !p.begun {
		p.begun, p.before = true, e.Rollout.NewReady
	}
	if e.Rollout.NewReady != p.ready {
		p.at = e.Elapsed
	}
	p.ready, p.desired = e.Rollout.NewReady, e.Rollout.Desired
}

// remaining is the estimate after so long; false while there is no data, and
// once the machines take more than twice as long as they took on average.
func (p *pace) remaining(elapsed time.Duration) (time.Duration, bool) {
	made := p.ready - p.before
	if made < 1 || p.ready >= p.desired {
		return 0, false
	}
	each := p.at / time.Duration(made)
	if each <= 0 || elapsed-p.at > 2*each {
		return 0, false
	}
	return max(each*time.Duration(p.desired-p.ready)-(elapsed-p.at), 0), true
}

// left is the estimate in words, with a comma before it.
func (p *pace) left(elapsed time.Duration) string {
	d, ok := p.remaining(elapsed)
	if !ok {
		return ""
	}
	if d < time.Minute {
		return ", under a minute left"
	}
	return ", about " + fmt.Sprintf("%dm", int(d.Round(time.Minute).Minutes())) + " left"
}
