package agent

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSplitter(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, test := range map[string]struct {
		write []string
		want  []string // a plus sign at the end: the line goes on
	}{
		"lines":                 {[]string{"a\nb\n"}, []string{"a", "b"}},
		"in parts":              {[]string{"a", "b", "c\nd", "\n"}, []string{"abc", "d"}},
		"no newline at the end": {[]string{"a\nb"}, []string{"a", "b"}},
		"empty lines":           {[]string{"\n\n", "a\n\n"}, []string{"", "", "a", ""}},
		"carriage returns stay": {[]string{"a\r\n"}, []string{"a\r"}},
		"not UTF-8":             {[]string{"\xff\xfe\x00\x80\n"}, []string{"\xff\xfe\x00\x80"}},
		"just as long":          {[]string{long + "\n"}, []string{long}},
		"a byte too long":       {[]string{long + "y\n"}, []string{long + "+", "y"}},
		"much too long":         {[]string{long + long, "y\nz\n"}, []string{long + "+", long + "+", "y", "z"}},
		"too long in parts":     {[]string{long[:60000], long[:60000], "y\n"}, []string{long + "+", strings.Repeat("x", 120000-maxLine) + "y"}},
	} {
		t.Run(name, func(t *testing.T) {
			var s splitter
			var got []string
			emit := func(text []byte, partial bool) {
				line := string(text)
				if partial {
					line += "+"
				}
				got = append(got, line)
			}
			for _, w := range test.write {
				s.feed([]byte(w), emit)
			}
			s.flush(emit)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %.100q, want %.100q", got, test.want)
			}
		})
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nbc\n\nd"), uint16(3))
	f.Add(bytes.Repeat([]byte("x"), 3*maxLine), uint16(50000))
	f.Fuzz(func(t *testing.T, text []byte, step uint16) {
		var s splitter
		var back bytes.Buffer
		emit := func(line []byte, partial bool) {
			if len(line) > maxLine || bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("line of %d bytes", len(line))
			}
			back.Write(line)
			if !partial {
				back.WriteByte('\n')
			}
		}
		for part := range slices.Chunk(text, int(step)+1) {
			s.feed(part, emit)
		}
		s.flush(emit)
		want := text
		if len(want) > 0 && want[len(want)-1] != '\n' {
			want = append(bytes.Clone(want), '\n')
		}
		if !bytes.Equal(back.Bytes(), want) {
			t.Fatalf("got back %.100q, want %.100q", back.Bytes(), want)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(int64(1767323045123456789), "out", []byte("hello \xff world"), false)
	f.Fuzz(func(t *testing.T, ns int64, stream string, text []byte, partial bool) {
		at := time.Unix(0, ns).UTC()
		if at.Year() < 1970 || stream == "" || strings.ContainsAny(stream, " +\n") || bytes.IndexByte(text, '\n') >= 0 {
			t.Skip()
		}
		record := appendRecord(nil, at, stream, text, partial)
		line, err := parseRecord(record[:len(record)-1])
		if err != nil {
			t.Fatal(err)
		}
		if want := (LogLine{at, stream, string(text), partial}); line != want {
			t.Fatalf("got back %+v, want %+v", line, want)
		}
	})
}
