package lb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
)

// ServeOptions are the settings of a data plane process.
type ServeOptions struct {
	Dir string       // its folder, see package daemon
	Log *slog.Logger // nil is slog.Default()
	// Grace is how long requests in flight may go on after ctx has ended;
	// default 10s. Shutdown carries its own.
	Grace time.Duration
	// MemoryLimit in bytes, above which the garbage collector works harder;
	// default 512 MiB. It is no bound on connections.
	MemoryLimit int64
}

// Serve claims opts.Dir, restores the last snapshot, and carries traffic until
// ctx ends or a client calls Shutdown. It tells the process that spawned it when
// it is ready (daemon.Ready).
//
// It sets the collector's percentage to 400, which saves about a sixth of the
// CPU, within MemoryLimit; GOGC and GOMEMLIMIT in the environment win.
func Serve(ctx context.Context, opts ServeOptions) error {
	p, release, err := open(opts)
	daemon.Ready(err)
	if err != nil {
		return err
	}
	defer release()
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(400))
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(limitOr(opts.MemoryLimit, 512<<20)))
	}
	ctx, stop := daemon.WhileOwner(ctx, opts.Dir)
	defer stop()
	return p.run(ctx, time.Duration(limitOr(int64(opts.Grace), int64(10*time.Second))))
}

func limitOr(n, otherwise int64) int64 {
	if n > 0 {
		return n
	}
	return otherwise
}

// open makes a data plane that carries its last snapshot. release gives the
// folder back.
func open(opts ServeOptions) (_ *plane, release func(), err error) {
	release, err = daemon.Claim(opts.Dir, time.Now())
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	key, err := loadKey(opts.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("key for sticky cookies: %w", err)
	}
	p := newPlane(opts.Dir, key, opts.Log)
	p.restore()
	l, err := daemon.Listen(opts.Dir)
	if err != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		p.stop(now)
		return nil, nil, err
	}
	p.control = &http.Server{Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(p.controlEnded)
		if err := p.control.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("control socket failed", "err", err)
		}
	}()
	return p, release, nil
}

// restore puts the saved snapshot in force. A broken one is put aside: there is
// nobody to ask, and the next Apply brings all that is needed.
func (p *plane) restore() {
	saved, err := readSnapshot(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		path := filepath.Join(p.dir, snapshotFile)
		p.log.Error("starting without frontends", "err", err, "kept", path+".broken")
		os.Rename(path, path+".broken")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(saved.Snapshot, saved.Bind, true)
	p.log.Info("restored", "version", saved.Snapshot.Version, "frontends", len(saved.Snapshot.Frontends))
}

// run carries traffic until ctx ends or Shutdown is asked for.
func (p *plane) run(ctx context.Context, grace time.Duration) error {
	retry := time.NewTicker(relistenEvery)
	defer retry.Stop()
	for {
		select {
		case <-retry.C:
			p.relisten()
			continue
		case <-ctx.Done():
		case grace = <-p.shutdown:
		}
		break
	}
	p.log.Info("stopping", "grace", grace)
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	p.stop(limit)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := p.control.Shutdown(last); err != nil { // long polls, which have their answer by now
		p.control.Close()
	}
	<-p.controlEnded
	return nil
}
