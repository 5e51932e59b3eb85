package docker

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// A machine that is gone closes no connections: clearing away does not wait for its
// engine, and forgets it.
func TestNobodyWaitsForAnEngineThatIsGone(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { io.Copy(io.Discard, c); c.Close() })
		}
	})
	t.Cleanup(func() { silent.Close(); wg.Wait() })

	d := New(providers.Settings{Name: Name, Flow: "shop", Dir: filepath.Join(t.TempDir(), Name), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { d.Close() })
	d.patience = 10 * time.Millisecond
	machine := engine.Addr(engine.KindVM, "node").At(0)
	id := "tcp://" + silent.Addr().String() + "#" + machine.String()
	if err := d.note(providers.Ref{Address: machine, Gen: 1}, id); err != nil {
		t.Fatal(err)
	}
	d.holds.keep(engine.Key{Address: engine.Addr(engine.KindImage, "app"), Gen: 1}, "elsewhere", "flowctl/shop/app:1")
	if err := d.Clean(t.Context(), false); err != nil {
		t.Error(err)
	}
	if left, _ := d.notes(); len(left) > 0 {
		t.Errorf("it is not forgotten: %v", left)
	}
	if _, err := os.Stat(d.settings.Dir); err == nil {
		t.Error("its folder is left")
	}
}
