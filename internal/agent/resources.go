package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// resources is what a replica holds for as long as it exists. prepare makes it,
// release gives it back; in between it does not change, and belongs to whoever
// runs the replica.
type resources struct {
	dir     string // all of its files
	workDir string
	env     []string
	number  int // of its port
	port    *takenPort
	group   *cgroup // nil: none
	log     *logFile
	oomSeen int64 // kills counted at the end of the last process
}

func replicaDir(dir, name string) string { return filepath.Join(dir, "replicas", name) }

// prepare makes all that a replica needs. When it fails, it leaves nothing.
func (s *supervisor) prepare(spec ReplicaSpec, ip string) (*resources, error) {
	r := &resources{dir: replicaDir(s.dir, spec.Name), workDir: spec.Dir}
	old := exists(r.dir)
	if err := s.fill(r, spec, ip); err != nil {
		return nil, errors.Join(err, r.release(!old))
	}
	return r, nil
}

func (s *supervisor) fill(r *resources, spec ReplicaSpec, ip string) error {
	if r.workDir == "" {
		r.workDir = filepath.Join(r.dir, "work")
		if err := errors.Join(os.RemoveAll(r.workDir), os.MkdirAll(r.workDir, 0o700)); err != nil {
			return fmt.Errorf("make folder of replica %s: %w", spec.Name, err)
		}
	}
	if err := checkProgram(spec, r.workDir); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("make folder of replica %s: %w", spec.Name, err)
	}
	var err error
	if r.port, err = s.ports.take(ip, spec.PortHint); err != nil {
		return fmt.Errorf("give replica %s a port: %w", spec.Name, err)
	}
	r.number = r.port.number
	if r.group, err = s.groups.make(spec.Name, spec.CPU, spec.MemoryBytes); err != nil {
		return fmt.Errorf("limit replica %s: %w", spec.Name, err)
	}
	if r.log, err = openLog(r.dir, spec.LogMaxBytes, spec.LogFiles, s.now); err != nil {
		return fmt.Errorf("replica %s: %w", spec.Name, err)
	}
	r.env = environment(os.LookupEnv, s.id, ip, r.number, filepath.Join(r.dir, "files"), spec)
	return r.put(spec.Files)
}

// put writes files into the replica's folder of files. Each is whole at any moment.
func (r *resources) put(files []SpecFile) error {
	for _, f := range files {
		name := filepath.Join(r.dir, "files", filepath.Clean("/"+f.Path))
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = os.WriteFile(name+".new", []byte(f.Content), 0o600)
		}
		if err == nil {
			err = errors.Join(os.Chmod(name+".new", f.Mode), os.Rename(name+".new", name))
		}
		if err != nil {
			return fmt.Errorf("write file %s: %w", f.Path, err)
		}
	}
	return nil
}

// checkProgram finds out what the kernel would only hint at.
func checkProgram(spec ReplicaSpec, dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return invalidf("replica %s: working directory: %v; make it first", spec.Name, err)
	} else if !info.IsDir() {
		return invalidf("replica %s: working directory %s is not a directory", spec.Name, dir)
	}
	program := spec.Exec[0]
	if !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	info, err := os.Stat(program)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return invalidf("replica %s: program %s does not exist; build or install it, or correct exec", spec.Name, program)
	case err != nil:
		return invalidf("replica %s: program: %v", spec.Name, err)
	case info.IsDir():
		return invalidf("replica %s: program %s is a directory", spec.Name, program)
	case unix.Access(program, unix.X_OK) != nil:
		return invalidf("replica %s: program %s is not executable; chmod +x it", spec.Name, program)
	}
	return nil
}

// startError says what a failed start means.
func startError(spec ReplicaSpec, err error) error {
	switch {
	case errors.Is(err, unix.ENOEXEC):
		return invalidf("replica %s: %s is no program for this computer (another architecture, or a script without #!)", spec.Name, spec.Exec[0])
	case errors.Is(err, unix.ENOENT):
		return invalidf("replica %s: %s does not exist, or its interpreter or loader does not", spec.Name, spec.Exec[0])
	case errors.Is(err, unix.EACCES):
		return invalidf("replica %s: %s may not be executed: %v", spec.Name, spec.Exec[0], err)
	}
	return fmt.Errorf("start replica %s: %w", spec.Name, err)
}

// release gives everything back, and deletes the files if asked. It may be
// called again.
func (r *resources) release(files bool) error {
	var errs []error
	if r.log != nil {
		r.log.close()
	}
	if r.group != nil {
		errs = append(errs, r.group.remove())
	}
	if r.port != nil {
		r.port.release()
		r.port = nil
	}
	if files {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

// oomKilled says whether the kernel ended the process for its memory.
func (r *resources) oomKilled(e ending) bool {
	if r.group == nil {
		return false
	}
	kills := r.group.oomKills()
	grew := kills > r.oomSeen
	r.oomSeen = kills
	return grew && e.status.Signaled() && e.status.Signal() == unix.SIGKILL
}
