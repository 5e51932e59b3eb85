package docker

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// silent is an engine that never answers, and how often it was called.
func silent(t *testing.T) (place string, calls *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	calls = &atomic.Int64{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			wg.Go(func() { io.Copy(io.Discard, c); c.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "tcp://" + l.Addr().String(), calls
}

// onSilent is a provider that has noted a machine whose engine never answers, with the id
// of that.
func onSilent(t *testing.T) (*Docker, string, *atomic.Int64) {
	t.Helper()
	place, calls := silent(t)
	d := New(providers.Settings{Name: Name, Flow: "shop", Dir: filepath.Join(t.TempDir(), Name), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { d.Close() })
	machine := engine.Addr(engine.KindVM, "node").At(0)
	id := place + "#" + machine.String()
	if err := d.note(providers.Ref{Address: machine, Gen: 1}, id); err != nil {
		t.Fatal(err)
	}
	d.holds.keep(engine.Key{Address: engine.Addr(engine.KindImage, "app"), Gen: 1}, "elsewhere", "flowctl/shop/app:1")
	return d, id, calls
}

// A machine that is gone closes no connections: clearing away does not wait for its
// engine, and forgets it.
func TestNobodyWaitsForAnEngineThatIsGone(t *testing.T) {
	d, _, _ := onSilent(t)
	d.patience = 10 * time.Millisecond
	if err := d.Clean(t.Context(), false, nil); err != nil {
		t.Error(err)
	}
	if left, _ := d.notes(); len(left) > 0 {
		t.Errorf("it is not forgotten: %v", left)
	}
	if _, err := os.Stat(d.settings.Dir); err == nil {
		t.Error("its folder is left")
	}
}

// The engine of a machine that is suspended is neither asked nor forgotten.
func TestNobodyAsksTheEngineOfASuspendedMachine(t *testing.T) {
	d, id, calls := onSilent(t)
	if _, err := d.daemon(id); err != nil { // as if an image had been brought there
		t.Fatal(err)
	}
	dm := d.daemons[id]
	d.holds.keep(engine.Key{Address: engine.DeliveryOf(engine.Addr(engine.KindImage, "app"), engine.Addr(engine.KindVM, "node").At(0)), Gen: 1}, dm.place, "flowctl/shop/app:1")
	if err := d.Clean(t.Context(), false, []string{id}); err != nil {
		t.Error(err)
	}
	if n := calls.Load(); n > 0 {
		t.Errorf("it was called %d times", n)
	}
	if left, _ := d.notes(); len(left) != 1 {
		t.Errorf("noted are %v, want the one", left)
	}
}
