//go:build e2e

package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// outcomes is a table of faults and of how they went, which is reported when
// its test ends.
type outcomes struct {
	mu   sync.Mutex
	rows map[string]*outcomeRow
}

// outcomeRow is a row: a kind of fault in one phase.
type outcomeRow struct {
	points, struck, survived int
	codes                    map[int]int // of the runs that it struck
}

func newOutcomes(t *testing.T, name string) *outcomes {
	o := &outcomes{rows: map[string]*outcomeRow{}}
	t.Cleanup(func() {
		report(t, name, o.String())
	})
	return o
}

// report logs a table, and writes it to the folder that the variable
// NODEPOOL_FAULTS_REPORT names.
func report(t *testing.T, name, table string) {
	t.Helper()
	t.Logf("%s:\n%s", name, table)
	if dir := os.Getenv("NODEPOOL_FAULTS_REPORT"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".md"), []byte(table), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// row gives a row to change; the caller holds the lock.
func (o *outcomes) row(name string) *outcomeRow {
	if o.rows[name] == nil {
		o.rows[name] = &outcomeRow{codes: map[int]int{}}
	}
	return o.rows[name]
}

// ran notes how the run that a fault should strike has ended.
func (o *outcomes) ran(name string, code int, struck bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.row(name)
	r.points++
	if struck {
		r.struck++
		r.codes[code]++
	}
}

// survived notes that all was as it must be afterwards.
func (o *outcomes) survived(name string, struck bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if struck {
		o.row(name).survived++
	}
}

func (o *outcomes) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	b.WriteString("| fault | where | points | struck | exit codes of the run | survived |\n|---|---|---|---|---|---|\n")
	var sum outcomeRow
	for _, name := range slices.Sorted(maps.Keys(o.rows)) {
		r := o.rows[name]
		what, where, _ := strings.Cut(name, " @ ")
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s | %d |\n", what, where, r.points, r.struck, r.endings(), r.survived)
		sum.points, sum.struck, sum.survived = sum.points+r.points, sum.struck+r.struck, sum.survived+r.survived
	}
	fmt.Fprintf(&b, "| all | | %d | %d | | %d |\n", sum.points, sum.struck, sum.survived)
	return b.String()
}

func (r *outcomeRow) endings() string {
	var out []string
	for _, code := range slices.Sorted(maps.Keys(r.codes)) {
		name := strconv.Itoa(code)
		if code == -1 {
			name = "killed"
		}
		out = append(out, fmt.Sprintf("%s × %d", name, r.codes[code]))
	}
	return strings.Join(out, ", ")
}
