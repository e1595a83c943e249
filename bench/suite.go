package main

import (
	"fmt"
	"slices"
	"time"
)

// The units of samples. benchstat knows the first.
const (
	nanoseconds = "ns/op"
	cpu         = "cpu-ns/op"
	peak        = "peak-B"   // the largest resident memory of the process
	requests    = "requests" // by the API server's audit log
	size        = "size-B"
)

// Sample is what one run cost, by unit.
type Sample map[string]float64

// Series holds the samples of one thing, under its name as benchstat reads it:
// words separated by slashes, without spaces.
type Series struct {
	Name    string
	Samples []Sample
}

// Median gives the median of a unit; 0 when nothing was measured.
func (s Series) Median(unit string) float64 { return s.quantile(unit, 0.5) }

// Worst gives the largest value of a unit.
func (s Series) Worst(unit string) float64 { return s.quantile(unit, 1) }

func (s Series) quantile(unit string, q float64) float64 {
	var values []float64
	for _, sample := range s.Samples {
		if v, ok := sample[unit]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[int(q*float64(len(values)-1)+0.5)]
}

// Row is a line of the table: what was measured, against what, and the aim.
type Row struct {
	Work, Got     string
	Against, Base string // Base is empty where the aim is a bound
	Ratio, Aim    string
	Met           bool
	// NoAim marks a row that is told for comparison.
	NoAim bool
}

// Section is a part of the report: a heading, its rows, and the series behind
// them.
type Section struct {
	Title, Text string
	Rows        []Row
	Series      []Series
}

// within gives the row of an aim such as "within 3 ×": got may be limit times
// base.
func within(work, against, unit string, got, base Series, limit float64) Row {
	g, b := got.Median(unit), base.Median(unit)
	aim := fmt.Sprintf("within %s ×", number(limit))
	switch {
	case limit == 1:
		aim = "no more"
	case limit < 1:
		aim = fmt.Sprintf("%.2f, %s × less", limit, number(1/limit))
	}
	return Row{Work: work, Got: show(unit, g), Against: against, Base: show(unit, b), Ratio: fmt.Sprintf("%.2f", g/b), Aim: aim, Met: g <= limit*b}
}

// atMost gives the row of an aim that is a bound.
func atMost(work, unit string, got, limit float64) Row {
	return Row{Work: work, Got: show(unit, got), Aim: "under " + show(unit, limit), Met: got < limit}
}

// show gives a value for people.
func show(unit string, v float64) string {
	switch unit {
	case nanoseconds, cpu:
		d := time.Duration(v)
		switch {
		case d >= 10*time.Second:
			return fmt.Sprintf("%.0f s", d.Seconds())
		case d >= time.Second:
			return fmt.Sprintf("%.1f s", d.Seconds())
		case d >= 10*time.Millisecond:
			return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
		}
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case peak, size, "B/op":
		return fmt.Sprintf("%.0f MiB", v/(1<<20))
	case requests:
		return number(v)
	}
	return number(v) + " " + unit
}

func number(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprint(int64(v))
	}
	return fmt.Sprintf("%.1f", v)
}

// rounds takes n samples of each contender by turns, so that what slows the
// machine down slows all of them.
func rounds(n int, contenders ...contender) ([]Series, error) {
	out := make([]Series, len(contenders))
	for round := range n {
		for i := range contenders {
			at := (i + round) % len(contenders) // each begins once in a while
			sample, err := contenders[at].run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contenders[at].name, err)
			}
			out[at].Name = contenders[at].name
			out[at].Samples = append(out[at].Samples, sample)
		}
	}
	return out, nil
}

type contender struct {
	name string
	run  func() (Sample, error)
}
