package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of a queue of jobs.
const (
	maxJob    = time.Hour
	patience  = 30 * time.Second // after which the broker gives a job of which it hears nothing to another
	lookEvery = time.Second      // how soon a worker without a job sees that it is to stop
	away      = time.Second      // between two tries while the broker is away
)

// dial connects to the broker; a worker waits for one that is not there yet.
func (o options) dial(more ...nats.Option) (jetstream.JetStream, *nats.Conn, error) {
	conn, err := nats.Connect(o.broker, append(more, nats.Name(o.replica), nats.MaxReconnects(-1))...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the broker %s: %w", o.broker, err)
	}
	js, err := jetstream.New(conn)
	return js, conn, err
}

// stream makes the queue: what is acknowledged leaves it.
func (o options) stream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	s, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: o.queue, Subjects: []string{o.queue}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		return nil, fmt.Errorf("make the queue %s: %w", o.queue, err)
	}
	return s, nil
}

// submit puts jobs into the queue.
func submit(ctx context.Context, o options) error {
	js, conn, err := o.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := o.stream(ctx, js); err != nil {
		return err
	}
	for range o.jobs {
		if _, err := js.Publish(ctx, o.queue, []byte(o.job.String())); err != nil {
			return fmt.Errorf("submit a job: %w", err)
		}
	}
	return nil
}

// worker takes one job after the other.
type worker struct {
	*server
	log *slog.Logger
}

// employ starts a worker. The function that it returns waits for the end of it.
func (s *server) employ(log *slog.Logger) (end func()) {
	ctx, cut := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker{s, log}.run(ctx) }()
	return func() {
		cut()
		if err := <-ended; err != nil {
			log.Warn("the broker was left without a word", "err", err)
		}
	}
}

// run works until the server stops. The job at hand is finished then, or given back when
// ctx ends.
func (w worker) run(ctx context.Context) error {
	js, conn, err := w.dial(nats.RetryOnFailedConnect(true))
	if err != nil {
		return err
	}
	defer conn.Close()
	for !w.over(ctx) {
		if err := w.take(ctx, js); err != nil {
			w.log.Warn("the broker gives no jobs", "err", err)
			select {
			case <-time.After(away):
			case <-w.stopping:
			case <-ctx.Done():
			}
		}
	}
	return conn.Flush() // of what is acknowledged
}

// over reports whether no other job is to be taken.
func (w worker) over(ctx context.Context) bool { return ctx.Err() != nil || w.isStopping() }

// take works while the broker gives jobs.
func (w worker) take(ctx context.Context, js jetstream.JetStream) error {
	making, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := w.stream(making, js)
	if err != nil {
		return err
	}
	c, err := s.CreateOrUpdateConsumer(making, jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, AckWait: patience})
	if err != nil {
		return err
	}
	for !w.over(ctx) {
		batch, err := c.Fetch(1, jetstream.FetchMaxWait(lookEvery)) // no more than it can do now
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			w.do(ctx, m)
		}
		if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) {
			return err
		}
	}
	return nil
}

// do does one job: it takes the time that it says.
func (w worker) do(ctx context.Context, m jetstream.Msg) {
	text := strings.TrimSpace(string(m.Data()))
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxJob {
		w.log.Error("a job that nobody can do", "job", text)
		w.tell(m.Term())
		return
	}
	defer w.begin()()
	if w.over(ctx) {
		w.tell(m.Nak())
		return
	}
	done := time.NewTimer(d)
	defer done.Stop()
	beat := time.NewTicker(patience / 3)
	defer beat.Stop()
	for {
		select {
		case <-done.C:
			w.log.Info("done", "job", text)
			w.tell(m.Ack())
			return
		case <-beat.C:
			w.tell(m.InProgress())
		case <-ctx.Done():
			w.tell(m.Nak())
			return
		}
	}
}

// tell notes that the broker was not told. It gives the job to another then.
func (w worker) tell(err error) {
	if err != nil {
		w.log.Warn("the broker was not told", "err", err)
	}
}
