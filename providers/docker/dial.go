package docker

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// An engine that is restarted, for an update of its own, is away for some seconds.
// A call that changes something waits for it, if it was there before: that is
// better than to leave a run half done.
const (
	patience = time.Minute
	askAgain = 100 * time.Millisecond
)

type patientKey struct{}

// patient returns a context under which connections wait for an engine that is
// away.
func patient(ctx context.Context) context.Context {
	return context.WithValue(ctx, patientKey{}, true)
}

// dialer opens connections to one engine.
type dialer struct {
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	answered atomic.Bool // when it was last asked
}

// DialContext is that of a transport. The context of a transport does not end with
// the call's, so the wait has an end of its own.
func (d *dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.dial(ctx, network, addr)
	if err == nil {
		d.answered.Store(true)
		return c, nil
	}
	if ctx.Value(patientKey{}) == nil || !d.answered.Load() {
		return nil, err
	}
	end := time.NewTimer(patience)
	defer end.Stop()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for d.answered.Load() {
		select {
		case <-again.C:
		case <-end.C:
			d.answered.Store(false) // others need not wait as long
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
		if c, now := d.dial(ctx, network, addr); now == nil {
			return c, nil
		}
	}
	return nil, err
}
