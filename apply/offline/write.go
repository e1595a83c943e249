package offline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/renameio/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"nodepool/plan"
	"nodepool/plan/capi"
)

const header = "# Captured by nodepool snapshot. Secrets are sealed: nothing can be made from this.\n"

// A snapshot says of itself which kinds were looked up, so that one of which
// there is no object is told from one that nobody asked for; and whether it was
// made from manifests without managed fields, which tell nothing of who manages them.
const contentsVersion, contentsKind, lacksManagers = "nodepool/v1alpha1", "Snapshot", "lacksManagedFields"

// contents gives what a file or folder of snap holds: what it says of itself,
// and its objects.
func contents(snap plan.Snapshot) []*unstructured.Unstructured {
	var kinds []any
	for _, ref := range snap.Kinds() {
		if ref.Kind != "" {
			kinds = append(kinds, schema.GroupKind{Group: ref.Group, Kind: ref.Kind}.String())
		}
	}
	if len(kinds) == 0 {
		return snap.Objects()
	}
	own := &unstructured.Unstructured{Object: map[string]any{"apiVersion": contentsVersion, "kind": contentsKind, "kinds": kinds}}
	if snap.LacksManagers() {
		own.Object[lacksManagers] = true
	}
	return append([]*unstructured.Unstructured{own}, snap.Objects()...)
}

// Write stores the objects of snap, which the caller has sealed, where Open
// finds them again: at a path that ends in .yaml, .yml or .json as one file;
// at any other as a folder of one file for each kind. The same snapshot gives
// the same bytes. All of it is there or nothing, for its owner alone: files
// have the mode 0600, a folder 0700. A file that exists is replaced, a folder
// that holds something is left as it is and an error.
func Write(path string, snap plan.Snapshot) error {
	if isManifest(path) {
		data, err := encode(contents(snap), strings.EqualFold(filepath.Ext(path), ".json"))
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(path, data, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
			return fmt.Errorf("save the snapshot: %w", err)
		}
		return nil
	}
	if err := writeFolder(filepath.Clean(path), snap); err != nil {
		return fmt.Errorf("save the snapshot: %w", err)
	}
	return nil
}

// WriteTo prints snap as one stream of YAML documents, as Write does.
func WriteTo(w io.Writer, snap plan.Snapshot) error {
	data, err := encode(contents(snap), false)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// writeFolder fills a folder beside path and renames it, which Linux and
// macOS do over a folder that is empty.
func writeFolder(path string, snap plan.Snapshot) (err error) {
	if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
		return fmt.Errorf("the folder %s holds something already and was left as it is; give another one, or remove it", path)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0700
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(temp)
		}
	}()
	var names []string
	byName := map[string][]*unstructured.Unstructured{}
	for _, o := range contents(snap) {
		name := fileName(o)
		if byName[name] == nil {
			names = append(names, name)
		}
		byName[name] = append(byName[name], o)
	}
	for _, name := range names {
		data, err := encode(byName[name], false)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(temp, name), data); err != nil {
			return err
		}
	}
	return os.Rename(temp, path)
}

func write(name string, data []byte) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

var unfitForName = regexp.MustCompile(`[^a-z0-9.-]+`)

// fileName gives machinedeployment.cluster.x-k8s.io.yaml. Manifests may give
// a kind any name, and none leads out of the folder.
func fileName(o *unstructured.Unstructured) string {
	ref := capi.RefOf(o)
	name := strings.ToLower(ref.Kind)
	if ref.Group != "" {
		name += "." + strings.ToLower(ref.Group)
	}
	return strings.TrimLeft(unfitForName.ReplaceAllString(name, "-"), ".") + ".yaml"
}

func encode(objects []*unstructured.Unstructured, asJSON bool) ([]byte, error) {
	if asJSON {
		items := make([]any, len(objects))
		for i, o := range objects {
			items[i] = o.Object
		}
		list := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "List", "items": items}}
		return list.MarshalJSON()
	}
	var b bytes.Buffer
	b.WriteString(header)
	for _, o := range objects {
		raw, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", capi.RefOf(o), err)
		}
		b.WriteString("---\n")
		b.Write(raw)
	}
	return b.Bytes(), nil
}
