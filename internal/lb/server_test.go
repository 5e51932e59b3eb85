package lb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

func TestAppliedSnapshotServes(t *testing.T) {
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	tp := newTestPlane(t)
	at := tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: RoundRobin, Backends: backends(a, b)})
	c := newHTTPClient(t)
	var got []string
	for range 4 {
		status, body := get(c, "http://"+at[0]+"/x")
		if status != 200 {
			t.Fatalf("GET = %d %s", status, body)
		}
		got = append(got, body)
	}
	if strings.Join(got, "") != "abab" {
		t.Errorf("answers = %v, want round robin over a and b", got)
	}
	s := tp.frontendStats()
	if s.Requests != 4 || s.Status.C2xx != 4 || s.InFlight != 0 || s.Backends[0].Requests != 2 {
		t.Errorf("stats = %+v", s)
	}
}

func TestStaleVersionIsRefused(t *testing.T) {
	tp := newTestPlane(t)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0"}
	ctx := t.Context()
	if _, err := tp.Apply(ctx, Snapshot{Version: 5, Frontends: []Frontend{f}}); err != nil {
		t.Fatal(err)
	}
	first, err := tp.Apply(ctx, Snapshot{Version: 5, Frontends: []Frontend{f}})
	if err != nil {
		t.Errorf("same snapshot again: %v", err)
	}
	for want, s := range map[string]Snapshot{"4 is older than 5": {Version: 4, Frontends: []Frontend{f}}, "with other content": {Version: 5}} {
		if _, err := tp.Apply(ctx, s); !errors.Is(err, ErrStaleVersion) || !strings.Contains(err.Error(), want) {
			t.Errorf("version %d with %d frontends: err = %v, want ErrStaleVersion that says %q", s.Version, len(s.Frontends), err, want)
		}
	}
	saved, err := tp.Snapshot(ctx)
	if err != nil || saved.Snapshot.Version != 5 || !slices.Equal(saved.Applied.Frontends, first.Frontends) {
		t.Errorf("in force: %+v %v, want version 5 with %+v", saved, err, first)
	}
	if _, err := tp.Apply(ctx, Snapshot{Version: 6, Frontends: []Frontend{{Name: "", Listen: "x"}}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("faulty snapshot: err = %v, want ErrInvalid", err)
	}
}

func TestAddressInUseNamesItsHolderAndHindersNoOther(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := newBackend(t, "b", nil)
	tp := newTestPlane(t)
	taken := Frontend{Name: "taken", Listen: l.Addr().String(), Backends: backends(b)}
	free := Frontend{Name: "free", Listen: "127.0.0.1:0", Backends: backends(b)}
	a, err := tp.Apply(t.Context(), Snapshot{Version: 1, Frontends: []Frontend{taken, free}})
	if err != nil {
		t.Fatal(err)
	}
	if e := a.Frontends[0].Error; !has(e, "in use", "this data plane") || a.Frontends[0].Listen != "" {
		t.Errorf("taken = %+v, want the holder named", a.Frontends[0])
	}
	c := newHTTPClient(t)
	if status, body := get(c, "http://"+a.Frontends[1].Listen); status != 200 {
		t.Errorf("the other frontend: %d %s", status, body)
	}
	l.Close()
	until(t, "the freed address is taken", func() bool {
		s, err := tp.Snapshot(t.Context())
		return err == nil && s.Applied.Frontends[0].Error == ""
	})
	if status, body := get(c, "http://"+taken.Listen); status != 200 {
		t.Errorf("after the address became free: %d %s", status, body)
	}
}

func TestAddressInUseByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	holder := spawnPlane(t, dir)
	cl := NewClient(dir)
	defer cl.Close()
	a, err := cl.Apply(t.Context(), Snapshot{Version: 1, Frontends: []Frontend{{Name: "www", Listen: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	tp := newTestPlane(t)
	b, err := tp.Apply(t.Context(), Snapshot{Version: 1, Frontends: []Frontend{{Name: "www", Listen: a.Frontends[0].Listen}}})
	if err != nil || !has(b.Frontends[0].Error, "in use by process", fmt.Sprint(holder.PID)) {
		t.Errorf("%+v %v, want process %d named", b, err, holder.PID)
	}
}

func TestRemovedFrontendLetsRequestsFinish(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		io.WriteString(w, "done")
	}))
	tp := newTestPlane(t)
	url := "http://" + tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b)})[0]
	got := make(chan string, 1)
	go func() { _, body := get(newHTTPClient(t), url); got <- body }()
	<-entered
	tp.apply()
	brief, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if nd, ok := errors.AsType[*NotDrainedError](tp.WaitDrained(brief, "www", "b")); !ok || nd.InFlight != 1 {
		t.Errorf("backend of a removed frontend with a request in flight: %v", nd)
	}
	drained := make(chan error, 1)
	go func() { drained <- tp.WaitDrained(t.Context(), "www", "b") }()
	close(leave)
	if body := <-got; body != "done" {
		t.Errorf("the request got %q", body)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestFrontendsComeGoAndMoveWhileConnectionsLive(t *testing.T) {
	b := newBackend(t, "b", nil)
	tp := newTestPlane(t)
	one := Frontend{Name: "one", Listen: "127.0.0.1:0", Backends: backends(b)}
	two := Frontend{Name: "two", Listen: "127.0.0.1:0", Backends: backends(b)}
	at := tp.apply(one)
	c, conn := pinnedClient(t, at[0])
	mustGet(t, c, "http://"+at[0])

	one.Timeouts.ReadHeader, one.MaxHeaderBytes = Duration(5*time.Second), 8<<10 // needs another http.Server
	one.MaxBodyBytes, one.Routes = 10, []Route{{Path: "/in"}}
	both := tp.apply(one, two)
	if both[0] != at[0] {
		t.Errorf("address moved from %s to %s by a change of settings", at[0], both[0])
	}
	if status, _ := get(c, "http://"+at[0]); status != http.StatusNotFound {
		t.Errorf("new routes on an old connection: status %d, want 404", status)
	}
	mustGet(t, c, "http://"+at[0]+"/in")
	if n := conn.Load(); n != 1 {
		t.Errorf("%d connections were needed, want the first to live on", n)
	}
	mustGet(t, newHTTPClient(t), "http://"+both[1])

	only := tp.apply(two)
	if only[0] != both[1] {
		t.Errorf("unchanged frontend moved from %s to %s", both[1], only[0])
	}
	if _, err := net.Dial("tcp", at[0]); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("removed frontend still listens: %v", err)
	}
	if status, body := get(c, "http://"+at[0]+"/in"); status != 0 {
		t.Errorf("removed frontend still answers: %d %s", status, body)
	}
	two.Protocol = TCP
	if tcp := tp.apply(two); tcp[0] != only[0] {
		t.Errorf("another protocol moved the port from %s to %s", only[0], tcp[0])
	}
	mustGet(t, newHTTPClient(t), "http://"+only[0])
}

