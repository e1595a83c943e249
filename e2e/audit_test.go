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

// writes gives what the product wrote in c's namespace, in the order of time.
// Dry runs, refused writes and bookkeeping are not in it.
func (c cluster) writes(t testing.TB) []write {
	t.Helper()
	return slices.DeleteFunc(c.allWrites(t), write.isBookkeeping)
}

// bookkeeping gives what the product wrote besides its plans: the closed list
// of docs/bookkeeping.md.
func (c cluster) bookkeeping(t testing.TB) []write {
	t.Helper()
	return slices.DeleteFunc(c.allWrites(t), func(w write) bool { return !w.isBookkeeping() })
}

func (c cluster) allWrites(t testing.TB) []write {
	t.Helper()
	out, err := box.writes(t.Context(), c.namespace)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w write) isBookkeeping() bool {
	return slices.Contains([]string{"create configmaps", "update configmaps", "create leases", "update leases", "delete leases", "create events"}, w.Verb+" "+w.Resource)
}

// writesOf is writes narrowed to a pool: to its MachineDeployment and to the
// templates named after it.
func (c cluster) writesOf(t testing.TB, pool string) []write {
	t.Helper()
	return slices.DeleteFunc(c.writes(t), func(w write) bool { return w.Name != pool && !strings.HasPrefix(w.Name, pool+"-") })
}

func (s *sandbox) writes(ctx context.Context, namespace string) ([]write, error) {
	if err := s.auditBarrier(ctx, namespace); err != nil {
		return nil, err
	}
	type event struct {
		Verb       string `json:"verb"`
		RequestURI string `json:"requestURI"`
		UserAgent  string `json:"userAgent"`
		ObjectRef  struct{ Resource, Namespace, Name string }
		Response   struct{ Code int } `json:"responseStatus"`
	}
	var out []write
	err := s.audit(func(line []byte) error {
		if !bytes.Contains(line, []byte(`"userAgent":"nodepool/`)) {
			return nil
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		if strings.HasPrefix(e.UserAgent, "nodepool/") && e.ObjectRef.Namespace == namespace &&
			e.Response.Code/100 == 2 && !strings.Contains(e.RequestURI, "dryRun=") {
			out = append(out, write{e.Verb, e.ObjectRef.Resource, e.ObjectRef.Name})
		}
		return nil
	})
	return out, err
}

// auditBarrier returns once the audit log holds all that was answered before
// it was called: it makes a write of its own and waits until that is there.
func (s *sandbox) auditBarrier(ctx context.Context, namespace string) error {
	mark := fmt.Sprintf("audit-barrier-%d", time.Now().UnixNano())
	_, err := s.client.Resource(configMaps).Namespace(namespace).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": mark},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		found := false
		err := s.audit(func(line []byte) error {
			found = found || bytes.Contains(line, []byte(mark))
			return nil
		})
		return found, err
	})
}

// audit gives every line of the audit log to each, the rotated files first.
func (s *sandbox) audit(each func(line []byte) error) error {
	files, err := filepath.Glob(filepath.Join(s.dir, "logs", "audit-*.log"))
	if err != nil {
		return err
	}
	slices.Sort(files) // their names hold the time
	for _, file := range append(files, filepath.Join(s.dir, "logs", "audit.log")) {
		if err := lines(file, each); err != nil {
			return err
		}
	}
	return nil
}

func lines(file string, each func(line []byte) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := bufio.NewReaderSize(f, 1<<16); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what is left is a line that is still being written
		}
		if err != nil {
			return err
		}
		if err := each(line); err != nil {
			return err
		}
	}
}
