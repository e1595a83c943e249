// Command gen prepares a build of the sandbox in .build: the manifests of the
// upstream modules in one file, and a copy of the one module that has to differ
// from its release, with the go.mod that uses the copy. It runs in the folder
// of the sandbox module and reads the module cache; nothing of it is committed.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const buildDir = ".build"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	mods, err := findModules()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(buildDir, 0o755); err != nil {
		return err
	}
	bundle, err := collectManifests(mods)
	if err != nil {
		return err
	}
	crds := 0
	for _, c := range bundle.Components {
		crds += len(c.CRDs)
	}
	if err := writeBundle(filepath.Join(buildDir, "manifests.json.gz"), bundle); err != nil {
		return err
	}
	fmt.Printf("gen: %d custom resource definitions of %d components\n", crds, len(bundle.Components))

	files, err := copyPatched(mods[testModule], filepath.Join(buildDir, "cluster-api-test"))
	if err != nil {
		return err
	}
	fmt.Printf("gen: %d files of %s copied and patched\n", files, testModule)
	return writeModFile("go.mod", "go.sum", buildDir)
}
