package sim

import (
	"context"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// Usage implements providers.Meter: what the configuration says that there is, the
// requests of a frontend evenly over its backends. Without that nothing is
// measured.
func (s *Sim) Usage(ctx context.Context, objects []engine.Object) ([]providers.Usage, error) {
	if s.cfg.RPS == 0 && s.cfg.CPU == 0 {
		return nil, nil
	}
	if err := s.call(ctx, "measure", engine.Address{}); err != nil {
		return nil, err
	}
	requests := s.cfg.RPS * time.Since(s.begun).Seconds()
	backends := map[engine.Address]int{}
	for _, o := range objects {
		if o.Address.Kind == engine.KindBackend {
			frontend, _ := o.Address.Membership()
			backends[frontend]++
		}
	}
	all := make([]providers.Usage, 0, len(objects))
	for _, o := range objects {
		u := providers.Usage{Address: o.Address, State: "running"}
		switch o.Address.Kind {
		case engine.KindFunction:
			u.CPUCores = s.cfg.CPU
		case engine.KindFrontend:
			u.Requests, u.Rate = uint64(requests), s.cfg.RPS
		case engine.KindBackend:
			frontend, _ := o.Address.Membership()
			n := float64(backends[frontend])
			u.Requests, u.Rate = uint64(requests/n), s.cfg.RPS/n
		default:
			continue
		}
		all = append(all, u)
	}
	return all, nil
}
