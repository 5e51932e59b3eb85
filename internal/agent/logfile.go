package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// lastLines is how many lines an Exit quotes, each cut to lastLineBytes.
const (
	lastLines     = 20
	lastLineBytes = 512
)

// logFile is the log of one replica: the file "log" and older ones "log.1",
// "log.2", … Each has a generation, a number that grows by one with each file
// begun; the current one has the highest. Safe for concurrent use.
type logFile struct {
	dir string
	now func() time.Time

	mu       sync.Mutex
	f        *os.File // nil when closed
	size     int64
	gen      int64         // of the current file
	oldest   int64         // of the oldest file there is
	maxBytes int64         // of one file
	files    int           // kept, the current one included
	changed  chan struct{} // closed at the next change
	lost     int           // lines since a write failed
	last     [][]byte      // ring of the last lines, the oldest at lastAt
	lastAt   int
}

// openLog opens the log in dir and goes on at its end.
func openLog(dir string, maxBytes int64, files int, now func() time.Time) (*logFile, error) {
	l := &logFile{dir: dir, now: now, maxBytes: maxBytes, files: files, changed: make(chan struct{})}
	for l.gen < maxLogFiles && exists(l.path(l.gen+1)) {
		l.gen++
	}
	// Generations count from the oldest file, which is 0.
	if err := l.open(); err != nil {
		return nil, err
	}
	l.dropOldest()
	return l, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// path returns the name of the file that is age generations old.
func (l *logFile) path(age int64) string {
	if age == 0 {
		return filepath.Join(l.dir, "log")
	}
	return filepath.Join(l.dir, "log."+strconv.FormatInt(age, 10))
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path(0), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	l.f, l.size = f, info.Size()
	return nil
}

// setLimits changes how much is kept.
func (l *logFile) setLimits(maxBytes int64, files int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maxBytes, l.files = maxBytes, files
	l.dropOldest()
}

// batch is some lines of one instant on their way to the log.
type batch struct {
	stamp []byte
	buf   []byte
	ends  []int // of each record in buf
}

// reset empties the batch for lines read at an instant.
func (b *batch) reset(at time.Time) {
	b.stamp, b.buf, b.ends = at.UTC().AppendFormat(b.stamp[:0], logTime), b.buf[:0], b.ends[:0]
}

func (b *batch) add(stream string, text []byte, partial bool) {
	b.buf = appendStamped(b.buf, b.stamp, stream, text, partial)
	b.ends = append(b.ends, len(b.buf))
}

// write appends the batch, beginning new files as they fill up. Lines that
// cannot be written (a full disk) are lost and counted; a replica is never held
// up by that, and the log says so as soon as it can.
func (l *logFile) write(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil || len(b.ends) == 0 {
		return
	}
	l.confessLocked()
	from, start, lines := 0, 0, 0 // of what is not written yet: its begin, its end, its lines
	for _, end := range b.ends {
		l.remember(b.buf[start:end])
		if l.size+int64(end-from) > l.maxBytes && l.size+int64(start-from) > 0 {
			l.put(b.buf[from:start], lines)
			l.rotate()
			from, lines = start, 0
		}
		start = end
		lines++
	}
	l.put(b.buf[from:], lines)
	close(l.changed)
	l.changed = make(chan struct{})
}

// put appends whole records; n of them count as lost if that fails.
func (l *logFile) put(b []byte, n int) {
	if len(b) == 0 {
		return
	}
	if _, err := l.f.Write(b); err != nil {
		l.f.Truncate(l.size) // half a record would spoil the next one
		l.lost += n
		return
	}
	l.size += int64(len(b))
}

// confessLocked notes lost lines in the log.
func (l *logFile) confessLocked() {
	if l.lost == 0 {
		return
	}
	n := l.lost
	l.lost = 0
	l.put(appendRecord(nil, l.now(), StreamAgent, fmt.Appendf(nil, "%d lines were lost: the log could not be written", n), false), n)
}

// rotate begins a new file. When that fails, the old one goes on growing.
func (l *logFile) rotate() {
	for age := l.gen - l.oldest; age >= 0; age-- {
		os.Rename(l.path(age), l.path(age+1))
	}
	old := l.f
	if err := l.open(); err != nil {
		os.Rename(l.path(1), l.path(0))
		l.f = old
		return
	}
	old.Close()
	l.gen++
	l.dropOldest()
}

// dropOldest removes the files beyond the number to keep.
func (l *logFile) dropOldest() {
	for l.gen-l.oldest >= int64(l.files) {
		os.Remove(l.path(l.gen - l.oldest))
		l.oldest++
	}
}

// remember keeps a record for Exit.LastLines.
func (l *logFile) remember(record []byte) {
	line := record[:min(len(record)-1, len(logTime)+lastLineBytes)]
	if len(l.last) < lastLines {
		l.last = append(l.last, append([]byte(nil), line...))
		return
	}
	l.last[l.lastAt] = append(l.last[l.lastAt][:0], line...)
	l.lastAt = (l.lastAt + 1) % lastLines
}

// tail returns the texts of the last lines, and forgets them: they belong to
// the process that ended.
func (l *logFile) tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var texts []string
	for i := range l.last {
		line, err := parseRecord(l.last[(l.lastAt+i)%len(l.last)])
		if err == nil {
			texts = append(texts, line.Text)
		}
	}
	l.last, l.lastAt = nil, 0
	return texts
}

// close ends the log; readers see its end.
func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return errors.New("log is closed")
	}
	l.confessLocked()
	err := l.f.Close()
	l.f = nil
	close(l.changed)
	return err
}

// oldLog is a log that nobody writes any more.
func oldLog(dir string) *logFile {
	l := &logFile{dir: dir, now: time.Now}
	for l.gen < maxLogFiles && exists(l.path(l.gen+1)) {
		l.gen++
	}
	return l
}
