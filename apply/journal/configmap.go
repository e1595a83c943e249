package journal

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"nodepool/apply"
	"nodepool/plan"
)

// ConfigMap is the journal of one upgrade in a ConfigMap. Every change is one
// update bound to the resourceVersion that was read: where somebody else wrote
// meanwhile, it is read and merged again. Its methods may be called from
// several goroutines.
type ConfigMap struct {
	store   *InCluster
	upgrade string
	name    string

	mu sync.Mutex
	// seen is the ConfigMap as it was read or written last; nil when it must
	// be read.
	seen *corev1.ConfigMap
	// late are notes that could not be written yet.
	late []apply.Record
	// prepared is the plan that Open is about to be given, and packs gives how it
	// is kept; nil when there is none.
	prepared plan.Plan
	packs    func() []byte
}

var _ apply.Journal = (*ConfigMap)(nil)

// The content of a journal's ConfigMap: a plan and its records under the
// number of their run.
const (
	formatKey  = "format"
	upgradeKey = "upgrade"
	clusterKey = "cluster"
	format     = "1"
	planKey    = "plan-"    // + number; JSON, gzip
	recordsKey = "records-" // + number; JSON lines, or gzip of them
)

const (
	// maxConfigMap bounds the values of a ConfigMap, in bytes. The server's
	// limit is 1 MiB (ValidateConfigMap in pkg/apis/core/validation of
	// Kubernetes), and some is left for what others may add.
	maxConfigMap = 900 << 10
	// maxPlain is the size above which records are compressed.
	maxPlain = 64 << 10
	// maxUnpacked bounds what compressed data may become.
	maxUnpacked = 64 << 20
)

// FormatError says that a journal is of a newer nodepool.
type FormatError struct{ Where, Format string }

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: this journal has the format %q, which is of a newer nodepool; use that one, or keep the record elsewhere with --journal file:PATH",
		e.Where, e.Format)
}

// SizeError says that a plan is too large to be kept in the cluster.
type SizeError struct {
	Where string
	Size  int // in bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s: this plan needs %d KiB, and a ConfigMap holds %d; keep the record elsewhere with --journal file:PATH, or upgrade fewer pools at a time with --pool",
		e.Where, e.Size>>10, maxConfigMap>>10)
}

// Journal gives the journal of an upgrade of the Cluster. It sends no request.
func (s *InCluster) Journal(upgrade string) *ConfigMap {
	return &ConfigMap{store: s, upgrade: upgrade, name: configMapName(s.cluster.Name, upgrade)}
}

// configMapName gives a name within 253 characters that no other upgrade of
// any cluster has. Both parts may hold hyphens and dots, so that only the hash
// of both tells them apart.
func configMapName(cluster, upgrade string) string {
	sum := sha256.Sum256([]byte(cluster + "\x00" + upgrade))
	const prefix, hash = "nodepool-", 16
	readable := cluster + "-" + upgrade
	readable = strings.TrimRight(readable[:min(len(readable), 253-len(prefix)-1-hash)], "-.")
	return prefix + readable + "-" + hex.EncodeToString(sum[:])[:hash]
}

// book is what a ConfigMap holds.
type book struct {
	runs runs
	// plans are the plans as they are kept, by the number of their run.
	plans map[int][]byte
}

// plans are the plans of journals by the bytes that hold them. To read one takes
// longer than any request, and each record is added to a journal that was read
// anew.
type plans struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]plan.Plan
}

// maxPlans bounds how many plans are held: the runs of some upgrades.
const maxPlans = 4 * keepRuns

// read gives the plan that these bytes hold. Nobody may change what it refers to.
func (ps *plans) read(packed []byte) (plan.Plan, error) {
	key := sha256.Sum256(packed)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p, known := ps.all[key]; known {
		return p, nil
	}
	raw, err := unpack(packed)
	if err != nil {
		return plan.Plan{}, err
	}
	p, err := plan.Read(raw)
	if err != nil {
		return plan.Plan{}, err
	}
	if ps.all == nil || len(ps.all) >= maxPlans {
		ps.all = map[[sha256.Size]byte]plan.Plan{}
	}
	ps.all[key] = p
	return p, nil
}

