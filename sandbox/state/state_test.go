package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSaveThenLoad(t *testing.T) {
	dir := Dir(t.TempDir())
	if _, err := Load(dir); !errors.Is(err, ErrNoState) {
		t.Fatalf("Load of an empty directory: %v, want ErrNoState", err)
	}
	want := State{ClusterAPI: "v1.13.4", PortBase: 20400, Installed: "sha256:x", Seeded: true}
	if err := Save(dir, &want); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if *got != want {
		t.Errorf("Load = %+v, want %+v", *got, want)
	}
	entries, err := os.ReadDir(string(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("Save left %v (%v), want the state file alone", entries, err)
	}
}

func TestLoadRefusesWhatItCannotTrust(t *testing.T) {
	for name, content := range map[string]string{
		"half-written":  `{"format": 1, "portBa`,
		"empty":         ``,
		"future format": `{"format": 2, "portBase": 20000}`,
		"foreign ports": `{"format": 1, "portBase": 80}`,
		"between":       `{"format": 1, "portBase": 20001}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := Dir(t.TempDir())
			if err := os.WriteFile(dir.StateFile(), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(dir)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("Load = %v, want a CorruptError", err)
			}
			if !strings.Contains(err.Error(), "sandbox reset --dir "+string(dir)) {
				t.Errorf("%q does not say what to do", err)
			}
		})
	}
}

func TestLoadRefusesDataWithoutState(t *testing.T) {
	dir := Dir(t.TempDir())
	if err := os.Mkdir(dir.Etcd(), 0o700); err != nil {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	if _, err := Load(dir); !errors.As(err, &corrupt) {
		t.Errorf("Load = %v, want a CorruptError", err)
	}
}

func TestRunFile(t *testing.T) {
	dir := Dir(t.TempDir())
	want := Run{Phase: Ready, Components: []Component{{Name: "etcd", State: "running", Process: Process{PID: 1, Start: 2}}}}
	if err := SaveRun(dir, &want); err != nil {
		t.Fatal(err)
	}
	got, err := LoadRun(dir)
	if err != nil || got.Phase != Ready || len(got.Components) != 1 || got.Components[0].Process != want.Components[0].Process {
		t.Errorf("LoadRun = %+v, %v", got, err)
	}
}

func TestLockIsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if Locked(path) {
		t.Error("a lock nobody made is held")
	}
	l, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second TryLock = %v, want ErrLocked", err)
	}
	if !Locked(path) {
		t.Error("Locked = false while the lock is held")
	}
	l.Unlock()
	if Locked(path) {
		t.Error("Locked = true after Unlock")
	}
}
