// Package journal keeps the record of a run where a later run finds it.
package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"nodepool/apply"
	"nodepool/plan"
)

// File is a journal in a local file: one JSON object a line, appended and
// synced, readable by its owner alone. Lines are of two kinds: one holds a
// whole plan, as it was opened, the others hold a record each. A last line
// that a crash cut off is passed over and overwritten.
//
// A File holds an advisory lock (flock) on its path from OpenFile to Close,
// so that two runs on one machine cannot write it at once.
type File struct {
	path string
	f    *os.File
	lock *flock.Flock

	end  int64 // behind the last whole line
	runs []apply.Run
}

var _ apply.Journal = (*File)(nil)

// LockedError says that another process holds the journal.
type LockedError struct{ Path string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("another nodepool runs this upgrade on this machine (it holds %s); wait until it has ended", e.Path)
}

// CorruptError says that a line of the journal cannot be read.
type CorruptError struct {
	Path string
	Line int
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s:%d: this journal is damaged (%v); move it away to go on: it is a record only, what is left to do is read from the cluster",
		e.Path, e.Line, e.Err)
}

// Unwrap gives the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// line is one line of the file; exactly one field is set.
type line struct {
	Open   *plan.Plan    `json:"open,omitempty"`
	Record *apply.Record `json:"record,omitempty"`
}

// OpenFile opens or makes the journal at path, with its folders, and locks
// it. It gives a *LockedError when another process holds it and a
// *CorruptError when it cannot be read.
func OpenFile(path string) (_ *File, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's folder: %w", err)
	}
	j := &File{path: path, lock: flock.New(path+".lock", flock.SetPermissions(0o600))}
	locked, err := j.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the journal: %w", err)
	}
	if !locked {
		return nil, &LockedError{Path: path}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.Close())
		}
	}()
	if j.f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	if j.end, err = j.read(j.f); err != nil {
		return nil, err
	}
	if err := j.f.Truncate(j.end); err != nil {
		return nil, fmt.Errorf("cut the torn end off the journal: %w", err)
	}
	return j, syncDir(filepath.Dir(path))
}

// ReadFile gives the journal at path as it is, without locking or changing
// it, for those who only look. A journal that does not exist is empty.
func ReadFile(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	j := &File{path: path}
	if _, err := j.read(bytes.NewReader(data)); err != nil {
		return nil, err
	}
	return j, nil
}

// read takes in all whole lines and gives the offset behind the last of them.
func (j *File) read(r io.Reader) (end int64, err error) {
	br := bufio.NewReader(r)
	for n := 1; ; n++ {
		text, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return end, nil // what is left has no newline: a torn line
		}
		if err != nil {
			return 0, fmt.Errorf("read the journal: %w", err)
		}
		if err := j.take(text); err != nil {
			return 0, &CorruptError{Path: j.path, Line: n, Err: err}
		}
		end += int64(len(text))
	}
}

func (j *File) take(text []byte) error {
	var l struct {
		Open   json.RawMessage `json:"open"`
		Record *apply.Record   `json:"record"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return err
	}
	switch {
	case len(l.Open) > 0:
		p, err := plan.Read(l.Open)
		if err != nil {
			return err
		}
		j.begin(p)
	case l.Record != nil:
		j.add(*l.Record)
	default:
		return errors.New("neither a plan nor a record")
	}
	return nil
}

// begin opens a run of p.
func (j *File) begin(p plan.Plan) {
	j.runs = append(j.runs, apply.Run{Upgrade: p.Upgrade.Name, Number: len(j.runs) + 1, Plan: p})
}

// add takes a record into the run of its plan: the last one that has it. A
// record of a plan that was never opened has none, and is dropped.
func (j *File) add(r apply.Record) {
	for i := len(j.runs) - 1; i >= 0; i-- {
		if j.runs[i].Plan.Digest == r.Plan {
			j.runs[i].Records = append(j.runs[i].Records, r)
			return
		}
	}
}

// unfinished gives the last run if it is not closed.
func (j *File) unfinished() (apply.Run, bool) {
	if len(j.runs) == 0 || j.runs[len(j.runs)-1].Closed() {
		return apply.Run{}, false
	}
	return j.runs[len(j.runs)-1], true
}

// Open implements apply.Journal.
func (j *File) Open(ctx context.Context, p plan.Plan) (attempt int, err error) {
	begun, unfinished := j.unfinished()
	if unfinished && begun.Plan.Digest != p.Digest {
		return 0, &apply.UnfinishedError{Unfinished: begun.Plan.Digest, Wanted: p.Digest}
	}
	if !unfinished {
		if err := j.write(line{Open: &p}); err != nil {
			return 0, err
		}
		j.begin(p)
	}
	return begun.Attempts() + 1, nil
}

// Append implements apply.Journal.
func (j *File) Append(ctx context.Context, r apply.Record) error {
	if err := j.write(line{Record: &r}); err != nil {
		return err
	}
	j.add(r)
	return nil
}

func (j *File) write(l line) error {
	if j.f == nil {
		return errors.New("this journal was opened to be read only")
	}
	raw, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	raw = append(raw, '\n')
	if _, err := j.f.WriteAt(raw, j.end); err != nil {
		// A full disk leaves half a line; the next write goes over it.
		return errors.Join(err, j.f.Truncate(j.end))
	}
	j.end += int64(len(raw))
	return j.f.Sync()
}

// Unfinished implements apply.Journal.
func (j *File) Unfinished(context.Context) (plan.Plan, bool, error) {
	begun, unfinished := j.unfinished()
	return begun.Plan, unfinished, nil
}

// Runs implements apply.Journal. A file holds them all.
func (j *File) Runs(context.Context) ([]apply.Run, error) { return j.runs, nil }

// Close ends the use of the journal and gives its lock back.
func (j *File) Close() error {
	var errs []error
	if j.f != nil {
		errs = append(errs, j.f.Close())
		j.f = nil
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Unlock())
	}
	return errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the journal's folder: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
