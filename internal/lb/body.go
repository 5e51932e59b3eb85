package lb

import (
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

func newClientBody(x *exchange, w http.ResponseWriter, r *http.Request) *clientBody {
	b := &clientBody{src: r.Body, rc: http.NewResponseController(w), idle: x.cfg.Timeouts.Idle.limit(), rate: max(0, x.cfg.MinBodyRate)}
	if x.isStream {
		b.idle, b.rate = x.cfg.Timeouts.Stream.limit(), 0
	}
	if x.cfg.MaxBodyBytes > 0 {
		b.src = http.MaxBytesReader(w, r.Body, x.cfg.MaxBodyBytes)
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

// replay hands a request's body to one try after the other. What a try has taken
// is there for the next only if it is kept; a try that has been given up gets no
// more.
type replay struct {
	keep bool

	mu      sync.Mutex // guards current and touched
	current *try
	touched bool

	reading sync.Mutex // guards the rest, over a read from the client
	src     io.Reader
	kept    []byte
	err     error // of src
}

// try is the body that one try is given.
type try struct {
	r  *replay
	at int // in r.kept
}

var errGivenUp = errors.New("body belongs to a later try")

// next begins another try, or says that the body cannot be sent again.
func (r *replay) next() (*try, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.touched && !r.keep {
		return nil, false
	}
	r.current = &try{r: r}
	return r.current, true
}

// again reports whether next would begin another try.
func (r *replay) again() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.touched || r.keep
}

func (t *try) Read(p []byte) (int, error) {
	r := t.r
	r.mu.Lock()
	if r.current != t {
		r.mu.Unlock()
		return 0, errGivenUp
	}
	r.touched = true
	r.mu.Unlock()

	r.reading.Lock()
	defer r.reading.Unlock()
	if t.at < len(r.kept) {
		n := copy(p, r.kept[t.at:])
		t.at += n
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.src.Read(p)
	r.err = err
	if r.keep {
		r.kept = append(r.kept, p[:n]...)
		t.at += n
	}
	return n, err
}

// Close leaves the client's body alone: the next try may need it.
func (t *try) Close() error { return nil }
