package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

//go:embed page.html
var pageText string

// The page is one template, and its board, which is sent again and again, another.
var templates = template.Must(template.New("page").Parse(pageText))

// room is the control room: it looks into the store once for all who watch.
type room struct {
	store *store
	every time.Duration
	log   *slog.Logger

	mu      sync.Mutex
	board   board
	changed chan struct{} // closed when the board changes
}

// page runs the control room until ctx ends.
func page(ctx context.Context, o options, log *slog.Logger) error {
	r := newRoom(o, log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(ctx, o, r.mux(), log) })
	g.Go(func() error { return r.watch(ctx) })
	return g.Wait()
}

func newRoom(o options, log *slog.Logger) *room {
	return &room{store: newStore(o), every: o.every, log: log, board: board{Fault: "no look into the store yet"}, changed: make(chan struct{})}
}

func (r *room) mux() *http.ServeMux {
	mux := newMux(func() any { b, _ := r.look(); return b })
	mux.HandleFunc("GET /{$}", r.show)
	mux.HandleFunc("GET /events", r.stream)
	return mux
}

// watch looks into the store again and again, and every minute at the day.
func (r *room) watch(ctx context.Context) error {
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	var day history24
	for {
		b, err := r.store.readBoard(ctx, time.Now(), &day)
		if err != nil {
			r.log.Warn("no look into the store", "err", err)
			last, _ := r.look()
			b = last.failed(err)
		}
		r.hang(b)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// hang puts up another board.
func (r *room) hang(b board) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.board = b
	close(r.changed)
	r.changed = make(chan struct{})
}

// look returns the board, and a channel that is closed when there is another.
func (r *room) look() (board, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.board, r.changed
}

func (r *room) show(w http.ResponseWriter, _ *http.Request) {
	b, _ := r.look()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(render("page", b))
}

// stream sends the board whenever it changes, until the visitor leaves.
func (r *room) stream(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for {
		b, changed := r.look()
		if _, err := w.Write(event(render("board", b))); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-req.Context().Done():
			return
		case <-changed:
		}
	}
}

// event is a server-sent event: html.spec.whatwg.org/multipage/server-sent-events.html.
func event(data []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(data) {
		fmt.Fprintf(&b, "data: %s\n", bytes.TrimRight(line, "\n"))
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func render(name string, b board) []byte {
	var buf bytes.Buffer
	if err := templates.ExecuteTemplate(&buf, name, b); err != nil {
		panic("bug: " + err.Error())
	}
	return buf.Bytes()
}