// read takes a journal's ConfigMap apart. An empty name takes any.
func (s *InCluster) read(cm *corev1.ConfigMap, cluster, upgrade string) (book, error) {
	where := fmt.Sprintf("configmap %s/%s", cm.Namespace, cm.Name)
	corrupt := func(err error) (book, error) {
		return book{}, &CorruptError{Where: where, Err: err,
			Away: fmt.Sprintf("keep a copy and delete it (kubectl delete configmap -n %s %s)", cm.Namespace, cm.Name)}
	}
	switch f := cm.Data[formatKey]; {
	case f == "":
		return corrupt(errors.New("it does not say its format"))
	case f != format:
		return book{}, &FormatError{Where: where, Format: f}
	}
	if of := cm.Data[upgradeKey]; (cluster != "" && cm.Data[clusterKey] != cluster) || (upgrade != "" && of != upgrade) {
		return corrupt(fmt.Errorf("it is that of the upgrade %q of cluster %q", of, cm.Data[clusterKey]))
	}
	b := book{plans: map[int][]byte{}}
	for key, packed := range cm.BinaryData {
		digits, ok := strings.CutPrefix(key, planKey)
		if !ok {
			continue
		}
		number, err := strconv.Atoi(digits)
		if err != nil || number < 1 {
			return corrupt(fmt.Errorf("%s: there is no such run", key))
		}
		p, err := s.plans.read(packed)
		if err != nil {
			return corrupt(fmt.Errorf("%s: %w", key, err))
		}
		run := apply.Run{Upgrade: cm.Data[upgradeKey], Number: number, Plan: p}
		key = recordsKey + digits
		text := []byte(cm.Data[key])
		if packed, ok := cm.BinaryData[key]; ok {
			if text, err = unpack(packed); err != nil {
				return corrupt(fmt.Errorf("%s: %w", key, err))
			}
		}
		for dec, n := json.NewDecoder(bytes.NewReader(text)), 1; dec.More(); n++ {
			dec.DisallowUnknownFields()
			var r apply.Record
			if err := dec.Decode(&r); err != nil {
				return corrupt(fmt.Errorf("%s, record %d: %w", key, n, err))
			}
			run.Records = append(run.Records, r)
		}
		b.runs = append(b.runs, run)
		b.plans[number] = packed
	}
	slices.SortFunc(b.runs, func(x, y apply.Run) int { return x.Number - y.Number })
	return b, nil
}

// write puts b into cm, without what a journal does not keep.
func (b *book) write(cm *corev1.ConfigMap) error {
	b.runs = b.runs.recent()
	limit := maxRecords
	for {
		size, err := b.tryWrite(cm, limit)
		switch {
		case err != nil:
			return err
		case size <= maxConfigMap:
			return nil
		case len(b.runs) > 1:
			b.runs = b.runs[1:]
		case limit > 1<<10:
			limit /= 2
		default:
			return &SizeError{Where: fmt.Sprintf("configmap %s/%s", cm.Namespace, cm.Name), Size: size}
		}
	}
}

func (b *book) tryWrite(cm *corev1.ConfigMap, limit int) (size int, err error) {
	for key := range cm.Data {
		if strings.HasPrefix(key, recordsKey) {
			delete(cm.Data, key)
		}
	}
	for key := range cm.BinaryData {
		if strings.HasPrefix(key, recordsKey) || strings.HasPrefix(key, planKey) {
			delete(cm.BinaryData, key)
		}
	}
	for i := range b.runs {
		run := &b.runs[i]
		run.Records = lighten(run.Records, limit)
		if b.plans[run.Number] == nil {
			if b.plans[run.Number], err = packPlan(run.Plan); err != nil {
				return 0, err
			}
		}
		number := strconv.Itoa(run.Number)
		cm.BinaryData[planKey+number] = b.plans[run.Number]
		text, err := lines(run.Records)
		switch {
		case err != nil:
			return 0, err
		case len(text) <= maxPlain:
			cm.Data[recordsKey+number] = string(text)
		default:
			if cm.BinaryData[recordsKey+number], err = pack(text); err != nil {
				return 0, err
			}
		}
	}
	for _, v := range cm.Data {
		size += len(v)
	}
	for _, v := range cm.BinaryData {
		size += len(v)
	}
	return size, nil
}

func packPlan(p plan.Plan) ([]byte, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return pack(raw)
}

func pack(raw []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(raw)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes(), nil
}

func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err == nil && len(raw) > maxUnpacked {
		err = errors.New("it is larger than any journal")
	}
	return raw, errors.Join(err, r.Close())
}

// Prepare packs a plan that Open is about to be given and reads it back, as the
// first record behind the opening does, while the caller goes on. It sends no
// request and returns at once. What fails is told by Open.
func (j *ConfigMap) Prepare(p plan.Plan) {
	packs := sync.OnceValue(func() []byte {
		packed, err := packPlan(p)
		if err != nil {
			return nil
		}
		_, _ = j.store.plans.read(packed)
		return packed
	})
	j.mu.Lock()
	j.prepared, j.packs = p, packs
	j.mu.Unlock()
	go packs()
}

// Open implements apply.Journal.
func (j *ConfigMap) Open(ctx context.Context, p plan.Plan, first ...apply.Record) (attempt int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var sent []apply.Record
	err = j.change(ctx, j.store.patience(), func(b *book, again bool) (changed bool, err error) {
		if again && len(sent) > 0 && b.runs.has(sent[0]) {
			return false, nil // the reply was lost, not the write
		}
		if attempt, changed, err = b.runs.open(p); err != nil {
			return false, err
		}
		if changed && j.packs != nil && reflect.DeepEqual(p, j.prepared) {
			b.plans[b.runs[len(b.runs)-1].Number] = j.packs()
		}
		sent = numbered(first, attempt)
		for _, r := range sent {
			b.runs.add(r)
		}
		return changed || len(sent) > 0, nil
	})
	return attempt, err
}

