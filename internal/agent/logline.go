package agent

import (
	"bytes"
	"fmt"
	"time"
)

// Streams of a log line.
const (
	Stdout = "out"
	Stderr = "err"
	// StreamAgent carries the agent's own remarks, such as lines lost.
	StreamAgent = "agent"
)

// LogLine is one line that a replica wrote, without its newline. The text is
// what was written, byte for byte; it need not be UTF-8.
type LogLine struct {
	Time    time.Time `json:"time"` // when the agent read it
	Stream  string    `json:"stream"`
	Text    string    `json:"text"`
	Partial bool      `json:"partial,omitempty"` // the line goes on in the next one of this stream
}

const (
	// maxLine is the longest text of one record; a longer line is split.
	maxLine = 64 << 10
	// maxRecord bounds a record with its time, stream and newline.
	maxRecord = maxLine + 64

	// logTime is RFC3339Nano of fixed width, so that times compare as text.
	logTime = "2006-01-02T15:04:05.000000000Z"
)

// appendRecord appends a line as the log file holds it: time, stream (with a
// plus sign when the line goes on), text, newline.
func appendRecord(b []byte, at time.Time, stream string, text []byte, partial bool) []byte {
	return appendStamped(b, at.UTC().AppendFormat(nil, logTime), stream, text, partial)
}

// appendStamped is appendRecord with the time as text.
func appendStamped(b, stamp []byte, stream string, text []byte, partial bool) []byte {
	b = append(b, stamp...)
	b = append(b, ' ')
	b = append(b, stream...)
	if partial {
		b = append(b, '+')
	}
	b = append(b, ' ')
	b = append(b, text...)
	return append(b, '\n')
}

// parseRecord reads a record without its newline.
func parseRecord(b []byte) (LogLine, error) {
	when, rest, ok := bytes.Cut(b, []byte{' '})
	stream, text, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok || !ok2 {
		return LogLine{}, fmt.Errorf("log record %.40q is damaged", b)
	}
	at, err := time.Parse(logTime, string(when))
	if err != nil {
		return LogLine{}, fmt.Errorf("log record %.40q is damaged: %w", b, err)
	}
	name, partial := bytes.CutSuffix(stream, []byte{'+'})
	return LogLine{Time: at, Stream: string(name), Text: string(text), Partial: partial}, nil
}

// splitter cuts what a replica writes into lines of at most maxLine bytes.
// The zero value is ready.
type splitter struct {
	rest []byte // of a line whose end has not come
}

// feed passes each line that b completes to emit, which must not keep it.
func (s *splitter) feed(b []byte, emit func(text []byte, partial bool)) {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		end := i
		if i < 0 {
			end = len(b)
		}
		for len(s.rest)+end > maxLine {
			take := maxLine - len(s.rest)
			emit(s.line(b[:take]), true)
			b, i, end = b[take:], i-take, end-take
		}
		if i < 0 {
			s.rest = append(s.rest, b...)
			return
		}
		emit(s.line(b[:i]), false)
		b = b[i+1:]
	}
}

// line returns what is kept and b as one, and keeps nothing. The memory of a
// long line is not held on to.
func (s *splitter) line(b []byte) []byte {
	if len(s.rest) == 0 {
		return b
	}
	full := append(s.rest, b...)
	s.rest = s.rest[:0]
	if cap(full) > 4<<10 {
		s.rest = nil
	}
	return full
}

// flush passes on a last line without a newline.
func (s *splitter) flush(emit func(text []byte, partial bool)) {
	if len(s.rest) > 0 {
		emit(s.line(nil), false)
	}
}
