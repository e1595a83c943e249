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
	"slices"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"nodepool/apply"
	"nodepool/plan"
)

// File is a journal in a local file: one JSON object a line, appended and
// synced, readable by its owner alone. Lines are of two kinds: one holds a
// whole plan, as it was opened, the others hold a record each. A last line
// that a crash cut off is passed over and overwritten. Runs that are too old
// to be kept go when a new one begins.
//
// A File holds an advisory lock (flock) on its path from OpenFile to Close,
// so that two runs on one machine cannot write it at once.
type File struct {
	path string
	f    *os.File
	lock *flock.Flock

	end  int64 // behind the last whole line
	runs runs
}

var _ apply.Journal = (*File)(nil)

// maxFile is the size above which the file is written anew, without what a
// journal does not keep.
const maxFile = 8 << 20

// CorruptError says that a journal cannot be read.
type CorruptError struct {
	// Where is a file and line, or a ConfigMap.
	Where string
	// Away says how to put it aside.
	Away string
	Err  error
}

// Error tells the cause, which is not unwrapped: what is to be done about a plan
// that was damaged does not help where it stands in a journal.
func (e *CorruptError) Error() string {
	why := e.Err.Error()
	var file *plan.FileError
	if errors.As(e.Err, &file) {
		why = file.Why
	}
	return fmt.Sprintf("%s: this journal is damaged (%s); %s to go on: it is a record only, what is left to do is read from the cluster",
		e.Where, why, e.Away)
}

// line is one line of the file: a plan with the number of its run, or a
// record.
type line struct {
	Open   *plan.Plan    `json:"open,omitempty"`
	Number int           `json:"number,omitempty"`
	Record *apply.Record `json:"record,omitempty"`
}

// OpenFile opens or makes the journal at path, with its folders, and locks
// it. It gives an *apply.JournalLockedError when another process holds it and a
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
		h, _, _ := FileHolder(path) // for people
		return nil, &apply.JournalLockedError{Path: path, Holder: h}
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

// Sign writes who holds the journal into the file that the lock is on, for
// others to be told. The lock itself is the kernel's.
func (j *File) Sign(h apply.Holder) error {
	now := time.Now().UTC().Truncate(time.Second)
	if h.Since.IsZero() {
		h.Since = now
	}
	raw, err := json.Marshal(signed{h, self()})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if err := os.WriteFile(j.path+".lock", append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write who holds the journal: %w", err)
	}
	return nil
}

// FileHolder gives who holds the journal at path, as they wrote it down; false
// when nobody does. A process that was killed is known to be dead where the
// system tells that, as Linux does.
func FileHolder(path string) (apply.Holder, bool, error) {
	raw, err := os.ReadFile(path + ".lock")
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(raw) == 0 {
		return apply.Holder{}, false, nil
	}
	if err != nil {
		return apply.Holder{}, false, fmt.Errorf("read who holds the journal: %w", err)
	}
	var h signed
	if json.Unmarshal(raw, &h) != nil || h.dead() {
		return apply.Holder{}, false, nil //nolint:nilerr // cut off, or left behind: nobody holds it
	}
	return h.Holder, true, nil
}

var _ apply.Lock = (*File)(nil)

// Acquire implements apply.Lock. The journal is locked as long as it is open, on
// this machine alone; what is added is who holds it now, for which plan.
func (j *File) Acquire(_ context.Context, _ []plan.Ref, h apply.Holder) (apply.Held, error) {
	return heldFile{}, j.Sign(h)
}

// heldFile is a lock that cannot be lost before its process ends.
type heldFile struct{}

// Lost implements apply.Held.
func (heldFile) Lost() <-chan struct{} { return nil }

// Check implements apply.Held.
func (heldFile) Check(context.Context, plan.Ref) error { return nil }

// Release implements apply.Held: Close gives the lock back.
func (heldFile) Release(context.Context) error { return nil }

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
			return 0, &CorruptError{Where: fmt.Sprintf("%s:%d", j.path, n), Away: "move it away", Err: err}
		}
		end += int64(len(text))
	}
}

