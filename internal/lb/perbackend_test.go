package lb

import (
	"net/http"
	"testing"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

// Two functions behind one frontend are each checked in their own way.
func TestEachBackendMayHaveItsOwnHealthCheck(t *testing.T) {
	tp := newTestPlane(t)
	only := func(path string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path && r.URL.Path != "/" {
				w.WriteHeader(http.StatusNotFound)
			}
		})
	}
	fast := Health{Interval: Duration(5 * time.Millisecond), HealthyAfter: 1, UnhealthyAfter: 1}
	a, b, c := newBackend(t, "a", only("/up")), newBackend(t, "b", only("/ok")), newBackend(t, "c", only("/ok"))
	own := fast
	own.Path = "/ok"
	b.Health = &own
	usual := fast
	usual.Path = "/up"
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Health: &usual, Backends: backends(a, b, c)}
	tp.apply(f)
	want := func(a, b, c string) {
		t.Helper()
		until(t, "the checks tell "+a+", "+b+", "+c, func() bool {
			s := tp.frontendStats().Backends
			return len(s) == 3 && s[0].State == a && s[1].State == b && s[2].State == c
		})
	}
	want(Ready, Ready, Joining)
	f.Backends = backends(a, b, c)
	f.Backends[2].Health = &own
	f.Backends[1].Health = nil
	tp.apply(f)
	want(Ready, Unhealthy, Ready)
}

func TestTheMembershipOfADeadDataPlaneCanBeChanged(t *testing.T) {
	dir := t.TempDir()
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(a, b)}
	spawnPlane(t, dir)
	cl := NewClient(dir)
	defer cl.Close()
	applied, err := cl.Apply(t.Context(), Snapshot{Version: 3, Frontends: []Frontend{f}})
	if err != nil {
		t.Fatal(err)
	}
	f.Backends = backends(b)
	if err := WriteSnapshot(dir, Snapshot{Version: 4, Frontends: []Frontend{f}}); err == nil {
		t.Error("the snapshot of a living data plane was changed beneath it")
	}
	if err := daemon.Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := WriteSnapshot(dir, Snapshot{Version: 4, Frontends: []Frontend{f}}); err != nil {
		t.Fatal(err)
	}
	spawnPlane(t, dir)
	s, err := cl.Stats(t.Context())
	if err != nil || s.Version != 4 || len(s.Frontends) != 1 || len(s.Frontends[0].Backends) != 1 || s.Frontends[0].Backends[0].ID != "b" {
		t.Errorf("stats: %+v, %v", s, err)
	}
	if s.Frontends[0].Listen != applied.Frontends[0].Listen {
		t.Errorf("it listens on %s, was %s", s.Frontends[0].Listen, applied.Frontends[0].Listen)
	}
	if err := daemon.Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}
