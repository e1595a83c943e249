package offline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"nodepool/plan"
)

// Open reads manifests: a file, or all files of a folder and its subfolders
// that end in .yaml, .yml or .json, or stdin when path is "-". Files whose
// name begins with a dot are left out. Each holds any number of YAML
// documents or JSON values, and each of those an object or a list of objects
// (kind List, or MachineList and the like).
//
// The errors of all files are told at once, with file and line: what cannot
// be read, what is no object, and an object that is there twice in different
// API versions or states.
func Open(path string, stdin io.Reader) (*Cluster, error) {
	if path == "-" {
		data, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read manifests from standard input: %w", err)
		}
		return parse("standard input", []file{{"standard input", data}})
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		return parse(path, []file{{path, data}})
	}
	var files []file
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != path && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case entry.IsDir() || !isManifest(entry.Name()):
			return nil
		}
		data, err := os.ReadFile(name)
		files = append(files, file{name, data})
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read manifests: %w", err)
	case len(files) == 0:
		return nil, fmt.Errorf("the folder %s holds no manifests: no file in it ends in .yaml, .yml or .json", path)
	}
	return parse(path, files)
}

func isManifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

type file struct {
	name string
	data []byte
}

func parse(path string, files []file) (*Cluster, error) {
	c := &Cluster{path: path, objects: map[plan.Ref]manifest{}, looked: map[schema.GroupKind]bool{}}
	var problems []error
	for _, f := range files {
		for _, d := range documents(f) {
			problems = append(problems, c.document(d)...)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	c.sort()
	return c, nil
}

// document is one YAML document or JSON value.
type document struct {
	place place
	data  []byte
}

// documents splits a file. A line that begins with --- can only be a
// separator: what YAML quotes over several lines is indented.
func documents(f file) []document {
	data := bytes.TrimPrefix(f.data, []byte("\ufeff"))
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && first[0] == '{' {
		if out, ok := values(f.name, data); ok {
			return out
		}
	}
	var out []document
	var current []byte
	start := 1
	flush := func(next int) {
		if len(bytes.TrimSpace(current)) > 0 {
			out = append(out, document{place{f.name, start}, current})
		}
		current, start = nil, next
	}
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		if !isSeparator(line) {
			current = append(current, line...)
			continue
		}
		flush(i + 1)
		// What stands behind the separator belongs to the document, and the
		// line is kept so that lines count right.
		current = append(current, bytes.Replace(line, []byte("---"), []byte("   "), 1)...)
	}
	flush(0)
	return out
}

func isSeparator(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n"))
}

// values splits a stream of JSON values; false when it is none.
func values(name string, data []byte) ([]document, bool) {
	var out []document
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		switch err := dec.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return out, true
		case err != nil:
			return nil, false
		}
		end := int(dec.InputOffset())
		line := 1 + bytes.Count(data[:end-len(raw)], []byte("\n"))
		out = append(out, document{place{name, line}, raw})
	}
}

var yamlLine = regexp.MustCompile(`\bline ([0-9]+)`)

func (c *Cluster) document(d document) []error {
	raw := d.data
	var err error
	if !json.Valid(raw) { // which takes a tenth of the time
		raw, err = yaml.YAMLToJSONStrict(raw)
	}
	if err != nil {
		words := strings.Join(strings.Fields(err.Error()), " ")
		at := d.place
		if m := yamlLine.FindStringSubmatch(words); m != nil {
			n, _ := strconv.Atoi(m[1])
			at.line += n - 1
		}
		words = yamlLine.ReplaceAllString(words, "")
		for _, preamble := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors: ", ": "} {
			words = strings.TrimPrefix(words, preamble)
		}
		return []error{fmt.Errorf("%s: this is neither YAML nor JSON: %s", at, words)}
	}
	var tree any
	if err := utiljson.Unmarshal(raw, &tree); err != nil {
		return []error{fmt.Errorf("%s: this cannot be read: %w", d.place, err)}
	}
	if tree == nil {
		return nil // nothing but comments
	}
	return c.tree(tree, d.place, "", "")
}

// tree takes up an object, or the objects of a list. apiVersion and kind are
// what an item of a typed list may leave out.
func (c *Cluster) tree(tree any, at place, apiVersion, kind string) []error {
	m, ok := tree.(map[string]any)
	if !ok {
		return []error{fmt.Errorf("%s: this is no object of Kubernetes; give what kubectl get -o yaml prints", at)}
	}
	obj := &unstructured.Unstructured{Object: m}
	if kind != "" && obj.GetAPIVersion() == "" && obj.GetKind() == "" {
		obj.SetAPIVersion(apiVersion)
		obj.SetKind(kind)
	}
	if items, ok := m["items"].([]any); ok && strings.HasSuffix(obj.GetKind(), "List") {
		var problems []error
		for i, item := range items {
			inside := at
			inside.file = fmt.Sprintf("%s: items[%d]", at, i)
			inside.line = 0
			problems = append(problems, c.tree(item, inside, obj.GetAPIVersion(), strings.TrimSuffix(obj.GetKind(), "List"))...)
		}
		return problems
	}
	if _, err := schema.ParseGroupVersion(obj.GetAPIVersion()); err != nil || obj.GetAPIVersion() == "" || obj.GetKind() == "" {
		return []error{fmt.Errorf("%s: this is no object of Kubernetes: it has no apiVersion and kind; give what kubectl get -o yaml prints", at)}
	}
	if obj.GetKind() == contentsKind && strings.HasPrefix(obj.GetAPIVersion(), "nodepool/") {
		return c.contents(obj, at)
	}
	if obj.GetName() == "" {
		if strings.HasSuffix(obj.GetKind(), "List") || obj.GetKind() == "NodePoolUpgrade" || obj.GetKind() == "Kustomization" {
			return nil // an empty list, or a file that merely lies there
		}
		return []error{fmt.Errorf("%s: this %s has no metadata.name; give what kubectl get -o yaml prints", at, obj.GetKind())}
	}
	if err := c.add(obj, at); err != nil {
		return []error{err}
	}
	return nil
}

// contents takes up what a snapshot says of itself.
func (c *Cluster) contents(obj *unstructured.Unstructured, at place) []error {
	if obj.GetAPIVersion() != contentsVersion {
		return []error{fmt.Errorf("%s: this snapshot is of the form %s, and this release of nodepool reads %s; take it again", at, obj.GetAPIVersion(), contentsVersion)}
	}
	kinds, _, err := unstructured.NestedStringSlice(obj.Object, "kinds")
	if err != nil {
		return []error{fmt.Errorf("%s: the kinds of this snapshot cannot be read; take it again", at)}
	}
	if lacks, _, err := unstructured.NestedBool(obj.Object, lacksManagers); err != nil {
		return []error{fmt.Errorf("%s: %s of this snapshot is neither true nor false; take it again", at, lacksManagers)}
	} else if lacks {
		c.lacksManagers = true
	}
	for _, k := range kinds {
		c.looked[schema.ParseGroupKind(k)] = true
	}
	return nil
}

func equal(a, b *unstructured.Unstructured) bool { return reflect.DeepEqual(a.Object, b.Object) }