func (j *File) take(text []byte) error {
	var l struct {
		Open   json.RawMessage `json:"open"`
		Number int             `json:"number"`
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
		j.runs.begin(p)
		if last := &j.runs[len(j.runs)-1]; l.Number > 0 {
			last.Number = l.Number
		}
	case l.Record != nil:
		j.runs.add(*l.Record)
	default:
		return errors.New("neither a plan nor a record")
	}
	return nil
}

// Open implements apply.Journal.
func (j *File) Open(ctx context.Context, p plan.Plan, first ...apply.Record) (attempt int, err error) {
	next := slices.Clone(j.runs)
	attempt, began, err := next.open(p)
	if err != nil {
		return 0, err
	}
	first = numbered(first, attempt)
	var added []line
	if began {
		added = append(added, line{Open: &p, Number: next[len(next)-1].Number})
	}
	for i := range first {
		added = append(added, line{Record: &first[i]})
		next.add(first[i])
	}
	if len(next) > keepRuns || j.end > maxFile {
		return attempt, j.rewrite(next)
	}
	if err := j.write(added...); err != nil {
		return 0, err
	}
	j.runs = next
	return attempt, nil
}

// Append implements apply.Journal.
func (j *File) Append(ctx context.Context, all ...apply.Record) error {
	var added []line
	for i := range all {
		added = append(added, line{Record: &all[i]})
	}
	if err := j.write(added...); err != nil {
		return err
	}
	for _, r := range all {
		j.runs.add(r)
	}
	if j.end > maxFile {
		return j.rewrite(slices.Clone(j.runs))
	}
	return nil
}

// rewrite writes those of all that a journal keeps to the file, whole or not
// at all.
func (j *File) rewrite(all runs) error {
	all = all.recent()
	var text bytes.Buffer
	for i := range all {
		all[i].Records = lighten(all[i].Records, maxRecords)
		if err := encode(&text, line{Open: &all[i].Plan, Number: all[i].Number}); err != nil {
			return err
		}
		for _, r := range all[i].Records {
			if err := encode(&text, line{Record: &r}); err != nil {
				return err
			}
		}
	}
	if j.f == nil {
		return errReadOnly
	}
	if err := renameio.WriteFile(j.path, text.Bytes(), 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	old := j.f
	j.f, j.end, j.runs = f, int64(text.Len()), all
	return errors.Join(old.Close(), syncDir(filepath.Dir(j.path)))
}

var errReadOnly = errors.New("this journal was opened to be read only")

func encode(w io.Writer, l line) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = w.Write(append(raw, '\n'))
	return err
}

func (j *File) write(all ...line) error {
	if j.f == nil {
		return errReadOnly
	}
	var raw bytes.Buffer
	for _, l := range all {
		if err := encode(&raw, l); err != nil {
			return err
		}
	}
	if _, err := j.f.WriteAt(raw.Bytes(), j.end); err != nil {
		// A full disk leaves half a line; the next write goes over it.
		return errors.Join(err, j.f.Truncate(j.end))
	}
	j.end += int64(raw.Len())
	return j.f.Sync()
}

// Unfinished implements apply.Journal.
func (j *File) Unfinished(context.Context) (plan.Plan, bool, error) {
	begun, unfinished := j.runs.unfinished()
	return begun.Plan, unfinished, nil
}

// Runs implements apply.Journal.
func (j *File) Runs(context.Context) ([]apply.Run, error) { return j.runs, nil }

// Close ends the use of the journal and gives its lock back.
func (j *File) Close() error {
	var errs []error
	if j.f != nil {
		errs = append(errs, j.f.Close())
		j.f = nil
	}
	if j.lock != nil {
		if j.lock.Locked() {
			errs = append(errs, os.Truncate(j.path+".lock", 0))
		}
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
