package lb

import (
	"cmp"
	"slices"
	"time"
)

// withDefaults returns f with every zero field that has a default filled in.
// All defaults of the package are here.
func (f Frontend) withDefaults() Frontend {
	f.Protocol = cmp.Or(f.Protocol, HTTP)
	f.Balance = cmp.Or(f.Balance, P2C)
	f.HashKey = cmp.Or(f.HashKey, "source")
	f.MaxConns = cmp.Or(f.MaxConns, 10_000)
	f.MaxHeaderBytes = cmp.Or(f.MaxHeaderBytes, 64<<10)
	f.MinBodyRate = cmp.Or(f.MinBodyRate, 240) // as Kestrel's MinRequestBodyDataRate
	f.Timeouts = f.Timeouts.withDefaults()
	f.Retry.Attempts = cmp.Or(f.Retry.Attempts, 3)
	f.Retry.BudgetPercent = cmp.Or(f.Retry.BudgetPercent, 20)
	f.Retry.MinPerSecond = cmp.Or(f.Retry.MinPerSecond, 10)
	f.Queue.Size = cmp.Or(f.Queue.Size, 512)
	f.Queue.Timeout = cmp.Or(f.Queue.Timeout, seconds(10))
	f.Eject.ConsecutiveErrors = cmp.Or(f.Eject.ConsecutiveErrors, 5)
	f.Eject.BaseTime = cmp.Or(f.Eject.BaseTime, seconds(5))
	f.Eject.MaxPercent = cmp.Or(f.Eject.MaxPercent, 50)
	f.Eject.PanicPercent = cmp.Or(f.Eject.PanicPercent, 25)
	f.Health = f.Health.withDefaults()
	f.Backends = slices.Clone(f.Backends)
	for i := range f.Backends {
		f.Backends[i].Health = f.Backends[i].Health.withDefaults()
	}
	if f.Sticky != nil {
		s := *f.Sticky
		s.Cookie = cmp.Or(s.Cookie, "flowctl")
		f.Sticky = &s
	}
	return f
}

func (t Timeouts) withDefaults() Timeouts {
	t.Connect = cmp.Or(t.Connect, seconds(3))
	t.Header = cmp.Or(t.Header, seconds(60))
	t.Idle = cmp.Or(t.Idle, seconds(60))
	t.Stream = cmp.Or(t.Stream, seconds(600))
	t.ReadHeader = cmp.Or(t.ReadHeader, seconds(10))
	return t
}

// withDefaults returns a copy; nil stays nil.
func (from *Health) withDefaults() *Health {
	if from == nil {
		return nil
	}
	h := *from
	h.Status = cmp.Or(h.Status, "200-399")
	h.Interval = cmp.Or(h.Interval, seconds(1))
	h.Timeout = cmp.Or(h.Timeout, seconds(1))
	h.HealthyAfter = cmp.Or(h.HealthyAfter, 2)
	h.UnhealthyAfter = cmp.Or(h.UnhealthyAfter, 3)
	return &h
}

func seconds(n int) Duration { return Duration(time.Duration(n) * time.Second) }

// Numbers that no setting changes.
const (
	maxHeaderFields = 128              // per request, 431 above; HAProxy has 101, Apache 100
	bodyGrace       = 5 * time.Second  // before MinBodyRate counts
	replayBytes     = 32 << 10         // largest body kept to be sent again
	upstreamIdle    = 4 * time.Second  // app servers commonly close idle connections after 5s (Node, uvicorn): be first
	upstreamIdleMax = 1024             // idle connections kept per backend
	maxEjection     = 32               // in BaseTimes
	goneGrace       = 30 * time.Second // for the requests of a removed frontend
	relistenEvery   = time.Second      // for a frontend whose address was taken
)