func TestControlSocketIsPrivate(t *testing.T) {
	tp := newTestPlane(t)
	tp.apply()
	for _, name := range []string{daemon.Socket, keyFile, snapshotFile} {
		if info, err := os.Stat(filepath.Join(tp.dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", name, info.Mode(), err)
		}
	}
	if _, _, err := open(ServeOptions{Dir: tp.dir}); err == nil || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("second data plane in the folder: %v", err)
	}
}

func TestClientSaysThatNothingRuns(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewClient(dir).Stats(t.Context()); !errors.Is(err, daemon.ErrNotRunning) {
		t.Errorf("err = %v, want ErrNotRunning", err)
	}
	if _, err := ReadSnapshot(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadSnapshot = %v, want ErrNotExist", err)
	}
}

func TestKilledDataPlaneComesBackWithItsMembership(t *testing.T) {
	dir := t.TempDir()
	a := newBackend(t, "a", nil)
	first := spawnPlane(t, dir)
	cl := NewClient(dir)
	defer cl.Close()
	f := Frontend{
		Name: "www", Listen: "127.0.0.1:0", Backends: backends(a), Sticky: &Sticky{},
		Health: &Health{Path: "/", Interval: Duration(time.Hour), HealthyAfter: 3}, // a restart must not wait for it
	}
	f.Backends[0].Ready = true
	applied, err := cl.Apply(t.Context(), Snapshot{Version: 7, Frontends: []Frontend{f}})
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + applied.Frontends[0].Listen
	cookie := func() string {
		res, err := newHTTPClient(t).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.Header.Get("Set-Cookie")
	}
	session := cookie()
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the process is gone", func() bool { _, err := daemon.Find(dir); return err != nil })
	if s, err := ReadSnapshot(dir); err != nil || s.Snapshot.Version != 7 || s.Applied.Frontends[0] != applied.Frontends[0] {
		t.Errorf("ReadSnapshot of the dead: %+v %v", s, err)
	}
	second := spawnPlane(t, dir)
	if again := cookie(); again != session || session == "" {
		t.Errorf("session cookie %q became %q by a restart", session, again)
	}
	s, err := cl.Stats(t.Context())
	if err != nil || s.Version != 7 || s.PID != second.PID {
		t.Errorf("stats after the restart: %+v %v", s, err)
	}
	if err := daemon.Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}

