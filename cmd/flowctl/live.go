package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/flowctl/flowctl/cmd/flowctl/args"
	"github.com/flowctl/flowctl/cmd/flowctl/view"
	"github.com/flowctl/flowctl/engine"
	"github.com/flowctl/flowctl/providers"
	"golang.org/x/term"
)

// live draws the running tasks on a terminal, ten times a second.
type live struct {
	app *app

	mu       sync.Mutex
	terminal view.Terminal
	progress *view.Progress
	lines    []string // to be drawn above the block
	stop     chan struct{}
	done     chan struct{}
}

func newLive(a *app, total int) *live {
	l := &live{
		app: a, terminal: view.Terminal{Out: a.err}, progress: view.NewProgress(total, a.now(), a.errStyle()),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go func() {
		defer close(l.done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.draw(false)
			case <-l.stop:
				l.draw(true)
				return
			}
		}
	}()
	return l
}

// draw shows what has happened since; the last time without the block.
func (l *live) draw(last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	width, height := 80, 24
	if f, ok := l.app.err.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil {
			width, height = w, h
		}
	}
	var block []string
	if !last {
		block = l.progress.Block(width-1, min(height-2, 16), l.app.now())
	}
	l.terminal.Draw(l.lines, block)
	l.lines = nil
}

func (l *live) event(e engine.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, l.progress.Event(e)...)
}

func (l *live) line(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
}

func (l *live) close() {
	close(l.stop)
	<-l.done
}

// Write lets log records appear above the block.
func (c *console) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(bytes.TrimRight(p, "\n"))) {
		c.note(strings.TrimRight(line, "\n"))
	}
	return len(p), nil
}

// logger returns a logger that does not disturb the progress.
func (c *console) logger() *slog.Logger {
	if c.mode == args.JSON {
		return slog.New(view.NewLogHandler(c.app.err, c.app.errStyle()))
	}
	return slog.New(view.NewLogHandler(c, c.app.errStyle()))
}

func cleaner(p providers.Provider) (providers.Cleaner, bool) {
	return providers.As[providers.Cleaner](p)
}
