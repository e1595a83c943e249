//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
)

// write is a write that the API server carried out for the product, by the
// server's own record of it.
type write struct{ Verb, Resource, Name string }

func (w write) String() string { return w.Verb + " " + w.Resource + " " + w.Name }

// isBookkeeping tells the closed list of docs/bookkeeping.md.
func (w write) isBookkeeping() bool {
	return slices.Contains([]string{"create configmaps", "update configmaps", "create leases", "update leases", "delete leases", "create events"}, w.Verb+" "+w.Resource)
}

// writes gives what the product wrote in c's namespace, in the order of time.
// Dry runs, refused writes and bookkeeping are not in it.
func (c cluster) writes(t testing.TB) []write {
	t.Helper()
	return slices.DeleteFunc(c.allWrites(t), write.isBookkeeping)
}

// bookkeeping gives what the product wrote besides its plans.
func (c cluster) bookkeeping(t testing.TB) []write {
	t.Helper()
	return slices.DeleteFunc(c.allWrites(t), func(w write) bool { return !w.isBookkeeping() })
}

func (c cluster) allWrites(t testing.TB) []write {
	t.Helper()
	return written(c.audited(t))
}

// written narrows a record to what the product wrote.
func written(all []audited) (out []write) {
	for _, a := range all {
		if a.product && a.carriedOut() {
			out = append(out, a.write)
		}
	}
	return out
}

// writesOf is writes narrowed to a pool: to its MachineDeployment and to the
// templates named after it.
func (c cluster) writesOf(t testing.TB, pool string) []write {
	t.Helper()
	return slices.DeleteFunc(c.writes(t), func(w write) bool { return w.Name != pool && !strings.HasPrefix(w.Name, pool+"-") })
}

// audited is a line of the audit log.
type audited struct {
	write
	// product tells whether it was the product, and not a controller or a test.
	product bool
	dryRun  bool
	code    int
	// sent is the body of a write of the product or of a test.
	sent json.RawMessage
}

func (a audited) carriedOut() bool { return a.code/100 == 2 && !a.dryRun }

// audited gives what was written in c's namespace so far, by anybody.
func (c cluster) audited(t testing.TB) []audited {
	t.Helper()
	out, err := box.audited(t.Context(), c.namespace)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *sandbox) audited(ctx context.Context, namespace string) ([]audited, error) {
	mark, err := s.markAudit(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var out []audited
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		if err := s.log.read(s.dir); err != nil {
			return false, err
		}
		out = s.log.of(namespace)
		return slices.ContainsFunc(out, func(a audited) bool { return a.Name == mark }), nil
	})
	return out, err
}

// markAudit makes a write, so that the audit log holds all that was answered
// before once it holds that.
func (s *sandbox) markAudit(ctx context.Context, namespace string) (name string, err error) {
	name = fmt.Sprintf("audit-barrier-%d", time.Now().UnixNano())
	_, err = s.client.Resource(configMaps).Namespace(namespace).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name},
	}}, metav1.CreateOptions{})
	return name, err
}

// auditLog follows the audit log of a sandbox, as it grows and is rotated.
type auditLog struct {
	mu      sync.Mutex
	file    *os.File
	lines   *bufio.Reader
	begun   []byte // a line that is still being written
	written map[string][]audited
}

// of gives what was written in a namespace.
func (l *auditLog) of(namespace string) []audited {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.written[namespace])
}

// read takes in what is new.
func (l *auditLog) read(dir string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := filepath.Join(dir, "logs", "audit.log")
	for {
		if l.file == nil {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			l.file, l.lines = f, bufio.NewReaderSize(f, 1<<16)
		}
		line, err := l.lines.ReadBytes('\n')
		l.begun = append(l.begun, line...)
		switch {
		case errors.Is(err, io.EOF):
			rotated, err := l.rotated(path)
			if err != nil || !rotated {
				return err
			}
		case err != nil:
			return err
		default:
			if err := l.take(l.begun); err != nil {
				return err
			}
			l.begun = l.begun[:0]
		}
	}
}

// rotated reports whether the file that was read to its end is no longer the
// one that is written to; it is closed then.
func (l *auditLog) rotated(path string) (bool, error) {
	at, err := l.file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && os.SameFile(at, now) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// What was written between the last look and the rotation is still to come.
	if end, err := l.file.Seek(0, io.SeekCurrent); err != nil || end < at.Size() {
		return err == nil, err
	}
	err = l.file.Close()
	l.file = nil
	return true, err
}

func (l *auditLog) take(line []byte) error {
	// Of the writes of controllers only these are asked for, and they are many.
	if !bytes.Contains(line, []byte(`"userAgent":"nodepool/`)) && !bytes.Contains(line, []byte("audit-barrier-")) &&
		!bytes.Contains(line, []byte(`"resource":"machinesets"`)) && !bytes.Contains(line, []byte(`"resource":"machines"`)) {
		return nil
	}
	var e struct {
		Verb       string `json:"verb"`
		RequestURI string `json:"requestURI"`
		UserAgent  string `json:"userAgent"`
		ObjectRef  struct{ Resource, Subresource, Namespace, Name string }
		Response   struct{ Code int } `json:"responseStatus"`
		Sent       json.RawMessage    `json:"requestObject"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	options := struct{ DryRun []string }{} // of a delete; other bodies have none at this place
	if e.Verb == "delete" && len(e.Sent) > 0 {
		if err := json.Unmarshal(e.Sent, &options); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	if e.ObjectRef.Namespace == "" || e.ObjectRef.Subresource != "" {
		return nil
	}
	if l.written == nil {
		l.written = map[string][]audited{}
	}
	l.written[e.ObjectRef.Namespace] = append(l.written[e.ObjectRef.Namespace], audited{
		write:   write{e.Verb, e.ObjectRef.Resource, e.ObjectRef.Name},
		product: strings.HasPrefix(e.UserAgent, "nodepool/"),
		dryRun:  strings.Contains(e.RequestURI, "dryRun=") || len(options.DryRun) > 0,
		code:    e.Response.Code,
		sent:    e.Sent,
	})
	return nil
}
