package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The broker's stream of readings. It is a queue: what is acknowledged leaves it.
// When it is full, the broker refuses more, and collectors keep it.
const (
	streamName = "READINGS"
	subject    = "readings."
	durable    = "store"
)

// answerTime is the longest that the broker, or the store, may take to answer.
const answerTime = 5 * time.Second

// broker is a connection, which is made again for as long as the process lives.
type broker struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	stream bool // known to be there; publish's own
}

// dial begins to connect; the broker need not be there yet.
func dial(url, name string, log *slog.Logger) (*broker, error) {
	conn, err := nats.Connect(url, nats.Name(name),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(retryEvery),
		nats.Timeout(2*time.Second), nats.SkipHostLookup(), // so that the time holds for finding its address, too
		nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1), // what is not sent stays in the spool, not in a buffer
		nats.ConnectHandler(func(*nats.Conn) { log.Info("connected to the broker") }),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connected to the broker again") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("the broker is away", "err", err) }),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker %s: %w", url, err)
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(batchSize), jetstream.WithPublishAsyncTimeout(answerTime))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to the broker %s: %w", url, err)
	}
	return &broker{conn: conn, js: js}, nil
}

// errAway is for what has to wait until the broker is back.
var errAway = errors.New("the broker is away")

func (b *broker) close() { b.conn.Close() }

// ensure makes the stream if it is not there.
func (b *broker) ensure(ctx context.Context) error {
	if !b.conn.IsConnected() {
		return errAway
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{subject + "*"}, Storage: jetstream.FileStorage,
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxBytes: 256 << 20,
		Duplicates: 2 * time.Minute,
	})
	if err != nil {
		return fmt.Errorf("make the stream: %w", err)
	}
	return nil
}

// publish returns how many readings the broker has written down.
func (b *broker) publish(ctx context.Context, rs []reading) (done int, err error) {
	defer func() { b.stream = err == nil }()
	if !b.stream {
		if err := b.ensure(ctx); err != nil {
			return 0, err
		}
	}
	var answers []jetstream.PubAckFuture
	var unsent error
	for _, r := range rs {
		f, err := b.send(r)
		if unsent = err; err != nil {
			break // those before may have reached it
		}
		answers = append(answers, f)
	}
	for i, f := range answers {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return i, fmt.Errorf("publish reading %s: %w", rs[i].id(), err)
		case <-ctx.Done():
			return i, ctx.Err()
		}
	}
	return len(answers), unsent
}

func (b *broker) send(r reading) (jetstream.PubAckFuture, error) {
	data, err := json.Marshal(r)
	if err != nil {
		panic("bug: " + err.Error())
	}
	f, err := b.js.PublishMsgAsync(&nats.Msg{Subject: subject + r.Site, Data: data}, jetstream.WithMsgID(r.id()))
	if err != nil {
		return nil, fmt.Errorf("send reading %s: %w", r.id(), err)
	}
	return f, nil
}

// receive hands batches of messages on, until something fails or ctx ends. What is
// not acknowledged in time comes again.
func (b *broker) receive(ctx context.Context, handle func(context.Context, []message)) error {
	if err := b.ensure(ctx); err != nil {
		return err
	}
	c, err := b.js.CreateOrUpdateConsumer(ctx, streamName, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * answerTime, MaxAckPending: 4 * batchSize,
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for ctx.Err() == nil {
		if err := fetch(ctx, c, handle); err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
	}
	return nil
}

// fetch asks for messages once, and hands on what comes, when it comes.
func fetch(ctx context.Context, c jetstream.Consumer, handle func(context.Context, []message)) error {
	limit, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	batch, err := c.Fetch(batchSize, jetstream.FetchContext(limit), jetstream.FetchHeartbeat(time.Second))
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		handle(ctx, gather(m, batch.Messages()))
	}
	return batch.Error()
}

// gather takes what is there already, after a first message.
func gather(first jetstream.Msg, rest <-chan jetstream.Msg) []message {
	all := []message{first}
	for {
		select {
		case m, ok := <-rest:
			if !ok {
				return all
			}
			all = append(all, m)
		default:
			return all
		}
	}
}
