package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// logReader reads the records of a log as one stream of bytes, across the files
// of all generations. Not safe for concurrent use.
type logReader struct {
	log  *logFile
	gen  int64
	f    *os.File
	off  int64
	note []byte // to be returned before anything else
}

// piece is one file of a log, open.
type piece struct {
	gen  int64
	f    *os.File
	size int64
}

// reader returns a reader that begins at the last tail lines (0 = all lines,
// negative = none) that are not older than since (zero = all).
func (l *logFile) reader(tail int, since time.Time) (*logReader, error) {
	pieces, err := l.pieces()
	if err != nil {
		return nil, err
	}
	at, off := 0, int64(0)
	switch {
	case tail > 0:
		at, off, err = seekTail(pieces, tail)
	case tail < 0:
		at, off = len(pieces)-1, pieces[len(pieces)-1].size
	}
	if err == nil && !since.IsZero() {
		var i int
		var o int64
		if i, o, err = seekSince(pieces, since); i > at || i == at && o > off {
			at, off = i, o
		}
	}
	for i, p := range pieces {
		if i != at || err != nil {
			p.f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return &logReader{log: l, gen: pieces[at].gen, f: pieces[at].f, off: off}, nil
}

// pieces opens every file of the log, the oldest first.
func (l *logFile) pieces() ([]piece, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var pieces []piece
	for gen := l.oldest; gen <= l.gen; gen++ {
		f, size, err := l.openLocked(gen)
		if errors.Is(err, os.ErrNotExist) && gen < l.gen {
			continue // removed by hand
		}
		if err != nil {
			for _, p := range pieces {
				p.f.Close()
			}
			return nil, fmt.Errorf("read log: %w", err)
		}
		pieces = append(pieces, piece{gen, f, size})
	}
	return pieces, nil
}

func (l *logFile) openLocked(gen int64) (*os.File, int64, error) {
	f, err := os.Open(l.path(l.gen - gen))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// seekTail finds where the last n lines begin.
func seekTail(pieces []piece, n int) (at int, off int64, err error) {
	buf := make([]byte, 64<<10)
	for at = len(pieces) - 1; at >= 0; at-- {
		for end := pieces[at].size; end > 0; {
			b := buf[:min(int64(len(buf)), end)]
			end -= int64(len(b))
			if _, err := pieces[at].f.ReadAt(b, end); err != nil {
				return 0, 0, err
			}
			for i := len(b) - 1; i >= 0; i-- {
				if b[i] != '\n' {
					continue
				}
				if n == 0 {
					return at, end + int64(i) + 1, nil
				}
				n--
			}
		}
	}
	return 0, 0, nil
}

// seekSince finds the first record that is not older than since.
func seekSince(pieces []piece, since time.Time) (at int, off int64, err error) {
	want := since.UTC().AppendFormat(nil, logTime)
	for at+1 < len(pieces) { // a file is skipped when the next one begins before since
		first := make([]byte, len(logTime))
		if n, err := pieces[at+1].f.ReadAt(first, 0); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		} else if n < len(first) || bytes.Compare(first, want) >= 0 {
			break
		}
		at++
	}
	buf := make([]byte, 2*maxRecord)
	for p := pieces[at]; off < p.size; {
		n, err := p.f.ReadAt(buf[:min(int64(len(buf)), p.size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		done := 0
		for done < n {
			if bytes.Compare(buf[done:min(n, done+len(logTime))], want) >= 0 {
				return at, off + int64(done), nil
			}
			end := bytes.IndexByte(buf[done:n], '\n')
			if end < 0 {
				break
			}
			done += end + 1
		}
		if done == 0 {
			return at, p.size, nil // no end of line in a whole buffer: not our file
		}
		off += int64(done)
	}
	return at, off, nil
}

// read reads on. At the end of what there is, it returns 0 and a channel that is
// closed when there may be more; when there never will be, io.EOF.
func (r *logReader) read(b []byte) (n int, more <-chan struct{}, err error) {
	for {
		if len(r.note) > 0 {
			n := copy(b, r.note)
			r.note = r.note[n:]
			return n, nil, nil
		}
		limit, more, err := r.limit()
		if err != nil {
			return 0, nil, err
		}
		if r.off < limit {
			n, err := r.f.ReadAt(b[:min(int64(len(b)), limit-r.off)], r.off)
			r.off += int64(n)
			if n > 0 {
				return n, nil, nil
			}
			return 0, nil, fmt.Errorf("read log: %w", err)
		}
		moved, err := r.advance()
		if err != nil {
			return 0, nil, fmt.Errorf("read log: %w", err)
		}
		if moved {
			continue
		}
		if more == nil {
			return 0, nil, io.EOF
		}
		return 0, more, nil
	}
}

// limit returns how far the current file may be read, and the channel of the
// next change, nil after the last one.
func (r *logReader) limit() (int64, <-chan struct{}, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	var more <-chan struct{}
	if r.log.f != nil {
		more = r.log.changed
	}
	if r.gen == r.log.gen && r.log.f != nil {
		return r.log.size, more, nil
	}
	info, err := r.f.Stat()
	if err != nil {
		return 0, nil, fmt.Errorf("read log: %w", err)
	}
	return info.Size(), more, nil
}

// advance goes to the next file, if there is one, and notes when files were
// dropped before they were read.
func (r *logReader) advance() (bool, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.gen >= r.log.gen {
		return false, nil
	}
	info, err := r.f.Stat()
	if err != nil || r.off < info.Size() { // it grew before it was rotated
		return err == nil, err
	}
	next := max(r.gen+1, r.log.oldest)
	f, _, err := r.log.openLocked(next)
	if errors.Is(err, os.ErrNotExist) && r.log.f == nil {
		return false, nil // the replica is removed
	}
	if err != nil {
		return false, err
	}
	if next > r.gen+1 {
		r.note = appendRecord(nil, r.log.now(), StreamAgent, []byte("lines are missing here: the log was rotated away before they were read"), false)
	}
	r.f.Close()
	r.f, r.gen, r.off = f, next, 0
	return true, nil
}

func (r *logReader) close() error { return r.f.Close() }
