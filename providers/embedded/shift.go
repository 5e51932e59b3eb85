package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/internal/lb"
	"github.com/flowctl/flowctl/providers"
)

// detour says why a backend does not get requests like the others, "" if it does.
func detour(b lb.Backend) string {
	switch {
	case b.Standby:
		return "it stands by, without requests"
	case b.Share > 0:
		return fmt.Sprintf("a rollout left it with a share of %d %% of the requests", b.Share)
	default:
		return ""
	}
}

// Shift implements providers.Shifter: one snapshot, one instant.
func (e *Embedded) Shift(ctx context.Context, frontend engine.Address, shares map[engine.Key]int) error {
	byID := map[string]int{}
	for k, share := range shares {
		byID[backendID(providers.Ref{Address: k.Address, Gen: k.Gen})] = share
	}
	return e.plane.change(ctx, true, func(s *lb.Snapshot) error {
		f, ok := find(*s, frontendName(frontend))
		if !ok {
			return providers.Permanent(fmt.Errorf("%s is not there", frontend))
		}
		for i := range f.Backends {
			b := &f.Backends[i]
			share, ok := byID[b.ID]
			if !ok {
				continue
			}
			if b.Standby, b.Share = share == 0, share; share == 100 {
				b.Share = 0
			}
		}
		return nil
	}, nil)
}

// Tally implements providers.Shifter.
func (e *Embedded) Tally(ctx context.Context, frontend engine.Address, backends []engine.Key) (providers.Tally, error) {
	stats, err := e.plane.client.Answers(ctx)
	if err != nil {
		return providers.Tally{}, providers.Passing(err)
	}
	byID := map[string]engine.Key{}
	for _, k := range backends {
		byID[backendID(providers.Ref{Address: k.Address, Gen: k.Gen})] = k
	}
	t := providers.Tally{Began: stats.Started, Latency: map[time.Duration]uint64{}, Out: map[engine.Key]string{}}
	for _, f := range stats.Frontends {
		if f.Name != frontendName(frontend) {
			continue
		}
		for _, b := range f.Backends {
			if k, ok := byID[b.ID]; ok {
				t.Add(tally(k, b))
			}
		}
	}
	return t, nil
}

// tally counts for one backend. A try that got no answer is a request that failed.
func tally(k engine.Key, b lb.BackendStats) providers.Tally {
	lost := b.Errors.Connect + b.Errors.Timeout + b.Errors.Reset
	s := b.Status
	t := providers.Tally{
		Answered: s.C1xx + s.C2xx + s.C3xx + s.C4xx + s.C5xx + lost, Failed: s.C5xx + lost,
		Latency: b.Answers.Durations(),
	}
	switch b.State {
	case lb.Unhealthy:
		t.Out = map[engine.Key]string{k: "it fails its health checks"}
	case lb.Ejected:
		t.Out = map[engine.Key]string{k: "it was left out after failures in a row"}
	}
	return t
}
