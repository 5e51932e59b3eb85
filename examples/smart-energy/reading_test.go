package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)

func TestReading(t *testing.T) {
	want := reading{"north", "heating", 7, noon, 1234.5}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeReading(data)
	if err != nil || got != want {
		t.Errorf("%s came back as %+v, %v", data, got, err)
	}
	if line := string(want.appendLine(nil)); line != "power,site=north,meter=heating watts=1234.5,seq=7i 1772366400250\n" {
		t.Errorf("line %q", line)
	}
}

func TestWhatIsNoReading(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":           ``,
		"something else":    `[1]`,
		"no site":           `{"meter":"a","seq":1,"at":"2026-01-01T00:00:00Z"}`,
		"a site with comma": `{"site":"a,b=c","meter":"a","seq":1,"at":"2026-01-01T00:00:00Z"}`,
		"a line break":      `{"site":"a","meter":"a\nb","seq":1,"at":"2026-01-01T00:00:00Z"}`,
		"no number":         `{"site":"a","meter":"a","at":"2026-01-01T00:00:00Z"}`,
		"too large":         `{"site":"a","meter":"a","seq":9223372036854775808,"at":"2026-01-01T00:00:00Z"}`,
		"no time":           `{"site":"a","meter":"a","seq":1}`,
		"watts that are no": `{"site":"a","meter":"a","seq":1,"at":"2026-01-01T00:00:00Z","watts":1e999}`,
	} {
		if r, err := decodeReading([]byte(text)); err == nil {
			t.Errorf("%s: %s is taken as %+v", name, text, r)
		}
	}
}

// What is decoded makes one line of three parts, whatever it was.
func FuzzReading(f *testing.F) {
	f.Add([]byte(`{"site":"a","meter":"b","seq":1,"at":"2026-01-01T00:00:00Z","watts":-1.5e300}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeReading(data)
		if err != nil {
			return
		}
		line := string(r.appendLine(nil))
		if strings.Count(line, "\n") != 1 || len(strings.Fields(line)) != 3 || math.IsInf(r.Watts, 0) {
			t.Errorf("%s makes %q", data, line)
		}
	})
}

func TestLoad(t *testing.T) {
	if load("north", "heating", noon) != load("north", "heating", noon) {
		t.Error("one moment has two values")
	}
	seen := map[float64]bool{}
	least, most := math.Inf(1), 0.0
	for hour := range 24 {
		w := load("north", "heating", noon.Add(time.Duration(hour)*time.Hour))
		least, most = min(least, w), max(most, w)
		seen[w] = true
	}
	if len(seen) < 20 || least <= 0 || most < least*1.3 || most > 4000 {
		t.Errorf("a day goes from %v to %v with %d values", least, most, len(seen))
	}
	for _, other := range []float64{load("south", "heating", noon), load("north", "heating2", noon), load("northheating", "", noon)} {
		if math.Abs(other-load("north", "heating", noon)) < 1 {
			t.Error("two meters show the same")
		}
	}
}
