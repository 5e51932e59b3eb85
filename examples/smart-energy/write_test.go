package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// roundTrip is the world behind an HTTP client.
type roundTrip func(*http.Request) (int, string)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := f(r)
	if status == 0 {
		return nil, errors.New(body)
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader(body))}, nil
}

func storeOf(f roundTrip) *store {
	return &store{"http://store:8086", "energy", &http.Client{Transport: f}}
}

// letter is a message that remembers what was answered.
type letter struct {
	data   string
	answer string
}

func (l *letter) Data() []byte { return []byte(l.data) }
func (l *letter) Ack() error   { l.answer += "ack"; return nil }
func (l *letter) NakWithDelay(d time.Duration) error {
	l.answer += "again in " + d.String()
	return nil
}
func (l *letter) Term() error { l.answer += "never"; return nil }

func letterOf(seq int) *letter {
	return &letter{data: fmt.Sprintf(`{"site":"north","meter":"m%d","seq":%d,"at":"2026-01-01T00:00:00Z","watts":1}`, seq, seq)}
}

func TestWriterAcknowledgesWhatTheStoreHas(t *testing.T) {
	var written []string
	take := func(r *http.Request) (int, string) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.URL.String() != "http://store:8086/write?db=energy&precision=ms" {
			return 404, r.URL.String()
		}
		written = append(written, string(body))
		return 204, ""
	}
	refuse2 := func(r *http.Request) (int, string) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "seq=2i") {
			return 400, "partial write: field type conflict"
		}
		return 204, ""
	}
	for name, c := range map[string]struct {
		store   roundTrip
		want    []string
		stored  uint64
		refused uint64
	}{
		"it takes all":          {take, []string{"ack", "ack", "ack", "never"}, 3, 1},
		"it is not there":       {func(*http.Request) (int, string) { return 0, "connection refused" }, []string{"again in 1s", "again in 1s", "again in 1s", "never"}, 0, 1},
		"it fails":              {func(*http.Request) (int, string) { return 500, "" }, []string{"again in 1s", "again in 1s", "again in 1s", "never"}, 0, 1},
		"no database yet":       {func(*http.Request) (int, string) { return 404, "" }, []string{"again in 1s", "again in 1s", "again in 1s", "never"}, 0, 1},
		"it refuses the second": {refuse2, []string{"ack", "never", "ack", "never"}, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := &writer{store: storeOf(c.store), log: slog.New(slog.DiscardHandler)}
			letters := []*letter{letterOf(1), letterOf(2), letterOf(3), {data: "hello"}}
			var batch []message
			for _, l := range letters {
				batch = append(batch, l)
			}
			w.put(t.Context(), batch)
			var got []string
			for _, l := range letters {
				got = append(got, l.answer)
			}
			if !slices.Equal(got, c.want) || w.stored.Load() != c.stored || w.refused.Load() != c.refused {
				t.Errorf("answered %q, %d stored, %d refused; wanted %q", got, w.stored.Load(), w.refused.Load(), c.want)
			}
		})
	}
	if len(written) != 1 || strings.Count(written[0], "\n") != 3 {
		t.Errorf("a batch is not one request: %q", written)
	}
}
