package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/engine/exec"
	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
	"github.com/rogpeppe/go-internal/testscript"
)

// crashAt names the variable that makes flowctl kill itself at a point: before
// or after the n-th write of the journal or the state or call of a provider.
const crashAt = "FLOWCTL_TEST_CRASH_AT"

// What is built once for all tests: the demo program, and in a folder of its own
// this test binary without the race detector. Tests that start hundreds of
// processes, or put load on them, use the latter.
var (
	demoDir  string
	plainDir string
)

func TestMain(m *testing.M) {
	// testscript runs this binary again under these names.
	programs := map[string]func(){
		"flowctl":       func() { os.Exit(testApp().run(os.Args[1:])) },
		"metric-source": func() { serveFile(os.Args[1], os.Args[2]) },
	}
	if programs[filepath.Base(os.Args[0])] == nil {
		dir, err := os.MkdirTemp("", "flowctl-test-")
		if err != nil {
			panic(err)
		}
		os.Chmod(dir, 0o755)
		demoDir, plainDir = filepath.Join(dir, "demo"), filepath.Join(dir, "plain")
		goTool("build", "-o", filepath.Join(demoDir, "flowctl-demo"), "../../examples/demo")
		goTool("test", "-c", "-o", filepath.Join(plainDir, "flowctl"), ".")
		// A process under the race detector sleeps a second when it ends, for
		// races of others to be reported; here that adds up to minutes.
		os.Setenv("GORACE", "atexit_sleep_ms=10 "+os.Getenv("GORACE"))
	}
	testscript.Main(cleaning{m}, programs)
}

// serveFile answers every request with what is in a file, until it is killed.
func serveFile(addr, name string) {
	err := http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) }))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// goTool makes programs that need nothing else: the demo is also put into images
// that have no libc.
func goTool(args ...string) {
	cmd := osexec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("go %s: %v\n%s", strings.Join(args, " "), err, out))
	}
}

// cleaning removes the programs when the tests are over.
type cleaning struct{ m *testing.M }

func (c cleaning) Run() int {
	defer os.RemoveAll(filepath.Dir(demoDir))
	return c.m.Run()
}

// testApp is main's app with the seams for crashes.
func testApp() *app {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(), now: time.Now, exe: exe,
		inTTY: view.IsTerminal(os.Stdin), outTTY: view.IsTerminal(os.Stdout), errTTY: view.IsTerminal(os.Stderr),
	}
	if n, err := strconv.Atoi(os.Getenv(crashAt)); err == nil {
		c := &crasher{}
		c.left.Store(int64(n))
		a.wrapProvider = func(_ string, p providers.Provider) providers.Provider { return &crashingProvider{p, c} }
		a.wrapStore = func(st runtime.Store) runtime.Store { return &crashingStore{st, c} }
		a.wrapJournal = func(j exec.Journal) exec.Journal { return &crashingJournal{j, c} }
	}
	return a
}

// crasher counts points and kills the process at the chosen one.
type crasher struct{ left atomic.Int64 }

func (c *crasher) point() {
	if c.left.Add(-1) == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it is dead
	}
}

type crashingProvider struct {
	providers.Provider
	c *crasher
}

func (p *crashingProvider) Unwrap() providers.Provider { return p.Provider }

func (p *crashingProvider) Apply(ctx context.Context, call providers.Call) (engine.Object, error) {
	p.c.point()
	defer p.c.point()
	return p.Provider.Apply(ctx, call)
}

func (p *crashingProvider) Take(ctx context.Context, call providers.Call, warm engine.Object) (engine.Object, error) {
	t, ok := providers.As[providers.Taker](p.Provider)
	if !ok {
		return engine.Object{}, providers.ErrNotFound
	}
	p.c.point()
	defer p.c.point()
	return t.Take(ctx, call, warm)
}

func (p *crashingProvider) Delete(ctx context.Context, o engine.Object, operation string) error {
	p.c.point()
	defer p.c.point()
	return p.Provider.Delete(ctx, o, operation)
}

func (p *crashingProvider) Read(ctx context.Context, o engine.Object) (engine.Observation, error) {
	p.c.point()
	defer p.c.point()
	return p.Provider.Read(ctx, o)
}

// crashingStore has points around the writes that are not the journal's.
type crashingStore struct {
	runtime.Store
	c *crasher
}

func (s *crashingStore) Adjust(ctx context.Context, l *state.Lease, a state.Adjust) error {
	s.c.point()
	defer s.c.point()
	return s.Store.Adjust(ctx, l, a)
}

func (s *crashingStore) BeginRun(ctx context.Context, l *state.Lease, r engine.RunInfo) (int64, error) {
	s.c.point()
	defer s.c.point()
	return s.Store.BeginRun(ctx, l, r)
}

func (s *crashingStore) EndRun(ctx context.Context, l *state.Lease, r engine.RunInfo) error {
	s.c.point()
	defer s.c.point()
	return s.Store.EndRun(ctx, l, r)
}

func (s *crashingStore) Conclude(ctx context.Context, l *state.Lease, c state.Concluded) error {
	s.c.point()
	defer s.c.point()
	return s.Store.Conclude(ctx, l, c)
}

type crashingJournal struct {
	exec.Journal
	c *crasher
}

func (j *crashingJournal) Append(ctx context.Context, b engine.Batch) error {
	j.c.point()
	defer j.c.point()
	return j.Journal.Append(ctx, b)
}

// killLeftovers ends whatever background processes a test left in a folder.
func killLeftovers(t testing.TB, dir string) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == daemon.PIDFile && !d.IsDir() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if _, err := daemon.Find(filepath.Dir(path)); err == nil {
				t.Logf("a background process was left in %s", filepath.Dir(path))
				daemon.Stop(ctx, filepath.Dir(path))
			}
		}
		return nil
	})
}

// processes lists the processes whose command line or environment holds a text.
func processes(text string) []string {
	var found []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if len(line) > 0 && (strings.Contains(string(line), text) || strings.Contains(string(env), text)) {
			found = append(found, fmt.Sprintf("%d %s", pid, strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return found
}
