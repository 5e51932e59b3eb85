package lb

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// who applies f and counts which backend answers n requests.
func who(t *testing.T, tp *testPlane, f Frontend, n int) map[string]int {
	t.Helper()
	addr := tp.apply(f)[0]
	got := map[string]int{}
	for i := range n {
		res, err := http.Get(fmt.Sprintf("http://%s/%d", addr, i))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s %v", res.Status, err)
		}
		got[string(b)]++
	}
	return got
}

func TestBackendsWithAShareGetJustThat(t *testing.T) {
	for _, balance := range []string{P2C, RoundRobin, LeastConn, Random} {
		t.Run(balance, func(t *testing.T) {
			tp := newTestPlane(t)
			old, again, fresh := newBackend(t, "old", nil), newBackend(t, "again", nil), newBackend(t, "fresh", nil)
			fresh.Share = 10
			f := Frontend{Name: "www", Listen: "127.0.0.1:0", Balance: balance, Backends: backends(old, again, fresh)}
			if got := who(t, tp, f, 200); got["fresh"] != 20 || got["old"] == 0 || got["again"] == 0 {
				t.Errorf("of 200 requests with a share of 10 %% came %v", got)
			}
			f.Backends = backends(fresh)
			if got := who(t, tp, f, 10); got["fresh"] != 10 {
				t.Errorf("alone, it got %v", got)
			}
		})
	}
}

func TestStandbyGetsNothingAndComesBackAtOnce(t *testing.T) {
	tp := newTestPlane(t)
	blue, green := newBackend(t, "blue", nil), newBackend(t, "green", nil)
	f := Frontend{Name: "www", Listen: "127.0.0.1:0", Backends: backends(blue, green)}
	for _, turn := range []struct{ on, off string }{{"blue", "green"}, {"green", "blue"}, {"blue", "green"}} {
		for i := range f.Backends {
			f.Backends[i].Standby = f.Backends[i].ID == turn.off
		}
		if got := who(t, tp, f, 50); got[turn.on] != 50 {
			t.Errorf("with %s on standby: %v", turn.off, got)
		}
		for _, b := range tp.frontendStats().Backends {
			if want := map[string]string{turn.on: Ready, turn.off: Standby}[b.ID]; b.State != want {
				t.Errorf("%s is %s, want %s", b.ID, b.State, want)
			}
		}
	}
}
