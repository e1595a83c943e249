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

// Runs writes one line for each run, in their order.
func Runs(w io.Writer, runs []apply.Report) error {
	rows := make([][]string, len(runs))
	for i, r := range runs {
		by := strings.Join(r.Actors, ", ")
		if r.Outcome == apply.Running && r.Holder != nil {
			by = r.Holder.Actor
		}
		rows[i] = []string{r.Run, cmp.Or(string(r.Purpose), "upgrade"), r.Cluster, r.Outcome, instant(r.Began), took(r), dash(r.Ticket), dash(by), r.Plan.Short()}
	}
	return Table(w, []string{"RUN", "PURPOSE", "CLUSTER", "OUTCOME", "BEGAN (UTC)", "TOOK", "TICKET", "BY", "PLAN"}, rows)
}

// Report writes the closing document of a run for a terminal.
func Report(w io.Writer, r apply.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Run %s of cluster %s: %s\n", render.Escape(r.Run), render.Escape(r.Cluster), render.Escape(r.Outcome))
	for _, l := range reportFacts(r) {
		fmt.Fprintf(&b, "  %-9s %s\n", l[0], render.Escape(l[1]))
	}
	b.WriteString("\nSteps\n")
	if err := Table(&b, []string{"  STEP", "OUTCOME", "BEGAN (UTC)", "TOOK"}, shifted(stepRows(r))); err != nil {
		return err
	}
	for i, line := range canaryLines(r) {
		if i == 0 {
			b.WriteString("\nCanaries\n")
		}
		fmt.Fprintf(&b, "  %s: %s\n", render.Escape(line.step), render.Escape(line.what))
		if line.output != "" {
			b.WriteString("    it printed:\n" + indented(line.output))
		}
	}
	for _, p := range r.Pools {
		fmt.Fprintf(&b, "\nMachines of %s, looked at last %s\n", render.Escape(p.Pool), moment(p.Seen))
		if err := Table(&b, []string{"  MACHINE", "NODE", "VERSION", "IMAGE", "CREATED (UTC)", "READY AFTER", "GONE BY (UTC)"}, shifted(machineRows(p))); err != nil {
			return err
		}
		if p.More > 0 {
			fmt.Fprintf(&b, "  %s left out, to keep the journal small\n", count(p.More, "machine"))
		}
	}
	if len(r.Troubles) > 0 {
		b.WriteString("\nOn the way\n")
		for _, t := range r.Troubles {
			fmt.Fprintf(&b, "  %s  %s\n", moment(t.At), render.Escape(onTheWay(t)))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ReportMarkdown writes the closing document of a run for a ticket.
func ReportMarkdown(w io.Writer, r apply.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## Run %s of cluster %s: %s\n\n", render.Code(r.Run), render.Code(r.Cluster), render.Prose(r.Outcome))
	for _, l := range reportFacts(r) {
		value := render.Code(l[1])
		if l[0] == whyFact || l[0] == nextFact {
			value = render.Prose(l[1])
		}
		fmt.Fprintf(&b, "- %s: %s\n", l[0], value)
	}
	b.WriteString("\n### Steps\n\n")
	markdownTable(&b, []string{"Step", "Outcome", "Began (UTC)", "Took"}, stepRows(r))
	for i, line := range canaryLines(r) {
		if i == 0 {
			b.WriteString("\n### Canaries\n\n")
		}
		fmt.Fprintf(&b, "- %s: %s\n", render.Code(line.step), render.Prose(line.what))
		for text := range strings.SplitSeq(line.output, "\n") {
			if text != "" {
				fmt.Fprintf(&b, "  - printed: %s\n", render.Code(text))
			}
		}
	}
	for _, p := range r.Pools {
		fmt.Fprintf(&b, "\n### Machines of %s\n\nLooked at last %s.\n\n", render.Code(p.Pool), moment(p.Seen))
		markdownTable(&b, []string{"Machine", "Node", "Version", "Image", "Created (UTC)", "Ready after", "Gone by (UTC)"}, machineRows(p))
		if p.More > 0 {
			fmt.Fprintf(&b, "\n%s left out, to keep the journal small.\n", count(p.More, "machine"))
		}
	}
	if len(r.Troubles) > 0 {
		b.WriteString("\n### On the way\n\n")
		for _, t := range r.Troubles {
			if t.Step == "" {
				fmt.Fprintf(&b, "- %s: %s\n", moment(t.At), render.Prose(t.What))
				continue
			}
			fmt.Fprintf(&b, "- %s, step %s: %s\n", moment(t.At), render.Code(t.Step), render.Prose(t.What))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// onTheWay tells a trouble in a line.
func onTheWay(t apply.ReportTrouble) string {
	if t.Step == "" {
		return t.What
	}
	return t.Step + ": " + t.What
}

type canaryLine struct{ step, what, output string }

// canaryLines tells how each canary has proved itself.
func canaryLines(r apply.Report) (out []canaryLine) {
	for _, s := range r.Steps {
		if !s.Canary {
			continue
		}
		for _, c := range s.Canaries {
			what := fmt.Sprintf("%s stayed ready for %s", c.Machine, brief(time.Duration(c.Ready*float64(time.Second))))
			if len(c.Command) > 0 {
				what += ", and the command " + c.Command[0] + " exited with 0"
			}
			out = append(out, canaryLine{s.ID, what, c.Output})
		}
		switch {
		case len(s.Canaries) > 0:
		case s.Because != "":
			out = append(out, canaryLine{step: s.ID, what: s.Because})
		default:
			out = append(out, canaryLine{step: s.ID, what: cmp.Or(s.Note, s.Outcome)})
		}
	}
	return out
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

// The names of facts that are sentences.
const (
	whyFact  = "Why"
	nextFact = "Next"
)

func reportFacts(r apply.Report) [][2]string {
	var out [][2]string
	if r.Because != "" {
		out = append(out, [2]string{whyFact, r.Because})
	}
	if r.Stall != nil && r.Stall.Next != "" {
		out = append(out, [2]string{nextFact, r.Stall.Next})
	}
	out = append(out, [2]string{"Purpose", cmp.Or(string(r.Purpose), "upgrade")}, [2]string{"Plan", string(r.Plan)})
	if r.Ticket != "" {
		out = append(out, [2]string{"Ticket", r.Ticket})
	}
	by := strings.Join(r.Actors, ", ")
	if r.Attempts > 1 {
		by += fmt.Sprintf(", in %d attempts", r.Attempts)
	}
	out = append(out, [2]string{"By", dash(by)}, [2]string{"Began", moment(r.Began)})
	switch {
	case r.Outcome == apply.Running && r.Holder != nil:
		return append(out, [2]string{"Holder", r.Holder.Actor + " since " + moment(r.Holder.Since)}, [2]string{"Last", moment(r.Ended) + ", the last record so far"})
	case r.Open:
		return append(out, [2]string{"Last", moment(r.Ended) + ", the last record"})
	}
	return append(out, [2]string{"Ended", moment(r.Ended) + " after " + took(r)})
}

func stepRows(r apply.Report) [][]string {
	rows := make([][]string, len(r.Steps))
	for i, s := range r.Steps {
		length := "-"
		if !s.Began.IsZero() && !s.Ended.IsZero() {
			length = brief(time.Duration(s.Seconds * float64(time.Second)))
		}
		rows[i] = []string{s.ID, s.Outcome, instant(s.Began), length}
	}
	return rows
}

// machineRows lists every machine that was seen, those from before first.
func machineRows(p apply.ReportMachines) [][]string {
	var rows [][]string
	for _, m := range p.After {
		ready := "-"
		if created, err := time.Parse(time.RFC3339, m.Created); err == nil {
			if at, err := time.Parse(time.RFC3339, m.Ready); err == nil && !at.Before(created) {
				ready = brief(at.Sub(created))
			}
		}
		rows = append(rows, []string{m.Name, dash(m.Node), dash(m.Version), dash(m.Image), instantOf(m.Created), ready, instantOf(m.Gone)})
	}
	return rows
}

// took is how long a run took: nobody knows that of one that is open.
func took(r apply.Report) string {
	if r.Open {
		return "-"
	}
	return brief(time.Duration(r.Seconds * float64(time.Second)))
}

func brief(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// moment is an instant with its zone, for where no header names it.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return instant(t) + " UTC"
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
