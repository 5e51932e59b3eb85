package lb

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

// Files that the data plane keeps in its folder, besides those of the daemon.
const (
	snapshotFile = "snapshot.json"
	keyFile      = "key" // 32 random bytes, for sticky cookies
)

// Saved is a snapshot with what became of it.
type Saved struct {
	Snapshot Snapshot `json:"snapshot"`
	Applied  Applied  `json:"applied"`
}

// savedFile is the content of snapshotFile.
type savedFile struct {
	Saved
	Bind map[string]string `json:"bind"` // by frontend: the address to open again
}

// ReadSnapshot reads the last applied snapshot from the folder of a data plane
// that may be dead. Without one the error wraps fs.ErrNotExist.
func ReadSnapshot(dir string) (Saved, error) {
	s, err := readSnapshot(dir)
	return s.Saved, err
}

// WriteSnapshot changes the saved snapshot of a data plane that does not run, so
// that it starts with that one. It fails while one runs.
func WriteSnapshot(dir string, s Snapshot) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	release, err := daemon.Claim(dir, time.Now())
	if err != nil {
		return err
	}
	defer release()
	saved, err := readSnapshot(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	saved.Snapshot, saved.Applied.Version = s, s.Version
	return saveSnapshot(dir, saved)
}

func readSnapshot(dir string) (savedFile, error) {
	b, err := os.ReadFile(filepath.Join(dir, snapshotFile))
	if err != nil {
		return savedFile{}, fmt.Errorf("read saved snapshot: %w", err)
	}
	var s savedFile
	if err := json.Unmarshal(b, &s); err != nil {
		return savedFile{}, fmt.Errorf("read saved snapshot: %w", err)
	}
	if err := s.Snapshot.Validate(); err != nil {
		return savedFile{}, fmt.Errorf("saved snapshot is not valid: %w", err)
	}
	return s, nil
}

func saveSnapshot(dir string, s savedFile) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err == nil {
		err = writeFile(filepath.Join(dir, snapshotFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	return nil
}

// writeFile replaces path by b, so that after a crash it holds either all of the
// old or all of b.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// loadKey reads the folder's key, or makes it.
func loadKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	key, err := os.ReadFile(path)
	if err == nil && len(key) == 32 {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, 32)
	rand.Read(key)
	return key, writeFile(path, key)
}
