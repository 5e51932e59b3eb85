package daemon_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

// TestMain lets the test binary be the daemon that it spawns.
func TestMain(m *testing.M) {
	dir := os.Getenv("DAEMON_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	switch os.Getenv("DAEMON_TEST_MODE") {
	case "die":
		os.Stderr.WriteString("no such luck\n")
		os.Exit(7)
	case "refuse":
		daemon.Ready(errors.New("port 80 is taken"))
		os.Exit(1)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	}
	release, err := daemon.Claim(dir, time.Now())
	if err != nil {
		daemon.Ready(err)
		os.Exit(1)
	}
	l, err := daemon.Listen(dir)
	daemon.Ready(err)
	if os.Getenv("DAEMON_TEST_MODE") != "deaf" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, func() { release(); os.Exit(0) })
	}
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
}

func spawn(t *testing.T, dir, mode string) (daemon.Proc, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := daemon.Spawn(ctx, daemon.Command{
		Exe: os.Args[0], Dir: dir,
		Env: []string{"DAEMON_TEST_DIR=" + dir, "DAEMON_TEST_MODE=" + mode},
	})
	t.Cleanup(func() {
		if err == nil {
			syscall.Kill(p.PID, syscall.SIGKILL)
		}
	})
	return p, err
}

func TestSpawnAnswersOnASocketInADeepFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	p, err := spawn(t, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	c := daemon.HTTPClient(dir)
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://daemon/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "hello" {
		t.Errorf("answer = %q, want hello", b)
	}
	if info, err := os.Stat(filepath.Join(dir, daemon.Socket)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode = %v (%v), want 0600: it is private to the user", info.Mode(), err)
	}
	if _, err := spawn(t, dir, ""); err == nil || !strings.Contains(err.Error(), "belongs to the running process") {
		t.Errorf("second daemon in the same folder: err = %v, want the owner's pid", err)
	}
	if err := daemon.Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Find(dir); !errors.Is(err, daemon.ErrNotRunning) {
		t.Errorf("after Stop: Find(%d) = %v, want ErrNotRunning", p.PID, err)
	}
}

func TestAKilledDaemonIsNotRunningAndItsFolderIsFree(t *testing.T) {
	dir := t.TempDir()
	p, err := spawn(t, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	again, err := spawn(t, dir, "")
	if err != nil {
		t.Fatalf("spawn in the folder of a killed daemon: %v", err)
	}
	if again.PID == p.PID {
		t.Errorf("the new daemon has the dead one's pid %d", p.PID)
	}
}

func TestStopKillsADaemonThatIgnoresTheSignal(t *testing.T) {
	dir := t.TempDir()
	if _, err := spawn(t, dir, "deaf"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := daemon.Stop(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Find(dir); !errors.Is(err, daemon.ErrNotRunning) {
		t.Errorf("Find = %v, want ErrNotRunning", err)
	}
}

func TestSpawnTellsWhyTheChildDidNotStart(t *testing.T) {
	for mode, want := range map[string]string{"die": "no such luck", "refuse": "port 80 is taken"} {
		if _, err := spawn(t, t.TempDir(), mode); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err = %v, want it to say %q", mode, err, want)
		}
	}
}

func TestClaimIsNotDisturbedByThoseWhoLook(t *testing.T) {
	dir := t.TempDir()
	done := make(chan struct{})
	looking := make(chan struct{})
	go func() {
		defer close(looking)
		for {
			select {
			case <-done:
				return
			default:
				daemon.Find(dir)
			}
		}
	}()
	for range 200 {
		release, err := daemon.Claim(dir, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	close(done)
	<-looking
}
