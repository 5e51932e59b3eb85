package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// serve listens until ctx ends, then drains.
func serve(ctx context.Context, o options, log *slog.Logger) error {
	s := newServer(o, log)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: s, Protocols: protocols, ConnState: s.connState,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than a proxy's, so that the proxy closes first
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	l, err := net.Listen("tcp", net.JoinHostPort(o.host, o.port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if d := o.faults.crash.uptime; d > 0 {
		defer time.AfterFunc(d, crash).Stop()
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }() // ends when l is closed, which is awaited below
	log.Info("listening", "addr", l.Addr().String())
	if o.role == "worker" {
		defer s.employ(log)()
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping")
	limit, cancel := context.WithTimeout(context.Background(), o.drain)
	defer cancel()
	s.finishWork(limit)
	l.Close()
	<-served // no more connections from here on
	s.closeFresh(limit)
	if err := srv.Shutdown(limit); err != nil {
		log.Warn("requests cut", "drain", o.drain)
		srv.Close()
	}
	log.Info("stopped")
	return nil
}

// finishWork turns the health, ends streams, and waits for the requests that
// are at work now and for -linger. Requests that come meanwhile are served.
func (s *server) finishWork(limit context.Context) {
	linger, cancel := context.WithTimeout(limit, s.linger)
	defer cancel()
	s.stop()
	select {
	case <-s.settled:
	case <-limit.Done():
	}
	<-linger.Done()
}

// begin counts a request in; the function it returns counts it out.
func (s *server) begin() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return func() {}
	}
	s.earlier++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.earlier--
		s.settle()
	}
}

func (s *server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	close(s.stopping)
	s.settle()
}

// settle needs mu. No request joins the earlier ones after stop, so it closes once.
func (s *server) settle() {
	if s.stopped && s.earlier == 0 {
		close(s.settled)
	}
}

func (s *server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// connState keeps track of connections that have not sent a request yet.
func (s *server) connState(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.fresh[c] = struct{}{}
	} else {
		delete(s.fresh, c)
	}
}

// closeFresh gives connections without a request a moment to send one, then
// closes them. Shutdown would take them for busy for 5 s (golang.org/issue/59037),
// and the pools of Go's clients leave such connections about.
func (s *server) closeFresh(limit context.Context) {
	grace, cancel := context.WithTimeout(limit, 200*time.Millisecond)
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for s.countFresh() > 0 && grace.Err() == nil {
		select {
		case <-poll.C:
		case <-grace.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.fresh {
		c.Close() // only the connection; the server notices and calls connState
	}
}

func (s *server) countFresh() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.fresh)
}
