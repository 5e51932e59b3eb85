package view

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// LogHandler writes log records for people: one line each, warnings and errors
// marked as such.
type LogHandler struct {
	mu    *sync.Mutex
	out   io.Writer
	style Style
	attrs []slog.Attr
}

// NewLogHandler returns a handler for records from Info on.
func NewLogHandler(out io.Writer, s Style) *LogHandler {
	return &LogHandler{mu: &sync.Mutex{}, out: out, style: s}
}

// Enabled implements slog.Handler.
func (h *LogHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle implements slog.Handler.
func (h *LogHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString(h.style.bad("Error: "))
	case r.Level >= slog.LevelWarn:
		b.WriteString(h.style.warn("Warning: "))
	}
	b.WriteString(r.Message)
	sep := ": "
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&b, "%s%s=%v", sep, a.Key, a.Value)
		sep = ", "
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := fmt.Fprintln(h.out, b.String())
	return err
}

// WithAttrs implements slog.Handler.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(append([]slog.Attr{}, h.attrs...), attrs...)
	return &c
}

// WithGroup implements slog.Handler; groups are not shown.
func (h *LogHandler) WithGroup(string) slog.Handler { return h }
