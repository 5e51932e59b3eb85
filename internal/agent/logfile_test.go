package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock advances by a second each time it is read.
func clock() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

func testLog(t *testing.T, dir string, maxBytes int64, files int) *logFile {
	t.Helper()
	l, err := openLog(dir, maxBytes, files, clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.close() })
	return l
}

func (l *logFile) line(format string, args ...any) {
	var b batch
	b.reset(l.now())
	b.add(Stdout, fmt.Appendf(nil, format, args...), false)
	l.write(&b)
}

// readAll reads to the present end.
func readAll(t *testing.T, r *logReader) (lines []string) {
	t.Helper()
	var text bytes.Buffer
	buf := make([]byte, 100)
	for {
		n, _, err := r.read(buf)
		text.Write(buf[:n])
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	for record := range strings.Lines(text.String()) {
		line, err := parseRecord([]byte(strings.TrimSuffix(record, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if line.Stream == StreamAgent {
			line.Text = "agent: " + line.Text
		}
		lines = append(lines, line.Text)
	}
	return lines
}

func (l *logFile) lines(t *testing.T, tail int, since time.Time) []string {
	t.Helper()
	r, err := l.reader(tail, since)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	return readAll(t, r)
}

func numbers(from, to int) (lines []string) {
	for i := from; i <= to; i++ {
		lines = append(lines, fmt.Sprintf("line %02d", i))
	}
	return lines
}

func TestLogRotatesAndKeepsTheNewestFiles(t *testing.T) {
	const record = len(logTime) + len(" out line 01\n")
	for files := 1; files <= 4; files++ {
		dir := t.TempDir()
		l := testLog(t, dir, int64(3*record), files) // three lines a file
		for i := 1; i <= 20; i++ {
			l.line("line %02d", i)
		}
		kept := 2 + 3*(files-1) // 20 = 6*3+2
		if got, want := l.lines(t, 0, time.Time{}), numbers(21-kept, 20); !slices.Equal(got, want) {
			t.Errorf("%d files: kept %q, want %q", files, got, want)
		}
		on, _ := filepath.Glob(filepath.Join(dir, "log*"))
		if len(on) != files {
			t.Errorf("files = %q, want %d", on, files)
		}
		for _, f := range on {
			if info, err := os.Stat(f); err != nil || info.Size() > int64(3*record) || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %d bytes, mode %v, %v", f, info.Size(), info.Mode(), err)
			}
		}
		l.setLimits(int64(3*record), 1)
		if on, _ := filepath.Glob(filepath.Join(dir, "log*")); len(on) != 1 {
			t.Errorf("after the number was lowered to 1: %q", on)
		}
	}
}

func TestLogGoesOnWhereAnEarlierOneEnded(t *testing.T) {
	const record = len(logTime) + len(" out line 01\n")
	dir := t.TempDir()
	for i := 1; i <= 8; i += 2 {
		l, err := openLog(dir, int64(3*record), 3, clock())
		if err != nil {
			t.Fatal(err)
		}
		l.line("line %02d", i)
		l.line("line %02d", i+1)
		l.close()
	}
	l := testLog(t, dir, int64(3*record), 3)
	if got := l.lines(t, 0, time.Time{}); !slices.Equal(got, numbers(1, 8)) {
		t.Errorf("lines = %q, want 1 to 8", got)
	}
	if got := oldLog(dir).lines(t, 3, time.Time{}); !slices.Equal(got, numbers(6, 8)) {
		t.Errorf("as an old log: %q, want 6 to 8", got)
	}
}

func TestLogTailAndSince(t *testing.T) {
	const record = len(logTime) + len(" out line 01\n")
	l := testLog(t, t.TempDir(), int64(4*record), 5)
	start := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	for i := 1; i <= 17; i++ { // line i is written i seconds after start
		l.line("line %02d", i)
	}
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	for tail := -1; tail <= 20; tail++ {
		want := numbers(max(1, 18-tail), 17)
		if tail <= 0 {
			want = numbers(1, 17*(1+tail))
		}
		if got := l.lines(t, tail, time.Time{}); !slices.Equal(got, want) {
			t.Errorf("tail %d: %q", tail, got)
		}
		for s := -1.0; s <= 19; s += 0.5 {
			first := max(1, int(s+0.5))
			both := numbers(first, 17)
			if tail != 0 {
				both = both[max(0, len(both)-max(0, tail)):]
			}
			if got := l.lines(t, tail, at(s)); !slices.Equal(got, both) {
				t.Errorf("tail %d since %vs: %q, want %q", tail, s, got, both)
			}
		}
	}
}

func TestLogReaderFollowsAcrossFilesAndSeesTheEnd(t *testing.T) {
	const record = len(logTime) + len(" out line 01\n")
	l := testLog(t, t.TempDir(), int64(2*record), 3)
	r, err := l.reader(0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for i := 1; i <= 30; i++ {
		n, more, err := r.read(make([]byte, 10))
		if n != 0 || err != nil || more == nil {
			t.Fatalf("read at the end = %d, %v", n, err)
		}
		l.line("line %02d", i)
		select {
		case <-more:
		default:
			t.Fatal("a new line does not wake the reader")
		}
		if got := readAll(t, r); !slices.Equal(got, numbers(i, i)) {
			t.Fatalf("after line %d: %q", i, got)
		}
	}
	// The reader falls behind by more than is kept.
	for i := 31; i <= 50; i++ {
		l.line("line %02d", i)
	}
	got := readAll(t, r)
	if len(got) == 0 || !strings.HasPrefix(got[0], "agent: lines are missing here") || !slices.Equal(got[1:], numbers(45, 50)) {
		t.Errorf("after falling behind: %q", got)
	}
	_, more, _ := r.read(make([]byte, 10))
	l.close()
	select {
	case <-more:
	default:
		t.Error("the end does not wake the reader")
	}
	if n, _, err := r.read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read of a closed log = %d, %v, want EOF", n, err)
	}
	l.line("nobody hears this")
}

// A line may come, and the file be rotated, just after the reader saw its end.
func TestLogReaderLosesNothingAtTheTurnOfAFile(t *testing.T) {
	const record = len(logTime) + len(" out line 01\n")
	l := testLog(t, t.TempDir(), int64(2*record), 3)
	r, err := l.reader(0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if limit, _, err := r.limit(); limit != 0 || err != nil {
		t.Fatal(limit, err)
	}
	for i := 1; i <= 3; i++ {
		l.line("line %02d", i)
	}
	if _, err := r.advance(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, r); !slices.Equal(got, numbers(1, 3)) {
		t.Errorf("read %q, want lines 1 to 3", got)
	}
}

// The writer and the readers run at the same time; every reader sees every line
// once and in order.
func TestLogReadersKeepUpWithAWriter(t *testing.T) {
	l := testLog(t, t.TempDir(), 2000, 100)
	const lines = 2000 // about 50 files
	var readers sync.WaitGroup
	for range 4 {
		r, err := l.reader(0, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			defer r.close()
			var text bytes.Buffer
			buf := make([]byte, 777)
			for {
				n, more, err := r.read(buf)
				text.Write(buf[:n])
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n == 0 {
					<-more
				}
			}
			i := 0
			for record := range strings.Lines(text.String()) {
				if !strings.HasSuffix(record, fmt.Sprintf(" line %d\n", i)) {
					t.Errorf("record %d is %q", i, record)
					return
				}
				i++
			}
			if i != lines {
				t.Errorf("saw %d of %d lines", i, lines)
			}
		})
	}
	for i := range lines {
		l.line("line %d", i)
	}
	l.close()
	readers.Wait()
}

func TestLogSaysThatLinesWereLost(t *testing.T) {
	l := testLog(t, t.TempDir(), 1<<20, 3)
	l.line("before")
	good := l.f
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full: ", err)
	}
	defer full.Close()
	l.f = full // the disk is full
	l.line("lost")
	l.line("lost too")
	l.f = good
	l.line("after")
	want := []string{"before", "agent: 2 lines were lost: the log could not be written", "after"}
	if got := l.lines(t, 0, time.Time{}); !slices.Equal(got, want) {
		t.Errorf("lines = %q, want %q", got, want)
	}
}

func TestLogRemembersTheLastLinesOfOneLife(t *testing.T) {
	l := testLog(t, t.TempDir(), 1<<20, 3)
	for i := 1; i <= 45; i++ {
		l.line("line %02d", i)
	}
	if got := l.tail(); !slices.Equal(got, numbers(26, 45)) {
		t.Errorf("tail = %q", got)
	}
	l.line("%s", strings.Repeat("x", 10_000))
	if got := l.tail(); len(got) != 1 || len(got[0]) > lastLineBytes {
		t.Errorf("tail of the next life = %d lines", len(got))
	}
}