func TestBrokenSavedSnapshotIsPutAside(t *testing.T) {
	for _, content := range []string{"", `{"snapshot":{"versi`, `{"snapshot":{"version":1,"frontends":[{"name":"","listen":"x"}]}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, snapshotFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		tp := openTestPlane(t, dir)
		tp.apply(Frontend{Name: "www", Listen: "127.0.0.1:0"})
		if b, err := os.ReadFile(filepath.Join(dir, snapshotFile+".broken")); string(b) != content || err != nil {
			t.Errorf("put aside: %q, %v", b, err)
		}
		if s, err := ReadSnapshot(dir); err != nil || len(s.Snapshot.Frontends) != 1 {
			t.Errorf("%+v %v", s, err)
		}
	}
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) { testShutdown(t, newHTTPClient(t)) })
	t.Run("HTTP/2", func(t *testing.T) { testShutdown(t, h2cClient(t)) })
}

func testShutdown(t *testing.T, c *http.Client) {
	entered, leave := make(chan struct{}), make(chan struct{})
	b := newBackend(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		w.Write([]byte("done"))
	}))
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, ServeOptions{Dir: dir, Log: testLog(t), Grace: 20 * time.Second}) }()
	cl := NewClient(dir)
	defer cl.Close()
	until(t, "it is up", func() bool { _, err := cl.Stats(t.Context()); return err == nil })
	a, err := cl.Apply(t.Context(), Snapshot{Version: 1, Frontends: []Frontend{{Name: "www", Listen: "127.0.0.1:0", Backends: backends(b)}}})
	if err != nil {
		t.Fatal(err)
	}
	addr := a.Frontends[0].Listen
	got := make(chan string, 1)
	go func() { _, body := get(c, "http://"+addr); got <- body }()
	<-entered
	if err := cl.Shutdown(t.Context(), 20*time.Second); err != nil {
		t.Fatal(err)
	}
	until(t, "it listens no more", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(leave)
	if body := <-got; body != "done" {
		t.Errorf("request in flight got %q", body)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func TestShutdownLetsConnectionsFinish(t *testing.T) {
	dir := t.TempDir()
	ended := make(chan error, 1)
	go func() { ended <- Serve(t.Context(), ServeOptions{Dir: dir, Log: testLog(t)}) }()
	cl := NewClient(dir)
	defer cl.Close()
	until(t, "it is up", func() bool { _, err := cl.Stats(t.Context()); return err == nil })
	a, err := cl.Apply(t.Context(), Snapshot{Version: 1, Frontends: []Frontend{{Name: "db", Listen: "127.0.0.1:0", Protocol: TCP, Backends: []Backend{echoTCP(t, "a")}}}})
	if err != nil {
		t.Fatal(err)
	}
	c, r := dialTCP(t, a.Frontends[0].Listen)
	say(t, c, r, "x", "a x")
	if err := cl.Shutdown(t.Context(), 20*time.Second); err != nil {
		t.Fatal(err)
	}
	until(t, "it listens no more", func() bool {
		c, err := net.Dial("tcp", a.Frontends[0].Listen)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	say(t, c, r, "still", "a still")
	c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDurationsAreStringsInJSON(t *testing.T) {
	b, err := json.Marshal(Timeouts{Connect: Duration(1500 * time.Millisecond)})
	if string(b) != `{"connect":"1.5s"}` || err != nil {
		t.Errorf("%s %v", b, err)
	}
	var back Timeouts
	if err := json.Unmarshal(b, &back); err != nil || back.Connect != Duration(1500*time.Millisecond) {
		t.Errorf("%+v %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"connect":5}`), &back); err == nil {
		t.Error("a bare number was taken for a duration")
	}
}
