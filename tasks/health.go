package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
)

// firstProbe is the wait after the first failed check of a new replica; it
// doubles up to the interval of its health block. Most replicas are up within a
// few of these, and the loop's reaction time is made of them.
const firstProbe = 10 * time.Millisecond

// firstMoments is how long a new replica without a check is watched: a program
// that is called in a wrong way, or misses a library, ends well within it.
const firstMoments = 300 * time.Millisecond

// verify waits until a new or changed replica is healthy, as often in a row as
// its health block asks for, within its start timeout. One without a check is
// watched through its first moments if it is new.
func (r *Runner) verify(ctx context.Context, p providers.Provider, o engine.Object, isNew bool) error {
	if o.Address.Kind != engine.KindFunction {
		return nil
	}
	replica := engine.MustDecode[engine.Replica](o.Value)
	if replica.Health == nil {
		if !isNew {
			return nil
		}
		return r.stays(ctx, p, o)
	}
	h := *replica.Health
	limit := h.StartTimeout.Std()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNotHealthy)
	defer cancel()
	wait, good := firstProbe, 0
	last := errors.New("it was not checked yet")
	for {
		check, stop := context.WithTimeout(ctx, h.Timeout.Std())
		err := r.check(check, p, o)
		stop()
		if err == nil {
			if good++; good >= h.HealthyAfter {
				return nil
			}
		} else if ctx.Err() == nil {
			good, last = 0, err
		}
		if !pause(ctx, wait) {
			break
		}
		if err := lost(ctx, p, o); err != nil {
			return r.explain(ctx, p, o, err)
		}
		wait = min(2*wait, h.Interval.Std())
	}
	if cause := context.Cause(ctx); !errors.Is(cause, errNotHealthy) {
		return fmt.Errorf("wait until it is healthy: %w", cause)
	}
	return r.explain(ctx, p, o, fmt.Errorf("it was not healthy within %s (health.start_timeout): %w", h.StartTimeout, last))
}

// stays reports that a new replica ended at once.
func (r *Runner) stays(ctx context.Context, p providers.Provider, o engine.Object) error {
	s, ok := providers.As[providers.Stayer](p)
	if !ok {
		return nil
	}
	watch, stop := context.WithTimeout(ctx, firstMoments)
	defer stop()
	if err := s.Stays(watch, o); err != nil {
		return r.explain(ctx, p, o, fmt.Errorf("it did not stay up: %w", err))
	}
	return nil
}

// check checks a replica once, in the way of its provider if that has one.
func (r *Runner) check(ctx context.Context, p providers.Provider, o engine.Object) error {
	if own, ok := providers.As[providers.Prober](p); ok {
		if err := own.Probe(ctx, o); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return r.probe.probe(ctx, p, o)
}

var errNotHealthy = errors.New("not healthy in time")

// pause waits, and reports false when the context ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lost reports that a replica is gone, so that there is nothing to wait for.
func lost(ctx context.Context, p providers.Provider, o engine.Object) error {
	obs, err := p.Read(ctx, o)
	if err == nil && obs.Presence == engine.Gone {
		return fmt.Errorf("it is gone: %s", obs.Why)
	}
	return nil
}

// LogFollows stands between the reason of a failure and the end of a replica's log.
const LogFollows = "; its log ends with:"

// explain adds what the replica printed last to the reason why it failed. Trying
// again as it is would fail again.
func (r *Runner) explain(ctx context.Context, p providers.Provider, o engine.Object, why error) error {
	return &UnfitError{Function: o.Address.Group(), Value: o.Value, Sensitive: o.Sensitive, Err: r.withLog(ctx, p, o, why)}
}

func (r *Runner) withLog(ctx context.Context, p providers.Provider, o engine.Object, why error) error {
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	if obs, err := p.Read(look, o); err == nil && obs.Presence == engine.Down {
		why = fmt.Errorf("%w; %s", why, obs.Why)
	}
	l, ok := providers.As[providers.Logger](p)
	if !ok {
		return providers.Permanent(why)
	}
	var lines []string
	for line, err := range l.Logs(look, o, providers.LogOptions{Tail: 10}) {
		if err != nil {
			break
		}
		lines = append(lines, "    "+line.Text)
	}
	if len(lines) == 0 {
		return providers.Permanent(fmt.Errorf("%w; it printed nothing", why))
	}
	return providers.Permanent(fmt.Errorf("%w"+LogFollows+"\n%s", why, strings.Join(lines, "\n")))
}

// netProber checks replicas over the network, from where flowctl runs.
type netProber struct {
	client *http.Client
}

// newNetProber returns a prober. Its connections are not kept.
func newNetProber() *netProber {
	return &netProber{client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// probe checks a replica once; the error says why it cannot serve.
func (n *netProber) probe(ctx context.Context, p providers.Provider, o engine.Object) error {
	r := engine.MustDecode[engine.Replica](o.Value)
	switch h := r.Health; {
	case h.HTTP != "":
		return n.http(ctx, "http://"+r.Address+h.HTTP)
	case h.TCP:
		c, err := new(net.Dialer).DialContext(ctx, "tcp", r.Address)
		if err != nil {
			return err
		}
		return c.Close()
	case len(h.Exec) > 0:
		return command(ctx, p, o, h.Exec)
	default:
		return running(ctx, p, o)
	}
}

func (n *netProber) http(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "flowctl-health")
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("GET %s answered %s", url, resp.Status)
	}
	return nil
}

func command(ctx context.Context, p providers.Provider, o engine.Object, argv []string) error {
	x, ok := providers.As[providers.Execer](p)
	if !ok {
		return errors.New("its provider cannot run health.exec; use http or tcp")
	}
	var out strings.Builder
	status, err := x.Exec(ctx, o, argv, providers.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
	if err == nil && status != 0 {
		text := out.String()
		err = fmt.Errorf("%s ended with status %d: %s", strings.Join(argv, " "), status, strings.TrimSpace(text[:min(len(text), 500)]))
	}
	return err
}

// running is the check of a replica without a check of its own.
func running(ctx context.Context, p providers.Provider, o engine.Object) error {
	obs, err := p.Read(ctx, o)
	if err == nil && obs.Presence != engine.Present {
		err = errors.New(obs.Why)
	}
	return err
}
