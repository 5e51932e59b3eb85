package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAChartIsSound(t *testing.T) {
	long := make([]float64, 100_000)
	for i := range long {
		long[i] = float64(i % 7)
	}
	for name, c := range map[string]Chart{
		"empty":   {},
		"nothing": {Panels: []Panel{{Lines: []Line{{}}}}, Seconds: 10},
		"full": {Title: `a <"&> b`, Seconds: 100_000, Panels: []Panel{
			{Title: "load", Lines: []Line{{Name: "need", Values: long, Faint: true}, {Name: "web", Values: []float64{1, 2, 3}, Steps: true}}},
			{Title: "zero", Lines: []Line{{Values: []float64{0, 0}}}},
		}},
	} {
		var b strings.Builder
		if err := Write(&b, c); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(strings.NewReader(b.String()))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") || b.Len() > 60_000 {
			t.Errorf("%s: %d bytes, or what is no number:\n%.400s", name, b.Len(), b.String())
		}
	}
}

func TestNice(t *testing.T) {
	for x, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.1: 2, 3: 5, 7: 10, 42: 50, 99: 100} {
		if got := nice(x); got != want {
			t.Errorf("nice(%v) is %v, want %v", x, got, want)
		}
	}
}
