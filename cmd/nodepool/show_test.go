package main

import (
	"os"
	"strings"
	"testing"
)

// TestShowFull: a saved plan can be reviewed as a whole, from a file and from
// standard input, and what needs the cluster is named.
func TestShowFull(t *testing.T) {
	s := newSite(t, map[string]string{"u.yaml": goodUpgrade})
	s.do(0, "", "plan", "-f", "u.yaml", "--out", "u.plan")
	const reason = "nothing moves in a paused cluster"
	for _, form := range []string{"text", "markdown"} {
		brief, _ := s.do(0, "", "show", "u.plan", "-o", form)
		if strings.Contains(brief, reason) {
			t.Errorf("as %s it tells all facts unasked", form)
		}
		full, note := s.do(0, "", "show", "u.plan", "--full", "-o", form)
		s.says(full, reason)
		s.says(note, "nodepool plan --full")
		data, err := os.ReadFile("u.plan")
		if err != nil {
			t.Fatal(err)
		}
		if piped, _ := s.do(0, string(data), "show", "-", "--full", "-o", form); piped != full {
			t.Errorf("as %s, from standard input it says something else:\n%s", form, piped)
		}
		live, _ := s.do(0, "", "plan", "-f", "u.yaml", "--full", "-o", form)
		s.says(live, reason, "MachineDeployment default/aws-example-md-0 in full (as this plan leaves it)")
	}
}
