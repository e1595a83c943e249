//go:build e2e

package e2e_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/stalls.md anew from what was said")

// stallTable holds the table of docs/stalls.md against what nodepool says.
type stallTable struct {
	mu   sync.Mutex
	rows map[string]string // by name, as said now
}

var stallsDoc = filepath.Join("..", "docs", "stalls.md")

const (
	tableBegin = "<!-- written by the end-to-end tests: go test -tags e2e -run 'TestStalls|TestControllersDown' ./e2e -update -->\n"
	tableHead  = "\n| what is wrong | cause and line | seen on | next |\n|---|---|---|---|\n"
	tableEnd   = "<!-- end -->\n"
)

// newStallTable gives an empty table, which is held against the document when t
// ends: the rows that were run, and with -update they are written there.
func newStallTable(t *testing.T) *stallTable {
	table := &stallTable{rows: map[string]string{}}
	t.Cleanup(func() {
		if len(table.rows) == 0 {
			return
		}
		raw, err := os.ReadFile(stallsDoc)
		if err != nil {
			t.Error(err)
			return
		}
		before, rest, ok := strings.Cut(string(raw), tableBegin+tableHead)
		body, after, ended := strings.Cut(rest, tableEnd)
		if !ok || !ended {
			t.Errorf("%s has no table between %q and %q", stallsDoc, tableBegin+tableHead, tableEnd)
			return
		}
		var lines []string
		written := map[string]bool{}
		for line := range strings.Lines(body) {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
			if now, ok := table.rows[name]; ok {
				if !*update {
					if diff := cmp.Diff(line, now); diff != "" {
						t.Errorf("%s says it otherwise; run with -update (-document +said):\n%s", stallsDoc, diff)
					}
				}
				line = now
				written[name] = true
			}
			lines = append(lines, line)
		}
		for _, name := range sortedNames(table.rows) {
			if !written[name] {
				if !*update {
					t.Errorf("%s lacks %q; run with -update", stallsDoc, name)
				}
				lines = append(lines, table.rows[name])
			}
		}
		if *update {
			if err := os.WriteFile(stallsDoc, []byte(before+tableBegin+tableHead+strings.Join(lines, "")+tableEnd+after), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	return table
}

func sortedNames(rows map[string]string) []string {
	var out []string
	for _, s := range stalls { // in the order of the tests
		if rows[s.name] != "" {
			out = append(out, s.name)
		}
	}
	for _, s := range downs {
		if rows[s.name] != "" {
			out = append(out, s.name)
		}
	}
	return out
}

var timestamps = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// add takes a row from what a run said, with names as they might be.
func (table *stallTable) add(t *testing.T, name string, at *scene, r result) {
	t.Helper()
	pool := regexp.QuoteMeta(at.pool)
	replace := []struct {
		what *regexp.Regexp
		with string
	}{
		{regexp.MustCompile(regexp.QuoteMeta(at.ami)), "ami-0fedcba9876543210"},
		{regexp.MustCompile(pool + `(-[a-z0-9]{5}){2}\b`), "md-0-x7k2q-v9d4m"},
		{regexp.MustCompile(pool + `-[a-f0-9]{8}\b`), "md-0-4ec68833"},
		{regexp.MustCompile(pool + `-[a-z0-9]{5}\b`), "md-0-x7k2q"},
		{regexp.MustCompile(pool), "md-0"},
		{regexp.MustCompile(regexp.QuoteMeta(at.namespace)), "default"},
		{regexp.MustCompile(`\b` + regexp.QuoteMeta(at.cluster.name) + `\b`), "aws-example"},
		{timestamps, "2026-11-22T07:00:00Z"},
		// Both say it, and which of them is in time is left to chance.
		{regexp.MustCompile(`MachineDeployment default/md-0, condition Remediating`), "MachineSet default/md-0-x7k2q, condition Remediating"},
		{regexp.MustCompile(`\|`), `\|`},
	}
	cells := []string{name}
	for _, part := range []string{"Cause:", "Seen on:", "Next:"} {
		cell := said(r, part)
		for _, p := range replace {
			cell = p.what.ReplaceAllString(cell, p.with)
		}
		if part == "Cause:" {
			code, rest, _ := strings.Cut(cell, ": ")
			cell = "`" + code + "`: " + rest
		}
		cells = append(cells, cell)
	}
	table.mu.Lock()
	defer table.mu.Unlock()
	table.rows[name] = "| " + strings.Join(cells, " | ") + " |\n"
}
