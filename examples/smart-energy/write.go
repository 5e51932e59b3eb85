package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// again is how soon the broker sends what the store did not take.
const again = time.Second

// message is what a writer needs of the broker's.
type message interface {
	Data() []byte
	Ack() error                       // the store has it
	NakWithDelay(time.Duration) error // send it again later
	Term() error                      // never send it again
}

// writer puts messages into the store.
type writer struct {
	store           *store
	log             *slog.Logger
	stored, refused atomic.Uint64
}

// write runs a writer until ctx ends.
func write(ctx context.Context, o options, log *slog.Logger) error {
	b, err := dial(o.broker, "writer", log)
	if err != nil {
		return err
	}
	defer b.close()
	w := &writer{store: newStore(o), log: log}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(ctx, o, newMux(w.status), log) })
	g.Go(func() error {
		for {
			err := b.receive(ctx, w.put)
			if ctx.Err() != nil {
				return nil
			}
			log.Warn("the broker sends nothing", "err", err)
			if !pause(ctx, retryEvery) {
				return nil
			}
		}
	})
	return g.Wait()
}

func (w *writer) status() any {
	return struct {
		Stored  uint64 `json:"stored"`  // messages that the store took
		Refused uint64 `json:"refused"` // messages that nobody can store
	}{w.stored.Load(), w.refused.Load()}
}

// put stores a batch, and acknowledges what the store has. What the store cannot
// take now comes again; what it will never take is let go, by itself.
func (w *writer) put(ctx context.Context, batch []message) {
	var lines []byte
	var whole []message
	for _, m := range batch {
		r, err := decodeReading(m.Data())
		if err != nil {
			w.refuse(m, err)
			continue
		}
		lines, whole = r.appendLine(lines), append(whole, m)
	}
	if len(whole) == 0 {
		return
	}
	err := w.store.write(ctx, lines)
	switch {
	case err == nil:
		w.stored.Add(uint64(len(whole)))
		w.answer(whole, message.Ack)
	case errors.Is(err, errRefused) && len(whole) == 1:
		w.refuse(whole[0], err)
	case errors.Is(err, errRefused):
		for _, m := range whole {
			w.put(ctx, []message{m})
		}
	default:
		w.log.Warn("the store takes nothing", "messages", len(whole), "err", err)
		w.answer(whole, func(m message) error { return m.NakWithDelay(again) })
	}
}

func (w *writer) refuse(m message, why error) {
	w.refused.Add(1)
	w.log.Error("a message cannot be stored", "data", string(m.Data()), "err", why)
	w.answer([]message{m}, message.Term)
}

// answer tells the broker. If that fails, the messages come again.
func (w *writer) answer(ms []message, how func(message) error) {
	for _, m := range ms {
		if err := how(m); err != nil {
			w.log.Warn("the broker was not told", "err", err)
			return
		}
	}
}
