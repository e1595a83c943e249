// Package state knows what a sandbox leaves on disk: where its files are, which
// ports it holds, and which processes it started.
package state

import (
	"os"
	"path/filepath"
)

// Dir is the directory of one sandbox. Every path of the sandbox derives from
// it, so two sandboxes with two directories share nothing.
type Dir string

// DefaultDir is the directory used when the user names none.
func DefaultDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "nodepool-sandbox")
}

// Kubeconfig is the administrator's kubeconfig.
func (d Dir) Kubeconfig() string { return d.join("kubeconfig") }

// AuditLog is where kube-apiserver records writes.
func (d Dir) AuditLog() string { return d.join("logs", "audit.log") }

// Log is the log of one component.
func (d Dir) Log(component string) string { return d.join("logs", component+".log") }

// Logs is the directory of all logs.
func (d Dir) Logs() string { return d.join("logs") }

// PKI is the directory of certificates, keys and the components' kubeconfigs.
func (d Dir) PKI() string { return d.join("pki") }

// Etcd is etcd's data directory.
func (d Dir) Etcd() string { return d.join("etcd") }

// StateFile holds what survives a stop: ports, release, what is installed.
func (d Dir) StateFile() string { return d.join("state.json") }

// RunFile holds what is true while a supervisor runs: processes and progress.
func (d Dir) RunFile() string { return d.join("run.json") }

// Stopped is the marker that keeps a component down until it is removed.
func (d Dir) Stopped(component string) string { return d.join("stopped", component) }

// RunLock is held by the supervisor for as long as it lives.
func (d Dir) RunLock() string { return d.join("run.lock") }

// CommandLock serialises up, down and reset.
func (d Dir) CommandLock() string { return d.join("command.lock") }

func (d Dir) join(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// Create makes the directories. They are private: the kubeconfigs inside give
// full control of the sandbox.
func (d Dir) Create() error {
	for _, dir := range []string{string(d), d.Logs(), d.PKI(), d.join("stopped")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}
