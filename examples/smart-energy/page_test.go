package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func answer(results ...string) (int, string) {
	return 200, `{"results":[{"series":[` + strings.Join(results, `]},{"series":[`) + `]}]}`
}

func TestBoard(t *testing.T) {
	now := time.UnixMilli(1_772_366_400_000).UTC()
	var asked []string
	s := storeOf(func(r *http.Request) (int, string) {
		q := r.FormValue("q")
		asked = append(asked, q)
		switch {
		case strings.Contains(q, "tariff"):
			return answer(
				`{"tags":{"site":"south","meter":"heating"},"values":[[1772366399000,500,9]]},`+
					`{"tags":{"site":"north","meter":"heating"},"values":[[1772366398000,1500.4,12]]},`+
					`{"tags":{"site":"north","meter":"cooling"},"values":[[1772360000000,800,null]]}`,
				`{"values":[[0,28]]}`)
		case strings.Contains(q, "time(5s)"):
			return answer(`{"tags":{"site":"north","meter":"heating"},"values":[[1772366100000,100],[1772366250000,null],[1772366250000,200],[1772366400000,150]]}`)
		}
		return answer()
	})
	var day history24
	b, err := s.readBoard(t.Context(), now, &day)
	must(t, err)
	if _, err := s.readBoard(t.Context(), now.Add(time.Second), &day); err != nil || len(asked) != 5 {
		t.Errorf("the day is asked for each time, or not at all: %q, %v", asked, err)
	}
	if b.Watts != 2000.4 || b.Cents != 28 || b.CentsPerHour() < 56 || b.CentsPerHour() > 56.1 || len(b.Meters) != 3 {
		t.Errorf("board %+v", b)
	}
	want := gauge{"north", "heating", 1500.4, 12, now.Add(-2 * time.Second), false, "0.0,40.0 120.0,0.0 240.0,20.0", ""}
	if b.Meters[1] != want || !b.Meters[0].Stale || b.Meters[2].Site != "south" {
		t.Errorf("meters %+v", b.Meters)
	}
	text := string(render("page", b))
	for _, part := range []string{"<!doctype html>", "2.00 kW", "2 of 3 meters", "56.0 cents an hour", "1500 W", "reading 12<", `class="meter stale" id="north-cooling"`, "not live: the last is of 10:13:20<",
		`<polyline points="0.0,40.0 120.0,0.0 240.0,20.0"/>`} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %q:\n%s", part, text)
		}
	}
	b.Fault = "<b>"
	if text := string(render("board", b)); !strings.Contains(text, `role="alert">Nothing new: &lt;b&gt;`) {
		t.Errorf("a fault is not shown, or is shown as it is:\n%s", text)
	}
}

func TestWhatTheStoreMayAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"nothing listens":  {0, "connection refused", "connection refused"},
		"no JSON":          {200, "<html>", "not understood"},
		"too few answers":  {200, `{"results":[{}]}`, "1 answers to 2 questions"},
		"a question fails": {200, `{"results":[{},{"error":"database not found: energy"}]}`, "two: database not found"},
		"it refuses":       {400, `{"error":"parse"}`, "the store refuses it"},
		"it fails":         {503, ``, "nothing"},
	} {
		s := storeOf(func(*http.Request) (int, string) { return c.status, c.body })
		if _, err := s.query(t.Context(), "one", "two"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %s", name, err, c.want)
		}
	}
}

// Whoever watches gets each board, and the last one, with a word about it, when the
// store is away.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, look := time.Now(), 0
		s := storeOf(func(r *http.Request) (int, string) {
			switch {
			case time.Since(began) > 2500*time.Millisecond:
				return 0, "connection refused"
			case strings.Contains(r.FormValue("q"), "tariff"):
				look++
				return answer(`{"tags":{"site":"north","meter":"heating"},"values":[[0,500,`+string(rune('0'+look))+`]]}`, ``)
			}
			return answer()
		})
		r := newRoom(options{every: time.Second}, slog.New(slog.DiscardHandler))
		r.store = s
		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- r.watch(ctx) }()
		w := httptest.NewRecorder()
		r.mux().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/events", nil))
		must(t, <-ended)
		events := strings.Split(strings.TrimSpace(w.Body.String()), "\n\n")
		if len(events) > 0 && strings.Contains(events[0], "no look into the store yet") {
			events = events[1:]
		}
		if len(events) != 5 || !w.Flushed || w.Header().Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%d events: %s", len(events), w.Body)
		}
		for i, e := range events {
			if want := "reading " + string(rune('0'+min(i+1, 3))); !strings.Contains(e, want) || strings.Contains(e, "connection refused") != (i > 2) {
				t.Errorf("event %d, %s wanted:\n%s", i, want, e)
			}
			for line := range strings.Lines(e) {
				if !strings.HasPrefix(line, "data: ") {
					t.Errorf("event %d has the line %q", i, line)
				}
			}
		}
	})
}

func TestSeed(t *testing.T) {
	lines := string(history(tariff(nil), "north", "heating", noon))
	if n := strings.Count(lines, "\n"); n != 24+288 {
		t.Errorf("%d lines", n)
	}
	again := string(history(nil, "north", "heating", noon.Add(time.Minute)))
	if !strings.HasSuffix(lines, again) {
		t.Error("a minute later the same points have other values")
	}
	for _, want := range []string{"tariff,hour=00 cents=19 0\n", "tariff,hour=18 cents=37 0\n", "power,site=north,meter=heating watts="} {
		if !strings.Contains(lines, want) {
			t.Errorf("no line %q", want)
		}
	}
}
