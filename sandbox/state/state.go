package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// formatVersion changes when an older sandbox could not read the state file.
const formatVersion = 1

// State is what a sandbox keeps over a stop.
type State struct {
	Format     int       `json:"format"`
	ClusterAPI string    `json:"clusterAPI"`
	CreatedAt  time.Time `json:"createdAt"`
	// PortBase is the first port of the sandbox's block. It never changes: the
	// endpoints of the workload clusters are stored in etcd.
	PortBase int `json:"portBase"`
	// Installed is the digest of the manifests in etcd, so that a second start
	// does not apply them again.
	Installed string `json:"installed,omitempty"`
	// Seeded says that the example was created once; a later up does not bring
	// back what the user deleted.
	Seeded bool `json:"seeded,omitempty"`
}

// ErrNoState is returned by Load when the directory holds no sandbox.
var ErrNoState = errors.New("no sandbox here")

// CorruptError says that a state file cannot be used.
type CorruptError struct {
	Path string
	Why  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s cannot be used: %s; `sandbox reset --dir %s` deletes this sandbox, `sandbox up` then makes a new one",
		e.Path, e.Why, filepath.Dir(e.Path))
}

// Load reads the state of the sandbox in dir.
func Load(dir Dir) (*State, error) {
	data, err := os.ReadFile(dir.StateFile())
	if errors.Is(err, fs.ErrNotExist) {
		// A data directory without a state file is what a crash in the middle
		// of a reset leaves. Starting on it would adopt unknown ports.
		if _, statErr := os.Stat(dir.Etcd()); statErr == nil {
			return nil, &CorruptError{Path: dir.StateFile(), Why: "it is missing but an etcd data directory is there"}
		}
		return nil, ErrNoState
	}
	if err != nil {
		return nil, err
	}
	s := &State{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, &CorruptError{Path: dir.StateFile(), Why: "half-written or not JSON: " + err.Error()}
	}
	if s.Format != formatVersion {
		return nil, &CorruptError{Path: dir.StateFile(), Why: fmt.Sprintf("format %d, this binary reads %d", s.Format, formatVersion)}
	}
	if !validBase(s.PortBase) {
		return nil, &CorruptError{Path: dir.StateFile(), Why: fmt.Sprintf("port base %d is not one of ours", s.PortBase)}
	}
	return s, nil
}

// Save writes the state in one step: a reader sees the old or the new file.
func Save(dir Dir, s *State) error {
	s.Format = formatVersion
	return writeJSON(dir.StateFile(), s)
}

// Phase is how far a supervisor has come.
type Phase string

// The phases of a supervisor.
const (
	Starting Phase = "starting"
	Ready    Phase = "ready"
	Stopping Phase = "stopping"
	Failed   Phase = "failed"
)

// Component is one process of a running sandbox.
type Component struct {
	Name     string  `json:"name"`
	State    string  `json:"state"` // running, stopped or restarting
	Process  Process `json:"process"`
	Port     int     `json:"port,omitempty"`
	Restarts int     `json:"restarts"`
	LastExit string  `json:"lastExit,omitempty"`
}

// Run is what the supervisor publishes while it lives.
type Run struct {
	Supervisor Process     `json:"supervisor"`
	Phase      Phase       `json:"phase"`
	Message    string      `json:"message,omitempty"`
	StartedAt  time.Time   `json:"startedAt"`
	Progress   []string    `json:"progress"`
	Components []Component `json:"components"`
}

// LoadRun reads what the supervisor published last. Whether that supervisor
// still lives is another question: see Locked.
func LoadRun(dir Dir) (*Run, error) {
	data, err := os.ReadFile(dir.RunFile())
	if err != nil {
		return nil, err
	}
	r := &Run{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, &CorruptError{Path: dir.RunFile(), Why: err.Error()}
	}
	return r, nil
}

// SaveRun publishes r.
func SaveRun(dir Dir, r *Run) error { return writeJSON(dir.RunFile(), r) }

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(append(data, '\n')); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
