//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var matrixDoc = filepath.Join("..", "docs", "preflight-matrix.md")

const (
	matrixBegin = "<!-- written by the end-to-end tests: make matrix UPDATE=1 -->\n"
	matrixEnd   = "<!-- end -->\n"
)

// matrixTable gathers the cells of the matrix, and holds them against
// docs/preflight-matrix.md.
type matrixTable struct {
	mu     sync.Mutex
	trials []*trial
}

func newMatrixTable(t *testing.T) *matrixTable {
	table := &matrixTable{}
	t.Cleanup(func() { table.compare(t) })
	return table
}

func (m *matrixTable) add(tr *trial) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trials = append(m.trials, tr)
}

var checkLetters = map[string]string{"ControlPlaneIsStable": "S", "KubernetesVersionSkew": "V", "KubeadmVersionSkew": "K"}

// cellText tells verdict and outcome of a cell.
func (tr *trial) cellText() string {
	text := "made"
	switch {
	case tr.outcome.refused:
		var letters []string
		for _, c := range tr.outcome.checks {
			letters = append(letters, checkLetters[c])
		}
		text = strings.TrimSpace("✗ " + strings.Join(letters, " "))
	case tr.outcome.inPlace:
		text = "in place"
	case tr.empty:
		text = "none needed"
	}
	if tr.verdict.severity == "warn" {
		text += ", warned"
	}
	if wrong := tr.wrong(); wrong != "" {
		text = "**" + wrong + "**: " + text
	}
	return text
}

// rowsOf gives the table of a control plane: a row for each pool and kind of
// bootstrap, a column for each change.
func rowsOf(p matrixPhase, text func(cell) string) string {
	var columns, keys []string
	byKey := map[string]map[string]string{}
	for _, c := range p.cells {
		if !slices.Contains(columns, c.change) {
			columns = append(columns, c.change)
		}
		key := c.name() + " | " + c.bootstrap
		if byKey[key] == nil {
			byKey[key] = map[string]string{}
			keys = append(keys, key)
		}
		byKey[key][c.change] = text(c)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "| pool's version | joins by | %s |\n%s|\n", strings.Join(columns, " | "), strings.Repeat("|---", len(columns)+2))
	for _, key := range keys {
		fmt.Fprintf(&out, "| %s", key)
		for _, column := range columns {
			fmt.Fprintf(&out, " | %s", byKey[key][column])
		}
		out.WriteString(" |\n")
	}
	return out.String()
}

// compare holds the cells that were run against the document, or with -update
// writes them there. Those that were not run stay as they stand.
func (m *matrixTable) compare(t *testing.T) {
	if len(m.trials) == 0 {
		return
	}
	raw, err := os.ReadFile(matrixDoc)
	if err != nil {
		t.Error(err)
		return
	}
	before, rest, ok := strings.Cut(string(raw), matrixBegin)
	body, after, ended := strings.Cut(rest, matrixEnd)
	if !ok || !ended {
		t.Errorf("%s has no tables between %q and %q", matrixDoc, matrixBegin, matrixEnd)
		return
	}
	documented := readCells(body)
	var out strings.Builder
	var run, all tally
	for _, s := range matrixStages() {
		for _, p := range s.phases {
			fmt.Fprintf(&out, "\n### %s\n\n", p.name)
			out.WriteString(rowsOf(p, func(c cell) string {
				if _, ok := c.fields(p.version); !ok {
					return "–"
				}
				said := documented[c.key(p)]
				i := slices.IndexFunc(m.trials, func(tr *trial) bool { return tr.phase.name == p.name && tr.cell == c })
				if i < 0 {
					all.add(said)
					return said
				}
				now := m.trials[i].cellText()
				if now != said && !*update {
					t.Errorf("%s says it otherwise; run make matrix UPDATE=1\n%s\nsaid: %s\nnow:  %s", matrixDoc, m.trials[i], said, now)
				}
				run.add(now)
				all.add(now)
				return now
			}))
		}
	}
	t.Log(run)
	if *update {
		if err := os.WriteFile(matrixDoc, []byte(before+matrixBegin+"\n"+all.String()+"\n"+out.String()+matrixEnd+after), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// tally counts cells.
type tally struct{ cells, refused, falsePasses, falseBlocks, otherChecks, missing int }

func (n *tally) add(text string) {
	switch {
	case text == "":
		n.missing++
		return
	case strings.Contains(text, "**false pass**"):
		n.falsePasses++
	case strings.Contains(text, "**false block**"):
		n.falseBlocks++
	case strings.Contains(text, "**other checks**"):
		n.otherChecks++
	}
	if strings.Contains(text, "✗") {
		n.refused++
	}
	n.cells++
}

func (n tally) String() string {
	out := fmt.Sprintf("%d cells, %d of them refused by Cluster API: %d false passes, %d false blocks, %d refused by other checks than foretold.",
		n.cells, n.refused, n.falsePasses, n.falseBlocks, n.otherChecks)
	if n.missing > 0 {
		out += fmt.Sprintf(" %d cells were never run.", n.missing)
	}
	return out
}

func (c cell) key(p matrixPhase) string {
	return strings.Join([]string{p.name, c.name(), c.bootstrap, c.change}, " | ")
}

// readCells reads the cells of the tables, by the key of each.
func readCells(tables string) map[string]string {
	out := map[string]string{}
	phase, columns := "", []string(nil)
	for line := range strings.Lines(tables) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "### "); ok {
			phase, columns = name, nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "| "):
		case columns == nil:
			columns = cells
		default:
			for i := 2; i < min(len(cells), len(columns)); i++ {
				out[strings.Join([]string{phase, cells[0], cells[1], columns[i]}, " | ")] = cells[i]
			}
		}
	}
	return out
}
