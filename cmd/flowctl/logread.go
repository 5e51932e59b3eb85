package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"github.com/flowctl/flowctl/runtime"
	"github.com/flowctl/flowctl/state"
)

// logReader prints the logs of several replicas at once.
type logReader struct {
	*session
	addrs  []string
	opts   providers.LogOptions
	stamps bool

	out *prefixer
	mu  sync.Mutex // guards the rest
	now map[engine.Key]*reading
	err []error
	wg  sync.WaitGroup
}

// reading is the log of one replica.
type reading struct {
	stop context.CancelFunc
	done bool
	last time.Time // of the last line
}

// lookEvery is how often it is looked for replicas that come and go.
const lookEvery = 500 * time.Millisecond

func (l *logReader) run(ctx context.Context) error {
	objects, err := l.pick(ctx, l.addrs, engine.KindFunction)
	if err != nil {
		return err
	}
	l.out, l.now = newPrefixer(l.app, objects), map[engine.Key]*reading{}
	if l.opts.Follow && len(objects) == 1 && objects[0].Address.String() != l.addrs[0] {
		l.out.alone = false // others may come
	}
	for _, o := range objects {
		if _, err := l.logger(ctx, o); err != nil {
			return err
		}
	}
	for _, o := range objects {
		l.begin(ctx, o, l.opts)
	}
	if l.opts.Follow {
		err = l.watch(ctx)
	}
	l.wg.Wait()
	return errors.Join(append(l.err, err)...)
}

// begin reads a log in the background.
func (l *logReader) begin(ctx context.Context, o engine.Object, opts providers.LogOptions) {
	ctx, stop := context.WithCancel(ctx)
	r := &reading{stop: stop, last: opts.Since}
	l.mu.Lock()
	l.now[o.Key()] = r
	l.mu.Unlock()
	l.wg.Go(func() {
		defer stop()
		err := l.read(ctx, o, opts, r)
		l.mu.Lock()
		defer l.mu.Unlock()
		if r.done = true; err != nil && ctx.Err() == nil && !l.opts.Follow {
			l.err = append(l.err, fmt.Errorf("logs of %s: %w", o.Address, err))
		}
	})
}

func (l *logReader) read(ctx context.Context, o engine.Object, opts providers.LogOptions, r *reading) error {
	logger, err := l.logger(ctx, o)
	if err != nil {
		return err
	}
	for line, err := range logger.Logs(ctx, o, opts) {
		if err != nil {
			return err
		}
		l.mu.Lock()
		r.last = line.At
		l.mu.Unlock()
		text := printable(line.Text)
		if l.stamps {
			text = l.app.outStyle().Dim(line.At.Local().Format("2006-01-02T15:04:05.000")) + " " + text
		}
		l.out.line(l.app.out, o.Address, text)
	}
	return nil
}

func (l *logReader) logger(ctx context.Context, o engine.Object) (providers.Logger, error) {
	p, err := l.set.Get(ctx, o.Provider)
	if err != nil {
		return nil, err
	}
	logger, ok := providers.As[providers.Logger](p)
	if !ok {
		return nil, fmt.Errorf("provider %s keeps no logs of %s", o.Provider, o.Address)
	}
	return logger, nil
}

// watch follows what the state says: it begins the logs of replicas that come,
// goes on with those of replicas that have started again, and ends the rest. It
// ends when there are none any more and nobody is changing the flow.
func (l *logReader) watch(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		objects, err := l.pick(ctx, l.addrs, engine.KindFunction)
		if err != nil {
			h, herr := l.store.Holder(ctx, state.ApplyLock)
			if herr != nil || h == nil || !runtime.Alive(*h) {
				l.settle(ctx, nil)
				return nil
			}
		}
		l.settle(ctx, objects)
	}
}

// settle reads just the logs of these replicas.
func (l *logReader) settle(ctx context.Context, objects []engine.Object) {
	there := map[engine.Key]bool{}
	for _, o := range objects {
		there[o.Key()] = true
		l.mu.Lock()
		r := l.now[o.Key()]
		again := r != nil && r.done
		opts := providers.LogOptions{Tail: -1, Follow: true}
		if again {
			opts.Since = r.last.Add(time.Nanosecond)
		}
		l.mu.Unlock()
		if r == nil || again {
			l.begin(ctx, o, opts)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, r := range l.now {
		if !there[k] {
			r.stop()
		}
	}
}