// numbered gives the records of an attempt.
func numbered(records []apply.Record, attempt int) []apply.Record {
	out := slices.Clone(records)
	for i := range out {
		out[i].Attempt = attempt
	}
	return out
}

// maxLate bounds the notes that are kept for later.
const maxLate = 100

// isNote reports whether a record is for people alone, and may come late.
func isNote(r apply.Record) bool { return r.Phase == apply.Noted || r.Phase == apply.Seen }

// Append implements apply.Journal. It is durable when the server has answered,
// which is waited for. Notes are tried once and, when the server does not
// answer, written with the next record: most notes are about just that.
func (j *ConfigMap) Append(ctx context.Context, records ...apply.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	patience := j.store.patience()
	notes := !slices.ContainsFunc(records, func(r apply.Record) bool { return !isNote(r) })
	if notes {
		patience = 0
	}
	all := slices.Concat(j.late, records)
	err := j.change(ctx, patience, func(b *book, again bool) (changed bool, err error) {
		for _, r := range all {
			if again && b.runs.has(r) {
				continue // the reply was lost, not the write
			}
			b.runs.add(r)
			changed = true
		}
		return changed, nil
	})
	switch {
	case err == nil:
		j.late = nil
	case notes && len(all) <= maxLate:
		j.late = all
	}
	return err
}

// Unfinished implements apply.Journal.
func (j *ConfigMap) Unfinished(ctx context.Context) (plan.Plan, bool, error) {
	b, err := j.look(ctx)
	begun, unfinished := b.runs.unfinished()
	return begun.Plan, unfinished, err
}

// Runs implements apply.Journal.
func (j *ConfigMap) Runs(ctx context.Context) ([]apply.Run, error) {
	b, err := j.look(ctx)
	return b.runs, err
}

// look reads the journal anew.
func (j *ConfigMap) look(ctx context.Context) (b book, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = nil
	err = j.store.insist(ctx, readPatience, func(ctx context.Context) (err error) {
		b, err = j.current(ctx)
		return err
	})
	if err != nil {
		return book{}, j.said("get", err)
	}
	return b, nil
}

// current gives the journal as it was seen last, and reads it where it was not.
func (j *ConfigMap) current(ctx context.Context) (book, error) {
	if j.seen == nil {
		cm, err := j.store.core.ConfigMaps(j.store.cluster.Namespace).Get(ctx, j.name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			cm = j.blank()
		case err != nil:
			return book{}, err
		}
		j.seen = cm
	}
	return j.store.read(j.seen, j.store.cluster.Name, j.upgrade)
}

// blank is a journal without a run that is not in the cluster yet.
func (j *ConfigMap) blank() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: j.store.cluster.Namespace, Name: j.name},
		Data:       map[string]string{formatKey: format, upgradeKey: j.upgrade, clusterKey: j.store.cluster.Name},
	}
}

// change makes one change and writes it. The change is made again, on what is
// there then, when somebody else wrote meanwhile or it is not known whether it
// was written.
func (j *ConfigMap) change(ctx context.Context, patience time.Duration, edit func(b *book, again bool) (changed bool, err error)) error {
	again := false
	verb := "get"
	raced := func(err error) bool {
		return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || (verb == "update" && apierrors.IsNotFound(err))
	}
	err := j.store.insist(ctx, patience, func(ctx context.Context) error {
		err := retry.OnError(retry.DefaultBackoff, raced, func() error {
			verb = "get"
			b, err := j.current(ctx)
			if err != nil {
				return err
			}
			changed, err := edit(&b, again)
			if err != nil || !changed {
				return err
			}
			again = true
			next := j.seen.DeepCopy()
			if next.BinaryData == nil {
				next.BinaryData = map[string][]byte{}
			}
			if err := b.write(next); err != nil {
				return err
			}
			j.store.cluster.label(next, journalLabel)
			j.store.cluster.own(next)
			client := j.store.core.ConfigMaps(next.Namespace)
			if next.ResourceVersion == "" {
				verb = "create"
				next, err = client.Create(ctx, next, metav1.CreateOptions{FieldManager: manager})
			} else {
				verb = "update"
				next, err = client.Update(ctx, next, metav1.UpdateOptions{FieldManager: manager})
			}
			switch {
			case err == nil:
				j.seen = next
			case verb == "update" && apierrors.IsNotFound(err):
				// Deleted behind our back: what was seen goes into a new one.
				j.seen.ResourceVersion, j.seen.UID, j.seen.ManagedFields = "", "", nil
			default:
				j.seen = nil
			}
			return err
		})
		if err != nil && raced(err) {
			// Many write it at once: a pause, and again. Without its status, it
			// is no answer.
			return fmt.Errorf("others write it all the time: %v", err) //nolint:errorlint // see above
		}
		return err
	})
	if err != nil {
		return j.said(verb, err)
	}
	return nil
}

// manager is the field manager of what is written.
const manager = "nodepool"

func (j *ConfigMap) said(verb string, err error) error {
	if answered(err) && !isStatus(err) {
		return err // of our own, with its place
	}
	return j.store.said(verb, "configmaps", j.name, err)
}

func isStatus(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}
