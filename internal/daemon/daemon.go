package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Files that a daemon keeps in its folder.
const (
	PIDFile = "pid"
	LogFile = "log"
	Socket  = "sock"
)

// readyFD names the environment variable that holds the number of the file
// descriptor on which a spawned daemon says that it is ready.
const readyFD = "FLOWCTL_READY_FD"

// ErrNotRunning says that no process holds the folder.
var ErrNotRunning = errors.New("not running")

// Proc is a live daemon.
type Proc struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Dir     string    `json:"-"`
}

// Command says how to start a daemon.
type Command struct {
	Exe  string   // the program, usually os.Executable()
	Args []string // its arguments
	Dir  string   // the folder it will claim; made with mode 0700 when missing
	Env  []string // added to this process's environment
}

// Spawn starts the command in a session of its own, with its output in
// Dir/log, and returns when it has called Ready. An error that the child gave
// to Ready is returned; so is the tail of its log if it died before. When ctx
// ends first, the child is killed.
func Spawn(ctx context.Context, c Command) (Proc, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return Proc{}, fmt.Errorf("make folder for background process: %w", err)
	}
	logFile, err := os.OpenFile(filepath.Join(c.Dir, LogFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Proc{}, fmt.Errorf("open log of background process: %w", err)
	}
	defer logFile.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return Proc{}, fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()

	cmd := osexec.Command(c.Exe, c.Args...)
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), c.Env...), readyFD+"=3")
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return Proc{}, fmt.Errorf("start background process %s: %w", c.Exe, err)
	}
	w.Close()
	go cmd.Wait() // reaps it should it die while we live; it outlives us otherwise

	said := make(chan error, 1)
	go func() { said <- readReady(r, c.Dir) }()
	select {
	case err := <-said:
		if err != nil {
			return Proc{}, err
		}
		return Find(c.Dir)
	case <-ctx.Done():
		cmd.Process.Kill()
		r.Close()
		<-said
		return Proc{}, fmt.Errorf("wait for background process: %w", context.Cause(ctx))
	}
}

func readReady(r io.Reader, dir string) error {
	line, _ := bufio.NewReader(r).ReadString('\n')
	switch line = strings.TrimSpace(line); line {
	case "ok":
		return nil
	case "":
		return fmt.Errorf("background process ended while starting; its log ends with:\n%s", Tail(filepath.Join(dir, LogFile), 10))
	default:
		return errors.New(line)
	}
}

// Ready tells the process that spawned this one that it is up (err nil) or why
// it is not. Without such a process it does nothing. Call it once.
func Ready(err error) {
	if os.Getenv(readyFD) != "3" {
		return
	}
	os.Unsetenv(readyFD)
	f := os.NewFile(3, "ready")
	defer f.Close()
	if err == nil {
		io.WriteString(f, "ok\n")
		return
	}
	io.WriteString(f, strings.ReplaceAll(err.Error(), "\n", " ")+"\n")
}

// Claim makes this process the owner of dir until release is called or it
// dies. It fails with the owner's pid when another process owns it.
func Claim(dir string, now time.Time) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, PIDFile)
	f, err := lock(path, dir)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(Proc{PID: os.Getpid(), Started: now.UTC()})
	if err == nil {
		err = errors.Join(f.Truncate(0), writeAt(f, b))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() {
		if samePath(f, path) { // else it is another owner's by now
			os.Remove(path)
		}
		f.Close()
	}, nil
}

// ErrDispossessed is the cause of a context of WhileOwner.
var ErrDispossessed = errors.New("the folder was taken away")

// ownerCheck is the time between two looks of WhileOwner.
const ownerCheck = time.Second

// WhileOwner returns a context that ends when dir, which this process has
// claimed, is removed or claimed by another: nobody could find this process any
// more, to use it or to end it. Call stop to release what it holds.
func WhileOwner(ctx context.Context, dir string) (owner context.Context, stop func()) {
	owner, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(ownerCheck)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-owner.Done():
				return
			}
			var p Proc
			b, err := os.ReadFile(filepath.Join(dir, PIDFile))
			if errors.Is(err, os.ErrNotExist) || err == nil && json.Unmarshal(b, &p) == nil && p.PID != os.Getpid() {
				cancel(ErrDispossessed)
				return
			}
		}
	}()
	return owner, func() { cancel(nil); <-ended }
}

// lock opens and takes the pid file. Somebody's Find holds it for a moment, so a
// refusal counts only when Find, too, sees an owner; and a file that its last
// owner has removed meanwhile is not the one that others will look at.
func lock(path, dir string) (*os.File, error) {
	for range 100 {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil && samePath(f, path) {
			return f, nil
		}
		f.Close()
		if p, err := Find(dir); err == nil {
			return nil, fmt.Errorf("folder %s belongs to the running process %d", dir, p.PID)
		}
		time.Sleep(time.Millisecond)
	}
	return nil, fmt.Errorf("lock %s: others hold it", path)
}

func samePath(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

func writeAt(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}

// Find returns the process that owns dir, or wraps ErrNotRunning.
func Find(dir string) (Proc, error) {
	f, err := os.Open(filepath.Join(dir, PIDFile))
	if errors.Is(err, os.ErrNotExist) {
		return Proc{}, ErrNotRunning
	}
	if err != nil {
		return Proc{}, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return Proc{}, ErrNotRunning
	} else if !errors.Is(err, unix.EWOULDBLOCK) {
		return Proc{}, fmt.Errorf("look at lock of %s: %w", f.Name(), err)
	}
	p := Proc{Dir: dir}
	if err := json.NewDecoder(f).Decode(&p); err != nil || p.PID <= 1 {
		return Proc{}, fmt.Errorf("pid file %s is locked but unreadable: %w", f.Name(), err)
	}
	return p, nil
}

// Stop asks the owner of dir to end (SIGTERM), and kills it when it has not
// ended before ctx does. Nothing running is success.
func Stop(ctx context.Context, dir string) error {
	p, err := Find(dir)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	if p.waitGone(ctx) == nil {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return p.waitGone(last)
}

func (p Proc) signal(s syscall.Signal) error {
	err := syscall.Kill(p.PID, s)
	if err == nil || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return fmt.Errorf("signal process %d: %w", p.PID, err)
}

// Ended reports whether the process is over. It is a moment after it has let go of
// its folder.
func (p Proc) Ended() bool {
	if syscall.Kill(p.PID, 0) != nil {
		return true
	}
	// A zombie waits for its parent to take note (proc(5), field 3 of stat).
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return len(rest) > 0 && (rest[0] == 'Z' || rest[0] == 'X')
}

// waitGone waits until the lock of p's folder is free, and p has ended.
func (p Proc) waitGone(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := Find(p.Dir)
		if (errors.Is(err, ErrNotRunning) || err == nil && now.PID != p.PID) && p.Ended() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d still runs: %w", p.PID, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Tail returns the last n lines of a file, indented, or "(empty)".
func Tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil || len(strings.TrimSpace(string(b))) == 0 {
		return "    (empty)"
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	lines = lines[max(0, len(lines)-n):]
	return "    " + strings.Join(lines, "\n    ")
}
