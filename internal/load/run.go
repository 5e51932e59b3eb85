package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Run drives the target until the shape ends or ctx does, waits for the
// requests that are out (when ctx ended: for at most Grace, then it cuts
// them), and reports. The end of ctx is no error. It calls tick, when it is
// not nil, about each second and once at the end, on the goroutine of the
// caller; a slow tick holds up the counting and so makes arrivals drop.
//
// The error is about the config or the target, found before the first request:
// it wraps ErrTarget when the target is not allowed. Requests that fail are in
// the report.
func Run(ctx context.Context, c Config, tick func(Tick)) (Report, error) {
	if err := c.Validate(); err != nil {
		return Report{}, err
	}
	c = c.withDefaults()
	cl, err := newClient(c)
	if err != nil {
		return Report{}, err
	}
	if err := checkTarget(ctx, cl.proto.URL, c.AllowRemote); err != nil {
		return Report{}, err
	}
	defer cl.transport.CloseIdleConnections()
	return newDriver(c, cl.do, nap).run(ctx, tick), nil
}

// job is one arrival.
type job struct {
	due time.Time
	n   int
}

// driver is one run. The dispatcher alone touches workers; the results are
// added up on the goroutine of run.
type driver struct {
	Config
	do  func(context.Context, job) result
	nap func(time.Duration) // an exact sleep, for short times

	start   time.Time
	jobs    chan job // as long as MaxInFlight, so that sending never blocks
	results chan result
	workers int

	inFlight, peak, sent, dropped, lag atomic.Int64 // lag: ns since the last tick
}

func newDriver(c Config, do func(context.Context, job) result, nap func(time.Duration)) *driver {
	return &driver{Config: c, do: do, nap: nap,
		jobs: make(chan job, c.MaxInFlight), results: make(chan result, 1024)}
}

func (d *driver) run(ctx context.Context, tick func(Tick)) Report {
	d.start = time.Now()
	go d.dispatch(ctx) // ends by closing results, which this goroutine waits for
	col := newCollector(d, tick)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case r, open := <-d.results:
			if !open {
				return col.finish()
			}
			col.add(r)
		case <-ticker.C:
			col.tick()
		}
	}
}

// dispatch sends every arrival at its instant, then sees the workers off.
func (d *driver) dispatch(ctx context.Context) {
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var workers, guard sync.WaitGroup
	done := make(chan struct{})
	guard.Go(func() { d.guard(ctx, done, cut) })

	rng := d.Rand
	arrivals := d.Shape.Arrivals(nil)
	if d.Poisson {
		arrivals = d.Shape.Arrivals(rng)
	}
	for at := range arrivals {
		n := d.Request.N.Lo + rng.IntN(d.Request.N.Hi-d.Request.N.Lo+1) // for dropped ones too: the seed decides alone
		due := d.start.Add(at)
		if !d.sleepUntil(ctx, due) {
			break
		}
		d.lag.Store(max(d.lag.Load(), int64(time.Since(due))))
		d.arrive(work, job{due: due, n: n}, &workers)
	}
	if end := d.Shape.end(); end < forever {
		d.sleepUntil(ctx, d.start.Add(end)) // a shape may end in silence
	}
	close(d.jobs)
	workers.Wait()
	close(done)
	guard.Wait()
	close(d.results)
}

// guard cuts the requests that are out when ctx has ended and Grace is over.
func (d *driver) guard(ctx context.Context, done <-chan struct{}, cut func()) {
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(d.Grace):
		cut()
	}
}

// arrive hands the job to a worker, with one more worker when all are busy. A
// job is in flight from here on, so one that is queued has a worker about to
// be free.
func (d *driver) arrive(ctx context.Context, j job, workers *sync.WaitGroup) {
	if d.inFlight.Load() >= int64(d.MaxInFlight) {
		d.dropped.Add(1)
		return
	}
	out := d.inFlight.Add(1)
	d.sent.Add(1)
	d.peak.Store(max(d.peak.Load(), out))
	if out > int64(d.workers) {
		d.workers++
		workers.Go(func() {
			for j := range d.jobs {
				d.results <- d.do(ctx, j)
				d.inFlight.Add(-1)
			}
		})
	}
	d.jobs <- j
}

