package ui

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"nodepool/apply"
	"nodepool/plan/render"
)

// Runs writes one line for each run, the newest last.
func Runs(w io.Writer, runs []apply.Run) error {
	rows := make([][]string, len(runs))
	for i, run := range runs {
		r := apply.ReportOf(run)
		rows[i] = []string{r.Run, cmp.Or(string(r.Purpose), "upgrade"), r.Cluster, r.Outcome, instant(r.Began), took(r), dash(r.Ticket), dash(strings.Join(r.Actors, ", ")), r.Plan.Short()}
	}
	return Table(w, []string{"RUN", "PURPOSE", "CLUSTER", "OUTCOME", "BEGAN (UTC)", "TOOK", "TICKET", "BY", "PLAN"}, rows)
}

// Report writes the closing document of a run for a terminal.
func Report(w io.Writer, r apply.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Run %s of cluster %s: %s\n", render.Escape(r.Run), render.Escape(r.Cluster), render.Escape(outcome(r)))
	for _, l := range reportFacts(r) {
		fmt.Fprintf(&b, "  %-9s %s\n", l[0], render.Escape(l[1]))
	}
	b.WriteString("\nSteps\n")
	if err := Table(&b, []string{"  STEP", "OUTCOME", "BEGAN (UTC)", "TOOK"}, shifted(stepRows(r))); err != nil {
		return err
	}
	for _, p := range r.Pools {
		fmt.Fprintf(&b, "\nMachines of %s\n", render.Escape(p.Pool))
		if err := Table(&b, []string{"  MACHINE", "NODE", "VERSION", "IMAGE", "CREATED (UTC)", "READY AFTER", "GONE (UTC)"}, shifted(machineRows(p))); err != nil {
			return err
		}
	}
	if len(r.Troubles) > 0 {
		b.WriteString("\nOn the way\n")
		for _, t := range r.Troubles {
			fmt.Fprintf(&b, "  %s  %s: %s\n", instant(t.At), render.Escape(t.Step), render.Escape(t.What))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ReportMarkdown writes the closing document of a run for a ticket.
func ReportMarkdown(w io.Writer, r apply.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## Run %s of cluster %s: %s\n\n", render.Code(r.Run), render.Code(r.Cluster), render.Prose(outcome(r)))
	for _, l := range reportFacts(r) {
		fmt.Fprintf(&b, "- %s: %s\n", l[0], render.Code(l[1]))
	}
	b.WriteString("\n### Steps\n\n")
	markdownTable(&b, []string{"Step", "Outcome", "Began (UTC)", "Took"}, stepRows(r))
	for _, p := range r.Pools {
		fmt.Fprintf(&b, "\n### Machines of %s\n\n", render.Code(p.Pool))
		markdownTable(&b, []string{"Machine", "Node", "Version", "Image", "Created (UTC)", "Ready after", "Gone (UTC)"}, machineRows(p))
	}
	if len(r.Troubles) > 0 {
		b.WriteString("\n### On the way\n\n")
		for _, t := range r.Troubles {
			fmt.Fprintf(&b, "- %s, step %s: %s\n", render.Code(instant(t.At)), render.Code(t.Step), render.Prose(t.What))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownTable(b *strings.Builder, header []string, rows [][]string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat(":--|", len(header)))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			if cells[i] = c; c != "" && c != "-" {
				cells[i] = render.Code(c)
			}
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

func outcome(r apply.Report) string {
	if r.Because == "" {
		return r.Outcome
	}
	return r.Outcome + ": " + r.Because
}

func reportFacts(r apply.Report) [][2]string {
	out := [][2]string{{"Purpose", cmp.Or(string(r.Purpose), "upgrade")}, {"Plan", string(r.Plan)}}
	if r.Ticket != "" {
		out = append(out, [2]string{"Ticket", r.Ticket})
	}
	by := strings.Join(r.Actors, ", ")
	if r.Attempts > 1 {
		by += fmt.Sprintf(", in %d attempts", r.Attempts)
	}
	return append(out, [2]string{"By", dash(by)}, [2]string{"Began", instant(r.Began)}, [2]string{"Ended", instant(r.Ended) + " after " + took(r)})
}

func stepRows(r apply.Report) [][]string {
	rows := make([][]string, len(r.Steps))
	for i, s := range r.Steps {
		length := "-"
		if s.Seconds > 0 {
			length = brief(time.Duration(s.Seconds * float64(time.Second)))
		}
		rows[i] = []string{s.ID, s.Outcome, instant(s.Began), length}
	}
	return rows
}

// machineRows lists the machines from before that are not among those after,
// and then those after, in which the wait saw the old ones go as well.
func machineRows(p apply.ReportMachines) [][]string {
	var rows [][]string
	row := func(m apply.Machine) {
		ready := "-"
		if created, err := time.Parse(time.RFC3339, m.Created); err == nil {
			if at, err := time.Parse(time.RFC3339, m.Ready); err == nil && at.After(created) {
				ready = brief(at.Sub(created))
			}
		}
		rows = append(rows, []string{m.Name, dash(m.Node), dash(m.Version), dash(m.Image), instantOf(m.Created), ready, instantOf(m.Gone)})
	}
	after := map[string]bool{}
	for _, m := range p.After {
		after[m.Name] = true
	}
	for _, m := range p.Before {
		if !after[m.Name] {
			row(m)
		}
	}
	for _, m := range p.After {
		row(m)
	}
	return rows
}

func took(r apply.Report) string { return brief(r.Ended.Sub(r.Began)) }

func brief(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func instantOf(rfc3339 string) string {
	t, err := time.Parse(time.RFC3339, rfc3339)
	if err != nil {
		return dash(rfc3339)
	}
	return instant(t)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func shifted(rows [][]string) [][]string {
	for i := range rows {
		rows[i][0] = "  " + rows[i][0]
	}
	return rows
}
