package lb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// clientBody is the body of a request as it comes from the client: bounded in
// size, in how long it may stand still, and in how slow it may be on average.
// Only the time that is spent waiting for the client counts, not that in which a
// backend does not take what is there.
type clientBody struct {
	src    io.ReadCloser
	rc     *http.ResponseController
	idle   time.Duration // 0: none
	rate   int           // bytes per second; 0: none
	n      int64
	waited time.Duration
	failed atomic.Pointer[proxyError] // why a read failed
	ended  atomic.Bool                // it was read to its end
}

func newClientBody(x *exchange, r *http.Request) *clientBody {
	b := &clientBody{src: r.Body, rc: http.NewResponseController(x.w), idle: x.cfg.Timeouts.Idle.limit(), rate: max(0, x.cfg.MinBodyRate)}
	if x.isStream {
		b.idle, b.rate = x.cfg.Timeouts.Stream.limit(), 0
	}
	if x.cfg.MaxBodyBytes > 0 {
		b.src = http.MaxBytesReader(x.w, r.Body, x.cfg.MaxBodyBytes)
	}
	return b
}

func (b *clientBody) Read(p []byte) (int, error) {
	began := time.Now()
	if patience := b.patience(); patience > 0 {
		b.rc.SetReadDeadline(began.Add(patience))
	} else if b.idle > 0 || b.rate > 0 {
		b.failed.Store(errBodySlow)
		return 0, errBodySlow
	}
	n, err := b.src.Read(p)
	b.n += int64(n)
	b.waited += time.Since(began)
	if err != nil {
		b.rc.SetReadDeadline(time.Time{}) // else the connection would seem to be gone
		if err == io.EOF {
			b.ended.Store(true)
		} else {
			b.failed.Store(bodyFault(err))
		}
	}
	return n, err
}

func (b *clientBody) Close() error { return b.src.Close() }

// answerComes prepares for an answer that begins before the body's end: left
// alone, net/http would take the rest of an HTTP/1 body for itself, and the
// backend would not get it. What then follows the body on the connection is not
// trusted to be a request.
func (b *clientBody) answerComes(x *exchange, answer http.Header) {
	if x.req.ProtoMajor == 1 && !b.ended.Load() {
		b.rc.EnableFullDuplex()
		answer.Set("Connection", "close")
	}
}

// patience is how long the next read may take; 0 or less with a limit set is
// not at all.
func (b *clientBody) patience() time.Duration {
	p := b.idle
	if b.rate > 0 {
		left := bodyGrace + time.Duration(float64(b.n)/float64(b.rate)*float64(time.Second)) - b.waited
		if p == 0 || left < p {
			p = left
		}
	}
	return p
}

func bodyFault(err error) *proxyError {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return errBodyLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodySlow
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return errClientGone
	default:
		return errBodyBad
	}
}

// readSmall reads the body into memory if it is small: then no backend has to
// wait for it, and it can be sent again.
func (x *exchange) readSmall(out *http.Request) error {
	if out.ContentLength <= 0 || out.ContentLength > replayBytes || x.isStream || out.Header["Expect"] != nil || len(out.Trailer) > 0 {
		return nil
	}
	small := make([]byte, out.ContentLength)
	if _, err := io.ReadFull(out.Body, small); err != nil {
		return err
	}
	if _, err := out.Body.Read(make([]byte, 1)); err != io.EOF { // lets the body see its end
		return errBodyBad
	}
	x.small = small
	return nil
}

// rewind gives the request its small body again.
func (x *exchange) rewind(try *http.Request) {
	if x.small != nil {
		try.Body = io.NopCloser(bytes.NewReader(x.small))
	}
}

// bodyShare hands a body that is not in memory to one try after the other, until
// one has begun to read it. A try that has been given up gets no more.
type bodyShare struct {
	src io.Reader

	mu      sync.Mutex // guards what follows
	current *bodyTry
	touched bool
}

// bodyTry is the body that one try is given.
type bodyTry struct{ s *bodyShare }

var errGivenUp = errors.New("body belongs to a later try")

// next begins another try; nil if the body is not whole any more.
func (s *bodyShare) next() *bodyTry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.touched {
		return nil
	}
	s.current = &bodyTry{s}
	return s.current
}

// whole reports whether nothing of the body has been read.
func (s *bodyShare) whole() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.touched
}

func (t *bodyTry) Read(p []byte) (int, error) {
	t.s.mu.Lock()
	mine := t.s.current == t
	t.s.touched = t.s.touched || mine
	t.s.mu.Unlock()
	if !mine {
		return 0, errGivenUp
	}
	return t.s.src.Read(p)
}

// Close leaves the client's body alone: the next try may need it.
func (t *bodyTry) Close() error { return nil }