// Sleeping: timers of Go wake up to a millisecond late on Linux, because the
// runtime waits in epoll_wait (golang.org/issue/44343). The last stretch before
// an arrival is slept exactly, at the price of a blocked thread. Arrivals
// closer together than batch wake the driver once for several.
const (
	exact = 2 * time.Millisecond
	batch = 250 * time.Microsecond
)

// sleepUntil reports whether the instant came before the end of ctx.
func (d *driver) sleepUntil(ctx context.Context, due time.Time) bool {
	for ctx.Err() == nil {
		left := time.Until(due)
		switch {
		case left <= 0:
			return true
		case left <= exact:
			d.nap(max(left, batch))
		default:
			select {
			case <-ctx.Done():
			case <-time.After(left - exact/2):
			}
		}
	}
	return false
}

// nap sleeps in the kernel. Waking early, by a signal, is fine.
func nap(t time.Duration) {
	spec := syscall.NsecToTimespec(int64(t))
	_ = syscall.Nanosleep(&spec, nil)
}

// collector turns results into ticks and the report.
type collector struct {
	d             *driver
	onTick        func(Tick)
	second, whole *tally
	last          time.Duration // when the last tick was
	sent, dropped int64         // at the last tick
	lagMs         float64       // of the whole
	samples       []Sample
	samplesOf     [len(kindNames)]int
}

func newCollector(d *driver, tick func(Tick)) *collector {
	if tick == nil {
		tick = func(Tick) {}
	}
	return &collector{d: d, onTick: tick, second: newTally(), whole: newTally(), samples: []Sample{}}
}

func (c *collector) add(r result) {
	c.second.add(r)
	c.whole.add(r)
	if r.kind != kindOK && r.kind != kindCut && c.samplesOf[r.kind] < samplesPerKind {
		c.samplesOf[r.kind]++
		c.samples = append(c.samples, Sample{
			ElapsedS: time.Since(c.d.start).Seconds(), Kind: r.kind.String(), Replica: r.replica, Message: r.message,
		})
	}
}

func (c *collector) tick() {
	now := time.Since(c.d.start)
	span := (now - c.last).Seconds()
	sent, dropped := c.d.sent.Load(), c.d.dropped.Load()
	t := Tick{
		ElapsedS:  now.Seconds(),
		WantedRPS: mean(c.d.Shape, c.last, now),
		InFlight:  c.d.inFlight.Load(),
		LagMs:     float64(c.d.lag.Swap(0)) / 1e6,
	}
	t.Counts, t.Latency = c.second.take()
	t.Sent, t.Dropped = sent-c.sent, dropped-c.dropped
	t.RPS = float64(t.Done) / max(span, 1)
	c.last, c.sent, c.dropped, c.lagMs = now, sent, dropped, max(c.lagMs, t.LagMs)
	c.onTick(t)
}

// finish makes the last tick, if anything is left for it, and the report.
func (c *collector) finish() Report {
	d := c.d
	if c.second.Done+c.second.Cut > 0 || c.last == 0 || d.sent.Load()+d.dropped.Load() > c.sent+c.dropped {
		c.tick()
	}
	now := time.Since(d.start)
	r := Report{
		Mode:         d.Shape.Mode,
		ElapsedS:     now.Seconds(),
		WantedRPS:    mean(d.Shape, 0, min(now, d.Shape.end())),
		PeakInFlight: d.peak.Load(),
		LagMs:        c.lagMs,
		Errors:       c.samples,
	}
	r.Counts, r.Latency = c.whole.take()
	r.Sent, r.Dropped = d.sent.Load(), d.dropped.Load()
	r.RPS = float64(r.Done) / max(now.Seconds(), 1e-3)
	if r.Sent != r.Done+r.Cut {
		panic(fmt.Sprintf("bug: sent %d, done %d, cut %d", r.Sent, r.Done, r.Cut))
	}
	return r
}

// mean is the wanted rate between two instants.
func mean(s Shape, from, to time.Duration) float64 {
	if to <= from {
		return 0
	}
	return (s.Sum(to) - s.Sum(from)) / (to - from).Seconds()
}
