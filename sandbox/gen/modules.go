package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

const (
	apiModule  = "sigs.k8s.io/cluster-api"
	testModule = "sigs.k8s.io/cluster-api/test"
	awsModule  = "sigs.k8s.io/cluster-api-provider-aws/v2"
)

// findModules downloads the modules whose files are read and returns their
// directories in the module cache.
func findModules() (map[string]string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", apiModule, testModule, awsModule)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	dirs := map[string]string{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var m struct{ Path, Dir, Error string }
		if decErr := dec.Decode(&m); errors.Is(decErr, io.EOF) {
			break
		} else if decErr != nil {
			return nil, errors.Join(err, decErr)
		}
		if m.Error != "" {
			return nil, fmt.Errorf("%s: %s", m.Path, m.Error)
		}
		dirs[m.Path] = m.Dir
	}
	if err != nil {
		return nil, fmt.Errorf("go mod download: %w", err)
	}
	for _, path := range []string{apiModule, testModule, awsModule} {
		if dirs[path] == "" {
			return nil, fmt.Errorf("go mod download named no directory for %s", path)
		}
	}
	return dirs, nil
}
