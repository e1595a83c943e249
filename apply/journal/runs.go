package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"nodepool/apply"
	"nodepool/plan"
)

// What a journal keeps. The newest run always stays, and the unfinished one.
const (
	// keepRuns is how many runs of an upgrade are kept.
	keepRuns = 10
	// maxRecords bounds the records of one run, in bytes of JSON.
	maxRecords = 1 << 20
)

// runs are those of one upgrade, oldest first. They are the same in every
// store; the stores differ in how they write them down.
type runs []apply.Run

// begin opens a run of p.
func (rs *runs) begin(p plan.Plan) {
	number := 1
	if n := len(*rs); n > 0 {
		number = (*rs)[n-1].Number + 1
	}
	*rs = append(*rs, apply.Run{Upgrade: p.Upgrade.Name, Number: number, Plan: p})
}

// add takes a record into the run of its plan: the last one that has it. A
// record of a plan that was never opened has none, and is dropped. A closed run
// stays closed: what a runner that lost its lock still has to say goes before
// the end.
func (rs runs) add(r apply.Record) {
	for i := len(rs) - 1; i >= 0; i-- {
		if rs[i].Plan.Digest != r.Plan {
			continue
		}
		at := len(rs[i].Records)
		if rs[i].Closed() {
			at--
		}
		rs[i].Records = slices.Insert(rs[i].Records, at, r)
		return
	}
}

// has reports whether a record is there already.
func (rs runs) has(r apply.Record) bool {
	want, err := json.Marshal(r)
	return err == nil && slices.ContainsFunc(rs, func(run apply.Run) bool {
		return slices.ContainsFunc(run.Records, func(other apply.Record) bool {
			raw, err := json.Marshal(other)
			return err == nil && bytes.Equal(raw, want)
		})
	})
}

// unfinished gives the last run that is not closed. There is more than one
// while some pools of a run are taken back beside it.
func (rs runs) unfinished() (apply.Run, bool) {
	if r := apply.Unfinished(rs); r != nil {
		return *r, true
	}
	return apply.Run{}, false
}

// open begins a run of p or gives the next attempt of the one that is open. It
// reports whether it began one.
func (rs *runs) open(p plan.Plan) (attempt int, began bool, err error) {
	begun, unfinished := rs.unfinished()
	switch {
	case unfinished && begun.Plan.Digest == p.Digest:
		return begun.Attempts() + 1, false, nil
	case unfinished && begun.Plan.Digest != p.Upgrade.Rollback:
		return 0, false, &apply.UnfinishedError{Unfinished: begun.Plan.Digest, Wanted: p.Digest}
	}
	rs.begin(p)
	return 1, true, nil
}

// recent gives the last runs that a journal keeps.
func (rs runs) recent() runs { return rs[max(0, len(rs)-keepRuns):] }

// lines writes records as JSON, one a line.
func lines(records []apply.Record) ([]byte, error) {
	var out bytes.Buffer
	for _, r := range records {
		raw, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		out.Write(append(raw, '\n'))
	}
	return out.Bytes(), nil
}

// leftOut is the note in the place of records that were dropped.
const leftOut = "%d records left out here, to keep the journal small"

// lighten gives records of at most limit bytes of JSON, as far as it can be
// done: first lists of machines go that a later one of the same step takes the
// place of, then what was tried and went wrong, from the middle on, then the
// attempts between the first and the last, then the other lists of machines, the
// oldest first. That a step was done, the beginning and the end always stay.
func lighten(records []apply.Record, limit int) []apply.Record {
	size := 0
	sizes := make([]int, len(records))
	for i, r := range records {
		raw, _ := json.Marshal(r) // strings, numbers and times: nothing that could fail
		sizes[i] = len(raw) + 1
		size += sizes[i]
	}
	if size <= limit {
		return records
	}
	records = slices.Clone(records)
	for _, i := range replaced(records) {
		if size <= limit {
			return records
		}
		size -= sizes[i]
		sizes[i] = unlist(&records[i])
		size += sizes[i]
	}
	size += 200 // the note
	count, first := 0, -1
	drop := make([]bool, len(records))
	for _, of := range [][]int{passing(records), attempts(records)} {
		for _, i := range of[len(of)/4:] {
			if size <= limit {
				break
			}
			size -= sizes[i]
			drop[i] = true
			count++
			if first < 0 || i < first {
				first = i
			}
		}
	}
	var out []apply.Record
	for i, r := range records {
		var before int
		if r.Phase == apply.Noted {
			if n, _ := fmt.Sscanf(r.Note, leftOut, &before); n == 1 {
				count += before
				if first < 0 {
					first = i
				}
				drop[i] = true
			}
		}
		if i == first {
			out = append(out, apply.Record{Plan: r.Plan, Phase: apply.Noted, At: r.At, Attempt: r.Attempt})
		}
		if !drop[i] {
			out = append(out, r)
		}
	}
	for i := range out {
		if out[i].Phase == apply.Noted && out[i].Step == "" && out[i].Note == "" {
			out[i].Note = fmt.Sprintf(leftOut, count)
			continue
		}
		if size <= limit || len(out[i].Machines) == 0 {
			continue
		}
		raw, _ := json.Marshal(out[i].Machines)
		size -= len(raw)
		unlist(&out[i])
	}
	return out
}

// unlist drops the machines of a record and gives its size then.
func unlist(r *apply.Record) int {
	r.More += len(r.Machines)
	r.Machines = nil
	raw, _ := json.Marshal(*r)
	return len(raw) + 1
}

// replaced gives the places of lists of machines that are neither the first nor
// the last of their step.
func replaced(records []apply.Record) (out []int) {
	last := map[string]int{}
	for i, r := range records {
		if len(r.Machines) > 0 {
			last[r.Step] = i
		}
	}
	first := map[string]bool{}
	for i, r := range records {
		if len(r.Machines) == 0 {
			continue
		}
		if first[r.Step] && i != last[r.Step] {
			out = append(out, i)
		}
		first[r.Step] = true
	}
	return out
}

// passing gives the places of records that say what was tried: a step that was
// begun, left or failed, a note, a step found done again.
func passing(records []apply.Record) []int {
	var out []int
	done := map[string]bool{}
	for i, r := range records {
		again := r.Phase == apply.Done && done[r.Step]
		if r.Phase == apply.Done {
			done[r.Step] = true
		}
		if again || ((r.Phase == apply.Started || r.Phase == apply.Failed || r.Phase == apply.Noted || r.Phase == apply.Seen) && len(r.Machines) == 0) {
			out = append(out, i)
		}
	}
	return out
}

// attempts gives the places of the openings between the first and the last.
func attempts(records []apply.Record) []int {
	var out []int
	for i, r := range records {
		if r.Phase == apply.Opened {
			out = append(out, i)
		}
	}
	if len(out) < 3 {
		return nil
	}
	return out[1 : len(out)-1]
}
