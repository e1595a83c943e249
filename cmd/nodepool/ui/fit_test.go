package ui_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"nodepool/cmd/nodepool/ui"
)

func TestFit(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		columns int
		want    string
	}{
		"fits":        {"short\n  lines", 30, "short\n  lines"},
		"no terminal": {"a line that is longer than thirty columns are wide", 0, "a line that is longer than thirty columns are wide"},
		"at words":    {"a line that is longer than thirty columns are wide", 30, "a line that is longer than\n  thirty columns are wide"},
		"indented":    {"  Cause: one two three four five six seven", 24, "  Cause: one two three\n    four five six seven"},
		"a command":   {"run:\n  nodepool apply -f a-long-name.yaml", 24, "run:\n  nodepool apply -f a-long-name.yaml"},
		"one word":    {"abcdefghijklmnopqrstuvwxyz", 20, "abcdefghijklmnopqrst\n  uvwxyz"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, ui.Fit(tc.text, tc.columns)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
