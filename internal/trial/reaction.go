package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowctl/flowctl/internal/daemon"
	"github.com/flowctl/flowctl/internal/load"
	"github.com/flowctl/flowctl/runtime/api"
)

// Reaction is a trial of spikes, each of which is over as soon as a new replica
// answers through the frontend.
type Reaction struct {
	Flow       Flow
	URL        string
	Rule       string        // the scaling block: that of function RULE
	Base, Peak float64       // requests per second
	Rest       time.Duration // at Base between two spikes, at least, and up to a second more
	Rand       *rand.Rand
}

// Spike is how one spike was answered. The parts add up to Whole.
type Spike struct {
	Whole   time.Duration // from the first request too many until a new replica answers one
	Sample  time.Duration // until the reading by which it was decided
	Decide  time.Duration // from there until the decision
	Plan    time.Duration // until the replica is begun: a plan, and what the run does first
	Healthy time.Duration // until the replica runs and its health check passes
	Front   time.Duration // until it is in the frontend
	Answer  time.Duration // until it answers
}

// Parts names the parts, in their order.
var Parts = []string{"sample", "decide", "plan", "start and healthy", "in frontend", "answer", "whole"}

// Part is the part with number i of Parts.
func (s Spike) Part(i int) time.Duration {
	return []time.Duration{s.Sample, s.Decide, s.Plan, s.Healthy, s.Front, s.Answer, s.Whole}[i]
}

// Run sends n spikes and hands each on. Requests that fail end it.
func (r Reaction) Run(ctx context.Context, n int, each func(int, Spike)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c := &clients{url: r.URL, fail: stop, seen: map[string]bool{}}
	defer c.wg.Wait()
	c.wg.Go(func() { c.send(ctx, r.Base) })
	for i := range n {
		s, err := r.spike(ctx, c)
		if err != nil {
			stop(err)
			return err
		}
		each(i, s)
	}
	stop(nil)
	return nil
}

func (r Reaction) spike(ctx context.Context, c *clients) (Spike, error) {
	if err := r.rest(ctx); err != nil {
		return Spike{}, err
	}
	fresh := c.expect()
	more, enough := context.WithCancel(ctx)
	defer enough()
	begun := time.Now()
	c.wg.Go(func() { c.send(more, r.Peak-r.Base) })
	var a answer
	select {
	case a = <-fresh:
	case <-ctx.Done():
		return Spike{}, context.Cause(ctx)
	}
	enough()
	s, err := r.parts(ctx, begun, a)
	if err != nil {
		return s, fmt.Errorf("the answer of %s, %s after the spike began: %w", a.replica, a.at.Sub(begun), err)
	}
	return s, nil
}

