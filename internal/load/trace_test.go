package load

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReadTrace(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []Point
	}{
		"two bare columns":          {"0,10\n30,20.5\n", []Point{{0, 10}, {30 * sec, 20.5}}},
		"header and durations":      {"t,rps\n0s,1\n1m30s, 2\n", []Point{{0, 1}, {90 * sec, 2}}},
		"comments and empty lines":  {"# traffic\n\n0,1\n# more\n1.5,2\n", []Point{{0, 1}, {1500 * time.Millisecond, 2}}},
		"columns in another order":  {"host,rps,Time\na,5,0\nb,6,1\n", []Point{{0, 5}, {sec, 6}}},
		"wanted_rps when alone":     {"t_s,wanted_rps\n0,5\n1,6\n", []Point{{0, 5}, {sec, 6}}},
		"two rows at one time jump": {"0,1\n5,1\n5,9\n9,9", []Point{{0, 1}, {5 * sec, 1}, {5 * sec, 9}, {9 * sec, 9}}},
	} {
		got, err := ReadTrace(strings.NewReader(c.text))
		if err != nil || !slices.Equal(got.Points(), c.want) {
			t.Errorf("%s: got %v, %v; want %v", name, got.Points(), err, c.want)
		}
	}
}

func TestReadTraceErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"", "no rows"},
		"a header alone":    {"t,rps\n", "no rows"},
		"one column":        {"0,1\n5\n", "trace line 2: 1 columns"},
		"rate of words":     {"0,1\n5,fast\n", `trace line 2: rate "fast" is not a number`},
		"time of words":     {"0,1\nsoon,5\n", `trace line 2: time "soon" is neither`},
		"negative rate":     {"t,rps\n0,-1\n", "trace line 2: rate -1"},
		"rate beyond sense": {"0,Inf\n", "trace line 1: rate +Inf"},
		"time goes back":    {"0,1\n5,1\n4,1\n", "trace line 3: time 4s comes after 5s"},
		"negative time":     {"-1,1\n", `time "-1" is negative`},
		"time beyond sense": {"1e300,1\n", "beyond a century"},
		"broken quotes":     {"0,\"1\n", "read trace"},
	} {
		if _, err := ReadTrace(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add("t,rps\n0,10\n1m,20\n")
	f.Add("# x\n0,1\n0,2\n5,0\n")
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := ReadTrace(strings.NewReader(text))
		if err != nil {
			return
		}
		s := Shape{Mode: Replay, Trace: tr, Duration: tr.Duration() + sec}
		if err := s.Validate(); err != nil && tr.Duration() < forever {
			t.Fatalf("a trace that was read is not valid: %v", err)
		}
		for _, p := range tr.Points() {
			if r := s.Rate(p.At); !(r >= 0) {
				t.Fatalf("rate %g at %v", r, p.At)
			}
			if sum := s.Sum(p.At); !(sum >= 0) {
				t.Fatalf("sum %g at %v", sum, p.At)
			}
		}
	})
}

func TestOwnCSVIsATrace(t *testing.T) {
	var b bytes.Buffer
	w := NewCSV(&b)
	for i := range 3 {
		if err := w.Write(Tick{ElapsedS: float64(i + 1), RPS: float64(10 * i)}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadTrace(&b)
	want := []Point{{sec, 0}, {2 * sec, 10}, {3 * sec, 20}}
	if err != nil || !slices.Equal(got.Points(), want) {
		t.Errorf("got %v, %v; want %v", got.Points(), err, want)
	}
}

// What is written is read as it was, to a thousandth; what makes no sense is not
// written.
func TestTracesAreReadAsTheyWereWritten(t *testing.T) {
	var b strings.Builder
	w, err := NewTraceWriter(&b, "function.web of shop")
	if err != nil {
		t.Fatal(err)
	}
	points := []Point{{0, 12.5}, {sec, 0}, {sec, 480.125}, {90 * sec, 3}}
	for _, p := range points {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(Point{91 * sec, -1}); err == nil {
		t.Error("a rate below 0 was written")
	}
	tr, err := ReadTrace(strings.NewReader(b.String()))
	if err != nil || !slices.Equal(tr.Points(), points) {
		t.Errorf("%v, %v, want %v, of\n%s", tr.Points(), err, points, b.String())
	}
}