// rest waits until there is one replica and nothing is under way, and then for
// some time, so that spikes begin at any time between two readings.
func (r Reaction) rest(ctx context.Context) error {
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	r.Flow.Follow(until, 100*time.Millisecond, func(s api.Status) {
		i := slices.IndexFunc(s.Rules, func(x api.Rule) bool { return x.Rule == r.Rule })
		if i >= 0 && len(s.Running) == 0 && quiet(s.Rules[i]) {
			cancel()
		}
	})
	select {
	case <-time.After(r.Rest + time.Duration(r.Rand.Int64N(int64(time.Second)))):
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// quiet reports whether a function is at its least size, and not only on its way there:
// replicas that start are no more wanted where it says so, and are still to go.
func quiet(r api.Rule) bool {
	d := r.Decision
	return d.From == r.Min && d.Ready == r.Min && d.To == r.Min
}

// task is what flowctl tells of a task of a run.
type task struct {
	Op       string `json:"op"`
	Address  string `json:"address"`
	Attempts []struct {
		Started time.Time `json:"started"`
		Ended   time.Time `json:"ended"`
	} `json:"attempts"`
}

// parts takes the time apart, by the decision and its run.
func (r Reaction) parts(ctx context.Context, begun time.Time, a answer) (s Spike, err error) {
	s.Whole = a.at.Sub(begun)
	d, made, joined, err := r.trace(ctx, begun, a)
	if err != nil {
		return s, err
	}
	newest := begun
	for _, w := range d.Wishes {
		newest = later(newest, w.Newest)
	}
	started, ended := made.Attempts[0].Started, made.Attempts[len(made.Attempts)-1].Ended
	in := joined.Attempts[len(joined.Attempts)-1].Ended
	if in.After(a.at) {
		in = a.at // it answered before that it had joined was noted
	}
	s.Sample, s.Decide, s.Plan = newest.Sub(begun), d.At.Sub(newest), started.Sub(d.At)
	s.Healthy, s.Front, s.Answer = ended.Sub(started), in.Sub(ended), a.at.Sub(in)
	return s, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// trace finds the run that made the replica that answered, its tasks, and the
// decision that came last before them. A run tells of its tasks once they have
// ended.
func (r Reaction) trace(ctx context.Context, begun time.Time, a answer) (d api.Decision, made, joined task, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		made, joined, err = r.tasks(ctx, begun, a.replica)
		if err != nil {
			return d, made, joined, err
		}
		decisions, err := r.decisions(ctx)
		if err != nil {
			return d, made, joined, err
		}
		for _, d := range decisions { // the newest first
			if made.Op != "" && joined.Op != "" && d.Act && d.To > d.From && !d.At.After(made.Attempts[0].Started) {
				return d, made, joined, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return d, made, joined, fmt.Errorf("no run tells of it: %w", context.Cause(ctx))
		}
	}
}

func (r Reaction) decisions(ctx context.Context) (all []api.Decision, err error) {
	client := daemon.HTTPClient(r.Flow.Controller())
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://controller/v1/decisions?limit=50&rule="+r.Rule, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return all, json.NewDecoder(resp.Body).Decode(&all)
}

// tasks finds those that made a replica and brought it into the frontend, among
// the runs since an instant.
func (r Reaction) tasks(ctx context.Context, since time.Time, replica string) (made, joined task, err error) {
	var runs []struct {
		ID      int64     `json:"id"`
		Started time.Time `json:"started"`
	}
	if err := r.ask(ctx, &runs, "-json"); err != nil {
		return made, joined, err
	}
	suffix := "/" + replica[len("function."):]
	for _, one := range runs {
		if one.Started.Before(since) {
			continue
		}
		var run struct{ Items []task }
		if err := r.ask(ctx, &run, "show", "-json", fmt.Sprint(one.ID)); err != nil {
			return made, joined, err
		}
		for _, t := range run.Items {
			switch {
			case t.Op != "create" || len(t.Attempts) == 0 || t.Attempts[len(t.Attempts)-1].Ended.IsZero():
			case t.Address == replica:
				made = t
			case strings.HasSuffix(t.Address, suffix):
				joined = t
			}
		}
	}
	return made, joined, nil
}

// ask reads what flowctl runs prints.
func (r Reaction) ask(ctx context.Context, into any, flags ...string) error {
	text, err := r.Flow.Run(ctx, "runs", flags...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// answer is one by a replica that is new.
type answer struct {
	replica string
	at      time.Time
}

// clients send requests, and notice who answers.
type clients struct {
	url  string
	fail context.CancelCauseFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	seen  map[string]bool
	fresh chan answer // nil when nobody new is expected
}

// expect tells of the first answer by a replica that did not answer in the time
// before.
func (c *clients) expect() <-chan answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = make(chan answer, 1)
	return c.fresh
}

// send sends requests at a rate, whatever becomes of them, until ctx ends, and
// waits for their answers.
func (c *clients) send(ctx context.Context, rate float64) {
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for {
		wg.Go(func() { c.ask(ctx) })
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *clients) ask(ctx context.Context) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, c.url, nil)
	if err != nil {
		c.fail(err)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.fail(err)
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		c.fail(fmt.Errorf("a request failed: status %d, %v", resp.StatusCode, err))
		return
	}
	c.answered(resp.Header.Get(load.ReplicaHeader), time.Now())
}

func (c *clients) answered(replica string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fresh == nil {
		c.seen[replica] = true // from the beginning
	} else if !c.seen[replica] {
		select {
		case c.fresh <- answer{replica, at}:
		default: // the first one counts
		}
	}
}
